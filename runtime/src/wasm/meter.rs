//! Counts the linear memory and the tables of an instance, and refuses what is beyond its limit or the host's.

use wasmtime::ResourceLimiter;

use super::capacity::TABLE_ELEMENTS;
use crate::base::MemoryCharge;

/// Bytes that an element of a table takes.
const TABLE_ELEMENT: u64 = 8;

/// Counts the linear memory and the tables of one instance, on their own and against its class's share of the host's budget.
pub(super) struct MemoryMeter {
    /// At least what is used: residency has charged the beginning.
    charge: MemoryCharge,
    used: u64,
    limit: u64,
    refusal: Option<Refusal>,
}

/// Why memory was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The instance is at its own limit.
    Limit,
    /// The instances of the class together have their share of the host's, or all instances all of it.
    Host,
}

impl MemoryMeter {
    /// `charge` is what the instance was admitted with.
    pub(super) fn new(charge: MemoryCharge, limit: u64) -> Self {
        Self { charge, used: 0, limit, refusal: None }
    }

    /// Forgets refusals of earlier turns: a guest may have coped with them.
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

    /// What was refused in this turn, if anything was. A trap after a refusal is the refusal's doing.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        self.refusal
    }
}

impl ResourceLimiter for MemoryMeter {
    /// A refusal makes `memory.grow` answer −1, as the specification has it: interpreters may collect garbage and try again.
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(self.take(desired.saturating_sub(current) as u64))
    }

    fn table_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let more = desired.saturating_sub(current) as u64;
        Ok(desired <= TABLE_ELEMENTS && self.take(more * TABLE_ELEMENT))
    }
}
