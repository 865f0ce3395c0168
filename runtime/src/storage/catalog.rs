//! The list of objects: a projection, kept so that nobody walks the databases to answer "which objects are there?".
//!
//! What databases say of themselves is the truth; this is a copy of it in `catalog.sqlite`. **Only durable facts may be
//! noted**: what a reader is told must survive a crash, so the object layer notes after the output gate. Notes gather in memory
//! and are written in bulk about once a second; readers see them at once, because a reader writes them first.
//!
//! A clean shutdown leaves a mark. Without it, at the next opening, the databases are walked: those missing here are
//! added, those gone are removed (sizes of the others may be old until they are next noted). A catalog that is damaged
//! or deleted is made again the same way.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use rusqlite::types::{FromSqlError, ValueRef};
use rusqlite::{Connection, OptionalExtension, params};

use super::database::{is_damage, open_file};
use super::durability::wal_path;
use super::files::remove_if_there;
use super::key_value::past_prefix;
use super::{DataDir, StorageError};
use crate::base::{ClassKey, ObjectId, ObjectName};

/// How long notes gather. A crash costs the walk anyway, however little was not yet written.
const WRITE_EVERY: Duration = Duration::from_secs(1);

const SCHEMA: &str = "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;
     CREATE TABLE IF NOT EXISTS objects (class TEXT, id BLOB, unnamed INTEGER NOT NULL, name TEXT NOT NULL,
         bytes INTEGER NOT NULL, PRIMARY KEY (class, id)) WITHOUT ROWID;
     CREATE INDEX IF NOT EXISTS by_name ON objects (class, unnamed, name, id, bytes);
     CREATE TABLE IF NOT EXISTS state (clean INTEGER NOT NULL);";

/// One object of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogEntry {
    /// Its id.
    pub id: ObjectId,
    /// The name it was reached by.
    pub name: Option<ObjectName>,
    /// Pages in use × 4,096.
    pub bytes: u64,
}

/// A part of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogPage {
    /// In the order of their names; those without a name last, in the order of their ids.
    pub entries: Vec<CatalogEntry>,
    /// Continues the list; none at its end.
    pub cursor: Option<String>,
}

/// The open catalog.
pub struct Catalog {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
}

struct Shared {
    path: PathBuf,
    /// Locked before `notes` by whoever locks both, so that notes are written in the order they were taken.
    database: Mutex<Connection>,
    notes: Mutex<Notes>,
    wake: Condvar,
}

#[derive(Default)]
struct Notes {
    /// The newest of each object; none if it is gone.
    of: HashMap<(ClassKey, ObjectId), Option<Note>>,
    stopping: bool,
}

struct Note {
    name: Option<ObjectName>,
    bytes: u64,
}

impl Catalog {
    /// Opens the catalog of a data directory, after making sure that it lists what is there. No object is open.
    pub fn open(dir: &DataDir) -> Result<Self, StorageError> {
        let path = dir.catalog();
        let database = match prepare(&path, &dir.objects()) {
            Err(StorageError::Sqlite { source, .. }) if is_damage(&source) => {
                tracing::warn!("{} is damaged ({source}); it is made again from the databases", path.display());
                for file in [&path, &wal_path(&path)] {
                    remove_if_there(file).map_err(StorageError::io("cannot remove", file))?;
                }
                prepare(&path, &dir.objects())?
            }
            prepared => prepared?,
        };
        let shared =
            Arc::new(Shared { path, database: Mutex::new(database), notes: Mutex::default(), wake: Condvar::new() });
        let writer = {
            let shared = shared.clone();
            thread::Builder::new().name("catalog".into()).spawn(move || shared.work())
        };
        let writer = writer.map_err(StorageError::io("cannot start the thread of", &shared.path))?;
        Ok(Self { shared, writer: Some(writer) })
    }

    /// An object exists, with this name and size. The fact is durable.
    pub fn note(&self, class: &ClassKey, id: ObjectId, name: Option<&ObjectName>, bytes: u64) {
        let note = Note { name: name.cloned(), bytes };
        self.shared.notes.lock().of.insert((class.clone(), id), Some(note));
    }

    /// An object is gone. The fact is durable.
    pub fn remove(&self, class: &ClassKey, id: ObjectId) {
        self.shared.notes.lock().of.insert((class.clone(), id), None);
    }

    /// All objects of a class are gone. The fact is durable.
    pub fn remove_class(&self, class: &ClassKey) -> Result<(), StorageError> {
        let run = |database: &mut Connection| {
            database.execute("DELETE FROM objects WHERE class = ?1", [class.as_str()]).map(|_| ())
        };
        self.shared.with_notes_written(run)
    }

    /// Whether a class has objects.
    pub fn has_objects(&self, class: &ClassKey) -> Result<bool, StorageError> {
        self.shared.with_notes_written(|database| {
            database.prepare_cached("SELECT 1 FROM objects WHERE class = ?1")?.exists([class.as_str()])
        })
    }

    /// Objects of a class whose name begins with `prefix` (those without a name only without one), at most `limit`,
    /// from where `cursor` left off.
    pub fn list(
        &self,
        class: &ClassKey,
        prefix: Option<&str>,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<CatalogPage, StorageError> {
        let after = match cursor {
            Some(cursor) => Position::parse(cursor).ok_or(StorageError::BadCursor)?,
            None => Position { unnamed: false, name: String::new(), id: Vec::new() },
        };
        let limit = limit.max(1);
        let mut entries =
            self.shared.with_notes_written(|database| select(database, class, prefix, after, limit + 1))?;
        let more = entries.len() > limit;
        entries.truncate(limit);
        let cursor = entries.last().filter(|_| more).map(|last| Position::of(last).to_string());
        Ok(CatalogPage { entries, cursor })
    }

    /// Writes what was noted and leaves the mark of a clean shutdown. No note may come after.
    pub fn close(mut self) -> Result<(), StorageError> {
        self.stop();
        self.shared.with_notes_written(|database| {
            set_clean(database, true)?;
            database.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        })
    }

    fn stop(&mut self) {
        self.shared.notes.lock().stopping = true;
        self.shared.wake.notify_all();
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

/// Dropping a catalog without closing it is a crash: it leaves no mark.
impl Drop for Catalog {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn work(&self) {
        loop {
            let stopping = {
                let mut notes = self.notes.lock();
                if !notes.stopping {
                    self.wake.wait_for(&mut notes, WRITE_EVERY);
                }
                notes.stopping
            };
            if stopping {
                return;
            }
            if let Err(error) = self.with_notes_written(|_| Ok(())) {
                tracing::error!("the list of objects could not be written, it is tried again: {error}");
            }
        }
    }

    /// Runs on the database after everything noted so far is in it.
    fn with_notes_written<T>(
        &self,
        run: impl FnOnce(&mut Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StorageError> {
        let mut database = self.database.lock();
        let notes = std::mem::take(&mut self.notes.lock().of);
        if !notes.is_empty()
            && let Err(error) = write(&mut database, &notes)
        {
            // Put back what nothing newer was noted for.
            let mut kept = self.notes.lock();
            for (object, note) in notes {
                kept.of.entry(object).or_insert(note);
            }
            return Err(StorageError::sqlite(&self.path)(error));
        }
        run(&mut database).map_err(StorageError::sqlite(&self.path))
    }
}

fn write(database: &mut Connection, notes: &HashMap<(ClassKey, ObjectId), Option<Note>>) -> rusqlite::Result<()> {
    let transaction = database.transaction()?;
    {
        let mut put = transaction.prepare_cached("INSERT OR REPLACE INTO objects VALUES (?1, ?2, ?3, ?4, ?5)")?;
        let mut remove = transaction.prepare_cached("DELETE FROM objects WHERE class = ?1 AND id = ?2")?;
        for ((class, id), note) in notes {
            match note {
                Some(Note { name, bytes }) => {
                    let text = name.as_ref().map_or("", ObjectName::as_str);
                    put.execute(params![class.as_str(), id.as_bytes(), name.is_none(), text, *bytes as i64])?;
                }
                None => {
                    remove.execute(params![class.as_str(), id.as_bytes()])?;
                }
            }
        }
    }
    transaction.commit()
}

fn select(
    database: &Connection,
    class: &ClassKey,
    prefix: Option<&str>,
    after: Position,
    limit: usize,
) -> rusqlite::Result<Vec<CatalogEntry>> {
    // With a prefix the range ends before the first name past it, at the latest before those without a name.
    let (from, to) = match prefix.filter(|prefix| !prefix.is_empty()) {
        Some(prefix) => {
            let from = Position { unnamed: false, name: prefix.into(), id: Vec::new() };
            let to = past_prefix(prefix).map(|name| Position { unnamed: false, name, id: Vec::new() });
            (after.max(from), to.unwrap_or(Position { unnamed: true, name: String::new(), id: Vec::new() }))
        }
        None => (after, Position { unnamed: true, name: "\u{10ffff}".into(), id: Vec::new() }),
    };
    let mut statement = database.prepare_cached(
        "SELECT id, unnamed, name, bytes FROM objects WHERE class = ?1 AND (unnamed, name, id) > (?2, ?3, ?4)
         AND (unnamed, name, id) < (?5, ?6, ?7) ORDER BY unnamed, name, id LIMIT ?8",
    )?;
    let range = params![
        class.as_str(),
        from.unnamed,
        from.name,
        from.id,
        to.unnamed,
        to.name,
        to.id,
        limit.min(i64::MAX as usize) as i64
    ];
    let rows = statement.query_map(range, |row| {
        let name: String = row.get(2)?;
        let bytes: i64 = row.get(3)?;
        Ok(CatalogEntry { id: id_of(row.get_ref(0)?)?, name: ObjectName::parse(&name).ok(), bytes: bytes as u64 })
    })?;
    rows.collect()
}

fn id_of(value: ValueRef<'_>) -> rusqlite::Result<ObjectId> {
    let hex = hex::encode(value.as_blob()?);
    ObjectId::from_hex(&hex).map_err(|_| FromSqlError::InvalidType.into())
}

/// A place in the list: between the entries that order before it and those after.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Position {
    unnamed: bool,
    name: String,
    id: Vec<u8>,
}

impl Position {
    fn of(entry: &CatalogEntry) -> Self {
        let name = entry.name.as_ref().map_or("", ObjectName::as_str);
        Self { unnamed: entry.name.is_none(), name: name.into(), id: entry.id.as_bytes().to_vec() }
    }

    fn parse(cursor: &str) -> Option<Self> {
        let (id, name) = cursor.split_once('-')?;
        let name = String::from_utf8(hex::decode(name).ok()?).ok()?;
        Some(Self { unnamed: name.is_empty(), name, id: ObjectId::from_hex(id).ok()?.as_bytes().to_vec() })
    }
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", hex::encode(&self.id), hex::encode(&self.name))
    }
}

/// Opens the file, walks the databases unless it was closed cleanly, and takes the mark away before anything changes.
fn prepare(path: &Path, objects: &Path) -> Result<Connection, StorageError> {
    super::connection::configure_process();
    let open = || {
        let database = Connection::open_with_flags_and_vfs(path, rusqlite::OpenFlags::default(), "unix-none")?;
        database.execute_batch(SCHEMA)?;
        let clean = database.query_row("SELECT clean FROM state", [], |row| row.get(0)).optional()?;
        Ok((database, clean.unwrap_or(false)))
    };
    let (mut database, clean) = open().map_err(StorageError::sqlite(path))?;
    if !clean {
        reconcile(&mut database, path, objects)?;
    }
    set_clean(&database, false).map_err(StorageError::sqlite(path))?;
    Ok(database)
}

/// Durable when it returns.
fn set_clean(database: &Connection, clean: bool) -> rusqlite::Result<()> {
    database.execute_batch(&format!(
        "PRAGMA synchronous = FULL;
         BEGIN; DELETE FROM state; INSERT INTO state VALUES ({clean}); COMMIT;
         PRAGMA synchronous = NORMAL;"
    ))
}

/// Makes the list agree with the databases that are there. Changes none of them.
fn reconcile(database: &mut Connection, path: &Path, objects: &Path) -> Result<(), StorageError> {
    let known = |database: &Connection| {
        let mut statement = database.prepare("SELECT class, id FROM objects")?;
        let rows = statement.query_map([], |row| {
            let class: String = row.get(0)?;
            Ok((ClassKey::new(&class), id_of(row.get_ref(1)?)?))
        })?;
        rows.collect::<rusqlite::Result<HashSet<_>>>()
    };
    let mut gone = known(database).map_err(StorageError::sqlite(path))?;
    let mut notes = HashMap::new();
    walk(objects, |class, id, file| {
        if gone.remove(&(class.clone(), id)) {
            return;
        }
        // Files without an identity are nobody's; damaged ones are told of when their object is used.
        match open_file(file, u32::MAX).map(|file| (file.identity, file.bytes)) {
            Ok((Some(identity), bytes)) => {
                notes.insert((class, id), Some(Note { name: identity.name, bytes }));
            }
            Ok((None, _)) => {}
            Err(error) => tracing::warn!("{} is not listed: {error}", file.display()),
        }
    })
    .map_err(StorageError::io("cannot walk", objects))?;
    notes.extend(gone.into_iter().map(|object| (object, None)));
    write(database, &notes).map_err(StorageError::sqlite(path))
}

/// Visits every database file: `<class key>/<2 hex>/<id>-<incarnation>.sqlite`.
fn walk(objects: &Path, mut visit: impl FnMut(ClassKey, ObjectId, &Path)) -> io::Result<()> {
    for class in dirs(objects)? {
        let Some(key) = class.file_name().and_then(|name| name.to_str()).map(ClassKey::new) else { continue };
        for part in dirs(&class)? {
            for entry in fs::read_dir(part)? {
                let file = entry?.path();
                let stem = file.file_name().and_then(|name| name.to_str()?.strip_suffix(".sqlite"));
                let id = stem.and_then(|stem| ObjectId::from_hex(stem.split_once('-')?.0).ok());
                if let Some(id) = id {
                    visit(key.clone(), id, &file);
                }
            }
        }
    }
    Ok(())
}

fn dirs(of: &Path) -> io::Result<Vec<PathBuf>> {
    let paths = fs::read_dir(of)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    Ok(paths.into_iter().filter(|path| path.is_dir() && path.extension().is_none()).collect())
}
