//! Records which alarms run, so that an alarm that ends the process each time is not retried without limit.
//!
//! A file of lines that is never flushed: it survives a killed process, and after a power cut no alarm is blamed.
//! `+ID`: an alarm begins; `-ID`: it has ended; `ID N`: the last N processes in a row that ran it ended while it ran.
//! Lines that cannot be parsed are ignored; an error at writing fails no alarm.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::base::{Disk, Failpoint, ObjectId};

/// The number of processes in a row that end while an alarm runs, which count as one failed attempt.
const ENDS_MAX: u32 = 3;
/// Bytes at which the file is begun anew.
const LARGE: u64 = 1 << 20;

/// The alarms that are running.
pub struct AlarmRuns(Mutex<Runs>);

struct Runs {
    disk: Arc<dyn Disk>,
    file: File,
    /// Where the next line goes.
    bytes: u64,
    running: u64,
    /// For each alarm, the number of processes in a row that ended while it ran.
    ends: HashMap<ObjectId, u32>,
}

/// Parses what an earlier process left.
fn parse(text: &str) -> HashMap<ObjectId, u32> {
    let mut ends = HashMap::new();
    let mut running = HashSet::new();
    for line in text.lines() {
        let id = |text: &str| ObjectId::from_hex(text).ok();
        if let Some(id) = line.strip_prefix('+').and_then(id) {
            running.insert(id);
        } else if let Some(id) = line.strip_prefix('-').and_then(id) {
            running.remove(&id);
            ends.remove(&id);
        } else if let Some((id, count)) = line.split_once(' ').and_then(|(of, n)| Some((id(of)?, n.parse().ok()?))) {
            ends.insert(id, count);
        }
    }
    running.into_iter().for_each(|id| *ends.entry(id).or_insert(0) += 1);
    ends
}

impl AlarmRuns {
    /// Reads what the last process left, and begins the file anew.
    pub(super) fn open(disk: Arc<dyn Disk>, path: &Path) -> io::Result<Self> {
        let ends = match fs::read(path) {
            Ok(bytes) => parse(&String::from_utf8_lossy(&bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => HashMap::new(),
            Err(error) => return Err(error),
        };
        let file = disk.open_or_create(Failpoint::AlarmRun, path)?;
        let bytes = file.metadata()?.len();
        let mut runs = Runs { disk, file, bytes, running: 0, ends };
        runs.begin_anew();
        Ok(Self(Mutex::new(runs)))
    }

    /// Records that an alarm begins to run; dropping the guard records its end. Returns none if [`ENDS_MAX`] processes
    /// in a row ended while it ran: this counts as a failed attempt, and the count begins again.
    pub fn begin(&self, id: ObjectId) -> Option<AlarmRun<'_>> {
        let mut runs = self.0.lock();
        if runs.ends.get(&id).is_some_and(|ends| *ends >= ENDS_MAX) {
            runs.ends.remove(&id);
            runs.write(&format!("-{id}\n"));
            return None;
        }
        runs.running += 1;
        runs.write(&format!("+{id}\n"));
        Some(AlarmRun { runs: self, id })
    }
}

/// A guard: the alarm runs until it is dropped.
pub struct AlarmRun<'a> {
    runs: &'a AlarmRuns,
    id: ObjectId,
}

impl Drop for AlarmRun<'_> {
    fn drop(&mut self) {
        let mut runs = self.runs.0.lock();
        runs.running -= 1;
        runs.ends.remove(&self.id);
        runs.write(&format!("-{}\n", self.id));
        if runs.running == 0 && runs.bytes > LARGE {
            runs.begin_anew();
        }
    }
}

impl Runs {
    /// Writes a line. An error is ignored: if the line is missing, the end of the process is not counted.
    fn write(&mut self, line: &str) {
        if self.disk.write_all_at(Failpoint::AlarmRun, &self.file, line.as_bytes(), self.bytes).is_ok() {
            self.bytes += line.len() as u64;
        }
    }

    fn begin_anew(&mut self) {
        let lines: String = self.ends.iter().map(|(id, ends)| format!("{id} {ends}\n")).collect();
        if self.disk.set_len(Failpoint::AlarmRun, &self.file, 0).is_ok() {
            self.bytes = 0;
            self.write(&lines);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::SystemDisk;

    const A: ObjectId = ObjectId::from_bytes([1; 32]);
    const B: ObjectId = ObjectId::from_bytes([2; 32]);

    #[test]
    fn the_third_end_in_a_row_counts_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("runs");
        let open = || AlarmRuns::open(Arc::new(SystemDisk), &path).unwrap();
        for end in 0..ENDS_MAX {
            let runs = open();
            std::mem::forget(runs.begin(A).unwrap_or_else(|| panic!("after {end} ends")));
            drop(runs.begin(B).unwrap());
        }
        let runs = open();
        assert!(runs.begin(A).is_none());
        std::mem::forget(runs.begin(A).expect("the count begins again"));
        let runs = open();
        drop(runs.begin(A).unwrap());
        for _ in 0..2 {
            std::mem::forget(open().begin(A).expect("one that ended well was in between"));
        }
        assert!(open().begin(B).is_some());
    }

    #[test]
    fn the_file_stays_small_and_garbage_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("runs");
        fs::write(&path, format!("\u{0}\n+\n-x\n{A} many\n{B} 2\nno line\n+{B}\n+{}", &A.to_string()[..9])).unwrap();
        let runs = AlarmRuns::open(Arc::new(SystemDisk), &path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{B} 3\n"));
        assert!(runs.begin(A).is_some());
        for _ in 0..20_000 {
            drop(runs.begin(A));
        }
        assert!(fs::metadata(&path).unwrap().len() <= LARGE + 200);
    }
}
