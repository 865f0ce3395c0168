//! The output gate: nothing leaves an object before everything it has applied is durable.
//!
//! The rule is a type. A turn ends as [`Gated<T>`], which has no accessor; [`open`] waits for the durable position and
//! only then gives the value out. Errors are gated like answers: they, too, tell of what the turn has read. The next turn does
//! not wait; it starts as soon as this one is applied.

use crate::storage::{DurableWatch, Lsn};

/// A value that waits for a position to be durable.
#[must_use = "an outcome that nobody opens is an answer that nobody gets"]
#[derive(Debug)]
pub(super) struct Gated<T> {
    value: T,
    /// None if the position was durable when the value came to the gate.
    waits_for: Option<(Lsn, DurableWatch)>,
}

/// Puts a value behind the gate of an object that has applied everything up to `applied`.
pub(super) fn hold<T>(value: T, applied: Lsn, durable: &DurableWatch) -> Gated<T> {
    let waits_for = (!durable.covers(applied)).then(|| (applied, durable.clone()));
    Gated { value, waits_for }
}

impl<T> Gated<T> {
    /// The position that it waits for, and who tells of it. None if it may leave.
    pub(super) fn waits_for(&self) -> Option<(Lsn, DurableWatch)> {
        self.waits_for.clone().filter(|(applied, durable)| !durable.covers(*applied))
    }
}

/// The value, if it may leave.
pub(super) fn open_now<T>(gated: Gated<T>) -> Result<T, Gated<T>> {
    match gated.waits_for() {
        None => Ok(gated.value),
        Some(_) => Err(gated),
    }
}

/// Waits until the value may leave.
pub(super) async fn open<T>(gated: Gated<T>) -> T {
    if let Some((applied, mut durable)) = gated.waits_for {
        durable.reached(applied).await;
    }
    gated.value
}
