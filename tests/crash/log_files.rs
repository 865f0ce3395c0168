//! The files of the log and of the catalogs, as far as tests damage or remove them, after `docs/LOG_FORMAT.md`.

use std::fs;
use std::path::{Path, PathBuf};

use holdfast_runtime::storage::commit_log::{Seen, inspect};

use crate::harness::Host;

/// Lines in `[limits]` that make a log whose segments are made and removed within seconds.
pub const SMALL_LOG: &str = "log-capacity = 16777216\nlog-segment = 1048576";

/// Returns the segments, the oldest first.
pub fn segments(host: &Host) -> Vec<PathBuf> {
    let entries = fs::read_dir(host.data_directory().join("log")).expect("there is a log").flatten();
    let mut files: Vec<_> = entries.map(|entry| entry.path()).filter(|path| used(path) > 0).collect();
    files.sort();
    assert!(!files.is_empty(), "the log has segments");
    files
}

/// Returns how far a segment is written: the offset behind its last byte that is not 0.
pub fn used(segment: &Path) -> usize {
    // A running host removes segments that it no longer needs.
    let bytes = fs::read(segment).unwrap_or_default();
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

/// A group of records. Damage is reported at the beginning of its group.
pub struct Group {
    pub segment: PathBuf,
    pub offset: u64,
    pub bytes: u64,
}

/// Returns all groups of the log, the oldest first.
pub fn groups(host: &Host) -> Vec<Group> {
    let (mut groups, mut segment) = (Vec::new(), PathBuf::new());
    let inspected = inspect(&host.data_directory().join("log"), &mut |seen| {
        match seen {
            Seen::Segment { file, .. } => segment = file.into(),
            Seen::Group { offset, bytes, .. } => groups.push(Group { segment: segment.clone(), offset, bytes }),
            Seen::Record { .. } => {}
        }
        Ok(())
    });
    inspected.expect("nothing is wrong with it");
    groups
}

/// Flips a bit of a byte.
pub fn flip(segment: &Path, offset: usize) {
    let mut bytes = fs::read(segment).expect("it can be read");
    bytes[offset] ^= 1;
    fs::write(segment, bytes).expect("it can be written");
}

/// Damages the last group as a power cut can when its flush has not returned.
pub fn tear_last_group(host: &Host) {
    let segments = segments(host);
    let last = segments.last().expect("there is one");
    flip(last, used(last) - 1);
}

/// Removes all catalogs.
pub fn remove_catalogs(host: &Host) {
    fs::remove_dir_all(host.data_directory().join("catalog")).expect("there are catalogs");
}
