//! The router: which class, which object, which actor. One map, at most one actor per object.
//!
//! Invocations are put into mailboxes while the map's entry is locked, and an actor leaves the map only under the same lock and
//! with an empty mailbox; so nothing is ever sent to an actor that has left.

pub mod classes;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dashmap::DashMap;
use tokio::sync::Notify;

pub use self::classes::{Classes, DeleteClassError, DeployError, Deployed};
use crate::base::{ClassKey, ClassName, Invocation, ObjectAddress, ObjectId, ObjectName, Reply, TurnError};
pub use crate::object::Class;
use crate::object::handle::{Pending, Refusal};
use crate::object::{Node, ObjectHandle, Registry};
use crate::storage::StorageError;

/// How many objects are deleted at once when a class goes with its objects.
const DELETE_BATCH: usize = 256;

/// Finds objects, and starts their actors.
pub struct Router {
    node: Arc<Node>,
    classes: Classes,
    objects: Arc<Objects>,
    /// Where actors run: apart from the gateway, because guests compute and SQLite blocks.
    guests: tokio::runtime::Handle,
    stopping: AtomicBool,
}

/// The actors of live objects.
#[derive(Default)]
struct Objects {
    live: DashMap<ObjectId, ObjectHandle>,
    /// Told when an actor leaves.
    left: Notify,
}

impl Registry for Objects {
    fn leave(&self, id: &ObjectId, handle: &ObjectHandle) -> bool {
        let left = self.live.remove_if(id, |_, live| live.is_same(handle) && live.is_empty()).is_some();
        if left && self.live.is_empty() {
            self.left.notify_waiters();
        }
        left
    }
}

/// One page of a class's objects.
#[derive(Debug)]
pub struct ObjectPage {
    /// By name, those without a name last.
    pub objects: Vec<ObjectSummary>,
    /// Where the next page begins; none on the last page.
    pub cursor: Option<String>,
}

/// One object in a list.
#[derive(Debug)]
pub struct ObjectSummary {
    /// Its id.
    pub id: ObjectId,
    /// The name it was reached by.
    pub name: Option<ObjectName>,
    /// Pages in use × 4,096.
    pub bytes: u64,
    /// Whether it has an actor at this moment.
    pub live: bool,
}

impl Router {
    /// A router over these classes whose actors run on `guests`.
    pub fn new(node: Arc<Node>, classes: Classes, guests: tokio::runtime::Handle) -> Self {
        Self { node, classes, objects: Arc::default(), guests, stopping: AtomicBool::new(false) }
    }

    /// The deployed classes.
    pub fn classes(&self) -> &Classes {
        &self.classes
    }

    /// Delivers an invocation and waits for its outcome to leave the output gate.
    pub async fn deliver(&self, address: ObjectAddress, invocation: Invocation) -> Result<Reply, TurnError> {
        self.send(address, invocation)?.outcome().await
    }

    fn send(&self, address: ObjectAddress, mut invocation: Invocation) -> Result<Pending, TurnError> {
        loop {
            // Looked at again on every round: `stop` waits for the map to be empty, so none may be added after it.
            if self.stopping.load(Ordering::Acquire) {
                return Err(TurnError::Stopping);
            }
            let name = address.name.clone();
            let (sent, handle) = match self.objects.live.get(&address.id) {
                Some(live) => (live.send(invocation, name, &self.node.limits), live.clone()),
                None => {
                    let class = self.class_of(&address)?;
                    let entry = self.objects.live.entry(address.id);
                    let live = entry.or_insert_with(|| self.start(class, address.clone()));
                    (live.send(invocation, name, &self.node.limits), live.clone())
                }
            };
            match sent {
                Ok(pending) => return Ok(pending),
                Err(Refusal::Full) => return Err(TurnError::Overloaded),
                Err(Refusal::Dead(returned)) => {
                    tracing::error!(object = %address, "the object's actor died; starting another");
                    self.objects.live.remove_if(&address.id, |_, live| live.is_same(&handle));
                    invocation = *returned;
                }
            }
        }
    }

    fn class_of(&self, address: &ObjectAddress) -> Result<Arc<Class>, TurnError> {
        let class = self.classes.get(&address.class).filter(|class| class.key == address.key);
        class.ok_or_else(|| TurnError::ClassUnavailable("it was deleted".into()))
    }

    fn start(&self, class: Arc<Class>, address: ObjectAddress) -> ObjectHandle {
        let _guests = self.guests.enter();
        ObjectHandle::start(self.node.clone(), self.objects.clone(), class, address)
    }

    /// One page of the objects of a class whose names begin with `prefix`.
    pub fn objects(
        &self,
        class: &Class,
        prefix: Option<&str>,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<ObjectPage, StorageError> {
        let page = self.node.catalog.list(&class.key, prefix, cursor, limit)?;
        let objects = page.entries.into_iter().map(|row| ObjectSummary {
            live: self.objects.live.contains_key(&row.id),
            id: row.id,
            name: row.name,
            bytes: row.bytes,
        });
        Ok(ObjectPage { objects: objects.collect(), cursor: page.cursor })
    }

    /// Removes a class. Its objects go with it when asked for; otherwise a class that has any stays.
    pub async fn delete_class(&self, name: &ClassName, with_objects: bool) -> Result<(), DeleteClassError> {
        let class = self.classes.get(name).ok_or(DeleteClassError::Unknown)?;
        if with_objects {
            self.delete_objects(&class).await?;
        } else if self.has_objects(&class.key)? {
            return Err(DeleteClassError::HasObjects);
        }
        self.classes.remove(&class).await
    }

    fn has_objects(&self, key: &ClassKey) -> Result<bool, DeleteClassError> {
        self.node.catalog.has_objects(key).map_err(|error| DeleteClassError::Storage(error.to_string()))
    }

    async fn delete_objects(&self, class: &Class) -> Result<(), DeleteClassError> {
        let failed = |error: &dyn std::fmt::Display| DeleteClassError::Storage(error.to_string());
        loop {
            let page = self.objects(class, None, None, DELETE_BATCH).map_err(|error| failed(&error))?;
            if page.objects.is_empty() {
                return Ok(());
            }
            for object in page.objects {
                let (class_name, key) = (class.name.clone(), class.key.clone());
                let address = ObjectAddress { class: class_name, key, id: object.id, name: object.name };
                self.deliver(address, Invocation::Delete).await.map_err(|error| failed(&error))?;
                // The actor tells the catalog as well, a moment later; the next page must not show the object again.
                self.node.catalog.remove(&class.key, object.id);
            }
        }
    }

    /// Asks instances to leave that have been idle for too long. Call it about ten times in that span.
    pub fn sweep(&self) {
        self.node.residency.sweep(self.node.limits.idle());
    }

    /// Refuses new invocations, lets the taken ones end, and waits until every object has left. False if some were still running
    /// when the time was up.
    pub async fn stop(&self, patience: Duration) -> bool {
        self.stopping.store(true, Ordering::Release);
        let all_left = async {
            loop {
                let left = self.objects.left.notified();
                if self.objects.live.is_empty() {
                    return;
                }
                for live in &self.objects.live {
                    live.drop_instance();
                }
                // An actor that was busy with an admission may have missed the request; ask again now and then.
                let _ = tokio::time::timeout(Duration::from_millis(200), left).await;
            }
        };
        tokio::time::timeout(patience, all_left).await.is_ok()
    }
}
