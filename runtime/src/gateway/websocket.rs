//! WebSockets: the handshake of an upgrade request, and the task that moves the bytes of one socket until it is closed.
//!
//! What an object says is taken from its [`Connection`]; what the peer says becomes [`SocketEvent`]s, in order. The
//! protocol (RFC 6455) is the library's: masks, fragments, UTF-8, pongs, the answer to a close; `frames` reads along.
//! Not here: when something may be sent, and what is buffered (`crate::sockets`).
//!
//! What must stay true: a socket that was accepted ends with exactly one close event, whatever becomes of its connection; a peer
//! that does not read, does not answer or does not finish its messages costs no more than the limits say; reading and writing do
//! not wait for each other, except that nothing is read before the pong of the last ping is sent.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{CloseFrame as WireCloseFrame, Frame};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message as Wire};

use super::frames::{Frames, Incoming};
use super::problem::{self, Problem};
use super::wire::Wire as Connected;
use crate::base::limits::REASON_MAX;
use crate::base::socket::{CloseFrame, Message, SocketEvent, SocketEventKind, SocketId, Text, code};
use crate::base::{Call, CallId, Cause, Env, FetchAnswer, MemoryCharge, ObjectAddress, Principal, Request, TurnError};
use crate::router::{Pending, Router};
use crate::sockets::{Connection, Outgoing, Payload};

/// Bytes that are read at a time. Every socket keeps as many.
const READ_BYTES: usize = 2 << 10;
/// Bytes of one frame that is sent, and of the buffer of a socket that has sent one. A longer message goes out in fragments.
const FRAME_BYTES: usize = 16 << 10;
/// Messages of one socket that may wait for their turns. More are left unread, so that the peer feels it.
const IN_FLIGHT: usize = 32;
/// How long a peer may take to answer a close frame.
const CLOSE_PATIENCE: Duration = Duration::from_secs(5);
/// Before an event is sent again to an object that takes none at the moment.
const BUSY_WAIT: Duration = Duration::from_millis(20);
/// Before the last event is sent again to an object for which the host has no room.
const NO_ROOM_WAIT: Duration = Duration::from_secs(1);

/// What the operator decides about sockets.
#[derive(Debug, Clone, Copy)]
pub struct SocketSettings {
    /// Bytes of one message (`Limits::socket_message`).
    pub message: u64,
    /// How long a peer may be silent before it is pinged, and then again before it counts as gone.
    pub silence: Duration,
}

/// A request for a WebSocket that can be answered with one.
pub struct Handshake {
    accept: HeaderValue,
    upgrade: OnUpgrade,
}

/// Whether a request asks for a WebSocket.
pub fn is_asked_for(headers: &HeaderMap) -> bool {
    names(headers, &UPGRADE, "websocket")
}

/// Whether one of the words of a header is this one.
fn names(headers: &HeaderMap, header: &HeaderName, word: &str) -> bool {
    let values = headers.get_all(header).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|name| name.trim().eq_ignore_ascii_case(word))
}

impl Handshake {
    /// Reads the handshake of a request that asks for a WebSocket (RFC 6455 §4.2.1).
    pub fn of(method: &Method, headers: &HeaderMap, extensions: &mut Extensions) -> Result<Self, Problem> {
        let bad = |what: &'static str| Problem::new(&problem::BAD_HANDSHAKE, what);
        if method != Method::GET {
            return Err(bad("a WebSocket is asked for with GET"));
        }
        if !names(headers, &CONNECTION, "upgrade") {
            return Err(bad("the header `connection: upgrade` is missing"));
        }
        if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
            let detail = "the header `sec-websocket-version` has to be 13";
            return Err(Problem::new(&problem::WEBSOCKET_VERSION, detail));
        }
        let key = headers.get(SEC_WEBSOCKET_KEY).filter(|key| key.len() == 24);
        let key = key.ok_or_else(|| bad("the header `sec-websocket-key` has to be 16 bytes in base64"))?;
        let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes())).expect("base64 is a header value");
        let upgrade = extensions.remove::<OnUpgrade>();
        Ok(Self { accept, upgrade: upgrade.ok_or_else(|| bad("the connection cannot be upgraded; use HTTP/1.1"))? })
    }

    fn response(&self, of_object: HeaderMap) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        *headers = of_object;
        // None is offered back: what the object may have written of them is not true.
        headers.remove(SEC_WEBSOCKET_EXTENSIONS);
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(SEC_WEBSOCKET_ACCEPT, self.accept.clone());
        response
    }
}

/// What became of an upgrade request.
pub enum Opening {
    /// The object accepted the socket: the response that opens it.
    Opened(Response),
    /// It did not; how its turn ended.
    Answered(Result<FetchAnswer, TurnError>),
}

/// Gives an upgrade request to the object. A socket that it accepts is served by a task of its own until it is closed.
///
/// The turn goes on when the client goes away meanwhile: what the object accepts then is a socket that is closed at once.
pub async fn open(
    router: Arc<Router>,
    call: Call<Request>,
    handshake: Handshake,
    settings: SocketSettings,
    wire: Arc<Connected>,
) -> Opening {
    let (answer, answered) = oneshot::channel();
    tokio::spawn(async move {
        let address = call.target.clone();
        let opening = match router.deliver(call).await {
            Ok(FetchAnswer::Upgrade(response, socket)) => {
                let response = handshake.response(response.headers);
                wire.upgrade();
                let serving = Serving { router, address, socket, settings, wire };
                tokio::spawn(serving.until_closed(handshake.upgrade));
                Opening::Opened(response)
            }
            outcome => Opening::Answered(outcome),
        };
        // A client that has gone needs no answer.
        let _ = answer.send(opening);
    });
    let lost = || Opening::Answered(Err(TurnError::Host("the task of an upgrade request ended early".into())));
    answered.await.unwrap_or_else(|_| lost())
}

type Stream = WebSocketStream<Frames<TokioIo<Upgraded>>>;

/// What serves one socket.
struct Serving {
    router: Arc<Router>,
    address: ObjectAddress,
    socket: SocketId,
    settings: SocketSettings,
    wire: Arc<Connected>,
}

/// What the writing side is asked to do beside sending what the object says.
#[derive(Default)]
struct Errands {
    ping: AtomicBool,
    /// The pong that the library has ready.
    pong: AtomicBool,
    /// Told when one of them is set.
    asked: Notify,
    /// Told when the pong is sent, or nothing is sent any more.
    pong_sent: Notify,
    /// Nothing is sent any more.
    over: AtomicBool,
}

impl Errands {
    fn ping(&self) {
        self.ping.store(true, Ordering::Relaxed);
        self.asked.notify_one();
    }

    /// Waits until the pong that the library has ready is sent, so that a peer that asks and never reads is not read
    /// either.
    async fn pong(&self) {
        if !self.over.load(Ordering::Relaxed) {
            self.pong.store(true, Ordering::Relaxed);
            self.asked.notify_one();
            self.pong_sent.notified().await;
        }
    }

    fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
        self.pong_sent.notify_one();
    }
}

/// Whether the peer takes what it is sent.
#[derive(Default)]
struct Taking {
    /// Bytes that it had taken when it was last looked at.
    written: u64,
    /// How often in a row it was found to have taken none although some waited.
    stalled: u32,
}

impl Taking {
    /// Looks again. False if it took nothing for two looks.
    fn goes_on(&mut self, wire: &Connected) -> bool {
        let progress = wire.progress();
        let stalls = progress.blocked && progress.written == self.written;
        *self = Self { written: progress.written, stalled: if stalls { self.stalled + 1 } else { 0 } };
        self.stalled < 2
    }
}

/// Whether the peer has been heard of. What it says while nobody listens is not held against it.
#[derive(Default)]
struct Attention {
    listening: AtomicBool,
    heard: AtomicBool,
}

impl Attention {
    fn listen(&self, listening: bool) {
        self.listening.store(listening, Ordering::Relaxed);
        self.heard.store(true, Ordering::Relaxed);
    }

    /// Since this was last asked.
    fn was_heard(&self) -> bool {
        self.heard.swap(false, Ordering::Relaxed) || !self.listening.load(Ordering::Relaxed)
    }
}

/// How a conversation ended.
enum End {
    /// Both sides sent a close frame; this is the peer's.
    Closed(Option<WireCloseFrame>),
    /// The peer did not answer this close frame.
    Unanswered(CloseFrame),
    /// The connection broke, or the peer was silent for too long.
    Vanished,
    /// The peer broke a rule: the code that it is closed with, and why.
    Broken(u16, String),
}

impl Serving {
    async fn until_closed(self, upgrade: OnUpgrade) {
        // None if the object, or its class, was deleted meanwhile.
        let Some(connection) = self.router.connect(&self.address.id, self.socket) else { return };
        let (end, stream) = match upgrade.await {
            Ok(upgraded) => self.converse(upgraded, &connection).await,
            Err(_) => (End::Vanished, None),
        };
        // From here on the object finds the socket among its open ones no more, and what it sends is dropped instead of
        // kept.
        drop(connection);
        let refusing = async {
            if let (End::Broken(code, reason), Some(stream)) = (&end, stream) {
                // Without an answer the connection is over, too.
                let _ = self.env().timeout(CLOSE_PATIENCE, refuse(stream, *code, reason)).await;
            }
        };
        // The object need not wait until the peer has heard why.
        tokio::join!(refusing, self.tell_end(&end));
    }

    /// Moves messages both ways until it ends. Gives the stream back if there is more to say.
    async fn converse(&self, upgraded: Upgraded, connection: &Connection) -> (End, Option<Stream>) {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BYTES)
            .write_buffer_size(FRAME_BYTES)
            .max_message_size(Some(self.settings.message as usize))
            .max_frame_size(Some(self.settings.message as usize));
        let (frames, incoming) = Frames::new(TokioIo::new(upgraded), connection.account().clone());
        let stream = WebSocketStream::from_raw_socket(frames, Role::Server, Some(config)).await;
        let (mut sink, mut stream) = stream.split();
        let end = self.both_ways(&mut sink, &mut stream, connection, &incoming).await;
        (end, stream.reunite(sink).ok())
    }

    /// Reads and writes until one of the two is over.
    async fn both_ways(
        &self,
        sink: &mut SplitSink<Stream, Wire>,
        stream: &mut SplitStream<Stream>,
        connection: &Connection,
        incoming: &Incoming,
    ) -> End {
        let (peer, errands) = (Attention::default(), Errands::default());
        let mut reading = pin!(self.read(stream, connection, incoming, &peer, &errands));
        let mut writing = pin!(write(sink, connection, &errands, self.env()));
        let mut silence = self.env().ticks(self.settings.silence);
        let (mut pinged, mut taking) = (false, Taking::default());
        let said = loop {
            tokio::select! {
                end = &mut reading => return end,
                said = &mut writing => break said,
                () = silence.tick() => {
                    if !taking.goes_on(&self.wire) {
                        return End::Vanished;
                    }
                    match (peer.was_heard(), pinged) {
                        (true, _) => pinged = false,
                        (false, true) => return End::Vanished,
                        (false, false) => {
                            pinged = true;
                            errands.ping();
                        }
                    }
                }
            }
        };
        errands.end();
        match self.env().timeout(CLOSE_PATIENCE, reading).await {
            Ok(end @ (End::Closed(_) | End::Broken(..))) => end,
            Ok(End::Vanished | End::Unanswered(_)) | Err(_) => said.map_or(End::Vanished, End::Unanswered),
        }
    }

    /// Gives what comes to the object, until nothing comes any more.
    async fn read(
        &self,
        stream: &mut SplitStream<Stream>,
        connection: &Connection,
        incoming: &Incoming,
        peer: &Attention,
        errands: &Errands,
    ) -> End {
        let (mut close, in_flight) = (None, Arc::new(Semaphore::new(IN_FLIGHT)));
        loop {
            // Room for what comes next. Only this loop takes any, so it is still there then.
            let Ok(_) = in_flight.acquire().await else { return End::Vanished };
            peer.listen(true);
            let came = stream.next().await;
            peer.listen(false);
            let message = match came {
                Some(Ok(Wire::Text(text))) => match Text::try_from(Bytes::from(text)) {
                    Ok(text) => Message::Text(text),
                    Err(error) => return End::Broken(code::NOT_UTF8, error.to_string()),
                },
                Some(Ok(Wire::Binary(bytes))) => Message::Binary(bytes),
                // The library answers both. The answer to a close is sent when it is asked for more.
                Some(Ok(Wire::Close(frame))) => {
                    close = Some(frame);
                    continue;
                }
                Some(Ok(Wire::Ping(_))) => {
                    errands.pong().await;
                    continue;
                }
                Some(Ok(Wire::Pong(_) | Wire::Frame(_))) => continue,
                Some(Err(error)) => return close.map_or_else(|| end_of(&error, incoming), End::Closed),
                None => return close.map_or(End::Vanished, End::Closed),
            };
            let charge = incoming.hand_on(message.size()).map(Arc::new);
            if !connection.received(&message) {
                // What becomes of its turn is in the object's log.
                let post = |event| match in_flight.clone().try_acquire_owned() {
                    Ok(permit) => self.router.post(event, permit),
                    Err(_) => Err(TurnError::Overloaded),
                };
                self.put(SocketEventKind::Message(message), charge, post).await;
            }
        }
    }

    /// Tells the object of something whose outcome matters. None if nobody wants to know any more.
    async fn tell(&self, kind: SocketEventKind) -> Option<(CallId, Pending<()>)> {
        self.put(kind, None, |event| Ok((event.id, self.router.send(event)?))).await
    }

    /// Puts an event into the object's mailbox, waiting while that is full. None if nobody wants to know any more.
    async fn put<T>(
        &self,
        kind: SocketEventKind,
        charge: Option<Arc<MemoryCharge>>,
        send: impl Fn(Call<SocketEvent>) -> Result<T, TurnError>,
    ) -> Option<T> {
        let event = SocketEvent { socket: self.socket, kind, charge };
        loop {
            let (id, of_client) = (self.router.call_id(), (Cause::Socket, Principal::Client));
            match send(Call::new(id, self.address.clone(), of_client, event.clone())) {
                Ok(sent) => return Some(sent),
                Err(TurnError::Overloaded) => self.env().sleep(BUSY_WAIT).await,
                // The host stops, or the class is gone: the socket is being closed.
                Err(_) => return None,
            }
        }
    }

    async fn tell_end(&self, end: &End) {
        let (code, reason, was_clean) = match end {
            End::Closed(Some(frame)) => (frame.code.into(), frame.reason.as_str().into(), true),
            End::Closed(None) => (code::NONE, "".into(), true),
            End::Unanswered(close) => (close.code.unwrap_or(code::NONE), close.reason.as_str().into(), false),
            End::Vanished => (code::VANISHED, "".into(), false),
            End::Broken(code, why) => {
                let (code, why): (u16, Arc<str>) = (*code, why.as_str().into());
                if let Some((call, pending)) = self.tell(SocketEventKind::Error(why.clone())).await {
                    self.log(call, pending.outcome().await);
                }
                (code, why, false)
            }
        };
        let close = SocketEventKind::Close { code, reason, was_clean };
        while let Some((call, pending)) = self.tell(close.clone()).await {
            let outcome = pending.outcome().await;
            let again = matches!(outcome, Err(TurnError::NoCapacity));
            self.log(call, outcome);
            if !again {
                return;
            }
            self.env().sleep(NO_ROOM_WAIT).await;
        }
    }

    /// Nobody waits for the turn of an event: the object's log has what its author wants to know, the server's log the rest.
    fn log(&self, call: CallId, outcome: Result<(), TurnError>) {
        if let Err(error) = outcome {
            problem::log(&error, &self.address.to_string(), call);
        }
    }

    fn env(&self) -> &Env {
        self.router.env()
    }
}

/// Sends what the object says, and pings. Returns the close frame, which comes last; none if the connection is broken.
async fn write(
    sink: &mut SplitSink<Stream, Wire>,
    connection: &Connection,
    errands: &Errands,
    env: &Env,
) -> Option<CloseFrame> {
    loop {
        let mut next = tokio::select! {
            next = connection.next() => Some(next),
            () = errands.asked.notified() => None,
        };
        if errands.ping.swap(false, Ordering::Relaxed) {
            unless_too_slow(connection, sink.feed(Wire::Ping(Bytes::new()))).await.ok()?;
        }
        // What waits goes out together.
        while let Some(outgoing) = next {
            match outgoing {
                Outgoing::Message(payload) => {
                    unless_too_slow(connection, send(sink, &payload)).await.ok()?;
                    connection.sent(&payload);
                }
                Outgoing::Close(close) => {
                    // A peer that does not take it is as little of an answer as one that does not send it.
                    let _ = env.timeout(CLOSE_PATIENCE, sink.send(Wire::Close(on_the_wire(&close)))).await;
                    return Some(close);
                }
            }
            next = connection.next_at_hand();
        }
        let pong = errands.pong.swap(false, Ordering::Relaxed);
        unless_too_slow(connection, sink.flush()).await.ok()?;
        if pong {
            errands.pong_sent.notify_one();
        }
    }
}

/// Sends, unless the peer turns out to be too slow: then the rest is of no use to it, and the close frame that says so comes next.
async fn unless_too_slow(
    connection: &Connection,
    sending: impl Future<Output = Result<(), Error>>,
) -> Result<(), Error> {
    tokio::select! {
        sent = sending => sent,
        () = connection.too_slow() => Ok(()),
    }
}

/// Puts a message on its way, in fragments if it is long: the library keeps the buffer of the longest frame it has sent.
async fn send(sink: &mut SplitSink<Stream, Wire>, payload: &Payload) -> Result<(), Error> {
    let (mut kind, mut rest) = match payload.message().clone() {
        Message::Text(text) => (Data::Text, text.into_bytes()),
        Message::Binary(bytes) => (Data::Binary, bytes),
    };
    while rest.len() > FRAME_BYTES {
        let fragment = rest.split_to(FRAME_BYTES);
        sink.feed(Wire::Frame(Frame::message(fragment, OpCode::Data(kind), false))).await?;
        kind = Data::Continue;
    }
    sink.feed(Wire::Frame(Frame::message(rest, OpCode::Data(kind), true))).await
}

/// Sends a close frame to a peer that broke a rule, and reads on until it has answered: closing a connection with unread bytes would
/// take the frame back.
async fn refuse(mut stream: Stream, code: u16, reason: &str) -> std::io::Result<()> {
    let reason = &reason[..reason.floor_char_boundary(REASON_MAX)];
    let _ = stream.close(Some(WireCloseFrame { code: code.into(), reason: reason.into() })).await;
    // Nothing more comes: some peers wait for that before they end the connection.
    stream.get_mut().shutdown().await?;
    let mut unread = [0; 1024];
    while stream.get_mut().read(&mut unread).await? > 0 {}
    Ok(())
}

fn on_the_wire(close: &CloseFrame) -> Option<WireCloseFrame> {
    let code = close.code?;
    Some(WireCloseFrame { code: code.into(), reason: close.reason.as_str().into() })
}

/// What an error of the connection means for the peer.
fn end_of(error: &Error, incoming: &Incoming) -> End {
    if let Some((code, reason)) = incoming.fault() {
        return End::Broken(code, reason.into());
    }
    match error {
        Error::Capacity(_) => End::Broken(code::TOO_BIG, error.to_string()),
        Error::Utf8(_) => End::Broken(code::NOT_UTF8, error.to_string()),
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => End::Vanished,
        Error::Protocol(_) => End::Broken(code::PROTOCOL, error.to_string()),
        _ => End::Vanished,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_websocket_is_recognised() {
        let with = |upgrade: &'static str| HeaderMap::from_iter([(UPGRADE, HeaderValue::from_static(upgrade))]);
        assert!(is_asked_for(&with("websocket")) && is_asked_for(&with("h2c, WebSocket")));
        assert!(!is_asked_for(&with("h2c")));
        assert!(!is_asked_for(&HeaderMap::from_iter([(CONNECTION, HeaderValue::from_static("upgrade"))])));
    }
}
