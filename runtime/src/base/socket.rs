//! What passes over a WebSocket, and what can be told of one. No I/O and no state: the sockets themselves are `crate::sockets`.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::MemoryCharge;

/// Codes of closing that the host uses itself (RFC 6455 §7.4.1 and the registry of IANA that it founds).
pub mod code {
    /// What the socket was about is gone.
    pub const GOING_AWAY: u16 = 1001;
    /// The peer broke the protocol.
    pub const PROTOCOL: u16 = 1002;
    /// The peer closed without a code. Never sent.
    pub const NONE: u16 = 1005;
    /// The peer said no close_frame. Never sent.
    pub const VANISHED: u16 = 1006;
    /// Text that is not UTF-8.
    pub const NOT_UTF8: u16 = 1007;
    /// A message over the limit.
    pub const TOO_BIG: u16 = 1009;
    /// A turn with the socket failed.
    pub const FAILED: u16 = 1011;
    /// The host stops.
    pub const RESTART: u16 = 1012;
    /// The peer is too slow.
    pub const TRY_AGAIN_LATER: u16 = 1013;
}

/// A socket, for as long as the data directory lives: ids rise and are never used again, also not by a later process. Less than
/// 2^53, so that any language's numbers hold it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketId(pub u64);

impl fmt::Display for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// UTF-8 that is shared, not copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text(Bytes);

impl Text {
    /// The text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("checked when it was made, and never changed")
    }

    /// Its bytes.
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

/// One whole message. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Text.
    Text(Text),
    /// Bytes.
    Binary(Bytes),
}

impl Message {
    /// Bytes of its payload.
    pub fn size(&self) -> u64 {
        match self {
            Self::Text(text) => text.0.len() as u64,
            Self::Binary(bytes) => bytes.len() as u64,
        }
    }
}

/// With what a side says close_frame. Without a code it says nothing else.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CloseFrame {
    /// RFC 6455 §7.4.
    pub code: Option<u16>,
    /// At most [`REASON_MAX`](super::limits::REASON_MAX) bytes.
    pub reason: String,
}

impl CloseFrame {
    /// A close frame of the host.
    pub fn of_host(code: u16, reason: &str) -> Self {
        Self { code: Some(code), reason: reason.into() }
    }
}

/// What an object has the host answer for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AutoResponse {
    /// The text message that is answered.
    pub request: String,
    /// The answer.
    pub response: String,
}

/// Something that happened to a socket of an object: one turn.
#[derive(Debug, Clone)]
pub struct SocketEvent {
    /// The socket.
    pub socket: SocketId,
    /// What happened.
    pub kind: SocketEventKind,
    /// What a message takes of the host's memory until its turn is over; none if it is small.
    pub charge: Option<Arc<MemoryCharge>>,
}

/// What happened to a socket.
#[derive(Debug, Clone)]
pub enum SocketEventKind {
    /// A message came.
    Message(Message),
    /// The connection is over: the last event.
    Close {
        /// The peer's, 1005 if it sent none, 1006 if it said no close_frame.
        code: u16,
        /// The peer's.
        reason: Arc<str>,
        /// Whether both sides said close_frame.
        was_clean: bool,
    },
    /// Something is wrong with the connection; the close follows.
    Error(Arc<str>),
}

impl SocketEventKind {
    /// Bytes that it holds while it waits.
    pub fn size(&self) -> u64 {
        match self {
            Self::Message(message) => message.size(),
            Self::Close { reason: text, .. } | Self::Error(text) => text.len() as u64,
        }
    }
}

/// What there is to tell of an object's sockets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SocketCounts {
    /// Sockets that are open or closing.
    pub sockets: u64,
    /// Bytes of messages that wait for peers, each counted for each.
    pub buffered_bytes: u64,
    /// Messages that came since the object last had no socket.
    pub messages_in: u64,
    /// Messages that left since then.
    pub messages_out: u64,
}
