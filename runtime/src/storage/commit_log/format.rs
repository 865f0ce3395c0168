//! The headers of segments, groups and batches as `docs/LOG_FORMAT.md` defines them: encodes and parses them.
//!
//! Integers are little-endian. Everything in a segment begins at a multiple of 8. Checksums are XXH3-64.

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::position::{LANES_MAX, Lane, Lsn};
use super::reader::{Damage, Reader, SHORT};

/// The version that this code writes. It reads all from 1 on.
pub(super) const VERSION: u16 = 2;
/// Bytes of a segment's header.
pub(super) const SEGMENT_HEADER: usize = 4096;
/// Bytes of a group's header.
pub(super) const GROUP_HEADER: usize = 56;
/// Bytes of a batch's header.
pub(super) const BATCH_HEADER: usize = 56;
/// The same in version 1 of the log, whose batches have no time.
const BATCH_HEADER_1: usize = 48;
/// The version of a batch with a time; those without say 0.
const BATCH_VERSION: u16 = 1;

const SEGMENT_MAGIC: [u8; 8] = *b"hfsegmnt";
const GROUP_MAGIC: [u8; 4] = *b"hfgr";
/// Of a group's flags: the log was closed cleanly.
pub(super) const CLOSED: u16 = 1;

/// Bytes before a record's payload: its length and the low half of its checksum.
pub(super) const FRAME: usize = 8;

/// Rounds a length up to a multiple of 8.
pub(super) const fn padded(length: usize) -> usize {
    length.next_multiple_of(8)
}

/// Writes the frame at the front of a record and pads its end.
pub(super) fn finish_frame(record: &mut Vec<u8>) {
    let payload = &record[FRAME..];
    let length = u32::try_from(payload.len()).expect("a record is shorter than 4 GiB");
    let checksum = xxh3_64(payload) as u32;
    record[..4].copy_from_slice(&length.to_le_bytes());
    record[4..FRAME].copy_from_slice(&checksum.to_le_bytes());
    record.resize(padded(record.len()), 0);
}

/// Splits the first frame off `frames`: returns its payload, and the bytes after the record.
pub(super) fn split_frame(frames: &[u8]) -> Result<(&[u8], &[u8]), Damage> {
    let mut reader = Reader::new(frames);
    let length = reader.u32()? as usize;
    let checksum = reader.u32()?;
    let payload = reader.bytes(length)?;
    reader.bytes(padded(FRAME + length) - FRAME - length)?;
    check_frame(payload, checksum).map(|()| (payload, reader.rest()))
}

pub(super) fn check_frame(payload: &[u8], checksum: u32) -> Result<(), Damage> {
    if xxh3_64(payload) as u32 == checksum { Ok(()) } else { Err(Damage("a record does not match its checksum")) }
}

/// The state of the log between two groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct State {
    /// Number of the next group, from 1.
    pub sequence: u64,
    /// Checksum of the header of the group before; 0 before the first.
    pub chain: u64,
    pub lanes: Vec<LaneState>,
}

/// The state of one lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneState {
    /// The position of its next record.
    pub next: Lsn,
    /// Position of the lane's last OPEN.
    pub epoch: Lsn,
    /// Checksum of the lane's batch before; 0 before the first.
    pub chain: u64,
    /// The position up to which it is trimmed.
    pub trimmed: Lsn,
    /// The time of its last batch that has one, in milliseconds since the Unix epoch; 0 if none has.
    pub wall_ms: u64,
}

impl State {
    /// Returns the state of an empty log.
    pub fn new(lanes: u16) -> Self {
        let lane = LaneState { next: Lsn(1), epoch: Lsn(0), chain: 0, trimmed: Lsn(0), wall_ms: 0 };
        Self { sequence: 1, chain: 0, lanes: vec![lane; usize::from(lanes)] }
    }
}

/// The header at the front of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    /// The log that the segment belongs to.
    pub log: [u8; 16],
    pub number: u64,
    /// Marks the groups of this segment: files are used again, and old groups must not be taken for groups of this
    /// segment.
    pub salt: u64,
    /// The state of the log when the segment was begun.
    pub state: State,
}

/// The reasons why a segment's header cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum HeaderError {
    Damaged(Damage),
    /// It has a version that this code does not read.
    Version(u16),
}

impl From<Damage> for HeaderError {
    fn from(damage: Damage) -> Self {
        Self::Damaged(damage)
    }
}

impl SegmentHeader {
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(SEGMENT_HEADER);
        bytes.extend(SEGMENT_MAGIC);
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend((self.state.lanes.len() as u16).to_le_bytes());
        bytes.extend((SEGMENT_HEADER as u32).to_le_bytes());
        bytes.extend(xxh3_64(&bytes).to_le_bytes());
        bytes.extend(self.log);
        for number in [self.number, self.salt, self.state.sequence, self.state.chain] {
            bytes.extend(number.to_le_bytes());
        }
        for lane in &self.state.lanes {
            for number in [lane.next.0, lane.epoch.0, lane.chain, lane.trimmed.0, lane.wall_ms] {
                bytes.extend(number.to_le_bytes());
            }
        }
        (0..self.state.lanes.len() as u16).for_each(|lane| bytes.extend(lane.to_le_bytes()));
        bytes.resize(SEGMENT_HEADER - 8, 0);
        bytes.extend(xxh3_64(&bytes).to_le_bytes());
        bytes
    }

    pub fn parse(bytes: &[u8]) -> Result<Self, HeaderError> {
        let mut reader = Reader::new(bytes);
        let magic: [u8; 8] = reader.array()?;
        let (version, lanes, length) = (reader.u16()?, reader.u16()?, reader.u32()?);
        // In every version the first 24 bytes are as here, so that a damaged number is not taken for a newer version.
        if magic != SEGMENT_MAGIC || xxh3_64(&bytes[..16]) != reader.u64()? {
            return Err(Damage("the header does not begin as one").into());
        }
        if !(1..=VERSION).contains(&version) {
            return Err(HeaderError::Version(version));
        }
        let checked = bytes.get(..SEGMENT_HEADER - 8).ok_or(SHORT)?;
        let checksum = Reader::new(&bytes[checked.len()..]).u64()?;
        let fits = length as usize == SEGMENT_HEADER && (1..=LANES_MAX).contains(&lanes);
        if !fits || xxh3_64(checked) != checksum {
            return Err(Damage("the header does not match its checksum").into());
        }
        let log = reader.array()?;
        let (number, salt, sequence, chain) = (reader.u64()?, reader.u64()?, reader.u64()?, reader.u64()?);
        let mut lane = || {
            let (next, epoch) = (Lsn(reader.u64()?), Lsn(reader.u64()?));
            let (chain, trimmed) = (reader.u64()?, Lsn(reader.u64()?));
            let wall_ms = if version >= 2 { reader.u64()? } else { 0 };
            Ok(LaneState { next, epoch, chain, trimmed, wall_ms })
        };
        let lanes: Vec<_> = (0..lanes).map(|_| lane()).collect::<Result<_, Damage>>()?;
        if version >= 2 {
            for due in 0..lanes.len() {
                if usize::from(reader.u16()?) != due {
                    return Err(Damage("the header has other lanes than the log of a data directory").into());
                }
            }
        }
        Ok(Self { log, number, salt, state: State { sequence, chain, lanes } })
    }
}

/// The header before the batches that were written at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GroupHeader {
    /// Bytes of all batches.
    pub length: u32,
    pub batches: u16,
    pub flags: u16,
    pub sequence: u64,
    pub salt: u64,
    /// Checksum of the header of the group before.
    pub chain: u64,
    /// Checksum of the headers of all batches, each of which covers its records.
    pub body: u64,
}

impl GroupHeader {
    /// Returns the bytes, and their checksum: the next group's chain.
    pub fn encode(&self) -> ([u8; GROUP_HEADER], u64) {
        let mut bytes = [0; GROUP_HEADER];
        bytes[..4].copy_from_slice(&GROUP_MAGIC);
        bytes[4..8].copy_from_slice(&self.length.to_le_bytes());
        bytes[8..10].copy_from_slice(&self.batches.to_le_bytes());
        bytes[10..12].copy_from_slice(&self.flags.to_le_bytes());
        for (at, number) in [(16, self.sequence), (24, self.salt), (32, self.chain), (40, self.body)] {
            bytes[at..at + 8].copy_from_slice(&number.to_le_bytes());
        }
        let checksum = xxh3_64(&bytes[..48]);
        bytes[48..].copy_from_slice(&checksum.to_le_bytes());
        (bytes, checksum)
    }

    /// Parses a header and its checksum; `None` if the bytes are no header.
    pub fn parse(bytes: &[u8]) -> Option<(Self, u64)> {
        let bytes: &[u8; GROUP_HEADER] = bytes.first_chunk()?;
        let number = |at: usize| u64::from_le_bytes(*bytes[at..].first_chunk().expect("the header is longer"));
        let checksum = number(48);
        if bytes[..4] != GROUP_MAGIC || xxh3_64(&bytes[..48]) != checksum {
            return None;
        }
        let (length, rest) = (number(0) >> 32, number(8));
        let header = Self {
            length: length as u32,
            batches: rest as u16,
            flags: (rest >> 16) as u16,
            sequence: number(16),
            salt: number(24),
            chain: number(32),
            body: number(40),
        };
        Some((header, checksum))
    }
}

/// The header before the records of one lane in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BatchHeader {
    pub lane: Lane,
    pub records: u32,
    pub first: Lsn,
    pub epoch: Lsn,
    /// Checksum of the lane's batch before.
    pub chain: u64,
    /// Bytes of the records.
    pub length: u32,
    /// When it was made, in milliseconds since the Unix epoch, but not before the lane's batch before. Batches of
    /// version 1 of the log have none.
    pub wall_ms: Option<u64>,
}

/// The bytes of a batch's header, and its checksum: the chain of the lane's next batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct EncodedBatch {
    bytes: [u8; BATCH_HEADER],
    length: usize,
    pub checksum: u64,
}

impl EncodedBatch {
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl BatchHeader {
    /// Encodes the header of these records.
    pub fn encode(&self, records: &[u8]) -> EncodedBatch {
        let mut bytes = [0; BATCH_HEADER];
        bytes[..2].copy_from_slice(&(self.lane.index() as u16).to_le_bytes());
        bytes[4..8].copy_from_slice(&self.records.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.length.to_le_bytes());
        for (at, number) in [(8, self.first.0), (16, self.epoch.0), (24, self.chain)] {
            bytes[at..at + 8].copy_from_slice(&number.to_le_bytes());
        }
        let length = match self.wall_ms {
            Some(wall_ms) => {
                bytes[2..4].copy_from_slice(&BATCH_VERSION.to_le_bytes());
                bytes[40..48].copy_from_slice(&wall_ms.to_le_bytes());
                BATCH_HEADER
            }
            None => BATCH_HEADER_1,
        };
        let checksum = xxh3_64_with_seed(records, xxh3_64(&bytes[..length - 8]));
        bytes[length - 8..length].copy_from_slice(&checksum.to_le_bytes());
        EncodedBatch { bytes, length, checksum }
    }

    /// Parses a header, and returns its bytes, too. Does not check its checksum.
    fn parse<'a>(reader: &mut Reader<'a>) -> Result<(Self, &'a [u8]), Damage> {
        let bytes = reader.rest();
        let (lane, version) = (Lane::new(reader.u16()?), reader.u16()?);
        if version > BATCH_VERSION {
            return Err(Damage("a batch is of a version that no such segment has"));
        }
        let (records, first, epoch, chain) = (reader.u32()?, Lsn(reader.u64()?), Lsn(reader.u64()?), reader.u64()?);
        let (length, _) = (reader.u32()?, reader.u32()?);
        let wall_ms = if version == BATCH_VERSION { Some(reader.u64()?) } else { None };
        let _checksum = reader.u64()?;
        let bytes = &bytes[..bytes.len() - reader.rest().len()];
        Ok((Self { lane, records, first, epoch, chain, length, wall_ms }, bytes))
    }
}

/// One batch of a whole group.
pub(super) struct Batch<'a> {
    pub header: BatchHeader,
    /// Bytes of the header.
    pub header_bytes: usize,
    pub checksum: u64,
    /// The records' frames.
    pub frames: &'a [u8],
}

/// Parses the body of a group. An error means that it is not as it was written, or was never written completely.
pub(super) fn parse_body<'a>(header: &GroupHeader, body: &'a [u8]) -> Result<Vec<Batch<'a>>, Damage> {
    let mut reader = Reader::new(body);
    let mut batches = Vec::new();
    let mut headers = Vec::new();
    for _ in 0..header.batches {
        let (header, bytes) = BatchHeader::parse(&mut reader)?;
        headers.extend_from_slice(bytes);
        let frames = reader.bytes(header.length as usize)?;
        let encoded = header.encode(frames);
        if encoded.bytes() != bytes {
            return Err(Damage("a batch does not match its checksum"));
        }
        batches.push(Batch { header, header_bytes: bytes.len(), checksum: encoded.checksum, frames });
    }
    if !reader.rest().is_empty() || xxh3_64(&headers) != header.body {
        return Err(Damage("a group does not match its checksum"));
    }
    Ok(batches)
}
