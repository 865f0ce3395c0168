//! Renaming a class: objects, alarms and sockets stay with it, requests use the new name, and a crash leaves one of the
//! two names.

use std::os::unix::process::ExitStatusExt;

use ureq::http::Method;

use crate::harness::{Answer, Host, Socket, eventually, guest};

fn rename(host: &Host, from: &str, to: &str) -> Answer {
    host.admin().post(&format!("/v1/classes/{from}/rename?to={to}"), b"")
}

fn names(host: &Host) -> Vec<String> {
    let classes = host.admin().get("/v1/classes").json();
    classes["classes"].as_array().unwrap().iter().map(|class| class["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn objects_are_reached_by_the_new_name_only() {
    let mut host = Host::start();
    host.deploy("counter", guest("counter"));
    assert_eq!(host.get("/counter/alice").text(), "1");
    let before = host.admin().get("/v1/classes/counter/objects/alice").json();
    let path = "/v1/classes/counter?create=any";
    assert_eq!(host.admin().put(path, guest("counter")).json()["version"], 2);
    let versions = |class: &str| host.admin().get(&format!("/v1/classes/{class}")).json()["versions"].clone();
    let kept = versions("counter");
    let class = host.admin().get("/v1/classes").json()["classes"][0].clone();

    let mut renamed = rename(&host, "counter", "tally").json();
    assert_eq!(renamed["name"], "tally");
    renamed["name"] = "counter".into();
    assert_eq!(renamed, class, "nothing else has changed");
    assert_eq!((kept.as_array().unwrap().len(), versions("tally")), (2, kept.clone()));
    assert_eq!(names(&host), ["tally"]);
    assert_eq!(host.get("/tally/alice").text(), "2");
    host.get("/counter/alice").problem(404, "unknown-class");
    assert_eq!(host.admin().get("/v1/classes/tally/objects/alice").json()["id"], before["id"]);
    assert_eq!(host.get(&format!("/tally/@{}", before["id"].as_str().unwrap())).text(), "3");

    // SIGKILL right after the answer.
    let renamed = rename(&host, "tally", "score");
    host.kill();
    assert_eq!(renamed.status, 200);
    host.restart();
    let listed = host.admin().get("/v1/classes/score").json()["versions"].clone();
    assert_eq!(listed, kept);
    let back = host.admin().put("/v1/classes/score?version=1", b"").json();
    assert_eq!((&back["version"], &back["create"]), (&3.into(), &"stored".into()));
    assert_eq!(names(&host), ["score"]);
    assert_eq!(host.get("/score/alice").text(), "4");

    // The old names are free, and a new class with one of them has none of the objects.
    host.deploy("counter", guest("counter"));
    assert_eq!((host.get("/counter/alice").text(), host.get("/score/alice").text()), ("1", "5"));
    host.deploy("score", guest("faults"));
    host.terminate();
    host.restart();
    assert_eq!(names(&host), ["counter", "score"]);
    assert_eq!(host.get("/score/alice/get").text(), "5");
}

#[test]
fn a_crash_before_the_rename_leaves_the_old_name() {
    let mut host = Host::start();
    host.deploy("counter", guest("counter"));
    assert_eq!(host.get("/counter/alice").text(), "1");
    host.kill();
    host.restart_with_failpoints("class-rename:kill").unwrap();
    let path = "/v1/classes/counter/rename?to=tally";
    assert!(host.admin().try_send(Method::POST, path, &[], b"").is_err());
    assert_eq!(host.end().signal(), Some(9));
    host.restart_with_failpoints("class-rename:eio").unwrap();
    assert_eq!(names(&host), ["counter"]);
    rename(&host, "counter", "tally").problem(500, "internal");
    assert_eq!((names(&host), host.get("/counter/alice").text()), (vec!["counter".into()], "2"));
    rename(&host, "counter", "tally").json();
    host.kill();
    host.restart();
    assert_eq!((names(&host), host.get("/tally/alice").text()), (vec!["tally".into()], "3"));
}

#[test]
fn what_cannot_be_renamed_stays_as_it_is() {
    let host = Host::start();
    host.deploy("one", guest("counter"));
    host.deploy("two", guest("echo"));
    rename(&host, "one", "two").problem(409, "class-exists");
    rename(&host, "none", "three").problem(404, "unknown-class");
    rename(&host, "none", "none").problem(404, "unknown-class");
    rename(&host, "one", "Two").problem(400, "bad-class");
    rename(&host, "One", "three").problem(400, "bad-class");
    host.admin().post("/v1/classes/one/rename", b"").problem(400, "bad-query");
    host.admin().get("/v1/classes/one/rename?to=three").problem(405, "method-not-allowed");
    assert_eq!(rename(&host, "one", "one").json()["name"], "one");
    assert_eq!(names(&host), ["one", "two"]);
    assert_eq!(host.get("/one/alice").text(), "1");

    let output = host.run(&["classes", "rename", "one", "two"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && said.contains("class-exists"), "{said}");
    assert!(host.run(&["classes", "rename", "one", "three"]).status.success());
    assert_eq!((names(&host), host.get("/three/alice").text()), (vec!["three".into(), "two".into()], "2"));
}

/// Renames two classes crosswise: locks that are taken in the order of the request would deadlock.
#[test]
fn many_rename_at_once() {
    let host = Host::start();
    let classes = ["a", "b"];
    host.deploy("a", guest("counter"));
    assert_eq!(host.get("/a/alice").text(), "1");
    crate::harness::at_once(8, |thread| {
        for round in 0..8 {
            let from = (thread + round) % 2;
            let answer = rename(&host, classes[from], classes[1 - from]);
            assert!([200, 404].contains(&answer.status), "{answer:?}");
        }
    });
    let names = names(&host);
    assert_eq!(names.len(), 1, "{names:?}");
    assert_eq!(host.get(&format!("/{}/alice", names[0])).text(), "2");
}

#[test]
fn running_instances_and_sockets_follow() {
    let host = Host::start();
    host.deploy("echo", guest("echo"));
    host.deploy("sockets", guest("sockets"));
    assert_eq!(host.get("/echo/alice").json()["class"], "echo");
    let mut socket = Socket::open(host.data(), "/sockets/room");
    socket.say("before");
    assert_eq!(socket.hear(), "before");

    rename(&host, "echo", "mirror").json();
    rename(&host, "sockets", "rooms").json();
    let class = || host.get("/mirror/alice").json()["class"].as_str().unwrap().to_owned();
    assert_eq!(class(), "mirror", "an object that is live knows the name from its next turn on");
    socket.say("after");
    assert_eq!(socket.hear(), "after");
    host.admin().post("/v1/classes/rooms/objects/room/evict", b"").json();
    socket.say("after its memory was gone");
    assert_eq!(socket.hear(), "after its memory was gone");
    let logged = eventually("an entry under the new name", || {
        let entries = host.admin().get("/v1/logs?class=rooms").json();
        entries["entries"].as_array().unwrap().first().cloned()
    });
    assert_eq!(logged["object"], "room");
}
