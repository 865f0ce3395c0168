//! Checkpoints: make the database files durable, so that the commit log can be trimmed.
//!
//! What an object wrote is in its WAL, then in its database file, and neither is flushed: the commit log is what
//! survives. A checkpoint makes the files catch up with the log. It takes how far each lane is durable (the cut),
//! copies what each object wrote up to there into its database file ([`super::dirty`]), has the catalogs write the
//! same, flushes the whole file system once, and then appends to the log that everything up to the cut is trimmed. One
//! flush serves all objects, whatever their number.
//!
//! A checkpoint sends no message to an object and waits for none. So neither a busy object nor one in the middle of a
//! long turn can pin the log, and turns that wait for room in the log cannot keep the room from being made.

use std::io;
use std::sync::{Arc, Weak};

use super::StorageError;
use super::checkpoint_thread::Signal;
use super::commit_log::Lsn;
use super::dirty::CatchUpError;
use super::incarnations::Incarnations;
use super::shared::StorageShared;
use crate::base::failpoints::Failpoint;

/// Starts the thread that makes a checkpoint when the log has grown to half of its capacity, or when one is requested.
pub(super) fn start(shared: &Arc<StorageShared>) -> io::Result<()> {
    let weak = Arc::downgrade(shared);
    shared.checkpoints.start(move |signal| run(signal, &weak))
}

fn run(signal: &Signal, shared: &Weak<StorageShared>) {
    while let Some(wanted) = signal.next() {
        let Some(shared) = shared.upgrade() else { return };
        let usage = shared.log.usage();
        if !wanted && usage.live < usage.capacity / 2 {
            continue;
        }
        if let Err(error) = shared.checkpoint() {
            tracing::error!(%error, "failed to make a checkpoint, so the commit log is not trimmed; retrying within 500 ms");
            signal.pause();
        }
    }
}

impl StorageShared {
    /// Makes a checkpoint; see the module. Blocks.
    pub fn checkpoint(&self) -> Result<(), StorageError> {
        let _alone = self.checkpoints.alone();
        let failed = |action| StorageError::io(action, &self.objects);
        let mut cut: Vec<Lsn> = self.lanes.iter().map(|lane| lane.durable().upto()).collect();
        for (class, id) in self.recovery.waiting() {
            let files = Incarnations::at(&self.disk, &self.objects, &class, &id);
            match self.recovery.recover(&id, &files, &*self.log) {
                // Reported again whenever the object is used; the checkpoint of other objects must not wait for it.
                Err(error @ StorageError::Damaged { .. }) => tracing::error!("{error}"),
                recovered => _ = recovered?,
            }
        }
        for (id, object) in self.dirty.all() {
            let lane = self.lane_of(&id).index();
            match object.catch_up(cut[lane]) {
                Ok(()) => {}
                // Nothing of it is trimmed here any more.
                Err(CatchUpError::LaneLost) => cut[lane] = Lsn(0),
                Err(CatchUpError::Io(error)) => return Err(failed("cannot trim objects below")(error)),
            }
        }
        self.catalog.write(&cut)?;
        self.disk.sync_file_system(Failpoint::CheckpointSync, &self.root).map_err(failed("cannot flush"))?;
        self.disk.at(Failpoint::CheckpointTrim).map_err(failed("cannot trim"))?;
        self.log.trim(&cut)?;
        Ok(())
    }
}
