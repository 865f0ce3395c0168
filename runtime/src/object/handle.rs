//! The reference to a live object, by which the router sends it calls.

use std::sync::Arc;

use super::class::Class;
use super::event::Event;
use super::host_context::HostContext;
use super::mailbox::{Mailbox, Refusal};
use crate::base::{Call, MemoryCharge, NoMemory, ObjectId};

/// A reference to a live object.
#[derive(Clone)]
pub struct ObjectHandle {
    pub(super) mailbox: Mailbox,
    pub(super) class: Arc<Class>,
}

/// The router's map, as an actor sees it.
pub trait Registry: Send + Sync {
    /// Removes the actor that `handle` leads to, unless something waits in its mailbox. False if it must stay.
    fn leave(&self, id: &ObjectId, handle: &ObjectHandle) -> bool;
}

/// Calls of fewer bytes are not charged: how many there can be is bounded by the connections that they come from.
const CHARGED_FROM: u64 = 4 << 10;

/// Charges an event to its class, as far as whoever read it has not.
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
    pub fn drop_instance(&self) {
        self.mailbox.ask_to_drop_instance();
        self.mailbox.wake_actor();
    }

    /// The class that the object belongs to.
    pub fn class(&self) -> &Class {
        &self.class
    }

    /// Whether the actor is gone without having left.
    pub fn is_dead(&self) -> bool {
        self.mailbox.is_dead()
    }

    /// Whether both lead to the same actor.
    pub fn is_same(&self, other: &Self) -> bool {
        self.mailbox.is_same(&other.mailbox)
    }

    /// Whether nothing waits to be delivered.
    pub fn is_empty(&self) -> bool {
        self.mailbox.is_empty()
    }
}
