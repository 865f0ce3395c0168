//! Reports about a log's directory, for people: `verify` and `inspect`.
//!
//! It takes no lock and changes nothing, so it may run beside a server; then the last group may look unfinished because
//! it is being written, and a segment may be removed while it is read (an error says so).

use std::path::{Path, PathBuf};

use super::scan::{End, Seen, read_header, scan, segment_files, walk};
use super::{LogError, Lsn};

/// The result of [`verify`].
#[derive(Debug)]
pub struct LogReport {
    /// The segments that count, oldest first.
    pub segments: Vec<SegmentReport>,
    /// How the log ends, if nothing is damaged.
    pub end: Option<End>,
    /// For each lane its last position and its trimmed position, if nothing is damaged.
    pub lanes: Vec<(Lsn, Lsn)>,
    /// The damage: the first error of each segment. Empty if the log is intact.
    pub damage: Vec<LogError>,
}

/// The contents of a segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SegmentReport {
    /// Its file.
    pub file: PathBuf,
    /// Whole groups.
    pub groups: u64,
    /// Records in them.
    pub records: u64,
    /// The end of the last one, in bytes.
    pub end: u64,
}

/// Checks the whole log. Damage is in the report; an error means that the log could not be read.
pub fn verify(dir: &Path) -> Result<LogReport, LogError> {
    let mut segments: Vec<SegmentReport> = Vec::new();
    let mut count = |seen: Seen<'_>| {
        match (seen, segments.last_mut()) {
            (Seen::Segment { file, .. }, _) => {
                let end = super::format::SEGMENT_HEADER as u64;
                segments.push(SegmentReport { file: file.into(), end, ..SegmentReport::default() });
            }
            (Seen::Group { offset, bytes, .. }, Some(segment)) => {
                segment.groups += 1;
                segment.end = offset + bytes;
            }
            (Seen::Record { .. }, Some(segment)) => segment.records += 1,
            _ => {}
        }
        Ok(())
    };
    let (end, lanes, damage) = match scan(dir, 1, &mut count) {
        Ok(scan) => {
            let lanes = scan.state.lanes.iter().map(|lane| (Lsn(lane.next.0 - 1), lane.trimmed)).collect();
            (Some(scan.end), lanes, Vec::new())
        }
        Err(error @ (LogError::Damaged { .. } | LogError::Version { .. } | LogError::Unknown { .. })) => {
            (None, Vec::new(), all_damage(dir, error)?)
        }
        Err(error) => return Err(error),
    };
    Ok(LogReport { segments, end, lanes, damage })
}

/// Visits everything in the log's order. Stops with an error at the first damage.
pub fn inspect(dir: &Path, visit: &mut dyn FnMut(Seen<'_>) -> Result<(), LogError>) -> Result<End, LogError> {
    scan(dir, 1, visit).map(|scan| scan.end)
}

/// Finds the first damage of each segment. A segment's header has the state at its beginning, so each can be checked
/// alone.
fn all_damage(dir: &Path, first: LogError) -> Result<Vec<LogError>, LogError> {
    let files = segment_files(dir)?;
    let mut headers: Vec<_> = files.iter().map(|(number, path)| read_header(path, *number)).collect();
    let mut damage = Vec::new();
    for index in 0..files.len() {
        let (before, after) = headers.split_at_mut(index + 1);
        let next = after.first().and_then(|next| next.as_ref().ok());
        let found = match &before[index] {
            Ok(header) => walk(&files[index].1, header, next, &mut |_| Ok(())).err(),
            Err(_) => None,
        };
        damage.extend(found);
    }
    damage.extend(headers.into_iter().filter_map(Result::err));
    if !damage.iter().any(|found| found.to_string() == first.to_string()) {
        damage.insert(0, first);
    }
    Ok(damage)
}
