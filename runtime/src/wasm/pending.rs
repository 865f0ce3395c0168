//! A call that was begun, between the guest that holds it and the turn that cancels it when it ends.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use parking_lot::Mutex;

use super::caller::{CallWait, Calling, Started};
use crate::base::{CallAnswer, CallError, FetchAnswer};

/// A call that was begun.
pub struct Slot {
    state: Mutex<State>,
    wait: Arc<dyn CallWait>,
}

/// The answer of a call or a request.
pub(super) enum Answered {
    Value(CallAnswer),
    Response(FetchAnswer),
}

enum State {
    /// → `Ended`, `Taken`
    Running(Calling<Answered>),
    /// → `Taken`
    Ended(Result<Answered, CallError>),
    /// The outcome was returned, or the call is cancelled.
    Taken,
}

impl Slot {
    /// Holds a call that was begun; `answered` says what its answer is.
    pub(super) fn new<T: 'static>(Started { outcome, wait }: Started<T>, answered: fn(T) -> Answered) -> Arc<Self> {
        let outcome = Box::pin(async move { outcome.await.map(answered) });
        Arc::new(Self { state: Mutex::new(State::Running(outcome)), wait })
    }

    /// Returns whether it has not ended, as far as is known.
    pub(super) fn is_running(&self) -> bool {
        matches!(*self.state.lock(), State::Running(_))
    }

    /// Withdraws the call if its turn has not begun, and forgets its outcome.
    pub(super) fn cancel(&self) {
        let state = std::mem::replace(&mut *self.state.lock(), State::Taken);
        // Outside of the lock.
        drop(state);
    }

    /// Polls whether the call has ended.
    pub(super) fn poll_ended(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.state.lock();
        let State::Running(outcome) = &mut *state else { return Poll::Ready(()) };
        outcome.as_mut().poll(context).map(|outcome| *state = State::Ended(outcome))
    }

    /// Waits for the end while the caller does nothing else. A wait that could never end is its end.
    pub(super) async fn ended(&self) {
        let begun = poll_fn(|context| {
            let is_ended = self.poll_ended(context).is_ready();
            Poll::Ready(if is_ended { None } else { Some(self.wait.begin()) })
        });
        match begun.await {
            None => {}
            Some(Err(error)) => {
                let state = std::mem::replace(&mut *self.state.lock(), State::Ended(Err(error)));
                drop(state);
            }
            Some(Ok(())) => {
                let _pauses = Pauses(&*self.wait);
                poll_fn(|context| self.poll_ended(context)).await;
            }
        }
    }

    /// Takes the outcome of a call that has ended; none if it was taken.
    pub(super) fn take(&self) -> Option<Result<Answered, CallError>> {
        let mut state = self.state.lock();
        match std::mem::replace(&mut *state, State::Taken) {
            State::Ended(outcome) => Some(outcome),
            running @ State::Running(_) => {
                *state = running;
                None
            }
            State::Taken => None,
        }
    }
}

/// Ends the wait of the caller when it is dropped.
struct Pauses<'a>(&'a dyn CallWait);

impl Drop for Pauses<'_> {
    fn drop(&mut self) {
        self.0.pause();
    }
}
