//! The index of all objects' alarms: the earliest ones in memory, the rest in the catalog.
//!
//! The entries are hints. The row in each object's own database decides, and the object reads it when it is asked to
//! run its alarm; so a stale entry costs one read and does no harm, but a missing one would be an alarm that never
//! runs. Invariants, so that none is missing:
//! * **every pending alarm before the horizon of its class is in memory**, *waiting* for its time or *taken* for
//!   delivery; every other one is in the catalog, or will be once its record is durable;
//! * a taken alarm stays taken until **its object reports its current alarm** ([`Alarms::note`]), whether that has
//!   changed or not: a handler may set the same alarm that it was called for. If the object could not report it, the
//!   alarm is put back ([`Alarms::settled`]);
//! * an object reports after its record is appended, and the horizon moves before the catalog is read; so a change that
//!   happens while the catalog is read is in memory, in the rows that are read, or in both.
//!
//! Classes share the memory: when there are too many alarms, the later half of the class with most of them is left to
//! the catalog, and that class has a horizon of its own until there is room again. There is no timer per alarm, and the
//! start reads only the first few. Reading ahead and the continuous check are in `alarm_look`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::base::{Alarm, ClassKey, ObjectId};

/// Alarms in memory, about 200 bytes each.
const NEAR_MAX: usize = 100_000;

/// The time of an alarm in milliseconds since the Unix epoch, and its object. Ordered by time.
pub type Place = (u64, ObjectId);

/// Returns the first place of a time.
pub(super) fn start_of(ms: u64) -> Place {
    (ms, ObjectId::from_bytes([0; 32]))
}

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// The wall clock, which decides when an alarm is due.
    pub wall_ms: u64,
    /// The clock that never goes back, which decides when a failed delivery is tried again.
    pub elapsed: Duration,
}

/// The index of the alarms that come next.
#[derive(Default)]
pub struct Alarms {
    pub(super) near: Mutex<Near>,
    pub(super) changed: Notify,
}

/// The result of [`Alarms::take_due`].
pub struct Round<S> {
    /// The alarms that are due and were admitted, with what admitted them.
    pub due: Vec<(ClassKey, Place, S)>,
    /// If none: how long until the next one, at most as long as asked.
    pub wait: Duration,
}

/// The alarms in memory.
pub(super) struct Near {
    /// The waiting alarms, by class; no class is empty.
    classes: HashMap<ClassKey, BTreeSet<Place>>,
    /// The first of each class.
    heads: BTreeSet<(Place, ClassKey)>,
    /// The time of each object's waiting alarm. None of them is taken.
    waiting: HashMap<ObjectId, u64>,
    taken: HashMap<ObjectId, Taken>,
    /// Those of `taken` that were put back, by the time of their next delivery.
    again: BTreeSet<(Duration, ObjectId)>,
    /// Alarms at this place and after it need not be in memory.
    pub(super) horizon: Place,
    /// The start of the range that is being read from the catalog. Alarms from there up to the horizon may not be in
    /// memory yet.
    pub(super) read_from: Option<Place>,
    /// The classes with a horizon of their own, because they had too many alarms.
    pub(super) lowered: BTreeMap<ClassKey, Place>,
    /// How many may wait in memory.
    pub(super) max: usize,
    /// The time until which the scheduler sleeps: an earlier alarm wakes it.
    wakes_ms: u64,
    /// Some due alarms were not admitted.
    refused: bool,
}

/// An alarm that is being delivered, or was put back to be delivered again.
struct Taken {
    class: ClassKey,
    next_ms: u64,
    again: Option<Duration>,
}

impl Default for Near {
    fn default() -> Self {
        Self {
            classes: HashMap::new(),
            heads: BTreeSet::new(),
            waiting: HashMap::new(),
            taken: HashMap::new(),
            again: BTreeSet::new(),
            horizon: start_of(0),
            read_from: None,
            lowered: BTreeMap::new(),
            max: NEAR_MAX,
            wakes_ms: 0,
            refused: false,
        }
    }
}

impl Near {
    /// Returns the horizon of a class: its alarms at this place and after it need not be in memory.
    pub(super) fn horizon_of(&self, class: &ClassKey) -> Place {
        self.lowered.get(class).map_or(self.horizon, |own| self.horizon.min(*own))
    }

    /// Whether an alarm of the class at this place must be in memory.
    pub(super) fn has_read(&self, class: &ClassKey, place: Place) -> bool {
        place < self.horizon_of(class) && self.read_from.is_none_or(|from| place < from)
    }

    /// Counts the waiting alarms of a class.
    pub(super) fn waiting_of(&self, class: &ClassKey) -> usize {
        self.classes.get(class).map_or(0, BTreeSet::len)
    }

    /// Counts the waiting alarms of a class before this place.
    pub(super) fn due_of(&self, class: &ClassKey, before: Place) -> usize {
        self.classes.get(class).map_or(0, |order| order.range(..before).count())
    }

    /// Returns the time of the object's alarm, if it waits.
    pub(super) fn waits(&self, id: &ObjectId) -> Option<u64> {
        self.waiting.get(id).copied()
    }

    /// Returns whether the object's alarm was put back, if it is taken.
    pub(super) fn is_taken(&self, id: &ObjectId) -> Option<bool> {
        self.taken.get(id).map(|taken| taken.again.is_some())
    }

    fn remove(&mut self, class: &ClassKey, id: &ObjectId) {
        let Some(at) = self.waiting.remove(id) else { return };
        let Some(order) = self.classes.get_mut(class) else { return };
        order.remove(&(at, *id));
        if self.heads.remove(&((at, *id), class.clone())) {
            match order.first() {
                Some(next) => _ = self.heads.insert((*next, class.clone())),
                None => _ = self.classes.remove(class),
            }
        }
    }

    pub(super) fn insert(&mut self, class: &ClassKey, place: Place) {
        self.waiting.insert(place.1, place.0);
        let order = self.classes.entry(class.clone()).or_default();
        let head = order.first().copied();
        order.insert(place);
        if head.is_none_or(|head| place < head) {
            head.map(|head| self.heads.remove(&(head, class.clone())));
            self.heads.insert((place, class.clone()));
        }
    }

    /// Removes the object's alarm from those that are taken.
    fn untake(&mut self, id: &ObjectId) -> Option<Taken> {
        let taken = self.taken.remove(id)?;
        taken.again.map(|at| self.again.remove(&(at, *id)));
        Some(taken)
    }

    /// Leaves the later half of the largest class to the catalog, until there is room.
    pub(super) fn shrink(&mut self) {
        while self.waiting.len() > self.max
            && let Some((class, _)) = self.classes.iter().max_by_key(|(_, order)| order.len())
        {
            let class = class.clone();
            let order = self.classes.get_mut(&class).expect("it was found");
            let first_out = *order.iter().nth(order.len() / 2).expect("no class is empty");
            order.split_off(&first_out).iter().for_each(|(_, id)| _ = self.waiting.remove(id));
            if order.is_empty() {
                self.classes.remove(&class);
                self.heads.remove(&(first_out, class.clone()));
            }
            self.lower(class, first_out);
        }
    }

    /// Alarms of the class from this place on are not all in memory.
    pub(super) fn lower(&mut self, class: ClassKey, to: Place) {
        if to >= self.horizon {
            return;
        }
        let own = self.lowered.entry(class).or_insert(to);
        *own = to.min(*own);
    }

    /// Moves the common horizon back. Classes whose own horizon is not before it lose their own.
    pub(super) fn lower_all(&mut self, to: Place) {
        self.horizon = to;
        self.lowered.retain(|_, own| *own < to);
    }

    /// Moves alarms that were put back to those that wait, when their time has come, at their old place: before all
    /// that are due later. They may be beyond the horizon, which does no harm.
    fn bring_back(&mut self, elapsed: Duration) {
        while let Some((_, id)) = self.again.first().copied().filter(|(at, _)| *at <= elapsed) {
            let taken = self.untake(&id).expect("all of `again` are taken");
            self.insert(&taken.class, (taken.next_ms, id));
        }
    }

    fn take(&mut self, class: &ClassKey, place: Place) {
        self.remove(class, &place.1);
        self.taken.insert(place.1, Taken { class: class.clone(), next_ms: place.0, again: None });
    }
}

impl Alarms {
    /// Sets the alarm of an object. Called after the record of a change of its alarm is appended, and after the object
    /// was asked to run it.
    pub(super) fn note(&self, class: &ClassKey, id: ObjectId, alarm: Option<Alarm>) {
        let mut near = self.near.lock();
        near.untake(&id);
        near.remove(class, &id);
        let place = alarm.map(|alarm| (alarm.next_ms, id));
        let Some(place) = place.filter(|place| *place < near.horizon_of(class)) else { return };
        near.insert(class, place);
        near.shrink();
        let wakes = place.0 < near.wakes_ms;
        if wakes {
            near.wakes_ms = place.0;
        }
        drop(near);
        if wakes {
            self.changed.notify_one();
        }
    }

    /// Takes at most `max` due alarms, the earliest first. Classes that `admit` refuses keep theirs and delay no other
    /// class. The caller delivers each to its object, and then calls [`settled`](Self::settled).
    pub fn take_due<S>(
        &self,
        now: Now,
        max: usize,
        longest_wait: Duration,
        mut admit: impl FnMut(&ClassKey) -> Option<S>,
    ) -> Round<S> {
        let near = &mut *self.near.lock();
        near.bring_back(now.elapsed);
        near.refused = false;
        let mut due = Vec::new();
        // The last class that was not admitted, in the order of the first alarms.
        let mut refused: Option<(Place, ClassKey)> = None;
        while due.len() < max {
            let next = match &refused {
                None => near.heads.first(),
                Some(last) => near.heads.range((std::ops::Bound::Excluded(last), std::ops::Bound::Unbounded)).next(),
            };
            let Some((place, class)) = next.filter(|((at, _), _)| *at <= now.wall_ms).cloned() else { break };
            match admit(&class) {
                Some(slot) => {
                    near.take(&class, place);
                    due.push((class, place, slot));
                }
                None => refused = Some((place, class)),
            }
        }
        near.refused = refused.is_some();
        let wait = if due.is_empty() {
            near.wait(now).map_or(longest_wait, |wait| wait.min(longest_wait))
        } else {
            Duration::ZERO
        };
        near.wakes_ms = now.wall_ms.saturating_add(wait.as_millis() as u64);
        Round { due, wait }
    }

    /// Ends the delivery of a taken alarm, successful or not. If its object has not reported its current alarm, the
    /// alarm is put back and is due again from `again` on. Returns whether it was put back.
    pub fn settled(&self, id: &ObjectId, again: Duration) -> bool {
        let near = &mut *self.near.lock();
        let put_back = match near.taken.get_mut(id) {
            Some(taken) if taken.again.is_none() => {
                taken.again = Some(again);
                near.again.insert((again, *id))
            }
            _ => false,
        };
        // What admitted it is free again.
        if near.refused {
            self.changed.notify_one();
        }
        put_back
    }

    /// Notes that an alarm which stays taken is not run at this moment: another one may be admitted.
    pub fn has_room(&self) {
        if self.near.lock().refused {
            self.changed.notify_one();
        }
    }

    /// Removes a taken alarm whose object was deleted.
    pub fn forget(&self, id: &ObjectId) {
        self.near.lock().untake(id);
    }

    /// Whether every alarm up to this time is in memory, and none of them waits or is being delivered.
    pub fn are_done(&self, by: Now) -> bool {
        let near = self.near.lock();
        let nothing_due = near.heads.first().is_none_or(|((at, _), _)| *at > by.wall_ms)
            && near.again.first().is_none_or(|(at, _)| *at > by.elapsed);
        let all_known = near.read_from.is_none()
            && near.horizon.0 > by.wall_ms
            && near.lowered.values().all(|(at, _)| *at > by.wall_ms);
        nothing_due && all_known && near.taken.len() == near.again.len()
    }

    /// Resolves once an alarm was noted that is due before the scheduler wakes, or a class that was not admitted may be
    /// admitted.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }
}

impl Near {
    /// Returns the time until the next alarm is due, apart from those that were not admitted.
    fn wait(&self, now: Now) -> Option<Duration> {
        let later = (start_of(now.wall_ms.saturating_add(1)), ClassKey::new(""));
        let next = self.heads.range(later..).next();
        let next = next.map(|((at, _), _)| Duration::from_millis(at.saturating_sub(now.wall_ms)));
        let again = self.again.first().map(|(at, _)| at.saturating_sub(now.elapsed));
        next.into_iter().chain(again).min()
    }
}
