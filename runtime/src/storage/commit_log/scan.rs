//! Scans the log: reads the segments, and judges what it finds. Never writes.
//!
//! Owns the question "is this the end of the log, an unfinished group, or damage?" as a table ([`judge`]). Only one
//! group is ever unflushed, so only the last group of the last segment may be unfinished. The contents of a whole group
//! are also checked against the state of the log before it: a group in the wrong place is damage even if every checksum
//! is right.

use std::fs;
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::format::{
    Batch, CLOSED, FRAME, GROUP_HEADER, GroupHeader, HeaderError, LaneState, SEGMENT_HEADER, SegmentHeader, State,
    padded, parse_body, split_frame,
};
use super::reader::Damage;
use super::record::{NoRecord, Record};
use super::{At, Entry, LogError, Lsn};
#[cfg(test)]
use crate::base::seeded_bugs::{self, SeededBug};

/// The extension of segments' names.
pub(super) const SEGMENT: &str = "segment";

/// What a scan visits. Offsets are in bytes from the front of the segment's file.
#[derive(Debug)]
pub enum Seen<'a> {
    /// A segment begins.
    Segment {
        /// Its file.
        file: &'a Path,
        /// Its number, from 1.
        number: u64,
        /// The state of each lane before its first record.
        lanes: &'a [LaneState],
    },
    /// A whole group, before its records.
    Group {
        /// Where it begins.
        offset: u64,
        /// Its bytes, header included.
        bytes: u64,
        /// Its number, from 1.
        sequence: u64,
        /// Whether it marks a clean end of the log.
        closed: bool,
    },
    /// A record.
    Record {
        /// Where its frame begins.
        offset: u64,
        /// The record, and its place in its lane.
        entry: Entry<'a>,
    },
}

type Visit<'v> = &'v mut dyn FnMut(Seen<'_>) -> Result<(), LogError>;

/// A segment as the scan found it.
#[derive(Debug)]
pub(super) struct Segment {
    pub path: PathBuf,
    pub header: SegmentHeader,
    /// The end of its last whole group.
    pub end: u64,
    /// Bytes of the file.
    pub length: u64,
}

/// The result of a scan.
#[derive(Debug)]
pub(super) struct Scan {
    /// The segments that count, oldest first, with dense numbers.
    pub segments: Vec<Segment>,
    /// Older segments that were trimmed and not removed yet.
    pub leftovers: Vec<PathBuf>,
    /// The state of the log at its end.
    pub state: State,
    pub end: End,
}

/// The end of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With the mark of a clean end, or with nothing at all.
    Closed,
    /// With a whole group.
    Open,
    /// With the remains of a group that was never whole.
    Torn,
}

/// Lists the segments' files in a directory, oldest first. A missing directory has none.
pub(super) fn segment_files(dir: &Path) -> Result<Vec<(u64, PathBuf)>, LogError> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(LogError::io("cannot list", dir))?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(LogError::io("cannot list", dir))?.path();
        let number = path.file_stem().and_then(|stem| u64::from_str_radix(stem.to_str()?, 16).ok());
        if let Some(number) = number.filter(|_| path.extension().is_some_and(|extension| extension == SEGMENT)) {
            files.push((number, path));
        }
    }
    files.sort();
    Ok(files)
}

/// Returns the path of the segment of this number.
pub(super) fn segment_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:016x}.{SEGMENT}"))
}

/// Reads all segments and visits their contents. Returns the first damage as the error.
pub(super) fn scan(dir: &Path, lanes: u16, visit: Visit<'_>) -> Result<Scan, LogError> {
    let mut files = segment_files(dir)?;
    // What is before a gap was trimmed, or the check of the oldest one below fails.
    let dense = (1..files.len()).rev().find(|index| files[index - 1].0 + 1 != files[*index].0).unwrap_or(0);
    let leftovers = files.drain(..dense).map(|(_, path)| path).collect();
    let mut headers = files.iter().map(|(number, path)| read_header(path, *number)).collect::<Result<Vec<_>, _>>()?;
    let mut scan = Scan { segments: Vec::new(), leftovers, state: State::new(lanes), end: End::Closed };
    headers.reverse();
    for (_, path) in files {
        let header = headers.pop().expect("each file has a header");
        visit(Seen::Segment { file: &path, number: header.number, lanes: &header.state.lanes })?;
        let walked = walk(&path, &header, headers.last(), visit)?;
        (scan.state, scan.end) = (walked.state, walked.how);
        scan.segments.push(Segment { path, header, end: walked.end, length: walked.length });
    }
    if let Some(oldest) = scan.segments.first().map(|segment| &segment.header)
        && oldest.number > 1
        && oldest.state.lanes.iter().zip(&scan.state.lanes).any(|(then, now)| then.next.0 > now.trimmed.0 + 1)
    {
        let why = "this segment is missing, and not all that it held is trimmed".into();
        return Err(LogError::Damaged { file: segment_path(dir, oldest.number - 1), offset: 0, why });
    }
    Ok(scan)
}

pub(super) fn read_header(path: &Path, number: u64) -> Result<SegmentHeader, LogError> {
    let mut bytes = Vec::with_capacity(SEGMENT_HEADER);
    let read = fs::File::open(path).and_then(|file| file.take(SEGMENT_HEADER as u64).read_to_end(&mut bytes));
    read.map_err(LogError::io("cannot read", path))?;
    match SegmentHeader::parse(&bytes) {
        Ok(header) if header.number == number => Ok(header),
        Ok(header) => Err(damaged(path, 24, format!("this is segment {:016x} under another name", header.number))),
        Err(HeaderError::Version(version)) => Err(LogError::Version { file: path.into(), version }),
        Err(HeaderError::Damaged(damage)) => Err(damaged(path, 0, damage)),
    }
}

pub(super) fn damaged(file: &Path, offset: usize, why: impl ToString) -> LogError {
    LogError::Damaged { file: file.into(), offset: offset as u64, why: why.to_string() }
}

/// The result of reading one segment.
pub(super) struct Walked {
    pub state: State,
    pub end: u64,
    pub length: u64,
    pub how: End,
}

/// Reads one segment from its header to its end. `next` is the header of the segment after it.
pub(super) fn walk(
    path: &Path,
    header: &SegmentHeader,
    next: Option<&SegmentHeader>,
    visit: Visit<'_>,
) -> Result<Walked, LogError> {
    let bytes = fs::read(path).map_err(LogError::io("cannot read", path))?;
    let mut state = header.state.clone();
    let mut at = SEGMENT_HEADER.min(bytes.len());
    let mut closed = state.sequence == 1;
    loop {
        let place = Place { path, header, at };
        let found = match group(&place, &bytes, &state) {
            Found::Whole(group, checksum, batches) => {
                let bytes = GROUP_HEADER + group.length as usize;
                closed = group.flags & CLOSED != 0;
                visit(Seen::Group { offset: at as u64, bytes: bytes as u64, sequence: group.sequence, closed })?;
                apply(&place, &mut state, &batches, visit)?;
                (state.sequence, state.chain) = (state.sequence + 1, checksum);
                at += bytes;
                continue;
            }
            found => found,
        };
        let facts = Facts {
            torn: matches!(found, Found::Torn(_)),
            misplaced: matches!(found, Found::Misplaced),
            later: has_later_group(&bytes, at, header.salt, state.sequence),
            next: next.map(|next| next.log == header.log && next.state == state),
        };
        let verdict = judge(facts);
        #[cfg(test)]
        let verdict = match verdict {
            Verdict::Damaged(_) if seeded_bugs::is_planted(SeededBug::CutNotLast) => Verdict::Cut,
            right => right,
        };
        let how = match verdict {
            Verdict::End if closed => End::Closed,
            Verdict::End => End::Open,
            Verdict::Cut => End::Torn,
            Verdict::Damaged(why) => {
                return Err(match found {
                    Found::Torn(detail) => damaged(path, at, format!("{why} ({detail})")),
                    _ => damaged(path, at, why),
                });
            }
        };
        return Ok(Walked { state, end: at as u64, length: bytes.len() as u64, how });
    }
}

struct Place<'a> {
    path: &'a Path,
    header: &'a SegmentHeader,
    at: usize,
}

/// What is found where a group is expected.
enum Found<'a> {
    Whole(GroupHeader, u64, Vec<Batch<'a>>),
    /// The header of the expected group, whose body is not whole.
    Torn(Damage),
    /// The header of another group of this segment.
    Misplaced,
    Nothing,
}

fn group<'a>(place: &Place<'_>, bytes: &'a [u8], state: &State) -> Found<'a> {
    let Some((group, checksum)) = bytes.get(place.at..).and_then(GroupHeader::parse) else { return Found::Nothing };
    if group.salt != place.header.salt {
        return Found::Nothing;
    }
    if group.sequence != state.sequence || group.chain != state.chain {
        return Found::Misplaced;
    }
    let from = place.at + GROUP_HEADER;
    let body = bytes.get(from..from + group.length as usize).ok_or(Damage("it goes beyond the file"));
    match body.and_then(|body| parse_body(&group, body)) {
        Ok(batches) => Found::Whole(group, checksum, batches),
        Err(damage) => Found::Torn(damage),
    }
}

/// Whether there is, anywhere behind `at`, a group that was written after the one expected there.
fn has_later_group(bytes: &[u8], at: usize, salt: u64, sequence: u64) -> bool {
    let later = |at| {
        let group = GroupHeader::parse(&bytes[at..]);
        group.is_some_and(|(group, _)| group.salt == salt && group.sequence > sequence)
    };
    (at + 8..bytes.len()).step_by(8).any(later)
}

/// The facts about the end of a segment's whole groups.
#[derive(Clone, Copy, Debug)]
struct Facts {
    /// The header of the next group is there, its body is not whole.
    torn: bool,
    /// The header of another group is there.
    misplaced: bool,
    /// A later group is behind it.
    later: bool,
    /// There is another segment, and it continues exactly here.
    next: Option<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// The segment ends here.
    End,
    /// A group was being written when the process ended. It was never published.
    Cut,
    Damaged(&'static str),
}

/// Judges the facts by the table of `docs/LOG_FORMAT.md`, Recovery.
fn judge(facts: Facts) -> Verdict {
    match facts {
        Facts { misplaced: true, .. } => Verdict::Damaged("a group stands where another one belongs"),
        Facts { later: true, .. } => Verdict::Damaged("a group is not as it was written, and a later one is there"),
        Facts { next: None, torn: true, .. } => Verdict::Cut,
        Facts { next: None, torn: false, .. } => Verdict::End,
        Facts { next: Some(true), torn: false, .. } => Verdict::End,
        Facts { next: Some(_), .. } => Verdict::Damaged("the next segment does not go on where this one ends"),
    }
}

/// Checks the batches of a whole group against the state of the log, and advances the state.
fn apply(place: &Place<'_>, state: &mut State, batches: &[Batch<'_>], visit: Visit<'_>) -> Result<(), LogError> {
    let mut offset = place.at + GROUP_HEADER;
    let mut before = None;
    for batch in batches {
        let lane = batch.header.lane;
        let refuse = |why| damaged(place.path, offset, format!("{lane}: {why}"));
        let Some(then) = state.lanes.get_mut(lane.index()).filter(|_| before < Some(lane)) else {
            return Err(refuse("there is no such lane here"));
        };
        before = Some(lane);
        if batch.header.first != then.next {
            return Err(refuse("its positions do not follow those before"));
        }
        if batch.header.chain != then.chain {
            return Err(refuse("its batch does not follow the one before"));
        }
        let wall_ms = batch.header.wall_ms.unwrap_or(then.wall_ms);
        if wall_ms < then.wall_ms {
            return Err(refuse("its batch is older than the one before"));
        }
        then.wall_ms = wall_ms;
        (then.next, then.chain) = (Lsn(then.next.0 + u64::from(batch.header.records)), batch.checksum);
        let at = offset + batch.header_bytes;
        let mut found = 0;
        let walked = records(batch, |index, within, record| {
            found += 1;
            let lsn = Lsn(batch.header.first.0 + index);
            match record {
                Record::Open(_) if index == 0 => then.epoch = lsn,
                Record::Open(_) => {
                    return ControlFlow::Break(Err(refuse("an OPEN that is not the first of its batch")));
                }
                Record::Trim { upto } if upto >= lsn => {
                    return ControlFlow::Break(Err(refuse("a trim of what comes after it")));
                }
                Record::Trim { upto } => then.trimmed = then.trimmed.max(upto),
                _ => {}
            }
            let offset = (at + within) as u64;
            let entry = Entry { lane, lsn, wall_ms, at: locate(place.header.number, offset), record };
            match visit(Seen::Record { offset, entry }) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => ControlFlow::Break(Err(error)),
            }
        });
        match walked {
            Ok(ControlFlow::Break(result)) => result?,
            Ok(ControlFlow::Continue(())) if found == batch.header.records => {}
            Ok(ControlFlow::Continue(())) => return Err(refuse("a batch has another number of records than it says")),
            Err((_, NoRecord::Damaged(damage))) => return Err(refuse(damage.0)),
            Err((within, NoRecord::Unknown(what))) => {
                return Err(LogError::Unknown { file: place.path.into(), offset: (at + within) as u64, what });
            }
        }
        if batch.header.epoch != then.epoch {
            return Err(refuse("a batch of another opening of the lane"));
        }
        offset = at + batch.frames.len();
    }
    Ok(())
}

/// Visits the records of a batch: index, offset within the frames, record. The error has the offset, too.
fn records<'a>(
    batch: &Batch<'a>,
    mut show: impl FnMut(u64, usize, Record<'a>) -> ControlFlow<Result<(), LogError>>,
) -> Result<ControlFlow<Result<(), LogError>>, (usize, NoRecord)> {
    let (mut frames, mut index) = (batch.frames, 0);
    while !frames.is_empty() {
        let within = batch.frames.len() - frames.len();
        let (payload, rest) = split_frame(frames).map_err(|damage| (within, damage.into()))?;
        let record = Record::parse(payload).map_err(|error| (within, error))?;
        if let ControlFlow::Break(result) = show(index, within, record) {
            return Ok(ControlFlow::Break(result));
        }
        (frames, index) = (rest, index + 1);
    }
    Ok(ControlFlow::Continue(()))
}

/// Encodes a place in the log as one number: 32 bits of segment, 32 bits of offset.
fn locate(segment: u64, offset: u64) -> At {
    At(segment << 32 | offset)
}

/// Decodes the segment and the offset in it.
pub(super) fn located(at: At) -> (u64, u64) {
    (at.0 >> 32, at.0 & u64::from(u32::MAX))
}

/// Returns the position up to which a batch of frames trims its lane, if it does.
pub(super) fn trim_in(mut frames: &[u8]) -> Option<Lsn> {
    let mut trimmed = None;
    while let Ok((payload, rest)) = split_frame(frames) {
        if let Ok(Record::Trim { upto }) = Record::parse(payload) {
            trimmed = Some(upto);
        }
        frames = rest;
    }
    trimmed
}

/// Counts the records at the front of `frames` that fit into `room` bytes; returns also their length.
pub(super) fn fit(frames: &[u8], records: u32, room: usize) -> (u32, usize) {
    if frames.len() <= room {
        return (records, frames.len());
    }
    let (mut count, mut length) = (0, 0);
    while let Some(bytes) = frames[length..].first_chunk() {
        let record = padded(FRAME + u32::from_le_bytes(*bytes) as usize);
        if length + record > room {
            break;
        }
        (count, length) = (count + 1, length + record);
    }
    (count, length)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every combination of facts, so that the table has no hole and nothing falls into the wrong row.
    #[test]
    fn only_the_end_of_the_last_segment_is_cut() {
        for bits in 0..8 {
            let (torn, misplaced, later) = (bits & 1 != 0, bits & 2 != 0, bits & 4 != 0);
            for next in [None, Some(false), Some(true)] {
                let verdict = judge(Facts { torn, misplaced, later, next });
                let expected = match (torn, misplaced || later, next) {
                    (true, false, None) => "cut",
                    (false, false, None | Some(true)) => "end",
                    _ => "damaged",
                };
                let name = match verdict {
                    Verdict::End => "end",
                    Verdict::Cut => "cut",
                    Verdict::Damaged(_) => "damaged",
                };
                assert_eq!(name, expected, "{torn} {misplaced} {later} {next:?}");
            }
        }
    }
}
