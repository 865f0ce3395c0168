//! Hosting WebAssembly: the engine, classes (compiled components), instances, metering, and the host side of each WIT
//! interface.
//!
//! This layer runs one call of one instance at a time and says how it ended. It knows nothing of mailboxes, gates or HTTP
//! listeners; it reaches storage only through the turn it is given.

mod bindings;
mod cache;
pub mod capacity;
pub mod class;
pub mod compatibility;
pub mod engine;
pub mod event;
mod host;
pub mod instance;
mod meter;
mod pace;
mod response;
#[cfg(test)]
pub mod script;

pub use capacity::{Cost, InstanceCapacity, machine_memory};
pub use class::{ClassCode, LoadError};
pub use engine::Engine;
pub use event::{TurnAnswer, TurnEvent};
pub use instance::{Instance, InstanceContext, TurnEnd};
pub use meter::{Ends, Signal};
