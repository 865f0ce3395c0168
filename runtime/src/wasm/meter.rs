//! The memory meter of an instance: counts its linear memory and tables, and refuses growth beyond its limit or the
//! host's.

use wasmtime::ResourceLimiter;

use super::capacity::TABLE_ELEMENTS;
use crate::base::MemoryCharge;

/// Bytes that an element of a table takes.
const TABLE_ELEMENT: u64 = 8;

/// The memory of one instance, counted against its own limit and its class's share of the host's memory.
pub(super) struct MemoryMeter {
    /// The charge, which covers at least what is used: the beginning was charged at admission.
    charge: MemoryCharge,
    used: u64,
    limit: u64,
    refusal: Option<Refusal>,
}

/// The reason why memory was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The instance is at its own limit.
    Limit,
    /// The instances of the class have reached their share of the host's memory, or all instances the total.
    Host,
}

impl MemoryMeter {
    /// Creates a meter. `charge` is the one with which the instance was admitted.
    pub(super) fn new(charge: MemoryCharge, limit: u64) -> Self {
        Self { charge, used: 0, limit, refusal: None }
    }

    /// Forgets refusals of earlier turns, because the guest may have handled them.
    pub(super) fn begin_turn(&mut self) {
        self.refusal = None;
    }

    /// Gives back what the instance was admitted with and has not used in its first turn.
    pub(super) fn end_first_turn(&mut self) {
        self.charge.shrink(self.charge.bytes().saturating_sub(self.used));
    }

    fn take(&mut self, more: u64) -> bool {
        let used = self.used.saturating_add(more);
        if used > self.limit {
            self.refusal = Some(Refusal::Limit);
        } else if self.charge.grow(used.saturating_sub(self.charge.bytes())).is_err() {
            self.refusal = Some(Refusal::Host);
        } else {
            self.used = used;
            return true;
        }
        false
    }

    /// Returns why memory was refused in this turn, if it was. A trap after a refusal is caused by the refusal.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        self.refusal
    }
}

impl ResourceLimiter for MemoryMeter {
    /// Counts growth. A refusal makes `memory.grow` return −1, as the specification defines it: interpreters may
    /// collect garbage and retry.
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(self.take(desired.saturating_sub(current) as u64))
    }

    fn table_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let more = desired.saturating_sub(current) as u64;
        Ok(desired <= TABLE_ELEMENTS && self.take(more * TABLE_ELEMENT))
    }
}
