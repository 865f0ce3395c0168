//! Standard WASI for a guest: linked, so that the guest runs, but without access to the machine.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use crate::harness::{Host, guest};

#[test]
fn a_guest_has_no_files_sockets_arguments_or_environment() {
    let host = Host::start();
    host.deploy("wasi", guest("wasi"));
    let report = host.get("/wasi/alice").json();
    for refused in ["read_dir", "create_file", "tcp_connect"] {
        assert!(report[refused].as_str().unwrap().starts_with("error: "), "{refused}: {report}");
    }
    assert_eq!((&report["vars"], &report["args"]), (&json!(0), &json!([])));
}

#[test]
fn randomness_is_random() {
    let host = Host::start();
    host.deploy("wasi", guest("wasi"));
    let random = || host.get("/wasi/alice").json()["random_hex"].as_str().unwrap().to_owned();
    let (first, second) = (random(), random());
    assert_eq!(first.len(), 32);
    assert_ne!(first, second);
}

/// Holds however often the guest has to yield the processor.
#[test]
fn time_stands_still_within_a_turn_and_moves_between_turns() {
    const LOOPS: usize = 6;
    let host = Host::with("cpu-seconds-per-turn = 0.2");
    host.deploy("wasi", guest("wasi"));
    host.deploy("faults", guest("faults"));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for object in 0..LOOPS {
            let (host, done) = (&host, &done);
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    host.get(&format!("/faults/loop-{object}/loop")).problem(500, "cpu-time-exceeded");
                }
            });
        }
        host.wait_for_live_instances(LOOPS as u64);
        let mut turns = Vec::new();
        for _ in 0..10 {
            let report = host.get("/wasi/alice").json();
            turns.push((
                report["wall_ms_before"].as_u64(),
                report["wall_ms_after"].as_u64(),
                report["monotonic_ns"].as_u64(),
            ));
        }
        done.store(true, Ordering::Relaxed);
        assert!(turns.iter().all(|(before, after, elapsed)| before == after && *elapsed == Some(0)), "{turns:?}");
        assert!(turns.is_sorted() && turns.first() < turns.last(), "{turns:?}");
    });
}
