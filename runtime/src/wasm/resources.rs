//! Resources of guests: what a guest holds of its turn's storage between two calls.

use std::sync::Arc;

use super::pending::Slot;
use crate::storage;

/// An open listing of keys.
pub struct Listing(pub(super) storage::Cursor);

/// The remaining rows of a result of SQL.
pub struct Cursor(pub(super) storage::Cursor);

/// A call that was begun.
pub struct PendingCall(pub(super) Arc<Slot>);

/// An open savepoint.
pub struct Savepoint(pub(super) storage::Savepoint);
