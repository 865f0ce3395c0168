//! Database files over their life: made, found again, left by crashes, damaged, deleted.

use std::fs;

use super::*;
use crate::storage::durability::wal_path;

#[test]
fn what_was_applied_is_found_again() {
    let mut world = World::new();
    let mut object = world.object("a");
    object.turn(|turn| turn.put("k", b"v").unwrap());
    object.turn(|turn| turn.put("k", b"w").unwrap());
    drop(object);
    assert!(fs::metadata(wal_path(&world.file("a"))).unwrap().len() > 0, "the newest data is in the WAL");
    world.restart();
    let mut object = world.object("a");
    assert_eq!(object.get("k").unwrap(), b"w");
    let stored = object.database().description().unwrap().unwrap();
    assert_eq!(stored, Stored { name: address("a").name, bytes: 3 * 4096 });
}

#[test]
fn a_name_is_remembered_when_the_object_is_reached_by_id() {
    let world = World::new();
    let mut object = Object(Some(world.databases.database(&by_id("a"))));
    object.turn(|turn| turn.put("k", b"v").unwrap());
    assert_eq!(object.database().name().unwrap(), None);
    let name = address("a").name.unwrap();
    object.database().reached_by(&name);
    object.fail(|turn| turn.put("k", b"w").unwrap());
    object.turn(|turn| turn.put("k", b"w").unwrap());
    drop(object);
    let mut object = Object(Some(world.databases.database(&by_id("a"))));
    assert_eq!(object.turn(|turn| turn.name().unwrap()), Some(name.clone()));
    assert_eq!(object.database().description().unwrap().unwrap().name, Some(name));
}

#[test]
fn deleting_leaves_nothing_and_the_object_can_be_made_again() {
    let world = World::new();
    let mut object = world.object("a");
    object.turn(|turn| turn.put("k", b"v").unwrap());
    assert!(object.database().delete().unwrap());
    assert!(world.files().is_empty());
    assert!(!object.database().delete().unwrap());
    assert_eq!(object.get("k"), None);
    let applied = object.end(|turn| turn.put("other", b"v").unwrap()).unwrap();
    wait(object.database().durable().reached(applied.lsn));
    assert_eq!((object.get("k"), object.get("other")), (None, Some(b"v".to_vec())));
}

#[test]
fn a_wal_without_its_database_is_not_believed() {
    let world = World::new();
    let mut object = world.object("a");
    object.turn(|turn| turn.put("k", b"old").unwrap());
    drop(object);
    fs::remove_file(world.file("a")).unwrap();
    let mut object = world.object("a");
    assert_eq!(object.get("k"), None);
    object.turn(|turn| turn.put("new", b"v").unwrap());
    assert_eq!((object.get("k"), object.get("new").is_some()), (None, true));
}

#[test]
fn what_a_crash_left_of_a_new_database_is_replaced() {
    let world = World::new();
    let file = world.file("a");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    let template = crate::storage::template::Template::build().unwrap();
    template.write(&file).unwrap();
    let whole = fs::read(&file).unwrap();
    let zeros = vec![0; whole.len()];
    let half: Vec<u8> = [&whole[..4096], &zeros[4096..]].concat();
    for left in [&whole[..], &[], &zeros, &zeros[..4096], &half, &whole[..5000], &whole[..100]] {
        fs::write(&file, left).unwrap();
        let mut object = world.object("a");
        assert_eq!(object.database().description().unwrap(), None, "{} bytes", left.len());
        assert!(world.files().is_empty());
        object.turn(|turn| turn.put("k", b"v").unwrap());
        assert!(object.database().delete().unwrap());
    }
}

#[test]
fn damage_is_told_and_can_be_deleted() {
    let world = World::new();
    let mut object = world.object("a");
    object.turn(|turn| turn.put("k", b"v").unwrap());
    drop(object);
    fs::remove_file(wal_path(&world.file("a"))).unwrap();
    fs::write(world.file("a"), vec![7; 3 * 4096]).unwrap();
    let mut object = world.object("a");
    assert!(matches!(object.database().description(), Err(StorageError::Damaged { .. })));
    let ended = object.end(|turn| assert!(matches!(turn.get("k"), Err(KvError::Other(_)))));
    assert!(matches!(ended, Err(ApplyError::Failed(_))));
    assert!(object.database().delete().unwrap());
    assert_eq!(object.get("k"), None);
}

#[test]
fn a_database_of_another_object_is_refused() {
    let world = World::new();
    let mut object = world.object("a");
    object.turn(|turn| turn.put("k", b"v").unwrap());
    drop(object);
    fs::create_dir_all(world.file("b").parent().unwrap()).unwrap();
    for (from, to) in [(world.file("a"), world.file("b")), (wal_path(&world.file("a")), wal_path(&world.file("b")))] {
        fs::copy(from, to).unwrap();
    }
    let error = world.object("b").database().description().unwrap_err().to_string();
    assert!(error.contains("another object"), "{error}");
}

#[test]
fn a_class_is_removed_whole() {
    let mut world = World::new();
    world.object("a").turn(|turn| turn.put("k", b"v").unwrap());
    world.object("b").turn(|turn| turn.put("k", b"v").unwrap());
    fs::create_dir(world.dir.objects().join("gone.removed")).unwrap();
    assert!(world.databases.remove_class(&ClassKey::new("key")).unwrap());
    assert!(!world.databases.remove_class(&ClassKey::new("key")).unwrap());
    assert!(world.files().is_empty());
    assert_eq!(fs::read_dir(world.dir.objects()).unwrap().count(), 0, "an interrupted removal is finished too");
    world.restart();
    assert_eq!(world.object("a").get("k"), None);
}

#[test]
fn a_long_wal_is_begun_anew() {
    let mut world = World::new();
    let mut object = world.object("a");
    let wal = wal_path(&world.file("a"));
    let fill = |object: &mut Object, n: u8| {
        object.turn(|turn| (0..500).for_each(|key| turn.put(&format!("{key}"), &[n; 4000]).unwrap()));
    };
    let mut last = Lsn::default();
    for n in 0..4 {
        fill(&mut object, n);
        last = object.database().last_applied();
    }
    wait(object.database().durable().reached(last));
    assert!(fs::metadata(&wal).unwrap().len() > 1_000 * 4096);
    object.database().maintain().unwrap();
    assert_eq!(fs::metadata(&wal).unwrap().len(), 0);
    object.database().maintain().unwrap();
    fill(&mut object, 9);
    drop(object);
    world.restart();
    assert_eq!(world.object("a").get("499").unwrap(), [9; 4000]);
}

#[test]
fn only_the_host_ends_a_transaction() {
    let world = World::new();
    let mut object = world.object("a");
    object.turn(|turn| turn.put("k", b"v").unwrap());
    drop(object);
    let connection = crate::storage::connection::Connection::open(&world.file("a"), 100).unwrap();
    let refused = connection.guest().execute_batch("CREATE TABLE t (x)").unwrap_err();
    assert_eq!(refused.sqlite_error().unwrap().extended_code, rusqlite::ffi::SQLITE_CONSTRAINT_COMMITHOOK);
    connection.guest().execute_batch("COMMIT").unwrap_err();
}
