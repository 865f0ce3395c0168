//! What turns send over WebSockets, on its way through the output gate. It is released in the order of the turns, each
//! turn's part as soon as it is durable, independently of the actor.
//!
//! What must stay true: an actor that leaves has released everything, so what its successor's turns send comes after
//! it; an outcome is not seen before what its turn, and those before it, have sent and set. When the object's lane is
//! lost, what waits is dropped, because it is unknown whether the turns that sent it are durable.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

use super::output_gate::{self, Gated};
use crate::sockets::Release;

/// Releases that wait until they are durable.
#[derive(Default)]
pub(super) struct Outbox(Arc<Mutex<VecDeque<Gated<Release>>>>);

impl Outbox {
    /// Puts a release in. It is released when those before it are released and it is durable, which may be now.
    pub(super) fn put(&self, release: Gated<Release>) {
        let mut waiting = self.0.lock();
        waiting.push_back(release);
        let (first, nobody_waits) = (waiting.len() == 1, self.empty(&mut waiting));
        if first && !nobody_waits {
            let outbox = Self(self.0.clone());
            tokio::spawn(async move { outbox.wait_and_empty().await });
        }
    }

    /// Returns the outbox if something waits in it, for an outcome that must be released after that.
    pub(super) fn if_waiting(&self) -> Option<Self> {
        (!self.0.lock().is_empty()).then(|| Self(self.0.clone()))
    }

    /// Releases what is durable.
    pub(super) fn flush(&self) {
        self.empty(&mut self.0.lock());
    }

    async fn wait_and_empty(self) {
        loop {
            let waits_for = match self.0.lock().front() {
                Some(first) => first.waits_for(),
                None => return,
            };
            if let Some((applied, mut durable)) = waits_for
                && durable.reached(applied).await.is_err()
            {
                return self.drop_all();
            }
            self.flush();
        }
    }

    /// Drops what waits, because the object's lane is lost.
    pub(super) fn drop_all(&self) {
        let waiting = std::mem::take(&mut *self.0.lock());
        // Outside of the lock, because dropping gives memory back.
        drop(waiting);
    }

    /// Releases what is durable, from the front. Returns whether nothing is left.
    fn empty(&self, waiting: &mut VecDeque<Gated<Release>>) -> bool {
        while let Some(first) = waiting.pop_front() {
            match output_gate::open_now(first) {
                Ok(release) => release.now(),
                Err(not_yet) => {
                    waiting.push_front(not_yet);
                    return false;
                }
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::watch;

    use super::*;
    use crate::base::TurnError;
    use crate::base::socket::AutoResponse;
    use crate::base::{ClassKey, Env, HostMemory, ObjectId};
    use crate::object::reply::ReplyTo;
    use crate::sockets::{SocketTurn, Sockets};
    use crate::storage::{Durable, DurableWatch, Lsn};

    /// A client that has the answer of a turn sees what the turn has set, also when another task had to release it.
    #[tokio::test]
    async fn what_a_turn_has_set_is_in_force_before_its_answer_is_seen() {
        let (lane, durable, release) = release();
        let of = release.of().clone();
        let outbox = Outbox::default();
        outbox.put(output_gate::hold(release, Lsn(1), &durable));
        let (reply, pending) = ReplyTo::caller();
        reply.send(output_gate::hold_outcome(Ok(()), Lsn(1), &durable), outbox.if_waiting());
        assert!(!of.answers_by_itself());
        lane.send_replace(Durable::Upto(Lsn(1)));
        // Nothing else runs meanwhile: this test has one thread, and what is awaited is ready.
        pending.outcome().await.unwrap();
        assert!(of.answers_by_itself() && outbox.if_waiting().is_none());
    }

    #[tokio::test]
    async fn what_waits_when_the_lane_is_lost_is_dropped_and_its_outcome_is_unknown() {
        let (lane, durable, release) = release();
        let of = release.of().clone();
        let outbox = Outbox::default();
        outbox.put(output_gate::hold(release, Lsn(1), &durable));
        let (reply, pending) = ReplyTo::caller();
        reply.send(output_gate::hold_outcome(Ok(()), Lsn(1), &durable), outbox.if_waiting());
        lane.send_replace(Durable::Lost);
        assert_eq!(pending.outcome().await, Err(TurnError::OutcomeUnknown));
        while outbox.if_waiting().is_some() {
            tokio::task::yield_now().await;
        }
        assert!(!of.answers_by_itself());
    }

    /// A lane of which nothing is durable, and what the first turn on it has set.
    fn release() -> (watch::Sender<Durable>, DurableWatch, Release) {
        let (lane, durable) = watch::channel(Durable::Upto(Lsn(0)));
        let sockets =
            Arc::new(Sockets::new(Arc::default(), HostMemory::new(1 << 30), Arc::default(), Env::manual(1).0));
        let object = (ObjectId::from_bytes([1; 32]), ClassKey::new("key"));
        let mut turn = SocketTurn::begin(sockets, object, None, None);
        let pair = AutoResponse { request: "hi".into(), response: "ho".into() };
        turn.set_auto_response(Some(pair)).unwrap();
        (lane, DurableWatch::of(durable), turn.apply(false).unwrap())
    }
}
