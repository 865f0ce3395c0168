//! Exports and imports of databases.
//!
//! **Out:** between two turns the WAL is copied back, so that the database file alone holds everything; then the file
//! is copied beside the turns, while the WAL takes what they write and is not copied back. The copy is a plain SQLite
//! file (no WAL) with the guest's tables and the host's: `_hf_kv` holds the key-value entries, `_hf_meta` says whose
//! they are.
//!
//! **In:** an upload is trusted with nothing. [`Databases::check`] looks at the header, has every statement of the
//! schema pass a scratch database under the guest's rules, reads all keys and checks the file's integrity; then it
//! removes the identity, so that the file counts only once the turn is applied that adopts it. The alarm that the file
//! holds is part of what is imported: the object has that one afterwards, or none, and not the one that it had.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use rusqlite::Connection as Sqlite;
use rusqlite::types::ValueRef;
use tempfile::NamedTempFile;

use super::authorizer::is_reserved;
use super::connection::Connection;
use super::database::{Database, Made};
use super::databases::Databases;
use super::dirty::DirtyObject;
use super::identity::Identity;
use super::stacks::OnStack;
use super::sums::{PageSums, sum_all};
use super::template::{HOST_TABLES, PAGE};
use super::turn::Origin;
use super::{Applied, ApplyError, StorageError, Turn};
use crate::base::limits::{ENTRY_MAX, KEY_MAX};
use crate::base::{Alarm, CheckedDatabase, Disk, Failpoint, ObjectAddress, WorkBudget};

/// Where the header says how the file is written and read; 1 is with a rollback journal, 2 with a WAL.
const VERSIONS_AT: u64 = 18;
/// Bytes that are copied at once.
const BATCH: usize = 64 * PAGE;

/// A database at one moment, to be copied. As long as it lives the database's WAL is not copied back.
pub struct Snapshot {
    source: File,
    sums: Arc<PageSums>,
    path: PathBuf,
    transfers: PathBuf,
    disk: Arc<dyn Disk>,
    object: Arc<DirtyObject>,
}

/// Why an upload is not made an object's database.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file is not one that an object can have; says why.
    #[error("{0}")]
    Refused(String),
    /// The host failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl Database {
    /// What is stored at this moment; none if the object does not exist. Called between turns, when everything applied
    /// is durable; takes as long as copying the WAL back. Refused while another snapshot of the object is being copied.
    pub fn snapshot(&mut self) -> Result<Option<Snapshot>, StorageError> {
        if self.look()?.is_none() {
            return Ok(None);
        }
        if !self.reset_wal()? {
            return Err(StorageError::Busy);
        }
        let object = self.dirty.clone();
        let mut state = object.lock();
        if state.copying {
            return Err(StorageError::Busy);
        }
        let source = File::open(&self.path).map_err(StorageError::io("cannot read", &self.path))?;
        state.copying = true;
        let sums = state.sums(&self.incarnations);
        drop(state);
        let (path, transfers, disk) = (self.path.clone(), self.shared.transfers.clone(), self.shared.disk.clone());
        Ok(Some(Snapshot { source, sums, path, transfers, disk, object }))
    }

    /// Puts a database in the place of what is stored, as one turn. A damaged object can be replaced.
    pub async fn import(self: Box<Self>, file: CheckedDatabase) -> (Box<Self>, Result<Applied, ApplyError>) {
        let mut turn = Turn::begin(self, WorkBudget::unlimited());
        match turn.adopt(&file) {
            Ok(()) => {
                turn.make_room().await;
                turn.apply()
            }
            Err(error) => (turn.roll_back(), Err(error)),
        }
    }
}

impl Turn {
    fn adopt(&mut self, file: &CheckedDatabase) -> Result<(), ApplyError> {
        self.set_aside()?;
        // Noted before the file is there, so that one that cannot be opened is removed again.
        self.origin = Origin::ThisTurn;
        self.set_alarm(file.alarm);
        let (from, disk) = (file.file.path(), self.database().shared.disk.clone());
        let put = |to: &Path, _: &_| {
            disk.rename(Failpoint::ImportAdopt, from, to)?;
            let sums = PageSums::fresh(disk.clone(), to);
            sum_all(&sums)?;
            Ok(sums)
        };
        self.database().make(Made::FromFile, put)?;
        self.writing().map_err(|error| ApplyError::Failed(error.to_string()))?;
        self.changed_schema();
        Ok(())
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        self.object.end_copy();
    }
}

impl Snapshot {
    /// Copies it into a file without a name, checking each page. Takes as long as the disk needs.
    pub fn copy(mut self) -> Result<File, StorageError> {
        let copied = self.copy_pages().map_err(StorageError::io("cannot copy", &self.path))?;
        copied.ok_or_else(|| self.sums.damage().expect("a page is not what it was"))
    }

    fn copy_pages(&mut self) -> io::Result<Option<File>> {
        let mut file = self.disk.create_unnamed(Failpoint::TransferWrite, &self.transfers)?;
        let mut length = 0;
        let mut batch = vec![0; BATCH];
        let mut page = 0;
        loop {
            let mut filled = 0;
            while filled < BATCH {
                match self.source.read(&mut batch[filled..]) {
                    Ok(0) => break,
                    Ok(read) => filled += read,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            for image in batch[..filled].chunks(PAGE) {
                page += 1;
                if !self.sums.check(page, image, image.len() == PAGE)? {
                    return Ok(None);
                }
            }
            self.disk.write_all_at(Failpoint::TransferWrite, &file, &batch[..filled], length)?;
            length += filled as u64;
            if filled < BATCH {
                break;
            }
        }
        self.disk.write_all_at(Failpoint::TransferWrite, &file, &[1, 1], VERSIONS_AT)?;
        file.rewind()?;
        Ok(Some(file))
    }
}

impl Databases {
    /// A new file to upload a database into. It goes when it is dropped.
    pub fn incoming(&self) -> Result<NamedTempFile, StorageError> {
        let transfers = &self.0.transfers;
        let created = self.0.disk.create_temporary(Failpoint::TransferWrite, transfers);
        created.map_err(StorageError::io("cannot create a file in", transfers))
    }

    /// Writes bytes of an upload at the offset. Blocks.
    pub fn write_incoming(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.disk.write_all_at(Failpoint::TransferWrite, file, bytes, offset)
    }

    /// Checks an upload and makes it ready for an object. Takes as long as reading all of it; work on it is charged to
    /// the budget. Errors of the file are reported before anything is changed. Blocks its thread, and works on a stack
    /// of its own: what the upload's schema is made of may be deep.
    pub fn check(
        &self,
        file: NamedTempFile,
        address: &ObjectAddress,
        work: &WorkBudget,
    ) -> Result<CheckedDatabase, ImportError> {
        let no_stack = || StorageError::io("cannot make a stack to check", file.path())(ErrorKind::OutOfMemory.into());
        let stack = self.0.stacks.take().ok_or_else(no_stack)?;
        let mut checked = None;
        OnStack::new(stack, work, || checked = Some(self.check_here(file, address, work))).run_through();
        checked.expect("it ran to its end")
    }

    fn check_here(
        &self,
        file: NamedTempFile,
        address: &ObjectAddress,
        work: &WorkBudget,
    ) -> Result<CheckedDatabase, ImportError> {
        let path = file.path();
        check_header(file.as_file(), self.0.max_pages).map_err(StorageError::io("cannot read", path))??;
        let disk = &self.0.disk;
        let put =
            |versions: [u8; 2]| disk.write_all_at(Failpoint::TransferWrite, file.as_file(), &versions, VERSIONS_AT);
        put([1, 1]).map_err(StorageError::io("cannot write", path))?;
        let heap = self.0.heap(&address.key)?;
        let connection = Connection::open(path, self.0.max_pages, heap).map_err(refused)?;
        connection.session.begin_turn(work, false);
        let schema = connection.host(read_schema).map_err(refused)?;
        self.check_schema(&schema, address, work)?;
        connection.session.applying.store(true, Relaxed);
        let alarm = connection.host(|sqlite| make_ready(sqlite, &schema))?;
        drop(connection);
        let flushed = put([2, 2]).and_then(|()| disk.sync_all(Failpoint::TransferWrite, file.as_file()));
        flushed.map_err(StorageError::io("cannot write", path))?;
        Ok(CheckedDatabase { file, alarm })
    }

    /// Creates everything in the schema in an empty scratch database, as a guest would have to. The two schemas must
    /// then be the same: a schema table can contain other things than its statements create.
    fn check_schema(&self, schema: &[Item], address: &ObjectAddress, work: &WorkBudget) -> Result<(), ImportError> {
        let scratch = self.0.disk.create_temporary_dir(Failpoint::TransferWrite, &self.0.transfers);
        let scratch = scratch.map_err(StorageError::io("cannot make a directory in", &self.0.transfers))?;
        let mut turn = Turn::begin(self.scratch(scratch.path(), address), work.clone());
        let checked = replay(&mut turn, schema);
        drop(turn.roll_back());
        checked
    }
}

/// One row of `sqlite_schema`.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Item {
    kind: String,
    name: String,
    table: String,
    sql: Option<String>,
}

impl Item {
    /// The host's own tables, exactly as the host makes them.
    fn is_hosts(&self) -> bool {
        let fits = |(name, sql): &(&str, &str)| self.name == *name && self.sql.as_deref() == Some(sql);
        self.kind == "table" && self.table == self.name && HOST_TABLES.iter().any(fits)
    }

    /// What SQLite makes by itself: sequences, statistics, indices of constraints.
    fn is_sqlites(&self) -> bool {
        self.name.get(..7).is_some_and(|start| start.eq_ignore_ascii_case("sqlite_"))
    }
}

fn refused(error: rusqlite::Error) -> ImportError {
    ImportError::Refused(error.to_string())
}

/// The first things that SQLite itself would stumble over, and those that all objects' databases have in common.
fn check_header(mut file: &File, max_pages: u32) -> io::Result<Result<(), ImportError>> {
    let mut header = [0; 100];
    file.rewind()?;
    let length = file.metadata()?.len();
    let refuse = |why: String| Ok(Err(ImportError::Refused(why)));
    if length < PAGE as u64 {
        return refuse("it is not an SQLite database".into());
    }
    file.read_exact(&mut header)?;
    let page = u16::from_be_bytes([header[16], header[17]]);
    let encoding = u32::from_be_bytes(header[56..60].try_into().expect("four bytes"));
    if !header.starts_with(b"SQLite format 3\0") || !(1..=2).contains(&header[18]) || !(1..=2).contains(&header[19]) {
        return refuse("it is not an SQLite database".into());
    }
    if usize::from(page) != PAGE || header[20] != 0 {
        return refuse(format!(
            "its pages must have {PAGE} bytes and none reserved; PRAGMA page_size and VACUUM change that"
        ));
    }
    if length % PAGE as u64 != 0 {
        return refuse("it does not end with a whole page; it was cut".into());
    }
    if length / PAGE as u64 > max_pages.into() {
        return refuse(format!(
            "it has more than the {} bytes that an object may store",
            u64::from(max_pages) * PAGE as u64
        ));
    }
    if encoding > 1 {
        return refuse("its text is UTF-16; objects store UTF-8".into());
    }
    Ok(Ok(()))
}

/// Virtual tables first, because they make tables of their own, which are then there.
fn read_schema(sqlite: &Sqlite) -> rusqlite::Result<Vec<Item>> {
    let mut statement = sqlite.prepare(
        "SELECT type, name, tbl_name, sql FROM sqlite_schema
         ORDER BY sql NOT LIKE 'CREATE VIRTUAL%', type = 'trigger', type = 'index', type = 'view', rowid",
    )?;
    let items = statement
        .query_map([], |row| Ok(Item { kind: row.get(0)?, name: row.get(1)?, table: row.get(2)?, sql: row.get(3)? }))?;
    items.collect()
}

fn replay(turn: &mut Turn, schema: &[Item]) -> Result<(), ImportError> {
    let refuse = |why: String| Err(ImportError::Refused(why));
    let lost = || ImportError::Refused("its schema cannot be made anew".into());
    let guests: Vec<&Item> = schema.iter().filter(|item| !item.is_hosts() && !item.is_sqlites()).collect();
    for item in &guests {
        let Item { kind, name, table, sql } = item;
        if is_reserved(name) || is_reserved(table) {
            return refuse(format!("the {kind} {name}: names that begin with _hf_ belong to the host"));
        }
        let there = scratch_schema(turn).ok_or_else(lost)?.iter().any(|made| made.kind == *kind && made.name == *name);
        let Some(sql) = sql.as_deref().filter(|_| !there) else { continue };
        if let Err(error) = turn.exec(sql, &[]) {
            return refuse(format!("the {kind} {name}: {error}"));
        }
    }
    let mut made = scratch_schema(turn).ok_or_else(lost)?;
    made.retain(|item| !item.is_hosts() && !item.is_sqlites());
    let key = |item: &Item| (item.kind.clone(), item.name.clone(), item.table.clone());
    let (mut made, mut given): (Vec<_>, Vec<_>) =
        (made.iter().map(key).collect(), guests.into_iter().map(key).collect());
    made.sort();
    given.sort();
    if made == given { Ok(()) } else { refuse("its schema is not what its own statements make".into()) }
}

fn scratch_schema(turn: &mut Turn) -> Option<Vec<Item>> {
    turn.connection().ok()?.host(read_schema).ok()
}

/// Prepares the host's tables and checks everything: from here on the file is the host's. Returns the alarm that it
/// held.
fn make_ready(sqlite: &Sqlite, schema: &[Item]) -> Result<Option<Alarm>, ImportError> {
    let refuse = |why: String| Err(ImportError::Refused(why));
    let run = |sql: &str| sqlite.execute_batch(sql).map_err(refused);
    run("PRAGMA journal_mode = MEMORY; PRAGMA cell_size_check = ON")?;
    for (name, table) in HOST_TABLES {
        if !schema.iter().any(|item| item.name == name) {
            run(table)?;
        }
    }
    let alarm = match Identity::read_alarm(sqlite).map_err(refused)? {
        Some(alarm) if !alarm.is_some_and(|alarm| alarm.is_possible()) => {
            return refuse("the alarm in its _hf_meta is not one that an object can have".into());
        }
        alarm => alarm.flatten(),
    };
    run("DELETE FROM _hf_meta")?;
    if !check_keys(sqlite).map_err(refused)? {
        return refuse("its key-value entries are not such as objects store".into());
    }
    let nothing = "SELECT NOT EXISTS (SELECT 1 FROM _hf_kv)";
    let nothing: bool = sqlite.query_row(nothing, [], |row| row.get(0)).map_err(refused)?;
    if nothing && alarm.is_none() && schema.iter().all(|item| item.is_hosts() || item.is_sqlites()) {
        return refuse("it holds nothing; delete the object to remove what it stores".into());
    }
    let found: String = sqlite.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0)).map_err(refused)?;
    if found == "ok" { Ok(alarm) } else { refuse(format!("it is damaged: {found}")) }
}

fn check_keys(sqlite: &Sqlite) -> rusqlite::Result<bool> {
    let mut statement = sqlite.prepare("SELECT key, typeof(value), length(value) FROM _hf_kv")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (kind, length): (String, usize) = (row.get(1)?, row.get::<_, i64>(2)? as usize);
        let fits = match row.get_ref(0)? {
            ValueRef::Text(key) => {
                (1..=KEY_MAX).contains(&key.len()) && key.len() + length <= ENTRY_MAX && str::from_utf8(key).is_ok()
            }
            _ => false,
        };
        if !fits || kind != "blob" {
            return Ok(false);
        }
    }
    Ok(true)
}
