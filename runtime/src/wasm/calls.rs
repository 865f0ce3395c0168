//! Calls of the running turn to other objects: how many it may still make, and which have not ended.

use std::sync::Arc;
use std::time::Duration;

use super::pending::Slot;
use crate::base::limits::{CALL_DEPTH_MAX, CALL_TIMEOUT_MS, CALLS_AT_ONCE, CALLS_PER_CHAIN, CALLS_PER_TURN};
use crate::base::{Call, CallBudget, CallError, CallId, Cause, Chain, ObjectAddress, TraceContext};

/// The calls of one turn.
pub(super) struct TurnCalls {
    chain: Chain,
    trace: Option<TraceContext>,
    caller: Option<Arc<ObjectAddress>>,
    cause: Cause,
    /// When the turn is given up, by `Env::elapsed`.
    ends: Duration,
    made: u32,
    /// The calls that were begun, as far as they may not have ended.
    pending: Vec<Arc<Slot>>,
}

impl Drop for TurnCalls {
    /// Cancels what the turn has begun and not finished.
    fn drop(&mut self) {
        self.pending.iter().for_each(|pending| pending.cancel());
    }
}

impl TurnCalls {
    /// Begins the turn of a call at this time, with this limit.
    pub(super) fn begin(call: &Call<()>, now: Duration, limit: Duration) -> Self {
        let ends = now.saturating_add(limit);
        let ends = call.deadline.map_or(ends, |deadline| deadline.min(ends));
        let caller = call.principal.object().cloned();
        Self {
            chain: call.chain.clone(),
            trace: call.trace,
            caller,
            cause: call.cause,
            ends,
            made: 0,
            pending: Vec::new(),
        }
    }

    /// Returns the object that waits for the turn.
    pub(super) fn caller(&self) -> Option<&ObjectAddress> {
        self.caller.as_deref()
    }

    /// Returns when the turn is given up; none in a resume.
    pub(super) fn ends(&self) -> Option<Duration> {
        (self.cause != Cause::Resume).then_some(self.ends)
    }

    /// Returns the chain's budget of calls.
    pub(super) fn budget(&mut self) -> &CallBudget {
        self.chain.budget()
    }

    /// Counts a call that is to be made. Returns when it fails.
    pub(super) fn make(&mut self, now: Duration, timeout_ms: Option<u32>) -> Result<Duration, CallError> {
        if self.chain.depth() >= CALL_DEPTH_MAX {
            let why = format!("{CALL_DEPTH_MAX} turns wait for one another already; call fewer objects in a row");
            return Err(CallError::not_run("call-depth", why));
        }
        if self.made >= CALLS_PER_TURN {
            let why = format!("a turn makes at most {CALLS_PER_TURN} calls");
            return Err(CallError::not_run("too-many-calls", why));
        }
        if !self.chain.budget().take() {
            let why = format!("a request and all that it causes make at most {CALLS_PER_CHAIN} calls");
            return Err(CallError::not_run("too-many-calls", why));
        }
        self.made += 1;
        let timeout = Duration::from_millis(timeout_ms.unwrap_or(CALL_TIMEOUT_MS).into());
        let deadline = now.saturating_add(timeout).min(self.ends);
        if deadline <= now {
            Err(CallError::not_run("deadline", "there is no time left for the call"))
        } else {
            Ok(deadline)
        }
    }

    /// Checks whether another call may be begun.
    pub(super) fn may_begin(&mut self) -> Result<(), CallError> {
        self.pending.retain(|pending| pending.is_running());
        match self.pending.len() < CALLS_AT_ONCE {
            true => Ok(()),
            false => {
                let why = format!("a turn has at most {CALLS_AT_ONCE} calls that have not ended; finish one");
                Err(CallError::not_run("too-many-calls", why))
            }
        }
    }

    /// Adds a call that was begun.
    pub(super) fn begun(&mut self, pending: Arc<Slot>) {
        self.pending.push(pending);
    }

    /// Returns the envelope of a call that this object makes.
    pub(super) fn envelope<E>(
        &self,
        id: CallId,
        (from, to): (&ObjectAddress, ObjectAddress),
        deadline: Duration,
        event: E,
    ) -> Call<E> {
        let mut chain = self.chain.clone();
        chain.through.push(from.id);
        let principal = crate::base::Principal::Object(Arc::new(from.clone()));
        let deadline = Some(deadline);
        Call { chain, deadline, trace: self.trace, ..Call::new(id, to, (Cause::Object, principal), event) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{CallIds, ClassKey, ClassName, Env, ObjectId, ObjectName, Principal};

    fn turn(depth: usize, deadline: Option<Duration>) -> TurnCalls {
        let (key, name) = (ClassKey::new("key"), ObjectName::parse("a").unwrap());
        let id = ObjectId::from_name(&key, &name);
        let address = ObjectAddress { class: ClassName::parse("room").unwrap(), key, id, name: Some(name) };
        let ids = CallIds::new(&Env::manual(1).0);
        let call = Call::new(ids.next(), address, (Cause::Http, Principal::Client), ());
        let mut chain = call.chain.clone();
        chain.through = vec![id; depth];
        TurnCalls::begin(&Call { chain, deadline, ..call }, at(100), at(900))
    }

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn no_call_outlives_what_waits_for_it() {
        let mut root = turn(0, None);
        assert_eq!(root.make(at(100), None), Ok(at(130)));
        assert_eq!(root.make(at(990), None), Ok(at(1000)));
        assert_eq!(root.make(at(100), Some(u32::MAX)), Ok(at(1000)));
        assert_eq!(root.make(at(1000), None).unwrap_err().code, "deadline");
        let mut called = turn(1, Some(at(110)));
        assert_eq!((called.make(at(100), None), called.ends()), (Ok(at(110)), Some(at(110))));
    }

    #[test]
    fn depth_turn_and_chain_have_their_limits() {
        assert_eq!(turn(CALL_DEPTH_MAX, None).make(at(100), None).unwrap_err().code, "call-depth");
        let mut deepest = turn(CALL_DEPTH_MAX - 1, None);
        for _ in 0..CALLS_PER_TURN {
            assert!(deepest.make(at(100), None).is_ok());
        }
        assert_eq!(deepest.make(at(100), None).unwrap_err().code, "too-many-calls");
        let budget = deepest.budget().clone();
        assert_eq!(budget.made(), CALLS_PER_TURN);
        while budget.take() {}
        assert_eq!(budget.made(), CALLS_PER_CHAIN);
        let mut other = turn(1, None);
        other.chain.budget = Some(budget);
        assert_eq!(other.make(at(100), None).unwrap_err().code, "too-many-calls");
    }
}
