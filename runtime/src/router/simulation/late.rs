//! Late work in the simulation: callers that wait for deferred answers, resumes, whatever drops an instance, deploys,
//! kills and power cuts, in a random order.
//!
//! Invariants: no turn begins before the one before it has ended; each caller is answered once, by a reply, by
//! `instance-dropped` or because its time is up, and none is forgotten; when an instance is dropped all that wait are
//! answered; a resume comes at most once, and never early; an alarm whose handler was suspended runs until it has
//! ended, in this process or a later one; an instance that owes answers outlives a deploy by the drain time at most.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::base::operation::{AlarmRun, Evict};
use crate::base::{CallId, FetchAnswer};
use crate::object::mailbox::Leaves;
use crate::wasm::{Given, LateError};

/// The orders for the next turn of a request or an alarm.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Order {
    Wait,
    /// Waits, and resumes when the client has gone.
    WaitAndWatch,
    TellAll,
    FailAll,
    /// Fails having written.
    FailWriting,
    /// Fails having done nothing.
    Fail,
    ResumeAfter(u64),
    SetAlarm(u64),
}

/// The class: it has no memory of its own, so tokens of an instance that was dropped are tried once more.
struct Class(Mutex<Known>, AtomicBool);

#[derive(Default)]
struct Known {
    order: Option<Order>,
    waiting: BTreeSet<u64>,
    /// When each resume is due, in milliseconds; 0 for those that wait for a client to go. Those of an instance that
    /// was dropped stay until their tokens are given anew.
    scheduled: BTreeMap<u64, u64>,
    now_ms: u64,
    resumed: usize,
    alarms_ended: usize,
    suspended: Option<u64>,
}

impl Class {
    fn turn<T>(&self, run: impl FnOnce(&mut Known) -> Result<T, TurnError>) -> Result<T, TurnError> {
        assert!(!self.1.swap(true, Ordering::SeqCst), "two turns at once");
        let done = run(&mut self.0.lock());
        self.1.store(false, Ordering::SeqCst);
        done
    }

    /// Answers everyone that the class knows of.
    fn answer_all(known: &mut Known, turn: &mut Scripted<'_>, answer: impl Fn() -> Result<FetchAnswer, TurnError>) {
        for token in std::mem::take(&mut known.waiting) {
            // One of an instance that was dropped, or whose client has gone.
            match turn.late.reply(token, Given::Response(answer())) {
                Ok(()) | Err(LateError::Gone | LateError::WrongKind) => {}
                Err(error) => panic!("{error:?}"),
            }
        }
    }
}

fn failed(code: &'static str) -> TurnError {
    TurnError::Guest(Failure::new(code, "as ordered"))
}

fn answer() -> Response {
    Response { status: StatusCode::OK, headers: HeaderMap::new(), body: Default::default() }
}

impl Script for Class {
    fn fetch(&self, _request: Request, turn: &mut Scripted<'_>) -> Result<Response, TurnError> {
        self.turn(|known| {
            match known.order.take().expect("it was ordered") {
                order @ (Order::Wait | Order::WaitAndWatch) => {
                    let token = turn.late.defer().map_err(|_| failed("full"))?;
                    known.waiting.insert(token);
                    if order == Order::WaitAndWatch {
                        let watch = turn.late.on_gone(token).map_err(|_| failed("full"))?;
                        known.scheduled.insert(watch, 0);
                    }
                }
                Order::TellAll => Self::answer_all(known, turn, || Ok(FetchAnswer::Response(answer()))),
                Order::FailAll => Self::answer_all(known, turn, || Err(failed("told"))),
                Order::FailWriting => {
                    turn.turn.put("k", b"v").map_err(|_| failed("full"))?;
                    return Err(failed("wanted"));
                }
                Order::Fail => return Err(failed("wanted")),
                Order::ResumeAfter(ms) => {
                    let now = Duration::from_millis(known.now_ms);
                    let token = turn.late.resume_after(now, ms, true).map_err(|_| failed("full"))?;
                    known.scheduled.insert(token, known.now_ms + ms);
                }
                Order::SetAlarm(ms) => turn.turn.set_alarm(Some(Alarm::at(ms))),
            }
            Ok(answer())
        })
    }

    fn alarm(&self, _alarm: Alarm, turn: &mut Scripted<'_>) -> Result<(), TurnError> {
        self.turn(|known| {
            known.suspended = Some(turn.late.defer().map_err(|_| failed("full"))?);
            let now = Duration::from_millis(known.now_ms);
            let token = turn.late.resume_after(now, 5, true).map_err(|_| failed("full"))?;
            known.scheduled.insert(token, known.now_ms + 5);
            Ok(())
        })
    }

    fn socket(&self, _event: SocketEvent, _turn: &mut Scripted<'_>) -> Result<(), TurnError> {
        Ok(())
    }

    fn resume(&self, tokens: Vec<u64>, turn: &mut Scripted<'_>) -> Result<(), TurnError> {
        self.turn(|known| {
            for token in tokens {
                let due = known.scheduled.remove(&token).expect("it comes once");
                assert!(due <= known.now_ms, "{token} is due at {due} and came at {}", known.now_ms);
                known.resumed += 1;
            }
            if let Some(token) = known.suspended.take()
                && turn.late.reply(token, Given::Done(Ok(()))).is_ok()
            {
                known.alarms_ended += 1;
            }
            Ok(())
        })
    }
}

/// The default of `drain-seconds`.
const DRAIN_MS: u64 = 30_000;

/// A host with one object.
struct Lateness {
    runtime: Runtime,
    router: Arc<Router>,
    host: Arc<HostContext>,
    class: Arc<Class>,
    deployed: Arc<super::Class>,
    storage: Storage,
    root: PathBuf,
    disk: Arc<SimulatedDisk>,
    world: World,
    callers: Vec<(CallId, BoxFuture<'static, Result<(), TurnError>>)>,
    answered: usize,
    dropped: usize,
}

impl Lateness {
    fn new(root: &Path, seed: u64) -> Self {
        DataDir::open(root).unwrap();
        let disk = SimulatedDisk::new(root).unwrap();
        let (env, clock) = Env::manual(seed);
        let script = Arc::new(Class(Mutex::default(), AtomicBool::new(false)));
        Self::open(root.into(), disk, World { env, clock }, script)
    }

    /// Starts a process.
    fn open(root: PathBuf, disk: Arc<SimulatedDisk>, world: World, script: Arc<Class>) -> Self {
        let storage = Storage::open(&root, disk.clone(), &world.env).unwrap();
        let records = Arc::new(ClassRecords::open(&storage.dir).unwrap());
        let host = host(&storage, &world.env, &records);
        let classes = Classes::open(records, host.clone()).unwrap();
        let deployed = Arc::new(class(ClassCode::script(script.clone())));
        classes.add(deployed.clone());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let router = Arc::new(Router::new(host.clone(), classes, runtime.handle().clone()));
        let (callers, answered, dropped) = (Vec::new(), 0, 0);
        Self { runtime, router, host, class: script, deployed, storage, root, disk, world, callers, answered, dropped }
    }

    /// Ends the process as a kill or a power cut does, and starts another one. Callers that waited get no answer.
    fn kill(self, dice: &mut Dice) -> Self {
        self.disk.stop_at(self.disk.operations());
        let Self { runtime, router, host, class, deployed, storage, root, disk, world, callers, answered, dropped } =
            self;
        // All actors end with it.
        drop(runtime);
        drop((router, host, deployed, callers, storage));
        match dice.percent(50) {
            true => disk.restart(),
            false => disk.power_cut(dice.below(u64::MAX)).unwrap(),
        }
        Self { answered, dropped, ..Self::open(root, disk, world, class) }
    }

    /// Deploys another version. An instance that owes answers stays until it has given them.
    fn deploy(&mut self) {
        let waited = self.callers.len();
        self.deployed.replace(self.deployed.record(), Arc::new(ClassCode::script(self.class.clone())));
        self.leave(Leaves::Version);
        assert_eq!(self.callers.len(), waited, "an instance that owes answers stays");
    }

    /// Runs all tasks, with a disk that flushes at once, and takes the answers that came.
    fn run(&mut self) {
        for _ in 0..3 {
            self.runtime.block_on(async {
                for _ in 0..ROUNDS {
                    tokio::task::yield_now().await;
                }
            });
            while self.storage.flush() {}
        }
        let mut context = Context::from_waker(Waker::noop());
        let (mut answered, mut dropped) = (0, 0);
        self.callers.retain_mut(|(id, outcome)| match outcome.as_mut().poll(&mut context) {
            Poll::Pending => true,
            Poll::Ready(outcome) => {
                match outcome {
                    Ok(()) | Err(TurnError::Guest(_) | TurnError::WallTime { .. }) => answered += 1,
                    Err(TurnError::InstanceDropped) => dropped += 1,
                    Err(error) => panic!("{id}: {error}"),
                }
                false
            }
        });
        (self.answered, self.dropped) = (self.answered + answered, self.dropped + dropped);
    }

    fn send<O: Operation>(&mut self, cause: Cause, operation: O) {
        self.class.0.lock().now_ms = self.now_ms();
        let call = Call::new(self.router.call_id(), object(0), (cause, Principal::Client), operation);
        let id = call.id;
        let pending = self.runtime.block_on(async { self.router.send(call) }).unwrap();
        self.callers.push((id, Box::pin(async move { pending.outcome().await.map(drop) })));
        self.run();
    }

    fn order(&mut self, order: Order) {
        self.class.0.lock().order = Some(order);
        self.send(Cause::Http, Actors::request(false));
        assert_eq!(self.class.0.lock().order, None, "the turn did not run");
    }

    fn advance(&mut self, ms: u64) {
        self.class.0.lock().now_ms = self.now_ms() + ms;
        self.world.clock.advance(Duration::from_millis(ms));
        self.run();
    }

    fn now_ms(&self) -> u64 {
        self.world.env.elapsed().as_millis() as u64
    }

    fn leave(&mut self, why: Leaves) {
        if let Some(live) = self.router.objects.live.get(&object(0).id) {
            live.drop_instance(why);
        }
        self.run();
    }

    /// Drops the instance, whatever it owes.
    fn evict(&mut self) {
        self.send(Cause::Admin, Evict);
        assert!(self.callers.is_empty(), "{} callers are forgotten", self.callers.len());
    }

    fn happen(&mut self, dice: &mut Dice) {
        match dice.below(22) {
            0..4 => self.order(Order::Wait),
            4 | 5 => self.order(Order::WaitAndWatch),
            6 | 7 => self.order(Order::TellAll),
            8 => self.order(Order::FailAll),
            9 => self.order(Order::Fail),
            10 => {
                self.order(Order::FailWriting);
                assert!(self.callers.is_empty(), "a turn that failed takes the instance with it");
            }
            11 | 12 => self.order(Order::ResumeAfter(dice.below(50))),
            13 => self.order(Order::SetAlarm(self.world.env.wall_ms() + dice.below(100))),
            14 => {
                self.send(Cause::Alarm, RunAlarm::IfDue);
            }
            15 => self.evict(),
            16 => {
                let waited = self.callers.len();
                self.leave(if dice.percent(50) { Leaves::Room } else { Leaves::Idle });
                assert_eq!(self.callers.len(), waited, "an instance that owes answers stays");
            }
            17 => {
                self.leave(Leaves::Stop(Duration::ZERO));
                assert!(self.callers.is_empty(), "the time of the stop is over");
            }
            18 if dice.percent(50) => {
                self.deploy();
                if dice.percent(50) {
                    self.advance(DRAIN_MS + 1);
                    assert!(self.callers.is_empty(), "the time to end what it owes is over");
                }
            }
            18 | 19 if !self.callers.is_empty() => {
                // A client goes.
                let gone = dice.below(self.callers.len() as u64) as usize;
                drop(self.callers.remove(gone));
                self.run();
            }
            _ => self.advance(dice.below(30)),
        }
    }
}

#[test]
fn each_caller_is_answered_once_and_none_is_forgotten() {
    let (mut answered, mut dropped, mut resumed, mut alarms) = (0, 0, 0, 0);
    for seed in 0..60 {
        let directory = tempfile::tempdir().unwrap();
        let mut dice = Dice::new(seed);
        let mut late = Lateness::new(directory.path(), seed);
        for _ in 0..120 {
            match dice.percent(2) {
                true => late = late.kill(&mut dice),
                false => late.happen(&mut dice),
            }
        }
        late.evict();
        // An alarm whose handler was suspended is run until it has ended.
        for _ in 0..20 {
            late.advance(100_000);
            late.send(Cause::Alarm, RunAlarm::IfDue);
            late.advance(10);
        }
        assert_eq!(late.class.0.lock().suspended, None);
        late.evict();
        let known = late.class.0.lock();
        (answered, dropped) = (answered + late.answered, dropped + late.dropped);
        (resumed, alarms) = (resumed + known.resumed, alarms + known.alarms_ended);
        assert_eq!(late.host.metrics.live_instances.get(), 0);
    }
    assert!(
        answered > 2_000 && dropped > 100 && resumed > 200 && alarms > 20,
        "{answered} {dropped} {resumed} {alarms}"
    );
}

/// Answers that nobody gives end by themselves, and the instance leaves.
#[test]
fn an_answer_that_is_never_given_ends_when_its_time_is_up() {
    let directory = tempfile::tempdir().unwrap();
    let mut late = Lateness::new(directory.path(), 1);
    late.order(Order::Wait);
    late.advance(800_000);
    assert_eq!(late.callers.len(), 1);
    late.advance(200_000);
    assert_eq!((late.callers.len(), late.answered), (0, 1));
    late.leave(Leaves::Idle);
    assert_eq!(late.host.metrics.live_instances.get(), 0);
}

/// The scheduler has its slot back while a handler is suspended.
#[test]
fn a_suspended_alarm_holds_no_slot() {
    let directory = tempfile::tempdir().unwrap();
    let mut late = Lateness::new(directory.path(), 1);
    late.order(Order::SetAlarm(1));
    let call = Call::new(late.router.call_id(), object(0), (Cause::Alarm, Principal::Host), RunAlarm::IfDue);
    late.class.0.lock().now_ms = late.now_ms();
    assert_eq!(late.runtime.block_on(late.router.deliver(call)), Ok(AlarmRun::Suspended));
    late.send(Cause::Alarm, RunAlarm::IfDue);
    assert_eq!(late.class.0.lock().alarms_ended, 0, "one handler at a time");
    late.advance(10);
    assert_eq!(late.class.0.lock().alarms_ended, 1);
}
