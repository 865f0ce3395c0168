//! Staged, applied, released: what each of the three makes visible, and to whom.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Wake, Waker};

use super::send_queue::{MESSAGE_BYTES, SMALL_BYTES, SendQueue};
use super::*;
use crate::base::socket::{AutoResponse, Message, Text, code};
use crate::base::{MemoryUse, ObjectName};

/// An object of a host, one turn after the other.
struct Object {
    host: Arc<Sockets>,
    id: ObjectId,
    class: ClassKey,
}

impl Object {
    fn new(limits: Limits) -> Self {
        let (env, _clock) = Env::manual(1);
        let class = ClassKey::new("key");
        let id = ObjectId::from_name(&class, &ObjectName::parse("room").unwrap());
        Self {
            host: Arc::new(Sockets::new(Arc::new(limits), HostMemory::new(1 << 30), Arc::default(), env)),
            id,
            class,
        }
    }

    fn begin(&self) -> SocketTurn {
        self.begin_with(None)
    }

    fn begin_with(&self, offered: Option<Vec<String>>) -> SocketTurn {
        SocketTurn::begin(self.host.clone(), (self.id, self.class.clone()), self.host.of(&self.id), offered)
    }

    /// Opens a socket, and returns it with the gateway's end of it.
    fn open(&self, tags: &[&str]) -> (SocketId, Connection) {
        let mut turn = self.begin_with(Some(Vec::new()));
        let id = turn.accept(tags.iter().map(|tag| tag.to_string()).collect()).unwrap();
        turn.apply(true).unwrap().now();
        (id, self.host.connect(&self.id, id).unwrap())
    }

    fn buffered(&self) -> i64 {
        self.host.metrics.sockets.buffered_bytes.get()
    }
}

fn text(text: &str) -> Message {
    Message::Text(Text::from(text.to_owned()))
}

/// Returns what is to be sent, as text.
fn waiting(connection: &Connection) -> Vec<String> {
    let mut waiting = Vec::new();
    while let Some(next) = connection.next_at_hand() {
        waiting.push(match next {
            Outgoing::Close(close_frame) => format!("close {:?}", close_frame.code),
            Outgoing::Message(payload) => {
                connection.sent(&payload);
                match payload.message() {
                    Message::Text(text) => text.as_str().to_owned(),
                    Message::Binary(bytes) => format!("{} bytes", bytes.len()),
                }
            }
        });
    }
    waiting
}

#[test]
fn what_is_staged_is_seen_by_its_turn_only() {
    let object = Object::new(Limits::default());
    let (alice, to_alice) = object.open(&["a"]);
    let mut turn = object.begin();
    turn.set_attachment(alice, Some("attached".into())).unwrap();
    turn.set_auto_response(Some(AutoResponse { request: "hi".into(), response: "ho".into() })).unwrap();
    turn.send(alice, text("staged")).unwrap();
    turn.close(alice, CloseFrame::default()).unwrap();
    assert_eq!(turn.attachment(alice).unwrap().unwrap(), "attached");
    assert_eq!(turn.auto_response().unwrap().response, "ho");
    assert_eq!((turn.sockets(None), turn.send(alice, text("late"))), (vec![], Err(SocketError::Closing)));
    // Dropped, as for a turn that failed.
    drop(turn);
    let turn = object.begin();
    assert_eq!((turn.attachment(alice), turn.auto_response(), turn.sockets(None)), (Ok(None), None, vec![alice]));
    assert_eq!((waiting(&to_alice), object.buffered()), (vec![], 0));
}

#[test]
fn what_is_applied_is_seen_by_turns_and_what_is_released_by_the_peer() {
    let object = Object::new(Limits::default());
    let (alice, to_alice) = object.open(&[]);
    let mut turn = object.begin();
    turn.send(alice, text("one")).unwrap();
    turn.set_auto_response(Some(AutoResponse { request: "hi".into(), response: "ho".into() })).unwrap();
    turn.close(alice, CloseFrame::of_host(1000, "")).unwrap();
    let release = turn.apply(false).unwrap();
    assert_eq!(object.begin().sockets(None), vec![]);
    assert_eq!((waiting(&to_alice), object.buffered()), (vec![], 3 + MESSAGE_BYTES as i64));
    assert!(!to_alice.received(&text("hi")), "no automatic response before the release");
    release.now();
    assert_eq!((waiting(&to_alice), object.buffered()), (vec!["one".into(), "close Some(1000)".into()], 0));
}

/// A peer that sends at once sees what the turn has set: the message wakes it, and no state is in between.
#[test]
fn what_a_turn_sets_is_in_force_before_what_it_sends_is_seen() {
    /// A peer that sends `hi` as soon as a message waits for it.
    struct Peer(Connection, AtomicU64);
    impl Wake for Peer {
        fn wake(self: Arc<Self>) {
            if self.1.load(Ordering::Relaxed) == 0 {
                self.1.store(if self.0.received(&text("hi")) { 1 } else { 2 }, Ordering::Relaxed);
            }
        }
    }
    let object = Object::new(Limits::default());
    let (alice, to_alice) = object.open(&[]);
    let peer = Arc::new(Peer(to_alice, AtomicU64::new(0)));
    let waker = Waker::from(peer.clone());
    let mut next = pin!(peer.0.next());
    assert!(next.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    let mut turn = object.begin();
    turn.set_auto_response(Some(AutoResponse { request: "hi".into(), response: "ho".into() })).unwrap();
    turn.send(alice, text("set")).unwrap();
    turn.apply(false).unwrap().now();
    assert_eq!(peer.1.load(Ordering::Relaxed), 1, "the host answered");
}

#[test]
fn a_socket_that_is_not_opened_never_was() {
    let object = Object::new(Limits::default());
    assert_eq!(object.begin().accept(Vec::new()), Err(SocketError::NotAnUpgrade));
    let mut turn = object.begin_with(Some(Vec::new()));
    let id = turn.accept(Vec::new()).unwrap();
    turn.send(id, text("welcome")).unwrap();
    assert_eq!((turn.sockets(None), turn.accept(Vec::new())), (vec![id], Err(SocketError::AlreadyAccepted)));
    turn.apply(false).unwrap().now();
    assert_eq!((object.begin().sockets(None), object.begin().tags(id)), (vec![], Err(SocketError::UnknownSocket)));
    assert_eq!(object.buffered(), 0);
}

#[tokio::test]
async fn one_payload_goes_to_all() {
    let object = Object::new(Limits::default());
    let open: Vec<_> = (0..100).map(|n| object.open(if n % 2 == 0 { &["even"] } else { &[] })).collect();
    let mut turn = object.begin();
    assert_eq!(turn.broadcast(Some("even"), Message::Binary(vec![0; 1_000].into())), Ok(50));
    assert_eq!(turn.broadcast(Some("odd"), text("nobody")), Ok(0));
    turn.apply(false).unwrap().now();
    assert_eq!(object.buffered(), 1_000 + MESSAGE_BYTES as i64, "held once");
    for (n, (_, connection)) in open.iter().enumerate() {
        assert_eq!(waiting(connection).len(), (n + 1) % 2);
    }
    assert_eq!(object.buffered(), 0);
}

#[tokio::test]
async fn a_line_that_nobody_empties_is_cut_off() {
    let limit = 100 + 2 * MESSAGE_BYTES;
    let object = Object::new(Limits { socket_buffer: limit, ..Limits::default() });
    let (slow, to_slow) = object.open(&[]);
    let send = |size: usize| {
        let mut turn = object.begin();
        let staged = turn.send(slow, Message::Binary(vec![0; size].into()));
        turn.apply(false).into_iter().for_each(Release::now);
        staged
    };
    send(1_000).unwrap();
    assert_eq!(waiting(&to_slow), ["1000 bytes"], "a large message may wait alone");
    send(60).unwrap();
    send(40).unwrap();
    assert_eq!(object.buffered(), limit as i64);
    send(0).unwrap();
    to_slow.too_slow().await;
    assert_eq!((object.buffered(), send(1)), (0, Err(SocketError::Closing)));
    assert_eq!(waiting(&to_slow), [format!("close Some({})", code::TRY_AGAIN_LATER)]);
}

/// When memory is short, peers that have received everything sent to them still get messages.
#[test]
fn the_memory_of_all_lines_is_bounded() {
    let object = Object::new(Limits { socket_buffers: 100, ..Limits::default() });
    let ((slow, _to_slow), (quick, to_quick)) = (object.open(&[]), object.open(&[]));
    let send = |to, size: usize| {
        let mut turn = object.begin();
        turn.send(to, Message::Binary(vec![0; size].into())).unwrap();
        turn.apply(false).unwrap().now();
    };
    send(slow, 101);
    send(quick, 50);
    assert_eq!(waiting(&to_quick), ["50 bytes"]);
    send(slow, 1);
    assert_eq!((object.buffered(), object.begin().sockets(None)), (0, vec![quick]));
}

/// A waiting message is charged to the class, with the queue's own memory for it, and given back.
#[test]
fn what_waits_is_charged() {
    let object = Object::new(Limits::default());
    let (id, to_peer) = object.open(&[]);
    let memory = || (object.host.memory.used(), object.buffered());
    let mut turn = object.begin();
    for _ in 0..1_000 {
        turn.send(id, Message::Binary(Default::default())).unwrap();
    }
    turn.send(id, Message::Binary(vec![0; 10_000].into())).unwrap();
    let of_turn = 1_000 * (MESSAGE_BYTES + 8) + 10_000 + MESSAGE_BYTES;
    assert!((of_turn - (64 << 10)..=of_turn).contains(&memory().0), "{:?}", memory());
    turn.apply(false).unwrap().now();
    assert_eq!(memory().1, (1_001 * MESSAGE_BYTES + 10_000) as i64);
    assert!(memory().0 > 900 * (MESSAGE_BYTES + SMALL_BYTES), "the queue is charged: {:?}", memory());
    assert_eq!(waiting(&to_peer).len(), 1_001);
    assert_eq!(memory(), (0, 0));
    // Without memory the turn gets an error.
    let others = ["a", "b", "c"].map(|class| object.host.memory.account(&ClassKey::new(class)));
    let taken = others.iter().zip([800, 170, 40]);
    let _taken: Vec<_> = taken.map(|(of, mib)| of.take(MemoryUse::Log, mib << 20).unwrap()).collect();
    let refused = object.begin().send(id, Message::Binary(vec![0; 30 << 20].into()));
    assert!(matches!(refused, Err(SocketError::NoMemory(_))), "{refused:?}");
}

#[test]
fn limits_at_the_edge() {
    let object = Object::new(Limits { sockets_per_object: 1, socket_message: 10, ..Limits::default() });
    let (id, _connection) = object.open(&[]);
    let another = object.begin_with(Some(Vec::new())).accept(Vec::new());
    assert_eq!(another, Err(SocketError::TooManySockets(1)));
    let mut turn = object.begin();
    assert_eq!(turn.send(id, text("1234567890")), Ok(()));
    assert_eq!(turn.send(id, text("1234567890a")), Err(SocketError::TooLarge(11, 10)));
    let reason = |size: usize| CloseFrame::of_host(1000, &"r".repeat(size));
    assert_eq!(turn.close(id, reason(124)), Err(SocketError::TooLarge(124, 123)));
    assert_eq!(turn.close(id, CloseFrame { code: None, reason: "r".into() }), Err(SocketError::TooLarge(1, 0)));
    assert_eq!(turn.close(id, reason(123)), Ok(()));

    let object = Object::new(Limits::default());
    let (id, _connection) = object.open(&[]);
    let mut turn = object.begin();
    let largest = Message::Binary(vec![0; 32 << 20].into());
    turn.send(id, largest.clone()).unwrap();
    assert!(matches!(turn.send(id, largest), Err(SocketError::TooMuch(_))), "what a turn sends is bounded as well");
}

#[test]
fn ids_rise_and_those_of_a_later_process_are_higher() {
    let (env, clock) = Env::manual(1_800_000_000_000);
    let host = || Sockets::new(Arc::default(), HostMemory::new(1 << 30), Arc::default(), env.clone());
    let first = host();
    let ids: Vec<_> = (0..1_000).map(|_| first.next_id()).collect();
    assert!(ids.is_sorted_by(|a, b| a < b));
    clock.advance(std::time::Duration::from_millis(1));
    let later = host().next_id();
    assert!(ids.last().unwrap() < &later && later.0 < 1 << 53);
}

#[test]
fn a_line_without_an_end_keeps_nothing() {
    let object = Object::new(Limits::default());
    let (id, connection) = object.open(&[]);
    let mut turn = object.begin();
    turn.send(id, text("kept")).unwrap();
    turn.apply(false).unwrap().now();
    assert_eq!(object.buffered(), 4 + MESSAGE_BYTES as i64);
    drop(connection);
    assert_eq!((object.buffered(), object.host.metrics.sockets.open.get()), (0, 0));
    assert_eq!(object.begin().send(id, text("late")), Err(SocketError::Closing));
    assert!(SendQueue::default().next_at_hand().is_none());
}
