//! The list of objects: one catalog per lane, derived from the commit log.
//!
//! The log is the source; a catalog is a copy of its names, sizes and alarms, in `catalog/<lane>.sqlite`, that can be
//! queried for objects. Changes are noted when their records are appended, and one thread for all lanes writes them in
//! bulk about once a second; readers see notes before the file's rows. Invariants:
//! * a reader sees exactly what is durable: a change is visible from the moment its LSN is durable, and not before;
//! * each file contains the LSN up to which it lists everything, written in the same transaction. So the file and the
//!   log's records after that LSN are the complete list, whenever the process ended;
//! * a file that is missing, damaged, of another version, older than what the log still holds or newer than its end is
//!   *lost*, and rebuilt from the databases and the log. One fact is in the catalog alone: that an object exists whose
//!   file is gone.
//!
//! ```text
//! open → rebuild the lanes lost → replay the log → follow → note, list, write … → close
//! ```

use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::alarm_index::Place;
use super::commit_log::{DurableWatch, Lane, Lsn};
use super::{DataDir, StorageError};
use crate::base::{Alarm, ClassKey, Failpoint, ObjectId, ObjectName};

mod file;
mod lane;
mod notes;
mod pages;
mod position;
mod rebuild;

#[cfg(any(test, fuzzing))]
pub(super) use position::Position;

pub(super) use file::read_copy;
use lane::LaneCatalog;
pub use notes::Change;

/// How long changes are collected before they are written. A crash costs the replay of as much.
const WRITE_EVERY: Duration = Duration::from_secs(1);

/// An entry of the list: one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogEntry {
    /// Its id.
    pub id: ObjectId,
    /// The name that requests used for it.
    pub name: Option<ObjectName>,
    /// Pages in use × 4,096.
    pub bytes: u64,
    /// Its alarm, if one is set.
    pub alarm: Option<Alarm>,
}

/// A page of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogPage {
    /// In the order of their names; those without a name last, in the order of their ids.
    pub entries: Vec<CatalogEntry>,
    /// The cursor that continues the list; none at its end.
    pub cursor: Option<String>,
}

/// The open catalog.
pub struct Catalog {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
}

struct Shared {
    lanes: Vec<LaneCatalog>,
    /// Changes may wait to be written.
    waiting: AtomicBool,
    stopping: Mutex<bool>,
    wake: Condvar,
}

impl Catalog {
    /// Opens the catalog of each lane, given the position up to which the log has trimmed it. Returns, for each lane,
    /// the LSN after which replay begins, and the lanes that are lost, which are empty until [`Catalog::rebuild`].
    #[cfg(test)]
    pub fn open(dir: &DataDir, trimmed: &[Lsn]) -> Result<(Self, Vec<Lsn>, Vec<Lane>), StorageError> {
        let lanes: Vec<_> = trimmed.iter().map(|trimmed| *trimmed..=Lsn(u64::MAX)).collect();
        Self::open_on(dir, &lanes)
    }

    /// Opens the catalog as [`Catalog::open`] does, given also the last position of each lane. A file that is ahead of
    /// it belongs to another log, and is lost.
    pub fn open_on(dir: &DataDir, lanes: &[RangeInclusive<Lsn>]) -> Result<(Self, Vec<Lsn>, Vec<Lane>), StorageError> {
        let files = dir.catalog();
        let disk = dir.disk();
        let made = disk.make_dir_durably(Failpoint::CatalogRebuild, &files);
        made.map_err(StorageError::io("cannot make the directory", &files))?;
        let open = |(n, lane): (usize, &RangeInclusive<Lsn>)| {
            LaneCatalog::open(disk.clone(), files.join(format!("{n:02}.sqlite")), lane.clone())
        };
        let lanes = lanes.iter().enumerate().map(open).collect::<Result<Vec<_>, _>>()?;
        let (applied, lost): (Vec<_>, Vec<_>) = lanes.iter().map(LaneCatalog::begin).unzip();
        let lost = (0..).zip(lost).filter(|(_, lost)| *lost).map(|(n, _)| Lane::new(n)).collect();
        let shared = Arc::new(Shared {
            lanes,
            waiting: AtomicBool::new(false),
            stopping: Mutex::default(),
            wake: Condvar::new(),
        });
        let writer = {
            let shared = shared.clone();
            thread::Builder::new().name("catalog".into()).spawn(move || shared.work())
        };
        let writer = writer.map_err(StorageError::io("cannot start the thread of", &files))?;
        Ok((Self { shared, writer: Some(writer) }, applied, lost))
    }

    /// Rebuilds lost lanes from the databases below `objects`, which are recovered and not open. Reads every object.
    /// The log's replay comes after it. Returns the number of objects that were found.
    pub fn rebuild(&self, lanes: &[Lane], objects: &Path) -> Result<u64, StorageError> {
        let count = self.shared.lanes.len() as u16;
        let mut found = 0;
        if !lanes.is_empty() {
            rebuild::find(
                objects,
                |id| lanes.contains(&Lane::of(id.as_bytes(), count)),
                |id, object| {
                    found += 1;
                    self.lane(Lane::of(id.as_bytes(), count)).found(object)
                },
            )?;
        }
        lanes.iter().try_for_each(|lane| self.lane(*lane).restore())?;
        if found > 0 {
            tracing::info!("the list of objects was made again from the databases of {found} objects");
        }
        Ok(found)
    }

    /// Adds the change of a record while the log is replayed: once for each record, in the order of their LSNs. Ignores
    /// changes that the lane's file has.
    pub fn replay(&self, lane: Lane, lsn: Lsn, change: Change) {
        self.lane(lane).replay(lsn, change);
    }

    /// Ends the replay, and sets the watches on how far each lane is durable.
    pub fn follow(&self, durable: Vec<DurableWatch>) -> Result<(), StorageError> {
        assert_eq!(durable.len(), self.shared.lanes.len(), "each lane has its own");
        self.shared.lanes.iter().zip(durable).try_for_each(|(lane, durable)| lane.follow(durable))
    }

    /// Adds the change of a record that was appended just now; it is visible once the record is durable. Called before
    /// it can be durable, in the order of the LSNs; takes well under a microsecond.
    pub fn note(&self, lane: Lane, lsn: Lsn, change: Change) {
        self.lane(lane).note(lsn, change);
        self.shared.announce();
    }

    /// Writes durable changes to the files; the applied LSN of each lane is at least `upto` when it returns. Waits
    /// until `upto` is durable. Does not flush the files; flushing the file system does.
    pub fn write(&self, upto: &[Lsn]) -> Result<(), StorageError> {
        self.shared.write(upto.iter().copied())
    }

    /// Whether a class has objects.
    pub fn has_objects(&self, class: &ClassKey) -> Result<bool, StorageError> {
        for lane in &self.shared.lanes {
            let mut lane = lane.current();
            lane.check()?;
            if lane.has_objects(class).map_err(|error| lane.failed(error))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether the object is listed. False for all objects of a lane that was lost while the process runs.
    pub(super) fn lists(&self, class: &ClassKey, id: &ObjectId) -> Result<bool, StorageError> {
        let mut lane = self.lane(Lane::of(id.as_bytes(), self.shared.lanes.len() as u16)).current();
        if lane.check().is_err() {
            return Ok(false);
        }
        lane.lists(class, id).map_err(|error| lane.failed(error))
    }

    /// Lists the objects of a class whose names begin with `prefix` (objects without a name only if there is no
    /// prefix), at most `limit`, continuing at `cursor`.
    pub fn list(
        &self,
        class: &ClassKey,
        prefix: Option<&str>,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<CatalogPage, StorageError> {
        let range = position::Range::new(prefix, cursor)?;
        // All at once, in the order of their numbers: each is read bit by bit.
        let mut lanes: Vec<_> = self.shared.lanes.iter().map(LaneCatalog::current).collect();
        for lane in &mut lanes {
            lane.check()?;
            lane.complete(class).map_err(|error| lane.failed(error))?;
        }
        let page = pages::page(&lanes.iter().map(|lane| &**lane).collect::<Vec<_>>(), class, &range, limit);
        page.map_err(|(n, error)| lanes[n].failed(error))
    }

    /// Returns the alarms that the files list from one place up to another (exclusive), of one class or of all but
    /// some, at most `limit` (two or more) of each lane, and the place up to which the result is complete. A lane that
    /// is lost lists none until the next start, so that the alarms of other lanes are run.
    pub(super) fn alarms(
        &self,
        from: Place,
        until: Place,
        limit: usize,
        class: Option<&ClassKey>,
        without: &[ClassKey],
    ) -> Result<(Vec<(ClassKey, Place)>, Place), StorageError> {
        let (mut found, mut end) = (Vec::new(), until);
        for lane in &self.shared.lanes {
            let mut lane = lane.current();
            let checked = lane.check();
            let listed = checked
                .and_then(|()| lane.file.alarms(from, end, limit, class, without).map_err(|error| lane.failed(error)));
            let listed = match listed {
                Err(error @ StorageError::ListLost { .. }) => {
                    tracing::error!(
                        "alarms of a part of all objects do not come until the host is started again: {error}"
                    );
                    continue;
                }
                listed => listed?,
            };
            if let Some((_, last)) = listed.get(limit - 1) {
                end = *last;
            }
            found.extend(listed);
        }
        found.retain(|(_, place)| *place < end);
        Ok((found, end))
    }

    /// Writes everything that is durable. No change may be noted afterwards.
    pub fn close(mut self) -> Result<(), StorageError> {
        self.stop();
        self.shared.write(self.shared.nothing_asked())
    }

    fn lane(&self, lane: Lane) -> &LaneCatalog {
        &self.shared.lanes[lane.index()]
    }

    fn stop(&mut self) {
        *self.shared.stopping.lock() = true;
        self.shared.wake.notify_all();
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

/// Dropping a catalog without closing it has the effect of a crash: changes that were not written are replayed.
impl Drop for Catalog {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn work(&self) {
        loop {
            {
                let mut stopping = self.stopping.lock();
                while !*stopping && !self.waiting.load(Ordering::Relaxed) {
                    self.wake.wait(&mut stopping);
                }
                if !*stopping {
                    self.wake.wait_for(&mut stopping, WRITE_EVERY);
                }
                if *stopping {
                    return;
                }
            }
            // Before anything is read, so that changes that are noted meanwhile are announced again.
            self.waiting.store(false, Ordering::SeqCst);
            if let Err(error) = self.write(self.nothing_asked()) {
                tracing::error!("failed to write the object catalog; retrying in 1 s: {error}");
            }
            if self.lanes.iter().any(LaneCatalog::is_waiting) {
                self.waiting.store(true, Ordering::SeqCst);
            }
        }
    }

    fn announce(&self) {
        if !self.waiting.load(Ordering::Relaxed) && !self.waiting.swap(true, Ordering::SeqCst) {
            // Under the lock, so that the thread does not miss it between looking and waiting.
            let _stopping = self.stopping.lock();
            self.wake.notify_one();
        }
    }

    /// Writes every lane, even if writing others fails.
    fn write(&self, upto: impl Iterator<Item = Lsn>) -> Result<(), StorageError> {
        let written = self.lanes.iter().zip(upto).map(|(lane, upto)| lane.write(upto));
        written.fold(Ok(()), Result::and)
    }

    fn nothing_asked(&self) -> impl Iterator<Item = Lsn> + use<> {
        std::iter::repeat_n(Lsn::default(), self.lanes.len())
    }
}
