//! `POST …/sql`: the JSON form of queries of one object and of their results.
//!
//! A value is null, a number, a text, or an object with one member for values without an exact form in JSON:
//! `{"base64": "…"}` is a blob, `{"integer": "…"}` an integer beyond ±(2^53 − 1), where many JSON parsers round, and
//! `{"real": "…"}` a real that is not finite. Integers have no fraction and no exponent, reals have one. Parameters use
//! the same forms.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Number, Value as Json, json};

use super::problem::{BAD_BODY, Problem};
use crate::base::{Query, Table, Value};

/// The largest integer that every JSON parser keeps exact.
const EXACT: i64 = (1 << 53) - 1;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    sql: String,
    #[serde(default)]
    parameters: Vec<Json>,
    #[serde(default)]
    write: bool,
}

/// The members of the answer.
#[derive(Serialize)]
pub(in crate::gateway) struct Answer {
    columns: Vec<String>,
    rows: Vec<Vec<Json>>,
    changes: u64,
    last_insert_rowid: Json,
    truncated: bool,
}

/// Parses the body of a request.
pub(in crate::gateway) fn read(body: &[u8]) -> Result<Query, Problem> {
    let bad = |why: String| Problem::new(&BAD_BODY, why);
    let asked: Asked = serde_json::from_slice(body).map_err(|error| bad(error.to_string()))?;
    let parameter = |(at, json)| from_json(json).map_err(|why| bad(format!("parameter {}: {why}", at + 1)));
    let parameters = asked.parameters.into_iter().enumerate().map(parameter).collect::<Result<_, _>>()?;
    Ok(Query { text: asked.sql, parameters, write: asked.write })
}

/// Returns the answer for a result.
pub(in crate::gateway) fn answer(table: Table) -> Answer {
    let row = |row: Vec<Value>| row.into_iter().map(to_json).collect();
    Answer {
        columns: table.columns,
        rows: table.rows.into_iter().map(row).collect(),
        changes: table.changes,
        last_insert_rowid: to_json(Value::Integer(table.last_insert_rowid)),
        truncated: table.truncated,
    }
}

fn to_json(value: Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Integer(number) if (-EXACT..=EXACT).contains(&number) => number.into(),
        Value::Integer(number) => json!({ "integer": number.to_string() }),
        Value::Real(number) => match Number::from_f64(number) {
            Some(number) => Json::Number(number),
            None => json!({ "real": if number > 0.0 { "Infinity" } else { "-Infinity" } }),
        },
        Value::Text(text) => text.into(),
        Value::Blob(bytes) => json!({ "base64": STANDARD.encode(bytes) }),
    }
}

fn from_json(json: Json) -> Result<Value, String> {
    match json {
        Json::Null => Ok(Value::Null),
        Json::String(text) => Ok(Value::Text(text)),
        Json::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(number), _) => Ok(Value::Integer(number)),
            (None, Some(real)) if number.is_f64() => Ok(Value::Real(real)),
            _ => Err(format!("{number} is not a 64-bit signed integer")),
        },
        Json::Object(object) => {
            let mut members = object.into_iter();
            match (members.next(), members.next()) {
                (Some((name, Json::String(text))), None) => from_member(&name, &text),
                _ => Err("an object has one member, `base64`, `integer` or `real`, which is a string".into()),
            }
        }
        Json::Bool(_) => Err("SQLite has no booleans; send 1 or 0".into()),
        Json::Array(_) => Err("a list is no value; send its JSON as a string".into()),
    }
}

fn from_member(name: &str, text: &str) -> Result<Value, String> {
    match name {
        "base64" => STANDARD.decode(text).map(Value::Blob).map_err(|error| format!("not base64: {error}")),
        "integer" => text.parse().map(Value::Integer).map_err(|_| format!("`{text}` is not a 64-bit signed integer")),
        "real" => text.parse().map(Value::Real).map_err(|_| format!("`{text}` is not a real")),
        _ => Err(format!("`{name}` is not one of `base64`, `integer` and `real`")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parameters(body: &str) -> Result<Vec<Value>, &'static str> {
        read(body.as_bytes()).map(|query| query.parameters).map_err(|problem| problem.code())
    }

    #[test]
    fn bodies_are_read_strictly() {
        let query = read(br#"{"sql": "SELECT 1"}"#).unwrap();
        assert!(query.text == "SELECT 1" && query.parameters.is_empty() && !query.write);
        assert!(read(br#"{"sql": "", "write": true}"#).unwrap().write);
        for bad in [
            "",
            "{}",
            "[]",
            r#"{"sql": 1}"#,
            r#"{"sql": "", "parameter": []}"#,
            r#"{"sql": "", "parameters": [true]}"#,
            r#"{"sql": "", "parameters": [[1]]}"#,
            r#"{"sql": "", "parameters": [9223372036854775808]}"#,
            r#"{"sql": "", "parameters": [{}]}"#,
            r#"{"sql": "", "parameters": [{"base64": 1}]}"#,
            r#"{"sql": "", "parameters": [{"base64": "a"}]}"#,
            r#"{"sql": "", "parameters": [{"base64": "", "integer": "1"}]}"#,
            r#"{"sql": "", "parameters": [{"integer": "1.0"}]}"#,
            r#"{"sql": "", "parameters": [{"number": "1"}]}"#,
        ] {
            assert_eq!(parameters(bad), Err("bad-body"), "{bad}");
        }
        let given = r#"{"sql": "", "parameters": [null, 1, 1.0, -9223372036854775808, "x", {"base64": "AP8="}]}"#;
        let values = [Value::Null, Value::Integer(1), Value::Real(1.0), Value::Integer(i64::MIN)];
        let rest = [Value::Text("x".into()), Value::Blob(vec![0, 255])];
        assert_eq!(parameters(given).unwrap(), values.into_iter().chain(rest).collect::<Vec<_>>());
    }

    #[test]
    fn integers_and_reals_are_told_apart() {
        for (value, json) in [
            (Value::Integer(EXACT), json!(9_007_199_254_740_991_i64)),
            (Value::Integer(EXACT + 1), json!({ "integer": "9007199254740992" })),
            (Value::Integer(i64::MIN), json!({ "integer": "-9223372036854775808" })),
            (Value::Real(1.0), json!(1.0)),
            (Value::Real(f64::INFINITY), json!({ "real": "Infinity" })),
            (Value::Real(f64::NEG_INFINITY), json!({ "real": "-Infinity" })),
        ] {
            assert_eq!(to_json(value.clone()).to_string(), json.to_string());
            assert_eq!(from_json(json), Ok(value));
        }
    }

    fn value() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            any::<i64>().prop_map(Value::Integer),
            any::<f64>().prop_filter("SQLite stores no NaN", |real| !real.is_nan()).prop_map(Value::Real),
            any::<String>().prop_map(Value::Text),
            any::<Vec<u8>>().prop_map(Value::Blob),
        ]
    }

    proptest! {
        #[test]
        fn every_value_comes_back(value in value()) {
            let text = to_json(value.clone()).to_string();
            prop_assert_eq!(from_json(serde_json::from_str(&text).unwrap()), Ok(value));
        }

        #[test]
        fn no_body_panics(bytes: Vec<u8>, text in r#"[{}\[\]":,a-z0-9. -]{0,40}"#) {
            let _ = read(&bytes);
            let _ = read(format!(r#"{{"sql": "", "parameters": [{text}]}}"#).as_bytes());
        }
    }
}
