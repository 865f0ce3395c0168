//! The operation `sql`: parameters and rows as JSON, with BLOBs as `{"blob": <hex>}`.
//!
//! With `batch` the rest of the result is read through the cursor, so many rows at a time, and the sizes of all batches are
//! answered; this goes past the SDK, which chooses the batches itself.

use holdfast::__private::bindings::holdfast::object::sql as contract;
use holdfast::prelude::*;
use holdfast::serde_json::Value as Json;
use holdfast::sql::Value;
use serde::Deserialize;

use crate::refusal;

/// A statement with its parameters.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    text: String,
    #[serde(default)]
    params: Vec<Json>,
    batch: Option<u32>,
}

/// Runs a statement; a refusal is JSON as well.
pub fn run(ctx: &Context, Statement { text, params, batch }: Statement) -> Result<Json, Json> {
    let params = params.iter().map(parameter).collect::<Result<Vec<_>, Json>>()?;
    match batch {
        None => whole(ctx, &text, params),
        Some(rows) => batches(&text, &params, rows),
    }
    .map_err(|error| refusal(case(&error), error))
}

fn whole(ctx: &Context, text: &str, params: Vec<Value>) -> Result<Json, SqlError> {
    let mut result = ctx.sql().exec(text, params)?;
    let rows = result.by_ref().map(|row| Ok(json_row(row?.into_values()))).collect::<Result<Vec<_>, SqlError>>()?;
    Ok(json!({
        "columns": result.columns(),
        "rows": rows,
        "changes": result.changes(),
        "last_insert_rowid": result.last_insert_rowid(),
    }))
}

fn batches(text: &str, params: &[Value], max_rows: u32) -> Result<Json, SqlError> {
    let outcome = contract::exec(text, params)?;
    let mut sizes = vec![outcome.rows.len()];
    let mut rows = outcome.rows;
    if let Some(cursor) = outcome.more {
        loop {
            let batch = cursor.next(max_rows)?;
            sizes.push(batch.len());
            if batch.is_empty() {
                break;
            }
            rows.extend(batch);
        }
    }
    Ok(json!({
        "columns": outcome.columns,
        "rows": rows.into_iter().map(json_row).collect::<Vec<_>>(),
        "changes": outcome.changes,
        "last_insert_rowid": outcome.last_insert_rowid,
        "batches": sizes,
    }))
}

fn parameter(json: &Json) -> Result<Value, Json> {
    let unknown = || refusal("bad-parameter", json);
    Ok(match json {
        Json::Null => Value::Null,
        Json::Number(number) => match number.as_i64() {
            Some(integer) => integer.into(),
            None => number.as_f64().ok_or_else(unknown)?.into(),
        },
        Json::String(text) => text.into(),
        Json::Object(object) => {
            let hex = object.get("blob").and_then(Json::as_str).ok_or_else(unknown)?;
            let bytes =
                hex.as_bytes().chunks(2).map(|digits| u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok());
            bytes.collect::<Option<Vec<u8>>>().ok_or_else(unknown)?.into()
        }
        Json::Bool(_) | Json::Array(_) => return Err(unknown()),
    })
}

fn json_row(row: Vec<Value>) -> Vec<Json> {
    row.into_iter()
        .map(|value| match value {
            Value::Null => Json::Null,
            Value::Integer(integer) => integer.into(),
            Value::Real(real) => real.into(),
            Value::Text(text) => text.into(),
            Value::Blob(bytes) => {
                json!({ "blob": bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>() })
            }
        })
        .collect()
}

fn case(error: &SqlError) -> &'static str {
    match error {
        SqlError::NoStatement => "no-statement",
        SqlError::NotAuthorised(_) => "not-authorised",
        SqlError::ParameterCount { .. } => "parameter-count",
        SqlError::TooLarge(_) => "too-large",
        SqlError::Constraint { .. } => "constraint",
        SqlError::Full => "full",
        SqlError::Closed => "closed",
        SqlError::Sqlite { .. } => "sqlite",
        _ => "other",
    }
}
