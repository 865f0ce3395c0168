//! Edge cases of the key-value storage.

use super::*;

fn entry(key: &str, value: &[u8]) -> Entry {
    Entry { key: key.into(), value: value.into() }
}

fn keys(entries: &[Entry]) -> Vec<&str> {
    entries.iter().map(|entry| entry.key.as_str()).collect()
}

fn list(turn: &mut Turn, options: ListOptions) -> Vec<String> {
    let cursor = turn.list(options).unwrap();
    let mut found = Vec::new();
    loop {
        let batch = turn.list_next(cursor, 2).unwrap();
        if batch.is_empty() {
            return found;
        }
        found.extend(batch.into_iter().map(|entry| entry.key));
    }
}

#[test]
fn one_and_many() {
    let (world, mut object) = (World::new(), None);
    let object = object.insert(world.object("a"));
    object.turn(|turn| {
        assert_eq!(turn.get("k").unwrap(), None);
        assert!(!turn.delete("k").unwrap());
        turn.put("k", b"1").unwrap();
        assert_eq!(turn.get("k").unwrap(), Some(b"1".to_vec()), "a turn sees what it wrote");
        turn.put_many(&[entry("b", b"2"), entry("a", b"x"), entry("a", b"1")]).unwrap();
        turn.put("empty", b"").unwrap();
    });
    object.turn(|turn| {
        let wanted = ["k", "a", "b", "none", "a"].map(String::from);
        let found = turn.get_many(&wanted).unwrap();
        assert_eq!(found, [entry("a", b"1"), entry("b", b"2"), entry("k", b"1")]);
        assert_eq!(turn.get("empty").unwrap(), Some(Vec::new()));
        assert_eq!(turn.delete_many(&wanted).unwrap(), 3);
        assert_eq!(turn.delete_many(&wanted).unwrap(), 0);
    });
}

#[test]
fn limits_hold_at_their_edges() {
    let world = World::new();
    let mut object = world.object("a");
    object.turn(|turn| {
        let (longest, too_long) = ("k".repeat(2_048), "k".repeat(2_049));
        turn.put(&longest, &vec![7; 2_000_000 - 2_048]).unwrap();
        assert_eq!(turn.get(&longest).unwrap().unwrap().len(), 1_997_952);
        assert_eq!(turn.put(&longest, &vec![7; 2_000_001 - 2_048]), Err(KvError::ValueSize(2_000_001)));
        for refused in [turn.put(&too_long, b"").unwrap_err(), turn.get(&too_long).unwrap_err()] {
            assert_eq!(refused, KvError::KeySize(2_049));
        }
        assert_eq!(turn.delete(""), Err(KvError::KeySize(0)));
        let many: Vec<Entry> = (0..129).map(|n| entry(&format!("{n}"), b"v")).collect();
        let names: Vec<String> = many.iter().map(|entry| entry.key.clone()).collect();
        assert_eq!(turn.put_many(&many), Err(KvError::TooMany(129)));
        assert_eq!(turn.get_many(&names), Err(KvError::TooMany(129)));
        assert_eq!(turn.delete_many(&names), Err(KvError::TooMany(129)));
        turn.put_many(&many[..128]).unwrap();
        assert_eq!(turn.get_many(&names[..128]).unwrap().len(), 128);
    });
}

#[test]
fn a_refused_put_many_changes_nothing() {
    let world = World::new();
    let mut object = world.object("a");
    object.turn(|turn| {
        assert_eq!(turn.put_many(&[entry("a", b"1"), entry("", b"2")]), Err(KvError::KeySize(0)));
        assert_eq!(turn.get("a").unwrap(), None);
    });
    assert!(world.files().is_empty());
}

#[test]
fn listings_keep_their_bounds() {
    let world = World::new();
    let mut object = world.object("a");
    object.turn(|turn| {
        let all = ["a", "a\0", "ab", "b", "ba", "c", "\u{10ffff}", "\u{10ffff}x"];
        turn.put_many(&all.map(|key| entry(key, b"v"))).unwrap();
        assert_eq!(list(turn, ListOptions::default()), all);
        let some = |text: &str| Some(String::from(text));
        let both_ways = |turn: &mut Turn, options: ListOptions, expected: &[&str]| {
            assert_eq!(list(turn, options.clone()), expected, "{options:?}");
            let backwards: Vec<&str> = expected.iter().rev().copied().collect();
            assert_eq!(list(turn, ListOptions { reverse: true, ..options }), backwards);
        };
        both_ways(turn, ListOptions { start: some("ab"), end: some("c"), ..Default::default() }, &["ab", "b", "ba"]);
        both_ways(turn, ListOptions { start_after: some("a"), end: some("b"), ..Default::default() }, &["a\0", "ab"]);
        both_ways(turn, ListOptions { prefix: some("a"), ..Default::default() }, &["a", "a\0", "ab"]);
        both_ways(turn, ListOptions { prefix: some("a"), start_after: some("a\0"), ..Default::default() }, &["ab"]);
        both_ways(turn, ListOptions { prefix: some("\u{10ffff}"), ..Default::default() }, &all[6..]);
        both_ways(turn, ListOptions { start: some("c"), end: some("b"), ..Default::default() }, &[]);
        both_ways(turn, ListOptions { prefix: some("a"), start: some("b"), ..Default::default() }, &[]);
        let first = ListOptions { limit: Some(3), ..Default::default() };
        assert_eq!(list(turn, first.clone()), all[..3]);
        assert_eq!(list(turn, ListOptions { reverse: true, ..first }), ["\u{10ffff}x", "\u{10ffff}", "c"]);
    });
}

#[test]
fn contradictions_are_refused() {
    let world = World::new();
    world.object("a").turn(|turn| {
        let both = ListOptions { start: Some("a".into()), start_after: Some("a".into()), ..Default::default() };
        assert!(matches!(turn.list(both), Err(KvError::BadRange(_))));
        assert!(matches!(turn.list(ListOptions { limit: Some(0), ..Default::default() }), Err(KvError::BadRange(_))));
    });
}

#[test]
fn a_listing_sees_later_writes_and_ends_with_its_turn() {
    let world = World::new();
    let mut object = world.object("a");
    let cursor = object.turn(|turn| {
        turn.put_many(&[entry("a", b""), entry("c", b"")]).unwrap();
        let cursor = turn.list(ListOptions::default()).unwrap();
        assert_eq!(keys(&turn.list_next(cursor, 0).unwrap()), ["a"], "0 is taken as 1");
        turn.put("b", b"").unwrap();
        turn.delete("c").unwrap();
        assert_eq!(keys(&turn.list_next(cursor, 10).unwrap()), ["b"]);
        assert!(turn.list_next(cursor, 10).unwrap().is_empty() && turn.list_next(cursor, 10).unwrap().is_empty());
        cursor
    });
    object.turn(|turn| {
        let other = turn.list(ListOptions::default()).unwrap();
        assert_ne!(other, cursor);
        assert_eq!(turn.list_next(cursor, 1), Err(KvError::Closed));
        turn.close(other);
        assert_eq!(turn.list_next(other, 1), Err(KvError::Closed));
    });
}

#[test]
fn batches_are_cut_at_a_mebibyte() {
    let world = World::new();
    world.object("a").turn(|turn| {
        for n in 0..5 {
            turn.put(&format!("{n}"), &vec![0; 400_000]).unwrap();
        }
        let cursor = turn.list(ListOptions::default()).unwrap();
        assert_eq!(turn.list_next(cursor, 100).unwrap().len(), 3);
        assert_eq!(turn.list_next(cursor, 100).unwrap().len(), 2);
    });
}

#[test]
fn reading_makes_no_file() {
    let world = World::new();
    let mut object = world.object("a");
    object.turn(|turn| {
        turn.get("a").unwrap();
        turn.delete("a").unwrap();
        let cursor = turn.list(ListOptions::default()).unwrap();
        assert!(turn.list_next(cursor, 1).unwrap().is_empty());
    });
    assert!(world.files().is_empty());
    assert_eq!(object.database().description().unwrap(), None);
    assert!(!object.delete());
}
