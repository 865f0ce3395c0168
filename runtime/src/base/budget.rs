//! The work that one turn may still do, shared by everything that works for it: compiled code and SQLite.
//!
//! The unit is fuel. Whoever does work charges it here; who owns the turn sets what is left before and takes what is
//! left after. CPU time is the owner's to count ([`CpuTimer`]): the budget only asks whether it is over.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::CpuTimer;

/// Why a turn may do no more work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Exhausted {
    /// Its fuel.
    #[error("the turn used up its fuel")]
    Fuel,
    /// Its CPU time.
    #[error("the turn used up its CPU time")]
    CpuTime,
    /// The host runs as many statements as it can.
    #[error("too many statements run at this moment")]
    Overloaded,
    /// Whoever drives the turn has given it up.
    #[error("the turn was given up")]
    Cancelled,
}

/// What is left of a turn's work. Cheap to clone; clones share one account.
#[derive(Clone)]
pub struct WorkBudget(Arc<Account>);

struct Account {
    units: AtomicU64,
    /// An index into [`REASONS`] from 1 on; 0: not exhausted. Never goes back.
    exhausted: AtomicU8,
    time: Time,
}

const REASONS: [Exhausted; 4] = [Exhausted::Fuel, Exhausted::CpuTime, Exhausted::Overloaded, Exhausted::Cancelled];

/// Who knows whether the CPU time is used up.
enum Time {
    Asked(Box<dyn Fn() -> bool + Send + Sync>),
    Counted(CpuTimer),
}

impl WorkBudget {
    /// A budget of fuel units; `over_time` tells whether the turn's CPU time is used up and is asked about every 10 µs of
    /// work.
    pub fn new(units: u64, over_time: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self::with(units, Time::Asked(Box::new(over_time)))
    }

    /// A budget of fuel units and of the CPU time that the timer counts. Who works may be told to give way.
    pub fn timed(units: u64, timer: CpuTimer) -> Self {
        Self::with(units, Time::Counted(timer))
    }

    fn with(units: u64, time: Time) -> Self {
        Self(Arc::new(Account { units: AtomicU64::new(units), exhausted: AtomicU8::new(0), time }))
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
            self.end(Exhausted::Fuel);
        }
        self.check()
    }

    /// Asks for the CPU time as well; dearer than [`charge`](Self::charge) alone.
    pub fn check_time(&self) -> Result<(), Exhausted> {
        let over = match &self.0.time {
            Time::Asked(over) => over(),
            Time::Counted(timer) => timer.is_over(),
        };
        if over {
            self.end(Exhausted::CpuTime);
        }
        self.check()
    }

    /// [`check_time`](Self::check_time) before work that nobody can end and that takes about so long: the turn ends now if it would be at
    /// it long after its time.
    pub fn check_time_for(&self, takes: Duration) -> Result<(), Exhausted> {
        self.check_time()?;
        if matches!(&self.0.time, Time::Counted(timer) if !timer.has_time_for(takes)) {
            self.end(Exhausted::CpuTime);
        }
        self.check()
    }

    /// Whether who works should let others compute, by the last [`check_time`](Self::check_time).
    pub fn must_give_way(&self) -> bool {
        matches!(&self.0.time, Time::Counted(timer) if timer.must_give_way())
    }

    /// CPU time since who works gave way, by the last [`check_time`](Self::check_time); 0 if nobody counts.
    pub fn running(&self) -> Duration {
        match &self.0.time {
            Time::Asked(_) => Duration::ZERO,
            Time::Counted(timer) => timer.running(),
        }
    }

    /// Who counts the CPU time, if it is counted.
    pub fn timer(&self) -> Option<&CpuTimer> {
        match &self.0.time {
            Time::Asked(_) => None,
            Time::Counted(timer) => Some(timer),
        }
    }

    /// Ends the work; the first reason stays.
    pub fn end(&self, reason: Exhausted) {
        let code = REASONS.iter().position(|known| *known == reason).expect("all are listed") as u8 + 1;
        let _ = self.0.exhausted.compare_exchange(0, code, Relaxed, Relaxed);
    }

    /// Whether the budget is exhausted, and which part of it.
    pub fn check(&self) -> Result<(), Exhausted> {
        match self.0.exhausted.load(Relaxed) {
            0 => Ok(()),
            code => Err(REASONS[usize::from(code) - 1]),
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
