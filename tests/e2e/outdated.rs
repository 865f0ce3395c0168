//! Classes that were built for a contract that the host does not run any more: refused at deploy, told of at each request, and their
//! objects keep everything.

use holdfast_runtime::base::Digest;
use serde_json::Value as Json;

use crate::harness::{Host, guest};

/// The names by which a class of 0.1.0 is known. It is never run.
const OF_0_1_0: &str = r#"(component
    (import "holdfast:object/types@0.1.0" (instance
        (type $failure (record (field "code" string) (field "message" string) (field "retryable" bool)))
        (export "failure" (type (eq $failure)))))
    (import "holdfast:object/key-value@0.1.0" (instance
        (export "delete-many" (func (param "keys" (list string)) (result u32)))))
    (instance $handler)
    (export "holdfast:object/fetch-handler@0.1.0" (instance $handler))
    (export "holdfast:object/lifecycle@0.1.0" (instance $handler)))"#;

fn component(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap_or_else(|error| panic!("{error}"))
}

/// Makes the class's record and component those of a class that an older host has deployed.
fn age(host: &Host, class: &str) {
    let (old, classes) = (component(OF_0_1_0), host.data_directory().join("classes"));
    let (record, digest) = (classes.join(format!("{class}.json")), Digest::of(&old).to_string());
    let text = std::fs::read_to_string(&record).unwrap();
    let present: Json = serde_json::from_str(&text).unwrap();
    let present = find_digest(&present).expect("a record names its component").to_owned();
    let aged = text.replace("@0.2.0", "@0.1.0").replace("/init-handler@", "/lifecycle@").replace(&present, &digest);
    assert_ne!(aged, text);
    std::fs::write(record, aged).unwrap();
    std::fs::write(classes.join("components").join(format!("{digest}.wasm")), old).unwrap();
}

/// Wherever a record has it.
fn find_digest(json: &Json) -> Option<&str> {
    match json {
        Json::Object(members) => match members.get("digest") {
            Some(digest) => digest.as_str(),
            None => members.values().find_map(find_digest),
        },
        Json::Array(items) => items.iter().rev().find_map(find_digest),
        _ => None,
    }
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

#[test]
fn a_class_that_an_older_host_deployed_keeps_its_objects() {
    let mut host = Host::start();
    host.deploy("counter", guest("counter"));
    host.deploy("echo", guest("echo"));
    for expected in ["1", "2"] {
        assert_eq!(host.get("/counter/alice").text(), expected);
    }
    host.terminate();
    age(&host, "counter");
    host.restart();

    for _ in 0..3 {
        let problem = host.get("/counter/alice").problem(500, "class-outdated");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("holdfast:object@0.1.0") && detail.contains("deploy it again"), "{problem}");
        assert_eq!(problem["object"], "counter/alice");
    }
    assert_eq!(host.get("/echo/alice").json()["class"], "echo", "other classes go on");
    let class = host.admin().get("/v1/classes/counter").json();
    assert_eq!((&class["built_for"], &class["outdated"]), (&"holdfast:object@0.1.0".into(), &true.into()));
    let present = host.admin().get("/v1/classes/echo").json();
    assert_eq!((&present["built_for"], &present["outdated"]), (&"holdfast:object@0.2.0".into(), &false.into()));
    let listed = String::from_utf8(host.run(&["classes", "list"]).stdout).unwrap();
    assert!(listed.contains("0.1.0 (outdated)"), "{listed}");

    // What needs no code goes on: the objects can be looked at, exported and deleted.
    let objects = host.admin().get("/v1/classes/counter/objects").json();
    assert_eq!(objects["objects"].as_array().unwrap().len(), 1);
    let export = host.admin().get("/v1/classes/counter/objects/alice/export");
    assert!(export.status == 200 && export.body.starts_with(b"SQLite format 3"), "{}", export.status);

    let deployed = host.admin().put("/v1/classes/counter", guest("counter")).json();
    assert_eq!((&deployed["version"], &deployed["outdated"]), (&2.into(), &false.into()));
    assert_eq!(host.get("/counter/alice").text(), "3");
    host.kill();
    host.restart();
    assert_eq!(host.get("/counter/alice").text(), "4");
}

/// An alarm is not given up because its class is outdated: that is no failed attempt.
#[test]
fn the_alarms_of_an_outdated_class_wait_for_it() {
    let mut host = Host::start();
    host.deploy("alarms", guest("alarms"));
    let set = host.post("/alarms/alice/set?in=3600000", b"");
    assert_eq!(set.status, 204, "{set:?}");
    let path = "/v1/classes/alarms/objects/alice";
    let alarm = host.admin().get(path).json()["alarm"].clone();
    host.terminate();
    age(&host, "alarms");
    host.restart();
    for _ in 0..10 {
        host.admin().post(&format!("{path}/alarm"), b"").problem(500, "class-outdated");
    }
    assert_eq!(host.admin().get(path).json()["alarm"], alarm);
    host.deploy("alarms", guest("alarms"));
    assert_eq!(host.admin().post(&format!("{path}/alarm"), b"").json()["ran"], true);
}
