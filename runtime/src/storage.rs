//! The persistent state: one SQLite database per object, the records of classes, and the catalog that lists objects.
//!
//! Storage knows neither WebAssembly nor HTTP; it imports `base` only. Every function here may block, so callers run it
//! on threads that may block. Invariants:
//! * a turn is applied whole or not at all, and only [`Turn::apply`] ends its transaction;
//! * applied work may become visible outside once a [`DurableWatch`] covers its [`Lsn`], which only the commit log
//!   moves;
//! * a read, a refused statement and a failed turn leave nothing behind, not even a file;
//! * readers of the data directory never write to what they read.
//!
//! The files import each other in one direction (`tests/tidy/circles.rs`). From the bottom:
//!
//! ```text
//! checkpoint_thread                a thread and its requests
//! commit_log                       lanes of records on disk; knows neither objects nor SQLite
//! sums, capture, incarnations      the files of one object: checksums, WAL, names
//! running, temporary, heap,        what SQLite may use (memory, temporary files, CPU slices),
//!   stacks, vfs, page_cache          and how it is refused
//! statement, session, connection   one SQLite connection under the rules for guests
//! catalog, recovery, dirty         the list of objects; which files are older than the log
//! shared                           the state that all databases of a data directory share
//! database, append                 one object's file, and its records in the log
//! errors, turn                     one turn: its transaction, its failures
//! sql, key_value, whole, alarms    what a guest calls within a turn
//! checkpoint, databases, transfer  operations on all databases: checkpoints, start, export and import
//! ```

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
mod checkpoint_thread;
mod connection;
mod dirty;
mod errors;
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

/// The reasons why the host's own work on the data directory failed. No guest causes them.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The file system returned an error.
    #[error("{action} {}: {cause}", path.display())]
    Io {
        /// The operation that failed, for example `cannot write`.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's error.
        cause: io::Error,
    },
    /// SQLite failed at one of the host's own statements.
    #[error("{}: {cause}", path.display())]
    Sqlite {
        /// The database file.
        path: PathBuf,
        /// SQLite's error.
        cause: rusqlite::Error,
    },
    /// A class's record or component is not what the host wrote.
    #[error("{} is damaged: {why}; restore it from a backup, or deploy the class again", path.display())]
    ClassDamaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The record of a class has a format that this program does not read.
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
    /// An object's file is missing or not what the host wrote.
    #[error("{} is damaged: {why}; import an export of the object, or delete the object to accept the loss", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The catalog of one lane was damaged or of another log, and its file was removed.
    #[error("{} was damaged or of another log and is removed; start again to have it made from the databases", path.display())]
    ListLost {
        /// The lane's catalog file.
        path: PathBuf,
    },
    /// The commit log failed or is damaged.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The host's memory is short and the class has used its share of it.
    #[error("the host's memory is short and the class has its share of it; try again later")]
    NoMemory,
    /// Another export of the object is still being copied.
    #[error("an export of the object is being copied; try again when it is done")]
    Busy,
    /// The cursor of a page was not made by the host.
    #[error("this cursor is not one that the host gave")]
    BadCursor,
}

impl StorageError {
    /// Whether the error passes without a repair when the disk has room again.
    pub fn is_lack_of_room(&self) -> bool {
        match self {
            Self::Io { cause, .. } => crate::base::disk::is_lack_of_room(cause),
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
