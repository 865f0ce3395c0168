//! The common parts of tests: a host, guests to deploy, and a way to wait. Shared by `tests/e2e`, `tests/crash` and
//! others.

mod answer;
mod client;
pub mod guests;
mod host;
mod http2;
mod metrics;
mod program;
mod socket;
mod tools;
mod wait;

use std::path::{Path, PathBuf};

pub use answer::Answer;
pub use client::Client;
pub use guests::{example_names, guest, guest_file};
pub use host::Host;
pub use http2::Http2;
pub use program::{Program, holdfast, nice};
pub use socket::Socket;
pub use tools::{chromium, node, python};
pub use wait::{BUILD, eventually, within};

/// Returns the root of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package is in the repository").into()
}

/// Returns Cargo's target directory, which the guests share with all other builds.
pub fn target() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
        .parent()
        .expect("Cargo's directory for tests is in its target directory")
        .into()
}

/// Returns all files of a directory and of its subdirectories.
pub fn files_below(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).expect("it is there").flatten().map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

/// Runs a function in this many threads at once, each with its number, and returns the results in the order of the
/// numbers.
pub fn at_once<T: Send>(threads: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let (start, work) = (std::sync::Barrier::new(threads), &work);
    std::thread::scope(|scope| {
        let start = &start;
        let run = |number| {
            scope.spawn(move || {
                start.wait();
                work(number)
            })
        };
        let running: Vec<_> = (0..threads).map(run).collect();
        running.into_iter().map(|thread| thread.join().expect("a thread of the test panicked")).collect()
    })
}
