//! The byte-level state of one connection: its progress, whether its peer reads what it is sent, faults of its
//! requests.
//!
//! The HTTP library sees a plain stream. Beside it is a [`Wire`], which the task of the connection checks periodically
//! to detect that nothing moves any more (`connections`), and which the service uses to refuse requests that the
//! library accepts (`heads`).
//!
//! Invariants: nothing here waits or allocates for a request; the place of a connection is held until its stream is
//! dropped, also when it has become a WebSocket.

use std::collections::HashMap;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::calm::Calm;
use super::heads::{Fault, Heads};
use super::places::Place;
use super::problem::{BAD_REQUEST, Problem};

/// The state of a connection.
#[derive(Default)]
pub struct Wire {
    /// Bytes that were written to the peer's socket.
    written: AtomicU64,
    /// The last write found no room.
    blocked: AtomicBool,
    /// Complete HTTP/1 heads, and whether another has begun.
    heads: AtomicU64,
    in_head: AtomicBool,
    /// Requests that were passed to the service, and those without an answer yet.
    taken: AtomicU64,
    handling: AtomicU64,
    /// The first head with a fault, counted from 1.
    fault: OnceLock<(u64, Fault)>,
    /// The connection speaks another protocol now.
    upgraded: AtomicBool,
    /// Responses over HTTP/2 that are not sent completely, by their number: bytes that the library has requested.
    outgoing: Mutex<HashMap<u64, Arc<AtomicU64>>>,
    sent: AtomicU64,
    /// Bytes that the connection's task may still read before it yields.
    may_read: AtomicU64,
    /// The number of checks of the connection so far.
    looks: AtomicU64,
}

/// Bytes that the task of a connection reads before it yields to others: frames of HTTP/2 may be as short as 9 bytes,
/// each with work of its own.
const READ_AT_ONCE: u64 = 64 << 10;
const READ_AT_ONCE_HTTP2: u64 = 16 << 10;

/// The result of a check.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    pub written: u64,
    pub blocked: bool,
    /// The head of a request has begun.
    pub in_head: bool,
    /// The number of heads and requests.
    pub requests: u64,
    /// A request waits for its answer.
    pub handling: bool,
}

/// A request that is being answered.
pub struct Handling(Arc<Wire>);

/// A response over HTTP/2 that is not sent completely.
pub struct Outgoing {
    wire: Arc<Wire>,
    key: u64,
    asked_for: Arc<AtomicU64>,
}

impl Wire {
    /// Counts a request. Refuses it if its head, or that of a request before it, has a fault.
    pub fn take(self: &Arc<Self>) -> Result<Handling, Problem> {
        let number = self.taken.fetch_add(1, Relaxed) + 1;
        match self.fault.get() {
            Some((first, fault)) if number >= *first => Err(Problem::new(&BAD_REQUEST, *fault)),
            _ => {
                self.handling.fetch_add(1, Relaxed);
                Ok(Handling(self.clone()))
            }
        }
    }

    /// Records that the connection now speaks another protocol.
    pub fn upgrade(&self) {
        self.upgraded.store(true, Relaxed);
    }

    /// Records that the connection's task runs, and allows it to read.
    pub fn begin_poll(&self) {
        self.may_read.store(READ_AT_ONCE, Relaxed);
    }

    /// Returns the progress, for periodic checks.
    pub fn progress(&self) -> Progress {
        self.looks.fetch_add(1, Relaxed);
        Progress {
            written: self.written.load(Relaxed),
            blocked: self.blocked.load(Relaxed),
            in_head: self.in_head.load(Relaxed),
            requests: self.heads.load(Relaxed) + self.taken.load(Relaxed),
            handling: self.handling.load(Relaxed) > 0,
        }
    }

    /// Tracks a response over HTTP/2 until its last byte is sent.
    pub fn send(self: &Arc<Self>) -> Outgoing {
        let asked_for = Arc::<AtomicU64>::default();
        let key = self.sent.fetch_add(1, Relaxed);
        self.outgoing.lock().insert(key, asked_for.clone());
        Outgoing { wire: self.clone(), key, asked_for }
    }

    /// Calls `each` for the responses over HTTP/2 that are being sent, with the bytes that were requested.
    pub fn for_each_outgoing(&self, mut each: impl FnMut(u64, u64)) {
        self.outgoing.lock().iter().for_each(|(key, asked_for)| each(*key, asked_for.load(Relaxed)));
    }
}

impl Drop for Handling {
    fn drop(&mut self) {
        self.0.handling.fetch_sub(1, Relaxed);
    }
}

impl Outgoing {
    /// Returns the counter of the bytes that the library requests.
    pub fn counter(&self) -> Arc<AtomicU64> {
        self.asked_for.clone()
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        self.wire.outgoing.lock().remove(&self.key);
    }
}

/// The stream of a connection, which records its traffic in its [`Wire`].
pub struct Watched {
    stream: TcpStream,
    wire: Arc<Wire>,
    heads: Heads,
    calm: Calm,
    /// The check that `calm` has seen, and the bytes written by then.
    looked: (u64, u64),
    _place: Place,
}

impl Watched {
    /// Creates a watched stream for a connection with this place.
    pub fn new(stream: TcpStream, place: Place) -> (Self, Arc<Wire>) {
        let wire = Arc::<Wire>::default();
        (
            Self {
                stream,
                wire: wire.clone(),
                heads: Heads::default(),
                calm: Calm::default(),
                looked: (0, 0),
                _place: place,
            },
            wire,
        )
    }

    /// Reports whether the task of the connection must yield before it reads more.
    fn must_give_way(&self) -> bool {
        let left = self.wire.may_read.load(Relaxed);
        let spared = if self.calm.is_http2() { READ_AT_ONCE - READ_AT_ONCE_HTTP2 } else { 0 };
        left <= spared && !self.wire.upgraded.load(Relaxed)
    }

    fn came(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.wire.upgraded.load(Relaxed) {
            return Ok(());
        }
        let left = self.wire.may_read.load(Relaxed);
        self.wire.may_read.store(left.saturating_sub(bytes.len() as u64), Relaxed);
        let looks = self.wire.looks.load(Relaxed);
        if looks != self.looked.0 {
            let written = self.wire.written.load(Relaxed);
            self.calm.look(written - self.looked.1);
            self.looked = (looks, written);
        }
        if !self.calm.read(bytes) {
            return Err(io::Error::other("too many HTTP/2 frames without requests"));
        }
        if let Err(fault) = self.heads.read(bytes) {
            let _ = self.wire.fault.set((self.heads.complete + 1, fault));
        }
        self.wire.heads.store(self.heads.complete, Relaxed);
        self.wire.in_head.store(self.heads.in_head(), Relaxed);
        Ok(())
    }

    fn wrote(&self, outcome: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match &outcome {
            Poll::Ready(Ok(bytes)) => {
                self.wire.written.fetch_add(*bytes as u64, Relaxed);
                self.wire.blocked.store(false, Relaxed);
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.wire.blocked.store(true, Relaxed),
        }
        outcome
    }
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.must_give_way() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        Poll::Ready(self.came(&buffer.filled()[before..]))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.wrote(outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.wrote(outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
