//! The log in a directory: opened by scan, decide, cut; written by one thread; dropped segment by segment.
//!
//! Owns the threads and the order of an opening. Invariants: nothing is written before everything was read and judged;
//! what an earlier process left unflushed is flushed before it is published; this process writes only to segments of
//! its own.

use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use futures_util::future::BoxFuture;
use parking_lot::Mutex;

use super::format::{FRAME, check_frame};
use super::lane::{LaneLost, LaneWriter, Lanes};
use super::position::{LANES_MAX, Lane, Lsn};
use super::record::{Encoded, Open};
use super::room::{NoRoom, Reservation, Room};
use super::scan::{End, Scan, Seen, damaged, located, scan};
use super::segments::{Live, Segments};
use super::writer::{Writer, begin};
use super::{At, Entry, LaneLog, LogError, LogOptions, LogUsage};
use crate::base::{Disk, Failpoint};

/// The log in a directory.
pub struct FileLog {
    dir: PathBuf,
    options: LogOptions,
    disk: Arc<dyn Disk>,
    lanes: Arc<Lanes>,
    segments: Arc<Segments>,
    writer: Arc<Mutex<Writer>>,
    /// The range of each lane that replay visits: after the first position, up to the second one.
    found: Vec<(Lsn, Lsn)>,
    /// Held by the running trim: one at a time.
    trimming: Mutex<()>,
    stopping: Arc<AtomicBool>,
    /// Tells the writer not to wait for room any more.
    closing: Arc<AtomicBool>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl FileLog {
    /// Opens the log in `dir` (scan, decide, cut); makes both if they do not exist. Blocks. The directory must be
    /// locked.
    pub fn open(dir: &Path, mut options: LogOptions, disk: Arc<dyn Disk>) -> Result<Self, LogError> {
        assert!((1..=LANES_MAX).contains(&options.lanes), "a log has 1 to 64 lanes");
        options.segment_bytes = options.segment_bytes.min(options.capacity / 4);
        let scan = scan(dir, options.lanes, &mut |_| Ok(()))?;
        make_dir(dir, &*disk).map_err(LogError::io("cannot make the directory", dir))?;
        let last: Vec<Lsn> = scan.state.lanes.iter().map(|lane| Lsn(lane.next.0 - 1)).collect();
        let trimmed: Vec<Lsn> = scan.state.lanes.iter().map(|lane| lane.trimmed).collect();
        let room = Room::new(options.capacity, options.in_flight);
        let lanes = Lanes::new(&last, room.clone());
        let found = trimmed.iter().copied().zip(last).collect();
        let segments = Segments::new(dir, disk.clone(), options.segment_bytes, room, trimmed)
            .map_err(LogError::io("cannot open", dir))?;
        let (log, number) = match scan.segments.last() {
            Some(last) => (last.header.log, last.header.number + 1),
            None => (options.env.random(), 1),
        };
        cut_end(dir, &scan, &*disk)?;
        segments.remove_spares()?;
        keep(&scan, &segments, &*disk)?;
        let active = begin(&segments, &options.env, log, number, &scan.state)
            .map_err(LogError::io("cannot begin a segment in", dir))?;
        let (segments, closing) = (Arc::new(segments), Arc::<AtomicBool>::default());
        let writer = Writer {
            disk: disk.clone(),
            env: options.env.clone(),
            lanes: lanes.clone(),
            segments: segments.clone(),
            log,
            state: scan.state,
            active,
            empty: Vec::new(),
            ended: false,
            manual: options.manual,
            closing: closing.clone(),
        };
        let log = Self {
            dir: dir.into(),
            options,
            disk,
            lanes,
            segments,
            writer: Arc::new(Mutex::new(writer)),
            found,
            trimming: Mutex::new(()),
            stopping: Arc::default(),
            closing,
            threads: Mutex::default(),
        };
        if !log.options.manual {
            log.start().map_err(LogError::io("cannot start the writer of", dir))?;
        }
        Ok(log)
    }

    /// Writes and flushes what is queued, if anything is. For logs without threads.
    pub fn step(&self) -> bool {
        let wrote = self.writer.lock().step();
        if self.options.manual {
            self.segments.supply();
        }
        wrote
    }

    fn start(&self) -> io::Result<()> {
        let (lanes, writer, stopping) = (self.lanes.clone(), self.writer.clone(), self.stopping.clone());
        let write = move || {
            while !stopping.load(Ordering::Acquire) {
                if lanes.is_idle() || !writer.lock().step() {
                    thread::park();
                }
            }
        };
        let writer = thread::Builder::new().name("log-writer".into()).spawn(write)?;
        self.lanes.wakes(writer.thread().clone());
        let segments = self.segments.clone();
        let supply = thread::Builder::new().name("log-supply".into()).spawn(move || segments.supply_forever());
        self.threads.lock().push(writer);
        self.threads.lock().push(supply?);
        Ok(())
    }

    fn stop(&self) {
        self.closing.store(true, Ordering::Release);
        self.stopping.store(true, Ordering::Release);
        self.lanes.wake();
        self.segments.stop();
        for thread in self.threads.lock().drain(..) {
            let _ = thread.join();
        }
    }

    /// Marks a lane as lost. For tests: a log in a directory loses none.
    #[cfg(test)]
    pub(super) fn lose(&self, lane: Lane) {
        self.lanes.lose(lane);
    }

    /// Waits until a position is durable, or writes it (without threads).
    fn settle(&self, lane: Lane, lsn: Lsn) -> Result<(), LaneLost> {
        let durable = self.lanes.durable(lane);
        while self.options.manual && !durable.covers(lsn) {
            assert!(self.step(), "what was submitted is written unless the log is lost or closed");
        }
        durable.wait(lsn)
    }
}

impl Drop for FileLog {
    /// Has the effect of a crash: what is not durable is not made durable.
    fn drop(&mut self) {
        self.stop();
    }
}

fn make_dir(dir: &Path, disk: &dyn Disk) -> io::Result<()> {
    disk.make_dir(Failpoint::SegmentCreate, dir)?;
    // Also if it was there: a process that was killed may have made it and not flushed that.
    dir.parent().map_or(Ok(()), |parent| disk.sync_dir(Failpoint::SegmentCreate, parent))
}

/// Cuts off an unfinished group, and flushes what an earlier process may not have flushed: a killed process leaves
/// groups, and names of segments, in the system's memory only. Without its name the segment would be missing once the
/// next one's name is durable.
fn cut_end(dir: &Path, scan: &Scan, disk: &dyn Disk) -> Result<(), LogError> {
    let Some(last) = scan.segments.last() else { return Ok(()) };
    let cut = || {
        if scan.end == End::Torn {
            tracing::warn!(
                "the commit log ended in an unfinished group: {} is cut at {}",
                last.path.display(),
                last.end
            );
            disk.at(Failpoint::LogCut)?;
        }
        let file = disk.open(Failpoint::LogOpen, &last.path)?;
        if last.length > last.end {
            disk.set_len(Failpoint::LogOpen, &file, last.end)?;
        }
        disk.sync_all(Failpoint::LogOpen, &file)?;
        disk.sync_dir(Failpoint::LogOpen, dir)
    };
    cut().map_err(LogError::io("cannot recover the end of", &last.path))
}

/// Adds the segments that were found to the shelf, and removes those that are not needed.
fn keep(scan: &Scan, segments: &Segments, disk: &dyn Disk) -> Result<(), LogError> {
    for path in &scan.leftovers {
        disk.remove(Failpoint::SegmentDrop, path).map_err(LogError::io("cannot remove", path))?;
    }
    for (index, segment) in scan.segments.iter().enumerate() {
        let file = fs::File::open(&segment.path).map_err(LogError::io("cannot open", &segment.path))?;
        let next = segment.header.state.lanes.iter().map(|lane| lane.next).collect();
        let (path, end) = (segment.path.clone(), segment.end);
        // The last one was cut to what it holds.
        let capacity = if index + 1 == scan.segments.len() { end } else { segment.length };
        segments.found(segment.header.number, Live { file: file.into(), path, end, capacity, next });
    }
    Ok(())
}

impl LaneLog for FileLog {
    fn lanes(&self) -> u16 {
        self.lanes.count()
    }

    fn replay(&self, visit: &mut dyn FnMut(Entry<'_>) -> Result<(), LogError>) -> Result<(), LogError> {
        let mut show = |seen: Seen<'_>| match seen {
            Seen::Record { entry, .. } => match self.found[entry.lane.index()] {
                (trimmed, last) if trimmed < entry.lsn && entry.lsn <= last => visit(entry),
                _ => Ok(()),
            },
            _ => Ok(()),
        };
        scan(&self.dir, self.lanes.count(), &mut show).map(drop)
    }

    fn open(&self, lane: Lane, node: [u8; 16]) -> Result<LaneWriter, LogError> {
        let open = Encoded::open(&Open { node, wall_ms: self.options.env.wall_ms() });
        self.disk.at(Failpoint::LogOpen).map_err(LogError::io("cannot open a lane of", &self.dir))?;
        self.lanes.open(lane, &open).ok_or(LogError::Lane(lane))
    }

    fn fetch(&self, at: At) -> Result<Vec<u8>, LogError> {
        let (number, offset) = located(at);
        let live = self.segments.shelf().live.get(&number).cloned().ok_or(LogError::Gone)?;
        let refuse = |why| damaged(&live.path, offset as usize, why);
        let read = |bytes: &mut [u8], offset| {
            live.file.read_exact_at(bytes, offset).map_err(LogError::io("cannot read", &live.path))
        };
        let mut frame = [0; FRAME];
        read(&mut frame, offset)?;
        let [length, checksum] = [0, 4].map(|at| u32::from_le_bytes([0, 1, 2, 3].map(|byte| frame[at + byte])));
        if u64::from(length) > live.end.saturating_sub(offset) {
            return Err(refuse("a record goes beyond its segment"));
        }
        let mut payload = vec![0; length as usize];
        read(&mut payload, offset + FRAME as u64)?;
        check_frame(&payload, checksum).map_err(|damage| refuse(damage.0))?;
        Ok(payload)
    }

    fn trimmed(&self, lane: Lane) -> Lsn {
        self.segments.shelf().trimmed[lane.index()]
    }

    fn last(&self, lane: Lane) -> Lsn {
        self.lanes.appended(lane)
    }

    fn try_reserve(&self, bytes: u64) -> Result<Reservation, NoRoom> {
        let room = &self.lanes.room;
        room.try_reserve(bytes).or_else(|short| {
            if !short.allocate {
                return Err(short.answer);
            }
            self.segments.order_now();
            if !self.options.manual {
                return Err(short.answer);
            }
            self.segments.supply();
            room.try_reserve(bytes).map_err(|short| short.answer)
        })
    }

    fn room(&self) -> BoxFuture<'static, ()> {
        self.lanes.room.changed()
    }

    fn trim(&self, upto: &[Lsn]) -> Result<(), LogError> {
        let _one = self.trimming.lock();
        for (lane, lsn) in self.lanes.submit_trims(upto, |lane| self.trimmed(lane))? {
            self.settle(lane, lsn)?;
        }
        self.segments.drop_trimmed()
    }

    fn usage(&self) -> LogUsage {
        let (live, in_flight) = self.lanes.room.usage();
        let shelf = self.segments.shelf();
        LogUsage { live, in_flight, segments: shelf.live.len() as u64, ..shelf.usage }
    }

    fn close(&self) {
        self.closing.store(true, Ordering::Release);
        self.lanes.wake();
        self.writer.lock().close();
        self.stop();
        if let Err(error) = self.segments.remove_spares() {
            tracing::warn!("{error}; the next start removes it");
        }
    }
}
