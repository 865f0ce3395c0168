//! The state of a turn: one type for each question about it.

use crate::base::Alarm;

/// The turn that made the database file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::storage) enum Origin {
    /// An earlier one, if there is a file.
    Earlier,
    /// This one.
    ThisTurn,
}

/// What is known about whether anything is stored at the end of the turn.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::storage) enum Remains {
    /// As much as before, or more: the turn has removed nothing.
    AsBefore,
    /// The turn has removed, undone or first stored something: the database must be queried.
    Unknown,
    /// A key that the turn has put is still there.
    Key,
}

impl Remains {
    /// Notes that something was removed, or is stored for the first time.
    pub(in crate::storage) fn doubt(&mut self) {
        if *self == Self::AsBefore {
            *self = Self::Unknown;
        }
    }
}

/// The access that a turn has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::storage) enum Access {
    /// Everything.
    Writes,
    /// Its writes are refused.
    Reads,
}

/// What applying the turn does to the alarm.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::storage) enum StagedAlarm {
    /// It stays as it is.
    AsItIs,
    /// It is set to this, or removed.
    Set(Option<Alarm>),
}

/// A handle of an open savepoint. Handles are not reused as long as the `Database` lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Savepoint(pub(in crate::storage) u64);

/// An open savepoint, with the state that undoing it restores besides the database.
pub(in crate::storage) struct OpenSavepoint {
    pub savepoint: Savepoint,
    pub alarm: StagedAlarm,
    /// Changes of rows before the savepoint.
    pub changed_rows: u64,
}
