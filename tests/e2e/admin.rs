//! The admin API: administration of classes and objects.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde_json::{Value as Json, json};
use ureq::http::Method;

use crate::harness::{Host, eventually, files_below, guest, root};

const OBJECTS: &str = "/v1/classes/counter/objects";

fn counter_host() -> Host {
    let host = Host::start();
    host.deploy("counter", guest("counter"));
    host
}

fn names(page: &Json) -> Vec<&str> {
    page["objects"].as_array().unwrap().iter().map(|object| object["name"].as_str().unwrap()).collect()
}

/// Waits for an object in the list: it appears a moment after its first turn is durable.
fn wait_for_objects(host: &Host, count: usize) {
    let listed = || host.admin().get(&format!("{OBJECTS}?limit=1000")).json()["objects"].as_array().unwrap().len();
    eventually(&format!("{count} objects in the list"), || (listed() == count).then_some(()));
}

#[test]
fn objects_are_listed_in_pages_by_name() {
    let host = counter_host();
    for name in ["berlin", "amsterdam", "bern", "oslo", "bergen", "%E2%82%AC"] {
        assert_eq!(host.get(&format!("/counter/{name}")).text(), "1");
    }
    wait_for_objects(&host, 6);
    let all = host.admin().get(OBJECTS).json();
    assert_eq!(names(&all), ["amsterdam", "bergen", "berlin", "bern", "oslo", "€"]);
    assert_eq!(all["cursor"], json!(null));
    for object in all["objects"].as_array().unwrap() {
        assert_eq!(object["id"].as_str().unwrap().len(), 64);
        assert!(object["bytes"].as_u64().unwrap() >= 4096 && object["bytes"].as_u64().unwrap() % 4096 == 0, "{object}");
        assert_eq!(object["state"], "live");
    }
    let mut paged = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = host.admin().get(&format!("{OBJECTS}?limit=4{cursor}")).json();
        paged.extend(page["objects"].as_array().unwrap().clone());
        match page["cursor"].as_str() {
            Some(next) => {
                cursor = format!(
                    "&cursor={}",
                    percent_encoding::utf8_percent_encode(next, percent_encoding::NON_ALPHANUMERIC)
                )
            }
            None => break,
        }
    }
    assert_eq!(json!(paged), all["objects"]);
    assert_eq!(names(&host.admin().get(&format!("{OBJECTS}?prefix=ber")).json()), ["bergen", "berlin", "bern"]);
    assert_eq!(names(&host.admin().get(&format!("{OBJECTS}?prefix=ber&limit=2")).json()), ["bergen", "berlin"]);
    assert_eq!(names(&host.admin().get(&format!("{OBJECTS}?prefix=x")).json()), Vec::<&str>::new());
}

#[test]
fn a_list_takes_only_what_it_knows() {
    let host = counter_host();
    for query in ["limit=0", "limit=1001", "limit=x", "cursor=%00", "colour=red", "limit=1&limit=2"] {
        host.admin().get(&format!("{OBJECTS}?{query}")).problem(400, "bad-query");
    }
    host.admin().get("/v1/classes/none/objects").problem(404, "unknown-class");
    host.admin().put(OBJECTS, b"").problem(405, "method-not-allowed");
    host.admin().get("/v1/none").problem(404, "unknown-route");
}

#[test]
fn the_list_outlives_the_process() {
    let mut host = counter_host();
    for name in ["alice", "bob"] {
        assert_eq!(host.get(&format!("/counter/{name}")).text(), "1");
    }
    host.kill();
    host.restart();
    wait_for_objects(&host, 2);
    assert_eq!(names(&host.admin().get(OBJECTS).json()), ["alice", "bob"]);
    assert_eq!(host.state("counter", "alice"), "dormant");
}

#[test]
fn an_object_that_stored_nothing_is_not_there() {
    let host = Host::start();
    host.deploy("echo", guest("echo"));
    assert_eq!(host.get("/echo/alice").status, 200);
    host.admin().get("/v1/classes/echo/objects/alice").problem(404, "unknown-object");
    host.admin().delete("/v1/classes/echo/objects/alice").problem(404, "unknown-object");
    assert_eq!(host.admin().get("/v1/classes/echo/objects").json()["objects"], json!([]));
}

#[test]
fn a_deleted_object_begins_anew() {
    let host = counter_host();
    assert_eq!(host.get("/counter/alice").text(), "1");
    assert_eq!(host.get("/counter/alice").text(), "2");
    let shown = host.admin().get(&format!("{OBJECTS}/alice")).json();
    let deleted = host.admin().delete(&format!("{OBJECTS}/alice"));
    assert_eq!((deleted.status, deleted.body.len()), (204, 0));
    host.admin().get(&format!("{OBJECTS}/alice")).problem(404, "unknown-object");
    host.admin().delete(&format!("{OBJECTS}/alice")).problem(404, "unknown-object");
    wait_for_objects(&host, 0);
    assert_eq!(host.get("/counter/alice").text(), "1", "neither storage nor memory remembers");
    assert_eq!(host.admin().get(&format!("{OBJECTS}/alice")).json()["id"], shown["id"]);
    assert_eq!(host.admin().delete(&format!("{OBJECTS}/@{}", shown["id"].as_str().unwrap())).status, 204);
    assert_eq!(host.get("/counter/alice").text(), "1");
}

#[test]
fn nothing_of_a_deleted_object_stays_on_disk() {
    let host = counter_host();
    assert_eq!(host.get("/counter/alice").text(), "1");
    let files = || files_below(&host.data_directory().join("objects")).len();
    assert!(files() > 0);
    assert_eq!(host.admin().delete(&format!("{OBJECTS}/alice")).status, 204);
    eventually("the files to be gone", || (files() == 0).then_some(()));
}

#[test]
fn a_class_goes_with_its_objects_only_when_asked() {
    let host = counter_host();
    assert_eq!(host.get("/counter/alice").text(), "1");
    let id = host.admin().get(&format!("{OBJECTS}/alice")).json()["id"].as_str().unwrap().to_owned();
    wait_for_objects(&host, 1);
    host.admin().delete("/v1/classes/counter").problem(409, "class-has-objects");
    assert_eq!(host.get("/counter/alice").text(), "2");
    assert_eq!(host.admin().delete("/v1/classes/counter?objects=delete").status, 204);
    host.get("/counter/alice").problem(404, "unknown-class");
    host.admin().delete("/v1/classes/counter").problem(404, "unknown-class");

    // The next class of this name has another key, so other objects.
    assert_eq!(host.deploy("counter", guest("counter"))["version"], 1);
    host.get(&format!("/counter/@{id}")).problem(400, "id-of-other-class");
    assert_eq!(host.get("/counter/alice").text(), "1");
}

#[test]
fn a_class_without_objects_goes_at_once_and_for_good() {
    let mut host = counter_host();
    host.deploy("echo", guest("echo"));
    assert_eq!(host.admin().delete("/v1/classes/counter").status, 204);
    host.kill();
    host.restart();
    let classes = host.admin().get("/v1/classes").json();
    assert_eq!(classes["classes"].as_array().unwrap().len(), 1);
    assert_eq!(classes["classes"][0]["name"], "echo");
}

#[test]
fn metrics_count_what_happened() {
    let host = counter_host();
    for _ in 0..3 {
        host.get("/counter/alice");
    }
    let answer = host.admin().get("/metrics");
    assert!(answer.header("content-type").starts_with("application/openmetrics-text"));
    assert_eq!(host.metric("holdfast_turns_total"), 3);
    assert_eq!(host.metric("holdfast_live_instances"), 1);
    assert_eq!(host.metric("holdfast_live_objects"), 1);
    assert_eq!(host.metric("holdfast_instances_started_total"), 1);
    assert!(host.metric("holdfast_fuel_total") > 1_000);
}

/// The reference page names each route with its methods, and its examples are requests that the routes accept.
#[test]
fn the_routes_are_as_documented() {
    let host = counter_host();
    let page = fs::read_to_string(root().join("docs/reference/admin-api.md")).expect("it is there");
    let mut routes: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for heading in page.lines().filter_map(|line| line.strip_prefix("### `")?.strip_suffix('`')) {
        let (method, path) = heading.split_once(' ').expect("a route is a method and a path");
        let methods = routes.entry(path.replace("{class}", "counter").replace("{object}", "alice")).or_default();
        methods.insert(method.to_owned());
        if method == "GET" {
            methods.insert("HEAD".to_owned());
        }
    }
    assert!(routes.len() > 10, "{routes:?}");
    for (path, methods) in routes {
        let answer = host.admin().send(Method::PATCH, &path, &[], b"");
        let allowed = answer.headers["allow"].to_str().expect("it is text").split(", ").map(str::to_owned);
        assert_eq!((answer.status, allowed.collect::<BTreeSet<_>>()), (405, methods), "{path}");
    }
    let examples: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("curl -H \"$AUTH\" ")).collect();
    assert!(examples.len() > 10, "{examples:?}");
    for example in examples {
        let (options, path) = example.split_once("\"$ADMIN").expect("an example names the server");
        let method = match options.split_once("-X ") {
            Some((_, method)) => Method::from_bytes(method.trim().as_bytes()).expect("it is a method"),
            None if options.contains("-T ") => Method::PUT,
            None if options.contains("-d ") => Method::POST,
            None => Method::GET,
        };
        let answer = host.admin().send(method, path.trim_end_matches('"'), &[], b"");
        if answer.status >= 400 {
            let problem: Json = serde_json::from_slice(&answer.body).expect("an error is JSON");
            let code = problem["code"].as_str().expect("an error has a code");
            assert!(!["unknown-route", "method-not-allowed", "bad-query"].contains(&code), "{example}: {code}");
        }
    }
}
