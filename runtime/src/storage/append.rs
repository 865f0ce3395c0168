//! Appends applied turns to the commit log: what a COMMIT wrote to the WAL becomes records, before it can become
//! visible.
//!
//! Invariants: everything that can fail is done before the COMMIT; if a committed turn cannot be appended, the process
//! ends. The records, the state that checkpoints use, and the list of objects change together.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Duration;

use super::StorageError;
use super::capture::{Wal, capture};
use super::catalog::Change;
use super::commit_log::{AlarmChange, Encoded, Lsn, Reservation, TurnEncoder, TurnHead};
use super::database::{Database, FileState, Made, Stored};
use super::sums::sums_path;
#[cfg(test)]
use crate::base::seeded_bugs::{self, SeededBug};
use crate::base::{Alarm, Failpoint, ObjectName, TakenAlarm};

impl Database {
    /// Does everything that can fail, before a turn's COMMIT: between the COMMIT and its record nothing may fail.
    pub(super) fn prepare_append(&mut self) -> Result<(), StorageError> {
        let path = self.path.clone();
        self.open_what_appends(&path).map_err(StorageError::io("cannot open what is beside", &path))
    }

    fn open_what_appends(&mut self, path: &Path) -> io::Result<()> {
        let disk = &*self.shared.disk;
        let FileState::Open(file) = &mut self.file else { return Ok(()) };
        if file.wal.is_none() {
            file.wal = Some(Wal::open(path)?);
        }
        if file.made == Some(Made::FromFile) {
            // The log does not have these pages, so they must be on disk before it names them.
            for path in [path, &sums_path(path)] {
                disk.sync_all(Failpoint::ImportAdopt, &File::open(path)?)?;
            }
            path.ancestors().take(3).try_for_each(|path| disk.sync_parent(Failpoint::ImportAdopt, path))?;
        }
        Ok(())
    }

    /// Appends what a COMMIT has just written to the WAL. It is not visible outside the object yet; if it cannot be
    /// appended, the process ends.
    pub(super) fn append(&mut self, room: &mut Reservation) -> Lsn {
        let path = self.path.clone();
        let records = match self.records() {
            Ok(records) => records,
            Err(error) => self.shared.lost(&path, &error),
        };
        self.watch();
        let FileState::Open(file) = &mut self.file else { unreachable!("a turn was applied to it") };
        file.made = None;
        let (frames, sums) = (file.connection.frames(), file.sums.clone());
        let (change, alarm) = self.change();
        self.replaces_unusable();
        let mut state = self.dirty.lock();
        state.frames = frames;
        state.incarnation = self.incarnation;
        (state.deleted, state.sums) = (false, Some((self.incarnation, sums)));
        if let Some((incarnation, _)) = self.aside.take() {
            state.stale.push(incarnation);
            state.stale.extend(self.unusable.drain(..).filter(|unusable| *unusable != incarnation));
        }
        let count = records.len();
        for (n, record) in records.into_iter().enumerate() {
            self.last = self.lane.submit(record, room, |lsn| {
                state.first.get_or_insert(lsn);
                state.last = lsn;
                if let (true, Some(change)) = (n + 1 == count, &change) {
                    self.shared.catalog.note(self.shared.lane_of(&self.address.id), lsn, change.clone());
                }
            });
        }
        drop(state);
        if let Some(alarm) = alarm {
            self.note_alarm(alarm);
        }
        self.last
    }

    /// Updates the index of all alarms with the object's alarm. Called after the record of a change is appended,
    /// because a reader of the catalog must find the alarm there or in the index.
    fn note_alarm(&self, alarm: Option<Alarm>) {
        // Its handler is suspended: it stays taken, and another alarm waits for its end.
        if self.alarm_suspended {
            return;
        }
        self.shared.alarms.note(&self.address.key, self.address.id, alarm);
    }

    /// Reports the alarm to the index, after the object was asked to run it. The index has removed the alarm that it
    /// handed out, so it needs the report even if nothing has changed: the handler may have set the same alarm again,
    /// or the clock may have been set back.
    pub fn report_alarm(&mut self) -> Result<(), StorageError> {
        let alarm = self.alarm()?;
        #[cfg(test)]
        if seeded_bugs::is_planted(SeededBug::AlarmByTime) {
            self.note_alarm(None);
            return Ok(());
        }
        self.note_alarm(alarm);
        Ok(())
    }

    /// Takes the alarm that is to be run at this time; none while a handler is suspended.
    pub fn take_alarm(&mut self, now_ms: u64) -> Result<Option<TakenAlarm>, StorageError> {
        Ok(if self.alarm_suspended { None } else { self.alarms()?.take(now_ms) })
    }

    /// Returns whether the handler of the object's alarm is suspended.
    pub fn is_alarm_suspended(&self) -> bool {
        self.alarm_suspended
    }

    /// Notes that the instance was dropped in which the handler of the alarm was suspended. It is run again, not before
    /// this time on the monotonic clock.
    pub fn alarm_is_dropped(&mut self, again: Duration) {
        if std::mem::take(&mut self.alarm_suspended) {
            self.shared.alarms.settled(&self.address.id, again);
        }
    }

    /// Discards what the log has of an object that could not be recovered.
    fn replaces_unusable(&mut self) {
        if !std::mem::replace(&mut self.recovered, true) {
            self.shared.recovery.forget(&self.address.id);
        }
    }

    /// Creates the records of what the last COMMIT wrote.
    fn records(&self) -> io::Result<Vec<Encoded>> {
        self.shared.disk.at(Failpoint::TurnApplied)?;
        let FileState::Open(file) = &self.file else { unreachable!("a turn was applied to it") };
        let wal = file.wal.as_ref().expect("opened before the COMMIT");
        let before = if self.aside.is_some() { 0 } else { self.dirty.lock().frames };
        let name = file.identity.as_ref().and_then(|identity| identity.name.as_ref());
        let told = self.told.as_ref();
        let known = told.is_some_and(|told| told.name.as_ref() == name);
        let head = TurnHead {
            created: file.made.is_some(),
            adopted: file.made == Some(Made::FromFile),
            bytes: file.bytes,
            name: name.filter(|_| !known || file.made.is_some()).map(ObjectName::as_str),
            alarms: told.is_none_or(|told| told.alarms != file.alarms).then_some(file.alarms),
            ..self.head()
        };
        let template = (file.made == Some(Made::FromTemplate)).then_some(&self.shared.template);
        capture(wal, before..file.connection.frames(), head, template)
    }

    fn head(&self) -> TurnHead<'_> {
        TurnHead {
            class: self.address.key.as_str(),
            id: *self.address.id.as_bytes(),
            incarnation: self.incarnation,
            previous: self.last,
            part: 0,
            last: true,
            created: false,
            adopted: false,
            deleted: false,
            page_count: 0,
            bytes: 0,
            name: None,
            alarms: None,
        }
    }

    /// Returns what the last turn changed in the list of objects, if anything, and the alarm if it is part of that.
    fn change(&mut self) -> (Option<Change>, Option<Option<Alarm>>) {
        let FileState::Open(file) = &self.file else { return (None, None) };
        let (name, alarms) = (file.identity.as_ref().and_then(|identity| identity.name.clone()), file.alarms);
        let alarm = alarms.next();
        let now = Some(Stored { name: name.clone(), bytes: file.bytes, alarm, alarms });
        if self.told == now {
            return (None, None);
        }
        let (class, id, bytes) = (self.address.key.clone(), self.address.id, file.bytes);
        let changed = self.told.as_ref().is_none_or(|told| told.alarms != alarms).then_some(alarm);
        self.told = now;
        (Some(Change::Object { class, id, name, bytes, alarm: Some(AlarmChange::to(alarm)) }), changed)
    }

    /// Appends a record that says that nothing is stored any more. The files are removed once it is durable.
    pub(super) fn append_removal(&mut self, room: &mut Reservation) -> Lsn {
        if self.aside.take().is_some() {
            // What this turn made instead never counted.
            self.discard();
        }
        self.file = FileState::Absent;
        self.told = None;
        self.watch();
        self.replaces_unusable();
        self.unusable.clear();
        let record = TurnEncoder::new(&TurnHead { deleted: true, ..self.head() }).finish();
        let gone = self.incarnations.candidates().unwrap_or_else(|_| vec![self.incarnation]);
        let mut state = self.dirty.lock();
        state.stale = gone;
        state.frames = 0;
        state.incarnation = self.incarnation + 1;
        (state.deleted, state.sums) = (true, None);
        let change = Change::Gone { class: self.address.key.clone(), id: self.address.id };
        self.last = self.lane.submit(record, room, |lsn| {
            state.last = lsn;
            self.shared.catalog.note(self.shared.lane_of(&self.address.id), lsn, change);
        });
        drop(state);
        self.note_alarm(None);
        self.use_incarnation(self.incarnation + 1);
        self.last
    }
}
