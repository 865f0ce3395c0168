//! What a turn may use: memory of its instance, CPU time and wall time. Fuel is the engine's; this file says how much.
//!
//! Fuel is the deterministic limit. CPU time is the second one, for guests that burn fuel slowly; it is counted at the
//! yields that fuel causes, so a turn that ends within its first slice costs no look at the clock.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use wasmtime::ResourceLimiter;

use super::budget::{Budget, TABLE_ELEMENTS};
use super::host::wasi::TurnClock;
use crate::base::{Env, Limits};

/// Fuel between two yields: about 0.1 ms of compiled code. Smaller slices cost measurably more.
pub(super) const FUEL_PER_SLICE: u64 = 1_000_000;

/// Counts the linear memory of one instance, on its own and against the host's budget.
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

    /// What was refused in this turn, if anything was. A trap after a refusal is the refusal's doing.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        self.refusal
    }
}

impl ResourceLimiter for MemoryMeter {
    /// A refusal makes `memory.grow` answer −1, as the specification has it: interpreters may collect garbage and try again.
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let more = desired.saturating_sub(current) as u64;
        if self.used + more > self.limit {
            self.refusal = Some(Refusal::Limit);
        } else if !self.budget.take_bytes(more) {
            self.refusal = Some(Refusal::Host);
        } else {
            self.used += more;
            return Ok(true);
        }
        Ok(false)
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= TABLE_ELEMENTS)
    }
}

impl Drop for MemoryMeter {
    fn drop(&mut self) {
        self.budget.give_bytes(self.used);
    }
}

/// A guest call that ends when its time is up. Dropping the call poisons the instance: the caller drops that, too.
pub(super) struct Timed<'a, F> {
    call: Pin<&'a mut F>,
    limits: &'a Limits,
    env: &'a Env,
    clock: &'a TurnClock,
    cpu_used: Duration,
    /// When the call last gave way; none before its first slice ended.
    gave_way: Option<Duration>,
    wall: Option<Pin<Box<tokio::time::Sleep>>>,
}

/// How a timed call ended without a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TimeUp {
    /// It used its CPU time.
    Cpu(Duration),
    /// It took its wall time.
    Wall(Duration),
}

impl<'a, F: Future> Timed<'a, F> {
    pub(super) fn new(call: Pin<&'a mut F>, limits: &'a Limits, env: &'a Env, clock: &'a TurnClock) -> Self {
        Self { call, limits, env, clock, cpu_used: Duration::ZERO, gave_way: None, wall: None }
    }
}

impl<F: Future> Future for Timed<'_, F> {
    type Output = Result<F::Output, TimeUp>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let began = this.gave_way.map(|gave_way| {
            // Giving way to others takes microseconds; who was away for longer has waited, and sees time go on.
            if this.env.elapsed().saturating_sub(gave_way) >= Duration::from_millis(1) {
                this.clock.advance(this.env);
            }
            this.env.thread_cpu()
        });
        if let Poll::Ready(output) = this.call.as_mut().poll(context) {
            return Poll::Ready(Ok(output));
        }
        if let Some(began) = began {
            this.cpu_used += this.env.thread_cpu().saturating_sub(began);
        }
        this.gave_way = Some(this.env.elapsed());
        if this.cpu_used >= this.limits.cpu_time() {
            return Poll::Ready(Err(TimeUp::Cpu(this.limits.cpu_time())));
        }
        let limit = this.limits.wall_time();
        let wall = this.wall.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        wall.as_mut().poll(context).map(|()| Err(TimeUp::Wall(limit)))
    }
}
