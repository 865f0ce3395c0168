//! SQL: `wit/sql.wit` over the object's database.
//!
//! A call may contain several statements. A failed call has no effect: where one statement's own atomicity is not
//! enough (several statements, changes of the schema, writes that return rows) the call runs in a savepoint of the
//! host's. The first rows of the result are returned at once, the rest through a cursor, which is an open statement.

use rusqlite::ffi;

use super::authorizer::is_reserved;
use super::connection::Connection;
use super::errors::SqlError;
use super::heap;
use super::rows::{Lists, Packed, Sink};
use super::running;
use super::statement::{SqlCursor, SqliteError, Statement, changes, last_error};
use super::turn::OpenCursor;
use super::{Cursor, Turn};
use crate::base::limits::{BATCH_BYTES, FIRST_ROWS, SQL_TEXT_MAX, SQL_VALUE_MAX, TABLE_BYTES_MAX, TABLE_ROWS_MAX};
use crate::base::{Table, Value};

/// With what statements begin that may be run again as they were compiled. Not those that change the schema: `DROP
/// TABLE IF EXISTS` is compiled to nothing while there is no table, and says only when it is compiled that it writes.
const REPEATS: [&str; 7] = ["SELECT", "INSERT", "UPDATE", "DELETE", "REPLACE", "VALUES", "WITH"];

/// Bytes of a compiled statement that is kept: sixteen of them are held for as long as the object is in memory. Most
/// take a few KiB.
const STATEMENT_KEPT_MAX: usize = 64 << 10;
/// Bytes of rows on their way that are not charged to the object: fewer than a fresh connection takes.
const ROWS_FREE: usize = 64 << 10;

/// The result of a call, with its first rows.
#[derive(Debug, Clone, PartialEq)]
pub struct ExecResult {
    /// Column names, duplicates kept.
    pub columns: Vec<String>,
    /// Rows changed by all statements of the call that have ended, without those of triggers. A statement that returns
    /// more rows than `rows` has not ended.
    pub changes: u64,
    /// The rowid of the last successful insert since the database was opened, or 0.
    pub last_insert_rowid: i64,
    /// The first rows: at most 256 and about 1 MiB.
    pub rows: Vec<Vec<Value>>,
    /// Reads the rest; none if `rows` holds all.
    pub more: Option<Cursor>,
}

/// The result of a call, with its first rows packed into one piece.
#[derive(Debug, Clone, PartialEq)]
pub struct PackedResult {
    /// As in [`ExecResult`].
    pub changes: u64,
    /// As in [`ExecResult`].
    pub last_insert_rowid: i64,
    /// Columns and first rows in the encoding of `wit/packed-sql.wit`; none for a statement that returns no rows.
    pub result: Option<Vec<u8>>,
    /// Reads the rest; none if `result` holds all rows.
    pub more: Option<Cursor>,
}

/// The state of a call: what its statements have done so far.
#[derive(Default)]
struct Call {
    changes: u64,
    /// Of the last one: the rowid of the object's last insert, and the rest of its rows.
    last_insert_rowid: i64,
    more: Option<Cursor>,
    /// The host's savepoint is open.
    savepoint: bool,
    /// Changes of rows before it.
    changed_rows: u64,
    /// It consists of several statements.
    several: bool,
    /// A statement that writes is still open and holds the savepoint.
    held: bool,
}

/// One statement, ready to run.
struct Prepared<'a> {
    statement: Statement,
    schema: bool,
    /// Under which text it may be cached, if it may.
    text: Option<Box<str>>,
    /// What follows it in the call's text.
    rest: &'a str,
}

impl Turn {
    /// Runs one or more statements. All but the last run to their end and take no parameters.
    pub(super) fn exec(&mut self, text: &str, parameters: &[Value]) -> Result<ExecResult, SqlError> {
        let mut lists = Lists::default();
        let Call { changes, last_insert_rowid, more, .. } = self.run_call(text, parameters, &mut lists)?;
        Ok(ExecResult { columns: lists.columns, changes, last_insert_rowid, rows: lists.rows, more })
    }

    /// Runs a call as [`Self::exec`] does, and packs the rows into one piece.
    pub(super) fn exec_packed(&mut self, text: &str, parameters: &[Value]) -> Result<PackedResult, SqlError> {
        let mut packed = Packed::default();
        let Call { changes, last_insert_rowid, more, .. } = self.run_call(text, parameters, &mut packed)?;
        let result = Some(packed.0).filter(|bytes| !bytes.is_empty());
        Ok(PackedResult { changes, last_insert_rowid, result, more })
    }

    /// Returns the next rows, at most `max_rows` (0 is taken as 1) and about 1 MiB. An empty list is the end.
    pub(super) fn next(&mut self, cursor: Cursor, max_rows: u32) -> Result<Vec<Vec<Value>>, SqlError> {
        let mut lists = Lists::default();
        self.read_on(cursor, max_rows, &mut lists)?;
        Ok(lists.rows)
    }

    /// Returns the next rows as [`Self::next`] does, packed into one piece.
    pub(super) fn next_packed(&mut self, cursor: Cursor, max_rows: u32) -> Result<Vec<u8>, SqlError> {
        let mut packed = Packed::default();
        self.read_on(cursor, max_rows, &mut packed)?;
        Ok(packed.0)
    }

    /// Runs a call to its end and returns its rows in one table, cut off at 10,000 rows or about 16 MiB. A statement
    /// that only reads is not run further than that.
    pub(super) fn query(&mut self, text: &str, parameters: &[Value]) -> Result<Table, SqlError> {
        let ExecResult { columns, changes: mut changed, last_insert_rowid, rows, mut more } =
            self.exec(text, parameters)?;
        let mut table = Table { columns, rows: Vec::new(), changes: 0, last_insert_rowid, truncated: false };
        let mut bytes = add_rows(&mut table, 0, rows);
        if let Some(cursor) = more
            && let Some(OpenCursor::Sql(SqlCursor { writes, .. })) = self.cursors().get(&cursor)
        {
            let writes = *writes;
            while more.is_some() && (writes || !table.truncated) {
                let rows = self.next(cursor, FIRST_ROWS as u32)?;
                more = more.filter(|_| !rows.is_empty());
                bytes = add_rows(&mut table, bytes, rows);
            }
            if writes {
                changed += changes(self.connection()?.guest());
            }
            self.close(cursor);
        }
        Ok(Table { changes: changed, ..table })
    }

    fn run_call(&mut self, text: &str, parameters: &[Value], sink: &mut impl Sink) -> Result<Call, SqlError> {
        self.check()?;
        check_sizes(text, parameters)?;
        let text = skip_blank(text);
        if text.is_empty() {
            return Err(SqlError::NoStatement);
        }
        let _for = heap::enter(&self.connection()?.heap);
        self.close_writing_cursors();
        let mut call = Call::default();
        let outcome = self.run_statements(&mut call, text, parameters, sink);
        if call.savepoint && !call.held {
            self.end_savepoint(outcome.is_ok())?;
            if outcome.is_err() {
                self.undone_to(call.changed_rows);
            }
        }
        outcome.map(|()| call)
    }

    fn run_statements(
        &mut self,
        call: &mut Call,
        mut text: &str,
        parameters: &[Value],
        sink: &mut impl Sink,
    ) -> Result<(), SqlError> {
        loop {
            let prepared = self.prepare(text, !call.several)?;
            text = prepared.rest;
            if text.is_empty() {
                return self.run_last(call, prepared, parameters, sink);
            }
            call.several = true;
            self.start(call, &prepared, &[])?;
            self.run_through(call, prepared)?;
        }
    }

    fn read_on(&mut self, cursor: Cursor, max_rows: u32, sink: &mut impl Sink) -> Result<(), SqlError> {
        self.check()?;
        match self.cursors().remove(&cursor) {
            Some(OpenCursor::Sql(mut open)) => {
                let _for = heap::enter(&self.connection()?.heap);
                if self.rows(&mut open.statement, max_rows.max(1) as usize, sink)? {
                    self.cursors().insert(cursor, OpenCursor::Sql(open));
                } else {
                    self.keep_statement(open);
                    self.cursors().insert(cursor, OpenCursor::Ended);
                }
                Ok(())
            }
            Some(OpenCursor::Ended) => {
                self.cursors().insert(cursor, OpenCursor::Ended);
                Ok(())
            }
            _ => Err(SqlError::Closed),
        }
    }

    /// Compiles the first statement of the text, or takes it from the cache.
    fn prepare<'a>(&mut self, text: &'a str, whole: bool) -> Result<Prepared<'a>, SqlError> {
        if first_word(text).eq_ignore_ascii_case("vacuum") {
            return Err(SqlError::NotAuthorized("VACUUM".into()));
        }
        let connection = self.connection()?;
        connection.session.take_seen();
        if whole && let Some((cached, statement)) = connection.take_statement(text) {
            self.pay(text.len() as u64)?;
            return Ok(Prepared { statement, schema: false, text: Some(cached), rest: "" });
        }
        running::note_compiled();
        let mut prepared = connection.compile(text);
        if connection.bound_auxiliary() {
            connection.session.take_seen();
            prepared = connection.compile(text);
        }
        if let Err(error) = &prepared
            && let Some(limited) = connection.prepare_limited(error, text)
        {
            prepared = Ok(limited);
        }
        // Compiling costs about a step a byte; the same is charged when the cache saves it, so that it does not show.
        let (statement, length) = match prepared {
            Ok(prepared) => prepared,
            Err(error) => return Err(self.refused(error)),
        };
        let session = self.connection()?.session.clone();
        let seen = session.take_seen();
        self.settle(length as u64)?;
        session.tick(0).map_err(|exhausted| self.exhausted(exhausted))?;
        let rest = skip_blank(&text[length..]);
        let statement = statement.ok_or(SqlError::NoStatement)?;
        let repeats = REPEATS.iter().any(|word| first_word(text).eq_ignore_ascii_case(word));
        let cacheable = whole && rest.is_empty() && repeats && !seen.pragma && statement.memory() <= STATEMENT_KEPT_MAX;
        Ok(Prepared { statement, schema: seen.schema, text: cacheable.then(|| text.into()), rest })
    }

    /// Everything before the first step: parameters, transaction, savepoint.
    fn start(&mut self, call: &mut Call, prepared: &Prepared<'_>, given: &[Value]) -> Result<(), SqlError> {
        let takes = prepared.statement.parameters();
        if takes != given.len() {
            return Err(SqlError::ParameterCount { takes: takes as u32, given: given.len() as u32 });
        }
        if prepared.statement.is_readonly() {
            return Ok(()); // CREATE … IF NOT EXISTS too, when it exists.
        }
        self.writing()?;
        if prepared.schema {
            self.changed_schema();
            // SQLite cannot drop what an open statement reads.
            self.close_sql_cursors(|_| true);
        }
        if !call.savepoint && (call.several || prepared.schema || prepared.statement.columns() > 0) {
            call.changed_rows = self.changed_rows();
            self.host_statement("SAVEPOINT _hf_call")?;
            call.savepoint = true;
        }
        Ok(())
    }

    /// Runs a statement to its end; its rows are not wanted.
    fn run_through(&mut self, call: &mut Call, mut prepared: Prepared<'_>) -> Result<(), SqlError> {
        let before = self.connection()?.guest().total_changes();
        loop {
            let code = prepared.statement.step();
            self.after_step(&mut prepared.statement, code)?;
            if code == ffi::SQLITE_DONE {
                return self.finish(call, &prepared, before);
            }
        }
    }

    fn run_last(
        &mut self,
        call: &mut Call,
        mut prepared: Prepared<'_>,
        parameters: &[Value],
        sink: &mut impl Sink,
    ) -> Result<(), SqlError> {
        self.start(call, &prepared, parameters)?;
        for (index, value) in parameters.iter().enumerate() {
            if prepared.statement.bind(index + 1, value) != ffi::SQLITE_OK {
                let error = last_error(self.connection()?.guest());
                return Err(self.refused(error));
            }
        }
        let before = self.connection()?.guest().total_changes();
        let first = prepared.statement.step();
        self.after_step(&mut prepared.statement, first)?;
        // Asked after the first step: a cached statement is compiled anew there when the schema has changed.
        if prepared.statement.columns() > 0 {
            sink.columns(&prepared.statement);
        }
        let more = first == ffi::SQLITE_ROW && self.rows(&mut prepared.statement, FIRST_ROWS, sink)?;
        if !more {
            self.finish(call, &prepared, before)?;
        }
        let writes = !prepared.statement.is_readonly();
        let cursor = SqlCursor { statement: prepared.statement, text: prepared.text, writes };
        if more {
            call.more = Some(self.open_cursor(OpenCursor::Sql(cursor))?);
            call.held = writes;
        } else {
            self.keep_statement(cursor);
        }
        call.last_insert_rowid = self.connection()?.guest().last_insert_rowid();
        Ok(())
    }

    /// After a statement's last step: counts its changes and reads the schema if it changed that.
    fn finish(&mut self, call: &mut Call, prepared: &Prepared<'_>, before: u64) -> Result<(), SqlError> {
        let connection = self.connection()?;
        if prepared.schema && !prepared.statement.is_readonly() {
            return match reserved_name(connection) {
                Ok(None) => Ok(()),
                Ok(Some(name)) => Err(SqlError::NotAuthorized(format!("the name {name}"))),
                Err(_) => {
                    let error = last_error(connection.guest());
                    Err(self.refused(error))
                }
            };
        }
        if connection.guest().total_changes() != before {
            call.changes += changes(connection.guest());
        }
        Ok(())
    }

    /// Reads rows from the current one on. Returns whether the statement has a further row; otherwise it has ended.
    fn rows(&mut self, statement: &mut Statement, max: usize, sink: &mut impl Sink) -> Result<bool, SqlError> {
        let (mut rows, mut bytes, mut held) = (0, 0, None);
        loop {
            let columns = statement.columns();
            let mut row_bytes = 0;
            sink.row(columns);
            for column in 0..columns {
                let value = statement.value(column);
                row_bytes += value.bytes();
                if row_bytes > SQL_VALUE_MAX {
                    let row_bytes: usize = (0..columns).map(|column| statement.value(column).bytes()).sum();
                    self.pay(statement.take_steps())?;
                    return Err(SqlError::TooLarge(format!(
                        "a row has at most {SQL_VALUE_MAX} bytes, this one {row_bytes}"
                    )));
                }
                sink.value(value);
            }
            rows += 1;
            bytes += row_bytes + columns * size_of::<Value>();
            if bytes > ROWS_FREE && held.is_none() {
                // What the whole batch may take: it is cut when it has its bytes, after a row.
                held = self.connection()?.heap.hold(BATCH_BYTES + SQL_VALUE_MAX);
            }
            self.check_memory()?;
            let code = statement.step();
            self.after_step(statement, code)?;
            if code == ffi::SQLITE_DONE {
                return Ok(false);
            }
            if rows >= max || bytes >= BATCH_BYTES {
                self.pay(statement.take_steps())?;
                return Ok(true);
            }
        }
    }

    /// After each step of the guest's statements: its error, and at the end what it cost and whether the transaction is
    /// still there. In between the progress handler charges for it.
    fn after_step(&mut self, statement: &mut Statement, code: i32) -> Result<(), SqlError> {
        match code {
            ffi::SQLITE_ROW => Ok(()),
            ffi::SQLITE_DONE => self.settle(statement.take_steps()),
            _ => {
                let error = last_error(self.connection()?.guest());
                statement.reset();
                let paid = self.pay(statement.take_steps());
                let refused = self.refused(error);
                paid.and(Err(refused))
            }
        }
    }

    /// Keeps or undoes what the call did. A broken turn has nothing left to undo.
    fn end_savepoint(&mut self, keep: bool) -> Result<(), SqlError> {
        if self.check().is_err() {
            return Ok(());
        }
        let undone = if keep { Ok(()) } else { self.host_statement("ROLLBACK TO _hf_call") };
        // Half of a call must not become part of the turn.
        let ended = undone.and_then(|()| self.host_statement("RELEASE _hf_call"));
        ended.map_err(|error| self.failed(format!("a call could not be ended: {error}")))
    }

    /// Closes the cursors of statements that write: an open one would block savepoints and the turn's end.
    pub(super) fn close_writing_cursors(&mut self) {
        self.close_sql_cursors(|cursor| cursor.writes);
    }

    pub(super) fn close_sql_cursors(&mut self, which: impl Fn(&SqlCursor) -> bool) {
        let closing = self.cursors().extract_if(|_, cursor| matches!(cursor, OpenCursor::Sql(cursor) if which(cursor)));
        for (_, cursor) in closing.collect::<Vec<_>>() {
            if let OpenCursor::Sql(cursor) = cursor {
                self.keep_statement(cursor);
            }
        }
    }
}

/// Adds rows to a table of `bytes` bytes, as far as they fit. Returns its new size in bytes.
fn add_rows(table: &mut Table, mut bytes: usize, rows: Vec<Vec<Value>>) -> usize {
    for row in rows {
        table.truncated |= table.rows.len() >= TABLE_ROWS_MAX || bytes >= TABLE_BYTES_MAX;
        if table.truncated {
            break;
        }
        bytes += row.iter().map(|value| size_of::<Value>() + value.heap_bytes()).sum::<usize>();
        table.rows.push(row);
    }
    bytes
}

/// A name in the schema that only the host may give, or a reference to one of the host's tables. The authorizer is not
/// asked about the target of a rename, nor about the table that a foreign key refers to.
fn reserved_name(connection: &Connection) -> rusqlite::Result<Option<String>> {
    connection.host(|sqlite| {
        let mut statement = sqlite.prepare_cached(
            "SELECT name FROM sqlite_schema WHERE tbl_name NOT IN ('_hf_kv', '_hf_meta') UNION ALL
             SELECT f.\"table\" FROM sqlite_schema s, pragma_foreign_key_list(s.name) f WHERE s.type = 'table'",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let name = row.get_ref(0)?.as_str()?;
            if is_reserved(name) {
                return Ok(Some(name.into()));
            }
        }
        Ok(None)
    })
}

fn check_sizes(text: &str, parameters: &[Value]) -> Result<(), SqlError> {
    if text.len() > SQL_TEXT_MAX {
        let length = text.len();
        return Err(SqlError::TooLarge(format!("SQL text has at most {SQL_TEXT_MAX} bytes, this one {length}")));
    }
    if text.contains('\0') {
        let message = "the text contains a NUL character".into();
        return Err(SqlError::Sqlite(SqliteError { code: ffi::SQLITE_ERROR, message }));
    }
    match parameters.iter().map(Value::heap_bytes).find(|length| *length > SQL_VALUE_MAX) {
        Some(length) => {
            Err(SqlError::TooLarge(format!("a parameter has at most {SQL_VALUE_MAX} bytes, this one {length}")))
        }
        None => Ok(()),
    }
}

/// The text from its first statement on: without blanks, comments and semicolons. Compiling what follows a statement to
/// find out would not do, because it may depend on what the statement does.
fn skip_blank(mut text: &str) -> &str {
    loop {
        text = text.trim_start_matches([' ', '\t', '\n', '\r', '\x0c', ';', '\u{feff}']);
        text = if let Some(comment) = text.strip_prefix("--") {
            comment.find('\n').map_or("", |end| &comment[end..])
        } else if let Some(comment) = text.strip_prefix("/*") {
            comment.find("*/").map_or("", |end| &comment[end + 2..])
        } else {
            return text;
        };
    }
}

fn first_word(text: &str) -> &str {
    text.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_and_comments_are_no_statement() {
        for blank in ["", " \n\t", ";;", "-- all", "/* a */ -- b\n ;", "/* open", "--"] {
            assert_eq!(skip_blank(blank), "", "{blank:?}");
        }
        assert_eq!(skip_blank("; -- x\n/* y */ SELECT 1 -- z"), "SELECT 1 -- z");
        assert_eq!(skip_blank("/ 2"), "/ 2");
        assert_eq!(first_word("VACUUM;"), "VACUUM");
    }
}
