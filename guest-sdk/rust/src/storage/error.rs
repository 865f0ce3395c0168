//! Why storage refuses: the errors of the contract's `key-value` and `storage`, and those of typed values.

use crate::bindings::holdfast::object::{key_value, storage};

/// Why a storage operation was refused. It changed nothing, and the turn can continue unless the case says otherwise.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// The key is empty or longer than 2,048 bytes. Carries its length in bytes.
    #[error("a key of {0} bytes: keys are 1 to 2,048 bytes long")]
    KeySize(u32),
    /// Key and value together are longer than 2,000,000 bytes. Carries their length in bytes.
    #[error("key and value of {0} bytes: together they are at most 2,000,000 bytes long")]
    ValueSize(u32),
    /// More than 128 keys or entries in one call. Carries how many there were.
    #[error("{0} keys in one call: at most 128 are allowed")]
    TooMany(u32),
    /// The options of a list contradict each other.
    #[error("the options of the list contradict each other: {0}")]
    BadRange(String),
    /// The object's database is at its limit, or the disk is full. The turn fails, whatever the handler returns.
    #[error("the object's storage is full")]
    Full,
    /// A list outlived the turn that opened it, or what it lists was removed by
    /// [`delete_all`](super::Storage::delete_all).
    #[error("the list is closed: its turn has ended, or everything was deleted")]
    Closed,
    /// Not possible inside a [`transaction`](super::Storage::transaction), because it concerns the whole turn.
    #[error("not possible inside a transaction: it concerns the whole turn")]
    InTransaction,
    /// More transactions inside each other than the host allows. Carries how many those are.
    #[error("at most {0} transactions can be inside each other")]
    TooDeep(u32),
    /// Serde could not write the value.
    #[error("the value for key `{key}` cannot be stored: {reason}")]
    Encode {
        /// The key it was meant for.
        key: String,
        /// What serde says.
        reason: String,
    },
    /// The stored value is not of the type that was asked for.
    #[error("the value of key `{key}` is not of type {wanted}: {reason}")]
    Decode {
        /// The key it was read from.
        key: String,
        /// The type that was asked for.
        wanted: &'static str,
        /// What serde says.
        reason: String,
    },
    /// Anything else, in the words of the host.
    #[error("{0}")]
    Other(String),
}

impl StorageError {
    /// Returns the case as a stable word to match on: the contract's (`wit/key-value.wit` and `wit/storage.wit`), for
    /// example `key-size`, or `encode` or `decode` for those of this crate.
    ///
    /// ```
    /// use holdfast::prelude::*;
    ///
    /// assert_eq!(StorageError::InTransaction.case(), "savepoint-open");
    /// ```
    pub fn case(&self) -> &'static str {
        match self {
            Self::KeySize(_) => "key-size",
            Self::ValueSize(_) => "value-size",
            Self::TooMany(_) => "too-many",
            Self::BadRange(_) => "bad-range",
            Self::Full => "full",
            Self::Closed => "closed",
            Self::InTransaction => "savepoint-open",
            Self::TooDeep(_) => "too-deep",
            Self::Encode { .. } => "encode",
            Self::Decode { .. } => "decode",
            Self::Other(_) => "other",
        }
    }
}

impl From<key_value::Error> for StorageError {
    fn from(error: key_value::Error) -> Self {
        match error {
            key_value::Error::KeySize(size) => Self::KeySize(size),
            key_value::Error::ValueSize(size) => Self::ValueSize(size),
            key_value::Error::TooMany(count) => Self::TooMany(count),
            key_value::Error::BadRange(reason) => Self::BadRange(reason),
            key_value::Error::Full => Self::Full,
            key_value::Error::Closed => Self::Closed,
            key_value::Error::Other(reason) => Self::Other(reason),
        }
    }
}

impl From<storage::Error> for StorageError {
    fn from(error: storage::Error) -> Self {
        match error {
            storage::Error::SavepointOpen => Self::InTransaction,
            storage::Error::TooDeep(limit) => Self::TooDeep(limit),
            storage::Error::Closed => Self::Closed,
            storage::Error::Full => Self::Full,
            storage::Error::Other(reason) => Self::Other(reason),
        }
    }
}
