//! Keeps a turn's pace while it calls the host: what host calls cost, when they make the turn give way, and where its code was
//! when it is given up. All of it is looked at in one place, [`at_host_call`], on the way to the host and back.
//!
//! Compiled code pays in fuel and gives way whenever a slice of it is used up. A host call uses next to none, however much it
//! does. So each has a price in fuel, by counts and bytes and never by time, which it notes here and which is charged on the way back.
//! When the prices since the turn last gave way add up to a slice, the turn's CPU time is looked at, and it gives way at
//! the next place where compiled code looks at its fuel: at the next loop or function.
//!
//! What standard WASI does in one call is not always known here. Such a call is timed instead: a long one makes the turn give way,
//! too, but costs no more fuel than a short one, so fuel stays the same on every machine.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use wasmtime::{CallHook, StoreContextMut, WasmBacktrace};

use super::host::Host;
use super::instance::functions;
use super::meter::FUEL_PER_SLICE;
use crate::base::limits::FUEL_PER_HOST_CALL;

/// A call of standard WASI, or several one after the other, that took so long make the turn give way.
const LONG: Duration = Duration::from_micros(100);
/// Host calls that a turn may make, each after more than a slice of them, without passing a place where it can give way. Code
/// that people write passes one between any two; only code made for it does not.
const UNPACED_MAX: u32 = 1_000;

/// What one instance's host calls cost since it last gave way.
pub(super) struct Pace {
    shared: Arc<Shared>,
    /// Fuel that the running call costs, and that is not charged yet.
    price: u64,
    /// Prices since the turn last gave way.
    owed: u64,
    /// When the turn last gave way, in polls.
    polls: u32,
    /// Whether the turn is asked to give way.
    asked: bool,
    /// Host calls since it was asked to.
    unpaced: u32,
    /// Whether the running call is one of standard WASI, which is timed.
    timed: bool,
    /// When such a call last ended.
    looked: Duration,
}

/// What whoever polls a turn shares with its host calls.
#[derive(Default)]
pub(super) struct Shared {
    /// How often the turn was polled.
    polls: AtomicU32,
    /// The turn is given up: its call is about to be dropped.
    given_up: AtomicBool,
    /// The turn has staged something, or settled it.
    wrote: AtomicBool,
    /// Prices noted by what does not see the instance: its output streams.
    price: AtomicU64,
}

impl Shared {
    /// The turn is about to be polled.
    pub(super) fn polled(&self) {
        self.polls.fetch_add(1, Relaxed);
    }

    /// Has the place where the turn's code is noted when its call is dropped.
    pub(super) fn give_up(&self) {
        self.given_up.store(true, Relaxed);
    }

    /// Whether the turn has staged or settled anything, as of its last host call.
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

    /// A turn begins at this time.
    pub(super) fn begin_turn(&mut self, now: Duration) {
        self.shared.wrote.store(false, Relaxed);
        self.shared.price.store(0, Relaxed);
        (self.price, self.owed, self.unpaced, self.timed, self.looked) = (0, 0, 0, false, now);
    }

    /// Adds to the price of the running call.
    pub(super) fn add_price(&mut self, fuel: u64) {
        self.price = self.price.saturating_add(fuel);
    }

    /// The running call is one of standard WASI.
    pub(super) fn in_wasi(&mut self) {
        self.price += FUEL_PER_HOST_CALL;
        self.timed = true;
    }

    fn take_price(&mut self) -> u64 {
        let elsewhere = if self.shared.price.load(Relaxed) == 0 { 0 } else { self.shared.price.swap(0, Relaxed) };
        std::mem::take(&mut self.price).saturating_add(elsewhere)
    }
}

/// Called whenever an instance's code calls the host or the engine, and when that returns. An error ends the turn.
pub(super) fn at_host_call(store: StoreContextMut<'_, Host>, transition: CallHook) -> wasmtime::Result<()> {
    match transition {
        CallHook::CallingHost => before(store),
        CallHook::ReturningFromHost => after(store),
        CallHook::CallingWasm | CallHook::ReturningFromWasm => Ok(()),
    }
}

fn before(mut store: StoreContextMut<'_, Host>) -> wasmtime::Result<()> {
    let host = store.data_mut();
    if !host.pace.shared.has_written() && host.has_written() {
        host.pace.shared.wrote.store(true, Relaxed);
    }
    if host.pace.asked {
        // Perhaps this is the call by which it gives way; if not, it is asked again.
        host.pace.asked = false;
        store.fuel_async_yield_interval(Some(FUEL_PER_SLICE))?;
    }
    Ok(())
}

fn after(mut store: StoreContextMut<'_, Host>) -> wasmtime::Result<()> {
    let host = store.data_mut();
    if host.pace.shared.given_up.load(Relaxed) {
        // The call is being dropped, whatever is returned here.
        if host.stopped_at.is_none() {
            let stack = functions(&WasmBacktrace::capture(&store));
            store.data_mut().stopped_at = Some(stack);
        }
        return Ok(());
    }
    let price = host.pace.take_price();
    if price > 0 {
        host.work.charge(price)?;
    }
    host.work.check()?;
    let pace = &mut host.pace;
    let polls = pace.shared.polls.load(Relaxed);
    if pace.polls != polls {
        (pace.polls, pace.owed, pace.unpaced) = (polls, 0, 0);
    }
    pace.owed = pace.owed.saturating_add(price);
    if std::mem::take(&mut pace.timed) {
        let now = host.env.elapsed();
        if now.saturating_sub(pace.looked) > LONG {
            pace.owed = pace.owed.max(FUEL_PER_SLICE);
        }
        pace.looked = now;
    }
    if pace.owed < FUEL_PER_SLICE {
        return Ok(());
    }
    pace.unpaced += 1;
    if pace.unpaced > UNPACED_MAX {
        return Err(wasmtime::format_err!("too many host calls without a loop or a function between them"));
    }
    pace.asked = true;
    host.work.check_time()?;
    // Compiled code looks at its fuel at the next loop or function, and finds none.
    store.fuel_async_yield_interval(Some(1))
}
