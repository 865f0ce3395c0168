//! The context of an instance: its object, its limits, and where its memory and its log go.

use std::sync::Arc;

use super::caller::CallerOf;
use crate::base::logs::GuestLogs;
use crate::base::{Env, Limits, MemoryAccount, ObjectAddress};

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
    /// Clock and randomness.
    pub env: Env,
    /// Its calls to other objects; none if it may call nobody.
    pub caller: Option<CallerOf>,
}
