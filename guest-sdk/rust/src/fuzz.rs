//! The fuzz targets of the SDK: all code that reads bytes of callers, or stored values. `fuzz/` of the repository
//! runs it; nothing else but tests compiles it.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::Request;
use crate::sql::{Row, Value};
use crate::storage::{decode, encode};

/// A target's name and what it does with an input.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: [Target; 3] = [("value", value), ("row", row), ("request", request)];

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Sample {
    number: i64,
    name: Option<String>,
    #[serde(default)]
    list: Vec<u16>,
    state: State,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Open,
    Closed { by: u64 },
    Pair(bool, char),
}

/// A stored value: what can be read is written again as what reads the same.
fn value(input: &[u8]) {
    fn again<T: DeserializeOwned + Serialize + PartialEq + std::fmt::Debug>(input: &[u8]) {
        if let Ok(value) = decode::<T>("k", input) {
            let bytes = encode("k", &value).expect("it was read");
            assert_eq!(decode::<T>("k", &bytes).expect("it was written"), value);
        }
    }
    again::<Sample>(input);
    again::<BTreeMap<String, Vec<u64>>>(input);
    again::<(i8, String, Option<bool>)>(input);
    let _ = decode::<serde_json::Value>("k", input);
    let _ = decode::<f32>("k", input);
}

/// A row, made of the input: reading it as a type says what does not fit.
fn row(input: &[u8]) {
    let mut columns = vec![];
    let mut values = vec![];
    for (at, piece) in input.split(|byte| *byte == b';').enumerate().take(100) {
        let (kind, rest) = piece.split_first().map_or((0, piece), |(kind, rest)| (*kind, rest));
        let text = String::from_utf8_lossy(rest);
        columns.push(["number", "name", "list", "state", "other"][at % 5].to_owned());
        values.push(match kind {
            b'i' => Value::Integer(text.parse().unwrap_or(rest.len() as i64)),
            b'r' => Value::Real(text.parse().unwrap_or(0.5)),
            b't' => Value::Text(text.into_owned()),
            b'b' => Value::Blob(rest.to_vec()),
            _ => Value::Null,
        });
    }
    let row = Row::new(columns.into(), values);
    let _ = row.clone().to::<Sample>();
    let _ = row.clone().to::<BTreeMap<String, serde_json::Value>>();
    let _ = row.clone().to::<(Option<i64>, String, Vec<u8>)>();
    let _ = row.clone().to::<Vec<Option<State>>>();
    let _ = row.clone().to::<Option<[u8; 4]>>();
    let _ = row.clone().to::<u128>();
    let _ = row.to::<State>();
}

/// A request: its first line is the URI, the rest is the body.
fn request(input: &[u8]) {
    let (uri, body) = input.split_at(input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len()));
    let Ok(request) = http::Request::builder().uri(uri).body(body.to_vec()) else { return };
    let request = Request::from(request);
    let _ = (request.segments(), request.text(), request.prefix());
    let _ = request.json::<Sample>();
    let _ = request.json::<serde_json::Value>();
    let _ = request.query::<Sample>();
    let _ = request.query::<BTreeMap<String, Vec<String>>>();
}

#[cfg(test)]
mod tests {
    #[test]
    fn seeds_find_nothing() {
        let seeds = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds");
        for (name, target) in super::TARGETS {
            let files = std::fs::read_dir(seeds.join(name)).unwrap_or_else(|error| panic!("seeds of {name}: {error}"));
            for file in files {
                target(&std::fs::read(file.unwrap().path()).unwrap());
            }
        }
    }
}
