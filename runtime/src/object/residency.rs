//! Who may be in memory: live instances share one budget, fairly between classes, and idle ones leave for those that wait.
//!
//! An instance holds a [`Permit`] for as long as it lives. A busy one cannot be taken back, so a class may hold at most four times the
//! room that is free (`base/share.rs`): it always finds others some room, and they push it back to an equal share by having its idle
//! instances leave. A host with little room keeps one place for a class that has none.
//!
//! Room is stacks, memories and tables, and the bytes that an instance begins with; what it grows by is not known before and
//! refused when there is none (`wasm/meter.rs`). Who lacks bytes has instances leave of the classes that use more of them.
//!
//! Turns wait in one queue a class. Whoever gives room back passes it on, to the waiting class that holds least; who waits has
//! instances asked to leave, the least recently used idle ones of the largest class or of its own. Uses are stamped without a
//! lock, so a turn of a live instance costs this file an atomic store and a load. What must stay true: who waits for room is
//! woken by whatever makes some; an instance that goes idle while it could help somebody is asked to leave; and no more are asked than wait.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::handle::Mailbox;
use crate::base::env::TimedOut;
use crate::base::{ClassKey, Env, Metrics};
use crate::wasm::{Budget, Cost};

/// How long a turn waits for room before it is refused.
const ADMISSION_PATIENCE: Duration = Duration::from_secs(5);
/// How long the first of a class waits for those who were asked to leave, before it asks another: they may have long turns
/// before them.
const ASK_AGAIN: Duration = Duration::from_millis(100);
/// Busy instances that are passed over in the search for an idle one. Those that go idle while somebody waits leave by
/// themselves, so the search need not be complete.
const LOOKS: usize = 64;
/// The stamp of an instance that runs a turn: younger than every idle one.
const BUSY: u64 = u64::MAX;

/// The live instances of one host.
pub struct Residency {
    budget: Arc<Budget>,
    env: Env,
    metrics: Arc<Metrics>,
    residents: Mutex<Residents>,
    /// Turns that wait for room, so that an instance that goes idle need not take the lock to know that nobody does.
    waiting: AtomicUsize,
}

#[derive(Default)]
struct Residents {
    used: Cost,
    /// Names residents and tickets, and counts grants.
    next_key: u64,
    by_key: HashMap<u64, Resident>,
    /// Those that have live instances or turns that wait.
    tenants: HashMap<ClassKey, Tenant>,
}

/// What one class has.
#[derive(Default)]
struct Tenant {
    held: Cost,
    waiting: VecDeque<Waiting>,
    /// How many were asked to leave for those that wait, and have not left.
    coming: usize,
    /// When it was last granted room, in `Residents::next_key`.
    served: u64,
    /// Oldest first. Stamps may be out of date, never too young.
    by_age: BinaryHeap<Reverse<(u64, u64)>>,
}

/// A turn that waits for room.
struct Waiting {
    ticket: u64,
    cost: Cost,
    mailbox: Mailbox,
    granted: oneshot::Sender<Permit>,
}

struct Resident {
    class: ClassKey,
    last_used: Arc<AtomicU64>,
    mailbox: Mailbox,
    cost: Cost,
    /// The class for whose turn it was asked to leave.
    leaves_for: Option<ClassKey>,
}

/// The right to one live instance. Dropping it gives the room back.
pub(super) struct Permit {
    residency: Arc<Residency>,
    key: u64,
    last_used: Arc<AtomicU64>,
}

/// Permits on their way to those who waited for them, to be sent when the lock is given back: one that nobody takes any more
/// comes back by the same lock.
type Granted = Vec<(oneshot::Sender<Permit>, Permit)>;

impl Residency {
    /// An empty house.
    pub fn new(budget: Arc<Budget>, env: Env, metrics: Arc<Metrics>) -> Self {
        Self { budget, env, metrics, residents: Mutex::default(), waiting: AtomicUsize::new(0) }
    }

    /// Waits for room for one instance of a class, asking idle ones to leave. None if there is none for too long. Safe to
    /// cancel.
    pub(super) async fn admit(self: &Arc<Self>, class: &ClassKey, cost: Cost, mailbox: &Mailbox) -> Option<Permit> {
        if let Some(permit) = self.try_admit(&mut self.residents.lock(), class, cost, mailbox) {
            return Some(permit);
        }
        let waits = Waits::begin(self, class);
        let mut granted = {
            let mut residents = self.residents.lock();
            // Looked at again: from now on whoever goes idle or leaves sees that somebody waits.
            if let Some(permit) = self.try_admit(&mut residents, class, cost, mailbox) {
                return Some(permit);
            }
            let (sender, granted) = oneshot::channel();
            let waiting = Waiting { ticket: waits.ticket, cost, mailbox: mailbox.clone(), granted: sender };
            residents.tenants.entry(class.clone()).or_default().waiting.push_back(waiting);
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
        cost: Cost,
        mailbox: &Mailbox,
    ) -> Option<Permit> {
        let tenant = residents.tenants.get(class);
        let (held, none_waits) =
            tenant.map_or((Cost::default(), true), |tenant| (tenant.held, tenant.waiting.is_empty()));
        let may_have = none_waits && self.has_room(residents.used, class, held, cost);
        may_have.then(|| self.grant(residents, class, cost, mailbox.clone()))
    }

    fn has_room(&self, used: Cost, class: &ClassKey, held: Cost, cost: Cost) -> bool {
        self.budget.may_take(held, cost, used) && self.budget.has_bytes(class, cost)
    }

    fn grant(self: &Arc<Self>, residents: &mut Residents, class: &ClassKey, cost: Cost, mailbox: Mailbox) -> Permit {
        // It will hardly have room to grow.
        if self.budget.account(class).is_short()
            && let Some(key) = self.victim(residents, class)
        {
            residents.by_key[&key].mailbox.ask_to_drop_instance();
            self.metrics.instances_evicted.inc();
        }
        residents.used = residents.used.plus(cost);
        let (key, now) = (residents.next_key(), self.now());
        let last_used = Arc::new(AtomicU64::new(BUSY));
        let tenant = residents.tenants.entry(class.clone()).or_default();
        (tenant.held, tenant.served) = (tenant.held.plus(cost), key);
        tenant.by_age.push(Reverse((now, key)));
        let (class, stamp) = (class.clone(), last_used.clone());
        residents.by_key.insert(key, Resident { class, last_used: stamp, mailbox, cost, leaves_for: None });
        self.metrics.live_instances.set(residents.by_key.len() as i64);
        Permit { residency: self.clone(), key, last_used }
    }

    /// Gives room to those who wait, as far as it goes: first to the class that holds least.
    fn pass_on(self: &Arc<Self>, residents: &mut Residents) -> Granted {
        let mut granted = Granted::new();
        if self.waiting.load(Ordering::SeqCst) == 0 {
            return granted;
        }
        loop {
            let may_have = |class: &ClassKey, tenant: &Tenant| {
                let first = tenant.waiting.front();
                first.is_some_and(|first| self.has_room(residents.used, class, tenant.held, first.cost))
            };
            let waiting = residents.tenants.iter().filter(|(class, tenant)| may_have(class, tenant));
            let next = waiting.min_by_key(|(_, tenant)| (tenant.held.instances, tenant.served));
            let Some(class) = next.map(|(class, _)| class.clone()) else { return granted };
            let tenant = residents.tenants.get_mut(&class).expect("it was found there");
            let first = tenant.waiting.pop_front().expect("it waits");
            granted.push((first.granted, self.grant(residents, &class, first.cost, first.mailbox)));
        }
    }

    /// The first of its class has waited for a while. Memory may have been given back meanwhile by instances that stay.
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

    /// Asks idle instances to leave until as many leave for the class as wait, in any case `at_least` so many more.
    fn ask_to_leave(&self, residents: &mut Residents, class: &ClassKey, at_least: usize) {
        let Some(tenant) = residents.tenants.get(class) else { return };
        let wanted = tenant.waiting.len().saturating_sub(tenant.coming).max(at_least);
        for _ in 0..wanted {
            let Some(key) = self.victim(residents, class) else { break };
            self.ask_for_room(residents, key, class.clone());
        }
    }

    /// An idle instance that is to leave for a turn of this class: the least recently used one of the largest class that has any, its
    /// own included. Smaller classes keep theirs. Where bytes are what is missing, who uses most of them is the largest.
    fn victim(&self, residents: &mut Residents, class: &ClassKey) -> Option<u64> {
        let first = residents.tenants.get(class).and_then(|tenant| tenant.waiting.front());
        let lacks_bytes = first.is_none_or(|first| !self.budget.has_bytes(class, first.cost));
        let size = |class: &ClassKey, tenant: &Tenant| {
            if lacks_bytes { self.budget.account(class).used() } else { u64::from(tenant.held.instances) }
        };
        let own = residents.tenants.get(class).map_or(0, |tenant| size(class, tenant));
        let sizes = residents.tenants.iter().map(|(class, tenant)| (size(class, tenant), class.clone()));
        let mut larger: Vec<(u64, ClassKey)> = sizes.filter(|(size, other)| *size > own || other == class).collect();
        larger.sort_unstable_by(|a, b| b.cmp(a));
        let (now, Residents { tenants, by_key, .. }) = (self.now(), residents);
        larger.iter().find_map(|(_, class)| tenants.get_mut(class)?.oldest_idle(by_key, u64::MAX, now))
    }

    fn ask_for_room(&self, residents: &mut Residents, key: u64, class: ClassKey) {
        let Some(resident) = residents.by_key.get_mut(&key).filter(|resident| resident.leaves_for.is_none()) else {
            return;
        };
        resident.mailbox.ask_to_drop_instance();
        residents.tenants.entry(class.clone()).or_default().coming += 1;
        resident.leaves_for = Some(class);
        self.metrics.instances_evicted.inc();
    }

    /// The instance went idle while somebody waits: it leaves if that helps one whose class is smaller, or its own.
    fn went_idle(&self, key: u64) {
        let mut residents = self.residents.lock();
        let Some(resident) = residents.by_key.get(&key) else { return };
        let held = residents.tenants.get(&resident.class).map_or(0, |tenant| tenant.held.instances);
        let bytes = self.budget.account(&resident.class).used();
        let helped = residents.tenants.iter().filter(|(class, tenant)| {
            let is_smaller = || tenant.held.instances < held || self.budget.account(class).used() < bytes;
            tenant.waiting.len() > tenant.coming && (**class == resident.class || is_smaller())
        });
        let class = helped.min_by_key(|(_, tenant)| tenant.held.instances).map(|(class, _)| class.clone());
        if let Some(class) = class {
            self.ask_for_room(&mut residents, key, class);
        }
    }

    /// Asks every instance to leave that has been idle for at least this long.
    pub fn sweep(&self, idle: Duration) {
        let now = self.now();
        let Some(before) = now.checked_sub(idle.as_nanos() as u64) else { return };
        let mut residents = self.residents.lock();
        let Residents { tenants, by_key, .. } = &mut *residents;
        for tenant in tenants.values_mut() {
            while let Some(key) = tenant.oldest_idle(by_key, before, now) {
                by_key[&key].mailbox.ask_to_drop_instance();
            }
        }
    }

    fn now(&self) -> u64 {
        self.env.elapsed().as_nanos() as u64
    }
}

/// One turn more waits for room, until this is dropped.
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
        // Whoever stood behind may fit where this one did not.
        let granted = self.residency.pass_on(&mut residents);
        drop(residents);
        self.residency.waiting.fetch_sub(1, Ordering::SeqCst);
        send(granted);
    }
}

fn send(granted: Granted) {
    for (waiting, permit) in granted {
        // Dropped if nobody takes it any more, which passes it on.
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
    /// Takes the least recently used idle instance out of the order, if its last turn ended at `before` or earlier. Each
    /// comes up once.
    fn oldest_idle(&mut self, residents: &HashMap<u64, Resident>, before: u64, now: u64) -> Option<u64> {
        let mut looks = LOOKS.min(self.by_age.len());
        while let Some(Reverse((stamp, key))) = self.by_age.pop() {
            let Some(resident) = residents.get(&key).filter(|resident| resident.leaves_for.is_none()) else { continue };
            match resident.last_used.load(Ordering::SeqCst) {
                _ if stamp > before || looks == 0 => {
                    self.by_age.push(Reverse((stamp, key)));
                    return None;
                }
                // In use now, so younger than all that are idle. The sweep stops at these; who wants any looks on.
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
        let Some(resident) = residents.by_key.remove(&self.key) else { return };
        residents.used = residents.used.minus(resident.cost);
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
mod tests {
    use futures_util::FutureExt;

    use super::super::handle::{Admits, Inbox, Message, mailbox};
    use super::*;
    use crate::base::env::Manual;
    use crate::base::{Limits, MemoryUse};

    const ONE: Cost = Cost { instances: 1, memories: 1, tables: 1, bytes: 0 };

    fn house(rooms: u32) -> (Arc<Residency>, Arc<Manual>) {
        let (env, clock) = Env::manual(1);
        let budget = Budget::derive(&Limits { live_instances: rooms, ..Limits::default() });
        (Arc::new(Residency::new(Arc::new(budget), env, Arc::default())), clock)
    }

    async fn live_in(house: &Arc<Residency>) -> (Permit, Inbox) {
        of_class("class", house).await
    }

    async fn of_class(class: &str, house: &Arc<Residency>) -> (Permit, Inbox) {
        let (mailbox, inbox) = mailbox();
        (house.admit(&ClassKey::new(class), ONE, &mailbox).await.expect("there is room"), inbox)
    }

    /// As many as the class gets at once.
    async fn fill(class: &str, house: &Arc<Residency>) -> Vec<(Permit, Inbox)> {
        let mut residents = Vec::new();
        while let Some(resident) = of_class(class, house).now_or_never() {
            residents.push(resident);
        }
        residents
    }

    async fn is_asked_to_leave(inbox: &mut Inbox) -> bool {
        tokio::select! { biased; message = inbox.next(Admits::All) => matches!(message, Some(Message::DropInstance)), () = std::future::ready(()) => false }
    }

    #[tokio::test]
    async fn the_oldest_idle_one_makes_room_and_only_that_one() {
        // Three, and the place that is kept for another class.
        let (house, clock) = house(4);
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
        let (house, _clock) = house(4);
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
        let (house, clock) = house(4);
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

    #[tokio::test]
    async fn whatever_one_class_does_the_next_finds_room_at_once() {
        let (house, _clock) = house(100);
        let busy = fill("greedy", &house).await;
        assert_eq!(busy.len(), 80);
        let modest = fill("modest", &house).await;
        assert_eq!(modest.len(), 16);
        assert!(!fill("third", &house).await.is_empty());
        drop(busy);
        assert_eq!(fill("greedy", &house).await.len(), 67, "four fifths of what the other leaves");
    }

    /// Idle instances are only lent: who holds less gets the room of who holds more, until both hold the same.
    #[tokio::test]
    async fn the_largest_class_makes_room_for_the_smaller_ones_and_not_the_other_way_round() {
        let (house, clock) = house(4);
        let mut greedy = fill("greedy", &house).await;
        assert_eq!(greedy.len(), 3, "a small host keeps one place for a class that has none");
        let _other = of_class("other", &house).now_or_never().expect("that is the place");
        clock.advance(Duration::from_millis(1));
        greedy.iter().for_each(|(permit, _)| permit.mark_idle());
        let modest = tokio::spawn({
            let house = house.clone();
            async move { of_class("modest", &house).await }
        });
        tokio::task::yield_now().await;
        let mut asked = Vec::new();
        for (_, inbox) in &mut greedy {
            asked.push(is_asked_to_leave(inbox).await);
        }
        assert_eq!(asked.iter().filter(|asked| **asked).count(), 1);
        drop(greedy.remove(asked.iter().position(|asked| *asked).unwrap()));
        let (modest, mut modest_inbox) = modest.await.unwrap();
        clock.advance(Duration::from_secs(1));
        modest.mark_idle();
        // It would have to be the oldest of its own.
        let third = tokio::spawn({
            let house = house.clone();
            async move { of_class("greedy", &house).await }
        });
        tokio::task::yield_now().await;
        assert!(!is_asked_to_leave(&mut modest_inbox).await);
        let asked = [is_asked_to_leave(&mut greedy[0].1).await, is_asked_to_leave(&mut greedy[1].1).await];
        assert!(asked[0] != asked[1]);
        // One place stays free, because a class that has none may come.
        greedy.clear();
        assert!(third.await.is_ok());
    }

    /// A class at its bound goes on with its own, however many busy instances a larger one has.
    #[tokio::test]
    async fn a_class_at_its_bound_makes_room_of_its_own() {
        let (house, clock) = house(20);
        let _busy = fill("greedy", &house).await;
        let mut modest = fill("modest", &house).await;
        assert_eq!(modest.len(), 3);
        clock.advance(Duration::from_millis(1));
        modest.iter().for_each(|(permit, _)| permit.mark_idle());
        let next = tokio::spawn({
            let house = house.clone();
            async move { of_class("modest", &house).await }
        });
        tokio::task::yield_now().await;
        let mut asked = None;
        for (place, (_, inbox)) in modest.iter_mut().enumerate() {
            if is_asked_to_leave(inbox).await {
                assert_eq!(asked.replace(place), None, "one is enough");
            }
        }
        drop(modest.remove(asked.expect("one is asked to leave")));
        assert!(next.await.is_ok());
    }

    /// Turns that wait for room of their own class stand in nobody's way.
    /// A few instances of one class have grown; many small ones of another that lacks bytes get them back, and none of theirs leaves.
    #[tokio::test]
    async fn who_lacks_bytes_gets_them_of_the_class_that_uses_most() {
        const MIB: u64 = 1 << 20;
        let (env, clock) = Env::manual(1);
        let limits = Limits { live_instances: 100, live_instance_bytes: 100 * MIB, ..Limits::default() };
        let budget = Arc::new(Budget::derive(&limits));
        let house = Arc::new(Residency::new(budget.clone(), env, Arc::default()));
        let memory = |class: &str, mib: u64| {
            budget.account(&ClassKey::new(class)).take(MemoryUse::Instances, mib * MIB).expect("it may have so much")
        };
        let (large, mut large_inbox) = of_class("greedy", &house).await;
        let grown = memory("greedy", 80);
        let (_small, mut small_inbox) = of_class("modest", &house).await;
        let (other, mut other_inbox) = of_class("modest", &house).await;
        let _small_memory = memory("modest", 15);
        clock.advance(Duration::from_millis(1));
        large.mark_idle();
        other.mark_idle();
        let cost = Cost { bytes: 6 * MIB, ..ONE };
        let newcomer = tokio::spawn({
            let house = house.clone();
            async move {
                let (mailbox, _inbox) = mailbox();
                house.admit(&ClassKey::new("modest"), cost, &mailbox).await.expect("there will be room")
            }
        });
        tokio::task::yield_now().await;
        assert!(is_asked_to_leave(&mut large_inbox).await && !newcomer.is_finished());
        drop((grown, large));
        assert!(newcomer.await.is_ok());
        assert!(!is_asked_to_leave(&mut small_inbox).await && !is_asked_to_leave(&mut other_inbox).await);
    }

    #[tokio::test]
    async fn a_queue_of_one_class_does_not_stop_another() {
        let (house, _clock) = house(20);
        let busy = fill("greedy", &house).await;
        let queue: Vec<_> = (0..50)
            .map(|_| {
                let house = house.clone();
                tokio::spawn(async move { of_class("greedy", &house).await })
            })
            .collect();
        tokio::task::yield_now().await;
        let modest = of_class("modest", &house).now_or_never();
        assert!(modest.is_some());
        queue.iter().for_each(|waiting| waiting.abort());
        for waiting in queue {
            assert!(waiting.await.is_err());
        }
        drop((busy, modest));
        assert_eq!(house.waiting.load(Ordering::SeqCst), 0);
        assert!(house.residents.lock().tenants.is_empty());
        assert_eq!(fill("greedy", &house).await.len(), 16);
    }
}
