//! A data directory of an earlier version opens, is upgraded, and serves every object as it was.
//!
//! `tests/upgrade/` has the directories, one for each version whose bytes on disk differed. Each is made by `tests/upgrade/make` with the
//! binary of that version, from the class in `tests/upgrade/keeper.wat`:
//!
//! | archive | made by |
//! |---|---|
//! | `before-checksums.tar.gz` | the last version without page checksums (`holdfast data 2`, log version 1, `holdfast:object@0.1.0`) |
//!
//! Its classes were built for a contract that this host does not run any more. Their objects keep everything, and requests are refused until
//! the class is deployed anew.

use std::path::Path;
use std::process::Command;

use serde_json::{Value as Json, json};
use ureq::http::Method;

use crate::harness::guests::build_project;
use crate::harness::{Answer, Host, eventually, guest, holdfast, root};

const ARCHIVE: &str = "before-checksums.tar.gz";
/// 2100-01-01.
const LATER_MS: u64 = 4_102_444_800_000;
const CLASSES: [&str; 3] = ["empty", "keeper", "second"];

/// The names by which a class of 0.1.0 is known. It is never run.
const OF_0_1_0: &str = r#"(component
    (import "holdfast:object/key-value@0.1.0" (instance
        (export "delete-many" (func (param "keys" (list string)) (result u32)))))
    (instance $handler)
    (export "holdfast:object/fetch-handler@0.1.0" (instance $handler))
    (export "holdfast:object/lifecycle@0.1.0" (instance $handler)))"#;

fn component(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap_or_else(|error| panic!("{error}"))
}

/// The class of the archive, built for the present contract.
fn keeper() -> Vec<u8> {
    let project = tempfile::tempdir().expect("a directory");
    let settings = "class = \"keeper\"\n\n[build]\nlanguage = \"module\"\nmodule = \"keeper.wat\"\n";
    std::fs::write(project.path().join("holdfast.toml"), settings).expect("it is writable");
    std::fs::copy(root().join("tests/upgrade/keeper.wat"), project.path().join("keeper.wat")).expect("it is there");
    let built = build_project(project.path()).unwrap_or_else(|output| panic!("{output}"));
    std::fs::read(built).expect("it was just built")
}

/// Deploys the classes of the archive for the present contract. Restarts the host: an alarm that was refused is tried again after a minute,
/// or at the next start.
fn deploy_anew(host: &mut Host) {
    let keeper = keeper();
    for class in CLASSES {
        let deployed = host.deploy(class, &keeper);
        assert_eq!(deployed["outdated"], false, "{deployed}");
    }
    host.terminate();
    host.restart();
}

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

fn assert_outdated(answer: &Answer) {
    let problem = answer.problem(500, "class-outdated");
    let detail = problem["detail"].as_str().expect("it has a detail");
    assert!(detail.contains("holdfast:object@0.1.0") && detail.contains("deploy it again"), "{problem}");
}

/// What the archive holds while its classes are outdated: requests and alarms are refused, and nothing is lost.
fn assert_outdated_and_kept(host: &Host) {
    for _ in 0..3 {
        for path in ["/keeper/released", "/keeper/overdue", "/second/logged"] {
            assert_outdated(&host.get(path));
        }
    }
    for class in CLASSES {
        let class = host.admin().get(&format!("/v1/classes/{class}")).json();
        assert_eq!((&class["built_for"], &class["outdated"]), (&"holdfast:object@0.1.0".into(), &true.into()));
    }
    let listed = String::from_utf8(host.run(&["classes", "list"]).stdout).expect("it is text");
    assert!(listed.contains("0.1.0 (outdated)"), "{listed}");
    // No failed attempt, however often it is refused.
    for _ in 0..10 {
        assert_outdated(&host.admin().post("/v1/classes/keeper/objects/later/alarm", b""));
    }
    for object in ["later", "overdue"] {
        let shown = host.admin().get(&format!("/v1/classes/keeper/objects/{object}")).json();
        assert_eq!(shown["alarm"]["failed"], 0, "{shown}");
    }
    // What needs no code goes on.
    let expected: Vec<_> = (0..60).filter(|n| n % 10 != 3).map(|n| (n, format!("{n:0400}"))).collect();
    assert_eq!(table(host), expected);
    let export = host.admin().get("/v1/classes/keeper/objects/table/export");
    assert!(export.status == 200 && export.body.starts_with(b"SQLite format 3"), "{}", export.status);
    let all = ["again", "later", "lost", "overdue", "released", "table"];
    eventually("the list of objects", || (names(host, "keeper") == all).then_some(()));
}

/// Everything that `tests/upgrade/make` has left there.
fn assert_all_is_there(host: &Host) {
    for (path, value) in [
        ("/keeper/released", "released"),
        ("/keeper/again", "new"),
        // A turn that was applied and never durable, so no client has seen it.
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
    let versions: Vec<_> =
        keeper["versions"].as_array().expect("a list").iter().map(|v| v["version"].clone()).collect();
    assert_eq!(versions, [3, 2], "the directory has the current version alone, as all of its format");
}

#[test]
fn a_data_directory_of_the_version_before_is_served_whole() {
    let mut host = Host::on(|directory| {
        unpack(directory);
        verify(&directory.join("data"));
    });
    host.deploy("echo", guest("echo"));
    assert_outdated_and_kept(&host);
    assert_eq!(host.get("/echo/alice").json()["class"], "echo", "other classes go on");
    let data = host.data_directory();
    assert_eq!(std::fs::read_to_string(data.join("FORMAT")).expect("it is there"), "holdfast data 3\nlanes 16\n");
    assert!(host.log().contains("was upgraded from data format 2 to 3"), "{}", host.log());
    host.kill();
    host.restart();
    assert!(!host.log().contains("was upgraded"), "once");
    assert_outdated_and_kept(&host);
    deploy_anew(&mut host);
    assert_all_is_there(&host);
    // Back to the outdated version leads nowhere.
    host.admin().put("/v1/classes/keeper?version=2", b"").problem(422, "class-outdated");
    host.kill();
    host.restart();
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
    let mut host = Host::on(|directory| {
        unpack(directory);
        std::fs::remove_dir_all(directory.join("data/catalog")).expect("there are catalogs");
    });
    deploy_anew(&mut host);
    assert_all_is_there(&host);
}

#[test]
fn a_component_of_an_older_contract_is_not_deployed() {
    let host = Host::start();
    host.deploy("counter", guest("counter"));
    for class in ["counter", "another"] {
        let refused = host.admin().put(&format!("/v1/classes/{class}"), component(OF_0_1_0));
        let problem = refused.problem(422, "class-outdated");
        let says = "the class was built for holdfast:object@0.1.0, this host runs 0.2.0: rebuild it with the present SDK \
                    and deploy it again; its objects keep their data";
        assert_eq!(problem["detail"], says);
    }
    let newer = component(r#"(component (import "holdfast:object/later@0.3.0" (instance)))"#);
    let problem = host.admin().put("/v1/classes/counter", newer).problem(422, "host-outdated");
    assert!(problem["detail"].as_str().unwrap().contains("newer host"), "{problem}");
    assert_eq!(host.get("/counter/alice").text(), "1", "the class is as it was");
}
