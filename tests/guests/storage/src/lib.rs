//! Applies the JSON list of storage operations in the body, in order and in one turn, and answers the list of their
//! results.
//!
//! An operation that is refused has the result `{"error": <case of the contract>, "message": ..., "code": <SQLite's or
//! null>}` and does not fail the turn; `fail` and `panic` do. Values are stored as they are, without the SDK's
//! encoding, so that sizes are exact.
//!
//! | `op` | with | result |
//! |---|---|---|
//! | `get` | `key` | `value`: text or null, `len` |
//! | `put` | `key`, `value` | |
//! | `put_bytes_len` | `key`, `len` of a value made of `x` | |
//! | `delete` | `key` | `deleted`: bool |
//! | `get_many` | `keys` | `entries`: `[[key, value], ..]` |
//! | `put_many` | `entries` | |
//! | `delete_many` | `keys` | `deleted`: how many |
//! | `list` | `start`?, `start_after`?, `end`?, `prefix`?, `reverse`?, `limit`? | `entries` |
//! | `scan_list` | as `list` | reads without keeping: `entries`: how many, `grown` |
//! | `sql` | `text`, `params`?, `batch`? | `columns`, `rows`, `changes`, `last_insert_rowid`; with `batch`, rows come so many at a time, and `batches` has the sizes |
//! | `scan` | `text`, `params`? | reads without keeping: `rows`: how many, `sum` of the first column (integers), `grown` |
//! | `migrate` | `steps`: SQL, or `{"code": name}`, which sets the key `migrated` to `code` | |
//! | `transaction` | `ops`, `undo`?: bool | `results` of the `ops`, `kept`: bool. With `undo` the closure fails after them |
//! | `open_savepoint` | | `savepoint`: its number, from 0 for each instance |
//! | `keep`, `undo`, `drop` | `savepoint` | ends it. Otherwise it is still open at the end of the turn |
//! | `size` | | `size` |
//! | `delete_all`, `sync` | | |
//! | `set_alarm` | `in`: milliseconds | refused, because the class has no handler |
//! | `open_rows` | `text`, `params`? | `rows`: how many came at once, `more`: whether a cursor is kept in the instance |
//! | `next_rows` | `max` | `rows`, from the kept cursor, in this turn or a later one |
//! | `open_entries` | as `list` | keeps a listing in the instance |
//! | `next_entries` | `max` | `entries`, from the kept listing |
//! | `fail` | | fails the turn with `told-to-fail` |
//! | `panic` | | panics |
//!
//! `params` and rows are JSON, BLOBs `{"blob": <hex>}`. `grown` is the growth of the linear memory meanwhile, in bytes.

mod kept;
mod key_value;
mod sql;

use std::time::Duration;

use holdfast::prelude::*;
use holdfast::serde_json::Value as Json;
use holdfast::sql::Migration;
use serde::Deserialize;

use kept::Kept;
use key_value::{List, texts};

#[object]
struct Storage {
    ctx: Context,
    kept: Kept,
}

#[derive(Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
enum Operation {
    Get {
        key: String,
    },
    Put {
        key: String,
        value: String,
    },
    PutBytesLen {
        key: String,
        len: usize,
    },
    Delete {
        key: String,
    },
    GetMany {
        keys: Vec<String>,
    },
    PutMany {
        entries: Vec<(String, String)>,
    },
    DeleteMany {
        keys: Vec<String>,
    },
    List(List),
    ScanList(List),
    Sql(sql::Statement),
    Scan(sql::Statement),
    Migrate {
        steps: Vec<Step>,
    },
    Transaction {
        ops: Vec<Operation>,
        #[serde(default)]
        undo: bool,
    },
    OpenSavepoint,
    Keep {
        savepoint: usize,
    },
    Undo {
        savepoint: usize,
    },
    Drop {
        savepoint: usize,
    },
    Size,
    DeleteAll,
    Sync,
    SetAlarm {
        r#in: u64,
    },
    OpenRows(sql::Statement),
    NextRows {
        max: u32,
    },
    OpenEntries(List),
    NextEntries {
        max: u32,
    },
    Fail,
    Panic,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Step {
    Sql(String),
    Code { code: String },
}

/// The code of errors that fail the turn in place of being a result.
const FAIL: &str = "told-to-fail";
/// The code of the error that undoes a transaction.
const UNDO: &str = "told-to-undo";

impl Object for Storage {
    fn new(ctx: Context) -> Result<Self> {
        Ok(Self { ctx, kept: Kept::default() })
    }

    fn fetch(&mut self, request: Request) -> Result<Response> {
        match request.json() {
            Ok(operations) => Ok(Response::json(&self.results(operations)?)),
            Err(bad) => Ok(bad.into()),
        }
    }
}

impl Storage {
    fn results(&mut self, operations: Vec<Operation>) -> Result<Vec<Json>> {
        let result = |operation| match self.apply(operation) {
            Err(error) if error.code() != FAIL => Ok(refusal(&error)),
            result => result,
        };
        operations.into_iter().map(result).collect()
    }

    fn apply(&mut self, operation: Operation) -> Result<Json> {
        let storage = self.ctx.storage();
        Ok(match operation {
            Operation::Get { key } => {
                let value = storage.get_bytes(key)?;
                json!({ "value": value.as_deref().map(String::from_utf8_lossy), "len": value.as_ref().map(Vec::len) })
            }
            Operation::Put { key, value } => done(storage.put_bytes(key, value)?),
            Operation::PutBytesLen { key, len } => done(storage.put_bytes(key, vec![b'x'; len])?),
            Operation::Delete { key } => json!({ "deleted": storage.delete(key)? }),
            Operation::GetMany { keys } => json!({ "entries": texts(storage.get_many_bytes(keys)?) }),
            Operation::PutMany { entries } => done(storage.put_many_bytes(entries)?),
            Operation::DeleteMany { keys } => json!({ "deleted": storage.delete_many(keys)? }),
            Operation::List(list) => key_value::list(&self.ctx, list)?,
            Operation::ScanList(list) => key_value::scan(&self.ctx, list)?,
            Operation::Sql(statement) => sql::run(&self.ctx, statement)?,
            Operation::Scan(statement) => sql::scan(&self.ctx, statement)?,
            Operation::Migrate { steps } => done(self.ctx.sql().migrate(steps.iter().map(Migration::from))?),
            Operation::Transaction { ops, undo } => self.transaction(ops, undo)?,
            Operation::OpenSavepoint => self.kept.open_savepoint()?,
            Operation::Keep { savepoint } => done(self.kept.savepoint(savepoint)?.keep().map_err(StorageError::from)?),
            Operation::Undo { savepoint } => done(self.kept.savepoint(savepoint)?.undo().map_err(StorageError::from)?),
            Operation::Drop { savepoint } => done(self.kept.drop_savepoint(savepoint)?),
            Operation::Size => json!({ "size": storage.size()? }),
            Operation::DeleteAll => done(storage.delete_all()?),
            Operation::Sync => done(storage.sync()?),
            Operation::SetAlarm { r#in } => done(self.ctx.alarm().set(Duration::from_millis(r#in))?),
            Operation::OpenRows(statement) => self.kept.open_rows(statement)?,
            Operation::NextRows { max } => self.kept.next_rows(max)?,
            Operation::OpenEntries(list) => done(self.kept.open_entries(list)?),
            Operation::NextEntries { max } => self.kept.next_entries(max)?,
            Operation::Fail => bail!(FAIL, "as asked"),
            Operation::Panic => panic!("as asked"),
        })
    }

    fn transaction(&mut self, operations: Vec<Operation>, undo: bool) -> Result<Json> {
        let mut results = vec![];
        let ended = self.ctx.storage().transaction(|| {
            results = self.results(operations)?;
            ensure!(!undo, UNDO, "as asked");
            Ok(())
        });
        match ended {
            Err(error) if error.code() != UNDO => Err(error),
            _ => Ok(json!({ "results": results, "kept": ended.is_ok() })),
        }
    }
}

impl<'a> From<&'a Step> for Migration<'a> {
    fn from(step: &'a Step) -> Self {
        match step {
            Step::Sql(text) => Self::Sql(text),
            Step::Code { code } => Self::Code(code, |ctx| Ok(ctx.storage().put_bytes("migrated", "code")?)),
        }
    }
}

fn done((): ()) -> Json {
    json!({})
}

/// Returns by how many bytes the linear memory grows while `work` runs.
fn growth<T>(work: impl FnOnce() -> Result<T>) -> Result<(T, usize)> {
    #[cfg(target_family = "wasm")]
    let size = || core::arch::wasm32::memory_size(0) << 16;
    #[cfg(not(target_family = "wasm"))] // Checked there, never run.
    let size = || 0;
    let before = size();
    let result = work()?;
    Ok((result, size() - before))
}

fn refusal(error: &Error) -> Json {
    let (code, message) = match error.downcast_ref() {
        Some(SqlError::Constraint { code, message } | SqlError::Sqlite { code, message }) => {
            (Some(code), message.clone())
        }
        _ => (None, error.to_string()),
    };
    json!({ "error": error.case().unwrap_or(error.code()), "message": message, "code": code })
}
