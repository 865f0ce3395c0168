//! What a guest holds of its turn's storage between two calls: an open listing, the rest of a result, a savepoint.

use crate::storage;

/// An open listing of keys.
pub struct Listing(pub(super) storage::Cursor);

/// The rest of a result of SQL.
pub struct Cursor(pub(super) storage::Cursor);

/// An open savepoint.
pub struct Savepoint(pub(super) storage::Savepoint);
