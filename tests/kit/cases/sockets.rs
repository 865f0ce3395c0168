//! WebSockets.

use std::net::TcpStream;
use std::time::Duration;

use tungstenite::client::{ClientRequestBuilder, client};
use tungstenite::error::Error;
use tungstenite::handshake::HandshakeError;
use tungstenite::protocol::frame::CloseFrame;
use tungstenite::{Message, WebSocket};

use super::{Case, Subject};
use crate::harness::eventually;
use crate::subject::{Object, word};

pub const CASES: &[Case] = &[
    ("sockets/accept", accept),
    ("sockets/messages", messages),
    ("sockets/broadcast", broadcast),
    ("sockets/state", state),
    ("sockets/close", close),
    ("sockets/auto-response", auto_response),
    ("sockets/failed-turn", failed_turn),
];

/// After this the test fails instead of hanging.
const PATIENCE: Duration = Duration::from_secs(30);

/// A client's end of a socket.
struct Client(WebSocket<TcpStream>);

/// Why a handshake was refused: status and body.
type Refused = (u16, String);

impl Client {
    /// Connects, offering these sub-protocols; also returns the one that was chosen.
    fn connect(object: &Object, below: &str, protocols: &[&str]) -> Result<(Self, Option<String>), Refused> {
        let address = object.host.data().address();
        let stream = TcpStream::connect(address).expect("the listener accepts");
        stream.set_read_timeout(Some(PATIENCE)).expect("sockets have timeouts");
        let uri = format!("ws://{address}{}", object.path(below)).parse().expect("a URI");
        let request = protocols.iter().fold(ClientRequestBuilder::new(uri), |request, name| request.with_sub_protocol(*name));
        match client(request, stream) {
            Ok((socket, response)) => {
                let chosen = response.headers().get("sec-websocket-protocol");
                Ok((Self(socket), chosen.map(|value| value.to_str().expect("it is a token").to_owned())))
            }
            Err(HandshakeError::Failure(Error::Http(response))) => {
                let body = response.body().clone().unwrap_or_default();
                Err((response.status().as_u16(), String::from_utf8_lossy(&body).into_owned()))
            }
            Err(error) => panic!("the handshake of {below}: {error}"),
        }
    }

    #[track_caller]
    fn open(object: &Object, below: &str) -> Self {
        Self::connect(object, below, &[]).unwrap_or_else(|refused| panic!("{below} is refused: {refused:?}")).0
    }

    fn send(&mut self, message: impl Into<Message>) {
        self.0.send(message.into()).expect("the connection is open");
    }

    /// The next message.
    #[track_caller]
    fn next(&mut self) -> Message {
        loop {
            match self.0.read().expect("a message comes") {
                Message::Ping(_) | Message::Pong(_) => {}
                message => return message,
            }
        }
    }

    #[track_caller]
    fn text(&mut self) -> String {
        match self.next() {
            Message::Text(text) => text.as_str().to_owned(),
            other => panic!("no text: {other:?}"),
        }
    }

    /// Has a script run by the message handler; one line.
    #[track_caller]
    fn ask(&mut self, line: &str) -> String {
        self.send(line);
        self.text().strip_suffix('\n').expect("an answer is a line").to_owned()
    }

    /// Waits for the close frame and answers it.
    fn closed(&mut self) -> (u16, String) {
        let Message::Close(Some(frame)) = self.next() else { panic!("it is not closed with a code") };
        // The answer goes out with the next read.
        while self.0.read().is_ok() {}
        (frame.code.into(), frame.reason.as_str().to_owned())
    }
}

fn accept(kit: &Subject) {
    let object = kit.object("a");
    let (mut ann, chosen) = Client::connect(&object, "/accept/v2/ann/r%C3%B6%20m", &["v1", "v2"]).expect("it is accepted");
    assert_eq!(chosen.as_deref(), Some("v2"));
    assert_eq!(ann.ask("tags @"), "ann r%C3%B6%20m");
    let (_bob, chosen) = Client::connect(&object, "/accept/-", &[]).expect("it is accepted");
    assert_eq!(chosen, None);
    object.says(&[("sockets", "2"), ("sockets ann", "1"), ("sockets r%C3%B6%20m", "1"), ("sockets nobody", "0")]);

    let refused = Client::connect(&object, "/refuse", &[]).err().expect("it is refused");
    assert_eq!(refused.0, 403);
    let refused = Client::connect(&object, &format!("/accept/-/{}", "x".repeat(257)), &[]).err().expect("it is refused");
    assert_eq!(refused, (409, "error bad-tag\n".into()));
    let plain = object.send("GET", "/accept/-/x", &[], b"");
    assert_eq!((plain.status, plain.body.as_slice()), (409, &b"error not-an-upgrade\n"[..]));
    object.says(&[("sockets", "2")]);
}

fn messages(kit: &Subject) {
    let object = kit.object("a");
    let mut client = Client::open(&object, "/accept/-/a");
    let every_byte: Vec<u8> = (0..=255).collect();
    for bytes in [every_byte, vec![], vec![7; 1 << 20]] {
        client.send(bytes.clone());
        assert!(client.next() == Message::Binary(bytes.into()));
    }
    client.send("put a é😀\u{10FFFF}");
    assert_eq!(client.text(), "ok\n");
    let text = word("é😀\u{10FFFF} and \0");
    assert_eq!(client.ask("get a"), format!("some {}", word("é😀\u{10FFFF}")));
    object.says(&[(&format!("send a t:{text}"), "ok"), ("send a t:", "ok"), ("send a b:%00%FF", "ok"), ("send b t:x", "error unknown-socket")]);
    assert_eq!(client.text(), "é😀\u{10FFFF} and \0");
    assert_eq!(client.text(), "");
    assert_eq!(client.next(), Message::Binary(vec![0, 255].into()));
    let large = "x".repeat(1 << 20);
    object.says(&[(&format!("send a t:{large}"), "ok")]);
    assert!(client.text() == large);
    for _ in 0..100 {
        client.send("count");
    }
    let counted: Vec<_> = (0..100).map(|_| client.text()).collect();
    assert_eq!(counted, (1..=100).map(|n| format!("{n}\n")).collect::<Vec<_>>(), "in order");
    // Sent before the answer to what it is part of.
    client.send("send @ t:first\ncount");
    assert_eq!((client.text(), client.text()), ("first".into(), "ok\n101\n".into()));
}

fn broadcast(kit: &Subject) {
    let object = kit.object("a");
    let mut clients: Vec<_> = ["/accept/-/red", "/accept/-/red/tall", "/accept/-/blue"].map(|path| Client::open(&object, path)).into();
    object.says(&[("broadcast t:all", "3"), ("broadcast b:red red", "2"), ("broadcast t:none green", "0"), ("broadcast t:end", "3")]);
    for (client, is_red) in clients.iter_mut().zip([true, true, false]) {
        assert_eq!(client.text(), "all");
        if is_red {
            assert_eq!(client.next(), Message::Binary(b"red".to_vec().into()));
        }
        assert_eq!(client.text(), "end");
    }
}

fn state(kit: &Subject) {
    let object = kit.object("a");
    let mut client = Client::open(&object, "/accept/-/z/a");
    object.says(&[("attachment a", "none"), ("attach a %00%01bytes", "ok"), ("attachment a", "some %00%01bytes")]);
    object.run("attach a lost\nfail told as%20asked false").problem(500, "guest-error");
    object.says(&[("count", "1"), ("attachment z", "some %00%01bytes"), ("tags a", "a z")]);
    assert_eq!(client.ask("attachment @"), "some %00%01bytes");
    assert_eq!(client.ask("attach @ "), "ok");
    object.says(&[("attachment a", "some "), (&format!("attach a {}", "x".repeat(16_385)), "error too-large")]);
}

/// What has happened, once so many things have.
fn events(object: &Object, count: usize) -> Vec<String> {
    let shown = eventually("the events", || {
        let shown = object.ask_one("get events");
        (shown.matches("%0A").count() >= count).then_some(shown)
    });
    let shown = shown.strip_prefix("some ").expect("there are some");
    shown.split_terminator("%0A").map(|line| line.replace("%20", " ").replace("%25", "%")).collect()
}

fn close(kit: &Subject) {
    let object = kit.object("a");
    let (mut a, mut b) = (Client::open(&object, "/accept/-/a"), Client::open(&object, "/accept/-/b"));
    object.says(&[
        ("close a 1005 x", "error bad-code"),
        ("close a 4001 gone%20%E2%82%AC", "ok"),
        ("sockets", "1"),
        ("close nobody 1000 ", "error unknown-socket"),
    ]);
    assert_eq!(a.closed(), (4001, "gone €".into()));
    // The peer answers with the code that it got.
    assert_eq!(events(&object, 1), ["close 4001 gone%20%E2%82%AC true"]);
    b.0.close(Some(CloseFrame { code: 4002.into(), reason: "bye".into() })).expect("it can be closed");
    while b.0.read().is_ok() {}
    assert_eq!(events(&object, 2)[1], "close 4002 bye true");
    drop(Client::open(&object, "/accept/-/d"));
    assert_eq!(events(&object, 3)[2], "close 1006  false");
    object.says(&[("sockets", "0")]);
}

fn auto_response(kit: &Subject) {
    let object = kit.object("a");
    object.says(&[("auto-response ping pong%20%E2%82%AC", "ok")]);
    let mut client = Client::open(&object, "/accept/-/a");
    object.drop_instance();
    client.send("ping");
    assert_eq!(client.text(), "pong €");
    assert_eq!(client.ask("count"), "1", "nobody was woken by it before");
    object.says(&[("auto-response", "ok")]);
    client.send("count");
    assert_eq!(client.text(), "2\n");
    client.send("fail dropped ping false");
    assert_eq!(client.closed().0, 1011, "there is no answer any more");
}

fn failed_turn(kit: &Subject) {
    let object = kit.object("a");
    object.says(&[("put a before", "ok")]);
    for (script, tag) in [("put a after\nsend @ t:lost\nfail told as%20asked false", "x"), ("put a after\nthrow as%20asked", "y")] {
        let mut client = Client::open(&object, &format!("/accept/-/{tag}"));
        client.send(script);
        assert_eq!(client.closed().0, 1011);
        eventually("the socket to be gone", || (object.ask_one("sockets") == "0").then_some(()));
        object.says(&[("get a", "some before")]);
    }
}
