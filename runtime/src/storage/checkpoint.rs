//! Making database files durable in rounds, so that the commit log can be cut.
//!
//! What an object wrote is in its WAL, then in its database file, and neither is flushed: the commit log is what
//! survives. A *round* makes the files catch up with the log. It takes how far each lane is durable (the cut), has every object's
//! file hold what was written up to there, has the catalogs do the same, flushes the whole file system once, and then
//! says in the log that everything up to the cut is trimmed. One flush for all objects, whatever their number.
//!
//! A round asks nobody: it copies the durable frames of an object's WAL into the database file itself, beside whoever uses the
//! object. That changes nothing for SQLite, which reads those pages from the WAL and will copy them again. So neither a
//! busy object nor one in the midst of a long turn can pin the log, and turns that wait for room in the log cannot
//! keep it from being made. Nobody waits for the disk while he holds an object's lock, so a disk that hangs stops no turn.
//!
//! What must stay true, for each object: `State` knows of a record before it can be durable; frames are copied and the
//! WAL is begun anew only under its lock, and only once everything applied is durable.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::StorageError;
use super::capture::Wal;
use super::commit_log::{Disk, DurableWatch, LaneLost, Lsn, PAGE};
use super::databases::StorageShared;
use super::incarnations::{FIRST, Incarnations};
use super::sums::{PageSums, sum};
use crate::base::failpoints::Failpoint;
#[cfg(test)]
use crate::base::seeded_bugs::{self, SeededBug};
use crate::base::{ClassKey, ObjectId};

/// How often the log's size is looked at, and how soon a round that failed is tried again.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What one object has written and no flushed file holds. Shared by the object's `Database` and the rounds.
pub(super) struct DirtyObject {
    files: Incarnations,
    durable: DurableWatch,
    state: Mutex<State>,
    /// Told when an export has copied the database file.
    copied: Condvar,
}

/// See [`DirtyObject`].
pub(super) struct State {
    /// Whose files count.
    pub incarnation: u32,
    /// Frames of its WAL that hold applied turns.
    pub frames: u32,
    /// The object's last record.
    pub last: Lsn,
    /// The oldest record that is in no database file.
    pub first: Option<Lsn>,
    /// Incarnations that were replaced: their files go once `last` is durable.
    pub stale: Vec<u32>,
    /// The database file is being copied, so it must stay as it is.
    pub copying: bool,
    /// The object's last record says that nothing is stored.
    pub deleted: bool,
    /// The sums of the file that counts, once somebody has used them.
    pub sums: Option<(u32, Arc<PageSums>)>,
}

impl DirtyObject {
    /// Of an object that was trimmed whole.
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

    /// Holds the state: nobody copies frames or begins the WAL anew meanwhile.
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// The database file may change again.
    pub fn end_copy(&self) {
        self.lock().copying = false;
        self.copied.notify_all();
    }

    /// Has the files hold every record up to the cut. Waits for the disk without the object's lock, so that the object's turns go on
    /// meanwhile: what they append comes later than all that is looked after here. Waits for an export that copies the files.
    fn catch_up(&self, cut: Lsn, disk: &dyn Disk) -> Result<(), CatchUpError> {
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
        disk.at(Failpoint::WalReset)?;
        // Otherwise the object has begun its WAL anew, so its file holds all of it.
        if seen.first.is_some() && state.first == seen.first {
            let is_there = state.incarnation == seen.incarnation || state.stale.contains(&seen.incarnation);
            if is_there && seen.frames > 0 {
                let database = self.files.file(seen.incarnation);
                match copy_back(&database, seen.frames, &seen.sums) {
                    // Not worth the log's room and so every other object's turns: the next one who opens it is told.
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
        let removed = state.remove_stale(&self.files, disk);
        state.stale.extend(of_later);
        Ok(removed?)
    }
}

/// What an object had not yet in its files when a round looked at it.
struct Seen {
    incarnation: u32,
    frames: u32,
    last: Lsn,
    first: Option<Lsn>,
    stale: Vec<u32>,
    sums: Arc<PageSums>,
}

/// Why the files of an object do not hold every record up to the cut.
enum CatchUpError {
    /// The object's lane was lost: its files are of no use to the log any more.
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

/// Copies the frames of a WAL into the database file, beside whoever uses it.
fn copy_back(database: &Path, frames: u32, sums: &PageSums) -> io::Result<()> {
    let file = File::options().write(true).open(database)?;
    Wal::open(database)?.read(0..frames, |page, _, image| {
        file.write_all_at(image, (u64::from(page) - 1) * PAGE as u64)?;
        sums.set(page, sum(page, image))
    })?;
    sums.write()
}

impl State {
    /// What the files have to catch up with; none if they hold everything up to the cut.
    fn seen(&mut self, cut: Lsn, files: &Incarnations) -> Option<Seen> {
        if self.stale.is_empty() && self.first.is_none_or(|first| first > cut) {
            return None;
        }
        let Self { incarnation, frames, last, first, .. } = *self;
        Some(Seen { incarnation, frames, last, first, stale: self.stale.clone(), sums: self.sums(files) })
    }

    /// The sums of the file that counts.
    pub fn sums(&mut self, files: &Incarnations) -> Arc<PageSums> {
        match &self.sums {
            Some((incarnation, sums)) if *incarnation == self.incarnation => sums.clone(),
            _ => {
                let sums = PageSums::of(&files.file(self.incarnation));
                self.sums = Some((self.incarnation, sums.clone()));
                sums
            }
        }
    }

    /// Removes the files of replaced incarnations. What replaced them is durable.
    pub fn remove_stale(&mut self, files: &Incarnations, disk: &dyn Disk) -> io::Result<()> {
        while let Some(incarnation) = self.stale.last() {
            disk.at(Failpoint::ObjectRemove)?;
            files.remove(*incarnation)?;
            self.stale.pop();
        }
        Ok(())
    }
}

/// All objects with something dirty, and whoever runs the rounds.
#[derive(Default)]
pub(super) struct Checkpoints {
    objects: Mutex<HashMap<ObjectId, Arc<DirtyObject>>>,
    /// Held by the round that runs.
    running: Mutex<()>,
    signal: Arc<Signal>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Signal {
    state: Mutex<Wanted>,
    wake: Condvar,
}

#[derive(Default)]
struct Wanted {
    round: bool,
    stop: bool,
}

impl Checkpoints {
    /// What an object that is opened again has dirty.
    pub fn of(&self, id: &ObjectId) -> Option<Arc<DirtyObject>> {
        self.objects.lock().get(id).cloned()
    }

    /// Rounds look after an object from now on: before its first record.
    pub fn watch(&self, id: ObjectId, dirty: &Arc<DirtyObject>) {
        self.objects.lock().insert(id, dirty.clone());
    }

    /// An object is put away; if its files hold everything, rounds need not look after it any more.
    pub fn put_away(&self, id: &ObjectId, dirty: &DirtyObject) {
        let mut objects = self.objects.lock();
        let state = dirty.lock();
        if state.frames == 0 && state.first.is_none() && state.stale.is_empty() {
            objects.remove(id);
        }
    }

    /// Everything of a class is gone: there is nothing to look after.
    pub fn forget_class(&self, class: &ClassKey) {
        self.objects.lock().retain(|_, dirty| !dirty.files.is_of(class));
    }

    /// Whether a round is under way.
    #[cfg(test)]
    pub fn is_running(&self) -> bool {
        self.running.is_locked()
    }

    /// Asks for a round: somebody waits for room in the log.
    pub fn want_checkpoint(&self) {
        self.signal.state.lock().round = true;
        self.signal.wake.notify_all();
    }

    /// Starts the thread that runs rounds when the log has grown to half of its capacity, or when somebody waits.
    pub fn start(&self, shared: Weak<StorageShared>) -> io::Result<()> {
        let signal = self.signal.clone();
        let thread = thread::Builder::new().name("log-checkpoint".into()).spawn(move || run(&signal, &shared))?;
        *self.thread.lock() = Some(thread);
        Ok(())
    }

    /// Ends that thread, after the round that it runs.
    pub fn stop(&self) {
        self.signal.state.lock().stop = true;
        self.signal.wake.notify_all();
        if let Some(thread) = self.thread.lock().take() {
            let _ = thread.join();
        }
    }
}

fn run(signal: &Signal, shared: &Weak<StorageShared>) {
    loop {
        let wanted = {
            let mut state = signal.state.lock();
            if !state.round && !state.stop {
                signal.wake.wait_for(&mut state, LOOK_EVERY);
            }
            if state.stop {
                return;
            }
            std::mem::take(&mut state.round)
        };
        let Some(shared) = shared.upgrade() else { return };
        let usage = shared.log.usage();
        if !wanted && usage.live < usage.capacity / 2 {
            continue;
        }
        if let Err(error) = shared.checkpoint() {
            tracing::error!(%error, "the commit log cannot be cut yet; it is tried again");
            let mut state = signal.state.lock();
            if !state.stop {
                signal.wake.wait_for(&mut state, LOOK_EVERY);
            }
        }
    }
}

impl StorageShared {
    /// One round; see the module. Blocks.
    pub fn checkpoint(&self) -> Result<(), StorageError> {
        let _alone = self.checkpoints.running.lock();
        let failed = |action| StorageError::io(action, &self.objects);
        let mut cut: Vec<Lsn> = self.lanes.iter().map(|lane| lane.durable().upto()).collect();
        for (class, id) in self.recovery.waiting() {
            let files = Incarnations::at(&self.objects, &class, &id);
            match self.recovery.recover(&id, &files, &*self.log, &*self.disk) {
                // It is told again whenever the object is used; what others wrote must not wait for it.
                Err(error @ StorageError::Damaged { .. }) => tracing::error!("{error}"),
                recovered => _ = recovered?,
            }
        }
        let objects: Vec<_> =
            self.checkpoints.objects.lock().iter().map(|(id, object)| (*id, object.clone())).collect();
        for (id, object) in objects {
            let lane = self.lane_of(&id).index();
            match object.catch_up(cut[lane], &*self.disk) {
                Ok(()) => {}
                // Nothing of it is trimmed here any more.
                Err(CatchUpError::LaneLost) => cut[lane] = Lsn(0),
                Err(CatchUpError::Io(error)) => return Err(failed("cannot trim objects below")(error)),
            }
        }
        self.catalog.write(&cut)?;
        self.disk.sync_file_system(Failpoint::CheckpointSync, &self.root).map_err(failed("cannot flush"))?;
        self.disk.at(Failpoint::CheckpointTrim).map_err(failed("cannot trim"))?;
        self.log.trim(&cut)?;
        Ok(())
    }
}
