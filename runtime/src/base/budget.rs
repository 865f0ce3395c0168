//! The work that one turn may still do, shared by compiled code and SQLite.
//!
//! The unit is fuel. Code that does work charges it here; the owner of the turn sets the balance before the work and
//! reads it afterwards. The owner counts CPU time ([`CpuTimer`]): the budget only asks whether it is used up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::CpuTimer;

/// The reason why a turn may do no more work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Exhausted {
    /// The turn's fuel is used up.
    #[error("the turn used up its fuel")]
    Fuel,
    /// The turn's CPU time is used up.
    #[error("the turn used up its CPU time")]
    CpuTime,
    /// The host runs as many statements as it can at once.
    #[error("too many statements run at this moment")]
    Overloaded,
    /// The driver of the turn has abandoned it.
    #[error("the turn was abandoned")]
    Cancelled,
}

/// The remaining work of a turn. Cheap to clone; clones share one account.
#[derive(Clone)]
pub struct WorkBudget(Arc<Account>);

struct Account {
    units: AtomicU64,
    /// An index into [`REASONS`] from 1 on; 0: not exhausted. Never reset.
    exhausted: AtomicU8,
    time: Time,
}

const REASONS: [Exhausted; 4] = [Exhausted::Fuel, Exhausted::CpuTime, Exhausted::Overloaded, Exhausted::Cancelled];

/// The source that decides whether the CPU time is used up.
enum Time {
    Asked(Box<dyn Fn() -> bool + Send + Sync>),
    Counted(CpuTimer),
}

impl WorkBudget {
    /// Creates a budget of fuel units. `over_time` reports whether the turn's CPU time is used up; it is called about
    /// every 10 µs of work.
    pub fn new(units: u64, over_time: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self::with(units, Time::Asked(Box::new(over_time)))
    }

    /// Creates a budget of fuel units and of the CPU time that the timer counts. The timer can ask the work to yield.
    pub fn timed(units: u64, timer: CpuTimer) -> Self {
        Self::with(units, Time::Counted(timer))
    }

    fn with(units: u64, time: Time) -> Self {
        Self(Arc::new(Account { units: AtomicU64::new(units), exhausted: AtomicU8::new(0), time }))
    }

    /// Creates a budget without an end, for the host's own work.
    pub fn unlimited() -> Self {
        Self::new(u64::MAX, || false)
    }

    /// Returns the remaining fuel units.
    pub fn remaining(&self) -> u64 {
        self.0.units.load(Relaxed)
    }

    /// Sets the remaining fuel units to what compiled code has left.
    pub fn set_remaining(&self, units: u64) {
        self.0.units.store(units, Relaxed);
    }

    /// Takes fuel units. If there are too few, takes the rest and exhausts the budget permanently.
    pub fn charge(&self, units: u64) -> Result<(), Exhausted> {
        let before = self.remaining();
        self.set_remaining(before.saturating_sub(units));
        if before < units {
            self.end(Exhausted::Fuel);
        }
        self.check()
    }

    /// Checks the CPU time as well; costs more than [`charge`](Self::charge) alone.
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

    /// Does [`check_time`](Self::check_time) before work that cannot be interrupted and takes about this long: the turn
    /// ends now if the work would continue long after the turn's CPU time is used up.
    pub fn check_time_for(&self, takes: Duration) -> Result<(), Exhausted> {
        self.check_time()?;
        if matches!(&self.0.time, Time::Counted(timer) if !timer.has_time_for(takes)) {
            self.end(Exhausted::CpuTime);
        }
        self.check()
    }

    /// Reports whether the work should yield to other turns, as of the last [`check_time`](Self::check_time).
    pub fn must_give_way(&self) -> bool {
        matches!(&self.0.time, Time::Counted(timer) if timer.must_give_way())
    }

    /// Returns the CPU time since the work last yielded, as of the last [`check_time`](Self::check_time); 0 without a
    /// timer.
    pub fn running(&self) -> Duration {
        match &self.0.time {
            Time::Asked(_) => Duration::ZERO,
            Time::Counted(timer) => timer.running(),
        }
    }

    /// Returns the timer that counts the CPU time, if there is one.
    pub fn timer(&self) -> Option<&CpuTimer> {
        match &self.0.time {
            Time::Asked(_) => None,
            Time::Counted(timer) => Some(timer),
        }
    }

    /// Exhausts the budget; the first reason stays.
    pub fn end(&self, reason: Exhausted) {
        let code = REASONS.iter().position(|known| *known == reason).expect("all are listed") as u8 + 1;
        let _ = self.0.exhausted.compare_exchange(0, code, Relaxed, Relaxed);
    }

    /// Reports whether the budget is exhausted, and why.
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
