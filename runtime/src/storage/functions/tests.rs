//! The host's functions return what SQLite's return; and the worst cost of each function of SQLite.

use proptest::prelude::*;
use rusqlite::Connection;
use rusqlite::types::Value;

use super::*;
use crate::base::limits::FUEL_PER_SQL_STEP;
use crate::base::{Env, WorkBudget};
use crate::storage::connection::{configure_process, set_limits};

fn original() -> Connection {
    configure_process();
    let mut connection = Connection::open_in_memory().unwrap();
    set_limits(&mut connection).unwrap();
    connection
}

fn ours() -> (Connection, Arc<Session>) {
    let (connection, session) = (original(), Arc::new(Session::default()));
    register(&connection, &session).unwrap();
    (connection, session)
}

/// Values that are similar enough to have something in common: short, of a few characters, some of them not UTF-8.
fn value() -> impl Strategy<Value = Value> {
    let piece = prop::sample::select(vec![
        &b"a"[..],
        b"b",
        b"B",
        b"ab",
        b" ",
        b"0",
        b"f",
        b"F7",
        b"\0",
        b"\xc3",
        b"\xa9",
        b"\xc3\xa9",
        b"\xe2\x82\xac",
        b"\xe2",
        b"\xf0\x9f\x98\x80",
        b"\xff",
        b"\xed\xa0\x80",
        b"\xc1\xa1",
    ]);
    let bytes = prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat());
    prop_oneof![
        1 => Just(Value::Null),
        1 => (-12i64..120).prop_map(Value::Integer),
        1 => prop::sample::select(vec![0.5, -1e300, 12.0]).prop_map(Value::Real),
        4 => bytes.clone().prop_map(Value::Blob),
        // JSON.
        2 => prop::sample::select(vec!["{}", "[1,2]", "{\"a\":1,\"b\":{\"a\":2}}", "{\"b\":{\"a\":null,\"c\":[1]},\"a\":null}", "{a:1}", "{\"a\":", "\"x\""])
            .prop_map(|json| Value::Text(hex::encode(json))),
        // As text; `CAST` below converts it.
        8 => bytes.prop_map(|bytes| Value::Text(hex::encode(bytes))),
    ]
}

/// Returns the value of the expression, with its type and its bytes, or the error.
fn answer(connection: &Connection, function: &str, arguments: &[Value]) -> Result<(String, Option<Vec<u8>>), String> {
    let given: Vec<String> = arguments
        .iter()
        .enumerate()
        .map(|(n, value)| match value {
            Value::Text(_) => format!("CAST(unhex(?{}) AS TEXT)", n + 1),
            _ => format!("?{}", n + 1),
        })
        .collect();
    let sql = format!("SELECT typeof(v), CAST(v AS BLOB) FROM (SELECT {function}({}) AS v)", given.join(", "));
    let mut statement = connection.prepare(&sql).unwrap();
    let row = statement.query_row(rusqlite::params_from_iter(arguments), |row| Ok((row.get(0)?, row.get(1)?)));
    row.map_err(|error| error.to_string())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn the_same_is_answered(x in value(), y in value(), z in value()) {
        thread_local! { static BOTH: (Connection, (Connection, Arc<Session>)) = (original(), ours()) }
        BOTH.with(|(original, (ours, _))| {
            for (name, count, _) in FUNCTIONS {
                let (name, all) = (name.to_str().unwrap(), [x.clone(), y.clone(), z.clone()]);
                let arguments = &all[..count as usize];
                prop_assert_eq!(answer(ours, name, arguments), answer(original, name, arguments), "{} {:?}", name, arguments);
            }
            Ok(())
        })?;
    }
}

/// An argument may be read again after a function has read it.
#[test]
fn arguments_stay_what_they_are() {
    let (ours, _session) = ours();
    let kinds = "SELECT instr(x, 'b') || typeof(x) || instr('b', x) || typeof(x) FROM (SELECT x'6162' AS x)";
    assert_eq!(ours.query_row(kinds, [], |row| row.get::<_, String>(0)).unwrap(), "2blob0blob");
}

/// Calls that take minutes with SQLite's own functions.
const MONSTERS: [&str; 5] = [
    "SELECT instr(printf('%.*c', 1900000, 'a'), printf('%.*c', 900000, 'a') || 'b')",
    "SELECT length(replace(printf('%.*c', 1900000, 'a'), printf('%.*c', 900000, 'a') || 'b', 'c'))",
    "SELECT length(trim(printf('%.*c', 1900000, 'a'), printf('%.*c', 1900000, 'b') || 'a'))",
    "SELECT length(rtrim(printf('%.*c', 900000, 'é'), printf('%.*c', 900000, 'ü') || 'é'))",
    "SELECT length(unhex(printf('%.*c', 1900000, 'x'), printf('%.*c', 1900000, 'y') || 'x'))",
];

#[test]
fn long_values_take_no_longer_than_they_are_long() {
    let (ours, session) = ours();
    for monster in MONSTERS {
        let budget = WorkBudget::new(u64::MAX, || false);
        session.begin_turn(&budget, true);
        ours.query_row(monster, [], |_| Ok(())).unwrap();
        // Work for a hundredth of a second; SQLite's own functions take 10 s and more.
        assert!(u64::MAX - budget.remaining() < 1_000_000 * FUEL_PER_SQL_STEP, "{monster}");
    }
}

/// A set of characters that occur in no text makes each comparison long; the turn's work limit ends it.
#[test]
fn what_takes_long_ends_with_the_turn() {
    let (ours, session) = ours();
    let budget = WorkBudget::new(1_000_000 * FUEL_PER_SQL_STEP, || false);
    session.begin_turn(&budget, true);
    // Characters of 2, 3, 4 … bytes, which only text that is not UTF-8 has.
    let set: Vec<u8> = (1..1_900).flat_map(|n| [&b"\xc3"[..], &vec![0x80; n]].concat()).chain(*b"a").collect();
    let text = "a".repeat(1_900_000);
    let ended = ours.query_row("SELECT length(trim(?1, CAST(?2 AS TEXT)))", (text, set), |row| row.get::<_, i64>(0));
    assert_eq!(ended.unwrap_err().sqlite_error_code(), Some(rusqlite::ErrorCode::OperationInterrupted));
}

/// The worst case of each function that takes text, a blob or JSON: the table of decision 10. `a` is 1.9 MB of one
/// letter; `j` is JSON of that size, an object with as many members as fit.
#[test]
#[ignore = "prints a table: cargo test --release --lib functions::tests::the_worst -- --ignored --nocapture"]
fn the_worst_of_each_function() {
    const CALLS: [&str; 62] = [
        "length(a)",
        "octet_length(a)",
        "upper(a)",
        "lower(a)",
        "hex(substr(a, 1, 999000))",
        "quote(a)",
        "unistr_quote(a)",
        "unistr(a)",
        "unhex(a)",
        "trim(a, 'a')",
        "trim(e, ' é')",
        "substr(a, 1000000)",
        "substr(a, -5)",
        "unicode(a)",
        "soundex(a)",
        "instr(a, 'b')",
        "instr(a, substr(a, 1, 1000) || 'b')",
        "replace(a, 'b', 'c')",
        "replace(a, 'a', 'b')",
        "replace(a, substr(a, 1, 1000) || 'b', 'c')",
        "trim(a, substr(a, 1, 1000))",
        "trim(a, 'bcdefghijklmnopqrstuvwxyz' || 'a')",
        "unhex(substr(a, 1, 9000) , substr(a, 1, 9000) || 'x')",
        "a LIKE '%b'",
        "a LIKE '%' || substr(a, 1, 48) || 'b'",
        "a LIKE '%a_a_a_a_a_a_a_a_a_a_a_a_a_a_a_a_a_a_a_a_a_a_a_b'",
        "a LIKE '%a%a%a%a%a%a%a%a%a%a%a%b'",
        "a GLOB '*' || substr(a, 1, 48) || 'b'",
        "a GLOB '*[a-c][a-c][a-c][a-c][a-c][a-c][a-c][a-c][a-c]b'",
        "a GLOB '*[zyxwvutsrqponmlkjihgfedcbzyxwvutsrqponmlkjihgfa]b'",
        "e LIKE '%' || substr(e, 1, 48) || 'b'",
        "printf('%.*c', 1900000, 'x')",
        "printf('%1900000s', 'x')",
        "printf('%q', a)",
        "printf('%w', a)",
        "printf('%!.5s', a)",
        "printf('%.1900000f', 1.0)",
        "printf('%d', replace(substr(a, 1, 100), 'a', '1'))",
        "concat(substr(a, 1, 900000), a)",
        "concat_ws(',', 'x', a)",
        "char(97)",
        "randomblob(1900000)",
        "zeroblob(1900000)",
        "a < a || ''",
        "a = a COLLATE NOCASE",
        "CAST(a AS INTEGER)",
        "strftime(replace(substr(a, 1, 60000), 'a', '%J'), 0)",
        "strftime(replace(substr(a, 1, 900000), 'a', '%J'), 0)",
        "length(printf(replace(substr(a, 1, 900000), 'a', '%d')))",
        "json(j)",
        "jsonb(j)",
        "json_valid(j)",
        "json_pretty(n)",
        "json_extract(j, '$.k99999')",
        "json_set(j, '$.k99999', 1)",
        "json_remove(j, '$.k0', '$.k1', '$.k2', '$.k3')",
        "json_type(j)",
        "json_array_length(n)",
        "json_quote(a)",
        "json_group_array(a)",
        "json_patch(substr(j, 1, 20000 - instr(substr(j, 20000, 100), ',')) || '}', substr(j, 1, 1000 - instr(substr(j, 1000, 100), ',')) || '}')",
        "json_extract(d, '$[0]')",
    ];
    let (connection, env) = (original(), Env::system());
    connection
        .execute_batch(
            "CREATE TABLE v AS SELECT printf('%.*c', 1900000, 'a') AS a, printf('%.*c', 900000, 'é') AS e,
               (SELECT '{' || group_concat('\"k' || value || '\":1') || '}' FROM (WITH RECURSIVE c(value) AS
               (SELECT 0 UNION ALL SELECT value + 1 FROM c WHERE value < 150000) SELECT value FROM c)) AS j,
               '[' || printf('%.*c', 900, '[') || replace(printf('%.*c', 600000, '1'), '1', '1,') || '1' || printf('%.*c', 900, ']') || ']' AS n,
               printf('%.*c', 990, '[') || printf('%.*c', 990, ']') AS d",
        )
        .unwrap();
    for call in CALLS {
        let sql = format!("SELECT typeof(coalesce({call}, 0)) FROM v");
        let begun = env.thread_cpu();
        let ended = connection.query_row(&sql, [], |row| row.get::<_, String>(0));
        println!(
            "| `{call}` | {:.1} ms | {} |",
            (env.thread_cpu() - begun).as_secs_f64() * 1e3,
            ended.unwrap_or_else(|error| error.to_string())
        );
    }
}

#[test]
fn json_stays_json_and_has_its_price() {
    let (ours, session) = ours();
    let one = |sql: &str| ours.query_row(sql, [], |row| row.get::<_, String>(0));
    assert_eq!(one("SELECT json_array(json_patch('{\"a\":1}', '{\"b\":2}'))").unwrap(), "[{\"a\":1,\"b\":2}]");
    assert_eq!(one("SELECT json(jsonb_patch('{\"a\":1}', '{\"a\":null}'))").unwrap(), "{}");
    let object = |members: u32, prefix: &str| {
        let members: Vec<String> = (0..members).map(|n| format!("\"{prefix}{n}\":1")).collect();
        format!("{{{}}}", members.join(","))
    };
    let patch = "SELECT length(json_patch(?1, ?2))";
    let run = |target: u32, patched: u32| {
        ours.query_row(patch, (object(target, "k"), object(patched, "x")), |row| row.get::<_, i64>(0))
    };
    let refused = run(150_000, 100_000).unwrap_err();
    assert_eq!(refused.sqlite_error_code(), Some(rusqlite::ErrorCode::TooBig));
    let budget = WorkBudget::new(1_000_000 * FUEL_PER_SQL_STEP, || false);
    session.begin_turn(&budget, true);
    run(1_000, 10).unwrap();
    let refused = run(20_000, 200).unwrap_err();
    assert_eq!(refused.sqlite_error_code(), Some(rusqlite::ErrorCode::OperationInterrupted));
}
