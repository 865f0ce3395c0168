//! The pace of a turn while it calls the host: what host calls cost, and when they make the turn give way.
//!
//! Compiled code pays in fuel and gives way whenever it has used up a slice of it. A host call uses next to no fuel,
//! however much it does. So each has a price in fuel, by counts and bytes and never by time, which is noted here and
//! charged when the call returns (`host_call`). When the prices since the turn last gave way add up to a slice, the
//! turn's CPU time is checked, and the turn gives way at the next place where compiled code looks at its fuel: the next
//! loop or function.
//!
//! The work of a call of standard WASI is not always known here. Such a call is timed instead: a long one makes the
//! turn give way, too, but costs no more fuel than a short one, so fuel stays the same on every machine.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::base::Env;
use crate::base::limits::{FUEL_PER_COPIED_BYTE, FUEL_PER_HOST_CALL};

/// Fuel between two yields: about 0.1 ms of compiled code. Smaller slices cost measurably more.
pub(super) const FUEL_PER_SLICE: u64 = 1_000_000;
/// The duration from which on a call of standard WASI, or several consecutive ones, make the turn give way.
const LONG: Duration = Duration::from_micros(100);
/// Host calls that a turn may make, each with more than a slice owed, without passing a place where it can give way.
/// Code that people write passes one between any two calls; only code made for the purpose does not.
const UNPACED_MAX: u32 = 1_000;

/// The cost of one instance's host calls since it last gave way.
pub(super) struct Pace {
    shared: Arc<Shared>,
    /// Fuel that the running call costs, not charged yet.
    price: u64,
    /// Prices since the turn last gave way.
    owed: u64,
    /// The count of polls when the turn last gave way.
    polls: u32,
    /// True if the turn is asked to give way.
    asked: bool,
    /// Host calls since it was asked.
    unpaced: u32,
    /// True if the running call is one of standard WASI, which is timed.
    timed: bool,
    /// The time at which such a call last ended.
    looked: Duration,
}

/// The part of the pace that the task which polls the turn shares with its host calls.
#[derive(Default)]
pub(super) struct Shared {
    /// How often the turn was polled.
    polls: AtomicU32,
    /// True if the turn is given up: its call is about to be dropped.
    given_up: AtomicBool,
    /// True if the turn has staged or settled something.
    wrote: AtomicBool,
    /// Prices noted by output streams, which do not see the instance.
    price: AtomicU64,
}

impl Shared {
    /// Counts a poll of the turn, which is about to run.
    pub(super) fn polled(&self) {
        self.polls.fetch_add(1, Relaxed);
    }

    /// Gives the turn up: the running functions are recorded when its call is dropped.
    pub(super) fn give_up(&self) {
        self.given_up.store(true, Relaxed);
    }

    /// Returns whether the turn has staged or settled anything, as of its last host call.
    pub(super) fn has_written(&self) -> bool {
        self.wrote.load(Relaxed)
    }

    /// Adds to the price of the running call.
    pub(super) fn add_price(&self, fuel: u64) {
        self.price.fetch_add(fuel, Relaxed);
    }
}

impl Pace {
    pub(super) fn new() -> Self {
        let (price, owed, looked) = (0, 0, Duration::ZERO);
        Self { shared: Arc::default(), price, owed, polls: 0, asked: false, unpaced: 0, timed: false, looked }
    }

    pub(super) fn shared(&self) -> Arc<Shared> {
        self.shared.clone()
    }

    /// Begins a turn at this time.
    pub(super) fn begin_turn(&mut self, now: Duration) {
        self.shared.wrote.store(false, Relaxed);
        self.shared.price.store(0, Relaxed);
        (self.price, self.owed, self.unpaced, self.timed, self.looked) = (0, 0, 0, false, now);
    }

    /// Adds to the price of the running call.
    pub(super) fn add_price(&mut self, fuel: u64) {
        self.price = self.price.saturating_add(fuel);
    }

    /// Adds the price of a call that copies so many bytes, and `more` for what it does with them.
    pub(super) fn price(&mut self, bytes: usize, more: u64) {
        self.add_price(FUEL_PER_HOST_CALL + bytes as u64 * FUEL_PER_COPIED_BYTE + more);
    }

    /// Marks the running call as one of standard WASI, and adds its price.
    pub(super) fn in_wasi(&mut self) {
        self.price += FUEL_PER_HOST_CALL;
        self.timed = true;
    }

    /// Notes that the turn has staged or settled something.
    pub(super) fn note_written(&mut self) {
        self.shared.wrote.store(true, Relaxed);
    }

    /// Returns whether the turn has staged or settled anything, as of its last host call.
    pub(super) fn has_written(&self) -> bool {
        self.shared.has_written()
    }

    /// Returns whether the turn is given up: its call is about to be dropped.
    pub(super) fn is_given_up(&self) -> bool {
        self.shared.given_up.load(Relaxed)
    }

    /// Withdraws the request to give way. Returns whether there was one.
    pub(super) fn take_back(&mut self) -> bool {
        std::mem::take(&mut self.asked)
    }

    /// Counts the price of the call that returns. Returns whether the turn is to give way.
    pub(super) fn count(&mut self, price: u64, env: &Env) -> wasmtime::Result<bool> {
        let polls = self.shared.polls.load(Relaxed);
        if self.polls != polls {
            (self.polls, self.owed, self.unpaced) = (polls, 0, 0);
        }
        self.owed = self.owed.saturating_add(price);
        if std::mem::take(&mut self.timed) {
            let now = env.elapsed();
            if now.saturating_sub(self.looked) > LONG {
                self.owed = self.owed.max(FUEL_PER_SLICE);
            }
            self.looked = now;
        }
        if self.owed < FUEL_PER_SLICE {
            return Ok(false);
        }
        self.unpaced += 1;
        if self.unpaced > UNPACED_MAX {
            return Err(wasmtime::format_err!("too many host calls without a loop or a function between them"));
        }
        self.asked = true;
        Ok(true)
    }

    /// Takes the price of the call that returns.
    pub(super) fn take_price(&mut self) -> u64 {
        let elsewhere = if self.shared.price.load(Relaxed) == 0 { 0 } else { self.shared.price.swap(0, Relaxed) };
        std::mem::take(&mut self.price).saturating_add(elsewhere)
    }
}
