//! What the fuzzer tries of storage; see [`crate::fuzz`].

use std::fs;
use std::io::Write;

use tempfile::TempDir;

use super::catalog::Position;
use super::{DataDir, Database, Databases, ListOptions, Turn, Value};
use crate::base::{ClassKey, ClassName, Env, HostMemory, Limits, ObjectAddress, ObjectId, ObjectName, WorkBudget};

/// Enough for an ordinary small query, about a hundredth of a second.
const FUEL: u64 = 100_000_000;

struct World {
    databases: Databases,
    /// Databases to damage.
    bases: Vec<Vec<u8>>,
    _directory: TempDir,
}

thread_local! {
    /// One for all inputs, with limits that keep each small. Goes with its thread, so that tests leave nothing behind.
    static WORLD: World = World::new();
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("there is room for a directory");
        let dir = DataDir::open(directory.path()).expect("it is ours");
        let limits = Limits { database: 1 << 20, log_capacity: 64 << 20, log_segment: 4 << 20, ..Limits::default() };
        let databases = Databases::open(&dir, &limits, &Env::system(), HostMemory::new(1 << 30)).expect("it is empty");
        let bases = SCHEMAS.iter().map(|schema| base(schema)).collect();
        Self { databases, bases, _directory: directory }
    }
}

const SCHEMAS: [&str; 3] = [
    "CREATE TABLE t (id INTEGER PRIMARY KEY, x TEXT UNIQUE, CHECK (id > 0)); INSERT INTO t VALUES (1, 'x');
     CREATE TABLE c (t INTEGER REFERENCES t, y ANY) STRICT; CREATE VIEW v AS SELECT x FROM t;
     CREATE TRIGGER g AFTER DELETE ON t BEGIN DELETE FROM c; END",
    "CREATE VIRTUAL TABLE f USING fts5 (a); INSERT INTO f VALUES ('b c');
     CREATE VIRTUAL TABLE r USING rtree (id, x0, x1); INSERT INTO r VALUES (1, 0, 1)",
    "CREATE TABLE _hf_kv (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID; INSERT INTO _hf_kv VALUES ('k', x'76');
     CREATE TABLE w (a, b, PRIMARY KEY (a, b)) WITHOUT ROWID; INSERT INTO w VALUES (1, 2); ANALYZE",
];

/// A database as another program makes it.
fn base(schema: &str) -> Vec<u8> {
    let directory = tempfile::tempdir().expect("there is room for a directory");
    let path = directory.path().join("base");
    rusqlite::Connection::open(&path).and_then(|sqlite| sqlite.execute_batch(schema)).expect("it is a schema");
    fs::read(path).expect("it was just made")
}

fn address(name: &str) -> ObjectAddress {
    let (class, key) = (ClassName::parse("c").expect("a class name"), ClassKey::new("key"));
    let name = ObjectName::parse(name).expect("an object name");
    ObjectAddress { class, id: ObjectId::from_name(&key, &name), key, name: Some(name) }
}

/// A cursor of the list of objects: one that is taken is one that the list could have given.
pub fn cursor(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    if let Some(position) = Position::parse(text) {
        assert_eq!(Position::parse(&position.to_string()).as_ref(), Some(&position));
        let page = WORLD.with(|world| world.databases.catalog().list(&ClassKey::new("key"), None, Some(text), 1));
        assert!(page.expect("the cursor was taken").entries.is_empty());
    }
}

/// A guest's statements: the first byte says with how many parameters and how the turn ends. They cannot reach the
/// keys, which are the host's.
pub fn sql(input: &[u8]) {
    if let Some((&how, text)) = input.split_first() {
        WORLD.with(|world| world.sql(how, &String::from_utf8_lossy(text)));
    }
}

impl World {
    fn sql(&self, how: u8, text: &str) {
        let parameters = [Value::Integer(7), Value::Text("x".into()), Value::Blob(vec![0])];
        let address = address("sql");
        let mut database = self.databases.database(&address);
        if database.description().expect("it is sound").is_none() {
            let mut turn = Turn::begin(database, WorkBudget::unlimited());
            turn.put("k", b"v").expect("there is room");
            turn.exec(SCHEMAS[0], &[]).expect("it is a schema");
            database = turn.apply().0;
        }
        let mut turn = Turn::begin(database, WorkBudget::new(FUEL, || false));
        if let Ok(outcome) = turn.exec(text, &parameters[..usize::from(how & 3)])
            && let Some(cursor) = outcome.more
        {
            let _ = turn.next(cursor, how.into());
        }
        assert_eq!(turn.get("k").is_err(), turn.broken().is_some(), "only a broken turn cannot read");
        let (database, wrote) = match how & 4 {
            0 => (turn.roll_back(), false),
            _ => {
                let (database, applied) = turn.apply();
                (database, applied.is_ok_and(|applied| applied.wrote))
            }
        };
        let mut turn = Turn::begin(database, WorkBudget::unlimited());
        assert_eq!(turn.get("k").expect("it can be read").expect("it is not the guest's to remove"), b"v");
        let mut database = turn.roll_back();
        if wrote {
            // Each input finds the same.
            wait(database.delete()).expect("it can be deleted");
        }
    }
}

/// An upload: the first byte chooses a database, the rest are changes to it (two bytes where, one byte what), or all of
/// the file. What is let in neither brings down the host nor reaches what is the host's.
pub fn import(input: &[u8]) {
    if let Some((&which, rest)) = input.split_first() {
        WORLD.with(|world| world.import(&world.upload(which.into(), rest)));
    }
}

impl World {
    fn upload(&self, which: usize, rest: &[u8]) -> Vec<u8> {
        let Some(base) = self.bases.get(which) else { return rest.to_vec() };
        let mut bytes = base.clone();
        for [high, low, byte] in rest.as_chunks().0 {
            let at = usize::from(u16::from_be_bytes([*high, *low])) % bytes.len();
            bytes[at] = *byte;
        }
        bytes
    }

    fn import(&self, bytes: &[u8]) {
        let mut file = self.databases.incoming().expect("there is room for a file");
        file.write_all(bytes).expect("there is room in it");
        let address = address("import");
        let Ok(checked) = self.databases.check(file, &address, &WorkBudget::new(10 * FUEL, || false)) else { return };
        let (mut database, applied) = wait(self.databases.database(&address).import(checked));
        if applied.is_ok() {
            database = use_all(database);
        }
        wait(database.delete()).expect("it can be deleted");
    }
}

/// Reads and empties every table that a guest can name.
fn use_all(database: Box<Database>) -> Box<Database> {
    let mut turn = Turn::begin(database, WorkBudget::new(10 * FUEL, || false));
    let before = keys(&mut turn);
    let tables = "SELECT name FROM sqlite_schema WHERE type IN ('table', 'view')
                  AND name NOT IN ('_hf_kv', '_hf_meta') AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'";
    for row in turn.query(tables, &[]).map_or(vec![], |table| table.rows) {
        let [Value::Text(name)] = &row[..] else { panic!("a name that is {row:?}") };
        assert!(!name.to_ascii_lowercase().starts_with("_hf_"), "{name} is the host's");
        let name = name.replace('"', "\"\"");
        let _ = turn.query(&format!("SELECT * FROM \"{name}\""), &[]);
        let _ = turn.exec(&format!("DELETE FROM \"{name}\""), &[]);
    }
    if turn.broken().is_none() {
        assert_eq!(keys(&mut turn), before, "what a guest does to its tables leaves the keys alone");
    }
    turn.apply().0
}

fn keys(turn: &mut Turn) -> Vec<super::Entry> {
    let listing = turn.list(ListOptions::default()).expect("these options are no contradiction");
    turn.list_next(listing, u32::MAX).expect("the keys were checked")
}

/// Waits for a future that another thread completes.
fn wait<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_time().build().expect("there is a timer").block_on(future)
}
