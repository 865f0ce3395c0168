//! Resources of guests: what a guest holds of its turn's storage between two calls.

use crate::storage;

/// An open listing of keys.
pub struct Listing(pub(super) storage::Cursor);

/// The remaining rows of a result of SQL.
pub struct Cursor(pub(super) storage::Cursor);

/// An open savepoint.
pub struct Savepoint(pub(super) storage::Savepoint);
