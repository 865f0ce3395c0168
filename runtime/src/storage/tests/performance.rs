//! The costs of storage. Run by hand: `cargo test --release --lib storage::tests::performance -- --ignored
//! --nocapture`.

use std::time::{Duration, Instant};

use super::*;

#[allow(clippy::disallowed_methods, reason = "measures real time")]
fn time<T>(what: &str, times: u32, mut run: impl FnMut(u32) -> T) -> Duration {
    let began = Instant::now();
    for n in 0..times {
        run(n);
    }
    let each = began.elapsed() / times;
    println!("{what}: {each:?}");
    each
}

#[test]
#[ignore = "measures"]
fn figures() {
    let world = World::new();
    let mut object = world.object("counter");
    object.turn(|turn| turn.put("n", b"0").unwrap());
    time("turn: get, put, apply", 50_000, |n| {
        object.turn(|turn| {
            turn.get("n").unwrap();
            turn.put("n", &n.to_le_bytes()).unwrap();
        });
        world.settle(&mut object);
    });
    object.turn(|turn| turn.exec("CREATE TABLE t (k INTEGER PRIMARY KEY, n)", &[]).unwrap());
    time("turn: SELECT, upsert, apply", 50_000, |_| {
        object.turn(|turn| {
            turn.exec("SELECT n FROM t WHERE k = ?", &[int(1)]).unwrap();
            turn.exec("INSERT INTO t VALUES (?, 1) ON CONFLICT (k) DO UPDATE SET n = n + 1", &[int(1)]).unwrap();
        });
        world.settle(&mut object);
    });
    time("turn: get", 100_000, |_| object.get("n"));
    let mut made: Vec<Object> = Vec::new();
    time("create, put, apply", 2_000, |n| {
        let mut object = world.object(&format!("{n}"));
        object.turn(|turn| turn.put("n", b"0").unwrap());
        made.push(object);
    });
    time("close", 2_000, |_| made.pop());
    time("open, get, close", 2_000, |n| world.object(&format!("{n}")).get("n").unwrap());
    time("read absent", 10_000, |n| world.object(&format!("none {n}")).get("n"));
}

#[test]
#[ignore = "measures"]
fn memory() {
    let world = World::new();
    let resident = || -> u64 {
        let status = std::fs::read_to_string("/proc/self/statm").unwrap();
        status.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4
    };
    let before = resident();
    let open: Vec<Object> = (0..2_000)
        .map(|n| {
            let mut object = world.object(&format!("{n}"));
            object.turn(|turn| turn.put("n", b"0").unwrap());
            object
        })
        .collect();
    println!("KiB an open object: {}", (resident() - before) / open.len() as u64);
}
