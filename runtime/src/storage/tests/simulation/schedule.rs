//! Schedules: the events of one simulated life, as a list that is generated from a seed and can be shortened.
//!
//! Steps carry everything they need (lengths and seeds of values, places of crashes), so that leaving some out changes
//! nothing about the others, and a failing schedule can be reduced to the steps that matter.

use crate::base::Env;
use crate::base::failpoints::Failpoint;

/// The number of objects of a world; ids spread them over the lanes.
pub const OBJECTS: usize = 6;
/// The number of different keys, few enough that keys are written again.
const KEYS: u64 = 5;

/// Due times of alarms are multiples of this, in milliseconds: some alarms are within the minute that is read ahead.
const TICK: u64 = 20_000;

/// The failpoints at which disks fail.
const FAULTY: [Failpoint; 15] = [
    Failpoint::LogWrite,
    Failpoint::LogFlush,
    Failpoint::SegmentCreate,
    Failpoint::SegmentDrop,
    Failpoint::ObjectCreate,
    Failpoint::ObjectRemove,
    Failpoint::ObjectDiscard,
    Failpoint::ObjectRecover,
    Failpoint::ObjectRecoverPage,
    Failpoint::SumsWrite,
    Failpoint::WalCut,
    Failpoint::WalReset,
    Failpoint::CheckpointPage,
    Failpoint::CheckpointSync,
    Failpoint::CatalogWrite,
];

/// One step.
#[derive(Clone, Debug)]
pub enum Step {
    /// A turn of an object.
    Turn { object: usize, writes: Vec<Write>, end: End },
    /// Time passes, and each object whose alarm is due is asked to run it.
    Ring { ms: u64, handler: Handler, end: End },
    /// A turn that reads everything.
    Read { object: usize },
    /// The log's writer makes one group durable.
    Flush,
    /// What an actor does between turns: WAL resets and removal of replaced files.
    Maintain { object: usize },
    /// The actor ends; the next turn opens the object again.
    Leave { object: usize },
    /// A checkpoint, which trims the log.
    Checkpoint,
    /// The catalogs are written.
    Catalog,
    /// The disk refuses the next operation at a failpoint, once.
    Fault { failpoint: Failpoint, full: bool },
    /// The process ends before the disk's `after`th operation from now, and another one starts.
    Crash { after: u64, power: bool, seed: u64 },
    /// A byte of the log that was durable before the last group is changed.
    Damage { seed: u64 },
    /// A file of an object is changed or removed.
    DamageObject { seed: u64 },
}

/// A write of a turn.
#[derive(Clone, Debug)]
pub enum Write {
    Put { key: String, value: Bytes },
    Delete { key: String },
    Insert { rows: usize, value: Bytes },
    DeleteAll,
    SetAlarm { at: Option<u64> },
}

/// What the handlers of alarms do.
#[derive(Clone, Copy, Debug)]
pub enum Handler {
    Nothing,
    /// Set the time that they are called for again.
    SetSame,
    /// Remove everything, and set the same time again.
    DeleteAllAndSetSame,
    /// Set a time this much later than the one that they are called for.
    SetLater(u64),
    /// They are not called: their objects could not be asked.
    NotCalled,
}

/// How a turn ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum End {
    Apply,
    /// It is rolled back, and its error is visible.
    Fail,
}

/// Returns bytes that are generated from a seed.
#[derive(Clone, Copy, Debug)]
pub struct Bytes {
    pub len: usize,
    seed: u64,
}

impl Bytes {
    /// What is stored.
    pub fn expand(self) -> Vec<u8> {
        match self.seed % 3 {
            0 => vec![self.seed as u8; self.len],
            _ => Dice::new(self.seed).bytes(self.len),
        }
    }
}

/// A source of random choices that a seed repeats.
pub struct Dice(Env);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(Env::manual(seed).0)
    }

    pub fn seed(&mut self) -> u64 {
        u64::from_le_bytes(self.0.random())
    }

    /// Returns a number below `end`, which is not 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.seed() % end
    }

    /// Returns true in `percent` of all cases.
    pub fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.0.fill_random(&mut bytes);
        bytes
    }
}

/// Returns the schedule of a seed.
pub fn schedule(seed: u64) -> Vec<Step> {
    let mut dice = Dice::new(seed);
    // Some worlds have many faults and some few, some write much between flushes and some little.
    let length = 10 + dice.below(60);
    let (flushes, crashes, faults) = (5 + dice.below(40), 1 + dice.below(8), dice.below(4));
    (0..length).map(|_| step(&mut dice, flushes, crashes, faults)).collect()
}

fn step(dice: &mut Dice, flushes: u64, crashes: u64, faults: u64) -> Step {
    let object = dice.below(OBJECTS as u64) as usize;
    if dice.percent(flushes) {
        return Step::Flush;
    }
    if dice.percent(crashes) {
        return Step::Crash { after: later(dice), power: dice.percent(60), seed: dice.seed() };
    }
    if dice.percent(faults) {
        let failpoint = FAULTY[dice.below(FAULTY.len() as u64) as usize];
        return Step::Fault { failpoint, full: dice.percent(60) };
    }
    match dice.below(100) {
        0..6 => Step::Checkpoint,
        6..10 => Step::Catalog,
        10..16 => Step::Leave { object },
        16..26 => Step::Maintain { object },
        26..36 => Step::Read { object },
        36..38 => Step::Damage { seed: dice.seed() },
        38..48 => Step::Ring { ms: dice.below(4) * TICK, handler: handler(dice), end: end(dice) },
        48..51 => Step::DamageObject { seed: dice.seed() },
        _ => turn(dice, object),
    }
}

/// Either at once, or during the operations that follow.
fn later(dice: &mut Dice) -> u64 {
    if dice.percent(40) { 0 } else { 1 + dice.below(40) }
}

fn end(dice: &mut Dice) -> End {
    if dice.percent(15) { End::Fail } else { End::Apply }
}

fn handler(dice: &mut Dice) -> Handler {
    match dice.below(6) {
        0 => Handler::Nothing,
        1 | 2 => Handler::SetSame,
        3 => Handler::DeleteAllAndSetSame,
        4 => Handler::SetLater(dice.below(4) * TICK),
        _ => Handler::NotCalled,
    }
}

fn turn(dice: &mut Dice, object: usize) -> Step {
    let end = end(dice);
    let writes = (0..1 + dice.below(3)).map(|_| write(dice)).collect();
    Step::Turn { object, writes, end }
}

fn write(dice: &mut Dice) -> Write {
    let key = format!("key-{}", dice.below(KEYS));
    let value = |dice: &mut Dice, most| Bytes { len: dice.below(most) as usize, seed: dice.seed() };
    match dice.below(100) {
        0..8 => Write::DeleteAll,
        8..14 => Write::Delete { key },
        // Few different times, so that the same time is set again; half of them are beyond what is in memory.
        14..24 => Write::SetAlarm { at: dice.percent(80).then(|| 1 + dice.below(8) * TICK) },
        24..40 => Write::Insert { rows: 1 + dice.below(8) as usize, value: value(dice, 600) },
        // Enough pages for several parts.
        40..45 => Write::Put { key, value: value(dice, 120_000) },
        _ => Write::Put { key, value: value(dice, 6_000) },
    }
}
