//! WebSockets.

use tungstenite::Message;

use super::{Case, Subject};
use crate::harness::{Socket, eventually};
use crate::subject::{Object, decode, word};

pub const CASES: &[Case] = &[
    ("sockets/accept", accept),
    ("sockets/messages", messages),
    ("sockets/broadcast", broadcast),
    ("sockets/state", state),
    ("sockets/close", close),
    ("sockets/auto-response", auto_response),
    ("sockets/failed-turn", failed_turn),
];

#[track_caller]
fn open(object: &Object, below: &str) -> Socket {
    Socket::open(object.host.data(), &object.path(below))
}

/// Returns status and body of the answer that refuses a socket.
#[track_caller]
fn refused(object: &Object, below: &str) -> (u16, String) {
    let answer = Socket::offer(object.host.data(), &object.path(below), "").err().expect("it is refused");
    (answer.status, String::from_utf8_lossy(&answer.body).trim_end().to_owned())
}

/// Runs a script of one line in the message handler.
#[track_caller]
fn ask(socket: &mut Socket, line: &str) -> String {
    socket.say(line);
    socket.hear().strip_suffix('\n').expect("an answer is a line").to_owned()
}

fn accept(subject: &Subject) {
    let object = subject.object("a");
    let path = object.path("/accept/v2/ann/r%C3%B6%20m");
    let mut ann = Socket::offer(object.host.data(), &path, "v1, v2").expect("it is accepted");
    assert_eq!(ann.protocol.as_deref(), Some("v2"));
    assert_eq!(ask(&mut ann, "tags @"), "ann r%C3%B6%20m");
    let bob = open(&object, "/accept/-");
    assert_eq!(bob.protocol, None);
    object.says(&[("sockets", "2"), ("sockets ann", "1"), ("sockets r%C3%B6%20m", "1"), ("sockets nobody", "0")]);

    assert_eq!(refused(&object, "/refuse").0, 403);
    let too_long = format!("/accept/-/{}", "x".repeat(257));
    assert_eq!(refused(&object, &too_long), (409, "error bad-tag".into()));
    let plain = object.send("GET", "/accept/-/x", &[], b"");
    assert_eq!((plain.status, plain.body.trim_ascii_end()), (409, &b"error not-an-upgrade"[..]));
    object.says(&[("sockets", "2")]);
}

fn messages(subject: &Subject) {
    let object = subject.object("a");
    let mut client = open(&object, "/accept/-/a");
    let every_byte: Vec<u8> = (0..=255).collect();
    for bytes in [every_byte, vec![], vec![7; 1 << 20]] {
        client.send(Message::Binary(bytes.clone().into()));
        assert!(client.next() == Message::Binary(bytes.into()));
    }
    let text = word("é😀\u{10FFFF} and \0");
    client.say(&format!("send @ t:{text}"));
    assert_eq!(client.hear(), "é😀\u{10FFFF} and \0");
    assert_eq!(client.hear(), "ok\n");
    object.says(&[
        (&format!("send a t:{text}"), "ok"),
        ("send a t:", "ok"),
        ("send a b:%00%FF", "ok"),
        ("send b t:x", "error unknown-socket"),
    ]);
    assert_eq!(client.hear(), "é😀\u{10FFFF} and \0");
    assert_eq!(client.hear(), "");
    assert_eq!(client.next(), Message::Binary(vec![0, 255].into()));
    let large = "x".repeat(1 << 20);
    object.says(&[(&format!("send a t:{large}"), "ok")]);
    assert!(client.hear() == large);
    for _ in 0..100 {
        client.say("count");
    }
    let counted: Vec<_> = (0..100).map(|_| client.hear()).collect();
    assert_eq!(counted, (1..=100).map(|n| format!("{n}\n")).collect::<Vec<_>>(), "in order");
    // Sent before the answer to the script that it is part of.
    client.say("send @ t:first\ncount");
    assert_eq!((client.hear(), client.hear()), ("first".into(), "ok\n101\n".into()));
}

fn broadcast(subject: &Subject) {
    let object = subject.object("a");
    let mut clients: Vec<_> =
        ["/accept/-/red", "/accept/-/red/tall", "/accept/-/blue"].map(|path| open(&object, path)).into();
    object.says(&[
        ("broadcast t:all", "3"),
        ("broadcast b:red red", "2"),
        ("broadcast t:none green", "0"),
        ("broadcast t:end", "3"),
    ]);
    for (client, is_red) in clients.iter_mut().zip([true, true, false]) {
        assert_eq!(client.hear(), "all");
        if is_red {
            assert_eq!(client.next(), Message::Binary(b"red".to_vec().into()));
        }
        assert_eq!(client.hear(), "end");
    }
}

fn state(subject: &Subject) {
    let object = subject.object("a");
    let mut client = open(&object, "/accept/-/z/a");
    object.says(&[("attachment a", "none"), ("attach a %00%01bytes", "ok"), ("attachment a", "some %00%01bytes")]);
    object.run("attach a lost\nfail told as%20asked false").problem(500, "guest-error");
    object.says(&[("count", "1"), ("attachment z", "some %00%01bytes"), ("tags a", "a z")]);
    assert_eq!(ask(&mut client, "attachment @"), "some %00%01bytes");
    assert_eq!(ask(&mut client, "attach @ "), "ok");
    object.says(&[("attachment a", "some "), (&format!("attach a {}", "x".repeat(16_385)), "error too-large")]);
}

/// Waits until this many events are recorded, and returns them.
fn events(object: &Object, count: usize) -> Vec<String> {
    let shown = eventually("the events", || {
        let shown = object.ask_one("get events");
        (shown.matches("%0A").count() >= count).then_some(shown)
    });
    let shown = shown.strip_prefix("some ").expect("there are some");
    shown.split_terminator("%0A").map(|line| String::from_utf8(decode(line)).expect("text")).collect()
}

fn close(subject: &Subject) {
    let object = subject.object("a");
    let (mut a, mut b) = (open(&object, "/accept/-/a"), open(&object, "/accept/-/b"));
    object.says(&[
        ("close a 1005 x", "error bad-code"),
        ("close a 4001 gone%20%E2%82%AC", "ok"),
        ("sockets", "1"),
        ("close nobody 1000 ", "error unknown-socket"),
    ]);
    assert_eq!(a.closed(), Some((4001, "gone €".into())));
    // The peer answers with the code that it got.
    assert_eq!(events(&object, 1), ["close 4001 gone%20%E2%82%AC true"]);
    assert_eq!(b.close(4002, "bye"), Some((4002, "bye".into())));
    assert_eq!(events(&object, 2)[1], "close 4002 bye true");
    drop(open(&object, "/accept/-/d"));
    assert_eq!(events(&object, 3)[2], "close 1006  false");
    object.says(&[("sockets", "0")]);
}

fn auto_response(subject: &Subject) {
    let object = subject.object("a");
    object.says(&[("auto-response ping pong%20%E2%82%AC", "ok")]);
    let mut client = open(&object, "/accept/-/a");
    object.drop_instance();
    client.say("ping");
    assert_eq!(client.hear(), "pong €");
    assert_eq!(ask(&mut client, "count"), "1", "nobody was woken by it before");
    object.says(&[("auto-response", "ok")]);
    client.say("count");
    assert_eq!(client.hear(), "2\n");
    client.say("fail dropped ping false");
    assert_eq!(client.closed().map(|(code, _)| code), Some(1011), "there is no answer any more");
}

fn failed_turn(subject: &Subject) {
    let object = subject.object("a");
    object.says(&[("put a before", "ok")]);
    for (script, tag) in
        [("put a after\nsend @ t:lost\nfail told as%20asked false", "x"), ("put a after\nthrow as%20asked", "y")]
    {
        let mut client = open(&object, &format!("/accept/-/{tag}"));
        client.say(script);
        assert_eq!(client.closed().map(|(code, _)| code), Some(1011));
        eventually("the socket to be gone", || (object.ask_one("sockets") == "0").then_some(()));
        object.says(&[("get a", "some before")]);
    }
}
