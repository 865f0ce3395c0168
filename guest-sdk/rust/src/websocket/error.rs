//! Why an operation on WebSockets is refused: the errors of the contract's `websockets`, and those of typed values.

use crate::bindings::holdfast::object::websockets as wit;

/// Why an operation on WebSockets was refused. It changed nothing, and the turn can continue.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum WebSocketError {
    /// The turn is not about a request that asks for a WebSocket.
    #[error("the turn is not about a request that asks for a WebSocket")]
    NotAnUpgrade,
    /// The turn has accepted its socket already.
    #[error("the turn has accepted its socket already")]
    AlreadyAccepted,
    /// The object has as many sockets as it may. Carries how many those are.
    #[error("the object has {0} sockets already, and may have no more")]
    TooManySockets(u32),
    /// More than 10 different tags, or one that is empty or longer than 256 bytes. Carries what is wrong in words.
    #[error("{0}")]
    BadTag(String),
    /// The object has no such socket: it never had it, or the socket's close event is over.
    #[error("the object has no such socket")]
    UnknownSocket,
    /// The socket is closing: this side has closed it, or the client has disconnected. Sending and closing are not
    /// refused then; they answer `false`.
    #[error("the socket is closing")]
    Closing,
    /// A message, an attachment, an automatic answer or a reason is too long.
    #[error("{bytes} bytes are too many: {limit} are allowed")]
    TooLarge {
        /// How long it is.
        bytes: u64,
        /// How long it may be.
        limit: u64,
    },
    /// What this turn sends is more than the host holds for one turn. Carries how many bytes that is.
    #[error("the messages of this turn are too much: {0} bytes are allowed")]
    TooMuch(u64),
    /// No code that an application may close with. Carries the code.
    #[error("close code {0}: 1000, 1001, 1003, 1007 to 1014 and 3000 to 4999 are allowed")]
    BadCode(u16),
    /// Serde could not write the value. Carries what serde says.
    #[error("the value cannot be sent or attached: {0}")]
    Encode(String),
    /// What is attached is not of the type that was asked for.
    #[error("what is attached is not of type {wanted}: {reason}")]
    Decode {
        /// The type that was asked for.
        wanted: &'static str,
        /// What serde says.
        reason: String,
    },
    /// Anything else, in the words of the host.
    #[error("{0}")]
    Other(String),
}

impl WebSocketError {
    /// Returns the case as a stable word to match on: the contract's (`wit/websockets.wit`), for example
    /// `unknown-socket`, or `encode` or `decode` for those of this crate.
    ///
    /// ```
    /// assert_eq!(holdfast::WebSocketError::UnknownSocket.case(), "unknown-socket");
    /// ```
    pub fn case(&self) -> &'static str {
        match self {
            Self::NotAnUpgrade => "not-an-upgrade",
            Self::AlreadyAccepted => "already-accepted",
            Self::TooManySockets(_) => "too-many-sockets",
            Self::BadTag(_) => "bad-tag",
            Self::UnknownSocket => "unknown-socket",
            Self::Closing => "closing",
            Self::TooLarge { .. } => "too-large",
            Self::TooMuch(_) => "too-much",
            Self::BadCode(_) => "bad-code",
            Self::Encode(_) => "encode",
            Self::Decode { .. } => "decode",
            Self::Other(_) => "other",
        }
    }
}

impl From<wit::Error> for WebSocketError {
    fn from(error: wit::Error) -> Self {
        match error {
            wit::Error::NotAnUpgrade => Self::NotAnUpgrade,
            wit::Error::AlreadyAccepted => Self::AlreadyAccepted,
            wit::Error::TooManySockets(limit) => Self::TooManySockets(limit),
            wit::Error::BadTag(reason) => Self::BadTag(reason),
            wit::Error::UnknownSocket => Self::UnknownSocket,
            wit::Error::Closing => Self::Closing,
            wit::Error::TooLarge(wit::OverLimit { size, limit }) => Self::TooLarge { bytes: size, limit },
            wit::Error::TooMuch(limit) => Self::TooMuch(limit),
            wit::Error::BadCode(code) => Self::BadCode(code),
            wit::Error::Other(reason) => Self::Other(reason),
        }
    }
}
