//! Version 1 as it is on disk, for ever: the files in `golden/` are read, and what the writer writes today is the same.
//!
//! If a change of the format is wanted, it gets a new version and golden files of its own; these stay, and are still read.

use std::fs;

use super::*;
use crate::base::Alarm;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/storage/commit_log/golden/v1")
}

/// One of everything, over two segments.
fn write(dir: &mut Dir) {
    dir.options.segment_bytes = 12 << 10;
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
    submit(&log, &writers[0], encoder.finish());
    let alarm = Some(AlarmChange::Set(Alarm { due_ms: 1, attempt: 2, next_ms: 3 }));
    submit(&log, &writers[1], turn(&TurnHead { part: 0, last: false, alarm, ..head(1, 2) }, 2, 3000));
    log.step();
    let alarm = Some(AlarmChange::Cleared);
    submit(&log, &writers[1], turn(&TurnHead { part: 1, previous: Lsn(2), alarm, ..head(1, 2) }, 3, 3000));
    submit(&log, &writers[0], Encoded::class_removed("class"));
    log.step();
    log.release(&[Lsn(1), Lsn(1)]).unwrap();
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
fn the_writer_writes_version_1() {
    let mut dir = Dir::new(2);
    write(&mut dir);
    let (golden, written) = (files(&golden()), files(&dir.path()));
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
            Seen::Record { offset, entry } => format!("{offset} {}", show(&entry)),
        });
        Ok(())
    });
    assert_eq!(end.unwrap(), End::Closed);
    lines
}

#[test]
fn version_1_is_read() {
    assert_eq!(read(&golden()), include_str!("../golden/v1.txt").lines().collect::<Vec<_>>());
}

/// Makes the golden files of a new version.
#[test]
#[ignore = "writes into the source tree"]
fn make() {
    let mut dir = Dir::new(2);
    write(&mut dir);
    copy_dir(&dir.path(), &golden());
    fs::write(golden().with_extension("txt"), read(&golden()).join("\n")).unwrap();
}
