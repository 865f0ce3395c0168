//! The sockets of an object within one turn: changes are staged here, seen by this turn, and applied or dropped as a
//! whole.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::Sockets;
use super::object::{ObjectSockets, Socket, Table};
use super::send_queue::{Payload, SendQueue};
use crate::base::limits::{ATTACHMENT_MAX, AUTO_RESPONSE_MAX, REASON_MAX, SENDS_PER_TURN_BYTES, TAG_MAX, TAGS_MAX};
use crate::base::socket::{AutoResponse, CloseFrame, Message, SocketId};
use crate::base::{ClassKey, MemoryCharge, MemoryUse, NoMemory, ObjectId};

/// Bytes that a send costs of a turn's limit beside its payload, and those of each receiver: about the memory that they
/// take.
const SEND_BYTES: u64 = 64;
const RECEIVER_BYTES: u64 = 8;
/// Bytes that the sends of a turn may take before the class is charged for them.
const FREE_BYTES: u64 = 64 << 10;

/// The reason why an operation was refused. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SocketError {
    /// The turn is not about an upgrade request.
    #[error("the turn is not about a request that asks for a WebSocket")]
    NotAnUpgrade,
    /// The turn has already accepted its socket.
    #[error("the turn has accepted its socket already")]
    AlreadyAccepted,
    /// The object has as many sockets as it may; carries the limit.
    #[error("the object has {0} sockets, as many as it may")]
    TooManySockets(u32),
    /// A tag has a bad length, or there are too many tags; says which.
    #[error("{0}")]
    BadTag(String),
    /// There never was such a socket, or it is over.
    #[error("there is no such socket")]
    UnknownSocket,
    /// The socket is closing, so nothing more can be sent.
    #[error("the socket is closing")]
    Closing,
    /// Something is too large; carries its bytes and the limit.
    #[error("{0} bytes are more than the limit of {1}")]
    TooLarge(u64, u64),
    /// The turn sends more than it may altogether; carries the limit in bytes.
    #[error("the turn sends more than {0} bytes")]
    TooMuch(u64),
    /// The class has reached its share of the host's memory.
    #[error("{0}")]
    NoMemory(NoMemory),
    /// The code of a close frame is not for applications.
    #[error("{0} is not a code that an application may close with")]
    BadCode(u16),
}

/// The sockets of an object as one turn sees and changes them.
pub struct SocketTurn {
    host: Arc<Sockets>,
    object: (ObjectId, ClassKey),
    /// The applied state; none if the object has no sockets and has set nothing for them.
    applied: Option<Arc<ObjectSockets>>,
    /// The sub-protocols that the client offers, if the turn is about an upgrade request.
    offered: Option<Vec<String>>,
    accepted: Option<(SocketId, Socket)>,
    /// The sockets of deferred requests that the turn opens.
    opened: BTreeMap<SocketId, Socket>,
    attachments: BTreeMap<SocketId, Option<Bytes>>,
    closed: BTreeSet<SocketId>,
    auto_response: Option<Option<AutoResponse>>,
    sends: Vec<Send>,
    /// Counts towards `SENDS_PER_TURN_BYTES`.
    bytes: u64,
    /// Bytes of its sends beside messages that have charges of their own, and the charge for them.
    held: u64,
    charge: Option<MemoryCharge>,
}

/// A request for a WebSocket whose answer is deferred.
#[derive(Default)]
pub struct Upgrade {
    offered: Vec<String>,
    accepted: Option<Accepted>,
}

/// A socket that was accepted and is not open yet.
pub struct Accepted(SocketId, Socket);

impl Accepted {
    /// Returns its id.
    pub fn id(&self) -> SocketId {
        self.0
    }
}

impl Upgrade {
    /// Returns whether its socket was accepted.
    pub fn is_accepted(&self) -> bool {
        self.accepted.is_some()
    }

    /// Takes the accepted socket.
    pub fn take_accepted(&mut self) -> Option<Accepted> {
        self.accepted.take()
    }

    /// Notes that its socket was accepted.
    pub fn accept(&mut self, accepted: Accepted) {
        self.accepted = Some(accepted);
    }

    /// Returns whether the client offers this sub-protocol.
    pub fn offers(&self, protocol: &[u8]) -> bool {
        self.offered.iter().any(|offered| offered.as_bytes() == protocol)
    }
}

enum Send {
    Message(Arc<Payload>, Vec<Arc<SendQueue>>),
    Close(CloseFrame, Arc<SendQueue>),
}

/// What an object sends when its turn is durable.
#[must_use = "what is not released is never sent"]
pub struct Release {
    of: Arc<ObjectSockets>,
    sends: Vec<Send>,
    _charge: Option<MemoryCharge>,
    auto_response: Option<Option<AutoResponse>>,
}

impl SocketTurn {
    /// Begins a turn. `offered` are the sub-protocols of the upgrade request that it is about.
    pub fn begin(
        host: Arc<Sockets>,
        object: (ObjectId, ClassKey),
        applied: Option<Arc<ObjectSockets>>,
        offered: Option<Vec<String>>,
    ) -> Self {
        Self {
            host,
            object,
            applied,
            offered,
            accepted: None,
            opened: BTreeMap::new(),
            attachments: BTreeMap::new(),
            closed: BTreeSet::new(),
            auto_response: None,
            sends: Vec::new(),
            bytes: 0,
            held: 0,
            charge: None,
        }
    }

    /// Returns how many sockets the object has, closing ones included.
    pub fn count(&self) -> usize {
        self.with_table(|table| table.sockets.len()).unwrap_or(0) + usize::from(self.accepted.is_some())
    }

    /// Returns whether the turn has staged any change of sockets.
    pub fn has_staged(&self) -> bool {
        self.accepted.is_some()
            || !self.opened.is_empty()
            || self.auto_response.is_some()
            || !(self.sends.is_empty() && self.attachments.is_empty() && self.closed.is_empty())
    }

    /// Accepts the socket that the request asks for.
    pub fn accept(&mut self, tags: Vec<String>) -> Result<SocketId, SocketError> {
        if self.offered.is_none() {
            return Err(SocketError::NotAnUpgrade);
        }
        if self.accepted.is_some() {
            return Err(SocketError::AlreadyAccepted);
        }
        let Accepted(id, socket) = self.accept_later(tags)?;
        self.accepted = Some((id, socket));
        Ok(id)
    }

    /// Takes the request for a socket out of the turn, because its answer is deferred, with the socket that the turn
    /// has accepted and what it has done with it.
    pub fn defer(&mut self) -> Option<Upgrade> {
        let accepted = self.accepted.take().map(|(id, mut socket)| {
            socket.attachment = self.attachments.remove(&id).flatten();
            socket.closing = self.closed.remove(&id);
            Accepted(id, socket)
        });
        self.offered.take().map(|offered| Upgrade { offered, accepted })
    }

    /// Opens the socket of a deferred request when the turn is applied.
    pub fn open_later(&mut self, Accepted(id, socket): Accepted) {
        self.opened.insert(id, socket);
    }

    /// Accepts the socket of a deferred request, which is not open yet.
    pub fn accept_later(&mut self, tags: Vec<String>) -> Result<Accepted, SocketError> {
        let limit = self.host.limits.sockets_per_object;
        if self.with_table(|table| table.sockets.len()).unwrap_or(0) >= limit as usize {
            return Err(SocketError::TooManySockets(limit));
        }
        let tags: BTreeSet<Box<str>> = tags.into_iter().map(String::into_boxed_str).collect();
        if tags.len() > TAGS_MAX {
            return Err(SocketError::BadTag(format!("{} different tags; a socket has at most {TAGS_MAX}", tags.len())));
        }
        if let Some(tag) = tags.iter().find(|tag| !(1..=TAG_MAX).contains(&tag.len())) {
            return Err(SocketError::BadTag(format!("a tag has {} bytes; it may have 1 to {TAG_MAX}", tag.len())));
        }
        Ok(Accepted(self.host.next_id(), Socket::new(tags.into_iter().collect())))
    }

    /// Returns the socket that this turn has accepted.
    pub fn accepted(&self) -> Option<SocketId> {
        self.accepted.as_ref().map(|(id, _)| *id)
    }

    /// Returns whether the client offers this sub-protocol.
    pub fn offers(&self, protocol: &[u8]) -> bool {
        self.offered.iter().flatten().any(|offered| offered.as_bytes() == protocol)
    }

    /// Returns the open sockets with a tag, or all.
    pub fn sockets(&self, tag: Option<&str>) -> Vec<SocketId> {
        self.open(tag, |id, _| id)
    }

    /// Maps each open socket with a tag, or all, in the order of their ids.
    fn open<T>(&self, tag: Option<&str>, each: impl Fn(SocketId, &Socket) -> T) -> Vec<T> {
        let is_open = |id: SocketId, socket: &Socket| !self.closed.contains(&id) && !socket.is_closing();
        let of_table = self.with_table(|table| {
            let open = table.select(tag).filter(|(id, socket)| is_open(*id, socket));
            open.map(|(id, socket)| each(id, socket)).collect()
        });
        let mut sockets: Vec<T> = of_table.unwrap_or_default();
        let has_tag = |socket: &Socket| tag.is_none_or(|tag| socket.tags.iter().any(|of_socket| **of_socket == *tag));
        // Their ids are the highest.
        let new = self.opened.iter().chain(self.accepted.as_ref().map(|(id, socket)| (id, socket)));
        let new = new.filter(|(id, socket)| is_open(**id, socket) && has_tag(socket));
        sockets.extend(new.map(|(id, socket)| each(*id, socket)));
        sockets
    }

    /// Returns the tags of a socket.
    pub fn tags(&self, id: SocketId) -> Result<Vec<String>, SocketError> {
        self.socket(id, |socket| socket.tags.iter().map(|tag| tag.to_string()).collect())
    }

    /// Returns the bytes that are attached to a socket.
    pub fn attachment(&self, id: SocketId) -> Result<Option<Bytes>, SocketError> {
        let applied = self.socket(id, |socket| socket.attachment.clone())?;
        Ok(self.attachments.get(&id).cloned().unwrap_or(applied))
    }

    /// Attaches bytes to a socket, or removes them.
    pub fn set_attachment(&mut self, id: SocketId, attachment: Option<Bytes>) -> Result<(), SocketError> {
        within(attachment.as_ref().map_or(0, Bytes::len) as u64, ATTACHMENT_MAX as u64)?;
        self.socket(id, |_| ())?;
        self.attachments.insert(id, attachment);
        Ok(())
    }

    /// Sends a message to a socket.
    pub fn send(&mut self, id: SocketId, message: Message) -> Result<(), SocketError> {
        within(message.size(), self.host.limits.socket_message)?;
        let queue = self.open_queue(id)?;
        self.stage(message, vec![queue])
    }

    /// Sends a message to all open sockets with a tag, or to all. Returns how many they are.
    pub fn broadcast(&mut self, tag: Option<&str>, message: Message) -> Result<u32, SocketError> {
        within(message.size(), self.host.limits.socket_message)?;
        let queues = self.open(tag, |_, socket| socket.send_queue.clone());
        let receivers = queues.len() as u32;
        if receivers > 0 {
            self.stage(message, queues)?;
        }
        Ok(receivers)
    }

    fn stage(&mut self, message: Message, queues: Vec<Arc<SendQueue>>) -> Result<(), SocketError> {
        self.charge(message.size() + RECEIVER_BYTES * queues.len() as u64)?;
        let account = match &self.applied {
            Some(applied) => &applied.account,
            None => &self.host.memory.account(&self.object.1),
        };
        let payload = Payload::new(message, account, &self.host.metrics).map_err(SocketError::NoMemory)?;
        self.held += payload.uncharged() + RECEIVER_BYTES * queues.len() as u64;
        let charged = self.charge.as_ref().map_or(0, MemoryCharge::bytes);
        if self.held > charged + FREE_BYTES {
            let more = self.held - charged;
            let taken = match &mut self.charge {
                Some(charge) => charge.grow(more),
                none => account.take(MemoryUse::Sockets, more).map(|charge| *none = Some(charge)),
            };
            taken.map_err(SocketError::NoMemory)?;
        }
        self.sends.push(Send::Message(payload, queues));
        Ok(())
    }

    fn charge(&mut self, bytes: u64) -> Result<(), SocketError> {
        let charged = self.bytes + SEND_BYTES + bytes;
        if charged > SENDS_PER_TURN_BYTES {
            return Err(SocketError::TooMuch(SENDS_PER_TURN_BYTES));
        }
        self.bytes = charged;
        Ok(())
    }

    /// Returns the bytes of payload that wait for the peer.
    pub fn buffered(&self, id: SocketId) -> Result<u64, SocketError> {
        self.socket(id, |socket| socket.send_queue.buffered())
    }

    /// Closes a socket.
    pub fn close(&mut self, id: SocketId, close_frame: CloseFrame) -> Result<(), SocketError> {
        within(close_frame.reason.len() as u64, if close_frame.code.is_some() { REASON_MAX as u64 } else { 0 })?;
        // RFC 6455 §7.4.1 reserves the others, and those that IANA has given to applications since.
        if let Some(code) = close_frame.code
            && !matches!(code, 1000 | 1001 | 1003 | 1007..=1014 | 3000..=4999)
        {
            return Err(SocketError::BadCode(code));
        }
        let queue = self.open_queue(id)?;
        self.charge(close_frame.reason.len() as u64)?;
        self.closed.insert(id);
        self.sends.push(Send::Close(close_frame, queue));
        Ok(())
    }

    /// Returns the automatic response.
    pub fn auto_response(&self) -> Option<AutoResponse> {
        let applied = || self.with_table(|table| table.auto_response.clone()).flatten();
        self.auto_response.clone().unwrap_or_else(applied)
    }

    /// Sets the automatic response, or removes it.
    pub fn set_auto_response(&mut self, pair: Option<AutoResponse>) -> Result<(), SocketError> {
        if let Some(pair) = &pair {
            within(pair.request.len().max(pair.response.len()) as u64, AUTO_RESPONSE_MAX as u64)?;
        }
        self.auto_response = Some(pair);
        Ok(())
    }

    /// Returns when the host last gave the automatic response on a socket, in milliseconds since the Unix epoch.
    pub fn auto_response_ms(&self, id: SocketId) -> Result<Option<u64>, SocketError> {
        let answered = self.socket(id, |socket| socket.send_queue.answered_ms.load(Ordering::Relaxed))?;
        Ok((answered > 0).then_some(answered))
    }

    fn open_queue(&self, id: SocketId) -> Result<Arc<SendQueue>, SocketError> {
        let (closing, queue) = self.socket(id, |socket| (socket.is_closing(), socket.send_queue.clone()))?;
        if closing || self.closed.contains(&id) { Err(SocketError::Closing) } else { Ok(queue) }
    }

    fn socket<T>(&self, id: SocketId, of: impl FnOnce(&Socket) -> T) -> Result<T, SocketError> {
        if let Some((accepted, socket)) = &self.accepted
            && *accepted == id
        {
            return Ok(of(socket));
        }
        if let Some(socket) = self.opened.get(&id) {
            return Ok(of(socket));
        }
        let of_table = self.with_table(|table| table.sockets.get(&id).map(of)).flatten();
        of_table.ok_or(SocketError::UnknownSocket)
    }

    fn with_table<T>(&self, of: impl FnOnce(&Table) -> T) -> Option<T> {
        self.applied.as_ref().map(|applied| of(&applied.table.lock()))
    }

    /// Applies the changes, so that the object's next turns see them. `open` says whether the answer opens the accepted
    /// socket; otherwise it is dropped. Returns none if there is nothing to release.
    pub fn apply(mut self, open: bool) -> Option<Release> {
        let accepted = self.accepted.take().filter(|_| open);
        let changes_nothing =
            accepted.is_none() && self.opened.is_empty() && self.attachments.is_empty() && self.sends.is_empty();
        if changes_nothing && self.auto_response.is_none() {
            return None;
        }
        let of = match self.applied {
            Some(applied) => applied,
            None => self.host.of_or_new(self.object),
        };
        let mut table = of.table.lock();
        if let Some((id, socket)) = accepted {
            table.insert(id, socket);
        }
        self.opened.into_iter().for_each(|(id, socket)| table.insert(id, socket));
        for (id, attachment) in self.attachments {
            if let Some(socket) = table.sockets.get_mut(&id) {
                socket.attachment = attachment;
            }
        }
        for id in self.closed {
            if let Some(socket) = table.sockets.get_mut(&id) {
                socket.closing = true;
            }
        }
        if let Some(auto_response) = &self.auto_response {
            table.auto_response.clone_from(auto_response);
        }
        drop(table);
        Some(Release { of, sends: self.sends, _charge: self.charge, auto_response: self.auto_response })
    }
}

impl ObjectSockets {
    /// Closes a socket. The object gets no more events of it but its close.
    pub fn close_one(self: &Arc<Self>, id: SocketId, close_frame: CloseFrame) -> Release {
        let mut table = self.table.lock();
        let closed = table.sockets.get_mut(&id).into_iter().map(|socket| {
            socket.closing = true;
            Send::Close(close_frame.clone(), socket.send_queue.clone())
        });
        Release { sends: closed.collect(), of: self.clone(), _charge: None, auto_response: None }
    }

    /// Closes all sockets.
    pub fn close_all(self: &Arc<Self>, close_frame: &CloseFrame) -> Release {
        let queues = self.table.lock().sockets.values().map(|socket| socket.send_queue.clone()).collect::<Vec<_>>();
        let sends = queues.into_iter().map(|queue| Send::Close(close_frame.clone(), queue)).collect();
        Release { sends, of: self.clone(), _charge: None, auto_response: None }
    }
}

impl Release {
    /// Returns the sockets that it belongs to.
    pub fn of(&self) -> &Arc<ObjectSockets> {
        &self.of
    }

    /// Releases it. The automatic response of the turn is in force before anything that the turn sent can be seen: an
    /// answer to what was sent must meet it.
    pub fn now(self) {
        if let Some(auto_response) = self.auto_response {
            self.of.answers.store(auto_response.map(Arc::new));
        }
        let host = &self.of.host;
        for send in self.sends {
            match send {
                Send::Close(close_frame, queue) => queue.close(close_frame),
                Send::Message(payload, queues) => {
                    // If the host is short of memory, peers that have not taken earlier messages get no more.
                    let limit = if host.is_short_of_memory() { 0 } else { host.limits.socket_buffer };
                    queues.iter().for_each(|queue| queue.send(&payload, limit, &self.of.account));
                }
            }
        }
    }
}

fn within(bytes: u64, limit: u64) -> Result<(), SocketError> {
    if bytes > limit { Err(SocketError::TooLarge(bytes, limit)) } else { Ok(()) }
}
