//! What the actors of one host share: engine, storage, sockets, limits, metrics, clock.

use std::sync::Arc;

use super::class::Loader;
use super::residency::Residency;
use super::waits::Waits;
use crate::base::logs::{GuestLogs, Level};
use crate::base::metrics::Code;
use crate::base::{CallId, CallIds, Env, Failures, HostMemory, Limits, Metrics, ObjectAddress, Occasion, TurnError};
use crate::sockets::Sockets;
use crate::storage::Databases;
use crate::wasm::Engine;

/// What the actors of one host share.
pub struct HostContext {
    /// Compiles components and makes instances.
    pub engine: Arc<Engine>,
    /// Loads the code of classes.
    pub loader: Loader,
    /// Databases of objects.
    pub databases: Databases,
    /// WebSockets of objects.
    pub sockets: Arc<Sockets>,
    /// Which objects wait for which.
    pub waits: Arc<Waits>,
    /// Admits instances to memory.
    pub residency: Arc<Residency>,
    /// The memory that classes use of the host's.
    pub memory: HostMemory,
    /// Limits of turns and objects.
    pub limits: Arc<Limits>,
    /// Logs of guests.
    pub logs: Arc<GuestLogs>,
    /// Reports failed turns.
    pub failures: Failures,
    /// Counters of the host.
    pub metrics: Arc<Metrics>,
    /// The ids of calls.
    pub calls: CallIds,
    /// Clock and randomness.
    pub env: Env,
}

impl HostContext {
    /// Counts and reports a failed turn. A refusal is an answer, not a failed turn.
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
