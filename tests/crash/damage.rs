//! Files that are gone or not what was written: what is derived comes back, what is damaged is never served.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use crate::dice::Dice;
use crate::harness::eventually;
use crate::log_files::{SMALL_LOG, flip, remove_catalogs, segments, used};
use crate::world::World;

#[test]
fn lost_catalogs_come_back_whole() {
    let mut dice = Dice::of_the_run("catalogs");
    let mut world = World::with_config(SMALL_LOG);
    let first = segments(&world.host)[0].clone();
    // Until the log no longer has what it began with: the rest is in the objects' files alone.
    world.load(&mut dice, |_| segments(&world.host)[0] != first);
    let class = |world: &World| world.host.admin().get("/v1/classes/ledger").json();
    let (before, class_before) = (listed(&world), class(&world));
    assert!(before.len() > 24, "there are objects to list");
    for clean in [false, true] {
        if clean {
            assert_eq!(world.host.terminate().code(), Some(0));
        } else {
            world.host.kill();
        }
        remove_catalogs(&world.host);
        world.host.restart();
        eventually("the catalogs to be whole", || (listed(&world) == before).then_some(()));
        assert_eq!(class(&world), class_before);
    }
    world.check_all();
}

/// All objects of the class: name and id to size.
fn listed(world: &World) -> BTreeMap<(String, String), u64> {
    let (mut objects, mut cursor) = (BTreeMap::new(), String::new());
    loop {
        let page = world.host.admin().get(&format!("/v1/classes/ledger/objects?limit=100{cursor}")).json();
        for object in page["objects"].as_array().expect("it is a list") {
            let text = |member: &str| object[member].as_str().unwrap_or_default().to_owned();
            objects.insert((text("name"), text("id")), object["size"].as_u64().unwrap_or_default());
        }
        match &page["cursor"] {
            Json::String(next) => cursor = format!("&cursor={next}"),
            _ => return objects,
        }
    }
}

#[test]
fn a_damaged_segment_is_reported_and_not_served() {
    const PLACES: usize = 12;
    let mut dice = Dice::of_the_run("damage");
    let mut world = World::with_config("");
    world.load(&mut dice, |tally| tally.acknowledged() >= 400);
    world.host.kill();
    let segment = segments(&world.host)[0].clone();
    let name = segment.file_name().expect("it has a name").to_str().expect("it is text").to_owned();
    for _ in 0..PLACES {
        // Not in the last group, which may be torn: that is what a crash does.
        let offset = dice.below(used(&segment) as u64 / 2) as usize;
        flip(&segment, offset);
        let ended = world.host.restart_with_points("").expect_err("it must not serve");
        assert_eq!(ended.status.code(), Some(1), "{ended}");
        let (log, reported) = (&ended.log, reported_offset(&ended.log));
        assert!(log.contains(&name) && reported.is_some(), "byte {offset}: {log}");
        assert!(!log.contains("holdfast ready"), "{log}");
        flip(&segment, offset);
    }
    world.host.restart();
    world.check_all();
}

/// The number after `offset`.
fn reported_offset(log: &str) -> Option<u64> {
    let (_, after) = log.split_once("offset ")?;
    after.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}
