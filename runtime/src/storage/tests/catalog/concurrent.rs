//! Readers, the disk and the writing thread at the same time: a reader sees a complete prefix of each lane.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::*;

const EACH: u64 = 3_000;

/// Returns an object of this lane whose id contains its LSN.
fn object(lane: Lane, lsn: u64) -> ObjectId {
    let mut id = [0; 32];
    // The middle of the lane's part of the 4,096 slots, which are the first twelve bits.
    id[..2].copy_from_slice(&((2 * lane.index() as u16 + 1) * (0x8000 / LANES)).to_be_bytes());
    id[24..].copy_from_slice(&lsn.to_be_bytes());
    assert_eq!(Lane::of(&id, LANES), lane);
    ObjectId::from_bytes(id)
}

/// Checks that the list is a prefix of each lane, and returns its length.
fn prefixes(catalog: &Catalog) -> Vec<u64> {
    let mut found = vec![Vec::new(); LANES.into()];
    for entry in catalog.list(&key(), None, None, usize::MAX).unwrap().entries {
        let lsn = u64::from_be_bytes(entry.id.as_bytes()[24..].try_into().unwrap());
        found[Lane::of(entry.id.as_bytes(), LANES).index()].push(lsn);
    }
    for lane in &mut found {
        lane.sort_unstable();
        assert!(lane.iter().zip(1..).all(|(lsn, expected)| *lsn == expected), "a hole");
    }
    found.iter().map(|lane| lane.len() as u64).collect()
}

#[test]
fn readers_see_whole_prefixes() {
    let root = tempfile::tempdir().unwrap();
    let dir = DataDir::open(root.path()).unwrap();
    let lanes = Lanes::new();
    let catalog = open(&dir, &lanes);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let writing = scope.spawn(|| {
            for lsn in 1..=EACH {
                for n in 0..LANES {
                    let (lane, class) = (Lane::new(n), key());
                    catalog.note(
                        lane,
                        Lsn(lsn),
                        Change::Object { class, id: object(lane, lsn), name: None, bytes: 1, alarm: None },
                    );
                    if lsn % (3 + u64::from(n)) == 0 {
                        lanes.durable[lane.index()].send_replace(Durable::Upto(Lsn(lsn)));
                    }
                }
            }
        });
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                catalog.write(&lanes.upto()).unwrap();
            }
        });
        while !writing.is_finished() {
            let before = lanes.upto();
            let seen = prefixes(&catalog);
            for ((before, seen), after) in before.into_iter().zip(seen).zip(lanes.upto()) {
                assert!(before.0 <= seen && seen <= after.0, "{before} {seen} {after}");
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(prefixes(&catalog), lanes.upto().iter().map(|lsn| lsn.0).collect::<Vec<_>>());
}
