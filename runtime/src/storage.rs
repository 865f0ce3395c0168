//! What survives: one SQLite database per object, the records of classes, and the catalog that lists objects.
//!
//! Storage has never heard of WebAssembly or HTTP; it imports `base` only. Everything here blocks: callers run it where
//! blocking is allowed. What must stay true:
//! * a turn is applied whole or not at all, and only [`Turn::apply`] ends its transaction;
//! * applied work may be told to the world once a [`DurableWatch`] covers its [`Lsn`], which only the commit log moves;
//! * a read, a refused statement and a failed turn leave nothing behind, not even a file;
//! * readers of the data directory never write to what they read.

use std::io;
use std::path::{Path, PathBuf};

pub mod alarm_index;
pub mod alarm_look;
pub mod alarm_runs;
pub mod catalog;
pub mod classes;
pub mod commit_log;
mod components;
pub mod data_dir;
pub mod database;
pub mod databases;
pub mod key_value;
pub mod sql;
pub mod transfer;
pub mod turn;
pub mod verify;
pub mod whole;

mod alarms;
mod append;
mod authorizer;
mod calls;
mod capture;
mod checkpoint;
mod connection;
mod dirty;
mod errors;
mod files;
mod functions;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod heap;
mod identity;
mod incarnations;
mod key_range;
mod limited;
mod on_disk;
mod page_cache;
mod recovery;
mod replay;
mod rows;
mod running;
mod session;
mod shared;
mod stacks;
mod statement;
mod sums;
mod template;
mod temporary;
mod temporary_file;
#[cfg(test)]
pub(crate) mod tests;
mod vfs;

pub use alarm_index::Alarms;
pub use catalog::{Catalog, CatalogEntry, CatalogPage, Change};
pub use classes::{ClassRecord, ClassRecords, ClassVersion, MESSAGE_MAX};
pub use commit_log::{Durable, DurableWatch, LaneLost, LogError, LogUsage, Lsn};
pub use components::HeldComponent;
pub use data_dir::{DataDir, DataDirError, DataDirView};
pub use database::{Database, Stored};
pub use databases::Databases;
pub use errors::{ApplyError, KvError, SqlError, WholeError};
pub use key_range::ListOptions;
pub use key_value::Entry;
pub use sql::{ExecResult, PackedResult};
pub use statement::SqliteError;
pub use transfer::{ImportError, Snapshot};
pub use turn::{Applied, Cursor, Savepoint, Turn};

pub use crate::base::Value;

/// Why the host's own work on the data directory failed. None of these is a guest's fault.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The file system refused.
    #[error("{action} {}: {cause}", path.display())]
    Io {
        /// What was tried, for example `cannot write`.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        cause: io::Error,
    },
    /// SQLite failed on one of the host's own statements.
    #[error("{}: {cause}", path.display())]
    Sqlite {
        /// The database file.
        path: PathBuf,
        /// What SQLite says.
        cause: rusqlite::Error,
    },
    /// What a class was deployed as is not what the host wrote.
    #[error("{} is damaged: {why}; restore it from a backup, or deploy the class again", path.display())]
    ClassDamaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The record of a class is of a format that this program does not read.
    #[error(
        "{} is of format {format}, and this program knows 1 and 2; nothing was changed. Start the version of holdfast that wrote \
         it, or a later one",
        path.display()
    )]
    ClassFormat {
        /// The record.
        path: PathBuf,
        /// Its format.
        format: u32,
    },
    /// An object's file is not what the host wrote, or not there.
    #[error("{} is damaged: {why}; import an export of the object, or delete the object to accept the loss", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The list of objects of one lane cannot be relied on, and its file was removed.
    #[error("{} was damaged or of another log and is removed; start again to have it made from the databases", path.display())]
    ListLost {
        /// The lane's catalog file.
        path: PathBuf,
    },
    /// The commit log failed or is not what it was.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The class has its share of the host's memory, which is short.
    #[error("the host's memory is short and the class has its share of it; try again later")]
    NoMemory,
    /// The object is being copied already.
    #[error("an export of the object is being copied; try again when it is done")]
    Busy,
    /// A page cursor that the host did not make.
    #[error("this cursor is not one that the host gave")]
    BadCursor,
}

impl StorageError {
    /// Whether it passes by itself when there is room again.
    pub fn is_lack_of_room(&self) -> bool {
        match self {
            Self::Io { cause, .. } => files::is_lack_of_room(cause),
            Self::Sqlite { cause, .. } => cause.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull),
            _ => false,
        }
    }

    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |cause| Self::Io { action, path: path.into(), cause }
    }

    fn sqlite(path: &Path) -> impl FnOnce(rusqlite::Error) -> Self {
        move |cause| match cause.sqlite_error_code() {
            Some(rusqlite::ErrorCode::OutOfMemory) => Self::NoMemory,
            _ => Self::Sqlite { path: path.into(), cause },
        }
    }
}
