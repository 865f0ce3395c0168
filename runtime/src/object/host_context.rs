//! What the actors of one host share: engine, storage, sockets, limits, metrics, clock.

use std::sync::Arc;

use super::class::Loader;
use super::residency::Residency;
use crate::base::logs::{GuestLogs, Level};
use crate::base::metrics::Code;
use crate::base::{CallId, Env, Failures, HostMemory, Limits, Metrics, ObjectAddress, Occasion, TurnError};
use crate::sockets::Sockets;
use crate::storage::Databases;
use crate::wasm::Engine;

/// What the actors of one host share.
pub struct HostContext {
    /// Compiles and instantiates.
    pub engine: Arc<Engine>,
    /// Loads the code of classes.
    pub loader: Loader,
    /// Databases of objects.
    pub databases: Databases,
    /// WebSockets of objects.
    pub sockets: Arc<Sockets>,
    /// Who may be in memory.
    pub residency: Arc<Residency>,
    /// What classes use of the host's memory.
    pub memory: HostMemory,
    /// What a turn may use.
    pub limits: Arc<Limits>,
    /// What guests say.
    pub logs: Arc<GuestLogs>,
    /// Tells of failed turns.
    pub failures: Failures,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Clock and randomness.
    pub env: Env,
}

impl HostContext {
    /// Counts a failed turn and tells of it. What was only refused is no failed turn: it is the answer.
    pub(super) fn tell(
        &self,
        of: (&ObjectAddress, CallId),
        occasion: &Occasion,
        consequence: (String, Level),
        error: &TurnError,
    ) {
        if !error.is_refusal() {
            self.metrics.failed_turns.get_or_create(&Code { code: error.code() }).inc();
            self.failures.tell(of, occasion, &consequence.0, consequence.1, error);
        }
    }
}
