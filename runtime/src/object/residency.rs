//! Admission of instances to memory: live instances share one capacity, fairly between classes, and idle ones leave for
//! turns that wait.
//!
//! An instance holds a [`Permit`] for as long as it lives. A busy one cannot be taken back, so a class may hold at most
//! four times the room that is free (`base/share.rs`): other classes always find some room, and take back an equal
//! share by having its idle instances leave. A host with little room keeps one place for a class that has none.
//!
//! Room is stacks, memories and tables, and the bytes that an instance begins with and may grow by in its first turn;
//! later growth that finds no bytes waits for some, too (`wasm/meter.rs`). A class that lacks bytes has instances leave
//! of the classes that use more of them.
//!
//! A turn that waits for a call keeps its instance, so instances of turns that wait could fill all room. Some of it is
//! kept for the turns of calls: an instance that may call others leaves room for one more at each depth below its own
//! ([`Need`]), and a deeper turn may take a little more than its class's share. So the turns that others wait for find
//! room, up to the depth that is kept. Classes that call nobody are not concerned: their turns end by themselves.
//!
//! Turns wait in one queue for each class, those that most others wait for first. Room that is given back is passed on
//! to the waiting class that holds least. For a turn that waits, instances are asked to leave: the least recently used
//! idle ones of the largest class or of its own. Uses are stamped without a lock, so a turn of a live instance costs an
//! atomic store and a load here. What must stay true: a turn that waits for room is woken when there is some; an
//! instance that becomes idle while its room could help a waiting turn is asked to leave; no more are asked than turns
//! wait.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::mailbox::{Leaves, Mailbox};
use crate::base::env::TimedOut;
use crate::base::limits::CALL_DEPTH_MAX;
use crate::base::{ClassKey, Env, MemoryAccount, MemoryCharge, Metrics};
use crate::wasm::{Cost, GrowthRoom, InstanceCapacity};

/// How long a turn waits for room before it is refused.
const ADMISSION_PATIENCE: Duration = Duration::from_secs(5);
/// How long the first turn of a class waits for instances that were asked to leave, before it asks another: they may
/// have long turns to end.
const ASK_AGAIN: Duration = Duration::from_millis(100);
/// Busy instances that are passed over in the search for an idle one. Those that become idle while a turn waits leave
/// by themselves, so the search need not be complete.
const LOOKS: usize = 64;
/// The stamp of an instance that runs a turn: younger than every idle one.
const BUSY: u64 = u64::MAX;

/// The live instances of one host.
pub struct Residency {
    capacity: Arc<InstanceCapacity>,
    env: Env,
    metrics: Arc<Metrics>,
    residents: Mutex<Residents>,
    /// Turns that wait for room. Read without the lock by an instance that becomes idle.
    waiting: AtomicUsize,
}

/// What an instance needs, and how many turns wait for its first one.
#[derive(Clone, Copy)]
pub(super) struct Need {
    pub(super) cost: Cost,
    /// The number of calls that wait for the turn.
    pub(super) depth: usize,
    /// Whether its turns may wait for calls.
    pub(super) may_call: bool,
}

#[derive(Default)]
struct Residents {
    used: Cost,
    /// The most that an instance has cost so far.
    dearest: Cost,
    /// The instances that were admitted beyond the share of their class, because turns wait for them.
    beyond: usize,
    /// The next key of a resident or ticket; its order is also that of grants.
    next_key: u64,
    by_key: HashMap<u64, Resident>,
    /// Classes that have live instances or turns that wait.
    tenants: HashMap<ClassKey, Tenant>,
}

/// The instances and the waiting turns of one class.
struct Tenant {
    held: Cost,
    /// The bytes of linear memories and tables that it uses.
    account: MemoryAccount,
    waiting: VecDeque<Waiting>,
    /// How many instances were asked to leave for its waiting turns, and have not left.
    coming: usize,
    /// When it was last granted room, in `Residents::next_key`.
    served: u64,
    /// Oldest first. Stamps may be out of date, but are never too young.
    by_age: BinaryHeap<Reverse<(u64, u64)>>,
}

/// A turn that waits for room.
struct Waiting {
    ticket: u64,
    need: Need,
    mailbox: Mailbox,
    granted: oneshot::Sender<Permit>,
}

struct Resident {
    class: ClassKey,
    last_used: Arc<AtomicU64>,
    mailbox: Mailbox,
    cost: Cost,
    /// Whether it was admitted beyond the share of its class.
    beyond: bool,
    /// The class for whose turn the instance was asked to leave.
    leaves_for: Option<ClassKey>,
}

/// The right to one live instance. Dropping it gives the room back.
pub(super) struct Permit {
    residency: Arc<Residency>,
    key: u64,
    last_used: Arc<AtomicU64>,
    /// The stamp that the order by age may have of it.
    ordered_by: AtomicU64,
    /// The bytes that the instance may begin with, until it is made.
    memory: MemoryCharge,
}

/// Permits for turns that wait. They are sent after the lock is released: one that is not taken any more is dropped,
/// which takes the same lock.
type Granted = Vec<(oneshot::Sender<Permit>, Permit)>;

impl Residency {
    /// Creates a residency without instances.
    pub fn new(capacity: Arc<InstanceCapacity>, env: Env, metrics: Arc<Metrics>) -> Self {
        Self { capacity, env, metrics, residents: Mutex::default(), waiting: AtomicUsize::new(0) }
    }

    /// Waits for room for one instance of a class, asking idle ones to leave. Returns none after
    /// [`ADMISSION_PATIENCE`]. Safe to cancel.
    pub(super) async fn admit(self: &Arc<Self>, class: &ClassKey, need: Need, mailbox: &Mailbox) -> Option<Permit> {
        if let Some(permit) = self.try_admit(&mut self.residents.lock(), class, need, mailbox) {
            return Some(permit);
        }
        let waits = Waits::begin(self, class);
        let mut granted = {
            let mut residents = self.residents.lock();
            // Checked again: from now on instances that become idle or leave see that a turn waits.
            if let Some(permit) = self.try_admit(&mut residents, class, need, mailbox) {
                return Some(permit);
            }
            let (sender, granted) = oneshot::channel();
            let waiting = Waiting { ticket: waits.ticket, need, mailbox: mailbox.clone(), granted: sender };
            self.tenant(&mut residents, class).queue(waiting);
            self.ask_to_leave(&mut residents, class, 0);
            granted
        };
        let patiently = async {
            loop {
                match self.env.timeout(ASK_AGAIN, &mut granted).await {
                    Ok(permit) => return permit.ok(),
                    Err(TimedOut) => self.ask_another(class, waits.ticket),
                }
            }
        };
        self.env.timeout(ADMISSION_PATIENCE, patiently).await.ok().flatten()
    }

    fn try_admit(
        self: &Arc<Self>,
        residents: &mut Residents,
        class: &ClassKey,
        need: Need,
        mailbox: &Mailbox,
    ) -> Option<Permit> {
        residents.dearest = residents.dearest.max(need.cost);
        let tenant = self.tenant(residents, class);
        // Deeper turns are queued first.
        if tenant.waiting.front().is_some_and(|first| first.need.depth >= need.depth) {
            return None;
        }
        let beyond = self.has_room(residents, residents.tenants.get(class)?, need)?;
        let memory = InstanceCapacity::take_bytes(&residents.tenants.get(class)?.account, need.cost).ok()?;
        Some(self.grant(residents, class, (need.cost, beyond), mailbox.clone(), memory))
    }

    fn tenant<'a>(&self, residents: &'a mut Residents, class: &ClassKey) -> &'a mut Tenant {
        residents.tenants.entry(class.clone()).or_insert_with(|| Tenant::new(self.capacity.account(class)))
    }

    /// Returns whether an instance may be admitted, and whether only beyond the share of its class.
    fn has_room(&self, residents: &Residents, tenant: &Tenant, Need { cost, depth, may_call }: Need) -> Option<bool> {
        let depth_kept = if may_call { depth } else { CALL_DEPTH_MAX };
        let used = residents.used.plus(self.capacity.kept_for_calls(residents.dearest, depth_kept, CALL_DEPTH_MAX));
        match self.capacity.may_take(tenant.held, cost, used) {
            true => Some(false),
            // A turn that others wait for does not wait for the share.
            false => (residents.beyond < depth && self.capacity.holds(used.plus(cost))).then_some(true),
        }
    }

    /// Admits an instance. `memory` is what [`InstanceCapacity::take_bytes`] has taken.
    fn grant(
        self: &Arc<Self>,
        residents: &mut Residents,
        class: &ClassKey,
        (cost, beyond): (Cost, bool),
        mailbox: Mailbox,
        memory: MemoryCharge,
    ) -> Permit {
        // What this instance grows by after its first turn will hardly find room.
        if self.tenant(residents, class).account.is_short()
            && let Some(key) = self.victim(residents, class)
        {
            residents.by_key[&key].mailbox.ask_to_drop_instance(Leaves::Room);
            self.metrics.instances_evicted.inc();
        }
        residents.used = residents.used.plus(cost);
        residents.beyond += usize::from(beyond);
        let (key, now) = (residents.next_key(), self.now());
        let last_used = Arc::new(AtomicU64::new(BUSY));
        let tenant = self.tenant(residents, class);
        (tenant.held, tenant.served) = (tenant.held.plus(cost), key);
        tenant.by_age.push(Reverse((now, key)));
        let (class, stamp) = (class.clone(), last_used.clone());
        residents.by_key.insert(key, Resident { class, last_used: stamp, mailbox, cost, beyond, leaves_for: None });
        self.metrics.live_instances.set(residents.by_key.len() as i64);
        Permit { residency: self.clone(), key, last_used, ordered_by: AtomicU64::new(0), memory }
    }

    /// Gives room to turns that wait, as far as it goes: first to the class that holds least.
    fn pass_on(self: &Arc<Self>, residents: &mut Residents) -> Granted {
        let mut granted = Granted::new();
        if self.waiting.load(Ordering::SeqCst) == 0 {
            return granted;
        }
        loop {
            let may_have = |tenant: &Tenant| {
                let first = tenant.waiting.front()?;
                let beyond = self.has_room(residents, tenant, first.need)?;
                InstanceCapacity::has_bytes(&tenant.account, first.need.cost).then_some(beyond)
            };
            let waiting =
                residents.tenants.iter().filter_map(|(class, tenant)| Some((class, tenant, may_have(tenant)?)));
            let next = waiting.min_by_key(|(_, tenant, _)| (tenant.held.instances, tenant.served));
            let Some((class, beyond)) = next.map(|(class, _, beyond)| (class.clone(), beyond)) else { return granted };
            let tenant = residents.tenants.get_mut(&class).expect("it was found there");
            let first = tenant.waiting.pop_front().expect("it waits");
            let Ok(memory) = InstanceCapacity::take_bytes(&tenant.account, first.need.cost) else {
                // Live instances, which grow without this lock, have taken the bytes meanwhile.
                tenant.waiting.push_front(first);
                return granted;
            };
            let taken = (first.need.cost, beyond);
            granted.push((first.granted, self.grant(residents, &class, taken, first.mailbox, memory)));
        }
    }

    /// Asks another instance to leave for the first turn of a class, which has waited for a while. Instances that stay
    /// may have given memory back meanwhile.
    fn ask_another(self: &Arc<Self>, class: &ClassKey, ticket: u64) {
        let mut residents = self.residents.lock();
        let granted = self.pass_on(&mut residents);
        if !granted.is_empty() {
            drop(residents);
            return send(granted);
        }
        let first = residents.tenants.get(class).and_then(|tenant| tenant.waiting.front());
        if first.is_some_and(|first| first.ticket == ticket) {
            self.ask_to_leave(&mut residents, class, 1);
        }
    }

    /// Asks idle instances to leave until as many leave for the class as turns wait, and at least `at_least` more.
    fn ask_to_leave(&self, residents: &mut Residents, class: &ClassKey, at_least: usize) {
        let Some(tenant) = residents.tenants.get(class) else { return };
        let wanted = tenant.waiting.len().saturating_sub(tenant.coming).max(at_least);
        for _ in 0..wanted {
            if !self.ask_one(residents, class) {
                break;
            }
        }
    }

    /// Asks an idle instance to leave for the class. Returns whether there was one.
    fn ask_one(&self, residents: &mut Residents, class: &ClassKey) -> bool {
        let Some(key) = self.victim(residents, class) else { return false };
        self.ask_for_room(residents, key, class.clone());
        true
    }

    /// Returns an idle instance that is to leave for a turn of this class: the least recently used one of the largest
    /// class that has any, its own included. Smaller classes keep theirs. If bytes are missing, the largest class is
    /// the one that uses most of them.
    fn victim(&self, residents: &mut Residents, class: &ClassKey) -> Option<u64> {
        let first = residents.tenants.get(class).and_then(|tenant| tenant.waiting.front());
        let account = residents.tenants.get(class).map(|tenant| &tenant.account);
        let lacks_bytes =
            first.zip(account).is_none_or(|(first, account)| !InstanceCapacity::has_bytes(account, first.need.cost));
        let size = |tenant: &Tenant| {
            if lacks_bytes { tenant.account.used() } else { u64::from(tenant.held.instances) }
        };
        let own = residents.tenants.get(class).map_or(0, size);
        let sizes = residents.tenants.iter().map(|(class, tenant)| (size(tenant), class.clone()));
        let mut larger: Vec<(u64, ClassKey)> = sizes.filter(|(size, other)| *size > own || other == class).collect();
        larger.sort_unstable_by(|a, b| b.cmp(a));
        let (now, Residents { tenants, by_key, .. }) = (self.now(), residents);
        larger.iter().find_map(|(_, class)| tenants.get_mut(class)?.oldest_idle(by_key, u64::MAX, now))
    }

    fn ask_for_room(&self, residents: &mut Residents, key: u64, class: ClassKey) {
        let Some(resident) = residents.by_key.get_mut(&key).filter(|resident| resident.leaves_for.is_none()) else {
            return;
        };
        resident.mailbox.ask_to_drop_instance(Leaves::Room);
        resident.leaves_for = Some(class.clone());
        self.tenant(residents, &class).coming += 1;
        self.metrics.instances_evicted.inc();
    }

    /// Gives room to turns that wait, because the instance's turn may have given bytes back. Asks the instance to leave
    /// if turns still wait and that helps a smaller class or its own.
    fn went_idle(self: &Arc<Self>, key: u64) {
        let mut residents = self.residents.lock();
        let granted = self.pass_on(&mut residents);
        if let Some(class) = self.helped_by(&residents, key) {
            self.ask_for_room(&mut residents, key, class);
        }
        drop(residents);
        send(granted);
    }

    /// The class with the fewest instances that an instance helps by leaving.
    fn helped_by(&self, residents: &Residents, key: u64) -> Option<ClassKey> {
        let resident = residents.by_key.get(&key)?;
        let own = residents.tenants.get(&resident.class)?;
        let (held, bytes) = (own.held.instances, own.account.used());
        let helped = residents.tenants.iter().filter(|(class, tenant)| {
            let is_smaller = || tenant.held.instances < held || tenant.account.used() < bytes;
            tenant.waiting.len() > tenant.coming && (**class == resident.class || is_smaller())
        });
        helped.min_by_key(|(_, tenant)| tenant.held.instances).map(|(class, _)| class.clone())
    }

    /// Asks every instance that has been idle for at least this long to leave.
    pub fn sweep(&self, idle: Duration) {
        let now = self.now();
        let Some(before) = now.checked_sub(idle.as_nanos() as u64) else { return };
        let mut residents = self.residents.lock();
        let Residents { tenants, by_key, .. } = &mut *residents;
        for tenant in tenants.values_mut() {
            while let Some(key) = tenant.oldest_idle(by_key, before, now) {
                by_key[&key].mailbox.ask_to_drop_instance(Leaves::Idle);
            }
        }
    }

    /// Puts an instance into the order by age by an earlier stamp than before.
    fn order_again(&self, key: u64, stamp: u64) {
        let mut residents = self.residents.lock();
        let Residents { tenants, by_key, .. } = &mut *residents;
        let Some(resident) = by_key.get(&key).filter(|resident| resident.leaves_for.is_none()) else { return };
        if let Some(tenant) = tenants.get_mut(&resident.class) {
            tenant.by_age.retain(|Reverse((_, other))| *other != key);
            tenant.by_age.push(Reverse((stamp, key)));
        }
    }

    fn now(&self) -> u64 {
        self.env.elapsed().as_nanos() as u64
    }
}

impl GrowthRoom for Residency {
    fn ask_for_bytes(&self, class: &ClassKey) -> bool {
        let mut residents = self.residents.lock();
        self.ask_one(&mut residents, class);
        residents.by_key.len() > 1
    }
}

/// Counts one more turn that waits for room, until it is dropped.
struct Waits<'a> {
    residency: &'a Arc<Residency>,
    class: &'a ClassKey,
    ticket: u64,
}

impl<'a> Waits<'a> {
    fn begin(residency: &'a Arc<Residency>, class: &'a ClassKey) -> Self {
        residency.waiting.fetch_add(1, Ordering::SeqCst);
        let ticket = residency.residents.lock().next_key();
        Self { residency, class, ticket }
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        let mut residents = self.residency.residents.lock();
        if let Some(tenant) = residents.tenants.get_mut(self.class) {
            tenant.waiting.retain(|waiting| waiting.ticket != self.ticket);
        }
        residents.forget_if_empty(self.class);
        // A turn that waits behind this one may fit where this one did not.
        let granted = self.residency.pass_on(&mut residents);
        drop(residents);
        self.residency.waiting.fetch_sub(1, Ordering::SeqCst);
        send(granted);
    }
}

fn send(granted: Granted) {
    for (waiting, permit) in granted {
        // Dropped if it is not taken any more, which passes the room on.
        drop(waiting.send(permit));
    }
}

impl Residents {
    fn next_key(&mut self) -> u64 {
        self.next_key += 1;
        self.next_key
    }

    fn forget_if_empty(&mut self, class: &ClassKey) {
        let is_empty = |tenant: &Tenant| tenant.held.instances == 0 && tenant.waiting.is_empty() && tenant.coming == 0;
        if self.tenants.get(class).is_some_and(is_empty) {
            self.tenants.remove(class);
        }
    }
}

impl Tenant {
    fn new(account: MemoryAccount) -> Self {
        Self {
            held: Cost::default(),
            account,
            waiting: VecDeque::new(),
            coming: 0,
            served: 0,
            by_age: BinaryHeap::new(),
        }
    }

    /// Queues a turn behind those that as many or more others wait for.
    fn queue(&mut self, waiting: Waiting) {
        let at = self.waiting.partition_point(|other| other.need.depth >= waiting.need.depth);
        self.waiting.insert(at, waiting);
    }

    /// Takes the least recently used idle instance out of the order, if its last turn ended at `before` or earlier.
    /// Returns each one once.
    fn oldest_idle(&mut self, residents: &HashMap<u64, Resident>, before: u64, now: u64) -> Option<u64> {
        let mut looks = LOOKS.min(self.by_age.len());
        while let Some(Reverse((stamp, key))) = self.by_age.pop() {
            let Some(resident) = residents.get(&key).filter(|resident| resident.leaves_for.is_none()) else { continue };
            match resident.last_used.load(Ordering::SeqCst) {
                _ if stamp > before || looks == 0 => {
                    self.by_age.push(Reverse((stamp, key)));
                    return None;
                }
                // In use now, so younger than all that are idle. The sweep stops at these; a search for any goes on.
                BUSY => {
                    self.by_age.push(Reverse((now, key)));
                    looks -= usize::from(before == u64::MAX);
                }
                current if current > stamp => self.by_age.push(Reverse((current, key))),
                _ => return Some(key),
            }
        }
        None
    }
}

impl Permit {
    /// Returns the bytes that the instance begins with, for its own meter: all of them the first time, none later.
    pub(super) fn take_memory(&mut self) -> MemoryCharge {
        self.memory.split(u64::MAX)
    }

    /// Marks that a turn begins: the instance is not asked to leave.
    pub(super) fn mark_busy(&self) {
        self.last_used.store(BUSY, Ordering::Release);
    }

    /// Marks that the turn has ended: the instance may be asked to leave.
    #[cfg(test)]
    pub(super) fn mark_idle(&self) {
        self.mark_idle_since(self.residency.env.elapsed());
    }

    /// Marks that the turn has ended: the instance counts as idle since this time. A later one than now keeps it until
    /// then, unless its room is needed; it leaves after all that are idle.
    pub(super) fn mark_idle_since(&self, since: Duration) {
        // Ordered with `waiting`: a turn that begins to wait now either sees this instance idle or is seen here.
        let stamp = since.as_nanos() as u64;
        self.last_used.store(stamp, Ordering::SeqCst);
        // It was kept until a later time, and is not any more: the order must not have it as younger than it is.
        if self.ordered_by.swap(stamp, Ordering::Relaxed) > stamp {
            self.residency.order_again(self.key, stamp);
        }
        if self.residency.waiting.load(Ordering::SeqCst) > 0 {
            self.residency.went_idle(self.key);
        }
    }
}

impl Permit {
    /// Notes that the instance was asked to leave and stays: it may be asked again, and another one leaves instead.
    pub(super) fn stays(&self) {
        let residency = &self.residency;
        let mut residents = residency.residents.lock();
        let Some(resident) = residents.by_key.get_mut(&self.key) else { return };
        let (class, asked_for) = (resident.class.clone(), resident.leaves_for.take());
        let stamp = self.last_used.load(Ordering::SeqCst).min(residency.now());
        residency.tenant(&mut residents, &class).by_age.push(Reverse((stamp, self.key)));
        if let Some(waits) = asked_for {
            if let Some(tenant) = residents.tenants.get_mut(&waits) {
                tenant.coming = tenant.coming.saturating_sub(1);
            }
            residents.forget_if_empty(&waits);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        // Before room is passed on: if no instance was made, these bytes are part of it.
        self.memory.shrink(u64::MAX);
        let mut residents = self.residency.residents.lock();
        let Some(resident) = residents.by_key.remove(&self.key) else { return };
        residents.used = residents.used.minus(resident.cost);
        residents.beyond -= usize::from(resident.beyond);
        if let Some(tenant) = residents.tenants.get_mut(&resident.class) {
            tenant.held = tenant.held.minus(resident.cost);
        }
        if let Some(class) = &resident.leaves_for {
            if let Some(tenant) = residents.tenants.get_mut(class) {
                tenant.coming = tenant.coming.saturating_sub(1);
            }
            residents.forget_if_empty(class);
        }
        residents.forget_if_empty(&resident.class);
        self.residency.metrics.live_instances.set(residents.by_key.len() as i64);
        let granted = self.residency.pass_on(&mut residents);
        drop(residents);
        send(granted);
    }
}

#[cfg(test)]
mod tests;
