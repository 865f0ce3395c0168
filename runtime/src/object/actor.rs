//! The actor of one live object: takes one message at a time, runs its turn, puts the outcome behind the gate.
//!
//! What must stay true: one turn at a time; a failed turn leaves neither staged writes nor an instance; the actor leaves
//! the router's map only with an empty mailbox and everything applied durable, so its successor finds all of it.

mod administration;

use std::sync::Arc;

use super::class::{Class, Loader};
use super::handle::{Envelope, Inbox, Mailbox, Message, ObjectHandle, Outcome, mailbox};
use super::lifecycle::{Effect, Event, State};
use super::outbox::Outbox;
use super::output_gate;
use super::residency::{Permit, Residency};
use crate::base::alarm::{ATTEMPTS_MAX, counts_as_attempt};
use crate::base::logs::{GuestLogs, Level, LogEntry};
use crate::base::metrics::Code;
use crate::base::outcome::{Failure, Logged};
use crate::base::socket::{Goodbye, SocketEvent, SocketEventKind, code};
use crate::base::{
    Alarm, ClassKey, Create, Env, Failures, HostMemory, Invocation, Limits, Metrics, ObjectAddress, ObjectId, Occasion,
    Reply, Request, TurnError, WorkBudget,
};
use crate::sockets::{ObjectSockets, Release, SocketTurn, Sockets};
use crate::storage::{Database, Databases, DurableWatch, Lsn, StorageError, Turn};
use crate::wasm::{ClassCode, Cost, Ends, Engine, Instance, InstanceContext, Signal, TurnEvent};

/// What the actors of one host share.
pub struct Node {
    /// Compiles and instantiates.
    pub engine: Arc<Engine>,
    /// Loads the code of classes.
    pub loader: Loader,
    /// Databases of objects.
    pub databases: Databases,
    /// WebSockets of objects.
    pub sockets: Arc<Sockets>,
    /// Who may be in memory.
    pub residency: Arc<Residency>,
    /// What classes use of the host's memory.
    pub memory: HostMemory,
    /// What a turn may use.
    pub limits: Arc<Limits>,
    /// What guests say.
    pub logs: Arc<GuestLogs>,
    /// Tells of failed turns.
    pub failures: Failures,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Clock and randomness.
    pub env: Env,
}

/// The router's map, as an actor sees it.
pub trait Registry: Send + Sync {
    /// Removes the actor that `handle` leads to, unless something waits in its mailbox. False if it must stay.
    fn leave(&self, id: &ObjectId, handle: &ObjectHandle) -> bool;
}

struct Actor {
    /// First, so that it is dropped first: once the inbox is gone a successor may open the same files. None only while a turn
    /// owns it.
    database: Option<Database>,
    node: Arc<Node>,
    registry: Arc<dyn Registry>,
    class: Arc<Class>,
    address: ObjectAddress,
    mailbox: Mailbox,
    inbox: Inbox,
    state: State,
    resident: Option<Resident>,
    durable: DurableWatch,
    applied: Lsn,
    /// None if the object has nothing to do with any.
    sockets: Option<Arc<ObjectSockets>>,
    outbox: Outbox,
}

/// A live instance with its right to be there.
struct Resident {
    instance: Instance,
    permit: Permit,
}

/// A turn that failed.
struct Failed {
    error: TurnError,
    /// What becomes of it, as the rest of the sentence "it failed"; with how much that matters.
    consequence: (String, Level),
}

impl From<TurnError> for Failed {
    fn from(error: TurnError) -> Self {
        Self { error, consequence: (String::new(), Level::Error) }
    }
}

/// What an actor does next.
enum Next {
    /// Deal with this.
    Message(Message),
    /// Nothing waits: neither messages nor the disk.
    Quiet,
}

impl ObjectHandle {
    /// Starts the actor of an object on the current tokio runtime. The caller makes sure that it is the only one.
    pub fn start(node: Arc<Node>, registry: Arc<dyn Registry>, class: Arc<Class>, address: ObjectAddress) -> Self {
        // The class may have got another name since the object was asked for.
        let address = ObjectAddress { class: class.name(), ..address };
        let (mailbox, inbox) = mailbox();
        let handle = Self { mailbox: mailbox.clone(), class: class.clone() };
        let database = node.databases.database(&address);
        let (durable, applied) = (database.durable(), database.last_applied());
        let sockets = node.sockets.of(&address.id);
        let actor = Actor {
            sockets,
            outbox: Outbox::default(),
            node,
            registry,
            class,
            address,
            mailbox,
            inbox,
            state: State::Dormant,
            resident: None,
            database: Some(database),
            durable,
            applied,
        };
        tokio::spawn(actor.live());
        handle
    }
}

impl Actor {
    async fn live(mut self) {
        self.node.metrics.live_objects.inc();
        while self.state != State::Gone {
            match self.next_message().await {
                Next::Message(Message::Deliver(envelope)) => self.deliver(*envelope).await,
                Next::Message(Message::DropInstance) => self.advance(Event::DropAsked),
                Next::Quiet => self.advance(Event::Quiet),
            }
        }
        self.node.metrics.live_objects.dec();
    }

    async fn next_message(&mut self) -> Next {
        loop {
            let settled = self.settle();
            if !settled && self.database.as_ref().is_some_and(Database::must_settle) {
                self.durable.reached(self.applied).await;
                continue;
            }
            if settled && self.state == State::Dormant && self.inbox.is_empty() {
                return Next::Quiet;
            }
            let message = if settled {
                self.inbox.next().await
            } else {
                tokio::select! {
                    biased;
                    message = self.inbox.next() => message,
                    () = self.durable.reached(self.applied) => None,
                }
            };
            if let Some(message) = message {
                return Next::Message(message);
            }
        }
    }

    /// Does what had to wait for the disk, and says whether nothing waits any more.
    fn settle(&mut self) -> bool {
        if let Some(database) = &mut self.database {
            // The WAL stays long and is tried again; what it holds is safe.
            if let Err(error) = database.maintain() {
                tracing::error!(object = %self.address, %error, "the object's WAL could not be reset");
            }
        }
        self.durable.covers(self.applied)
    }

    /// Feeds an event whose effect does not run a turn.
    fn advance(&mut self, event: Event) {
        let (state, effect) = self.state.handle(event);
        self.state = state;
        match effect {
            Effect::DropInstance => self.drop_instance(),
            Effect::MarkIdle => self.resident.iter().for_each(|resident| resident.permit.mark_idle()),
            Effect::Leave => {
                // Closed before the map lets a successor in, which will open the same file.
                self.database = None;
                // All of it is durable. What the successor sends comes after it.
                self.outbox.flush();
                self.node.sockets.forget_if_empty(&self.address.id);
                let handle = ObjectHandle { mailbox: self.mailbox.clone(), class: self.class.clone() };
                if !self.registry.leave(&self.address.id, &handle) {
                    let database = self.node.databases.database(&self.address);
                    (self.durable, self.applied) = (database.durable(), database.last_applied());
                    self.database = Some(database);
                    self.sockets = self.node.sockets.of(&self.address.id);
                    self.state = State::Dormant;
                }
            }
            Effect::Run | Effect::RunWithoutInstance | Effect::None => {}
        }
    }

    async fn deliver(&mut self, mut envelope: Envelope) {
        if let (None, Some(name)) = (&self.address.name, envelope.name) {
            self.database.iter_mut().for_each(|database| database.reached_by(&name));
            self.address.name = Some(name);
        }
        let occasion = occasion(&envelope.invocation);
        let mut consequence = (String::new(), Level::Error);
        let had_sockets = self.sockets.is_some();
        let outcome = match envelope.invocation {
            Invocation::Fetch(_) | Invocation::Alarm { .. } | Invocation::Socket(_) | Invocation::Query(_)
                if self.mailbox.is_deleted() =>
            {
                Err(TurnError::Deleted)
            }
            Invocation::Fetch(request) => self.fetch(request, &mut envelope.reply.abandoned()).await,
            Invocation::Alarm { now } => self.alarm(now).await.map_err(|failed| {
                consequence = failed.consequence;
                failed.error
            }),
            Invocation::Socket(event) => self.socket(event).await,
            Invocation::Describe => self.describe(),
            Invocation::Delete => self.delete().await,
            Invocation::Query(query) => self.query(*query).await,
            Invocation::Import(database) => self.import(database).await,
            Invocation::Export => match self.snapshot().await {
                Ok(Some(snapshot)) => return self.export(snapshot, occasion, envelope.reply),
                Ok(None) => Ok(Reply::File(None)),
                Err(error) => Err(error),
            },
            Invocation::Evict => {
                let had = self.resident.is_some();
                self.advance(Event::DropAsked);
                Ok(Reply::Done(had))
            }
        };
        self.node.metrics.turns.inc();
        if let Err(TurnError::Abandoned) = &outcome {
            self.node.metrics.abandoned_turns.inc();
        }
        if let Err(error) = &outcome {
            self.node.tell(&self.address, &occasion, consequence, error);
        }
        // What was applied since the last message: by turns, and by failed ones up to where they settled.
        self.applied = self.database.as_ref().expect("no turn is running").last_applied();
        let after = if had_sockets || self.sockets.is_some() { self.outbox.if_waiting() } else { None };
        envelope.reply.send(output_gate::hold(outcome, self.applied, &self.durable), after);
    }

    /// A request from outside.
    async fn fetch(&mut self, request: Request, abandoned: Signal<'_>) -> Outcome {
        if self.class.create() == Create::Internal && !self.exists()? {
            return Err(TurnError::UnknownObject);
        }
        self.turn(TurnEvent::Fetch(request), Some(abandoned)).await
    }

    /// Whether the object has stored something or has sockets.
    fn exists(&mut self) -> Result<bool, TurnError> {
        let database = self.database.as_mut().expect("no turn is running");
        let is_stored = database.description().map_err(storage_failed)?.is_some();
        Ok(is_stored || self.sockets.as_ref().is_some_and(|sockets| sockets.counts().sockets > 0))
    }

    /// One turn of the instance: wake, run, apply or roll back.
    async fn turn(&mut self, event: TurnEvent, abandoned: Option<Signal<'_>>) -> Outcome {
        let (state, _run) = self.state.handle(Event::Invoked);
        self.state = state;
        let outcome = self.run(event, abandoned).await;
        // A turn of which nothing was kept leaves no instance either.
        self.advance(if self.resident.is_some() { Event::TurnApplied } else { Event::TurnFailed });
        outcome
    }

    /// Runs the alarm if it is due, and tells the index what the alarm is afterwards, changed or not. When the host has failed
    /// nothing is told, so whoever sent it sends it again.
    async fn alarm(&mut self, now: bool) -> Result<Reply, Failed> {
        let database = self.database.as_mut().expect("no turn is running");
        let alarm = database.alarm().map_err(storage_failed)?;
        // Otherwise it was deleted or set to another time meanwhile, or the clock was set back.
        let due = alarm.filter(|alarm| now || self.node.env.wall_ms() >= alarm.next_ms);
        let outcome = match due {
            Some(alarm) => match self.run_alarm(alarm).await {
                Ok(reply) => Ok(reply),
                Err(error) if counts_as_attempt(&error) => {
                    let consequence = self.alarm_failed(alarm).await?;
                    Err(Failed { error, consequence })
                }
                Err(error) => {
                    let what = match error {
                        TurnError::NoHandler(_) => " and waits for a version that handles alarms",
                        _ => " and is tried again",
                    };
                    return Err(Failed { error, consequence: (what.into(), Level::Warn) });
                }
            },
            None => Ok(Reply::Done(false)),
        };
        self.database.as_mut().expect("no turn is running").tell_alarm().map_err(storage_failed)?;
        outcome
    }

    async fn run_alarm(&mut self, alarm: Alarm) -> Outcome {
        self.node.metrics.alarms.inc();
        let node = self.node.clone();
        match node.databases.alarm_runs().begin(self.address.id) {
            Some(_running) => self.turn(TurnEvent::Alarm(alarm), None).await,
            None => {
                Err(TurnError::Trap { reason: "the host ended three times in a row while it ran".into(), stack: None })
            }
        }
    }

    /// Notes in a turn of the host's when the alarm is tried again, or that it is given up. Returns what becomes of it, in words.
    async fn alarm_failed(&mut self, alarm: Alarm) -> Result<(String, Level), TurnError> {
        let now_ms = self.node.env.wall_ms();
        let next = alarm.after_failure(now_ms, &self.node.env);
        let mut turn = self.database.take().expect("no turn is running").begin(WorkBudget::unlimited());
        turn.set_alarm(next);
        self.apply(turn).await?;
        let attempt = format!(" (attempt {} of {ATTEMPTS_MAX})", alarm.attempt + 1);
        Ok(match next {
            Some(next) => {
                let seconds = next.next_ms.saturating_sub(now_ms) as f64 / 1000.0;
                (format!("{attempt} and is tried again in {seconds:.1} s"), Level::Warn)
            }
            None => {
                self.node.metrics.alarms_given_up.inc();
                (format!("{attempt} and is given up"), Level::Error)
            }
        })
    }

    /// An event of a socket. Messages that come after the object or the host has closed it are not for the object any more.
    async fn socket(&mut self, event: SocketEvent) -> Outcome {
        let (id, is_last) = (event.socket, matches!(event.kind, SocketEventKind::Close { .. }));
        let Some(sockets) = self.sockets.clone() else { return Ok(Reply::Done(false)) };
        let is_for_it = if is_last { sockets.contains(id) } else { sockets.listens_to(id) };
        if !is_for_it {
            return Ok(Reply::Done(false));
        }
        if is_last {
            sockets.mark_closing(id);
        }
        let deleted = self.mailbox.deleted(&self.class);
        let outcome = match deleted.or(self.class.code(&self.node.loader)).await {
            Ok(code) if !code.listens_to_websockets() => Ok(Reply::Done(false)),
            Ok(_) => self.turn(TurnEvent::Socket(event), None).await,
            Err(error) => Err(error),
        };
        if let Err(error) = &outcome
            && !is_last
        {
            self.release(sockets.goodbye(id, Goodbye::of_host(code::FAILED, error.code())));
        }
        // Without room for an instance nothing was run, and it comes again.
        if is_last && !matches!(outcome, Err(TurnError::NoCapacity)) {
            sockets.remove(id);
        }
        outcome
    }

    /// Has something sent when all that the object has applied is durable.
    fn release(&mut self, release: Release) {
        let applied = self.database.as_ref().expect("no turn is running").last_applied();
        self.outbox.put(output_gate::hold(release, applied, &self.durable));
    }

    /// What the next turn does with sockets. `event` tells whether it is about a new one.
    fn begin_with_sockets(&self, event: &TurnEvent) -> SocketTurn {
        let offered = match event {
            TurnEvent::Fetch(request) if request.websocket => Some(request.websocket_protocols()),
            _ => None,
        };
        let object = (self.address.id, self.address.key.clone());
        SocketTurn::begin(self.node.sockets.clone(), object, self.sockets.clone(), offered)
    }

    async fn run(&mut self, event: TurnEvent, mut abandoned: Option<Signal<'_>>) -> Outcome {
        let Resident { instance, permit } =
            self.wake(abandoned.as_mut().map(|abandoned| &mut **abandoned as _)).await?;
        let database = self.database.take().expect("no turn is running");
        let sockets = self.begin_with_sockets(&event);
        let mut deleted = self.mailbox.deleted(&self.class);
        let ends = Ends { abandoned, deleted: &mut deleted };
        let end = instance.run(database, sockets, event, ends).await;
        self.node.metrics.fuel.inc_by(end.fuel);
        let mut turn = end.turn;
        let reply = match end.result {
            // A turn like any other that has only read, whose answer was lost on the way.
            Err(error @ TurnError::NoRoomForResponse) if !turn.has_staged() && !end.sockets.has_staged() => {
                self.apply(turn).await?;
                self.resident = end.instance.map(|instance| Resident { instance, permit });
                return Err(error);
            }
            Ok(Reply::Response(response)) if response.status.as_u16() >= 400 && self.keeps_nothing_of(&mut turn) => {
                self.database = Some(turn.roll_back());
                return Ok(Reply::Response(response));
            }
            Ok(reply) => self.apply(turn).await.map(|()| reply),
            Err(error) => {
                // A handler that cannot cope with an error of storage passes it on or panics; the error is storage's.
                let cause = turn.broken().filter(|_| matches!(error, TurnError::Guest(_) | TurnError::Trap { .. }));
                let cause = cause.map(|cause| cause.clone().into_turn_error(&self.node.limits));
                self.database = Some(turn.roll_back());
                Err(match cause {
                    Some(cause) => {
                        self.log_words_of(error);
                        cause
                    }
                    None => error,
                })
            }
        }?;
        if let Some(release) = end.sockets.apply(matches!(reply, Reply::Upgrade(..))) {
            self.sockets = Some(release.of().clone());
            self.release(release);
        }
        self.resident = end.instance.map(|instance| Resident { instance, permit });
        Ok(reply)
    }

    /// Whether the turn of a request that was answered with an error would make an object out of nothing but empty tables.
    fn keeps_nothing_of(&self, turn: &mut Turn) -> bool {
        self.class.create() == Create::Stored
            && turn.makes_only_tables()
            && self.sockets.as_ref().is_none_or(|sockets| sockets.counts().sockets == 0)
    }

    /// Logs what a guest said of an error that another one takes the place of.
    fn log_words_of(&self, error: TurnError) {
        if let TurnError::Guest(Failure { logged: Some(logged), .. }) = error {
            let Logged { message, fields } = *logged;
            let entry = LogEntry::new(&self.node.env, &self.address, Level::Error, message);
            self.node.logs.add(LogEntry { fields, ..entry });
        }
    }

    /// Makes what a turn staged part of the object.
    async fn apply(&mut self, mut turn: Turn) -> Result<(), TurnError> {
        turn.make_room().await;
        let (database, applied) = turn.apply_sliced().await;
        self.database = Some(database);
        applied.map(drop).map_err(|error| error.into_turn_error(&self.node.limits))
    }

    /// The instance of the class's current version: the one at hand, or a new one. Waits for room no longer than anybody waits
    /// for the turn.
    async fn wake(&mut self, abandoned: Option<Signal<'_>>) -> Result<Resident, TurnError> {
        if self.class.is_retired() {
            return Err(TurnError::ClassUnavailable("it is being deleted".into()));
        }
        let code = match self.class.code_if_loaded() {
            Some(code) => code,
            None => self.mailbox.deleted(&self.class).or(self.class.code(&self.node.loader)).await?,
        };
        if let Some(mut resident) = self.resident.take()
            && Arc::ptr_eq(resident.instance.code(), &code)
        {
            resident.permit.mark_busy();
            resident.instance.learn_name(self.address.name.as_ref());
            return Ok(resident);
        }
        // What an instance of another version set on its connection goes with it.
        self.drop_instance();
        self.learn_name()?;
        let (node, address, mailbox) = (&self.node, &self.address, &self.mailbox);
        let making = async {
            let permit = node.admit(&address.key, code.cost, mailbox, abandoned).await?;
            let instance = node.instantiate(address, code).await?;
            Ok(Resident { instance, permit })
        };
        mailbox.deleted(&self.class).or(making).await
    }

    /// An object that is reached by id knows its name all the same if it was ever stored with one.
    fn learn_name(&mut self) -> Result<(), TurnError> {
        if self.address.name.is_none() {
            let database = self.database.as_mut().expect("no turn is running");
            self.address.name = database.name().map_err(storage_failed)?;
        }
        Ok(())
    }

    fn drop_instance(&mut self) {
        self.resident = None;
        // The next one knows the class by the name that it has then.
        self.address.class = self.class.name();
        if let Some(database) = &mut self.database {
            database.reset_session();
        }
    }
}

impl Node {
    /// Waits for room for an instance, no longer than anybody waits for its turn.
    async fn admit(
        &self,
        class: &ClassKey,
        cost: Cost,
        mailbox: &Mailbox,
        abandoned: Option<Signal<'_>>,
    ) -> Result<Permit, TurnError> {
        let admitted = self.residency.admit(class, cost, mailbox);
        match abandoned {
            None => admitted.await,
            Some(abandoned) => tokio::select! {
                biased;
                permit = admitted => permit,
                () = abandoned => return Err(TurnError::Abandoned),
            },
        }
        .ok_or(TurnError::NoCapacity)
    }

    async fn instantiate(&self, address: &ObjectAddress, code: Arc<ClassCode>) -> Result<Instance, TurnError> {
        let context = InstanceContext {
            address: address.clone(),
            limits: self.limits.clone(),
            memory: self.memory.account(&address.key),
            logs: self.logs.clone(),
            env: self.env.clone(),
        };
        self.metrics.instances_started.inc();
        Instance::new(&self.engine, code, context).await
    }

    /// Counts a failed turn and tells of it. What was only refused is no failed turn: it is the answer.
    fn tell(&self, address: &ObjectAddress, occasion: &Occasion, consequence: (String, Level), error: &TurnError) {
        if !error.is_refusal() {
            self.metrics.failed_turns.get_or_create(&Code { code: error.code() }).inc();
            self.failures.tell(address, occasion, &consequence.0, consequence.1, error);
        }
    }
}

/// What an invocation is about, for the log if its turn fails. Copies no text.
fn occasion(invocation: &Invocation) -> Occasion {
    match invocation {
        Invocation::Fetch(request) => Occasion::Fetch(request.method.clone(), request.uri.clone()),
        Invocation::Alarm { .. } => Occasion::Alarm,
        Invocation::Socket(event) => Occasion::Socket(event.socket),
        Invocation::Describe => Occasion::Admin("a look"),
        Invocation::Delete => Occasion::Admin("a deletion"),
        Invocation::Evict => Occasion::Admin("an eviction"),
        Invocation::Query(_) => Occasion::Admin("a query"),
        Invocation::Import(_) => Occasion::Admin("an import"),
        Invocation::Export => Occasion::Admin("an export"),
    }
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
