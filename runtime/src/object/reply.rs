//! The way back to the caller of an operation: a reply that is sent once and waits at the output gate.
//!
//! Dropping the receiving end ([`Pending`]) cancels a call that is queued or waits for room for an instance. A turn
//! that has begun completes, except that of a request which has written nothing and only waits: it is rolled back.

use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::outbox::Outbox;
use super::output_gate::{self, Gated};
use super::ticket::Ticket;
use crate::base::TurnError;

/// The receiver of a turn's outcome.
pub enum ReplyTo<T> {
    /// A caller, who cancels the call by dropping its [`Pending`].
    Caller(Caller<T>),
    /// None: the outcome is dropped. The permit is held until the turn is over.
    Nobody(OwnedSemaphorePermit),
}

/// The sending end of a reply.
pub struct Caller<T> {
    sender: oneshot::Sender<Answer<T>>,
    /// If the caller is another object.
    ticket: Option<Arc<Ticket>>,
}

/// An outcome behind the gate, and what the object has sent that must be released before it: a caller that sees the
/// outcome must also see what was sent before.
pub(super) struct Answer<T> {
    pub(super) outcome: Gated<Result<T, TurnError>>,
    pub(super) after: Option<Outbox>,
}

/// The receiving end of the reply to a call that was taken.
pub struct Pending<T> {
    reply: oneshot::Receiver<Answer<T>>,
}

impl<T> ReplyTo<T> {
    /// Creates a reply and its receiving end.
    pub fn caller() -> (Self, Pending<T>) {
        Self::with(None)
    }

    /// Creates the reply to a call of another object.
    pub fn calling(ticket: Arc<Ticket>) -> (Self, Pending<T>) {
        Self::with(Some(ticket))
    }

    fn with(ticket: Option<Arc<Ticket>>) -> (Self, Pending<T>) {
        let (sender, reply) = oneshot::channel();
        (Self::Caller(Caller { sender, ticket }), Pending { reply })
    }

    /// Returns the ticket of the call, if the caller is another object.
    pub(super) fn ticket(&self) -> Option<Arc<Ticket>> {
        match self {
            Self::Caller(Caller { ticket, .. }) => ticket.clone(),
            Self::Nobody(_) => None,
        }
    }

    /// Sends the outcome, to be seen after what `after` releases.
    pub(super) fn send(self, outcome: Gated<Result<T, TurnError>>, after: Option<Outbox>) {
        if let Self::Caller(Caller { sender, ticket }) = self {
            // Before this object takes its next turn, which may call the one that waits.
            ticket.iter().for_each(|ticket| ticket.end_wait());
            // The caller may have dropped the receiving end; the turn has happened all the same.
            let _ = sender.send(Answer { outcome, after });
        }
    }

    /// Sends an answer that says nothing about what the object stores, so it need not wait at the gate.
    pub(super) fn send_at_once(self, answer: T) {
        self.send(output_gate::of_host(Ok(answer)), None);
    }

    /// Sends an error that says nothing about what the object stores, so it need not wait at the gate.
    pub(super) fn refuse(self, error: TurnError) {
        self.send(output_gate::of_host(Err(error)), None);
    }

    /// Returns a future that ends when the caller drops its receiving end; it pends forever if there is no caller.
    pub(super) fn abandoned(&mut self) -> impl Future<Output = ()> + Send + Unpin + '_
    where
        T: Send,
    {
        std::future::poll_fn(move |context| self.poll_abandoned(context))
    }

    /// Polls whether the caller has dropped its receiving end.
    pub(super) fn poll_abandoned(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Caller(Caller { sender, .. }) => sender.poll_closed(context),
            Self::Nobody(_) => Poll::Pending,
        }
    }

    /// Returns the reply, if somebody waits for it.
    pub(super) fn awaited(self) -> Option<Self> {
        matches!(self, Self::Caller(_)).then_some(self)
    }

    /// Returns whether the caller has dropped its receiving end.
    pub(super) fn is_cancelled(&self) -> bool {
        match self {
            Self::Caller(Caller { sender, ticket }) => {
                sender.is_closed() || ticket.as_ref().is_some_and(|ticket| ticket.is_withdrawn())
            }
            Self::Nobody(_) => false,
        }
    }
}

impl<T> Pending<T> {
    /// Waits until the turn has ended and the output gate opens. Returns the outcome.
    pub async fn outcome(self) -> Result<T, TurnError> {
        let Ok(Answer { outcome, after }) = self.reply.await else {
            return Err(TurnError::Host("the object ended before its turn did".into()));
        };
        let Ok(outcome) = output_gate::open(outcome).await else { return Err(TurnError::OutcomeUnknown) };
        after.iter().for_each(Outbox::flush);
        outcome
    }
}
