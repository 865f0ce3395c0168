//! One turn on a database: a transaction that only the host ends.
//!
//! Reads need no transaction, because a database has one user. The first write begins one; [`Turn::apply`] ends it and
//! appends the turn to the commit log, [`Turn::roll_back`] undoes it without a trace. SQLite can end a transaction by
//! itself (`INSERT OR ROLLBACK`, a full disk, an I/O error, an interrupt): the turn is then *broken*, and `apply` fails
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
use crate::base::{Alarm, Exhausted, TakenAlarm, WorkBudget};

/// The explanation of SQLite's `out of memory` if the host has refused it no memory.
const TOO_MANY_INSTRUCTIONS: &str = "a statement may compile to 250,000 instructions (or the machine has no memory)";

mod beginnings;
mod opening;
mod state;

use self::beginnings::Beginnings;
use self::state::Access;
pub use self::state::Savepoint;
pub(super) use self::state::{OpenSavepoint, Origin, Remains, StagedAlarm};

/// Bytes that a page takes in a record beyond its image, with its share of the record's head.
const PAGE_OVERHEAD: u64 = 16;

/// A turn's use of its object's storage. It ends with [`apply`](Self::apply) or [`roll_back`](Self::roll_back), which
/// return the database. Dropping a turn drops its database too, which has the effect of a crash.
pub struct Turn {
    /// Declared before the database, so that open statements are dropped first.
    cursors: HashMap<Cursor, OpenCursor>,
    database: Box<Database>,
    work: WorkBudget,
    pub(super) stage: Stage,
    broken: Option<ApplyError>,
    pub(super) origin: Origin,
    pub(super) remains: Remains,
    access: Access,
    /// Counts of what the object's handler has changed; see `beginnings`.
    beginnings: Beginnings,
    /// The open savepoints, the outermost first.
    pub(super) savepoints: Vec<OpenSavepoint>,
    pub(super) alarm: StagedAlarm,
    /// The alarm whose handler the turn runs, and whether it is suspended at the turn's end.
    pub(super) taken: Option<(TakenAlarm, bool)>,
    /// The running alarm that the turn ends, by its serial number, and when it is tried again.
    pub(super) ended: Option<(u64, Option<Alarm>)>,
    /// Whether the handler of the running alarm was suspended before the turn.
    alarm_was_suspended: bool,
    /// The room in the commit log that is reserved for what the turn has written.
    room: Option<Reservation>,
    /// The stack for its SQL, with its budget; none before the first call, and while a call runs.
    pub(super) stack: Option<(Stack, WorkBudget)>,
}

/// A handle of an open listing or of the rest of an SQL result. Handles are not reused as long as the `Database` lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cursor(u64);

pub(super) enum OpenCursor {
    Listing(KeyRange),
    Sql(SqlCursor),
    /// An SQL result that was read completely.
    Ended,
}

/// Whether the turn has a transaction. `Reading` → `Writing` at the first write; back at a settling point, or when
/// everything is removed.
#[derive(Clone, Copy)]
pub(super) enum Stage {
    Reading,
    Writing { total_changes: u64, pages_written: u64, schema_changed: bool },
}

/// A turn that was applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Applied {
    /// The object's last position; unchanged if nothing was written.
    pub lsn: Lsn,
    /// Whether the turn changed anything that is stored.
    pub wrote: bool,
    /// Pages in use × 4,096, afterwards; 0 if nothing is stored.
    pub bytes: u64,
}

impl Turn {
    /// Begins a turn, whose work is charged to the budget. Does no I/O.
    pub fn begin(database: Box<Database>, work: WorkBudget) -> Self {
        Self::new(database, work, Access::Writes)
    }

    /// Begins a turn whose writes are refused.
    pub fn begin_reading(database: Box<Database>, work: WorkBudget) -> Self {
        Self::new(database, work, Access::Reads)
    }

    fn new(mut database: Box<Database>, work: WorkBudget, access: Access) -> Self {
        if let Some(file) = database.opened() {
            file.connection.session.begin_turn(&work, access == Access::Reads);
        }
        let alarm_was_suspended = database.alarm_suspended;
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
            taken: None,
            ended: None,
            alarm_was_suspended,
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

    /// Waits until the commit log has room for what the turn has written. Called before the turn is applied; without
    /// room the turn fails.
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

    /// Applies the turn: its writes are in the database and appended to the commit log, which makes them durable.
    pub fn apply(mut self) -> (Box<Database>, Result<Applied, ApplyError>) {
        self.close_cursors();
        let applied = match self.broken.clone().or(self.work.check().err().map(ApplyError::Exhausted)) {
            Some(broken) => Err(broken),
            None if !self.savepoints.is_empty() => Err(ApplyError::SavepointOpen),
            None => self.write_alarm().and_then(|()| self.commit()),
        };
        if applied.is_err() {
            self.database.alarm_suspended = self.alarm_was_suspended;
        }
        let wrote = applied.as_ref().is_ok_and(|applied| applied.wrote);
        (self.end(wrote), applied)
    }

    /// Whether the turn has staged writes. Writes before its last settling point do not count.
    pub fn has_staged(&self) -> bool {
        matches!(self.stage, Stage::Writing { .. })
            || self.database.has_aside()
            || self.alarm != StagedAlarm::AsItIs
            || self.ended.is_some()
    }

    /// Returns what has broken the turn, if something has.
    pub fn broken(&self) -> Option<&ApplyError> {
        self.broken.as_ref()
    }

    /// Undoes the turn without a trace.
    pub fn roll_back(mut self) -> Box<Database> {
        self.close_cursors();
        self.end(false)
    }

    /// Commits in this order: room, identity, COMMIT, append. Everything that can fail comes before the COMMIT. A turn
    /// that leaves nothing stored appends a removal instead.
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
        self.has_staged() || self.taken.is_some()
    }

    /// Returns the most bytes that the turn's records take: all pages that it has written, and all that its
    /// connection's cache may hold.
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
             AND NOT EXISTS (SELECT 1 FROM _hf_meta WHERE key IN ('alarm', 'running-alarm'))";
        let Some(file) = self.database.opened() else { return Ok(true) };
        let asked = file.connection.host(|sqlite| sqlite.prepare_cached(NOTHING)?.query_row([], |row| row.get(0)));
        asked.map_err(|_| at_commit(file))
    }

    /// Continues the turn after a settling point.
    pub(super) fn begin_again(&mut self, wrote: bool) {
        if self.is_new() && !wrote {
            self.database.discard();
        }
        self.end_transaction();
        (self.origin, self.remains) = (Origin::Earlier, Remains::AsBefore);
        self.beginnings = Beginnings::default();
    }

    /// Rolls the transaction back, if there is one. Returns false if SQLite failed to.
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

    /// Writes the identity, or a name, that the file does not have yet.
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

    /// Ends the transaction if it is still open, and removes a file to which nothing was applied.
    fn end(mut self, wrote: bool) -> Box<Database> {
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
                Ok(Some(identity)) => (file.alarms, file.identity) = (identity.alarms, Some(identity)),
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

    /// Checks whether the turn can continue.
    pub(super) fn check(&mut self) -> Result<(), SqlError> {
        match &self.broken {
            None => Ok(self.work.check().map_err(|exhausted| self.exhausted(exhausted))?),
            Some(ApplyError::Exhausted(exhausted)) => Err(SqlError::Exhausted(*exhausted)),
            Some(ApplyError::Full(_)) => Err(SqlError::Full),
            Some(broken) => Err(SqlError::Other(broken.to_string())),
        }
    }

    /// Notes that a statement changed the schema, which SQLite does not count as a change.
    pub(super) fn changed_schema(&mut self) {
        self.remains.doubt();
        if let Stage::Writing { schema_changed, .. } = &mut self.stage {
            *schema_changed = true;
        }
    }

    /// Charges a statement's steps, and checks that memory was not refused, that the transaction is still open and that
    /// the turn has not written too much. Called after each statement.
    pub(super) fn settle(&mut self, steps: u64) -> Result<(), SqlError> {
        self.pay(steps)?;
        self.check_memory()?;
        self.check_transaction()?;
        self.check_written()
    }

    /// Charges those steps of SQLite's virtual machine to the turn that the progress handler has not charged. Without
    /// this, statements that end before the handler is called would be free.
    pub(super) fn pay(&mut self, steps: u64) -> Result<(), SqlError> {
        let session = self.database.opened().map(|file| &file.connection.session);
        let steps = steps.saturating_sub(session.map_or(0, |session| session.take_charged()));
        let charged = self.work.charge(steps * FUEL_PER_SQL_STEP);
        let paid = charged.and_then(|()| session.map_or(Ok(()), |session| session.note_steps(steps)));
        paid.map_err(|exhausted| self.exhausted(exhausted))
    }

    /// Breaks the turn if SQLite was refused memory since the last call. In some places SQLite continues after a
    /// refusal and returns an empty value instead of the one that it could not make, so the turn must fail in any case.
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

    /// Breaks the turn if it has written more than [`TURN_WRITE_MAX`] bytes. Pages count when they are written to the
    /// WAL, again for each time; pages that are still in the cache (at most 2 MiB) are not counted.
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

    /// Translates SQLite's error for the guest. `Constraint` and the like leave the turn as it is; an error after which
    /// the state of the database is in doubt breaks the turn.
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
                // SQLite has no other code for it.
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
        // The statement's own error is the better one to return; the end of the transaction is recorded.
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

    /// Breaks the turn with this error, unless it is broken already, and returns the first error.
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

    /// Executes one of the host's statements in the turn's transaction.
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

    /// Puts the statement of a cursor that ended into the cache of compiled statements.
    pub(super) fn keep_statement(&mut self, cursor: SqlCursor) {
        let SqlCursor { statement, text, .. } = cursor;
        if let (Some(text), Some(file)) = (text, self.database.opened()) {
            file.connection.keep_statement(text, statement);
        }
    }
}
