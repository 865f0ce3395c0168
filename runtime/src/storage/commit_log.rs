//! The commit log: ordered bytes that survive. Knows neither what objects are nor SQLite.
//!
//! Many lanes share one sequence of *groups*: what all lanes have gathered is written at once and flushed once, and then each
//! lane's durable position is published; meanwhile the next group gathers. [`LaneLog`] is the seam: [`FileLog`] keeps segments
//! in a directory (`docs/LOG_FORMAT.md` gives the bytes), `MemoryLog`, of tests, keeps records in memory and crashes when it is told to.
//! One conformance suite runs on both. What must stay true:
//! * what was published is there after any crash, in order, until it is trimmed;
//! * only the last group may be cut, everything else that is not as written is an error that says where;
//! * a position is published after the flush that covers it, and never if that failed;
//! * readers never write, and a log of a newer version is never touched.
//!
//! ```text
//! record  what a lane's entries say, as bytes         lane   positions, queues, who may submit, how far it is durable
//! page    the images of pages in a record
//! format  headers and checksums, by the document       room   capacity, memory in flight, the disk's space
//! scan    reads segments and judges what it finds     report verify and inspect, for people
//! segments files: begun, dropped, used again           writer the end of the log: one write, one flush, publish
//! disk    the operations of the disk, by name          simulated  a disk that loses power
//! ```

use std::io;
use std::path::{Path, PathBuf};

use futures_util::future::BoxFuture;

use crate::base::Env;

mod disk;
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
#[cfg(any(test, fuzzing))]
mod simulated;
#[cfg(test)]
mod tests;
mod whole;
mod writer;

pub use disk::{Disk, SystemDisk};
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
#[cfg(any(test, fuzzing))]
pub use simulated::SimulatedDisk;
pub use whole::{Part, Whole};

/// A log of lanes, opened by this process.
pub trait LaneLog: Send + Sync + 'static {
    /// How many lanes there are; fixed when the log was made.
    fn lanes(&self) -> u16;

    /// Every record after its lane's trimmed position, in the order of the log, as it was when the log was opened. For the time
    /// before lanes are opened. Parts of turns that never became whole are shown, too; [`Whole`] filters.
    fn replay(&self, visit: &mut dyn FnMut(Entry<'_>) -> Result<(), LogError>) -> Result<(), LogError>;

    /// Opens a lane: appends OPEN, whose position is the lane's epoch, and does not wait for it. Once for each lane.
    fn open(&self, lane: Lane, node: [u8; 16]) -> Result<LaneWriter, LogError>;

    /// The payload of a record that [`LaneLog::replay`] showed, for [`Record::parse`]. Its checksum is checked.
    fn fetch(&self, at: At) -> Result<Vec<u8>, LogError>;

    /// Up to where the lane is trimmed.
    fn trimmed(&self, lane: Lane) -> Lsn;

    /// The last position of the lane.
    fn last(&self, lane: Lane) -> Lsn;

    /// Reserves bytes ([`Encoded::len`]) that will be submitted. Never blocks.
    fn try_reserve(&self, bytes: u64) -> Result<Reservation, NoRoom>;

    /// Resolves when trying again may succeed. To miss nothing, call it before [`LaneLog::try_reserve`].
    fn room(&self) -> BoxFuture<'static, ()>;

    /// Says that everything up to these durable positions (one a lane) is in flushed database files and catalogs, and drops the
    /// segments that nobody needs any more. Blocks until that is durable. Lanes whose position is not new are left alone; the
    /// others must be open.
    fn trim(&self, upto: &[Lsn]) -> Result<(), LogError>;

    /// How full and how busy the log is.
    fn usage(&self) -> LogUsage;

    /// Makes everything submitted durable and ends the log cleanly. Nothing may be submitted afterwards. Blocks.
    fn close(&self);
}

/// Reserves bytes, waiting for as long as the log is busy. The error says why the log is full.
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

/// A record as [`LaneLog::replay`] shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Whose it is.
    pub lane: Lane,
    /// Its position in the lane.
    pub lsn: Lsn,
    /// When it was written, in milliseconds since the Unix epoch; never before what comes before it in its lane. 0 if
    /// version 1 wrote it.
    pub wall_ms: u64,
    /// Where it is, for [`LaneLog::fetch`].
    pub at: At,
    /// What it says.
    pub record: Record<'a>,
}

/// Where a record is. Means something only to the log that gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At(u64);

/// How a log is made and how much it may hold.
#[derive(Clone)]
pub struct LogOptions {
    /// Lanes of a new log, 1 to 64; one that is there keeps its own.
    pub lanes: u16,
    /// Bytes of a segment. At most a quarter of the capacity is used, so that there is always a segment to drop.
    pub segment_bytes: u64,
    /// Bytes that may be live: in segments that are needed, or on their way there. A turn takes at most three quarters.
    pub capacity: u64,
    /// Bytes reserved or submitted and not yet durable, beyond which reservations wait. Bounds memory when the disk is slow.
    pub in_flight: u64,
    /// No threads: [`FileLog::step`] writes and flushes. For simulations.
    pub manual: bool,
    /// Randomness for salts, and the time in OPEN.
    pub env: Env,
}

impl LogOptions {
    /// What a server uses.
    pub fn new(env: Env) -> Self {
        Self { lanes: LANES_MAX, segment_bytes: 64 << 20, capacity: 1 << 30, in_flight: 64 << 20, manual: false, env }
    }
}

/// How full and how busy a log is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogUsage {
    /// Bytes in segments that are still needed.
    pub live: u64,
    /// Bytes that may be.
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

/// Why a log cannot be opened, read or trimmed.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The file system refused.
    #[error("{action} {}: {cause}", path.display())]
    Io {
        /// What was tried, for example `cannot read`.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        cause: io::Error,
    },
    /// Something that was durable is not as it was written.
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
    /// A segment is of a version that this program does not read.
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
    /// What was written is whole, and only a later version knows what it means.
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
    /// The lane cannot be opened twice, nor trimmed before it is opened.
    #[error("{0} is open already, or is to be trimmed and is not open")]
    Lane(Lane),
    /// A lane was lost before what was to be durable was.
    #[error(transparent)]
    Lost(#[from] LaneLost),
    /// The record's segment was dropped: it was trimmed.
    #[error("this record of the commit log is trimmed and gone")]
    Gone,
    /// What was visited made the visitor give up.
    #[error(transparent)]
    Visitor(Box<dyn std::error::Error + Send + Sync>),
}

impl LogError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |cause| Self::Io { action, path: path.into(), cause }
    }
}
