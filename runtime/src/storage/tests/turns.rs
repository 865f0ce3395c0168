//! A turn is applied completely or not at all, and leaves nothing behind when it is not.

use super::*;
use crate::base::Exhausted;

fn exec(turn: &mut Turn, sql: &str) -> Result<ExecResult, SqlError> {
    turn.exec(sql, &[])
}

#[test]
fn a_failed_turn_leaves_no_trace() {
    let world = World::new();
    let mut object = world.object("a");
    object.turn(|turn| turn.put("k", b"old").unwrap());
    object.fail(|turn| {
        turn.put("k", b"new").unwrap();
        turn.put("other", b"x").unwrap();
        exec(turn, "CREATE TABLE t (x)").unwrap();
    });
    assert_eq!(object.get("k").unwrap(), b"old");
    assert_eq!(object.get("other"), None);
    assert_eq!(object.rows("SELECT count(*) FROM sqlite_schema WHERE name = 't'"), [[int(0)]]);
}

#[test]
fn a_failed_first_turn_leaves_no_file() {
    let world = World::new();
    let mut object = world.object("a");
    object.fail(|turn| turn.put("k", b"v").unwrap());
    assert!(world.files().is_empty());
    object.turn(|turn| exec(turn, "SELECT 1").unwrap());
    assert!(world.files().is_empty(), "reading makes nothing");
    let applied = object.end(|turn| {
        exec(turn, "DELETE FROM sqlite_sequence").unwrap_err();
        turn.delete("k").unwrap();
    });
    assert_eq!(applied, Ok(Applied { lsn: Lsn::default(), wrote: false, bytes: 0 }));
    assert!(world.files().is_empty());
    assert_eq!(object.database().description().unwrap(), None);
    object.turn(|turn| turn.put("k", b"v").unwrap());
    assert_eq!(object.get("k").unwrap(), b"v");
}

#[test]
fn a_read_appends_nothing_and_a_write_does() {
    let world = World::new();
    let mut object = world.object("a");
    let first = object.end(|turn| turn.put("k", b"v").unwrap()).unwrap();
    assert!(first.wrote && first.lsn > Lsn::default() && first.bytes == 3 * 4096);
    let read = object.end(|turn| assert!(turn.get("k").unwrap().is_some())).unwrap();
    assert_eq!(read, Applied { wrote: false, ..first });
    let nothing = object.end(|turn| assert!(!turn.delete("none").unwrap())).unwrap();
    assert_eq!(nothing, Applied { wrote: false, ..first });
    let second = object.end(|turn| turn.put("k", b"w").unwrap()).unwrap();
    assert!(second.wrote && second.lsn > first.lsn);
    assert_eq!(object.database().last_applied(), second.lsn);
}

#[test]
fn a_statement_that_ends_the_transaction_fails_the_turn() {
    for ending in ["INSERT OR ROLLBACK INTO t VALUES (1)", "INSERT INTO fatal VALUES (1)"] {
        let world = World::new();
        let mut object = world.object("a");
        object.turn(|turn| {
            exec(turn, "CREATE TABLE t (x UNIQUE); INSERT INTO t VALUES (1); CREATE TABLE fatal (x)").unwrap();
            let trigger = "CREATE TRIGGER r AFTER INSERT ON fatal BEGIN SELECT RAISE(ROLLBACK, 'no'); END";
            exec(turn, trigger).unwrap();
        });
        let ended = object.end(|turn| {
            turn.put("k", b"v").unwrap();
            assert!(matches!(exec(turn, ending), Err(SqlError::Constraint(_))), "{ending}");
            assert!(matches!(turn.put("k", b"after"), Err(KvError::Other(_))), "the turn cannot continue");
            assert!(matches!(exec(turn, "SELECT 1"), Err(SqlError::Other(_))));
        });
        assert_eq!(ended, Err(ApplyError::Ended));
        assert_eq!(object.get("k"), None);
        object.turn(|turn| turn.put("k", b"again").unwrap());
        assert_eq!(object.get("k").unwrap(), b"again");
    }
}

#[test]
fn a_deferred_constraint_is_told_at_the_end() {
    let world = World::new();
    let mut object = world.object("a");
    let tables = "CREATE TABLE p (id INTEGER PRIMARY KEY);
                  CREATE TABLE c (p REFERENCES p (id) DEFERRABLE INITIALLY DEFERRED)";
    object.turn(|turn| exec(turn, tables).unwrap());
    let ended = object.end(|turn| {
        exec(turn, "INSERT INTO c VALUES (7)").unwrap();
    });
    assert!(matches!(&ended, Err(ApplyError::Constraint(error)) if error.code == 787), "{ended:?}");
    assert_eq!(object.rows("SELECT count(*) FROM c"), [[int(0)]]);
    object.turn(|turn| exec(turn, "INSERT INTO c VALUES (7); INSERT INTO p VALUES (7)").unwrap());
    assert_eq!(object.rows("SELECT count(*) FROM c"), [[int(1)]]);
}

#[test]
fn a_full_database_fails_the_turn() {
    let world = World::with(Limits { database: 40 * 4096, ..Limits::default() });
    let mut object = world.object("a");
    object.turn(|turn| turn.put("k", b"kept").unwrap());
    let ended = object.end(|turn| {
        let outcome = (0..40).try_for_each(|n| turn.put(&format!("{n}"), &[1; 4096]));
        assert_eq!(outcome, Err(KvError::Full));
        assert_eq!(turn.get("k"), Err(KvError::Full), "the turn is over");
    });
    assert!(matches!(ended, Err(ApplyError::Full(_))));
    let ended = object.end(|turn| {
        assert_eq!(exec(turn, "CREATE TABLE t AS SELECT randomblob(1000000) AS b"), Err(SqlError::Full));
    });
    assert!(matches!(ended, Err(ApplyError::Full(_))));
    assert_eq!(object.get("k").unwrap(), b"kept");
    object.turn(|turn| turn.put("k", b"and usable").unwrap());
}

#[test]
fn one_turn_writes_a_bounded_amount() {
    let world = World::new();
    let mut object = world.object("a");
    object.turn(|turn| exec(turn, "CREATE TABLE t (x)").unwrap());
    let ended = object.end(|turn| {
        let many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300)
                    INSERT INTO t SELECT zeroblob(1000000) FROM n";
        assert_eq!(exec(turn, many), Err(SqlError::Full));
    });
    assert!(matches!(&ended, Err(ApplyError::Full(what)) if what.contains("268435456")), "{ended:?}");
    assert_eq!(object.rows("SELECT count(*) FROM t"), [[int(0)]]);
}

#[test]
fn open_cursors_do_not_hold_up_the_end() {
    let world = World::new();
    let mut object = world.object("a");
    let rows =
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000) INSERT INTO t SELECT i FROM n";
    object.turn(|turn| exec(turn, &format!("CREATE TABLE t (x); {rows}")).unwrap());
    object.turn(|turn| {
        assert!(exec(turn, "SELECT x FROM t").unwrap().more.is_some());
        assert!(exec(turn, "UPDATE t SET x = x + 1 RETURNING x").unwrap().more.is_some());
    });
    assert_eq!(object.rows("SELECT min(x), max(x) FROM t"), [[int(2), int(1001)]]);
    object.fail(|turn| {
        assert!(exec(turn, "DELETE FROM t RETURNING x").unwrap().more.is_some());
        exec(turn, "SELECT x FROM t").unwrap();
    });
    assert_eq!(object.rows("SELECT count(*) FROM t"), [[int(1000)]]);
}

#[test]
fn pragmas_last_as_long_as_the_instance() {
    let world = World::new();
    let mut object = world.object("a");
    object.turn(|turn| turn.put("k", b"v").unwrap());
    assert_eq!(object.rows("PRAGMA foreign_keys"), [[int(1)]]);
    object.turn(|turn| exec(turn, "PRAGMA foreign_keys = OFF").unwrap());
    object.database().reset_session();
    assert_eq!(object.rows("PRAGMA foreign_keys"), [[int(1)]]);
    object.turn(|turn| {
        turn.put("k", b"w").unwrap();
        assert!(matches!(exec(turn, "PRAGMA foreign_keys = OFF"), Err(SqlError::NotAuthorized(_))));
    });
}

#[test]
fn endless_work_is_stopped() {
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT sum(i) FROM n";
    let world = World::new();
    let mut object = world.object("a");
    object.turn(|turn| turn.put("k", b"v").unwrap());
    for (budget, why) in [
        (WorkBudget::new(1_000_000_000, || false), Exhausted::Fuel),
        (WorkBudget::new(u64::MAX, || true), Exhausted::CpuTime),
    ] {
        let mut turn = object.begin(budget.clone());
        turn.put("k", b"w").unwrap();
        assert_eq!(exec(&mut turn, endless), Err(SqlError::Exhausted(why)));
        assert_eq!(turn.get("k"), Err(KvError::Exhausted(why)));
        assert_eq!(object.apply(turn), Err(ApplyError::Exhausted(why)));
        assert_eq!(budget.check(), Err(why));
    }
    assert_eq!(object.get("k").unwrap(), b"v");
}

#[test]
fn small_statements_are_charged_alike_every_time() {
    let world = World::new();
    let mut object = world.object("a");
    object.turn(|turn| exec(turn, "CREATE TABLE t (x)").unwrap());
    let mut cost = |run: &dyn Fn(&mut Turn)| {
        let budget = WorkBudget::new(1 << 40, || false);
        let mut turn = object.begin(budget.clone());
        run(&mut turn);
        object.apply(turn).unwrap();
        (1 << 40) - budget.remaining()
    };
    let insert = |turn: &mut Turn| {
        exec(turn, "INSERT INTO t VALUES (1)").unwrap();
    };
    let first = cost(&insert);
    assert!(first > 0);
    assert_eq!(first, cost(&insert), "the statement cache does not change the cost");
    let get = |turn: &mut Turn| assert!(turn.get("k").unwrap().is_none());
    assert!(cost(&get) > 0);
    assert_eq!(cost(&get), cost(&get));
    let rows = |n: u32| {
        move |turn: &mut Turn| {
            let many = format!(
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {n:07}) SELECT count(*) FROM n"
            );
            exec(turn, &many).unwrap();
        }
    };
    let (few, many) = (cost(&rows(1_000)), cost(&rows(100_000)));
    assert!((50 * few..150 * few).contains(&many), "{few} {many}");
}

/// A statement that a constraint rolled back has changed nothing, and its pages are written all the same.
#[test]
fn what_is_written_without_a_change_is_appended() {
    let world = World::new();
    world.object("a").turn(|turn| exec(turn, "CREATE TABLE t (x UNIQUE); INSERT INTO t VALUES (1)").map(drop).unwrap());
    world.flush();
    let mut object = world.object("a");
    object.turn(|turn| exec(turn, "INSERT INTO t VALUES (2), (1)").map(drop).unwrap_err());
    world.flush();
    object.turn(|turn| assert_eq!(exec(turn, "SELECT x FROM t").unwrap().rows.len(), 1));
}

/// An object moves between threads, also in the middle of a turn.
#[test]
fn turns_can_be_sent() {
    fn send<T: Send>(_: T) {}
    let world = World::new();
    let mut turn = world.object("a").begin(WorkBudget::unlimited());
    turn.put("k", b"v").unwrap();
    exec(&mut turn, "SELECT value FROM json_each('[1, 2]')").unwrap();
    send(turn);
    send(world.databases.clone());
}
