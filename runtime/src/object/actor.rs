//! The actor of one live object: takes one message at a time, runs its turn, and puts the outcome behind the output
//! gate.
//!
//! The object is a value ([`Object`]) that each step takes and gives back; the actor itself has the rest. What must
//! stay true: one turn at a time; a failed turn leaves neither staged writes nor an instance; the actor leaves the
//! router's map only with an empty mailbox and everything applied durable, so its successor finds all of it.

mod administration;
mod alarm;
mod wake;

use std::sync::Arc;

use tracing::Instrument;

use super::class::Class;
use super::event::Event;
use super::handle::{ObjectHandle, Registry};
use super::host_context::HostContext;
use super::lifecycle::{self, Left, Quiet};
use super::mailbox::{Admits, Envelope, Inbox, Mailbox, Message, mailbox};
use super::outbox::Outbox;
use super::output_gate;
use super::owed::Owed;
use super::reply::ReplyTo;
use super::residency::Permit;
use crate::base::logs::{Level, LogEntry};
use crate::base::socket::{CloseFrame, SocketEvent, SocketEventKind, code};
use crate::base::turn_error::{Failure, Logged};
use crate::base::{Call, CallId, Cause, Create, FetchAnswer, ObjectAddress, Occasion, Request, TurnError};
use crate::sockets::{ObjectSockets, Release, SocketTurn};
use crate::storage::{Database, DurableWatch, LaneLost, Lsn, StorageError, Turn};
use crate::wasm::{Ends, Instance, Signal, TurnAnswer, TurnEvent};

/// What an actor has beside the object itself.
struct Actor {
    host: Arc<HostContext>,
    registry: Arc<dyn Registry>,
    class: Arc<Class>,
    address: ObjectAddress,
    mailbox: Mailbox,
    inbox: Inbox,
    durable: DurableWatch,
    applied: Lsn,
    /// None if the object has no sockets and has set nothing for them.
    sockets: Option<Arc<ObjectSockets>>,
    outbox: Outbox,
}

/// The object of an actor, between two messages.
type Object = lifecycle::Object<Database, Resident>;

/// A live instance with its permit.
struct Resident {
    instance: Instance,
    permit: Permit,
    /// The answers that it owes.
    owed: Owed,
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
    /// No message waits, and everything applied is durable.
    Quiet,
    /// The object's lane is lost: whether what was applied is durable stays unknown.
    LaneLost,
}

impl ObjectHandle {
    /// Starts the actor of an object on the current tokio runtime. The caller ensures that it is the only one.
    pub fn start(
        host: Arc<HostContext>,
        registry: Arc<dyn Registry>,
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
        let actor = Actor { sockets, outbox, host, registry, class, address, mailbox, inbox, durable, applied };
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
                Next::Message(Message::DropInstance) => drop_instance(object).0,
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
            let message = if settled {
                self.inbox.next(Admits::All).await
            } else {
                tokio::select! {
                    biased;
                    message = self.inbox.next(Admits::All) => message,
                    reached = self.durable.reached(self.applied) => match reached {
                        Ok(()) => None,
                        Err(LaneLost) => return Next::LaneLost,
                    },
                }
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
    fn leave(&mut self, database: Database) -> Option<Object> {
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
        let (database, instance) = object.without_instance();
        drop(instance);
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
            Event::Socket(_, reply) if self.mailbox.is_deleted() => self.answer(object, ended, Err(deleted()), reply),
            Event::Alarm(_, reply) if self.mailbox.is_deleted() => self.answer(object, ended, Err(deleted()), reply),
            Event::Fetch(request, mut reply) => {
                let (object, outcome) = self.fetch(object, &call, request, &mut reply.abandoned()).await;
                self.answer(object, ended, outcome.map_err(Failed::from), reply)
            }
            Event::Socket(event, reply) => {
                let (object, outcome) = self.socket(object, call.id, event).await;
                self.answer(object, ended, outcome.map_err(Failed::from), reply)
            }
            Event::Alarm(asked, reply) => {
                let (object, outcome) = self.alarm(object, call.id, asked).await;
                self.answer(object, ended, outcome, reply)
            }
            Event::Administration(asked) => self.administrate(object, ended, asked).await,
        }
    }

    /// Counts and reports a turn that has ended, and sends its outcome through the gate.
    fn answer<T>(&mut self, mut object: Object, ended: Ended, outcome: Result<T, Failed>, reply: ReplyTo<T>) -> Object {
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
        let after = if ended.had_sockets || self.sockets.is_some() { self.outbox.if_waiting() } else { None };
        reply.send(output_gate::hold_outcome(outcome, self.applied, &self.durable), after);
        object
    }

    /// Runs the turn of a request.
    async fn fetch(
        &mut self,
        mut object: Object,
        call: &Call<()>,
        request: Request,
        abandoned: Signal<'_>,
    ) -> (Object, Result<FetchAnswer, TurnError>) {
        if call.cause == Cause::Http && self.class.create() == Create::Internal {
            match self.exists(object.database()) {
                Ok(true) => {}
                Ok(false) => return (object, Err(TurnError::UnknownObject)),
                Err(error) => return (object, Err(error)),
            }
        }
        self.turn(object, call.id, request, Some(abandoned)).await
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
        call: CallId,
        event: SocketEvent,
    ) -> (Object, Result<(), TurnError>) {
        let (id, is_last) = (event.socket, matches!(event.kind, SocketEventKind::Close { .. }));
        let Some(sockets) = self.sockets.clone() else { return (object, Ok(())) };
        let is_for_it = if is_last { sockets.contains(id) } else { sockets.listens_to(id) };
        if !is_for_it {
            return (object, Ok(()));
        }
        if is_last {
            sockets.mark_closing(id);
        }
        let deleted = self.mailbox.deleted(&self.class);
        let code = deleted.or(self.class.code(&self.host.loader)).await;
        let outcome;
        (object, outcome) = match code {
            Ok(code) if !code.listens_to_websockets() => (object, Ok(())),
            Ok(_) => self.turn(object, call, event, None).await,
            Err(error) => (object, Err(error)),
        };
        if let Err(error) = &outcome
            && !is_last
        {
            let close_frame = sockets.close_one(id, CloseFrame::of_host(code::FAILED, error.code()));
            self.release(close_frame, object.database().last_applied());
        }
        // Without room for an instance nothing was run, and the event is delivered again.
        if is_last && !matches!(outcome, Err(TurnError::NoCapacity)) {
            sockets.remove(id);
        }
        (object, outcome)
    }

    /// Releases something when everything that the object has applied is durable.
    fn release(&mut self, release: Release, applied: Lsn) {
        self.outbox.put(output_gate::hold(release, applied, &self.durable));
    }

    /// Runs one turn of the instance: wakes it, runs the handler, applies or rolls back.
    async fn turn<E: TurnEvent>(
        &mut self,
        object: Object,
        call: CallId,
        event: E,
        mut abandoned: Option<Signal<'_>>,
    ) -> (Object, Result<E::Answer, TurnError>) {
        let code = match self.code().await {
            Ok(code) => code,
            Err(error) => return (object, Err(error)),
        };
        let (mut database, resident) = object.begin();
        let waits: Option<Signal<'_>> = abandoned.as_mut().map(|abandoned| &mut **abandoned as _);
        let Resident { instance, permit, owed } = match self.wake(&mut database, resident, code, call, waits).await {
            Ok(resident) => resident,
            Err(error) => return (dormant(database), Err(error)),
        };
        let object = (self.address.id, self.address.key.clone());
        let (sockets, offered) = (self.sockets.clone(), event.offered_protocols());
        let sockets = SocketTurn::begin(self.host.sockets.clone(), object, sockets, offered);
        let mut deleted = self.mailbox.deleted(&self.class);
        let ends = Ends { abandoned, deleted: &mut deleted };
        let end = instance.run(database, sockets, event, call, ends).await;
        self.host.metrics.fuel.inc_by(end.fuel);
        let (database, kept, outcome) = self.end(call, end.turn, end.sockets, end.result).await;
        // A turn of which nothing was kept leaves no instance either.
        let object = match end.instance.filter(|_| kept == Kept::All) {
            Some(instance) => {
                permit.mark_idle();
                after(database, Some(Resident { instance, permit, owed }))
            }
            None => dormant(database),
        };
        (object, outcome)
    }

    /// Applies a turn whose handler succeeded, and rolls others back.
    async fn end<T: TurnAnswer>(
        &mut self,
        call: CallId,
        mut turn: Turn,
        sockets: SocketTurn,
        result: Result<T, TurnError>,
    ) -> (Database, Kept, Result<T, TurnError>) {
        let answer = match result {
            Ok(answer) => answer,
            // A turn that has only read, whose answer was lost on the way: it is applied like any other.
            Err(error @ TurnError::NoRoomForResponse) if !turn.has_staged() && !sockets.has_staged() => {
                return match self.apply(turn).await {
                    (database, Ok(())) => (database, Kept::All, Err(error)),
                    (database, Err(error)) => (database, Kept::Nothing, Err(error)),
                };
            }
            Err(error) => {
                // A handler that cannot handle an error of storage returns it or panics; the cause is the error of
                // storage.
                let cause = turn.broken().filter(|_| matches!(error, TurnError::Guest(_) | TurnError::Trap { .. }));
                let cause = cause.map(|cause| cause.clone().into_turn_error(&self.host.limits));
                let error = match cause {
                    Some(cause) => {
                        self.log_words_of(call, error);
                        cause
                    }
                    None => error,
                };
                return (turn.roll_back(), Kept::Nothing, Err(error));
            }
        };
        let is_error = answer.response().is_some_and(|response| response.status.as_u16() >= 400);
        if is_error && self.keeps_nothing_of(&mut turn) {
            return (turn.roll_back(), Kept::Nothing, Ok(answer));
        }
        let (database, applied) = self.apply(turn).await;
        if let Err(error) = applied {
            return (database, Kept::Nothing, Err(error));
        }
        if let Some(release) = sockets.apply(answer.opens_socket()) {
            self.sockets = Some(release.of().clone());
            self.release(release, database.last_applied());
        }
        (database, Kept::All, Ok(answer))
    }

    /// Returns whether the turn of a request that was answered with an error would create an object that holds only
    /// empty tables.
    fn keeps_nothing_of(&self, turn: &mut Turn) -> bool {
        self.class.create() == Create::Stored
            && turn.makes_only_tables()
            && self.sockets.as_ref().is_none_or(|sockets| sockets.counts().sockets == 0)
    }

    /// Logs the guest's text of an error that is replaced by another one.
    fn log_words_of(&self, call: CallId, error: TurnError) {
        if let TurnError::Guest(Failure { logged: Some(logged), .. }) = error {
            let Logged { message, fields } = *logged;
            let entry = LogEntry::new(&self.host.env, (&self.address, call), Level::Error, message);
            self.host.logs.add(LogEntry { fields, ..entry });
        }
    }

    /// Applies what a turn has staged.
    async fn apply(&self, mut turn: Turn) -> (Database, Result<(), TurnError>) {
        turn.make_room().await;
        let (database, applied) = turn.apply_sliced().await;
        (database, applied.map(drop).map_err(|error| error.into_turn_error(&self.host.limits)))
    }
}

/// What is kept of a turn.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kept {
    /// All of it, and so the instance.
    All,
    /// Nothing: the turn failed, or made only empty tables.
    Nothing,
}

/// Returns the object after a turn that leaves this instance.
fn after(database: Database, resident: Option<Resident>) -> Object {
    let left = |resident: &Resident| if resident.owed.is_empty() { Left::Nothing } else { Left::Answers };
    let resident = resident.map(|resident| {
        let left = left(&resident);
        (resident, left)
    });
    Object::after(database, resident)
}

/// Returns the object after its instance was dropped. What the instance has set on its connection is reset.
fn dormant(mut database: Database) -> Object {
    database.reset_session();
    Object::Dormant(database)
}

/// Drops the instance. Returns whether there was one.
fn drop_instance(object: Object) -> (Object, bool) {
    let (database, resident) = object.without_instance();
    let had = resident.is_some();
    drop(resident);
    (if had { dormant(database) } else { Object::Dormant(database) }, had)
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
