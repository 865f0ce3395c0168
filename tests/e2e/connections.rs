//! Clients that occupy resources: stalled connections, missing bodies, answers that are not read. Each is limited, each
//! is closed after a while, and other clients are not affected.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use rustix::process::{Resource, getrlimit, setrlimit};
use serde_json::json;
use tungstenite::Message;
use ureq::http::Method;

use crate::harness::{Host, Http2, Socket, eventually, guest};
use crate::websockets::close_event;

const MIB: usize = 1 << 20;

/// Returns whether the host has closed a connection, after these bytes if any.
fn is_closed(stream: &mut TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let mut bytes = [0; 4096];
    let closed = loop {
        match stream.read(&mut bytes) {
            Ok(0) => break true,
            Ok(_) => {}
            Err(error) => break error.kind() != std::io::ErrorKind::WouldBlock,
        }
    };
    stream.set_nonblocking(false).unwrap();
    closed
}

fn memory(host: &Host, purpose: &str) -> u64 {
    host.metric(&format!("holdfast_memory_bytes{{purpose=\"{purpose}\"}}"))
}

/// Raises the limit of open files of this process to its maximum.
fn raise_own_descriptors() -> u64 {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).expect("anybody may raise it to the maximum");
    limit.maximum.unwrap_or(u64::MAX)
}

/// Returns text that does not compress.
fn noise(bytes: usize) -> String {
    let mut state = 1_u64;
    let letters = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        char::from(b'!' + (state >> 58) as u8)
    });
    letters.filter(|c| !"\"\\".contains(*c)).take(bytes).collect()
}

/// The descriptors that the log and the databases need are reserved: idle connections are refused before descriptors
/// run out.
#[test]
fn idle_connections_leave_descriptors_for_the_log() {
    let limits = "[limits]\nlog-segment = 1_048_576\nlog-capacity = 16_777_216\n";
    let mut host = Host::with_descriptors(limits, Some(720));
    host.deploy("ledger", guest("storage"));
    host.deploy("echo", guest("echo"));
    assert_eq!(host.get("/echo/alice").status, 200);
    // The connection of `host` stays open meanwhile.
    let mut idle: Vec<_> = (0..300).map(|_| host.data().write("")).collect();
    let refused = eventually("connections to be refused", || {
        let refused = idle.iter_mut().map(is_closed).filter(|closed| *closed).count();
        (refused > 0).then_some(refused)
    });
    assert!(refused < 300, "some are served");
    assert!(
        host.metric("holdfast_connections_refused_total") >= refused as u64,
        "the admin listener has places of its own"
    );
    let mut another = host.data().write("");
    let mut answer = String::new();
    another.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("retry-after"), "{answer}");
    // The log begins new segments meanwhile.
    let noise = noise(MIB / 2);
    for n in 0..16 {
        let ops = json!([{ "op": "put", "key": format!("k{n}"), "value": noise }]);
        assert_eq!(host.post(&format!("/ledger/o{}", n % 4), ops.to_string()).status, 200);
    }
    assert!(host.metric("holdfast_log_bytes_total") > 4 * MIB as u64, "several segments were begun");
    drop(idle);
    eventually("there to be room again", || {
        (host
            .data()
            .write("GET /_health HTTP/1.1\r\nhost: localhost\r\n\r\n")
            .read(&mut [0; 12])
            .is_ok_and(|read| read == 12))
        .then_some(())
    });
    host.assert_alive();
}

/// An attack that once ended the process: 5,000 idle connections where 2,200 descriptors are allowed. Most of the
/// connections that fit are served, the rest is refused, and the log and new objects have the descriptors that they
/// need.
#[test]
fn five_thousand_idle_connections_take_no_descriptor_that_the_host_needs() {
    // However long it takes to open them all, none is closed for that.
    let patience = "header-seconds = 3600.0\nidle-connection-seconds = 3600.0\n";
    let limits = format!("[limits]\nlog-segment = 1_048_576\nlog-capacity = 16_777_216\n{patience}");
    let mut host = Host::with_descriptors(&limits, Some(2_200));
    host.deploy("storage", guest("storage"));
    let put = |host: &Host, n: usize| {
        let ops = json!([{ "op": "put", "key": "k", "value": noise(MIB / 4) }]);
        let answer = host.post(&format!("/storage/o{n}"), ops.to_string());
        assert_eq!(answer.status, 200, "{n}, for which this client has its connection already: {answer:?}");
    };
    put(&host, 0);
    let address = host.data().address();
    let mut idle = Vec::new();
    let many = raise_own_descriptors().saturating_sub(1_000).min(5_000);
    assert!(many > 3_000, "this process may not open enough connections");
    for n in 0..many {
        // The host may close each at once; the kernel's queue may be full for a moment.
        idle.push(eventually("a connection", || TcpStream::connect(address).ok()));
        // The client itself closes a connection that it does not use for some seconds.
        if n % 100 == 0 {
            put(&host, 0);
        }
    }
    let refused = eventually("connections to be refused", || {
        let refused = host.metric("holdfast_connections_refused_total");
        (refused + host.metric("holdfast_connections") >= many).then_some(refused)
    });
    assert!((many - 2_200 + 576..many).contains(&refused), "{refused}");
    // Each makes a database, and every fourth begins a segment.
    for n in 1..40 {
        put(&host, n);
    }
    assert!(host.metric("holdfast_log_bytes_total") > 8 * MIB as u64, "several segments were begun");
    assert!(!host.log().contains("ERROR"), "{}", host.log());
    drop(idle);
    // All but those of this client, one to each listener.
    eventually("them to be closed", || (host.metric("holdfast_connections") <= 2).then_some(()));
    put(&host, 0);
    host.assert_alive();
}

#[test]
fn connections_that_stand_still_are_closed() {
    let mut host = Host::with("header-seconds = 0.5\nidle-connection-seconds = 1.0");
    host.deploy("echo", guest("echo"));
    let begin = |bytes: &str| host.data().write(bytes);
    let whole = "GET /echo/alice HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let mut standing =
        [begin(""), begin("GET /echo/al"), begin(&whole[..whole.len() - 2]), begin("PRI * HT"), begin(whole)];
    // Single lines do not extend the time either.
    let mut dripping = begin("GET /echo/alice HTTP/1.1\r\n");
    let mut http2 = Http2::connect(host.data());
    for (number, stream) in standing.iter_mut().enumerate() {
        eventually(&format!("connection {number} to be closed"), || is_closed(stream).then_some(()));
    }
    eventually("the dripping one to be closed", || {
        let _ = dripping.write_all(b"x: y\r\n");
        is_closed(&mut dripping).then_some(())
    });
    http2.until_closed();
    host.wait_for_metric("holdfast_connections", 1);
    host.assert_alive();
}

#[test]
fn a_body_that_does_not_come_is_given_up() {
    let mut host = Host::with("body-seconds = 0.5");
    host.deploy("echo", guest("echo"));
    let head = "POST /echo/alice HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\nonly this";
    let mut answer = String::new();
    host.data().write(head).read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("\"code\":\"body-timeout\""), "{answer}");
    // Single bytes do not extend it either.
    let mut dripping = host.data().write(head);
    eventually("the dripping one to be given up", || {
        let _ = dripping.write_all(b"x");
        is_closed(&mut dripping).then_some(())
    });
    // Nor do they with the admin token.
    let token = std::fs::read_to_string(host.data_directory().join("admin.token")).unwrap();
    let upload = format!(
        "PUT /v1/classes/x HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\ncontent-length: 100\r\n\r\n"
    );
    let mut answer = String::new();
    host.admin().write(upload).read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert_eq!(memory(&host, "requests"), 0);
    host.assert_alive();
}

/// Half-sent bodies use no more than the memory limit, its last part is left to other classes, and all of it is given
/// back.
#[test]
fn half_sent_bodies_are_bounded_together() {
    let mut host = Host::with("host-memory = 67_108_864\nbody-seconds = 5.0");
    host.deploy("echo", guest("echo"));
    host.deploy("other", guest("echo"));
    let head = format!("POST /echo/alice HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n", 4 * MIB);
    let half = vec![b'x'; 4 * MIB - 1];
    let mut streams: Vec<_> = (0..30)
        .map(|_| {
            let mut stream = host.data().write(&head);
            // Refused connections may be closed before they have sent everything.
            let _ = stream.write_all(&half);
            stream
        })
        .collect();
    assert!(memory(&host, "requests") <= 64 * MIB as u64);
    assert_eq!(host.post("/other/bob", vec![b'y'; MIB]).json()["body_len"], MIB, "another class has its share");
    let mut codes = std::collections::BTreeMap::<String, u32>::new();
    for stream in &mut streams {
        let mut answer = Vec::new();
        // Bytes in flight may reset a connection.
        let _ = stream.read_to_end(&mut answer);
        let text = String::from_utf8_lossy(&answer);
        let code = text.split("\"code\":\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or("none");
        *codes.entry(code.into()).or_default() += 1;
    }
    assert!(codes.contains_key("overloaded") && codes.contains_key("body-timeout"), "{codes:?}");
    host.wait_for_metric("holdfast_memory_bytes{purpose=\"requests\"}", 0);
    host.assert_alive();
}

/// Answers that are not read are kept for a while, then their connections are closed, over both versions of HTTP.
#[test]
fn answers_that_nobody_reads_are_given_up() {
    let mut host = Host::with("response-seconds = 2.0");
    host.deploy("wasi-http", guest("wasi-http"));
    let path = format!("/wasi-http/alice/big?bytes={}", 16 * MIB);
    let unread: Vec<_> =
        (0..4).map(|_| host.data().write(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n"))).collect();
    // The stream's window is 0 from the start: no byte of the body can be sent.
    const INITIAL_WINDOW_SIZE: u16 = 4;
    let mut http2 = Http2::with_settings(host.data(), &[(INITIAL_WINDOW_SIZE, 0)]);
    http2.request(1, &[(":path", &path)]);
    http2.request(3, &[(":path", "/wasi-http/bob/big?bytes=10")]);
    eventually("answers to be held", || (memory(&host, "responses") >= 16 * MIB as u64).then_some(()));
    http2.until_closed();
    host.wait_for_metric("holdfast_memory_bytes{purpose=\"responses\"}", 0);
    drop(unread);
    // A client that reads gets the complete answer.
    assert_eq!(host.get(&path).text().len(), 16 * MIB);
    host.wait_for_metric("holdfast_memory_bytes{purpose=\"responses\"}", 0);
    host.assert_alive();
}

/// Requests that are reset as soon as they are sent: the host closes the connection and keeps serving.
#[test]
fn a_flood_of_resets_ends_its_connection_only() {
    let mut host = Host::start();
    host.deploy("echo", guest("echo"));
    let mut http2 = Http2::connect(host.data());
    for n in 0..20_000_u32 {
        let stream = 2 * n + 1;
        if http2.try_request(stream, &[(":path", "/echo/alice")]).and_then(|()| http2.reset(stream)).is_err() {
            break;
        }
    }
    drop(http2);
    host.assert_alive();
    assert_eq!(host.get("/echo/alice").status, 200);
    eventually("it to be over", || (host.metric("holdfast_connections") <= 2).then_some(()));
}

#[test]
fn heads_are_bounded() {
    let mut host = Host::start();
    host.deploy("echo", guest("echo"));
    let long =
        |bytes: usize| format!("GET /echo/alice HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n", "x".repeat(bytes));
    let mut answer = [0; 12];
    host.data().write(long(32 << 10)).read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    // Bytes in flight may reset the connection before the answer is read.
    let mut stream = host.data().write("");
    let _ = stream.write_all(long(1 << 20).as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 431"), "{}", String::from_utf8_lossy(&answer));
    let many: Vec<String> = (0..200).map(|n| format!("x-{n}: y")).collect();
    let lines: Vec<&str> = std::iter::once("GET /echo/alice HTTP/1.1").chain(many.iter().map(String::as_str)).collect();
    assert_eq!(host.data().raw(&lines, b"").status, 431);
    let answer = host.data().try_send(Method::GET, "/echo/alice", &[], b"");
    assert_eq!(answer.unwrap().status, 200);
    host.assert_alive();
}

/// A peer that pings and never reads: the host stops reading from it, and closes the connection after a while.
#[test]
fn a_flood_of_pings_is_not_read() {
    let host = Host::with("socket-silence-seconds = 1.0");
    host.deploy("sockets", guest("sockets"));
    let mut socket = Socket::open(host.data(), "/sockets/room");
    let stream = socket.stream();
    stream.set_write_timeout(Some(Duration::from_secs(60))).unwrap();
    let ping = [&[0x89, 0x80 | 125, 0, 0, 0, 0][..], &[b'p'; 125]].concat();
    let pings = ping.repeat(500);
    let mut sent = 0;
    // The kernel's buffers hold some megabytes of pings and of pongs.
    while sent < 256 * MIB {
        match stream.write(&pings) {
            Ok(bytes) => sent += bytes,
            Err(_) => break,
        }
    }
    assert!(sent < 256 * MIB, "all of it was read");
    assert_eq!(close_event(&host, "room")["code"], 1006);
    assert_eq!(host.metric("holdfast_sockets"), 0);
}

/// Pongs are sent, one for each ping, between messages.
#[test]
fn pings_are_answered_in_their_order() {
    let host = Host::start();
    host.deploy("sockets", guest("sockets"));
    let mut socket = Socket::open(host.data(), "/sockets/room");
    for n in 0..100 {
        socket.send(Message::Ping(format!("{n}").into()));
        assert_eq!(socket.next(), Message::Pong(format!("{n}").into()));
        socket.say(&n.to_string());
        assert_eq!(socket.hear(), n.to_string());
    }
}

/// Empty messages are charged with their overhead, so a peer that does not read is closed as well.
#[test]
fn empty_messages_to_a_peer_that_does_not_read() {
    let host = Host::with("socket-buffer = 400_000");
    host.deploy("sockets", guest("sockets"));
    let _slow = Socket::open(host.data(), "/sockets/room?tag=slow");
    let mut quick = Socket::open(host.data(), "/sockets/room");
    let slow = quick.order_one(json!({ "sockets": "slow" }))[0].clone();
    let close = eventually("the slow one to be closed", || {
        // Long messages until the kernel's buffers are full, but fewer than the limit; then empty ones.
        let buffered = quick.order_one(json!({ "buffered": slow })).as_u64().unwrap_or_default();
        let (text, times) = if buffered < 100_000 { ("x".repeat(100_000), 1) } else { (String::new(), 200) };
        quick.order(json!(vec![json!({ "broadcast": { "text": text, "tag": "slow" } }); times]));
        assert!(host.metric("holdfast_socket_buffered_bytes") <= 1_000_000);
        let events = host.get("/sockets/room/events?event=close").json();
        events.as_array().unwrap().first().cloned()
    });
    assert_eq!(close["code"], 1013);
}

/// A peer that breaks a rule gets the close code of that rule, and the object is called at once, whether the peer
/// answers or not.
#[test]
fn a_peer_that_breaks_a_rule_is_closed_and_gone() {
    let host = Host::start();
    host.deploy("sockets", guest("sockets"));
    let mask = [0; 4];
    let text = |bytes: &[u8]| [&[0x81, 0x80 | bytes.len() as u8][..], &mask, bytes].concat();
    let long = |head: &[u8]| [head, &mask, &[b'x'; 5]].concat();
    let broken: [(&str, Vec<u8>, u16); 6] = [
        ("bytes that are no text", text(b"\xff\xfe"), 1007),
        ("half a character", text(b"\xe2\x82"), 1007),
        ("a length of two bytes for 5", long(&[0x81, 0x80 | 126, 0, 5]), 1002),
        ("a length of eight bytes for 5", long(&[0x81, 0x80 | 127, 0, 0, 0, 0, 0, 0, 0, 5]), 1002),
        ("a ping of 126 bytes", long(&[0x89, 0x80 | 126, 0, 126]), 1002),
        ("no mask", b"\x81\x01x".to_vec(), 1002),
    ];
    for (what, bytes, code) in broken {
        let room = what.replace(' ', "-");
        let path = format!("/sockets/{room}");
        let mut bad = Socket::open(host.data(), &path);
        let mut good = Socket::open(host.data(), &path);
        assert_eq!(good.order_one(json!({ "sockets": null })).as_array().unwrap().len(), 2);
        bad.stream().write_all(&bytes).unwrap();
        // It has not read the close frame yet, let alone answered.
        let close = close_event(&host, &room);
        assert_eq!((&close["code"], &close["was_clean"]), (&code.into(), &false.into()), "{what}");
        assert_eq!(good.order_one(json!({ "sockets": null })).as_array().unwrap().len(), 1, "{what}");
        assert_eq!(host.get(&path).json()["count"], 1, "{what}");
        assert_eq!(bad.closed().unwrap().0, code, "{what}");
        drop(good);
    }
}
