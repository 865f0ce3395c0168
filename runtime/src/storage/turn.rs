//! One turn's hold on a database: a transaction that only the host ends.
//!
//! Reads need no transaction, because nobody else uses the database. The first write begins one; [`Turn::apply`] ends it and
//! appends the turn to the object's sequence, [`Turn::roll_back`] leaves no trace. SQLite can end a transaction by itself
//! (`INSERT OR ROLLBACK`, a full disk, an I/O error, an interrupt): the turn is then *broken*, and `apply` fails
//! whatever happened after.

use std::collections::HashMap;
use std::sync::atomic::Ordering::Relaxed;

use rusqlite::ffi;

use super::commit_log::Reservation;
use super::connection::CACHE_PAGES;
use super::database::OpenFile;
use super::errors::{ApplyError, SqlError, at_commit, in_doubt};
use super::identity::Identity;
use super::key_range::KeyRange;
use super::running;
use super::stacks::Stack;
use super::statement::{SqlCursor, SqliteError, last_error, pages_written};
use super::template::PAGE;
use super::{Database, Lsn, StorageError};
use crate::base::limits::{CURSORS_MAX, FUEL_PER_SQL_STEP, TURN_WRITE_MAX};
use crate::base::{Exhausted, WorkBudget};

/// What SQLite means by `out of memory` where nothing was refused memory.
const TOO_MANY_INSTRUCTIONS: &str = "a statement may compile to 250,000 instructions (or the machine has no memory)";

mod beginnings;
mod opening;
mod state;

use self::beginnings::Beginnings;
use self::state::Access;
pub use self::state::Savepoint;
pub(super) use self::state::{OpenSavepoint, Origin, Remains, StagedAlarm};

/// What a page costs in a record beyond its image, with its share of the record's head.
const PAGE_OVERHEAD: u64 = 16;

/// A turn's use of its object's storage. Ends by [`apply`](Self::apply) or [`roll_back`](Self::roll_back), which give the
/// database back; dropped, it takes the database with it as a crash would.
pub struct Turn {
    /// Before the database, so that open statements are dropped first.
    cursors: HashMap<Cursor, OpenCursor>,
    database: Database,
    work: WorkBudget,
    pub(super) stage: Stage,
    broken: Option<ApplyError>,
    pub(super) origin: Origin,
    pub(super) remains: Remains,
    access: Access,
    /// What the object's handler has changed; see `beginnings`.
    beginnings: Beginnings,
    /// Those that are open, the outermost first.
    pub(super) savepoints: Vec<OpenSavepoint>,
    pub(super) alarm: StagedAlarm,
    /// Room in the commit log for what the turn has written.
    room: Option<Reservation>,
    /// What its SQL runs on, with its budget; none before the first call, and while one runs.
    pub(super) stack: Option<(Stack, WorkBudget)>,
}

/// Names an open listing or the rest of an SQL result. Never names another one as long as the `Database` lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cursor(u64);

pub(super) enum OpenCursor {
    Listing(KeyRange),
    Sql(SqlCursor),
    /// An SQL result that was read to its end.
    Ended,
}

/// `Reading` → `Writing` at the first write; back at a settling point, or when everything is removed.
#[derive(Clone, Copy)]
pub(super) enum Stage {
    Reading,
    Writing { total_changes: u64, pages_written: u64, schema_changed: bool },
}

/// A turn that was applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Applied {
    /// The object's last position; unchanged when nothing was written.
    pub lsn: Lsn,
    /// Whether the turn changed anything that is stored.
    pub wrote: bool,
    /// Pages in use × 4,096, afterwards; 0 if nothing is stored.
    pub bytes: u64,
}

impl Turn {
    /// Begins a turn, whose work is charged to the budget. Does no I/O.
    pub fn begin(database: Database, work: WorkBudget) -> Self {
        Self::new(database, work, Access::Writes)
    }

    /// Begins a turn whose writes are refused.
    pub fn begin_reading(database: Database, work: WorkBudget) -> Self {
        Self::new(database, work, Access::Reads)
    }

    fn new(mut database: Database, work: WorkBudget, access: Access) -> Self {
        if let Some(file) = database.opened() {
            file.connection.session.begin_turn(&work, access == Access::Reads);
        }
        Self {
            cursors: HashMap::new(),
            database,
            work,
            stage: Stage::Reading,
            broken: None,
            origin: Origin::Earlier,
            remains: Remains::AsBefore,
            access,
            beginnings: Beginnings::default(),
            savepoints: Vec::new(),
            alarm: StagedAlarm::AsItIs,
            room: None,
            stack: None,
        }
    }

    /// Whether this turn made the database file.
    pub(super) fn is_new(&self) -> bool {
        self.origin == Origin::ThisTurn
    }

    pub(super) fn work(&self) -> &WorkBudget {
        &self.work
    }

    /// The object's name, if it has one; see [`Database::name`].
    pub fn name(&mut self) -> Result<Option<crate::base::ObjectName>, StorageError> {
        self.database.name()
    }

    /// Waits until the commit log has room for what the turn has written, before it is applied. Without room the turn fails.
    pub async fn make_room(&mut self) {
        if self.room.is_some() || self.broken.is_some() || !self.will_append() {
            return;
        }
        let bytes = self.record_max();
        match self.database.room(bytes).await {
            Ok(room) => self.room = Some(room),
            Err(why) => _ = self.break_with(ApplyError::Full(why.to_string())),
        }
    }

    /// Applies the turn: its writes are in the database and in the commit log, which makes them durable.
    pub fn apply(mut self) -> (Database, Result<Applied, ApplyError>) {
        self.close_cursors();
        let applied = match self.broken.clone().or(self.work.check().err().map(ApplyError::Exhausted)) {
            Some(broken) => Err(broken),
            None if !self.savepoints.is_empty() => Err(ApplyError::SavepointOpen),
            None => self.write_alarm().and_then(|()| self.commit()),
        };
        let wrote = applied.as_ref().is_ok_and(|applied| applied.wrote);
        (self.end(wrote), applied)
    }

    /// Whether the turn has begun to write and would leave something to roll back. What it has settled is not counted.
    pub fn has_staged(&self) -> bool {
        self.will_append()
    }

    /// What keeps this turn from being applied, if something does already.
    pub fn broken(&self) -> Option<&ApplyError> {
        self.broken.as_ref()
    }

    /// Leaves no trace.
    pub fn roll_back(mut self) -> Database {
        self.close_cursors();
        self.end(false)
    }

    /// Order: room, identity, COMMIT, append. Everything that can fail comes before the COMMIT. A turn that leaves nothing
    /// stored appends that, instead.
    pub(super) fn commit(&mut self) -> Result<Applied, ApplyError> {
        self.check_written().map_err(|_| self.broken.clone().expect("a full turn is broken"))?;
        let lsn = self.database.last_applied();
        let (new, replaces) = (self.is_new(), self.database.has_aside());
        let stored = self.changed() && (self.remains != Remains::Unknown || !self.nothing_stored()?);
        if !stored && (replaces || (self.changed() && !new)) {
            let mut room = self.take_room()?;
            return Ok(Applied { lsn: self.database.append_removal(&mut room), wrote: true, bytes: 0 });
        }
        let Stage::Writing { .. } = self.stage else {
            let bytes = self.database.opened().filter(|_| !new).map_or(0, |file| file.bytes);
            return Ok(Applied { lsn, wrote: false, bytes });
        };
        if new && !stored {
            return Ok(Applied { lsn, wrote: false, bytes: 0 });
        }
        let mut room = self.take_room()?;
        // Also where nothing has changed: a statement that a constraint undid leaves pages that COMMIT writes.
        self.database.prepare_append()?;
        if stored {
            self.write_identity()?;
        }
        let file = self.database.opened().expect("a transaction needs a file");
        let session = &file.connection.session;
        session.wrote.store(false, Relaxed);
        session.applying.store(true, Relaxed);
        let ended = file.connection.control(|sqlite| sqlite.prepare_cached("COMMIT")?.execute([]));
        session.applying.store(false, Relaxed);
        if ended.is_err() {
            let error = at_commit(file);
            return Err(self.work.check().err().map_or(error, ApplyError::Exhausted));
        }
        let wrote = session.wrote.load(Relaxed);
        if !wrote {
            return Ok(Applied { lsn, wrote, bytes: file.bytes });
        }
        // Applied; a size that cannot be read is not worth failing it.
        file.bytes = file.connection.bytes().unwrap_or(file.bytes);
        let bytes = file.bytes;
        Ok(Applied { lsn: self.database.append(&mut room), wrote, bytes })
    }

    /// Whether applying the turn may append something.
    fn will_append(&self) -> bool {
        matches!(self.stage, Stage::Writing { .. }) || self.database.has_aside() || self.alarm != StagedAlarm::AsItIs
    }

    /// Bytes that the turn's records may take: each page that it has written, and as many as its connection's cache holds.
    fn record_max(&mut self) -> u64 {
        let written = match (self.stage, self.database.opened()) {
            (Stage::Writing { pages_written: before, .. }, Some(file)) => {
                pages_written(file.connection.guest()) - before
            }
            _ => 0,
        };
        (written + CACHE_PAGES) * (PAGE as u64 + PAGE_OVERHEAD)
    }

    fn take_room(&mut self) -> Result<Reservation, ApplyError> {
        match self.room.take() {
            Some(room) => Ok(room),
            None => {
                let bytes = self.record_max();
                self.database.room_now(bytes).map_err(|why| ApplyError::Full(why.to_string()))
            }
        }
    }

    /// Whether the turn's transaction has changed anything.
    fn changed(&mut self) -> bool {
        let Stage::Writing { total_changes, schema_changed, .. } = self.stage else { return false };
        schema_changed
            || self.database.opened().is_some_and(|file| file.connection.guest().total_changes() != total_changes)
    }

    /// Whether there is no key, no alarm and nothing in the schema but what the host and SQLite put there.
    fn nothing_stored(&mut self) -> Result<bool, ApplyError> {
        const NOTHING: &str = "SELECT NOT EXISTS (SELECT 1 FROM _hf_kv) AND NOT EXISTS (SELECT 1 FROM sqlite_schema
             WHERE tbl_name NOT IN ('_hf_kv', '_hf_meta') AND substr(name, 1, 7) <> 'sqlite_')
             AND NOT EXISTS (SELECT 1 FROM _hf_meta WHERE key = 'alarm')";
        let Some(file) = self.database.opened() else { return Ok(true) };
        let asked = file.connection.host(|sqlite| sqlite.prepare_cached(NOTHING)?.query_row([], |row| row.get(0)));
        asked.map_err(|_| at_commit(file))
    }

    /// Goes on after a settling point.
    pub(super) fn begin_again(&mut self, wrote: bool) {
        if self.is_new() && !wrote {
            self.database.discard();
        }
        self.end_transaction();
        (self.origin, self.remains) = (Origin::Earlier, Remains::AsBefore);
        self.beginnings = Beginnings::default();
    }

    /// Leaves the transaction, if there is one, without applying it. False if SQLite failed to.
    fn end_transaction(&mut self) -> bool {
        self.stage = Stage::Reading;
        let Some(file) = self.database.opened() else { return true };
        file.connection.session.writing.store(false, Relaxed);
        file.connection.session.take_seen();
        file.connection.guest().is_autocommit() || {
            let ended = file.connection.control(|sqlite| sqlite.prepare_cached("ROLLBACK")?.execute([]));
            ended.is_ok() && file.connection.guest().is_autocommit()
        }
    }

    /// Puts aside what is stored, the turn's own writes included; see [`Database::set_aside`].
    pub(super) fn set_aside(&mut self) -> Result<(), StorageError> {
        self.close_cursors();
        self.cursors.clear();
        if !self.end_transaction() {
            self.database.close();
        }
        if std::mem::replace(&mut self.origin, Origin::Earlier) == Origin::ThisTurn {
            self.database.discard();
        }
        (self.remains, self.alarm) = (Remains::Unknown, StagedAlarm::Set(None));
        self.beginnings = Beginnings::default();
        if self.database.has_aside() { Ok(()) } else { self.database.set_aside() }
    }

    /// Adds what the file does not yet say of itself.
    fn write_identity(&mut self) -> Result<(), ApplyError> {
        let name = self.database.address().name.clone();
        let OpenFile { identity, .. } = self.database.opened().expect("a transaction needs a file");
        if identity.as_ref().is_some_and(|identity| name.is_none() || identity.name == name) {
            return Ok(());
        }
        let (address, incarnation) = (self.database.address().clone(), self.database.incarnation);
        let file = self.database.opened().expect("a transaction needs a file");
        let OpenFile { connection, identity, .. } = &mut *file;
        let stored = connection.host(|sqlite| {
            if identity.is_none() {
                Identity::write(sqlite, &address, incarnation)?;
            }
            let known = identity.as_ref().and_then(|identity| identity.name.as_ref());
            match &address.name {
                Some(name) if known != Some(name) => Identity::write_name(sqlite, name),
                _ => Ok(()),
            }
        });
        stored.map_err(|_| at_commit(file))?;
        let known = file.identity.take().and_then(|identity| identity.name);
        let (class, id) = (address.key.as_str().into(), address.id.to_string());
        file.identity = Some(Identity { class, id, name: address.name.or(known), ..Identity::default() });
        Ok(())
    }

    /// Ends the transaction if it is still there, and forgets a file that nothing was applied to.
    fn end(mut self, wrote: bool) -> Database {
        let wrote_something = !matches!(self.stage, Stage::Reading);
        let failed = matches!(
            self.broken,
            Some(ApplyError::Failed(_) | ApplyError::Full(_) | ApplyError::NoMemory(_) | ApplyError::Damaged(_))
        );
        let rolled_back = self.end_transaction();
        if self.is_new() && !wrote {
            self.database.discard();
        } else if failed || !rolled_back {
            self.database.close();
        } else if let Some(file) = self.database.opened()
            && !wrote
            && wrote_something
            && file.identity.is_some()
        {
            // What `write_identity` and `write_alarm` noted was rolled back with the turn.
            match file.connection.host(Identity::read) {
                Ok(Some(identity)) => (file.alarm, file.identity) = (identity.alarm, Some(identity)),
                // Read again, alarm and all, when it is next looked at.
                _ => self.database.close(),
            }
        }
        self.database.restore_aside();
        if let Some(file) = self.database.opened() {
            file.connection.session.end_turn();
        }
        self.database
    }

    /// Whether the turn can go on.
    pub(super) fn check(&mut self) -> Result<(), SqlError> {
        match &self.broken {
            None => Ok(self.work.check().map_err(|exhausted| self.exhausted(exhausted))?),
            Some(ApplyError::Exhausted(exhausted)) => Err(SqlError::Exhausted(*exhausted)),
            Some(ApplyError::Full(_)) => Err(SqlError::Full),
            Some(broken) => Err(SqlError::Other(broken.to_string())),
        }
    }

    /// A statement changed the schema, which SQLite does not count as a change.
    pub(super) fn changed_schema(&mut self) {
        self.remains.doubt();
        if let Stage::Writing { schema_changed, .. } = &mut self.stage {
            *schema_changed = true;
        }
    }

    /// After each statement: is the transaction still there, has it written too much, has the work been paid for?
    pub(super) fn settle(&mut self, steps: u64) -> Result<(), SqlError> {
        self.pay(steps)?;
        self.check_memory()?;
        self.check_transaction()?;
        self.check_written()
    }

    /// Charges steps of SQLite's virtual machine to the turn, those that the progress handler has not: without it, statements
    /// that it never interrupts would be free.
    pub(super) fn pay(&mut self, steps: u64) -> Result<(), SqlError> {
        let session = self.database.opened().map(|file| &file.connection.session);
        let steps = steps.saturating_sub(session.map_or(0, |session| session.take_charged()));
        let charged = self.work.charge(steps * FUEL_PER_SQL_STEP);
        let paid = charged.and_then(|()| session.map_or(Ok(()), |session| session.note_steps(steps)));
        paid.map_err(|exhausted| self.exhausted(exhausted))
    }

    /// Whether SQLite was refused memory since this was last asked. It copes with that here and there, and answers an empty value
    /// where one could not be made: so the turn ends with it in any case.
    pub(super) fn check_memory(&mut self) -> Result<(), SqlError> {
        let refusal = self.database.opened().and_then(|file| file.connection.heap.take_refusal());
        match refusal {
            None => Ok(()),
            Some(refusal) => Err(self.break_with(ApplyError::NoMemory(refusal))),
        }
    }

    fn check_transaction(&mut self) -> Result<(), SqlError> {
        let Some(file) = self.database.opened() else { return Ok(()) };
        let ended = file.connection.guest().is_autocommit();
        match self.stage {
            Stage::Writing { .. } if ended => Err(self.break_with(ApplyError::Ended)),
            _ => Ok(()),
        }
    }

    /// Counts pages as they are written, once more if one was written before the turn ends and changed again; those still
    /// in the cache (at most 2 MiB) are not counted.
    fn check_written(&mut self) -> Result<(), SqlError> {
        let Stage::Writing { pages_written: before, .. } = self.stage else { return Ok(()) };
        let Some(file) = self.database.opened() else { return Ok(()) };
        let pages = pages_written(file.connection.guest()) - before;
        if pages * PAGE as u64 <= TURN_WRITE_MAX {
            return Ok(());
        }
        let what = format!("one turn may write {TURN_WRITE_MAX} bytes; write less, or in several turns");
        Err(self.break_with(ApplyError::Full(what)))
    }

    /// What SQLite's error means for the guest and for the turn. `Constraint` and the like leave the turn as it is; an
    /// error after which the database's state is in doubt breaks it.
    pub(super) fn refused(&mut self, error: SqliteError) -> SqlError {
        if let Err(refused) = self.check_memory() {
            return refused;
        }
        let error = match error.code & 0xff {
            ffi::SQLITE_INTERRUPT => match self.work.check() {
                Err(exhausted) => return self.exhausted(exhausted),
                Ok(()) => SqlError::Sqlite(error),
            },
            ffi::SQLITE_NOMEM => match self.work.check() {
                Err(exhausted) => return self.exhausted(exhausted),
                Ok(()) if running::take_denied() => SqlError::TooLarge(running::TOO_MUCH_AT_ONCE.into()),
                // SQLite has no other word for it.
                Ok(()) => SqlError::TooLarge(TOO_MANY_INSTRUCTIONS.into()),
            },
            ffi::SQLITE_FULL => return self.full(),
            ffi::SQLITE_IOERR | ffi::SQLITE_CORRUPT | ffi::SQLITE_NOTADB | ffi::SQLITE_CANTOPEN => {
                let failed = match self.database.opened() {
                    Some(file) => in_doubt(file, error),
                    None => ApplyError::Failed(error.message),
                };
                return self.break_with(failed);
            }
            // SQLite answers AUTH, but ERROR for functions.
            ffi::SQLITE_AUTH | ffi::SQLITE_ERROR => {
                let seen = self.database.opened().map(|file| file.connection.session.take_seen());
                match seen.and_then(|seen| seen.refused) {
                    Some(refused) => SqlError::NotAuthorized(refused),
                    None => SqlError::Sqlite(error),
                }
            }
            ffi::SQLITE_TOOBIG => SqlError::TooLarge(error.message),
            ffi::SQLITE_CONSTRAINT => SqlError::Constraint(error),
            ffi::SQLITE_ABORT => SqlError::Closed,
            _ => SqlError::Sqlite(error),
        };
        // The statement's own error is the better answer; that the transaction ended is remembered.
        let _ = self.check_transaction();
        error
    }

    fn full(&mut self) -> SqlError {
        let temporary = self.database.opened().and_then(|file| file.connection.heap.temporary().take_refusal());
        let what = "the disk is full or the object's database would grow over its limit";
        self.break_with(ApplyError::Full(temporary.unwrap_or_else(|| what.into())))
    }

    pub(super) fn failed(&mut self, what: String) -> SqlError {
        self.break_with(ApplyError::Failed(what))
    }

    pub(super) fn exhausted(&mut self, exhausted: Exhausted) -> SqlError {
        self.break_with(ApplyError::Exhausted(exhausted))
    }

    /// Remembers the first thing that broke the turn.
    pub(super) fn break_with(&mut self, error: ApplyError) -> SqlError {
        let broken = self.broken.get_or_insert(error);
        match broken {
            ApplyError::Exhausted(exhausted) => SqlError::Exhausted(*exhausted),
            ApplyError::Full(_) => SqlError::Full,
            broken => SqlError::Other(broken.to_string()),
        }
    }

    pub(super) fn open_cursor(&mut self, cursor: OpenCursor) -> Result<Cursor, SqlError> {
        if self.cursors.len() >= CURSORS_MAX {
            return Err(SqlError::TooLarge(format!(
                "one turn has at most {CURSORS_MAX} cursors and listings open; close those that are not needed"
            )));
        }
        let number = Cursor(self.next_handle());
        self.cursors.insert(number, cursor);
        Ok(number)
    }

    pub(super) fn next_handle(&mut self) -> u64 {
        self.database.next_handle()
    }

    pub(super) fn database(&mut self) -> &mut Database {
        &mut self.database
    }

    /// Whether SQLite has ended the transaction.
    pub(super) fn has_ended(&mut self) -> bool {
        self.database.opened().is_none_or(|file| file.connection.guest().is_autocommit())
    }

    /// Runs one of the host's statements in the turn's transaction.
    pub(super) fn host_statement(&mut self, statement: &str) -> Result<(), SqlError> {
        let connection = self.connection()?;
        if connection.control(|sqlite| sqlite.prepare_cached(statement)?.execute([])).is_ok() {
            return Ok(());
        }
        let error = last_error(connection.guest());
        Err(self.refused(error))
    }

    pub(super) fn cursors(&mut self) -> &mut HashMap<Cursor, OpenCursor> {
        &mut self.cursors
    }

    /// Closes a cursor of this turn; closing one that is not open does nothing.
    pub fn close(&mut self, cursor: Cursor) {
        if let Some(OpenCursor::Sql(cursor)) = self.cursors.remove(&cursor) {
            self.keep_statement(cursor);
        }
    }

    fn close_cursors(&mut self) {
        for (_, cursor) in std::mem::take(&mut self.cursors) {
            if let OpenCursor::Sql(cursor) = cursor {
                self.keep_statement(cursor);
            }
        }
    }

    /// A statement that ended may be run again without being compiled.
    pub(super) fn keep_statement(&mut self, cursor: SqlCursor) {
        let SqlCursor { statement, text, .. } = cursor;
        if let (Some(text), Some(file)) = (text, self.database.opened()) {
            file.connection.keep_statement(text, statement);
        }
    }
}
