//! A catalog and the log that it follows, used as the objects and the start-up use them.

use super::*;
use crate::base::Env;
use crate::storage::commit_log::{Encoded, LaneLog, LaneWriter, LogOptions, MemoryLog, PAGE, TurnEncoder, TurnHead};
use crate::storage::replay::replay;

fn bytes(part: u32) -> u64 {
    4096 * u64::from(part + 3)
}

/// Encodes a turn as one part of its record, the last part or not.
fn turn(address: &ObjectAddress, part: u32, last: bool, deleted: bool) -> Encoded {
    let mut turn = TurnEncoder::new(&TurnHead {
        class: address.key.as_str(),
        id: *address.id.as_bytes(),
        incarnation: 1,
        previous: Lsn(0),
        part,
        last,
        created: !deleted && part == 0,
        adopted: false,
        deleted,
        page_count: 3,
        bytes: bytes(part),
        name: address.name.as_ref().map(ObjectName::as_str),
        alarms: None,
    });
    if !deleted {
        turn.page(part + 1, &[7; PAGE]);
    }
    turn.finish()
}

struct Lists {
    log: MemoryLog,
    writers: Vec<LaneWriter>,
    catalog: Catalog,
}

impl Lists {
    fn start(dir: &DataDir, log: MemoryLog) -> Self {
        let trimmed: Vec<_> = (0..LANES).map(|n| log.trimmed(Lane::new(n))).collect();
        let (catalog, _, lost) = Catalog::open(dir, &trimmed).unwrap();
        catalog.rebuild(&lost, &dir.objects()).unwrap();
        replay(&log, |lane, lsn, said| {
            catalog.replay(lane, lsn, said.change());
            Ok(())
        })
        .unwrap();
        let writers: Vec<_> = (0..LANES).map(|n| log.open(Lane::new(n), [0; 16]).unwrap()).collect();
        catalog.follow(writers.iter().map(LaneWriter::durable).collect()).unwrap();
        Self { log, writers, catalog }
    }

    fn append(&self, lane: Lane, record: Encoded, change: Option<Change>) {
        let mut reservation = self.log.try_reserve(record.len() as u64).unwrap();
        self.writers[lane.index()].submit(record, &mut reservation, |lsn| {
            change.into_iter().for_each(|change| self.catalog.note(lane, lsn, change));
        });
    }

    fn turn(&self, address: &ObjectAddress, part: u32, last: bool, deleted: bool) {
        let lane = Lane::of(address.id.as_bytes(), LANES);
        let change = if deleted { gone(address) } else { exists(address, bytes(part)) };
        self.append(lane, turn(address, part, last, deleted), last.then_some(change));
    }

    /// Kills the process and starts the next one.
    fn crash(self, dir: &DataDir) -> Self {
        let log = self.log.crash();
        drop(self);
        Self::start(dir, log)
    }

    fn trim(&self) {
        let upto: Vec<_> = self.writers.iter().map(|writer| writer.durable().upto()).collect();
        self.catalog.write(&upto).unwrap();
        self.log.trim(&upto).unwrap();
    }

    fn names(&self) -> Vec<String> {
        names(&self.catalog, None)
    }
}

#[test]
fn the_list_is_what_the_log_has_made_durable() {
    let root = tempfile::tempdir().unwrap();
    let dir = DataDir::open(root.path()).unwrap();
    let env = Env::system();
    let node = Lists::start(&dir, MemoryLog::new(LogOptions { lanes: LANES, ..LogOptions::new(env) }));
    node.turn(&address("a"), 0, true, false);
    node.turn(&address("parts"), 0, false, false);
    assert!(node.names().is_empty());
    node.log.step();
    assert_eq!(node.names(), ["a"], "one is durable, one is not whole");
    node.turn(&address("parts"), 1, true, false);
    node.log.step();
    assert_eq!(node.names(), ["a", "parts"]);
    assert_eq!(node.catalog.list(&key(), Some("parts"), None, 1).unwrap().entries[0].bytes, 4 * 4096);
    node.turn(&address("b"), 0, true, false);
    node.turn(&address("a"), 0, true, true);
    let node = node.crash(&dir);
    assert_eq!(node.names(), ["a", "parts"], "replayed; what was only appended is gone");
    node.turn(&address("a"), 0, true, true);
    node.log.step();
    node.trim();
    let node = node.crash(&dir);
    assert_eq!(node.names(), ["parts"], "trimmed, so it was written");
    for n in 0..LANES {
        node.append(Lane::new(n), Encoded::class_removed(key().as_str()), Some(Change::ClassGone { class: key() }));
    }
    node.log.step();
    assert!(node.names().is_empty());
    assert!(node.crash(&dir).names().is_empty());
}
