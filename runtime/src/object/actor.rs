//! The actor of one live object: takes one message at a time, runs its turn, puts the outcome behind the gate.
//!
//! What must stay true: one turn at a time; a failed turn leaves neither staged writes nor an instance; the actor leaves
//! the router's map only with an empty mailbox and everything applied durable, so its successor finds all of it.

use std::io::ErrorKind;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::class::{Class, Loader};
use super::handle::{Envelope, Inbox, Mailbox, Message, ObjectHandle, Outcome, mailbox};
use super::lifecycle::{Effect, Event, State};
use super::output_gate::{self, Gated};
use super::residency::{Permit, Residency};
use crate::base::invocation::Description;
use crate::base::logs::GuestLogs;
use crate::base::metrics::Code;
use crate::base::{
    CheckedDatabase, Env, Invocation, Limits, Metrics, ObjectAddress, ObjectId, Query, Reply, Request, TurnError,
    WorkBudget,
};
use crate::storage::{ApplyError, Database, Databases, DurableWatch, Lsn, Snapshot, SqlError, StorageError, Turn};
use crate::wasm::{ClassCode, Engine, Instance, InstanceContext};

/// What the actors of one host share.
pub struct Node {
    /// Compiles and instantiates.
    pub engine: Arc<Engine>,
    /// Loads the code of classes.
    pub loader: Loader,
    /// Databases of objects.
    pub databases: Databases,
    /// Who may be in memory.
    pub residency: Arc<Residency>,
    /// What a turn may use.
    pub limits: Arc<Limits>,
    /// What guests say.
    pub logs: Arc<GuestLogs>,
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
}

/// A live instance with its right to be there.
struct Resident {
    instance: Instance,
    permit: Permit,
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
        let (mailbox, inbox) = mailbox();
        let handle = Self { mailbox: mailbox.clone(), class: class.clone() };
        let database = node.databases.database(&address);
        let (durable, applied) = (database.durable(), database.last_applied());
        let actor = Actor {
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
                let handle = ObjectHandle { mailbox: self.mailbox.clone(), class: self.class.clone() };
                if !self.registry.leave(&self.address.id, &handle) {
                    let database = self.node.databases.database(&self.address);
                    (self.durable, self.applied) = (database.durable(), database.last_applied());
                    self.database = Some(database);
                    self.state = State::Dormant;
                }
            }
            Effect::Run | Effect::RunWithoutInstance | Effect::None => {}
        }
    }

    async fn deliver(&mut self, envelope: Envelope) {
        if let (None, Some(name)) = (&self.address.name, envelope.name) {
            self.database.iter_mut().for_each(|database| database.reached_by(&name));
            self.address.name = Some(name);
        }
        let outcome = match envelope.invocation {
            Invocation::Fetch(request) => self.fetch(request).await,
            Invocation::Describe => self.describe(),
            Invocation::Delete => self.delete().await,
            Invocation::Query(query) => self.query(*query).await,
            Invocation::Import(database) => self.import(database).await,
            Invocation::Export => match self.snapshot().await {
                Ok(Some(snapshot)) => return self.export(snapshot, envelope.reply),
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
        if let Err(error) = &outcome {
            self.node.metrics.failed_turns.get_or_create(&Code { code: error.code() }).inc();
        }
        // What was applied since the last message: by turns, and by failed ones up to where they settled.
        self.applied = self.database.as_ref().expect("no turn is running").last_applied();
        // Nobody may be waiting any more; the turn has happened all the same.
        let _ = envelope.reply.send(output_gate::hold(outcome, self.applied, &self.durable));
    }

    /// One fetch turn: wake, run, apply or roll back.
    async fn fetch(&mut self, request: Request) -> Outcome {
        let (state, _run) = self.state.handle(Event::Invoked);
        self.state = state;
        let outcome = self.run(request).await;
        self.advance(if outcome.is_ok() { Event::TurnApplied } else { Event::TurnFailed });
        outcome
    }

    async fn run(&mut self, request: Request) -> Outcome {
        let Resident { instance, permit } = self.wake().await?;
        let database = self.database.take().expect("no turn is running");
        let end = instance.fetch(database, request).await;
        self.node.metrics.fuel.inc_by(end.fuel);
        let response = match end.result {
            Ok(response) => self.apply(end.turn).await.map(|()| response),
            Err(error) => {
                // A handler that cannot cope with an error of storage passes it on or panics; the error is storage's.
                let cause = end.turn.broken().filter(|_| matches!(error, TurnError::Guest(_) | TurnError::Trap(_)));
                let cause = cause.map(|cause| cause.clone().into_turn_error(&self.node.limits));
                self.database = Some(end.turn.roll_back());
                Err(cause.unwrap_or(error))
            }
        }?;
        self.resident = end.instance.map(|instance| Resident { instance, permit });
        Ok(Reply::Response(response))
    }

    /// Makes what a turn staged part of the object.
    async fn apply(&mut self, mut turn: Turn) -> Result<(), TurnError> {
        turn.make_room().await;
        let (database, applied) = turn.apply();
        self.database = Some(database);
        applied.map(drop).map_err(|error| error.into_turn_error(&self.node.limits))
    }

    /// The instance of the class's current version: the one at hand, or a new one.
    async fn wake(&mut self) -> Result<Resident, TurnError> {
        if self.class.is_retired() {
            return Err(TurnError::ClassUnavailable("it is being deleted".into()));
        }
        let code = match self.class.code_if_loaded() {
            Some(code) => code,
            None => self.class.code(&self.node.loader).await?,
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
        let permit = self.node.residency.admit(code.cost, &self.mailbox).await.ok_or(TurnError::NoCapacity)?;
        let instance = self.instantiate(code).await?;
        Ok(Resident { instance, permit })
    }

    async fn instantiate(&mut self, code: Arc<ClassCode>) -> Result<Instance, TurnError> {
        let context = InstanceContext {
            address: self.address.clone(),
            limits: self.node.limits.clone(),
            logs: self.node.logs.clone(),
            env: self.node.env.clone(),
        };
        self.node.metrics.instances_started.inc();
        Instance::new(&self.node.engine, code, context).await
    }

    /// An object that is reached by id knows its name all the same if it was ever stored with one.
    fn learn_name(&mut self) -> Result<(), TurnError> {
        if self.address.name.is_none() {
            let database = self.database.as_mut().expect("no turn is running");
            self.address.name = database.name().map_err(storage_failed)?;
        }
        Ok(())
    }

    fn describe(&mut self) -> Outcome {
        self.advance(Event::InvokedWithoutInstance);
        self.learn_name()?;
        let database = self.database.as_mut().expect("no turn is running");
        let stored = database.description().map_err(storage_failed)?;
        let description = stored.map(|stored| Description {
            name: self.address.name.clone(),
            bytes: stored.bytes,
            live: self.resident.is_some(),
        });
        Ok(Reply::Description(description))
    }

    /// Runs SQL of the admin API as a turn. One that may write drops the instance: its memory tells of what was there.
    async fn query(&mut self, query: Query) -> Outcome {
        self.advance(Event::InvokedWithoutInstance);
        let database = self.database.as_mut().expect("no turn is running");
        if database.description().map_err(storage_failed)?.is_none() {
            return Ok(Reply::Table(None));
        }
        if query.write {
            self.advance(Event::DropAsked);
        }
        let (env, limit) = (self.node.env.clone(), self.node.limits.cpu_time());
        let begun = env.thread_cpu();
        let work =
            WorkBudget::new(self.node.limits.fuel_per_turn, move || env.thread_cpu().saturating_sub(begun) > limit);
        let database = self.database.take().expect("no turn is running");
        let mut turn = if query.write { database.begin(work) } else { database.begin_reading(work) };
        match turn.query(&query.text, &query.parameters) {
            Ok(table) => self.apply(turn).await.map(|()| Reply::Table(Some(Box::new(table)))),
            Err(error) => {
                self.database = Some(turn.roll_back());
                Err(match error {
                    SqlError::Exhausted(why) => ApplyError::Exhausted(why).into_turn_error(&self.node.limits),
                    SqlError::Full => TurnError::StorageFull(error.to_string()),
                    error => TurnError::Query(error.to_string()),
                })
            }
        }
    }

    /// What is stored at this moment, to be copied while turns go on.
    async fn snapshot(&mut self) -> Result<Option<Snapshot>, TurnError> {
        self.advance(Event::InvokedWithoutInstance);
        self.durable.reached(self.applied).await;
        self.database.as_mut().expect("no turn is running").snapshot().map_err(storage_failed)
    }

    /// Copies it in a thread of its own, which answers in the place of the actor.
    fn export(&self, snapshot: Snapshot, reply: oneshot::Sender<Gated<Outcome>>) {
        self.node.metrics.turns.inc();
        let (applied, durable) = (self.applied, self.durable.clone());
        tokio::task::spawn_blocking(move || {
            let copied = snapshot.copy().map(|file| Reply::File(Some(file))).map_err(storage_failed);
            let _ = reply.send(output_gate::hold(copied, applied, &durable));
        });
    }

    async fn import(&mut self, file: CheckedDatabase) -> Outcome {
        self.advance(Event::InvokedWithoutInstance);
        self.advance(Event::DropAsked);
        let (database, applied) = self.database.take().expect("no turn is running").import(file).await;
        self.database = Some(database);
        applied.map(|_| Reply::Done(true)).map_err(|error| error.into_turn_error(&self.node.limits))
    }

    /// Removes everything that is stored. The instance goes, too: its memory tells of what is gone.
    async fn delete(&mut self) -> Outcome {
        self.advance(Event::InvokedWithoutInstance);
        self.advance(Event::DropAsked);
        let database = self.database.as_mut().expect("no turn is running");
        Ok(Reply::Done(database.delete().await.map_err(storage_failed)?))
    }

    fn drop_instance(&mut self) {
        self.resident = None;
        if let Some(database) = &mut self.database {
            database.reset_session();
        }
    }
}

fn storage_failed(error: StorageError) -> TurnError {
    match error {
        StorageError::Busy => TurnError::Overloaded,
        StorageError::Io { ref source, .. } if source.kind() == ErrorKind::StorageFull => {
            TurnError::StorageFull(error.to_string())
        }
        error => TurnError::Storage(error.to_string()),
    }
}
