//! The send queue of one peer: bounded, between the turns that send and the gateway that writes.
//!
//! Putting a message in never waits. A peer that is too slow is closed: what waited is dropped and replaced by a close
//! frame with code 1013. A close frame is the last item of a queue.
//!
//! What must stay true: each message, also an empty one, costs the memory that it takes; all of it is charged to the
//! class.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::base::socket::{CloseFrame, Message, code};
use crate::base::{MemoryAccount, MemoryCharge, MemoryUse, Metrics, NoMemory};

/// Bytes that a message costs beside its payload.
pub(super) const MESSAGE_BYTES: u64 = 128;
/// Largest payload, in bytes, of a message without a charge of its own: the turn that sends it and the queues it waits
/// in are charged for such messages, in steps.
pub(super) const SMALL_BYTES: u64 = 512;
/// Messages that may wait for a peer before its queue is charged, and that each step of the charge covers.
const QUEUE_STEP: u64 = 32;

/// An item to be sent.
#[derive(Clone)]
pub enum Outgoing {
    /// A message, shared by all that receive it.
    Message(Arc<Payload>),
    /// A close frame, sent after everything before it.
    Close(CloseFrame),
}

/// A message that counts as buffered until it is dropped.
pub struct Payload {
    message: Message,
    /// None if it is small.
    charge: Option<MemoryCharge>,
    metrics: Arc<Metrics>,
}

impl Payload {
    pub(super) fn new(
        message: Message,
        account: &MemoryAccount,
        metrics: &Arc<Metrics>,
    ) -> Result<Arc<Self>, NoMemory> {
        let is_small = message.size() <= SMALL_BYTES;
        let charge = if is_small { None } else { Some(account.take(MemoryUse::Sockets, cost(&message))?) };
        metrics.sockets.buffered_bytes.inc_by(cost(&message) as i64);
        Ok(Arc::new(Self { message, charge, metrics: metrics.clone() }))
    }

    /// Returns the bytes of the message if it has no charge of its own, and 0 otherwise.
    pub(super) fn uncharged(&self) -> u64 {
        if self.charge.is_some() { 0 } else { cost(&self.message) }
    }

    /// Returns the message.
    pub fn message(&self) -> &Message {
        &self.message
    }
}

impl Drop for Payload {
    fn drop(&mut self) {
        self.metrics.sockets.buffered_bytes.dec_by(cost(&self.message) as i64);
    }
}

fn cost(message: &Message) -> u64 {
    message.size() + MESSAGE_BYTES
}

/// The send queue of one peer.
#[derive(Default)]
pub(super) struct SendQueue {
    queue: Mutex<Queue>,
    changed: Notify,
    /// When the host last gave the automatic response, in milliseconds since the Unix epoch; 0 for never.
    pub(super) answered_ms: AtomicU64,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Outgoing>,
    /// Payload of all messages that wait, and of the one that is being written.
    bytes: u64,
    /// The same, with what the messages cost beside their payload.
    cost: u64,
    /// The charge of the queue and of the small messages in it, in steps.
    charge: Option<MemoryCharge>,
    /// True if a close frame was put in.
    closing: bool,
    /// True if the peer was too slow.
    too_slow: bool,
}

impl SendQueue {
    /// Puts a message in. `limit` is in bytes; a message that is larger may still wait alone.
    pub(super) fn send(&self, payload: &Arc<Payload>, limit: u64, account: &MemoryAccount) {
        let mut queue = self.queue.lock();
        if queue.closing {
            return;
        }
        let (size, cost) = (payload.message.size(), cost(&payload.message));
        let fits = queue.cost == 0 || queue.cost.saturating_add(cost) <= limit;
        if fits && queue.make_room(account).is_ok() {
            queue.bytes += size;
            queue.cost += cost;
            queue.waiting.push_back(Outgoing::Message(payload.clone()));
        } else {
            *queue = Queue { too_slow: true, ..Queue::default() };
            queue.close(CloseFrame::of_host(code::TRY_AGAIN_LATER, "too slow to take what was sent"));
        }
        drop(queue);
        self.changed.notify_one();
    }

    /// Puts a close frame in, unless there is one.
    pub(super) fn close(&self, close_frame: CloseFrame) {
        self.queue.lock().close(close_frame);
        self.changed.notify_one();
    }

    /// Ends the queue: drops what waits, and whatever is put in later.
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

    /// Waits for the next item. Safe to cancel.
    pub(super) async fn next(&self) -> Outgoing {
        loop {
            // Only one task waits here at a time, and `notify_one` is remembered for one that waits later.
            if let Some(next) = self.next_at_hand() {
                return next;
            }
            self.changed.notified().await;
        }
    }

    /// Returns the next item, if there is one.
    pub(super) fn next_at_hand(&self) -> Option<Outgoing> {
        let queue = &mut *self.queue.lock();
        let next = queue.waiting.pop_front();
        if queue.waiting.is_empty() && queue.charge.is_some() {
            (queue.waiting, queue.charge) = Default::default();
        }
        next
    }

    /// Counts a message of [`next`](Self::next) as written.
    pub(super) fn written(&self, payload: &Payload) {
        let mut queue = self.queue.lock();
        queue.bytes = queue.bytes.saturating_sub(payload.message.size());
        queue.cost = queue.cost.saturating_sub(cost(&payload.message));
    }

    /// Waits until the peer was too slow.
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
    /// Charges for one more message if the charge does not cover it.
    fn make_room(&mut self, account: &MemoryAccount) -> Result<(), NoMemory> {
        const STEP_BYTES: u64 = QUEUE_STEP * (MESSAGE_BYTES + SMALL_BYTES);
        let charged = self.charge.as_ref().map_or(0, MemoryCharge::bytes);
        if (self.waiting.len() as u64) < QUEUE_STEP * (charged / STEP_BYTES + 1) {
            return Ok(());
        }
        match &mut self.charge {
            Some(charge) => charge.grow(STEP_BYTES),
            none => account.take(MemoryUse::Sockets, STEP_BYTES).map(|charge| *none = Some(charge)),
        }
    }

    fn close(&mut self, close_frame: CloseFrame) {
        if !std::mem::replace(&mut self.closing, true) {
            self.waiting.push_back(Outgoing::Close(close_frame));
        }
    }
}
