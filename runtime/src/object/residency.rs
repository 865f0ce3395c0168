//! Who may be in memory: live instances share one budget, and the least recently used idle one leaves first.
//!
//! An instance holds a [`Permit`] for as long as it lives. Uses are stamped without a lock; the order in the heap is
//! brought up to date only when somebody has to leave, so a turn of a live instance costs this file an atomic store and a
//! load. What must stay true: who waits for room is woken by whatever could make some, an instance that leaves or
//! one that goes idle; and no more are asked to leave than wait.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Mutex as Line, Notify};

use super::handle::Mailbox;
use crate::base::{Env, Metrics};
use crate::wasm::{Budget, Cost};

/// How long a turn waits for room before it is refused.
const ADMISSION_PATIENCE: Duration = Duration::from_secs(5);
/// How long the first in line waits for those who were asked to leave, before it asks another: they may have long turns
/// before them.
const ASK_AGAIN: Duration = Duration::from_millis(100);
/// Busy instances that are passed over in the search for an idle one. Those that go idle while somebody waits leave by
/// themselves, so the search need not be complete.
const LOOKS: u32 = 64;
/// The stamp of an instance that runs a turn: younger than every idle one.
const BUSY: u64 = u64::MAX;

/// The live instances of one host.
pub struct Residency {
    budget: Arc<Budget>,
    env: Env,
    metrics: Arc<Metrics>,
    residents: Mutex<Residents>,
    /// Turns that wait for room. They stand in line, so that only the first looks again when something changes.
    waiting: AtomicUsize,
    line: Line<()>,
    changed: Notify,
}

#[derive(Default)]
struct Residents {
    used: Cost,
    next_key: u64,
    by_key: HashMap<u64, Resident>,
    /// How many were asked to leave for somebody who waits, and have not left.
    leaving: usize,
    /// Oldest first. Stamps may be out of date, never too young.
    by_age: BinaryHeap<Reverse<(u64, u64)>>,
}

struct Resident {
    last_used: Arc<AtomicU64>,
    mailbox: Mailbox,
    cost: Cost,
    /// Asked to leave for somebody who waits.
    leaving: bool,
}

/// The right to one live instance. Dropping it gives the room back.
pub(super) struct Permit {
    residency: Arc<Residency>,
    key: u64,
    last_used: Arc<AtomicU64>,
}

impl Residency {
    /// An empty house.
    pub fn new(budget: Arc<Budget>, env: Env, metrics: Arc<Metrics>) -> Self {
        let (residents, waiting) = (Mutex::default(), AtomicUsize::new(0));
        Self { budget, env, metrics, residents, waiting, line: Line::default(), changed: Notify::new() }
    }

    /// Waits for room for one instance, asking idle ones to leave. None if there is none for too long.
    pub(super) async fn admit(self: &Arc<Self>, cost: Cost, mailbox: &Mailbox) -> Option<Permit> {
        if self.waiting.load(Ordering::Relaxed) == 0
            && let Some(permit) = self.try_admit(cost, mailbox)
        {
            return Some(permit);
        }
        let _waiting = Waiting::begin(&self.waiting);
        let first_in_line = async {
            let _first = self.line.lock().await;
            loop {
                // Registered before the look, so that room made in between is not missed.
                let changed = self.changed.notified();
                if let Some(permit) = self.try_admit(cost, mailbox) {
                    return permit;
                }
                // Only now: while there is room, nobody has to leave however many stand in line.
                self.ask_to_leave(0);
                if tokio::time::timeout(ASK_AGAIN, changed).await.is_err() {
                    self.ask_to_leave(1);
                }
            }
        };
        tokio::time::timeout(ADMISSION_PATIENCE, first_in_line).await.ok()
    }

    fn try_admit(self: &Arc<Self>, cost: Cost, mailbox: &Mailbox) -> Option<Permit> {
        let mut residents = self.residents.lock();
        if !self.budget.holds(residents.used.plus(cost)) {
            return None;
        }
        // Short of bytes alone is no reason to refuse: the instance may need few, and growth is checked again.
        if self.budget.short_of_bytes()
            && let Some(key) = residents.oldest_idle(u64::MAX, self.now())
        {
            residents.by_key[&key].mailbox.ask_to_drop_instance();
            self.metrics.instances_evicted.inc();
        }
        residents.used = residents.used.plus(cost);
        let key = residents.next_key;
        residents.next_key += 1;
        let last_used = Arc::new(AtomicU64::new(BUSY));
        residents.by_age.push(Reverse((self.now(), key)));
        let (resident_used, mailbox) = (last_used.clone(), mailbox.clone());
        residents.by_key.insert(key, Resident { last_used: resident_used, mailbox, cost, leaving: false });
        self.metrics.live_instances.set(residents.by_key.len() as i64);
        Some(Permit { residency: self.clone(), key, last_used })
    }

    /// Asks idle instances to leave until as many leave as wait, in any case `at_least` so many more.
    fn ask_to_leave(&self, at_least: usize) {
        let mut residents = self.residents.lock();
        let wanted = self.waiting.load(Ordering::SeqCst).saturating_sub(residents.leaving).max(at_least);
        for _ in 0..wanted {
            let Some(key) = residents.oldest_idle(u64::MAX, self.now()) else { break };
            self.ask_for_room(&mut residents, key);
        }
    }

    fn ask_for_room(&self, residents: &mut Residents, key: u64) {
        let Some(resident) = residents.by_key.get_mut(&key).filter(|resident| !resident.leaving) else { return };
        resident.leaving = true;
        resident.mailbox.ask_to_drop_instance();
        residents.leaving += 1;
        self.metrics.instances_evicted.inc();
    }

    /// The instance went idle while somebody waits: it is the one that can leave.
    fn went_idle(&self, key: u64) {
        let mut residents = self.residents.lock();
        let Some(resident) = residents.by_key.get(&key) else { return };
        let full = !self.budget.holds(residents.used.plus(resident.cost));
        if full && residents.leaving < self.waiting.load(Ordering::SeqCst) {
            self.ask_for_room(&mut residents, key);
        }
    }

    /// Asks every instance to leave that has been idle for at least this long.
    pub fn sweep(&self, idle: Duration) {
        let now = self.now();
        let Some(before) = now.checked_sub(idle.as_nanos() as u64) else { return };
        let mut residents = self.residents.lock();
        while let Some(key) = residents.oldest_idle(before, now) {
            residents.by_key[&key].mailbox.ask_to_drop_instance();
        }
    }

    fn now(&self) -> u64 {
        self.env.elapsed().as_nanos() as u64
    }
}

/// One turn more waits for room, until this is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn begin(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Residents {
    /// Takes the least recently used idle instance out of the order, if its last turn ended at `before` or earlier. Each
    /// comes up once.
    fn oldest_idle(&mut self, before: u64, now: u64) -> Option<u64> {
        let mut looks = 0;
        while let Some(Reverse((stamp, key))) = self.by_age.pop() {
            let Some(resident) = self.by_key.get(&key).filter(|resident| !resident.leaving) else { continue };
            match resident.last_used.load(Ordering::SeqCst) {
                _ if stamp > before || looks == LOOKS => {
                    self.by_age.push(Reverse((stamp, key)));
                    return None;
                }
                // In use now, so younger than all that are idle. The sweep stops at these; who wants any looks on.
                BUSY => {
                    self.by_age.push(Reverse((now, key)));
                    looks += u32::from(before == u64::MAX);
                }
                current if current > stamp => self.by_age.push(Reverse((current, key))),
                _ => return Some(key),
            }
        }
        None
    }
}

impl Permit {
    /// A turn begins: the instance cannot be asked to leave.
    pub(super) fn mark_busy(&self) {
        self.last_used.store(BUSY, Ordering::Release);
    }

    /// The turn has ended: the instance may be asked to leave.
    pub(super) fn mark_idle(&self) {
        // Ordered with `waiting`: who begins to wait now either sees this instance idle or is seen here.
        self.last_used.store(self.residency.now(), Ordering::SeqCst);
        if self.residency.waiting.load(Ordering::SeqCst) > 0 {
            self.residency.went_idle(self.key);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut residents = self.residency.residents.lock();
        if let Some(resident) = residents.by_key.remove(&self.key) {
            residents.used = residents.used.minus(resident.cost);
            residents.leaving -= usize::from(resident.leaving);
        }
        self.residency.metrics.live_instances.set(residents.by_key.len() as i64);
        drop(residents);
        self.residency.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::super::handle::{Inbox, Message, mailbox};
    use super::*;
    use crate::base::Limits;
    use crate::base::env::Manual;

    const ONE: Cost = Cost { instances: 1, memories: 1, tables: 1 };

    fn house(rooms: u32) -> (Arc<Residency>, Arc<Manual>) {
        let (env, clock) = Env::manual(1);
        let budget = Budget::derive(&Limits { live_instances: rooms, ..Limits::default() });
        (Arc::new(Residency::new(Arc::new(budget), env, Arc::default())), clock)
    }

    async fn live_in(house: &Arc<Residency>) -> (Permit, Inbox) {
        let (mailbox, inbox) = mailbox();
        (house.admit(ONE, &mailbox).await.expect("there is room"), inbox)
    }

    async fn is_asked_to_leave(inbox: &mut Inbox) -> bool {
        tokio::select! { biased; message = inbox.next() => matches!(message, Some(Message::DropInstance)), () = std::future::ready(()) => false }
    }

    #[tokio::test]
    async fn the_oldest_idle_one_makes_room_and_only_that_one() {
        let (house, clock) = house(3);
        let (mut residents, mut inboxes) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            let (permit, inbox) = live_in(&house).await;
            clock.advance(Duration::from_millis(1));
            permit.mark_idle();
            residents.push(permit);
            inboxes.push(inbox);
        }
        residents[0].mark_busy();
        let newcomer = tokio::spawn({
            let house = house.clone();
            async move { live_in(&house).await }
        });
        tokio::task::yield_now().await;
        let asked = [is_asked_to_leave(&mut inboxes[0]).await, is_asked_to_leave(&mut inboxes[1]).await];
        assert_eq!((asked, is_asked_to_leave(&mut inboxes[2]).await), ([false, true], false));
        residents.remove(1);
        assert!(newcomer.await.is_ok());
    }

    #[tokio::test]
    async fn who_waits_for_busy_instances_gets_the_room_of_the_first_that_goes_idle() {
        let (house, _clock) = house(1);
        let (permit, mut inbox) = live_in(&house).await;
        let newcomer = tokio::spawn({
            let house = house.clone();
            async move { live_in(&house).await }
        });
        tokio::task::yield_now().await;
        assert!(!is_asked_to_leave(&mut inbox).await);
        permit.mark_idle();
        assert!(is_asked_to_leave(&mut inbox).await);
        drop(permit);
        assert!(newcomer.await.is_ok());
    }

    /// Those who stand in line when room is made do not have others leave for it.
    #[tokio::test]
    async fn nobody_leaves_while_there_is_room() {
        let (house, _clock) = house(3);
        let (busy, mut busy_inbox) = live_in(&house).await;
        let (gone, _inbox) = live_in(&house).await;
        let (also_gone, _inbox) = live_in(&house).await;
        let newcomers: Vec<_> = (0..2)
            .map(|_| {
                let house = house.clone();
                tokio::spawn(async move { live_in(&house).await })
            })
            .collect();
        tokio::task::yield_now().await;
        drop((gone, also_gone));
        busy.mark_idle();
        for newcomer in newcomers {
            let (permit, mut inbox) = newcomer.await.unwrap();
            permit.mark_idle();
            assert!(!is_asked_to_leave(&mut inbox).await);
        }
        assert!(!is_asked_to_leave(&mut busy_inbox).await);
    }

    #[tokio::test]
    async fn a_sweep_asks_those_who_were_idle_for_long() {
        let (house, clock) = house(3);
        let (old, mut old_inbox) = live_in(&house).await;
        let (_busy, mut busy_inbox) = live_in(&house).await;
        let (young, mut young_inbox) = live_in(&house).await;
        old.mark_idle();
        clock.advance(Duration::from_secs(10));
        young.mark_idle();
        house.sweep(Duration::from_secs(10));
        let asked = [is_asked_to_leave(&mut old_inbox).await, is_asked_to_leave(&mut busy_inbox).await];
        assert_eq!((asked, is_asked_to_leave(&mut young_inbox).await), ([true, false], false));
    }
}
