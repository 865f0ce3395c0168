//! What a turn may use: memory of its instance, CPU time and wall time. Fuel is the engine's; this file says how much.
//!
//! Fuel is the deterministic limit. CPU time is the second one, for guests that burn fuel slowly; it is counted at the
//! yields that fuel causes, so a turn that ends within its first slice costs no look at the clock.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::block_in_place;
use wasmtime::ResourceLimiter;

use super::budget::TABLE_ELEMENTS;
use super::host::wasi::TurnClock;
use super::instance::InstanceContext;
use super::pace::Shared;
use crate::base::{Env, Limits, MemoryAccount, MemoryCharge, MemoryUse};

/// Fuel between two yields: about 0.1 ms of compiled code. Smaller slices cost measurably more.
pub(super) const FUEL_PER_SLICE: u64 = 1_000_000;

/// CPU time without giving way after which a turn takes a permit: guest code gives way far sooner, SQL rarely takes so long.
const HEAVY: Duration = Duration::from_millis(10);

/// Bytes that an element of a table takes.
const TABLE_ELEMENT: u64 = 8;

/// Counts the linear memory and the tables of one instance, on their own and against its class's share of the host's budget.
pub(super) struct MemoryMeter {
    charge: MemoryCharge,
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
    /// `account` is that of the instance's class.
    pub(super) fn new(account: MemoryAccount, limit: u64) -> Self {
        let charge = account.take(MemoryUse::Instances, 0).expect("no bytes can always be had");
        Self { charge, limit, refusal: None }
    }

    /// Forgets refusals of earlier turns: a guest may have coped with them.
    pub(super) fn begin_turn(&mut self) {
        self.refusal = None;
    }

    fn take(&mut self, more: u64) -> bool {
        if self.charge.bytes().saturating_add(more) > self.limit {
            self.refusal = Some(Refusal::Limit);
        } else if self.charge.grow(more).is_err() {
            self.refusal = Some(Refusal::Host);
        } else {
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

/// The CPU time of one turn, counted by whoever computes for it: guest code between yields, SQLite at its progress calls.
///
/// A slice is one stretch on one thread. Counting begins when somebody asks, so a slice that nobody asks about — a short
/// turn's only one — costs no look at the clock.
#[derive(Clone)]
pub(super) struct CpuTimer(Arc<CpuTime>);

struct CpuTime {
    env: Env,
    limit: u64,
    used: AtomicU64,
    /// When counting began in this slice, on its thread's clock; 0 if it did not.
    since: AtomicU64,
    heavy: HeavyWork,
    permit: Mutex<Option<OwnedSemaphorePermit>>,
}

/// Lets as many turns as there are cores compute for long in one call of the host, which is SQL: SQLite does not give way, so
/// a few endless statements would take every thread from everybody else. Those who wait here leave their thread's place
/// to another thread; those who do not are fewer than the guests' threads.
#[derive(Clone)]
pub(super) struct HeavyWork(Arc<Semaphore>);

impl HeavyWork {
    /// For a machine with so many cores.
    pub(super) fn new(cores: usize) -> Self {
        Self(Arc::new(Semaphore::new(cores)))
    }

    fn wait(&self) -> OwnedSemaphorePermit {
        let permit = self
            .0
            .clone()
            .try_acquire_owned()
            .or_else(|_| block_in_place(|| Handle::current().block_on(self.0.clone().acquire_owned())));
        permit.expect("the semaphore is never closed")
    }
}

impl CpuTimer {
    pub(super) fn new(limits: &Limits, env: &Env, heavy: HeavyWork) -> Self {
        let limit = limits.cpu_time().as_nanos() as u64;
        let (used, since) = (AtomicU64::new(0), AtomicU64::new(0));
        Self(Arc::new(CpuTime { env: env.clone(), limit, used, since, heavy, permit: Mutex::default() }))
    }

    fn now(&self) -> u64 {
        self.0.env.thread_cpu().as_nanos().max(1) as u64
    }

    fn begin_counting(&self) {
        self.0.since.store(self.now(), Ordering::Relaxed);
    }

    fn end_slice(&self) {
        match self.0.since.swap(0, Ordering::Relaxed) {
            0 => {}
            since => {
                self.0.used.fetch_add(self.now().saturating_sub(since), Ordering::Relaxed);
                *self.0.permit.lock() = None;
            }
        }
    }

    /// Whether the turn's CPU time is used up. Called on the thread that computes, which waits here if too many others have
    /// been computing for long.
    pub(super) fn is_over(&self) -> bool {
        let running = match self.0.since.load(Ordering::Relaxed) {
            0 => {
                self.begin_counting();
                0
            }
            since => self.now().saturating_sub(since),
        };
        if running > HEAVY.as_nanos() as u64 {
            self.0.permit.lock().get_or_insert_with(|| self.0.heavy.wait());
        }
        self.0.used.load(Ordering::Relaxed) + running >= self.0.limit
    }
}

/// Ends when nobody waits for a turn any more.
pub type Abandoned<'a> = &'a mut (dyn Future<Output = ()> + Send + Unpin);

/// A guest call that ends when its time is up. Dropping the call poisons the instance: the caller drops that, too.
pub(super) struct Timed<'a, 'b, F> {
    call: Pin<&'a mut F>,
    context: &'a InstanceContext,
    cpu: &'a CpuTimer,
    clock: &'a TurnClock,
    pace: &'a Shared,
    /// None if the call is to end whoever waits for it.
    abandoned: Option<Abandoned<'b>>,
    /// None before the first slice.
    alarm: Option<Arc<Alarm>>,
    /// Whether the last slice ended because the guest waits for something, not only to let others run.
    waits: bool,
    wall: Option<Pin<Box<tokio::time::Sleep>>>,
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
}

impl<'a, 'b, F: Future> Timed<'a, 'b, F> {
    pub(super) fn new(
        call: Pin<&'a mut F>,
        context: &'a InstanceContext,
        cpu: &'a CpuTimer,
        clock: &'a TurnClock,
        pace: &'a Shared,
    ) -> Self {
        Self { call, context, cpu, clock, pace, abandoned: None, alarm: None, waits: false, wall: None }
    }

    /// Ends the call, too, when nobody waits for it any more, as long as it only waits and has not written.
    pub(super) fn unless(mut self, abandoned: Option<Abandoned<'b>>) -> Self {
        self.abandoned = abandoned;
        self
    }

    fn is_abandoned(&mut self, context: &mut Context<'_>) -> bool {
        let Some(abandoned) = self.abandoned.as_mut().filter(|_| self.waits && !self.pace.has_written()) else {
            return false;
        };
        let is_abandoned = Pin::new(&mut **abandoned).poll(context).is_ready();
        if is_abandoned {
            self.abandoned = None;
        }
        is_abandoned
    }

    /// Why the call is to end now, if it is.
    fn poll_time_up(&mut self, context: &mut Context<'_>) -> Poll<TimeUp> {
        let limits = &self.context.limits;
        if self.cpu.0.used.load(Ordering::Relaxed) >= self.cpu.0.limit {
            return Poll::Ready(TimeUp::Cpu(limits.cpu_time()));
        }
        if self.is_abandoned(context) {
            return Poll::Ready(TimeUp::Abandoned);
        }
        let limit = limits.wall_time();
        let wall = self.wall.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        wall.as_mut().poll(context).map(|()| TimeUp::Wall(limit))
    }

    /// Begins a slice and says who is to be woken for the next one.
    fn begin_slice(&mut self, waker: &Waker) -> Arc<Alarm> {
        if self.alarm.is_some() {
            self.cpu.begin_counting();
        }
        if self.waits {
            self.clock.advance(&self.context.env);
        }
        let alarm = match self.alarm.take() {
            Some(alarm) if alarm.waker.will_wake(waker) => alarm,
            _ => Arc::new(Alarm { waker: waker.clone(), rang: AtomicBool::new(false) }),
        };
        alarm.rang.store(false, Ordering::Relaxed);
        self.alarm.insert(alarm).clone()
    }
}

/// Wakes a call, and tells afterwards whether it did so while the call was polled.
struct Alarm {
    waker: Waker,
    rang: AtomicBool,
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rang.store(true, Ordering::Relaxed);
        self.waker.wake_by_ref();
    }
}

impl<F: Future> Future for Timed<'_, '_, F> {
    type Output = Result<F::Output, TimeUp>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        this.pace.polled();
        let alarm = this.begin_slice(context.waker());
        let polled = this.call.as_mut().poll(&mut Context::from_waker(&alarm.clone().into()));
        this.cpu.end_slice();
        if let Poll::Ready(output) = polled {
            return Poll::Ready(Ok(output));
        }
        // Who gives way asks to be polled again before he does; who waits is woken later, by what he waits for.
        this.waits = !alarm.rang.load(Ordering::Relaxed);
        let time_up = this.poll_time_up(context);
        if time_up.is_ready() {
            this.pace.give_up();
        }
        time_up.map(Err)
    }
}
