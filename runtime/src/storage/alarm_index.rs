//! Which objects' alarms come next, over all objects: the earliest ones in memory, the rest in the catalog.
//!
//! Everything here is a hint. The truth is in each object, which looks again when it is asked to run its alarm; so an entry
//! that is out of date costs a look and does no harm, but a missing one would be an alarm that does not ring. What must
//! stay true: **every pending alarm before the horizon is in memory** (until it is taken), and every other one is in the catalog
//! or will be once its record is durable. There is no timer per alarm, and nothing is read at the start but the first few.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::alarm_runs::AlarmRuns;
use super::{Databases, StorageError};
use crate::base::{Alarm, ClassKey, ObjectId};

/// Alarms in memory, about 150 bytes each.
const NEAR_MAX: usize = 100_000;
/// How far ahead alarms are taken into memory.
const AHEAD: Duration = Duration::from_secs(60);

/// When, and whose. Ordered by time.
pub type Place = (u64, ObjectId);

/// The first place of a time.
fn start_of(ms: u64) -> Place {
    (ms, ObjectId::from_bytes([0; 32]))
}

/// The alarms that come next.
#[derive(Default)]
pub struct Alarms {
    near: Mutex<Near>,
    changed: Notify,
}

struct Near {
    order: BTreeMap<Place, ClassKey>,
    of: HashMap<ObjectId, u64>,
    /// Alarms at this place and after it are not in memory.
    horizon: Place,
    /// Those that wait to be tried again, by when; each with its time in `order`, so that it comes before all that are due later.
    again: BTreeMap<Place, (ClassKey, u64)>,
}

impl Default for Near {
    fn default() -> Self {
        Self { order: BTreeMap::new(), of: HashMap::new(), horizon: start_of(0), again: BTreeMap::new() }
    }
}

impl Near {
    fn remove(&mut self, id: &ObjectId) {
        if let Some(next) = self.of.remove(id) {
            self.order.remove(&(next, *id));
        }
    }

    fn insert(&mut self, class: ClassKey, (next, id): Place) {
        self.of.insert(id, next);
        self.order.insert((next, id), class);
    }

    /// Takes the horizon back to this place.
    fn forget_from(&mut self, place: Place) {
        for (_, id) in self.order.split_off(&place).into_keys() {
            self.of.remove(&id);
        }
        self.horizon = place;
    }
}

impl Alarms {
    /// An object's alarm has changed.
    pub(super) fn note(&self, class: &ClassKey, id: ObjectId, alarm: Option<Alarm>) {
        let mut near = self.near.lock();
        near.remove(&id);
        let Some(place) = alarm.map(|alarm| (alarm.next_ms, id)).filter(|place| *place < near.horizon) else { return };
        let first = near.order.first_key_value().is_none_or(|(first, _)| place < *first);
        near.insert(class.clone(), place);
        if near.order.len() > NEAR_MAX {
            let (last, _) = near.order.last_key_value().expect("there are many");
            let last = *last;
            near.forget_from(last);
        }
        drop(near);
        if first {
            self.changed.notify_one();
        }
    }

    /// Asks for an alarm that was taken to be tried again from this time on, though the object was not asked or could not
    /// answer. It has its old place then.
    pub fn again(&self, class: ClassKey, (next_ms, id): Place, from_ms: u64) {
        self.near.lock().again.insert((from_ms, id), (class, next_ms));
    }

    /// Takes at most `max` alarms whose time has come, the earliest first.
    pub fn take_due(&self, now_ms: u64, max: usize) -> Vec<(ClassKey, Place)> {
        let mut near = self.near.lock();
        while let Some(first) = near.again.first_entry().filter(|first| first.key().0 <= now_ms) {
            let ((_, id), (class, next_ms)) = first.remove_entry();
            // One that was noted meanwhile is newer. Beyond the horizon it is kept all the same: nobody else knows of it.
            if !near.of.contains_key(&id) {
                near.insert(class, (next_ms, id));
            }
        }
        let mut due = Vec::new();
        while due.len() < max
            && let Some(first) = near.order.first_entry().filter(|first| first.key().0 <= now_ms)
        {
            let (place, class) = first.remove_entry();
            near.of.remove(&place.1);
            due.push((class, place));
        }
        due
    }

    /// When the first alarm in memory is due.
    pub fn first_ms(&self) -> Option<u64> {
        let near = self.near.lock();
        let (next, again) = (near.order.first_key_value(), near.again.first_key_value());
        next.map(|((at, _), _)| *at).into_iter().chain(again.map(|((at, _), _)| *at)).min()
    }

    /// Whether [`Databases::look_for_alarms`] should be called: the horizon is near, and there is room behind it.
    pub fn wants_look(&self, now_ms: u64) -> bool {
        let near = self.near.lock();
        near.horizon.0 < now_ms + AHEAD.as_millis() as u64 / 2 && near.order.len() <= NEAR_MAX / 2
    }

    /// Whether all alarms up to this time are in memory.
    pub fn knows(&self, by_ms: u64) -> bool {
        self.near.lock().horizon.0 > by_ms
    }

    /// Resolves once an alarm was noted that comes before all others.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }
}

impl Databases {
    /// The alarms that come next.
    pub fn alarms(&self) -> &Alarms {
        &self.0.alarms
    }

    /// The alarms that are running.
    pub fn alarm_runs(&self) -> &AlarmRuns {
        &self.0.alarm_runs
    }

    /// Takes the alarms of the next minute into memory, as many as there is room for. Waits for the disk: what was
    /// noted before must be in the catalog before that is read. One caller at a time.
    pub fn look_for_alarms(&self, now_ms: u64) -> Result<(), StorageError> {
        let node = &self.0;
        let until = start_of(now_ms + AHEAD.as_millis() as u64);
        let (from, room) = {
            let mut near = node.alarms.near.lock();
            let from = near.horizon;
            if from >= until {
                return Ok(());
            }
            // From here on later changes are noted; those before are found below.
            near.horizon = until;
            (from, NEAR_MAX.saturating_sub(near.order.len()).max(2))
        };
        let appended: Vec<_> = node.lanes.iter().map(|lane| lane.appended()).collect();
        let read = node.catalog.write(&appended).and_then(|()| node.catalog.alarms(from, until, room));
        let mut near = node.alarms.near.lock();
        let (found, end) = match read {
            Ok(read) => read,
            Err(error) => {
                near.forget_from(from);
                return Err(error);
            }
        };
        for (class, place) in found {
            if !near.of.contains_key(&place.1) {
                near.insert(class, place);
            }
        }
        if end < near.horizon {
            near.forget_from(end);
        }
        Ok(())
    }
}
