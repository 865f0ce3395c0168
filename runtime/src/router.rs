//! The router: finds the class, the object and the actor of a call. One map, at most one actor per object.
//!
//! Calls are put into mailboxes while the map's entry is locked, and an actor leaves the map only under the same lock
//! and with an empty mailbox; so no call is ever sent to an actor that has left.

mod alarms;
mod calls;
pub mod classes;
mod delivery;
#[cfg(test)]
mod simulation;

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use dashmap::DashMap;
use tempfile::NamedTempFile;
use tokio::sync::{Notify, OwnedSemaphorePermit};

pub use self::classes::{Classes, DeleteClassError, DeployError, DeploySettings, Deployed, RenameClassError};
use self::delivery::Delivery;
use crate::base::env::TimedOut;
use crate::base::metrics::Purpose;
use crate::base::operation::Import;
use crate::base::share::{Slots, TooManyWait};
use crate::base::socket::{CloseFrame, SocketId, code};
use crate::base::{
    Alarm, Call, CallId, ClassKey, ClassName, Descriptors, Env, MemoryAccount, MemoryUse, ObjectId, ObjectName,
    TurnError, WorkBudget,
};
pub use crate::object::Class;
pub use crate::object::Operation;
use crate::object::mailbox::Leaves;
pub use crate::object::reply::Pending;
use crate::object::reply::ReplyTo;
use crate::object::{HostContext, ObjectHandle, Registry};
use crate::sockets::Connection;
use crate::storage::{ImportError, StorageError};

/// The maximum time for the check of an upload: much longer than any honest upload needs at the largest size.
const CHECK_PATIENCE: Duration = Duration::from_secs(900);
/// The interval at which actors are asked again to leave: one that was busy with an admission has no instance to drop
/// when it is asked.
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// The part of the time for a stop in which late work that is due is still run.
const STOP_LATE_WORK: f64 = 0.75;

/// Finds objects and starts their actors.
pub struct Router {
    host: Arc<HostContext>,
    classes: Arc<Classes>,
    objects: Arc<Objects>,
    delivery: Arc<Delivery>,
    alarm_slots: Arc<Slots>,
    /// Concurrent checks of imports: each has a file, a thread and a database of its own.
    import_slots: Arc<Slots>,
}

/// The maximum number of import checks of one class that wait; each has its upload on the disk.
const IMPORTS_WAITING_MAX: usize = 16;

/// The actors of live objects.
#[derive(Default)]
struct Objects {
    live: DashMap<ObjectId, ObjectHandle>,
    /// Notified when an actor leaves.
    left: Notify,
}

impl Objects {
    /// Asks the matching objects to drop their instances, after which they leave. Returns false if there are none.
    fn ask_to_leave(&self, why: Leaves, these: impl Fn(&ObjectHandle) -> bool) -> bool {
        let mut any = false;
        // An actor that has panicked cannot leave by itself.
        self.live.retain(|_, live| {
            if !these(live) {
                return true;
            }
            live.drop_instance(why);
            let alive = !live.is_dead();
            any |= alive;
            alive
        });
        any
    }
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
    /// The objects by name; those without a name last.
    pub objects: Vec<ObjectSummary>,
    /// The start of the next page; none on the last page.
    pub cursor: Option<String>,
}

/// One object in a list.
#[derive(Debug)]
pub struct ObjectSummary {
    /// The id.
    pub id: ObjectId,
    /// The name by which it was addressed.
    pub name: Option<ObjectName>,
    /// Pages in use × 4,096.
    pub bytes: u64,
    /// Its alarm, if one is set.
    pub alarm: Option<Alarm>,
    /// Whether it has an actor at this moment.
    pub live: bool,
}

/// The reason why a database was not imported. The object's data is unchanged.
#[derive(Debug, thiserror::Error)]
pub enum ImportFailed {
    /// The file cannot be an object's database; carries the reason.
    #[error("{0}")]
    Refused(String),
    /// The host could not check it.
    #[error(transparent)]
    Storage(StorageError),
    /// The turn that was to import it failed.
    #[error(transparent)]
    Turn(TurnError),
}

impl Router {
    /// Creates a router over these classes whose actors run on `guests`.
    pub fn new(host: Arc<HostContext>, classes: Classes, guests: tokio::runtime::Handle) -> Self {
        let (classes, objects) = (Arc::new(classes), Arc::<Objects>::default());
        let delivery = Delivery::new(host.clone(), classes.clone(), objects.clone(), guests);
        Self {
            host,
            classes,
            objects,
            delivery,
            alarm_slots: alarms::slots(),
            import_slots: Slots::brief(
                std::thread::available_parallelism().map_or(1, usize::from),
                IMPORTS_WAITING_MAX,
            ),
        }
    }

    /// Returns the deployed classes.
    pub fn classes(&self) -> &Classes {
        &self.classes
    }

    /// Creates the id of a new call.
    pub fn call_id(&self) -> CallId {
        self.host.calls.next()
    }

    /// Returns the clocks and randomness of the host.
    pub fn env(&self) -> &Env {
        &self.host.env
    }

    /// Delivers a call and waits until its outcome has passed the output gate.
    pub async fn deliver<O: Operation>(&self, call: Call<O>) -> Result<O::Answer, TurnError> {
        self.send(call)?.outcome().await
    }

    /// Returns the object whose answer a turn of this one waits for, and those whose turns wait for this one: at most
    /// so many.
    pub fn waits(&self, object: &ObjectId, limit: usize) -> (Option<String>, Vec<String>) {
        let waits = &self.host.waits;
        (waits.waits_for(object).map(|object| object.to_string()), waits.waited_for_by(object, limit))
    }

    /// Returns the connection side of an accepted socket, which moves its bytes. None if the socket no longer exists.
    pub fn connect(&self, object: &ObjectId, socket: SocketId) -> Option<Connection> {
        self.host.sockets.connect(object, socket)
    }

    /// Updates the metrics that are not counted as they happen.
    pub fn update_metrics(&self) {
        let (usage, log) = (self.host.databases.log_usage(), &self.host.metrics.log);
        log.flushes.inner().store(usage.flushes, Ordering::Relaxed);
        log.records.inner().store(usage.records, Ordering::Relaxed);
        log.bytes.inner().store(usage.bytes, Ordering::Relaxed);
        log.live_bytes.set(usage.live as i64);
        log.in_flight_bytes.set(usage.in_flight as i64);
        for purpose in MemoryUse::ALL {
            let bytes = self.host.memory.used_for(purpose) + self.host.engine.capacity.memory.used_for(purpose);
            self.host.metrics.memory.get_or_create(&Purpose { purpose: purpose.name() }).set(bytes as i64);
        }
    }

    /// Returns the memory account of a class.
    pub fn memory(&self, class: &ClassKey) -> MemoryAccount {
        self.host.memory.account(class)
    }

    /// Returns the memory account for bytes that belong to no class.
    pub fn unowned_memory(&self) -> MemoryAccount {
        self.host.memory.unowned()
    }

    /// Returns the file descriptors that live objects and connections share.
    pub fn descriptors(&self) -> Arc<Descriptors> {
        self.host.engine.capacity.descriptors.clone()
    }

    /// Creates a file for a database upload; it is deleted when it is dropped.
    pub fn incoming(&self) -> Result<NamedTempFile, StorageError> {
        self.host.databases.incoming()
    }

    /// Writes bytes of an upload at the offset. Blocks.
    pub fn write_incoming(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.host.databases.write_incoming(file, bytes, offset)
    }

    /// Returns the maximum size of an imported database in bytes.
    pub fn import_max(&self) -> u64 {
        self.host.limits.database
    }

    /// Checks an uploaded database and replaces with it what the object stores.
    pub async fn import(&self, call: Call<NamedTempFile>) -> Result<(), ImportFailed> {
        let slot = self.import_slots.acquire(&call.target.key).await;
        let slot = slot.map_err(|TooManyWait| ImportFailed::Turn(TurnError::Overloaded))?;
        let (host, (call, file)) = (self.host.clone(), call.split());
        let target = call.target.clone();
        let checking = blocking(move || {
            let (env, begun) = (host.env.clone(), host.env.elapsed());
            let work = WorkBudget::new(u64::MAX, move || env.elapsed().saturating_sub(begun) > CHECK_PATIENCE);
            let _slot = slot;
            host.databases.check(file, &target, &work)
        });
        let checked = checking.await.map_err(|error| match error {
            ImportError::Refused(why) => ImportFailed::Refused(why),
            ImportError::Storage(error) => ImportFailed::Storage(error),
        })?;
        self.deliver(call.with(|()| Import(checked))).await.map_err(ImportFailed::Turn)
    }

    /// Delivers a call whose outcome the caller awaits separately. Calls that are sent one after the other to one
    /// object are delivered in that order.
    pub fn send<O: Operation>(&self, call: Call<O>) -> Result<Pending<O::Answer>, TurnError> {
        self.delivery.send(call)
    }

    /// Delivers a call, in the same order, without a receiver for its outcome. The permit is released when its turn is
    /// over.
    pub fn post<O: Operation>(&self, call: Call<O>, permit: OwnedSemaphorePermit) -> Result<(), TurnError> {
        self.delivery.put(call.with(|operation| operation.event(ReplyTo::Nobody(permit))))
    }

    /// Returns one page of the objects of a class whose names begin with `prefix`.
    pub async fn objects(
        &self,
        class: &Class,
        prefix: Option<String>,
        cursor: Option<String>,
        limit: usize,
    ) -> Result<ObjectPage, StorageError> {
        let (databases, key) = (self.host.databases.clone(), class.key.clone());
        let listing = blocking(move || databases.catalog().list(&key, prefix.as_deref(), cursor.as_deref(), limit));
        let page = listing.await?;
        let objects = page.entries.into_iter().map(|row| ObjectSummary {
            live: self.objects.live.contains_key(&row.id),
            id: row.id,
            name: row.name,
            bytes: row.bytes,
            alarm: row.alarm,
        });
        Ok(ObjectPage { objects: objects.collect(), cursor: page.cursor })
    }

    /// Creates a new id for an object without a name. It creates no object: the object exists once it has stored
    /// something.
    pub fn new_id(&self, class: &Class) -> ObjectId {
        ObjectId::unique(&class.key, self.host.env.random())
    }

    /// Deploys a component; see [`Classes::deploy`]. Live instances of the previous version leave between two turns,
    /// and those that owe answers when they have given them, or after `drain-seconds`.
    pub async fn deploy(
        &self,
        name: ClassName,
        component: Bytes,
        settings: DeploySettings,
    ) -> Result<Deployed, DeployError> {
        let deployed = self.classes.deploy(name, component, settings).await?;
        Ok(self.replaced(deployed))
    }

    /// Deploys an earlier version again; see [`Classes::roll_back`].
    pub async fn roll_back(
        &self,
        name: ClassName,
        number: u64,
        settings: DeploySettings,
    ) -> Result<Deployed, DeployError> {
        let deployed = self.classes.roll_back(name, number, settings).await?;
        Ok(self.replaced(deployed))
    }

    fn replaced(&self, deployed: Deployed) -> Deployed {
        if deployed.changed && !deployed.created {
            self.objects.ask_to_leave(Leaves::Version, |live| std::ptr::eq(live.class(), &*deployed.class));
        }
        deployed
    }

    /// Renames a class, durably. Its objects, alarms and sockets stay as they are, because they belong to its key;
    /// instances that know the old name are replaced at their next turn.
    pub async fn rename_class(&self, from: &ClassName, to: &ClassName) -> Result<Arc<Class>, RenameClassError> {
        let class = self.classes.rename(from, to).await?;
        self.objects.ask_to_leave(Leaves::Version, |live| std::ptr::eq(live.class(), &*class));
        Ok(class)
    }

    /// Removes a class. Removes its objects as well if requested; otherwise refuses if the class has any.
    pub async fn delete_class(&self, name: &ClassName, with_objects: bool) -> Result<(), DeleteClassError> {
        let _alone = self.classes.change(name).await.map_err(|_| DeleteClassError::Busy)?;
        let class = self.classes.get(name).ok_or(DeleteClassError::Unknown)?;
        // Checked before anything is stopped, and again when no object can be added any more.
        if !with_objects && self.has_objects(&class).await? {
            return Err(DeleteClassError::HasObjects);
        }
        class.retire();
        let deleted = self.delete_retired(&class, with_objects).await;
        if deleted.is_err() {
            class.reinstate();
        }
        deleted
    }

    async fn delete_retired(&self, class: &Class, with_objects: bool) -> Result<(), DeleteClassError> {
        let patience = self.host.limits.shutdown();
        if !self.all_leave(patience, Leaves::Deletion, |live| std::ptr::eq(live.class(), class)).await {
            return Err(DeleteClassError::StillRunning(patience));
        }
        if !with_objects && self.has_objects(class).await? {
            return Err(DeleteClassError::HasObjects);
        }
        self.host.sockets.close_class(&class.key, &CloseFrame::of_host(code::GOING_AWAY, "the class was deleted"));
        let (databases, key) = (self.host.databases.clone(), class.key.clone());
        blocking(move || databases.remove_class(&key)).await?;
        self.host.memory.forget(&class.key);
        self.host.engine.capacity.memory.forget(&class.key);
        self.classes.remove(&class.name()).await
    }

    async fn has_objects(&self, class: &Class) -> Result<bool, DeleteClassError> {
        let (databases, key) = (self.host.databases.clone(), class.key.clone());
        Ok(blocking(move || databases.catalog().has_objects(&key)).await?)
    }

    fn is_stopping(&self) -> bool {
        self.delivery.is_stopping()
    }

    /// Asks instances to leave that have been idle for too long, and reports failures that were only counted. Must be
    /// called about ten times in the idle time, and at least once a second.
    pub fn sweep(&self) {
        self.host.residency.sweep(self.host.limits.idle());
        self.host.failures.sweep();
        self.host.logs.sweep(self.host.env.wall_ms());
    }

    /// Refuses new calls, lets accepted ones end, and waits until every object has left. Returns false if some were
    /// still running when the time was up.
    pub async fn stop(&self, patience: Duration) -> bool {
        self.delivery.stop();
        // Objects whose late work is not over by then end it, so that they have left when the time is up.
        let until = self.host.env.elapsed() + patience.mul_f64(STOP_LATE_WORK);
        self.all_leave(patience, Leaves::Stop(until), |_| true).await
    }

    /// Closes all WebSockets, and waits until they are closed. Must be called after every object has left.
    pub async fn close_sockets(&self) {
        self.host.sockets.close(&CloseFrame::of_host(code::RESTART, "the host stops")).await;
    }

    /// Waits until none of these objects is live. The caller ensures that none starts. Returns false if some were live
    /// when the time was up.
    async fn all_leave(&self, patience: Duration, why: Leaves, these: impl Fn(&ObjectHandle) -> bool) -> bool {
        let leaving = async {
            loop {
                let left = self.objects.left.notified();
                if !self.objects.ask_to_leave(why, &these) {
                    return;
                }
                let (Ok(()) | Err(TimedOut)) = self.host.env.timeout(ASK_AGAIN, left).await;
            }
        };
        self.host.env.timeout(patience, leaving).await.is_ok()
    }
}

/// Runs blocking disk work on tokio's blocking threads, apart from the threads that answer.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("storage does not panic")
}
