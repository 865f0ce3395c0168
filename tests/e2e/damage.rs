//! Damage as operators see it: reported by the object and by `holdfast data verify`, and repaired by an import or a
//! deletion. And that other users of the machine can read nothing of a data directory.

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Output;

use serde_json::Value as Json;

use crate::harness::{Host, files_below, guest, holdfast};
use crate::storage::{get, put};

/// The offset of a byte in the page that has the keys, which every turn reads.
const IN_THE_KEYS: usize = 4096 + 3;

struct Story {
    host: Host,
}

impl Story {
    /// Objects that stored something, and a host that has stopped.
    fn stopped() -> Self {
        let mut host = Host::start();
        host.deploy("faults", guest("faults"));
        for (name, n) in [("alice", 7), ("bob", 8)] {
            assert_eq!(host.get(&format!("/faults/{name}/put?n={n}")).text(), n.to_string());
        }
        assert_eq!(host.terminate().code(), Some(0));
        Self { host }
    }

    /// Returns the path of an object's database, found by the name in its pages.
    fn file(&self, name: &str) -> PathBuf {
        let files = files_below(&self.host.data_directory().join("objects"));
        let named = |file: &PathBuf| {
            let is_database = file.extension().is_some_and(|extension| extension == "sqlite");
            let text = fs::read(file).expect("it can be read");
            is_database && text.windows(name.len()).any(|window| window == name.as_bytes())
        };
        files.into_iter().find(named).expect("the object has a file")
    }

    fn flip(&self, name: &str) {
        let file = self.file(name);
        let mut bytes = fs::read(&file).expect("it can be read");
        bytes[IN_THE_KEYS] ^= 8;
        fs::write(file, bytes).expect("it can be written");
    }

    fn verify(&self, arguments: &[&str]) -> Output {
        let data = self.host.data_directory();
        let data = data.to_str().expect("paths are text");
        holdfast(&[&["data", "verify", "--data", data], arguments].concat()).output().expect("it runs")
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("it prints text")
}

#[test]
fn a_damaged_object_is_reported_and_replaced_by_an_import() {
    let mut story = Story::stopped();
    let whole = story.verify(&[]);
    assert_eq!(whole.status.code(), Some(0), "{}", text(&whole.stderr));
    assert!(text(&whole.stdout).contains("2 objects, "), "{}", text(&whole.stdout));
    story.host.restart();
    let export = story.host.data_directory().with_file_name("alice.sqlite");
    let export = export.to_str().expect("paths are text");
    let exported = story.host.run(&["objects", "export", "faults", "alice", export]);
    assert!(exported.status.success(), "{}", text(&exported.stderr));
    story.host.terminate();
    story.flip("alice");

    let found = story.verify(&["--json"]);
    assert_eq!(found.status.code(), Some(1));
    let documents = text(&found.stdout).lines().map(|line| serde_json::from_str::<Json>(line).expect("it is JSON"));
    let damaged: Vec<_> = documents.filter(|document| document.get("damaged").is_some_and(Json::is_string)).collect();
    assert_eq!(damaged.len(), 1, "{damaged:?}");
    assert_eq!((&damaged[0]["class"], &damaged[0]["name"]), (&"faults".into(), &"alice".into()));
    assert_eq!(damaged[0]["pages"], serde_json::json!([2]));
    let told = text(&found.stderr);
    assert!(told.contains("objects import") && told.contains("objects delete"), "{told}");

    story.host.restart();
    for _ in 0..2 {
        let problem = story.host.get("/faults/alice/get").problem(500, "object-damaged");
        assert_eq!(problem["object"], "faults/alice");
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("page 2")), "{problem}");
    }
    assert_eq!(story.host.get("/faults/bob/get").text(), "8", "others go on");
    let imported = story.host.run(&["objects", "import", "faults", "alice", export]);
    assert!(imported.status.success(), "{}", text(&imported.stderr));
    assert_eq!(story.host.get("/faults/alice/get").text(), "7");
    story.host.terminate();
    assert_eq!(story.verify(&[]).status.code(), Some(0));
}

#[test]
fn a_lost_file_is_reported_until_the_loss_is_accepted() {
    let mut story = Story::stopped();
    fs::remove_file(story.file("alice")).expect("it is there");
    let found = story.verify(&[]);
    assert_eq!(found.status.code(), Some(1));
    assert!(text(&found.stdout).contains("faults/alice is damaged"), "{}", text(&found.stdout));
    story.host.restart();
    for path in ["get", "put?n=1", "count"] {
        story.host.get(&format!("/faults/alice/{path}")).problem(500, "object-damaged");
    }
    story.host.kill();
    story.host.restart();
    story.host.get("/faults/alice/get").problem(500, "object-damaged");
    let deleted = story.host.run(&["objects", "delete", "faults", "alice"]);
    assert!(deleted.status.success(), "{}", text(&deleted.stderr));
    assert_eq!(story.host.get("/faults/alice/get").text(), "0");
    assert_eq!(story.host.get("/faults/alice/put?n=3").text(), "3");
    story.host.terminate();
    assert_eq!(story.verify(&[]).status.code(), Some(0));
}

#[test]
fn nobody_else_on_the_machine_can_read_a_data_directory() {
    let mut story = Story::stopped();
    let root = story.host.data_directory();
    let open = || {
        let mut paths = files_below(&root);
        let above: Vec<_> = paths.iter().flat_map(|path| path.ancestors().map(PathBuf::from)).collect();
        paths.extend(above.into_iter().filter(|path| path.starts_with(&root)));
        paths.retain(|path| fs::metadata(path).is_ok_and(|found| found.permissions().mode() & 0o077 != 0));
        paths
    };
    assert_eq!(open(), Vec::<PathBuf>::new());
    story.host.restart();
    assert_eq!(open(), Vec::<PathBuf>::new(), "while it runs");
    story.host.terminate();
    // As written by earlier versions.
    for path in files_below(&root) {
        fs::set_permissions(path, fs::Permissions::from_mode(0o644)).expect("it is ours");
    }
    fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).expect("it is ours");
    story.host.restart();
    assert_eq!(open(), Vec::<PathBuf>::new());
    assert_eq!(story.host.log().matches("is its owner's alone").count(), 1, "{}", story.host.log());
    assert_eq!(story.host.get("/faults/bob/get").text(), "8");
}

/// Idle connections use all descriptors when segments of the log are begun: writes are refused or wait, the process
/// does not end, and nothing is lost.
#[test]
fn connections_that_take_all_descriptors_end_nothing() {
    let mut host = Host::with("log-capacity = 16777216\nlog-segment = 1048576");
    host.deploy("storage", guest("storage"));
    let write = |key: &str| {
        let value = key.repeat(60_000 / key.len());
        host.post("/storage/alice", serde_json::json!([put(key, &value)]).to_string()).status
    };
    assert_eq!(write("before"), 200);
    for more in [0, 3] {
        host.limit_descriptors(Some(more));
        let connections: Vec<_> = (0..40).map(|_| TcpStream::connect(host.data().address())).collect();
        // Data that compresses well fills no segment, so there are many writes.
        let told: Vec<_> = (0..200).map(|n| (n, write(&format!("{n}")))).collect();
        assert!(told.iter().all(|(_, status)| [200, 503, 507].contains(status)), "{told:?}");
        host.limit_descriptors(None);
        drop(connections);
        assert_eq!(write("after"), 200);
        for (n, status) in told {
            let read = host.post("/storage/alice", serde_json::json!([get(&format!("{n}"))]).to_string()).json();
            assert!(status != 200 || !read[0].is_null(), "{n} was acknowledged: {read}");
        }
    }
    host.assert_alive();
}

#[test]
fn an_error_of_the_system_is_told_once() {
    let file = tempfile::NamedTempFile::new().expect("there is room");
    let below = file.path().join("data");
    let below = below.to_str().expect("paths are text");
    for arguments in
        [&["serve", "--data", below][..], &["data", "verify", "--data", below], &["data", "inspect", "--data", below]]
    {
        let output = holdfast(arguments).output().expect("it runs");
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert_eq!(told.matches("Not a directory").count(), 1, "{arguments:?}: {told}");
    }
}
