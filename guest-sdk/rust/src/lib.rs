//! Durable objects in Rust: an object is a struct and a few methods.
//!
//! This crate wraps the contract of Holdfast (`wit/`) and adds nothing to what the host does. An object is one
//! addressable instance of a class, such as the counter named `alice`: it handles one event at a time and has its own
//! storage on disk. A class is a crate, compiled to a component. This is a whole one:
//!
//! ```no_run
//! use holdfast::prelude::*;
//!
//! #[object]
//! struct Counter {
//!     ctx: Context,
//! }
//!
//! impl Object for Counter {
//!     fn new(ctx: Context) -> Result<Self> {
//!         Ok(Self { ctx })
//!     }
//!
//!     fn fetch(&mut self, _request: Request) -> Result<Response> {
//!         let n = self.ctx.storage().get::<u64>("n")?.unwrap_or(0) + 1;
//!         self.ctx.storage().put("n", &n)?;
//!         Ok(Response::text(n.to_string()))
//!     }
//! }
//! # fn main() {}
//! ```
//!
//! `holdfast new` makes a project of it, `holdfast dev` serves it: `curl 127.0.0.1:8787/counter/alice`.
//!
//! # Turns
//! Each call of a handler is a turn, and a turn is atomic. `Ok`: all it wrote stays, and the caller gets the response
//! once that is on disk. `Err`, a panic, or running out of time or memory: nothing of it stays, and the caller gets an
//! error. The instance is dropped, except after an `Err` of a turn that had written nothing. So two writes in one
//! handler need no transaction, and no handler meets half of another's work. [`Object`] has the details.
//!
//! # Requests and responses
//! Methods, URIs, headers and statuses are those of the [`http`] crate. A path is matched in pieces, bodies and queries
//! are read by serde, and what the caller did wrong is an ordinary answer:
//!
//! ```
//! use holdfast::prelude::*;
//!
//! fn route(request: &Request) -> Result<Response> {
//!     match (request.method(), request.segments().as_slice()) {
//!         (&Method::GET, []) => Ok(Response::json(&["tea", "coffee"])),
//!         (&Method::POST, ["orders"]) => match request.json::<String>() {
//!             Ok(drink) => Ok(Response::text(format!("one {drink}")).with_status(StatusCode::CREATED)),
//!             Err(bad) => Ok(bad.into()), // status 400, and says why
//!         },
//!         _ => Ok(Response::error(StatusCode::NOT_FOUND, format!("there is no {}", request.path()))),
//!     }
//! }
//! # let get = http::Request::get("/").body(vec![])?.into();
//! # assert_eq!(route(&get)?.body(), br#"["tea","coffee"]"#);
//! # let post = http::Request::post("/orders").body(b"tea".to_vec())?.into();
//! # assert_eq!(route(&post)?.status(), 400);
//! # Ok::<(), holdfast::Error>(())
//! ```
//!
//! # Storage
//! [`Storage`] is an ordered map from strings to serde values, [`Sql`] a SQLite database. Both belong to the object
//! alone, and a turn can use both. Fields of the struct are memory: fast, and lost when the instance is dropped.
//! [`mod@storage`] shows both on one page.
//!
//! ```no_run
//! # use holdfast::prelude::*;
//! # fn f(ctx: &Context) -> Result<()> {
//! ctx.storage().put("config", &json!({ "limit": 10 }))?;
//! ctx.sql().exec("INSERT INTO visit (who, at) VALUES (?, ?)", params!["ann", 1_767_225_600])?;
//! let visits: i64 = ctx.sql().query_one("SELECT count(*) FROM visit WHERE who = ?", params!["ann"])?;
//! # Ok(()) }
//! ```
//!
//! # Alarms
//! The host calls an object at the time that it has set: `#[object(alarm)]`, a handler, and
//! [`ctx.alarm().set(..)`](AlarmClock::set). The handler is a turn like any other, and retried when it fails.
//! [`mod@alarm`] has the details. With the feature `schedules` there are many times in one object, once, every hour or
//! by a cron expression: `holdfast::schedules`.
//!
//! # WebSockets
//! An object can accept [`WebSocket`]s, send to them, and with `#[object(websocket)]` handle their messages. The host
//! holds the connections, also while the object is not in memory. [`mod@websocket`] has the details.
//!
//! # Later
//! A handler can answer in a later turn and go on at a later time, without blocking its object: [`mod@late`].
//!
//! # Other objects
//! An object calls methods of other objects, and is called by them: [`mod@calls`].
//!
//! # Errors
//! `?` turns every error into an [`Error`], which fails the turn. [`Error::new`], [`bail!`] and [`ensure!`] make one
//! with a code that callers can match on, and [`ErrorContext::context`] adds what the code was doing.
//!
//! # Log, time, randomness
//! `info!("moved to {place}")`, `warn!(tries = 3; "moved")` with fields, and the other macros of the [`log`] crate
//! write to the object's log, and so do panics and `println!`; what a failed turn logged stays. `std::time::SystemTime`
//! stands still during a turn, at its start; `std::time::Instant` runs. Random numbers come from the usual crates.
//! There are no files, network sockets or threads.
//!
//! # On your machine
//! A class can be checked and unit-tested natively as long as the tests call nothing of [`Context`], which only the
//! host can answer. It is compiled for `wasm32-wasip2` as a `cdylib`.

pub mod alarm;
#[doc(hidden)] // Public for `__private` only.
pub mod bindings;
pub mod calls;
mod encoding;
mod entry;
mod error;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod late;
mod logs;
mod object;
mod request;
mod response;
#[cfg(feature = "schedules")]
pub mod schedules;
pub mod sql;
pub mod storage;
pub mod websocket;

pub use alarm::{Alarm, AlarmClock, AlarmError, AlarmHandler};
pub use calls::{Arguments, CallError, CallHandler, Fate, ObjectRef, Objects, Peer, Reply, Started};
pub use error::{Error, ErrorContext, Result};
pub use late::{Debounce, Deferred, LateError, LateHandler, Token};
pub use object::{Context, Object};
pub use request::{BadRequest, Request};
pub use response::Response;
pub use sql::{Sql, SqlError};
pub use storage::{Entries, ListOptions, Storage, StorageError};
pub use websocket::{AutoResponse, Close, Message, WebSocket, WebSocketError, WebSocketHandler};

/// Makes a struct the object of this crate: the host creates it with `Object::new` and calls its handlers.
///
/// Marks one struct in the crate. The struct has no generic parameters, implements [`Object`] and can have any fields.
/// The crate is compiled as a `cdylib`.
///
/// `#[object(alarm)]` is for a class that sets [alarms](mod@alarm): it implements [`AlarmHandler`], too.
/// `#[object(websocket)]` is for one that listens to [WebSockets](mod@websocket) and implements [`WebSocketHandler`];
/// `#[object(later)]` for one that does [late work](mod@late) and implements [`LateHandler`]; `#[object(calls)]` for
/// one that [other objects call](mod@calls) and implements [`CallHandler`]; `#[object(alarm, websocket)]` for one that
/// does two of them.
///
/// ```no_run
/// use holdfast::prelude::*;
///
/// #[object]
/// struct Hello;
///
/// impl Object for Hello {
///     fn new(_ctx: Context) -> Result<Self> {
///         Ok(Self)
///     }
///
///     fn fetch(&mut self, request: Request) -> Result<Response> {
///         Ok(Response::text(format!("hello from {}", request.path())))
///     }
/// }
/// # fn main() {}
/// ```
pub use holdfast_macros::object;

pub use {http, log, serde_json};

/// Everything a class usually needs: `use holdfast::prelude::*`.
pub mod prelude {
    pub use crate::{
        Alarm, AlarmError, AlarmHandler, Arguments, BadRequest, CallError, CallHandler, Close, Context, Debounce,
        Deferred, Error, ErrorContext as _, Fate, LateError, LateHandler, ListOptions, Message, Object, Reply, Request,
        Response, Result, SqlError, StorageError, Token, WebSocket, WebSocketError, WebSocketHandler, bail, ensure,
        object, params,
    };
    pub use http::{HeaderMap, Method, StatusCode};
    pub use log::{debug, error, info, trace, warn};
    pub use serde_json::json;
}

/// What the code that `#[object]` generates refers to. Not for use by hand.
#[doc(hidden)]
pub mod __private {
    pub use crate::bindings::{self, holdfast::object::types::Failure};
    pub use crate::declared;
    pub use crate::entry::{SocketEvent, alarm, call, fetch, init, resume, socket_event};
}

/// What `#[object(..)]` says that a class has, as traits: a handler cannot be implemented without being said, because
/// its trait asks for the one here, and only the attribute implements it.
#[doc(hidden)]
pub mod declared {
    /// `#[object(alarm)]`.
    #[diagnostic::on_unimplemented(
        message = "`{Self}` handles alarms and does not say so",
        label = "write `#[object(alarm)]` on the struct: the host calls only what a class says that it has"
    )]
    pub trait Alarm {}

    /// `#[object(calls)]`.
    #[diagnostic::on_unimplemented(
        message = "`{Self}` handles calls and does not say so",
        label = "write `#[object(calls)]` on the struct: the host calls only what a class says that it has"
    )]
    pub trait Calls {}

    /// `#[object(later)]`.
    #[diagnostic::on_unimplemented(
        message = "`{Self}` does late work and does not say so",
        label = "write `#[object(later)]` on the struct: the host calls only what a class says that it has"
    )]
    pub trait Later {}

    /// `#[object(websocket)]`.
    #[diagnostic::on_unimplemented(
        message = "`{Self}` listens to WebSockets and does not say so",
        label = "write `#[object(websocket)]` on the struct: the host calls only what a class says that it has"
    )]
    pub trait WebSocket {}
}
