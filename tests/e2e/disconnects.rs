//! Clients that disconnect: their queued turns are cancelled, and so are running turns that only wait and have written
//! nothing; other turns are finished.

use std::net::TcpStream;

use crate::harness::{Host, eventually, guest};

/// Sends a request whose answer is not read.
fn ask(host: &Host, path: &str) -> TcpStream {
    host.data().write(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n"))
}

/// Gives the host time to process what was sent before: complete round trips to another object.
fn let_the_host_look(host: &Host) {
    for _ in 0..20 {
        assert_eq!(host.get("/faults/bob/get").text(), "0");
    }
}

#[test]
fn a_waiting_turn_is_cancelled_with_its_client() {
    let host = Host::start();
    host.deploy("faults", guest("faults"));
    let cancelled_while_it_sleeps = |object: &str, ms: u32| {
        let started = || host.metric("holdfast_instances_started_total");
        let before = started();
        std::thread::scope(|scope| {
            let sleeper = scope.spawn(|| host.get(&format!("/faults/{object}/sleep?ms={ms}")));
            eventually("the sleeper", || (started() > before).then_some(()));
            let waiting = ask(&host, &format!("/faults/{object}/count"));
            let_the_host_look(&host);
            drop(waiting);
            let_the_host_look(&host);
            let in_time = !sleeper.is_finished();
            assert_eq!(sleeper.join().unwrap().text(), "slept");
            in_time
        })
    };
    // A busy machine gets more time.
    let sleeps = [("a", 2_000), ("b", 20_000), ("c", 200_000)];
    let (object, _) = sleeps.into_iter().find(|(object, ms)| cancelled_while_it_sleeps(object, *ms)).expect("in time");
    assert_eq!(host.get(&format!("/faults/{object}/get")).text(), "0", "the turn did not run");
}

#[test]
fn a_turn_that_has_written_is_finished_without_its_client() {
    let host = Host::start();
    host.deploy("calls", guest("calls"));
    let sleeper = ask(&host, "/calls/alice/write-and-sleep?ms=700");
    host.wait_for_live_instances(1);
    drop(sleeper);
    host.wait_for_metric("holdfast_turns_total", 1);
    assert_eq!(host.metric("holdfast_live_instances"), 1, "it succeeded, so its instance stays");
    assert_eq!(host.get("/calls/alice/stored").text(), "1");
    assert_eq!(host.metric("holdfast_instances_started_total"), 1);
}

/// Without cancellation, sleepers whose clients have disconnected would keep all instances for as long as a turn may
/// last.
#[test]
fn a_turn_that_only_waits_is_given_up_with_its_client() {
    let host = Host::with("live-instances = 5");
    host.deploy("faults", guest("faults"));
    let sleepers: Vec<_> =
        (0..4).map(|object| ask(&host, &format!("/faults/sleeper-{object}/sleep?ms=3600000"))).collect();
    host.wait_for_live_instances(4);
    // These turns wait for room.
    let waiting: Vec<_> = (0..4).map(|object| ask(&host, &format!("/faults/waiting-{object}/count"))).collect();
    drop(waiting);
    drop(sleepers);
    host.wait_for_live_instances(0);
    let given_up = || host.metric("holdfast_abandoned_turns_total");
    eventually("the sleepers to be given up", || (given_up() >= 4).then_some(()));
    assert_eq!(host.get("/faults/sleeper-0/get").text(), "0", "the object goes on");
    assert_eq!(host.get("/faults/alice/count").text(), "1");
}

#[test]
fn a_request_that_breaks_off_runs_no_turn() {
    let mut host = Host::start();
    host.deploy("faults", guest("faults"));
    drop(
        host.data()
            .write("POST /faults/alice/count HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\nonly this"),
    );
    drop(host.data().write("GET /faults/alice/count HTTP/1.1\r\nho"));
    assert_eq!(host.get("/faults/alice/get").text(), "0");
    host.assert_alive();
}
