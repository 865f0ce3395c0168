//! One object: its mailbox, its actor, the output gate, and its states while it is live.
//!
//! At most one actor per object delivers one event at a time to at most one instance. This layer decides when a turn
//! runs and when its outcome is released; it knows neither HTTP nor how anything is stored.

mod actor;
pub mod class;
mod event;
mod handle;
mod host_context;
mod lifecycle;
pub mod mailbox;
mod outbox;
mod output_gate;
mod owed;
pub mod reply;
pub mod residency;
pub mod ticket;
pub mod waits;

pub use class::{Class, VersionInfo};
pub use event::{Event, Operation};
pub use handle::{ObjectHandle, Registry};
pub use host_context::HostContext;
pub use residency::Residency;
pub use ticket::Ticket;
pub use waits::{Cycle, Waits};
