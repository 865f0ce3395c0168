//! What waits to be sent to one peer: a bounded queue between the turns that send and the gateway that writes.
//!
//! Who puts something in never waits. A peer that is too slow loses its place: what waited is dropped and code 1013 takes its
//! place. A goodbye is the last thing that is ever put in.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::base::Metrics;
use crate::base::socket::{Goodbye, Message, code};

/// One thing to be sent.
#[derive(Clone)]
pub enum Outgoing {
    /// A message, shared by all that receive it.
    Message(Arc<Payload>),
    /// Close after everything before it.
    Goodbye(Goodbye),
}

/// A message that counts as buffered for as long as somebody holds it.
pub struct Payload {
    message: Message,
    metrics: Arc<Metrics>,
}

impl Payload {
    pub(super) fn new(message: Message, metrics: &Arc<Metrics>) -> Arc<Self> {
        metrics.sockets.buffered_bytes.inc_by(message.size() as i64);
        Arc::new(Self { message, metrics: metrics.clone() })
    }

    /// The message.
    pub fn message(&self) -> &Message {
        &self.message
    }
}

impl Drop for Payload {
    fn drop(&mut self) {
        self.metrics.sockets.buffered_bytes.dec_by(self.message.size() as i64);
    }
}

/// The way to one peer.
#[derive(Default)]
pub(super) struct Line {
    queue: Mutex<Queue>,
    changed: Notify,
    /// When the host last answered for the object, in milliseconds since the Unix epoch; 0 for never.
    pub(super) answered_ms: AtomicU64,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Outgoing>,
    /// Of all messages that wait, and of the one that is being written.
    bytes: u64,
    /// A goodbye was put in.
    closing: bool,
    /// The peer did not take what it was sent.
    too_slow: bool,
}

impl Line {
    /// Puts a message in. `limit` is in bytes; a message that is larger may still wait alone.
    pub(super) fn send(&self, payload: &Arc<Payload>, limit: u64) {
        let mut queue = self.queue.lock();
        if queue.closing {
            return;
        }
        let size = payload.message.size();
        if queue.bytes == 0 || queue.bytes.saturating_add(size) <= limit {
            queue.bytes += size;
            queue.waiting.push_back(Outgoing::Message(payload.clone()));
        } else {
            queue.waiting.clear();
            queue.bytes = 0;
            queue.too_slow = true;
            queue.close(Goodbye::of_host(code::TRY_AGAIN_LATER, "too slow to take what was sent"));
        }
        drop(queue);
        self.changed.notify_one();
    }

    /// Puts a goodbye in, unless there is one.
    pub(super) fn close(&self, goodbye: Goodbye) {
        self.queue.lock().close(goodbye);
        self.changed.notify_one();
    }

    /// Nobody takes anything any more.
    pub(super) fn end(&self) {
        let mut queue = self.queue.lock();
        *queue = Queue { closing: true, ..Queue::default() };
    }

    pub(super) fn is_closing(&self) -> bool {
        self.queue.lock().closing
    }

    pub(super) fn buffered(&self) -> u64 {
        self.queue.lock().bytes
    }

    /// What comes next; waits for it. Safe to cancel.
    pub(super) async fn next(&self) -> Outgoing {
        loop {
            // One waits here at a time, and `notify_one` keeps its word for one that comes later.
            if let Some(next) = self.next_at_hand() {
                return next;
            }
            self.changed.notified().await;
        }
    }

    /// What comes next, if it is there.
    pub(super) fn next_at_hand(&self) -> Option<Outgoing> {
        self.queue.lock().waiting.pop_front()
    }

    /// What [`next`](Self::next) gave is written.
    pub(super) fn written(&self, bytes: u64) {
        let mut queue = self.queue.lock();
        queue.bytes = queue.bytes.saturating_sub(bytes);
    }

    /// Waits until the peer is found too slow.
    pub(super) async fn too_slow(&self) {
        loop {
            if self.queue.lock().too_slow {
                return;
            }
            self.changed.notified().await;
        }
    }
}

impl Queue {
    fn close(&mut self, goodbye: Goodbye) {
        if !std::mem::replace(&mut self.closing, true) {
            self.waiting.push_back(Outgoing::Goodbye(goodbye));
        }
    }
}
