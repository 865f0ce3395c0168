//! The object's WebSockets: accepting them, sending and closing ([`WebSocket`] and what [`Context`] has about them),
//! and handling incoming messages ([`WebSocketHandler`]). The rest of this page shows both. The host owns connections,
//! their order, their limits and their end.
//!
//! # A room
//! A request for a WebSocket comes to [`fetch`](crate::Object::fetch) like any other. The object accepts it and answers
//! with the response that it got; any other answer refuses it. `#[object(websocket)]` says that a class handles
//! incoming messages, and [`WebSocketHandler`] has the handlers:
//!
//! ```no_run
//! use holdfast::prelude::*;
//!
//! /// Sends every message to all clients.
//! #[object(websocket)]
//! struct Room {
//!     ctx: Context,
//! }
//!
//! impl Object for Room {
//!     fn new(ctx: Context) -> Result<Self> {
//!         Ok(Self { ctx })
//!     }
//!
//!     fn fetch(&mut self, request: Request) -> Result<Response> {
//!         if !request.is_websocket_upgrade() {
//!             return Ok(Response::text(format!("{} are here", self.ctx.websockets(None).len())));
//!         }
//!         let (socket, response) = self.ctx.accept_websocket(&request, ["guest"])?;
//!         socket.send("welcome")?;
//!         Ok(response)
//!     }
//! }
//!
//! impl WebSocketHandler for Room {
//!     fn message(&mut self, _socket: WebSocket, message: Message) -> Result<()> {
//!         self.ctx.broadcast("guest", message)?;
//!         Ok(())
//!     }
//! }
//! # fn main() {}
//! ```
//!
//! # Guarantees
//! * **Part of the turn.** A turn sees its own changes of sockets, and they count when the turn succeeds: a failed turn
//!   sends nothing and accepts no socket. Messages are sent when everything that the turn wrote is on disk, in order: a
//!   client can rely on every message that it gets. A [`transaction`](crate::Storage::transaction) that is undone does
//!   not undo them.
//! * **In order.** The messages of one socket are handled one by one in their order, and its close event is the last.
//! * **They outlive the instance.** The host holds the connections. An idle object is not in memory, and the next
//!   message wakes it, on the newest version of its class. Tags and attachments are still there; fields of the struct
//!   are not.
//! * **They do not outlive the host.** After a restart an object has no sockets, and gets no close event. Clients
//!   reconnect. Correct stored presence in [`new`](crate::Object::new); see [below](#presence).
//! * **A failed handler ends its socket**, with code 1011: the client cannot know how many of its messages were
//!   handled. Answer mistakes of a client with a message rather than with an `Err`.
//!
//! Browsers let every page open a WebSocket to any host. If a cookie authenticates the user, compare the request's
//! `origin` with the origin of your pages before you accept.
//!
//! # What an object knows about a socket
//! Tags select sockets and do not change after acceptance. An attachment is a value of the class, at most 16,384 bytes
//! encoded, that can change. Both can also be read in the close event.
//!
//! ```no_run
//! # use holdfast::prelude::*;
//! # use serde::{Deserialize, Serialize};
//! #[derive(Serialize, Deserialize)]
//! struct Player {
//!     name: String,
//!     lives: u8,
//! }
//!
//! fn hit(ctx: &Context, name: &str) -> Result<()> {
//!     for socket in ctx.websockets(name) {
//!         let mut player: Player = socket.attachment()?.context("accepted without an attachment")?;
//!         player.lives = player.lives.saturating_sub(1);
//!         socket.set_attachment(&player)?;
//!         socket.send_json(&player)?;
//!     }
//!     Ok(())
//! }
//! ```
//!
//! # Presence
//! [`ctx.websockets(None)`](crate::Context::websockets) are the open sockets. If a table also stores presence (for
//! example when a person was last seen), a restart of the host makes the table wrong, so `new` compares:
//!
//! ```no_run
//! # use holdfast::prelude::*;
//! fn reconcile(ctx: &Context) -> Result<()> {
//!     for name in ctx.sql().query_all::<String>("SELECT name FROM person WHERE online", [])? {
//!         if ctx.websockets(&*name).is_empty() {
//!             ctx.sql().exec("UPDATE person SET online = FALSE WHERE name = ?", params![name])?;
//!         }
//!     }
//!     Ok(())
//! }
//! ```
//!
//! # Sub-protocols
//! A client may offer sub-protocols; the answer can choose one of them. A browser that offered some expects that.
//!
//! ```no_run
//! # use holdfast::prelude::*;
//! # fn f(ctx: &Context, request: &Request) -> Result<Response> {
//! let (_, response) = ctx.accept_websocket(request, ["v2"])?;
//! match request.websocket_protocols().find(|offered| *offered == "chat.v2") {
//!     Some(chosen) => Ok(response.with_header("sec-websocket-protocol", chosen)),
//!     None => Ok(Response::error(StatusCode::BAD_REQUEST, "speak chat.v2")), // not accepted then
//! }
//! # }
//! ```
//!
//! # Keeping a connection
//! The host answers WebSocket pings by itself. Clients in browsers cannot send those, so they send a message and wait
//! for another. [`ctx.set_auto_response("ping", "pong")`](crate::Context::set_auto_response) has the host answer it
//! without waking the object.
//!
//! # Close codes
//! | code | means |
//! |---|---|
//! | 1000, 1001 | done; going away |
//! | 1005 | the client closed without a code |
//! | 1006 | the client vanished |
//! | 1009 | a message was over the limit of 32 MiB |
//! | 1011 | a handler failed |
//! | 1012 | the host is shutting down: connect again |
//! | 1013 | the client was too slow: over 8 MiB waited for it, and the host dropped them |
//! | 3000 to 4999 | yours |
//!
//! [`WebSocket::close`] takes 1000, 1001, 1003, 1007 to 1014 and 3000 to 4999.

mod error;
mod message;

use std::time::SystemTime;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::bindings::holdfast::object::websockets as wit;
pub use crate::bindings::holdfast::object::websockets::{AutoResponsePair as AutoResponse, Message};
use crate::{Context, Object, Request, Response, Result, alarm, declared, encoding};
pub use error::WebSocketError;

/// A class that handles the messages of its WebSockets. Belongs to `#[object(websocket)]`; see
/// [`mod@crate::websocket`].
///
/// Each call is a turn, like a request. If it fails, the socket is closed with code 1011, its further messages are
/// dropped, and its close event follows. Without this handler a class can accept sockets and send to them; their
/// messages are dropped.
#[diagnostic::on_unimplemented(
    message = "the #[object(websocket)] struct `{Self}` has no `impl WebSocketHandler`",
    label = "what should it do when a message comes? Write `impl WebSocketHandler for {Self}`",
    note = "fn message(&mut self, socket: WebSocket, message: Message) -> Result<()>"
)]
pub trait WebSocketHandler: Object + declared::WebSocket {
    /// Handles a message of at most 32 MiB.
    fn message(&mut self, socket: WebSocket, message: Message) -> Result<()>;

    /// Handles the end of the connection, from either side; it is the last event of this socket. The socket is not
    /// among [`Context::websockets`] any more; its tags and its attachment can be read until this turn ends. Does
    /// nothing unless written.
    fn close(&mut self, socket: WebSocket, close: Close) -> Result<()> {
        let _ = (socket, close);
        Ok(())
    }

    /// Handles an error of the connection, as a text for a log: the client broke the protocol or sent a message over
    /// the limit. The host closes it, and its close event follows. Does nothing unless written.
    fn error(&mut self, socket: WebSocket, reason: String) -> Result<()> {
        let _ = (socket, reason);
        Ok(())
    }
}

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Close {
    /// What the client closed with, 1005 if it gave no code; if it did not answer, what this side closed with, or 1006
    /// if the client vanished.
    pub code: u16,
    /// The client's words, often empty.
    pub reason: String,
    /// Whether both sides sent a close frame.
    pub was_clean: bool,
}

/// One of the object's WebSockets: a handle that costs nothing to copy or to keep. The host has the socket itself.
///
/// Sockets compare by the order in which they were accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WebSocket(u64);

impl WebSocket {
    /// Returns the socket with this [`id`](Self::id). If the object has no such socket, its functions answer
    /// [`WebSocketError::UnknownSocket`].
    pub fn from_id(id: u64) -> Self {
        Self(id)
    }

    /// Returns its id among this object's sockets: rising in the order of acceptance, never used again, less than 2^53.
    pub fn id(self) -> u64 {
        self.0
    }

    /// Sends a message: text, bytes, or a [`Message`]. It is sent when everything that this turn wrote is on disk.
    /// Returns `false` if the socket is closing and the message will not be read: a client may disconnect at any time,
    /// and the turn need not fail.
    ///
    /// ```no_run
    /// # use holdfast::prelude::*;
    /// # fn f(socket: WebSocket, picture: Vec<u8>) -> Result<()> {
    /// socket.send("look")?;
    /// socket.send(picture)?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`TooLarge`](WebSocketError::TooLarge) over 32 MiB; [`TooMuch`](WebSocketError::TooMuch);
    /// [`UnknownSocket`](WebSocketError::UnknownSocket).
    pub fn send(self, message: impl Into<Message>) -> Result<bool, WebSocketError> {
        unless_closing(wit::send(self.0, &message.into()))
    }

    /// [Sends](Self::send) a value as JSON, in a text message.
    ///
    /// # Errors
    /// [`Encode`](WebSocketError::Encode) if the value cannot be JSON, and those of [`send`](Self::send).
    pub fn send_json<T: Serialize + ?Sized>(self, value: &T) -> Result<bool, WebSocketError> {
        self.send(Message::json(value)?)
    }

    /// Closes the socket after all messages to it, with a code and a reason of at most 123 bytes; `None` sends no code,
    /// and the reason is empty then. The close event follows when the client has answered. Returns `false` if it is
    /// closing already.
    ///
    /// ```no_run
    /// # use holdfast::prelude::*;
    /// # fn f(socket: WebSocket) -> Result<()> {
    /// socket.close(4003, "you were asked to leave")?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`BadCode`](WebSocketError::BadCode), [`TooLarge`](WebSocketError::TooLarge),
    /// [`UnknownSocket`](WebSocketError::UnknownSocket).
    pub fn close(self, code: impl Into<Option<u16>>, reason: impl AsRef<str>) -> Result<bool, WebSocketError> {
        unless_closing(wit::close(self.0, code.into(), reason.as_ref()))
    }

    /// The tags that it was accepted with, sorted.
    ///
    /// # Errors
    /// [`UnknownSocket`](WebSocketError::UnknownSocket).
    pub fn tags(self) -> Result<Vec<String>, WebSocketError> {
        Ok(wit::tags(self.0)?)
    }

    /// What is attached to it; `None` if nothing is.
    ///
    /// # Errors
    /// [`Decode`](WebSocketError::Decode) if it is of another type; [`UnknownSocket`](WebSocketError::UnknownSocket).
    pub fn attachment<T: DeserializeOwned>(self) -> Result<Option<T>, WebSocketError> {
        let decode = |bytes: Vec<u8>| {
            let wanted = std::any::type_name::<T>();
            encoding::decode(&bytes).map_err(|reason| WebSocketError::Decode { wanted, reason })
        };
        wit::attachment(self.0)?.map(decode).transpose()
    }

    /// Attaches a value, in place of what was attached: encoded [as in storage](crate::Storage#how-values-are-stored),
    /// at most 16,384 bytes.
    ///
    /// # Errors
    /// [`Encode`](WebSocketError::Encode), [`TooLarge`](WebSocketError::TooLarge),
    /// [`UnknownSocket`](WebSocketError::UnknownSocket).
    pub fn set_attachment<T: Serialize + ?Sized>(self, value: &T) -> Result<(), WebSocketError> {
        let bytes = encoding::encode(value).map_err(WebSocketError::Encode)?;
        Ok(wit::set_attachment(self.0, Some(&bytes))?)
    }

    /// Removes what is attached. Without that this does nothing.
    ///
    /// # Errors
    /// [`UnknownSocket`](WebSocketError::UnknownSocket).
    pub fn remove_attachment(self) -> Result<(), WebSocketError> {
        Ok(wit::set_attachment(self.0, None)?)
    }

    /// Bytes of messages that have left their turns and wait for the client to take them. Over 8 MiB the host drops
    /// them and closes the socket with code 1013.
    ///
    /// # Errors
    /// [`UnknownSocket`](WebSocketError::UnknownSocket).
    pub fn buffered(self) -> Result<u64, WebSocketError> {
        Ok(wit::buffered(self.0)?)
    }

    /// When the host last gave the [automatic answer](Context::set_auto_response) on it; `None` if it never has.
    ///
    /// # Errors
    /// [`UnknownSocket`](WebSocketError::UnknownSocket).
    pub fn auto_response_time(self) -> Result<Option<SystemTime>, WebSocketError> {
        Ok(wit::auto_response_time(self.0)?.map(alarm::time))
    }
}

/// A socket that is closing is what happens, not what went wrong.
fn unless_closing(outcome: Result<(), wit::Error>) -> Result<bool, WebSocketError> {
    match outcome {
        Ok(()) => Ok(true),
        Err(wit::Error::Closing) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

impl Context {
    /// Accepts the WebSocket that a request asks for; a turn can do that once. Answering with the response, which has
    /// status 101, makes the connection; any other answer refuses it. What is sent meanwhile comes after the handshake.
    ///
    /// Up to 10 different tags of 1 to 256 bytes select it later.
    ///
    /// # Errors
    /// [`NotAnUpgrade`](WebSocketError::NotAnUpgrade), [`AlreadyAccepted`](WebSocketError::AlreadyAccepted),
    /// [`TooManySockets`](WebSocketError::TooManySockets), [`BadTag`](WebSocketError::BadTag).
    pub fn accept_websocket(
        &self,
        request: &Request,
        tags: impl IntoIterator<Item = impl Into<String>>,
    ) -> Result<(WebSocket, Response), WebSocketError> {
        if !request.is_websocket_upgrade() {
            return Err(WebSocketError::NotAnUpgrade);
        }
        let tags: Vec<String> = tags.into_iter().map(Into::into).collect();
        Ok((WebSocket(wit::accept(&tags)?), Response::new(http::StatusCode::SWITCHING_PROTOCOLS)))
    }

    /// Returns the open sockets with this tag, or with `None` all of them: oldest first, without those that are
    /// closing.
    pub fn websockets<'a>(&self, tag: impl Into<Option<&'a str>>) -> Vec<WebSocket> {
        wit::sockets(tag.into()).into_iter().map(WebSocket).collect()
    }

    /// Sends a message to all open sockets with this tag, or with `None` to all of them, and returns their number. The
    /// host keeps the message once, however many receive it.
    ///
    /// # Errors
    /// [`TooLarge`](WebSocketError::TooLarge) over 32 MiB; [`TooMuch`](WebSocketError::TooMuch).
    pub fn broadcast<'a>(
        &self,
        tag: impl Into<Option<&'a str>>,
        message: impl Into<Message>,
    ) -> Result<u32, WebSocketError> {
        Ok(wit::broadcast(tag.into(), &message.into())?)
    }

    /// What the host answers for the object; `None` if nothing is set.
    pub fn auto_response(&self) -> Option<AutoResponse> {
        wit::auto_response()
    }

    /// Has the host answer one text message with another on all sockets of this object, without waking it, in place of
    /// what was set. Each is at most 2,048 bytes long. It is kept as long as the object has a socket or an instance, so
    /// the place to set it is where sockets are accepted.
    ///
    /// # Errors
    /// [`TooLarge`](WebSocketError::TooLarge).
    pub fn set_auto_response(
        &self,
        request: impl Into<String>,
        response: impl Into<String>,
    ) -> Result<(), WebSocketError> {
        let pair = AutoResponse { request: request.into(), response: response.into() };
        Ok(wit::set_auto_response(Some(&pair))?)
    }

    /// Ends that. If nothing is set, this does nothing.
    ///
    /// # Errors
    /// Only what is the host's fault.
    pub fn remove_auto_response(&self) -> Result<(), WebSocketError> {
        Ok(wit::set_auto_response(None)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_that_closes_meanwhile_fails_no_turn() {
        assert_eq!(unless_closing(Ok(())), Ok(true));
        assert_eq!(unless_closing(Err(wit::Error::Closing)), Ok(false));
        assert_eq!(unless_closing(Err(wit::Error::UnknownSocket)), Err(WebSocketError::UnknownSocket));
    }
}
