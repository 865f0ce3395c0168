//! The fuzz targets of the commit log; see [`crate::fuzz`].
//!
//! Checksums keep nearly every damaged byte from the code that parses the contents, so these targets put the right
//! checksums around the fuzzer's input.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use super::format::{BatchHeader, FRAME, GroupHeader, SegmentHeader, State, finish_frame, parse_body, split_frame};
use super::reader::Reader;
use super::record::is_open;
use super::scan::segment_path;
use super::{Damage, FileLog, Lane, LaneLog, LogError, LogOptions, Lsn, PAGE, Record, Seen, Whole, inspect, verify};
use crate::base::Env;
use crate::base::disk::SimulatedDisk;

/// Parses the payload of a record, and headers as they are: what is accepted can be used.
pub fn record(input: &[u8]) {
    if let Ok(Record::Turn(mut turn)) = Record::parse(input) {
        let mut image = [0; PAGE];
        while let Some(Ok(_)) = turn.pages.next(&mut image) {}
    }
    let _ = (SegmentHeader::parse(input), split_frame(input));
    if let Some((header, _)) = GroupHeader::parse(input) {
        let _ = parse_body(&header, input);
    }
}

/// Tests a log of one segment: groups of one batch each, then bytes as they are. What is refused is refused without a
/// change, by the check and by the opening; what is accepted can be opened, replayed and opened again.
pub fn log(input: &[u8]) {
    let root = tempfile::tempdir().expect("there is room for a directory");
    let dir = root.path().join("log");
    fs::create_dir(&dir).expect("there is room for a directory");
    let file = segment_path(&dir, 1);
    let bytes = segment(input);
    fs::write(&file, &bytes).expect("there is room for a file");

    let whole = verify(&dir).expect("it can be read").damage.is_empty();
    match records(&dir) {
        Ok(before) => {
            assert!(whole, "the check accepts it as well");
            let log = open(root.path(), &dir).expect("what was inspected can be opened");
            let (mut parts, mut replayed) = (Whole::default(), 0);
            let visit = &mut |entry: super::Entry<'_>| {
                let _ = parts.next(&entry);
                replayed += 1;
                let fetched = log.fetch(entry.at)?;
                assert_eq!(Record::parse(&fetched), Ok(entry.record));
                Ok(())
            };
            log.replay(visit).expect("what was inspected can be replayed");
            assert!(replayed <= before);
            drop(log);
            assert_eq!(records(&dir).expect("opening recovers what it must"), before);
        }
        Err(LogError::Damaged { file: named, offset, .. } | LogError::Unknown { file: named, offset, .. }) => {
            assert!(!whole && named == file && offset <= bytes.len() as u64, "{} at {offset}", named.display());
            assert!(open(root.path(), &dir).is_err(), "the opening refuses it as well");
            assert!(fs::read(&file).expect("it is there") == bytes, "nothing was changed");
        }
        Err(other) => panic!("{other}"),
    }
}

fn open(root: &Path, dir: &Path) -> Result<FileLog, LogError> {
    let options = LogOptions {
        lanes: 1,
        segment_bytes: 64 << 10,
        capacity: 1 << 20,
        manual: true,
        ..LogOptions::new(Env::manual(1).0)
    };
    FileLog::open(dir, options, SimulatedDisk::new(root).expect("it can be read") as Arc<_>)
}

fn records(dir: &Path) -> Result<u64, LogError> {
    let mut records = 0;
    let count = &mut |seen: Seen<'_>| {
        records += u64::from(matches!(seen, Seen::Record { .. }));
        Ok(())
    };
    inspect(dir, count).map(|_| records)
}

/// Returns the bytes of a segment.
fn segment(input: &[u8]) -> Vec<u8> {
    let mut input = Reader::new(input);
    let mut state = State::new(1 + u16::from(input.u8().unwrap_or_default() % 4));
    let header = SegmentHeader { log: [1; 16], number: 1, salt: 2, state: state.clone() };
    let mut bytes = header.encode();
    loop {
        let rest = input.rest();
        match group(&mut input, &mut state, header.salt) {
            Ok(group) => bytes.extend(group),
            Err(_) => {
                bytes.extend(rest);
                return bytes;
            }
        }
    }
}

/// Returns a group, if the input has one: first its lane and flags, its number of records and the number that it claims
/// to have. For its other numbers the input has the difference from the right ones.
fn group(input: &mut Reader<'_>, state: &mut State, salt: u64) -> Result<Vec<u8>, Damage> {
    let [lane, flags, count, records, first, epoch, time] = input.array()?;
    let mut frames = Vec::new();
    for _ in 0..count % 4 {
        let length = input.u16()?;
        let mut record = vec![0; FRAME];
        record.extend(input.bytes(length.into())?);
        finish_frame(&mut record);
        frames.extend(record);
    }
    let lanes = state.lanes.len();
    let then = &mut state.lanes[usize::from(lane) % lanes];
    let opens = frames.get(FRAME..).is_some_and(is_open);
    let due = if opens { then.next } else { then.epoch };
    let header = BatchHeader {
        lane: Lane::new(u16::from(lane) % lanes as u16),
        records: u32::from(count % 4) + u32::from(records),
        first: Lsn(then.next.0 + u64::from(first)),
        epoch: Lsn(due.0 + u64::from(epoch)),
        chain: then.chain,
        length: frames.len() as u32,
        // Either as version 1 of the log has it, or from 100 ms before the right one.
        wall_ms: (time != 0).then(|| (then.wall_ms + u64::from(time)).saturating_sub(100)),
    };
    let batch = header.encode(&frames);
    (then.next.0, then.epoch, then.chain) = (then.next.0 + u64::from(count % 4), due, batch.checksum);
    then.wall_ms = header.wall_ms.unwrap_or(then.wall_ms);
    let header = GroupHeader {
        length: (batch.bytes().len() + frames.len()) as u32,
        batches: 1,
        flags: u16::from(flags),
        sequence: state.sequence,
        salt,
        chain: state.chain,
        body: xxh3_64(batch.bytes()),
    };
    let (group, checksum) = header.encode();
    (state.sequence, state.chain) = (state.sequence + 1, checksum);
    Ok([&group[..], batch.bytes(), &frames[..]].concat())
}
