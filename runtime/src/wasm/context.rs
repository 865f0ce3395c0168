//! What an instance is made with.

use std::sync::Arc;

use crate::base::logs::GuestLogs;
use crate::base::{Env, Limits, MemoryAccount, ObjectAddress};

/// What an instance is made with.
#[derive(Clone)]
pub struct InstanceContext {
    /// The object it is the memory of.
    pub address: ObjectAddress,
    /// What a turn may use.
    pub limits: Arc<Limits>,
    /// What its responses are charged to.
    pub memory: MemoryAccount,
    /// Where its log entries go.
    pub logs: Arc<GuestLogs>,
    /// Clock and randomness.
    pub env: Env,
}
