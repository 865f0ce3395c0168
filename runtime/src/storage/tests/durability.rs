//! When writes are durable.

use super::*;

#[test]
fn nothing_is_durable_before_its_flush() {
    let world = World::new();
    let mut object = world.object("a");
    let mut durable = object.database().durable();
    assert!(durable.covers(object.database().last_applied()), "nothing applied, nothing to wait for");
    let applied = object.end(|turn| turn.put("k", b"v").unwrap()).unwrap();
    assert!(!durable.covers(applied.lsn));
    world.flush();
    wait(durable.reached(applied.lsn)).unwrap();
    assert!(durable.covers(applied.lsn));
}

#[test]
fn turns_of_all_objects_share_a_flush() {
    let world = World::new();
    world.flush();
    let before = world.databases.log_usage().flushes;
    let mut objects: Vec<Object> = (0..50).map(|n| world.object(&n.to_string())).collect();
    for object in &mut objects {
        (0..5_u8).for_each(|n| object.turn(|turn| turn.put("k", &[n]).unwrap()));
    }
    assert!(world.log.step() && !world.log.step());
    assert_eq!(world.databases.log_usage().flushes, before + 1);
    for object in &mut objects {
        let last = object.database().last_applied();
        assert!(object.database().durable().covers(last));
    }
}

#[test]
fn the_list_tells_what_is_durable() {
    let mut world = World::new();
    let listed = |world: &World| {
        let page = world.databases.catalog().list(&ClassKey::new("key"), None, None, 10).unwrap();
        page.entries.into_iter().map(|entry| (entry.name.unwrap().to_string(), entry.bytes)).collect::<Vec<_>>()
    };
    let mut object = world.object("a");
    object.turn(|turn| turn.put("k", b"v").unwrap());
    assert_eq!(listed(&world), []);
    world.flush();
    assert_eq!(listed(&world), [("a".into(), 3 * 4096)]);
    object.turn(|turn| turn.put("k", &[1; 10_000]).unwrap());
    world.object("b").turn(|turn| turn.put("k", b"v").unwrap());
    assert_eq!(listed(&world), [("a".into(), 3 * 4096)]);
    world.restart();
    assert_eq!(listed(&world), [("a".into(), 6 * 4096), ("b".into(), 3 * 4096)]);
    world.databases.0.checkpoint().unwrap();
    assert!(world.object("a").delete());
    assert_eq!(listed(&world).len(), 2);
    world.flush();
    for _ in 0..2 {
        assert_eq!(listed(&world), [("b".into(), 3 * 4096)]);
        world.crash();
    }
    world.databases.0.checkpoint().unwrap();
    std::fs::remove_dir_all(world.dir.catalog()).unwrap();
    world.crash();
    assert_eq!(listed(&world), [("b".into(), 3 * 4096)], "rebuilt from the databases");
}

/// A checkpoint asks which objects wait for recovery, and one of them is opened before the checkpoint comes to it.
#[test]
fn a_checkpoint_does_not_recover_an_object_that_was_opened_meanwhile() {
    let mut world = World::new();
    world.object("a").turn(|turn| turn.put("k", b"1").unwrap());
    world.restart();
    let node = world.databases.0.clone();
    let waiting = node.recovery.waiting();
    let mut object = world.object("a");
    object.turn(|turn| turn.put("k", b"2").unwrap());
    for (class, id) in waiting {
        let files = incarnations::Incarnations::at(&node.disk, &node.objects, &class, &id);
        node.recovery.recover(&id, &files, &*node.log).unwrap();
    }
    assert!(capture::wal_path(&world.file("a")).exists(), "its WAL is of this process");
    world.flush();
    node.checkpoint().unwrap();
    drop(object);
    world.restart();
    assert_eq!(world.object("a").get("k").unwrap(), b"2");
}

/// A disk that hangs stops the checkpoint, and no turn: neither of the object that the checkpoint has come to nor of
/// any other.
#[test]
fn turns_go_on_while_a_round_waits_for_the_disk() {
    let mut world = World::new();
    let node = world.databases.0.clone();
    let mut objects = [world.object("a"), world.object("b")];
    objects.iter_mut().for_each(|object| object.turn(|turn| turn.put("k", b"durable").unwrap()));
    world.flush();
    objects.iter_mut().for_each(|object| object.turn(|turn| turn.put("k", b"waited for").unwrap()));
    std::thread::scope(|scope| {
        let round = scope.spawn(|| node.checkpoint());
        let mut turns = 0_u32;
        while turns < 50 {
            objects[0].turn(|turn| turn.put("k", &turns.to_le_bytes()).unwrap());
            objects[1].turn(|turn| turn.delete_all().unwrap());
            objects[1].turn(|turn| turn.put("k", &turns.to_le_bytes()).unwrap());
            turns += u32::from(node.checkpoints.is_running());
            std::thread::yield_now();
        }
        assert!(!round.is_finished(), "what the round waits for is not durable");
        world.flush();
        round.join().unwrap().unwrap();
    });
    drop(objects);
    world.crash();
    for name in ["a", "b"] {
        assert_eq!(world.object(name).get("k").unwrap(), 49_u32.to_le_bytes(), "{name}");
    }
}

/// What a checkpoint copies while an object continues is the state of the object at the time when the checkpoint read
/// it.
#[test]
fn a_round_beside_a_busy_object_trims_nothing_that_is_not_in_its_file() {
    let mut world = World::new();
    let node = world.databases.0.clone();
    let mut object = world.object("a");
    object.turn(|turn| turn.put("k", b"1").unwrap());
    world.flush();
    object.turn(|turn| turn.put("k", b"2").unwrap());
    std::thread::scope(|scope| {
        let round = scope.spawn(|| node.checkpoint());
        while !node.checkpoints.is_running() {
            std::thread::yield_now();
        }
        world.flush();
        round.join().unwrap().unwrap();
    });
    // Not durable, so it is lost; what was written before it is trimmed or in the log.
    object.turn(|turn| turn.put("k", b"3").unwrap());
    drop(object);
    world.crash();
    assert_eq!(world.object("a").get("k").unwrap(), b"2");
}

#[test]
fn a_round_leaves_a_lane_alone_that_is_lost() {
    let world = World::new();
    let mut objects = [world.object("a"), world.object("b")];
    let lanes = ["a", "b"].map(|name| world.databases.0.lane_of(&address(name).id));
    assert_ne!(lanes[0], lanes[1]);
    objects.iter_mut().for_each(|object| object.turn(|turn| turn.put("k", b"v").unwrap()));
    world.flush();
    world.log.lose(lanes[0]);
    world.databases.0.checkpoint().unwrap();
    let trimmed = lanes.map(|lane| world.databases.0.log.trimmed(lane));
    assert!(trimmed[0] == Lsn(0) && trimmed[1] > Lsn(0), "{trimmed:?}");
}

#[test]
fn without_room_in_the_log_a_turn_leaves_no_trace() {
    let world = World::with(Limits { log_capacity: 8 << 20, ..Limits::default() });
    let mut object = world.object("a");
    object.turn(|turn| turn.put("k", b"v").unwrap());
    let mut value = vec![0; 1_000_000];
    let mut full = false;
    for n in 0..20 {
        Env::manual(n).0.fill_random(&mut value);
        let ended = object.end(|turn| turn.put(&format!("{n}"), &value).unwrap());
        world.flush();
        if let Err(error) = ended {
            assert!(matches!(error, ApplyError::Full(_)), "{error}");
            assert_eq!(object.get(&format!("{n}")), None);
            full = true;
            break;
        }
    }
    assert!(full);
    assert_eq!(object.get("k").unwrap(), b"v", "reading goes on");
    world.databases.0.checkpoint().unwrap();
    object.turn(|turn| turn.put("19", &value).unwrap());
}
