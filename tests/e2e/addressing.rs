//! Addressing: the object that a path names, and the parts of a request that its guest gets.

use serde_json::{Value as Json, json};
use ureq::http::Method;

use crate::harness::{Answer, Host, Http2, guest};

fn echo_host() -> Host {
    let host = Host::start();
    host.deploy("echo", guest("echo"));
    host
}

/// Returns the values of a header as the guest got them.
fn seen<'a>(echo: &'a Json, name: &str) -> Vec<&'a str> {
    let headers = echo["headers"].as_array().unwrap().iter();
    headers.filter(|header| header[0] == name).map(|header| header[1].as_str().unwrap()).collect()
}

#[test]
fn a_request_arrives_as_sent() {
    let host = echo_host();
    let headers = [("x-one", "1"), ("content-type", "text/x-test")];
    let answer = host.data().send(Method::PATCH, "/echo/alice/a%2Fb//c/?q=%20&q=2", &headers, "whole body");
    let echo = answer.json();
    assert_eq!(echo["method"], "PATCH");
    assert_eq!(echo["uri"], "/a%2Fb//c/?q=%20&q=2");
    assert_eq!(echo["body"], "whole body");
    assert_eq!((&echo["name"], &echo["class"]), (&json!("alice"), &json!("echo")));
    assert_eq!(seen(&echo, "x-one"), ["1"]);
    assert_eq!(seen(&echo, "content-type"), ["text/x-test"]);
    assert_eq!(seen(&echo, "x-forwarded-prefix"), ["/echo/alice"]);
    assert_eq!(answer.header("content-type"), "application/json");
}

#[test]
fn repeated_headers_keep_their_order_and_the_prefix_cannot_be_forged() {
    let host = echo_host();
    let answer = host.data().raw(
        &["BREW /echo/al%69ce?x HTTP/1.1", "X-Many: b", "x-many: a", "x-many: b", "x-forwarded-prefix: /forged"],
        b"",
    );
    let echo = answer.json();
    assert_eq!(echo["method"], "BREW");
    assert_eq!(echo["uri"], "/?x");
    assert_eq!(echo["name"], "alice");
    assert_eq!(seen(&echo, "x-many"), ["b", "a", "b"]);
    assert_eq!(seen(&echo, "x-forwarded-prefix"), ["/echo/al%69ce"]);
    assert_eq!(seen(&echo, "host"), ["localhost"]);
}

#[test]
fn a_path_without_rest_is_the_root_of_the_object() {
    let host = echo_host();
    for (path, uri) in
        [("/echo/a", "/"), ("/echo/a/", "/"), ("/echo/a?", "/?"), ("/echo/a?q", "/?q"), ("/echo/a/x", "/x")]
    {
        assert_eq!(host.data().raw(&[&format!("GET {path} HTTP/1.1")], b"").json()["uri"], uri, "{path}");
    }
}

#[test]
fn head_is_answered_without_a_body() {
    let host = echo_host();
    let head = host.data().raw(&["HEAD /echo/alice HTTP/1.1"], b"");
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert!(head.header("content-length").parse::<usize>().unwrap() > 0);
    // The object's `content-length` is used only when it sends no body.
    let of_object = |method: &str, length: &str, more: &str| {
        let lines = [&format!("{method} /echo/alice HTTP/1.1"), &format!("x-length: {length}"), more];
        let answer = host.data().raw(&lines, b"");
        assert_eq!((answer.status, answer.body.len()), (200, 0));
        answer.headers.get("content-length").map(|length| length.to_str().unwrap().to_owned())
    };
    assert_eq!(of_object("HEAD", "12345", "x: y").as_deref(), Some("12345"));
    assert_eq!(of_object("HEAD", "many", "x: y"), None);
    assert_eq!(of_object("GET", "12345", "x: y").as_deref(), Some("0"));
    for status in [204, 304] {
        let answer = host.data().raw(&["HEAD /echo/alice HTTP/1.1", &format!("x-status: {status}")], b"");
        assert_eq!((answer.status, answer.headers.get("content-length")), (status, None));
    }
    // The same holds for the host's own answers.
    let health = host.data().raw(&["HEAD /_health HTTP/1.1"], b"");
    assert_eq!((health.header("content-length"), health.body.len()), ("2", 0));
}

#[test]
fn cookies_are_one_header() {
    let host = echo_host();
    let answer = host.data().raw(&["GET /echo/alice HTTP/1.1", "cookie: a=1", "cookie: b=2; c=3"], b"");
    assert_eq!(seen(&answer.json(), "cookie"), ["a=1; b=2; c=3"]);
    let mut http2 = Http2::connect(host.data());
    http2.request(1, &[(":path", "/echo/alice"), ("cookie", "a=1"), ("cookie", "b=2")]);
    let echo: serde_json::Value = serde_json::from_slice(&http2.body(1)).unwrap();
    assert_eq!(seen(&echo, "cookie"), ["a=1; b=2"]);
    // An answer to HEAD has no body: one would be a protocol error.
    http2.request(3, &[(":method", "HEAD"), (":path", "/echo/alice")]);
    assert_eq!(http2.body(3), b"");
}

#[test]
fn names_are_what_their_escapes_mean() {
    let host = echo_host();
    for (sent, name) in [
        ("alice", "alice"),
        ("%61lice", "alice"),
        ("a%2Fb", "a/b"),
        ("a+b", "a+b"),
        ("%40home", "@home"),
        ("h@me", "h@me"),
        ("%E2%82%AC", "€"),
        ("%2525", "%25"),
        ("%00", "\0"),
        ("..", ".."),
    ] {
        let echo = host.data().raw(&[&format!("GET /echo/{sent}/x HTTP/1.1")], b"").json();
        assert_eq!((&echo["name"], &echo["uri"]), (&json!(name), &json!("/x")), "{sent}");
    }
}

#[test]
fn an_object_is_the_same_by_name_and_by_id() {
    let host = Host::start();
    host.deploy("counter", guest("counter"));
    assert_eq!(host.get("/counter/alice").text(), "1");
    let shown = host.admin().get("/v1/classes/counter/objects/alice").json();
    let id = shown["id"].as_str().unwrap();
    assert_eq!(host.get(&format!("/counter/@{id}")).text(), "2");
    assert_eq!(host.get("/counter/%61lice").text(), "3");
    assert_eq!(host.admin().get(&format!("/v1/classes/counter/objects/@{id}")).json(), shown);
}

#[test]
fn an_object_knows_its_name_once_it_was_reached_by_it() {
    let host = Host::start();
    host.deploy("shape", guest("counter"));
    assert_eq!(host.get("/shape/alice").text(), "1");
    let shown = host.admin().get("/v1/classes/shape/objects/alice").json();
    // The next version reports it: a fresh instance that is reached by id only.
    host.deploy("shape", guest("echo"));
    host.admin().post("/v1/classes/shape/objects/alice/evict", b"");
    let echo = host.get(&format!("/shape/@{}", shown["id"].as_str().unwrap())).json();
    assert_eq!((&echo["name"], &echo["id"]), (&json!("alice"), &shown["id"]));
}

#[test]
fn an_id_follows_from_name_and_class() {
    let host = Host::start();
    host.deploy("echo", guest("echo"));
    host.deploy("counter", guest("counter"));
    let id = |name: &str| host.get(&format!("/echo/{name}")).json()["id"].as_str().unwrap().to_owned();
    assert_eq!(id("alice"), id("alice"));
    assert_ne!(id("alice"), id("bob"));
    assert_eq!(id("alice").len(), 64);
    host.get(&format!("/counter/@{}", id("alice"))).problem(400, "id-of-other-class");
}

#[test]
fn the_host_is_healthy_and_shows_nothing_else() {
    let host = echo_host();
    let health = host.get("/_health");
    assert_eq!(health.text(), "ok");
    // The host sets connection headers, not the guest; a plain answer has only these.
    let answer: Answer = host.get("/echo/alice");
    let mut names: Vec<_> = answer.headers.keys().map(|name| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["content-length", "content-type", "date"]);
}
