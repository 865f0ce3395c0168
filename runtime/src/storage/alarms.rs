//! The alarm of a turn's object: `wit/alarms.wit`.
//!
//! A turn's change of the alarm is kept beside its transaction and written only at the turn's end: a settling point
//! applies what is stored and leaves the alarm as it was, so a turn that fails after one has not changed the alarm.

use super::commit_log::{Lsn, NumberedAlarm};
use super::errors::SqlError;
use super::identity::Identity;
use super::statement::last_error;
use super::turn::StagedAlarm;
use super::{ApplyError, StorageError, Turn};
use crate::base::Alarm;

impl Turn {
    /// The alarm, with what the turn has done to it.
    pub fn alarm(&mut self) -> Result<Option<Alarm>, StorageError> {
        match self.alarm {
            StagedAlarm::Set(alarm) => Ok(alarm),
            StagedAlarm::AsItIs => self.database().alarm(),
        }
    }

    /// Sets or removes the alarm when the turn is applied.
    pub fn set_alarm(&mut self, alarm: Option<Alarm>) {
        self.alarm = StagedAlarm::Set(alarm);
    }

    /// The last thing that a turn does before it is applied.
    pub(super) fn write_alarm(&mut self) -> Result<(), ApplyError> {
        match self.alarm {
            StagedAlarm::Set(alarm) => self.store_alarm(alarm, None),
            StagedAlarm::AsItIs => Ok(()),
        }
    }

    /// Has the database that takes the place of another have the other's alarm, at a settling point: the turn's end
    /// decides what becomes of it.
    pub(super) fn carry_alarm(&mut self) -> Result<(), ApplyError> {
        match self.database().aside_alarm() {
            Some(NumberedAlarm { serial, alarm }) => self.store_alarm(Some(alarm), Some(serial)),
            None => Ok(()),
        }
    }

    /// Without a serial number the alarm gets the next one, unless it is another attempt of the one that is stored.
    fn store_alarm(&mut self, alarm: Option<Alarm>, serial: Option<u64>) -> Result<(), ApplyError> {
        let stored = self.database().look()?.and_then(|file| file.alarm);
        if alarm == stored.map(|stored| stored.alarm) {
            return Ok(());
        }
        let number = |alarm| NumberedAlarm {
            serial: serial.unwrap_or_else(|| next_serial(stored, alarm, self.database().appended())),
            alarm,
        };
        let alarm = alarm.map(number);
        let broken = |turn: &Self, error: SqlError| {
            turn.broken().cloned().unwrap_or_else(|| ApplyError::Failed(error.to_string()))
        };
        if let Err(error) = self.writing() {
            return Err(broken(self, error));
        }
        let file = self.database().opened().expect("a transaction needs a file");
        if file.connection.host(|sqlite| Identity::write_alarm(sqlite, alarm)).is_err() {
            let error = last_error(file.connection.guest());
            let error = self.refused(error);
            return Err(broken(self, error));
        }
        file.alarm = alarm;
        // Without the alarm, perhaps nothing is stored.
        if alarm.is_none() {
            self.remains.doubt();
        }
        Ok(())
    }
}

/// The serial number of an alarm that takes the place of `stored`. Positions of the object's lane number alarms without
/// a counter of their own: whatever alarm the object had was in a record at or before `appended`, with a number that
/// was not above that record's position.
fn next_serial(stored: Option<NumberedAlarm>, alarm: Alarm, appended: Lsn) -> u64 {
    match stored {
        Some(stored) if alarm.attempt > stored.alarm.attempt && alarm.due_ms == stored.alarm.due_ms => stored.serial,
        // A log that was removed begins again at 1.
        _ => appended.0.max(stored.map_or(0, |stored| stored.serial)) + 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serial_numbers_increase_and_attempts_keep_theirs() {
        let first = Alarm::at(5);
        let stored = |serial, alarm| Some(NumberedAlarm { serial, alarm });
        assert_eq!(next_serial(None, first, Lsn(7)), 8);
        assert_eq!(next_serial(stored(8, first), Alarm::at(6), Lsn(9)), 10);
        let retried = Alarm { attempt: 1, next_ms: 9, ..first };
        assert_eq!(next_serial(stored(8, first), retried, Lsn(9)), 8);
        assert_eq!(next_serial(stored(8, retried), first, Lsn(9)), 10, "set again, it is another one");
        assert_eq!(next_serial(stored(800, first), Alarm::at(6), Lsn(1)), 801, "the log was removed");
    }
}
