//! What objects have written that no flushed file holds.
//!
//! An object's turns are in its WAL, then in its database file, and neither is flushed: the commit log is what
//! survives. This file knows for each object how much of the log its files have yet to hold, and makes them catch up
//! when a checkpoint ([`super::checkpoint`]) asks for it: it copies durable frames of the WAL into the database file
//! itself, beside the object's connection. That changes nothing for SQLite, which reads those pages from the WAL and
//! will copy them again.
//!
//! Invariants, for each object: [`State`] has a record before the record can be durable; frames are copied and
//! the WAL is begun anew only under the lock of the state, and only once everything applied is durable. No thread waits
//! for the disk while it holds that lock, so a disk that hangs stops no turn.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::capture::Wal;
use super::commit_log::{DurableWatch, LaneLost, Lsn, PAGE};
use super::incarnations::{FIRST, Incarnations};
use super::sums::{PageSums, sum};
#[cfg(test)]
use crate::base::seeded_bugs::{self, SeededBug};
use crate::base::{ClassKey, Disk, Failpoint, ObjectId};

/// The objects that checkpoints take care of: all with records that their flushed files do not hold.
#[derive(Default)]
pub(super) struct DirtyObjects(Mutex<HashMap<ObjectId, Arc<DirtyObject>>>);

impl DirtyObjects {
    /// Returns the state of an object that is opened again.
    pub fn of(&self, id: &ObjectId) -> Option<Arc<DirtyObject>> {
        self.0.lock().get(id).cloned()
    }

    /// Adds an object, before its first record.
    pub fn watch(&self, id: ObjectId, dirty: &Arc<DirtyObject>) {
        self.0.lock().insert(id, dirty.clone());
    }

    /// Removes an object that is put away, if its files hold everything.
    pub fn put_away(&self, id: &ObjectId, dirty: &DirtyObject) {
        let mut objects = self.0.lock();
        let state = dirty.lock();
        if state.frames == 0 && state.first.is_none() && state.stale.is_empty() {
            objects.remove(id);
        }
    }

    /// Removes the objects of a class of which everything was removed.
    pub fn forget_class(&self, class: &ClassKey) {
        self.0.lock().retain(|_, dirty| !dirty.files.is_of(class));
    }

    /// Returns all of them as of now.
    pub fn all(&self) -> Vec<(ObjectId, Arc<DirtyObject>)> {
        self.0.lock().iter().map(|(id, object)| (*id, object.clone())).collect()
    }
}

/// The state of one object that has written what no flushed file holds. Shared by the object's `Database` and the
/// checkpoints.
pub(super) struct DirtyObject {
    files: Incarnations,
    durable: DurableWatch,
    state: Mutex<State>,
    /// Notified when an export has copied the database file.
    copied: Condvar,
}

/// The state under the lock of a [`DirtyObject`].
pub(super) struct State {
    /// The incarnation whose files count.
    pub incarnation: u32,
    /// Frames of its WAL that hold applied turns.
    pub frames: u32,
    /// The object's last record.
    pub last: Lsn,
    /// The oldest record that is in no database file.
    pub first: Option<Lsn>,
    /// Incarnations that were replaced: their files are removed once `last` is durable.
    pub stale: Vec<u32>,
    /// The database file is being copied, so it must not change.
    pub copying: bool,
    /// The object's last record says that nothing is stored.
    pub deleted: bool,
    /// The sums of the file that counts, with its incarnation, once they were used.
    pub sums: Option<(u32, Arc<PageSums>)>,
}

impl DirtyObject {
    /// Creates the state of an object of which all records are trimmed.
    pub fn new(files: Incarnations, durable: DurableWatch) -> Self {
        let state = State {
            incarnation: FIRST,
            frames: 0,
            last: Lsn(0),
            first: None,
            stale: Vec::new(),
            copying: false,
            deleted: false,
            sums: None,
        };
        Self { files, durable, state: Mutex::new(state), copied: Condvar::new() }
    }

    /// Locks the state. No frames are copied and the WAL is not begun anew while the guard is held.
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Ends an export's copy: the database file may change again.
    pub fn end_copy(&self) {
        self.lock().copying = false;
        self.copied.notify_all();
    }

    /// Writes every record up to the cut to the files. Waits for the disk without the object's lock, so that the
    /// object's turns continue meanwhile: what they append is after the cut. Waits for an export that copies the files.
    pub fn catch_up(&self, cut: Lsn) -> Result<(), CatchUpError> {
        #[cfg(test)]
        if seeded_bugs::is_planted(SeededBug::TrimTooFar) {
            return Ok(());
        }
        let Some(seen) = self.lock().seen(cut, &self.files) else { return Ok(()) };
        self.durable.wait(seen.last)?;
        let mut state = self.lock();
        while state.copying {
            self.copied.wait(&mut state);
        }
        // Otherwise the object has begun its WAL anew, so its file holds all of it.
        if seen.first.is_some() && state.first == seen.first {
            let is_there = state.incarnation == seen.incarnation || state.stale.contains(&seen.incarnation);
            if is_there && seen.frames > 0 {
                let database = self.files.file(seen.incarnation);
                match copy_back(&*self.files.disk, &database, seen.frames, &seen.sums) {
                    // Logged only: an error here would stop every trim, and so fill the log for all objects. The next
                    // opening of the object fails.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        tracing::error!("{} or its -wal was removed while the host ran: {error}", database.display());
                    }
                    copied => copied?,
                }
            }
            state.first = (state.last > seen.last).then_some(Lsn(seen.last.0 + 1));
        }
        // What was replaced since may count again after a crash.
        let of_later: Vec<u32> = state.stale.extract_if(.., |stale| !seen.stale.contains(stale)).collect();
        let removed = state.remove_stale(&self.files);
        state.stale.extend(of_later);
        Ok(removed?)
    }
}

/// What an object's files did not have when a checkpoint looked at it.
struct Seen {
    incarnation: u32,
    frames: u32,
    last: Lsn,
    first: Option<Lsn>,
    stale: Vec<u32>,
    sums: Arc<PageSums>,
}

/// The reasons why the files of an object do not hold every record up to the cut.
pub(super) enum CatchUpError {
    /// The object's lane was lost, so it is not trimmed any more.
    LaneLost,
    Io(io::Error),
}

impl From<LaneLost> for CatchUpError {
    fn from(LaneLost: LaneLost) -> Self {
        Self::LaneLost
    }
}

impl From<io::Error> for CatchUpError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Copies the frames of a WAL into the database file, while the object's connection may use both.
///
/// Only the last frame of each page. An earlier checkpoint may have copied frames and had them trimmed, because the WAL
/// begins anew later: an older frame must not be written over a page that the log does not have any more.
fn copy_back(disk: &dyn Disk, database: &Path, frames: u32, sums: &PageSums) -> io::Result<()> {
    let file = disk.open(Failpoint::WalReset, database)?;
    let wal = Wal::open(database)?;
    let (mut last, mut frame) = (HashMap::new(), 0_u32..);
    wal.read(0..frames, |page, _, _| {
        last.insert(page, frame.next());
        Ok(())
    })?;
    let mut frame = 0_u32..;
    wal.read(0..frames, |page, _, image| {
        if last.get(&page) != Some(&frame.next()) {
            return Ok(());
        }
        disk.write_all_at(Failpoint::CheckpointPage, &file, image, (u64::from(page) - 1) * PAGE as u64)?;
        sums.set(page, sum(page, image))
    })?;
    sums.write()
}

impl State {
    /// Returns what the files have to catch up with; none if they hold everything up to the cut.
    fn seen(&mut self, cut: Lsn, files: &Incarnations) -> Option<Seen> {
        if self.stale.is_empty() && self.first.is_none_or(|first| first > cut) {
            return None;
        }
        let Self { incarnation, frames, last, first, .. } = *self;
        Some(Seen { incarnation, frames, last, first, stale: self.stale.clone(), sums: self.sums(files) })
    }

    /// Returns the sums of the file that counts.
    pub fn sums(&mut self, files: &Incarnations) -> Arc<PageSums> {
        match &self.sums {
            Some((incarnation, sums)) if *incarnation == self.incarnation => sums.clone(),
            _ => {
                let sums = files.sums(self.incarnation);
                self.sums = Some((self.incarnation, sums.clone()));
                sums
            }
        }
    }

    /// Removes the files of replaced incarnations, whose successor is durable.
    pub fn remove_stale(&mut self, files: &Incarnations) -> io::Result<()> {
        while let Some(incarnation) = self.stale.last() {
            files.remove(Failpoint::ObjectRemove, *incarnation)?;
            self.stale.pop();
        }
        Ok(())
    }
}
