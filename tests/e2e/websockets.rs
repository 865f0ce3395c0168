//! WebSockets that outlive their object's memory: what a class can do with them, which events it gets, and what a peer
//! can rely on.

use std::io::{Read, Write};

use serde_json::{Value as Json, json};
use tungstenite::Message;
use ureq::http::Method;

use crate::harness::{Answer, Host, Socket, eventually, guest};

fn host() -> Host {
    host_with("")
}

fn host_with(limits: &str) -> Host {
    let host = Host::with(limits);
    host.deploy("sockets", guest("sockets"));
    host
}

fn open(host: &Host, path: &str) -> Socket {
    Socket::open(host.data(), path)
}

fn refused(host: &Host, path: &str) -> Answer {
    *Socket::offer(host.data(), path, "").err().unwrap_or_else(|| panic!("{path} was accepted"))
}

/// Returns what the object stored of the events with this name.
fn events(host: &Host, object: &str, name: &str) -> Vec<Json> {
    host.get(&format!("/sockets/{object}/events?event={name}")).json().as_array().unwrap().clone()
}

/// Waits until the object has stored the event of a closed socket, and returns it.
pub fn close_event(host: &Host, object: &str) -> Json {
    eventually("the close event", || events(host, object, "close").pop())
}

fn order(host: &Host, object: &str, ops: Json) -> Json {
    host.post(&format!("/sockets/{object}/do"), ops.to_string()).json()
}

fn report(host: &Host, object: &str) -> Json {
    host.get(&format!("/sockets/{object}")).json()
}

/// Percent-encodes JSON for a query.
fn encoded(ops: Json) -> String {
    ops.to_string().bytes().map(|byte| format!("%{byte:02x}")).collect()
}

#[test]
fn messages_come_and_go_as_they_are() {
    let host = host();
    let mut alice = open(&host, "/sockets/room");
    alice.say("häj");
    assert_eq!(alice.hear(), "häj");
    alice.say("");
    assert_eq!(alice.hear(), "");
    for size in [0, 1, 125, 126, 65_535, 65_536, 1 << 20] {
        let bytes: Vec<u8> = (0..size).map(|n| n as u8).collect();
        alice.send(Message::binary(bytes.clone()));
        assert_eq!(alice.next(), Message::binary(bytes));
    }
    for n in 0..1_000 {
        alice.say(&n.to_string());
    }
    for n in 0..1_000 {
        assert_eq!(alice.hear(), n.to_string());
    }
    alice.send(Message::Ping("are you there".into()));
    assert_eq!(alice.next(), Message::Pong("are you there".into()));
}

#[test]
fn the_largest_message_passes_and_one_byte_more_does_not() {
    let host = host_with("socket-message = 100_000");
    let (mut alice, mut bob) = (open(&host, "/sockets/room"), open(&host, "/sockets/room"));
    let largest = "x".repeat(100_000);
    alice.say(&largest);
    assert_eq!(alice.hear(), largest);
    assert_eq!(bob.order_one(json!({ "send_bytes": { "size": 100_001 } })), json!({ "error": "too-large" }));

    alice.say(&"x".repeat(100_001));
    let (code, reason) = alice.closed().unwrap();
    assert_eq!(code, 1009, "{reason}");
    let close = close_event(&host, "room");
    assert_eq!((&close["code"], &close["was_clean"]), (&json!(1009), &json!(false)));
    let error = &events(&host, "room", "error")[0];
    assert_eq!((error["socket"] == close["socket"], error["n"].as_u64() < close["n"].as_u64()), (true, true));
    bob.say("still here");
    assert_eq!(bob.hear(), "still here");
}

#[test]
fn a_class_decides_whether_a_socket_opens() {
    let host = host();
    let answer = refused(&host, "/sockets/room?status=403");
    assert_eq!((answer.status, &*answer.body), (403, &b"refused"[..]));
    refused(&host, "/sockets/room?accept=0").problem(500, "invalid-response");
    assert_eq!(&*refused(&host, "/sockets/room?accept=2").body, b"already-accepted");
    assert_eq!(order(&host, "room", json!(["accept"])), json!([{ "error": "not-an-upgrade" }]));
    // A turn that fails accepts nothing.
    refused(&host, &format!("/sockets/room?ops={}", encoded(json!(["fail"])))).problem(500, "guest-error");
    assert_eq!(report(&host, "room")["count"], 0);
    assert_eq!(host.metric("holdfast_sockets"), 0);

    let offered = |path: &str, protocols: &str| Socket::offer(host.data(), path, protocols);
    assert_eq!(offered("/sockets/room?protocol=first", "chat.v2, chat.v1").ok().unwrap().protocol.unwrap(), "chat.v2");
    assert_eq!(offered("/sockets/room", "").ok().unwrap().protocol, None);
    let wrong = offered("/sockets/room?protocol=chat.v3", "chat.v2").err().unwrap();
    assert!(wrong.problem(500, "invalid-response")["detail"].as_str().unwrap().contains("sec-websocket-protocol"));
}

#[test]
fn requests_that_cannot_open_a_socket() {
    let mut host = host();
    let with = |lines: &[&str]| {
        let mut request = vec!["GET /sockets/room HTTP/1.1", "upgrade: websocket"];
        request.extend(lines);
        host.data().raw(&request, b"")
    };
    let (version, key) = ("sec-websocket-version: 13", "sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==");
    // `raw` adds `connection: close`.
    with(&[version, key]).problem(400, "bad-handshake");
    with(&["connection: upgrade", version]).problem(400, "bad-handshake");
    with(&["connection: upgrade", version, "sec-websocket-key: short"]).problem(400, "bad-handshake");
    let old = with(&["connection: upgrade", "sec-websocket-version: 8", key]);
    old.problem(426, "websocket-version");
    assert_eq!(old.header("sec-websocket-version"), "13");
    let post = ["POST /sockets/room HTTP/1.1", "upgrade: websocket", "connection: upgrade", version, key];
    host.data().raw(&post, b"").problem(400, "bad-handshake");
    host.assert_alive();
}

#[test]
fn tags_select_and_attachments_stay() {
    let host = host();
    let mut alice = open(&host, "/sockets/room?tag=b&tag=a&tag=b");
    let mut bob = open(&host, "/sockets/room?tag=b");
    let mut carol = open(&host, "/sockets/room");
    assert_eq!(alice.order_one(json!({ "tags": null })), json!(["a", "b"]), "sorted, once each");
    let count = |socket: &mut Socket, tag: Json| socket.order_one(json!({ "sockets": tag })).as_array().unwrap().len();
    assert_eq!([json!("a"), json!("b"), json!("c"), Json::Null].map(|tag| count(&mut carol, tag)), [1, 2, 0, 3]);

    assert_eq!(carol.order_one(json!({ "broadcast": { "text": "to b", "tag": "b" } })), 2);
    assert_eq!((alice.hear(), bob.hear()), ("to b".into(), "to b".into()));
    assert_eq!(order(&host, "room", json!([{ "broadcast": { "text": "to all" } }])), json!([3]));
    for socket in [&mut alice, &mut bob, &mut carol] {
        assert_eq!(socket.hear(), "to all");
    }

    assert_eq!(alice.order(json!([{ "attach": { "name": "alice" } }, { "attachment": null }]))[1]["name"], "alice");
    assert_eq!(bob.order_one(json!({ "attachment": null })), Json::Null);
    assert_eq!(bob.order(json!([{ "attach_bytes": 16_384 }, { "attach_bytes": 16_385 }]))[1]["error"], "too-large");
    alice.order(json!(["detach"]));
    assert_eq!(alice.order_one(json!({ "attachment": null })), Json::Null);

    let many = |tags: usize| (0..tags).map(|n| format!("tag=t{n}")).collect::<Vec<_>>().join("&");
    open(&host, &format!("/sockets/room?{}", many(10)));
    assert_eq!(&*refused(&host, &format!("/sockets/room?{}", many(11))).body, b"bad-tag");
    open(&host, &format!("/sockets/room?tag={}", "t".repeat(256)));
    assert_eq!(&*refused(&host, &format!("/sockets/room?tag={}", "t".repeat(257))).body, b"bad-tag");
    assert_eq!(&*refused(&host, "/sockets/room?tag=").body, b"bad-tag");
}

#[test]
fn an_object_has_so_many_sockets_and_no_more() {
    let host = host_with("sockets-per-object = 2");
    let (_alice, mut bob) = (open(&host, "/sockets/room"), open(&host, "/sockets/room"));
    assert_eq!(&*refused(&host, "/sockets/room").body, b"too-many-sockets");
    open(&host, "/sockets/elsewhere");
    bob.close(1000, "");
    eventually("room for another", || Socket::offer(host.data(), "/sockets/room", "").ok());
}

/// An object with a thousand hibernated sockets has no instance, and each of them still works.
#[test]
fn sockets_outlive_the_memory_and_the_version_of_their_object() {
    let host = host();
    let mut sockets: Vec<_> = (0..1_000).map(|n| open(&host, &format!("/sockets/room?tag=t{n}&tag=all"))).collect();
    for (n, socket) in sockets.iter_mut().enumerate() {
        socket.order(json!([{ "attach": n }]));
    }
    let evict = || host.admin().send(Method::POST, "/v1/classes/sockets/objects/room/evict", &[], b"").json();
    let mut instances = std::collections::BTreeSet::new();
    for wake in 0..11 {
        if wake == 5 {
            // Another component with the same behaviour: it has one more custom section.
            let mut component = guest("sockets");
            component.extend_from_slice(b"\0\x02\x01x");
            host.deploy("sockets", component);
        }
        evict();
        assert_eq!(host.metric("holdfast_live_instances"), 0);
        assert_eq!(host.state("sockets", "room"), "dormant");
        instances.insert(report(&host, "room")["instance"].as_u64());
    }
    assert_eq!(instances.len(), 11, "each wake made a new instance");
    evict();
    for (n, socket) in sockets.iter_mut().enumerate() {
        let seen = socket.order(json!([{ "attachment": null }, { "tags": null }, { "sockets": format!("t{n}") }]));
        assert_eq!((&seen[0], &seen[1]), (&json!(n), &json!(["all", format!("t{n}")])));
        assert_eq!(seen[2].as_array().unwrap().len(), 1);
    }
    assert_eq!(order(&host, "room", json!([{ "broadcast": { "text": "hello" } }])), json!([1_000]));
    for socket in &mut sockets {
        assert_eq!(socket.hear(), "hello");
    }
    assert_eq!(host.metric("holdfast_sockets"), 1_000);
    let shown = host.admin().get("/v1/classes/sockets/objects/room").json();
    assert_eq!(shown["sockets"]["open"], 1_000);
    assert_eq!(shown["sockets"]["buffered_bytes"], 0);
}

#[test]
fn a_turn_that_fails_says_nothing_and_closes_its_socket() {
    let host = host();
    for failure in ["fail", "trap"] {
        let (mut alice, mut bob) = (open(&host, "/sockets/room"), open(&host, "/sockets/room"));
        bob.order(json!([{ "attach": "before" }]));
        let ops =
            json!([{ "broadcast": { "text": "never" } }, { "attach": "never" }, { "put": ["k", "never"] }, failure]);
        alice.say(&format!("!{ops}"));
        alice.say("never heard");
        let (code, _) = alice.closed().unwrap();
        assert_eq!(code, 1011);
        let close = close_event(&host, "room");
        assert_eq!((&close["code"], &close["open"], &close["attachment"]), (&json!(1011), &json!(false), &Json::Null));
        bob.say("first");
        assert_eq!(bob.hear(), "first", "nothing of the failed turn came before it");
        assert_eq!(bob.order_one(json!({ "get": "k" })), Json::Null);
        assert!(events(&host, "room", "message").iter().all(|event| event["text"] != "never heard"));
        bob.close(1000, "");
    }
    // A failed request closes no socket.
    let mut carol = open(&host, "/sockets/room");
    host.post("/sockets/room/do", json!([{ "broadcast": { "text": "never" } }, "fail"]).to_string());
    carol.say("hello");
    assert_eq!(carol.hear(), "hello");
}

#[test]
fn both_sides_see_the_close_frame() {
    let host = host();
    let mut alice = open(&host, "/sockets/a?tag=alice");
    alice.order(json!([{ "attach": 1 }]));
    assert_eq!(alice.close(4001, "so long"), Some((4001, "so long".into())), "the host answers it");
    let close = close_event(&host, "a");
    let told = ["code", "reason", "was_clean", "tags", "attachment", "open"].map(|member| close[member].clone());
    assert_eq!(json!(told), json!([4001, "so long", true, ["alice"], 1, false]));
    assert_eq!(report(&host, "a")["count"], 0);
    let unknown = order(&host, "a", json!([{ "send": { "text": "x", "socket": close["socket"] } }]));
    assert_eq!(unknown, json!([{ "error": "unknown-socket" }]), "after its last turn it is forgotten");

    // The object closes: messages sent before arrive first, messages sent afterwards are refused.
    let mut bob = open(&host, "/sockets/b");
    let id = report(&host, "b")["sockets"][0]["id"].clone();
    let ops = json!([
        { "send": { "text": "last words", "socket": id } },
        { "close": { "code": 3000, "reason": "enough", "socket": id } },
        { "send": { "text": "too late", "socket": id } },
        { "sockets": null },
    ]);
    let results = order(&host, "b", ops);
    assert_eq!((&results[2], &results[3]), (&json!({ "error": "closing" }), &json!([])));
    assert_eq!(bob.hear(), "last words");
    assert_eq!(bob.closed(), Some((3000, "enough".into())));
    assert_eq!(close_event(&host, "b")["was_clean"], true);

    // Without a code.
    let mut carol = open(&host, "/sockets/c");
    carol.say(&format!("!{}", json!([{ "close": {} }])));
    assert_eq!(carol.closed(), None);
    assert_eq!(close_event(&host, "c")["code"], 1005);

    // Without a reason.
    drop(open(&host, "/sockets/d"));
    let close = close_event(&host, "d");
    assert_eq!((&close["code"], &close["was_clean"]), (&json!(1006), &json!(false)));

    let mut dave = open(&host, "/sockets/e");
    for (code, refusal) in
        [(1005, "bad-code"), (1006, "bad-code"), (1015, "bad-code"), (999, "bad-code"), (2999, "bad-code")]
    {
        assert_eq!(dave.order_one(json!({ "close": { "code": code } })), json!({ "error": refusal }));
    }
    assert_eq!(dave.order_one(json!({ "close": { "code": 1000, "reason": "r".repeat(124) } }))["error"], "too-large");
    dave.say(&format!("!{}", json!([{ "close": { "code": 1000, "reason": "r".repeat(123) } }])));
    assert_eq!(dave.closed(), Some((1000, "r".repeat(123))));
}

#[test]
fn a_peer_that_breaks_the_protocol_is_told_so() {
    let host = host();
    // Masked frames of a client: FIN and opcode, length, a mask of zeros, payload.
    let frame = |first: u8, payload: &[u8]| [&[first, 0x80 | payload.len() as u8, 0, 0, 0, 0][..], payload].concat();
    for (object, bytes, code) in [
        ("utf8", frame(0x81, b"\xff\xfe"), 1007),
        ("reserved", frame(0x83, b""), 1002),
        ("rsv", frame(0xc1, b"x"), 1002),
        ("continuation", frame(0x80, b"x"), 1002),
        ("ping", frame(0x09, b"x"), 1002),
        ("unmasked", vec![0x81, 1, b'x'], 1002),
    ] {
        let mut peer = open(&host, &format!("/sockets/{object}"));
        peer.stream().write_all(&bytes).unwrap();
        assert_eq!(peer.closed().map(|(code, _)| code), Some(code), "{object}");
        let close = close_event(&host, object);
        assert_eq!((&close["code"], &close["was_clean"]), (&json!(code), &json!(false)), "{object}");
        assert_eq!(events(&host, object, "error").len(), 1, "{object}");
    }
    // Fragments with a ping between them are one message.
    let mut peer = open(&host, "/sockets/fragments");
    let parts = [frame(0x01, b"one "), frame(0x89, b"p"), frame(0x00, "\u{20ac}".as_bytes().split_at(1).0)];
    peer.stream().write_all(&parts.concat()).unwrap();
    peer.stream().write_all(&frame(0x80, "\u{20ac}".as_bytes().split_at(1).1)).unwrap();
    assert_eq!(peer.next(), Message::Pong("p".into()));
    assert_eq!(peer.hear(), "one €");
}

#[test]
fn the_host_answers_for_the_object_without_waking_it() {
    let host = host();
    let mut alice = open(&host, "/sockets/room");
    alice.order(json!([{ "auto_response": ["ping", "pong"] }]));
    host.admin().send(Method::POST, "/v1/classes/sockets/objects/room/evict", &[], b"").text();
    for _ in 0..3 {
        alice.say("ping");
        assert_eq!(alice.hear(), "pong");
    }
    assert_eq!(host.metric("holdfast_live_instances"), 0);
    let shown = report(&host, "room");
    assert!(shown["sockets"][0]["auto_response_time"].as_u64().is_some());
    assert_eq!(shown["auto_response"], json!(["ping", "pong"]));
    for other in ["ping ", "Ping", "pin"] {
        alice.say(other);
        assert_eq!(alice.hear(), other, "only the very same text is answered");
    }
    alice.send(Message::binary("ping"));
    assert_eq!(alice.next(), Message::binary("ping"));
    assert_eq!(alice.order(json!([{ "auto_response": ["r".repeat(2_049), ""] }]))[0]["error"], "too-large");
    alice.order(json!([{ "auto_response": null }]));
    alice.say("ping");
    assert_eq!(alice.hear(), "ping");
    // What a failed turn set does not count.
    let mut bob = open(&host, "/sockets/room");
    alice.say(&format!("!{}", json!([{ "auto_response": ["hi", "ho"] }, "fail"])));
    assert_eq!(alice.closed().unwrap().0, 1011);
    bob.say("hi");
    assert_eq!(bob.hear(), "hi");
}

/// A peer that never reads is closed with 1013, its send queue is limited, and other peers are not affected.
#[test]
fn a_peer_that_does_not_read_is_given_up() {
    let host = host_with("socket-buffer = 1_000_000");
    let mut slow = open(&host, "/sockets/room?tag=slow");
    let mut quick = open(&host, "/sockets/room");
    let mut sent = 0;
    let close = eventually("the slow one to be closed", || {
        let ops = json!([{ "broadcast": { "text": "x".repeat(100_000), "tag": "slow" } }]);
        sent += quick.order(ops)[0].as_u64().unwrap();
        assert!(host.metric("holdfast_socket_buffered_bytes") <= 1_200_000);
        events(&host, "room", "close").pop()
    });
    assert_eq!((&close["code"], &close["was_clean"]), (&json!(1013), &json!(false)));
    assert!(sent > 10, "{sent}");
    host.wait_for_metric("holdfast_socket_buffered_bytes", 0);
    host.wait_for_metric("holdfast_sockets", 1);
    // Messages in flight arrive; then the connection is closed.
    let mut rest = Vec::new();
    let _ = slow.stream().read_to_end(&mut rest);
}

#[test]
fn a_peer_that_has_gone_without_a_word_is_found_out() {
    let host = host_with("socket-silence-seconds = 0.2");
    let mut silent = open(&host, "/sockets/silent");
    let close = close_event(&host, "silent");
    assert_eq!((&close["code"], &close["was_clean"]), (&json!(1006), &json!(false)));
    assert!(matches!(silent.next(), Message::Ping(_)), "it was asked");
    // A peer that answers pings stays open, and does not wake its object. Its timeout allows for a busy machine.
    let host = host_with("socket-silence-seconds = 5");
    let mut present = open(&host, "/sockets/present");
    for _ in 0..3 {
        assert!(matches!(present.next(), Message::Ping(_)));
        // The library sends its pong with the next frame.
        present.stream().flush().unwrap();
        present.try_send(Message::Pong("".into())).unwrap();
    }
    assert_eq!(report(&host, "present")["count"], 1);
}

#[test]
fn a_host_that_stops_says_so_and_one_that_is_killed_forgets() {
    let mut host = host();
    let mut alice = open(&host, "/sockets/room");
    alice.order(json!([{ "put": ["k", "kept"] }]));
    host.begin_to_stop();
    assert_eq!(alice.closed().unwrap().0, 1012);
    assert!(host.end().success());
    host.restart();
    assert_eq!(report(&host, "room")["constructed_with"], 0);
    assert!(events(&host, "room", "close").is_empty(), "no event reports it");

    let mut bob = open(&host, "/sockets/room");
    let before = report(&host, "room")["sockets"][0]["id"].as_u64().unwrap();
    bob.say("stored");
    bob.hear();
    host.kill();
    host.restart();
    assert_eq!(report(&host, "room")["count"], 0);
    assert_eq!(events(&host, "room", "message").last().unwrap()["text"], "stored");
    let _carol = open(&host, "/sockets/room");
    let after = report(&host, "room")["sockets"][0]["id"].as_u64().unwrap();
    assert!(before < after && after < 1 << 53, "ids are never used again: {before}, {after}");
}

#[test]
fn what_is_deleted_takes_its_sockets_along() {
    let host = host();
    let (mut alice, mut bob) = (open(&host, "/sockets/a"), open(&host, "/sockets/b"));
    assert_eq!(host.admin().delete("/v1/classes/sockets/objects/a").status, 204);
    assert_eq!(alice.closed().unwrap().0, 1001);
    assert_eq!(events(&host, "a", "close").len(), 0, "what is deleted is not woken");
    assert_eq!(host.admin().delete("/v1/classes/sockets?objects=delete").status, 204);
    assert_eq!(bob.closed().unwrap().0, 1001);
}

#[test]
fn a_class_without_a_handler_ignores_what_comes() {
    let host = host();
    let mut alice = open(&host, "/sockets/room");
    host.deploy("sockets", guest("echo"));
    let instances = host.metric("holdfast_instances_started_total");
    alice.say("anybody?");
    assert_eq!(alice.close(1000, ""), Some((1000, String::new())));
    eventually("the socket to be gone", || (host.metric("holdfast_sockets") == 0).then_some(()));
    assert_eq!(host.metric("holdfast_instances_started_total"), instances, "nothing was woken");
    host.deploy("sockets", guest("sockets"));
    assert_eq!(report(&host, "room")["count"], 0);
}
