//! The way back to the caller of an operation: a reply that is sent once and waits at the output gate.
//!
//! Dropping the receiving end ([`Pending`]) cancels an operation that is still queued. A turn that has begun completes, except that of a
//! request which has written nothing and only waits: it is rolled back.

use std::task::Poll;

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::outbox::Outbox;
use super::output_gate::{self, Gated};
use crate::base::TurnError;

/// Who is told how a turn ended.
pub enum ReplyTo<T> {
    /// Somebody who waits for it, and cancels what need not be finished by waiting no more.
    Caller(Caller<T>),
    /// Nobody. The permit is held until the turn is over.
    Nobody(OwnedSemaphorePermit),
}

/// The way back to a caller.
pub struct Caller<T>(oneshot::Sender<Answer<T>>);

/// An outcome behind the gate, and what the object has sent that must leave before it: whoever sees the outcome must meet what
/// came before.
pub(super) struct Answer<T> {
    pub(super) outcome: Gated<Result<T, TurnError>>,
    pub(super) after: Option<Outbox>,
}

/// A call that was taken, with its answer to come.
pub struct Pending<T> {
    reply: oneshot::Receiver<Answer<T>>,
}

impl<T> ReplyTo<T> {
    /// To a caller, who has the other end.
    pub fn caller() -> (Self, Pending<T>) {
        let (sender, reply) = oneshot::channel();
        (Self::Caller(Caller(sender)), Pending { reply })
    }

    pub(super) fn send(self, outcome: Gated<Result<T, TurnError>>, after: Option<Outbox>) {
        if let Self::Caller(Caller(sender)) = self {
            // Nobody may be waiting any more; the turn has happened all the same.
            let _ = sender.send(Answer { outcome, after });
        }
    }

    /// Answers with an error that tells nothing of what the object stores.
    pub(super) fn refuse(self, error: TurnError) {
        self.send(output_gate::of_host(error), None);
    }

    /// Ends when nobody waits for the reply any more; never, if nobody ever did.
    pub(super) fn abandoned(&mut self) -> impl Future<Output = ()> + Send + Unpin + '_
    where
        T: Send,
    {
        std::future::poll_fn(move |context| match self {
            Self::Caller(Caller(sender)) => sender.poll_closed(context),
            Self::Nobody(_) => Poll::Pending,
        })
    }

    pub(super) fn is_cancelled(&self) -> bool {
        matches!(self, Self::Caller(Caller(sender)) if sender.is_closed())
    }
}

impl<T> Pending<T> {
    /// Returns the outcome, once the output gate lets it out.
    pub async fn outcome(self) -> Result<T, TurnError> {
        let Ok(Answer { outcome, after }) = self.reply.await else {
            return Err(TurnError::Host("the object ended before its turn did".into()));
        };
        let Ok(outcome) = output_gate::open(outcome).await else { return Err(TurnError::OutcomeUnknown) };
        after.iter().for_each(Outbox::flush);
        outcome
    }
}
