//! Requests and responses, and the identity of the object.

use super::{Case, Subject};
use crate::subject::word;

pub const CASES: &[Case] =
    &[("fetch/echo", echo), ("fetch/headers", headers), ("fetch/status", status), ("identity/names", names)];

fn echo(subject: &Subject) {
    let object = subject.object("a");
    let every_byte: Vec<u8> = (0..=255).collect();
    let large = vec![b'x'; 1 << 20];
    for (method, uri, body) in [
        ("GET", "/echo", &b""[..]),
        ("POST", "/echo/a%2Fb/%C3%A9?q=1&q=2&r=%20+%26", &every_byte),
        ("PUT", "/echo//x/?", &large),
        ("DELETE", "/echo", b""),
        ("PATCH", "/echo?=&&x", b"\0"),
    ] {
        let answer = object.send(method, uri, &[], body);
        assert_eq!(answer.status, 200, "{method} {uri}");
        assert_eq!((answer.header("x-method"), answer.header("x-uri")), (method, uri));
        assert_eq!(answer.header("content-type"), "application/octet-stream");
        assert!(answer.body == body, "{method} {uri}: {} bytes of body for {}", answer.body.len(), body.len());
        assert!(!answer.headers.contains_key("x-case"));
    }
}

fn headers(subject: &Subject) {
    let object = subject.object("a");
    let answer = object.send("GET", "/echo", &[("x-case", "one"), ("X-CASE", "two"), ("x-case", "three")], b"");
    assert_eq!(answer.header("x-case"), "one, two, three");
    let answer = object.send("GET", "/echo", &[("x-case", "")], b"");
    assert_eq!(answer.header("x-case"), "");
    // UTF-8, and a byte that is not UTF-8, as on the wire.
    let mut line = b"x-case: caf\xC3\xA9 \xFF".to_vec();
    line.splice(
        0..0,
        format!("GET {} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n", object.path("/echo")).into_bytes(),
    );
    line.extend_from_slice(b"\r\n\r\n");
    let mut answer = Vec::new();
    std::io::Read::read_to_end(&mut object.host.data().write(line), &mut answer).expect("an answer comes");
    let sent = b"x-case: caf\xC3\xA9 \xFF\r\n";
    assert!(answer.windows(sent.len()).any(|window| window == sent), "{}", String::from_utf8_lossy(&answer));
}

fn status(subject: &Subject) {
    let object = subject.object("a");
    for status in [200, 204, 404, 599] {
        let answer = object.send("GET", &format!("/status/{status}"), &[], b"");
        assert_eq!((answer.status, answer.body.len()), (status, 0));
        let cookies: Vec<_> = answer.headers.get_all("set-cookie").iter().collect();
        assert_eq!(cookies, ["a=1", "b=2"], "{status}");
    }
}

fn names(subject: &Subject) {
    for name in ["plain", "with spaces & signs?#%/", "%40at", "ünï😀", "x"] {
        let encoded = word(name);
        let object = subject.named(&encoded);
        let [id, shown, class] = &object.ask("id\nname\nclass")[..] else { panic!("three answers") };
        assert_eq!((shown.as_str(), class.as_str()), (format!("some {encoded}").as_str(), "conformance"));
        assert!(id.len() == 64 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')), "{id}");
        assert_eq!(object.ask_one("id"), *id, "it stays the same");
        let found = subject.host.admin().get(&format!("/v1/classes/conformance/objects/{encoded}"));
        assert_eq!(found.status, 404, "asking stores nothing");
        let by_id = subject.named(&format!("@{id}"));
        assert_eq!(by_id.ask("id\nname"), [id.clone(), format!("some {encoded}")], "the same object");
    }
}
