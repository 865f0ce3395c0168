//! The CPU time of turns, and who may compute for long.
//!
//! A turn computes in *slices*: one stretch on one thread, after which it gives way. Whoever drives the turn's future ([`Computing`]) counts
//! slices; compiled code and SQLite only look at the clock and give way when they are told to.
//!
//! Most turns are light and never wait here. A turn is *heavy* once it has computed for [`LIGHT`], or at once when the turns of its class
//! have together used up an allowance that refills with time. A heavy turn needs a slot for each [`QUANTUM`]; there are as many as cores, and
//! classes share them ([`Slots::brief`]). So however many turns of one class compute without end, no more than the cores' number run at a
//! time, light turns find a free thread, and a heavy turn of another class gets the next slot but one at the latest.
//! A turn holds at most one slot, and none while it waits for anything else, so nobody waits for a slot in a circle.

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
/// How long a light turn computes before it gives way: what light turns may wait for each other.
const SLICE: Duration = Duration::from_millis(1);
/// How much longer than its CPU time a turn may compute, when it is at something that nobody can end.
const BEYOND: Duration = Duration::from_millis(100);
/// What a heavy turn computes with one slot. Shorter quanta cost more switches between turns, each with a cold cache.
const QUANTUM: Duration = Duration::from_millis(10);
/// Two looks at a thread's clock are at least so far apart: the look is a system call of 0.7 µs, and asking what time it is costs a twentieth.
const LOOKS_APART: Duration = Duration::from_micros(20);
/// What the light turns of one class may compute at once before they need slots, for each core.
const ALLOWANCE: Duration = Duration::from_millis(50);
/// The part of each core's time with which the allowance refills: one in so many.
const REFILL: u64 = 4;
/// Fewer bytes that are moved between a guest and the host are not counted.
const MOVED_MIN: usize = 256 << 10;
/// Heavy turns of one class that wait for a slot. The last of them waits about this many quanta, divided by the cores: 5 s on one core. Each
/// holds an instance and a stack, which is why there is a bound.
const WAITING_MAX: usize = 512;

/// Who computes for long on this host. Cheap to clone.
#[derive(Clone)]
pub struct HeavyWork(Arc<Heavy>);

struct Heavy {
    env: Env,
    cores: u64,
    slots: Arc<Slots>,
    /// Entries stay: a class takes about 200 bytes, and deploying one takes the admin token.
    classes: DashMap<ClassKey, Arc<ClassShare>>,
}

/// What the turns of one class may compute.
pub struct ClassShare {
    class: ClassKey,
    host: Arc<Heavy>,
    allowance: Mutex<Allowance>,
    /// Nothing was left of the allowance when somebody last looked.
    owes: AtomicBool,
}

struct Allowance {
    /// Nanoseconds of light computing; below zero none is left.
    left: i64,
    /// When it was last refilled.
    at: Duration,
}

impl HeavyWork {
    /// Makes the slots of a machine with so many cores.
    pub fn new(cores: usize, env: &Env) -> Self {
        let slots = Slots::brief(cores, WAITING_MAX);
        Self(Arc::new(Heavy { env: env.clone(), cores: cores as u64, slots, classes: DashMap::new() }))
    }

    /// The share of a class.
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

    /// Whether no turn holds a slot.
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
    /// Takes computed time off the allowance; answers whether some is left.
    fn take(&self, nanos: u64) -> bool {
        let now = self.host.env.elapsed();
        let mut allowance = self.allowance.lock();
        let refill = now.saturating_sub(allowance.at).as_nanos() as u64 * self.host.cores / REFILL;
        allowance.at = now.max(allowance.at);
        // What the class owes is bounded, too: it is slowed down while it computes, not for ever.
        let full = self.host.allowance();
        allowance.left = allowance.left.saturating_add_unsigned(refill).min(full);
        allowance.left = allowance.left.saturating_sub_unsigned(nanos).max(-full);
        let is_left = allowance.left > 0;
        self.owes.store(!is_left, Relaxed);
        is_left
    }

    /// Whether turns may begin without a slot. Takes no lock unless the class owed something when somebody last looked.
    fn is_left(&self) -> bool {
        !self.owes.load(Relaxed) || self.take(0)
    }

    /// Takes off the allowance what moving so many bytes between a guest and the host costs both, about a nanosecond each: nobody
    /// looks at the clock meanwhile.
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
/// Counting begins when somebody looks, so a slice that nobody looks at — a short turn's only one — costs no look at the clock.
#[derive(Clone)]
pub struct CpuTimer(Arc<CpuTime>);

struct CpuTime {
    env: Env,
    limit: u64,
    share: Arc<ClassShare>,
    used: AtomicU64,
    /// When counting began in this slice, on its thread's clock; 0 if it did not.
    since: AtomicU64,
    /// What the slice had computed at the last look.
    running: AtomicU64,
    /// When that was, on the clock that never stops.
    looked: AtomicU64,
    /// How long the slice may be.
    slice: AtomicU64,
    /// The class has an allowance for light turns.
    allowed: AtomicBool,
}

impl CpuTimer {
    /// Begins at 0, with the limit of a turn.
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

    /// Counts from here on, on this thread.
    fn begin_slice(&self) {
        self.0.running.store(0, Relaxed);
        self.0.looked.store(self.elapsed(), Relaxed);
        self.0.since.store(self.now(), Relaxed);
    }

    fn elapsed(&self) -> u64 {
        self.0.env.elapsed().as_nanos() as u64
    }

    /// The turn gives way, or is over. On the thread on which the slice began.
    fn end_slice(&self) {
        let since = self.0.since.swap(0, Relaxed);
        if since != 0 {
            let computed = self.now().saturating_sub(since);
            self.0.used.fetch_add(computed, Relaxed);
            self.0.allowed.store(self.0.share.take(computed), Relaxed);
        }
    }

    /// Looks at the clock, unless it has just been looked at: whether the turn's CPU time is used up. On the thread that computes.
    pub fn is_over(&self) -> bool {
        match self.0.since.load(Relaxed) {
            0 => self.begin_slice(),
            since => self.look(since),
        }
        self.0.used.load(Relaxed) + self.0.running.load(Relaxed) >= self.0.limit
    }

    /// A thread computes for no longer than time passes, so what is not seen here is less than [`LOOKS_APART`].
    fn look(&self, since: u64) {
        let elapsed = self.elapsed();
        if elapsed.saturating_sub(self.0.looked.load(Relaxed)) >= LOOKS_APART.as_nanos() as u64 {
            self.0.looked.store(elapsed, Relaxed);
            self.0.running.store(self.now().saturating_sub(since), Relaxed);
        }
    }

    /// Whether work that takes so long would end before the turn's CPU time is over, or [`BEYOND`] later; by the last look.
    pub fn has_time_for(&self, takes: Duration) -> bool {
        let by_then = self.0.used.load(Relaxed) + self.0.running.load(Relaxed) + takes.as_nanos() as u64;
        by_then <= self.0.limit + BEYOND.as_nanos() as u64
    }

    /// Whether the turn's CPU time was used up when its last slice ended.
    pub fn is_used_up(&self) -> bool {
        self.0.used.load(Relaxed) >= self.0.limit
    }

    /// CPU time that this slice had taken at the last look.
    pub fn running(&self) -> Duration {
        Duration::from_nanos(self.0.running.load(Relaxed))
    }

    /// Whether the slice was over at the last look.
    pub fn must_give_way(&self) -> bool {
        self.0.running.load(Relaxed) >= self.0.slice.load(Relaxed)
    }

    fn is_heavy(&self) -> bool {
        self.0.used.load(Relaxed) >= LIGHT.as_nanos() as u64 || !self.0.allowed.load(Relaxed)
    }
}

/// Drives a future that computes for one turn: slice after slice, each with a slot if the turn is heavy. Ends early when too many turns
/// of its class wait for slots already; what it drove is dropped with it.
pub struct Computing<F> {
    call: F,
    timer: CpuTimer,
    /// None before the first slice.
    alarm: Option<Arc<Alarm>>,
    /// Whether the last slice ended because the turn waits for something, not only to let others run.
    waits: bool,
    slot: Option<Slot>,
    /// What the turn will have computed when its quantum is over.
    until: u64,
    wants_slot: Option<BoxFuture<'static, Result<Slot, TooManyWait>>>,
    /// It runs without slots.
    exempt: bool,
}

impl<F: Future + Unpin> Computing<F> {
    /// Nothing runs before the first poll.
    pub fn new(call: F, timer: CpuTimer) -> Self {
        Self { call, timer, alarm: None, waits: false, slot: None, until: 0, wants_slot: None, exempt: false }
    }

    /// For what must not be refused once it has begun: it gives way as often as a light turn, and needs no slot.
    pub fn exempt(call: F, timer: CpuTimer) -> Self {
        Self { exempt: true, ..Self::new(call, timer) }
    }

    /// Whether the turn waits for something, a slot included, and does not only let others run.
    pub fn only_waits(&self) -> bool {
        self.waits || self.wants_slot.is_some()
    }

    /// Whether the turn waits for something else than a slot.
    pub fn waits(&self) -> bool {
        self.waits && self.wants_slot.is_none()
    }

    /// Whether the turn waits for a slot.
    pub fn is_queued(&self) -> bool {
        self.wants_slot.is_some()
    }

    /// Waits for a slot, if the turn needs one. Has none, and wants none, if it does not.
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

    /// Begins a slice and says who is to be woken for the next one.
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

    /// A slot goes back when its quantum is over, and when the turn does not compute.
    fn end_slice(&mut self, alarm: &Alarm) {
        self.timer.end_slice();
        // Who gives way asks to be polled again before he does; who waits is woken later, by what he waits for.
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
        self.rang.store(true, Relaxed);
        self.waker.wake_by_ref();
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use futures_util::FutureExt;

    use super::*;

    /// A world with one core, whose clock of CPU time moves only when told.
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

        /// Every slot, held by another class.
        fn hold_all(&self) -> Slot {
            self.heavy.0.slots.try_acquire(&ClassKey::new("holder")).expect("it is free")
        }

        /// A turn that computes so long, and gives way whenever it is told to.
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

    /// Each turn alone is light; so many of them are not, from their first slice on, until they have rested.
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
            // As with threads to spare: whoever gives way is looked at again at once.
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
