//! Tests of the commit log, and their harness.

mod conformance;
mod damage;
mod golden;
mod limits;
mod power;
mod records;
mod speed;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;

use super::*;
use crate::base::disk::SimulatedDisk;
use crate::base::{Disk, SystemDisk};
use crate::storage::tests::directory_in_memory;

pub const NODE: [u8; 16] = *b"node of the test";

/// Returns options with small numbers, so that limits are reached; nothing is done without a step.
pub fn options(lanes: u16) -> LogOptions {
    LogOptions {
        lanes,
        segment_bytes: 32 << 10,
        capacity: 512 << 10,
        in_flight: 128 << 10,
        manual: true,
        env: Env::manual(7).0,
    }
}

/// A log directory that can be opened repeatedly.
pub struct Dir {
    pub temp: TempDir,
    pub options: LogOptions,
}

impl Dir {
    pub fn new(lanes: u16) -> Self {
        Self { temp: directory_in_memory(), options: options(lanes) }
    }

    pub fn path(&self) -> PathBuf {
        self.temp.path().join("log")
    }

    pub fn try_open(&self) -> Result<FileLog, LogError> {
        FileLog::open(&self.path(), self.options.clone(), Arc::new(SystemDisk))
    }

    pub fn open(&self) -> FileLog {
        self.try_open().unwrap()
    }

    pub fn last_segment(&self) -> PathBuf {
        self.segments().pop().unwrap()
    }

    pub fn segments(&self) -> Vec<PathBuf> {
        scan::segment_files(&self.path()).unwrap().into_iter().map(|(_, path)| path).collect()
    }
}

/// Returns the head of a turn of an object in this lane of four.
pub fn head(lane: u16, object: u8) -> TurnHead<'static> {
    let mut id = [object; 32];
    id[0] = (lane as u8) << 6;
    TurnHead {
        class: "class",
        id,
        incarnation: 1,
        previous: Lsn(0),
        part: 0,
        last: true,
        created: false,
        adopted: false,
        deleted: false,
        page_count: 1,
        bytes: 4096,
        name: None,
        alarms: None,
    }
}

/// Returns a turn that wrote one page of noise, `bytes` long, and zeros.
pub fn turn(head: &TurnHead<'_>, seed: u64, bytes: usize) -> Encoded {
    let mut image = [0; PAGE];
    Env::manual(seed).0.fill_random(&mut image[..bytes]);
    let mut encoder = TurnEncoder::new(head);
    encoder.page(1, &image);
    encoder.finish()
}

pub fn submit(log: &dyn LaneLog, writer: &LaneWriter, record: Encoded) -> Lsn {
    let mut reservation = lane::block_on(reserve(log, record.len() as u64)).unwrap();
    writer.submit(record, &mut reservation, |_| {})
}

/// Returns everything that a replay visits, as text.
pub fn replayed(log: &dyn LaneLog) -> Vec<String> {
    let mut seen = Vec::new();
    log.replay(&mut |entry| {
        seen.push(show(&entry));
        let fetched = log.fetch(entry.at)?;
        assert_eq!(Record::parse(&fetched).unwrap(), entry.record, "fetching finds what was shown");
        Ok(())
    })
    .unwrap();
    seen
}

pub fn show(entry: &Entry<'_>) -> String {
    let Entry { lane, lsn, record, .. } = entry;
    match record {
        Record::Open(_) => format!("{lane} {lsn} open"),
        Record::Noop => format!("{lane} {lsn} noop"),
        Record::Trim { upto } => format!("{lane} {lsn} trim {upto}"),
        Record::ClassRemoved { class } => format!("{lane} {lsn} without {class}"),
        Record::Turn(turn) => {
            let (mut pages, mut image, mut sum) = (turn.pages, [0; PAGE], 0);
            while let Some(number) = pages.next(&mut image) {
                sum = xxhash_rust::xxh3::xxh3_64_with_seed(&image, sum + u64::from(number.unwrap()));
            }
            let alarms = turn.head.alarms.map_or(String::new(), |alarms| format!(" {}", show_alarms(alarms)));
            format!("{lane} {lsn} turn {} part {} {sum:x}{alarms}", turn.head.id[1], turn.head.part)
        }
    }
}

fn show_alarms(Alarms { set, running }: Alarms) -> String {
    let one = |numbered: Option<NumberedAlarm>| match numbered {
        Some(NumberedAlarm { serial, alarm }) => {
            format!("#{serial} {}/{}/{}", alarm.due_ms, alarm.attempt, alarm.next_ms)
        }
        None => "-".into(),
    };
    format!("set {} running {}", one(set), one(running))
}

pub fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}
