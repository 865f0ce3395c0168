//! The CPU time of turns, and the scheduling of turns that compute for long.
//!
//! A turn computes in *slices*: one stretch on one thread, after which it yields. The driver of the turn's future
//! ([`Computing`]) counts slices; compiled code and SQLite only read the clock and yield when asked to.
//!
//! Most turns are light and never wait here. A turn is *heavy* once it has computed for [`LIGHT`], or at once if the
//! turns of its class together have used up an allowance that refills with time. A heavy turn needs a slot for each
//! [`QUANTUM`]; there are as many slots as cores, and classes share them ([`Slots::brief`]). So however many turns of
//! one class compute without end, at most as many as there are cores run at a time, light turns, also those of that
//! class, find a free thread, and a heavy turn of another class gets the next slot but one at the latest. A turn holds
//! at most one slot, and none while it waits for anything else, so slots cannot deadlock.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, Wake, Waker, ready};
use std::time::Duration;

use dashmap::DashMap;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;

use super::share::{Slot, Slots, TooManyWait};
use super::{ClassKey, Env, Limits};

/// CPU time after which a turn is heavy: far more than nearly all turns need.
const LIGHT: Duration = Duration::from_millis(10);
/// CPU time after which a light turn yields: the delay that light turns cause each other.
const SLICE: Duration = Duration::from_millis(1);
/// How far a turn may exceed its CPU time during an operation that cannot be interrupted.
const BEYOND: Duration = Duration::from_millis(100);
/// CPU time of a heavy turn per slot. Shorter quanta cost more switches between turns, each with a cold cache.
const QUANTUM: Duration = Duration::from_millis(10);
/// The minimum interval between two readings of a thread's CPU clock: a reading is a system call of 0.7 µs; reading the
/// monotonic clock costs a twentieth of that.
const LOOKS_APART: Duration = Duration::from_micros(20);
/// CPU time that the light turns of one class may use in a burst before they need slots, per core.
const ALLOWANCE: Duration = Duration::from_millis(50);
/// The allowance refills with one part in this many of each core's time.
const REFILL: u64 = 4;
/// Smaller copies between a guest and the host are not counted.
const MOVED_MIN: usize = 256 << 10;
/// The maximum number of heavy turns of one class that wait for a slot. The last one waits about this many quanta
/// divided by the cores: 5 s on one core. Each holds an instance and a stack, hence the bound.
const WAITING_MAX: usize = 512;

/// The CPU scheduler of this host. Cheap to clone.
#[derive(Clone)]
pub struct HeavyWork(Arc<Heavy>);

struct Heavy {
    env: Env,
    cores: u64,
    slots: Arc<Slots>,
    /// Entries stay: a class takes about 200 bytes, and deploying one requires the admin token.
    classes: DashMap<ClassKey, Arc<ClassShare>>,
}

/// The CPU allowance that the turns of one class share.
pub struct ClassShare {
    class: ClassKey,
    host: Arc<Heavy>,
    allowance: Mutex<Allowance>,
    /// The allowance was used up at the last check.
    owes: AtomicBool,
}

struct Allowance {
    /// Nanoseconds of light computing that are left; negative if overdrawn.
    left: i64,
    /// The time of the last refill.
    at: Duration,
}

impl HeavyWork {
    /// Creates the slots of a machine with this many cores.
    pub fn new(cores: usize, env: &Env) -> Self {
        let slots = Slots::brief(cores, WAITING_MAX);
        Self(Arc::new(Heavy { env: env.clone(), cores: cores as u64, slots, classes: DashMap::new() }))
    }

    /// Returns the share of a class.
    pub fn of(&self, class: &ClassKey) -> Arc<ClassShare> {
        if let Some(share) = self.0.classes.get(class) {
            return share.clone();
        }
        let allowance = Mutex::new(Allowance { left: self.0.allowance(), at: self.0.env.elapsed() });
        let share = || {
            Arc::new(ClassShare { class: class.clone(), host: self.0.clone(), allowance, owes: AtomicBool::new(false) })
        };
        self.0.classes.entry(class.clone()).or_insert_with(share).clone()
    }

    /// Reports whether no turn holds a slot.
    pub fn is_idle(&self) -> bool {
        self.0.slots.all_free()
    }
}

impl Heavy {
    fn allowance(&self) -> i64 {
        (self.cores * ALLOWANCE.as_nanos() as u64) as i64
    }
}

impl ClassShare {
    /// Takes computed time off the allowance; returns whether some is left.
    fn take(&self, nanos: u64) -> bool {
        let now = self.host.env.elapsed();
        let mut allowance = self.allowance.lock();
        let refill = now.saturating_sub(allowance.at).as_nanos() as u64 * self.host.cores / REFILL;
        allowance.at = now.max(allowance.at);
        // The debt of a class is bounded, too: the class is slowed down while it computes, and recovers.
        let full = self.host.allowance();
        allowance.left = allowance.left.saturating_add_unsigned(refill).min(full);
        allowance.left = allowance.left.saturating_sub_unsigned(nanos).max(-full);
        let is_left = allowance.left > 0;
        self.owes.store(!is_left, Relaxed);
        is_left
    }

    /// Reports whether turns may begin without a slot. Takes no lock unless the allowance was used up at the last
    /// check.
    fn is_left(&self) -> bool {
        !self.owes.load(Relaxed) || self.take(0)
    }

    /// Takes off the allowance the cost of copying this many bytes between a guest and the host, about a nanosecond per
    /// byte: the clock is not read during the copy.
    pub fn moved(&self, bytes: usize) {
        if bytes >= MOVED_MIN {
            self.take(bytes as u64);
        }
    }

    fn acquire(self: &Arc<Self>) -> BoxFuture<'static, Result<Slot, TooManyWait>> {
        let share = self.clone();
        Box::pin(async move { share.host.slots.acquire(&share.class).await })
    }
}

/// The CPU time of one turn. Cheap to clone; clones count together.
///
/// Counting begins at the first check, so a slice without a check — a short turn's only one — costs no reading of the
/// clock.
#[derive(Clone)]
pub struct CpuTimer(Arc<CpuTime>);

struct CpuTime {
    env: Env,
    limit: u64,
    share: Arc<ClassShare>,
    used: AtomicU64,
    /// The time at which counting began in this slice, on its thread's clock; 0 before the first check.
    since: AtomicU64,
    /// The CPU time that the slice had used at the last check.
    running: AtomicU64,
    /// The time of the last check, on the monotonic clock.
    looked: AtomicU64,
    /// The length of the current slice.
    slice: AtomicU64,
    /// The class had allowance for light turns when the slice began.
    allowed: AtomicBool,
}

impl CpuTimer {
    /// Creates a timer at 0, with the CPU time limit of a turn.
    pub fn new(limits: &Limits, env: &Env, share: Arc<ClassShare>) -> Self {
        let allowed = AtomicBool::new(share.is_left());
        Self(Arc::new(CpuTime {
            env: env.clone(),
            limit: limits.cpu_time().as_nanos() as u64,
            share,
            used: AtomicU64::new(0),
            since: AtomicU64::new(0),
            running: AtomicU64::new(0),
            looked: AtomicU64::new(0),
            slice: AtomicU64::new(SLICE.as_nanos() as u64),
            allowed,
        }))
    }

    fn now(&self) -> u64 {
        self.0.env.thread_cpu().as_nanos().max(1) as u64
    }

    /// Begins a slice on the calling thread.
    fn begin_slice(&self) {
        self.0.running.store(0, Relaxed);
        self.0.looked.store(self.elapsed(), Relaxed);
        self.0.since.store(self.now(), Relaxed);
    }

    fn elapsed(&self) -> u64 {
        self.0.env.elapsed().as_nanos() as u64
    }

    /// Ends the slice: the turn yields or is over. Must run on the thread on which the slice began. What was computed
    /// with a slot is not taken off the allowance: the slots bound it, and light turns of the class would wait behind
    /// all its heavy ones.
    fn end_slice(&self, had_slot: bool) {
        let since = self.0.since.swap(0, Relaxed);
        if since != 0 {
            let computed = self.now().saturating_sub(since);
            self.0.used.fetch_add(computed, Relaxed);
            let light = if had_slot { 0 } else { computed };
            self.0.allowed.store(self.0.share.take(light), Relaxed);
        }
    }

    /// Checks the clock, unless it was checked just before; returns whether the turn's CPU time is used up. Must run on
    /// the thread that computes.
    pub fn is_over(&self) -> bool {
        match self.0.since.load(Relaxed) {
            0 => self.begin_slice(),
            since => self.look(since),
        }
        self.0.used.load(Relaxed) + self.0.running.load(Relaxed) >= self.0.limit
    }

    /// A thread uses no more CPU time than time passes, so the unseen part is less than [`LOOKS_APART`].
    fn look(&self, since: u64) {
        let elapsed = self.elapsed();
        if elapsed.saturating_sub(self.0.looked.load(Relaxed)) >= LOOKS_APART.as_nanos() as u64 {
            self.0.looked.store(elapsed, Relaxed);
            self.0.running.store(self.now().saturating_sub(since), Relaxed);
        }
    }

    /// Reports whether work of this length would end at most [`BEYOND`] after the turn's CPU time, as of the last
    /// check.
    pub fn has_time_for(&self, takes: Duration) -> bool {
        let by_then = self.0.used.load(Relaxed) + self.0.running.load(Relaxed) + takes.as_nanos() as u64;
        by_then <= self.0.limit + BEYOND.as_nanos() as u64
    }

    /// Reports whether the turn's CPU time was used up at the end of its last slice.
    pub fn is_used_up(&self) -> bool {
        self.0.used.load(Relaxed) >= self.0.limit
    }

    /// Returns the CPU time that this slice had used at the last check.
    pub fn running(&self) -> Duration {
        Duration::from_nanos(self.0.running.load(Relaxed))
    }

    /// Reports whether the slice was over at the last check.
    pub fn must_give_way(&self) -> bool {
        self.0.running.load(Relaxed) >= self.0.slice.load(Relaxed)
    }

    fn is_heavy(&self) -> bool {
        self.0.used.load(Relaxed) >= LIGHT.as_nanos() as u64 || !self.0.allowed.load(Relaxed)
    }
}

/// Drives a future that computes for one turn: slice after slice, each with a slot if the turn is heavy. Ends early if
/// too many turns of its class already wait for slots, and drops the driven future.
pub struct Computing<F> {
    call: F,
    timer: CpuTimer,
    /// None before the first slice.
    alarm: Option<Arc<Alarm>>,
    /// Whether the last slice ended because the turn waits for an event, not only to let others run.
    waits: bool,
    slot: Option<Slot>,
    /// The total CPU time of the turn at which its quantum is over.
    until: u64,
    wants_slot: Option<BoxFuture<'static, Result<Slot, TooManyWait>>>,
    /// The turn runs without slots.
    exempt: bool,
}

impl<F: Future + Unpin> Computing<F> {
    /// Creates a driver; nothing runs before the first poll.
    pub fn new(call: F, timer: CpuTimer) -> Self {
        Self { call, timer, alarm: None, waits: false, slot: None, until: 0, wants_slot: None, exempt: false }
    }

    /// Creates a driver for work that must not be refused once it has begun: it yields as often as a light turn, and
    /// needs no slot.
    pub fn exempt(call: F, timer: CpuTimer) -> Self {
        Self { exempt: true, ..Self::new(call, timer) }
    }

    /// Reports whether the turn waits for an event or for a slot, rather than yielding to others.
    pub fn only_waits(&self) -> bool {
        self.waits || self.wants_slot.is_some()
    }

    /// Reports whether the turn waits for an event other than a slot.
    pub fn waits(&self) -> bool {
        self.waits && self.wants_slot.is_none()
    }

    /// Reports whether the turn waits for a slot.
    pub fn is_queued(&self) -> bool {
        self.wants_slot.is_some()
    }

    /// Waits for a slot if the turn needs one. Completes at once without a slot if it does not.
    fn poll_slot(&mut self, context: &mut Context<'_>) -> Poll<Result<(), TooManyWait>> {
        if self.exempt || self.slot.is_some() || (self.wants_slot.is_none() && !self.timer.is_heavy()) {
            return Poll::Ready(Ok(()));
        }
        let wants = self.wants_slot.get_or_insert_with(|| self.timer.0.share.acquire());
        let slot = ready!(wants.as_mut().poll(context));
        self.wants_slot = None;
        self.slot = Some(slot?);
        self.until = self.timer.0.used.load(Relaxed) + QUANTUM.as_nanos() as u64;
        Poll::Ready(Ok(()))
    }

    /// Begins a slice and returns the waker for the next one.
    fn begin_slice(&mut self, waker: &Waker) -> Arc<Alarm> {
        let slice = match &self.slot {
            Some(_) => self.until.saturating_sub(self.timer.0.used.load(Relaxed)),
            None => SLICE.as_nanos() as u64,
        };
        self.timer.0.slice.store(slice, Relaxed);
        if self.alarm.is_some() {
            self.timer.begin_slice();
        }
        let alarm = match self.alarm.take() {
            Some(alarm) if alarm.waker.will_wake(waker) => alarm,
            _ => Arc::new(Alarm { waker: waker.clone(), rang: AtomicBool::new(false) }),
        };
        alarm.rang.store(false, Relaxed);
        self.alarm.insert(alarm).clone()
    }

    /// Ends the slice. Releases the slot when the quantum is over or the turn does not compute.
    fn end_slice(&mut self, alarm: &Alarm) {
        self.timer.end_slice(self.slot.is_some());
        // A turn that yields asks to be polled again before it returns; a turn that waits is woken later by its event.
        self.waits = !alarm.rang.load(Relaxed);
        if self.waits || self.timer.0.used.load(Relaxed) >= self.until {
            self.slot = None;
        }
    }
}

impl<F: Future + Unpin> Future for Computing<F> {
    type Output = Result<F::Output, TooManyWait>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        ready!(this.poll_slot(context))?;
        let alarm = this.begin_slice(context.waker());
        let polled = Pin::new(&mut this.call).poll(&mut Context::from_waker(&alarm.clone().into()));
        this.end_slice(&alarm);
        polled.map(Ok)
    }
}

/// A waker that records whether it was woken while the call was polled.
struct Alarm {
    waker: Waker,
    rang: AtomicBool,
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rang.store(true, Relaxed);
        self.waker.wake_by_ref();
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use futures_util::FutureExt;

    use super::*;

    /// A test environment with one core and a CPU clock that moves only by command.
    struct World {
        env: Env,
        clock: Arc<super::super::env::Manual>,
        heavy: HeavyWork,
    }

    impl World {
        fn new() -> Self {
            let (env, clock) = Env::manual(1);
            let heavy = HeavyWork::new(1, &env);
            Self { env, clock, heavy }
        }

        /// Takes every slot for another class.
        fn hold_all(&self) -> Slot {
            self.heavy.0.slots.try_acquire(&ClassKey::new("holder")).expect("it is free")
        }

        /// Creates a turn that computes for this long, and yields whenever it is asked to.
        fn turn(&self, class: &str, millis: u64) -> Computing<BoxFuture<'static, ()>> {
            let limits = Limits::default();
            let timer = CpuTimer::new(&limits, &self.env, self.heavy.of(&ClassKey::new(class)));
            let (looks, clock) = (timer.clone(), self.clock.clone());
            let mut left = millis * 10;
            let call = poll_fn(move |context| {
                while left > 0 {
                    looks.is_over();
                    if looks.must_give_way() {
                        context.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                    clock.advance(Duration::from_micros(100));
                    left -= 1;
                }
                Poll::Ready(())
            });
            Computing::new(call.boxed(), timer)
        }
    }

    fn polls(turn: &mut Computing<BoxFuture<'static, ()>>) -> usize {
        let mut context = Context::from_waker(Waker::noop());
        (1..10_000).find(|_| turn.poll_unpin(&mut context).is_ready()).expect("it ends")
    }

    #[test]
    fn a_light_turn_gives_way_each_slice_and_a_heavy_one_each_quantum() {
        let world = World::new();
        assert!((9..=10).contains(&polls(&mut world.turn("a", 9))));
        // Ten slices until it is heavy, then nine quanta.
        assert!((18..=22).contains(&polls(&mut world.turn("b", 100))));
        assert!(world.heavy.is_idle());
    }

    /// A single turn is light; this many of them together are heavy from their first slice on, until the allowance has
    /// refilled.
    #[test]
    fn the_light_turns_of_a_class_have_an_allowance() {
        let world = World::new();
        let held = world.hold_all();
        let mut context = Context::from_waker(Waker::noop());
        let through = (0..20).take_while(|_| {
            let mut turn = world.turn("crowd", 9);
            (0..100).any(|_| turn.poll_unpin(&mut context).is_ready() || turn.is_queued()) && !turn.is_queued()
        });
        assert!((5..=9).contains(&through.count()));
        let mut next = world.turn("crowd", 1);
        assert!(next.poll_unpin(&mut context).is_pending() && next.is_queued(), "not even its first slice");
        assert_eq!(polls(&mut world.turn("other", 1)), 1);
        drop(next);
        world.clock.advance(Duration::from_secs(1));
        assert_eq!(polls(&mut world.turn("crowd", 1)), 1);
        world.heavy.of(&ClassKey::new("crowd")).moved(1 << 30);
        assert!(world.turn("crowd", 1).poll_unpin(&mut context).is_pending());
        drop(held);
        assert!(world.heavy.is_idle());
    }

    #[test]
    fn the_threads_clock_is_not_looked_at_again_at_once() {
        let world = World::new();
        let timer = CpuTimer::new(&Limits::default(), &world.env, world.heavy.of(&ClassKey::new("class")));
        let look = |after| {
            world.clock.advance(after);
            assert!(!timer.is_over());
            timer.running()
        };
        assert_eq!((look(LOOKS_APART), look(LOOKS_APART / 2)), (Duration::ZERO, Duration::ZERO));
        assert_eq!((look(LOOKS_APART / 2), look(LOOKS_APART / 4)), (LOOKS_APART, LOOKS_APART));
        assert_eq!(look(QUANTUM), LOOKS_APART * 5 / 4 + QUANTUM);
    }

    #[test]
    fn classes_take_turns_and_a_light_turn_waits_for_none() {
        let world = World::new();
        let mut context = Context::from_waker(Waker::noop());
        let held = world.hold_all();
        let mut crowd: Vec<_> = (0..300).map(|_| world.turn("crowd", 1_000)).collect();
        let mut other = world.turn("other", 200);
        for _ in 0..20 {
            crowd.iter_mut().for_each(|turn| assert!(turn.poll_unpin(&mut context).is_pending()));
            assert!(other.poll_unpin(&mut context).is_pending());
        }
        assert!(other.is_queued() && crowd.iter().all(Computing::is_queued));
        assert!(polls(&mut world.turn("light", 5)) < 10);
        let begun = world.env.elapsed();
        drop(held);
        for n in (0..300).cycle() {
            // Simulates spare threads: a turn that yields is polled again at once.
            if other.poll_unpin(&mut context).is_ready() {
                break;
            }
            assert!(crowd[n].poll_unpin(&mut context).is_pending());
        }
        // Every second quantum was its own.
        let took = world.env.elapsed() - begun;
        assert!((Duration::from_millis(180)..Duration::from_millis(600)).contains(&took), "{took:?}");
        drop(crowd);
        assert!(world.heavy.is_idle());
    }

    #[test]
    fn a_class_that_has_used_up_its_allowance_needs_slots_at_once() {
        let world = World::new();
        let mut context = Context::from_waker(Waker::noop());
        let held = world.hold_all();
        let mut is_queued_soon = || {
            let mut turn = world.turn("class", 8);
            (0..20).any(|_| turn.poll_unpin(&mut context).is_ready() || turn.is_queued()) && turn.is_queued()
        };
        // Fifty milliseconds are allowed, and a quarter of the time that passes.
        let light = (0..100).take_while(|_| !is_queued_soon()).count();
        assert!((4..20).contains(&light), "{light}");
        world.clock.advance(Duration::from_secs(1));
        assert!(!is_queued_soon());
        drop(held);
    }

    /// What heavy turns compute in their slots does not make the light turns of their class wait behind them.
    #[test]
    fn a_light_turn_waits_for_no_heavy_turn_of_its_class() {
        let world = World::new();
        let mut context = Context::from_waker(Waker::noop());
        let mut crowd: Vec<_> = (0..10).map(|_| world.turn("crowd", 100_000)).collect();
        for _ in 0..500 {
            crowd.iter_mut().for_each(|turn| assert!(turn.poll_unpin(&mut context).is_pending()));
        }
        let held = world.hold_all();
        assert!(polls(&mut world.turn("crowd", 5)) < 10);
        drop((held, crowd));
        assert!(world.heavy.is_idle());
    }

    #[test]
    fn too_many_that_wait_are_refused() {
        let world = World::new();
        let mut context = Context::from_waker(Waker::noop());
        let held = world.hold_all();
        let mut crowd: Vec<_> = (0..WAITING_MAX + 2).map(|_| world.turn("crowd", 1_000)).collect();
        let mut refused = 0;
        for _ in 0..20 {
            crowd.retain_mut(|turn| {
                let polled = turn.poll_unpin(&mut context);
                refused += usize::from(matches!(polled, Poll::Ready(Err(TooManyWait))));
                polled.is_pending()
            });
        }
        assert_eq!((refused, crowd.len()), (2, WAITING_MAX));
        drop((held, crowd));
        assert!(world.heavy.is_idle());
    }
}
