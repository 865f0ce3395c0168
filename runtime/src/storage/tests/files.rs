//! Database files over their lifetime: created, reopened, left by crashes, damaged, deleted.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;

use super::*;
use crate::storage::capture::wal_path;

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
    assert_eq!((stored.name, stored.bytes, stored.alarm), (address("a").name, 3 * 4096, None));
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
    assert!(object.delete());
    assert!(!world.files().is_empty(), "until it is durable");
    world.settle(&mut object);
    assert!(world.files().is_empty());
    assert!(!object.delete());
    assert_eq!(object.get("k"), None);
    object.turn(|turn| turn.put("other", b"v").unwrap());
    assert_eq!((object.get("k"), object.get("other")), (None, Some(b"v".to_vec())));
}

#[test]
fn what_was_not_durable_is_gone_after_a_crash() {
    let mut world = World::new();
    let mut object = world.object("a");
    object.turn(|turn| turn.put("k", b"durable").unwrap());
    world.flush();
    object.turn(|turn| turn.put("k", b"applied").unwrap());
    let mut other = world.object("b");
    other.turn(|turn| turn.put("k", b"applied").unwrap());
    for opened in [true, false] {
        world.crash();
        if opened {
            assert_eq!(world.object("a").get("k").unwrap(), b"durable");
        }
        assert_eq!(world.object("b").get("k"), None);
    }
    world.databases.0.checkpoint().unwrap();
    world.crash();
    assert_eq!(world.object("a").get("k").unwrap(), b"durable");
}

#[test]
fn what_a_database_could_not_finish_is_found_by_the_next_one() {
    let world = World::new();
    let mut object = world.object("a");
    for n in 0..10_u8 {
        let applied = object.end(|turn| turn.put("k", &[n]).unwrap()).unwrap();
        drop(object);
        object = world.object("a");
        assert_eq!(object.database().last_applied(), applied.lsn, "it is not durable, so no caller may see it");
        assert_eq!(object.get("k").unwrap(), [n]);
    }
    world.flush();
    drop(object);
    assert_eq!(fs::metadata(wal_path(&world.file("a"))).unwrap().len(), 0, "nothing is left to do");
    assert_eq!(world.object("a").get("k").unwrap(), [9]);
}

/// The log has nothing of the object any more, so no recovery is done; its WAL must not be read all the same.
#[test]
fn what_an_earlier_process_left_in_a_wal_is_emptied_unread() {
    let mut world = World::new();
    let mut object = world.object("a");
    object.turn(|turn| turn.put("k", b"trimmed").unwrap());
    world.flush();
    world.databases.0.checkpoint().unwrap();
    object.turn(|turn| turn.put("k", b"applied").unwrap());
    drop(object);
    world.crash();
    assert!(world.databases.0.recovery.waiting().is_empty());
    assert!(fs::metadata(wal_path(&world.file("a"))).unwrap().len() > 0);
    assert_eq!(world.object("a").get("k").unwrap(), b"trimmed");
}

#[test]
fn a_visit_makes_and_removes_no_file() {
    let world = World::new();
    let mut inodes = HashSet::new();
    for n in 0..3_u8 {
        let mut object = world.object("a");
        object.turn(|turn| turn.put("k", &[n]).unwrap());
        world.flush();
        drop(object);
        assert_eq!(world.files().len(), 3, "database, WAL, sums");
        inodes.extend(world.files().iter().map(|file| fs::metadata(file).unwrap().ino()));
    }
    assert_eq!(inodes.len(), 3);
}

#[test]
fn what_a_crash_left_of_a_new_database_is_replaced() {
    let world = World::new();
    let file = world.file("a");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    let template = crate::storage::template::Template::build().unwrap();
    template.write(&crate::base::SystemDisk, &file).unwrap();
    let whole = fs::read(&file).unwrap();
    let zeros = vec![0; whole.len()];
    let half: Vec<u8> = [&whole[..4096], &zeros[4096..]].concat();
    for left in [&whole[..], &[], &zeros, &zeros[..4096], &half, &whole[..5000], &whole[..100]] {
        fs::write(&file, left).unwrap();
        let mut object = world.object("a");
        assert_eq!(object.database().description().unwrap(), None, "{} bytes", left.len());
        assert!(world.files().is_empty());
        object.turn(|turn| turn.put("k", b"v").unwrap());
        assert!(object.delete());
        world.settle(&mut object);
    }
}

#[test]
fn damage_is_told_and_can_be_deleted() {
    let world = World::new();
    let mut object = world.object("a");
    object.turn(|turn| turn.put("k", b"v").unwrap());
    world.flush();
    drop(object);
    fs::write(world.file("a"), vec![7; 3 * 4096]).unwrap();
    let mut object = world.object("a");
    assert!(matches!(object.database().description(), Err(StorageError::Damaged { .. })));
    let ended = object.end(|turn| assert!(matches!(turn.get("k"), Err(KvError::Other(_)))));
    assert!(matches!(ended, Err(ApplyError::Damaged(_))));
    assert!(object.delete());
    world.settle(&mut object);
    assert!(world.files().is_empty());
    assert_eq!(object.get("k"), None);
}

#[test]
fn a_database_of_another_object_is_refused() {
    let world = World::new();
    let mut object = world.object("a");
    object.turn(|turn| turn.put("k", b"v").unwrap());
    world.flush();
    drop(object);
    fs::create_dir_all(world.file("b").parent().unwrap()).unwrap();
    fs::copy(world.file("a"), world.file("b")).unwrap();
    let error = world.object("b").database().description().unwrap_err().to_string();
    assert!(error.contains("another object"), "{error}");
}

#[test]
fn a_class_is_removed_whole() {
    let mut world = World::new();
    for name in ["a", "b"] {
        world.object(name).turn(|turn| turn.put("k", b"v").unwrap());
    }
    world.flush();
    let removed = |world: &World| {
        std::thread::scope(|scope| {
            let removing = scope.spawn(|| world.databases.remove_class(&ClassKey::new("key")).unwrap());
            while !removing.is_finished() {
                world.log.step();
            }
        });
    };
    removed(&world);
    removed(&world);
    assert!(world.files().is_empty());
    for _ in 0..2 {
        assert_eq!(world.object("a").get("k"), None);
        assert!(!world.databases.catalog().has_objects(&ClassKey::new("key")).unwrap());
        world.restart();
    }
}

#[test]
fn a_long_wal_is_begun_anew_once_it_is_durable() {
    let mut world = World::new();
    let mut object = world.object("a");
    let wal = wal_path(&world.file("a"));
    let length = || fs::metadata(&wal).unwrap().len();
    object.turn(|turn| (0..200).for_each(|key| turn.put(&format!("{key}"), &[9; 4000]).unwrap()));
    object.database().maintain().unwrap();
    assert!(length() > 200 * 4096 && !object.database().must_settle());
    world.settle(&mut object);
    assert_eq!(length(), 0);
    for n in 0..6_u8 {
        object.turn(|turn| (0..200).for_each(|key| turn.put(&format!("{key}"), &[n; 4000]).unwrap()));
        object.database().maintain().unwrap();
    }
    assert!(object.database().must_settle(), "a WAL that is never durable does not grow without end");
    world.settle(&mut object);
    assert!(!object.database().must_settle());
    world.restart();
    assert_eq!(world.object("a").get("199").unwrap(), [5; 4000]);
}

/// The purpose of checkpoints: the log holds nothing any more, and everything is in the files.
#[test]
fn a_checkpoint_trims_objects_that_are_in_use() {
    let mut world = World::new();
    let mut objects: Vec<Object> = ["idle", "busy", "gone", "away", "again"].map(|name| world.object(name)).into();
    for object in &mut objects {
        object.turn(|turn| (0..300).for_each(|key| turn.put(&format!("{key}"), &[1; 4000]).unwrap()));
    }
    world.flush();
    assert!(objects[2].delete());
    drop(objects.remove(3));
    objects.last_mut().unwrap().turn(|turn| {
        turn.delete_all().unwrap();
        turn.put("new", b"v").unwrap();
    });
    world.flush();
    let mut busy = objects[1].begin(WorkBudget::unlimited());
    busy.put("0", b"staged").unwrap();
    world.databases.0.checkpoint().unwrap();
    let usage = world.databases.log_usage();
    assert!(usage.live < 4096, "{usage:?}");
    busy.put("1", b"staged").unwrap();
    assert_eq!(busy.get("2").unwrap().unwrap(), [1; 4000]);
    objects[1].0 = Some(busy.apply().0);
    assert_eq!(objects[1].get("299").unwrap(), [1; 4000]);
    world.restart();
    assert_eq!(world.object("idle").get("299").unwrap(), [1; 4000]);
    assert_eq!(world.object("away").get("299").unwrap(), [1; 4000]);
    assert_eq!(world.object("busy").get("0").unwrap(), b"staged");
    assert_eq!(world.object("busy").get("299").unwrap(), [1; 4000]);
    assert_eq!((world.object("gone").get("0"), world.object("again").get("0")), (None, None));
    assert_eq!(world.object("again").get("new").unwrap(), b"v");
}

/// A turn of many megabytes is many records; a crash between them leaves nothing of the turn.
#[test]
fn a_large_turn_counts_whole() {
    let mut world = World::new();
    let mut object = world.object("a");
    object.turn(|turn| turn.put("small", b"v").unwrap());
    world.flush();
    let large = |object: &mut Object, n: u8| {
        object.turn(|turn| (0..20).for_each(|key| turn.put(&format!("{key}"), &vec![n; 1_000_000]).unwrap()));
    };
    large(&mut object, 1);
    world.restart();
    let mut object = world.object("a");
    assert_eq!(object.get("19").unwrap(), vec![1; 1_000_000]);
    large(&mut object, 2);
    world.crash();
    assert_eq!(world.object("a").get("0").unwrap(), vec![1; 1_000_000]);
}

#[test]
fn only_the_host_ends_a_transaction() {
    let world = World::new();
    let mut object = world.object("a");
    object.turn(|turn| turn.put("k", b"v").unwrap());
    drop(object);
    let heap = world.databases.0.heap(&address("a").key).unwrap();
    let connection = crate::storage::connection::Connection::open(&world.file("a"), 100, heap).unwrap();
    let refused = connection.guest().execute_batch("CREATE TABLE t (x)").unwrap_err();
    assert_eq!(refused.sqlite_error().unwrap().extended_code, rusqlite::ffi::SQLITE_CONSTRAINT_COMMITHOOK);
    connection.guest().execute_batch("COMMIT").unwrap_err();
}
