//! One object: its mailbox, its actor, the gate its output waits at, and how it comes and goes.
//!
//! At most one actor per object delivers one event at a time to at most one instance. This layer decides when a turn
//! runs and when its outcome may be told; it does not know what HTTP is, nor how anything is stored.

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

pub use class::{Class, VersionInfo};
pub use event::{Event, Operation};
pub use handle::{ObjectHandle, Registry};
pub use host_context::HostContext;
pub use residency::Residency;
