//! `holdfast data` on the commit log: its output for an intact log, a damaged one and one in use; and that it changes
//! nothing.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;

use holdfast_runtime::base::{Env, SystemDisk};
use holdfast_runtime::storage::DataDir;
use holdfast_runtime::storage::commit_log::{
    Encoded, FileLog, Lane, LaneLog, LogOptions, Lsn, PAGE, TurnEncoder, TurnHead,
};
use serde_json::{Value as Json, json};

use crate::harness::{files_below, holdfast};

/// A data directory whose log the test writes through `FileLog`, because a host writes to its own log all the time.
struct Story {
    temp: tempfile::TempDir,
}

impl Story {
    fn new() -> Self {
        let story = Self { temp: tempfile::tempdir().expect("a directory") };
        drop(DataDir::open(story.data()).expect("a data directory"));
        story
    }

    fn data(&self) -> &Path {
        self.temp.path()
    }

    fn open(&self) -> FileLog {
        let options = LogOptions { lanes: 2, segment_bytes: 64 << 10, ..LogOptions::new(Env::system()) };
        FileLog::open(&self.data().join("log"), options, Arc::new(SystemDisk)).expect("the log opens")
    }

    /// Opens the lanes, writes this many turns to each, and closes the log.
    fn write(&self, turns: u8) {
        let log = self.open();
        for lane in 0..2 {
            let writer = log.open(Lane::new(lane), [7; 16]).expect("the lane opens");
            for n in 0..turns {
                let record = turn(lane, n);
                let mut reservation = log.try_reserve(record.len() as u64).expect("there is room");
                let lsn = writer.submit(record, &mut reservation, |_| {});
                writer.durable().wait(lsn).unwrap();
            }
        }
        log.close();
    }

    fn segment(&self) -> PathBuf {
        let mut files = files_below(&self.data().join("log"));
        files.retain(|file| file.extension().is_some_and(|extension| extension == "segment"));
        files.into_iter().min().expect("a log has a segment")
    }

    /// Runs `verify` of the log alone, or `inspect`, and checks that it changed nothing.
    fn log(&self, arguments: &[&str]) -> Output {
        let before = contents(self.data());
        let data = self.data().to_str().expect("paths are text");
        let arguments = if arguments[0] == "verify" { &[arguments, &["--log-only"]].concat() } else { arguments };
        let output = holdfast(&[&["data"], arguments, &["--data", data]].concat()).output().expect("it runs");
        assert!(contents(self.data()) == before, "{arguments:?} changed the data directory");
        output
    }

    fn json(&self, command: &str) -> (Option<i32>, Vec<Json>) {
        let output = self.log(&[command, "--json"]);
        let lines = String::from_utf8(output.stdout).expect("it prints text");
        let parse = |line| serde_json::from_str(line).expect("a line is a document");
        (output.status.code(), lines.lines().map(parse).collect())
    }
}

fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    files_below(dir).into_iter().map(|file| (file.clone(), fs::read(file).expect("it can be read"))).collect()
}

fn turn(lane: u16, n: u8) -> Encoded {
    let mut id = [n; 32];
    id[0] = (lane as u8) << 7;
    let mut turn = TurnEncoder::new(&TurnHead {
        class: "key",
        id,
        incarnation: 1,
        previous: Lsn(0),
        part: 0,
        last: true,
        created: true,
        adopted: false,
        deleted: false,
        page_count: 3,
        bytes: 12_288,
        name: Some("alice\u{1b}[2J"),
        alarms: None,
    });
    turn.page(2, &[n; PAGE]);
    turn.finish()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("it prints text")
}

#[test]
fn a_whole_log_is_verified_and_shown() {
    let story = Story::new();
    story.write(3);
    let verified = story.log(&["verify"]);
    assert_eq!(verified.status.code(), Some(0), "{verified:?}");
    let said = text(&verified.stdout);
    assert!(said.starts_with("SEGMENT") && said.ends_with("The log is intact and was closed cleanly.\n"), "{said}");

    let shown = text(&story.log(&["inspect"]).stdout);
    let turn =
        format!("    lane 1 @4 turn of key/@80{}-1 named alice\\u{{1b}}[2J, created, 1 pages\n", "02".repeat(31));
    assert!(shown.contains(&turn), "{shown}");
    assert!(shown.contains("    lane 0 @1 opened by 0707"), "{shown}");
    assert!(!shown.contains('\u{1b}'), "control characters reach the terminal");

    let (code, lines) = story.json("inspect");
    assert_eq!(code, Some(0));
    assert_eq!(lines[0]["segment"], 1);
    assert_eq!(lines[0]["lanes"][1], json!({ "lane": 1, "last": 0, "epoch": 0, "trimmed": 0, "written": null }));
    let turns: Vec<_> = lines.iter().filter(|line| line["record"] == "turn").collect();
    assert_eq!(turns.len(), 6);
    assert_eq!((&turns[0]["pages"], &turns[0]["name"]), (&json!([2]), &json!("alice\u{1b}[2J")));
    let end = lines.iter().rfind(|line| line["lane"] == 0).expect("each lane is shown at the end");
    let last = turns.iter().rfind(|turn| turn["lane"] == 0).expect("it has turns");
    let written = last["written"].as_u64().expect("a record has a time");
    assert!(Env::system().wall_ms().abs_diff(written) < 3_600_000, "{last}");
    assert_eq!(*end, json!({ "lane": 0, "last": 4, "epoch": 1, "trimmed": 0, "written": written }));
    assert_eq!(lines.last(), Some(&json!({ "end": "closed" })));
}

#[test]
fn what_was_trimmed_is_reported() {
    let story = Story::new();
    let log = story.open();
    let writers = [0, 1].map(|lane| log.open(Lane::new(lane), [7; 16]).expect("the lane opens"));
    let upto = writers.each_ref().map(|writer| {
        writer.durable().wait(writer.appended()).unwrap();
        writer.appended()
    });
    log.trim(&upto).expect("it is trimmed");
    log.close();
    drop(log);
    let (_, lines) = story.json("inspect");
    let mut end = lines.iter().rfind(|line| line["lane"] == 1).expect("each lane is shown at the end").clone();
    assert!(end["written"].take().is_u64(), "{end}");
    assert_eq!(end, json!({ "lane": 1, "last": 2, "epoch": 1, "trimmed": 1, "written": null }));
    let (code, lines) = story.json("verify");
    assert_eq!(code, Some(0));
    assert!(lines.contains(&json!({ "lane": 1, "last": 2, "trimmed": 1 })), "{lines:?}");
}

#[test]
fn a_flipped_byte_is_found_with_its_place() {
    let story = Story::new();
    story.write(3);
    let (_, lines) = story.json("inspect");
    let groups = lines.iter().filter(|line| line["group"].is_u64());
    let groups: Vec<(usize, usize)> = groups
        .map(|line| (line["offset"].as_u64().unwrap() as usize, line["bytes"].as_u64().unwrap() as usize))
        .collect();
    let (offset, bytes) = groups[groups.len() / 2];
    let segment = story.segment();
    let mut damaged = fs::read(&segment).expect("the segment");
    damaged[offset + bytes / 2] ^= 0x10;
    fs::write(&segment, &damaged).expect("the segment");

    let verified = story.log(&["verify"]);
    assert_eq!(verified.status.code(), Some(1), "{verified:?}");
    let said = text(&verified.stdout);
    assert!(said.contains(&format!("{} at byte {offset}: ", segment.display())), "{said}");
    let error = text(&verified.stderr);
    assert!(error.starts_with("error: the log is damaged in one place") && error.contains("backup"), "{error}");

    let (code, lines) = story.json("verify");
    assert_eq!(code, Some(1));
    let found = lines.iter().find(|line| line["damaged"].is_string()).expect("the damage is reported");
    assert_eq!(found["offset"], offset);
    assert_eq!(lines.last(), Some(&json!({ "whole": false, "end": null })));

    let shown = story.log(&["inspect"]);
    assert_eq!(shown.status.code(), Some(1));
    assert!(text(&shown.stdout).contains("turn of key/"), "what comes before it is shown");
    assert!(text(&shown.stderr).contains(&format!("at byte {offset}")), "{shown:?}");
}

#[test]
fn a_directory_in_use_is_shown_and_not_judged() {
    let story = Story::new();
    story.write(1);
    let held = DataDir::open(story.data()).expect("the directory is free");
    let refused = story.log(&["verify"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("in use") && refused.stdout.is_empty(), "{refused:?}");
    let shown = story.log(&["inspect"]);
    assert_eq!(shown.status.code(), Some(0));
    assert!(text(&shown.stderr).contains("a server uses") && text(&shown.stdout).contains("turn of"), "{shown:?}");
    drop(held);
}

#[test]
fn what_is_no_data_directory_is_refused_and_stays_as_it_is() {
    let empty = tempfile::tempdir().expect("a directory");
    for command in ["verify", "inspect"] {
        let data = empty.path().to_str().expect("paths are text");
        let refused = holdfast(&["data", command, "--data", data]).output().expect("it runs");
        assert_eq!(refused.status.code(), Some(1));
        assert!(text(&refused.stderr).contains("is not a data directory"), "{refused:?}");
        assert_eq!(fs::read_dir(empty.path()).expect("it is there").count(), 0);
    }
}
