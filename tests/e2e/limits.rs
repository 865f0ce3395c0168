//! Limits, each at its edge: the largest allowed value works, one more is refused with the documented code.

use ureq::http::Method;

use crate::harness::{Host, at_once, guest};

const MIB: usize = 1 << 20;

#[test]
fn request_bodies() {
    let mut host = Host::with("request-body = 1_048_576");
    host.deploy("echo", guest("echo"));
    assert_eq!(host.post("/echo/alice", vec![b'x'; MIB]).json()["body_len"], MIB);
    host.post("/echo/alice", vec![b'x'; MIB + 1]).problem(413, "body-too-large");

    // The same for a body that does not announce its length.
    let chunked = |bytes: usize| {
        let mut body = format!("{bytes:x}\r\n").into_bytes();
        body.extend(std::iter::repeat_n(b'x', bytes));
        body.extend_from_slice(b"\r\n0\r\n\r\n");
        host.data().raw(&["POST /echo/alice HTTP/1.1", "transfer-encoding: chunked"], &body)
    };
    let whole = chunked(MIB);
    assert_eq!(whole.status, 200);
    assert!(String::from_utf8_lossy(&whole.body).contains(&format!("\"body_len\":{MIB}")));
    chunked(MIB + 1).problem(413, "body-too-large");
    host.assert_alive();
}

/// Of a deep stack only the pages that a turn has touched take memory, and not longer than the turn.
#[test]
fn stacks() {
    let mut host = Host::start();
    host.deploy("faults", guest("faults"));
    let status = format!("/proc/{}/status", host.process_id());
    let resident_kib = || {
        let status = std::fs::read_to_string(&status).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
    };
    let all = |path: &dyn Fn(usize) -> String| (0..40).for_each(|i| assert_eq!(host.get(&path(i)).status, 200));
    all(&|i| format!("/faults/{i}/deep?n=100"));
    let before = resident_kib();
    all(&|i| format!("/faults/{i}/deep?n=50000"));
    let kib_each = resident_kib().saturating_sub(before) / 40;
    assert!(kib_each < 500, "{kib_each} KiB");
    for i in 0..40 {
        host.get(&format!("/faults/{i}/recurse")).problem(500, "stack-overflow");
    }
    let kib_each = resident_kib().saturating_sub(before) / 40;
    assert!(kib_each < 500, "{kib_each} KiB after those that overflowed");
    host.assert_alive();
}

#[test]
fn response_bodies() {
    let mut host = Host::with("response-body = 1_048_576");
    host.deploy("wasi-http", guest("wasi-http"));
    host.deploy("echo", guest("echo"));
    let big = |bytes: usize| host.get(&format!("/wasi-http/alice/big?bytes={bytes}"));
    assert_eq!(big(MIB).text().len(), MIB);
    big(MIB + 1).problem(500, "response-too-large");
    // Much more than the host would keep.
    big(1 << 30).problem(500, "response-too-large");
    // The echo of a body is a little larger than the body.
    host.post("/echo/alice", vec![b'x'; MIB]).problem(500, "response-too-large");
    assert_eq!(host.post("/echo/alice", b"small").json()["body"], "small");
    host.assert_alive();
}

#[test]
fn the_default_body_limit_is_32_mib() {
    let host = Host::start();
    host.deploy("echo", guest("echo"));
    // At the limit the request reaches the guest; how the guest handles it does not matter here.
    assert_ne!(host.post("/echo/alice", vec![b'x'; 32 * MIB]).status, 413);
    host.post("/echo/alice", vec![b'x'; 32 * MIB + 1]).problem(413, "body-too-large");
}

#[test]
fn turns_in_a_mailbox() {
    const TURNS: usize = 3;
    let mut host = Host::with("mailbox-turns = 3");
    host.deploy("faults", guest("faults"));
    std::thread::scope(|scope| {
        let sleeper = scope.spawn(|| host.get("/faults/alice/sleep?ms=2000"));
        host.wait_for_live_instances(1);
        let answers = at_once(2 * TURNS, |_| host.get("/faults/alice/get"));
        let (taken, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
        assert_eq!(taken.len(), TURNS, "{answers:?}");
        for answer in refused {
            let problem = answer.problem(503, "overloaded");
            assert_eq!(problem["object"], "faults/alice");
        }
        assert_eq!(sleeper.join().unwrap().text(), "slept");
    });
    // There is room again, and none of it was taken from other objects.
    assert_eq!(host.get("/faults/alice/get").text(), "0");
    assert_eq!(host.get("/faults/bob/get").text(), "0");
    host.assert_alive();
}

#[test]
fn bytes_in_a_mailbox() {
    let host = Host::with("mailbox-bytes = 1_048_576");
    host.deploy("faults", guest("faults"));
    std::thread::scope(|scope| {
        let sleeper = scope.spawn(|| host.get("/faults/alice/sleep?ms=2000"));
        host.wait_for_live_instances(1);
        let body = vec![b'x'; MIB / 2];
        let answers = at_once(3, |_| host.post("/faults/alice/get", &body));
        let refused: Vec<_> = answers.iter().filter(|answer| answer.status != 200).collect();
        assert_eq!(refused.len(), 2, "one fits with its headers: {answers:?}");
        for answer in refused {
            answer.problem(503, "overloaded");
        }
        // The mailbox of another object has room.
        assert_eq!(host.post("/faults/bob/get", &body).text(), "0");
        assert_eq!(sleeper.join().unwrap().text(), "slept");
    });
}

#[test]
fn object_and_class_names() {
    let mut host = Host::start();
    let (longest_class, too_long_class) = ("c".repeat(63), "c".repeat(64));
    host.deploy(&longest_class, guest("echo"));
    host.admin().put(&format!("/v1/classes/{too_long_class}"), guest("echo")).problem(400, "bad-class");
    host.get(&format!("/{too_long_class}/alice")).problem(400, "bad-class");

    let name = |name: &str| host.get(&format!("/{longest_class}/{name}"));
    let longest = "n".repeat(1024);
    assert_eq!(name(&longest).json()["name"], longest);
    name(&"n".repeat(1025)).problem(400, "bad-name");
    // The limit counts decoded bytes, not characters and not bytes as sent.
    assert_eq!(name(&"%C3%A4".repeat(512)).json()["name"], "ä".repeat(512));
    name(&format!("{}n", "%C3%A4".repeat(512))).problem(400, "bad-name");
    name("").problem(400, "bad-name");
    host.assert_alive();
}

#[test]
fn component_sizes() {
    let component = guest("counter");
    let limit = component.len();
    let host = Host::with(&format!("component = {limit}"));
    host.deploy("counter", &component);
    let mut larger = component;
    larger.push(0);
    host.admin().put("/v1/classes/counter", &larger).problem(413, "component-too-large");
    assert_eq!(host.get("/counter/alice").text(), "1");
}

#[test]
fn a_class_that_needs_more_memory_than_an_instance_may_have() {
    let mut host = Host::with("memory-per-instance = 65_536");
    host.admin().put("/v1/classes/counter", guest("counter")).problem(422, "too-costly");
    host.get("/counter/alice").problem(404, "unknown-class");
    host.assert_alive();
}

#[test]
fn statuses_of_responses() {
    let host = Host::start();
    host.deploy("echo", guest("echo"));
    let with_status = |status: &str| host.data().send(Method::GET, "/echo/alice", &[("x-status", status)], b"");
    for status in ["200", "204", "299", "304", "418", "503", "599"] {
        assert_eq!(with_status(status).status.to_string(), status);
    }
    for status in ["100", "101", "199", "600", "999"] {
        with_status(status).problem(500, "invalid-response");
    }
}
