//! The answers that an instance owes: those of turns whose handlers have deferred them.
//!
//! A deferred answer is named by the token that the instance has got for it. What must stay true: each is answered
//! once; dropping an instance answers all that it owes with an error.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::{AbortHandle, Abortable, BoxFuture};
use futures_util::stream::FuturesUnordered;
use parking_lot::Mutex;

use super::reply::ReplyTo;
use crate::base::operation::AlarmRun;
use crate::base::socket::SocketId;
use crate::base::{CallAnswer, CallId, FetchAnswer, Occasion, TakenAlarm, TurnError};

/// The answers that one instance owes.
#[derive(Default)]
pub(super) struct Owed {
    answers: BTreeMap<u64, Entry>,
    /// The callers that may go.
    watchers: FuturesUnordered<Abortable<BoxFuture<'static, u64>>>,
}

/// A deferred answer.
pub(super) struct OwedAnswer {
    pub to: OwedTo,
    /// The call and the event whose answer it is, for the log.
    pub of: (CallId, Occasion),
}

/// The receiver of a deferred answer.
pub(super) enum OwedTo {
    /// The caller of a request.
    Fetch(ReplyTo<FetchAnswer>),
    /// The caller of a method.
    Call(ReplyTo<CallAnswer>),
    /// The connection of a WebSocket, which may wait for the end of an event. It is the socket's last one if true.
    Socket(SocketId, bool, Option<ReplyTo<()>>),
    /// The caller of this alarm, if it waits for its end.
    Alarm(TakenAlarm, Option<ReplyTo<AlarmRun>>),
}

struct Entry {
    to: EntryTo,
    of: (CallId, Occasion),
    /// When the answer is late, by `Env::elapsed`.
    until: Duration,
}

enum EntryTo {
    Fetch(Watched<FetchAnswer>),
    Call(Watched<CallAnswer>),
    Other(OwedTo),
}

/// A reply whose receiver may go, and the watch for that.
struct Watched<T>(Arc<Mutex<Option<ReplyTo<T>>>>, AbortHandle);

impl Owed {
    /// Adds an answer that is to be given before a time.
    pub(super) fn add(&mut self, token: u64, OwedAnswer { to, of }: OwedAnswer, until: Duration) {
        let to = match to {
            OwedTo::Fetch(reply) => EntryTo::Fetch(self.watch(token, reply)),
            OwedTo::Call(reply) => EntryTo::Call(self.watch(token, reply)),
            other => EntryTo::Other(other),
        };
        self.answers.insert(token, Entry { to, of, until });
    }

    fn watch<T: Send + 'static>(&mut self, token: u64, reply: ReplyTo<T>) -> Watched<T> {
        let reply = Arc::new(Mutex::new(Some(reply)));
        let (watched, (abort, registration)) = (reply.clone(), AbortHandle::new_pair());
        let gone = std::future::poll_fn(move |context| match &mut *watched.lock() {
            Some(reply) => reply.poll_abandoned(context).map(|()| token),
            None => Poll::Pending,
        });
        self.watchers.push(Abortable::new(Box::pin(gone), registration));
        Watched(reply, abort)
    }

    /// Takes an answer, to send it. Returns none if it was taken or its caller has gone.
    pub(super) fn take(&mut self, token: u64) -> Option<OwedAnswer> {
        let answer = self.answers.remove(&token)?.into_answer()?;
        if self.answers.is_empty() {
            self.watchers.clear();
        }
        Some(answer)
    }

    /// Takes all answers, in the order in which they were deferred.
    pub(super) fn take_all(&mut self) -> Vec<OwedAnswer> {
        self.watchers.clear();
        std::mem::take(&mut self.answers).into_values().filter_map(Entry::into_answer).collect()
    }

    /// Returns whether the instance owes no answer.
    pub(super) fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }

    /// Returns the token of the oldest answer, and when it is late.
    pub(super) fn first_late(&self) -> Option<(u64, Duration)> {
        self.answers.first_key_value().map(|(token, entry)| (*token, entry.until))
    }

    /// Waits until a caller has gone. Returns the token. Safe to cancel.
    pub(super) async fn gone(&mut self) -> u64 {
        loop {
            match self.watchers.next().await {
                Some(Ok(token)) if self.answers.contains_key(&token) => return token,
                Some(_) => {}
                None => return std::future::pending().await,
            }
        }
    }
}

impl Entry {
    fn into_answer(self) -> Option<OwedAnswer> {
        let to = match self.to {
            EntryTo::Other(to) => to,
            EntryTo::Fetch(reply) => OwedTo::Fetch(reply.take()?),
            EntryTo::Call(reply) => OwedTo::Call(reply.take()?),
        };
        Some(OwedAnswer { to, of: self.of })
    }
}

impl<T> Watched<T> {
    /// Takes the reply, unless its receiver has gone.
    fn take(self) -> Option<ReplyTo<T>> {
        self.1.abort();
        self.0.lock().take().filter(|reply| !reply.is_cancelled())
    }
}

impl OwedTo {
    /// Answers with an error that says nothing about what the object stores.
    pub(super) fn refuse(self, error: TurnError) {
        match self {
            Self::Fetch(reply) => reply.refuse(error),
            Self::Call(reply) => reply.refuse(error),
            Self::Socket(_, _, reply) => reply.into_iter().for_each(|reply| reply.refuse(error.clone())),
            Self::Alarm(_, reply) => reply.into_iter().for_each(|reply| reply.refuse(error.clone())),
        }
    }
}

impl Drop for Owed {
    fn drop(&mut self) {
        self.take_all().into_iter().for_each(|answer| answer.to.refuse(TurnError::InstanceDropped));
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::base::{Alarm, CallIds, Env};

    const SOON: Duration = Duration::from_secs(1);

    fn of() -> (CallId, Occasion) {
        (CallIds::new(&Env::manual(1).0).next(), Occasion::Alarm)
    }

    #[test]
    fn each_answer_is_given_once_and_none_is_forgotten() {
        let mut owed = Owed::default();
        let (fetch, waits_for_fetch) = ReplyTo::caller();
        let (socket, waits_for_socket) = ReplyTo::caller();
        let (alarm, waits_for_alarm) = ReplyTo::caller();
        let taken = TakenAlarm { serial: 1, alarm: Alarm::at(1), again: false };
        let answers =
            [OwedTo::Fetch(fetch), OwedTo::Socket(SocketId(1), true, Some(socket)), OwedTo::Alarm(taken, Some(alarm))];
        for (token, to) in (1..).zip(answers) {
            owed.add(token, OwedAnswer { to, of: of() }, SOON);
        }
        assert_eq!(owed.first_late(), Some((1, SOON)));
        let Some(OwedAnswer { to: OwedTo::Socket(SocketId(1), true, Some(reply)), .. }) = owed.take(2) else {
            panic!("it is owed")
        };
        reply.refuse(TurnError::Stopping);
        assert!(owed.take(2).is_none(), "it was given");
        assert_eq!(waits_for_socket.outcome().now_or_never(), Some(Err(TurnError::Stopping)));
        assert!(owed.take(3).is_some() && !owed.is_empty());
        drop((owed, waits_for_alarm));
        assert!(matches!(waits_for_fetch.outcome().now_or_never(), Some(Err(TurnError::InstanceDropped))));
    }

    #[test]
    fn a_caller_that_goes_is_noticed_once() {
        let mut owed = Owed::default();
        let mut waits = Vec::new();
        for token in 1..=300 {
            let (reply, pending) = ReplyTo::caller();
            owed.add(token, OwedAnswer { to: OwedTo::Fetch(reply), of: of() }, SOON);
            waits.push(pending);
        }
        assert!(owed.gone().now_or_never().is_none());
        assert!(owed.take(7).is_some(), "answered, so its caller cannot go");
        drop(waits.drain(..100));
        let mut gone: Vec<u64> = std::iter::from_fn(|| {
            let token = owed.gone().now_or_never()?;
            assert!(owed.take(token).is_none());
            Some(token)
        })
        .collect();
        gone.sort_unstable();
        assert!(gone.len() == 99 && !gone.contains(&7) && !owed.is_empty());
        assert_eq!(owed.take_all().len(), 200);
        assert!(owed.is_empty() && owed.gone().now_or_never().is_none());
    }
}
