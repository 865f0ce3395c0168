//! The late work of an instance: its resumes and its deferred answers, between turns ([`Late`]) and as a turn sees and
//! changes them ([`LateTurn`]).
//!
//! It moves into the turn and comes out by value, like the turn. What the turn does is staged and counts when the turn
//! is applied. What must stay true: a token is given once; each resume is delivered once or forgotten; an instance that
//! never used the interface allocates nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::base::limits::{DEFERRED_MAX, DELAY_MAX_MS, RESUMES_MAX, RESUMES_PER_TURN};
use crate::base::socket::SocketId;
use crate::base::{CallAnswer, CallBudget, Chain, FetchAnswer, TakenAlarm, TraceContext, TurnError};
use crate::sockets::{Accepted, Upgrade};

/// The late work of an instance between two turns.
#[derive(Default)]
pub struct Late(Option<Box<Work>>);

#[derive(Default)]
struct Work {
    /// The last token that was given.
    last: u64,
    resumes: BTreeMap<u64, Resume>,
    /// Those of the resumes that have a time, by it.
    by_due: BTreeSet<(Duration, u64)>,
    deferred: BTreeMap<u64, Deferred>,
    /// The sockets that hold the instance while they are open.
    held_for: BTreeSet<SocketId>,
    /// Only resumes and the host's own messages come to the object.
    exclusive: bool,
}

struct Resume {
    /// None if it waits for the caller of a deferred answer to go.
    due: Option<Duration>,
    /// The deferred answer whose caller it waits for.
    watches: Option<u64>,
    holds: bool,
    origin: Arc<Origin>,
}

struct Deferred {
    kind: Kind,
    /// If it is a request for a WebSocket.
    upgrade: Option<Upgrade>,
    /// The resumes that wait for its caller to go.
    watches: BTreeSet<u64>,
}

/// The calls in whose name a resume continues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The calls that waited for the turn that scheduled it.
    pub chain: Chain,
    /// The trace of that turn.
    pub trace: Option<TraceContext>,
}

/// What the caller of a turn waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A response.
    Response,
    /// The result of a method.
    Value,
    /// The end of the handler of a WebSocket's event.
    Event,
    /// The end of the handler of this alarm.
    Alarm(TakenAlarm),
}

/// The answer to a deferred turn.
#[derive(Debug)]
pub enum Given {
    /// To a request.
    Response(Result<FetchAnswer, TurnError>),
    /// To a call of a method.
    Value(Result<CallAnswer, TurnError>),
    /// To an alarm or an event of a WebSocket.
    Done(Result<(), TurnError>),
}

/// What the late work of a turn depends on. None for a class that does not import the interface.
pub struct LateContext {
    /// What may be deferred; none for resumes and if the class refuses it.
    pub kind: Option<Kind>,
    /// Whether the class handles resumes.
    pub handles_resumes: bool,
    /// The calls in whose name the turn runs.
    pub origin: Origin,
}

/// The late work as one turn sees and changes it.
pub struct LateTurn {
    late: Late,
    context: Option<LateContext>,
    origin: Option<Arc<Origin>>,
    /// True once the handler of the event runs.
    handling: bool,
    staged: Option<Box<Staged>>,
}

#[derive(Default)]
struct Staged {
    scheduled: BTreeMap<u64, Resume>,
    cancelled: BTreeSet<u64>,
    deferred: Option<(u64, Kind)>,
    upgrade: Option<Upgrade>,
    accepted: BTreeMap<u64, Accepted>,
    held_for: BTreeSet<SocketId>,
    exclusive: Option<bool>,
    replies: BTreeMap<u64, Given>,
    /// The instance is dropped after the turn.
    drops: bool,
}

/// What an applied turn has done that concerns others.
#[derive(Default)]
pub struct LateEffects {
    /// The token under which the turn's own answer was deferred.
    pub deferred: Option<u64>,
    /// The answers of deferred turns.
    pub replies: Vec<(u64, Given)>,
}

/// The reason why an operation was refused. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LateError {
    /// The instance has as many of them as it may; carries the limit.
    TooMany(u32),
    /// The turn's answer cannot be deferred.
    NotDeferrable,
    /// Nobody waits for the answer.
    Gone,
    /// The caller waits for another kind of answer.
    WrongKind,
    /// Any other reason.
    Other(String),
}

impl Late {
    /// Returns whether there is neither a resume nor a deferred answer.
    pub fn is_empty(&self) -> bool {
        self.0.as_ref().is_none_or(|work| work.resumes.is_empty() && work.deferred.is_empty() && !work.exclusive)
    }

    /// Returns whether neither a resume nor a reply will end what the instance waits for.
    pub fn waits_for_nothing(&self) -> bool {
        self.0.as_ref().is_none_or(|work| work.resumes.is_empty() && work.deferred.is_empty())
    }

    /// Returns whether only resumes and the host's own messages come to the object.
    pub fn is_exclusive(&self) -> bool {
        self.0.as_ref().is_some_and(|work| work.exclusive)
    }

    /// Returns the sockets that hold the instance, without those that are closed.
    pub fn held_for(&mut self, is_open: impl Fn(SocketId) -> bool) -> &BTreeSet<SocketId> {
        static NONE: BTreeSet<SocketId> = BTreeSet::new();
        let Some(work) = self.0.as_mut() else { return &NONE };
        work.held_for.retain(|socket| is_open(*socket));
        &work.held_for
    }

    /// Returns the number of resumes that hold the instance.
    pub fn holding(&self) -> usize {
        self.0.as_ref().map_or(0, |work| work.resumes.values().filter(|resume| resume.holds).count())
    }

    /// Returns when the next resume is due.
    pub fn next_due(&self) -> Option<Duration> {
        self.0.as_ref()?.by_due.first().map(|(due, _)| *due)
    }

    /// Returns when the last resume is due that holds the instance.
    pub fn holds_until(&self) -> Option<Duration> {
        let work = self.0.as_ref()?;
        work.by_due.iter().rev().find(|(_, token)| work.resumes[token].holds).map(|(due, _)| *due)
    }

    /// Takes the tokens that are due, as many as one turn may have, with the chain of those that scheduled
    /// them that is longest and has made most calls.
    pub fn take_due(&mut self, now: Duration) -> Option<(Vec<u64>, Origin)> {
        let work = self.0.as_mut()?;
        let due = work.by_due.iter().take_while(|(due, _)| *due <= now).take(RESUMES_PER_TURN);
        let tokens: Vec<u64> = due.map(|(_, token)| *token).collect();
        let taken: Vec<Resume> = tokens.iter().filter_map(|token| work.take(*token)).collect();
        let origin = taken.iter().map(|resume| &resume.origin).max_by_key(|origin| {
            let made = origin.chain.budget.as_ref().map_or(0, CallBudget::made);
            (origin.chain.depth(), made)
        })?;
        Some((tokens, Origin::clone(origin)))
    }

    /// Notes that the caller of a deferred answer has gone. The resumes that wait for it are due at once.
    pub fn caller_has_gone(&mut self, deferred: u64, now: Duration) {
        let Some(work) = self.0.as_mut() else { return };
        let Some(Deferred { watches, .. }) = work.deferred.remove(&deferred) else { return };
        for token in watches {
            if let Some(resume) = work.resumes.get_mut(&token) {
                resume.due = Some(now);
                work.by_due.insert((now, token));
            }
        }
    }

    /// Forgets a deferred answer that the host has given.
    pub fn forget(&mut self, deferred: u64) {
        if let Some(work) = self.0.as_mut() {
            work.answered(deferred);
        }
    }
}

impl Work {
    fn take(&mut self, token: u64) -> Option<Resume> {
        let resume = self.resumes.remove(&token)?;
        if let Some(due) = resume.due {
            self.by_due.remove(&(due, token));
        }
        if let Some(deferred) = resume.watches.and_then(|deferred| self.deferred.get_mut(&deferred)) {
            deferred.watches.remove(&token);
        }
        Some(resume)
    }

    fn insert(&mut self, token: u64, resume: Resume) {
        if let Some(due) = resume.due {
            self.by_due.insert((due, token));
        }
        if let Some(deferred) = resume.watches.and_then(|deferred| self.deferred.get_mut(&deferred)) {
            deferred.watches.insert(token);
        }
        self.resumes.insert(token, resume);
    }

    fn answered(&mut self, deferred: u64) {
        let Some(Deferred { watches, .. }) = self.deferred.remove(&deferred) else { return };
        watches.into_iter().for_each(|token| _ = self.take(token));
    }
}

impl LateTurn {
    /// Begins a turn. Without a context it has no late work.
    pub fn begin(late: Late, context: Option<LateContext>) -> Self {
        Self { late, context, origin: None, handling: false, staged: None }
    }

    /// Sets the budget of calls that resumes share with the turn that schedules them.
    pub fn share_budget(&mut self, budget: &CallBudget) {
        if let Some(context) = &mut self.context {
            context.origin.chain.budget = Some(budget.clone());
        }
    }

    /// Returns whether no earlier turn has left late work.
    pub fn is_idle(&self) -> bool {
        self.late.is_empty()
    }

    /// Notes that the handler of the event begins.
    pub fn handler_begins(&mut self) {
        self.handling = true;
    }

    /// Returns whether the turn has staged anything.
    pub fn has_staged(&self) -> bool {
        self.staged.is_some()
    }

    /// Returns whether the turn has staged more than resumes and their ends. Those belong to the instance's memory, and
    /// stay with it; all else is gone when the turn fails.
    pub fn has_more_than_resumes(&self) -> bool {
        self.staged.as_deref().is_some_and(|staged| {
            let Staged { scheduled: _, cancelled: _, upgrade: _, .. } = staged;
            let Staged { deferred, accepted, held_for, exclusive, replies, drops, .. } = staged;
            let has_answers = deferred.is_some() || !replies.is_empty();
            has_answers || !accepted.is_empty() || !held_for.is_empty() || exclusive.is_some() || *drops
        })
    }

    /// Returns whether the turn's answer is deferred.
    pub fn is_deferred(&self) -> bool {
        self.staged.as_ref().is_some_and(|staged| staged.deferred.is_some())
    }

    /// Returns the answer that the turn has deferred and given itself.
    pub fn own_reply(&self) -> Option<&Given> {
        let staged = self.staged.as_deref()?;
        staged.replies.get(&staged.deferred?.0)
    }

    /// Returns whether this is the token of the turn's own answer.
    pub fn defers(&self, token: u64) -> bool {
        self.staged.as_deref().and_then(|staged| staged.deferred).is_some_and(|(own, _)| own == token)
    }

    /// Schedules a resume in so many milliseconds.
    pub fn resume_after(&mut self, now: Duration, milliseconds: u64, holds: bool) -> Result<u64, LateError> {
        if milliseconds > DELAY_MAX_MS {
            return Err(LateError::Other(format!("a delay has at most {DELAY_MAX_MS} milliseconds")));
        }
        self.schedule(Some(now.saturating_add(Duration::from_millis(milliseconds))), None, holds)
    }

    fn schedule(&mut self, due: Option<Duration>, watches: Option<u64>, holds: bool) -> Result<u64, LateError> {
        let Some(context) = self.context.as_ref().filter(|context| context.handles_resumes) else {
            return Err(LateError::Other("the class exports no later-handler".into()));
        };
        let applied = self.late.0.as_ref().map_or(0, |work| work.resumes.len());
        let change = |staged: &Staged| (staged.scheduled.len(), staged.cancelled.len());
        let (more, fewer) = self.staged.as_deref().map_or((0, 0), change);
        if applied + more - fewer >= RESUMES_MAX {
            return Err(LateError::TooMany(RESUMES_MAX as u32));
        }
        let origin = self.origin.get_or_insert_with(|| Arc::new(context.origin.clone())).clone();
        let token = self.late.next_token();
        self.staged().scheduled.insert(token, Resume { due, watches, holds, origin });
        Ok(token)
    }

    fn staged(&mut self) -> &mut Staged {
        self.staged.get_or_insert_default()
    }

    /// Forgets a resume. Returns whether there was one.
    pub fn cancel(&mut self, token: u64) -> bool {
        if let Some(staged) = self.staged.as_mut()
            && staged.scheduled.remove(&token).is_some()
        {
            return true;
        }
        let is_applied = self.late.0.as_ref().is_some_and(|work| work.resumes.contains_key(&token));
        is_applied && self.staged().cancelled.insert(token)
    }

    /// Defers the turn's answer.
    pub fn defer(&mut self) -> Result<u64, LateError> {
        let kind = self.context.as_ref().and_then(|context| context.kind);
        let kind = kind.filter(|_| self.handling && !self.is_deferred()).ok_or(LateError::NotDeferrable)?;
        if self.late.0.as_ref().map_or(0, |work| work.deferred.len()) >= DEFERRED_MAX {
            return Err(LateError::TooMany(DEFERRED_MAX as u32));
        }
        let token = self.late.next_token();
        self.staged().deferred = Some((token, kind));
        Ok(token)
    }

    /// Returns what the caller of a deferred turn waits for.
    pub fn waits_for(&self, deferred: u64) -> Result<Kind, LateError> {
        let staged = self.staged.as_deref();
        if staged.is_some_and(|staged| staged.replies.contains_key(&deferred)) {
            return Err(LateError::Gone);
        }
        let own = staged.and_then(|staged| staged.deferred).filter(|(token, _)| *token == deferred);
        let applied = || Some(self.late.0.as_ref()?.deferred.get(&deferred)?.kind);
        own.map(|(_, kind)| kind).or_else(applied).ok_or(LateError::Gone)
    }

    /// Answers a deferred turn.
    pub fn reply(&mut self, deferred: u64, answer: Given) -> Result<(), LateError> {
        let is_right = match self.waits_for(deferred)? {
            Kind::Response => matches!(answer, Given::Response(_)),
            Kind::Value => matches!(answer, Given::Value(_)),
            Kind::Event | Kind::Alarm(_) => matches!(answer, Given::Done(_)),
        };
        if !is_right {
            return Err(LateError::WrongKind);
        }
        self.staged().replies.insert(deferred, answer);
        Ok(())
    }

    /// Returns the request for a socket that was deferred in an earlier turn.
    fn upgrade(&mut self, deferred: u64) -> Result<&mut Upgrade, LateError> {
        self.waits_for(deferred)?;
        let deferred = self.late.0.as_mut().and_then(|work| work.deferred.get_mut(&deferred));
        deferred.and_then(|deferred| deferred.upgrade.as_mut()).ok_or(LateError::WrongKind)
    }

    /// Checks whether the socket of a deferred request may be accepted. Returns whether it is the turn's own request.
    pub fn may_accept(&mut self, deferred: u64) -> Result<bool, LateError> {
        if self.defers(deferred) {
            return self.waits_for(deferred).map(|_| true);
        }
        let is_staged = self.staged.as_deref().is_some_and(|staged| staged.accepted.contains_key(&deferred));
        match self.upgrade(deferred)?.is_accepted() || is_staged {
            true => Err(LateError::Other("its socket is accepted already".into())),
            false => Ok(false),
        }
    }

    /// Accepts the socket of a deferred request.
    pub fn accept(&mut self, deferred: u64, accepted: Accepted) {
        self.staged().accepted.insert(deferred, accepted);
    }

    /// Takes the accepted socket of a deferred request, to open it with this protocol, if it names one. The turn is to
    /// reply next.
    pub fn open(&mut self, deferred: u64, protocol: Option<&[u8]>) -> Result<Accepted, String> {
        let staged = self.staged.as_mut().and_then(|staged| staged.accepted.remove(&deferred));
        let upgrade = self.upgrade(deferred).map_err(|_| "its status is 101, but it asks for no socket".to_owned())?;
        if protocol.is_some_and(|protocol| !upgrade.offers(protocol)) {
            return Err("its sec-websocket-protocol is none that the client offers".into());
        }
        let accepted = staged.or_else(|| upgrade.take_accepted());
        accepted.ok_or_else(|| "its status is 101, but no turn has accepted its socket".into())
    }

    /// Notes the request for a socket that is deferred with the turn.
    pub fn defer_upgrade(&mut self, upgrade: Option<Upgrade>) {
        if let Some(staged) = self.staged.as_mut() {
            staged.upgrade = upgrade;
        }
    }

    /// Keeps the instance while a socket is open.
    pub fn hold_for(&mut self, socket: SocketId) {
        self.staged().held_for.insert(socket);
    }

    /// Lets only resumes and the host's own messages come, or all again.
    pub fn set_exclusive(&mut self, on: bool) {
        self.staged().exclusive = Some(on);
    }

    /// Has the instance dropped after the turn.
    pub fn drop_instance(&mut self) {
        self.staged().drops = true;
    }

    /// Returns whether the instance is dropped after the turn.
    pub fn drops_instance(&self) -> bool {
        self.staged.as_deref().is_some_and(|staged| staged.drops)
    }

    /// Schedules a resume for when the caller of a deferred answer has gone.
    pub fn on_gone(&mut self, deferred: u64) -> Result<u64, LateError> {
        if !matches!(self.waits_for(deferred)?, Kind::Response | Kind::Value) {
            return Err(LateError::WrongKind);
        }
        self.schedule(None, Some(deferred), false)
    }

    /// Ends a turn of which nothing is kept.
    pub fn undo(self) -> Late {
        self.late
    }

    /// Ends a turn that was applied.
    pub fn apply(self) -> (Late, LateEffects) {
        let mut late = self.late;
        let Some(staged) = self.staged else { return (late, LateEffects::default()) };
        let work = late.work();
        staged.cancelled.into_iter().for_each(|token| _ = work.take(token));
        if let Some((token, kind)) = staged.deferred {
            work.deferred.insert(token, Deferred { kind, upgrade: staged.upgrade, watches: BTreeSet::new() });
        }
        for (token, accepted) in staged.accepted {
            if let Some(upgrade) = work.deferred.get_mut(&token).and_then(|deferred| deferred.upgrade.as_mut()) {
                upgrade.accept(accepted);
            }
        }
        work.held_for.extend(staged.held_for);
        work.exclusive = staged.exclusive.unwrap_or(work.exclusive);
        staged.scheduled.into_iter().for_each(|(token, resume)| work.insert(token, resume));
        staged.replies.keys().for_each(|token| work.answered(*token));
        let deferred = staged.deferred.map(|(token, _)| token);
        (late, LateEffects { deferred, replies: staged.replies.into_iter().collect() })
    }
}

impl Late {
    fn work(&mut self) -> &mut Work {
        self.0.get_or_insert_default()
    }

    fn next_token(&mut self) -> u64 {
        let work = self.work();
        work.last += 1;
        work.last
    }
}

#[cfg(test)]
mod tests;
