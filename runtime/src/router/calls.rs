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
    Call, CallAnswer, CallError, CallId, ClassKey, ClassName, Env, Fate, FetchAnswer, MethodCall, Principal, Request,
    TurnError,
};
use crate::object::reply::{Pending, ReplyTo};
use crate::object::{Cycle, Ticket};
use crate::wasm::{Caller, Calling};

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
        self.begin_call(call)
    }

    fn fetch(&self, call: Call<Request>) -> Calling<FetchAnswer> {
        self.begin_call(call)
    }
}

impl Delivery {
    fn begin_call<O: Operation>(&self, call: Call<O>) -> Calling<O::Answer> {
        let (host, deadline) = (self.host.clone(), call.deadline.unwrap_or(Duration::MAX));
        let begun = self.deliver_call(call);
        if let Err(error) = &begun {
            host.metrics.calls_not_run.get_or_create(&Code { code: not_run_code(error) }).inc();
        }
        Box::pin(async move {
            let (waiting, pending) = begun?;
            host.metrics.calls.inc();
            waiting.outcome(&host.env, pending, deadline).await
        })
    }

    fn deliver_call<O: Operation>(&self, call: Call<O>) -> Result<(Waiting, Pending<O::Answer>), CallError> {
        let wait = match &call.principal {
            Principal::Object(from) => Some(self.host.waits.begin(from, &Arc::new(call.target.clone()))),
            Principal::Client | Principal::Admin | Principal::Host => None,
        };
        let wait = wait.transpose().map_err(|Cycle(cycle)| {
            let why = format!("the call would wait for its own caller, and so without end: {cycle}");
            CallError { cycle: Some(cycle), ..CallError::not_run("call-cycle", cut(why)) }
        })?;
        let ticket = Ticket::new(wait);
        let waiting = Waiting(ticket.clone());
        let (reply, pending) = ReplyTo::calling(ticket);
        let put = self.put(call.with(|operation| operation.event(reply)));
        put.map_err(|error| CallError::of_turn(error, Fate::NotRun))?;
        Ok((waiting, pending))
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
