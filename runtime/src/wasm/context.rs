//! The context of an instance: its object, its limits, and where its memory and its log go.

use std::sync::Arc;

use super::caller::CallerOf;
use crate::base::logs::GuestLogs;
use crate::base::{ClassKey, Env, Limits, MemoryAccount, ObjectAddress};

/// Finds room for an instance that grows while the bytes of all instances are short.
pub trait GrowthRoom: Send + Sync {
    /// Asks an idle instance of the class, or of one that uses more, to leave. Returns whether there is any other
    /// instance, so that waiting can help.
    fn ask_for_bytes(&self, class: &ClassKey) -> bool;
}

/// The context in which an instance is made.
#[derive(Clone)]
pub struct InstanceContext {
    /// The object that the instance belongs to.
    pub address: ObjectAddress,
    /// Limits of its turns.
    pub limits: Arc<Limits>,
    /// The account that its responses are charged to.
    pub memory: MemoryAccount,
    /// The logs that its entries go to.
    pub logs: Arc<GuestLogs>,
    /// Where its memory finds room to grow.
    pub room: Arc<dyn GrowthRoom>,
    /// Clock and randomness.
    pub env: Env,
    /// Its calls to other objects; none if it may call nobody.
    pub caller: Option<CallerOf>,
}
