//! A data directory of an earlier version opens, is upgraded, and serves every object as it was.
//!
//! `tests/upgrade/` has the directories, one for each version whose bytes on disk differed. Each is made by `tests/upgrade/make` with the
//! binary of that version, from the class in `tests/upgrade/keeper.wat`:
//!
//! | archive | made by |
//! |---|---|
//! | `before-checksums.tar.gz` | the last version without page checksums (`holdfast data 2`, log version 1) |

use std::path::Path;
use std::process::Command;

use serde_json::{Value as Json, json};
use ureq::http::Method;

use crate::harness::{Host, eventually, holdfast, root};

const ARCHIVE: &str = "before-checksums.tar.gz";
/// 2100-01-01.
const LATER_MS: u64 = 4_102_444_800_000;

fn unpack(directory: &Path) {
    let mut tar = Command::new("tar");
    tar.arg("-xzf").arg(root().join("tests/upgrade").join(ARCHIVE)).arg("-C").arg(directory);
    assert!(tar.status().expect("tar is there").success());
}

fn verify(data: &Path) {
    let verified = holdfast(&["data", "verify", "--data", data.to_str().expect("paths are text")]).output();
    let verified = verified.expect("it runs");
    assert_eq!(verified.status.code(), Some(0), "{}", String::from_utf8_lossy(&verified.stderr));
}

fn table(host: &Host) -> Vec<(u64, String)> {
    let query = json!({ "sql": "SELECT id, x FROM t ORDER BY id" }).to_string();
    let answer = host.admin().post("/v1/classes/keeper/objects/table/sql", query).json();
    serde_json::from_value(answer["rows"].clone()).expect("two columns")
}

fn names(host: &Host, class: &str) -> Vec<String> {
    let listed = host.admin().get(&format!("/v1/classes/{class}/objects")).json();
    let name = |object: &Json| object["name"].as_str().expect("all have names").to_owned();
    let mut names: Vec<_> = listed["objects"].as_array().expect("a list").iter().map(name).collect();
    names.sort();
    names
}

/// Everything that `tests/upgrade/make` has left there.
fn assert_all_is_there(host: &Host) {
    for (path, value) in [
        ("/keeper/released", "released"),
        ("/keeper/again", "new"),
        // A turn that was applied and never durable, so nobody was told of it.
        ("/keeper/lost", "before"),
        ("/second/%C3%BC%20b%2Fc", "named"),
        ("/second/logged", "logged"),
    ] {
        assert_eq!(host.get(path).text(), value, "{path}");
    }
    for path in ["/keeper/deleted", "/keeper/removed", "/empty/none"] {
        assert_eq!(host.get(path).status, 404, "{path}");
    }
    let expected: Vec<_> = (0..60).filter(|n| n % 10 != 3).map(|n| (n, format!("{n:0400}"))).collect();
    assert_eq!(table(host), expected);
    let later = host.admin().get("/v1/classes/keeper/objects/later").json();
    assert_eq!(later["alarm"]["scheduled"].as_u64(), Some(LATER_MS), "{later}");
    // It came due while no host ran.
    eventually("the alarm that was overdue", || (host.get("/keeper/overdue").body == b"rang").then_some(()));
    let all = ["again", "later", "lost", "overdue", "released", "table"];
    eventually("the list of objects", || (names(host, "keeper") == all).then_some(()));
    assert_eq!(names(host, "second"), ["logged", "ü b/c"]);
    let keeper = host.admin().get("/v1/classes/keeper").json();
    assert_eq!(keeper["version"], 2, "{keeper}");
}

#[test]
fn a_data_directory_of_the_version_before_is_served_whole() {
    let mut host = Host::on(|directory| {
        unpack(directory);
        verify(&directory.join("data"));
    });
    assert_all_is_there(&host);
    let data = host.data_directory();
    assert_eq!(std::fs::read_to_string(data.join("FORMAT")).expect("it is there"), "holdfast data 3\nlanes 16\n");
    assert!(host.log().contains("was upgraded from data format 2 to 3"), "{}", host.log());
    host.kill();
    host.restart();
    assert!(!host.log().contains("was upgraded"), "once");
    assert_all_is_there(&host);
    // And is written to.
    assert_eq!(
        host.data().try_send(Method::PATCH, "/keeper/table", &[], "DELETE FROM t WHERE id > 0").unwrap().status,
        204
    );
    assert_eq!(host.data().put("/keeper/released", "changed").status, 204);
    assert_eq!(host.data().delete("/keeper/again").status, 204);
    assert_eq!(host.terminate().code(), Some(0));
    verify(&host.data_directory());
    host.restart();
    assert_eq!(table(&host), [(0, "0".repeat(400))]);
    assert_eq!(host.get("/keeper/released").text(), "changed");
    assert_eq!(host.get("/keeper/again").status, 404);
    assert_eq!(host.get("/keeper/lost").text(), "before");
}

/// The catalogs of that version are a projection as well: without them, and without its compiled code, nothing is missing.
#[test]
fn so_is_one_whose_lists_are_gone() {
    let host = Host::on(|directory| {
        unpack(directory);
        std::fs::remove_dir_all(directory.join("data/catalog")).expect("there are catalogs");
    });
    assert_all_is_there(&host);
}
