//! The catalog of one lane: changes that are noted, changes that are durable, and the file.
//!
//! A change passes three states: noted (in a queue, by LSN) → gathered into the notes once its LSN is durable → written
//! to the file. Invariants:
//! * **only durable changes are gathered**, and gathering up to an LSN misses none: the LSN up to which the lane is
//!   durable is read first, and a change is noted before its own LSN can be durable;
//! * the notes and the file are read and changed under one lock, so a reader sees each change in exactly one of them;
//! * a lost lane is neither written nor read, only rebuilt. It delays no trim: what the log has trimmed is in the
//!   databases, from which the lane is rebuilt.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use parking_lot::{Mutex, MutexGuard};

use super::file::LaneFile;
use super::notes::{Change, ClassNotes, Noted, Notes};
use crate::base::{ClassKey, Disk, Failpoint, ObjectId};
use crate::storage::StorageError;
use crate::storage::commit_log::{AlarmChange, DurableWatch, Lsn};
use crate::storage::statement::is_damage;

/// Notes that a replay or a rebuild collects before it writes them: some MiB.
const GATHER_MAX: usize = 10_000;

/// The catalog of one lane.
pub(super) struct LaneCatalog {
    noted: Mutex<VecDeque<(Lsn, Change)>>,
    durable: OnceLock<DurableWatch>,
    /// Locked before `noted` if both are locked.
    state: Mutex<LaneState>,
}

/// The durable state of a lane.
pub(super) struct LaneState {
    disk: Arc<dyn Disk>,
    pub file: LaneFile,
    /// Changes that the file does not have yet.
    pub notes: Notes,
    /// Changes that were taken from the queue before they were durable.
    early: VecDeque<(Lsn, Change)>,
    /// Up to here every change is in the notes or in the file.
    gathered: Lsn,
    /// Up to here every change is in the file; none while the lane is lost.
    applied: Option<Lsn>,
}

impl LaneCatalog {
    /// Opens the file at `path`, of a lane that is trimmed up to the first position and ends at the second. Replay of a
    /// lost lane begins after the trimmed position, too.
    pub fn open(disk: Arc<dyn Disk>, path: PathBuf, lane: RangeInclusive<Lsn>) -> Result<Self, StorageError> {
        let trimmed = *lane.start();
        let (file, applied) = LaneFile::open(&*disk, path, lane)?;
        let gathered = applied.unwrap_or(trimmed);
        let state = LaneState { disk, file, notes: Notes::default(), early: VecDeque::new(), gathered, applied };
        Ok(Self { noted: Mutex::default(), durable: OnceLock::new(), state: Mutex::new(state) })
    }

    /// Returns the position after which replay begins, and whether the lane is lost.
    pub fn begin(&self) -> (Lsn, bool) {
        let state = self.state.lock();
        (state.gathered, state.applied.is_none())
    }

    /// Adds a durable change. Changes come in the order of the LSNs; those that the file has are ignored.
    pub fn replay(&self, lsn: Lsn, change: Change) {
        let mut state = self.state.lock();
        if lsn > state.gathered {
            state.gathered = lsn;
            state.add(change);
            if state.notes.len() >= GATHER_MAX
                && let Err(error) = state.write()
            {
                tracing::error!("failed to write the object catalog; retrying with the next changes: {error}");
            }
        }
    }

    /// Adds an object that a rebuild has found, while the lane is lost.
    pub fn found(&self, object: Change) -> Result<(), StorageError> {
        let mut state = self.state.lock();
        state.notes.add(object);
        if state.notes.len() >= GATHER_MAX { state.write() } else { Ok(()) }
    }

    /// Ends a rebuild: the lane is as the log's records up to the beginning of the replay left it, or newer.
    pub fn restore(&self) -> Result<(), StorageError> {
        let mut state = self.state.lock();
        state.applied = Some(state.gathered);
        state.write()
    }

    /// Ends the replay, and sets the watch on how far the lane is durable. A file that is ahead of the log belongs to
    /// another log.
    pub fn follow(&self, durable: DurableWatch) -> Result<(), StorageError> {
        let mut state = self.state.lock();
        if state.gathered > durable.upto() {
            return Err(state.lose());
        }
        let _ = self.durable.set(durable);
        Ok(())
    }

    /// Adds a change that counts once its LSN is durable.
    pub fn note(&self, lsn: Lsn, change: Change) {
        self.noted.lock().push_back((lsn, change));
    }

    /// Whether changes have yet to be written, now or once they are durable.
    pub fn is_waiting(&self) -> bool {
        let state = self.state.lock();
        !state.notes.is_empty() || !state.early.is_empty() || !self.noted.lock().is_empty()
    }

    /// Writes durable changes, if there are any or if the applied LSN is below `upto`. Waits until `upto` is durable.
    pub fn write(&self, upto: Lsn) -> Result<(), StorageError> {
        if let Some(durable) = self.durable.get() {
            // The lane is no longer this process's, nor is its catalog.
            if durable.wait(upto).is_err() {
                return Ok(());
            }
        }
        let mut state = self.current();
        match state.applied {
            Some(applied) if upto > applied || !state.notes.is_empty() => state.write(),
            _ => Ok(()),
        }
    }

    /// Returns the lane as of now, locked: with every durable change, and no other.
    pub fn current(&self) -> MutexGuard<'_, LaneState> {
        let mut state = self.state.lock();
        if let Some(durable) = self.durable.get() {
            let upto = durable.upto();
            let noted = std::mem::take(&mut *self.noted.lock());
            state.gather(noted, upto);
        }
        state
    }
}

impl LaneState {
    fn gather(&mut self, noted: VecDeque<(Lsn, Change)>, upto: Lsn) {
        self.early.extend(noted);
        while let Some((_, change)) = self.early.pop_front_if(|(lsn, _)| *lsn <= upto) {
            self.add(change);
        }
        self.gathered = self.gathered.max(upto);
    }

    fn add(&mut self, change: Change) {
        if self.applied.is_some() {
            self.notes.add(change);
        }
    }

    fn write(&mut self) -> Result<(), StorageError> {
        self.disk.at(Failpoint::CatalogWrite).map_err(StorageError::io("cannot write", &self.file.path))?;
        let applied = self.applied.map(|_| self.gathered);
        self.file.write(&self.notes, applied).map_err(|error| self.failed(error))?;
        self.notes.clear();
        self.applied = applied;
        Ok(())
    }

    /// Returns an error while the lane is lost.
    pub fn check(&self) -> Result<(), StorageError> {
        match self.applied {
            Some(_) => Ok(()),
            None => Err(StorageError::ListLost { path: self.file.path.clone() }),
        }
    }

    /// Completes the notes of a class with the names and alarms of the file.
    pub fn complete(&mut self, class: &ClassKey) -> rusqlite::Result<()> {
        let objects = self.notes.class_mut(class).into_iter().flat_map(|notes| &mut notes.objects);
        for (id, noted) in objects {
            if let Noted::Object { name, alarm, whole, .. } = noted
                && !*whole
            {
                if name.is_none() || alarm.is_none() {
                    let (named, set) = self.file.object(class, id)?;
                    *name = name.take().or(named);
                    *alarm = alarm.or(Some(AlarmChange::to(set)));
                }
                *whole = true;
            }
        }
        Ok(())
    }

    /// Whether the class has objects in this lane.
    pub fn has_objects(&self, class: &ClassKey) -> rusqlite::Result<bool> {
        let notes = self.notes.class(class);
        let exists = |notes: &ClassNotes| notes.objects.values().any(|noted| matches!(noted, Noted::Object { .. }));
        Ok(notes.is_some_and(exists)
            || !notes.is_some_and(|notes| notes.gone) && self.file.has_unnoted(class, notes)?)
    }

    /// Whether the object is one of the class's in this lane.
    pub fn lists(&self, class: &ClassKey, id: &ObjectId) -> rusqlite::Result<bool> {
        let notes = self.notes.class(class);
        match notes.and_then(|notes| notes.objects.get(id)) {
            Some(noted) => Ok(matches!(noted, Noted::Object { .. })),
            None if notes.is_some_and(|notes| notes.gone) => Ok(false),
            None => self.file.contains(class, id),
        }
    }

    /// Returns the error for a failure of SQLite. After damage the lane is lost until the next opening, which rebuilds
    /// it.
    pub fn failed(&mut self, error: rusqlite::Error) -> StorageError {
        if is_damage(&error) { self.lose() } else { StorageError::sqlite(&self.file.path)(error) }
    }

    fn lose(&mut self) -> StorageError {
        self.applied = None;
        self.notes.clear();
        let path = self.file.path.clone();
        match LaneFile::remove(&*self.disk, &path) {
            Ok(()) => StorageError::ListLost { path },
            Err(error) => error,
        }
    }
}
