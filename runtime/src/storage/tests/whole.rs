//! Storage as a whole: savepoints, size, removal of everything, settling points, and databases that end up empty.

use super::*;
use crate::storage::capture::wal_path;

fn exec(turn: &mut Turn, sql: &str) {
    turn.exec(sql, &[]).unwrap_or_else(|error| panic!("{sql}: {error}"));
}

const MANY: &str = "CREATE TABLE t (x); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000) INSERT INTO t SELECT i FROM n";

fn incarnation(world: &World, name: &str, number: u32) -> PathBuf {
    let file = world.file(name);
    file.with_file_name(file.file_name().unwrap().to_str().unwrap().replace("-1.", &format!("-{number}.")))
}

#[test]
fn savepoints_nest_and_ending_one_ends_those_inside() {
    for writes_first in [false, true] {
        let world = World::new();
        let mut object = world.object("a");
        object.turn(|turn| {
            if writes_first {
                turn.put("first", b"").unwrap();
            }
            let outer = turn.savepoint().unwrap();
            turn.put("a", b"1").unwrap();
            let inner = turn.savepoint().unwrap();
            exec(turn, "CREATE TABLE t (x); INSERT INTO t VALUES (1)");
            turn.put("a", b"2").unwrap();
            turn.undo(inner).unwrap();
            assert_eq!(turn.get("a").unwrap().unwrap(), b"1");
            assert!(turn.exec("SELECT * FROM t", &[]).is_err());
            assert_eq!(turn.undo(inner), Err(WholeError::Closed));
            let inner = turn.savepoint().unwrap();
            turn.put("b", b"1").unwrap();
            turn.keep(outer).unwrap();
            assert_eq!(turn.keep(inner), Err(WholeError::Closed));
            let last = turn.savepoint().unwrap();
            let within = turn.savepoint().unwrap();
            turn.put("c", b"1").unwrap();
            turn.keep(within).unwrap();
            turn.undo(last).unwrap();
        });
        assert_eq!(
            (object.get("a").unwrap(), object.get("b").unwrap(), object.get("c")),
            (b"1".into(), b"1".into(), None)
        );
        assert_eq!(object.get("first").is_some(), writes_first);
    }
}

#[test]
fn savepoints_at_their_limit() {
    let world = World::new();
    let mut object = world.object("a");
    object.turn(|turn| {
        turn.put("k", b"0").unwrap();
        let open: Vec<Savepoint> = (0..32)
            .map(|n| {
                let savepoint = turn.savepoint().unwrap();
                turn.put("k", &[n]).unwrap();
                savepoint
            })
            .collect();
        assert_eq!(turn.savepoint(), Err(WholeError::TooDeep(32)));
        turn.undo(open[31]).unwrap();
        assert_eq!(turn.get("k").unwrap().unwrap(), [30]);
        let again = turn.savepoint().unwrap();
        assert_eq!(turn.savepoint(), Err(WholeError::TooDeep(32)));
        turn.keep(again).unwrap();
        turn.undo(open[1]).unwrap();
        turn.keep(open[0]).unwrap();
    });
    assert_eq!(object.get("k").unwrap(), [0]);
}

#[test]
fn a_savepoint_left_open_fails_the_turn_and_reading_in_one_makes_nothing() {
    let world = World::new();
    let mut object = world.object("a");
    let ended = object.end(|turn| {
        turn.savepoint().unwrap();
        turn.put("k", b"v").unwrap();
    });
    assert_eq!(ended, Err(ApplyError::SavepointOpen));
    assert!(world.files().is_empty());
    object.turn(|turn| {
        let savepoint = turn.savepoint().unwrap();
        assert_eq!(turn.get("k").unwrap(), None);
        turn.undo(savepoint).unwrap();
        assert_eq!(turn.size(), Ok(0));
    });
    assert!(world.files().is_empty());
    let ended = object.end(|turn| {
        let savepoint = turn.savepoint().unwrap();
        turn.put("k", b"v").unwrap();
        turn.undo(savepoint).unwrap();
    });
    assert!(!ended.unwrap().wrote && world.files().is_empty(), "all of it was undone");
    let mut turn = object.begin(WorkBudget::unlimited());
    let old = turn.savepoint().unwrap();
    object.0 = Some(turn.roll_back());
    object.turn(|turn| assert_eq!(turn.keep(old), Err(WholeError::Closed), "of another turn"));
}

#[test]
fn undoing_closes_sql_cursors_and_not_listings() {
    let world = World::new();
    let mut object = world.object("a");
    object.turn(|turn| {
        exec(turn, MANY);
        (0..10).for_each(|n| turn.put(&n.to_string(), b"").unwrap());
    });
    object.turn(|turn| {
        let before = turn.exec("SELECT x FROM t", &[]).unwrap().more.unwrap();
        let savepoint = turn.savepoint().unwrap();
        let listing = turn.list(ListOptions::default()).unwrap();
        assert_eq!(turn.list_next(listing, 5).unwrap().len(), 5);
        exec(turn, "DELETE FROM t");
        turn.delete("7").unwrap();
        let writing = turn.exec("INSERT INTO t SELECT key FROM json_each('[1,2]') RETURNING x", &[]).unwrap();
        assert!(writing.more.is_none());
        turn.undo(savepoint).unwrap();
        assert_eq!(turn.next(before, 1), Err(SqlError::Closed));
        let rest: Vec<String> = turn.list_next(listing, 9).unwrap().into_iter().map(|entry| entry.key).collect();
        assert_eq!(rest, ["5", "6", "7", "8", "9"]);
        let savepoint = turn.savepoint().unwrap();
        let open = turn.exec("UPDATE t SET x = -x RETURNING x", &[]).unwrap().more.unwrap();
        let inner = turn.savepoint().unwrap();
        assert_eq!(turn.next(open, 1), Err(SqlError::Closed), "a statement that writes ends where a savepoint begins");
        turn.undo(inner).unwrap();
        assert_eq!(turn.exec("SELECT max(x) FROM t", &[]).unwrap().rows, [[int(-1)]]);
        turn.undo(savepoint).unwrap();
    });
    assert_eq!(object.rows("SELECT count(*), min(x) FROM t"), [[int(1000), int(1)]]);
}

#[test]
fn size_is_pages_in_use_with_what_is_staged() {
    let world = World::new();
    let mut object = world.object("a");
    object.turn(|turn| {
        assert_eq!(turn.size(), Ok(0));
        exec(turn, "SELECT 1");
        assert_eq!(turn.size(), Ok(0), "reading stores nothing");
        turn.put("k", b"v").unwrap();
        assert_eq!(turn.size(), Ok(3 * 4096));
        turn.put("k", &[1; 100_000]).unwrap();
        assert!(turn.size().unwrap() > 100_000);
    });
    let stored = object.database().description().unwrap().unwrap().bytes;
    object.turn(|turn| {
        assert_eq!(turn.size(), Ok(stored));
        turn.put("k", b"v").unwrap();
        assert_eq!(turn.size(), Ok(3 * 4096), "free pages do not count");
    });
}

#[test]
fn what_leaves_nothing_leaves_no_file() {
    type Step = fn(&mut Turn);
    let empty: [(Step, Step); 6] = [
        (|turn| turn.put("k", b"v").unwrap(), |turn| assert!(turn.delete("k").unwrap())),
        (|turn| turn.put("k", b"v").unwrap(), |turn| assert_eq!(turn.delete_many(&["k".into(), "l".into()]), Ok(1))),
        (|turn| exec(turn, "CREATE TABLE t (x)"), |turn| exec(turn, "DROP TABLE t")),
        (
            |turn| exec(turn, "CREATE TABLE t (x INTEGER PRIMARY KEY AUTOINCREMENT); INSERT INTO t DEFAULT VALUES"),
            |turn| exec(turn, "DROP TABLE t"),
        ),
        (|turn| turn.put("k", b"v").unwrap(), |turn| turn.delete_all().unwrap()),
        (
            |turn| exec(turn, MANY),
            |turn| {
                turn.put("k", b"v").unwrap();
                turn.delete_all().unwrap();
                turn.put("k", b"v").unwrap();
                turn.delete("k").unwrap();
            },
        ),
    ];
    for (number, (fill, clear)) in empty.into_iter().enumerate() {
        let mut world = World::new();
        let mut object = world.object("a");
        object.turn(fill);
        assert!(!world.files().is_empty());
        object.fail(clear);
        let applied = object.end(clear).unwrap();
        assert_eq!((applied.wrote, applied.bytes), (true, 0), "{number}");
        world.settle(&mut object);
        assert!(world.files().is_empty(), "{number}: {:?}", world.files());
        assert_eq!(object.database().description().unwrap(), None);
        let both = object.end(|turn| {
            fill(turn);
            clear(turn);
        });
        both.unwrap();
        world.settle(&mut object);
        assert!(world.files().is_empty(), "{number}: {:?}", world.files());
        object.turn(fill);
        drop(object);
        world.restart();
        assert!(world.object("a").database().description().unwrap().is_some(), "created again");
    }
}

#[test]
fn an_empty_table_or_view_is_something() {
    let world = World::new();
    for sql in ["CREATE TABLE t (x)", "CREATE VIEW v AS SELECT 1"] {
        let mut object = world.object(sql);
        object.turn(|turn| {
            exec(turn, sql);
            turn.put("k", b"v").unwrap();
        });
        object.turn(|turn| assert!(turn.delete("k").unwrap()));
        assert!(object.database().description().unwrap().is_some());
    }
}

#[test]
fn everything_is_removed_at_once_and_what_follows_stays() {
    let mut world = World::new();
    let mut object = world.object("a");
    object.turn(|turn| {
        exec(turn, MANY);
        turn.put("k", b"old").unwrap();
    });
    let listing = object.fail(|turn| {
        let rows = turn.exec("SELECT x FROM t", &[]).unwrap().more.unwrap();
        let listing = turn.list(ListOptions::default()).unwrap();
        turn.put("other", b"staged").unwrap();
        let savepoint = turn.savepoint().unwrap();
        assert_eq!(turn.delete_all(), Err(WholeError::SavepointOpen));
        turn.keep(savepoint).unwrap();
        turn.delete_all().unwrap();
        assert_eq!(turn.next(rows, 1), Err(SqlError::Closed));
        assert_eq!(turn.list_next(listing, 1), Err(KvError::Closed));
        assert_eq!((turn.get("k").unwrap(), turn.get("other").unwrap(), turn.size()), (None, None, Ok(0)));
        assert!(turn.exec("SELECT * FROM t", &[]).is_err());
        turn.put("k", b"new").unwrap();
        exec(turn, "CREATE TABLE t (y)");
        turn.delete_all().unwrap();
        assert_eq!(turn.get("k").unwrap(), None);
        turn.put("k", b"newer").unwrap();
        listing
    });
    assert_eq!(object.get("k").unwrap(), b"old", "rolled back with the turn");
    assert_eq!(object.rows("SELECT count(*) FROM t"), [[int(1000)]]);
    object.turn(|turn| assert_eq!(turn.list_next(listing, 1), Err(KvError::Closed)));
    let applied = object.end(|turn| {
        turn.delete_all().unwrap();
        turn.put("k", b"new").unwrap();
    });
    let applied = applied.unwrap();
    assert!(applied.wrote && applied.bytes == 3 * 4096);
    world.settle(&mut object);
    assert!(!world.file("a").exists() && !wal_path(&world.file("a")).exists(), "the old file went");
    assert!(incarnation(&world, "a", 2).exists());
    drop(object);
    world.restart();
    let mut object = world.object("a");
    assert_eq!(object.get("k").unwrap(), b"new");
    let stored = object.database().description().unwrap().unwrap();
    assert_eq!(stored.name, address("a").name);
    object.turn(|turn| turn.delete_all().unwrap());
    world.settle(&mut object);
    assert!(world.files().is_empty(), "{:?}", world.files());
}

#[test]
fn a_failed_removal_restores_what_an_earlier_turn_waits_for() {
    let world = World::new();
    let mut object = world.object("a");
    for n in 0..50_u8 {
        object.turn(|turn| turn.put("k", &[n]).unwrap());
        object.fail(|turn| {
            turn.delete_all().unwrap();
            turn.put("k", b"x").unwrap();
        });
        world.flush();
        assert_eq!(object.get("k").unwrap(), [n]);
    }
    assert!(!incarnation(&world, "a", 2).exists());
}

#[test]
fn a_crash_during_a_replacement_leaves_old_or_new() {
    for durable in [false, true] {
        for later in [false, true] {
            let mut world = World::new();
            let mut object = world.object("a");
            object.turn(|turn| turn.put("k", b"old").unwrap());
            world.flush();
            object.turn(|turn| {
                turn.delete_all().unwrap();
                turn.put("k", b"new").unwrap();
            });
            object.database().maintain().unwrap();
            assert!(world.file("a").exists() && incarnation(&world, "a", 2).exists(), "the old one stays until then");
            if durable {
                world.flush();
            }
            if later {
                object.turn(|turn| turn.put("k", b"newest").unwrap());
            }
            world.crash();
            let mut object = world.object("a");
            assert_eq!(object.get("k").unwrap(), if durable { &b"new"[..] } else { b"old" });
            let databases = world.files().iter().filter(|path| path.extension().unwrap() == "sqlite").count();
            assert_eq!(databases, 1);
            object.turn(|turn| {
                turn.delete_all().unwrap();
                turn.put("k", b"newest").unwrap();
            });
            world.restart();
            assert_eq!(world.object("a").get("k").unwrap(), b"newest");
        }
    }
}

#[test]
fn a_settling_point_keeps_what_was_written_before_it() {
    let world = World::new();
    let mut object = world.object("a");
    object.fail(|turn| {
        let (lsn, mut durable) = turn.apply_so_far().unwrap();
        assert!(durable.covers(lsn) && world.files().is_empty(), "nothing was written");
        turn.put("k", b"1").unwrap();
        let (lsn, mut watch) = turn.apply_so_far().unwrap();
        assert!(lsn > Lsn::default() && !watch.covers(lsn));
        world.flush();
        wait(watch.reached(lsn)).unwrap();
        turn.put("k", b"2").unwrap();
        let savepoint = turn.savepoint().unwrap();
        assert_eq!(turn.apply_so_far().unwrap_err(), WholeError::SavepointOpen);
        turn.keep(savepoint).unwrap();
        turn.maintain().unwrap();
        wait(durable.reached(lsn)).unwrap();
    });
    assert_eq!(object.get("k").unwrap(), b"1");
    object.fail(|turn| {
        turn.delete_all().unwrap();
        turn.apply_so_far().unwrap();
        assert_eq!(turn.get("k").unwrap(), None);
        turn.put("k", b"3").unwrap();
    });
    assert_eq!(object.get("k"), None);
    world.settle(&mut object);
    assert!(world.files().is_empty());
}

#[test]
fn reading_goes_on_across_a_settling_point() {
    let world = World::new();
    let mut object = world.object("a");
    object.turn(|turn| exec(turn, MANY));
    object.turn(|turn| {
        let rows = turn.exec("SELECT x FROM t", &[]).unwrap();
        let (mut seen, cursor) = (rows.rows.len(), rows.more.unwrap());
        while let batch = turn.next(cursor, 100).unwrap()
            && !batch.is_empty()
        {
            seen += batch.len();
            turn.put(&seen.to_string(), b"").unwrap();
            turn.apply_so_far().unwrap();
            turn.maintain().unwrap();
        }
        assert_eq!(seen, 1000);
        let writing = turn.exec("UPDATE t SET x = -x RETURNING x", &[]).unwrap().more.unwrap();
        turn.apply_so_far().unwrap();
        assert_eq!(turn.next(writing, 1), Err(SqlError::Closed));
    });
    assert_eq!(object.rows("SELECT max(x) FROM t"), [[int(-1)]]);
}

#[test]
fn a_constraint_at_a_settling_point_can_be_mended() {
    let world = World::new();
    let mut object = world.object("a");
    object.turn(|turn| {
        exec(
            turn,
            "CREATE TABLE p (id INTEGER PRIMARY KEY); CREATE TABLE c (p REFERENCES p DEFERRABLE INITIALLY DEFERRED)",
        );
        exec(turn, "INSERT INTO c VALUES (7)");
        assert!(matches!(turn.apply_so_far(), Err(WholeError::Other(what)) if what.contains("FOREIGN KEY")));
        exec(turn, "INSERT INTO p VALUES (7)");
        turn.apply_so_far().unwrap();
    });
    assert_eq!(object.rows("SELECT count(*) FROM c"), [[int(1)]]);
}

#[test]
fn savepoints_are_charged() {
    let world = World::new();
    let mut object = world.object("a");
    let budget = WorkBudget::new(10_000_000, || false);
    let mut turn = object.begin(budget);
    let mut rounds = 0;
    let ended = loop {
        let round = turn.savepoint().and_then(|savepoint| turn.undo(savepoint));
        match round {
            Ok(()) => rounds += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(ended, WholeError::Exhausted(_)) && rounds < 1_000, "{ended:?} {rounds}");
    assert!(matches!(object.apply(turn), Err(ApplyError::Exhausted(_))));
}

/// The owner of a dropped savepoint gets no error when the rollback fails.
#[test]
fn a_savepoint_that_cannot_be_undone_fails_the_turn() {
    let world = World::new();
    let mut object = world.object("a");
    object.turn(|turn| turn.put("k", b"before").unwrap());
    let ended = object.end(|turn| {
        let outer = turn.savepoint().unwrap();
        let inner = turn.savepoint().unwrap();
        turn.put("k", b"to be undone").unwrap();
        // Done outside the turn's interface, because there is no other way to make SQLite fail here.
        turn.connection().unwrap().host(|sqlite| sqlite.execute_batch("RELEASE _hf_2")).unwrap();
        assert!(matches!(turn.undo(inner), Err(WholeError::Other(_))));
        assert!(turn.keep(outer).is_err());
    });
    assert!(matches!(ended, Err(ApplyError::Failed(_))), "{ended:?}");
    assert_eq!(object.get("k").unwrap(), b"before");
}
