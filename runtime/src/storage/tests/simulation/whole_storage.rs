//! The main subject: object databases, the commit log, recovery, checkpoints and catalogs, as a server uses them.
//!
//! SQLite writes its files by itself. That suits the simulated disk, which looks at files and not at writes: databases
//! are never flushed by SQLite. Catalogs are, so the simulated disk cannot decide what a power cut leaves of them: they
//! are either unchanged or gone.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::model::State;
use super::schedule::{Dice, End, OBJECTS, Write};
use super::{Failed, Subject, Turned, Until, World};
use crate::base::disk::SimulatedDisk;
use crate::base::seeded_bugs::SeededBug;
use crate::base::{Alarm, ClassKey, Env, HostMemory, Limits, ObjectAddress, ObjectId, WorkBudget};
use crate::storage::alarm_index::Now;
use crate::storage::commit_log::{FileLog, Lane, LogOptions, Lsn};
use crate::storage::template::PAGE;
use crate::storage::tests::address;
use crate::storage::{ApplyError, DataDir, Database, Databases, ListOptions, Turn, Value};

const LANES: u16 = 3;
/// Segments of a few groups. The capacity is what one turn may reserve, and a little more.
const SEGMENT: u64 = 128 << 10;
const CAPACITY: u64 = 6 << 20;

/// Storage as a server opens it, on a log that is stepped by hand.
pub(crate) struct Storage {
    pub databases: Databases,
    log: Arc<FileLog>,
    /// Keeps the directory locked.
    pub dir: DataDir,
}

pub(crate) struct WholeStorage {
    objects: [Option<Box<Database>>; OBJECTS],
    storage: Storage,
}

/// Returns the address of an object of this world.
pub(crate) fn object(number: usize) -> ObjectAddress {
    address(&format!("object-{number}"))
}

fn number_of(id: ObjectId) -> usize {
    (0..OBJECTS).find(|number| object(*number).id == id).expect("an object of this world")
}

fn failed(error: impl std::fmt::Display) -> Failed {
    Failed(error.to_string())
}

/// The limits of such a storage.
pub(crate) fn limits() -> Limits {
    Limits { log_capacity: CAPACITY, log_segment: SEGMENT, ..Limits::default() }
}

impl Storage {
    pub(crate) fn open(root: &Path, disk: Arc<SimulatedDisk>, env: &Env) -> Result<Self, String> {
        let dir = DataDir::open_on(disk.clone(), root).map_err(|error| error.to_string())?;
        let options = LogOptions {
            lanes: LANES,
            segment_bytes: SEGMENT,
            capacity: CAPACITY,
            in_flight: CAPACITY,
            manual: true,
            ..LogOptions::new(env.clone())
        };
        let log = FileLog::open(&dir.log(), options, disk).map_err(|error| error.to_string())?;
        let log = Arc::new(log);
        let databases = Databases::open_on(&dir, &limits(), env, HostMemory::new(1 << 30), log.clone());
        Ok(Self { databases: databases.map_err(|error| error.to_string())?, log, dir })
    }

    pub(crate) fn lane(number: usize) -> usize {
        Lane::of(object(number).id.as_bytes(), LANES).index()
    }

    pub(crate) fn durable(&self, number: usize) -> Lsn {
        self.databases.0.lane(&object(number).id).durable().upto()
    }

    pub(crate) fn flush(&self) -> bool {
        self.log.step()
    }

    pub(crate) fn checkpoint(&self) -> Result<(), Failed> {
        self.databases.0.checkpoint().map_err(failed)
    }

    pub(crate) fn catalog(&self) -> Result<(), Failed> {
        let durable: Vec<Lsn> = self.databases.0.lanes.iter().map(|lane| lane.durable().upto()).collect();
        self.databases.catalog().write(&durable).map_err(failed)
    }

    pub(crate) fn due(&self, now_ms: u64) -> Result<Vec<usize>, Failed> {
        self.databases.look_for_alarms(now_ms).map_err(failed)?;
        let now = Now { wall_ms: now_ms, elapsed: Duration::from_millis(now_ms) };
        let round = self.databases.alarms().take_due(now, OBJECTS, Duration::MAX, |_| Some(()));
        Ok(round.due.into_iter().map(|(_, (_, id), ())| number_of(id)).collect())
    }

    pub(crate) fn alarm_is_settled(&self, number: usize) {
        self.databases.alarms().settled(&object(number).id, Duration::ZERO);
    }

    pub(crate) fn knows_of_alarm(&self, number: usize, at_ms: u64) -> bool {
        self.databases.alarms().knows(&ClassKey::new("key"), (at_ms, object(number).id))
    }

    pub(crate) fn listed(&self) -> Vec<usize> {
        let page = self.databases.catalog().list(&ClassKey::new("key"), None, None, 100).expect("catalogs can be read");
        let mut listed: Vec<_> = page.entries.into_iter().map(|entry| number_of(entry.id)).collect();
        listed.sort();
        listed
    }

    /// Damages a file of an object. Returns the object.
    pub(crate) fn damage(root: &Path, dice: &mut Dice) -> Option<usize> {
        let number = dice.below(OBJECTS as u64) as usize;
        let ObjectAddress { key, id, .. } = object(number);
        let dir = root.join("objects").join(key.as_str()).join(&id.to_string()[..2]);
        let of_it =
            |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&id.to_string()));
        let mut files: Vec<_> = fs::read_dir(dir).ok()?.map(|entry| entry.expect("it can be listed").path()).collect();
        files.retain(of_it);
        files.sort();
        if files.is_empty() {
            return None;
        }
        damage_one(&files, dice);
        Some(number)
    }
}

impl Subject for WholeStorage {
    const FLUSHED_BY_ITSELF: Option<&str> = Some("catalog");

    fn prepare(root: &Path) {
        DataDir::open(root).expect("an empty directory becomes a data directory");
    }

    fn open(root: &Path, disk: Arc<SimulatedDisk>, world: World) -> Result<Self, String> {
        Ok(Self { storage: Storage::open(root, disk, &world.env)?, objects: Default::default() })
    }

    fn lane(number: usize) -> usize {
        Storage::lane(number)
    }

    fn turn(&mut self, number: usize, writes: &[Write], end: End) -> Result<Turned, Failed> {
        let mut turn = Turn::begin(self.take(number), WorkBudget::unlimited());
        let written = writes.iter().try_for_each(|each| write(&mut turn, each));
        if written.is_err() || end == End::Fail {
            let until = self.put(number, turn.roll_back());
            return written.map(|()| Turned { wrote: false, until });
        }
        let (database, applied) = turn.apply();
        let until = self.put(number, database);
        match applied {
            Ok(applied) => Ok(Turned { wrote: applied.wrote, until }),
            Err(ApplyError::Full(_)) => Ok(Turned { wrote: false, until }),
            Err(error) => Err(failed(error)),
        }
    }

    fn read(&mut self, number: usize) -> Result<(State, Until), Failed> {
        let mut turn = Turn::begin_reading(self.take(number), WorkBudget::unlimited());
        let state = read(&mut turn);
        let until = self.put(number, turn.roll_back());
        Ok((state?, until))
    }

    fn durable(&self, number: usize) -> Lsn {
        self.storage.durable(number)
    }

    fn flush(&mut self) -> bool {
        self.storage.flush()
    }

    fn maintain(&mut self, number: usize) -> Result<(), Failed> {
        let mut database = self.take(number);
        let maintained = database.maintain();
        self.put(number, database);
        maintained.map_err(failed)
    }

    fn leave(&mut self, number: usize) {
        self.objects[number] = None;
    }

    fn checkpoint(&mut self) -> Result<(), Failed> {
        self.storage.checkpoint()
    }

    fn catalog(&mut self) -> Result<(), Failed> {
        self.storage.catalog()
    }

    fn due(&mut self, now_ms: u64) -> Result<Vec<usize>, Failed> {
        self.storage.due(now_ms)
    }

    fn alarm_was_sent(&mut self, number: usize, asked: bool) -> Result<(), Failed> {
        let mut told = Ok(());
        if asked {
            let mut database = self.take(number);
            told = database.report_alarm().map_err(failed);
            self.put(number, database);
        }
        self.storage.alarm_is_settled(number);
        told
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

/// Changes a file: flips a bit, or cuts, empties or removes the file, or replaces a block; of the database, of its
/// sums, or of the WAL, which is never read.
fn damage_one(files: &[PathBuf], dice: &mut Dice) {
    let file = &files[dice.below(files.len() as u64) as usize];
    let mut bytes = fs::read(file).expect("it is there");
    match dice.below(8) {
        0 => return fs::remove_file(file).expect("it is there"),
        1 => bytes.clear(),
        2 => bytes.truncate(dice.below(bytes.len() as u64 + 1) as usize),
        3 => {
            let at = dice.below(bytes.len() as u64 / 512 + 1) as usize * 512;
            bytes.iter_mut().skip(at).take(512).for_each(|byte| *byte = 0);
        }
        4 => {
            let count = bytes.len() as u64 / PAGE as u64;
            let [from, to] = [0, 1].map(|_| dice.below(count.max(1)) as usize * PAGE);
            if count > 1 {
                bytes.copy_within(from..from + PAGE, to);
            }
        }
        _ if bytes.is_empty() => {}
        _ => {
            let at = dice.below(bytes.len() as u64) as usize;
            bytes[at] ^= 1 << dice.below(8);
        }
    }
    fs::write(file, bytes).expect("it can be written");
}

impl WholeStorage {
    fn take(&mut self, number: usize) -> Box<Database> {
        self.objects[number].take().unwrap_or_else(|| self.storage.databases.database(&object(number)))
    }

    fn put(&mut self, number: usize, database: Box<Database>) -> Until {
        Until::Durable(self.objects[number].insert(database).last_applied())
    }
}

/// Does a write of the schedule.
pub(crate) fn write(turn: &mut Turn, write: &Write) -> Result<(), Failed> {
    match write {
        Write::Put { key, value } => turn.put(key, &value.expand()).map_err(failed),
        Write::Delete { key } => turn.delete(key).map(drop).map_err(failed),
        Write::SetAlarm { at } => {
            turn.set_alarm(at.map(Alarm::at));
            Ok(())
        }
        Write::DeleteAll => turn.delete_all().map_err(failed),
        Write::Insert { rows, value } => {
            turn.exec("CREATE TABLE IF NOT EXISTS list (value BLOB NOT NULL)", &[]).map_err(failed)?;
            let insert = |_| turn.exec("INSERT INTO list VALUES (?)", &[Value::Blob(value.expand())]).map(drop);
            (0..*rows).try_for_each(insert).map_err(failed)
        }
    }
}

/// Reads everything that an object stores.
pub(crate) fn read(turn: &mut Turn) -> Result<State, Failed> {
    let mut state = State::default();
    let cursor = turn.list(ListOptions::default()).map_err(failed)?;
    loop {
        let entries = turn.list_next(cursor, 100).map_err(failed)?;
        if entries.is_empty() {
            break;
        }
        state.keys.extend(entries.into_iter().map(|entry| (entry.key, entry.value)));
    }
    let query = |turn: &mut Turn, text| crate::storage::tests::all_rows(turn, text, &[]).map_err(failed);
    if !query(turn, "SELECT 1 FROM sqlite_schema WHERE name = 'list'")?.is_empty() {
        let rows =
            query(turn, "SELECT value FROM list ORDER BY rowid")?.into_iter().map(|mut row| match row.remove(0) {
                Value::Blob(value) => value,
                other => panic!("a blob was inserted, and {other:?} came back"),
            });
        state.rows = Some(rows.collect());
    }
    state.alarm = turn.alarm().map_err(failed)?.map(|alarm| alarm.due_ms);
    Ok(state)
}

#[test]
fn storage_keeps_its_promises() {
    super::simulate::<WholeStorage>(1_000);
}

#[test]
fn seeded_bugs_in_storage_are_noticed() {
    use SeededBug::{AlarmByTime, CutNotLast, LateSums, LeftoverWal, ResetNotDurable, TrimTooFar, UncheckedPages};
    let all = [LeftoverWal, TrimTooFar, ResetNotDurable, CutNotLast, AlarmByTime, UncheckedPages, LateSums];
    super::notices::<WholeStorage>(&all, 2_000);
}
