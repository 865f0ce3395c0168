//! Hostile clients of a harmless class.

use std::time::Duration;

use crate::arena::{Arena, HOSTILE};
use crate::attack::Attack;
use crate::clock::Stop;
use crate::tenants::speak_to_the_deaf;
use crate::wire::{
    H2_CONTINUATION, H2_END_HEADERS, H2_END_STREAM, H2_HEADERS, H2_PING, H2_PREFACE, H2_RST_STREAM, H2_SETTINGS, Wire,
    frame, get, h2_frame, h2_get, post_head,
};

/// All attacks of clients.
pub const CLIENTS: &[Attack] = &[
    Attack { name: "slow-heads", does: "heads of requests that come byte by byte", run: slow_heads },
    Attack { name: "slow-bodies", does: "bodies that come byte by byte", run: slow_bodies },
    Attack { name: "half-bodies", does: "half of a body of 31 MiB, and then nothing", run: half_bodies },
    Attack { name: "unread-answers", does: "answers of 31 MiB that nobody reads", run: unread_answers },
    Attack {
        name: "pipelines",
        does: "thousands of requests on a connection, whose answers nobody reads",
        run: pipelines,
    },
    Attack { name: "idle-connections", does: "thousands of connections that say nothing", run: idle_connections },
    Attack { name: "ping-flood", does: "pings whose pongs nobody reads", run: ping_flood },
    Attack { name: "empty-messages", does: "empty messages to sockets that nobody reads", run: empty_messages },
    Attack { name: "message-flood", does: "messages as fast as the line takes them", run: message_flood },
    Attack { name: "half-messages", does: "messages of 31 MiB that do not end", run: half_messages },
    Attack { name: "bad-frames", does: "frames that the WebSocket protocol forbids", run: bad_frames },
    Attack { name: "bad-requests", does: "what is no HTTP", run: bad_requests },
    Attack { name: "huge-heads", does: "heads of a megabyte, and of ten thousand fields", run: huge_heads },
    Attack { name: "h2-resets", does: "HTTP/2 streams that are reset at once", run: h2_resets },
    Attack { name: "h2-unread", does: "HTTP/2 streams for 31 MiB each, and no window for them", run: h2_unread },
    Attack { name: "h2-continuations", does: "HTTP/2 heads that do not end", run: h2_continuations },
    Attack { name: "h2-pings", does: "HTTP/2 pings and settings whose answers nobody reads", run: h2_pings },
];

const MOMENT: Duration = Duration::from_millis(100);
const SECONDS: Duration = Duration::from_secs(2);
const MIB: usize = 1 << 20;

fn slow_heads(arena: &Arena, stop: &Stop) {
    dribble(arena, stop, format!("GET /{HOSTILE}/slow/ HTTP/1.1\r\nhost: localhost\r\nx: ").as_bytes());
}

fn slow_bodies(arena: &Arena, stop: &Stop) {
    dribble(arena, stop, &post_head(&format!("/{HOSTILE}/slow/"), MIB));
}

/// Sends this beginning on hundreds of connections, and then a byte on each from time to time.
fn dribble(arena: &Arena, stop: &Stop, head: &[u8]) {
    let count = arena.crowd(200, 1000);
    arena.heard(format!("{count} connections"));
    let mut wires: Vec<Option<Wire>> = (0..count).map(|_| None).collect();
    while !stop.told() {
        for wire in &mut wires {
            let begun = match wire {
                Some(begun) => begun.send(b"x").is_ok(),
                None => {
                    *wire = arena.connect().ok();
                    wire.as_mut().is_some_and(|wire| wire.send(head).is_ok())
                }
            };
            if !begun {
                *wire = None;
                arena.heard("cut off");
            }
        }
        stop.pause(MOMENT);
    }
}

fn half_bodies(arena: &Arena, stop: &Stop) {
    let mut half = post_head(&format!("/{HOSTILE}/half/"), 31 * MIB);
    half.resize(half.len() + 31 * MIB / 2, b'x');
    arena.volleys(stop, arena.crowd(16, 60), SECONDS, |_| half.clone());
}

fn unread_answers(arena: &Arena, stop: &Stop) {
    let request = |object: u64| get(&format!("/{HOSTILE}/unread-{}/answer?n=31", object % 64));
    arena.volleys(stop, arena.crowd(16, 60), SECONDS, request);
}

fn pipelines(arena: &Arena, stop: &Stop) {
    let requests = get(&format!("/{HOSTILE}/pipelined/")).repeat(1000);
    arena.each(stop, arena.crowd(8, 32), |_| match arena.connect() {
        Ok(mut wire) => insist(arena, stop, &mut wire, &requests),
        Err(_) => _ = stop.pause(MOMENT),
    });
}

fn idle_connections(arena: &Arena, stop: &Stop) {
    arena.volleys(stop, arena.crowd(1500, 6000), SECONDS, |_| Vec::new());
}

/// Opens sockets of an object and does this with each, repeatedly.
fn sockets(arena: &Arena, stop: &Stop, count: usize, abuse: impl Fn(&mut Wire, usize) + Sync) {
    let path = format!("/{HOSTILE}/sockets-{}/", arena.fresh());
    arena.each(stop, count, |number| match arena.connect().and_then(|mut wire| wire.upgrade(&path).map(|()| wire)) {
        Ok(mut wire) => abuse(&mut wire, number),
        Err(_) => _ = stop.pause(MOMENT),
    });
}

/// Sends the same bytes until it is stopped; waits while the host does not read.
fn insist(arena: &Arena, stop: &Stop, wire: &mut Wire, bytes: &[u8]) {
    while !stop.told() {
        match wire.send(bytes) {
            Ok(()) => arena.heard("batches"),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                // A part of it is sent, so more bytes would not be parsed: nothing more is sent.
                arena.heard("not read");
                while !stop.pause(MOMENT) {}
            }
            Err(_) => {
                arena.heard("cut off");
                return;
            }
        }
    }
}

fn ping_flood(arena: &Arena, stop: &Stop) {
    let pings = frame(9, &[b'p'; 125]).repeat(200);
    sockets(arena, stop, arena.crowd(2, 8), |wire, _| insist(arena, stop, wire, &pings));
}

fn empty_messages(arena: &Arena, stop: &Stop) {
    speak_to_the_deaf(arena, stop, "empty 100000");
}

fn message_flood(arena: &Arena, stop: &Stop) {
    let messages = frame(1, b"").repeat(1000);
    sockets(arena, stop, arena.crowd(4, 16), |wire, _| insist(arena, stop, wire, &messages));
}

/// Sends fragments of a message up to the largest size, and then nothing.
fn half_messages(arena: &Arena, stop: &Stop) {
    let mut fragments = vec![0x02, 0xff];
    fragments.extend((31 * MIB as u64).to_be_bytes());
    fragments.extend([0; 4]);
    fragments.resize(fragments.len() + 31 * MIB, b'x');
    let path = format!("/{HOSTILE}/sockets-{}/", arena.fresh());
    while !stop.told() {
        let mut wires = Vec::new();
        for _ in 0..arena.crowd(16, 60) {
            let open = arena.connect().and_then(|mut wire| {
                wire.upgrade(&path)?;
                wire.send(&fragments).map(|()| wire)
            });
            arena.heard(if open.is_ok() { "taken" } else { "cut off" });
            wires.extend(open);
            if stop.told() {
                break;
            }
        }
        stop.pause(SECONDS);
    }
}

fn bad_frames(arena: &Arena, stop: &Stop) {
    let masked = |head: &[u8], payload: &[u8]| [head, &[0; 4], payload].concat();
    let bad = [
        vec![0x81, 1, b'x'],                                                            // not masked
        masked(&[0xf1, 0x81], b"x"),                                                    // reserved bits
        masked(&[0x83, 0x81], b"x"),                                                    // a reserved opcode
        masked(&[0x8b, 0x80], b""),                                                     // a reserved control
        masked(&[0x89, 0xfe, 0, 126], &[0; 126]),                                       // a ping that is too long
        masked(&[0x09, 0x80], b""),                                                     // a ping in fragments
        masked(&[0x80, 0x81], b"x"),                                                    // goes on with nothing
        [masked(&[0x01, 0x80], b""), frame(1, b"x")].concat(),                          // begins again
        masked(&[0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0], b""),                          // a length of 2^63
        masked(&[0x82, 0xff, 0, 0, 1, 0, 0, 0, 0, 0], b"xxx"),                          // a terabyte
        masked(&[0x82, 0xff, 0, 0, 0, 0, 0, 0, 0, 1], b"x"), // a length in more bytes than it needs
        masked(&[0x81, 0xfe, 0, 1], b"x"),                   // likewise
        frame(1, b"\xff\xfe"),                               // no UTF-8
        frame(8, b"x"),                                      // half a code
        frame(8, &999_u16.to_be_bytes()),                    // a code that no peer may send
        [frame(8, b""), frame(1, b"x")].concat(),            // speaks after its close frame
        [frame(8, b""), frame(8, b"")].concat(),             // sends two close frames
        masked(&[0x01, 0x81], b"\xf0").repeat(10_000),       // many fragments, or many beginnings
        [masked(&[0x01, 0x81], b"a"), masked(&[0, 0x80], b"").repeat(20_000)].concat(), // a message that does not end
    ];
    sockets(arena, stop, 4, |wire, number| {
        for frames in bad.iter().skip(number % 4).step_by(4) {
            let _ = wire.send(frames);
            while !stop.told() && wire.swallow().is_some_and(|bytes| bytes > 0) {}
            let path = format!("/{HOSTILE}/sockets-bad-{number}/");
            match arena.connect().and_then(|mut wire| wire.upgrade(&path).map(|()| wire)) {
                Ok(next) => *wire = next,
                Err(_) => return,
            }
            arena.heard("tried");
        }
    });
}

fn bad_requests(arena: &Arena, stop: &Stop) {
    let path = format!("/{HOSTILE}/bad/");
    let bad: Vec<Vec<u8>> = [
        "GET\r\n\r\n".into(),
        "\0\0\0\0\r\n\r\n".into(),
        "\x16\x03\x01\x02\0\x01\0\x01\u{fc}\x03\x03".into(),
        format!("GET {path} HTTP/9.9\r\nhost: localhost\r\n\r\n"),
        format!("GET {path} HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n"),
        format!("GET {path} HTTP/1.1\r\n\r\n"),
        format!("GET {path} HTTP/1.1\nhost: localhost\n\n"),
        format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
        format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: -1\r\n\r\n"),
        format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99999999999999999999\r\n\r\n"),
        format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\n"),
        format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n1;{}\r\n", "x".repeat(100_000)),
        format!("GET {path}{} HTTP/1.1\r\nhost: localhost\r\n\r\n", "%".repeat(60_000)),
        format!("GET /{HOSTILE}/{}/ HTTP/1.1\r\nhost: localhost\r\n\r\n", "n".repeat(2_000)),
        format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\nupgrade: websocket\r\n\r\n"),
        "CONNECT localhost:80 HTTP/1.1\r\nhost: localhost\r\n\r\n".into(),
        format!("{}\r\n", "\r\n".repeat(100_000)),
    ]
    .map(String::into_bytes)
    .into();
    arena.clients(stop, 4, |number| bad[number as usize % bad.len()].clone());
}

fn huge_heads(arena: &Arena, stop: &Stop) {
    let one = format!("GET /{HOSTILE}/huge/ HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n", "x".repeat(MIB));
    let many = format!("GET /{HOSTILE}/huge/ HTTP/1.1\r\nhost: localhost\r\n{}\r\n", "x: y\r\n".repeat(10_000));
    let heads = [one.into_bytes(), many.into_bytes()];
    arena.clients(stop, arena.crowd(4, 16), |number| heads[number as usize % 2].clone());
}

/// Opens connections of HTTP/2 and does this with each, repeatedly.
fn h2(arena: &Arena, stop: &Stop, count: usize, abuse: impl Fn(&mut Wire) + Sync) {
    arena.each(stop, count, |_| match arena.connect().and_then(|mut wire| wire.send(H2_PREFACE).map(|()| wire)) {
        Ok(mut wire) => abuse(&mut wire),
        Err(_) => _ = stop.pause(MOMENT),
    });
}

fn h2_resets(arena: &Arena, stop: &Stop) {
    h2(arena, stop, arena.crowd(4, 16), |wire| {
        let mut stream = 1;
        while !stop.told() {
            let mut batch = Vec::new();
            for _ in 0..100 {
                let block = h2_get(&format!("/{HOSTILE}/reset-{}/sleep?ms=60000", stream % 64));
                batch.extend(h2_frame(H2_HEADERS, H2_END_HEADERS | H2_END_STREAM, stream, &block));
                batch.extend(h2_frame(H2_RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
                stream += 2;
            }
            if wire.send(&batch).is_err() || (stream % 1001 == 0 && wire.swallow().is_none()) {
                arena.heard("cut off");
                return;
            }
            arena.heard("batches");
        }
    });
}

/// Requests responses on streams whose windows are empty and are never opened.
fn h2_unread(arena: &Arena, stop: &Stop) {
    let mut requests = h2_frame(H2_SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
    for stream in (1..200).step_by(2) {
        let block = h2_get(&format!("/{HOSTILE}/unread-{stream}/answer?n=31"));
        requests.extend(h2_frame(H2_HEADERS, H2_END_HEADERS | H2_END_STREAM, stream, &block));
    }
    let request = [H2_PREFACE, &requests].concat();
    arena.volleys(stop, arena.crowd(2, 8), SECONDS, |_| request.clone());
}

fn h2_continuations(arena: &Arena, stop: &Stop) {
    let more = h2_frame(H2_CONTINUATION, 0, 1, &[b"\x10\x01x\x7f\x80\x7e".as_slice(), &[b'y'; 16_000]].concat());
    h2(arena, stop, arena.crowd(4, 16), |wire| {
        let begun = wire.send(&h2_frame(H2_HEADERS, H2_END_STREAM, 1, &h2_get(&format!("/{HOSTILE}/endless/"))));
        if begun.is_ok() {
            insist(arena, stop, wire, &more);
        }
    });
}

fn h2_pings(arena: &Arena, stop: &Stop) {
    let both = [h2_frame(H2_PING, 0, 0, &[7; 8]), h2_frame(H2_SETTINGS, 0, 0, &[])].concat().repeat(500);
    h2(arena, stop, arena.crowd(4, 16), |wire| insist(arena, stop, wire, &both));
}
