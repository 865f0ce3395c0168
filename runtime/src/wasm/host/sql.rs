//! `holdfast:object/sql` and `packed-sql`: the running turn's SQL, one to one.

use wasmtime::component::{HasData, Resource, ResourceTable};

use super::{Host, running};
use crate::storage::{self, SqlError, SqliteError, Turn, Value};
use crate::wasm::bindings::{packed_sql as packed, sql as wit};
use crate::wasm::resources::Cursor;

/// The part of a store that these interfaces need. The prices of SQL are charged where it runs.
pub(super) struct View<'a> {
    turn: &'a mut Option<Turn>,
    table: &'a mut ResourceTable,
}

impl HasData for View<'static> {
    type Data<'a> = View<'a>;
}

/// Borrows that part.
pub(super) fn view(host: &mut Host) -> View<'_> {
    View { turn: &mut host.turn, table: &mut host.table }
}

/// The answer to the guest; the outer error ends the turn.
type Answer<T> = wasmtime::Result<Result<T, wit::Error>>;

/// Converts errors for the guest; those that end the turn become a trap.
fn answer<T>(result: Result<T, SqlError>) -> Answer<T> {
    let error = match result {
        Ok(value) => return Ok(Ok(value)),
        Err(error) => error,
    };
    let from_sqlite = |SqliteError { code, message }| wit::SqliteError { code, message };
    Ok(Err(match error {
        SqlError::NoStatement => wit::Error::NoStatement,
        SqlError::NotAuthorized(what) => wit::Error::NotAuthorized(what),
        SqlError::ParameterCount { takes, given } => {
            wit::Error::ParameterCount(wit::ParameterCounts { expected: takes, given })
        }
        SqlError::TooLarge(what) => wit::Error::TooLarge(what),
        SqlError::Constraint(error) => wit::Error::Constraint(from_sqlite(error)),
        SqlError::Full => wit::Error::Full,
        SqlError::Closed => wit::Error::Closed,
        SqlError::Sqlite(error) => wit::Error::Sqlite(from_sqlite(error)),
        SqlError::Exhausted(exhausted) => return Err(exhausted.into()),
        SqlError::Other(what) => wit::Error::Other(what),
    }))
}

fn from_guest(value: wit::Value) -> Value {
    match value {
        wit::Value::Null => Value::Null,
        wit::Value::Integer(number) => Value::Integer(number),
        wit::Value::Real(number) => Value::Real(number),
        wit::Value::Text(text) => Value::Text(text),
        wit::Value::Blob(bytes) => Value::Blob(bytes),
    }
}

fn to_guest(rows: Vec<Vec<Value>>) -> Vec<Vec<wit::Value>> {
    let value = |value| match value {
        Value::Null => wit::Value::Null,
        Value::Integer(number) => wit::Value::Integer(number),
        Value::Real(number) => wit::Value::Real(number),
        Value::Text(text) => wit::Value::Text(text),
        Value::Blob(bytes) => wit::Value::Blob(bytes),
    };
    rows.into_iter().map(|row| row.into_iter().map(value).collect()).collect()
}

impl wit::Host for View<'_> {
    async fn exec(&mut self, text: String, parameters: Vec<wit::Value>) -> Answer<wit::ExecResult> {
        let parameters: Vec<Value> = parameters.into_iter().map(from_guest).collect();
        let outcome = match running(self.turn)?.exec_sliced(&text, &parameters).await {
            Ok(outcome) => outcome,
            Err(error) => return answer(Err(error)),
        };
        let more = self.cursor(outcome.more)?;
        Ok(Ok(wit::ExecResult {
            columns: outcome.columns,
            changes: outcome.changes,
            last_insert_rowid: outcome.last_insert_rowid,
            rows: to_guest(outcome.rows),
            more,
        }))
    }
}

impl packed::Host for View<'_> {
    async fn exec(&mut self, text: String, parameters: Vec<wit::Value>) -> Answer<packed::ExecResult> {
        let parameters: Vec<Value> = parameters.into_iter().map(from_guest).collect();
        let outcome = match running(self.turn)?.exec_packed_sliced(&text, &parameters).await {
            Ok(outcome) => outcome,
            Err(error) => return answer(Err(error)),
        };
        let more = self.cursor(outcome.more)?;
        let storage::PackedResult { changes, last_insert_rowid, result, .. } = outcome;
        Ok(Ok(packed::ExecResult { changes, last_insert_rowid, packed: result, more }))
    }

    async fn next(&mut self, cursor: Resource<Cursor>, max_rows: u32) -> Answer<Vec<u8>> {
        let cursor = self.table.get(&cursor)?.0;
        answer(running(self.turn)?.next_packed_sliced(cursor, max_rows).await)
    }
}

impl View<'_> {
    /// Gives the guest a handle to the rest of a result, if there is one.
    fn cursor(&mut self, cursor: Option<storage::Cursor>) -> wasmtime::Result<Option<Resource<Cursor>>> {
        Ok(cursor.map(|cursor| self.table.push(Cursor(cursor))).transpose()?)
    }
}

impl wit::HostCursor for View<'_> {
    async fn next(&mut self, cursor: Resource<Cursor>, max_rows: u32) -> Answer<Vec<Vec<wit::Value>>> {
        let cursor = self.table.get(&cursor)?.0;
        answer(running(self.turn)?.next_sliced(cursor, max_rows).await.map(to_guest))
    }

    fn drop(&mut self, cursor: Resource<Cursor>) -> wasmtime::Result<()> {
        let Cursor(cursor) = self.table.delete(cursor)?;
        // A cursor may outlive its turn in the guest's memory; then there is nothing left to close.
        if let Some(turn) = self.turn {
            turn.close(cursor);
        }
        Ok(())
    }
}
