//! The gateway: the only layer that contains HTTP, its paths and its status codes.
//!
//! It turns requests into calls and answers into responses, for two listeners: *data* (public, [`DataService`]) and
//! *admin* (bearer token, [`AdminService`]), each served by [`serve`]. It keeps no state but that of connections: it
//! asks the router about classes and objects.
//!
//! Invariants: a request's path is read raw, byte for byte, in `path` only; every refusal is `application/problem+json`
//! with a code of `docs/ERRORS.md`; a turn's error is logged here, once, in `problem`.

mod admin;
mod body;
mod calm;
mod cbor;
mod connections;
mod data;
mod frames;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod heads;
mod hosts;
mod logs;
mod path;
mod places;
mod problem;
mod token;
mod websocket;
mod wire;

#[cfg(test)]
mod tests;

pub use admin::{AdminService, AdminSettings};
pub use body::Intake;
pub use connections::{ADMIN_CONNECTIONS, Patience, connections_max, serve};
pub use data::{DataService, DataSettings};
pub use hosts::HostSettings;
pub use places::{Network, Places};
pub use token::AdminToken;
pub use websocket::SocketSettings;
