//! The trait that a class implements ([`Object`]) and the argument that it gets ([`Context`]).

use std::any::Any;

use crate::bindings::holdfast::object::identity;
use crate::{AlarmClock, Request, Response, Result, Sql, Storage};

/// A class: how its objects are made and what they do.
///
/// The host makes at most one instance of an object and calls it with one event at a time, so `&mut self` is all the
/// locking there is. Each call is a **turn**: when it returns `Ok`, everything it wrote and its answer become visible
/// together; when it returns `Err`, panics, or runs out of its time or memory, nothing of it stays. The instance is
/// then dropped, except after an `Err` of a turn that had written and sent nothing: fields keep what it did to them.
/// Between turns an instance may be dropped at any time (it is after some seconds without requests), so fields are a
/// cache: what must last goes to [`Context::storage`] or [`Context::sql`].
///
/// A class that is also called at times that it sets implements [`AlarmHandler`](crate::AlarmHandler), one that listens
/// to WebSockets [`WebSocketHandler`](crate::WebSocketHandler), one that goes on later
/// [`LateHandler`](crate::LateHandler), one that other objects call [`CallHandler`](crate::CallHandler).
///
/// ```no_run
/// use holdfast::prelude::*;
///
/// #[object]
/// struct Counter {
///     ctx: Context,
/// }
///
/// impl Object for Counter {
///     fn new(ctx: Context) -> Result<Self> {
///         Ok(Self { ctx })
///     }
///
///     fn fetch(&mut self, _request: Request) -> Result<Response> {
///         let n = self.ctx.storage().get::<u64>("n")?.unwrap_or(0) + 1;
///         self.ctx.storage().put("n", &n)?;
///         Ok(Response::text(n.to_string()))
///     }
/// }
/// # fn main() {}
/// ```
#[diagnostic::on_unimplemented(
    message = "the #[object] struct `{Self}` has no `impl Object`",
    label = "what should it do? Write `impl Object for {Self}` with `new` and `fetch`",
    note = "fn new(ctx: Context) -> Result<Self>",
    note = "fn fetch(&mut self, request: Request) -> Result<Response>"
)]
pub trait Object: Any {
    /// Makes the instance, before its first turn and as part of it: the place to create tables (see [`Sql::migrate`])
    /// and to load what the handlers need at hand. An error fails that turn; the next one tries again.
    fn new(ctx: Context) -> Result<Self>
    where
        Self: Sized;

    /// Answers one HTTP request.
    fn fetch(&mut self, request: Request) -> Result<Response>;
}

/// The parts of an object: its identity, its storage, its database, its alarm and its
/// [WebSockets](mod@crate::websocket). Cheap to clone.
///
/// ```no_run
/// # use holdfast::prelude::*;
/// fn greet(ctx: &Context) -> Result<Response> {
///     let visits = ctx.storage().get::<u32>("visits")?.unwrap_or(0);
///     Ok(Response::text(format!("{} of {}: {visits} visits", ctx.name().unwrap_or_default(), ctx.class())))
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Context(());

impl Context {
    pub(crate) fn new() -> Self {
        Self(())
    }

    /// Returns the object's id: 64 lowercase hex digits, which never change.
    pub fn id(&self) -> String {
        identity::id()
    }

    /// The name that the object was reached by; `None` for an object with a unique id.
    pub fn name(&self) -> Option<String> {
        identity::name()
    }

    /// The name of the object's class at this moment. Classes can be renamed; ids stay.
    pub fn class(&self) -> String {
        identity::class()
    }

    /// The object's own map from strings to values, and what concerns all of its storage.
    pub fn storage(&self) -> Storage {
        Storage::new()
    }

    /// The object's own SQLite database.
    pub fn sql(&self) -> Sql {
        Sql::new()
    }

    /// The object's one alarm.
    pub fn alarm(&self) -> AlarmClock {
        AlarmClock::new()
    }
}
