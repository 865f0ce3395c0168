//! Calls of objects to other objects: what the caller waits for, and what it receives for a call that failed.
//!
//! What must stay true: a call that is reported as not run has not run; a wait that cannot end is refused at once; a
//! caller waits no longer than its time and a second.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use super::Operation;
use super::delivery::Delivery;
use crate::base::env::TimedOut;
use crate::base::metrics::Code;
use crate::base::{
    Call, CallAnswer, CallError, CallId, ClassKey, ClassName, Env, Fate, FetchAnswer, MethodCall, ObjectAddress,
    Request, TurnError,
};
use crate::object::reply::{Pending, ReplyTo};
use crate::object::{Cycle, HostContext, Ticket};
use crate::wasm::{CallWait, Caller, Calling, Started};

/// How long a caller waits beyond its time for a turn that runs: its end is near, because its time is up, too.
const GRACE: Duration = Duration::from_secs(1);

impl Caller for Delivery {
    fn class(&self, name: &ClassName) -> Option<ClassKey> {
        self.classes.get(name).map(|class| class.key.clone())
    }

    fn call_id(&self) -> CallId {
        self.host.calls.next()
    }

    fn call(&self, call: Call<MethodCall>) -> Calling<CallAnswer> {
        self.begin_call(call, true).outcome
    }

    fn fetch(&self, call: Call<Request>) -> Calling<FetchAnswer> {
        self.begin_call(call, true).outcome
    }

    fn start(&self, call: Call<MethodCall>) -> Started<CallAnswer> {
        self.begin_call(call, false)
    }

    fn start_fetch(&self, call: Call<Request>) -> Started<FetchAnswer> {
        self.begin_call(call, false)
    }
}

impl Delivery {
    /// Delivers a call. `waits` says whether its caller waits for it from now on.
    fn begin_call<O: Operation>(&self, call: Call<O>, waits: bool) -> Started<O::Answer> {
        let (host, deadline) = (self.host.clone(), call.deadline.unwrap_or(Duration::MAX));
        let from = call.principal.object().cloned();
        let wait =
            CallersWait { host: host.clone(), from, to: Arc::new(call.target.clone()), ticket: Ticket::new(None) };
        let begun = self.deliver_call(call, waits.then_some(&wait), wait.ticket.clone());
        match &begun {
            Ok(_) => _ = host.metrics.calls.inc(),
            Err(error) => {
                host.metrics.calls_not_run.get_or_create(&Code { code: not_run_code(error) }).inc();
            }
        }
        let outcome = Box::pin(async move {
            let (waiting, pending) = begun?;
            waiting.outcome(&host.env, pending, deadline).await
        });
        Started { outcome, wait: Arc::new(wait) }
    }

    fn deliver_call<O: Operation>(
        &self,
        call: Call<O>,
        wait: Option<&CallersWait>,
        ticket: Arc<Ticket>,
    ) -> Result<(Waiting, Pending<O::Answer>), CallError> {
        let waiting = Waiting(ticket.clone());
        // Before it is delivered: it has not run if it is refused.
        wait.map_or(Ok(()), CallWait::begin)?;
        let (reply, pending) = ReplyTo::calling(ticket);
        let put = self.put(call.with(|operation| operation.event(reply)));
        put.map_err(|error| CallError::of_turn(error, Fate::NotRun))?;
        Ok((waiting, pending))
    }
}

/// The wait of an object for the call that it makes.
struct CallersWait {
    host: Arc<HostContext>,
    from: Option<Arc<ObjectAddress>>,
    to: Arc<ObjectAddress>,
    ticket: Arc<Ticket>,
}

impl CallWait for CallersWait {
    fn begin(&self) -> Result<(), CallError> {
        let Some(from) = &self.from else { return Ok(()) };
        self.ticket.begin_wait(|| self.host.waits.begin(from, &self.to)).map_err(|Cycle(cycle)| {
            let fate = if self.ticket.withdraw() { Fate::NotRun } else { Fate::Unknown };
            let why = cut(format!("the call would wait for its own caller, and so without end: {cycle}"));
            CallError { cycle: Some(cycle), ..CallError::of_host("call-cycle", why, fate) }
        })
    }

    fn pause(&self) {
        self.ticket.pause_wait();
    }
}

/// A caller that waits. Dropping it withdraws the call if its turn has not begun.
struct Waiting(Arc<Ticket>);

impl Waiting {
    /// Waits for the outcome until the deadline, and a little longer for a turn that runs.
    async fn outcome<T>(self, env: &Env, pending: Pending<T>, deadline: Duration) -> Result<T, CallError> {
        let mut outcome = pin!(pending.outcome());
        let left = deadline.saturating_sub(env.elapsed());
        if let Ok(outcome) = env.timeout(left, &mut outcome).await {
            return outcome.map_err(|error| self.failed(error));
        }
        if self.0.withdraw() {
            return Err(CallError::not_run("deadline", "the time of the call was up before its turn began"));
        }
        match env.timeout(GRACE, outcome).await {
            Ok(outcome) => outcome.map_err(|error| self.failed(error)),
            Err(TimedOut) => {
                let why = "the time of the call was up, and its turn has not ended".to_owned();
                Err(CallError::of_host("deadline", why, Fate::Unknown))
            }
        }
    }

    fn failed(&self, error: TurnError) -> CallError {
        let is_guests = matches!(error, TurnError::Guest(_));
        let fate = match &error {
            _ if !self.0.has_begun() => Fate::NotRun,
            TurnError::NoMethod(_) => Fate::NotRun,
            TurnError::OutcomeUnknown | TurnError::InstanceDropped => Fate::Unknown,
            // The actor died of a bug.
            TurnError::Host(_) => Fate::Unknown,
            // Earlier turns of the handler are applied.
            _ if self.0.is_deferred() && !is_guests => Fate::Unknown,
            _ => Fate::Failed,
        };
        CallError::of_turn(error, fate)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.withdraw();
        self.0.end_wait();
    }
}

fn not_run_code(error: &CallError) -> &'static str {
    match error.code {
        std::borrow::Cow::Borrowed(code) => code,
        std::borrow::Cow::Owned(_) => "guest-error",
    }
}

fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(crate::base::Failure::MESSAGE_MAX));
    text
}
