//! Damage is reported at its exact place, or it is in the last group, which is then cut off; wrong data is never
//! returned.

use std::fs;
use std::os::unix::fs::FileExt;

use super::super::format::*;
use super::*;

/// The contents of a log: the segment and group of each record, and the record as text.
fn contents(dir: &Path) -> Result<(Vec<String>, End), LogError> {
    let mut records = Vec::new();
    let end = inspect(dir, &mut |seen| {
        if let Seen::Record { entry, .. } = seen {
            records.push(show(&entry));
        }
        Ok(())
    })?;
    Ok((records, end))
}

/// Groups as (segment, start, end).
fn groups(dir: &Path) -> Vec<(PathBuf, u64, u64)> {
    let (mut groups, mut segment) = (Vec::new(), PathBuf::new());
    inspect(dir, &mut |seen| {
        match seen {
            Seen::Segment { file, .. } => segment = file.into(),
            Seen::Group { offset, bytes, .. } => groups.push((segment.clone(), offset, offset + bytes)),
            Seen::Record { .. } => {}
        }
        Ok(())
    })
    .unwrap();
    groups
}

/// Makes a small log of several segments with some groups each.
fn small(closed: bool) -> Dir {
    let mut dir = Dir::new(2);
    dir.options.segment_bytes = 6 << 10;
    let log = dir.open();
    let writers = [0, 1].map(|lane| log.open(Lane::new(lane), NODE).unwrap());
    for number in 0..8 {
        submit(&log, &writers[0], turn(&head(0, number), number.into(), 150));
        if number % 3 == 0 {
            submit(&log, &writers[1], Encoded::class_removed("class"));
        }
        log.step();
    }
    if closed {
        log.close();
    }
    drop(log);
    assert!((2..5).contains(&dir.segments().len()), "{}", dir.segments().len());
    dir
}

#[test]
fn every_byte_matters_or_means_nothing() {
    for closed in [false, true] {
        let dir = small(closed);
        let (whole, end) = contents(&dir.path()).unwrap();
        assert_eq!(end, if closed { End::Closed } else { End::Open });
        let groups = groups(&dir.path());
        let last = groups.last().unwrap();
        let last_records = if closed { 0 } else { 1 };
        let (mut told, mut cut) = (0, 0);
        for file in dir.segments() {
            let original = fs::read(&file).unwrap();
            let on_disk = fs::OpenOptions::new().write(true).open(&file).unwrap();
            for at in 0..original.len() {
                let group = groups.iter().find(|(path, from, to)| *path == file && (*from..*to).contains(&(at as u64)));
                if group.is_none() && at >= SEGMENT_HEADER + 512 && at % 61 != 0 {
                    continue; // Nothing was ever written there; a sample is enough.
                }
                on_disk.write_all_at(&[original[at] ^ 1 << (at % 8)], at as u64).unwrap();
                match contents(&dir.path()) {
                    Err(LogError::Damaged { file: named, offset, .. }) => {
                        assert_eq!(named, file);
                        let expected = group.map_or(offset..offset + 1, |(_, from, _)| *from..*from + 1);
                        assert!(expected.contains(&offset) && offset <= at as u64, "byte {at} is reported at {offset}");
                        assert!(at < SEGMENT_HEADER || group.is_some());
                        told += 1;
                    }
                    Ok((records, End::Torn | End::Open | End::Closed)) if group == Some(last) => {
                        assert_eq!(records, whole[..whole.len() - last_records]);
                        cut += 1;
                    }
                    Ok(found) => {
                        assert!(
                            group.is_none() && at >= SEGMENT_HEADER,
                            "byte {at} of {} is not detected",
                            file.display()
                        );
                        assert_eq!(found.0, whole);
                    }
                    Err(other) => panic!("byte {at}: {other}"),
                }
                on_disk.write_all_at(&original[at..=at], at as u64).unwrap();
            }
        }
        assert_eq!(cut, last.2 - last.1);
        assert!(told > 2 * SEGMENT_HEADER, "{told}");
        assert_eq!(contents(&dir.path()).unwrap().0, whole);
    }
}

#[test]
fn damage_refuses_to_open_and_changes_nothing() {
    let dir = small(true);
    let file = &dir.segments()[0];
    let mut bytes = fs::read(file).unwrap();
    let (_, from, _) = groups(&dir.path())[1];
    bytes[from as usize + 100] ^= 1;
    fs::write(file, &bytes).unwrap();
    let error = dir.try_open().err().unwrap().to_string();
    assert!(error.contains(&format!("{} at byte {from}", file.display())) && error.contains("backup"), "{error}");
    assert_eq!(fs::read(file).unwrap(), bytes);
    // A second damaged place is found, too.
    let other = &dir.segments()[1];
    let mut more = fs::read(other).unwrap();
    more[100] ^= 1;
    fs::write(other, &more).unwrap();
    let report = verify(&dir.path()).unwrap();
    let files: Vec<_> = report.damage.iter().map(ToString::to_string).collect();
    assert_eq!(files.len(), 2, "{files:?}");
    assert!(files.iter().any(|text| text.contains(file.to_str().unwrap())));
    assert!(files.iter().any(|text| text.contains(other.to_str().unwrap())));
}

#[test]
fn a_whole_log_verifies() {
    let dir = small(true);
    let report = verify(&dir.path()).unwrap();
    assert!(report.damage.is_empty());
    assert_eq!(report.end, Some(End::Closed));
    assert_eq!(report.lanes, [(Lsn(9), Lsn(0)), (Lsn(4), Lsn(0))]);
    assert_eq!(report.segments.iter().map(|segment| segment.records).sum::<u64>(), 13);
    let nothing = verify(&dir.temp.path().join("nowhere")).unwrap();
    assert!(nothing.segments.is_empty() && nothing.damage.is_empty());
}

#[test]
fn a_newer_version_is_refused_and_left_alone() {
    let dir = small(true);
    let file = dir.last_segment();
    let mut bytes = fs::read(&file).unwrap();
    bytes[8] = 3;
    let checksum = xxhash_rust::xxh3::xxh3_64(&bytes[..16]).to_le_bytes();
    bytes[16..24].copy_from_slice(&checksum);
    fs::write(&file, &bytes).unwrap();
    let error = dir.try_open().err().unwrap();
    assert!(matches!(&error, LogError::Version { version: 3, .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains(file.to_str().unwrap()) && text.contains("version 3") && text.contains("1 and 2"), "{text}");
    assert_eq!(fs::read(&file).unwrap(), bytes);
    assert!(matches!(verify(&dir.path()).unwrap().damage[..], [LogError::Version { .. }]));
}

fn damage(dir: &Dir) -> String {
    match dir.try_open() {
        Err(error @ LogError::Damaged { .. }) => error.to_string(),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it opened"),
    }
}

#[test]
fn segments_that_are_gone_old_or_swapped_are_found() {
    let dir = small(true);
    let files = dir.segments();
    let aside = dir.temp.path().join("aside");
    copy_dir(&dir.path(), &aside);
    let restore = || copy_dir(&aside, &dir.path());

    fs::remove_file(&files[0]).unwrap();
    assert!(damage(&dir).contains(&format!("{} at byte 0: this segment is missing", files[0].display())));
    restore();
    fs::rename(&files[0], &files[1]).unwrap();
    assert!(damage(&dir).contains("under another name"));
    restore();
    // An older copy of a segment, without its last group.
    let (_, from, _) = groups(&dir.path()).into_iter().rfind(|(path, ..)| *path == files[0]).unwrap();
    let older = fs::read(&files[0]).unwrap()[..from as usize].to_vec();
    fs::write(&files[0], older).unwrap();
    assert!(damage(&dir).contains("does not go on"));
    restore();
    fs::write(&files[0], b"").unwrap();
    assert!(damage(&dir).contains("at byte 0"));
    restore();
    assert!(dir.try_open().is_ok());
}

/// Groups with valid checksums and impossible contents.
#[test]
fn a_hole_a_rollback_or_a_fork_of_a_lane_is_found() {
    let forge = |change: &dyn Fn(&mut BatchHeader), expected: &str| {
        let dir = small(false);
        let scan = scan::scan(&dir.path(), 1, &mut |_| Ok(())).unwrap();
        let (segment, state) = (scan.segments.last().unwrap(), &scan.state);
        let record = turn(&head(0, 1), 1, 10);
        let lane = state.lanes[0];
        let mut batch = BatchHeader {
            lane: Lane::new(0),
            records: 1,
            first: lane.next,
            epoch: lane.epoch,
            chain: lane.chain,
            length: record.len() as u32,
            wall_ms: Some(lane.wall_ms),
        };
        change(&mut batch);
        let encoded = batch.encode(record.bytes());
        let header = encoded.bytes();
        let group = GroupHeader {
            length: (header.len() + record.len()) as u32,
            batches: 1,
            flags: 0,
            sequence: state.sequence,
            salt: segment.header.salt,
            chain: state.chain,
            body: xxhash_rust::xxh3::xxh3_64(header),
        };
        let mut bytes = fs::read(&segment.path).unwrap();
        bytes.truncate(segment.end as usize);
        bytes.extend(group.encode().0);
        bytes.extend(header);
        bytes.extend(record.bytes());
        fs::write(&segment.path, bytes).unwrap();
        match dir.try_open() {
            Ok(_) => assert!(expected.is_empty(), "expected: {expected}"),
            Err(error) => {
                let text = error.to_string();
                assert!(!expected.is_empty() && text.contains(expected), "{text}");
                assert!(text.contains(&format!("at byte {}", segment.end + GROUP_HEADER as u64)), "{text}");
            }
        }
    };
    forge(&|_| {}, "");
    forge(&|batch| batch.wall_ms = Some(batch.wall_ms.unwrap() + 1), "");
    forge(&|batch| batch.wall_ms = Some(batch.wall_ms.unwrap() - 1), "older than the one before");
    forge(&|batch| batch.first.0 += 1, "positions do not follow");
    forge(&|batch| batch.first.0 -= 1, "positions do not follow");
    forge(&|batch| batch.chain ^= 1, "does not follow the one before");
    forge(&|batch| batch.epoch.0 += 1, "another opening");
    forge(&|batch| batch.records = 2, "another number of records");
    forge(&|batch| batch.lane = Lane::new(2), "no such lane");
}

#[test]
fn stale_groups_of_a_used_file_are_not_taken_for_new_ones() {
    let mut dir = Dir::new(1);
    dir.options.segment_bytes = 16 << 10;
    let log = dir.open();
    let writer = log.open(Lane::new(0), NODE).unwrap();
    // Until the last segment is in a file that holds groups of an earlier one after its own end.
    let stale = |dir: &Dir| {
        let scan = scan::scan(&dir.path(), 1, &mut |_| Ok(())).unwrap();
        let (segment, bytes) = (scan.segments.last().unwrap(), fs::read(dir.last_segment()).unwrap());
        let found = (segment.end as usize..bytes.len()).step_by(8).filter_map(|at| GroupHeader::parse(&bytes[at..]));
        found.filter(|(group, _)| group.salt != segment.header.salt).count()
    };
    let mut last = Lsn(0);
    for number in 0.. {
        assert!(number < 300, "no file is used again");
        last = submit(&log, &writer, turn(&head(0, 1), number, 1000));
        log.step();
        if number % 20 == 19 {
            log.trim(&[last]).unwrap();
            if stale(&dir) > 1 {
                break;
            }
        }
    }
    let trim = Lsn(last.0 + 1);
    drop((log, writer));
    let log = dir.open();
    assert_eq!(replayed(&log), [format!("lane 0 {trim} trim {last}")]);
}
