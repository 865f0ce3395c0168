//! The output gate. **Durable before visible:** no outcome of an object is released before everything that the object
//! has applied is durable.
//!
//! The rule is a type. A turn ends as [`Gated<T>`], which has no accessor; only [`open`] and [`open_now`] return the
//! value, once the position is durable. Errors are gated like answers, because they too depend on what the turn has
//! read. The next turn does not wait; it starts as soon as this one is applied. What waits when the object's lane is
//! lost is never released, because it is unknown whether it is durable.

use crate::base::TurnError;
#[cfg(test)]
use crate::base::seeded_bugs::{self, SeededBug};
use crate::storage::{DurableWatch, LaneLost, Lsn};

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
    #[cfg(test)]
    if seeded_bugs::is_planted(SeededBug::EarlyGate) {
        return Gated { value, waits_for: None };
    }
    let waits_for = (!durable.covers(applied)).then(|| (applied, durable.clone()));
    Gated { value, waits_for }
}

/// Puts the outcome of a turn behind the gate.
pub(super) fn hold_outcome<T>(
    outcome: Result<T, TurnError>,
    applied: Lsn,
    durable: &DurableWatch,
) -> Gated<Result<T, TurnError>> {
    #[cfg(test)]
    if outcome.is_err() && seeded_bugs::is_planted(SeededBug::EarlyError) {
        return Gated { value: outcome, waits_for: None };
    }
    hold(outcome, applied, durable)
}

/// Returns an outcome that waits for nothing, because it says nothing about what the object stores.
pub(super) fn of_host<T>(outcome: Result<T, TurnError>) -> Gated<Result<T, TurnError>> {
    Gated { value: outcome, waits_for: None }
}

impl<T> Gated<T> {
    /// Returns the position that the value waits for and the watch of its lane, or none if it may be released.
    pub(super) fn waits_for(&self) -> Option<(Lsn, DurableWatch)> {
        self.waits_for.clone().filter(|(applied, durable)| !durable.covers(*applied))
    }
}

/// Returns the value if it may be released now.
pub(super) fn open_now<T>(gated: Gated<T>) -> Result<T, Gated<T>> {
    match gated.waits_for() {
        None => Ok(gated.value),
        Some(_) => Err(gated),
    }
}

/// Waits until the value may be released. Fails if the lane is lost before.
pub(super) async fn open<T>(gated: Gated<T>) -> Result<T, LaneLost> {
    if let Some((applied, mut durable)) = gated.waits_for {
        durable.reached(applied).await?;
    }
    Ok(gated.value)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::sync::watch;

    use super::*;
    use crate::storage::Durable;

    #[tokio::test]
    async fn a_value_leaves_when_it_is_durable_and_never_once_its_lane_is_lost() {
        let (lane, durable) = watch::channel(Durable::Upto(Lsn(1)));
        let durable = DurableWatch::of(durable);
        assert_eq!(open(hold("at once", Lsn(1), &durable)).now_or_never(), Some(Ok("at once")));
        let [waits, is_lost] = [hold("later", Lsn(2), &durable), hold("never", Lsn(3), &durable)];
        let waits = open_now(waits).unwrap_err();
        lane.send_replace(Durable::Upto(Lsn(2)));
        assert_eq!(open(waits).await, Ok("later"));
        lane.send_replace(Durable::Lost);
        assert_eq!(open(is_lost).await, Err(LaneLost));
        assert_eq!(open(hold("what was durable", Lsn(1), &durable)).await, Err(LaneLost), "it may be out of date");
        let (lane, durable) = watch::channel(Durable::Upto(Lsn(1)));
        drop(lane);
        assert_eq!(open(hold("the log is gone", Lsn(2), &DurableWatch::of(durable))).await, Err(LaneLost));
    }
}
