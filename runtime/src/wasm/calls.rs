//! Calls of the running turn to other objects: who delivers them, and what the turn may still do.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::base::limits::{CALL_DEPTH_MAX, CALL_TIMEOUT_MS, CALLS_PER_CHAIN, CALLS_PER_TURN};
use crate::base::{
    Call, CallAnswer, CallBudget, CallError, CallId, Calls, Cause, Chain, ClassKey, ClassName, FetchAnswer, MethodCall,
    ObjectAddress, Request, TraceContext,
};

/// Delivers the calls of objects to other objects.
pub trait Caller: Send + Sync {
    /// Returns the key of the class with this name.
    fn class(&self, name: &ClassName) -> Option<ClassKey>;

    /// Creates the id of a new call.
    fn call_id(&self) -> CallId;

    /// Puts a call into the mailbox of its target, and returns its outcome to be awaited. Calls of one object to one
    /// object are delivered in the order in which they are made. Dropping the outcome withdraws a call whose turn has
    /// not begun.
    fn call(&self, call: Call<MethodCall>) -> Calling<CallAnswer>;

    /// Does the same with a request.
    fn fetch(&self, call: Call<Request>) -> Calling<FetchAnswer>;
}

/// The outcome of a call.
pub type Calling<T> = BoxFuture<'static, Result<T, CallError>>;

/// The calls that an instance may make.
#[derive(Clone)]
pub struct CallerOf {
    /// The classes that it may call.
    pub calls: Arc<Calls>,
    /// Delivers its calls.
    pub caller: Arc<dyn Caller>,
}

/// The calls of one turn.
pub(super) struct TurnCalls {
    chain: Chain,
    trace: Option<TraceContext>,
    caller: Option<Arc<ObjectAddress>>,
    cause: Cause,
    /// When the turn is given up, by `Env::elapsed`.
    ends: Duration,
    made: u32,
}

impl TurnCalls {
    /// Begins the turn of a call at this time, with this limit.
    pub(super) fn begin(call: &Call<()>, now: Duration, limit: Duration) -> Self {
        let ends = now.saturating_add(limit);
        let ends = call.deadline.map_or(ends, |deadline| deadline.min(ends));
        let caller = call.principal.object().cloned();
        Self { chain: call.chain.clone(), trace: call.trace, caller, cause: call.cause, ends, made: 0 }
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
    use crate::base::{CallIds, Env, ObjectId, ObjectName, Principal};

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
