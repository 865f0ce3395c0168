//! The sequences of operations of the port: failed, killed and cut off before each of their steps.

use std::fs;
use std::io;
use std::path::Path;

use rustix::io::Errno;

use super::{Disk, ReplaceError, SimulatedDisk};
use crate::base::Failpoint;

const AT: Failpoint = Failpoint::ClassWrite;
/// Power cuts of which each is different.
const CUTS: u64 = 12;

/// What the caller knows after a change.
#[derive(Clone, Copy, PartialEq, Debug)]
enum End {
    /// It returned without an error.
    Done,
    /// It returned this error.
    Failed,
    /// The process ended before it returned.
    Killed,
}

/// Makes a change once for each of its steps and each fault there, in a directory that is prepared anew, and then
/// without a fault. Has `check` look at what is left: at once, and after power cuts.
fn with_each_fault(
    prepare: impl Fn(&Path),
    change: impl Fn(&dyn Disk, &Path) -> io::Result<()>,
    check: impl Fn(&Path, End),
) {
    for step in 1.. {
        let mut is_over = true;
        for fault in [Some(Errno::NOSPC), Some(Errno::IO), None] {
            for cut in 0..=CUTS {
                let directory = tempfile::tempdir().unwrap();
                prepare(directory.path());
                let disk = SimulatedDisk::new(directory.path()).unwrap();
                match fault {
                    Some(errno) => disk.fail(AT, errno, step),
                    None => disk.kill(AT, step),
                }
                let changed = change(&*disk, directory.path());
                let end = match changed {
                    Ok(()) => End::Done,
                    Err(_) if disk.is_out() => End::Killed,
                    Err(_) => End::Failed,
                };
                is_over &= end == End::Done && disk.operations() < step;
                match cut {
                    0 => disk.restart(),
                    seed => disk.power_cut(seed).unwrap(),
                }
                check(directory.path(), end);
            }
        }
        if is_over {
            return;
        }
    }
}

fn names(directory: &Path) -> Vec<String> {
    let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    let mut names: Vec<_> = fs::read_dir(directory).unwrap().map(name).collect();
    names.sort();
    names
}

#[test]
fn a_file_is_replaced_as_a_whole_or_not_at_all() {
    let (old, new) = (vec![1; 3000], vec![2; 5000]);
    let put = |directory: &Path| fs::write(directory.join("file.json"), &old).unwrap();
    let replace = |disk: &dyn Disk, directory: &Path| Ok(disk.replace(AT, &directory.join("file.json"), &new)?);
    with_each_fault(put, replace, |directory, end| {
        let found = fs::read(directory.join("file.json")).unwrap();
        assert!(found == new || (found == old && end != End::Done), "{end:?}: {} bytes", found.len());
    });
    let nothing = |_: &Path| {};
    with_each_fault(nothing, replace, |directory, end| match fs::read(directory.join("file.json")) {
        Ok(found) => assert!(found == new, "{end:?}: {} bytes", found.len()),
        Err(_) => assert_ne!(end, End::Done),
    });
}

#[test]
fn the_error_says_whether_the_old_file_is_there_and_nothing_stays_beside_it() {
    for step in 1..=5 {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file.json");
        fs::write(&path, "old").unwrap();
        let disk = SimulatedDisk::new(directory.path()).unwrap();
        disk.fail(AT, Errno::NOSPC, step);
        let is_old = match disk.replace(AT, &path, b"new").unwrap_err() {
            ReplaceError::Unchanged(_) => true,
            ReplaceError::Either(_) => false,
        };
        assert_eq!(is_old, step < 5, "only the flush of the directory comes after the rename");
        assert_eq!(fs::read_to_string(&path).unwrap(), if is_old { "old" } else { "new" });
        assert_eq!(names(directory.path()), ["file.json"], "step {step}");
    }
}

#[test]
fn a_renamed_file_has_one_of_the_two_names() {
    let put = |directory: &Path| fs::write(directory.join("a"), "x").unwrap();
    let rename =
        |disk: &dyn Disk, directory: &Path| disk.rename_durably(AT, &directory.join("a"), &directory.join("b"));
    with_each_fault(put, rename, |directory, end| {
        let names = names(directory);
        assert!(names == ["b"] || (names == ["a"] && end != End::Done), "{end:?}: {names:?}");
    });
    let directory = tempfile::tempdir().unwrap();
    put(directory.path());
    let disk = SimulatedDisk::new(directory.path()).unwrap();
    disk.fail(AT, Errno::IO, 2);
    assert!(rename(&*disk, directory.path()).is_err());
    assert_eq!(names(directory.path()), ["a"], "after an error it has the old name");
}

#[test]
fn a_removed_file_stays_removed() {
    let put = |directory: &Path| fs::write(directory.join("a"), "x").unwrap();
    let remove = |disk: &dyn Disk, directory: &Path| disk.remove_durably(AT, &directory.join("a")).map(drop);
    with_each_fault(put, remove, |directory, end| {
        assert!(names(directory).is_empty() || end != End::Done, "{end:?}");
    });
    // A removal that was not flushed is flushed when it is repeated.
    for seed in 0..CUTS {
        let directory = tempfile::tempdir().unwrap();
        put(directory.path());
        let disk = SimulatedDisk::new(directory.path()).unwrap();
        disk.fail(AT, Errno::IO, 2);
        assert!(remove(&*disk, directory.path()).is_err());
        remove(&*disk, directory.path()).unwrap();
        disk.power_cut(seed).unwrap();
        assert!(names(directory.path()).is_empty());
    }
}

#[test]
fn a_directory_is_there_with_all_above_it() {
    let make = |disk: &dyn Disk, directory: &Path| disk.make_dir_durably(AT, &directory.join("a/b/c"));
    with_each_fault(
        |_| {},
        make,
        |directory, end| {
            assert!(directory.join("a/b/c").is_dir() || end != End::Done, "{end:?}");
        },
    );
    // What a killed process has made and not flushed is flushed by the next.
    for step in 1..=7 {
        for seed in 0..CUTS {
            let directory = tempfile::tempdir().unwrap();
            let disk = SimulatedDisk::new(directory.path()).unwrap();
            disk.kill(AT, step);
            assert!(make(&*disk, directory.path()).is_err());
            disk.restart();
            make(&*disk, directory.path()).unwrap();
            disk.power_cut(seed).unwrap();
            assert!(directory.path().join("a/b/c").is_dir(), "step {step}");
        }
    }
}
