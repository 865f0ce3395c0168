//! The actor of one live object: takes one message at a time, runs its turn, and puts the outcome behind the output
//! gate.
//!
//! The object is a value ([`Object`]) that each step takes and gives back; the actor itself has the rest. What must
//! stay true: one turn at a time; a failed turn leaves neither staged writes nor an instance; the actor leaves the
//! router's map only with an empty mailbox and everything applied durable, so its successor finds all of it.

mod administration;
mod alarm;
mod late;
mod turn;
mod wake;

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tracing::Instrument;

use self::late::{admits, wait_for_late_work};
use super::class::Class;
use super::event::Event;
use super::handle::{ObjectHandle, Registry};
use super::host_context::HostContext;
use super::lifecycle::{self, Left, Quiet};
use super::mailbox::{Envelope, Inbox, Mailbox, Message, mailbox};
use super::outbox::Outbox;
use super::output_gate;
use super::owed::{Owed, OwedAnswer, OwedTo};
use super::reply::ReplyTo;
use super::residency::Permit;
use super::ticket::Ticket;
use crate::base::logs::Level;
use crate::base::operation::{AlarmRun, RunAlarm};
use crate::base::socket::{CloseFrame, SocketEvent, SocketEventKind, SocketId, code};
use crate::base::{Call, CallId, Cause, Create, FetchAnswer, ObjectAddress, Occasion, Request, TurnError};
use crate::sockets::{ObjectSockets, Release};
use crate::storage::{Database, DurableWatch, LaneLost, Lsn, StorageError};
use crate::wasm::{Caller, Given, Instance, Late, Signal};

/// What an actor has beside the object itself.
struct Actor {
    host: Arc<HostContext>,
    registry: Arc<dyn Registry>,
    /// Delivers the calls of the object to others.
    caller: Arc<dyn Caller>,
    class: Arc<Class>,
    address: ObjectAddress,
    mailbox: Mailbox,
    inbox: Inbox,
    durable: DurableWatch,
    applied: Lsn,
    /// None if the object has no sockets and has set nothing for them.
    sockets: Option<Arc<ObjectSockets>>,
    outbox: Outbox,
    /// The answers of deferred turns that the last turn has given, until they are sent.
    given: Vec<(u64, Given)>,
    /// True if the last turn was late work: it alternates with messages, so that neither waits for all of the other.
    resumed: bool,
}

/// The object of an actor, between two messages.
type Object = lifecycle::Object<Box<Database>, Resident>;

/// A live instance with its permit.
struct Resident {
    instance: Instance,
    permit: Permit,
    late: Late,
    /// The answers that it owes.
    owed: Owed,
    /// When its last event from outside was over, by `Env::elapsed`.
    last_event: Duration,
    /// When it leaves because its class has another version or name, whatever it owes.
    leaves_by: Option<Duration>,
    /// When it is dropped because only its own late work has come for too long.
    exclusive_until: Option<Duration>,
    /// Whether a socket is open that holds it, as of the end of its last event.
    is_held: bool,
    /// Whether it has asked to be dropped.
    asks_to_leave: bool,
}

/// How a turn has answered its caller.
enum Outcome<T> {
    /// With this.
    Now(T),
    /// Not yet; the answer has this token.
    Later(u64),
}

impl<T> Outcome<T> {
    fn map<U>(self, answer: impl FnOnce(T) -> U) -> Outcome<U> {
        match self {
            Self::Now(answered) => Outcome::Now(answer(answered)),
            Self::Later(token) => Outcome::Later(token),
        }
    }
}

/// What a turn knows of its caller.
#[derive(Default)]
struct Waiter<'a> {
    /// Ends when it has gone. None for turns that are always finished.
    gone: Option<Signal<'a>>,
    /// If it is another object.
    ticket: Option<Arc<Ticket>>,
}

/// A turn that failed.
struct Failed {
    error: TurnError,
    /// What happens after the failure, as the rest of the sentence "it failed", and the level of the log entry.
    consequence: (String, Level),
}

impl From<TurnError> for Failed {
    fn from(error: TurnError) -> Self {
        Self { error, consequence: (String::new(), Level::Error) }
    }
}

/// The description of a turn that has ended, for its answer and the log.
struct Ended {
    call: CallId,
    occasion: Occasion,
    /// True if the object had sockets when the turn began.
    had_sockets: bool,
}

/// The next step of an actor.
enum Next {
    /// Handle this message.
    Message(Message),
    /// Do late work that is due.
    Late(Due),
    /// No message waits, and everything applied is durable.
    Quiet,
    /// The object's lane is lost: whether what was applied is durable stays unknown.
    LaneLost,
}

/// Late work that is due.
enum Due {
    /// Resumes.
    Resumes,
    /// The caller of this deferred answer has gone.
    Gone(u64),
    /// This deferred answer is late.
    Overdue(u64),
    /// The time for late work is over.
    Leaves,
    /// The instance was exclusive for too long.
    Exclusive,
}

impl ObjectHandle {
    /// Starts the actor of an object on the current tokio runtime. The caller ensures that it is the only one.
    pub fn start(
        host: Arc<HostContext>,
        registry: Arc<dyn Registry>,
        caller: Arc<dyn Caller>,
        class: Arc<Class>,
        address: ObjectAddress,
    ) -> Self {
        // The class may have been renamed since the call was made.
        let address = ObjectAddress { class: class.name(), ..address };
        let (mailbox, inbox) = mailbox();
        let handle = Self { mailbox: mailbox.clone(), class: class.clone() };
        let database = host.databases.database(&address);
        let (durable, applied) = (database.durable(), database.last_applied());
        let (sockets, outbox) = (host.sockets.of(&address.id), Outbox::default());
        let (given, resumed) = (Vec::new(), false);
        let actor = Actor {
            sockets,
            outbox,
            host,
            registry,
            caller,
            class,
            address,
            mailbox,
            inbox,
            durable,
            applied,
            given,
            resumed,
        };
        tokio::spawn(actor.live(Object::Dormant(database)));
        handle
    }
}

impl Actor {
    /// Runs until the object leaves. The object is dropped before the actor, as the later argument: once the inbox is
    /// dropped a successor may open the same files.
    async fn live(mut self, mut object: Object) {
        self.host.metrics.live_objects.inc();
        loop {
            object = match self.next(&mut object).await {
                Next::Message(Message::Deliver(envelope)) => {
                    let span = envelope.call.span();
                    match span.is_disabled() {
                        true => self.deliver(object, *envelope).await,
                        false => self.deliver(object, *envelope).instrument(span).await,
                    }
                }
                Next::Message(Message::DropInstance(why)) => self.asked_to_leave(object, why),
                Next::Late(due) => Box::pin(self.do_late_work(object, due)).await,
                Next::Quiet => match object.quiet() {
                    Quiet::Stays(object) => object,
                    Quiet::Leaves(database) => match self.leave(database) {
                        Some(object) => object,
                        None => break,
                    },
                },
                Next::LaneLost => match self.give_up(object) {
                    Some(object) => object,
                    None => break,
                },
            };
        }
        self.host.metrics.live_objects.dec();
    }

    async fn next(&mut self, object: &mut Object) -> Next {
        loop {
            let settled = self.settle(object.database());
            if !settled && object.database().must_settle() {
                match self.durable.reached(self.applied).await {
                    Ok(()) => continue,
                    Err(LaneLost) => return Next::LaneLost,
                }
            }
            if settled && object.is_dormant() && self.mailbox.is_empty() {
                return Next::Quiet;
            }
            let admits = admits(object);
            if std::mem::take(&mut self.resumed)
                && let Some(Some(message)) = self.inbox.next(admits).now_or_never()
            {
                return Next::Message(message);
            }
            let message = tokio::select! {
                biased;
                due = wait_for_late_work(&self.host.env, object) => return Next::Late(due),
                message = self.inbox.next(admits) => message,
                reached = self.durable.reached(self.applied), if !settled => match reached {
                    Ok(()) => None,
                    Err(LaneLost) => return Next::LaneLost,
                },
            };
            if let Some(message) = message {
                return Next::Message(message);
            }
        }
    }

    /// Does the maintenance that waits for durability. Returns whether everything applied is durable.
    fn settle(&mut self, database: &mut Database) -> bool {
        // The WAL stays long and the reset is retried; what it holds is safe.
        if let Err(error) = database.maintain() {
            tracing::error!(object = %self.address, %error, "the object's WAL could not be reset");
        }
        self.durable.covers(self.applied)
    }

    /// Leaves the map. Returns the object again if a message has arrived meanwhile.
    fn leave(&mut self, database: Box<Database>) -> Option<Object> {
        // Closed before the map admits a successor, which will open the same file.
        drop(database);
        // All of it is durable. What the successor sends comes after it.
        self.outbox.flush();
        self.host.sockets.forget_if_empty(&self.address.id);
        let handle = ObjectHandle { mailbox: self.mailbox.clone(), class: self.class.clone() };
        if self.registry.leave(&self.address.id, &handle) {
            return None;
        }
        let database = self.host.databases.database(&self.address);
        (self.durable, self.applied) = (database.durable(), database.last_applied());
        self.sockets = self.host.sockets.of(&self.address.id);
        Some(Object::Dormant(database))
    }

    /// Gives the object up after its lane was lost: nothing that it has applied since may be released, and no later
    /// turn can be made durable. Its sockets are closed, so that their peers connect again, and calls that wait are
    /// refused.
    fn give_up(&mut self, object: Object) -> Option<Object> {
        tracing::error!(object = %self.address, "the object's part of the commit log is lost; the object is given up");
        self.outbox.drop_all();
        if let Some(sockets) = self.sockets.take() {
            self.host.sockets.forget(&self.address.id);
            sockets.close_all(&CloseFrame::of_host(code::RESTART, "the host has lost the object")).now();
        }
        self.inbox.refuse_all(&TurnError::OutcomeUnknown);
        let (database, resident) = object.without_instance();
        if let Some(Resident { late, owed, .. }) = resident {
            _ = self.forget_late_work(late, owed, "a part of the commit log was lost", database.last_applied());
        }
        self.leave(database)
    }

    async fn deliver(&mut self, mut object: Object, envelope: Envelope) -> Object {
        // The charge of a large event is given back when its turn is over.
        let Envelope { call, charge: _charge, deletes: _deletes, .. } = envelope;
        let (mut call, event) = call.split();
        if let (None, Some(name)) = (&self.address.name, call.target.name.take()) {
            object.database().reached_by(&name);
            self.address.name = Some(name);
        }
        let ended = Ended { call: call.id, occasion: event.occasion(), had_sockets: self.sockets.is_some() };
        let deleted = || Failed::from(TurnError::Deleted);
        match event {
            Event::Fetch(_, reply) if self.mailbox.is_deleted() => self.answer(object, ended, Err(deleted()), reply),
            Event::Call(_, reply) if self.mailbox.is_deleted() => self.answer(object, ended, Err(deleted()), reply),
            Event::Socket(_, reply) if self.mailbox.is_deleted() => self.answer(object, ended, Err(deleted()), reply),
            Event::Alarm(_, reply) if self.mailbox.is_deleted() => self.answer(object, ended, Err(deleted()), reply),
            Event::Fetch(request, mut reply) => {
                let ticket = reply.ticket();
                let (object, outcome) = {
                    let mut gone = reply.abandoned();
                    self.fetch(object, &call, request, Waiter { gone: Some(&mut gone), ticket }).await
                };
                self.end_event(object, ended, outcome.map_err(Failed::from), reply, OwedTo::Fetch)
            }
            Event::Call(asked, mut reply) => {
                let ticket = reply.ticket();
                let (object, outcome) = {
                    let mut gone = reply.abandoned();
                    self.turn(object, &call, asked, Waiter { gone: Some(&mut gone), ticket }).await
                };
                self.end_event(object, ended, outcome.map_err(Failed::from), reply, OwedTo::Call)
            }
            Event::Socket(event, reply) => {
                let (socket, is_last) = (event.socket, matches!(event.kind, SocketEventKind::Close { .. }));
                let (object, outcome) = self.socket(object, &call, event).await;
                // The permit of a message is given back, so that the next one can be read.
                let owe = |reply: ReplyTo<()>| OwedTo::Socket(socket, is_last, reply.awaited());
                self.end_event(object, ended, outcome.map_err(Failed::from), reply, owe)
            }
            Event::Alarm(asked, reply) => {
                let (object, outcome, taken) = self.alarm(object, &call, asked).await;
                let owe = |reply: ReplyTo<AlarmRun>| {
                    let taken = taken.expect("the turn of an alarm was deferred");
                    match asked {
                        RunAlarm::Now => OwedTo::Alarm(taken, Some(reply)),
                        // The scheduler waits for the segment alone.
                        RunAlarm::IfDue => {
                            reply.send_at_once(AlarmRun::Suspended);
                            OwedTo::Alarm(taken, None)
                        }
                    }
                };
                self.end_event(object, ended, outcome, reply, owe)
            }
            Event::Administration(asked) => Box::pin(self.administrate(object, ended, asked)).await,
        }
    }

    /// Counts and reports a turn that has ended, and sends its outcome through the gate.
    fn answer<T>(&mut self, object: Object, ended: Ended, outcome: Result<T, Failed>, reply: ReplyTo<T>) -> Object {
        let (object, outcome) = self.count(object, &ended, outcome);
        let after = if ended.had_sockets || self.sockets.is_some() { self.outbox.if_waiting() } else { None };
        reply.send(output_gate::hold_outcome(outcome, self.applied, &self.durable), after);
        object
    }

    /// Counts and reports a turn that has ended.
    fn count<T>(
        &mut self,
        mut object: Object,
        ended: &Ended,
        outcome: Result<T, Failed>,
    ) -> (Object, Result<T, TurnError>) {
        self.host.metrics.turns.inc();
        let outcome = outcome.map_err(|Failed { error, consequence }| {
            if let TurnError::Abandoned = error {
                self.host.metrics.abandoned_turns.inc();
            }
            self.host.tell((&self.address, ended.call), &ended.occasion, consequence, &error);
            error
        });
        // What was applied since the last message: by turns, and by failed ones up to where they settled.
        self.applied = object.database().last_applied();
        (object, outcome)
    }

    /// Runs the turn of a request.
    async fn fetch(
        &mut self,
        mut object: Object,
        call: &Call<()>,
        request: Request,
        waiter: Waiter<'_>,
    ) -> (Object, Result<Outcome<FetchAnswer>, TurnError>) {
        if call.cause == Cause::Http && self.class.create() == Create::Internal {
            match self.exists(object.database()) {
                Ok(true) => {}
                Ok(false) => return (object, Err(TurnError::UnknownObject)),
                Err(error) => return (object, Err(error)),
            }
        }
        self.turn(object, call, request, waiter).await
    }

    /// Returns whether the object has stored something or has sockets.
    fn exists(&self, database: &mut Database) -> Result<bool, TurnError> {
        let is_stored = database.description().map_err(storage_failed)?.is_some();
        Ok(is_stored || self.sockets.as_ref().is_some_and(|sockets| sockets.counts().sockets > 0))
    }

    /// Runs the turn of a socket's event. Messages that arrive after the object or the host has closed the socket are
    /// dropped.
    async fn socket(
        &mut self,
        mut object: Object,
        call: &Call<()>,
        event: SocketEvent,
    ) -> (Object, Result<Outcome<()>, TurnError>) {
        let (id, is_last) = (event.socket, matches!(event.kind, SocketEventKind::Close { .. }));
        let Some(sockets) = self.sockets.clone() else { return (object, Ok(Outcome::Now(()))) };
        let is_for_it = if is_last { sockets.contains(id) } else { sockets.listens_to(id) };
        if !is_for_it {
            return (object, Ok(Outcome::Now(())));
        }
        if is_last {
            sockets.mark_closing(id);
        }
        let deleted = self.mailbox.deleted(&self.class);
        let code = deleted.or(self.class.code(&self.host.loader)).await;
        let outcome;
        (object, outcome) = match code {
            Ok(code) if !code.listens_to_websockets() => (object, Ok(Outcome::Now(()))),
            Ok(_) => self.turn(object, call, event, Waiter::default()).await,
            Err(error) => (object, Err(error)),
        };
        // Without room for an instance nothing was run, and the last event is delivered again. One that is deferred
        // ends with its reply.
        let is_over = !matches!(outcome, Ok(Outcome::Later(_)) | Err(TurnError::NoCapacity));
        if is_over || !is_last {
            let failed = outcome.as_ref().err().map(|error| (code::FAILED, error.code()));
            self.socket_event_is_over((id, is_last), failed, object.database().last_applied());
        }
        (object, outcome)
    }

    /// Forgets a socket after its last event, and closes it after another one that has failed, with a code and a
    /// reason.
    fn socket_event_is_over(&mut self, (id, is_last): (SocketId, bool), failed: Option<(u16, &str)>, applied: Lsn) {
        let Some(sockets) = self.sockets.clone() else { return };
        if is_last {
            sockets.remove(id);
        } else if let Some((code, reason)) = failed {
            self.release(sockets.close_one(id, CloseFrame::of_host(code, reason)), applied);
        }
    }

    /// Releases something when everything that the object has applied is durable.
    fn release(&mut self, release: Release, applied: Lsn) {
        self.outbox.put(output_gate::hold(release, applied, &self.durable));
    }
}

/// Returns the object after a turn that leaves this instance.
fn after(database: Box<Database>, resident: Option<Resident>) -> Object {
    let left = |resident: &Resident| if resident.owed.is_empty() { Left::Nothing } else { Left::Answers };
    let resident = resident.map(|resident| {
        let left = left(&resident);
        (resident, left)
    });
    Object::after(database, resident)
}

/// Returns the object after its instance was dropped. What the instance has set on its connection is reset.
fn dormant(mut database: Box<Database>) -> Object {
    database.reset_session();
    Object::Dormant(database)
}

fn storage_failed(error: StorageError) -> TurnError {
    match error {
        StorageError::Busy => TurnError::Overloaded,
        StorageError::NoMemory => TurnError::HostMemory,
        error @ StorageError::Damaged { .. } => TurnError::Damaged(error.to_string()),
        error if error.is_lack_of_room() => TurnError::StorageFull(error.to_string()),
        error => TurnError::Storage(error.to_string()),
    }
}
