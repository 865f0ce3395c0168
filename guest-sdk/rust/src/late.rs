//! Work that goes on after its turn: answers that are given later ([`Deferred`]), and turns at later times
//! ([`Context::resume_after`], [`LateHandler`], [`Debounce`]). The rest of this page shows both.
//!
//! A turn is atomic, and while it runs nothing else happens in its object. A handler that must wait for another request
//! or for some time therefore ends its turn and goes on in a later one. Other turns may come between, so what it has
//! read may have changed.
//!
//! **None of it is durable.** It lives in the instance, and an instance is dropped by a deploy, an error, a lack of
//! memory or a stop of the host. Callers then get the error `instance-dropped`, and resumes do not come. What must
//! happen belongs in [storage](crate::Storage) with an [alarm](mod@crate::alarm).
//!
//! # Answering later
//! ```no_run
//! use holdfast::prelude::*;
//!
//! /// Answers `GET` when the next `POST` brings something.
//! #[object]
//! struct Mailbox {
//!     ctx: Context,
//!     waiting: Vec<Deferred>,
//! }
//!
//! impl Object for Mailbox {
//!     fn new(ctx: Context) -> Result<Self> {
//!         Ok(Self { ctx, waiting: Vec::new() })
//!     }
//!
//!     fn fetch(&mut self, request: Request) -> Result<Response> {
//!         if request.method() == Method::POST {
//!             for waiting in self.waiting.drain(..) {
//!                 // A client that has gone needs no answer.
//!                 let _ = waiting.respond(Response::text(request.text()?));
//!             }
//!         } else {
//!             self.waiting.push(self.ctx.defer()?);
//!         }
//!         Ok(Response::new(StatusCode::NO_CONTENT)) // not sent if the answer is deferred
//!     }
//! }
//! # fn main() {}
//! ```
//!
//! # Doing something later
//! `#[object(later)]` says that a class has a [`LateHandler`]:
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use holdfast::prelude::*;
//!
//! /// Stores what it was sent last, at most once a second.
//! #[object(later)]
//! struct Draft {
//!     ctx: Context,
//!     text: String,
//!     saving: Debounce,
//! }
//!
//! impl Object for Draft {
//!     fn new(ctx: Context) -> Result<Self> {
//!         Ok(Self { ctx, text: String::new(), saving: Debounce::default() })
//!     }
//!
//!     fn fetch(&mut self, request: Request) -> Result<Response> {
//!         self.text = request.text()?.to_owned();
//!         self.saving.put_off(&self.ctx, Duration::from_secs(1))?;
//!         Ok(Response::new(StatusCode::ACCEPTED))
//!     }
//! }
//!
//! impl LateHandler for Draft {
//!     fn resume(&mut self, tokens: &[Token]) -> Result<()> {
//!         if self.saving.is_due(tokens) {
//!             self.ctx.storage().put("text", &self.text)?;
//!         }
//!         Ok(())
//!     }
//! }
//! # fn main() {}
//! ```

use std::fmt;
use std::time::Duration;

use crate::bindings::holdfast::object::later as wit;
use serde::Serialize;

use crate::calls::encode;
use crate::{Context, Error, Object, Response, Result, WebSocket, declared};

/// A class that resumes work of earlier turns. Belongs to `#[object(later)]`; see [`mod@crate::late`].
#[diagnostic::on_unimplemented(
    message = "the #[object(later)] struct `{Self}` has no `impl LateHandler`",
    label = "what should it do when its work is due? Write `impl LateHandler for {Self}`",
    note = "fn resume(&mut self, tokens: &[Token]) -> Result<()>"
)]
pub trait LateHandler: Object + declared::Later {
    /// Resumes what is due: one turn for all tokens that are due at this moment, at most 256. Each comes once, also if
    /// this fails.
    fn resume(&mut self, tokens: &[Token]) -> Result<()>;
}

/// Names a resume, from [`Context::resume_after`] or [`Deferred::on_gone`]. An instance never uses one again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(pub(crate) u64);

/// The answer of a turn that is given in a later one, from [`Context::defer`]. Kept in the object's struct.
/// Dropped unanswered, it answers with an error (`unanswered`).
#[derive(Debug)]
#[must_use = "its caller waits until it is answered"]
pub struct Deferred(u64);

impl Context {
    /// Defers the answer of the turn that runs: what its handler returns with `Ok` is not sent.
    ///
    /// # Errors
    /// [`LateError::NotDeferrable`] in a resume, in [`Object::new`], when it is deferred already, or if the class is
    /// deployed with `interleave = false`; [`LateError::TooMany`] beyond 1,000 deferred answers.
    pub fn defer(&self) -> Result<Deferred, LateError> {
        Ok(Deferred(wit::defer()?))
    }

    /// Resumes this instance in a turn of its own after this much time, and keeps it in memory until then: at most for
    /// the `late-seconds` of the class (120 by default) after the last event from outside.
    ///
    /// # Errors
    /// [`LateError::TooMany`] beyond 1,000 resumes.
    pub fn resume_after(&self, delay: Duration) -> Result<Token, LateError> {
        resume_after(delay, true)
    }

    /// As [`resume_after`](Self::resume_after), and lets the instance be dropped when it is idle: for what repeats.
    ///
    /// # Errors
    /// As [`resume_after`](Self::resume_after).
    pub fn resume_if_in_memory_after(&self, delay: Duration) -> Result<Token, LateError> {
        resume_after(delay, false)
    }

    /// Keeps this instance in memory as long as the socket is open, unless its room is needed. If the instance is
    /// dropped nevertheless, the socket is closed with code 1012.
    ///
    /// # Errors
    /// [`LateError::Other`] if there is no such socket.
    pub fn hold_for(&self, socket: WebSocket) -> Result<(), LateError> {
        Ok(wit::hold_for(socket.id())?)
    }

    /// While it is on, only resumes come to this object, and all other events wait; the host's own messages come, too.
    /// After 30 s, or when the instance has no late work, the instance is dropped.
    pub fn set_exclusive(&self, on: bool) {
        wit::exclusive(on);
    }

    /// Has this instance dropped when the turn has ended, whether it succeeds or fails: the next turn begins with a new
    /// one. A failed turn alone keeps the instance if it has stored and sent nothing.
    pub fn drop_instance(&self) {
        wit::drop_instance();
    }

    /// Forgets a resume. Returns whether there was one to forget.
    pub fn cancel(&self, token: Token) -> bool {
        wit::cancel(token.0)
    }
}

fn resume_after(delay: Duration, holds: bool) -> Result<Token, LateError> {
    // Not before its time.
    let milliseconds = delay.as_micros().div_ceil(1_000).try_into().unwrap_or(u64::MAX);
    Ok(Token(wit::resume_after(milliseconds, holds)?))
}

impl Deferred {
    /// Answers a deferred request, as part of the turn that runs.
    ///
    /// # Errors
    /// [`LateError::Gone`] if its client has gone, [`LateError::WrongKind`] if it is not a request.
    pub fn respond(self, response: Response) -> Result<()> {
        let response = response.try_into()?;
        Ok(self.reply(wit::Answer::Response(response))?)
    }

    /// Answers a deferred call, as part of the turn that runs.
    ///
    /// # Errors
    /// [`LateError::Gone`] if its caller has gone, [`LateError::WrongKind`] if it is not a call.
    pub fn return_value(self, value: &(impl Serialize + ?Sized)) -> Result<()> {
        let value = encode(value)?;
        Ok(self.reply(wit::Answer::Value(value))?)
    }

    /// Refuses a deferred call with a value. It undoes nothing.
    ///
    /// # Errors
    /// As [`return_value`](Self::return_value).
    pub fn refuse(self, value: &(impl Serialize + ?Sized)) -> Result<()> {
        let value = encode(value)?;
        Ok(self.reply(wit::Answer::Refused(value))?)
    }

    /// Ends a deferred event of a WebSocket or an alarm.
    ///
    /// # Errors
    /// [`LateError::WrongKind`] if it is a request.
    pub fn done(self) -> Result<(), LateError> {
        self.reply(wit::Answer::Done)
    }

    /// Answers with an error, as if the deferred handler had returned it. What this turn writes is kept.
    ///
    /// # Errors
    /// [`LateError::Gone`] if its client has gone.
    pub fn fail(self, error: Error) -> Result<(), LateError> {
        self.reply(wit::Answer::Failed(error.into()))
    }

    /// Accepts the socket that a deferred request asks for. It opens when this is answered with status 101.
    ///
    /// # Errors
    /// [`LateError::WrongKind`] if the request asks for none, [`LateError::TooMany`] beyond the limit of sockets.
    pub fn accept_websocket(&self, tags: impl IntoIterator<Item = impl Into<String>>) -> Result<WebSocket, LateError> {
        let tags: Vec<String> = tags.into_iter().map(Into::into).collect();
        Ok(WebSocket::from_id(wit::accept(self.0, &tags)?))
    }

    /// Resumes this instance when the client has gone that waits for this answer.
    ///
    /// # Errors
    /// [`LateError::Gone`] if it has gone already, [`LateError::WrongKind`] if this is not a request.
    pub fn on_gone(&self) -> Result<Token, LateError> {
        Ok(Token(wit::on_gone(self.0)?))
    }

    fn reply(self, answer: wit::Answer) -> Result<(), LateError> {
        let replied = wit::reply(self.0, &answer);
        // Whatever came of it, there is nothing more to answer.
        std::mem::forget(self);
        Ok(replied?)
    }
}

impl Drop for Deferred {
    fn drop(&mut self) {
        let error = Error::new("unanswered", "the object dropped the deferred answer without giving it");
        // Its caller has gone, or the instance is at its end.
        let _ = wit::reply(self.0, &wit::Answer::Failed(error.into()));
    }
}

/// Puts something off until nobody has asked for it for a while, such as saving what changes often.
#[derive(Debug, Default)]
pub struct Debounce {
    token: Option<Token>,
}

impl Debounce {
    /// Puts it off until this much time from now, whatever it was put off to before.
    ///
    /// # Errors
    /// As [`Context::resume_after`].
    pub fn put_off(&mut self, ctx: &Context, delay: Duration) -> Result<(), LateError> {
        let token = ctx.resume_after(delay)?;
        if let Some(earlier) = self.token.replace(token) {
            ctx.cancel(earlier);
        }
        Ok(())
    }

    /// Does it no more. Returns whether it was to be done.
    pub fn cancel(&mut self, ctx: &Context) -> bool {
        self.token.take().is_some_and(|token| ctx.cancel(token))
    }

    /// Returns whether these tokens of [`LateHandler::resume`] say that it is to be done now. Answers `true` once.
    pub fn is_due(&mut self, tokens: &[Token]) -> bool {
        self.token.take_if(|token| tokens.contains(token)).is_some()
    }
}

/// Why late work was refused. Nothing has changed, and the turn can go on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LateError {
    /// The instance has as many resumes or deferred answers as it may; carries the limit.
    TooMany(u32),
    /// The answer of this turn cannot be deferred.
    NotDeferrable,
    /// Nobody waits for the answer any more.
    Gone,
    /// The caller waits for another kind of answer.
    WrongKind,
    /// Any other reason, in words.
    Other(String),
}

impl From<wit::Error> for LateError {
    fn from(error: wit::Error) -> Self {
        match error {
            wit::Error::TooMany(limit) => Self::TooMany(limit),
            wit::Error::NotDeferrable => Self::NotDeferrable,
            wit::Error::Gone => Self::Gone,
            wit::Error::WrongKind => Self::WrongKind,
            wit::Error::Other(why) => Self::Other(why),
        }
    }
}

impl fmt::Display for LateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooMany(limit) => write!(f, "the instance has {limit} of them, as many as it may"),
            Self::NotDeferrable => f.write_str("the answer of this turn cannot be deferred"),
            Self::Gone => f.write_str("nobody waits for the answer any more"),
            Self::WrongKind => f.write_str("the caller waits for another kind of answer"),
            Self::Other(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for LateError {}

impl LateError {
    pub(crate) fn case(&self) -> &'static str {
        match self {
            Self::TooMany(_) => "too-many",
            Self::NotDeferrable => "not-deferrable",
            Self::Gone => "gone",
            Self::WrongKind => "wrong-kind",
            Self::Other(_) => "other",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_debounce_is_due_once_and_only_by_its_own_token() {
        let mut saving = Debounce { token: Some(Token(3)) };
        assert!(!saving.is_due(&[Token(1), Token(2)]));
        assert!(saving.is_due(&[Token(2), Token(3)]) && !saving.is_due(&[Token(3)]));
    }
}
