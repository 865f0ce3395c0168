//! A class that exports `wasi:http/incoming-handler`, made with public bindings and without the SDK.

use serde_json::json;
use ureq::http::Method;

use crate::harness::{Host, guest};

fn host() -> Host {
    let host = Host::start();
    let deployed = host.deploy("proxy", guest("wasi-http"));
    let exports = deployed["exports"].as_array().unwrap();
    assert!(exports.iter().any(|name| name.as_str().unwrap().starts_with("wasi:http/incoming-handler@0.2.")));
    assert!(exports.iter().all(|name| !name.as_str().unwrap().starts_with("holdfast:")));
    host
}

#[test]
fn it_serves_requests_as_they_were_sent() {
    let host = host();
    let answer = host.data().send(Method::PUT, "/proxy/alice/a%2Fb?q=1", &[("x-echo", "hello")], "body");
    let echo = json!({ "method": "PUT", "path_with_query": "/a%2Fb?q=1", "x-echo": "hello", "body": "body" });
    assert_eq!(answer.json(), echo);
    assert_eq!(answer.header("content-type"), "application/json");
    let brew = host.data().raw(&["BREW /proxy/alice HTTP/1.1"], b"").json();
    assert_eq!(
        (&brew["method"], &brew["path_with_query"], &brew["x-echo"]),
        (&json!("BREW"), &json!("/"), &json!(null))
    );
}

#[test]
fn its_instance_serves_many_turns() {
    let host = host();
    let count = |object: &str| host.get(&format!("/proxy/{object}/count")).number();
    assert_eq!([count("alice"), count("alice"), count("bob"), count("alice")], [1, 2, 1, 3]);
    host.admin().post("/v1/classes/proxy/objects/alice/evict", b"");
    assert_eq!(count("alice"), 1, "what it keeps in memory goes with the instance");
}

#[test]
fn its_body_is_streamed_to_the_host_and_held_there() {
    let host = host();
    for bytes in [0, 1, 4096, 3_000_000] {
        assert_eq!(host.get(&format!("/proxy/alice/big?bytes={bytes}")).text().len(), bytes);
    }
    let body = vec![b'b'; 3_000_000];
    assert_eq!(host.post("/proxy/alice", &body).json()["body"].as_str().unwrap().len(), body.len());
}

#[test]
fn its_faults_are_those_of_any_class() {
    let mut host = host();
    host.get("/proxy/alice/never").problem(500, "invalid-response");
    host.get("/proxy/alice/big?bytes=none").problem(500, "guest-trap");
    assert_eq!(host.get("/proxy/alice/count").text(), "1");
    host.assert_alive();
}

#[test]
fn it_cannot_send_requests_of_its_own() {
    let host = host();
    let outcome = host.get("/proxy/alice/outgoing");
    assert!(outcome.text().contains("HttpRequestDenied"), "{}", outcome.text());
}
