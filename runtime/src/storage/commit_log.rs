//! The commit log: ordered records that survive crashes. It knows neither objects nor SQLite.
//!
//! Many lanes share one sequence of *groups*: the writer writes what all lanes have queued at once, flushes it once,
//! and then publishes each lane's durable position; meanwhile the next group is queued. [`LaneLog`] is the interface.
//! [`FileLog`] keeps segments in a directory (`docs/LOG_FORMAT.md` defines the bytes); `MemoryLog`, for tests, keeps
//! records in memory and simulates crashes. One conformance suite runs on both. Invariants:
//! * a published record is there after any crash, in order, until it is trimmed;
//! * recovery may cut off only the last group; any other deviation from what was written is an error that says where;
//! * a position is published after the flush that covers it, and never if the flush failed;
//! * readers never write, and a log of a newer version is never touched.
//!
//! Each file imports only files above it:
//!
//! ```text
//! position   lanes, and positions in them
//! reader     reads fields from bytes
//! page       images of pages in a record
//! format     headers and checksums, by the document
//! record     what one entry of a lane says
//! whole      turns of several parts
//! room       limits: capacity, memory in flight, the disk's space
//! lane       the queues of lanes; how far each is durable
//! scan       reads segments and judges what it finds
//! report     verify and inspect, for people
//! segments   files: made, dropped, used again
//! writer     the end of the log: one write, one flush, publish
//! file       the log in a directory; `memory`, for tests
//! ```

use std::io;
use std::path::{Path, PathBuf};

use futures_util::future::BoxFuture;

use crate::base::Env;

mod file;
mod format;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod lane;
#[cfg(test)]
mod memory;
mod page;
mod position;
mod reader;
mod record;
mod report;
mod room;
mod scan;
mod segments;
#[cfg(test)]
mod tests;
mod whole;
mod writer;

pub use file::FileLog;
pub use format::LaneState;
pub use lane::{Durable, DurableWatch, LaneLost, LaneWriter};
#[cfg(test)]
pub use memory::MemoryLog;
pub use page::{IMAGE_MAX, PAGE};
pub use position::{LANES_MAX, Lane, Lsn};
pub use reader::Damage;
pub use record::{
    AlarmChange, Alarms, CLASS_MAX, Encoded, NAME_MAX, NoRecord, NumberedAlarm, Open, PART_BYTES, PART_OVERHEAD, Pages,
    Record, TurnEncoder, TurnHead, TurnRecord,
};
pub use report::{LogReport, SegmentReport, inspect, verify};
pub use room::{NoRoom, Reservation};
pub use scan::{End, Seen};
pub use whole::{Part, Whole};

/// A log of lanes, opened by this process.
pub trait LaneLog: Send + Sync + 'static {
    /// Returns the number of lanes; it is fixed when the log is made.
    fn lanes(&self) -> u16;

    /// Visits every record after its lane's trimmed position, in the order of the log, as it was when the log was
    /// opened. Called before lanes are opened. Visits also parts of turns that never became whole; [`Whole`] filters
    /// them.
    fn replay(&self, visit: &mut dyn FnMut(Entry<'_>) -> Result<(), LogError>) -> Result<(), LogError>;

    /// Opens a lane: appends OPEN, whose position is the lane's epoch, without waiting for it. Called once for each
    /// lane.
    fn open(&self, lane: Lane, node: [u8; 16]) -> Result<LaneWriter, LogError>;

    /// Reads the payload of a record that [`LaneLog::replay`] visited, for [`Record::parse`], and checks its checksum.
    fn fetch(&self, at: At) -> Result<Vec<u8>, LogError>;

    /// Returns the position up to which the lane is trimmed.
    fn trimmed(&self, lane: Lane) -> Lsn;

    /// Returns the last position of the lane.
    fn last(&self, lane: Lane) -> Lsn;

    /// Reserves bytes ([`Encoded::len`]) that will be submitted. Never blocks.
    fn try_reserve(&self, bytes: u64) -> Result<Reservation, NoRoom>;

    /// Resolves when [`LaneLog::try_reserve`] may succeed again. Call it before that, in order to miss no change.
    fn room(&self) -> BoxFuture<'static, ()>;

    /// Trims each lane up to its position (one per lane, all durable): everything up to there is in flushed database
    /// files and catalogs. Drops the segments that are not needed any more. Blocks until the trim is durable. Lanes
    /// whose position is not new stay as they are; the others must be open.
    fn trim(&self, upto: &[Lsn]) -> Result<(), LogError>;

    /// Reports how full and how busy the log is.
    fn usage(&self) -> LogUsage;

    /// Makes everything submitted durable and closes the log cleanly. Nothing may be submitted afterwards. Blocks.
    fn close(&self);
}

/// Reserves bytes; waits as long as the log is busy. The error says why the log is full.
pub async fn reserve(log: &dyn LaneLog, bytes: u64) -> Result<Reservation, String> {
    loop {
        let room = log.room();
        match log.try_reserve(bytes) {
            Ok(reservation) => return Ok(reservation),
            Err(NoRoom::Wait) => room.await,
            Err(NoRoom::Full(why)) => return Err(why),
        }
    }
}

/// A record with its place, as [`LaneLog::replay`] visits it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The lane.
    pub lane: Lane,
    /// Its position in the lane.
    pub lsn: Lsn,
    /// When it was written, in milliseconds since the Unix epoch; never before what comes before it in its lane. 0 if
    /// version 1 wrote it.
    pub wall_ms: u64,
    /// Its place, for [`LaneLog::fetch`].
    pub at: At,
    /// The record.
    pub record: Record<'a>,
}

/// The place of a record. Only the log that returned it can use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At(u64);

/// The options of a log: how it is made and how much it may hold.
#[derive(Clone)]
pub struct LogOptions {
    /// Lanes of a new log, 1 to 64; an existing log keeps its number.
    pub lanes: u16,
    /// Bytes of a segment. At most a quarter of the capacity is used, so that there is always a segment to drop.
    pub segment_bytes: u64,
    /// Bytes that may be live: in segments that are needed, or queued for one. A turn takes at most three quarters.
    pub capacity: u64,
    /// Bytes reserved or submitted and not yet durable, beyond which reservations wait. Bounds memory when the disk is
    /// slow.
    pub in_flight: u64,
    /// No threads: [`FileLog::step`] writes and flushes. For simulations.
    pub manual: bool,
    /// Randomness for salts, and the time in OPEN.
    pub env: Env,
}

impl LogOptions {
    /// Returns the options that a server uses.
    pub fn new(env: Env) -> Self {
        Self { lanes: LANES_MAX, segment_bytes: 64 << 20, capacity: 1 << 30, in_flight: 64 << 20, manual: false, env }
    }
}

/// A report of how full and how busy a log is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogUsage {
    /// Bytes in segments that are still needed.
    pub live: u64,
    /// Bytes that may be live.
    pub capacity: u64,
    /// Bytes reserved, or submitted and not yet durable.
    pub in_flight: u64,
    /// Segments that are still needed.
    pub segments: u64,
    /// Groups written since the log was opened; each was one write and one flush.
    pub groups: u64,
    /// Records written since the log was opened.
    pub records: u64,
    /// Bytes written since the log was opened.
    pub bytes: u64,
    /// Flushes since the log was opened, those of segment headers included.
    pub flushes: u64,
}

/// The reasons why a log cannot be opened, read or trimmed.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The file system returned an error.
    #[error("{action} {}: {cause}", path.display())]
    Io {
        /// The operation that failed, for example `cannot read`.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's error.
        cause: io::Error,
    },
    /// Durable bytes are not as they were written.
    #[error(
        "the commit log is damaged: {} at byte {offset}: {why}; nothing was changed. Restore the data directory from a backup; \
         `holdfast data verify` shows all that is wrong",
        file.display()
    )]
    Damaged {
        /// The segment.
        file: PathBuf,
        /// Where in it.
        offset: u64,
        /// What is wrong there.
        why: String,
    },
    /// A segment has a version that this program does not read.
    #[error(
        "{} is of version {version} of the commit log, and this program knows versions 1 and 2; nothing was changed. Start \
         the version of holdfast that wrote it, or a later one",
        file.display()
    )]
    Version {
        /// The segment.
        file: PathBuf,
        /// Its version.
        version: u16,
    },
    /// A record is whole, and only a later version knows its meaning.
    #[error(
        "{} holds {what} at byte {offset}, which this program does not know; nothing was changed. Start the version of holdfast \
         that wrote it, or a later one",
        file.display()
    )]
    Unknown {
        /// The segment.
        file: PathBuf,
        /// Where the record is.
        offset: u64,
        /// What it is.
        what: &'static str,
    },
    /// The lane was opened twice, or trimmed before it was opened.
    #[error("{0} is open already, or is to be trimmed and is not open")]
    Lane(Lane),
    /// A lane was lost before a position was durable.
    #[error(transparent)]
    Lost(#[from] LaneLost),
    /// The record's segment was dropped: it was trimmed.
    #[error("this record of the commit log is trimmed and gone")]
    Gone,
    /// The visitor returned an error.
    #[error(transparent)]
    Visitor(Box<dyn std::error::Error + Send + Sync>),
}

impl LogError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |cause| Self::Io { action, path: path.into(), cause }
    }
}
