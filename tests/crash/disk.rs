//! A full disk, and a failing disk.
//!
//! The full disk is a real one where the system lets an ordinary user mount a small file system (`unshare -r -m`);
//! elsewhere failpoints report that there is no room. The test prints which.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::dice::Dice;
use crate::harness::guest;
use crate::log_files::SMALL_LOG;
use crate::world::{Tally, World};

/// Set when the test runs again inside a mount namespace of its own.
const INSIDE: &str = "HOLDFAST_CRASH_DISK";
/// The disk's size: enough for the log's capacity, and for objects with long WALs.
const DISK: &str = "256m";

#[test]
fn a_full_disk_refuses_writes_and_nothing_else() {
    if let Some(mount) = std::env::var_os(INSIDE) {
        return fill(Path::new(&mount));
    }
    let mount = tempfile::tempdir().expect("there is room for a directory");
    // Runs the same test again, where it may mount; temporary directories are then on the small disk.
    let script = "mount -t tmpfs -o size=$0 none \"$1\" && exec \"$2\" --exact \"$3\" --include-ignored --nocapture";
    let mut command = Command::new("unshare");
    command.args(["-r", "-m", "sh", "-c", script, DISK]).arg(mount.path());
    command.arg(std::env::current_exe().expect("it runs")).arg("disk::a_full_disk_refuses_writes_and_nothing_else");
    command.env(INSIDE, mount.path()).env("TMPDIR", mount.path());
    let may_mount =
        Command::new("unshare").args(["-r", "-m", "mount", "-t", "tmpfs", "none"]).arg(mount.path()).output();
    if may_mount.is_ok_and(|output| output.status.success()) {
        eprintln!("the disk is a file system of {DISK}");
        let output = command.output().expect("it ran a moment ago");
        let printed = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&printed));
    } else {
        eprintln!("the disk is full by failpoints: this system mounts nothing for ordinary users");
        pretend();
    }
}

/// Fills the disk that the host's data is on.
fn fill(mount: &Path) {
    let ballast = mount.join("ballast");
    let mut world = World::with_config(SMALL_LOG);
    let fill = || {
        let mut file = fs::File::create(&ballast).expect("it can be made");
        // Until not even one page fits.
        while std::io::Write::write_all(&mut file, &[1; 4096]).is_ok() {}
    };
    no_room(&mut world, "", fill, || fs::remove_file(&ballast).expect("it is there"));
}

/// Rules that report no room while a file exists.
fn pretend() {
    let directory = tempfile::tempdir().expect("there is room for a directory");
    let switch = directory.path().join("full");
    let mut world = World::with_config(SMALL_LOG);
    let failpoints =
        ["segment-create", "object-create"].map(|failpoint| format!("{failpoint}:enospc@file={}", switch.display()));
    let (fill, empty) =
        (|| fs::write(&switch, "").expect("it can be made"), || fs::remove_file(&switch).expect("it is there"));
    no_room(&mut world, &failpoints.join(","), fill, empty);
}

fn no_room(world: &mut World, failpoints: &str, fill: impl FnOnce(), empty: impl FnOnce()) {
    let mut dice = Dice::of_the_run("disk");
    world.host.kill();
    world.host.restart_with_failpoints(failpoints).expect("there is room");
    world.load(&mut dice, |tally| tally.acknowledged() >= 200);
    let mut fill = Some(fill);
    world.load(&mut dice, |tally| {
        if tally.acknowledged() >= 50
            && let Some(fill) = fill.take()
        {
            fill();
        }
        tally.full() >= 50
    });
    world.host.assert_alive();
    world.check_all();
    world.host.get("/ledger/shared-0/count").number();

    empty();
    world.load(&mut dice, |tally| tally.acknowledged() >= 200);
    world.check_all();
    world.host.kill();
    world.host.restart();
    world.check_all();
}

/// Without room for them, operations on classes and databases are refused with a code of their own, change nothing, and
/// succeed when there is room.
#[test]
fn a_full_disk_refuses_deploys_imports_and_exports_and_nothing_is_half_there() {
    let directory = tempfile::tempdir().expect("there is room for a directory");
    let mut world = World::with_config(SMALL_LOG);
    world.host.post("/ledger/exported/0/1", "filler").number();
    world.host.deploy("other", guest("echo"));
    let object = |object: &str, what: &str| format!("/v1/classes/ledger/objects/{object}/{what}");
    let export = world.host.admin().get(&object("exported", "export")).body;
    let failpoints =
        ["component-write", "class-write", "class-rename", "class-remove", "transfer-write", "import-adopt"];
    for failpoint in failpoints {
        let switch = directory.path().join(failpoint);
        world.host.kill();
        world
            .host
            .restart_with_failpoints(&format!("{failpoint}:enospc@file={}", switch.display()))
            .expect("it starts");
        let admin = world.host.admin();
        let change = || match failpoint {
            "component-write" => admin.put("/v1/classes/other?create=any", guest("echo")),
            "class-write" => admin.put("/v1/classes/other?create=stored", guest("echo")),
            "class-rename" => admin.post("/v1/classes/other/rename?to=renamed", b""),
            "class-remove" => admin.delete("/v1/classes/renamed"),
            "transfer-write" => admin.get(&object("exported", "export")),
            _ => admin.put(&object("imported", "import"), &export),
        };
        let classes = admin.get("/v1/classes").json();
        fs::write(&switch, "").expect("it can be made");
        change().problem(507, "storage-full");
        assert_eq!(admin.get("/v1/classes").json(), classes, "{failpoint}");
        admin.get(&object("imported", "export")).problem(404, "unknown-object");
        fs::remove_file(&switch).expect("it is there");
        assert!(change().status < 300, "{failpoint}");
    }
    world.host.kill();
    world.host.restart();
    assert_eq!(world.host.admin().get(&object("imported", "export")).status, 200);
    world.host.admin().get("/v1/classes/renamed").problem(404, "unknown-class");
}

/// A lack of descriptors, memory or quota where a segment is made is treated like a full disk: turns are refused, the
/// writer waits, and it recovers when the lack ends.
#[test]
fn a_segment_that_cannot_be_made_is_waited_for() {
    let directory = tempfile::tempdir().expect("there is room for a directory");
    let switch = directory.path().join("short");
    for error in ["emfile", "enomem", "edquot"] {
        let mut world = World::with_config(SMALL_LOG);
        let failpoints = format!("segment-create:{error}@file={}", switch.display());
        let (begin, end) =
            (|| fs::write(&switch, "").expect("it can be made"), || fs::remove_file(&switch).expect("it is there"));
        no_room(&mut world, &failpoints, begin, end);
    }
}

/// The same with the system's own limit, which affects everything in the process at once.
#[test]
fn a_process_without_descriptors_loses_nothing_and_goes_on() {
    let mut dice = Dice::of_the_run("descriptors");
    let mut world = World::with_config(SMALL_LOG);
    for round in 0..3 {
        let mut limited = false;
        // Segments of 1 MiB: several are begun meanwhile.
        world.load(&mut dice, |tally| {
            if !limited && tally.acknowledged() >= 30 {
                world.host.limit_descriptors(Some(round));
                limited = true;
            }
            tally.acknowledged() + tally.full() >= 400
        });
        world.host.limit_descriptors(None);
        world.host.assert_alive();
        world.load(&mut dice, |tally| tally.acknowledged() >= 100);
        world.check_all();
    }
    world.host.kill();
    world.host.restart();
    world.check_all();
}

#[test]
fn a_failed_write_of_the_log_ends_the_process() {
    let mut dice = Dice::of_the_run("eio");
    let mut world = World::with_config(SMALL_LOG);
    // Segments are begun less often than groups are written.
    for (failpoint, hits) in [("log-write", 150), ("log-flush", 150), ("segment-header", 12)] {
        for _ in 0..2 {
            world.host.kill();
            let nth = 5 + dice.below(hits);
            world.host.restart_with_failpoints(&format!("{failpoint}:eio@{nth}")).expect("it dies of load");
            world.load(&mut dice, |_: &Tally| false);
            let status = world.host.end();
            let log = world.host.log();
            assert_eq!(status.code(), Some(1), "{failpoint}: {status}\n{log}");
            for part in ["log", "Input/output error", "start it again"] {
                assert!(log.contains(part), "the message says {part}: {log}");
            }
            world.host.restart();
            world.check();
        }
    }
    world.check_all();
}
