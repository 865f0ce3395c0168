//! SQL's limits, each at its edge.

use super::*;

fn too_large<T: std::fmt::Debug>(outcome: Result<T, SqlError>) {
    assert!(matches!(outcome, Err(SqlError::TooLarge(_))), "{outcome:?}");
}

fn fails<T: std::fmt::Debug>(outcome: Result<T, SqlError>, words: &str) {
    assert!(matches!(&outcome, Err(SqlError::Sqlite(error)) if error.message.contains(words)), "{outcome:?}");
}

#[test]
fn the_text() {
    let world = World::new();
    world.object("a").turn(|turn| {
        let padded = |length: usize| format!("SELECT 1{}", " ".repeat(length - 8));
        assert_eq!(turn.exec(&padded(100_000), &[]).unwrap().rows, [[int(1)]]);
        too_large(turn.exec(&padded(100_001), &[]));
    });
}

#[test]
fn values_and_rows() {
    let world = World::new();
    world.object("a").turn(|turn| {
        let blob = |length| Value::Blob(vec![1; length]);
        assert_eq!(turn.exec("SELECT length(?)", &[blob(2_000_000)]).unwrap().rows, [[int(2_000_000)]]);
        too_large(turn.exec("SELECT length(?)", &[blob(2_000_001)]));
        assert_eq!(turn.exec("SELECT zeroblob(2000000)", &[]).unwrap().rows.len(), 1);
        too_large(turn.exec("SELECT zeroblob(2000001)", &[]));
        too_large(turn.exec("SELECT zeroblob(1000001), zeroblob(1000000)", &[]));
        turn.exec("CREATE TABLE t (x)", &[]).unwrap();
        turn.exec("INSERT INTO t VALUES (?)", &[blob(1_999_900)]).unwrap();
        too_large(turn.exec("INSERT INTO t VALUES (?)", &[blob(2_000_000)]));
        too_large(turn.exec("INSERT INTO t VALUES (1) RETURNING zeroblob(1000001), zeroblob(1000000)", &[]));
        assert_eq!(turn.exec("SELECT count(*) FROM t", &[]).unwrap().rows, [[int(1)]], "a refused write is undone");
    });
}

#[test]
fn parameters_columns_depth_and_patterns() {
    let world = World::new();
    world.object("a").turn(|turn| {
        let list = |n: usize, one: &str| vec![one; n].join(", ");
        let given: Vec<Value> = (0..100).map(int).collect();
        assert_eq!(turn.exec(&format!("SELECT {}", list(100, "?")), &given).unwrap().rows[0].len(), 100);
        fails(turn.exec(&format!("SELECT max({})", list(101, "?")), &given), "too many SQL variables");
        fails(turn.exec(&format!("SELECT {}", list(101, "1")), &[]), "too many columns");
        let sum = |n: usize| format!("SELECT {}", vec!["1"; n].join("+"));
        assert_eq!(turn.exec(&sum(99), &[]).unwrap().rows, [[int(99)]]);
        fails(turn.exec(&sum(102), &[]), "depth");
        let mut like = |n: usize| turn.exec("SELECT 'x' LIKE ?", &[text(&"%".repeat(n))]);
        let (fits, refused) = (like(50), like(51));
        assert_eq!(fits.unwrap().rows, [[int(1)]]);
        fails(refused, "pattern too complex");
    });
}

#[test]
fn nested_views_do_not_explode() {
    let world = World::new();
    world.object("a").turn(|turn| {
        turn.exec("CREATE VIEW v0 AS SELECT 1 AS x", &[]).unwrap();
        for n in 1..40 {
            let view = format!("CREATE VIEW v{n} AS SELECT a.x FROM v{0} a JOIN v{0} b", n - 1);
            turn.exec(&view, &[]).unwrap();
        }
        assert_eq!(turn.exec("SELECT count(*) FROM v3", &[]).unwrap().rows, [[int(1)]]);
        fails(turn.exec("SELECT * FROM v8", &[]), "too many FROM clause terms");
        assert!(matches!(turn.exec("SELECT * FROM v14", &[]), Err(SqlError::NotAuthorized(_))));
        assert_eq!(turn.exec("SELECT count(*) FROM v3", &[]).unwrap().rows, [[int(1)]], "the turn goes on");
    });
    // SQLite would refuse it for its many references, if it had the memory to count them: it expands views before it
    // checks its limits. A statement that finds no memory ends its turn, because SQLite guarantees nothing about the
    // transaction after that (docs/decisions/0010-sql-memory-and-functions.md); before `sql-memory` it took as much of
    // the machine's memory as it needed.
    let mut turn = world.object("a").begin(WorkBudget::unlimited());
    turn.exec("SELECT * FROM v39", &[]).unwrap_err();
    assert!(matches!(turn.broken(), Some(ApplyError::NoMemory(_))), "{:?}", turn.broken());
    drop(turn.roll_back());
}

/// Full-text tables compile statements of their own while a query runs: these do not count as names in the query.
#[test]
fn a_query_may_search_a_full_text_table_as_often_as_it_likes() {
    let world = World::new();
    world.object("a").turn(|turn| {
        turn.exec("CREATE VIRTUAL TABLE f USING fts5 (a)", &[]).unwrap();
        turn.exec("INSERT INTO f VALUES ('w1 w2'), ('w2 w3')", &[]).unwrap();
        let often = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 9000)
                     SELECT count(*) FROM c, f WHERE f MATCH 'w' || (1 + n % 3) || '*' ORDER BY rank";
        assert_eq!(turn.exec(often, &[]).unwrap().rows, [[int(12_000)]]);
    });
}
