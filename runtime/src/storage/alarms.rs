//! The alarm of a turn's object: `wit/alarms.wit`.
//!
//! What a turn does to the alarm is kept beside its transaction and written by the turn's end alone: a settling point applies
//! what is stored and leaves the alarm as it was, so a turn that fails after one has not touched it.

use super::identity::Identity;
use super::sql::SqlError;
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
            StagedAlarm::Set(alarm) => self.store_alarm(alarm),
            StagedAlarm::AsItIs => Ok(()),
        }
    }

    /// Has the database that takes the place of another have the other's alarm, at a settling point: the turn's end decides what
    /// becomes of it.
    pub(super) fn carry_alarm(&mut self) -> Result<(), ApplyError> {
        match self.database().aside_alarm() {
            Some(alarm) => self.store_alarm(Some(alarm)),
            None => Ok(()),
        }
    }

    fn store_alarm(&mut self, alarm: Option<Alarm>) -> Result<(), ApplyError> {
        let stored = self.database().alarm()?;
        if alarm == stored {
            return Ok(());
        }
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
