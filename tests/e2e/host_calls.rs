//! The cost of host calls: the price of each is close to the time that it takes, and an error names the place where a
//! limit was reached. `one_meter.rs` proves that a turn ends at its limit with each of these calls.

use crate::harness::{Host, guest};

/// The stack is that of the place where the limit was reached.
#[test]
fn a_limit_says_where_the_code_was() {
    let host = Host::with("cpu-seconds-per-turn = 0.3\nwall-seconds-per-turn = 3.0");
    host.deploy("calls", guest("calls"));
    host.deploy("faults", guest("faults"));
    let stack_of = |path: &str, code: &str| {
        let problem = host.get(path).problem(500, code);
        let stack = problem["stack"].as_str().map(str::to_owned);
        stack.unwrap_or_else(|| panic!("{path} has no stack: {problem}"))
    };
    assert!(stack_of("/calls/alice/random-number?n=0", "cpu-time-exceeded").contains("Calls::call"));
    assert!(stack_of("/faults/alice/loop", "cpu-time-exceeded").contains("fail"));
    assert!(stack_of("/faults/alice/sleep?ms=3600000", "wall-time-exceeded").contains("sleep"));
    let entries = host.admin().get("/v1/logs").json();
    let logged =
        entries["entries"].as_array().unwrap().iter().filter(|entry| entry.to_string().contains("Calls::call"));
    assert_eq!(logged.count(), 1, "{entries}");
}

/// A call that the host refuses with a trap ends the turn, not the host.
#[test]
fn absurd_arguments_end_the_turn() {
    let mut host = Host::start();
    host.deploy("calls", guest("calls"));
    for call in ["random?bytes=1048577&n=1", "poll?bytes=10001&n=1", "poll?bytes=0&n=1", "poll?bytes=3000000&n=1"] {
        host.get(&format!("/calls/alice/{call}")).problem(500, "guest-trap");
    }
    assert_eq!(host.get("/calls/alice/poll?bytes=10000&n=1").text(), "called");
    host.assert_alive();
}

/// Prints the time of each call and its price: `cargo test --release --test e2e prices -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn prices_of_host_calls() {
    let host = Host::with("cpu-seconds-per-turn = 30.0");
    host.deploy("calls", guest("calls"));
    let calls = [
        ("identity", 0, 2_000_000),
        ("random-number", 0, 2_000_000),
        ("clock", 0, 2_000_000),
        ("alarm", 0, 2_000_000),
        ("sockets", 0, 2_000_000),
        ("random", 16, 1_000_000),
        ("random", 1 << 20, 1_000),
        ("poll", 1, 200_000),
        ("poll", 5_000, 500),
        ("print", 1, 200_000),
        ("print", 4_000, 300),
        ("log", 16, 200_000),
        ("log", 100_000, 10_000),
        ("fields", 10, 50_000),
        ("fields", 1_000, 500),
        ("get", 16, 200_000),
        ("get", 1_000_000, 1_000),
        ("put", 16, 100_000),
        ("put", 1_000_000, 100),
        ("list", 16, 100_000),
        ("size", 16, 100_000),
    ];
    println!("{:>14} {:>8} {:>12} {:>14} {:>14}", "call", "bytes", "ns a call", "units a call", "units a ns");
    for (call, bytes, n) in calls {
        let read = || (host.cpu_time(), host.metric("holdfast_fuel_total"));
        let before = read();
        assert_eq!(host.get(&format!("/calls/alice/{call}?bytes={bytes}&n={n}")).text(), "called");
        let after = read();
        let nanos = (after.0 - before.0).as_nanos() as f64 / f64::from(n);
        let units = (after.1 - before.1) as f64 / f64::from(n);
        println!("{call:>14} {bytes:>8} {nanos:>12.0} {units:>14.0} {:>14.1}", units / nanos);
    }
}
