//! The alarm of a turn's object: `wit/alarms.wit`.
//!
//! An object has one alarm that is set, and beside it perhaps a *running* one: it was taken, and its handler is
//! suspended or is tried again. Guests see only the one that is set. Serial numbers say which alarm was consumed; times
//! do not. A turn's changes are kept beside its transaction and written only at the turn's end: a settling point
//! applies what is stored and leaves the alarms as they were, so a turn that fails after one has not changed them.

use super::commit_log::{Alarms, Lsn, NumberedAlarm};
use super::errors::SqlError;
use super::identity::Identity;
use super::statement::last_error;
use super::turn::StagedAlarm;
use super::{ApplyError, StorageError, Turn};
use crate::base::{Alarm, TakenAlarm};

impl Turn {
    /// The alarm that is set, with what the turn has done to it.
    pub fn alarm(&mut self) -> Result<Option<Alarm>, StorageError> {
        match self.alarm {
            StagedAlarm::Set(alarm) => Ok(alarm),
            StagedAlarm::AsItIs if self.taken.is_some_and(|(taken, _)| !taken.again) => Ok(None),
            StagedAlarm::AsItIs => Ok(self.database().alarms()?.set.map(|numbered| numbered.alarm)),
        }
    }

    /// Sets or removes the alarm when the turn is applied.
    pub fn set_alarm(&mut self, alarm: Option<Alarm>) {
        self.alarm = StagedAlarm::Set(alarm);
    }

    /// Notes that the turn runs the handler of an alarm, which is consumed when the turn is applied.
    pub fn run_alarm(&mut self, taken: TakenAlarm) {
        self.taken = Some((taken, false));
    }

    /// Notes that the handler of the alarm goes on after the turn: the alarm stays stored as the running one.
    pub fn suspend_alarm(&mut self) {
        if let Some((_, suspended)) = &mut self.taken {
            *suspended = true;
        }
    }

    /// Ends the running alarm with this serial number when the turn is applied. With `again` it is tried again then,
    /// unless the one that is set is due before.
    pub fn end_alarm(&mut self, serial: u64, again: Option<Alarm>) {
        self.ended = Some((serial, again));
    }

    /// The last thing that a turn does before it is applied.
    pub(super) fn write_alarm(&mut self) -> Result<(), ApplyError> {
        if self.alarm == StagedAlarm::AsItIs && self.taken.is_none() && self.ended.is_none() {
            return Ok(());
        }
        let stored = self.stored_alarms()?;
        let mut now = stored;
        let is = |numbered: Option<NumberedAlarm>, serial| numbered.is_some_and(|numbered| numbered.serial == serial);
        if let Some((taken, suspended)) = self.taken {
            if !taken.again && is(now.set, taken.serial) {
                now.set = None;
            }
            // A running one that waited for its next attempt gives way to an alarm that was due before.
            now.running = suspended.then_some(NumberedAlarm { serial: taken.serial, alarm: taken.alarm });
        }
        if let StagedAlarm::Set(alarm) = self.alarm {
            let appended = self.database().appended();
            let before = now.set;
            now.set = alarm.map(|alarm| match before {
                Some(before) if before.alarm == alarm => before,
                before => NumberedAlarm { serial: next_serial(before, stored, alarm, appended), alarm },
            });
        }
        if let Some((serial, again)) = self.ended
            && is(now.running, serial)
        {
            let is_first = |again: &Alarm| now.set.is_none_or(|set| set.alarm.next_ms > again.next_ms);
            now.running = again.filter(is_first).map(|alarm| NumberedAlarm { serial, alarm });
        }
        self.store_alarms(now)?;
        // Before the turn is appended, which reports the alarms to the index.
        if self.ended.is_some() {
            self.database().alarm_suspended = false;
        }
        if self.taken.is_some_and(|(_, suspended)| suspended) {
            self.database().alarm_suspended = true;
        }
        Ok(())
    }

    /// Has the database that takes the place of another have the other's alarms, at a settling point: the turn's end
    /// decides what becomes of them.
    pub(super) fn carry_alarm(&mut self) -> Result<(), ApplyError> {
        match self.database().aside_alarms() {
            none if none == Alarms::default() => Ok(()),
            alarms => self.store_alarms(alarms),
        }
    }

    fn stored_alarms(&mut self) -> Result<Alarms, ApplyError> {
        Ok(self.database().look()?.map_or_else(Alarms::default, |file| file.alarms))
    }

    fn store_alarms(&mut self, alarms: Alarms) -> Result<(), ApplyError> {
        let before = self.stored_alarms()?;
        if alarms == before {
            return Ok(());
        }
        let broken = |turn: &Self, error: SqlError| {
            turn.broken().cloned().unwrap_or_else(|| ApplyError::Failed(error.to_string()))
        };
        if let Err(error) = self.writing() {
            return Err(broken(self, error));
        }
        let file = self.database().opened().expect("a transaction needs a file");
        if file.connection.host(|sqlite| Identity::write_alarms(sqlite, alarms, before)).is_err() {
            let error = last_error(file.connection.guest());
            let error = self.refused(error);
            return Err(broken(self, error));
        }
        file.alarms = alarms;
        // Without an alarm, perhaps nothing is stored.
        if alarms == Alarms::default() {
            self.remains.doubt();
        }
        Ok(())
    }
}

/// The serial number of an alarm that takes the place of `before`. Positions of the object's lane number alarms without
/// a counter of their own: whatever alarm the object had was in a record at or before `appended`, with a number that
/// was not above that record's position.
fn next_serial(before: Option<NumberedAlarm>, stored: Alarms, alarm: Alarm, appended: Lsn) -> u64 {
    match before {
        Some(before) if alarm.attempt > before.alarm.attempt && alarm.due_ms == before.alarm.due_ms => before.serial,
        // A log that was removed begins again at 1.
        _ => stored.set.into_iter().chain(stored.running).fold(appended.0, |last, each| last.max(each.serial)) + 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serial_numbers_increase_and_attempts_keep_theirs() {
        let first = Alarm::at(5);
        let stored = |serial, alarm| Some(NumberedAlarm { serial, alarm });
        let next_serial = |set: Option<NumberedAlarm>, alarm, appended| {
            next_serial(set, Alarms { set, running: None }, alarm, Lsn(appended))
        };
        assert_eq!(next_serial(None, first, 7), 8);
        assert_eq!(next_serial(stored(8, first), Alarm::at(6), 9), 10);
        let retried = Alarm { attempt: 1, next_ms: 9, ..first };
        assert_eq!(next_serial(stored(8, first), retried, 9), 8);
        assert_eq!(next_serial(stored(8, retried), first, 9), 10, "set again, it is another one");
        assert_eq!(next_serial(stored(800, first), Alarm::at(6), 1), 801, "the log was removed");
        let alarms = Alarms { set: None, running: stored(900, first) };
        assert_eq!(super::next_serial(None, alarms, first, Lsn(1)), 901, "the running one has its own");
    }
}
