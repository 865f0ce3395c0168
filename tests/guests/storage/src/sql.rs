//! SQL as JSON: statements with their parameters, rows, and scans of many of them.
//!
//! With `batch` the rest of the result is read through the cursor, this many rows at a time, and the sizes of all
//! batches are answered; this bypasses the SDK, which chooses the batches itself.

use holdfast::__private::bindings::holdfast::object::sql as contract;
use holdfast::prelude::*;
use holdfast::serde_json::Value as Json;
use holdfast::sql::Value;
use serde::Deserialize;

use crate::growth;

/// A statement with its parameters.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    pub text: String,
    #[serde(default)]
    pub params: Vec<Json>,
    batch: Option<u32>,
}

/// Runs a statement and returns all its rows.
pub fn run(ctx: &Context, Statement { text, params, batch }: Statement) -> Result<Json> {
    let params = parameters(&params)?;
    Ok(match batch {
        None => whole(ctx, &text, params)?,
        Some(rows) => batches(&text, &params, rows)?,
    })
}

/// Counts the rows, sums their first column (where it is an integer), and measures the memory that this takes.
pub fn scan(ctx: &Context, Statement { text, params, .. }: Statement) -> Result<Json> {
    let params = parameters(&params)?;
    let ((rows, sum), grown) = growth(|| {
        ctx.sql().exec(&text, params)?.try_fold((0_u64, 0_i64), |(rows, sum), row| {
            let first = match row?.values() {
                [Value::Integer(first), ..] => *first,
                _ => 0,
            };
            Ok((rows + 1, sum + first))
        })
    })?;
    Ok(json!({ "rows": rows, "sum": sum, "grown": grown }))
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
    let result = contract::exec(text, params)?;
    let mut sizes = vec![result.rows.len()];
    let mut rows = result.rows;
    if let Some(cursor) = result.more {
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
        "columns": result.columns,
        "rows": rows.into_iter().map(json_row).collect::<Vec<_>>(),
        "changes": result.changes,
        "last_insert_rowid": result.last_insert_rowid,
        "batches": sizes,
    }))
}

/// Converts JSON values to parameters.
pub fn parameters(params: &[Json]) -> Result<Vec<Value>> {
    params.iter().map(|json| parameter(json).ok_or_else(|| Error::new("bad-parameter", json))).collect()
}

fn parameter(json: &Json) -> Option<Value> {
    Some(match json {
        Json::Null => Value::Null,
        Json::Number(number) => match number.as_i64() {
            Some(integer) => integer.into(),
            None => number.as_f64()?.into(),
        },
        Json::String(text) => text.into(),
        Json::Object(object) => {
            let hex = object.get("blob")?.as_str()?.as_bytes().chunks(2);
            hex.map(|digits| u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok())
                .collect::<Option<Vec<u8>>>()?
                .into()
        }
        Json::Bool(_) | Json::Array(_) => return None,
    })
}

/// Converts a row to JSON.
pub fn json_row(row: Vec<Value>) -> Vec<Json> {
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
