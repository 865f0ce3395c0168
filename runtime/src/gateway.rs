//! The gateway: the only layer that knows HTTP, its paths and its status codes.
//!
//! It turns requests into invocations and replies into responses, for two listeners: *data* (public, [`data_router`]) and
//! *admin* (bearer token, [`admin_router`]). It owns neither sockets nor their runtime (the server does), and it keeps no
//! state: whatever it needs to know of classes and objects it asks the router.
//!
//! What must stay true: a request's path is read raw, byte for byte, in `path` only; every refusal is
//! `application/problem+json` with a code of `docs/ERRORS.md`; a turn's error is logged here, once, in `problem`.

mod admin;
mod body;
mod data;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod logs;
mod path;
mod problem;
mod token;
mod websocket;

#[cfg(test)]
mod tests;

pub use admin::{AdminSettings, admin_router};
pub use data::{DataSettings, data_router};
pub use token::AdminToken;
pub use websocket::SocketSettings;
