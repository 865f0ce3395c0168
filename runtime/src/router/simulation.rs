//! The layers above storage in the seeded simulation: router, mailboxes, actors, output gate and outbox run as in a
//! server, in one thread, with a manual clock and a manually stepped log. A [`Script`] replaces the component.
//!
//! No part of the output gate is simulated: the simulation observes what callers and the peers of WebSockets receive.
//! Invariant besides those of storage: a caller that receives an answer finds everything that was sent before it
//! already delivered, in the order of the turns.

mod late;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::{HeaderMap, Method, StatusCode};
use parking_lot::Mutex;
use tokio::runtime::Runtime;

use super::{Class, Classes, Operation, Router};
use crate::base::disk::SimulatedDisk;
use crate::base::logs::GuestLogs;
use crate::base::metrics::Code;
use crate::base::operation::RunAlarm;
use crate::base::seeded_bugs::SeededBug;
use crate::base::socket::{Message, SocketEvent, SocketId, Text};
use crate::base::{
    Alarm, Call, CallIds, Cause, Create, Digest, Env, Failure, Failures, HostMemory, LateSettings, Limits, Metrics,
    Principal, Request, Response, SystemDisk, TurnError,
};
use crate::object::class::Loader;
use crate::object::mailbox::Leaves;
use crate::object::{HostContext, Residency};
use crate::sockets::{Connection, Outgoing, Sockets};
use crate::storage::commit_log::Lsn;
use crate::storage::tests::simulation::model::State;
use crate::storage::tests::simulation::schedule::{Dice, End, OBJECTS, Write};
use crate::storage::tests::simulation::whole_storage::{Storage, limits, object, read, write};
use crate::storage::tests::simulation::{Failed, Subject, Turned, Until, World, notices, simulate};
use crate::storage::{ClassRecord, ClassRecords, ClassVersion, DataDir};
use crate::wasm::Version;
use crate::wasm::event::Scripted;
use crate::wasm::script::Script;
use crate::wasm::{ClassCode, Engine};

/// The number of passes over all runnable tasks after which the host counts as idle.
const ROUNDS: usize = 32;
/// Longer than any wait: for room in the log, for an instance.
const LONG: Duration = Duration::from_secs(11);
/// The number of times that an alarm is run again for which the disk has refused an operation.
const ALARM_RETRIES: usize = 3;
/// Distinguishes a script's own failure from the host's.
const WANTED: &str = "wanted";

/// The orders for the next turn, and its observations. The simulation runs one turn after the other.
#[derive(Default)]
struct Orders {
    number: u64,
    writes: Vec<Write>,
    fails: bool,
    reads: bool,
    seen: Option<State>,
    accepted: Option<SocketId>,
    /// Whether the handler was called.
    obeyed: bool,
    /// Whether the handler has changed what the object stores.
    changed: bool,
    /// The error of the handler, if any.
    failed: Option<Failed>,
}

/// The class of all objects.
struct Handlers(Arc<Mutex<Orders>>);

impl Handlers {
    /// Executes the orders. `alarm` is the due time of the alarm whose turn it is.
    fn obey(&self, alarm: Option<u64>, turn: &mut Scripted<'_>) -> Result<(), TurnError> {
        let Scripted { turn, sockets, .. } = turn;
        let orders = &mut *self.0.lock();
        orders.obeyed = true;
        let done = match orders.reads {
            true => read(turn).map(|state| orders.seen = Some(state)),
            false => read(turn).and_then(|mut before| {
                before.alarm = alarm.or(before.alarm);
                orders.writes.iter().try_for_each(|each| write(turn, each))?;
                // A turn that changes nothing may have no record, and so waits for nothing.
                orders.changed = read(turn)? != before;
                Ok(())
            }),
        };
        if let Err(failed) = done {
            orders.failed = Some(failed);
            return Err(TurnError::Guest(Failure::new("failed", "storage refused")));
        }
        let message = Message::Text(Text::from(orders.number.to_string()));
        sockets.broadcast(None, message).expect("peers take what they are sent");
        if orders.fails { Err(TurnError::Guest(Failure::new(WANTED, "as ordered"))) } else { Ok(()) }
    }
}

impl Script for Handlers {
    fn fetch(&self, request: Request, turn: &mut Scripted<'_>) -> Result<Response, TurnError> {
        let mut status = StatusCode::OK;
        if request.websocket {
            self.0.lock().accepted = Some(turn.sockets.accept(Vec::new()).expect("there is room for a socket"));
            status = StatusCode::SWITCHING_PROTOCOLS;
        }
        self.obey(None, turn)?;
        Ok(Response { status, headers: HeaderMap::new(), body: Default::default() })
    }

    fn alarm(&self, alarm: Alarm, turn: &mut Scripted<'_>) -> Result<(), TurnError> {
        self.obey(Some(alarm.due_ms), turn)
    }

    fn socket(&self, _event: SocketEvent, _turn: &mut Scripted<'_>) -> Result<(), TurnError> {
        Ok(())
    }

    fn resume(&self, _tokens: Vec<u64>, _turn: &mut Scripted<'_>) -> Result<(), TurnError> {
        Ok(())
    }
}

/// The peer of an object's WebSocket.
struct Peer {
    connection: Connection,
    /// The number of the last message received.
    came: u64,
}

impl Peer {
    /// Takes the received messages. They must come in the order of the turns.
    fn take(&mut self) {
        while let Some(outgoing) = self.connection.next_at_hand() {
            let Outgoing::Message(payload) = outgoing else { continue };
            let Message::Text(text) = payload.message() else { continue };
            let number = text.as_str().parse().expect("scripts send numbers");
            assert!(number > self.came, "message {number} came after {}", self.came);
            self.came = number;
            self.connection.sent(&payload);
        }
    }
}

/// An answer that has not been received.
struct Waiting {
    outcome: BoxFuture<'static, Result<(), TurnError>>,
    /// Whether its turn has sent a message to the object's peer.
    sent: bool,
}

/// A host without listeners.
struct Actors {
    /// Declared first, so that it is dropped first, with all actors.
    runtime: Runtime,
    peers: [Option<Peer>; OBJECTS],
    waiting: HashMap<u64, Waiting>,
    router: Router,
    host: Arc<HostContext>,
    orders: Arc<Mutex<Orders>>,
    storage: Storage,
    disk: Arc<SimulatedDisk>,
    world: World,
    answers: u64,
}

/// Returns one engine for all lives: only its numbers are used.
fn engine() -> Arc<Engine> {
    static ENGINE: OnceLock<Arc<Engine>> = OnceLock::new();
    let make = || {
        let limits = Limits { live_instances: 64, ..Limits::default() };
        let cache = std::env::temp_dir();
        Arc::new(
            Engine::new(&limits, &Env::manual(0).0, Arc::new(SystemDisk), &cache, [0; 32])
                .expect("the machine has room for 64 instances"),
        )
    };
    ENGINE.get_or_init(make).clone()
}

fn host(storage: &Storage, env: &Env, records: &Arc<ClassRecords>) -> Arc<HostContext> {
    let (limits, memory, engine) = (Arc::new(limits()), HostMemory::new(1 << 30), engine());
    let (metrics, logs) = (Arc::<Metrics>::default(), Arc::new(GuestLogs::new(memory.clone())));
    Arc::new(HostContext {
        loader: Loader::new(engine.clone(), records.clone()),
        residency: Arc::new(Residency::new(engine.capacity.clone(), env.clone(), metrics.clone())),
        engine,
        waits: Arc::default(),
        databases: storage.databases.clone(),
        sockets: Arc::new(Sockets::new(limits.clone(), memory.clone(), metrics.clone(), env.clone())),
        memory,
        limits,
        failures: Failures::new(logs.clone(), env.clone()),
        logs,
        metrics,
        calls: CallIds::new(env),
        env: env.clone(),
    })
}

fn class(code: ClassCode) -> Class {
    let address = object(0);
    let (digest, create, late) = (Digest::of(b"script"), Create::Any, LateSettings::default());
    let (calls, methods, message) = Default::default();
    let version = ClassVersion { number: 1, digest, size: 0, deployed_ms: 0, create, late, calls, methods, message };
    let mut record = ClassRecord::new(address.class, address.key, version);
    // Scripts handle alarms.
    record.exports = vec![format!("holdfast:object/alarm-handler@{}", Version::newest())];
    Class::loaded(record, Arc::new(code))
}

impl Actors {
    /// Runs all tasks that can run.
    fn run(&self) {
        self.runtime.block_on(async {
            for _ in 0..ROUNDS {
                tokio::task::yield_now().await;
            }
        });
    }

    /// Makes an object execute the orders until its turn is over. Its answer may still wait at the gate.
    fn call<O: Operation>(&mut self, number: usize, cause: Cause, operation: O) -> Result<Turned, Failed> {
        self.answers += 1;
        let answer = self.answers;
        let (sends, reads) = {
            let mut orders = self.orders.lock();
            (orders.number, orders.seen, orders.failed, orders.obeyed) = (answer, None, None, false);
            orders.changed = false;
            (!orders.fails, orders.reads)
        };
        let failures = self.failures();
        let over = self.host.metrics.turns.get() + 1;
        let call = Call::new(self.router.call_id(), object(number), (cause, Principal::Client), operation);
        let sent = self.runtime.block_on(async { self.router.send(call) });
        let pending = sent.map_err(|error| Failed(error.to_string()))?;
        let is_over = || self.host.metrics.turns.get() == over;
        self.run();
        if !is_over() {
            // A task waits for the disk, or for room on it.
            while self.storage.flush() {}
            self.run();
        }
        if !is_over() {
            self.world.clock.advance(LONG);
            self.run();
        }
        if !is_over() {
            return Err(Failed("a turn does not end".into()));
        }
        let outcome = Box::pin(async move { pending.outcome().await.map(drop) });
        let failed: Vec<_> =
            self.failures().into_iter().zip(failures).filter(|((_, now), (_, before))| now > before).collect();
        let codes: Vec<_> = failed.into_iter().map(|((code, _), _)| code).collect();
        if let Some(failed) = self.orders.lock().failed.take() {
            return Err(failed);
        }
        let is_good = codes.is_empty() && self.orders.lock().obeyed;
        let changed = self.orders.lock().changed;
        let sent = sends && is_good && self.peers[number].is_some();
        self.waiting.insert(answer, Waiting { outcome, sent });
        match codes[..] {
            [] => Ok(Turned { wrote: is_good && !reads && changed, until: Until::Answer(answer) }),
            ["guest-error" | "storage-full"] => Ok(Turned { wrote: false, until: Until::Answer(answer) }),
            _ => Err(Failed(codes.join(", "))),
        }
    }

    /// Returns the number of failed turns so far, by code.
    fn failures(&self) -> Vec<(&'static str, u64)> {
        const CODES: [&str; 8] = [
            "guest-error",
            "guest-trap",
            "storage-full",
            "not-applied",
            "storage-failed",
            "object-damaged",
            "overloaded",
            "internal",
        ];
        let count = |code| (code, self.host.metrics.failed_turns.get_or_create(&Code { code }).get());
        CODES.into_iter().map(count).collect()
    }

    fn order(&self, writes: &[Write], fails: bool, reads: bool) {
        let mut orders = self.orders.lock();
        (orders.writes, orders.fails, orders.reads, orders.accepted) = (writes.to_vec(), fails, reads, None);
    }

    fn request(websocket: bool) -> Request {
        let (uri, headers) = ("/".parse().expect("a path"), HeaderMap::new());
        Request { method: Method::GET, uri, headers, body: Default::default(), websocket, charge: None }
    }
}

impl Subject for Actors {
    const FLUSHED_BY_ITSELF: Option<&str> = Some("catalog");

    fn prepare(root: &Path) {
        DataDir::open(root).expect("an empty directory becomes a data directory");
    }

    fn open(root: &Path, disk: Arc<SimulatedDisk>, world: World) -> Result<Self, String> {
        let storage = Storage::open(root, disk.clone(), &world.env)?;
        let records = ClassRecords::open(&storage.dir).map_err(|error| error.to_string())?;
        let records = Arc::new(records);
        let host = host(&storage, &world.env, &records);
        let classes = Classes::open(records, host.clone()).map_err(|error| error.to_string())?;
        let orders = Arc::<Mutex<Orders>>::default();
        classes.add(Arc::new(class(ClassCode::script(Arc::new(Handlers(orders.clone()))))));
        // Without a timer: a task that waits by another clock than the simulation's panics.
        let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(|error| error.to_string())?;
        let router = Router::new(host.clone(), classes, runtime.handle().clone());
        let (peers, waiting) = (Default::default(), HashMap::new());
        Ok(Self { runtime, peers, waiting, router, host, orders, storage, disk, world, answers: 0 })
    }

    fn lane(number: usize) -> usize {
        Storage::lane(number)
    }

    /// Every other object has a WebSocket, which its first turn in a process opens.
    fn turn(&mut self, number: usize, writes: &[Write], end: End) -> Result<Turned, Failed> {
        let opens = number.is_multiple_of(2) && self.peers[number].is_none();
        self.order(writes, end == End::Fail, false);
        let turned = self.call(number, Cause::Http, Self::request(opens))?;
        if let Some(socket) = self.orders.lock().accepted.filter(|_| turned.wrote) {
            let connection = self.router.connect(&object(number).id, socket).expect("the turn has opened it");
            self.peers[number] = Some(Peer { connection, came: 0 });
        }
        Ok(turned)
    }

    /// The schedule does not know when a failed alarm is run again. So its handler does not fail by order, and one for
    /// which the disk has refused an operation is run again at once.
    fn alarm(&mut self, number: usize, writes: &[Write], _end: End) -> Result<Turned, Failed> {
        self.order(writes, false, false);
        let refused = self.disk.refused();
        let mut turned = self.call(number, Cause::Alarm, RunAlarm::IfDue);
        for _ in 0..ALARM_RETRIES {
            let is_over = match &turned {
                Ok(turned) => turned.wrote || !self.orders.lock().obeyed,
                // What fails on a disk that has refused nothing is wrong.
                Err(_) => self.disk.refused() == refused,
            };
            if is_over {
                break;
            }
            turned = self.call(number, Cause::Alarm, RunAlarm::Now);
        }
        turned
    }

    fn read(&mut self, number: usize) -> Result<(State, Until), Failed> {
        self.order(&[], false, true);
        let Turned { until, .. } = self.call(number, Cause::Http, Self::request(false))?;
        let seen = self.orders.lock().seen.take();
        seen.map(|state| (state, until)).ok_or_else(|| Failed("the object was not read".into()))
    }

    /// Reports whether the caller has received the outcome or the object's peer a message of the turn, whichever comes
    /// first.
    fn is_told(&mut self, number: usize, until: Until) -> bool {
        let Until::Answer(answer) = until else { unreachable!("actors have a gate") };
        let waiting = self.waiting.get_mut(&answer).expect("it was not asked about again after it was visible");
        let mut context = Context::from_waker(Waker::noop());
        let outcome = waiting.outcome.as_mut().poll(&mut context);
        let peer = self.peers[number].as_mut();
        let came = peer.map_or(0, |peer| {
            peer.take();
            peer.came
        });
        let has_answered = match outcome {
            Poll::Pending => false,
            // Its actor is gone, and the outcome stays unknown.
            Poll::Ready(Err(TurnError::Host(_) | TurnError::OutcomeUnknown)) => {
                waiting.outcome = Box::pin(std::future::pending());
                false
            }
            Poll::Ready(_) => {
                assert!(!waiting.sent || came >= answer, "answer {answer} came before what was sent with it");
                true
            }
        };
        let is_told = has_answered || (waiting.sent && came >= answer);
        if has_answered {
            self.waiting.remove(&answer);
        } else if is_told {
            // The answer may still arrive, or never.
            waiting.outcome = Box::pin(std::future::pending());
        }
        is_told
    }

    fn durable(&self, number: usize) -> Lsn {
        self.storage.durable(number)
    }

    fn flush(&mut self) -> bool {
        let flushed = self.storage.flush();
        self.run();
        flushed
    }

    /// Actors maintain their databases themselves.
    fn maintain(&mut self, _number: usize) -> Result<(), Failed> {
        self.run();
        Ok(())
    }

    fn leave(&mut self, number: usize) {
        if let Some(live) = self.router.objects.live.get(&object(number).id) {
            live.drop_instance(Leaves::Room);
        }
        self.run();
    }

    fn checkpoint(&mut self) -> Result<(), Failed> {
        self.storage.checkpoint()
    }

    fn catalog(&mut self) -> Result<(), Failed> {
        self.storage.catalog()
    }

    fn due(&mut self, now_ms: u64) -> Result<Vec<usize>, Failed> {
        self.world.clock.set_wall(Duration::from_millis(now_ms));
        self.storage.due(now_ms)
    }

    /// The object itself has updated the index.
    fn alarm_was_sent(&mut self, number: usize, _asked: bool) -> Result<(), Failed> {
        self.storage.alarm_is_settled(number);
        Ok(())
    }

    fn knows_of_alarm(&self, number: usize, at_ms: u64) -> bool {
        self.storage.knows_of_alarm(number, at_ms)
    }

    fn listed(&mut self) -> Option<Vec<usize>> {
        Some(self.storage.listed())
    }

    fn damage(root: &Path, dice: &mut Dice) -> Option<usize> {
        Storage::damage(root, dice)
    }
}

#[test]
fn actors_gate_and_outbox_keep_their_promises() {
    simulate::<Actors>(300);
}

#[test]
fn seeded_bugs_in_the_gate_are_noticed() {
    notices::<Actors>(&[SeededBug::EarlyGate, SeededBug::EarlyError, SeededBug::AlarmByTime], 10_000);
}
