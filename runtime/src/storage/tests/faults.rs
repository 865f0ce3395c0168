//! Faults at the writes around the turns: class records and components, uploads, imports, exports, new files. Each step
//! of each of them fails, is where the process is killed, or is the last before a power cut.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use rustix::io::Errno;

use super::simulation::whole_storage::{Storage, object, read};
use super::{directory_in_memory, wait};
use crate::base::disk::SimulatedDisk;
use crate::base::{CheckedDatabase, ClassKey, ClassName, Create, Digest, Env, Failpoint, WorkBudget};
use crate::storage::{ClassRecord, ClassRecords, ClassVersion, DataDir, Database, StorageError, Turn};

/// More steps than an export, or the creation of a file, has.
const STEPS: u64 = 8;
/// Power cuts of which each is different. The case before the first is a killed process.
const CUTS: u64 = 4;

/// What happens at the step.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Fails(Errno),
    Kills,
}

const FAULTS: [Fault; 3] = [Fault::Fails(Errno::NOSPC), Fault::Fails(Errno::IO), Fault::Kills];

impl Fault {
    fn arm(self, disk: &SimulatedDisk, failpoint: Failpoint, step: u64) {
        match self {
            Self::Fails(errno) => disk.fail(failpoint, errno, step),
            Self::Kills => disk.kill(failpoint, step),
        }
    }
}

/// Calls with each failpoint, step, fault and end of the process: 0 is a kill, others are seeds of power cuts. The test
/// returns whether the step was reached; those after the first that was not are left out.
fn each(failpoints: &[Failpoint], test: impl Fn(Failpoint, u64, Fault, u64) -> bool) {
    for failpoint in failpoints {
        let with_each_fault = |step: &u64| {
            let ends = FAULTS.into_iter().flat_map(|fault| (0..=CUTS).map(move |end| (fault, end)));
            ends.filter(|(fault, end)| test(*failpoint, *step, *fault, *end)).count() > 0
        };
        let steps = (1..).take_while(with_each_fault).count();
        assert!(steps > 0, "{failpoint:?} is not reached");
    }
}

/// Ends the process, and starts another on what is left.
fn end_process(root: &Path, disk: &SimulatedDisk, end: u64) -> Arc<SimulatedDisk> {
    if end > 0 {
        disk.power_cut(end).unwrap();
        // SQLite flushes catalogs by itself, which the simulated disk does not see. They can be rebuilt.
        let _ = std::fs::remove_dir_all(root.join("catalog"));
    }
    SimulatedDisk::new(root).unwrap()
}

fn deploy(records: &ClassRecords, component: &[u8]) -> Result<(), StorageError> {
    let digest = Digest::of(component);
    let _held = records.hold(digest);
    let version = |number| ClassVersion {
        number,
        digest,
        size: 3,
        deployed_ms: 1,
        create: Create::Any,
        late: Default::default(),
        calls: Default::default(),
        methods: Default::default(),
        message: None,
    };
    let record = match records.load_all()?.pop() {
        Some(mut record) => {
            record.add(version(record.current().number + 1));
            record
        }
        None => ClassRecord::new(ClassName::parse("a").unwrap(), ClassKey::new("key"), version(1)),
    };
    records.put_component(component)?;
    records.save(&record)
}

/// Returns the component of the class's current version, after all of its components were read.
fn deployed(records: &ClassRecords) -> Vec<u8> {
    let record = records.load_all().unwrap().pop().expect("the class is never lost");
    let read = |version: &ClassVersion| records.component(&version.digest).expect("a component that a record names");
    record.versions().iter().map(read).last().expect("a record has a version")
}

#[test]
fn a_deploy_that_fails_leaves_one_of_the_two_versions_whole() {
    each(&[Failpoint::ComponentWrite, Failpoint::ClassWrite], |failpoint, step, fault, end| {
        let case = format!("{failpoint:?}, step {step}, {fault:?}, end {end}");
        let root = directory_in_memory();
        let disk = SimulatedDisk::new(root.path()).unwrap();
        let dir = DataDir::open_on(disk.clone(), root.path()).unwrap();
        let records = ClassRecords::open(&dir).unwrap();
        deploy(&records, b"one").unwrap();

        fault.arm(&disk, failpoint, step);
        let mut done = deploy(&records, b"two");
        if let Err(error) = &done
            && !disk.is_out()
        {
            assert_eq!(error.is_lack_of_room(), matches!(fault, Fault::Fails(Errno::NOSPC)), "{case}: {error}");
            deployed(&records);
            // Every other time the process ends without another deploy.
            if end % 2 == 1 {
                done = deploy(&records, b"two");
                assert!(done.is_ok() && deployed(&records) == b"two", "{case}");
            }
        }
        let reached = disk.refused() > 0 || disk.is_out();
        drop((records, dir));
        let disk = end_process(root.path(), &disk, end);
        let dir = DataDir::open_on(disk, root.path()).unwrap_or_else(|error| panic!("{case}: {error}"));
        let found = deployed(&ClassRecords::open(&dir).unwrap());
        assert!(found == b"two" || (found == b"one" && done.is_err()), "{case}: {found:?}");
        reached
    });
}

/// A new storage with an object that stores `old`, and the bytes of an export of one that stores `new`.
fn with_export(root: &Path, disk: &Arc<SimulatedDisk>) -> (Storage, Box<Database>, Vec<u8>) {
    let storage = Storage::open(root, disk.clone(), &Env::manual(1).0).unwrap();
    let old = put(storage.databases.database(&object(0)), "old");
    let mut new = put(storage.databases.database(&object(1)), "new");
    while storage.flush() {}
    let mut export = new.snapshot().unwrap().unwrap().copy().unwrap();
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut export, &mut bytes).unwrap();
    storage.checkpoint().unwrap();
    (storage, old, bytes)
}

fn put(database: Box<Database>, value: &str) -> Box<Database> {
    let mut turn = Turn::begin(database, WorkBudget::unlimited());
    turn.put("k", value.as_bytes()).unwrap();
    let (database, applied) = turn.apply();
    applied.unwrap();
    database
}

fn exec(database: Box<Database>, sql: &str) -> Box<Database> {
    let mut turn = Turn::begin(database, WorkBudget::unlimited());
    turn.exec(sql, &[]).unwrap();
    let (database, applied) = turn.apply();
    applied.unwrap();
    database
}

fn stored(database: Box<Database>) -> (Box<Database>, Option<String>) {
    let mut turn = Turn::begin_reading(database, WorkBudget::unlimited());
    let keys: BTreeMap<_, _> = read(&mut turn).unwrap().keys.into_iter().collect();
    (turn.roll_back(), keys.get("k").map(|value| String::from_utf8(value.clone()).unwrap()))
}

fn upload(storage: &Storage, bytes: &[u8]) -> Result<CheckedDatabase, String> {
    let databases = &storage.databases;
    let file = databases.incoming().map_err(|error| error.to_string())?;
    databases.write_incoming(file.as_file(), bytes, 0).map_err(|error| error.to_string())?;
    databases.check(file, &object(0), &WorkBudget::unlimited()).map_err(|error| error.to_string())
}

/// Uploads and imports. Returns the object with whether it was imported.
fn import(storage: &Storage, database: Box<Database>, bytes: &[u8]) -> (Box<Database>, bool) {
    let Ok(checked) = upload(storage, bytes) else { return (database, false) };
    let (database, applied) = wait(database.import(checked));
    (database, applied.is_ok())
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// The names of the database files of object 0.
fn databases_of(storage: &Storage) -> Vec<String> {
    let id = object(0).id.to_string();
    let names = names(&storage.dir.objects().join("key").join(&id[..2]));
    names.into_iter().filter(|name| name.starts_with(&id) && name.ends_with(".sqlite")).collect()
}

#[test]
fn an_import_that_fails_leaves_what_was_stored_and_no_file() {
    let points = [Failpoint::TransferWrite, Failpoint::ImportAdopt, Failpoint::SumsWrite, Failpoint::ObjectCreate];
    each(&points, |failpoint, step, fault, end| {
        let case = format!("{failpoint:?}, step {step}, {fault:?}, end {end}");
        let root = directory_in_memory();
        let disk = SimulatedDisk::new(root.path()).unwrap();
        let (storage, old, bytes) = with_export(root.path(), &disk);

        fault.arm(&disk, failpoint, step);
        let mut expected = vec!["old", "new"];
        let process = AssertUnwindSafe(|| {
            let (database, imported) = import(&storage, old, &bytes);
            if disk.is_out() {
                return None;
            }
            let (mut database, found) = stored(database);
            assert_eq!(found.as_deref(), Some(if imported { "new" } else { "old" }), "{case}");
            assert_eq!(names(&storage.dir.transfers()), [""; 0], "{case}");
            // Every other time the process continues, and what it writes then counts.
            if end % 2 == 1 {
                database = put(database, "later");
            }
            while storage.flush() {}
            if !disk.is_out() {
                database.maintain().unwrap_or_else(|error| panic!("{case}: {error}"));
                assert_eq!(databases_of(&storage).len(), 1, "{case}: {:?}", databases_of(&storage));
            }
            Some(match (end % 2, imported) {
                (1, _) => "later",
                (_, true) => "new",
                (_, false) => "old",
            })
        });
        match catch_unwind(process) {
            Ok(Some(told)) => expected = vec![told],
            Ok(None) => {}
            Err(_) if disk.is_out() => expected.push("later"),
            Err(panic) => std::panic::resume_unwind(panic),
        }
        let reached = disk.refused() > 0 || disk.is_out();
        let _ = catch_unwind(AssertUnwindSafe(|| drop(storage)));

        let disk = end_process(root.path(), &disk, end);
        let storage = Storage::open(root.path(), disk, &Env::manual(2).0).unwrap_or_else(|why| panic!("{case}: {why}"));
        let (_, found) = stored(storage.databases.database(&object(0)));
        assert!(expected.contains(&found.as_deref().unwrap_or("nothing")), "{case}: {found:?}, not {expected:?}");
        reached
    });
}

#[test]
fn an_export_that_fails_is_an_error_and_can_be_repeated() {
    let root = directory_in_memory();
    let disk = SimulatedDisk::new(root.path()).unwrap();
    let (storage, mut database, _) = with_export(root.path(), &disk);
    let mut failed = 0;
    for step in 1..=STEPS {
        disk.fail(Failpoint::TransferWrite, Errno::NOSPC, step);
        match database.snapshot().unwrap().unwrap().copy() {
            Ok(_) => {}
            Err(error) => {
                assert!(error.is_lack_of_room(), "{error}");
                failed += 1;
            }
        }
        disk.restart();
        assert!(database.snapshot().unwrap().unwrap().copy().is_ok(), "step {step}");
    }
    assert_eq!(failed, 3, "the file, its pages, its header");
    assert_eq!(names(&storage.dir.transfers()), [""; 0]);
}

#[test]
fn a_first_turn_without_room_for_its_file_fails_and_leaves_no_file() {
    let root = directory_in_memory();
    let disk = SimulatedDisk::new(root.path()).unwrap();
    let storage = Storage::open(root.path(), disk.clone(), &Env::manual(1).0).unwrap();
    let mut failed = 0;
    for step in 1..=STEPS {
        disk.fail(Failpoint::ObjectCreate, Errno::NOSPC, step);
        let mut turn = Turn::begin(storage.databases.database(&object(0)), WorkBudget::unlimited());
        let wrote = turn.put("k", b"v").is_ok();
        let database = turn.roll_back();
        failed += u32::from(!wrote);
        assert_eq!(databases_of(&storage), [""; 0], "step {step}");
        disk.restart();
        let (database, found) = stored(database);
        assert_eq!(found, None, "step {step}");
        drop(database);
    }
    assert!(failed >= 3, "the file, its bytes, what is left of another: {failed}");
    put(storage.databases.database(&object(0)), "v");
}

/// The WAL begins anew long after a checkpoint has copied it, so the next checkpoint copies its frames again, of which
/// the log has only those since. A kill or a power cut between two pages loses nothing.
#[test]
fn a_checkpoint_that_ends_between_two_pages_loses_nothing() {
    each(&[Failpoint::CheckpointPage, Failpoint::SumsWrite], |failpoint, step, fault, end| {
        let case = format!("{failpoint:?}, step {step}, {fault:?}, end {end}");
        let root = directory_in_memory();
        let disk = SimulatedDisk::new(root.path()).unwrap();
        let storage = Storage::open(root.path(), disk.clone(), &Env::manual(1).0).unwrap();
        let checkpoint = || {
            while storage.flush() {}
            storage.checkpoint()
        };
        let mut database = storage.databases.database(&object(0));
        database = exec(database, "CREATE TABLE list (value BLOB NOT NULL)");
        // Each changes the page with the key, and what comes after the checkpoint changes others.
        for value in ["1", "2", "3"] {
            database = put(database, value);
        }
        checkpoint().unwrap();
        let database = exec(database, "INSERT INTO list VALUES (x'0a'), (x'0b')");

        fault.arm(&disk, failpoint, step);
        let done = checkpoint();
        let reached = disk.refused() > 0 || disk.is_out();
        assert_eq!(done.is_err(), reached, "{case}");
        if !disk.is_out() && end % 2 == 1 {
            checkpoint().unwrap();
        }
        disk.stop_at(0);
        let _ = catch_unwind(AssertUnwindSafe(|| drop((database, storage))));
        let disk = end_process(root.path(), &disk, end);
        let storage = Storage::open(root.path(), disk, &Env::manual(2).0).unwrap_or_else(|why| panic!("{case}: {why}"));
        let mut turn = Turn::begin_reading(storage.databases.database(&object(0)), WorkBudget::unlimited());
        let state = read(&mut turn).unwrap_or_else(|error| panic!("{case}: {error:?}"));
        assert_eq!(state.keys["k"], b"3", "{case}");
        assert_eq!(state.rows, Some(vec![vec![10], vec![11]]), "{case}");
        drop(turn.roll_back());
        reached
    });
}
