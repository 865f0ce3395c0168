//! SIGKILL at each failpoint of `docs/TESTING.md`: between two steps, where a signal from outside cannot be timed.

use std::os::unix::process::ExitStatusExt;

use ureq::http::Method;

use crate::dice::Dice;
use crate::harness::{guest, root};
use crate::log_files::{SMALL_LOG, remove_catalogs, tear_last_group};
use crate::world::{Tally, World};

/// SIGKILL.
const KILL: Option<i32> = Some(9);

#[test]
fn a_kill_at_any_point_loses_nothing() {
    let mut dice = Dice::of_the_run("failpoints");
    let mut world = World::with_config(SMALL_LOG);
    // Calls have a test of their own.
    for failpoint in failpoints().into_iter().filter(|failpoint| !failpoint.starts_with("call-")) {
        let status = die_at(&mut world, &mut dice, &failpoint);
        assert_eq!(status.signal(), KILL, "{failpoint}: the process ended by itself, {status}:\n{}", world.host.log());
        world.host.restart();
        world.check();
    }
    world.check_all();
}

/// After a kill every object has the state before the turn that was not durable, whether the new process has opened it
/// or not.
#[test]
fn a_turn_that_was_applied_and_not_appended_leaves_no_trace() {
    const OBJECTS: u64 = 12;
    let mut dice = Dice::of_the_run("turn-applied");
    let mut world = World::with_config(SMALL_LOG);
    for round in 0..8 {
        let nth = 1 + dice.below(4 * OBJECTS);
        world.host.kill();
        world.host.restart_with_failpoints(&format!("turn-applied:kill@{nth}")).expect("a turn is what it dies of");
        let tally = Tally::default();
        let mut writer = world.writer(dice.fork(), &tally);
        let last = (0..).map(|number| format!("object-{}", number % OBJECTS));
        let last = last.into_iter().find(|object| writer.write(object, "").is_err()).expect("the failpoint is reached");
        assert_eq!(world.host.end().signal(), KILL);
        world.host.restart();

        // The catalog's entry of an object that is not opened yet, before it is opened.
        let listed = world.host.admin().get("/v1/classes/ledger/objects?limit=1000").json();
        let is_listed =
            listed["objects"].as_array().expect("it is a list").iter().any(|object| object["name"] == *last);
        assert_eq!(is_listed, !world.list(&last).is_empty(), "round {round}: {last}");
        // Only one request at a time is in progress: a request without an answer was not appended.
        world.nothing_is_unanswered();
        world.check_all();
    }
}

/// Returns the names in the table of failpoints.
fn failpoints() -> Vec<String> {
    let document = std::fs::read_to_string(root().join("docs/TESTING.md")).expect("docs/TESTING.md is there");
    let (_, table) = document.split_once("| failpoint | where |").expect("failpoints have a table");
    table.lines().filter_map(|line| Some(line.strip_prefix("| `")?.split_once('`')?.0.to_owned())).collect()
}

/// Brings a running host to the failpoint, which ends it.
fn die_at(world: &mut World, dice: &mut Dice, failpoint: &str) -> std::process::ExitStatus {
    // Writes to recover, some of them never durable.
    world.host.kill();
    let before = if failpoint == "log-cut" { "log-flush:kill@30" } else { "" };
    world.host.restart_with_failpoints(before).expect("there is no load yet");
    world.load(dice, |tally| {
        if before.is_empty() && tally.acknowledged() >= 100 {
            world.host.begin_to_die();
        }
        false
    });
    world.host.end();
    match failpoint {
        "log-cut" => tear_last_group(&world.host),
        "catalog-rebuild" => remove_catalogs(&world.host),
        "secret-write" => std::fs::remove_file(world.host.data_directory().join("node.key")).expect("there is a key"),
        _ => {}
    }
    let often = ["turn-applied", "log-write", "log-flush", "log-flushed"].contains(&failpoint);
    let nth = 1 + dice.below(if often { 200 } else { 1 });
    if let Err(ended) = world.host.restart_with_failpoints(&format!("{failpoint}:kill@{nth}")) {
        return ended.status;
    }
    match failpoint {
        "log-close" => world.host.begin_to_stop(),
        "class-write" => deploy(world, "new", "echo"),
        "component-write" | "code-write" => deploy(world, "of-its-own", "logger"),
        "class-rename" => rename_a_class(world),
        "class-remove" | "component-remove" => remove_a_class(world),
        "object-remove" => remove_an_object(world),
        "transfer-write" | "import-adopt" => import_an_export(world),
        _ => _ = world.load(dice, |_| false),
    }
    world.host.end()
}

/// Deploys a guest that no other class has. The host may end meanwhile.
fn deploy(world: &World, class: &str, component: &str) {
    let _ = world.host.admin().try_send(Method::PUT, &format!("/v1/classes/{class}"), &[], guest(component));
}

/// Deploys a class, and removes it with its component.
fn remove_a_class(world: &World) {
    world.host.deploy("removed", guest("schedules"));
    let _ = world.host.admin().try_send(Method::DELETE, "/v1/classes/removed", &[], b"");
}

/// Imports what an object stores into another one; neither is in the ledger.
fn import_an_export(world: &World) {
    let path = |object: &str, what: &str| format!("/v1/classes/ledger/objects/{object}/{what}");
    world.host.post("/ledger/exported/0/1", "filler").number();
    let export = world.host.admin().try_send(Method::GET, &path("exported", "export"), &[], b"");
    if let Ok(export) = export {
        let _ = world.host.admin().try_send(Method::PUT, &path("imported", "import"), &[], &export.body);
    }
}

/// Renames a class that the ledger does not use.
fn rename_a_class(world: &World) {
    world.host.deploy("spare", guest("echo"));
    let path = "/v1/classes/spare/rename?to=moved";
    let _ = world.host.admin().try_send(Method::POST, path, &[], b"");
}

/// Removes an object that is not in the ledger.
fn remove_an_object(world: &World) {
    let path = "/v1/classes/ledger/objects/removed";
    world.host.post("/ledger/removed/0/1", "filler").number();
    let _ = world.host.admin().try_send(Method::DELETE, path, &[], b"");
}
