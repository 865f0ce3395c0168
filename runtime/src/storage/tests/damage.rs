//! Files that are not what was written, or that are missing: every operation on the object reports the damage, none
//! serves the data, and an import or a deletion recovers the object. Other objects are not affected.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::storage::commit_log;
use crate::storage::sums::sums_path;
use crate::storage::template::PAGE;
use crate::storage::verify::{DataDamage, verify};

/// Makes an object of a dozen pages and trims the log, so that the log has nothing of the object any more.
fn trimmed() -> World {
    let mut world = World::new();
    for name in ["a", "b"] {
        world.object(name).turn(|turn| (0..8).for_each(|n| turn.put(&format!("{n}"), &[n; 5000]).unwrap()));
    }
    world.flush();
    world.databases.0.checkpoint().unwrap();
    world.restart();
    world
}

fn read_all(object: &mut Object) -> Result<(), ApplyError> {
    object.end(|turn| (0..8).for_each(|n| _ = turn.get(&format!("{n}")))).map(drop)
}

fn assert_damaged(world: &World, what: &str) {
    let mut object = world.object("a");
    let read = read_all(&mut object);
    let Err(ApplyError::Damaged(text)) = read else { panic!("{what}: {read:?}") };
    let id = address("a").id.to_string();
    assert!(text.contains(&id) && text.contains("import"), "{what}: {text}");
    assert!(read_all(&mut object).is_err(), "{what}: again");
    if object.database().description().is_err() {
        let wrote = object.end(|turn| _ = turn.put("new", b"new"));
        assert!(matches!(wrote, Err(ApplyError::Damaged(_))), "{what}: no new database is begun");
    }
    let exported = object.database().snapshot().and_then(|snapshot| snapshot.unwrap().copy());
    assert!(matches!(exported, Err(StorageError::Damaged { .. })), "{what}: it cannot be exported");
    assert_eq!(world.object("b").get("7").unwrap(), [7; 5000], "{what}: other objects are not affected");
    world.databases.0.checkpoint().unwrap();
}

type Damage = Box<dyn Fn(&Path)>;

/// Changes of the file of `a`, each of which makes it a different file.
fn damages() -> Vec<(&'static str, Damage)> {
    let flip = |at: u64| {
        move |file: &Path| {
            let mut bytes = fs::read(file).unwrap();
            // The file is shorter while the log has the rest.
            let at = (at as usize).min(bytes.len() - 1);
            bytes[at] ^= 4;
            fs::write(file, bytes).unwrap();
        }
    };
    let in_page = |page: u64, at: u64| (page - 1) * PAGE as u64 + at;
    vec![
        ("a bit of the header", Box::new(flip(17))),
        ("a bit of the size of pages", Box::new(flip(16))),
        ("a bit of the schema", Box::new(flip(4000))),
        ("a bit of the root of the keys", Box::new(flip(in_page(2, 2)))),
        ("a bit of a value", Box::new(flip(in_page(6, 2000)))),
        ("the file is missing", Box::new(|file| fs::remove_file(file).unwrap())),
        ("the file and all beside it is missing", Box::new(|file| fs::remove_dir_all(file.parent().unwrap()).unwrap())),
        ("the file is empty", Box::new(|file| fs::write(file, b"").unwrap())),
        (
            "the file was cut",
            Box::new(|file| {
                fs::File::options().write(true).open(file).unwrap().set_len(5 * PAGE as u64).unwrap();
            }),
        ),
        (
            "the file was cut in a page",
            Box::new(|file| {
                fs::File::options().write(true).open(file).unwrap().set_len(5 * PAGE as u64 + 9).unwrap();
            }),
        ),
        ("zeros", Box::new(|file| fs::write(file, vec![0; 12 * PAGE]).unwrap())),
        (
            "two pages changed places",
            Box::new(|file| {
                let mut bytes = fs::read(file).unwrap();
                let count = bytes.len() / PAGE;
                let (a, b) = bytes[(count - 2) * PAGE..].split_at_mut(PAGE);
                a.swap_with_slice(b);
                fs::write(file, bytes).unwrap();
            }),
        ),
        (
            "another program's file",
            Box::new(|file| {
                fs::remove_file(file).unwrap();
                rusqlite::Connection::open(file).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
            }),
        ),
        ("sums of something else", Box::new(|file| fs::write(sums_path(file), [1; 200]).unwrap())),
    ]
}

#[test]
fn damage_is_reported_and_nothing_of_it_is_served() {
    for (what, damage) in damages() {
        let world = trimmed();
        damage(&world.file("a"));
        assert_damaged(&world, what);
    }
}

#[test]
fn damage_is_reported_after_a_restart_and_deletion_accepts_it() {
    for (what, damage) in damages() {
        let mut world = trimmed();
        damage(&world.file("a"));
        let _ = read_all(&mut world.object("a"));
        world.restart();
        assert_damaged(&world, what);
        let mut object = world.object("a");
        assert!(object.delete(), "{what}");
        world.settle(&mut object);
        assert_eq!(object.get("0"), None, "{what}");
        object.turn(|turn| turn.put("0", b"new").unwrap());
        drop(object);
        world.restart();
        assert_eq!(world.object("a").get("0").unwrap(), b"new", "{what}");
        world.databases.0.checkpoint().unwrap();
        world.restart();
        assert_eq!(
            (world.object("a").get("0").unwrap(), world.object("a").get("1")),
            (b"new".to_vec(), None),
            "{what}"
        );
    }
}

#[test]
fn an_import_takes_the_place_of_what_is_damaged() {
    for (what, damage) in damages() {
        let mut world = trimmed();
        let mut exported = Vec::new();
        let mut copy = world.object("a").database().snapshot().unwrap().unwrap().copy().unwrap();
        std::io::copy(&mut copy, &mut exported).unwrap();
        damage(&world.file("a"));
        assert_damaged(&world, what);
        let mut upload = world.databases.incoming().unwrap();
        upload.write_all(&exported).unwrap();
        let checked = world.databases.check(upload, &address("a"), &WorkBudget::unlimited()).unwrap();
        let (database, applied) = wait(world.databases.database(&address("a")).import(checked));
        applied.unwrap_or_else(|error| panic!("{what}: {error}"));
        let mut object = Object(Some(database));
        world.settle(&mut object);
        assert_eq!(object.get("7").unwrap(), [7; 5000], "{what}");
        drop(object);
        for _ in 0..2 {
            world.restart();
            assert_eq!(world.object("a").get("7").unwrap(), [7; 5000], "{what}");
            world.databases.0.checkpoint().unwrap();
        }
    }
}

/// An older database file beside the current sums, as after half of a restored backup.
#[test]
fn an_older_copy_of_the_file_is_noticed() {
    let mut world = trimmed();
    let older = fs::read(world.file("a")).unwrap();
    world.object("a").turn(|turn| turn.put("3", &[9; 5000]).unwrap());
    world.flush();
    world.databases.0.checkpoint().unwrap();
    world.restart();
    assert_eq!(world.object("a").get("3").unwrap(), [9; 5000]);
    fs::write(world.file("a"), older).unwrap();
    assert_damaged(&world, "an older copy");
}

#[test]
fn what_the_log_still_has_is_written_again_whatever_became_of_the_file() {
    for (what, damage) in damages() {
        let mut world = World::new();
        for name in ["a", "b"] {
            world.object(name).turn(|turn| (0..8).for_each(|n| turn.put(&format!("{n}"), &[n; 5000]).unwrap()));
        }
        world.restart();
        damage(&world.file("a"));
        assert_eq!(world.object("a").get("7").unwrap(), [7; 5000], "{what}");
        read_all(&mut world.object("a")).unwrap_or_else(|error| panic!("{what}: {error}"));
    }
}

/// The log has a part of the object and its file is missing: the log is trimmed all the same, and the damage is
/// reported.
#[test]
fn a_missing_file_does_not_keep_the_log_from_being_trimmed() {
    let mut world = trimmed();
    for name in ["a", "b"] {
        world.object(name).turn(|turn| turn.put("3", &[9; 5000]).unwrap());
    }
    world.restart();
    fs::remove_file(world.file("a")).unwrap();
    assert_damaged(&world, "its file is missing");
    world.databases.0.checkpoint().unwrap();
    assert!(world.databases.log_usage().live < 8192, "{:?}", world.databases.log_usage());
    world.restart();
    assert_damaged(&world, "its file is missing, and the log has nothing");
    // The file disappears while it is open.
    let mut object = world.object("b");
    object.turn(|turn| turn.put("3", &[8; 5000]).unwrap());
    world.flush();
    fs::remove_file(world.file("b")).unwrap();
    world.databases.0.checkpoint().unwrap();
    drop(object);
    world.restart();
    assert!(matches!(read_all(&mut world.object("b")), Err(ApplyError::Damaged(_))));
}

/// The file as an earlier version left it.
#[test]
fn files_without_sums_get_them_when_they_are_read() {
    let mut world = trimmed();
    fs::remove_file(sums_path(&world.file("a"))).unwrap();
    read_all(&mut world.object("a")).unwrap();
    assert!(sums_path(&world.file("a")).exists());
    world.restart();
    read_all(&mut world.object("a")).unwrap();
    damages()[4].1(&world.file("a"));
    assert_damaged(&world, "a bit that was right when it was first read");
}

#[test]
fn a_read_of_nothing_makes_no_file_and_a_list_that_is_gone_cannot_tell() {
    let mut world = trimmed();
    assert_eq!(world.object("new").get("k"), None);
    let before = world.files();
    assert_eq!(before.len(), 6);
    let root = world.dir.root().to_path_buf();
    fs::remove_file(world.file("a")).unwrap();
    fs::remove_dir_all(root.join("catalog")).unwrap();
    world.restart();
    assert_eq!(world.object("a").get("0"), None, "as documented: such a change is not detected");
}

/// Opens a catalog, and a log in files, as a server has them.
fn on_disk(root: &Path) -> (DataDir, Databases) {
    let dir = DataDir::open(root).unwrap();
    let databases =
        Databases::open(&dir, &Limits::default(), &Env::manual(7).0, crate::base::HostMemory::new(1 << 30)).unwrap();
    (dir, databases)
}

fn put(databases: &Databases, name: &str, value: &[u8]) {
    let mut turn = Turn::begin(databases.database(&address(name)), WorkBudget::unlimited());
    turn.put("k", value).unwrap();
    turn.put("more", &[5; 9000]).unwrap();
    turn.set_alarm(Some(crate::base::Alarm::at(77)));
    let (database, applied) = turn.apply();
    database.durable().wait(applied.unwrap().lsn).unwrap();
}

fn get(databases: &Databases, name: &str) -> Option<Vec<u8>> {
    let mut turn = Turn::begin(databases.database(&address(name)), WorkBudget::unlimited());
    let value = turn.get("k").unwrap();
    drop(turn.roll_back());
    value
}

fn names() -> Vec<String> {
    (0..40).map(|n| format!("object-{n}")).collect()
}

fn verified(root: &Path) -> (u64, Vec<DataDamage>) {
    let view = DataDirView::open(root).unwrap();
    let log = commit_log::verify(&view.log()).unwrap();
    assert!(log.damage.is_empty());
    let report = verify(&view, &log, &mut |done, total| assert!(done <= total)).unwrap();
    (report.objects, report.damage)
}

fn file_of(root: &Path, name: &str) -> PathBuf {
    let id = address(name).id.to_string();
    root.join("objects").join("key").join(&id[..2]).join(format!("{id}-1.sqlite"))
}

#[test]
fn verify_finds_all_that_is_wrong_and_changes_nothing() {
    for clean in [true, false] {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let (dir, databases) = on_disk(root);
        names().iter().for_each(|name| put(&databases, name, name.as_bytes()));
        databases.0.checkpoint().unwrap();
        // Some of the data is only in the log.
        names()[..10].iter().for_each(|name| put(&databases, name, b"again"));
        let mut gone = Object(Some(databases.database(&address("object-39"))));
        assert!(gone.delete());
        gone.database().durable().wait(gone.database().last_applied()).unwrap();
        drop(gone);
        if clean {
            databases.close().unwrap()
        } else {
            drop(databases)
        }
        drop(dir);
        let (objects, damage) = verified(root);
        assert_eq!((objects, &damage[..]), (39, &[][..]), "{clean}");
        fs::remove_file(file_of(root, "object-20")).unwrap();
        let mut bytes = fs::read(file_of(root, "object-21")).unwrap();
        bytes[4 * PAGE + 1000] ^= 1;
        fs::write(file_of(root, "object-21"), bytes).unwrap();
        fs::write(file_of(root, "object-22"), b"").unwrap();
        let everything = || {
            let mut found = Vec::new();
            let mut waiting = vec![root.to_path_buf()];
            while let Some(path) = waiting.pop() {
                match path.is_dir() {
                    true => waiting.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path())),
                    false => found.push((fs::read(&path).unwrap(), path)),
                }
            }
            found.sort();
            found
        };
        let before = everything();
        let (_, damage) = verified(root);
        assert!(before == everything(), "nothing is changed");
        let mut found: Vec<_> =
            damage.iter().map(|damage| (damage.name.clone().unwrap(), damage.pages.clone())).collect();
        found.sort();
        let expected = [("object-20", vec![]), ("object-21", vec![5]), ("object-22", vec![])];
        assert_eq!(found, expected.map(|(name, pages)| (name.to_owned(), pages)), "{clean}: {damage:?}");
        // The offline check reports the same objects as a server does.
        let (_dir, databases) = on_disk(root);
        for name in names() {
            let mut turn = Turn::begin(databases.database(&address(&name)), WorkBudget::unlimited());
            let read = turn.get("k").and_then(|_| turn.get("more"));
            assert_eq!(read.is_err(), found.iter().any(|(damaged, _)| *damaged == name), "{name}");
            drop(turn.roll_back());
        }
    }
}

/// After a clean stop the log may be removed: everything is in the files.
#[test]
fn a_log_that_was_removed_after_a_clean_stop_is_begun_anew() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    for round in 0..3_u8 {
        let (_dir, databases) = on_disk(root);
        for name in names() {
            assert_eq!(get(&databases, &name), round.checked_sub(1).map(|last| vec![last]), "{name}");
        }
        let listed = databases.catalog().list(&ClassKey::new("key"), None, None, 100).unwrap().entries;
        assert_eq!(listed.len(), if round == 0 { 0 } else { names().len() });
        assert!(listed.iter().all(|entry| entry.alarm == Some(crate::base::Alarm::at(77))), "alarms ring");
        for _ in 0..=round {
            names().iter().for_each(|name| put(&databases, name, &[round]));
        }
        databases.close().unwrap();
        fs::remove_dir_all(root.join("log")).unwrap();
    }
    assert_eq!(verified(root).1, []);
}

#[test]
fn everything_is_its_owners_alone() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let open = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o077 != 0;
    let all_open = || {
        let (mut found, mut waiting) = (Vec::new(), vec![root.to_path_buf()]);
        while let Some(path) = waiting.pop() {
            if path.is_dir() {
                waiting.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            }
            found.extend(open(&path).then_some(path));
        }
        found
    };
    let (dir, databases) = on_disk(root);
    names().iter().for_each(|name| put(&databases, name, b"v"));
    let mut object = Object(Some(databases.database(&address("object-1"))));
    object.turn(|turn| {
        turn.delete_all().unwrap();
        turn.put("k", b"w").unwrap();
    });
    object.database().durable().wait(object.database().last_applied()).unwrap();
    drop(object);
    databases.0.checkpoint().unwrap();
    let records = ClassRecords::open(&dir).unwrap();
    records.put_component(b"component").unwrap();
    assert_eq!(all_open(), Vec::<PathBuf>::new());
    drop((databases, dir));
    // The files as earlier versions left them.
    let file = file_of(root, "object-2");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    fs::set_permissions(root, fs::Permissions::from_mode(0o755)).unwrap();
    let (_dir, databases) = on_disk(root);
    put(&databases, "object-2", b"w");
    assert_eq!(all_open(), Vec::<PathBuf>::new());
}
