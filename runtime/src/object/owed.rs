//! The answers that an instance owes: those of turns whose handlers have deferred them.
//!
//! A deferred answer is named by a token, which the instance never uses again. What must stay true: each is answered
//! once; dropping an instance answers all that it owes with an error.

use std::collections::BTreeMap;

use super::reply::ReplyTo;
use crate::base::operation::AlarmRun;
use crate::base::{FetchAnswer, TurnError};

/// Answers that one instance may owe.
const OWED_MAX: usize = 1_000;

/// The answers that one instance owes.
#[derive(Default)]
pub(super) struct Owed {
    last: u64,
    answers: BTreeMap<u64, OwedAnswer>,
}

/// A deferred answer, by what it answers.
#[cfg_attr(not(test), expect(dead_code, reason = "no handler can defer its answer yet"))]
pub(super) enum OwedAnswer {
    /// A request.
    Fetch(ReplyTo<FetchAnswer>),
    /// An event of a WebSocket.
    Socket(ReplyTo<()>),
    /// The alarm.
    Alarm(ReplyTo<AlarmRun>),
}

impl Owed {
    /// Defers an answer. Returns its token, or the answer if the instance owes as many as it may.
    #[cfg_attr(not(test), expect(dead_code, reason = "no handler can defer its answer yet"))]
    pub(super) fn defer(&mut self, answer: OwedAnswer) -> Result<u64, OwedAnswer> {
        if self.answers.len() >= OWED_MAX {
            return Err(answer);
        }
        self.last += 1;
        self.answers.insert(self.last, answer);
        Ok(self.last)
    }

    /// Takes an answer, to send it. Returns none if it was taken or its caller has dropped the receiving end.
    #[cfg_attr(not(test), expect(dead_code, reason = "no handler can defer its answer yet"))]
    pub(super) fn take(&mut self, token: u64) -> Option<OwedAnswer> {
        self.answers.remove(&token).filter(|answer| !answer.is_gone())
    }

    /// Returns whether the instance owes no answer.
    pub(super) fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }
}

impl OwedAnswer {
    fn is_gone(&self) -> bool {
        match self {
            Self::Fetch(reply) => reply.is_cancelled(),
            Self::Socket(reply) => reply.is_cancelled(),
            Self::Alarm(reply) => reply.is_cancelled(),
        }
    }

    fn refuse(self, error: TurnError) {
        match self {
            Self::Fetch(reply) => reply.refuse(error),
            Self::Socket(reply) => reply.refuse(error),
            Self::Alarm(reply) => reply.refuse(error),
        }
    }
}

impl Drop for Owed {
    fn drop(&mut self) {
        let error = || TurnError::Host("the object's instance was dropped before it had answered".into());
        std::mem::take(&mut self.answers).into_values().for_each(|answer| answer.refuse(error()));
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn each_answer_is_given_once_and_none_is_forgotten() {
        let mut owed = Owed::default();
        let (fetch, waits_for_fetch) = ReplyTo::caller();
        let (socket, waits_for_socket) = ReplyTo::caller();
        let (alarm, waits_for_alarm) = ReplyTo::caller();
        let tokens = [OwedAnswer::Fetch(fetch), OwedAnswer::Socket(socket), OwedAnswer::Alarm(alarm)];
        let tokens = tokens.map(|answer| owed.defer(answer).ok().unwrap());
        let Some(OwedAnswer::Socket(reply)) = owed.take(tokens[1]) else { panic!("it is owed") };
        reply.refuse(TurnError::Stopping);
        assert!(owed.take(tokens[1]).is_none(), "it was given");
        assert_eq!(waits_for_socket.outcome().now_or_never(), Some(Err(TurnError::Stopping)));
        drop(waits_for_alarm);
        assert!(owed.take(tokens[2]).is_none() && !owed.is_empty(), "nobody waits for it");
        drop(owed);
        assert!(matches!(waits_for_fetch.outcome().now_or_never(), Some(Err(TurnError::Host(_)))));
    }

    #[test]
    fn an_instance_owes_no_more_than_it_may() {
        let mut owed = Owed::default();
        let mut defer = || owed.defer(OwedAnswer::Socket(ReplyTo::caller().0)).is_ok();
        assert!((0..OWED_MAX).all(|_| defer()) && !defer());
    }
}
