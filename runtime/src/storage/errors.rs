//! The errors of a turn: why a call of its guest failed, why the turn was not applied, and what SQLite's errors mean
//! for it.
//!
//! Owns the difference between what a guest has to correct (constraints), what passes (lack of room), damage, and other
//! failures. SQLite's codes do not distinguish lack of descriptors from a file that cannot be opened, so the system is
//! asked again.

use rusqlite::ffi;

use super::StorageError;
use super::database::{OpenFile, lack_of_room};
use super::heap::Refusal;
use super::statement::{SqliteError, last_error};
use crate::base::{Exhausted, Limits, TurnError};

/// The reasons why an SQL call failed: the cases of `sql.error`, and the end of the turn's budget.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SqlError {
    /// The text holds no statement.
    #[error("the text holds no statement")]
    NoStatement,
    /// Not allowed to guests; says what.
    #[error("not authorized: {0}")]
    NotAuthorized(String),
    /// The number of parameters does not fit.
    #[error("the statement takes {takes} parameters, {given} were given")]
    ParameterCount {
        /// How many the statement takes.
        takes: u32,
        /// How many were given.
        given: u32,
    },
    /// A limit on size; says which.
    #[error("too large: {0}")]
    TooLarge(String),
    /// A constraint was violated.
    #[error("{0}")]
    Constraint(SqliteError),
    /// No room. The turn will not be applied.
    #[error("the object's database would grow over its limit, or the disk is full")]
    Full,
    /// The cursor belongs to a turn that has ended, or a later statement invalidated it.
    #[error("the cursor is closed: its turn has ended or a later statement invalidated it")]
    Closed,
    /// Any other error of SQLite.
    #[error("{0}")]
    Sqlite(SqliteError),
    /// The turn's work budget is used up: the turn has failed.
    #[error(transparent)]
    Exhausted(Exhausted),
    /// Anything else, in words.
    #[error("{0}")]
    Other(String),
}

/// The reasons why a key-value call failed: the cases of `key-value.error`, and the end of the turn's budget.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KvError {
    /// The key is empty or longer than 2,048 bytes; carries its length.
    #[error("a key has 1 to 2,048 bytes, this one has {0}")]
    KeySize(u32),
    /// Key and value together are longer than 2,000,000 bytes; carries their length.
    #[error("a key and its value have at most 2,000,000 bytes, these have {0}")]
    ValueSize(u32),
    /// More than 128 keys or entries in one call; carries how many.
    #[error("one call takes at most 128 keys, this one has {0}")]
    TooMany(u32),
    /// The options of a listing contradict each other.
    #[error("{0}")]
    BadRange(String),
    /// No room. The turn will not be applied.
    #[error("the object's database would grow over its limit, or the disk is full")]
    Full,
    /// The listing belongs to a turn that has ended.
    #[error("the listing belongs to a turn that has ended")]
    Closed,
    /// The turn's work budget is used up: the turn has failed.
    #[error(transparent)]
    Exhausted(Exhausted),
    /// Anything else, in words.
    #[error("{0}")]
    Other(String),
}

impl From<SqlError> for KvError {
    fn from(error: SqlError) -> Self {
        match error {
            SqlError::Full => Self::Full,
            SqlError::Closed => Self::Closed,
            SqlError::Exhausted(exhausted) => Self::Exhausted(exhausted),
            other => Self::Other(other.to_string()),
        }
    }
}

/// The reasons why a storage call failed: the cases of `storage.error`, and the end of the turn's budget.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WholeError {
    /// Not possible while a savepoint is open.
    #[error("not possible while a savepoint is open")]
    SavepointOpen,
    /// Too many savepoints are open; carries the limit.
    #[error("at most {0} savepoints can be open at once")]
    TooDeep(u32),
    /// The savepoint has ended.
    #[error("the savepoint has ended")]
    Closed,
    /// No room. The turn will not be applied.
    #[error("the object's database would grow over its limit, or the disk is full")]
    Full,
    /// The turn's work budget is used up: the turn has failed.
    #[error(transparent)]
    Exhausted(Exhausted),
    /// Anything else, in words.
    #[error("{0}")]
    Other(String),
}

impl From<SqlError> for WholeError {
    fn from(error: SqlError) -> Self {
        match error {
            SqlError::Full => Self::Full,
            SqlError::Closed => Self::Closed,
            SqlError::Exhausted(exhausted) => Self::Exhausted(exhausted),
            other => Self::Other(other.to_string()),
        }
    }
}

/// The reasons why a turn was not applied. It left no trace.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// A savepoint is still open, so it is unclear whether its writes are meant to stay.
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
    /// Converts it to the error for the turn's caller.
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

/// Classifies a failed COMMIT. The transaction is still open, or SQLite has rolled it back.
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

/// Classifies an error after which the state of the database is in doubt. A corrupt virtual table is not damage: a
/// guest can write the tables that it consists of.
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
