//! SQL on its own stacks: how deep, how long, and how it ends when its result is not wanted any more.
//!
//! The constructs here are the worst of each kind that the limits admit (`docs/decisions/0009-sql-on-its-own-stacks.md`
//! has their stack use). Each runs on a thread whose own stack is much too small for it.

use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::*;
use crate::base::{Computing, CpuTimer, Exhausted, HeavyWork};

/// Less than a wasm fiber leaves to the host.
const LITTLE_STACK: usize = 1 << 20;

fn on_little_stack(run: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().stack_size(LITTLE_STACK).spawn(run).unwrap().join().unwrap();
}

fn timer(limits: &Limits) -> CpuTimer {
    let env = Env::system();
    CpuTimer::new(limits, &env, HeavyWork::new(1, &env).of(&ClassKey::new("key")))
}

/// Drives one statement as a turn's driver does, and returns its result.
fn sliced(turn: &mut Turn, timer: &CpuTimer, statement: &str) -> Result<ExecResult, SqlError> {
    wait(Computing::new(pin!(turn.exec_sliced(statement, &[])), timer.clone())).unwrap()
}

/// Returns an expression nested to this depth around `inner`.
fn nested(open: &str, inner: &str, close: &str, depth: usize) -> String {
    format!("{}{inner}{}", open.repeat(depth), close.repeat(depth))
}

/// Runs statements in a turn of their own and reports those that fail. Each may succeed or fail, but must not end the
/// process.
fn run_all(statements: impl IntoIterator<Item = String> + Send + 'static) {
    on_little_stack(move || {
        let world = World::new();
        let mut object = world.object("a");
        let limits = Limits { cpu_seconds_per_turn: 600.0, ..Limits::default() };
        for statement in statements {
            let timer = timer(&limits);
            let mut turn = object.begin(WorkBudget::timed(u64::MAX, timer.clone()));
            let outcome = sliced(&mut turn, &timer, &statement);
            assert!(!matches!(outcome, Err(SqlError::Exhausted(_))), "{outcome:?}");
            let applied = outcome.is_ok();
            object.0 = Some(if applied { object.apply_sliced(turn) } else { turn.roll_back() });
        }
        // The object serves other statements afterwards, and after it is opened again.
        object.turn(|turn| turn.put("k", b"v").unwrap());
        drop(object);
        let mut again = world.object("a");
        assert_eq!(again.get("k").unwrap(), b"v");
        assert!(again.database().description().unwrap().is_some());
    });
}

impl Object {
    fn apply_sliced(&self, turn: Turn) -> Box<Database> {
        let (database, applied) = wait(turn.apply_sliced());
        applied.unwrap();
        database
    }
}

const EXPRESSIONS: [(&str, &str); 8] = [
    ("-(", ")"),
    ("abs(", ")"),
    ("CASE WHEN 1 THEN ", " END"),
    ("(1 BETWEEN ", " AND 2)"),
    ("(1 IN (2,", "))"),
    ("CAST(", " AS INT)"),
    ("json_array(", ")"),
    ("(1 LIKE ", ")"),
];

/// `sql-stack.py` and its brothers.
#[test]
fn generated_columns_that_name_each_other() {
    run_all(EXPRESSIONS.into_iter().enumerate().flat_map(|(n, (open, close))| {
        [45, 90].into_iter().flat_map(move |depth| {
            let fits = 90_000 / (depth * (open.len() + close.len()) + 12);
            let columns =
                (1..fits.min(98)).map(|i| format!("g{i} AS ({})", nested(open, &format!("g{}", i - 1), close, depth)));
            let columns: Vec<String> = columns.collect();
            let last = columns.len();
            let table = format!("t{n}_{depth}");
            [
                format!("CREATE TABLE {table} (g0 INT, {})", columns.join(", ")),
                format!("INSERT INTO {table} VALUES (1)"),
                format!("SELECT g{last} FROM {table}"),
                format!("CREATE INDEX i{table} ON {table} (g{last})"),
                format!("ALTER TABLE {table} RENAME COLUMN g0 TO h0"),
            ]
        })
    }));
}

#[test]
fn views_in_views_with_deep_expressions() {
    for (open, close) in [EXPRESSIONS[1], EXPRESSIONS[3], EXPRESSIONS[4]] {
        let views = (0..110).map(move |n| {
            let from = if n == 0 { "t".into() } else { format!("v{}", n - 1) };
            format!("CREATE VIEW v{n} AS SELECT {} AS x FROM {from}", nested(open, "x", close, 90))
        });
        let asked = [10, 30, 60, 95, 109].map(|n| format!("SELECT x FROM v{n}"));
        let altered = ["ALTER TABLE t RENAME COLUMN x TO y".into(), "PRAGMA table_info(v109)".into()];
        run_all(["CREATE TABLE t (x)".to_owned()].into_iter().chain(views).chain(asked).chain(altered));
    }
}

#[test]
fn triggers_and_cascades() {
    let triggers = (0..150).flat_map(|n| {
        let deep = nested("abs(", "new.x", ")", 90);
        [
            format!("CREATE TABLE t{}(x)", n + 1),
            format!("CREATE TRIGGER r{n} AFTER INSERT ON t{n} BEGIN INSERT INTO t{} SELECT {deep}; END", n + 1),
        ]
    });
    let fired = [100, 60, 0].map(|n| format!("INSERT INTO t{n} VALUES (1)"));
    run_all(["CREATE TABLE t0 (x)".to_owned()].into_iter().chain(triggers).chain(fired));
    let tables = (1..400).map(|n| {
        format!("CREATE TABLE t{n} (x INTEGER PRIMARY KEY REFERENCES t{} ON DELETE CASCADE ON UPDATE CASCADE)", n - 1)
    });
    let fired = [350, 310, 0].into_iter().flat_map(|n| [format!("UPDATE t{n} SET x = 2"), format!("DELETE FROM t{n}")]);
    run_all(["CREATE TABLE t0 (x INTEGER PRIMARY KEY)".to_owned()].into_iter().chain(tables).chain(fired));
}

#[test]
fn nested_selects_json_and_full_text_queries() {
    let mut statements = vec!["CREATE TABLE t (x)".to_owned(), "CREATE VIRTUAL TABLE f USING fts5(a)".to_owned()];
    for n in [48, 95, 500, 2_000, 5_000] {
        statements.push(nested("(SELECT * FROM ", "t", ")", n).replacen('(', "SELECT * FROM (", 1));
        statements.push(format!("SELECT {}", nested("(SELECT ", "1", ")", n)));
        statements.push(format!("SELECT 1 WHERE {}", nested("EXISTS(SELECT 1 WHERE ", "1", ")", n)));
        statements.push(format!("SELECT * FROM {}", nested("(SELECT * FROM t UNION SELECT * FROM ", "t", ")", n)));
        statements.push(format!("SELECT 1 {}", "UNION SELECT 1 ".repeat(n)));
        statements.push(nested("WITH c AS (", "SELECT 1", ") SELECT * FROM c", n));
    }
    for n in [95, 1_000, 20_000, 45_000] {
        statements.push(format!("SELECT {}", nested("(", "1", ")", n)));
        statements.push(format!("SELECT {}1", "1+".repeat(n)));
        statements.push(format!("SELECT json('{}')", nested("[", "", "]", n)));
        statements.push(format!("SELECT count(*) FROM json_tree('{}')", nested("[", "", "]", n)));
        statements.push(format!("SELECT json_patch('{0}', '{0}')", nested(r#"{"a":"#, "1", "}", n / 4)));
        statements.push(format!("SELECT jsonb('{}')", nested("[", "", "]", n)));
        statements.push(format!("SELECT json_set('{{}}', '${}', 1)", ".a".repeat(n)));
        statements.push(format!("SELECT * FROM f WHERE f MATCH '{}'", nested("(", "x", ")", n)));
        statements.push(format!("SELECT * FROM f WHERE f MATCH '{}x'", "x AND ".repeat(n / 3)));
        statements.push(format!("SELECT * FROM f WHERE f MATCH '{}'", nested("x NOT (", "x", ")", n / 4)));
    }
    statements.retain(|statement| statement.len() <= 100_000);
    run_all(statements);
}

#[test]
fn schemas_with_deep_expressions() {
    run_all(EXPRESSIONS.into_iter().enumerate().flat_map(|(n, (open, close))| {
        let deep = |inner: &str| nested(open, inner, close, 90);
        [
            format!("CREATE TABLE t{n} (x CHECK ({} IS NOT 1234), y DEFAULT ({}))", deep("x"), deep("1")),
            format!("CREATE INDEX i{n} ON t{n} ({}) WHERE {}", deep("x"), deep("x")),
            format!("INSERT INTO t{n} (x) VALUES (3)"),
            format!("UPDATE t{n} SET x = 5"),
            format!("SELECT * FROM t{n} WHERE {}", deep("x")),
            format!("ALTER TABLE t{n} RENAME COLUMN x TO z"),
            format!("ALTER TABLE t{n} DROP COLUMN y"),
            "PRAGMA quick_check".to_owned(),
        ]
    }));
}

/// Views in views take a minute to compile; the statement is ended long before that. It has memory for all it compiles
/// until then, because otherwise a quick machine reaches that limit first.
#[test]
fn compiling_is_bounded() {
    on_little_stack(|| {
        let world = World::with(Limits { sql_memory: 1 << 30, ..Limits::default() });
        let mut object = world.object("a");
        object.turn(|turn| {
            turn.exec("CREATE TABLE t (x)", &[]).unwrap();
            for n in 0..95 {
                let from = if n == 0 { "t".into() } else { format!("v{}", n - 1) };
                let deep = nested("(", "x", " BETWEEN 1 AND 2)", 90);
                turn.exec(&format!("CREATE VIEW v{n} AS SELECT {deep} AS x FROM {from}"), &[]).unwrap();
            }
        });
        let timer = timer(&Limits::default());
        let mut turn = object.begin(WorkBudget::timed(u64::MAX, timer.clone()));
        let before = Env::system().thread_cpu();
        let refused = sliced(&mut turn, &timer, "SELECT x FROM v94");
        let took = Env::system().thread_cpu() - before;
        assert!(matches!(refused, Err(SqlError::TooLarge(_))), "{refused:?}");
        assert!(took < Duration::from_secs(2), "{took:?}");
        assert_eq!(sliced(&mut turn, &timer, "SELECT 1").unwrap().rows, [[int(1)]], "the turn goes on");
        drop(turn.roll_back());
    });
}

/// What SQLite does within one step of its virtual machine also ends with the turn's CPU time, and yields before that.
#[test]
fn long_steps_end_with_the_turns_time() {
    let world = World::new();
    let mut object = world.object("a");
    let limits = Limits { cpu_seconds_per_turn: 600.0, ..Limits::default() };
    let fill = timer(&limits);
    let mut turn = object.begin(WorkBudget::timed(u64::MAX, fill.clone()));
    sliced(&mut turn, &fill, "CREATE TABLE t (x)").unwrap();
    let rows = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60000)
                INSERT INTO t SELECT hex(randomblob(950)) FROM n";
    sliced(&mut turn, &fill, rows).unwrap();
    object.0 = Some(object.apply_sliced(turn));
    // With the least number of times that each yields. A function is not left before its end, and one call of that one
    // takes several slices.
    let long = [
        ("SELECT x FROM t ORDER BY x LIMIT 1 OFFSET 59999", 6),
        ("CREATE INDEX i ON t (x)", 6),
        ("SELECT count(DISTINCT x) FROM t", 6),
        ("PRAGMA quick_check", 6),
        ("UPDATE t SET x = x || 'a'", 6),
        ("SELECT sum(length(replace(hex(zeroblob(400000)), '0', 'ab'))) FROM t", 2),
        ("DELETE FROM t", 6),
        ("DROP TABLE t", 6),
    ];
    let limits = Limits { cpu_seconds_per_turn: 0.02, ..Limits::default() };
    for (statement, at_least) in long {
        let timer = timer(&limits);
        let mut turn = object.begin(WorkBudget::timed(u64::MAX, timer.clone()));
        let before = Env::system().thread_cpu();
        let mut slices = 0;
        let ended = {
            let call = pin!(turn.exec_sliced(statement, &[]));
            let mut call = pin!(Computing::new(call, timer));
            loop {
                slices += 1;
                if let Poll::Ready(ended) = call.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                    break ended.unwrap();
                }
            }
        };
        let took = Env::system().thread_cpu() - before;
        let quick = ended.is_ok() && took < Duration::from_millis(60);
        assert!(
            quick || ended == Err(SqlError::Exhausted(Exhausted::CpuTime)),
            "{statement}: {ended:?} after {took:?}"
        );
        assert!(took < Duration::from_millis(122), "{statement}: {took:?}");
        assert!(quick || slices >= at_least, "{statement}: {slices} slices in {took:?}");
        object.0 = Some(turn.roll_back());
    }
    assert_eq!(object.rows("SELECT count(*) FROM t"), [[int(60_000)]]);
}

#[test]
fn a_call_that_is_dropped_breaks_its_turn_and_nothing_else() {
    let world = World::new();
    let mut object = world.object("a");
    object.turn(|turn| turn.exec("CREATE TABLE t (x); INSERT INTO t VALUES (1)", &[]).unwrap());
    let mut turn = object.begin(WorkBudget::timed(u64::MAX, timer(&Limits::default())));
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) INSERT INTO t SELECT i FROM n";
    {
        let timer = turn.work().timer().unwrap().clone();
        let call = pin!(turn.exec_sliced(endless, &[]));
        let mut call = pin!(Computing::new(call, timer));
        for _ in 0..5 {
            assert!(call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        }
    }
    assert_eq!(turn.exec("SELECT 1", &[]), Err(SqlError::Exhausted(Exhausted::Cancelled)));
    assert_eq!(object.apply(turn), Err(ApplyError::Exhausted(Exhausted::Cancelled)));
    assert_eq!(object.rows("SELECT x FROM t"), [[int(1)]]);
}
