//! WebAssembly: the engine, classes (compiled components), instances, metering, and the host side of each WIT
//! interface.
//!
//! This layer runs one call of one instance at a time and returns how it ended. It knows nothing of mailboxes, gates or
//! HTTP listeners; it reaches storage only through the turn that it is given.

mod bindings;
mod cache;
mod caller;
mod calls;
pub mod capacity;
pub mod class;
mod clock;
pub mod compatibility;
mod context;
mod contract;
mod copies;
pub mod engine;
pub mod event;
mod failure;
mod guest_stack;
mod handlers;
mod host;
mod host_call;
pub mod instance;
mod late;
mod load_error;
mod meter;
mod pace;
mod pending;
mod resources;
mod response;
#[cfg(test)]
pub mod script;
mod timed;
mod trap;

pub use caller::{CallWait, Caller, CallerOf, Calling, Started};
pub use capacity::{Cost, InstanceCapacity, machine_memory};
pub use class::ClassCode;
pub use context::{GrowthRoom, InstanceContext};
pub use contract::Version;
pub use engine::Engine;
pub use event::{Resume, TurnAnswer, TurnEvent};
pub use instance::{Instance, TurnEnd};
pub use late::{Given, Kind, Late, LateContext, LateEffects, LateError, LateTurn, Origin};
pub use load_error::LoadError;
pub use timed::{Ends, Signal};
