//! How a call reaches the mailbox of its object: the way of all calls, from outside and from other objects.
//!
//! Invariant: a call is put into a mailbox while the map's entry is locked, so none is sent to an actor that has left.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use super::{Class, Classes, Objects, Operation};
use crate::base::{Call, ObjectAddress, TurnError};
use crate::object::mailbox::Refusal;
use crate::object::reply::{Pending, ReplyTo};
use crate::object::{Event, HostContext, ObjectHandle};

/// The part of the router that actors use, too.
pub(super) struct Delivery {
    pub(super) host: Arc<HostContext>,
    pub(super) classes: Arc<Classes>,
    objects: Arc<Objects>,
    /// The tokio runtime of actors: separate from the gateway's, because guests compute and disks block.
    pub(super) guests: tokio::runtime::Handle,
    stopping: AtomicBool,
    /// Itself, for the actors that it starts.
    me: Weak<Self>,
}

impl Delivery {
    pub(super) fn new(
        host: Arc<HostContext>,
        classes: Arc<Classes>,
        objects: Arc<Objects>,
        guests: tokio::runtime::Handle,
    ) -> Arc<Self> {
        let stopping = AtomicBool::new(false);
        Arc::new_cyclic(|me| Self { host, classes, objects, guests, stopping, me: me.clone() })
    }

    /// Delivers a call whose outcome the caller awaits separately.
    pub(super) fn send<O: Operation>(&self, call: Call<O>) -> Result<Pending<O::Answer>, TurnError> {
        let (reply, pending) = ReplyTo::caller();
        self.put(call.with(|operation| operation.event(reply)))?;
        Ok(pending)
    }

    pub(super) fn put(&self, mut call: Call<Event>) -> Result<(), TurnError> {
        loop {
            // Objects whose turns run may call others while the host stops. They are live meanwhile, so the map is not
            // empty, and the task that waits for that sees what is added.
            let is_inner = call.chain.depth() > 0;
            let sent = match self.objects.live.get(&call.target.id) {
                Some(live) => self.admits(live.class(), is_inner).map(|()| live.send(call, &self.host)),
                None => {
                    let class = self.class_of(&call.target)?;
                    let entry = self.objects.live.entry(call.target.id);
                    // Checked while the entry is locked: a task that waits for the map to be empty has set its flag
                    // before, so no entry is added after its check.
                    self.admits(&class, is_inner).map(|()| {
                        let live = entry.or_insert_with(|| self.start(class, call.target.clone()));
                        live.send(call, &self.host)
                    })
                }
            };
            match sent? {
                Ok(()) => return Ok(()),
                Err(Refusal::Full) => return Err(TurnError::Overloaded),
                Err(Refusal::Dead(returned)) => {
                    tracing::error!(object = %returned.target, "the object's actor died; starting another");
                    self.objects.live.remove_if(&returned.target.id, |_, live| live.is_dead());
                    call = *returned;
                }
            }
        }
    }

    /// Checks whether turns of this class may begin.
    fn admits(&self, class: &Class, is_inner: bool) -> Result<(), TurnError> {
        match (self.is_stopping() && !is_inner, class.is_retired()) {
            (true, _) => Err(TurnError::Stopping),
            (_, true) => Err(TurnError::ClassUnavailable("it is being deleted".into())),
            (false, false) => Ok(()),
        }
    }

    fn class_of(&self, address: &ObjectAddress) -> Result<Arc<Class>, TurnError> {
        // By its key: the class may have been renamed since the object was addressed.
        let class = self.classes.with_key(&address.key);
        class.ok_or_else(|| TurnError::ClassUnavailable("it was deleted".into()))
    }

    fn start(&self, class: Arc<Class>, address: ObjectAddress) -> ObjectHandle {
        let _guests = self.guests.enter();
        let me = self.me.upgrade().expect("the caller of a method holds it");
        ObjectHandle::start(self.host.clone(), self.objects.clone(), me, class, address)
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Refuses calls from outside from now on.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
    }
}
