//! Segments as files: live ones and spare ones; makes, begins, drops and reuses them.
//!
//! Owns the directory's files and the bytes that are allocated for future groups (each change is reported to [`Room`]).
//! Does not own what is written into them. Invariants: a file gets a segment's name only once its header is durable,
//! and the name is durable before a group is written to it; a file is reused only once the removal of its old name is
//! durable.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::format::{SEGMENT_HEADER, SegmentHeader};
use super::room::Room;
use super::scan::segment_path;
use super::{LogError, LogUsage, Lsn};
use crate::base::disk::is_lack_of_room;
use crate::base::{Disk, Failpoint};

/// Bytes of a segment that is begun before a large one is ready: allocated quickly, and enough until then.
const SMALL: u64 = 4 << 20;
/// The most bytes that one record and its headers may leave unused at the end of a segment; they are never reserved.
const MARGIN: u64 = 5 << 18;
/// The number of spare files that are kept when segments are dropped.
const SPARES: usize = 2;
const SPARE: &str = "spare";
/// Descriptors in reserve: for a segment that the writer needs at once, and for those that are made ahead of it.
const RESERVE: usize = 4;

/// The files of one log.
pub(super) struct Segments {
    dir: PathBuf,
    disk: Arc<dyn Disk>,
    size: u64,
    room: Arc<Room>,
    shelf: Mutex<Shelf>,
    orders: Mutex<Orders>,
    ordered: Condvar,
    /// The open directory: flushing it needs no descriptor.
    opened: File,
    /// Descriptors that are closed when the system has no more, so that a segment can always be made.
    reserve: Mutex<Vec<File>>,
}

/// The files that exist.
pub(super) struct Shelf {
    /// Live segments by number; the last one is being written.
    pub live: BTreeMap<u64, Live>,
    pub trimmed: Vec<Lsn>,
    pub usage: LogUsage,
    spares: VecDeque<Spare>,
    made: u64,
}

#[derive(Clone)]
pub(super) struct Live {
    pub file: Arc<File>,
    pub path: PathBuf,
    /// The end of what is written.
    pub end: u64,
    /// Bytes that are allocated.
    pub capacity: u64,
    /// The first position of each lane in it or after it.
    pub next: Vec<Lsn>,
}

/// A file that is not a segment yet.
pub(super) struct Spare {
    file: File,
    path: PathBuf,
    capacity: u64,
}

/// The orders for the thread that makes spare files.
#[derive(Default)]
struct Orders {
    /// Make a zeroed file.
    ahead: bool,
    /// Reservations wait for space.
    now: bool,
    stop: bool,
}

/// Returns the bytes of a segment that may be reserved.
fn usable(capacity: u64, end: u64) -> u64 {
    capacity.saturating_sub(end + MARGIN.min(capacity / 4))
}

impl Segments {
    pub fn new(dir: &Path, disk: Arc<dyn Disk>, size: u64, room: Arc<Room>, trimmed: Vec<Lsn>) -> io::Result<Self> {
        let shelf = Shelf {
            live: BTreeMap::new(),
            trimmed,
            usage: LogUsage { capacity: room.capacity(), ..LogUsage::default() },
            spares: VecDeque::new(),
            made: 0,
        };
        let (shelf, orders, ordered) = (Mutex::new(shelf), Mutex::default(), Condvar::new());
        let (opened, reserve) = (File::open(dir)?, Mutex::default());
        let segments = Self { dir: dir.into(), disk, size, room, shelf, orders, ordered, opened, reserve };
        segments.fill_reserve();
        Ok(segments)
    }

    /// Opens descriptors for the reserve, as many as the system grants.
    fn fill_reserve(&self) {
        let mut reserve = self.reserve.lock();
        while reserve.len() < RESERVE
            && let Ok(another) = self.opened.try_clone()
        {
            reserve.push(another);
        }
    }

    /// Makes a file; closes a descriptor of the reserve if there is no other.
    fn create(&self, path: &Path) -> io::Result<File> {
        match self.disk.create(Failpoint::SegmentCreate, path) {
            Err(error) if is_lack_of_room(&error) && self.reserve.lock().pop().is_some() => {
                self.disk.create(Failpoint::SegmentCreate, path)
            }
            created => created,
        }
    }

    pub fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock()
    }

    /// Adds a segment that existed when the log was opened.
    pub fn found(&self, number: u64, live: Live) {
        self.shelf().live.insert(number, live);
    }

    /// Prepares a file with the durable header of a segment. A failure does not affect the log.
    pub fn prepare(&self, header: &SegmentHeader) -> io::Result<Spare> {
        let spare = self.shelf().spares.pop_front();
        let spare = spare.map_or_else(|| self.make(SMALL.min(self.size), false), Ok)?;
        let begun = self.disk.write_all_at(Failpoint::SegmentHeader, &spare.file, &header.encode(), 0);
        match begun.and_then(|()| self.disk.sync_data(Failpoint::SegmentHeader, &spare.file)) {
            Ok(()) => Ok(spare),
            Err(error) => {
                let _ = self.disk.remove(Failpoint::SegmentDrop, &spare.path);
                Err(error)
            }
        }
    }

    /// Makes the prepared file a segment: gives it its name, durably.
    pub fn begin(&self, header: &SegmentHeader, spare: Spare) -> io::Result<Live> {
        let path = segment_path(&self.dir, header.number);
        self.disk.rename(Failpoint::SegmentHeader, &spare.path, &path)?;
        self.disk.sync_open_dir(Failpoint::SegmentHeader, &self.dir, &self.opened)?;
        let next = header.state.lanes.iter().map(|lane| lane.next).collect();
        let (file, end) = (Arc::new(spare.file), SEGMENT_HEADER as u64);
        let live = Live { file, path, end, capacity: spare.capacity, next };
        let mut shelf = self.shelf();
        shelf.live.insert(header.number, live.clone());
        shelf.usage.flushes += 1;
        self.report(&shelf, 0);
        Ok(live)
    }

    /// Notes that a group is durable in the last segment.
    pub fn written(&self, end: u64, covered: u64, update: impl FnOnce(&mut Shelf)) {
        let mut shelf = self.shelf();
        let last = shelf.live.last_entry().expect("a log has a segment").into_mut();
        last.end = end;
        // A quarter is left for the time that making the next one takes; an idle log makes none.
        let ahead = end > last.capacity / 4;
        update(&mut shelf);
        self.report(&shelf, covered);
        if ahead && shelf.spares.is_empty() {
            drop(shelf);
            self.order(|orders| orders.ahead = true);
        }
    }

    fn report(&self, shelf: &Shelf, covered: u64) {
        let live = shelf.live.values().map(|live| live.end).sum();
        let last = shelf.live.values().next_back().map_or(0, |last| usable(last.capacity, last.end));
        let spares: u64 = shelf.spares.iter().map(|spare| usable(spare.capacity, SEGMENT_HEADER as u64)).sum();
        self.room.written(covered, live, last + spares);
    }

    /// Drops trimmed segments from the front, and keeps some of the files as spare ones.
    pub fn drop_trimmed(&self) -> Result<(), LogError> {
        let mut spares = Vec::new();
        let mut moved = false;
        while let Some((number, live)) = self.oldest_trimmed() {
            let keep = live.capacity == self.size && self.shelf().spares.len() + spares.len() < SPARES;
            if keep {
                let path = self.dir.join(format!("{number:016x}.{SPARE}"));
                let rename = self.disk.rename(Failpoint::SegmentDrop, &live.path, &path);
                rename.map_err(LogError::io("cannot rename", &live.path))?;
                spares.push((path, live.capacity));
            } else {
                let remove = self.disk.remove(Failpoint::SegmentDrop, &live.path);
                remove.map_err(LogError::io("cannot remove", &live.path))?;
            }
            self.shelf().live.remove(&number);
            moved = true;
        }
        if moved {
            let flushed = self.disk.sync_open_dir(Failpoint::SegmentDrop, &self.dir, &self.opened);
            flushed.map_err(LogError::io("cannot flush", &self.dir))?;
            self.room.set_full(None);
        }
        for (path, capacity) in spares {
            match self.disk.open(Failpoint::SegmentCreate, &path) {
                Ok(file) => self.shelf().spares.push_back(Spare { file, path, capacity }),
                // Another one is made when it is needed.
                Err(error) if is_lack_of_room(&error) => _ = self.disk.remove(Failpoint::SegmentDrop, &path),
                Err(error) => return Err(LogError::io("cannot open", &path)(error)),
            }
        }
        self.report(&self.shelf(), 0);
        Ok(())
    }

    fn oldest_trimmed(&self) -> Option<(u64, Live)> {
        let shelf = self.shelf();
        let mut live = shelf.live.iter();
        let ((number, oldest), (_, second)) = (live.next()?, live.next()?);
        let trimmed = second.next.iter().zip(&shelf.trimmed).all(|(next, trimmed)| next.0 <= trimmed.0 + 1);
        trimmed.then(|| (*number, oldest.clone()))
    }

    /// Removes spare files: when the log is opened, because their contents are unknown, and when it is closed.
    pub fn remove_spares(&self) -> Result<(), LogError> {
        self.shelf().spares.clear();
        let entries = fs::read_dir(&self.dir).map_err(LogError::io("cannot list", &self.dir))?;
        for entry in entries {
            let path = entry.map_err(LogError::io("cannot list", &self.dir))?.path();
            if path.extension().is_some_and(|extension| extension == SPARE) {
                self.disk.remove(Failpoint::SegmentDrop, &path).map_err(LogError::io("cannot remove", &path))?;
            }
        }
        Ok(())
    }

    fn make(&self, bytes: u64, zeroed: bool) -> io::Result<Spare> {
        let number = {
            let mut shelf = self.shelf();
            shelf.made += 1;
            shelf.made
        };
        let path = self.dir.join(format!("new-{number}.{SPARE}"));
        let file = self.create(&path)?;
        let make = || {
            self.disk.allocate(Failpoint::SegmentCreate, &file, bytes)?;
            if zeroed {
                self.zero(&file, bytes)?;
            }
            self.disk.sync_data(Failpoint::SegmentCreate, &file)
        };
        match make() {
            Ok(()) => Ok(Spare { file, path, capacity: bytes }),
            Err(error) => {
                let _ = self.disk.remove(Failpoint::SegmentDrop, &path);
                Err(error)
            }
        }
    }

    /// Writes zeros. Blocks that were written once need no metadata when they are written again, which makes flushes
    /// cheaper. Not done if something waits for the file.
    fn zero(&self, file: &File, bytes: u64) -> io::Result<()> {
        let zeros = vec![0; (1 << 20).min(bytes) as usize];
        for at in (0..bytes).step_by(zeros.len()) {
            let orders = self.orders.lock();
            if orders.now || orders.stop {
                break;
            }
            drop(orders);
            let length = zeros.len().min((bytes - at) as usize);
            self.disk.write_all_at(Failpoint::SegmentCreate, file, &zeros[..length], at)?;
        }
        Ok(())
    }

    /// Orders space for reservations that wait.
    pub fn order_now(&self) {
        self.order(|orders| orders.now = true);
    }

    fn order(&self, change: impl FnOnce(&mut Orders)) {
        change(&mut self.orders.lock());
        self.ordered.notify_one();
    }

    pub fn stop(&self) {
        self.order(|orders| orders.stop = true);
    }

    /// Runs the thread that makes spare files, until it is stopped.
    pub fn supply_forever(&self) {
        let mut orders = self.orders.lock();
        while !orders.stop {
            if orders.now || orders.ahead {
                drop(orders);
                self.supply();
                orders = self.orders.lock();
            } else {
                self.ordered.wait(&mut orders);
            }
        }
    }

    /// Executes the pending orders.
    pub fn supply(&self) {
        self.fill_reserve();
        let (now, ahead) = {
            let mut orders = self.orders.lock();
            (std::mem::take(&mut orders.now), std::mem::take(&mut orders.ahead))
        };
        let mut missing = if now { self.room.wanted() } else { 0 };
        while missing > 0 {
            let made = self.supply_one(false);
            missing = missing.saturating_sub(made);
            if made == 0 {
                return;
            }
        }
        if ahead && self.shelf().spares.is_empty() {
            self.supply_one(true);
        }
    }

    /// Makes one file. Returns how many more bytes may be reserved.
    fn supply_one(&self, zeroed: bool) -> u64 {
        match self.make(self.size, zeroed) {
            Ok(spare) => {
                let made = usable(spare.capacity, SEGMENT_HEADER as u64);
                let mut shelf = self.shelf();
                shelf.spares.push_back(spare);
                self.report(&shelf, 0);
                drop(shelf);
                self.room.set_full(None);
                made
            }
            Err(error) => {
                let why = format!("cannot make a segment in {}: {error}", self.dir.display());
                self.room.set_full(Some(why));
                0
            }
        }
    }
}
