//! Segments, space and size: oversized records, a full disk, leftover files.

use rustix::io::Errno;

use super::*;
use crate::base::failpoints::Failpoint;

#[test]
fn a_group_goes_on_in_the_next_segment() {
    let dir = Dir::new(2);
    let log = dir.open();
    let writers = [0, 1].map(|lane| log.open(Lane::new(lane), NODE).unwrap());
    for number in 0..20 {
        submit(&log, &writers[number as usize % 2], turn(&head(number % 2, 1), number.into(), 4096));
    }
    assert!(log.step() && !log.step());
    let usage = log.usage();
    assert!(usage.groups >= 3 && usage.segments >= 3, "80 KiB in segments of 32: {usage:?}");
    assert_eq!((usage.records, usage.in_flight), (22, 0));
    drop(log);
    assert_eq!(replayed(&dir.open()).len(), 22);
}

#[test]
fn a_record_larger_than_a_segment_is_written_all_the_same() {
    let dir = Dir::new(1);
    let log = dir.open();
    let writer = log.open(Lane::new(0), NODE).unwrap();
    let mut encoder = TurnEncoder::new(&head(0, 1));
    for number in 1..20 {
        let mut image = [0; PAGE];
        Env::manual(number).0.fill_random(&mut image);
        encoder.page(number as u32, &image);
    }
    let record = encoder.finish();
    assert!(record.len() as u64 > dir.options.segment_bytes);
    submit(&log, &writer, record);
    submit(&log, &writer, turn(&head(0, 2), 1, 10));
    log.step();
    drop(log);
    assert_eq!(replayed(&dir.open()).len(), 3);
}

#[test]
fn a_full_disk_is_an_answer_and_passes() {
    for manual in [true, false] {
        let mut dir = Dir::new(1);
        dir.options.manual = manual;
        let disk = SimulatedDisk::new(dir.temp.path()).unwrap();
        let log = FileLog::open(&dir.path(), dir.options.clone(), disk.clone()).unwrap();
        let writer = log.open(Lane::new(0), NODE).unwrap();
        for nth in 1..20 {
            disk.fail(Failpoint::SegmentCreate, Errno::NOSPC, nth);
        }
        let mut told = 0;
        let mut last = Lsn(0);
        let mut number = 0;
        while told < 3 {
            let record = turn(&head(0, 1), number, 4096);
            match lane::block_on(reserve(&log, record.len() as u64)) {
                Ok(mut reservation) => last = writer.submit(record, &mut reservation, |_| {}),
                Err(why) => {
                    assert!(why.contains("cannot make a segment"), "{why}");
                    told += 1;
                }
            }
            number += 1;
            if manual {
                log.step();
            }
        }
        assert!(number > 3, "the available room is used");
        writer.durable().wait(last).unwrap();
        // Space becomes available without a notice: a refused reservation tries again.
        let record = turn(&head(0, 1), number, 4096);
        let mut reservation = loop {
            if let Ok(reservation) = lane::block_on(reserve(&log, record.len() as u64)) {
                break reservation;
            }
        };
        last = writer.submit(record, &mut reservation, |_| {});
        log.close();
        drop((log, writer));
        assert_eq!(replayed(&dir.open()).len() as u64, last.0, "nothing that was submitted is lost");
    }
}

/// An error before any byte of a group was written loses nothing: the writer waits, reservations are refused meanwhile,
/// and everything that was submitted is kept.
#[test]
fn a_segment_that_cannot_be_begun_is_waited_for() {
    for error in [Errno::NOSPC, Errno::DQUOT, Errno::NOMEM] {
        let mut dir = Dir::new(1);
        dir.options.manual = false;
        let disk = SimulatedDisk::new(dir.temp.path()).unwrap();
        let log = FileLog::open(&dir.path(), dir.options.clone(), disk.clone()).unwrap();
        let writer = log.open(Lane::new(0), NODE).unwrap();
        for nth in 1..12 {
            disk.fail(Failpoint::SegmentCreate, error, nth);
        }
        for nth in 1..4 {
            disk.fail(Failpoint::SegmentHeader, error, nth);
        }
        // Without reservations, like the log's own records, for which no room was reserved.
        let mut reservation = lane::block_on(reserve(&log, 1)).unwrap();
        let records = (0..20).map(|number| turn(&head(0, 1), number, 4096));
        let last = records.map(|record| writer.submit(record, &mut reservation, |_| {})).last().unwrap();
        writer.durable().wait(last).unwrap();
        log.close();
        drop((log, writer));
        assert_eq!(replayed(&dir.open()).len() as u64, last.0, "{error:?}");
    }
}

#[test]
fn a_log_that_was_closed_leaves_only_segments_as_long_as_what_they_hold() {
    let mut dir = Dir::new(1);
    dir.options.manual = false;
    let log = dir.open();
    let writer = log.open(Lane::new(0), NODE).unwrap();
    for number in 0..30 {
        let record = turn(&head(0, 1), number, 2000);
        let mut reservation = lane::block_on(reserve(&log, record.len() as u64)).unwrap();
        writer.submit(record, &mut reservation, |_| {});
    }
    log.close();
    let report = verify(&dir.path()).unwrap();
    assert_eq!(report.end, Some(End::Closed));
    let files = std::fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(files, report.segments.len(), "no spare file is left");
    let last = report.segments.last().unwrap();
    assert_eq!(std::fs::metadata(&last.file).unwrap().len(), last.end);
    log.close();
}

#[test]
fn trimmed_segments_go_and_records_in_them_are_gone() {
    let dir = Dir::new(1);
    let log = dir.open();
    let writer = log.open(Lane::new(0), NODE).unwrap();
    for number in 0..40 {
        submit(&log, &writer, turn(&head(0, 1), number, 4096));
        log.step();
    }
    drop((log, writer));
    let log = dir.open();
    let mut places = Vec::new();
    log.replay(&mut |entry| {
        places.push(entry.at);
        Ok(())
    })
    .unwrap();
    let writer = log.open(Lane::new(0), NODE).unwrap();
    log.step();
    let before = log.usage();
    log.trim(&[writer.appended()]).unwrap();
    let after = log.usage();
    assert!(after.live < before.live / 4 && after.segments == 1, "{before:?} {after:?}");
    assert!(matches!(log.fetch(places[0]), Err(LogError::Gone)));
    drop((log, writer));
    assert_eq!(replayed(&dir.open()), ["lane 0 @43 trim @42"]);
}
