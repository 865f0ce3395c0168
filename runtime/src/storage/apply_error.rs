//! Why a turn was not applied, and what the errors of SQLite mean for it.
//!
//! Owns the difference between what a guest has to correct (constraints), what passes (lack of room), what is damaged, and what merely
//! failed. SQLite's codes do not tell lack of descriptors from a file that cannot be opened, so the system is asked again.

use rusqlite::ffi;

use super::StorageError;
use super::database::{OpenFile, lack_of_room};
use super::heap::Refusal;
use super::sql::SqliteError;
use super::statement::last_error;
use crate::base::{Exhausted, Limits, TurnError};

/// Why a turn was not applied. It left no trace.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// A savepoint is still open: nobody can tell whether what it holds was meant to stay.
    #[error("a savepoint is still open at the end of the turn; keep it or undo it")]
    SavepointOpen,
    /// A deferred constraint is violated.
    #[error("a deferred constraint is violated at the end of the turn: {0}")]
    Constraint(SqliteError),
    /// No room: the disk, the database's limit, or the limit of bytes written in one turn.
    #[error("{0}")]
    Full(String),
    /// A statement ended the turn's transaction.
    #[error("a statement ended the turn's transaction (for example INSERT OR ROLLBACK or RAISE(ROLLBACK))")]
    Ended,
    /// The turn used up its work budget in storage.
    #[error(transparent)]
    Exhausted(Exhausted),
    /// SQLite was refused memory: the object's limit, or the host is short of it.
    #[error("{}", match .0 {
        Refusal::Object(limit) => format!("the object's SQL needs more than its {limit} bytes of memory (sql-memory)"),
        Refusal::Host => "the host's memory is short and the class has its share of it; try again later".into(),
    })]
    NoMemory(Refusal),
    /// The object's file is not what was written.
    #[error("{0}")]
    Damaged(String),
    /// The database failed: an I/O error, no memory.
    #[error("{0}")]
    Failed(String),
}

impl From<StorageError> for ApplyError {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::NoMemory => Self::NoMemory(Refusal::Host),
            error @ StorageError::Damaged { .. } => Self::Damaged(error.to_string()),
            error if error.is_lack_of_room() => Self::Full(error.to_string()),
            error => Self::Failed(error.to_string()),
        }
    }
}

impl ApplyError {
    /// What it is to whoever waits for the turn.
    pub fn into_turn_error(self, limits: &Limits) -> TurnError {
        match self {
            Self::Full(detail) => TurnError::StorageFull(detail),
            Self::SavepointOpen => TurnError::SavepointOpen,
            Self::Constraint(_) | Self::Ended => TurnError::NotApplied(self.to_string()),
            Self::Exhausted(Exhausted::Fuel) => TurnError::OutOfFuel { limit: limits.fuel_per_turn, stack: None },
            Self::Exhausted(Exhausted::CpuTime) => TurnError::CpuTime { limit: limits.cpu_time(), stack: None },
            Self::Exhausted(Exhausted::Overloaded | Exhausted::Cancelled) => TurnError::Overloaded,
            Self::NoMemory(Refusal::Object(limit)) => TurnError::SqlMemory(limit),
            Self::NoMemory(Refusal::Host) => TurnError::HostMemory,
            Self::Damaged(detail) => TurnError::Damaged(detail),
            Self::Failed(detail) => TurnError::Storage(detail),
        }
    }
}

/// What a failed COMMIT means. The transaction is still there, or SQLite has rolled it back.
pub(super) fn at_commit(file: &OpenFile) -> ApplyError {
    if let Some(refusal) = file.connection.heap.take_refusal() {
        return ApplyError::NoMemory(refusal);
    }
    let error = last_error(file.connection.guest());
    match error.code & 0xff {
        ffi::SQLITE_CONSTRAINT if error.code != ffi::SQLITE_CONSTRAINT_COMMITHOOK => ApplyError::Constraint(error),
        ffi::SQLITE_FULL => {
            ApplyError::Full("the disk is full or the object's database would grow over its limit".into())
        }
        _ => in_doubt(file, error),
    }
}

/// What an error means after which nobody knows what the database holds. A virtual table that is not as it should be is the doing
/// of the guest, who can write what it is made of.
pub(super) fn in_doubt(file: &OpenFile, error: SqliteError) -> ApplyError {
    let is_damage = match error.code {
        ffi::SQLITE_IOERR_DATA => true,
        ffi::SQLITE_CORRUPT_VTAB => false,
        code => matches!(code & 0xff, ffi::SQLITE_CORRUPT | ffi::SQLITE_NOTADB),
    };
    if !is_damage {
        // A temporary file, perhaps.
        let lacks_room = error.code & 0xff == ffi::SQLITE_CANTOPEN && lack_of_room(file.sums.database()).is_some();
        return if lacks_room { ApplyError::Full(error.message) } else { ApplyError::Failed(error.message) };
    }
    let by_sqlite = || StorageError::Damaged { path: file.sums.database().into(), why: error.message };
    ApplyError::Damaged(file.sums.damage().unwrap_or_else(by_sqlite).to_string())
}
