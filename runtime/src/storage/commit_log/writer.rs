//! The writer: takes what all lanes have queued, writes it once, flushes it once, and publishes each lane's position.
//!
//! Owns the end of the log: sequence, chains, the open segment. Used by one thread at a time ([`super::FileLog`]
//! ensures that). Invariants: the order in [`Writer::write`]; after a failed write or flush nothing is written or
//! published any more. An operation that fails before a byte of the log may have been written, for lack of descriptors,
//! memory or space, is retried.

use std::fs::File;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64;

use super::format::{
    BATCH_HEADER, BatchHeader, CLOSED, EncodedBatch, FRAME, GROUP_HEADER, GroupHeader, SEGMENT_HEADER, SegmentHeader,
    State,
};
use super::lane::{Gathered, Lanes};
use super::position::{Lane, Lsn};
use super::record::{PART_BYTES, is_open};
use super::scan::{fit, trim_in};
use super::segments::{Live, Segments, Spare};
use crate::base::disk::is_lack_of_room;
use crate::base::{Disk, Env, Failpoint};

/// The bytes at which a group is ended, so that no caller waits for the flush of more than that.
const GROUP_BYTES: usize = 16 << 20;
/// The delay before making a segment is retried.
const ROOM_RETRY: Duration = Duration::from_millis(100);

pub(super) struct Writer {
    pub disk: Arc<dyn Disk>,
    pub env: Env,
    pub lanes: Arc<Lanes>,
    pub segments: Arc<Segments>,
    pub log: [u8; 16],
    /// The state of the log.
    pub state: State,
    pub active: Active,
    /// Empty buffers for the lanes' queues.
    pub empty: Vec<Vec<u8>>,
    /// Nothing is written any more: the log is closed, or failed.
    pub ended: bool,
    /// No other thread makes room while this one waits.
    pub manual: bool,
    /// Waiting for room is over.
    pub closing: Arc<AtomicBool>,
}

/// The segment that is being written.
pub(super) struct Active {
    pub file: Arc<File>,
    pub number: u64,
    pub salt: u64,
    pub end: u64,
    pub capacity: u64,
}

/// A lane's queue as it was taken, and how much of it is written.
struct Taken {
    lane: Lane,
    gathered: Gathered,
    written: usize,
}

/// A lane's share of one group.
struct Batch {
    index: usize,
    header: EncodedBatch,
    wall_ms: u64,
    epoch: Lsn,
    records: u32,
    from: usize,
    to: usize,
}

/// Begins the segment of this number, in which the writer continues.
pub(super) fn begin(segments: &Segments, env: &Env, log: [u8; 16], number: u64, state: &State) -> io::Result<Active> {
    let header = header(env, log, number, state);
    let prepared = segments.prepare(&header)?;
    start(segments, &header, prepared)
}

fn header(env: &Env, log: [u8; 16], number: u64, state: &State) -> SegmentHeader {
    SegmentHeader { log, number, salt: u64::from_le_bytes(env.random()), state: state.clone() }
}

fn start(segments: &Segments, header: &SegmentHeader, prepared: Spare) -> io::Result<Active> {
    let Live { file, end, capacity, .. } = segments.begin(header, prepared)?;
    Ok(Active { file, number: header.number, salt: header.salt, end, capacity })
}

impl Writer {
    /// Writes everything that is queued. Returns whether anything was.
    pub fn step(&mut self) -> bool {
        if self.ended {
            return false;
        }
        let mut taken = Vec::with_capacity(usize::from(self.lanes.count()));
        let empty = &mut self.empty;
        self.lanes.gather(
            || empty.pop().unwrap_or_default(),
            |lane, gathered| taken.push(Taken { lane, gathered, written: 0 }),
        );
        if taken.is_empty() {
            return false;
        }
        let mut batches = Vec::with_capacity(taken.len());
        while taken.iter().any(|taken| taken.written < taken.gathered.frames.len()) {
            self.fill(&taken, &mut batches);
            if batches.is_empty() {
                self.or_lost("beginning a segment of", Self::roll);
                continue;
            }
            self.write_batches(&mut taken, &mut batches);
        }
        for Taken { gathered: Gathered { mut frames, .. }, .. } in taken {
            // A large turn's buffer is not kept for small ones.
            if frames.capacity() <= PART_BYTES {
                frames.clear();
                self.empty.push(frames);
            }
        }
        true
    }

    /// Marks a clean end, so that damage to the last group is not taken for an unfinished group.
    pub fn close(&mut self) {
        while self.step() {}
        if !std::mem::replace(&mut self.ended, true) {
            let header = self.group_header(0, 0, CLOSED, &[]);
            self.or_lost("ending", |writer| {
                writer.disk.at(Failpoint::LogClose)?;
                writer.write(&header, &mut [])?;
                let Active { file, end, .. } = &writer.active;
                writer.disk.set_len(Failpoint::LogClose, file, *end)?;
                writer.disk.sync_all(Failpoint::LogClose, file)
            });
        }
    }

    /// Chooses the records of the next group: all, or as many as fit into the segment. None, if no record fits and the
    /// segment is not empty; an empty segment takes a record of any size.
    fn fill(&self, taken: &[Taken], batches: &mut Vec<Batch>) {
        let left = self.active.capacity.saturating_sub(self.active.end) as usize;
        let mut room = left.min(GROUP_BYTES).saturating_sub(GROUP_HEADER);
        let now = self.env.wall_ms();
        for (index, Taken { lane, gathered, written }) in taken.iter().enumerate() {
            let frames = &gathered.frames[*written..];
            let left = gathered.records;
            let mut fits = fit(frames, left, room.saturating_sub(BATCH_HEADER));
            if fits.0 == 0 && !frames.is_empty() && batches.is_empty() && self.active.end == SEGMENT_HEADER as u64 {
                fits = fit(frames, left, first_record(frames));
            }
            if fits.0 > 0 {
                room = room.saturating_sub(BATCH_HEADER + fits.1);
                batches.push(self.batch(now, index, (*lane, gathered.first), fits.0, *written, &frames[..fits.1]));
            }
        }
    }

    fn batch(
        &self,
        now: u64,
        index: usize,
        (lane, first): (Lane, Lsn),
        records: u32,
        from: usize,
        frames: &[u8],
    ) -> Batch {
        let state = &self.state.lanes[lane.index()];
        let epoch = if is_open(&frames[FRAME..]) { first } else { state.epoch };
        let length = u32::try_from(frames.len()).expect("a group is shorter than 4 GiB");
        // The clock may have been set back.
        let wall_ms = now.max(state.wall_ms);
        let header = BatchHeader { lane, records, first, epoch, chain: state.chain, length, wall_ms: Some(wall_ms) };
        Batch { index, header: header.encode(frames), wall_ms, epoch, records, from, to: from + frames.len() }
    }

    /// Writes the batches in this order: encode, write, flush, publish. Records that are appended meanwhile wait for
    /// the next group.
    fn write_batches(&mut self, taken: &mut [Taken], batches: &mut Vec<Batch>) {
        let headers: Vec<u8> = batches.iter().flat_map(|batch| batch.header.bytes()).copied().collect();
        let length = batches.iter().map(|batch| BATCH_HEADER + batch.to - batch.from).sum();
        let header = self.group_header(length, batches.len(), 0, &headers);
        let mut parts = Vec::with_capacity(1 + 2 * batches.len());
        for batch in &*batches {
            parts.push(IoSlice::new(batch.header.bytes()));
            parts.push(IoSlice::new(&taken[batch.index].gathered.frames[batch.from..batch.to]));
        }
        self.or_lost("writing", |writer| writer.write(&header, &mut parts));
        drop(parts);
        self.publish(taken, batches, (GROUP_HEADER + length) as u64);
    }

    fn group_header(&self, length: usize, batches: usize, flags: u16, headers: &[u8]) -> GroupHeader {
        GroupHeader {
            length: u32::try_from(length).expect("a group is shorter than 4 GiB"),
            batches: batches as u16,
            flags,
            sequence: self.state.sequence,
            salt: self.active.salt,
            chain: self.state.chain,
            body: xxh3_64(headers),
        }
    }

    /// Writes a group at the end of the segment, and flushes it.
    fn write(&mut self, header: &GroupHeader, batches: &mut [IoSlice<'_>]) -> io::Result<()> {
        let (bytes, checksum) = header.encode();
        let mut parts = Vec::with_capacity(1 + batches.len());
        parts.push(IoSlice::new(&bytes));
        parts.extend_from_slice(batches);
        let active = &mut self.active;
        self.disk.write_vectored_at(Failpoint::LogWrite, &active.file, &mut parts, active.end)?;
        self.disk.sync_data(Failpoint::LogFlush, &active.file)?;
        self.disk.at(Failpoint::LogFlushed)?;
        active.end += GROUP_HEADER as u64 + u64::from(header.length);
        (self.state.sequence, self.state.chain) = (header.sequence + 1, checksum);
        Ok(())
    }

    /// Publishes a durable group: first the usage of the log, then the positions, so that no waiter that is woken sees
    /// the old usage.
    fn publish(&mut self, taken: &mut [Taken], batches: &mut Vec<Batch>, bytes: u64) {
        let (mut covered, mut records, mut trimmed) = (0, 0, Vec::new());
        for batch in &*batches {
            let Taken { lane, gathered, written } = &mut taken[batch.index];
            let lane_state = &mut self.state.lanes[lane.index()];
            if gathered.trim.is_some()
                && let Some(upto) = trim_in(&gathered.frames[batch.from..batch.to])
            {
                lane_state.trimmed = lane_state.trimmed.max(upto);
                trimmed.push((*lane, lane_state.trimmed));
            }
            *written = batch.to;
            gathered.first.0 += u64::from(batch.records);
            gathered.records -= batch.records;
            lane_state.next = gathered.first;
            (lane_state.epoch, lane_state.chain) = (batch.epoch, batch.header.checksum);
            lane_state.wall_ms = batch.wall_ms;
            records += u64::from(batch.records);
            // What a reservation covered is given back with the last of what was gathered with it.
            if gathered.records == 0 {
                covered += gathered.covered;
            }
        }
        self.segments.written(self.active.end, covered, |shelf| {
            for (lane, upto) in trimmed {
                shelf.trimmed[lane.index()] = upto;
            }
            let usage = &mut shelf.usage;
            usage.groups += 1;
            usage.flushes += 1;
            usage.records += records;
            usage.bytes += bytes;
        });
        for batch in batches.drain(..) {
            let Taken { lane, gathered, .. } = &taken[batch.index];
            self.lanes.publish(*lane, Lsn(gathered.first.0 - 1));
        }
    }

    /// Begins the next segment. Waits if there is no space for its file: nothing that is queued was written or
    /// published yet. Meanwhile reservations that need more space fail.
    fn roll(&mut self) -> io::Result<()> {
        let header = header(&self.env, self.log, self.active.number + 1, &self.state);
        let mut tries = 0;
        let prepared = loop {
            match self.segments.prepare(&header) {
                Err(error) if is_lack_of_room(&error) && self.may_wait(tries) => {
                    if tries == 0 {
                        tracing::error!("the commit log has no room for another segment and waits for it: {error}");
                    }
                    self.lanes.room.set_full(Some(format!("cannot begin a segment: {error}")));
                    tries += 1;
                }
                prepared => break prepared?,
            }
        };
        self.active = start(&self.segments, &header, prepared)?;
        if tries > 0 {
            tracing::info!("the commit log has room again");
            self.lanes.room.set_full(None);
        }
        Ok(())
    }

    fn may_wait(&self, tries: u32) -> bool {
        if self.manual {
            return tries < 2;
        }
        if self.closing.load(Ordering::Acquire) {
            return false;
        }
        thread::park_timeout(ROOM_RETRY);
        true
    }

    fn or_lost(&mut self, what: &str, act: impl FnOnce(&mut Self) -> io::Result<()>) {
        if let Err(error) = act(self) {
            self.ended = true;
            self.disk.lost(&format!("{what} the commit log failed: {error}"));
        }
    }
}

fn first_record(frames: &[u8]) -> usize {
    frames.first_chunk().map_or(0, |length| super::format::padded(FRAME + u32::from_le_bytes(*length) as usize))
}
