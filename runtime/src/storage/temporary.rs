//! Limits on the temporary files of SQLite: sorters, materialised results, statement journals.
//!
//! The files are in the data directory and have no names, so a crash leaves none. Their bytes are bounded for one
//! object (`[limits] temporary-files`) and for all objects (`temporary-files-in-all`), where no class may take what
//! others need. A write over either is `SQLITE_FULL` to the statement, and the turn fails.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use crate::base::{Disk, Failpoint, MemoryAccount, MemoryCharge, MemoryUse};

/// The temporary files of one object. Cheap to clone.
#[derive(Clone)]
pub(super) struct Temporary(Arc<Shared>);

struct Shared {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    limit: u64,
    /// Of bytes on disk, not in memory; the rule by which classes share is the same.
    account: MemoryAccount,
    charged: AtomicU64,
    refused: AtomicBool,
}

impl Temporary {
    /// Files in this directory, of at most `limit` bytes together, charged to an account of bytes on disk.
    pub fn new(disk: Arc<dyn Disk>, directory: &Path, limit: u64, account: MemoryAccount) -> Self {
        let (charged, refused) = (AtomicU64::new(0), AtomicBool::new(false));
        Self(Arc::new(Shared { disk, directory: directory.into(), limit, account, charged, refused }))
    }

    /// What was refused since this was last asked, in words.
    pub fn take_refusal(&self) -> Option<String> {
        let shared = &self.0;
        (shared.refused.load(Relaxed) && shared.refused.swap(false, Relaxed)).then(|| {
            format!(
                "temporary files, for sorting and the like: one object may have {} bytes of them, and all together what the \
                 host allows; sort less at once, for example along an index",
                shared.limit
            )
        })
    }

    /// Takes more bytes for a file. False, and noted, if a limit refuses them.
    pub fn take(&self, charge: &mut MemoryCharge, more: u64) -> bool {
        let within = self.0.charged.fetch_add(more, Relaxed) + more <= self.0.limit;
        if within && charge.grow(more).is_ok() {
            return true;
        }
        self.0.charged.fetch_sub(more, Relaxed);
        self.0.refused.store(true, Relaxed);
        false
    }

    /// Gives bytes back that a file took.
    pub fn give_back(&self, bytes: u64) {
        self.0.charged.fetch_sub(bytes, Relaxed);
    }

    /// Makes a file without a name, with its charge. None if the file system refuses.
    pub fn make(&self) -> Option<(File, MemoryCharge)> {
        let file = self.0.disk.create_unnamed(Failpoint::TransferWrite, &self.0.directory).ok()?;
        let charge = self.0.account.take(MemoryUse::Sql, 0).ok()?;
        Some((file, charge))
    }
}
