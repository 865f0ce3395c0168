//! What a turn knows of itself: one type for each question.

use crate::base::Alarm;

/// Which turn made the database file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::storage) enum Origin {
    /// An earlier one, if there is a file.
    Earlier,
    /// This one.
    ThisTurn,
}

/// What is known of whether anything is stored at the end of the turn.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::storage) enum Remains {
    /// As much as before, or more: the turn has removed nothing.
    AsBefore,
    /// The turn has removed, undone or first stored something: it must be looked at.
    Unknown,
    /// A key that the turn has put is still there.
    Key,
}

impl Remains {
    /// Something was removed, or is stored for the first time.
    pub(in crate::storage) fn doubt(&mut self) {
        if *self == Self::AsBefore {
            *self = Self::Unknown;
        }
    }
}

/// What a turn may do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::storage) enum Access {
    /// Everything.
    Writes,
    /// Its writes are refused.
    Reads,
}

/// What becomes of the alarm when the turn is applied.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::storage) enum StagedAlarm {
    /// It stays as it is.
    AsItIs,
    /// It is set to this, or removed.
    Set(Option<Alarm>),
}

/// Names an open savepoint. Never names another one as long as the `Database` lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Savepoint(pub(in crate::storage) u64);

/// A savepoint that is open, with what undoing it brings back besides what is stored.
pub(in crate::storage) struct OpenSavepoint {
    pub savepoint: Savepoint,
    pub alarm: StagedAlarm,
    /// Changes of rows before it.
    pub changed_rows: u64,
}
