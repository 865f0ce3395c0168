//! B9 of the benchmarks: one class is hostile in four ways at once, the others are under half of their maximal load.
//! Measures and prints; asserts that all answers are correct.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::arena::Arena;
use crate::attack::{ALONE, Attack, MEMORY};
use crate::clients::CLIENTS;
use crate::clock::{Stop, StopAtEnd, now, pass};
use crate::harness::{Client, Host};
use crate::neighbour::{Latencies, NEIGHBOUR, Neighbour, Probe, spawn};
use crate::tenants::TENANTS;

/// The four attacks of the hostile class and its clients.
const HARM: [&str; 4] = ["loops", "sql-endless", "memory", "message-flood"];
/// Threads that send requests, and objects of each; every fourth request writes.
const THREADS: u64 = 16;
const OBJECTS: u64 = 8;
const LIMIT: Duration = Duration::from_secs(5);
const MEASURE: Duration = Duration::from_secs(20);

/// `cargo test --release --test hostile -- --ignored others_at_half_load --nocapture`.
#[test]
#[ignore = "measures for a minute"]
fn one_class_is_hostile_and_the_others_at_half_load() {
    let _alone = ALONE.lock();
    let host = Host::with_config(&format!("[limits]\n{MEMORY}\n"));
    Neighbour::deploy(&host);
    let arena = Arena::of(&host, true);
    let most = as_fast_as_can_be(&host);
    let every = Duration::from_secs_f64(THREADS as f64 / (most / 2.0));
    let (stop, probes) = (Arc::<Stop>::default(), (0..THREADS).map(|_| Arc::<Probe>::default()).collect::<Vec<_>>());
    let start = |(thread, probe)| spawn(probe, &stop, every, asker(host.data().clone(), thread));
    let threads: Vec<_> = (0..THREADS).zip(&probes).map(start).collect();
    let take = |wrong: &mut Vec<String>| Latencies(probes.iter().flat_map(|probe| probe.take(wrong)).collect());
    let mut wrong = Vec::new();
    pass(LIMIT);
    take(&mut wrong);
    pass(MEASURE);
    let without = take(&mut wrong);
    let harm = Stop::default();
    let with = std::thread::scope(|scope| {
        let (harm, arena) = (&harm, &arena);
        let _stopped = StopAtEnd(harm);
        let is_chosen = |attack: &&Attack| HARM.contains(&attack.name);
        for attack in TENANTS.iter().chain(CLIENTS).filter(is_chosen) {
            scope.spawn(move || (attack.run)(arena, harm));
        }
        pass(MEASURE);
        take(&mut wrong)
    });
    stop.tell();
    threads.into_iter().for_each(|thread| thread.join().expect("a probe catches what goes wrong"));
    let shown = |felt: &Latencies| format!("p50 {:.1?}, p99 {:.1?}, {} requests", felt.p50(), felt.p99(), felt.0.len());
    eprintln!("{most:.0} requests/s at most, half of that asked for; {HARM:?}: {}", arena.take_heard());
    eprintln!("without: {}\nwith:    {}", shown(&without), shown(&with));
    eprintln!("p99 with / without: {:.1}", with.p99().as_secs_f64() / without.p99().as_secs_f64());
    assert_eq!(wrong, Vec::<String>::new(), "the neighbours' answers");
}

/// Sends requests to objects of its own in turn; their counts are checked.
fn asker(client: Client, thread: u64) -> impl FnMut() + Send + 'static {
    let mut asked = 0;
    let mut numbers = [None; OBJECTS as usize];
    move || {
        let object = asked % OBJECTS;
        asked += 1;
        let path = |rest: &str| format!("/{NEIGHBOUR}/half-{thread}-{object}{rest}");
        if asked % 4 > 0 {
            assert_eq!(client.get(&path("/")).text(), "light");
            return;
        }
        let known: &mut Option<u64> = &mut numbers[object as usize];
        let before = known.take().unwrap_or_else(|| client.get(&path("/number")).number());
        assert_eq!(client.post(&path("/add"), b"").number(), before + 1, "an increment");
        *known = Some(before + 1);
    }
}

/// Returns requests per second when each thread sends the next request after each answer.
fn as_fast_as_can_be(host: &Host) -> f64 {
    let (stop, asked, began) = (Stop::default(), AtomicU64::new(0), now());
    std::thread::scope(|scope| {
        let (stop, asked) = (&stop, &asked);
        let _stopped = StopAtEnd(stop);
        for thread in 0..THREADS {
            let mut ask = asker(host.data().clone(), thread);
            scope.spawn(move || {
                while !stop.told() {
                    ask();
                    asked.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        pass(LIMIT);
    });
    asked.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64()
}
