//! WebSockets: the handshake of an upgrade request, and the task that transfers the data of one socket until it is
//! closed.
//!
//! The messages of an object come from its [`Connection`]; the messages of the peer become [`SocketEvent`]s, in order.
//! The library implements the protocol (RFC 6455): masks, fragments, UTF-8, pongs, the answer to a close; `frames`
//! checks the input. Outside this module: when something may be sent, and what is buffered (`crate::sockets`).
//!
//! Invariants: an accepted socket ends with exactly one close event, whatever happens to its connection; a peer that
//! does not read, does not answer or does not finish its messages costs no more than the limits allow; reading and
//! writing do not wait for each other, except that nothing is read before the pong to the last ping is sent.

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

/// Bytes that are read at a time. Every socket has a buffer of this size.
const READ_BYTES: usize = 2 << 10;
/// Bytes of one frame that is sent, and of the buffer of a socket that has sent one. Longer messages are fragmented.
const FRAME_BYTES: usize = 16 << 10;
/// Messages of one socket that may wait for their turns. Further ones stay unread, which slows the peer down.
const IN_FLIGHT: usize = 32;
/// The time that a peer has to answer a close frame.
const CLOSE_PATIENCE: Duration = Duration::from_secs(5);
/// The delay before an event is sent again to an object whose mailbox is full.
const BUSY_WAIT: Duration = Duration::from_millis(20);
/// The delay before the last event is sent again to an object for which the host has no room.
const NO_ROOM_WAIT: Duration = Duration::from_secs(1);

/// The settings of sockets.
#[derive(Debug, Clone, Copy)]
pub struct SocketSettings {
    /// Bytes of one message (`Limits::socket_message`).
    pub message: u64,
    /// The time for which a peer may be silent before it is pinged, and then again before the connection counts as
    /// lost.
    pub silence: Duration,
}

/// A valid WebSocket handshake request.
pub struct Handshake {
    accept: HeaderValue,
    upgrade: OnUpgrade,
}

/// Reports whether a request asks for a WebSocket.
pub fn is_asked_for(headers: &HeaderMap) -> bool {
    names(headers, &UPGRADE, "websocket")
}

/// Reports whether one of the words of a header is this one.
fn names(headers: &HeaderMap, header: &HeaderName, word: &str) -> bool {
    let values = headers.get_all(header).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|name| name.trim().eq_ignore_ascii_case(word))
}

impl Handshake {
    /// Parses the handshake of a request for a WebSocket (RFC 6455 §4.2.1).
    pub fn of(method: &Method, headers: &HeaderMap, extensions: &mut Extensions) -> Result<Self, Problem> {
        let bad = |what: &'static str| Problem::new(&problem::BAD_HANDSHAKE, what);
        if method != Method::GET {
            return Err(bad("a WebSocket handshake must use the method GET"));
        }
        if !names(headers, &CONNECTION, "upgrade") {
            return Err(bad("the header `connection: upgrade` is missing"));
        }
        if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
            let detail = "the header `sec-websocket-version` must be 13";
            return Err(Problem::new(&problem::WEBSOCKET_VERSION, detail));
        }
        let key = headers.get(SEC_WEBSOCKET_KEY).filter(|key| key.len() == 24);
        let key = key.ok_or_else(|| bad("the header `sec-websocket-key` must be 16 bytes in base64"))?;
        let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes())).expect("base64 is a header value");
        let upgrade = extensions.remove::<OnUpgrade>();
        Ok(Self { accept, upgrade: upgrade.ok_or_else(|| bad("the connection cannot be upgraded; use HTTP/1.1"))? })
    }

    fn response(&self, of_object: HeaderMap) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        *headers = of_object;
        // No extension is negotiated, so a header of the object about them would be false.
        headers.remove(SEC_WEBSOCKET_EXTENSIONS);
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(SEC_WEBSOCKET_ACCEPT, self.accept.clone());
        response
    }
}

/// The outcome of an upgrade request.
pub enum Opening {
    /// The object accepted the socket: the response that opens it.
    Opened(Response),
    /// The object did not accept it: the outcome of its turn.
    Answered(Result<FetchAnswer, TurnError>),
}

/// Passes an upgrade request to the object. A task of its own serves an accepted socket until it is closed.
///
/// The turn goes on if the client disconnects meanwhile: a socket that the object accepts then is closed at once.
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
        // A client that has disconnected needs no answer.
        let _ = answer.send(opening);
    });
    let lost = || Opening::Answered(Err(TurnError::Host("the task of an upgrade request ended early".into())));
    answered.await.unwrap_or_else(|_| lost())
}

type Stream = WebSocketStream<Frames<TokioIo<Upgraded>>>;

/// The state of serving one socket.
struct Serving {
    router: Arc<Router>,
    address: ObjectAddress,
    socket: SocketId,
    settings: SocketSettings,
    wire: Arc<Connected>,
}

/// The requests to the writing side, besides the object's messages.
#[derive(Default)]
struct Errands {
    ping: AtomicBool,
    /// The library has a pong to send.
    pong: AtomicBool,
    /// Notified when one of them is set.
    asked: Notify,
    /// Notified when the pong is sent, or nothing more is sent.
    pong_sent: Notify,
    /// Nothing more is sent.
    over: AtomicBool,
}

impl Errands {
    fn ping(&self) {
        self.ping.store(true, Ordering::Relaxed);
        self.asked.notify_one();
    }

    /// Waits until the library's pong is sent, so that the host does not read from a peer that pings and never reads.
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

/// Whether the peer reads what it is sent.
#[derive(Default)]
struct Taking {
    /// Bytes that it had read at the last check.
    written: u64,
    /// The number of consecutive checks at which it had read nothing although data waited.
    stalled: u32,
}

impl Taking {
    /// Checks again. Returns false if it read nothing for two checks.
    fn goes_on(&mut self, wire: &Connected) -> bool {
        let progress = wire.progress();
        let stalls = progress.blocked && progress.written == self.written;
        *self = Self { written: progress.written, stalled: if stalls { self.stalled + 1 } else { 0 } };
        self.stalled < 2
    }
}

/// Whether the peer has sent anything. Silence while the host does not read is not counted against it.
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

    /// Returns whether anything was received since the last call.
    fn was_heard(&self) -> bool {
        self.heard.swap(false, Ordering::Relaxed) || !self.listening.load(Ordering::Relaxed)
    }
}

/// The reason for the end of a connection.
enum End {
    /// Both sides sent a close frame; this is the peer's.
    Closed(Option<WireCloseFrame>),
    /// The peer did not answer this close frame.
    Unanswered(CloseFrame),
    /// The connection broke, or the peer was silent for too long.
    Vanished,
    /// The peer violated a rule: the close code, and the reason.
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
        // From here on the socket is not among the object's open ones, and what the object sends is dropped instead of
        // kept.
        drop(connection);
        let refusing = async {
            if let (End::Broken(code, reason), Some(stream)) = (&end, stream) {
                // Without an answer the connection is over, too.
                let _ = self.env().timeout(CLOSE_PATIENCE, refuse(stream, *code, reason)).await;
            }
        };
        // The object need not wait until the peer has received the reason.
        tokio::join!(refusing, self.tell_end(&end));
    }

    /// Transfers messages in both directions until the connection ends. Returns the stream if a close frame remains to
    /// be sent.
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

    /// Reads and writes until one of the two ends.
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

    /// Passes received messages to the object until the connection ends.
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
            // Waits for a permit for the next message. Only this loop takes permits, so it is still available then.
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
                // The library answers both. It sends the answer to a close at the next read.
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
                // The outcome of its turn is in the object's log.
                let post = |event| match in_flight.clone().try_acquire_owned() {
                    Ok(permit) => self.router.post(event, permit),
                    Err(_) => Err(TurnError::Overloaded),
                };
                self.put(SocketEventKind::Message(message), charge, post).await;
            }
        }
    }

    /// Sends an event whose outcome matters to the object. None if the object no longer exists or the host stops.
    async fn tell(&self, kind: SocketEventKind) -> Option<(CallId, Pending<()>)> {
        self.put(kind, None, |event| Ok((event.id, self.router.send(event)?))).await
    }

    /// Puts an event into the object's mailbox, waiting while it is full. None if the object no longer exists or the
    /// host stops.
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
                // The host stops, or the class is deleted: the socket is being closed.
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

    /// Logs the outcome of an event without a waiting caller: failures of the class are in the object's log, the rest
    /// goes to the server's log.
    fn log(&self, call: CallId, outcome: Result<(), TurnError>) {
        if let Err(error) = outcome {
            problem::log(&error, &self.address.to_string(), call);
        }
    }

    fn env(&self) -> &Env {
        self.router.env()
    }
}

/// Sends the object's messages, and pings. Returns the close frame, which comes last; none if the connection is broken.
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
        // Messages that wait are sent together.
        while let Some(outgoing) = next {
            match outgoing {
                Outgoing::Message(payload) => {
                    unless_too_slow(connection, send(sink, &payload)).await.ok()?;
                    connection.sent(&payload);
                }
                Outgoing::Close(close) => {
                    // A peer that does not read the close frame is treated like one that does not answer it.
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

/// Sends, unless the peer proves too slow: then it cannot use the rest, and the close frame that says so comes next.
async fn unless_too_slow(
    connection: &Connection,
    sending: impl Future<Output = Result<(), Error>>,
) -> Result<(), Error> {
    tokio::select! {
        sent = sending => sent,
        () = connection.too_slow() => Ok(()),
    }
}

/// Sends a message, in fragments if it is long: the library keeps a buffer of the size of the longest frame sent.
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

/// Sends a close frame to a peer that violated a rule, and reads until it has answered: closing a connection with
/// unread bytes would discard the frame.
async fn refuse(mut stream: Stream, code: u16, reason: &str) -> std::io::Result<()> {
    let reason = &reason[..reason.floor_char_boundary(REASON_MAX)];
    let _ = stream.close(Some(WireCloseFrame { code: code.into(), reason: reason.into() })).await;
    // No more data follows: some peers wait for that before they end the connection.
    stream.get_mut().shutdown().await?;
    let mut unread = [0; 1024];
    while stream.get_mut().read(&mut unread).await? > 0 {}
    Ok(())
}

fn on_the_wire(close: &CloseFrame) -> Option<WireCloseFrame> {
    let code = close.code?;
    Some(WireCloseFrame { code: code.into(), reason: close.reason.as_str().into() })
}

/// Maps an error of the connection to the end that the peer sees.
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
