//! Files that are missing or changed: derived files are rebuilt, damaged data is never served.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use crate::dice::Dice;
use crate::harness::eventually;
use crate::log_files::{Group, SMALL_LOG, flip, groups, remove_catalogs, segments};
use crate::world::World;

#[test]
fn lost_catalogs_come_back_whole() {
    let mut dice = Dice::of_the_run("catalogs");
    let mut world = World::with_config(SMALL_LOG);
    let first = segments(&world.host)[0].clone();
    // Until the beginning of the log is trimmed: then the older writes are in the objects' files alone.
    world.load(&mut dice, |tally| tally.acknowledged() >= 300 && segments(&world.host)[0] != first);
    let class = |world: &World| world.host.admin().get("/v1/classes/ledger").json();
    let (before, class_before) = (listed(&world), class(&world));
    assert!(before.len() > 12, "there are objects to list");
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

/// Returns all objects of the class: name and id to size.
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
    let mut world = World::with_config(SMALL_LOG);
    world.load(&mut dice, |tally| tally.acknowledged() >= 300);
    world.host.kill();
    let mut groups = groups(&world.host);
    // The last one may be torn by a crash.
    groups.pop();
    for _ in 0..PLACES {
        let Group { segment, offset, bytes } = &groups[dice.below(groups.len() as u64) as usize];
        let at = offset + dice.below(*bytes);
        flip(segment, at as usize);
        let ended = world.host.restart_with_failpoints("").expect_err("it must not serve");
        assert_eq!(ended.status.code(), Some(1), "{ended}");
        let reported = format!("{} at byte {offset}:", segment.display());
        assert!(ended.log.contains(&reported), "byte {at}, so {reported} {ended}");
        assert!(!ended.log.contains("holdfast ready"), "{ended}");
        flip(segment, at as usize);
    }
    world.host.restart();
    world.check_all();
}
