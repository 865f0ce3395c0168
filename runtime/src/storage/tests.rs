//! Tests of storage, in one harness: a data directory, objects in it, turns on them, and crashes.

use std::sync::Arc;

use tempfile::TempDir;

use super::commit_log::{LogOptions, MemoryLog};
use super::*;
use crate::base::{ClassKey, ClassName, Env, HostMemory, Limits, ObjectAddress, ObjectId, ObjectName, WorkBudget};

mod alarms;
mod authority;
mod catalog;
mod damage;
mod durability;
mod faults;
mod files;
mod key_value;
mod model;
mod oracle;
mod performance;
mod plain;
pub(crate) mod simulation;
mod slices;
mod sql;
mod sql_limits;
mod sql_memory;
mod transfer;
mod turns;
mod whole;

/// A data directory with its databases, on a log in memory that becomes durable when a test says so.
struct World {
    databases: Databases,
    log: Arc<MemoryLog>,
    dir: DataDir,
    limits: Limits,
    root: TempDir,
}

impl World {
    fn new() -> Self {
        Self::with(Limits::default())
    }

    fn with(limits: Limits) -> Self {
        let root = tempfile::tempdir().unwrap();
        let dir = DataDir::open(root.path()).unwrap();
        let options = LogOptions { lanes: 4, capacity: limits.log_capacity, ..LogOptions::new(Env::manual(1).0) };
        let log = Arc::new(MemoryLog::new(options));
        let databases = open(&dir, &limits, &log);
        Self { databases, log, dir, limits, root }
    }

    fn object(&self, name: &str) -> Object {
        Object(Some(self.databases.database(&address(name))))
    }

    /// Makes everything appended durable.
    fn flush(&self) {
        while self.log.step() {}
    }

    /// Makes everything durable, and runs the object's maintenance that had to wait for it.
    fn settle(&self, object: &mut Object) {
        self.flush();
        object.database().maintain().unwrap();
    }

    /// Kills the process and starts another: what was not durable is lost. The next process works on a copy of the
    /// files, so that what is left of this one has no effect.
    fn crash(&mut self) {
        let root = tempfile::tempdir().unwrap();
        copy(self.root.path(), root.path());
        self.dir = DataDir::open(root.path()).unwrap();
        self.root = root;
        self.log = Arc::new(self.log.crash());
        self.databases = open(&self.dir, &self.limits, &self.log);
    }

    /// Restarts after everything was made durable.
    fn restart(&mut self) {
        self.flush();
        self.crash();
    }

    /// Returns the path of an object's database file.
    fn file(&self, name: &str) -> PathBuf {
        let id = address(name).id.to_string();
        self.dir.objects().join("key").join(&id[..2]).join(format!("{id}-1.sqlite"))
    }

    /// Lists every file below `objects/`.
    fn files(&self) -> Vec<PathBuf> {
        fn below(dir: &Path, found: &mut Vec<PathBuf>) {
            for entry in std::fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { below(&path, found) } else { found.push(path) }
            }
        }
        let mut found = Vec::new();
        below(&self.dir.objects(), &mut found);
        found
    }
}

/// In memory where possible: flushes are simulated there, and real ones would only take time.
pub fn directory_in_memory() -> TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.unwrap()
}

pub fn address(name: &str) -> ObjectAddress {
    let (class, key, name) =
        (ClassName::parse("thing").unwrap(), ClassKey::new("key"), ObjectName::parse(name).unwrap());
    ObjectAddress { class, id: ObjectId::from_name(&key, &name), key, name: Some(name) }
}

fn by_id(name: &str) -> ObjectAddress {
    ObjectAddress { name: None, ..address(name) }
}

/// An object between turns.
struct Object(Option<Box<Database>>);

impl Object {
    fn database(&mut self) -> &mut Database {
        self.0.as_mut().unwrap()
    }

    fn begin(&mut self, work: WorkBudget) -> Turn {
        Turn::begin(self.0.take().unwrap(), work)
    }

    fn apply(&mut self, turn: Turn) -> Result<Applied, ApplyError> {
        let (database, applied) = turn.apply();
        self.0 = Some(database);
        applied
    }

    /// Runs a turn that must be applied.
    fn turn<T>(&mut self, run: impl FnOnce(&mut Turn) -> T) -> T {
        let mut turn = self.begin(WorkBudget::unlimited());
        let answer = run(&mut turn);
        self.apply(turn).unwrap();
        answer
    }

    /// Runs a turn and returns how it ended.
    fn end(&mut self, run: impl FnOnce(&mut Turn)) -> Result<Applied, ApplyError> {
        let mut turn = self.begin(WorkBudget::unlimited());
        run(&mut turn);
        self.apply(turn)
    }

    /// Runs a turn and rolls it back.
    fn fail<T>(&mut self, run: impl FnOnce(&mut Turn) -> T) -> T {
        let mut turn = self.begin(WorkBudget::unlimited());
        let answer = run(&mut turn);
        self.0 = Some(turn.roll_back());
        answer
    }

    fn delete(&mut self) -> bool {
        wait(self.database().delete()).unwrap()
    }

    fn get(&mut self, key: &str) -> Option<Vec<u8>> {
        self.turn(|turn| turn.get(key).unwrap())
    }

    /// Returns all rows of a query, read through its cursor.
    fn rows(&mut self, query: &str) -> Vec<Vec<Value>> {
        self.turn(|turn| all_rows(turn, query, &[]).unwrap())
    }
}

fn all_rows(turn: &mut Turn, query: &str, parameters: &[Value]) -> Result<Vec<Vec<Value>>, SqlError> {
    let outcome = turn.exec(query, parameters)?;
    let mut rows = outcome.rows;
    if let Some(cursor) = outcome.more {
        loop {
            let batch = turn.next(cursor, 100)?;
            if batch.is_empty() {
                break;
            }
            rows.extend(batch);
        }
    }
    Ok(rows)
}

fn int(number: i64) -> Value {
    Value::Integer(number)
}

fn text(text: &str) -> Value {
    Value::Text(text.into())
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let (path, target) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
        if path.is_dir() {
            std::fs::create_dir(&target).unwrap();
            copy(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}

fn open(dir: &DataDir, limits: &Limits, log: &Arc<MemoryLog>) -> Databases {
    let memory = HostMemory::new(if limits.host_memory == 0 { 1 << 30 } else { limits.host_memory });
    Databases::open_on(dir, limits, &Env::manual(2).0, memory, log.clone()).unwrap()
}

/// Waits for a future that another thread completes.
fn wait<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
}
