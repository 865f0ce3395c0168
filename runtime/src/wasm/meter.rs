//! What a turn may use: memory of its instance, CPU time and wall time. Fuel is the engine's; this file says how much.
//!
//! Fuel is the deterministic limit. CPU time is the second one, for guests that burn fuel slowly; it is counted at the
//! yields that fuel causes and within SQL, so a turn that ends within its first slice costs no look at the clock. Who computes for long
//! waits for a slot of his class ([`Computing`]).

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use wasmtime::ResourceLimiter;

use super::capacity::TABLE_ELEMENTS;
use super::host::wasi::TurnClock;
use super::instance::InstanceContext;
use super::pace::Shared;
use crate::base::env::Sleep;
use crate::base::share::TooManyWait;
use crate::base::{Computing, CpuTimer, MemoryCharge};

/// Fuel between two yields: about 0.1 ms of compiled code. Smaller slices cost measurably more.
pub(super) const FUEL_PER_SLICE: u64 = 1_000_000;

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

/// Ends when something has happened.
pub type Signal<'a> = &'a mut (dyn Future<Output = ()> + Send + Unpin);

/// What ends a turn from outside.
pub struct Ends<'a, 'b> {
    /// Nobody waits for it any more. Counts while it only waits and has written nothing. None for turns that are finished all the same.
    pub abandoned: Option<Signal<'a>>,
    /// Its object is to be deleted. Counts at once.
    pub deleted: Signal<'b>,
}

/// A guest call that ends when its time is up. Dropping the call poisons the instance: the caller drops that, too.
pub(super) struct Timed<'a, 'b, 'c, F> {
    call: Computing<Pin<&'a mut F>>,
    context: &'a InstanceContext,
    cpu: &'a CpuTimer,
    clock: &'a TurnClock,
    pace: &'a Shared,
    abandoned: Option<Signal<'b>>,
    deleted: Option<Signal<'c>>,
    wall: Option<Sleep>,
}

/// How a timed call ended without a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TimeUp {
    /// It used its CPU time.
    Cpu(Duration),
    /// It took its wall time.
    Wall(Duration),
    /// It waited for something, had written nothing, and nobody waited for it.
    Abandoned,
    /// Its object is to be deleted.
    Deleted,
    /// It wanted to compute for long, and too many of its class wait to do so.
    Overloaded,
}

impl<'a, 'b, 'c, F: Future> Timed<'a, 'b, 'c, F> {
    pub(super) fn new(
        call: Pin<&'a mut F>,
        context: &'a InstanceContext,
        cpu: &'a CpuTimer,
        clock: &'a TurnClock,
        pace: &'a Shared,
    ) -> Self {
        Self {
            call: Computing::new(call, cpu.clone()),
            context,
            cpu,
            clock,
            pace,
            abandoned: None,
            deleted: None,
            wall: None,
        }
    }

    /// Ends the call, too, when something outside does.
    pub(super) fn unless(mut self, ends: Ends<'b, 'c>) -> Self {
        (self.abandoned, self.deleted) = (ends.abandoned, Some(ends.deleted));
        self
    }

    fn is_abandoned(&mut self, context: &mut Context<'_>) -> bool {
        let only_waits = self.call.only_waits() && !self.pace.has_written();
        let Some(abandoned) = self.abandoned.as_mut().filter(|_| only_waits) else { return false };
        let is_abandoned = Pin::new(&mut **abandoned).poll(context).is_ready();
        if is_abandoned {
            self.abandoned = None;
        }
        is_abandoned
    }

    /// Why the call is to end now, if it is.
    fn poll_time_up(&mut self, context: &mut Context<'_>) -> Poll<TimeUp> {
        let limits = &self.context.limits;
        if self.cpu.is_used_up() {
            return Poll::Ready(TimeUp::Cpu(limits.cpu_time()));
        }
        if self.deleted.as_mut().is_some_and(|deleted| Pin::new(&mut **deleted).poll(context).is_ready()) {
            return Poll::Ready(TimeUp::Deleted);
        }
        if self.is_abandoned(context) {
            return Poll::Ready(TimeUp::Abandoned);
        }
        let limit = limits.wall_time();
        let wall = self.wall.get_or_insert_with(|| self.context.env.sleep(limit));
        Pin::new(wall).poll(context).map(|()| TimeUp::Wall(limit))
    }
}

impl<F: Future> Future for Timed<'_, '_, '_, F> {
    type Output = Result<F::Output, TimeUp>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if this.call.waits() {
            this.clock.advance(&this.context.env);
        }
        this.pace.polled();
        let time_up = match Pin::new(&mut this.call).poll(context) {
            Poll::Ready(Ok(output)) => return Poll::Ready(Ok(output)),
            Poll::Ready(Err(TooManyWait)) => Poll::Ready(TimeUp::Overloaded),
            Poll::Pending => this.poll_time_up(context),
        };
        if time_up.is_ready() {
            this.pace.give_up();
        }
        time_up.map(Err)
    }
}
