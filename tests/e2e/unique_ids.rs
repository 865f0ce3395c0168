//! Objects without a name: the host makes their ids, and accepts no others.

use crate::harness::{Host, guest};

fn new_id(host: &Host, class: &str) -> String {
    let answer = host.admin().post(&format!("/v1/classes/{class}/objects"), b"");
    assert_eq!(answer.status, 201, "{answer:?}");
    let made: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(made["class"], class);
    let id = made["id"].as_str().unwrap().to_owned();
    assert_eq!(answer.header("location"), format!("/v1/classes/{class}/objects/@{id}"));
    id
}

#[test]
fn an_object_lives_under_its_id() {
    let mut host = Host::start();
    host.deploy("counter", guest("counter"));
    host.deploy("echo", guest("echo"));
    let (one, two) = (new_id(&host, "counter"), new_id(&host, "counter"));
    assert_ne!(one, two);
    assert_eq!((one.len(), one.to_lowercase() == one), (64, true));
    let objects = || host.admin().get("/v1/classes/counter/objects").json()["objects"].as_array().unwrap().len();
    assert_eq!(objects(), 0, "making an id creates nothing");
    host.admin().get(&format!("/v1/classes/counter/objects/@{one}")).problem(404, "unknown-object");

    assert_eq!(host.get(&format!("/counter/@{one}")).text(), "1");
    assert_eq!(host.get(&format!("/counter/@{one}/below?q")).text(), "2");
    assert_eq!(host.get(&format!("/counter/@{two}")).text(), "1");
    assert_eq!(objects(), 2);
    let shown = host.admin().get(&format!("/v1/classes/counter/objects/@{one}")).json();
    assert_eq!((&shown["id"], &shown["name"]), (&one.as_str().into(), &serde_json::Value::Null));
    let unnamed = new_id(&host, "echo");
    let echo = host.get(&format!("/echo/@{unnamed}")).json();
    assert_eq!((&echo["id"], &echo["name"]), (&unnamed.as_str().into(), &serde_json::Value::Null));

    host.kill();
    host.restart();
    assert_eq!(host.get(&format!("/counter/@{one}")).text(), "3");
    host.admin().post("/v1/classes/counter/rename?to=tally", b"").json();
    assert_eq!(host.get(&format!("/tally/@{one}")).text(), "4");
}

/// An id proves that the host made it: the second half is a MAC of the first, under the key of its class.
#[test]
fn no_other_id_is_taken() {
    let host = Host::start();
    host.deploy("counter", guest("counter"));
    host.deploy("other", guest("counter"));
    let id = new_id(&host, "counter");
    host.get(&format!("/other/@{id}")).problem(400, "id-of-other-class");
    for digit in [0, 31, 32, 63] {
        let mut forged = id.clone().into_bytes();
        forged[digit] = if forged[digit] == b'0' { b'1' } else { b'0' };
        let forged = String::from_utf8(forged).unwrap();
        host.get(&format!("/counter/@{forged}")).problem(400, "id-of-other-class");
    }
    host.admin().post("/v1/classes/none/objects", b"").problem(404, "unknown-class");
    host.admin().post("/v1/classes/counter/objects?name=a", b"").problem(400, "bad-query");
    let refused = host.admin().put("/v1/classes/counter/objects", b"");
    refused.problem(405, "method-not-allowed");
    assert_eq!(refused.header("allow"), "GET, HEAD, POST");
}

#[test]
fn the_command_line_makes_them_too() {
    let host = Host::start();
    host.deploy("counter", guest("counter"));
    let printed = host.run(&["objects", "new-id", "counter"]);
    assert!(printed.status.success());
    let printed = String::from_utf8(printed.stdout).unwrap();
    let object = printed.trim();
    assert_eq!(host.get(&format!("/counter/{object}")).text(), "1");
    let shown = host.run(&["objects", "show", "counter", object]);
    assert!(shown.status.success(), "what it prints is what other commands take");
    let json = host.run(&["objects", "new-id", "counter", "--json"]).stdout;
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(json["id"].as_str().unwrap().len(), 64);
}
