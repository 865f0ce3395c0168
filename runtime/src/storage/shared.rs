//! What all databases of a data directory share: the log and its lanes, the catalog, what checkpoints need, limits.
//!
//! Owns the values, not what is done with them: `databases` builds them, `database`, `append`, `recovery` and
//! `checkpoint` use them.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::StorageError;
use super::alarm_index::Alarms;
use super::alarm_runs::AlarmRuns;
use super::catalog::Catalog;
use super::checkpoint_thread::CheckpointThread;
use super::commit_log::{Lane, LaneLog, LaneWriter};
use super::dirty::DirtyObjects;
use super::heap::Heap;
use super::recovery::Recovery;
use super::stacks::Stacks;
use super::template::Template;
use super::temporary::Temporary;
use crate::base::{ClassKey, Disk, Env, HostMemory, MemoryUse, ObjectId};

/// The state that all databases of a data directory share.
pub(super) struct StorageShared {
    pub root: PathBuf,
    pub objects: PathBuf,
    /// Files on their way in or out; emptied when the directory is opened.
    pub transfers: PathBuf,
    pub template: Template,
    pub max_pages: u32,
    pub memory: HostMemory,
    /// Bytes that SQLite may allocate for one database.
    pub sql_memory: u64,
    /// Bytes of temporary files of one object.
    pub temporary_files: u64,
    /// Bytes of all temporary files, shared by the classes.
    pub temporary: HostMemory,
    pub disk: Arc<dyn Disk>,
    pub log: Arc<dyn LaneLog>,
    pub lanes: Vec<LaneWriter>,
    pub catalog: Catalog,
    pub recovery: Recovery,
    /// What checkpoints have to write.
    pub dirty: DirtyObjects,
    pub checkpoints: CheckpointThread,
    pub alarms: Alarms,
    pub alarm_runs: AlarmRuns,
    /// Clocks.
    pub env: Env,
    /// What SQL runs on.
    pub stacks: Stacks,
}

impl StorageShared {
    /// Creates the heap of a new connection to a database of this class.
    pub fn heap(&self, class: &ClassKey) -> Result<Heap, StorageError> {
        let temporary =
            Temporary::new(self.disk.clone(), &self.transfers, self.temporary_files, self.temporary.account(class));
        let charge = self.memory.account(class).take(MemoryUse::Sql, 0);
        let heap = charge.and_then(|charge| Heap::new(charge, self.sql_memory, temporary));
        heap.map_err(|_| StorageError::NoMemory)
    }

    pub fn lane_of(&self, id: &ObjectId) -> Lane {
        Lane::of(id.as_bytes(), self.lanes.len() as u16)
    }

    pub fn lane(&self, id: &ObjectId) -> &LaneWriter {
        &self.lanes[self.lane_of(id).index()]
    }

    /// Ends the process: a turn was applied and cannot be appended, so it must not become visible.
    pub(super) fn lost(&self, path: &Path, error: &io::Error) -> ! {
        self.disk.lost(&format!("what a turn wrote to {} cannot be put into the commit log: {error}", path.display()))
    }
}
