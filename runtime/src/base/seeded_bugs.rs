//! Seeded bugs: what the simulation must notice, made at the place where it would be made by accident.
//!
//! Only in tests, and only in the thread that asks for one. A checker that has never seen a seeded bug proves nothing.

use std::cell::Cell;

/// Something that must never be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeededBug {
    /// An answer does not wait for its turn to be durable.
    EarlyGate,
    /// An error does not wait for what the failed turn has read to be durable.
    EarlyError,
    /// What an earlier process left of an object's WAL is read.
    LeftoverWal,
    /// The log is released further than files are flushed.
    TrimTooFar,
    /// Pages that are not durable are copied into the database file.
    ResetNotDurable,
    /// The parts of a turn count before the last one is there.
    IncompleteParts,
    /// An alarm that its handler has set again is taken for the one that it has consumed.
    AlarmByTime,
    /// A group that is not the last one is cut as if it were.
    CutNotLast,
    /// Pages are believed without a look at their checksums.
    UncheckedPages,
    /// The WAL is given up before the checksums of its pages are written.
    LateSums,
    /// A page's hole is left out without a look at what is in it.
    HoleNotZero,
}

thread_local! {
    static PLANTED: Cell<Option<SeededBug>> = const { Cell::new(None) };
}

/// This thread makes that seeded bug from now on, and no other.
pub fn plant(bug: Option<SeededBug>) {
    PLANTED.set(bug);
}

/// Whether this thread makes it.
pub fn is_planted(bug: SeededBug) -> bool {
    PLANTED.get() == Some(bug)
}
