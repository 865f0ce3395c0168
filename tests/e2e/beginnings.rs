//! What may create objects of a class (`create`), and that nothing remains of objects that were not created.

use serde_json::Value as Json;

use crate::harness::{Host, eventually, files_below, guest};

const OBJECTS: &str = "/v1/classes/beginnings/objects";

fn host(create: &str) -> Host {
    let host = Host::start();
    let deployed = host.admin().put(&format!("/v1/classes/beginnings{create}"), guest("beginnings"));
    assert_eq!(deployed.status, 201, "{deployed:?}");
    host
}

fn exists(host: &Host, object: &str) -> bool {
    host.admin().get(&format!("{OBJECTS}/{object}")).status == 200
}

#[test]
fn a_name_that_nobody_made_leaves_nothing_behind() {
    let host = host("");
    for object in 0..40 {
        assert_eq!(host.get(&format!("/beginnings/{object}/nothing")).status, 404);
    }
    for path in ["table", "migration", "undone", "refused"] {
        assert_eq!(host.get(&format!("/beginnings/{path}/{path}")).status, 404, "{path}");
        assert!(!exists(&host, path), "{path}");
    }
    assert_eq!(host.admin().get(OBJECTS).json()["objects"].as_array().unwrap().len(), 0);
    eventually("no file is left", || files_below(&host.data_directory().join("objects")).is_empty().then_some(()));
    // Memory has no state that storage does not have.
    for _ in 0..2 {
        assert_eq!(String::from_utf8(host.get("/beginnings/a/instance").body).unwrap(), "1");
    }
}

#[test]
fn whatever_a_handler_stores_makes_the_object() {
    let mut host = host("");
    for path in ["row", "key", "alarm"] {
        assert_eq!(host.get(&format!("/beginnings/{path}/{path}")).status, 404);
        assert!(exists(&host, path), "{path}");
    }
    // A successful turn creates the object, even with tables only.
    assert_eq!(host.get("/beginnings/fine/nothing?status=200").text(), "1");
    // An existing object stays, whatever later requests answer.
    assert_eq!(host.get("/beginnings/fine/table?status=500").status, 500);
    assert_eq!(String::from_utf8(host.get("/beginnings/fine/instance").body).unwrap(), "3");
    host.kill();
    host.restart();
    for object in ["row", "key", "alarm", "fine"] {
        assert!(exists(&host, object), "{object}");
    }
}

#[test]
fn a_class_may_let_any_turn_create() {
    let host = host("?create=any");
    assert_eq!(host.get("/beginnings/a/nothing").status, 404);
    assert!(exists(&host, "a"));
}

#[test]
fn a_class_may_keep_requests_from_creating() {
    let mut host = host("?create=internal");
    host.get("/beginnings/a/row?status=200").problem(404, "unknown-object");
    let upgrade = [("upgrade", "websocket"), ("connection", "upgrade"), ("sec-websocket-version", "13")];
    let key = [("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")];
    let upgrade = host.data().send(ureq::http::Method::GET, "/beginnings/a/row", &[&upgrade[..], &key].concat(), b"");
    upgrade.problem(404, "unknown-object");
    assert_eq!(host.metric("holdfast_instances_started_total"), 0, "no instance was made to refuse it");
    assert_eq!(host.metric("holdfast_failed_turns_total{code=\"unknown-object\"}"), 0, "no turn failed");
    assert!(!exists(&host, "a"));

    // The admin API creates one, and it answers.
    assert_eq!(host.admin().put("/v1/classes/beginnings?create=any", guest("beginnings")).json()["changed"], true);
    assert_eq!(host.get("/beginnings/b/row?status=200").text(), "1");
    let exported = host.admin().get(&format!("{OBJECTS}/b/export")).body;
    assert_eq!(host.admin().put("/v1/classes/beginnings?create=internal", guest("beginnings")).status, 200);
    assert!(matches!(host.admin().put(&format!("{OBJECTS}/a/import"), exported).status, 200 | 204));
    assert_eq!(host.get("/beginnings/a/instance?status=200").text(), "1");
    host.get("/beginnings/c/row?status=200").problem(404, "unknown-object");

    // The setting is the class's: it outlives the process, and a deploy that does not mention it.
    host.kill();
    host.restart();
    let class = host.admin().get("/v1/classes/beginnings").json();
    assert_eq!((&class["create"], &class["version"]), (&Json::from("internal"), &Json::from(3)));
    assert_eq!(host.admin().put("/v1/classes/beginnings", guest("beginnings")).json()["changed"], false);
    host.get("/beginnings/c/row?status=200").problem(404, "unknown-object");
    host.admin().put("/v1/classes/beginnings?create=nobody", guest("beginnings")).problem(400, "bad-query");
}

#[test]
fn the_command_line_sets_and_shows_it() {
    let host = Host::start();
    let file = crate::harness::guest_file("beginnings");
    let deploy = ["deploy", file.to_str().unwrap(), "--class", "beginnings", "--create", "internal"];
    let deployed = host.run(&deploy);
    assert!(deployed.status.success(), "{deployed:?}");
    let shown = String::from_utf8(host.run(&["classes", "show", "beginnings"]).stdout).unwrap();
    assert!(shown.lines().any(|line| line.split_whitespace().eq(["create", "internal"])), "{shown}");
    let refused = host.run(&["deploy", file.to_str().unwrap(), "--class", "beginnings", "--create", "nobody"]);
    assert!(String::from_utf8(refused.stderr).unwrap().contains("`any`, `stored` or `internal`"));
}
