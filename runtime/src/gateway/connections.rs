//! Connections: the time for which they may stand still, and their end when the host stops. `places` limits their
//! number.
//!
//! A listener accepts for as long as the host runs, whatever fails. Each connection has a task, which serves it and
//! checks several times in each timeout whether it makes progress. A connection without progress is closed, so that its
//! resources are free for others:
//!
//! | | patience |
//! |---|---|
//! | the head of a request has begun, or no request has come yet | `header-seconds` |
//! | no request is there | `idle-connection-seconds` |
//! | the peer takes nothing of what it is sent, or less than `slowest-transfer` on average | `response-seconds` |
//! | a body comes to a halt | `body-seconds`, in `body`, which answers 408 |
//!
//! Invariants: a connection without progress is closed at most one look after its patience has ended; a listener that
//! stops waits until every connection has ended.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::TcpListener;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{CONNECTION, CONTENT_LENGTH};
use http::{HeaderValue, Method, Request};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};

use super::body;
use super::places::{Place, Places};
use super::wire::{Progress, Watched, Wire};
use crate::base::{Descriptors, Env, Limits, Metrics};

/// Bytes of the head of a request, and of a read or write over HTTP/1.
const BUFFER_BYTES: usize = 64 << 10;
/// Bytes of one body, and of all bodies of a connection, that may be in transit unread over HTTP/2.
const HTTP2_STREAM_WINDOW: u32 = 256 << 10;
const HTTP2_CONNECTION_WINDOW: u32 = 1 << 20;
/// The interval at which a peer with open streams is pinged, and the time that it has to answer.
const HTTP2_PING: Duration = Duration::from_secs(20);
/// Connections to the admin listener: people and programs with the token, and some without.
pub const ADMIN_CONNECTIONS: usize = 64;
/// The memory of an idle connection, with all that belongs to it.
const CONNECTION_BYTES: u64 = 32 << 10;
/// More than this must be configured: each port of the machine could have one.
const CONNECTIONS_MAX: u64 = 60_000;
/// The delay before the next accept when the machine has no room for a connection.
const ACCEPT_WAIT: Duration = Duration::from_millis(100);
/// The interval at which a connection is checked, at most and at least.
const LOOK_OFTEN: Duration = Duration::from_millis(25);
const LOOK_SELDOM: Duration = Duration::from_secs(5);

const TOO_MANY: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// A service that answers requests.
pub trait Service: Clone + Send + Sync + 'static {
    /// Answers one request of a connection.
    fn answer(&self, request: Request<Body>, wire: Arc<Wire>) -> impl Future<Output = Response> + Send;
}

/// The timeouts of connections, and the limits of one.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    header: Duration,
    idle: Duration,
    response: Duration,
    /// Bytes per second.
    slowest: u64,
    http2_streams: u32,
}

impl Patience {
    /// Creates the settings from the limits.
    pub fn of(limits: &Limits) -> Self {
        Self {
            header: Duration::from_secs_f64(limits.header_seconds),
            idle: Duration::from_secs_f64(limits.idle_connection_seconds),
            response: Duration::from_secs_f64(limits.response_seconds),
            slowest: limits.slowest_transfer,
            http2_streams: limits.http2_streams,
        }
    }

    fn look_every(&self) -> Duration {
        (self.header.min(self.idle).min(self.response) / 4).clamp(LOOK_OFTEN, LOOK_SELDOM)
    }
}

/// Returns the maximum number of connections to the data listener on a machine with this much memory, in bytes.
pub fn connections_max(limits: &Limits, descriptors: &Descriptors, memory: u64) -> usize {
    let room = descriptors.connections_max().min(memory / 4 / CONNECTION_BYTES);
    let configured = match limits.connections {
        0 => CONNECTIONS_MAX,
        configured => configured.into(),
    };
    room.min(configured) as usize
}

/// Serves a listener until the host stops, then waits until every connection has ended.
pub async fn serve(
    listener: TcpListener,
    service: impl Service,
    places: Arc<Places>,
    (patience, env): (Patience, Env),
    mut stopping: watch::Receiver<bool>,
) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "a listener could not be used"),
    };
    let builder = Arc::new(builder(&patience));
    let of_connections = stopping.clone();
    let mut stopped = pin!(stopping.wait_for(|stopping| *stopping));
    // Each connection holds a sender; when all are dropped, all connections have ended.
    let (running, mut ended) = mpsc::channel::<Infallible>(1);
    loop {
        let accepted = tokio::select! {
            biased;
            _ = &mut stopped => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, from)) => match places.take(from.ip()) {
                Some(place) => {
                    let connection =
                        Connection { service: service.clone(), builder: builder.clone(), patience, env: env.clone() };
                    let (stopping, running) = (of_connections.clone(), running.clone());
                    tokio::spawn(async move {
                        connection.until_closed(stream, place, stopping).await;
                        drop(running);
                    });
                }
                None => refuse(&stream, &places.metrics),
            },
            Err(error) if is_of_connection(&error) => {}
            // Neither the listener nor the connections in its queue are lost.
            Err(error) => {
                tracing::warn!(%error, "failed to accept a connection; retrying in {} ms", ACCEPT_WAIT.as_millis());
                env.sleep(ACCEPT_WAIT).await;
            }
        }
    }
    drop((listener, running));
    let _ = ended.recv().await;
}

fn builder(patience: &Patience) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().max_buf_size(BUFFER_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(patience.http2_streams)
        .max_header_list_size(BUFFER_BYTES as u32)
        .initial_stream_window_size(HTTP2_STREAM_WINDOW)
        .initial_connection_window_size(HTTP2_CONNECTION_WINDOW)
        .max_send_buf_size(BUFFER_BYTES)
        .keep_alive_interval(HTTP2_PING)
        .keep_alive_timeout(HTTP2_PING);
    builder
}

/// Reports whether accepting failed because of this one connection only.
fn is_of_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

fn refuse(stream: &TcpStream, metrics: &Metrics) {
    metrics.connections_refused.inc();
    // Bytes that the kernel does not take at once are dropped.
    let _ = stream.try_write(TOO_MANY);
}

/// The state of serving one connection.
struct Connection<S> {
    service: S,
    builder: Arc<Builder<TokioExecutor>>,
    patience: Patience,
    env: Env,
}

impl<S: Service> Connection<S> {
    async fn until_closed(self, stream: TcpStream, place: Place, mut stopping: watch::Receiver<bool>) {
        // Responses are small and written completely: waiting for more to send only delays them.
        let _ = stream.set_nodelay(true);
        let (stream, wire) = Watched::new(stream, place);
        let answered_on = wire.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let (service, wire) = (self.service.clone(), answered_on.clone());
            async move { Ok::<_, Infallible>(answer(service, request, wire).await) }
        });
        let mut serving = pin!(self.builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
        let polled = wire.clone();
        let mut stopped = pin!(stopping.wait_for(|stopping| *stopping));
        let mut looks = self.env.ticks(self.patience.look_every());
        let mut watch = Watch::new(self.patience, &wire);
        let (mut is_stopping, mut is_given_up) = (false, false);
        loop {
            tokio::select! {
                biased;
                // How it ended concerns only the client.
                _ = poll_fn(|context| {
                    polled.begin_poll();
                    serving.as_mut().poll(context)
                }) => return,
                _ = &mut stopped, if !is_stopping => {
                    is_stopping = true;
                    serving.as_mut().graceful_shutdown();
                }
                () = looks.tick() => {
                    if is_given_up {
                        return;
                    }
                    // An idle connection ends at once; over HTTP/2 the peer receives which requests were not processed.
                    is_given_up = watch.stands_still(self.env.elapsed());
                    if is_given_up {
                        serving.as_mut().graceful_shutdown();
                    }
                }
            }
        }
    }
}

async fn answer(service: impl Service, request: Request<Incoming>, wire: Arc<Wire>) -> Response {
    let is_head = request.method() == Method::HEAD;
    let mut response = match wire.take() {
        Ok(handling) => {
            let response = service.answer(request.map(Body::new), wire).await;
            // A stream may be silent for as long as it lives.
            match response.body().size_hint().exact() {
                Some(_) => response,
                None => response.map(|body| body::holding(body, handling)),
            }
        }
        Err(fault) => {
            let mut response = fault.into_response();
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            response
        }
    };
    if is_head {
        without_body(&mut response);
    }
    response
}

/// Turns a response into that to HEAD: the length of the answer to GET, if known, instead of the body.
fn without_body(response: &mut Response) {
    let length = std::mem::take(response.body_mut()).size_hint().exact();
    if let Some(length) = length.filter(|length| *length > 0) {
        response.headers_mut().entry(CONTENT_LENGTH).or_insert(length.into());
    }
}

/// Detects that a connection makes no progress.
struct Watch<'a> {
    patience: Patience,
    wire: &'a Wire,
    seen: Option<Progress>,
    /// The time of the last event that restarts the timeout.
    since: Option<Duration>,
    /// The time at which the peer was first seen not to read, and the bytes that it had read by then.
    blocked: Option<(Duration, u64)>,
    outgoing: HashMap<u64, Out>,
}

/// A response over HTTP/2 that is being sent.
struct Out {
    begun: Duration,
    moved: Duration,
    bytes: u64,
    look: Duration,
}

impl<'a> Watch<'a> {
    fn new(patience: Patience, wire: &'a Wire) -> Self {
        Self { patience, wire, seen: None, since: None, blocked: None, outgoing: HashMap::new() }
    }

    fn stands_still(&mut self, now: Duration) -> bool {
        let progress = self.wire.progress();
        let seen = self.seen.replace(progress);
        self.waits_in_vain(now, progress, seen) || self.is_not_read(now, progress) || self.is_not_read_http2(now)
    }

    /// Reports whether a request or its head takes too long to arrive.
    fn waits_in_vain(&mut self, now: Duration, progress: Progress, seen: Option<Progress>) -> bool {
        let same = |seen: Progress| seen.in_head == progress.in_head && seen.requests == progress.requests;
        // Sent bytes count unless a head has begun: its bytes may come one by one.
        let moves = |seen: Progress| !progress.in_head && seen.written != progress.written;
        if progress.handling || seen.is_none_or(|seen| !same(seen) || moves(seen)) {
            self.since = Some(now);
        }
        let is_new = progress.requests == 0;
        let patience = if progress.in_head || is_new { self.patience.header } else { self.patience.idle };
        // A peer that does not read has the timeout for reading.
        !progress.blocked && self.since.is_some_and(|since| now - since >= patience)
    }

    /// Reports whether the peer reads too little of what it is sent.
    fn is_not_read(&mut self, now: Duration, progress: Progress) -> bool {
        if !progress.blocked {
            self.blocked = None;
            return false;
        }
        let (since, written) = *self.blocked.get_or_insert((now, progress.written));
        let waited = now - since;
        if waited < self.patience.response {
            return false;
        }
        self.blocked = Some((now, progress.written));
        (progress.written - written) as f64 <= waited.as_secs_f64() * self.patience.slowest as f64
    }

    /// Does the same for each response over HTTP/2, whose streams may stand still while others move.
    fn is_not_read_http2(&mut self, now: Duration) -> bool {
        let mut stalled = false;
        self.wire.for_each_outgoing(|key, bytes| {
            let out = self.outgoing.entry(key).or_insert(Out { begun: now, moved: now, bytes, look: now });
            if out.bytes != bytes {
                (out.moved, out.bytes) = (now, bytes);
            }
            out.look = now;
            let allowed = self.patience.response.as_secs_f64() + bytes as f64 / self.patience.slowest.max(1) as f64;
            stalled |= now - out.moved >= self.patience.response || (now - out.begun).as_secs_f64() >= allowed;
        });
        self.outgoing.retain(|_, out| out.look == now);
        stalled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_stay_below_the_descriptors() {
        let limits = |connections| Limits { connections, ..Limits::default() };
        let descriptors = Descriptors::new(10_000, 100);
        assert_eq!(connections_max(&limits(0), &descriptors, u64::MAX) as u64, descriptors.connections_max());
        assert_eq!(connections_max(&limits(7), &descriptors, u64::MAX), 7);
        assert_eq!(connections_max(&limits(0), &descriptors, 1 << 30), 8_192);
    }
}
