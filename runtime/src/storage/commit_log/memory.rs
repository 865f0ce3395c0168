//! A log in memory: the same interface without a disk, for tests and simulations.
//!
//! Deterministic: [`MemoryLog::step`] makes durable what is queued, and [`MemoryLog::crash`] returns the log that the
//! next process finds: durable records, and nothing that was only appended. It shares queues and positions with the
//! file log, and none of its format, so that the conformance suite tests the interface.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::BoxFuture;
use parking_lot::Mutex;

use super::format::{FRAME, padded};
use super::lane::{Gathered, LaneWriter, Lanes};
use super::position::{Lane, Lsn};
use super::record::{Encoded, Open, Record};
use super::room::{NoRoom, Reservation, Room};
use super::{At, Entry, LaneLog, LogError, LogOptions, LogUsage};

/// A log in memory. Ignores `options.segment_bytes`; always driven by [`MemoryLog::step`].
pub struct MemoryLog {
    options: LogOptions,
    lanes: Arc<Lanes>,
    kept: Mutex<Kept>,
    /// The number of entries at the opening.
    opened_with: usize,
    failed: AtomicBool,
}

#[derive(Clone, Default)]
struct Kept {
    /// All records ever made durable, in order; trimmed ones are emptied.
    records: Vec<Durable>,
    last: Vec<Lsn>,
    /// The time of each lane's last batch.
    wall_ms: Vec<u64>,
    trimmed: Vec<Lsn>,
    usage: LogUsage,
}

#[derive(Clone)]
struct Durable {
    lane: Lane,
    lsn: Lsn,
    wall_ms: u64,
    payload: Vec<u8>,
}

impl MemoryLog {
    /// Creates an empty log.
    pub fn new(options: LogOptions) -> Self {
        let lanes = usize::from(options.lanes);
        let kept = Kept {
            last: vec![Lsn(0); lanes],
            wall_ms: vec![0; lanes],
            trimmed: vec![Lsn(0); lanes],
            ..Kept::default()
        };
        Self::over(options, kept)
    }

    fn over(options: LogOptions, kept: Kept) -> Self {
        let room = Room::new(options.capacity, options.in_flight);
        room.written(0, kept.usage.live, u64::MAX);
        let lanes = Lanes::new(&kept.last, room);
        let opened_with = kept.records.len();
        Self { options, lanes, kept: Mutex::new(kept), opened_with, failed: AtomicBool::new(false) }
    }

    /// Returns the log that the next process finds after a crash: everything durable and nothing else.
    pub fn crash(&self) -> Self {
        Self::over(self.options.clone(), self.kept.lock().clone())
    }

    /// Makes every later flush hang: nothing becomes durable any more.
    pub fn fail(&self) {
        self.failed.store(true, Ordering::Relaxed);
    }

    /// Marks a lane as lost, as if another process had taken it.
    #[cfg(test)]
    pub fn lose(&self, lane: Lane) {
        self.lanes.lose(lane);
    }

    /// Makes durable what is queued. Returns whether anything was.
    pub fn step(&self) -> bool {
        if self.failed.load(Ordering::Relaxed) || self.lanes.is_idle() {
            return false;
        }
        let mut kept = self.kept.lock();
        let now = self.options.env.wall_ms();
        let (mut covered, mut moved) = (0, Vec::new());
        self.lanes.gather(Vec::new, |lane, gathered| {
            covered += gathered.covered;
            moved.push((lane, kept.keep(lane, &gathered, now)));
        });
        kept.usage.groups += 1;
        kept.usage.flushes += 1;
        self.lanes.room.written(covered, kept.usage.live, u64::MAX);
        drop(kept);
        for (lane, upto) in moved {
            self.lanes.publish(lane, upto);
        }
        true
    }
}

impl Kept {
    fn keep(&mut self, lane: Lane, gathered: &Gathered, now: u64) -> Lsn {
        let wall_ms = now.max(self.wall_ms[lane.index()]);
        self.wall_ms[lane.index()] = wall_ms;
        let (mut frames, mut lsn) = (&gathered.frames[..], gathered.first);
        while let Some((length, _)) = frames.split_first_chunk() {
            let length = u32::from_le_bytes(*length) as usize;
            self.records.push(Durable { lane, lsn, wall_ms, payload: frames[FRAME..FRAME + length].to_vec() });
            frames = &frames[padded(FRAME + length)..];
            lsn.0 += 1;
        }
        self.usage.live += gathered.frames.len() as u64;
        self.usage.bytes += gathered.frames.len() as u64;
        self.usage.records += u64::from(gathered.records);
        if let Some(upto) = gathered.trim {
            self.trimmed[lane.index()] = upto;
        }
        self.last[lane.index()] = Lsn(lsn.0 - 1);
        self.last[lane.index()]
    }
}

impl LaneLog for MemoryLog {
    fn lanes(&self) -> u16 {
        self.lanes.count()
    }

    fn replay(&self, visit: &mut dyn FnMut(Entry<'_>) -> Result<(), LogError>) -> Result<(), LogError> {
        let kept = self.kept.lock().clone();
        for (at, found) in kept.records[..self.opened_with].iter().enumerate() {
            if found.lsn > kept.trimmed[found.lane.index()] {
                let record = Record::parse(&found.payload).expect("the log was given complete records");
                let (lane, lsn, wall_ms) = (found.lane, found.lsn, found.wall_ms);
                visit(Entry { lane, lsn, wall_ms, at: At(at as u64), record })?;
            }
        }
        Ok(())
    }

    fn open(&self, lane: Lane, node: [u8; 16]) -> Result<LaneWriter, LogError> {
        let open = Encoded::open(&Open { node, wall_ms: self.options.env.wall_ms() });
        self.lanes.open(lane, &open).ok_or(LogError::Lane(lane))
    }

    fn fetch(&self, at: At) -> Result<Vec<u8>, LogError> {
        match self.kept.lock().records.get(at.0 as usize) {
            Some(found) if !found.payload.is_empty() => Ok(found.payload.clone()),
            _ => Err(LogError::Gone),
        }
    }

    fn trimmed(&self, lane: Lane) -> Lsn {
        self.kept.lock().trimmed[lane.index()]
    }

    fn last(&self, lane: Lane) -> Lsn {
        self.lanes.appended(lane)
    }

    fn try_reserve(&self, bytes: u64) -> Result<Reservation, NoRoom> {
        self.lanes.room.try_reserve(bytes).map_err(|short| short.answer)
    }

    fn room(&self) -> BoxFuture<'static, ()> {
        self.lanes.room.changed()
    }

    fn trim(&self, upto: &[Lsn]) -> Result<(), LogError> {
        self.lanes.submit_trims(upto, |lane| self.trimmed(lane))?;
        while self.step() {}
        let mut kept = self.kept.lock();
        let Kept { records, trimmed, usage, .. } = &mut *kept;
        let gone = records.iter_mut().filter(|found| found.lsn <= trimmed[found.lane.index()]);
        for found in gone.filter(|found| !found.payload.is_empty()) {
            usage.live -= padded(FRAME + found.payload.len()) as u64;
            found.payload = Vec::new();
        }
        self.lanes.room.written(0, usage.live, u64::MAX);
        Ok(())
    }

    fn usage(&self) -> LogUsage {
        let (live, in_flight) = self.lanes.room.usage();
        LogUsage { live, in_flight, capacity: self.options.capacity, segments: 1, ..self.kept.lock().usage }
    }

    fn close(&self) {
        while self.step() {}
    }
}
