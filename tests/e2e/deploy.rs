//! Deploying again: objects keep what they stored and take the new version at their next turn.

use crate::harness::{Host, at_once, guest};

/// `counter` and `faults` both keep a number under the key `n`.
#[test]
fn a_new_version_finds_the_state_of_the_old_one() {
    let mut host = Host::start();
    let first = host.deploy("shape", guest("counter"));
    assert_eq!((&first["version"], &first["changed"]), (&1.into(), &true.into()));
    assert_eq!(host.get("/shape/alice").text(), "1");
    assert_eq!(host.get("/shape/alice").text(), "2");

    let second = host.deploy("shape", guest("faults"));
    assert_eq!((&second["version"], &second["changed"]), (&2.into(), &true.into()));
    assert_eq!(second["created"], first["created"]);
    assert_ne!(second["digest"], first["digest"]);
    assert_eq!(host.get("/shape/alice/get").text(), "2");
    assert_eq!(host.get("/shape/alice/put?n=41").text(), "41");

    let third = host.deploy("shape", guest("counter"));
    assert_eq!((&third["version"], &third["digest"]), (&3.into(), &first["digest"]));
    assert_eq!(host.get("/shape/alice").text(), "42");

    host.kill();
    host.restart();
    assert_eq!(host.admin().get("/v1/classes/shape").json()["version"], 3);
    assert_eq!(host.get("/shape/alice").text(), "43");
}

#[test]
fn the_same_component_again_changes_nothing() {
    let host = Host::start();
    assert_eq!(host.admin().put("/v1/classes/construct", guest("construct")).status, 201);
    assert_eq!(host.get("/construct/alice").json()["turns_of_this_instance"], 1);
    let again = host.admin().put("/v1/classes/construct", guest("construct"));
    assert_eq!(
        (again.status, again.json()["changed"].as_bool(), again.json()["version"].as_u64()),
        (200, Some(false), Some(1))
    );
    assert_eq!(host.get("/construct/alice").json()["turns_of_this_instance"], 2, "the instance stays");
}

#[test]
fn a_running_turn_ends_on_its_old_version() {
    let host = Host::start();
    host.deploy("shape", guest("faults"));
    assert_eq!(host.get("/shape/alice/put?n=7").text(), "7");
    // Compiled before the clock runs: the deploy below takes the code from the cache.
    host.deploy("other", guest("counter"));
    std::thread::scope(|scope| {
        let sleeper = scope.spawn(|| host.get("/shape/bob/sleep?ms=3000"));
        host.wait_for_live_instances(2);
        host.deploy("shape", guest("counter"));
        assert_eq!(host.get("/shape/alice").text(), "8");
        assert!(!sleeper.is_finished(), "the deploy waited for no turn");
        assert_eq!(sleeper.join().unwrap().text(), "slept");
    });
    assert_eq!(host.get("/shape/bob").text(), "1");
}

#[test]
fn a_deploy_says_what_the_class_can_do() {
    let host = Host::start();
    let component = guest("construct");
    let deployed = host.deploy("construct", &component);
    assert_eq!(deployed["name"], "construct");
    assert_eq!(deployed["size"], component.len());
    assert_eq!(deployed["digest"].as_str().unwrap().len(), 64);
    let names = |list: &str| -> Vec<String> { serde_json::from_value(deployed[list].clone()).unwrap() };
    assert!(names("exports").contains(&"holdfast:object/fetch-handler@0.2.0".into()), "{deployed}");
    assert!(names("imports").contains(&"holdfast:object/key-value@0.2.0".into()), "{deployed}");
    let mut shown = host.admin().get("/v1/classes/construct").json();
    shown["changed"] = true.into();
    assert_eq!(shown, deployed);
}

#[test]
fn deploys_at_the_same_time_do_not_mix() {
    let host = Host::start();
    let guests = ["counter", "faults"].map(guest);
    at_once(8, |thread| host.deploy("shape", &guests[thread % 2]));
    let class = host.admin().get("/v1/classes/shape").json();
    let is_counter = class["size"] == guests[0].len();
    assert_eq!(host.get("/shape/alice/get").text(), if is_counter { "1" } else { "0" }, "{class}");
}
