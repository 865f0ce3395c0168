//! The list of objects: its order and pages, which part of the log it shows, and how it is rebuilt.

use std::fs;

use rusqlite::Connection;
use tokio::sync::watch;

use super::*;
use crate::base::Alarm;
use crate::storage::commit_log::{Alarms, Durable, DurableWatch, Lane, Lsn, NumberedAlarm};
use crate::storage::identity::Identity;
use crate::storage::template::Template;

mod concurrent;
mod logged;
mod rebuild;
mod replay;

const LANES: u16 = 3;

/// What a catalog follows: the part of a log that it uses.
struct Lanes {
    appended: Vec<u64>,
    durable: Vec<watch::Sender<Durable>>,
}

impl Lanes {
    fn new() -> Self {
        let durable = (0..LANES).map(|_| watch::Sender::new(Durable::Upto(Lsn(0)))).collect();
        Self { appended: vec![0; LANES.into()], durable }
    }

    fn watches(&self) -> Vec<DurableWatch> {
        self.durable.iter().map(|durable| DurableWatch::of(durable.subscribe())).collect()
    }

    fn append(&mut self, lane: Lane) -> Lsn {
        self.appended[lane.index()] += 1;
        Lsn(self.appended[lane.index()])
    }

    fn flush(&self) {
        for (durable, appended) in self.durable.iter().zip(&self.appended) {
            durable.send_replace(Durable::Upto(Lsn(*appended)));
        }
    }

    fn upto(&self) -> Vec<Lsn> {
        self.watches().iter().map(DurableWatch::upto).collect()
    }
}

/// A new catalog with a log that has nothing trimmed.
struct Story {
    catalog: Catalog,
    lanes: Lanes,
    dir: DataDir,
    _root: TempDir,
}

impl Story {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let dir = DataDir::open(root.path()).unwrap();
        let lanes = Lanes::new();
        let catalog = open(&dir, &lanes);
        Self { catalog, lanes, dir, _root: root }
    }

    /// Appends a turn on the object, which is not durable yet.
    fn append(&mut self, change: Change) {
        let lane = lane_of(&change);
        self.catalog.note(lane, self.lanes.append(lane), change);
    }

    fn note(&mut self, address: &ObjectAddress, bytes: u64) {
        self.append(exists(address, bytes));
        self.lanes.flush();
    }

    fn remove_class(&mut self, class: &ClassKey) {
        for n in 0..LANES {
            let lsn = self.lanes.append(Lane::new(n));
            self.catalog.note(Lane::new(n), lsn, Change::ClassGone { class: class.clone() });
        }
        self.lanes.flush();
    }

    fn names(&self, prefix: Option<&str>) -> Vec<String> {
        names(&self.catalog, prefix)
    }
}

/// Opens the catalog of a data directory whose log holds no record to replay.
fn open(dir: &DataDir, lanes: &Lanes) -> Catalog {
    let (catalog, _, lost) = Catalog::open(dir, &lanes.upto()).unwrap();
    catalog.rebuild(&lost, &dir.objects()).unwrap();
    catalog.follow(lanes.watches()).unwrap();
    catalog
}

fn key() -> ClassKey {
    ClassKey::new("key")
}

fn exists(address: &ObjectAddress, bytes: u64) -> Change {
    Change::Object { class: address.key.clone(), id: address.id, name: address.name.clone(), bytes, alarm: None }
}

fn gone(address: &ObjectAddress) -> Change {
    Change::Gone { class: address.key.clone(), id: address.id }
}

fn lane_of(change: &Change) -> Lane {
    match change {
        Change::Object { id, .. } | Change::Gone { id, .. } => Lane::of(id.as_bytes(), LANES),
        Change::ClassGone { .. } => panic!("it concerns every lane"),
    }
}

/// Returns the names in the order of the list, read in pages of two; ids for objects without a name.
fn names(catalog: &Catalog, prefix: Option<&str>) -> Vec<String> {
    let shown = |entry: &CatalogEntry| entry.name.as_ref().map_or(entry.id.to_string(), ToString::to_string);
    listed(catalog, prefix, 2).iter().map(shown).collect()
}

/// Returns a part of the list, read in pages of `limit`.
fn listed(catalog: &Catalog, prefix: Option<&str>, limit: usize) -> Vec<CatalogEntry> {
    let (mut found, mut cursor) = (Vec::new(), None);
    loop {
        let page = catalog.list(&key(), prefix, cursor.as_deref(), limit).unwrap();
        assert!(page.entries.len() == limit || page.cursor.is_none() && page.entries.len() < limit);
        found.extend(page.entries);
        cursor = page.cursor;
        if cursor.is_none() {
            return found;
        }
    }
}

/// Returns the database of an object as a recovery leaves it, and the size that the list reports for it.
fn database(address: &ObjectAddress, incarnation: u32, padding: u32) -> (Vec<u8>, u64) {
    with_alarm(address, incarnation, padding, None)
}

fn with_alarm(address: &ObjectAddress, incarnation: u32, padding: u32, alarm: Option<Alarm>) -> (Vec<u8>, u64) {
    let file = tempfile::NamedTempFile::new().unwrap();
    Template::build().unwrap().write(&crate::base::SystemDisk, file.path()).unwrap();
    let database = Connection::open(file.path()).unwrap();
    database.execute_batch("PRAGMA synchronous = OFF").unwrap();
    Identity::write(&database, address, incarnation).unwrap();
    address.name.iter().for_each(|name| Identity::write_name(&database, name).unwrap());
    let numbered = alarm.map(|alarm| NumberedAlarm { serial: 1, alarm });
    let alarms = Alarms { set: numbered, running: None };
    Identity::write_alarms(&database, alarms, Alarms::default()).unwrap();
    database.execute("INSERT INTO _hf_kv VALUES ('padding', zeroblob(?1))", [padding]).unwrap();
    let count = |pragma| database.query_row(pragma, [], |row| row.get::<_, u32>(0)).unwrap();
    let pages = count("PRAGMA page_count") - count("PRAGMA freelist_count");
    drop(database);
    (fs::read(file.path()).unwrap(), u64::from(pages) * 4096)
}

/// Returns the path of an object's database.
fn place(dir: &DataDir, address: &ObjectAddress, incarnation: u32) -> PathBuf {
    let id = address.id.to_string();
    dir.objects().join(address.key.as_str()).join(&id[..2]).join(format!("{id}-{incarnation}.sqlite"))
}

fn put(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Returns the path of a lane's catalog file.
fn lane_file(dir: &DataDir, lane: usize) -> PathBuf {
    dir.catalog().join(format!("{lane:02}.sqlite"))
}

#[test]
fn the_list_has_an_order_prefixes_and_pages() {
    let mut story = Story::new();
    let mut unnamed = [by_id("x"), by_id("y"), by_id("z")];
    unnamed.sort_by_key(|address| address.id);
    for address in ["b", "a", "ab", "\u{10ffff}"].map(address).iter().chain(&unnamed) {
        story.note(address, 4096);
    }
    story.note(&ObjectAddress { key: ClassKey::new("other"), ..address("c") }, 1);
    let last = unnamed.map(|address| address.id.to_string());
    let all: Vec<String> = ["a", "ab", "b", "\u{10ffff}"].map(String::from).into_iter().chain(last).collect();
    for _ in ["noted", "written"] {
        assert_eq!(story.names(None), all);
        assert_eq!(story.names(Some("")), all);
        assert_eq!(story.names(Some("a")), ["a", "ab"]);
        assert_eq!(story.names(Some("\u{10ffff}")), ["\u{10ffff}"]);
        assert!(story.names(Some("none")).is_empty());
        story.catalog.write(&story.lanes.upto()).unwrap();
    }
    story.note(&address("x"), 8192);
    story.append(gone(&address("a")));
    story.lanes.flush();
    for _ in ["noted", "written"] {
        assert_eq!(story.names(Some("x")), ["x"], "a name that came later");
        assert_eq!(story.names(None).len(), all.len() - 1);
        let entry = story.catalog.list(&key(), Some("x"), None, 1).unwrap().entries.remove(0);
        assert_eq!((entry.bytes, entry.id), (8192, address("x").id));
        story.note(&by_id("x"), 8192);
        story.catalog.write(&story.lanes.upto()).unwrap();
    }
}

#[test]
fn a_change_is_seen_once_it_is_durable_and_not_before() {
    let mut story = Story::new();
    story.append(exists(&address("a"), 1));
    story.catalog.write(&story.lanes.upto()).unwrap();
    assert!(story.names(None).is_empty() && !story.catalog.has_objects(&key()).unwrap());
    story.lanes.flush();
    assert_eq!(story.names(None), ["a"]);
    assert!(story.catalog.has_objects(&key()).unwrap());
    story.append(gone(&address("a")));
    story.catalog.write(&story.lanes.upto()).unwrap();
    assert_eq!(story.names(None), ["a"]);
    // After a crash, what was not durable does not exist.
    let Story { catalog, dir, lanes, _root } = story;
    drop(catalog);
    let catalog = open(&dir, &lanes);
    assert_eq!(names(&catalog, None), ["a"], "written, so not replayed");
}

#[test]
fn a_class_is_removed_alone() {
    let mut story = Story::new();
    let other = ObjectAddress { key: ClassKey::new("other"), ..address("c") };
    for written in [false, true] {
        story.note(&address("a"), 1);
        story.note(&by_id("b"), 1);
        story.note(&other, 1);
        if written {
            story.catalog.write(&story.lanes.upto()).unwrap();
        }
        assert!(story.catalog.has_objects(&key()).unwrap());
        story.remove_class(&key());
        assert!(!story.catalog.has_objects(&key()).unwrap() && story.catalog.has_objects(&other.key).unwrap());
        story.note(&by_id("a"), 1);
        assert_eq!(story.names(None), [address("a").id.to_string()], "its name is not known any more");
        story.catalog.write(&story.lanes.upto()).unwrap();
        assert_eq!(story.names(None).len(), 1);
        story.append(gone(&address("a")));
        story.lanes.flush();
        assert!(!story.catalog.has_objects(&key()).unwrap(), "the last one is gone");
    }
}

#[test]
fn cursors_of_others_are_refused() {
    let story = Story::new();
    for cursor in ["", "x", "-", "zz-zz", "00-00", &format!("{}-ff", "0".repeat(64))] {
        assert!(matches!(story.catalog.list(&key(), None, Some(cursor), 1), Err(StorageError::BadCursor)), "{cursor}");
    }
}

#[test]
fn what_is_written_moves_the_applied_lsn_also_when_nothing_changed() {
    let mut story = Story::new();
    story.note(&address("a"), 1);
    for n in 0..LANES {
        story.lanes.append(Lane::new(n));
    }
    story.lanes.flush();
    let upto = story.lanes.upto();
    story.catalog.write(&upto).unwrap();
    let Story { catalog, dir, lanes, _root } = story;
    drop(catalog);
    let (catalog, applied, lost) = Catalog::open(&dir, &upto).unwrap();
    assert_eq!((applied, lost), (upto, vec![]));
    catalog.follow(lanes.watches()).unwrap();
    assert_eq!(names(&catalog, None), ["a"]);
}

#[test]
fn closing_writes_what_is_durable() {
    let mut story = Story::new();
    story.note(&address("a"), 1);
    let Story { catalog, dir, lanes, _root } = story;
    catalog.close().unwrap();
    assert_eq!(names(&open(&dir, &lanes), None), ["a"], "nothing was replayed");
}

/// Run by hand: `cargo test --release --lib storage::tests::catalog -- --ignored --nocapture`.
#[test]
#[ignore = "measures"]
#[allow(clippy::disallowed_methods, reason = "measures real time")]
fn figures_of_a_million_objects() {
    let mut story = Story::new();
    let began = std::time::Instant::now();
    for n in 0..1_000_000 {
        story.append(exists(&address(&format!("object {n}")), 12_288));
        if n % 20_000 == 0 {
            story.lanes.flush();
            story.catalog.write(&story.lanes.upto()).unwrap();
        }
    }
    story.lanes.flush();
    println!("a million noted and written: {:?}", began.elapsed());
    let changes: Vec<_> = (0..50_000).map(|n| exists(&address(&format!("object {}", n * 7)), 16_384)).collect();
    let began = std::time::Instant::now();
    changes.into_iter().for_each(|change| story.append(change));
    println!("one noted: {:?}", began.elapsed() / 50_000);
    story.lanes.flush();
    for what in ["50,000 of them noted", "all of them written"] {
        for prefix in [None, Some("object 9")] {
            let began = std::time::Instant::now();
            let first = story.catalog.list(&key(), prefix, None, 1_000).unwrap();
            println!("a page of 1,000, {what}, prefix {prefix:?}: {:?}", began.elapsed());
            let began = std::time::Instant::now();
            story.catalog.list(&key(), prefix, first.cursor.as_deref(), 1_000).unwrap();
            println!("the next: {:?}", began.elapsed());
        }
        let began = std::time::Instant::now();
        story.catalog.write(&story.lanes.upto()).unwrap();
        println!("written: {:?}", began.elapsed());
    }
    let began = std::time::Instant::now();
    assert_eq!(listed(&story.catalog, None, 1_000).len(), 1_000_000);
    println!("every page: {:?}", began.elapsed());
}

/// Run like the test above.
#[test]
#[ignore = "measures"]
#[allow(clippy::disallowed_methods, reason = "measures real time")]
fn figures_of_a_rebuild() {
    const OBJECTS: u32 = 20_000;
    let root = tempfile::tempdir().unwrap();
    let dir = DataDir::open(root.path()).unwrap();
    let (one, _) = database(&by_id("one"), 1, 10);
    let id = by_id("one").id.to_string();
    let at = one.windows(64).position(|bytes| bytes == id.as_bytes()).unwrap();
    for n in 0..OBJECTS {
        let address = by_id(&n.to_string());
        let mut file = one.clone();
        file[at..at + 64].copy_from_slice(address.id.to_string().as_bytes());
        put(&place(&dir, &address, 1), &file);
    }
    let (catalog, _, lost) = Catalog::open(&dir, &Lanes::new().upto()).unwrap();
    let began = std::time::Instant::now();
    assert_eq!(catalog.rebuild(&lost, &dir.objects()).unwrap(), u64::from(OBJECTS));
    println!("one object found: {:?}", began.elapsed() / OBJECTS);
}
