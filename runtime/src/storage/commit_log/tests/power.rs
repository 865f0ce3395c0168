//! Power cuts at any moment, repeatedly: what was reported as durable is there, and what is there was submitted.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rustix::io::Errno;

use super::*;

/// What clients know about the log.
#[derive(Clone, Default)]
struct Ledger {
    /// What was submitted in each lane, from position 1; unknown for what an earlier life did not report.
    submitted: [Vec<String>; 2],
    /// The position up to which each lane was reported as durable.
    told: [Lsn; 2],
    /// The certain trim, and the possible one.
    trimmed: [(Lsn, Lsn); 2],
    number: u64,
}

impl Ledger {
    fn submit(&mut self, lane: usize, line: impl FnOnce(Lsn) -> String) -> Lsn {
        let lsn = Lsn(self.submitted[lane].len() as u64 + 1);
        self.submitted[lane].push(line(lsn));
        lsn
    }

    /// Checks that what is found was submitted, and includes everything that was reported.
    fn check(&mut self, log: &dyn LaneLog) -> Vec<String> {
        let lines = replayed(log);
        let mut next = [0, 1].map(|lane| log.trimmed(Lane::new(lane)));
        for (trimmed, (certain, perhaps)) in next.iter().zip(&mut self.trimmed) {
            assert!((*certain..=*perhaps).contains(trimmed), "trimmed up to {trimmed}");
            (*certain, *perhaps) = (*trimmed, *trimmed);
        }
        for line in &lines {
            let lane = usize::from(line.starts_with("lane 1"));
            assert_eq!(Some(line), self.submitted[lane].get(next[lane].0 as usize));
            next[lane].0 += 1;
        }
        for (lane, found) in next.into_iter().enumerate() {
            assert!(found >= self.told[lane], "lane {lane}: {} was reported, {found} is there", self.told[lane]);
            self.told[lane] = found;
            self.submitted[lane].truncate(found.0 as usize);
        }
        lines
    }
}

/// Runs one life of a process: opens, works, ends cleanly if `close`. Panics where the process would end.
fn live(dir: &Dir, disk: &Arc<SimulatedDisk>, ledger: &mut Ledger, rounds: u64, close: bool) -> Result<(), LogError> {
    let log = FileLog::open(&dir.path(), dir.options.clone(), disk.clone())?;
    ledger.check(&log);
    let mut writers = Vec::new();
    for lane in 0..2 {
        ledger.submit(lane, |lsn| format!("lane {lane} {lsn} open"));
        let opened = log.open(Lane::new(lane as u16), NODE);
        if opened.is_err() {
            ledger.submitted[lane].pop();
        }
        writers.push(opened?);
    }
    for round in 0..rounds {
        for (lane, writer) in writers.iter().enumerate().take(1 + round as usize % 2) {
            ledger.number += 1;
            let record = turn(&head(lane as u16, round as u8), ledger.number, 700);
            let payload = record.bytes()[8..].to_vec();
            let record_line = |lsn| {
                let length = u32::from_le_bytes(record.bytes()[..4].try_into().unwrap()) as usize;
                let entry = Entry {
                    lane: Lane::new(lane as u16),
                    lsn,
                    wall_ms: 0,
                    at: At(0),
                    record: Record::parse(&payload[..length]).unwrap(),
                };
                show(&entry)
            };
            let expected = ledger.submit(lane, record_line);
            assert_eq!(submit(&log, writer, record), expected);
        }
        log.step();
        for (lane, writer) in writers.iter().enumerate() {
            ledger.told[lane] = writer.durable().upto();
        }
        if round % 5 == 4 {
            let upto = ledger.told;
            for (lane, upto) in upto.into_iter().enumerate() {
                if upto > ledger.trimmed[lane].0 {
                    ledger.trimmed[lane].1 = upto;
                    ledger.submit(lane, |lsn| format!("lane {lane} {lsn} trim {upto}"));
                }
            }
            log.trim(&upto)?;
            for lane in 0..2 {
                ledger.trimmed[lane].0 = upto[lane];
                ledger.told[lane] = writers[lane].durable().upto();
            }
        }
    }
    if close {
        log.close();
    }
    Ok(())
}

/// Runs a life that may end at once.
fn life(dir: &Dir, disk: &Arc<SimulatedDisk>, ledger: &mut Ledger, rounds: u64, close: bool) -> bool {
    matches!(catch_unwind(AssertUnwindSafe(|| live(dir, disk, ledger, rounds, close))), Ok(Ok(())))
}

fn world() -> (Dir, Arc<SimulatedDisk>) {
    let mut dir = Dir::new(2);
    dir.options.segment_bytes = 8 << 10;
    dir.options.capacity = 128 << 10;
    let disk = SimulatedDisk::new(dir.temp.path()).unwrap();
    (dir, disk)
}

#[test]
fn at_every_operation() {
    let total = {
        let (dir, disk) = world();
        assert!(life(&dir, &disk, &mut Ledger::default(), 12, true));
        disk.operations()
    };
    assert!(total > 80, "{total}");
    for operation in 1..=total {
        for seed in 0..3 {
            let (dir, disk) = world();
            let mut ledger = Ledger::default();
            disk.stop_at(operation);
            life(&dir, &disk, &mut ledger, 12, true);
            disk.power_cut(seed).unwrap();
            // Inspecting alone changes nothing, and repairing again finds the same.
            let report = verify(&dir.path()).unwrap();
            assert!(report.damage.is_empty(), "{:?} after operation {operation}, seed {seed}", report.damage);
            let found = ledger.check(&dir.open());
            assert_eq!(ledger.check(&dir.open()), found);
            let disk = SimulatedDisk::new(dir.temp.path()).unwrap();
            assert!(life(&dir, &disk, &mut ledger, 6, true));
            ledger.check(&dir.open());
        }
    }
}

/// A start is killed, and the next one loses power: what the first had not flushed may be gone, and what the second had
/// not flushed may be there.
#[test]
fn a_killed_start_and_one_without_power() {
    // More than the operations of a start.
    const STOPS: u64 = 20;
    for case in 0..STOPS * STOPS * 4 {
        let (killed, cut, seed) = (1 + case % STOPS, 1 + case / STOPS % STOPS, case / STOPS / STOPS);
        let (dir, disk) = world();
        let mut ledger = Ledger::default();
        assert!(life(&dir, &disk, &mut ledger, 4, false));
        for stop in [killed, cut] {
            disk.restart();
            disk.stop_at(disk.operations() + stop);
            life(&dir, &disk, &mut ledger, 0, false);
        }
        disk.power_cut(seed).unwrap();
        let report = verify(&dir.path()).unwrap();
        assert!(report.damage.is_empty(), "{:?} after operations {killed} and {cut}, seed {seed}", report.damage);
        ledger.check(&dir.open());
    }
}

#[test]
fn again_and_again() {
    for seed in 0..80 {
        let (dir, disk) = world();
        let (random, _) = Env::manual(seed);
        let mut ledger = Ledger::default();
        for _ in 0..5 {
            let [stop, rounds, cut, close] = random.random::<4>();
            disk.stop_at(u64::from(stop) % 120 + 1);
            life(&dir, &disk, &mut ledger, u64::from(rounds) % 20, close % 2 == 0);
            disk.power_cut(u64::from(cut)).unwrap();
        }
        ledger.check(&dir.open());
    }
}

/// A killed process loses nothing that it wrote, flushed or not; what the next process reports is durable then.
#[test]
fn what_a_killed_process_wrote_is_flushed_before_it_is_shown() {
    for seed in 0..20 {
        let (dir, disk) = world();
        let mut ledger = Ledger::default();
        disk.fail(crate::base::failpoints::Failpoint::LogFlush, Errno::IO, 4);
        assert!(!life(&dir, &disk, &mut ledger, 12, false));
        disk.restart();
        let log = FileLog::open(&dir.path(), dir.options.clone(), disk.clone()).unwrap();
        let found = ledger.check(&log);
        assert_eq!(found.len(), ledger.submitted.iter().map(Vec::len).sum::<usize>());
        assert!(found.len() > 6, "{found:?}");
        drop(log);
        disk.power_cut(seed).unwrap();
        assert_eq!(ledger.check(&dir.open()), found);
    }
}

#[test]
fn a_write_or_flush_that_fails_ends_everything() {
    use crate::base::failpoints::Failpoint;
    for failpoint in [Failpoint::LogWrite, Failpoint::LogFlush, Failpoint::LogFlushed] {
        let (dir, disk) = world();
        let log = FileLog::open(&dir.path(), dir.options.clone(), disk.clone()).unwrap();
        let writer = log.open(Lane::new(0), NODE).unwrap();
        assert!(log.step());
        disk.fail(failpoint, Errno::IO, 1);
        let lsn = submit(&log, &writer, turn(&head(0, 1), 1, 10));
        let lost = catch_unwind(AssertUnwindSafe(|| log.step())).unwrap_err();
        let what = lost.downcast_ref::<String>().unwrap();
        assert!(what.starts_with("writing the commit log failed"), "{what}");
        submit(&log, &writer, turn(&head(0, 1), 2, 10));
        assert!(!log.step(), "nothing is written after that");
        assert!(!writer.durable().covers(lsn));
    }
}

/// The simulated disk itself: it loses what a real disk may lose, and nothing else.
#[test]
fn the_disk_keeps_what_was_flushed_and_loses_the_rest_in_many_ways() {
    use crate::base::failpoints::Failpoint::LogWrite;
    let mut seen = std::collections::BTreeMap::<Vec<(String, usize, u8)>, u32>::new();
    for seed in 0..200 {
        let temp = tempfile::tempdir().unwrap();
        let path = |name: &str| temp.path().join(name);
        std::fs::write(path("old"), [1; 1024]).unwrap();
        let disk = SimulatedDisk::new(temp.path()).unwrap();
        let file = disk.open(LogWrite, &path("old")).unwrap();
        disk.write_all_at(LogWrite, &file, &[2; 512], 0).unwrap();
        disk.sync_data(LogWrite, &file).unwrap();
        disk.write_all_at(LogWrite, &file, &[3; 512], 512).unwrap();
        std::fs::write(path("new"), [4; 10]).unwrap();
        disk.rename(LogWrite, &path("old"), &path("moved")).unwrap();
        drop(file);
        disk.power_cut(seed).unwrap();
        let mut state = Vec::new();
        for name in ["old", "moved", "new"] {
            if let Ok(bytes) = std::fs::read(path(name)) {
                state.push((name.to_owned(), bytes.len(), bytes.last().copied().unwrap_or(0)));
                if name != "new" {
                    assert_eq!(bytes[..512], [2; 512], "it was flushed");
                    assert!(bytes[512..] == [1; 512] || bytes[512..] == [3; 512], "a sector is old or new");
                }
            }
        }
        let names: Vec<_> = state.iter().filter(|(name, ..)| name != "new").collect();
        assert_eq!(names.len(), 1, "a rename happens or does not");
        *seen.entry(state).or_default() += 1;
    }
    assert!(seen.len() > 8, "{seen:?}");
}
