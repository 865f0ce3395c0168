//! The WebSockets of objects: the sockets of each object, what a turn does with them, and what waits to be sent.
//!
//! The host owns every socket; an instance never does. This layer knows neither WebAssembly nor HTTP nor storage:
//! handlers use it as they use storage ([`SocketTurn`]), the gateway moves the bytes ([`Connection`]), and the object
//! layer decides when a change takes effect. A change has three states:
//!
//! * **staged** in a [`SocketTurn`], seen by that turn only;
//! * **applied** ([`SocketTurn::apply`]) to the object's table ([`ObjectSockets`]), seen by its next turns;
//! * **released** ([`Release::now`]) when what the turn wrote is durable: only now the gateway sees it.
//!
//! What must stay true: the table of an object is changed only between its turns, by the actor that runs them;
//! everything that waits in a [`Connection`] is counted; what is sent is copied out of the guest once, however many
//! sockets receive it.

mod object;
mod send_queue;
mod turn;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dashmap::DashMap;
use tokio::sync::Notify;

pub use self::object::{Connection, ObjectSockets};
pub use self::send_queue::{Outgoing, Payload};
pub use self::turn::{Accepted, Release, SocketError, SocketTurn, Upgrade};
use crate::base::socket::{CloseFrame, SocketId};
use crate::base::{ClassKey, Env, HostMemory, Limits, Metrics, ObjectId};

/// Ids that one process may use in a millisecond before they meet those of the next process: 2^41 ms (until 2039) ×
/// 2^12 < 2^53.
const IDS_PER_MS: u64 = 1 << 12;

/// The sockets of all objects of one host.
pub struct Sockets {
    objects: DashMap<ObjectId, Arc<ObjectSockets>>,
    /// Later processes begin with a later time.
    next_id: AtomicU64,
    /// Notified when the last connection ends.
    all_ended: Notify,
    limits: Arc<Limits>,
    memory: HostMemory,
    metrics: Arc<Metrics>,
    env: Env,
}

impl Sockets {
    /// Creates the sockets of a host, without any.
    pub fn new(limits: Arc<Limits>, memory: HostMemory, metrics: Arc<Metrics>, env: Env) -> Self {
        let next_id = AtomicU64::new(env.wall_ms().saturating_mul(IDS_PER_MS));
        Self { objects: DashMap::new(), next_id, all_ended: Notify::new(), limits, memory, metrics, env }
    }

    /// Returns the sockets of an object, or none if it has none.
    pub fn of(&self, object: &ObjectId) -> Option<Arc<ObjectSockets>> {
        self.objects.get(object).map(|sockets| sockets.clone())
    }

    fn of_or_new(self: &Arc<Self>, (object, class): (ObjectId, ClassKey)) -> Arc<ObjectSockets> {
        self.objects.entry(object).or_insert_with(|| Arc::new(ObjectSockets::new(self.clone(), class))).clone()
    }

    /// Removes what an object without sockets and without an instance has set for them.
    pub fn forget_if_empty(&self, object: &ObjectId) {
        self.objects.remove_if(object, |_, sockets| sockets.is_empty());
    }

    /// Returns whether more bytes wait for all peers than the host may hold for them.
    fn is_short_of_memory(&self) -> bool {
        self.metrics.sockets.buffered_bytes.get() as u64 > self.limits.socket_buffers
    }

    fn next_id(&self) -> SocketId {
        SocketId(self.next_id.fetch_add(1, Ordering::Relaxed))
    }

    /// Returns the gateway's end of a socket that was accepted, or none if the socket no longer exists.
    pub fn connect(&self, object: &ObjectId, socket: SocketId) -> Option<Connection> {
        self.of(object)?.connect(socket)
    }

    /// Removes the sockets of an object that is deleted: none of their events are delivered any more.
    pub fn forget(&self, object: &ObjectId) {
        self.objects.remove(object);
    }

    /// Closes the sockets of all objects of a class that is deleted, none of which is live.
    pub fn close_class(&self, class: &ClassKey, close_frame: &CloseFrame) {
        self.close_where(close_frame, |sockets| sockets.class() == class);
    }

    /// Closes all sockets and waits until they are closed.
    pub async fn close(&self, close_frame: &CloseFrame) {
        self.close_where(close_frame, |_| true);
        loop {
            let ended = self.all_ended.notified();
            if self.metrics.sockets.open.get() == 0 {
                return;
            }
            ended.await;
        }
    }

    fn close_where(&self, close_frame: &CloseFrame, these: impl Fn(&ObjectSockets) -> bool) {
        self.objects.retain(|_, sockets| {
            let close = these(sockets);
            if close {
                sockets.close_all(close_frame).now();
            }
            !close
        });
    }

    /// Counts a connection until [`ended`](Self::ended).
    fn connected(&self) {
        self.metrics.sockets.open.inc();
    }

    fn ended(&self) {
        if self.metrics.sockets.open.dec() == 1 {
            self.all_ended.notify_waiters();
        }
    }
}
