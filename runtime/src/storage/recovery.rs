//! Recovery of the objects whose database files may be older than the commit log: found at the start, recovered when
//! they are first opened.
//!
//! An earlier process wrote to the database files without flushing them, so their contents are unknown for the time
//! between the last trim and the end of that process; the log has every page written since. [`Recovery`] holds, for
//! each object, the places of those pages in the log. **The first open of an object writes the last image of each page
//! back**, which is idempotent. The rest of the object's WAL is emptied unread, here or where the file is opened. The
//! start touches no object. A missing file of which the log has only a part is damage to that object; it does not keep
//! other objects from being recovered.
//!
//! Invariants: an entry is removed only once its object is recovered; two threads never recover one object at once.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::path::Path;

use parking_lot::Mutex;

use super::StorageError;
use super::capture::cut_wal;
use super::commit_log::{At, LaneLog, LogError, Lsn, NoRecord, PAGE, Record};
use super::incarnations::{FIRST, Incarnations};
use super::replay::ReplayEvent;
use super::sums::{PageSums, sum};
use crate::base::{ClassKey, Failpoint, ObjectId};

/// The number of locks: objects of different shards can be recovered at the same time. The first byte of the id selects
/// the shard.
const SHARDS: usize = 64;

/// The places in the log of the pages of objects that are not recovered yet.
pub(super) struct Recovery(Box<[Mutex<HashMap<ObjectId, Live>>]>);

/// What the log has of one object since its last trim.
struct Live {
    class: ClassKey,
    incarnation: u32,
    /// What the file must hold before the records are written to it.
    base: Base,
    deleted: bool,
    page_count: u32,
    last: Lsn,
    records: Vec<At>,
}

#[derive(Clone, Copy, PartialEq)]
enum Base {
    /// Nothing: the records contain every page.
    Nothing,
    /// The file as it was flushed.
    File,
}

impl Recovery {
    pub fn new() -> Self {
        Self((0..SHARDS).map(|_| Mutex::default()).collect())
    }

    fn shard(&self, id: &ObjectId) -> &Mutex<HashMap<ObjectId, Live>> {
        &self.0[usize::from(id.as_bytes()[0]) % SHARDS]
    }

    /// Adds an event of the log's replay. Events come in the order of the log.
    pub fn note(&self, lsn: Lsn, event: ReplayEvent<'_>) -> Result<(), StorageError> {
        let (id, head, parts) = match event {
            ReplayEvent::ClassRemoved(class) => {
                self.forget_class(class);
                return Ok(());
            }
            ReplayEvent::Turn { id, head, parts } => (id, head, parts),
        };
        let mut shard = self.shard(&id).lock();
        let live = shard.entry(id).or_insert_with(|| Live {
            class: ClassKey::new(head.class),
            incarnation: head.incarnation,
            base: Base::File,
            deleted: false,
            page_count: 0,
            last: Lsn(0),
            records: Vec::new(),
        });
        let known = live.last != Lsn(0);
        let follows = head.previous == Lsn(0) || head.previous == live.last;
        let continues = live.incarnation == head.incarnation && !live.deleted;
        if known && !(follows && (continues || head.created || head.deleted)) {
            let why = format!("the commit log's record {lsn} of object {id} does not follow the one before it");
            return Err(StorageError::Log(LogError::Visitor(why.into())));
        }
        if head.created || head.deleted {
            let whole = parts.len() == head.part as usize + 1;
            live.base = if whole && !head.adopted { Base::Nothing } else { Base::File };
            live.records.clear();
        }
        (live.incarnation, live.deleted) = (head.incarnation, head.deleted);
        (live.page_count, live.last) = (head.page_count, lsn);
        live.records.extend(parts);
        Ok(())
    }

    /// Removes the entry of an object that was replaced or deleted before it was recovered.
    pub fn forget(&self, id: &ObjectId) {
        self.shard(id).lock().remove(id);
    }

    /// Removes the entries of a class whose objects were removed.
    pub fn forget_class(&self, class: &str) {
        for shard in &self.0 {
            shard.lock().retain(|_, live| live.class.as_str() != class);
        }
    }

    /// Returns the objects that are not recovered yet.
    pub fn waiting(&self) -> Vec<(ClassKey, ObjectId)> {
        let of = |shard: &Mutex<HashMap<ObjectId, Live>>| {
            shard.lock().iter().map(|(id, live)| (live.class.clone(), *id)).collect::<Vec<_>>()
        };
        self.0.iter().flat_map(of).collect()
    }

    /// Recovers an object if it is not recovered yet. Returns its incarnation if the log names one; the files of other
    /// incarnations are removed then. An object that was opened since [`Self::waiting`] returned it is left alone: its
    /// WAL is this process's own.
    pub fn recover(&self, id: &ObjectId, files: &Incarnations, log: &dyn LaneLog) -> Result<Option<u32>, StorageError> {
        let mut waiting = self.shard(id).lock();
        let Some(live) = waiting.get(id) else { return Ok(None) };
        let path = files.file(FIRST);
        let failed = |error| StorageError::io("cannot recover", &path)(error);
        files.disk.at(Failpoint::ObjectRecover).map_err(failed)?;
        let incarnation = if live.deleted {
            files.remove_all(Failpoint::ObjectRecover).map_err(failed)?;
            None
        } else {
            live.write_back(files, log)?;
            Some(live.incarnation)
        };
        waiting.remove(id);
        Ok(incarnation)
    }
}

impl Live {
    /// Writes the last image of each page into the file, and removes the files of other incarnations.
    fn write_back(&self, files: &Incarnations, log: &dyn LaneLog) -> Result<(), StorageError> {
        let disk = &*files.disk;
        let path = files.file(self.incarnation);
        let failed = |error| StorageError::io("cannot recover", &path)(error);
        // It may hold what was never durable.
        cut_wal(disk, &path, 0).map_err(failed)?;
        let file = match self.open(files, &path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.base == Base::File => {
                let why = "it is missing, and the commit log has only a part of it".into();
                return Err(StorageError::Damaged { path, why });
            }
            opened => opened.map_err(failed)?,
        };
        let sums = match self.base {
            Base::Nothing => PageSums::fresh(files.disk.clone(), &path),
            Base::File => files.sums(self.incarnation),
        };
        let mut written = HashSet::new();
        // Backwards, so that each page is written once.
        for at in self.records.iter().rev() {
            let payload = match log.fetch(*at) {
                Err(LogError::Gone) => {
                    let why = "it was missing when the commit log still had a part of it".into();
                    return Err(StorageError::Damaged { path, why });
                }
                fetched => fetched?,
            };
            let damaged = |damage: NoRecord| StorageError::Damaged { path: path.clone(), why: damage.to_string() };
            let Record::Turn(turn) = Record::parse(&payload).map_err(damaged)? else {
                let why = "the commit log has another record in the place of one of its own".into();
                return Err(StorageError::Damaged { path, why });
            };
            let (mut pages, mut images) = (turn.pages, Vec::with_capacity(turn.pages.len()));
            let mut image = [0; PAGE];
            while let Some(page) = pages.next(&mut image) {
                images.push((page.map_err(|damage| damaged(damage.into()))?, image));
            }
            for (page, image) in images.iter().rev() {
                if written.insert(*page) {
                    let at = (u64::from(*page) - 1) * PAGE as u64;
                    disk.write_all_at(Failpoint::ObjectRecoverPage, &file, image, at).map_err(failed)?;
                    sums.set(*page, sum(*page, image)).map_err(failed)?;
                }
            }
        }
        let length = u64::from(self.page_count) * PAGE as u64;
        disk.set_len(Failpoint::ObjectRecover, &file, length).map_err(failed)?;
        sums.truncate(self.page_count);
        sums.write().map_err(failed)?;
        let others = files.candidates().map_err(failed)?;
        for other in others.into_iter().filter(|other| *other != self.incarnation) {
            files.remove(Failpoint::ObjectRecover, other).map_err(failed)?;
        }
        Ok(())
    }

    fn open(&self, files: &Incarnations, path: &Path) -> io::Result<File> {
        let open = || match self.base {
            Base::File => files.disk.open(Failpoint::ObjectRecover, path),
            Base::Nothing => {
                if self.incarnation != FIRST {
                    files.mark()?;
                }
                files.disk.create_empty(Failpoint::ObjectRecover, path)
            }
        };
        match open() {
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.base == Base::Nothing => {
                files.disk.make_dir(Failpoint::ObjectRecover, path.parent().expect("a database is in a directory"))?;
                open()
            }
            opened => opened,
        }
    }
}
