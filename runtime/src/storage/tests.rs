//! Stories about storage, told through one harness: a data directory, objects in it, turns on them, and crashes.

use tempfile::TempDir;

use super::durability::{Disk, SystemDisk, WalFiles};
use super::*;
use crate::base::{ClassKey, ClassName, Limits, ObjectAddress, ObjectId, ObjectName, WorkBudget};

mod authority;
mod catalog;
mod durability;
mod files;
mod key_value;
mod model;
mod oracle;
mod performance;
mod sql;
mod sql_limits;
mod transfer;
mod turns;
mod whole;

/// A data directory with its databases.
struct World {
    databases: Databases,
    dir: DataDir,
    _root: TempDir,
}

impl World {
    fn new() -> Self {
        Self::with(Limits::default(), SystemDisk::default())
    }

    fn with(limits: Limits, disk: impl Disk + 'static) -> Self {
        let root = tempfile::tempdir().unwrap();
        let dir = DataDir::open(root.path()).unwrap();
        let databases = Databases::open_on(&dir, &limits, Box::new(disk)).unwrap();
        Self { databases, dir, _root: root }
    }

    fn object(&self, name: &str) -> Object {
        Object(Some(self.databases.database(&address(name))))
    }

    /// The process is killed and started again. Objects were dropped before.
    fn restart(&mut self) {
        self.databases = Databases::open(&self.dir, &Limits::default()).unwrap();
    }

    /// The database file of an object.
    fn file(&self, name: &str) -> PathBuf {
        let id = address(name).id.to_string();
        self.dir.objects().join("key").join(&id[..2]).join(format!("{id}-1.sqlite"))
    }

    /// Every file below `objects/`.
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

fn address(name: &str) -> ObjectAddress {
    let (class, key, name) =
        (ClassName::parse("thing").unwrap(), ClassKey::new("key"), ObjectName::parse(name).unwrap());
    ObjectAddress { class, id: ObjectId::from_name(&key, &name), key, name: Some(name) }
}

fn by_id(name: &str) -> ObjectAddress {
    ObjectAddress { name: None, ..address(name) }
}

/// An object between turns.
struct Object(Option<Database>);

impl Object {
    fn database(&mut self) -> &mut Database {
        self.0.as_mut().unwrap()
    }

    fn begin(&mut self, work: WorkBudget) -> Turn {
        self.0.take().unwrap().begin(work)
    }

    fn apply(&mut self, turn: Turn) -> Result<Applied, ApplyError> {
        let (database, applied) = turn.apply();
        self.0 = Some(database);
        applied
    }

    /// A turn that is applied.
    fn turn<T>(&mut self, run: impl FnOnce(&mut Turn) -> T) -> T {
        let mut turn = self.begin(WorkBudget::unlimited());
        let answer = run(&mut turn);
        self.apply(turn).unwrap();
        answer
    }

    /// A turn whose end is the point.
    fn end(&mut self, run: impl FnOnce(&mut Turn)) -> Result<Applied, ApplyError> {
        let mut turn = self.begin(WorkBudget::unlimited());
        run(&mut turn);
        self.apply(turn)
    }

    /// A turn that fails.
    fn fail<T>(&mut self, run: impl FnOnce(&mut Turn) -> T) -> T {
        let mut turn = self.begin(WorkBudget::unlimited());
        let answer = run(&mut turn);
        self.0 = Some(turn.roll_back());
        answer
    }

    fn get(&mut self, key: &str) -> Option<Vec<u8>> {
        self.turn(|turn| turn.get(key).unwrap())
    }

    /// All rows of a query, read through its cursor to the end.
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

/// A disk that does what a test says: how it flushes, and what it does when it is lost.
struct TestDisk<F, L>(F, L);

impl<F, L> Disk for TestDisk<F, L>
where
    F: Fn(&WalFiles) -> std::io::Result<()> + Send + Sync,
    L: Fn(&str) + Send + Sync,
{
    fn flush(&self, files: &WalFiles) -> std::io::Result<()> {
        self.0(files)
    }

    fn lost(&self, what: &str) {
        self.1(what);
    }
}

/// Waits for a future that another thread completes.
fn wait<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}
