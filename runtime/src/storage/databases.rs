//! All objects' databases, the commit log that they share, and the list of objects.
//!
//! Owns the order of a start: the log is read, the list catches up with it, and only then is anything appended. A start
//! touches no object, unless a part of the list was lost; each object is recovered when it is first opened
//! (`recovery`).

use std::path::Path;
use std::sync::Arc;

use super::alarm_index::Alarms;
use super::alarm_runs::AlarmRuns;
use super::catalog::{Catalog, Change};
use super::checkpoint;
use super::checkpoint_thread::CheckpointThread;
use super::commit_log::{Encoded, FileLog, Lane, LaneLog, LaneWriter, LogError, LogOptions, LogUsage};
use super::database::{Database, FileState, no_room};
use super::dirty::{DirtyObject, DirtyObjects};
use super::incarnations::Incarnations;
use super::recovery::Recovery;
use super::replay::replay;
use super::shared::StorageShared;
use super::stacks::Stacks;
use super::template::{PAGE, Template};
use super::{DataDir, StorageError};
use crate::base::{ClassKey, Env, Failpoint, HostMemory, Limits, ObjectAddress};

/// Every object's database, the commit log that they all append to, and the list of them. Cheap to clone.
#[derive(Clone)]
pub struct Databases(pub(super) Arc<StorageShared>);

impl Databases {
    /// Opens the databases of a data directory: reads the commit log, updates the list of objects from it, and opens
    /// the lanes. Touches no object, unless a part of the list was lost. Allocations of SQLite are charged to `memory`.
    pub fn open(dir: &DataDir, limits: &Limits, env: &Env, memory: HostMemory) -> Result<Self, StorageError> {
        let (capacity, segment_bytes) = (limits.log_capacity, limits.log_segment);
        let options = LogOptions { lanes: dir.lanes(), capacity, segment_bytes, ..LogOptions::new(env.clone()) };
        let log = FileLog::open(&dir.log(), options, dir.disk().clone())?;
        let databases = Self::open_on(dir, limits, env, memory, Arc::new(log))?;
        let started = checkpoint::start(&databases.0);
        started.map_err(StorageError::io("cannot start the thread that trims", &dir.log()))?;
        Ok(databases)
    }

    /// Opens the databases on a given log, without the thread that makes checkpoints.
    pub(super) fn open_on(
        dir: &DataDir,
        limits: &Limits,
        env: &Env,
        memory: HostMemory,
        log: Arc<dyn LaneLog>,
    ) -> Result<Self, StorageError> {
        super::connection::configure_process();
        let (objects, disk) = (dir.objects(), dir.disk().clone());
        let template = Template::build().map_err(StorageError::sqlite(&objects))?;
        let lanes = || (0..log.lanes()).map(Lane::new);
        let known: Vec<_> = lanes().map(|lane| log.trimmed(lane)..=log.last(lane)).collect();
        let (catalog, _, lost) = Catalog::open_on(dir, &known)?;
        let recovery = Recovery::new();
        replay(&*log, |lane, lsn, event| {
            if lost.is_empty() {
                catalog.replay(lane, lsn, event.change());
            }
            recovery.note(lsn, event)
        })?;
        if !lost.is_empty() {
            // The list is made again from the databases, which must hold what the log holds.
            for (class, id) in recovery.waiting() {
                match recovery.recover(&id, &Incarnations::at(&disk, &objects, &class, &id), &*log) {
                    // Reported again when the object is used. The log's replay below lists it.
                    Err(error @ StorageError::Damaged { .. }) => tracing::error!("{error}"),
                    recovered => _ = recovered?,
                }
            }
            catalog.rebuild(&lost, &objects)?;
            replay(&*log, |lane, lsn, event| {
                catalog.replay(lane, lsn, event.change());
                Ok(())
            })?;
        }
        let runs = dir.alarm_runs();
        let alarm_runs = AlarmRuns::open(disk.clone(), &runs).map_err(StorageError::io("cannot open", &runs))?;
        let node_id = env.random();
        let lanes = lanes().map(|lane| log.open(lane, node_id)).collect::<Result<Vec<_>, _>>()?;
        catalog.follow(lanes.iter().map(LaneWriter::durable).collect())?;
        Ok(Self(Arc::new(StorageShared {
            root: dir.root().into(),
            objects,
            transfers: dir.transfers(),
            template,
            max_pages: (limits.database / PAGE as u64).min(u32::MAX.into()) as u32,
            memory,
            sql_memory: limits.sql_memory,
            temporary_files: limits.temporary_files,
            temporary: HostMemory::new(limits.temporary_files_in_all),
            disk,
            log,
            lanes,
            catalog,
            recovery,
            dirty: DirtyObjects::default(),
            checkpoints: CheckpointThread::default(),
            alarms: Alarms::default(),
            alarm_runs,
            env: env.clone(),
            stacks: Stacks::default(),
        })))
    }

    /// Returns the database of an object. Does no I/O. The caller ensures that there is one `Database` per object, and
    /// drops it only when everything applied is durable.
    pub fn database(&self, address: &ObjectAddress) -> Box<Database> {
        // What an earlier `Database` of this process has left.
        let left = self.0.dirty.of(&address.id);
        self.database_below(&self.0.objects, address, left)
    }

    /// Returns a database in another directory than the objects', to which no turn is applied.
    pub(super) fn scratch(&self, directory: &Path, address: &ObjectAddress) -> Box<Database> {
        let mut database = self.database_below(directory, address, None);
        database.scratch = true;
        database
    }

    fn database_below(
        &self,
        directory: &Path,
        address: &ObjectAddress,
        left: Option<Arc<DirtyObject>>,
    ) -> Box<Database> {
        let files = Incarnations::of(&self.0.disk, directory, address);
        let lane = self.0.lane(&address.id).clone();
        let durable = lane.durable();
        let (recovered, watched) = (left.is_some(), left.is_some());
        let dirty = left.unwrap_or_else(|| Arc::new(DirtyObject::new(files.clone(), durable.clone())));
        let (incarnation, last) = {
            let state = dirty.lock();
            (state.incarnation, state.last)
        };
        Box::new(Database {
            shared: self.0.clone(),
            address: address.clone(),
            path: files.file(incarnation),
            incarnations: files,
            incarnation,
            file: FileState::Unknown,
            aside: None,
            recovered,
            watched,
            dirty,
            lane,
            durable,
            last,
            told: None,
            handles: 0,
            scratch: false,
            unusable: Vec::new(),
            alarm_suspended: false,
        })
    }

    /// The list of all objects.
    pub fn catalog(&self) -> &Catalog {
        &self.0.catalog
    }

    /// Reports the usage of the commit log.
    pub fn log_usage(&self) -> LogUsage {
        self.0.log.usage()
    }

    /// Removes everything that the objects of a class stored; the removal is durable when it returns. No object of the
    /// class is open, and none will be opened.
    pub fn remove_class(&self, key: &ClassKey) -> Result<(), StorageError> {
        let shared = &self.0;
        let record = Encoded::class_removed(key.as_str());
        let mut waits = Vec::with_capacity(shared.lanes.len());
        for (n, lane) in shared.lanes.iter().enumerate() {
            let room = shared.log.try_reserve(record.len() as u64);
            let mut reservation = room.map_err(no_room(&shared.root))?;
            let gone = |lsn| shared.catalog.note(Lane::new(n as u16), lsn, Change::ClassGone { class: key.clone() });
            waits.push((lane.durable(), lane.submit(record.clone(), &mut reservation, gone)));
        }
        waits.iter().try_for_each(|(durable, lsn)| durable.wait(*lsn)).map_err(LogError::from)?;
        shared.recovery.forget_class(key.as_str());
        shared.dirty.forget_class(key);
        let dir = shared.objects.join(key.as_str());
        let removed = shared.disk.remove_dir_all(Failpoint::ObjectRemove, &dir);
        removed.map(drop).map_err(StorageError::io("cannot remove", &dir))
    }

    /// Makes a last checkpoint and closes the log. All `Database`s were dropped before.
    pub fn close(self) -> Result<(), StorageError> {
        self.0.checkpoints.stop();
        self.0.checkpoint()?;
        self.0.log.close();
        Ok(())
    }
}
