//! The work that one turn may still do, shared by everything that works for it: compiled code and SQLite.
//!
//! The unit is fuel. Whoever does work charges it here; who owns the turn sets what is left before and takes what is
//! left after. CPU time is the owner's to count: the budget only asks whether it is over.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};

/// Which budget a turn used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Exhausted {
    /// Its fuel.
    #[error("the turn used up its fuel")]
    Fuel,
    /// Its CPU time.
    #[error("the turn used up its CPU time")]
    CpuTime,
}

/// What is left of a turn's work. Cheap to clone; clones share one account.
#[derive(Clone)]
pub struct WorkBudget(Arc<Account>);

struct Account {
    units: AtomicU64,
    /// 0: not exhausted, 1: fuel, 2: CPU time. Never goes back.
    exhausted: AtomicU8,
    over_time: Box<dyn Fn() -> bool + Send + Sync>,
}

impl WorkBudget {
    /// A budget of fuel units; `over_time` tells whether the turn's CPU time is used up and is asked about every 10 µs of
    /// work.
    pub fn new(units: u64, over_time: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(Account {
            units: AtomicU64::new(units),
            exhausted: AtomicU8::new(0),
            over_time: Box::new(over_time),
        }))
    }

    /// A budget that does not end: for the host's own work.
    pub fn unlimited() -> Self {
        Self::new(u64::MAX, || false)
    }

    /// Fuel units left.
    pub fn remaining(&self) -> u64 {
        self.0.units.load(Relaxed)
    }

    /// Sets the fuel units left: what compiled code has not used.
    pub fn set_remaining(&self, units: u64) {
        self.0.units.store(units, Relaxed);
    }

    /// Takes fuel units. When there are not enough, the rest is taken and the budget is exhausted for good.
    pub fn charge(&self, units: u64) -> Result<(), Exhausted> {
        let before = self.remaining();
        self.set_remaining(before.saturating_sub(units));
        if before < units {
            self.0.exhausted.store(1, Relaxed);
        }
        self.check()
    }

    /// Asks for the CPU time as well; dearer than [`charge`](Self::charge) alone.
    pub fn check_time(&self) -> Result<(), Exhausted> {
        if (self.0.over_time)() {
            self.0.exhausted.store(2, Relaxed);
        }
        self.check()
    }

    /// Whether the budget is exhausted, and which part of it.
    pub fn check(&self) -> Result<(), Exhausted> {
        match self.0.exhausted.load(Relaxed) {
            0 => Ok(()),
            1 => Err(Exhausted::Fuel),
            _ => Err(Exhausted::CpuTime),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_ends_at_its_last_unit_and_stays_ended() {
        let budget = WorkBudget::new(10, || false);
        assert_eq!(budget.charge(10), Ok(()));
        assert_eq!(budget.charge(1), Err(Exhausted::Fuel));
        budget.set_remaining(100);
        assert_eq!(budget.check(), Err(Exhausted::Fuel));
    }

    #[test]
    fn time_is_asked_of_the_owner() {
        assert_eq!(WorkBudget::new(10, || true).check_time(), Err(Exhausted::CpuTime));
        assert_eq!(WorkBudget::unlimited().check_time(), Ok(()));
    }
}
