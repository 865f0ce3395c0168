//! Plain SQLite as the oracle for guests: random statements through a component, the contract and the host have the
//! same results as in plain SQLite: columns, rows, rows changed, rowids, errors; across turns that succeed, turns that
//! fail, and transactions.

use holdfast_runtime::base::Value;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use rusqlite::Connection as Sqlite;
use serde_json::{Value as Json, json};

use crate::harness::{Host, guest};

#[path = "../../runtime/src/storage/tests/plain.rs"]
mod plain;

use plain::{Answer, Step};

/// Converts a value to the form in which the guest writes and reads it.
fn value(value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Integer(number) => json!(number),
        Value::Real(number) => json!(number),
        Value::Text(text) => json!(text),
        Value::Blob(bytes) => json!({ "blob": hex::encode(bytes) }),
    }
}

fn operation(step: &Step) -> Json {
    match step {
        Step::Run(sql, parameters) => {
            json!({ "op": "sql", "text": sql, "params": parameters.iter().map(value).collect::<Vec<_>>() })
        }
        Step::Nested(steps, keep) => json!({ "op": "transaction", "ops": operations(steps), "undo": !keep }),
    }
}

fn operations(steps: &[Step]) -> Vec<Json> {
    steps.iter().map(operation).collect()
}

/// Returns the answer that the guest must give to these steps.
fn expected(plain: &Sqlite, steps: &[Step]) -> Vec<Json> {
    let step = |step: &Step| match step {
        Step::Run(sql, parameters) => answer(plain::run(plain, sql, parameters)),
        Step::Nested(steps, keep) => {
            plain.execute_batch("SAVEPOINT nested").unwrap();
            let results = expected(plain, steps);
            plain.execute_batch(if *keep { "RELEASE nested" } else { "ROLLBACK TO nested; RELEASE nested" }).unwrap();
            json!({ "results": results, "kept": keep })
        }
    };
    steps.iter().map(step).collect()
}

fn answer(answer: Answer) -> Json {
    match answer {
        Ok(table) => json!({
            "columns": table.columns,
            "rows": table.rows.iter().map(|row| row.iter().map(value).collect::<Vec<_>>()).collect::<Vec<_>>(),
            "changes": table.changes,
            "last_insert_rowid": table.last_insert_rowid,
        }),
        Err((code, message)) => {
            let case = if code & 0xff == rusqlite::ffi::SQLITE_CONSTRAINT { "constraint" } else { "sqlite" };
            json!({ "error": case, "message": message, "code": code })
        }
    }
}

/// Checks the rowid of the last insert, which is 0 again when the database is reopened: after the object was dormant,
/// and after a failed turn. Calls that insert set it again.
fn forget_old_rowids(asked: &Json, result: &mut Json) {
    // An upsert that updates inserts nothing.
    let inserts = |text: &str| text.contains("INSERT") && !text.contains("DO UPDATE");
    let inserts = result["changes"] != 0 && asked["text"].as_str().is_some_and(inserts);
    if let Some(results) = result.get_mut("results").and_then(Json::as_array_mut) {
        let asked = asked["ops"].as_array().expect("a transaction has operations");
        asked.iter().zip(results).for_each(|(asked, result)| forget_old_rowids(asked, result));
    } else if let Some(rowid) = result.get_mut("last_insert_rowid").filter(|_| !inserts) {
        *rowid = Json::Null;
    }
}

#[test]
fn a_guests_sql_is_sqlites() {
    let host = Host::start();
    host.deploy("storage", guest("storage"));
    let object = std::cell::Cell::new(0);
    let turns = prop::collection::vec((plain::steps(), prop::bool::weighted(0.7)), 1..4);
    let config = ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() };
    let tried = TestRunner::new(config).run(&turns, |turns| {
        object.set(object.get() + 1);
        let path = format!("/storage/object-{}", object.get());
        let turn = |operations: &[Json]| host.post(&path, json!(operations).to_string());
        // Kept in memory, so that rowids continue in both.
        turn(&[json!({ "op": "put", "key": "k", "value": "v" })]).json();
        let plain = plain::open();
        for (steps, stays) in &turns {
            plain.execute_batch("BEGIN").unwrap();
            let expected = expected(&plain, steps);
            let mut asked = operations(steps);
            // A failed turn returns no results; later turns show that nothing of it stays.
            asked.extend((!stays).then(|| json!({ "op": "fail" })));
            let answer = turn(&asked);
            if *stays && plain.execute_batch("COMMIT").is_ok() {
                let answers: Vec<Json> = serde_json::from_value(answer.json()).expect("a list");
                for ((asked, mut answer), mut expected) in asked.iter().zip(answers).zip(expected) {
                    forget_old_rowids(asked, &mut answer);
                    forget_old_rowids(asked, &mut expected);
                    prop_assert_eq!(answer, expected, "{}", asked);
                }
            } else {
                plain.execute_batch("ROLLBACK").unwrap();
                prop_assert_eq!(answer.status, 500);
            }
        }
        Ok(())
    });
    tried.unwrap_or_else(|error| panic!("{error}"));
}
