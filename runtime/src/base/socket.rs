//! The data types of WebSockets: messages, events, close frames, counts. No I/O and no state: the sockets themselves
//! are in `crate::sockets`.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::MemoryCharge;

/// Close codes that the host itself uses (RFC 6455 §7.4.1 and the registry of IANA that it founds).
pub mod code {
    /// The object or class of the socket is gone.
    pub const GOING_AWAY: u16 = 1001;
    /// The peer broke the protocol.
    pub const PROTOCOL: u16 = 1002;
    /// The peer sent a close frame without a code. Never sent.
    pub const NONE: u16 = 1005;
    /// The peer sent no close frame. Never sent.
    pub const VANISHED: u16 = 1006;
    /// A text message is not UTF-8.
    pub const NOT_UTF8: u16 = 1007;
    /// A message is over the limit.
    pub const TOO_BIG: u16 = 1009;
    /// A turn with the socket failed.
    pub const FAILED: u16 = 1011;
    /// The host is stopping.
    pub const RESTART: u16 = 1012;
    /// The peer is too slow.
    pub const TRY_AGAIN_LATER: u16 = 1013;
}

/// The id of a socket, unique for the lifetime of the data directory: ids increase and are never reused, also not by a
/// later process. Less than 2^53, so that any language's numbers hold it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketId(pub u64);

impl fmt::Display for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Shared UTF-8 text; a clone does not copy it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text(Bytes);

impl Text {
    /// Returns the text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("checked when it was made, and never changed")
    }

    /// Returns the bytes of the text.
    pub fn into_bytes(self) -> Bytes {
        self.0
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl TryFrom<Bytes> for Text {
    type Error = std::str::Utf8Error;

    fn try_from(bytes: Bytes) -> Result<Self, Self::Error> {
        std::str::from_utf8(&bytes)?;
        Ok(Self(bytes))
    }
}

/// One complete message. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Text.
    Text(Text),
    /// Bytes.
    Binary(Bytes),
}

impl Message {
    /// Returns the bytes of its payload.
    pub fn size(&self) -> u64 {
        match self {
            Self::Text(text) => text.0.len() as u64,
            Self::Binary(bytes) => bytes.len() as u64,
        }
    }
}

/// The content of a close frame. Without a code there is no reason.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CloseFrame {
    /// RFC 6455 §7.4.
    pub code: Option<u16>,
    /// At most [`REASON_MAX`](super::limits::REASON_MAX) bytes.
    pub reason: String,
}

impl CloseFrame {
    /// Creates a close frame of the host.
    pub fn of_host(code: u16, reason: &str) -> Self {
        Self { code: Some(code), reason: reason.into() }
    }
}

/// A response that the host sends to a text message on behalf of the object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AutoResponse {
    /// The text message to respond to.
    pub request: String,
    /// The response.
    pub response: String,
}

/// An event of an object's socket: one turn.
#[derive(Debug, Clone)]
pub struct SocketEvent {
    /// The socket.
    pub socket: SocketId,
    /// The kind of event.
    pub kind: SocketEventKind,
    /// The memory charge of a message until its turn is over; none if it is small.
    pub charge: Option<Arc<MemoryCharge>>,
}

/// The kinds of socket events.
#[derive(Debug, Clone)]
pub enum SocketEventKind {
    /// A message arrived.
    Message(Message),
    /// The connection is over: the last event.
    Close {
        /// The code of the peer: 1005 if it sent none, 1006 if it sent no close frame.
        code: u16,
        /// The reason of the peer.
        reason: Arc<str>,
        /// Whether both sides sent a close frame.
        was_clean: bool,
    },
    /// The connection failed; a close event follows.
    Error(Arc<str>),
}

impl SocketEventKind {
    /// Returns the bytes that the event holds while it waits.
    pub fn size(&self) -> u64 {
        match self {
            Self::Message(message) => message.size(),
            Self::Close { reason: text, .. } | Self::Error(text) => text.len() as u64,
        }
    }
}

/// Counts of an object's sockets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SocketCounts {
    /// Sockets that are open or closing.
    pub sockets: u64,
    /// Bytes of messages that wait for peers; a message counts once for each peer.
    pub buffered_bytes: u64,
    /// Messages received since the object last had no socket.
    pub messages_in: u64,
    /// Messages sent since then.
    pub messages_out: u64,
}
