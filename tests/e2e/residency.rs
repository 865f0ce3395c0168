//! Instances are made and dropped: idle ones are dropped, the least recently used one makes room, and storage is the
//! same throughout.

use crate::harness::{Host, at_once, eventually, guest};

/// Returns the number of stored constructions of the object, and of turns of its present instance.
fn visit(host: &Host, object: &str) -> (u64, u64) {
    let answer = host.get(&format!("/construct/{object}")).json();
    (answer["constructions"].as_u64().unwrap(), answer["turns_of_this_instance"].as_u64().unwrap())
}

#[test]
fn an_idle_instance_is_dropped() {
    let host = Host::with("idle-seconds = 0.3");
    host.deploy("construct", guest("construct"));
    assert_eq!(visit(&host, "alice"), (1, 1));
    host.wait_for_live_instances(0);
    host.wait_for_metric("holdfast_live_objects", 0);
    assert_eq!(host.state("construct", "alice"), "dormant");
    assert_eq!(visit(&host, "alice"), (2, 1));
    assert_eq!(host.metric("holdfast_instances_evicted_total"), 0, "nobody needed the room");
}

#[test]
fn a_busy_instance_is_not_idle() {
    let host = Host::with("idle-seconds = 0.2");
    host.deploy("faults", guest("faults"));
    assert_eq!(host.get("/faults/alice/sleep?ms=900").text(), "slept");
    assert_eq!(host.metric("holdfast_instances_started_total"), 1);
}

#[test]
fn the_least_recently_used_instance_makes_room() {
    // Four, and the place that is reserved for another class.
    let host = Host::with("live-instances = 5\nidle-seconds = 3600");
    host.deploy("construct", guest("construct"));
    for object in ["a", "b", "c", "d"] {
        assert_eq!(visit(&host, object), (1, 1));
    }
    assert_eq!(visit(&host, "a"), (1, 2));
    assert_eq!(visit(&host, "e"), (1, 1));
    let states = ["a", "b", "c", "d", "e"].map(|object| host.state("construct", object));
    assert_eq!(states, ["live", "dormant", "live", "live", "live"]);
    assert_eq!(host.metric("holdfast_instances_evicted_total"), 1);
    assert_eq!(visit(&host, "b"), (2, 1), "its storage is where it was");
    assert_eq!(visit(&host, "a"), (1, 3));
}

#[test]
fn far_more_objects_than_instances() {
    const OBJECTS: usize = 150;
    let host = Host::with("live-instances = 8");
    host.deploy("counter", guest("counter"));
    for round in 1..=3 {
        let answers = at_once(4, |thread| {
            let mine = (0..OBJECTS).filter(|object| object % 4 == thread);
            mine.map(|object| host.get(&format!("/counter/object-{object}")).number()).collect::<Vec<_>>()
        });
        assert!(answers.concat().iter().all(|&number| number == round), "{answers:?}");
        assert!(host.metric("holdfast_live_instances") <= 8);
    }
}

#[test]
fn a_turn_waits_for_room_and_is_refused_when_there_is_none_for_long() {
    // A machine that is too busy for 8 seconds gets more time.
    assert!([8, 40, 200].into_iter().any(refused_while_others_wait), "it was refused in time");
}

/// Has two sleepers use all places of one class for this many seconds while a third object requests one. Returns false
/// if it got one because the machine was too slow.
fn refused_while_others_wait(seconds: u32) -> bool {
    let host = Host::with(&format!("live-instances = 3\nwall-seconds-per-turn = {seconds}"));
    host.deploy("faults", guest("faults"));
    let refused = std::thread::scope(|scope| {
        let short = scope.spawn(|| host.get("/faults/short/sleep?ms=700"));
        let long = scope.spawn(|| host.get("/faults/long/sleep?ms=3600000"));
        host.wait_for_live_instances(2);
        assert_eq!(host.get("/faults/alice/count").text(), "1", "it waited for the short one");
        assert_eq!(short.join().unwrap().text(), "slept");

        let second = scope.spawn(|| host.get("/faults/second/sleep?ms=3600000"));
        eventually("both places to be taken", || (host.state("faults", "alice") == "dormant").then_some(()));
        let answer = host.get("/faults/bob/count");
        let refused = answer.status != 200;
        if refused {
            assert_eq!(answer.problem(503, "no-capacity")["object"], "faults/bob");
        }
        for sleeper in [long, second] {
            sleeper.join().unwrap().problem(500, "wall-time-exceeded");
        }
        refused
    });
    assert_eq!(host.get("/faults/bob/count").number(), if refused { 1 } else { 2 });
    refused
}

#[test]
fn eviction_through_the_admin_api_keeps_what_is_stored() {
    let host = Host::start();
    host.deploy("construct", guest("construct"));
    let evict = |object: &str| {
        host.admin().post(&format!("/v1/classes/construct/objects/{object}/evict"), b"").json()["evicted"] == true
    };
    assert!(!evict("alice"));
    assert_eq!(visit(&host, "alice"), (1, 1));
    assert!(evict("alice"));
    assert!(!evict("alice"));
    assert_eq!(host.state("construct", "alice"), "dormant");
    assert_eq!(visit(&host, "alice"), (2, 1));
}
