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
    /// Bytes of the stack that the turn is charged for.
    stack: u64,
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
        Self { charge, used: 0, stack: 0, limit, refusal: None }
    }

    /// Forgets refusals of earlier turns, because the guest may have handled them.
    pub(super) fn begin_turn(&mut self) {
        self.refusal = None;
    }

    /// Ends a turn: its stack is not used any more.
    pub(super) fn end_turn(&mut self) {
        if std::mem::take(&mut self.stack) > 0 {
            self.keep(0);
        }
    }

    /// Charges so many bytes of the stack until the end of the turn, if the turn is not charged for them already.
    pub(super) fn deepen(&mut self, stack: u64) -> bool {
        if stack <= self.stack {
            return true;
        }
        if self.charge.grow(self.used.saturating_add(stack).saturating_sub(self.charge.bytes())).is_err() {
            self.refusal = Some(Refusal::Host);
            return false;
        }
        self.stack = stack;
        true
    }

    /// Keeps what is used and `more` bytes of the charge; gives the rest back.
    pub(super) fn keep(&mut self, more: u64) {
        self.charge.shrink(self.charge.bytes().saturating_sub(self.used.saturating_add(more)));
    }

    fn take(&mut self, more: u64) -> bool {
        let used = self.used.saturating_add(more);
        if used > self.limit {
            self.refusal = Some(Refusal::Limit);
        } else if self.charge.grow(used.saturating_add(self.stack).saturating_sub(self.charge.bytes())).is_err() {
            self.refusal = Some(Refusal::Host);
        } else {
            self.used = used;
            return true;
        }
        false
    }

    /// Returns the bytes of memory and tables.
    pub(super) fn used(&self) -> u64 {
        self.used
    }

    /// Returns whether more than three quarters of the limit are used.
    pub(super) fn is_nearly_full(&self) -> bool {
        self.used > self.limit - self.limit / 4
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{ClassKey, HostMemory, MemoryUse};

    #[test]
    fn what_an_instance_was_admitted_with_pays_for_its_growth_and_goes_back_when_it_is_not_used() {
        let memory = HostMemory::new(10_000);
        let account = memory.account(&ClassKey::new("class"));
        let mut meter = MemoryMeter::new(account.take(MemoryUse::Instances, 3_000).unwrap(), 6_000);
        assert!(meter.take(1_000));
        meter.keep(500);
        assert_eq!(account.used(), 1_500);
        assert!(meter.take(400));
        assert_eq!(account.used(), 1_500, "paid for already");
        assert!(meter.take(600));
        meter.keep(0);
        assert_eq!(account.used(), 2_000);
        assert!(!meter.take(4_001) && meter.refusal() == Some(Refusal::Limit));
        let others = memory.account(&ClassKey::new("other")).take(MemoryUse::Instances, 6_000).unwrap();
        assert!(!meter.take(2_000) && meter.refusal() == Some(Refusal::Host));
        drop((meter, others));
        assert_eq!(memory.used(), 0);
    }

    #[test]
    fn the_stack_of_a_turn_is_charged_until_its_end() {
        let memory = HostMemory::new(10_000);
        let account = memory.account(&ClassKey::new("class"));
        let mut meter = MemoryMeter::new(account.take(MemoryUse::Instances, 1_000).unwrap(), 6_000);
        assert!(meter.take(1_000) && meter.deepen(300) && meter.deepen(200) && meter.take(100));
        assert_eq!(account.used(), 1_400);
        assert!(!meter.deepen(20_000) && meter.refusal() == Some(Refusal::Host));
        meter.end_turn();
        assert_eq!(account.used(), 1_100);
    }
}
