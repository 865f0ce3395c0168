//! How an actor does late work: resumes that are due, answers of deferred turns, and what happens to both when the
//! instance is dropped.
//!
//! What must stay true: each deferred answer is given once, or ends with `instance-dropped`; late work and messages
//! alternate, so neither starves the other; no late work keeps an instance beyond the limits.

use std::sync::Arc;
use std::time::Duration;

use tracing::Instrument;

use super::{Actor, Due, Ended, Failed, Object, Outcome, Owed, OwedAnswer, OwedTo, Resident, Waiter, after, dormant};
use crate::base::alarm::counts_as_attempt;
use crate::base::logs::{Level, LogEntry};
use crate::base::operation::AlarmRun;
use crate::base::socket::code;
use crate::base::{Alarm, Call, CallId, Cause, Env, Occasion, Principal, TakenAlarm, TurnError};
use crate::object::class::Class;
use crate::object::mailbox::{Admits, Leaves};
use crate::object::output_gate;
use crate::object::reply::ReplyTo;
use crate::storage::{Database, Lsn};
use crate::wasm::{Given, Late, LateContext, Origin, Resume, TurnEvent};

/// The longest sleep of an actor. What is due later is looked at again.
const LOOK: Duration = Duration::from_secs(86_400);
/// The stamp of an instance that is held for an open socket: it leaves after all others, if its room is needed.
const HELD: Duration = Duration::from_secs(1 << 33);
/// For how long an instance may keep all other events out (workerd: 30 s).
const EXCLUSIVE_MAX: Duration = Duration::from_secs(30);
const EXCLUSIVE_FOR_TOO_LONG: &str = "it kept other events out for 30 s (a call to blockConcurrencyWhile() waited for too \
                                      long)";
const EXCLUSIVE_FOR_NOTHING: &str = "it kept other events out and waited for nothing itself";

impl Resident {
    /// Marks that a turn has ended. One that owes answers stays busy.
    fn rest(&self, class: &Class, host: Duration) {
        if self.owed.is_empty() {
            self.permit.mark_idle_since(self.held_until(class, host));
        }
    }

    /// Returns until when late work holds the instance, or when its last event was over. The host allows this much
    /// after that.
    fn held_until(&self, class: &Class, host: Duration) -> Duration {
        if self.is_held {
            return HELD;
        }
        let Some(until) = self.late.holds_until() else { return self.last_event };
        until.min(self.last_event.saturating_add(class.late().holds(host))).max(self.last_event)
    }
}

/// Returns which messages come to the object: only the host's while an instance is exclusive, or while it owes answers
/// and has hardly any memory left.
pub(super) fn admits(object: &mut Object) -> Admits {
    match object.instance() {
        Some(resident) if resident.late.is_exclusive() => Admits::Hosts,
        Some(resident) if !resident.owed.is_empty() && resident.instance.is_nearly_full() => Admits::Hosts,
        _ => Admits::All,
    }
}

/// Waits for late work that is due. Pends forever, at no cost, for an object that has none. Safe to cancel.
pub(super) async fn wait_for_late_work(env: &Env, object: &mut Object) -> Due {
    let Some(resident) = object.instance().filter(|resident| !resident.late.is_empty()) else {
        return std::future::pending().await;
    };
    let overdue = resident.owed.first_late().map(|(token, until)| (until, Due::Overdue(token)));
    let resumes = resident.late.next_due().map(|due| (due, Due::Resumes));
    let leaves = resident.leaves_by.map(|by| (by, Due::Leaves));
    let exclusive = resident.exclusive_until.map(|until| (until, Due::Exclusive));
    let next = [overdue, resumes, leaves, exclusive].into_iter().flatten().min_by_key(|(at, _)| *at);
    let sleeping = async {
        match next {
            Some((at, due)) => {
                let now = env.elapsed();
                if at > now {
                    env.sleep_until(at.min(now.saturating_add(LOOK))).await;
                }
                due
            }
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        token = resident.owed.gone() => Due::Gone(token),
        due = sleeping => due,
    }
}

impl Actor {
    /// Returns what the late work of a turn depends on; none if its class has none.
    pub(super) fn late_context(
        &self,
        resident: &Resident,
        event: &impl TurnEvent,
        call: &Call<()>,
    ) -> Option<LateContext> {
        let code = resident.instance.code();
        code.has_late_work().then(|| LateContext {
            kind: event.waits_for().filter(|_| self.class.late().interleave),
            handles_resumes: code.handles_resumes(),
            origin: Origin { chain: call.chain.clone(), trace: call.trace },
        })
    }

    /// Does late work that is due. What a cancelled or shortened wait has returned may not be due yet.
    pub(super) async fn do_late_work(&mut self, mut object: Object, due: Due) -> Object {
        let now = self.host.env.elapsed();
        let Some(resident) = object.instance() else { return object };
        match due {
            Due::Resumes => return self.resume(object).await,
            Due::Leaves if resident.leaves_by.is_some_and(|by| by <= now) => {
                return self.drop_instance(object, "its class has another version").0;
            }
            Due::Exclusive if resident.exclusive_until.is_some_and(|until| until <= now) => {
                return self.drop_instance(object, EXCLUSIVE_FOR_TOO_LONG).0;
            }
            Due::Gone(token) => {
                resident.owed.take(token);
                resident.late.caller_has_gone(token, now);
            }
            Due::Overdue(token) if resident.owed.first_late().is_some_and(|(_, until)| until <= now) => {
                resident.late.forget(token);
                if let Some(answer) = resident.owed.take(token) {
                    let error = TurnError::WallTime { limit: self.host.limits.wall_time(), stack: None };
                    let given = match answer.to {
                        OwedTo::Fetch(_) => Given::Response(Err(error)),
                        OwedTo::Call(_) => Given::Value(Err(error)),
                        OwedTo::Socket(..) => Given::Done(Err(error)),
                        OwedTo::Alarm(taken, _) => {
                            object = self.suspended_alarm_failed(object, taken, &error).await;
                            Given::Done(Err(error))
                        }
                    };
                    self.send(answer, given);
                }
            }
            Due::Leaves | Due::Exclusive | Due::Overdue(_) => {}
        }
        self.rest(object, false)
    }

    /// Runs the resumes that are due, in one turn.
    async fn resume(&mut self, mut object: Object) -> Object {
        self.resumed = true;
        // A resume that schedules the next one must not keep the thread for itself.
        tokio::task::yield_now().await;
        if !object.is_suspended() && !self.is_current(&mut object) {
            return self.drop_instance(object, "its class has another version").0;
        }
        let now = self.host.env.elapsed();
        let due = object.instance().and_then(|resident| resident.late.take_due(now));
        let Some((tokens, Origin { chain, trace })) = due else { return object };
        let id = self.host.calls.next();
        let call = Call::new(id, self.address.clone(), (Cause::Resume, Principal::Host), ());
        let call = Call { chain, trace, ..call };
        let span = call.span();
        let (object, outcome) = self.turn(object, &call, Resume(tokens), Waiter::default()).instrument(span).await;
        let ended = Ended { call: id, occasion: Occasion::Resume, had_sockets: false };
        let outcome = outcome.map(drop).map_err(Failed::from);
        let mut object = self.count(object, &ended, outcome).0;
        self.give(&mut object);
        self.rest(object, false)
    }

    /// Returns whether the instance is of the class's current version, and knows its present name.
    fn is_current(&self, object: &mut Object) -> bool {
        let code = self.class.code_if_loaded();
        let has = |resident: &Resident| code.is_some_and(|code| Arc::ptr_eq(&code, resident.instance.code()));
        self.address.class == self.class.name() && object.instance().is_some_and(|resident| has(resident))
    }

    /// Ends the turn of an event: answers it, or notes that the instance owes the answer.
    pub(super) fn end_event<T>(
        &mut self,
        object: Object,
        ended: Ended,
        outcome: Result<Outcome<T>, Failed>,
        reply: ReplyTo<T>,
        owe: impl FnOnce(ReplyTo<T>) -> OwedTo,
    ) -> Object {
        let mut object = match outcome {
            Ok(Outcome::Now(answer)) => self.answer(object, ended, Ok(answer), reply),
            Err(failed) => self.answer(object, ended, Err(failed), reply),
            Ok(Outcome::Later(token)) => {
                let mut object = self.count::<()>(object, &ended, Ok(())).0;
                let until = self.host.env.elapsed().saturating_add(self.host.limits.wall_time());
                let answer = OwedAnswer { to: owe(reply), of: (ended.call, ended.occasion) };
                if let Some(resident) = object.instance() {
                    resident.owed.add(token, answer, until);
                }
                object
            }
        };
        self.give(&mut object);
        self.rest(object, true)
    }

    /// Sends the answers of deferred turns that the last turn has given.
    fn give(&mut self, object: &mut Object) {
        for (token, given) in std::mem::take(&mut self.given) {
            let Some(answer) = object.instance().and_then(|resident| resident.owed.take(token)) else { continue };
            if let OwedTo::Alarm(..) = answer.to {
                self.tell_alarm(object);
            }
            self.send(answer, given);
        }
    }

    /// Reports to the index what the object's alarm is after a suspended handler has ended.
    fn tell_alarm(&self, object: &mut Object) {
        if let Err(error) = object.database().report_alarm() {
            // The check for overdue alarms finds it.
            tracing::error!(object = %self.address, %error, "failed to read the object's alarm");
        }
    }

    /// Records that the alarm has failed whose handler was suspended.
    async fn suspended_alarm_failed(&mut self, object: Object, taken: TakenAlarm, error: &TurnError) -> Object {
        let (mut object, recorded) = self.alarm_failed(object, TakenAlarm { again: true, ..taken }, error).await;
        match recorded {
            Ok(_) => self.tell_alarm(&mut object),
            Err(error) => {
                tracing::warn!(object = %self.address, %error, "failed to store that an alarm failed; it is retried");
                self.alarm_is_dropped(object.database());
            }
        }
        object
    }

    /// Has the alarm run again whose handler was suspended in an instance that was dropped, if there is one.
    pub(super) fn alarm_is_dropped(&self, database: &mut Database) {
        database.alarm_is_dropped(self.host.env.elapsed().saturating_add(Alarm::HOST_RETRY));
    }

    /// Ends the late work of an instance that a failed turn takes with it. An alarm whose handler was suspended has
    /// failed with it if the class is at fault, so that it does not run without end.
    pub(super) async fn turn_has_failed(
        &mut self,
        mut database: Box<Database>,
        (late, owed): (Late, Owed),
        error: Option<&TurnError>,
    ) -> Object {
        let alarm = self.forget_late_work(late, owed, "a turn failed", database.last_applied());
        match (alarm, error) {
            (Some(taken), Some(error)) if counts_as_attempt(error) => {
                let consequence = self.alarm_consequence(taken.alarm, error, None);
                self.host.tell((&self.address, self.host.calls.next()), &Occasion::Alarm, consequence, error);
                self.suspended_alarm_failed(dormant(database), taken, error).await
            }
            _ => {
                self.alarm_is_dropped(&mut database);
                dormant(database)
            }
        }
    }

    /// Sends the answer of a deferred turn through the gate.
    fn send(&mut self, OwedAnswer { to, of }: OwedAnswer, given: Given) {
        match (to, given) {
            (OwedTo::Fetch(reply), Given::Response(outcome)) => self.send_to(of, outcome, reply),
            (OwedTo::Call(reply), Given::Value(outcome)) => self.send_to(of, outcome, reply),
            (OwedTo::Socket(socket, is_last, reply), Given::Done(outcome)) => {
                let failed = outcome.as_ref().err().map(|error| (code::FAILED, error.code()));
                self.socket_event_is_over((socket, is_last), failed, self.applied);
                match reply {
                    Some(reply) => self.send_to(of, outcome, reply),
                    None => _ = self.told(&of, outcome),
                }
            }
            (OwedTo::Alarm(TakenAlarm { alarm, .. }, reply), Given::Done(outcome)) => {
                if let Err(error) = &outcome {
                    let consequence = self.alarm_consequence(alarm, error, None);
                    self.host.tell((&self.address, of.0), &of.1, consequence, error);
                }
                if let Some(reply) = reply {
                    let outcome =
                        output_gate::hold_outcome(outcome.map(|()| AlarmRun::Ran), self.applied, &self.durable);
                    reply.send(outcome, self.outbox.if_waiting());
                }
            }
            (to, _) => to.refuse(TurnError::Host("a deferred answer is of another kind".into())),
        }
    }

    fn send_to<T>(&mut self, of: (CallId, Occasion), outcome: Result<T, TurnError>, reply: ReplyTo<T>) {
        let outcome = self.told(&of, outcome);
        reply.send(output_gate::hold_outcome(outcome, self.applied, &self.durable), self.outbox.if_waiting());
    }

    /// Reports the failure of a deferred turn.
    fn told<T>(&self, (call, occasion): &(CallId, Occasion), outcome: Result<T, TurnError>) -> Result<T, TurnError> {
        outcome.inspect_err(|error| {
            self.host.tell((&self.address, *call), occasion, (String::new(), Level::Error), error);
        })
    }

    /// Notes that a turn is over: the instance may leave when it is idle, unless late work keeps it.
    fn rest(&mut self, mut object: Object, is_event: bool) -> Object {
        let Some(resident) = object.instance() else { return object };
        if resident.asks_to_leave {
            return self.drop_instance(object, "it asked for it").0;
        }
        if is_event {
            resident.last_event = self.host.env.elapsed();
        }
        if resident.late.is_exclusive() {
            if resident.late.waits_for_nothing() {
                return self.drop_instance(object, EXCLUSIVE_FOR_NOTHING).0;
            }
            let until = self.host.env.elapsed().saturating_add(EXCLUSIVE_MAX);
            resident.exclusive_until.get_or_insert(until);
        } else {
            resident.exclusive_until = None;
        }
        let open = |socket| self.sockets.as_ref().is_some_and(|sockets| sockets.listens_to(socket));
        resident.is_held = !resident.late.held_for(open).is_empty();
        resident.rest(&self.class, self.host.limits.late());
        if resident.owed.is_empty() == object.is_suspended() {
            let (database, resident) = object.begin();
            return after(database, resident);
        }
        object
    }

    /// Drops the instance because it was asked to leave, unless it may stay.
    pub(super) fn asked_to_leave(&mut self, mut object: Object, why: Leaves) -> Object {
        let (now, is_suspended) = (self.host.env.elapsed(), object.is_suspended());
        let is_current = why == Leaves::Version && self.is_current(&mut object);
        let (class, late) = (self.class.clone(), self.host.limits.late());
        let drain = now.saturating_add(self.host.limits.drain());
        let Some(resident) = object.instance() else { return object };
        let (stays, reason) = match why {
            Leaves::Idle => {
                (is_suspended || resident.is_held || resident.held_until(&class, late) > now, "it was idle")
            }
            Leaves::Room => (is_suspended, "its room was needed"),
            Leaves::Version => (is_suspended || is_current, "its class has another version"),
            Leaves::Deletion => (false, "its class is being deleted"),
            Leaves::Stop(until) => {
                let is_due = resident.late.holds_until().is_some() && resident.late.next_due() <= Some(until);
                (now < until && (is_suspended || is_due), "the host stops")
            }
        };
        if !stays {
            return self.drop_instance(object, reason).0;
        }
        match why {
            Leaves::Idle | Leaves::Room => resident.permit.stays(),
            Leaves::Version if !is_current => _ = resident.leaves_by.get_or_insert(drain),
            Leaves::Version | Leaves::Deletion | Leaves::Stop(_) => {}
        }
        object
    }

    /// Drops the instance. Returns whether there was one.
    pub(super) fn drop_instance(&mut self, object: Object, why: &str) -> (Object, bool) {
        let (database, resident) = object.without_instance();
        let Some(Resident { late, owed, .. }) = resident else { return (Object::Dormant(database), false) };
        let mut database = database;
        _ = self.forget_late_work(late, owed, why, database.last_applied());
        self.alarm_is_dropped(&mut database);
        (dormant(database), true)
    }

    /// Ends the late work of an instance that is dropped: those who wait get an error. Returns the alarm whose handler
    /// was suspended in it.
    pub(super) fn forget_late_work(
        &mut self,
        mut late: Late,
        mut owed: Owed,
        why: &str,
        applied: Lsn,
    ) -> Option<TakenAlarm> {
        let (answers, resumes) = (owed.take_all(), late.holding());
        let sockets = self.sockets.clone();
        let is_open = |socket| sockets.as_ref().is_some_and(|sockets| sockets.listens_to(socket));
        let held_for = late.held_for(is_open);
        if answers.is_empty() && resumes == 0 && held_for.is_empty() {
            return None;
        }
        for socket in held_for {
            let failed = Some((code::RESTART, TurnError::InstanceDropped.code()));
            self.socket_event_is_over((*socket, false), failed, applied);
        }
        let mut alarm = None;
        self.host.metrics.late_work_dropped.inc();
        let message = format!(
            "the instance was dropped because {why}: {} deferred answers end with instance-dropped, {resumes} resumes that \
             held it are forgotten, {} sockets that held it are closed",
            answers.len(),
            held_for.len(),
        );
        let entry = LogEntry::new(&self.host.env, (&self.address, self.host.calls.next()), Level::Warn, message);
        self.host.logs.add(LogEntry { call: None, ..entry });
        for OwedAnswer { to, .. } in answers {
            if let OwedTo::Socket(socket, is_last, _) = &to {
                let failed = Some((code::RESTART, TurnError::InstanceDropped.code()));
                self.socket_event_is_over((*socket, *is_last), failed, applied);
            }
            if let OwedTo::Alarm(taken, _) = &to {
                alarm = Some(*taken);
            }
            to.refuse(TurnError::InstanceDropped);
        }
        alarm
    }
}
