//! Seeded bugs: faults that the simulation must detect, each at the place where it could be made by accident.
//!
//! Only in tests, and only in the thread that plants one. A checker that has never detected a seeded bug proves
//! nothing.

use std::cell::Cell;

/// A deliberate fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeededBug {
    /// An answer is sent before its turn is durable.
    EarlyGate,
    /// An error is sent before what the failed turn has read is durable.
    EarlyError,
    /// The WAL that an earlier process left of an object is read.
    LeftoverWal,
    /// The log is trimmed beyond what is flushed in database files.
    TrimTooFar,
    /// Pages that are not durable are copied into the database file.
    ResetNotDurable,
    /// The parts of a turn count before the last one has arrived.
    IncompleteParts,
    /// An alarm that its handler has set again is taken for the consumed one.
    AlarmByTime,
    /// A group that is not the last one is cut as if it were.
    CutNotLast,
    /// Pages are accepted without a check of their checksums.
    UncheckedPages,
    /// The WAL is discarded before the checksums of its pages are written.
    LateSums,
    /// A page's hole is left out without a check of its content.
    HoleNotZero,
}

thread_local! {
    static PLANTED: Cell<Option<SeededBug>> = const { Cell::new(None) };
}

/// Plants a seeded bug in this thread, and removes any other.
pub fn plant(bug: Option<SeededBug>) {
    PLANTED.set(bug);
}

/// Reports whether the bug is planted in this thread.
pub fn is_planted(bug: SeededBug) -> bool {
    PLANTED.get() == Some(bug)
}
