//! What is durable when, and who shares a flush.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};

use super::*;

/// A disk whose flushes wait until they are let go, one by one.
fn held_disk() -> (impl Disk, mpsc::Sender<()>, mpsc::Receiver<()>) {
    let (go, gone) = mpsc::channel();
    let (begin, begun) = mpsc::channel();
    let gone = Mutex::new(gone);
    let flush = move |_: &_| {
        begin.send(()).unwrap();
        gone.lock().unwrap().recv().map_err(std::io::Error::other)
    };
    (TestDisk(flush, |_: &_| ()), go, begun)
}

#[test]
fn nothing_is_durable_before_its_flush() {
    let (disk, go, begun) = held_disk();
    let world = World::with(Limits::default(), disk);
    let mut object = world.object("a");
    let mut durable = object.database().durable();
    assert!(durable.covers(Lsn::default()), "nothing applied, nothing to wait for");
    let applied = object.end(|turn| turn.put("k", b"v").unwrap()).unwrap();
    begun.recv().unwrap();
    assert!(!durable.covers(applied.lsn));
    go.send(()).unwrap();
    wait(durable.reached(applied.lsn));
    assert!(durable.covers(applied.lsn));
}

#[test]
fn turns_that_gather_share_the_next_flush() {
    let (disk, go, begun) = held_disk();
    let world = World::with(Limits::default(), disk);
    let mut object = world.object("a");
    let mut durable = object.database().durable();
    object.turn(|turn| turn.put("k", b"0").unwrap());
    begun.recv().unwrap();
    let mut last = Lsn::default();
    for n in 1..=100_u8 {
        last = object.end(|turn| turn.put("k", &[n]).unwrap()).unwrap().lsn;
    }
    for _ in 0..2 {
        go.send(()).unwrap();
    }
    wait(durable.reached(last));
    assert_eq!(world.databases.flushes(), 2);
}

#[test]
fn objects_do_not_wait_for_each_other() {
    let (disk, go, begun) = held_disk();
    let world = World::with(Limits::default(), disk);
    let mut objects = [world.object("a"), world.object("b")];
    for object in &mut objects {
        object.turn(|turn| turn.put("k", b"v").unwrap());
    }
    begun.recv().unwrap();
    begun.recv().unwrap();
    for _ in 0..2 {
        go.send(()).unwrap();
    }
    for object in &mut objects {
        let last = object.database().last_applied();
        wait(object.database().durable().reached(last));
    }
}

#[test]
fn a_failed_flush_publishes_nothing() {
    let (told, lost) = mpsc::channel();
    let disk =
        TestDisk(|_: &_| Err(std::io::Error::other("no disk")), move |what: &str| told.send(what.to_owned()).unwrap());
    let world = World::with(Limits::default(), disk);
    let mut object = world.object("a");
    let applied = object.end(|turn| turn.put("k", b"v").unwrap()).unwrap();
    let message = lost.recv().unwrap();
    assert!(message.contains("no disk") && message.contains("sqlite"), "{message}");
    assert!(!object.database().durable().covers(applied.lsn));
}

#[test]
fn flushes_reach_the_real_disk() {
    let flushed = Arc::new(AtomicU64::new(0));
    let (count, disk) = (flushed.clone(), SystemDisk::default());
    let flush = move |files: &_| disk.flush(files).inspect(|()| _ = count.fetch_add(1, Ordering::Relaxed));
    let world = World::with(Limits::default(), TestDisk(flush, |what: &str| panic!("{what}")));
    let mut object = world.object("a");
    for n in 0..3_u8 {
        let applied = object.end(|turn| turn.put("k", &[n]).unwrap()).unwrap();
        wait(object.database().durable().reached(applied.lsn));
    }
    assert_eq!(flushed.load(Ordering::Relaxed), 3);
}

#[test]
fn deleting_while_a_flush_is_requested_is_no_failure() {
    let world = World::new();
    for n in 0..50 {
        let mut object = world.object(&format!("{n}"));
        object.turn(|turn| turn.put("k", b"v").unwrap());
        object.database().delete().unwrap();
        let applied = object.end(|turn| turn.put("k", b"w").unwrap()).unwrap();
        wait(object.database().durable().reached(applied.lsn));
    }
}
