//! The host's resources that SQL uses beside time: memory, temporary files, cursors.

use super::*;
use crate::base::MemoryUse;
use crate::storage::heap::Refusal;

/// Rows of 180 MB, of which each column is a value of the largest size.
fn monster() -> String {
    let names: Vec<String> = (0..95).map(|n| format!("a{n}")).collect();
    let values: Vec<String> = names.iter().map(|name| format!("printf('%.*c', 1900000, 'x') {name}")).collect();
    let sum: Vec<String> = names.iter().map(|name| format!("length({name})")).collect();
    format!(
        "SELECT a0, {} FROM (SELECT {} FROM (SELECT 1 UNION ALL SELECT 2)) LIMIT 300",
        sum.join(" + "),
        values.join(", ")
    )
}

fn memory_of(world: &World) -> u64 {
    world.databases.0.memory.used_for(MemoryUse::Sql)
}

#[test]
fn a_statement_has_the_objects_memory_and_no_more() {
    let world = World::with(Limits::default());
    let (mut object, mut other) = (world.object("a"), world.object("b"));
    object.turn(|turn| turn.put("k", b"v").unwrap());
    let mut turn = object.begin(WorkBudget::unlimited());
    turn.exec("CREATE TABLE t (x)", &[]).unwrap();
    let refused = turn.exec(&monster(), &[]).unwrap_err();
    assert!(refused.to_string().contains("67108864 bytes of memory"), "{refused}");
    assert_eq!(turn.broken(), Some(&ApplyError::NoMemory(Refusal::Object(64 << 20))));
    turn.exec("SELECT 1", &[]).unwrap_err();
    other.turn(|turn| turn.exec("CREATE TABLE t (x)", &[]).map(drop).unwrap());
    let (database, applied) = turn.apply();
    assert_eq!(applied, Err(ApplyError::NoMemory(Refusal::Object(64 << 20))));
    object.0 = Some(database);
    object.turn(|turn| {
        assert_eq!(turn.get("k").unwrap().unwrap(), b"v");
        turn.exec("CREATE TABLE t (x)", &[]).unwrap();
    });
    assert!(memory_of(&world) < 1 << 20, "{}", memory_of(&world));
    world.flush();
    drop((object, other));
    assert_eq!(memory_of(&world), 0);
}

#[test]
fn a_class_has_its_share_of_the_hosts_memory() {
    let world = World::with(Limits { host_memory: 16 << 20, ..Limits::default() });
    let mut object = world.object("a");
    let mut turn = object.begin(WorkBudget::unlimited());
    turn.exec(&monster(), &[]).unwrap_err();
    assert_eq!(turn.broken(), Some(&ApplyError::NoMemory(Refusal::Host)));
    object.0 = Some(turn.roll_back());
    // Open objects use up what is left; the next one is refused and may try again.
    let mut open: Vec<Object> = Vec::new();
    let refused = (0..1_000).find_map(|n| {
        let mut object = world.object(&format!("o{n}"));
        let mut turn = object.begin(WorkBudget::unlimited());
        let put = turn.put("k", b"v");
        let (database, applied) = turn.apply();
        object.0 = Some(database);
        open.push(object);
        applied.err().map(|error| (n, error, put))
    });
    let (n, error, put) = refused.unwrap_or_else(|| panic!("{} of {:?}", memory_of(&world), world.limits.host_memory));
    assert!(n > 50, "{n} {put:?}");
    assert_eq!(error, ApplyError::NoMemory(Refusal::Host));
    world.flush();
    drop((open, object));
    assert_eq!(memory_of(&world), 0);
}

#[test]
fn temporary_files_are_bounded_and_leave_nothing() {
    let limits = Limits { temporary_files: 24 << 20, ..Limits::default() };
    let world = World::with(Limits { temporary_files_in_all: 48 << 20, ..limits });
    let mut object = world.object("a");
    object.turn(|turn| turn.put("k", b"v").unwrap());
    let sort = |n: u64| {
        format!(
            "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < {n})
             SELECT x FROM c ORDER BY randomblob(1000)"
        )
    };
    let mut turn = object.begin(WorkBudget::unlimited());
    let refused = turn.exec(&sort(30_000), &[]).unwrap_err();
    assert_eq!(refused, SqlError::Full);
    assert!(
        matches!(turn.broken(), Some(ApplyError::Full(why)) if why.contains("temporary files")),
        "{:?}",
        turn.broken()
    );
    object.0 = Some(turn.roll_back());
    let temporary = &world.databases.0.temporary;
    assert_eq!(temporary.used(), 0);
    object.turn(|turn| {
        assert_eq!(all_rows(turn, &sort(6_000), &[]).unwrap().len(), 6_000);
        assert_eq!(temporary.used(), 0);
        // The cursor stays open with the rows that it has sorted.
        let more = turn.exec(&sort(6_000), &[]).unwrap().more;
        assert!(more.is_some() && temporary.used() > 5 << 20, "{}", temporary.used());
        assert_eq!(std::fs::read_dir(world.root.path().join("transfers")).unwrap().count(), 0);
    });
    assert_eq!(temporary.used(), 0);
}

#[test]
fn one_turn_has_so_many_cursors() {
    let world = World::with(Limits::default());
    world.object("a").turn(|turn| {
        let many = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 300) SELECT x FROM c";
        let cursors: Vec<Cursor> = (0..1_000).map(|_| turn.exec(many, &[]).unwrap().more.unwrap()).collect();
        assert!(matches!(turn.exec(many, &[]), Err(SqlError::TooLarge(_))));
        turn.exec("SELECT 1", &[]).unwrap();
        turn.close(cursors[0]);
        turn.exec(many, &[]).unwrap();
    });
}
