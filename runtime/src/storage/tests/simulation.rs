//! The seeded simulation: thousands of short lives of a data directory. Each is a schedule of turns, flushes, trims,
//! faults, kills and power cuts on a disk that loses what was not flushed, checked against a model. A [`Subject`] is
//! simulated: the log alone, storage, or storage with the objects and the router on top of it (`router/simulation.rs`).
//!
//! One thread and a manually stepped log: a seed repeats a life exactly. A life that fails is reduced to the steps that
//! matter, and printed. `HOLDFAST_SIMULATION_SEED` and `HOLDFAST_SIMULATION_LIVES` choose others.
//!
//! A turn is *visible* once a caller was answered. Invariants after every end of the process: no visible turn is lost,
//! nothing is found that was rolled back or never written, the objects of a lane are recovered as of the same turn,
//! what was recovered once is recovered again, and no alarm that is set is lost. Deliberate [`SeededBug`]s prove that
//! the simulation detects violations.

use std::cell::Cell;
use std::fs;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use rustix::io::Errno;
use tempfile::TempDir;

use super::directory_in_memory;
use crate::base::Env;
use crate::base::disk::SimulatedDisk;
use crate::base::env::Manual;
use crate::base::seeded_bugs::{self, SeededBug};
use crate::storage::commit_log::{Lsn, Seen, inspect};

pub(crate) mod model;
mod pages;
pub(crate) mod schedule;
pub(crate) mod whole_storage;

use model::{Model, Place, State, Violation};
use schedule::{Dice, End, Handler, OBJECTS, Step, Write, schedule};

/// The clock and the randomness of one process.
pub(crate) struct World {
    pub env: Env,
    pub clock: Arc<Manual>,
}

/// The system under test: a process that keeps objects in a directory and a log.
pub(crate) trait Subject: Sized {
    /// A directory whose durability the subject ensures itself, outside the simulated disk. A power cut leaves it as it
    /// is or removes it.
    const FLUSHED_BY_ITSELF: Option<&str> = None;

    /// Makes the directory's first contents, which are durable, before there is a disk.
    fn prepare(_root: &Path) {}

    /// Starts on what an earlier process left. Fails if the start is refused.
    fn open(root: &Path, disk: Arc<SimulatedDisk>, world: World) -> Result<Self, String>;

    /// Returns the lane of an object's turns.
    fn lane(object: usize) -> usize;

    /// Runs a turn that writes.
    fn turn(&mut self, object: usize, writes: &[Write], end: End) -> Result<Turned, Failed>;

    /// Runs the turn of an alarm that is due: the alarm is done, and its handler writes.
    fn alarm(&mut self, object: usize, writes: &[Write], end: End) -> Result<Turned, Failed> {
        let writes: Vec<_> = [Write::SetAlarm { at: None }].iter().chain(writes).cloned().collect();
        self.turn(object, &writes, end)
    }

    /// Returns what an object stores, and the condition under which it may become visible.
    fn read(&mut self, object: usize) -> Result<(State, Until), Failed>;

    /// Returns whether what has this condition may become visible, or is.
    fn is_told(&mut self, object: usize, until: Until) -> bool {
        match until {
            Until::Durable(at) => self.durable(object) >= at,
            Until::Answer(_) => unreachable!("the subject has no gate"),
        }
    }

    /// Returns the position up to which the object's lane is durable.
    fn durable(&self, object: usize) -> Lsn;

    /// Does one step of the log's writer. Returns whether there was anything to write.
    fn flush(&mut self) -> bool;

    /// Does what an actor does between turns.
    fn maintain(&mut self, object: usize) -> Result<(), Failed>;

    /// Ends the actor. Everything that the object applied is durable.
    fn leave(&mut self, object: usize);

    /// Runs a checkpoint. Everything applied is durable.
    fn checkpoint(&mut self) -> Result<(), Failed>;

    /// Writes the catalogs.
    fn catalog(&mut self) -> Result<(), Failed>;

    /// Takes the objects whose alarm is due at this time. Everything applied is durable.
    fn due(&mut self, _now_ms: u64) -> Result<Vec<usize>, Failed> {
        Ok(Vec::new())
    }

    /// Reports that an object whose alarm was taken was asked to run it, or could not be.
    fn alarm_was_sent(&mut self, _object: usize, _asked: bool) -> Result<(), Failed> {
        Ok(())
    }

    /// Returns whether an alarm that is set will be delivered without another event.
    fn knows_of_alarm(&self, _object: usize, _at_ms: u64) -> bool {
        true
    }

    /// Returns the objects that are listed, if the subject has a list.
    fn listed(&mut self) -> Option<Vec<usize>>;

    /// Damages a file of one object in a directory that no process uses. Returns the object, if a file was damaged.
    fn damage(_root: &Path, _dice: &mut Dice) -> Option<usize> {
        None
    }
}

/// The outcome of a turn.
pub(crate) struct Turned {
    /// Whether it has changed what is stored.
    pub wrote: bool,
    /// The condition under which its end may become visible.
    pub until: Until,
}

/// The condition for something to become visible.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Until {
    /// The object's lane is durable up to this position. The simulation takes the place of the output gate.
    Durable(Lsn),
    /// The subject's own output gate has let the answer with this number out.
    Answer(u64),
}

/// The disk refused an operation, and nothing has changed.
#[derive(Debug)]
pub(crate) struct Failed(pub String);

/// One life.
struct Life<S> {
    directory: TempDir,
    disk: Arc<SimulatedDisk>,
    /// None between two processes.
    subject: Option<S>,
    model: Model,
    /// What will become visible, and under which condition.
    waiting: Vec<(usize, Until, Place)>,
    /// How the process ends, if it ends by itself or during an operation: with a loss of power or without.
    power: bool,
    dice: Dice,
    /// A fault that the disk may show at any time.
    faulty: bool,
    /// The wall clock.
    now_ms: u64,
    /// The number of processes so far. Each has its own randomness, because segments are distinguished by it.
    processes: Cell<u64>,
}

/// The reason why a life fails.
#[derive(Debug, thiserror::Error)]
enum Wrong {
    #[error(transparent)]
    Violation(#[from] Violation),
    #[error("it does not start: {0}")]
    Refused(String),
    #[error("it lists {listed:?} instead of {present:?}")]
    Lists { listed: Vec<usize>, present: Vec<usize> },
    #[error("object {object} has an alarm at {at_ms}, which the index does not have at {now_ms}")]
    AlarmLost { object: usize, at_ms: u64, now_ms: u64 },
    #[error("it fails without a reason: {0}")]
    Failed(String),
    #[error("the damage is not detected: {0}")]
    Unseen(Violation),
}

impl<S: Subject> Life<S> {
    fn new() -> Result<Self, Wrong> {
        let directory = directory_in_memory();
        S::prepare(directory.path());
        let disk = SimulatedDisk::new(directory.path()).expect("an empty directory can be read");
        let (env, clock) = Env::manual(0);
        let subject = S::open(directory.path(), disk.clone(), World { env, clock }).map_err(Wrong::Refused)?;
        let model = Model::new(&std::array::from_fn::<_, OBJECTS, _>(S::lane));
        let (waiting, dice) = (Vec::new(), Dice::new(0));
        Ok(Self {
            directory,
            disk,
            subject: Some(subject),
            model,
            waiting,
            power: false,
            dice,
            faulty: false,
            now_ms: 1,
            processes: Cell::new(1),
        })
    }

    fn next_world(&self) -> World {
        let (env, clock) = Env::manual(self.processes.replace(self.processes.get() + 1));
        World { env, clock }
    }

    /// Runs all steps, and a kill at the end.
    fn live(mut self, steps: &[Step]) -> Result<(), Wrong> {
        for step in steps {
            self.step(step)?;
        }
        self.power = false;
        self.end()
    }

    fn subject(&mut self) -> &mut S {
        self.subject.as_mut().expect("there is a process during a step")
    }

    fn step(&mut self, step: &Step) -> Result<(), Wrong> {
        let performed = catch_unwind(AssertUnwindSafe(|| self.perform(step)));
        if self.disk.is_out() {
            // What a process observes on a stopped disk does not count.
            return self.end();
        }
        performed.unwrap_or_else(|panic| resume_unwind(panic))?;
        self.tell();
        self.check_alarms()
    }

    fn perform(&mut self, step: &Step) -> Result<(), Wrong> {
        match step {
            Step::Turn { object, writes, end } => self.turn(*object, writes, *end)?,
            Step::Ring { ms, handler, end } => self.ring(*ms, *handler, *end)?,
            Step::Read { object } => self.read(*object)?,
            Step::Flush => _ = self.subject().flush(),
            Step::Maintain { object } => {
                let done = self.subject().maintain(*object);
                self.excuse(done)?;
            }
            Step::Leave { object } => {
                self.flush_all();
                self.subject().leave(*object);
            }
            Step::Checkpoint => {
                self.flush_all();
                let done = self.subject().checkpoint();
                self.excuse(done)?;
            }
            Step::Catalog => {
                let done = self.subject().catalog();
                self.excuse(done)?;
            }
            Step::Fault { failpoint, full } => {
                let error = if *full { Errno::NOSPC } else { Errno::IO };
                self.disk.fail(*failpoint, error, 1);
                self.faulty = true;
            }
            Step::Crash { after, power, seed } => {
                (self.power, self.dice) = (*power, Dice::new(*seed));
                self.disk.stop_at(self.disk.operations() + after);
            }
            Step::Damage { seed } => self.damage(&mut Dice::new(*seed))?,
            Step::DamageObject { seed } => self.damage_object(&mut Dice::new(*seed))?,
        }
        Ok(())
    }

    fn turn(&mut self, object: usize, writes: &[Write], end: End) -> Result<(), Wrong> {
        let turned = self.subject().turn(object, writes, end);
        self.turned(object, writes, turned)
    }

    /// Records what a turn has done.
    fn turned(&mut self, object: usize, writes: &[Write], turned: Result<Turned, Failed>) -> Result<(), Wrong> {
        let Some(Turned { wrote, until }) = self.excuse(turned)? else { return Ok(()) };
        if wrote {
            let mut state = self.model.latest(object).clone();
            writes.iter().for_each(|write| state.write(write));
            self.model.applied(object, state);
        }
        self.will_be_told(object, until);
        Ok(())
    }

    fn ring(&mut self, ms: u64, handler: Handler, end: End) -> Result<(), Wrong> {
        self.now_ms += ms;
        self.flush_all();
        let now_ms = self.now_ms;
        let due = self.subject().due(now_ms);
        for object in self.excuse(due)?.unwrap_or_default() {
            let at = self.model.latest(object).alarm.filter(|at| *at <= now_ms);
            let asked = !matches!(handler, Handler::NotCalled);
            if let Some(at) = at.filter(|_| asked) {
                let set = |at| Write::SetAlarm { at };
                let mut writes = match handler {
                    Handler::Nothing | Handler::NotCalled => Vec::new(),
                    Handler::SetSame => vec![set(Some(at))],
                    Handler::DeleteAllAndSetSame => vec![Write::DeleteAll, set(Some(at))],
                    Handler::SetLater(ms) => vec![set(Some(at + ms))],
                };
                let turned = self.subject().alarm(object, &writes, end);
                writes.insert(0, set(None));
                self.turned(object, &writes, turned)?;
            }
            let told = self.subject().alarm_was_sent(object, asked);
            self.excuse(told)?;
        }
        Ok(())
    }

    /// Checks that no alarm is lost: each that is set is in memory, or beyond what was read ahead.
    fn check_alarms(&self) -> Result<(), Wrong> {
        let subject = self.subject.as_ref().expect("there is a process after a step");
        for object in 0..OBJECTS {
            if let Some(at_ms) = self.model.latest(object).alarm
                && !subject.knows_of_alarm(object, at_ms)
            {
                return Err(Wrong::AlarmLost { object, at_ms, now_ms: self.now_ms });
            }
        }
        Ok(())
    }

    fn read(&mut self, object: usize) -> Result<(), Wrong> {
        let read = self.subject().read(object);
        let Some((state, until)) = self.excuse(read)? else { return Ok(()) };
        self.model.reads(object, state)?;
        self.will_be_told(object, until);
        Ok(())
    }

    fn will_be_told(&mut self, object: usize, until: Until) {
        self.waiting.push((object, until, self.model.place(object)));
    }

    /// Marks as visible what the output gate lets out.
    fn tell(&mut self) {
        let (subject, model) = (self.subject.as_mut().expect("there is a process after a step"), &mut self.model);
        self.waiting.retain(|(object, until, place)| {
            let open = subject.is_told(*object, *until);
            if open {
                model.told(*place);
            }
            !open
        });
    }

    fn flush_all(&mut self) {
        while self.subject().flush() {}
    }

    /// Accepts a failure only if the disk may have failed.
    fn excuse<T>(&self, done: Result<T, Failed>) -> Result<Option<T>, Wrong> {
        match done {
            Ok(done) => Ok(Some(done)),
            Err(_) if self.faulty || self.disk.is_out() => Ok(None),
            Err(Failed(why)) => Err(Wrong::Failed(why)),
        }
    }

    /// Ends the process. The next one starts on what it left, and may end before it has started.
    fn end(&mut self) -> Result<(), Wrong> {
        let mut before = None;
        loop {
            // From here on the process cannot change the disk; what it does while it is dropped does not count.
            self.disk.stop_at(0);
            let _ = catch_unwind(AssertUnwindSafe(|| drop(self.subject.take())));
            match self.power {
                true => self.cut_power().expect("the directory can be written"),
                false => self.disk.restart(),
            }
            self.waiting.clear();
            // Examined in a copy, so that the process itself continues with objects that were not opened.
            let seen = self.look_at(|_| ())?;
            let mut model = self.model.clone();
            // A start after an interrupted one recovers the same, unless the power cut took what had not been flushed.
            if let Some(before) = before.filter(|_| !self.power) {
                model.recovered(before)?;
            }
            model.recovered(seen.clone())?;
            (self.faulty, self.power) = (false, self.dice.percent(50));
            if self.dice.percent(30) {
                let after = 1 + self.dice.below(30);
                self.disk.stop_at(self.disk.operations() + after);
            }
            let (root, disk, world) = (self.directory.path(), self.disk.clone(), self.next_world());
            match catch_unwind(AssertUnwindSafe(|| S::open(root, disk, world))) {
                _ if self.disk.is_out() => before = Some(seen),
                Ok(Ok(subject)) => {
                    (self.subject, self.model) = (Some(subject), model);
                    return Ok(());
                }
                Ok(Err(why)) => return Err(Wrong::Refused(why)),
                Err(panic) => resume_unwind(panic),
            }
        }
    }

    fn cut_power(&mut self) -> io::Result<()> {
        let flushed = S::FLUSHED_BY_ITSELF.map(|name| self.directory.path().join(name)).filter(|path| path.is_dir());
        let kept = directory_in_memory();
        if let Some(flushed) = &flushed {
            copy_files(flushed, kept.path())?;
        }
        self.disk.power_cut(self.dice.seed())?;
        if let Some(flushed) = &flushed {
            let _ = fs::remove_dir_all(flushed);
            if self.dice.percent(75) {
                fs::create_dir(flushed)?;
                copy_files(kept.path(), flushed)?;
            }
            self.disk = SimulatedDisk::new(self.directory.path())?;
        }
        Ok(())
    }

    /// Returns what a process would find in a copy of the directory after a change to it.
    fn look_at(&self, change: impl FnOnce(&Path)) -> Result<Vec<State>, Wrong> {
        let copy = directory_in_memory();
        copy_files(self.directory.path(), copy.path()).expect("there is room for a copy");
        change(copy.path());
        let disk = SimulatedDisk::new(copy.path()).expect("the copy can be read");
        let mut subject = S::open(copy.path(), disk, self.next_world()).map_err(Wrong::Refused)?;
        let read = |object| subject.read(object).map(|(state, _)| state).map_err(|Failed(why)| Wrong::Refused(why));
        let states = (0..OBJECTS).map(read).collect::<Result<Vec<_>, _>>()?;
        if let Some(listed) = subject.listed() {
            let present: Vec<_> = (0..OBJECTS).filter(|object| states[*object] != State::default()).collect();
            if listed != present {
                return Err(Wrong::Lists { listed, present });
            }
        }
        Ok(states)
    }

    /// Damages a copy of the log. The data that a damaged log returns must be right, or the start must be refused.
    fn damage(&mut self, dice: &mut Dice) -> Result<(), Wrong> {
        match self.look_at(|root| damage_log(&root.join("log"), dice)) {
            Err(Wrong::Refused(_)) => Ok(()),
            Err(other) => Err(other),
            Ok(seen) => self.model.clone().recovered(seen).map_err(Wrong::Unseen),
        }
    }
}

impl<S: Subject> Life<S> {
    /// Damages a file of an object in a copy. The data that it returns must be right, or the damage reported; other
    /// objects are not affected.
    fn damage_object(&mut self, dice: &mut Dice) -> Result<(), Wrong> {
        let copy = directory_in_memory();
        copy_files(self.directory.path(), copy.path()).expect("there is room for a copy");
        let Some(damaged) = S::damage(copy.path(), dice) else { return Ok(()) };
        let mut seen = self.look_at(|_| ())?;
        let disk = SimulatedDisk::new(copy.path()).expect("the copy can be read");
        let mut subject = S::open(copy.path(), disk, self.next_world()).map_err(Wrong::Refused)?;
        // The trim comes first or last: it must neither fail nor hide the damage.
        let early = dice.percent(50);
        if early {
            subject.checkpoint().map_err(|Failed(why)| Wrong::Failed(why))?;
        }
        for (object, state) in seen.iter_mut().enumerate() {
            match subject.read(object) {
                Ok((read, _)) => *state = read,
                Err(_) if object == damaged => {}
                Err(Failed(why)) => return Err(Wrong::Refused(why)),
            }
        }
        self.model.clone().recovered(seen).map_err(Wrong::Unseen)?;
        if early { Ok(()) } else { subject.checkpoint().map_err(|Failed(why)| Wrong::Failed(why)) }
    }
}

/// Flips a bit somewhere in the log before its last group, which may be torn.
fn damage_log(log: &Path, dice: &mut Dice) {
    let (mut groups, mut segment) = (Vec::new(), PathBuf::new());
    let inspected = inspect(log, &mut |seen| {
        match seen {
            Seen::Segment { file, .. } => segment = file.into(),
            Seen::Group { offset, bytes, .. } => groups.push((segment.clone(), offset + bytes)),
            Seen::Record { .. } => {}
        }
        Ok(())
    });
    inspected.expect("nothing is wrong with it yet");
    groups.pop();
    let Some((file, _)) = groups.get(dice.below(groups.len().max(1) as u64) as usize) else { return };
    let end = groups.iter().rev().find(|(of, _)| of == file).map_or(0, |(_, end)| *end);
    let mut bytes = fs::read(file).expect("it was inspected");
    bytes[dice.below(end) as usize] ^= 1 << dice.below(8);
    fs::write(file, bytes).expect("it can be written");
}

fn copy_files(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            fs::create_dir(&to)?;
            copy_files(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}

/// Runs a schedule. The error is the reason why the life fails.
fn life<S: Subject>(steps: &[Step]) -> Result<(), String> {
    let live = || Life::<S>::new().and_then(|life| life.live(steps)).map_err(|wrong| wrong.to_string());
    catch_unwind(live).unwrap_or_else(|panic| {
        let message = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        Err(format!("it panics: {}", message.unwrap_or("without a word")))
    })
}

/// Leaves out steps for as long as the life still fails.
fn shortest<S: Subject>(mut steps: Vec<Step>) -> Vec<Step> {
    let mut at = 0;
    while at < steps.len() {
        let mut fewer = steps.clone();
        fewer.remove(at);
        match life::<S>(&fewer) {
            Ok(()) => at += 1,
            Err(_) => steps = fewer,
        }
    }
    steps
}

/// Runs lives of as many seeds as wanted, on all cores.
pub(crate) fn simulate<S: Subject>(lives: u64) {
    let number = |variable| std::env::var(variable).ok().map(|text| text.parse::<u64>().expect("a number"));
    let (first, lives) = match number("HOLDFAST_SIMULATION_SEED") {
        Some(seed) => (seed, 1),
        None => (another_seed(), number("HOLDFAST_SIMULATION_LIVES").unwrap_or(lives)),
    };
    if let Some(seed) = find(first..first + lives, |seed| life::<S>(&schedule(seed)).is_err()) {
        let steps = shortest::<S>(schedule(seed));
        let [wrong, in_short] = [&schedule(seed), &steps].map(|steps| life::<S>(steps).expect_err("it is wrong still"));
        panic!("HOLDFAST_SIMULATION_SEED={seed}: {wrong}\nin short: {in_short}\n{steps:#?}");
    }
}

/// Returns a seed for which this is true, if there is one. Searches on all cores.
fn find(seeds: Range<u64>, wanted: impl Fn(u64) -> bool + Sync) -> Option<u64> {
    let (next, found) = (AtomicU64::new(seeds.start), OnceLock::new());
    let look = || {
        while found.get().is_none() {
            match next.fetch_add(1, Ordering::Relaxed) {
                seed if seed >= seeds.end => return,
                seed if wanted(seed) => _ = found.set(seed),
                _ => {}
            }
        }
    };
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| (0..workers).for_each(|_| _ = scope.spawn(look)));
    found.into_inner()
}

/// Returns a different seed in each run.
fn another_seed() -> u64 {
    RandomState::new().build_hasher().finish() >> 20
}

/// Fails unless the simulation detects each seeded bug within so many lives. Every failure of a life counts: some
/// seeded bugs are detected by the code itself.
pub(crate) fn notices<S: Subject>(bugs: &[SeededBug], lives: u64) {
    for bug in bugs {
        let goes_wrong = |seed| {
            seeded_bugs::plant(Some(*bug));
            life::<S>(&schedule(seed)).is_err()
        };
        let noticed = find(0..lives, goes_wrong);
        assert!(noticed.is_some(), "no life detects {bug:?}");
    }
}
