//! Writes to the disk go through the port `Disk` (`runtime/src/base/disk.rs`), so that a test can fail each of them: no
//! other production code of the runtime makes, changes, flushes or removes a file, or reaches a failpoint by itself.
//!
//! A rule on text and not a lint, because tests, the command line and build scripts may write as they like.

use crate::sources::{Source, assert_none, rust};

/// Calls that write, as they begin. Space is left out before they are looked for. A call of the port with the same name
/// has a failpoint as its first argument.
const WRITES: [&str; 28] = [
    "fs::write(",
    "fs::rename(",
    "fs::copy(",
    "fs::hard_link(",
    "fs::remove_file(",
    "fs::remove_dir(",
    "fs::remove_dir_all(",
    "fs::create_dir(",
    "fs::create_dir_all(",
    "fs::set_permissions(",
    "symlink(",
    "File::create(",
    "File::create_new(",
    "File::options(",
    "OpenOptions",
    "DirBuilder",
    "tempfile(",
    "tempfile_in(",
    "tempdir(",
    "NamedTempFile::new",
    "tempfile::Builder",
    ".write_at(",
    ".write_all_at(",
    ".set_len(",
    ".sync_all(",
    ".sync_data(",
    "syncfs(",
    "failpoints::hit",
];

/// Files that may write by themselves.
const ALLOWED: [(&str, &str); 4] = [
    ("runtime/src/base/disk.rs", "the port"),
    ("runtime/src/storage/temporary_file.rs", "a file of SQLite's VFS, without a name and gone with the process"),
    ("runtime/src/storage/verify.rs", "copies catalogs out of a directory that it must not change"),
    ("runtime/src/reference.rs", "the generator of a reference page, which runs in tests"),
];
/// Directories outside the rule: the client side, and simulations of what the port is for.
const OUTSIDE: [&str; 2] = ["runtime/src/cli/", "runtime/src/base/disk/"];

/// Whether the whole file is compiled into tests only.
fn is_of_tests(path: &str) -> bool {
    ["/tests/", "/tests.rs", "/fuzz.rs", "/simulation.rs", "/simulation/"].iter().any(|part| path.contains(part))
}

/// Returns the production code of a source without comments and space.
fn production(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let lines = code.lines().map(|line| line.split("//").next().unwrap_or_default());
    lines.flat_map(|line| line.chars().filter(|c| !c.is_whitespace())).collect()
}

fn violations(Source { path, text }: &Source) -> Vec<String> {
    let is_outside = OUTSIDE.iter().any(|place| path.starts_with(place)) || is_of_tests(path);
    if !path.starts_with("runtime/src/") || is_outside || ALLOWED.iter().any(|(allowed, _)| path == allowed) {
        return Vec::new();
    }
    let code = production(text);
    let is_of_the_port =
        |rest: &str| ["Failpoint::", "failpoint", "at,", "MAKE,"].iter().any(|first| rest.starts_with(first));
    let writes = |write: &&&str| code.match_indices(**write).any(|(at, _)| !is_of_the_port(&code[at + write.len()..]));
    let found = WRITES.iter().filter(writes);
    found.map(|write| format!("{path} writes by itself: `{write}`; use `Disk` (`base/disk.rs`)")).collect()
}

#[test]
fn the_disk_is_written_through_its_port() {
    let sources = rust();
    for (allowed, _) in ALLOWED {
        assert!(sources.iter().any(|source| source.path == allowed), "{allowed} is gone; remove its exception");
    }
    assert_none(sources.iter().flat_map(violations));
}

#[test]
fn other_ways_to_the_disk_are_found() {
    let found = |path: &str, text: &str| violations(&Source { path: path.into(), text: text.into() }).len();
    let in_storage = |text: &str| found("runtime/src/storage/a.rs", text);
    for bad in [
        "fs::write(path, b\"\")?;",
        "std::fs::rename(a, b)?;",
        "File::create(path)?",
        "fs::OpenOptions::new().open(path)",
        "file.sync_all()?;",
        "file\n    .write_all_at(\n bytes, 0)?;",
        "failpoints::hit(Failpoint::LogWrite)?;",
        "#[cfg(test)]\nuse a;\nfs::remove_file(path)?;",
    ] {
        assert_eq!(in_storage(bad), 1, "{bad}");
    }
    for good in [
        "disk.write_all_at(Failpoint::LogWrite, &file, bytes, 0)?;",
        "disk.set_len(\n    Failpoint::LogWrite, &file, 0)?;",
        "fs::read(path)?; File::open(path)?; fs::read_dir(path)?;",
        "// fs::write(path)",
        "#[cfg(test)]\nmod tests {\n    fn f() { fs::write(path, b\"\"); }\n}",
    ] {
        assert_eq!(in_storage(good), 0, "{good}");
    }
    assert_eq!(found("runtime/src/cli/new.rs", "fs::write(path, text)"), 0);
    assert_eq!(found("runtime/src/storage/tests/damage.rs", "fs::write(path, text)"), 0);
    assert_eq!(found("runtime/src/base/disk.rs", "fs::write(path, text)"), 0);
}
