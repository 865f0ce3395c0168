//! Reads the alarms of the next minute from the catalog into memory, and checks that none is lost.
//!
//! **No alarm is overdue by more than its tolerance while its object is idle and the host has slots.** The index
//! ensures this; the check verifies it while the host runs, independently: the catalog lists every durable alarm, and
//! an overdue one must be in memory. One that is not in memory in two checks in a row is added again, counted and
//! logged, so that a bug of the host does not lose an alarm.

use std::collections::HashSet;
use std::time::Duration;

use super::alarm_index::{Alarms, Place, start_of};
use super::alarm_runs::AlarmRuns;
use super::{Databases, StorageError};
use crate::base::ClassKey;

/// How far ahead alarms are read into memory.
const AHEAD: Duration = Duration::from_secs(60);
/// A class with a horizon of its own is read again when it has 1/16 of the memory or less.
const REFILL_BELOW: usize = 16;
/// The delay from which an alarm counts as overdue. A busy host delays alarms by less.
pub const TOLERANCE: Duration = Duration::from_secs(10);
/// Overdue alarms of each lane that one check reads. If there are more, the reason is a backlog and not a fault of the
/// index.
const CHECKED_MAX: usize = 1_000;

/// A range of the catalog that is read.
struct Look {
    /// One class; none for all but those of `without`.
    class: Option<ClassKey>,
    without: Vec<ClassKey>,
    from: Place,
    until: Place,
}

/// The result of a check.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct AlarmCheck {
    /// The number of alarms that are overdue by more than the tolerance and do not run. They wait for room, or for
    /// their class.
    pub overdue: u64,
    /// Those of them that were not in memory, and were added.
    pub rearmed: Vec<Place>,
}

/// Alarms that a check did not find in memory. They count as lost if the next check does not find them either.
#[derive(Default)]
pub struct Suspects(HashSet<Place>);

impl Alarms {
    /// Whether [`Databases::look_for_alarms`] should be called: a horizon is near, and there is room for more alarms.
    pub fn wants_look(&self, now_ms: u64) -> bool {
        let near = self.near.lock();
        let has_room = |class| near.waiting_of(class) <= near.max / REFILL_BELOW;
        near.horizon.0 < now_ms + AHEAD.as_millis() as u64 / 2 || near.lowered.keys().any(has_room)
    }

    /// Moves the horizons, before the catalog is read: from now on changes up to them are noted, and earlier ones are
    /// in the catalog.
    fn begin_look(&self, now_ms: u64) -> Vec<Look> {
        let near = &mut *self.near.lock();
        let mut looks = Vec::new();
        let until = start_of(now_ms + AHEAD.as_millis() as u64);
        if near.horizon < until {
            let from = std::mem::replace(&mut near.horizon, until);
            looks.push(Look { class: None, without: near.lowered.keys().cloned().collect(), from, until });
        }
        // One class at a time, the one that has least.
        let least = near.lowered.keys().min_by_key(|class| near.waiting_of(class)).cloned();
        if let Some(class) = least.filter(|class| near.waiting_of(class) <= near.max / REFILL_BELOW)
            && let Some(from) = near.lowered.remove(&class)
        {
            looks.push(Look { class: Some(class), without: Vec::new(), from, until: near.horizon });
        }
        near.read_from = looks.iter().map(|look| look.from).min();
        looks
    }

    /// Adds the alarms that were read, which are all from the start of the range up to `end`.
    fn end_look(&self, look: Look, found: Vec<(ClassKey, Place)>, end: Place) {
        let near = &mut *self.near.lock();
        if end < look.until {
            match look.class {
                None => near.lower_all(end),
                Some(class) => near.lower(class, end),
            }
        }
        let mut first = None;
        for (class, place) in found {
            let known = near.waits(&place.1).is_some() || near.is_taken(&place.1).is_some();
            if !known && place < near.horizon_of(&class) {
                near.insert(&class, place);
                first.get_or_insert(place);
            }
        }
        near.shrink();
        if first.is_some() {
            self.changed.notify_one();
        }
    }

    /// Whether an alarm that is set will be taken without a further change.
    #[cfg(test)]
    pub fn knows(&self, class: &ClassKey, place: Place) -> bool {
        let near = self.near.lock();
        let (at, id) = place;
        near.waits(&id).is_some_and(|waits| waits <= at)
            || near.is_taken(&id).is_some()
            || place >= near.horizon_of(class)
    }

    /// Compares the overdue alarms that the catalog lists with those in memory.
    fn compare(&self, listed: Vec<(ClassKey, Place)>, before: Place, suspects: &mut Suspects) -> AlarmCheck {
        let near = &mut *self.near.lock();
        let backlog = near.lowered.keys().map(|class| near.due_of(class, before) as u64).sum();
        let mut check = AlarmCheck { overdue: backlog, rearmed: Vec::new() };
        let suspected = std::mem::take(&mut suspects.0);
        for (class, place) in listed {
            let (at, id) = place;
            match (near.waits(&id), near.is_taken(&id)) {
                (Some(waits), _) => check.overdue += u64::from(waits <= at),
                (None, Some(put_back)) => check.overdue += u64::from(put_back),
                // Not read yet.
                _ if !near.has_read(&class, place) => check.overdue += 1,
                _ if suspected.contains(&place) => {
                    near.insert(&class, place);
                    check.overdue += 1;
                    check.rearmed.push(place);
                }
                // Perhaps it has just been run.
                _ => _ = suspects.0.insert(place),
            }
        }
        if !check.rearmed.is_empty() {
            self.changed.notify_one();
        }
        check
    }
}

impl Databases {
    /// Returns the index of the alarms that come next.
    pub fn alarms(&self) -> &Alarms {
        &self.0.alarms
    }

    /// Returns the alarms that are running.
    pub fn alarm_runs(&self) -> &AlarmRuns {
        &self.0.alarm_runs
    }

    /// Reads the alarms of the next minute into memory, as many as there is room for. Waits for the disk, because
    /// earlier changes must be in the catalog before it is read. One caller at a time.
    pub fn look_for_alarms(&self, now_ms: u64) -> Result<(), StorageError> {
        let shared = &self.0;
        let each = (shared.alarms.near.lock().max / 2 / shared.lanes.len()).max(2);
        let looks = shared.alarms.begin_look(now_ms);
        if looks.is_empty() {
            return Ok(());
        }
        let mut written = self.write_catalog();
        for look in looks {
            let read = std::mem::replace(&mut written, Ok(()))
                .and_then(|()| shared.catalog.alarms(look.from, look.until, each, look.class.as_ref(), &look.without));
            match read {
                Ok((found, end)) => shared.alarms.end_look(look, found, end),
                Err(error) => {
                    let from = look.from;
                    shared.alarms.end_look(look, Vec::new(), from);
                    written = Err(error);
                }
            }
        }
        shared.alarms.near.lock().read_from = None;
        written
    }

    /// Checks the overdue alarms, and adds those to the index that were in memory neither now nor at the last check.
    /// Waits for the disk.
    pub fn check_alarms(&self, now_ms: u64, suspects: &mut Suspects) -> Result<AlarmCheck, StorageError> {
        let before = start_of(now_ms.saturating_sub(TOLERANCE.as_millis() as u64));
        let without: Vec<_> = self.0.alarms.near.lock().lowered.keys().cloned().collect();
        self.write_catalog()?;
        let (listed, _) = self.0.catalog.alarms(start_of(0), before, CHECKED_MAX, None, &without)?;
        Ok(self.0.alarms.compare(listed, before, suspects))
    }

    /// Writes everything to the catalogs that is appended by now.
    fn write_catalog(&self) -> Result<(), StorageError> {
        let appended: Vec<_> = self.0.lanes.iter().map(|lane| lane.appended()).collect();
        self.0.catalog.write(&appended)
    }
}

#[cfg(test)]
mod tests {
    use super::super::alarm_index::Now;
    use super::*;
    use crate::base::ObjectId;

    /// Alarms are delivered while the catalog is read: no listed alarm is taken for a lost one, and none for delivered.
    #[test]
    fn what_is_being_read_is_not_overdue_by_a_fault() {
        let (alarms, class) = (Alarms::default(), ClassKey::new("class"));
        let place = (1_000, ObjectId::from_bytes([1; 32]));
        let looks = alarms.begin_look(30_000);
        let mut suspects = Suspects::default();
        for _ in 0..3 {
            let check = alarms.compare(vec![(class.clone(), place)], start_of(20_000), &mut suspects);
            assert_eq!(check, AlarmCheck { overdue: 1, rearmed: Vec::new() });
        }
        assert!(!alarms.are_done(Now { wall_ms: 500, elapsed: Duration::ZERO }));
        for look in looks {
            let end = look.until;
            alarms.end_look(look, vec![(class.clone(), place)], end);
        }
        alarms.near.lock().read_from = None;
        assert!(alarms.are_done(Now { wall_ms: 500, elapsed: Duration::ZERO }));
        assert_eq!(alarms.near.lock().waits(&place.1), Some(1_000));
    }
}
