//! Applies the JSON list of storage operations in the body, in order and in one turn, and answers the list of their results.
//!
//! An operation that is refused has the result `{"error": <case of the contract>, "message": ...}` and does not fail the turn;
//! `{"op": "fail"}` does. Values are stored as they are, without the SDK's encoding, so that sizes are exact.

mod sql;

use holdfast::prelude::*;
use holdfast::serde_json::Value as Json;
use serde::Deserialize;

#[object]
struct Storage {
    ctx: Context,
}

#[derive(Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
enum Operation {
    Get { key: String },
    Put { key: String, value: String },
    PutBytesLen { key: String, len: usize },
    Delete { key: String },
    List(List),
    GetMany { keys: Vec<String> },
    PutMany { entries: Vec<(String, String)> },
    DeleteMany { keys: Vec<String> },
    Sql(sql::Statement),
    Fail,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    start: Option<String>,
    start_after: Option<String>,
    end: Option<String>,
    prefix: Option<String>,
    #[serde(default)]
    reverse: bool,
    limit: Option<u32>,
}

impl Object for Storage {
    fn new(ctx: Context) -> Result<Self> {
        Ok(Self { ctx })
    }

    fn fetch(&mut self, request: Request) -> Result<Response> {
        let operations: Vec<Operation> = match request.json() {
            Ok(operations) => operations,
            Err(bad) => return Ok(bad.into()),
        };
        let results: Result<Vec<Json>> = operations.into_iter().map(|operation| self.apply(operation)).collect();
        Ok(Response::json(&results?))
    }
}

impl Storage {
    fn apply(&self, operation: Operation) -> Result<Json> {
        let result = match operation {
            Operation::Sql(statement) => sql::run(&self.ctx, statement),
            Operation::Fail => bail!("told-to-fail", "as asked"),
            other => self.key_value(other).map_err(|error| refusal(case(&error), error)),
        };
        Ok(result.unwrap_or_else(|refusal| refusal))
    }

    fn key_value(&self, operation: Operation) -> Result<Json, StorageError> {
        let storage = self.ctx.storage();
        Ok(match operation {
            Operation::Get { key } => {
                let value = storage.get_bytes(key)?;
                json!({ "value": value.as_deref().map(String::from_utf8_lossy), "len": value.as_ref().map(Vec::len) })
            }
            Operation::Put { key, value } => done(storage.put_bytes(key, value)?),
            Operation::PutBytesLen { key, len } => done(storage.put_bytes(key, vec![b'x'; len])?),
            Operation::Delete { key } => json!({ "deleted": storage.delete(key)? }),
            Operation::List(list) => {
                let entries = storage.list_bytes(list.into())?.collect::<Result<Vec<_>, _>>()?;
                json!({ "entries": texts(entries) })
            }
            Operation::GetMany { keys } => json!({ "entries": texts(storage.get_many_bytes(keys)?) }),
            Operation::PutMany { entries } => done(storage.put_many_bytes(entries)?),
            Operation::DeleteMany { keys } => json!({ "deleted": storage.delete_many(keys)? }),
            Operation::Sql(_) | Operation::Fail => unreachable!("not of key-value"),
        })
    }
}

impl From<List> for ListOptions {
    fn from(list: List) -> Self {
        let mut options = ListOptions::new();
        if let Some(start) = list.start {
            options = options.start(start);
        }
        if let Some(start_after) = list.start_after {
            options = options.start_after(start_after);
        }
        if let Some(end) = list.end {
            options = options.end(end);
        }
        if let Some(prefix) = list.prefix {
            options = options.prefix(prefix);
        }
        if let Some(limit) = list.limit {
            options = options.limit(limit);
        }
        if list.reverse { options.reverse() } else { options }
    }
}

fn done((): ()) -> Json {
    json!({})
}

fn texts(entries: impl IntoIterator<Item = (String, Vec<u8>)>) -> Vec<(String, String)> {
    entries.into_iter().map(|(key, value)| (key, String::from_utf8_lossy(&value).into_owned())).collect()
}

fn refusal(case: &str, error: impl ToString) -> Json {
    json!({ "error": case, "message": error.to_string() })
}

fn case(error: &StorageError) -> &'static str {
    match error {
        StorageError::KeySize(_) => "key-size",
        StorageError::ValueSize(_) => "value-size",
        StorageError::TooMany(_) => "too-many",
        StorageError::BadRange(_) => "bad-range",
        StorageError::Full => "full",
        StorageError::Closed => "closed",
        _ => "other",
    }
}
