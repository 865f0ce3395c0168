//! The stored form of each version, which never changes: the files in `golden/` are read, and what the writer writes
//! today is the newest of them.
//!
//! A change of the format gets a new version and golden files of its own; these stay, and are still read.

use std::fs;
use std::time::Duration;

use super::*;
use crate::base::Alarm;

fn golden(version: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/storage/commit_log/golden").join(version)
}

/// One record of every kind, over two segments.
fn write(dir: &mut Dir) {
    dir.options.segment_bytes = 14 << 10;
    let (env, clock) = Env::manual(7);
    dir.options.env = env;
    let log = dir.open();
    let writers = [0, 1].map(|lane| log.open(Lane::new(lane), NODE).unwrap());
    log.step();
    let mut encoder = TurnEncoder::new(&TurnHead { created: true, name: Some("alice"), ..head(0, 1) });
    let mut image = [0; PAGE];
    encoder.page(1, &image);
    image[..13].copy_from_slice(b"compressible ");
    encoder.page(2, &image);
    Env::manual(1).0.fill_random(&mut image);
    encoder.page(3, &image);
    for (page, content) in [(4, 2000_u16), (5, 4000)] {
        // A leaf of a b-tree: noise that does not compress behind a hole, and text that does.
        let mut image = [0; PAGE];
        image[0] = 13;
        image[5..7].copy_from_slice(&content.to_be_bytes());
        let cells = &mut image[content.into()..];
        if page == 4 {
            Env::manual(2).0.fill_random(cells)
        } else {
            cells.fill(b'x')
        }
        encoder.page(page, &image);
    }
    submit(&log, &writers[0], encoder.finish());
    clock.advance(Duration::from_millis(50));
    let alarm = NumberedAlarm { serial: 9, alarm: Alarm { due_ms: 1, attempt: 2, next_ms: 3 } };
    let alarms = Some(Alarms { set: Some(alarm), running: None });
    submit(&log, &writers[1], turn(&TurnHead { part: 0, last: false, alarms, ..head(1, 2) }, 2, 3000));
    log.step();
    let alarms = Some(Alarms::default());
    submit(&log, &writers[1], turn(&TurnHead { part: 1, previous: Lsn(2), alarms, ..head(1, 2) }, 3, 3000));
    submit(&log, &writers[0], Encoded::class_removed("class"));
    log.step();
    log.trim(&[Lsn(1), Lsn(1)]).unwrap();
    let running = Some(NumberedAlarm { serial: 8, ..alarm });
    let alarms = Some(Alarms { set: Some(NumberedAlarm { serial: 10, ..alarm }), running });
    submit(&log, &writers[1], turn(&TurnHead { previous: Lsn(3), alarms, ..head(1, 2) }, 4, 40));
    submit(&log, &writers[0], TurnEncoder::new(&TurnHead { deleted: true, ..head(0, 3) }).finish());
    log.step();
    log.close();
}

fn files(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let read = |entry: std::io::Result<fs::DirEntry>| {
        let path = entry.unwrap().path();
        (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(path).unwrap())
    };
    let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(read).collect();
    files.sort();
    files
}

#[test]
fn the_writer_writes_version_2() {
    let mut dir = Dir::new(2);
    write(&mut dir);
    let (golden, written) = (files(&golden("v2")), files(&dir.path()));
    assert_eq!(golden.len(), 2);
    for ((name, expected), (written_name, bytes)) in golden.iter().zip(&written) {
        assert_eq!(name, written_name);
        let differ = expected.iter().zip(bytes).position(|(a, b)| a != b);
        assert_eq!((differ, bytes.len()), (None, expected.len()), "{name}");
    }
}

fn read(dir: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let end = inspect(dir, &mut |seen| {
        lines.push(match seen {
            Seen::Segment { number, .. } => format!("segment {number}"),
            Seen::Group { offset, bytes, sequence, closed } => format!("group {sequence} {offset}+{bytes} {closed}"),
            Seen::Record { offset, entry } => format!("{offset} {} {}", entry.wall_ms, show(&entry)),
        });
        Ok(())
    });
    assert_eq!(end.unwrap(), End::Closed);
    lines
}

#[test]
fn both_versions_are_read() {
    let expected = [("v1", include_str!("../golden/v1.txt")), ("v2", include_str!("../golden/v2.txt"))];
    for (version, text) in expected {
        assert_eq!(read(&golden(version)), text.lines().collect::<Vec<_>>(), "{version}");
    }
}

/// What the log of version 1 held is still there, and what is appended after it is in segments of version 2.
#[test]
fn a_log_of_version_1_goes_on_in_version_2() {
    let mut dir = Dir::new(4);
    dir.options.segment_bytes = 12 << 10;
    copy_dir(&golden("v1"), &dir.path());
    let before = files(&dir.path());
    let log = dir.open();
    assert_eq!(log.lanes(), 2, "its number of lanes stays");
    let mut expected = replayed(&log);
    assert!(expected.iter().any(|line| line.contains("part 1")));
    let writer = log.open(Lane::new(1), NODE).unwrap();
    let lsn = submit(&log, &writer, turn(&head(1, 2), 5, 40));
    log.step();
    log.close();
    let after = files(&dir.path());
    assert_eq!(after[..2], before[..], "no byte of it changes");
    assert_eq!(after[2].1[8], 2, "the new segment is of version 2");
    let log = dir.open();
    let all = replayed(&log);
    expected.push(format!("lane 1 @{} open", lsn.0 - 1));
    assert_eq!(all[..expected.len()], expected);
    assert_eq!(all.len(), expected.len() + 1);
    // The old segments are removed when they are trimmed.
    log.open(Lane::new(0), NODE).unwrap();
    log.open(Lane::new(1), NODE).unwrap();
    log.step();
    log.trim(&[log.last(Lane::new(0)), log.last(Lane::new(1))]).unwrap();
    let left = dir.segments();
    assert!(left.iter().all(|segment| fs::read(segment).unwrap()[8] == 2), "{left:?}");
    drop(log);
    assert!(verify(&dir.path()).unwrap().damage.is_empty());
}

/// A killed process of the earlier version leaves an incomplete group.
#[test]
fn an_unfinished_group_of_version_1_is_cut() {
    let mut dir = Dir::new(2);
    dir.options.segment_bytes = 12 << 10;
    copy_dir(&golden("v1"), &dir.path());
    let last = dir.last_segment();
    let whole = fs::read(&last).unwrap();
    let mut found: Vec<Vec<String>> = Vec::new();
    for length in (format::SEGMENT_HEADER..whole.len()).step_by(40) {
        fs::write(&last, &whole[..length]).unwrap();
        drop(dir.open());
        let mut lines = Vec::new();
        inspect(&dir.path(), &mut |seen| {
            if let Seen::Record { entry, .. } = seen {
                lines.push(show(&entry));
            }
            Ok(())
        })
        .unwrap();
        found.push(lines);
        dir.segments().into_iter().skip(2).for_each(|segment| fs::remove_file(segment).unwrap());
    }
    assert!(found.windows(2).all(|pair| pair[1].starts_with(&pair[0])));
    assert_eq!((found[0].len(), found.last().unwrap().len()), (5, 9));
}

/// Creates the golden files of a new version.
#[test]
#[ignore = "writes into the source tree"]
fn make() {
    let mut dir = Dir::new(2);
    write(&mut dir);
    copy_dir(&dir.path(), &golden("v2"));
    for version in ["v1", "v2"] {
        fs::write(golden(version).with_extension("txt"), read(&golden(version)).join("\n")).unwrap();
    }
}
