//! The file of one lane's catalog: a SQLite database with the objects and the applied LSN.
//!
//! Invariant: the applied LSN is written in the same transaction as the changes up to it, and only to a file that lists
//! everything. So a file with an applied LSN is complete up to it, and a file without one is unfinished.
//!
//! SQLite runs in WAL mode with `synchronous = NORMAL`: a power cut may undo the last transactions, never a part of
//! one. A checkpoint flushes the file system when they must be on disk.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use rusqlite::types::Value;
use rusqlite::{CachedStatement, Connection, ErrorCode, OpenFlags, OptionalExtension, Row, Rows, params};

use super::notes::{ClassNotes, Noted, Notes};
use super::position::{Found, Position, Range, Until};
use crate::base::{Alarm, ClassKey, Disk, Failpoint, ObjectId, ObjectName};
use crate::storage::alarm_index::Place;
use crate::storage::capture::wal_path;
use crate::storage::commit_log::{AlarmChange, Lsn};
use crate::storage::{StorageError, connection, vfs};

/// The version of the tables. A file with another version is not read but rebuilt, like a lost one.
const VERSION: u32 = 2;

/// The cache is 1 MiB: there are many lanes, and the system's cache keeps what is read often.
const SETTINGS: &str = "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;
     PRAGMA cache_size = -1024;";

/// The name of an object without one is an empty blob, which sorts after every text.
const SCHEMA: &str = "CREATE TABLE objects (class TEXT, name, id BLOB, bytes INTEGER NOT NULL,
         due INTEGER, attempt INTEGER, next INTEGER, PRIMARY KEY (class, name, id)) WITHOUT ROWID;
     CREATE UNIQUE INDEX by_id ON objects (class, id);
     CREATE INDEX by_alarm ON objects (next, id) WHERE next IS NOT NULL;
     CREATE TABLE state (one INTEGER PRIMARY KEY CHECK (one = 1), applied INTEGER NOT NULL);";

/// An open catalog file.
pub(super) struct LaneFile {
    pub path: PathBuf,
    database: Connection,
}

impl LaneFile {
    /// Opens the file at `path`. A missing or unusable file is made anew, empty and without an applied LSN; so is one
    /// that ends before the trimmed position, because the log no longer has what it lacks, and one that ends after the
    /// lane, because it belongs to another log.
    pub fn open(
        disk: &dyn Disk,
        path: PathBuf,
        lane: RangeInclusive<Lsn>,
    ) -> Result<(Self, Option<Lsn>), StorageError> {
        connection::configure_process();
        let there = path.try_exists().map_err(StorageError::io("cannot look for", &path))?;
        if there {
            let why = match Self::existing(&path) {
                Ok((file, Some(applied))) if lane.contains(&applied) => return Ok((file, Some(applied))),
                Ok((_, Some(applied))) if applied > *lane.end() => format!(
                    "lists the objects up to {applied} and the log ends at {}: it is of another log, and if that one was removed \
                     after anything but a clean stop, what it held is lost",
                    lane.end()
                ),
                Ok((_, Some(applied))) => format!("ends at {applied}, and the log begins after {}", lane.start()),
                Ok((_, None)) => "is unfinished or of another version".into(),
                Err(error) if is_the_systems(&error) => return Err(StorageError::sqlite(&path)(error)),
                Err(error) => format!("is damaged ({error})"),
            };
            tracing::warn!("{} {why}: it is made again from the databases", path.display());
        }
        Self::remove(disk, &path)?;
        // SQLite gives the files beside it the same permissions.
        let made = disk.create_empty(Failpoint::CatalogRebuild, &path);
        drop(made.map_err(StorageError::io("cannot make", &path))?);
        let file = Self::create(&path).map_err(StorageError::sqlite(&path))?;
        Ok((file, None))
    }

    /// Removes the file at `path`, so that the next opening makes it anew.
    pub fn remove(disk: &dyn Disk, path: &Path) -> Result<(), StorageError> {
        // In this order: a WAL must never meet a database that it does not belong to.
        for path in [&wal_path(path), path] {
            let removed = disk.remove_durably(Failpoint::CatalogRebuild, path);
            removed.map_err(StorageError::io("cannot remove", path))?;
        }
        Ok(())
    }

    fn existing(path: &Path) -> rusqlite::Result<(Self, Option<Lsn>)> {
        let file = Self::connect(path)?;
        let version: u32 = file.database.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        let ask = "SELECT applied FROM state";
        let applied: Option<i64> = match version {
            VERSION => file.database.query_row(ask, [], |row| row.get(0)).optional()?,
            _ => None,
        };
        Ok((file, applied.map(|applied| Lsn(applied as u64))))
    }

    /// Makes the tables in an empty file.
    fn create(path: &Path) -> rusqlite::Result<Self> {
        let file = Self::connect(path)?;
        file.database.execute_batch(&format!("BEGIN; {SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;"))?;
        Ok(file)
    }

    fn connect(path: &Path) -> rusqlite::Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let database = Connection::open_with_flags_and_vfs(path, flags, vfs::PLAIN)?;
        database.execute_batch(SETTINGS)?;
        Ok(Self { path: path.into(), database })
    }

    /// Writes the notes and, if the file lists everything up to there, the applied LSN, in one transaction.
    pub fn write(&mut self, notes: &Notes, applied: Option<Lsn>) -> rusqlite::Result<()> {
        let transaction = self.database.transaction()?;
        for (class, notes) in notes.classes() {
            write_class(&transaction, class, notes)?;
        }
        if let Some(Lsn(applied)) = applied {
            let mut put = transaction.prepare_cached("INSERT OR REPLACE INTO state VALUES (1, ?1)")?;
            put.execute([applied as i64])?;
        }
        transaction.commit()
    }

    /// Prepares the query of the class's objects in the order of the list.
    pub fn select(&self) -> rusqlite::Result<CachedStatement<'_>> {
        self.database.prepare_cached(
            "SELECT name, id, bytes, due, attempt, next FROM objects WHERE class = ?1 AND (name, id) > (?2, ?3) AND name < ?4
             ORDER BY name, id",
        )
    }

    /// Whether the file lists the object.
    pub fn contains(&self, class: &ClassKey, id: &ObjectId) -> rusqlite::Result<bool> {
        let mut statement = self.database.prepare_cached("SELECT 1 FROM objects WHERE class = ?1 AND id = ?2")?;
        statement.exists(params![class.as_str(), id.as_bytes()])
    }

    /// Reads the name and the alarm of an object.
    pub fn object(&self, class: &ClassKey, id: &ObjectId) -> rusqlite::Result<(Option<ObjectName>, Option<Alarm>)> {
        let mut statement = self
            .database
            .prepare_cached("SELECT name, due, attempt, next FROM objects WHERE class = ?1 AND id = ?2")?;
        let known = |row: &Row<'_>| Ok((name_of(row.get(0)?), alarm_of(row, 1)?));
        Ok(statement.query_row(params![class.as_str(), id.as_bytes()], known).optional()?.unwrap_or_default())
    }

    /// Reads the alarms from one place up to another (exclusive), of one class or of all but some, at most `limit`, in
    /// order. Scans the index over all classes in that range.
    pub fn alarms(
        &self,
        from: Place,
        until: Place,
        limit: usize,
        class: Option<&ClassKey>,
        without: &[ClassKey],
    ) -> rusqlite::Result<Vec<(ClassKey, Place)>> {
        let mut statement = self.database.prepare_cached(
            "SELECT class, next, id FROM objects WHERE next IS NOT NULL AND (next, id) >= (?1, ?2) AND (next, id) < (?3, ?4)
             AND (?6 IS NULL OR class = ?6) AND class NOT IN (SELECT value FROM json_each(?7))
             ORDER BY next, id LIMIT ?5",
        )?;
        let without = serde_json::to_string(without).expect("keys are text");
        let (from_id, until_id) = (from.1.as_bytes(), until.1.as_bytes());
        let (class, limit) = (class.map(ClassKey::as_str), limit as i64);
        let range = params![from.0 as i64, from_id, until.0 as i64, until_id, limit, class, without];
        let rows = statement.query_map(range, |row| {
            let place = (row.get::<_, i64>(1)? as u64, ObjectId::from_bytes(row.get(2)?));
            Ok((ClassKey::new(row.get_ref(0)?.as_str()?), place))
        })?;
        rows.collect()
    }

    /// Whether the file lists an object of the class for which there is no note.
    pub fn has_unnoted(&self, class: &ClassKey, notes: Option<&ClassNotes>) -> rusqlite::Result<bool> {
        let mut statement = self.database.prepare_cached("SELECT id FROM objects WHERE class = ?1")?;
        let ids = statement.query_map([class.as_str()], |row| row.get(0).map(ObjectId::from_bytes))?;
        for id in ids {
            let id = id?;
            if !notes.is_some_and(|notes| notes.objects.contains_key(&id)) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Whether the error is the system's, which says nothing about the file.
fn is_the_systems(error: &rusqlite::Error) -> bool {
    use ErrorCode::{CannotOpen, DiskFull, OutOfMemory, PermissionDenied, ReadOnly, SystemIoFailure};
    let systems = [CannotOpen, DiskFull, OutOfMemory, PermissionDenied, ReadOnly, SystemIoFailure];
    error.sqlite_error_code().is_some_and(|code| systems.contains(&code))
}

fn write_class(database: &Connection, class: &ClassKey, notes: &ClassNotes) -> rusqlite::Result<()> {
    let class = class.as_str();
    if notes.gone {
        database.prepare_cached("DELETE FROM objects WHERE class = ?1")?.execute([class])?;
    }
    let mut remove = database.prepare_cached("DELETE FROM objects WHERE class = ?1 AND id = ?2")?;
    let mut put = database.prepare_cached(
        "INSERT INTO objects VALUES (?1, ?2, ?3, ?4, ?7, ?8, ?9) ON CONFLICT (class, id) DO UPDATE
         SET bytes = excluded.bytes, name = iif(?5 AND excluded.name = x'', name, excluded.name),
         due = iif(?6, due, excluded.due), attempt = iif(?6, attempt, excluded.attempt),
         next = iif(?6, next, excluded.next)",
    )?;
    for (id, noted) in &notes.objects {
        match noted {
            Noted::Gone => remove.execute(params![class, id.as_bytes()])?,
            Noted::Object { name, bytes, alarm, whole } => {
                let name = name_value(name.as_ref().map(ObjectName::as_str));
                let keeps = !whole && alarm.is_none();
                let alarm = alarm.and_then(AlarmChange::alarm);
                let (due, next) = (alarm.map(|alarm| alarm.due_ms as i64), alarm.map(|alarm| alarm.next_ms as i64));
                let attempt = alarm.map(|alarm| alarm.attempt);
                put.execute(params![class, name, id.as_bytes(), *bytes as i64, !whole, keeps, due, attempt, next])?
            }
        };
    }
    Ok(())
}

/// Visits every object of a catalog file, which is a copy that may be changed. Returns the LSN up to which it lists
/// everything; none if the file is not complete.
pub(in crate::storage) fn read_copy(
    path: &Path,
    mut visit: impl FnMut(ClassKey, ObjectId, Option<String>),
) -> rusqlite::Result<Option<Lsn>> {
    let (file, applied) = LaneFile::existing(path)?;
    if applied.is_some() {
        let mut statement = file.database.prepare("SELECT class, id, name FROM objects")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let name = name_of(row.get(2)?).map(|name| name.as_str().to_owned());
            visit(ClassKey::new(&row.get::<_, String>(0)?), ObjectId::from_bytes(row.get(1)?), name);
        }
    }
    Ok(applied)
}

/// Executes the query of [`LaneFile::select`].
pub(super) fn rows<'a>(
    statement: &'a mut CachedStatement<'_>,
    class: &ClassKey,
    Range { after, until }: &Range,
) -> rusqlite::Result<Rows<'a>> {
    let until = match until {
        Until::Name(name) => name_value(Some(name)),
        Until::Unnamed => name_value(None),
        Until::End => Value::Blob(vec![0]),
    };
    statement.query(params![class.as_str(), name_value(after.name()), after.id, until])
}

/// Reads the row's position in the list, and the object's size and alarm.
pub(super) fn entry(row: &Row<'_>) -> rusqlite::Result<Found> {
    let position = Position::new(name_of(row.get(0)?).as_ref(), &ObjectId::from_bytes(row.get(1)?));
    Ok((position, row.get::<_, i64>(2)? as u64, alarm_of(row, 3)?))
}

fn alarm_of(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<Alarm>> {
    let number = |at| row.get::<_, Option<i64>>(at);
    Ok(match (number(at)?, number(at + 1)?, number(at + 2)?) {
        (Some(due), Some(attempt), Some(next)) => {
            Some(Alarm { due_ms: due as u64, attempt: attempt as u32, next_ms: next as u64 })
        }
        _ => None,
    })
}

fn name_value(name: Option<&str>) -> Value {
    name.map_or(Value::Blob(Vec::new()), |name| Value::Text(name.into()))
}

fn name_of(value: Value) -> Option<ObjectName> {
    match value {
        Value::Text(name) => ObjectName::parse(&name).ok(),
        _ => None,
    }
}
