//! Who may be in memory: live instances share one budget, and the least recently used idle one leaves first.
//!
//! An instance holds a [`Permit`] for as long as it lives. Uses are stamped without a lock; the order in the heap is
//! brought up to date only when somebody has to leave, so a turn of a live instance costs two atomic stores and a look.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::handle::Mailbox;
use crate::base::{Env, Metrics};
use crate::wasm::{Budget, Cost};

/// How long a turn waits for room before it is refused.
const ADMISSION_PATIENCE: Duration = Duration::from_secs(5);
/// The stamp of an instance that runs a turn: younger than every idle one.
const BUSY: u64 = u64::MAX;

/// The live instances of one host.
pub struct Residency {
    budget: Arc<Budget>,
    env: Env,
    metrics: Arc<Metrics>,
    residents: Mutex<Residents>,
    /// Turns that wait for room.
    waiting: AtomicUsize,
    /// Told when an instance has left, and when one that could leave has become idle.
    freed: Notify,
}

#[derive(Default)]
struct Residents {
    used: Cost,
    /// What the waiting turns need.
    wanted: Cost,
    next_key: u64,
    by_key: HashMap<u64, Resident>,
    /// Oldest first. Stamps may be out of date, never too young.
    by_age: BinaryHeap<Reverse<(u64, u64)>>,
    /// Those that were asked to leave and are still here. They are not in the order any more.
    leaving: Vec<u64>,
}

struct Resident {
    last_used: Arc<AtomicU64>,
    mailbox: Mailbox,
    cost: Cost,
}

/// A turn that waits for room, until dropped.
struct Waiting<'a> {
    residency: &'a Residency,
    cost: Cost,
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
        Self { budget, env, metrics, residents: Mutex::default(), waiting: AtomicUsize::new(0), freed: Notify::new() }
    }

    /// Waits for room for one instance, asking idle ones to leave. None if there is none for too long.
    pub(super) async fn admit(self: &Arc<Self>, cost: Cost, mailbox: &Mailbox) -> Option<Permit> {
        if let Some(permit) = self.try_admit(cost, mailbox) {
            return Some(permit);
        }
        let _waiting = Waiting::new(self, cost);
        let admitted = async {
            loop {
                // Registered before the second look, so that room freed in between is not missed.
                let freed = self.freed.notified();
                if let Some(permit) = self.try_admit(cost, mailbox) {
                    return permit;
                }
                self.make_room();
                freed.await;
            }
        };
        tokio::time::timeout(ADMISSION_PATIENCE, admitted).await.ok()
    }

    fn try_admit(self: &Arc<Self>, cost: Cost, mailbox: &Mailbox) -> Option<Permit> {
        let mut residents = self.residents.lock();
        // Short of bytes alone is no reason to refuse: the instance may need few, and growth is checked again.
        if self.budget.short_of_bytes() && residents.leaving.is_empty() {
            self.ask_oldest_to_leave(&mut residents);
        }
        if !self.budget.holds(residents.used.plus(cost)) {
            return None;
        }
        residents.used = residents.used.plus(cost);
        let key = residents.next_key;
        residents.next_key += 1;
        let last_used = Arc::new(AtomicU64::new(BUSY));
        residents.by_age.push(Reverse((self.now(), key)));
        residents.by_key.insert(key, Resident { last_used: last_used.clone(), mailbox: mailbox.clone(), cost });
        self.metrics.live_instances.set(residents.by_key.len() as i64);
        Some(Permit { residency: self.clone(), key, last_used })
    }

    /// Asks as many to leave as the waiting turns need, and no more.
    fn make_room(&self) {
        let mut residents = self.residents.lock();
        loop {
            let soon = residents.used.plus(residents.wanted).minus(residents.leaving());
            if self.budget.holds(soon) || !self.ask_oldest_to_leave(&mut residents) {
                return;
            }
        }
    }

    fn ask_oldest_to_leave(&self, residents: &mut Residents) -> bool {
        let asked = residents.ask_oldest_to_leave(u64::MAX);
        self.metrics.instances_evicted.inc_by(u64::from(asked));
        asked
    }

    /// Asks every instance to leave that has been idle for at least this long.
    pub fn sweep(&self, idle: Duration) {
        let Some(before) = self.now().checked_sub(idle.as_nanos() as u64) else { return };
        let mut residents = self.residents.lock();
        while residents.ask_oldest_to_leave(before) {}
    }

    fn now(&self) -> u64 {
        self.env.elapsed().as_nanos() as u64
    }
}

impl<'a> Waiting<'a> {
    fn new(residency: &'a Residency, cost: Cost) -> Self {
        let mut residents = residency.residents.lock();
        residents.wanted = residents.wanted.plus(cost);
        residency.waiting.fetch_add(1, Ordering::SeqCst);
        Self { residency, cost }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut residents = self.residency.residents.lock();
        residents.wanted = residents.wanted.minus(self.cost);
        self.residency.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Residents {
    /// What will be free in a moment. Who began a turn just before being asked may take long and does not count.
    fn leaving(&self) -> Cost {
        let residents = self.leaving.iter().filter_map(|key| self.by_key.get(key));
        let idle = residents.filter(|resident| resident.last_used.load(Ordering::SeqCst) != BUSY);
        idle.fold(Cost::default(), |sum, resident| sum.plus(resident.cost))
    }

    /// Asks the least recently used idle instance to leave if its last turn ended at `before` or earlier. Each is asked
    /// once: it leaves the order when it is asked.
    fn ask_oldest_to_leave(&mut self, before: u64) -> bool {
        let mut busy = Vec::new();
        let mut asked = false;
        while let Some(Reverse((stamp, key))) = self.by_age.pop() {
            let Some(resident) = self.by_key.get(&key) else { continue };
            match resident.last_used.load(Ordering::SeqCst) {
                BUSY => busy.push(Reverse((stamp, key))),
                current if current > stamp => self.by_age.push(Reverse((current, key))),
                _ if stamp > before => {
                    self.by_age.push(Reverse((stamp, key)));
                    break;
                }
                _ => {
                    resident.mailbox.ask_to_drop_instance();
                    self.leaving.push(key);
                    asked = true;
                    break;
                }
            }
        }
        self.by_age.extend(busy);
        asked
    }
}

impl Permit {
    /// A turn begins: the instance cannot be asked to leave.
    pub(super) fn mark_busy(&self) {
        self.last_used.store(BUSY, Ordering::Release);
    }

    /// The turn has ended: the instance may be asked to leave.
    pub(super) fn mark_idle(&self) {
        // The order of this store and the look at `waiting` matters: whoever begins to wait in between sees an idle instance.
        self.last_used.store(self.residency.now(), Ordering::SeqCst);
        if self.residency.waiting.load(Ordering::SeqCst) > 0 {
            self.residency.freed.notify_waiters();
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut residents = self.residency.residents.lock();
        if let Some(resident) = residents.by_key.remove(&self.key) {
            residents.used = residents.used.minus(resident.cost);
            residents.leaving.retain(|key| *key != self.key);
        }
        self.residency.metrics.live_instances.set(residents.by_key.len() as i64);
        drop(residents);
        self.residency.freed.notify_waiters();
    }
}
