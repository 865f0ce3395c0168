//! The list of objects: its order, its pages, and how it is made again.

use std::fs;

use super::*;

fn key() -> ClassKey {
    ClassKey::new("key")
}

fn note(catalog: &Catalog, address: &ObjectAddress, bytes: u64) {
    catalog.note(&address.key, address.id, address.name.as_ref(), bytes);
}

/// Names in the order of the list, read in pages of two; ids for those without a name.
fn names(catalog: &Catalog, prefix: Option<&str>) -> Vec<String> {
    let (mut found, mut cursor) = (Vec::new(), None);
    loop {
        let page = catalog.list(&key(), prefix, cursor.as_deref(), 2).unwrap();
        assert!(page.entries.len() <= 2);
        let shown = |entry: &CatalogEntry| entry.name.as_ref().map_or(entry.id.to_string(), ToString::to_string);
        found.extend(page.entries.iter().map(shown));
        cursor = page.cursor;
        if cursor.is_none() {
            return found;
        }
    }
}

#[test]
fn readers_see_notes_at_once_in_order() {
    let world = World::new();
    let catalog = Catalog::open(&world.dir).unwrap();
    let mut unnamed = [by_id("x"), by_id("y"), by_id("z")];
    unnamed.sort_by_key(|address| address.id);
    for address in ["b", "a", "ab", "\u{10ffff}"].map(address).iter().chain(&unnamed) {
        note(&catalog, address, 4096);
    }
    note(&catalog, &ObjectAddress { key: ClassKey::new("other"), ..address("c") }, 1);
    let last = unnamed.map(|address| address.id.to_string());
    let all: Vec<String> = ["a", "ab", "b", "\u{10ffff}"].map(String::from).into_iter().chain(last).collect();
    assert_eq!(names(&catalog, None), all);
    assert_eq!(names(&catalog, Some("")), all);
    assert_eq!(names(&catalog, Some("a")), ["a", "ab"]);
    assert_eq!(names(&catalog, Some("\u{10ffff}")), ["\u{10ffff}"]);
    assert!(names(&catalog, Some("none")).is_empty());
    note(&catalog, &address("x"), 8192);
    catalog.remove(&key(), address("a").id);
    assert_eq!(names(&catalog, Some("x")), ["x"], "a name that came later");
    assert_eq!(names(&catalog, None).len(), all.len() - 1);
    let entry = catalog.list(&key(), Some("x"), None, 1).unwrap().entries.remove(0);
    assert_eq!((entry.bytes, entry.id), (8192, address("x").id));
}

#[test]
fn a_class_is_removed_alone() {
    let world = World::new();
    let catalog = Catalog::open(&world.dir).unwrap();
    let other = ObjectAddress { key: ClassKey::new("other"), ..address("c") };
    note(&catalog, &address("a"), 1);
    note(&catalog, &other, 1);
    assert!(catalog.has_objects(&key()).unwrap());
    catalog.remove_class(&key()).unwrap();
    assert!(!catalog.has_objects(&key()).unwrap() && catalog.has_objects(&other.key).unwrap());
}

#[test]
fn cursors_of_others_are_refused() {
    let world = World::new();
    let catalog = Catalog::open(&world.dir).unwrap();
    for cursor in ["", "x", "-", "zz-zz", "00-00", &format!("{}-ff", "0".repeat(64))] {
        assert!(matches!(catalog.list(&key(), None, Some(cursor), 1), Err(StorageError::BadCursor)), "{cursor}");
    }
}

#[test]
fn a_clean_shutdown_needs_no_walk() {
    let world = World::new();
    let catalog = Catalog::open(&world.dir).unwrap();
    note(&catalog, &address("only noted"), 1);
    catalog.close().unwrap();
    let catalog = Catalog::open(&world.dir).unwrap();
    assert_eq!(names(&catalog, None), ["only noted"], "a walk would not have found it");
    drop(catalog);
    let catalog = Catalog::open(&world.dir).unwrap();
    assert!(names(&catalog, None).is_empty(), "a crash is followed by a walk");
}

#[test]
fn it_is_made_again_from_the_databases() {
    let world = World::new();
    let catalog = Catalog::open(&world.dir).unwrap();
    world.object("a").turn(|turn| turn.put("k", b"v").unwrap());
    Object(Some(world.databases.database(&by_id("b")))).turn(|turn| turn.put("k", &[0; 9_000]).unwrap());
    note(&catalog, &address("a"), 4096);
    note(&catalog, &address("gone"), 4096);
    let expected = ["a".to_owned(), by_id("b").id.to_string()];
    drop(catalog);
    let catalog = Catalog::open(&world.dir).unwrap();
    assert_eq!(names(&catalog, None), expected, "after a crash");
    catalog.close().unwrap();
    for damage in [None, Some(vec![7; 8192]), Some(b"SQLite format 3\0 and then nothing".to_vec())] {
        match damage {
            None => fs::remove_file(world.dir.catalog()).unwrap(),
            Some(bytes) => fs::write(world.dir.catalog(), bytes).unwrap(),
        }
        // A database that a crash left before anything was applied is nobody's.
        let torn = world.file("torn");
        fs::create_dir_all(torn.parent().unwrap()).unwrap();
        fs::write(&torn, b"").unwrap();
        let catalog = Catalog::open(&world.dir).unwrap();
        assert_eq!(names(&catalog, None), expected);
        let page = catalog.list(&key(), None, None, 10).unwrap();
        assert!(page.entries[1].bytes > page.entries[0].bytes);
        catalog.close().unwrap();
    }
    assert_eq!(world.object("a").get("k").unwrap(), b"v", "the walk changed no database");
}
