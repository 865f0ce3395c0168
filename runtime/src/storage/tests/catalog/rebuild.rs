//! A lane that is lost is rebuilt completely from the databases, without a change to any byte of them.

use std::collections::BTreeMap;

use super::*;

fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.append(&mut files(&path)),
            false => _ = found.insert(path.clone(), fs::read(path).unwrap()),
        }
    }
    found
}

/// Makes a directory with what a node leaves behind, also after crashes. Returns what must be listed.
fn populate(dir: &DataDir) -> Vec<CatalogEntry> {
    let mut expected = Vec::new();
    let mut object = |address: ObjectAddress, incarnation, padding| {
        let (file, bytes) = database(&address, incarnation, padding);
        put(&place(dir, &address, incarnation), &file);
        expected.push(CatalogEntry { id: address.id, name: address.name, bytes, alarm: None });
    };
    object(address("a"), 1, 10);
    object(address("replaced"), 3, 20_000);
    object(address("replacing"), 1, 10);
    object(by_id("unnamed"), 1, 9_000);
    let (old, _) = database(&address("replaced"), 1, 50_000);
    put(&place(dir, &address("replaced"), 1), &old);
    let template = dir.root().join("template");
    Template::build().unwrap().write(&crate::base::SystemDisk, &template).unwrap();
    let whole = fs::read(&template).unwrap();
    put(&place(dir, &address("replacing"), 2), &whole);
    put(&place(dir, &address("without identity"), 1), &whole);
    put(&place(dir, &address("torn"), 1), &whole[..5_000]);
    put(&place(dir, &address("empty"), 1), b"");
    put(&place(dir, &address("zeros"), 1), &[0; 12_288]);
    let (cut, _) = database(&address("cut"), 1, 20_000);
    put(&place(dir, &address("cut"), 1), &cut[..cut.len() - 4096]);
    let (moved, _) = database(&address("elsewhere"), 1, 10);
    put(&place(dir, &address("moved"), 1), &moved);
    put(&dir.objects().join("key.removed/00").join(format!("{}-1.sqlite", address("a").id)), &moved);
    put(&place(dir, &address("a"), 1).with_extension("incarnations"), b"");
    // A WAL of an earlier process, which must be ignored.
    put(&place(dir, &address("a"), 1).with_extension("sqlite-wal"), &[7; 4096]);
    expected
}

#[test]
fn it_is_made_again_whatever_became_of_its_files() {
    let root = tempfile::tempdir().unwrap();
    // A path with characters that have a meaning in a URI.
    let dir = DataDir::open(root.path().join("what? #1 100%41")).unwrap();
    let expected = populate(&dir);
    let databases = files(&dir.objects());
    let lanes = Lanes::new();
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 7] = [
        ("missing", |file| fs::remove_file(file).unwrap()),
        ("garbage", |file| fs::write(file, [7; 8192]).unwrap()),
        ("begun", |file| fs::write(file, b"SQLite format 3\0 and then nothing").unwrap()),
        ("empty", |file| fs::write(file, b"").unwrap()),
        ("cut", |file| fs::write(file, &fs::read(file).unwrap()[..4096]).unwrap()),
        ("of another version", |file| {
            Connection::open(file).unwrap().execute_batch("PRAGMA user_version = 9").unwrap()
        }),
        ("unfinished", |file| Connection::open(file).unwrap().execute_batch("DELETE FROM state").unwrap()),
    ];
    open(&dir, &lanes).close().unwrap();
    for (what, damage) in damages {
        (0..usize::from(LANES)).for_each(|lane| damage(&lane_file(&dir, lane)));
        let (catalog, applied, lost) = Catalog::open(&dir, &lanes.upto()).unwrap();
        assert_eq!((applied, lost.len()), (lanes.upto(), usize::from(LANES)), "{what}");
        assert!(matches!(catalog.list(&key(), None, None, 1), Err(StorageError::ListLost { .. })), "{what}");
        assert_eq!(catalog.rebuild(&lost, &dir.objects()).unwrap(), expected.len() as u64, "{what}");
        catalog.follow(lanes.watches()).unwrap();
        assert_eq!(listed(&catalog, None, 3), expected, "{what}");
        catalog.close().unwrap();
    }
    assert!(Catalog::open(&dir, &lanes.upto()).unwrap().2.is_empty(), "the rebuilt lane is durable");
    assert!(files(&dir.objects()) == databases, "reading them changed them");
}

#[test]
fn a_lane_alone_is_made_again() {
    let root = tempfile::tempdir().unwrap();
    let dir = DataDir::open(root.path()).unwrap();
    let expected = populate(&dir);
    let lanes = Lanes::new();
    open(&dir, &lanes).close().unwrap();
    for lane in 0..usize::from(LANES) {
        fs::remove_file(lane_file(&dir, lane)).unwrap();
        let (catalog, _, lost) = Catalog::open(&dir, &lanes.upto()).unwrap();
        assert_eq!(lost, [Lane::new(lane as u16)]);
        let here = |entry: &&CatalogEntry| Lane::of(entry.id.as_bytes(), LANES) == lost[0];
        assert_eq!(catalog.rebuild(&lost, &dir.objects()).unwrap(), expected.iter().filter(here).count() as u64);
        assert_eq!(listed(&catalog, None, 3), expected);
        catalog.close().unwrap();
    }
}

#[test]
fn a_rebuild_that_a_crash_ended_begins_again() {
    let root = tempfile::tempdir().unwrap();
    let dir = DataDir::open(root.path()).unwrap();
    populate(&dir);
    let lanes = Lanes::new();
    drop(Catalog::open(&dir, &lanes.upto()).unwrap());
    assert_eq!(Catalog::open(&dir, &lanes.upto()).unwrap().2.len(), usize::from(LANES));
}

#[test]
fn damage_that_shows_later_loses_the_lane_and_holds_nothing_up() {
    let mut story = Story::new();
    for n in 0..300 {
        story.note(&address(&format!("object {n}")), 1);
    }
    let Story { catalog, dir, mut lanes, _root } = story;
    catalog.close().unwrap();
    let file = lane_file(&dir, 1);
    let mut bytes = fs::read(&file).unwrap();
    let length = bytes.len();
    assert!(length > 3 * 4096);
    bytes[4096..].fill(0xa5);
    fs::write(&file, bytes).unwrap();
    let (catalog, applied, lost) = Catalog::open(&dir, &lanes.upto()).unwrap();
    // Where the state is stored depends on SQLite: damage may be found at the opening.
    if lost.is_empty() {
        assert_eq!(applied, lanes.upto());
        catalog.follow(lanes.watches()).unwrap();
        assert!(matches!(catalog.list(&key(), None, None, 1_000), Err(StorageError::ListLost { .. })));
        assert!(matches!(catalog.list(&key(), None, None, 1_000), Err(StorageError::ListLost { .. })));
        let lane = Lane::new(1);
        catalog.note(lane, lanes.append(lane), Change::ClassGone { class: key() });
        lanes.flush();
        catalog.write(&lanes.upto()).unwrap();
    }
    drop(catalog);
    assert_eq!(Catalog::open(&dir, &lanes.upto()).unwrap().2, [Lane::new(1)]);
}

#[test]
fn a_catalog_of_another_log_is_refused_once_and_then_made_again() {
    let mut story = Story::new();
    story.note(&address("a"), 1);
    let lane = lane_of(&gone(&address("a")));
    let Story { catalog, dir, _root, .. } = story;
    catalog.close().unwrap();
    let lanes = Lanes::new();
    let (catalog, ..) = Catalog::open(&dir, &lanes.upto()).unwrap();
    assert!(matches!(catalog.follow(lanes.watches()), Err(StorageError::ListLost { .. })));
    drop(catalog);
    assert_eq!(Catalog::open(&dir, &lanes.upto()).unwrap().2, [lane]);
}
