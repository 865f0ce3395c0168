//! What a turn may use: memory of its instance, CPU time and wall time. Fuel is the engine's; this file says how much.
//!
//! Fuel is the deterministic limit. CPU time is the second one, for guests that burn fuel slowly; it is counted at the
//! yields that fuel causes and within SQL, so a turn that ends within its first slice costs no look at the clock. Who computes for long
//! waits for a slot of his class ([`Computing`]).

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use wasmtime::ResourceLimiter;

use super::budget::{Budget, TABLE_ELEMENTS};
use super::host::wasi::TurnClock;
use super::instance::InstanceContext;
use crate::base::share::TooManyWait;
use crate::base::{Computing, CpuTimer};

/// Fuel between two yields: about 0.1 ms of compiled code. Smaller slices cost measurably more.
pub(super) const FUEL_PER_SLICE: u64 = 1_000_000;

/// Bytes that an element of a table takes.
const TABLE_ELEMENT: u64 = 8;

/// Counts the linear memory and the tables of one instance, on their own and against the host's budget.
pub(super) struct MemoryMeter {
    budget: Arc<Budget>,
    limit: u64,
    used: u64,
    refusal: Option<Refusal>,
}

/// Why memory was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The instance is at its own limit.
    Limit,
    /// All instances together are at the host's.
    Host,
}

impl MemoryMeter {
    pub(super) fn new(budget: Arc<Budget>, limit: u64) -> Self {
        Self { budget, limit, used: 0, refusal: None }
    }

    /// Forgets refusals of earlier turns: a guest may have coped with them.
    pub(super) fn begin_turn(&mut self) {
        self.refusal = None;
    }

    fn take(&mut self, more: u64) -> bool {
        if self.used + more > self.limit {
            self.refusal = Some(Refusal::Limit);
        } else if !self.budget.take_bytes(more) {
            self.refusal = Some(Refusal::Host);
        } else {
            self.used += more;
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

impl Drop for MemoryMeter {
    fn drop(&mut self) {
        self.budget.give_bytes(self.used);
    }
}

/// A guest call that ends when its time is up. Dropping the call poisons the instance: the caller drops that, too.
pub(super) struct Timed<'a, F> {
    call: Computing<Pin<&'a mut F>>,
    context: &'a InstanceContext,
    cpu: &'a CpuTimer,
    clock: &'a TurnClock,
    wall: Option<Pin<Box<tokio::time::Sleep>>>,
}

/// How a timed call ended without a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TimeUp {
    /// It used its CPU time.
    Cpu(Duration),
    /// It took its wall time.
    Wall(Duration),
    /// It wanted to compute for long, and too many of its class wait to do so.
    Overloaded,
}

impl<'a, F: Future> Timed<'a, F> {
    pub(super) fn new(
        call: Pin<&'a mut F>,
        context: &'a InstanceContext,
        cpu: &'a CpuTimer,
        clock: &'a TurnClock,
    ) -> Self {
        Self { call: Computing::new(call, cpu.clone()), context, cpu, clock, wall: None }
    }
}

impl<F: Future> Future for Timed<'_, F> {
    type Output = Result<F::Output, TimeUp>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let limits = &this.context.limits;
        if this.call.waits() {
            this.clock.advance(&this.context.env);
        }
        match Pin::new(&mut this.call).poll(context) {
            Poll::Ready(Ok(output)) => return Poll::Ready(Ok(output)),
            Poll::Ready(Err(TooManyWait)) => return Poll::Ready(Err(TimeUp::Overloaded)),
            Poll::Pending => {}
        }
        if this.cpu.is_used_up() {
            return Poll::Ready(Err(TimeUp::Cpu(limits.cpu_time())));
        }
        let limit = limits.wall_time();
        let wall = this.wall.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        wall.as_mut().poll(context).map(|()| Err(TimeUp::Wall(limit)))
    }
}
