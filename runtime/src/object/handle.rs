//! The reference to a live object, by which the router sends it calls.

use std::sync::Arc;

use super::class::Class;
use super::event::Event;
use super::host_context::HostContext;
use super::mailbox::{Leaves, Mailbox, Refusal};
use crate::base::{Call, MemoryCharge, NoMemory, ObjectId};

/// A reference to a live object.
#[derive(Clone)]
pub struct ObjectHandle {
    pub(super) mailbox: Mailbox,
    pub(super) class: Arc<Class>,
}

/// The router's map of live objects, as an actor uses it.
pub trait Registry: Send + Sync {
    /// Removes the actor that `handle` leads to from the map, unless a call waits in its mailbox. Returns whether it
    /// was removed.
    fn leave(&self, id: &ObjectId, handle: &ObjectHandle) -> bool;
}

/// Bytes of a call from which on it is charged. The number of smaller calls is bounded by the connections that they
/// come from.
const CHARGED_FROM: u64 = 4 << 10;

/// Charges the bytes of an event to its class, except those that are charged already.
fn charge(event: &Event, bytes: u64, class: &Class, host: &HostContext) -> Result<Option<MemoryCharge>, NoMemory> {
    let (purpose, charged) = event.charged();
    match bytes.saturating_sub(charged) {
        ..CHARGED_FROM => Ok(None),
        rest => host.memory.account(&class.key).take(purpose, rest).map(Some),
    }
}

impl ObjectHandle {
    /// Puts a call into the mailbox.
    pub fn send(&self, call: Call<Event>, host: &HostContext) -> Result<(), Refusal> {
        let bytes = call.event.queued_bytes();
        let charge = charge(&call.event, bytes, &self.class, host).map_err(|NoMemory { .. }| Refusal::Full)?;
        self.mailbox.put(call, bytes, charge, &host.limits)
    }

    /// Asks the object to drop its instance between turns. A turn of a class that is being deleted ends at once.
    pub fn drop_instance(&self, why: Leaves) {
        self.mailbox.ask_to_drop_instance(why);
        self.mailbox.wake_actor();
    }

    /// Returns the class that the object belongs to.
    pub fn class(&self) -> &Class {
        &self.class
    }

    /// Returns whether the actor has ended without leaving the map: it died of a bug of the host.
    pub fn is_dead(&self) -> bool {
        self.mailbox.is_dead()
    }

    /// Returns whether both lead to the same actor.
    pub fn is_same(&self, other: &Self) -> bool {
        self.mailbox.is_same(&other.mailbox)
    }

    /// Returns whether no call waits in the mailbox.
    pub fn is_empty(&self) -> bool {
        self.mailbox.is_empty()
    }
}
