//! The sockets of one object: the table that its turns see, and the gateway's end of each socket.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use parking_lot::Mutex;

use super::Sockets;
use super::send_queue::{Outgoing, Payload, SendQueue};
use crate::base::socket::{AutoResponse, Message, SocketCounts, SocketId, Text};
use crate::base::{ClassKey, MemoryAccount};

/// The sockets of one object, and what applies to all of them.
pub struct ObjectSockets {
    pub(super) host: Arc<Sockets>,
    class: ClassKey,
    /// The account that is charged for what waits.
    pub(super) account: MemoryAccount,
    pub(super) table: Mutex<Table>,
    /// The automatic response that the gateway gives: released, not only applied.
    pub(super) answers: ArcSwapOption<AutoResponse>,
    messages_in: AtomicU64,
    messages_out: AtomicU64,
}

/// The sockets as turns see them. Changed only between turns.
#[derive(Default)]
pub(super) struct Table {
    pub(super) sockets: BTreeMap<SocketId, Socket>,
    by_tag: HashMap<Box<str>, BTreeSet<SocketId>>,
    pub(super) auto_response: Option<AutoResponse>,
}

/// One socket.
pub(super) struct Socket {
    /// Sorted, without duplicates.
    pub(super) tags: Box<[Box<str>]>,
    pub(super) attachment: Option<Bytes>,
    /// True if the object has closed the socket, or its connection is over.
    pub(super) closing: bool,
    pub(super) send_queue: Arc<SendQueue>,
}

impl Socket {
    pub(super) fn new(tags: Box<[Box<str>]>) -> Self {
        Self { tags, attachment: None, closing: false, send_queue: Arc::default() }
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing || self.send_queue.is_closing()
    }
}

impl Table {
    pub(super) fn insert(&mut self, id: SocketId, socket: Socket) {
        for tag in &socket.tags {
            self.by_tag.entry(tag.clone()).or_default().insert(id);
        }
        self.sockets.insert(id, socket);
    }

    fn remove(&mut self, id: SocketId) {
        let Some(socket) = self.sockets.remove(&id) else { return };
        for tag in &socket.tags {
            if let Some(tagged) = self.by_tag.get_mut(tag) {
                tagged.remove(&id);
                if tagged.is_empty() {
                    self.by_tag.remove(tag);
                }
            }
        }
    }

    /// Returns the sockets with the tag, or all, closing ones included, in the order of their ids.
    pub(super) fn select<'a>(&'a self, tag: Option<&str>) -> Box<dyn Iterator<Item = (SocketId, &'a Socket)> + 'a> {
        match tag {
            None => Box::new(self.sockets.iter().map(|(id, socket)| (*id, socket))),
            Some(tag) => {
                let tagged = self.by_tag.get(tag).into_iter().flatten();
                Box::new(tagged.filter_map(|id| Some((*id, self.sockets.get(id)?))))
            }
        }
    }
}

impl ObjectSockets {
    pub(super) fn new(host: Arc<Sockets>, class: ClassKey) -> Self {
        let account = host.memory.account(&class);
        Self {
            host,
            class,
            account,
            table: Mutex::default(),
            answers: ArcSwapOption::empty(),
            messages_in: AtomicU64::new(0),
            messages_out: AtomicU64::new(0),
        }
    }

    pub(super) fn class(&self) -> &ClassKey {
        &self.class
    }

    /// Returns whether messages of this socket are still delivered to the object.
    pub fn listens_to(&self, id: SocketId) -> bool {
        self.table.lock().sockets.get(&id).is_some_and(|socket| !socket.closing)
    }

    /// Returns whether the socket is the object's, closing or not.
    pub fn contains(&self, id: SocketId) -> bool {
        self.table.lock().sockets.contains_key(&id)
    }

    /// Marks a socket whose connection is over: no more of its messages are delivered, and the object sends it none.
    pub fn mark_closing(&self, id: SocketId) {
        if let Some(socket) = self.table.lock().sockets.get_mut(&id) {
            socket.closing = true;
        }
    }

    /// Removes a socket whose last turn is over.
    pub fn remove(&self, id: SocketId) {
        self.table.lock().remove(id);
    }

    /// Returns whether an automatic response is in force.
    #[cfg(test)]
    pub(crate) fn answers_by_itself(&self) -> bool {
        self.answers.load().is_some()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.table.lock().sockets.is_empty()
    }

    /// Returns the counts that the admin API shows.
    pub fn counts(&self) -> SocketCounts {
        let table = self.table.lock();
        SocketCounts {
            sockets: table.sockets.len() as u64,
            buffered_bytes: table.sockets.values().map(|socket| socket.send_queue.buffered()).sum(),
            messages_in: self.messages_in.load(Ordering::Relaxed),
            messages_out: self.messages_out.load(Ordering::Relaxed),
        }
    }

    pub(super) fn connect(self: &Arc<Self>, id: SocketId) -> Option<Connection> {
        let table = self.table.lock();
        let socket = table.sockets.get(&id)?;
        self.host.connected();
        Some(Connection { of: self.clone(), send_queue: socket.send_queue.clone() })
    }
}

/// The gateway's end of one socket: takes what is to be sent, and reports what was received. The socket counts as open
/// while this exists.
pub struct Connection {
    of: Arc<ObjectSockets>,
    send_queue: Arc<SendQueue>,
}

impl Connection {
    /// Waits for what is to be sent next. Safe to cancel. Must not be called twice at a time, nor together with
    /// [`too_slow`](Self::too_slow).
    pub async fn next(&self) -> Outgoing {
        self.send_queue.next().await
    }

    /// Returns what is to be sent next, if there is something.
    pub fn next_at_hand(&self) -> Option<Outgoing> {
        self.send_queue.next_at_hand()
    }

    /// Waits until so much was waiting for the peer that it was dropped.
    pub async fn too_slow(&self) {
        self.send_queue.too_slow().await;
    }

    /// Returns the account that is charged for what is received.
    pub fn account(&self) -> &MemoryAccount {
        &self.of.account
    }

    /// Records that a message was sent.
    pub fn sent(&self, payload: &Payload) {
        self.send_queue.written(payload);
        self.of.messages_out.fetch_add(1, Ordering::Relaxed);
        self.of.host.metrics.sockets.messages_out.inc();
    }

    /// Records that a message was received, and gives the automatic response if it applies. Returns whether it did.
    pub fn received(&self, message: &Message) -> bool {
        self.of.messages_in.fetch_add(1, Ordering::Relaxed);
        self.of.host.metrics.sockets.messages_in.inc();
        let Message::Text(text) = message else { return false };
        let answers = self.of.answers.load();
        let Some(answer) = answers.as_deref().filter(|answer| answer.request == text.as_str()) else { return false };
        let response = Message::Text(Text::from(answer.response.clone()));
        let host = &self.of.host;
        // Without memory the peer gets no response: too much waits for it already.
        if let Ok(payload) = Payload::new(response, &self.of.account, &host.metrics) {
            self.send_queue.send(&payload, host.limits.socket_buffer, &self.of.account);
        }
        self.send_queue.answered_ms.store(host.env.wall_ms(), Ordering::Relaxed);
        true
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Drops what waits, and whatever is put in from now on.
        self.send_queue.end();
        self.of.host.ended();
    }
}
