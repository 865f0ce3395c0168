//! The alarm as part of a turn, and which alarms come next.

use super::*;
use crate::base::Alarm;

const SOON: u64 = 1_000;

impl Object {
    fn alarm(&mut self) -> Option<Alarm> {
        self.database().alarm().unwrap()
    }

    fn set_alarm(&mut self, due_ms: u64) {
        self.turn(|turn| turn.set_alarm(Some(Alarm::at(due_ms))));
    }
}

impl World {
    /// The names of those whose alarm is due, in order.
    fn due(&self, now_ms: u64) -> Vec<String> {
        self.flush();
        self.databases.look_for_alarms(now_ms).unwrap();
        let names = ["a", "b", "c", "d"].map(|name| (address(name).id, name.to_owned()));
        let name = |(_, (_, id))| names.iter().find(|(of, _)| *of == id).unwrap().1.clone();
        self.databases.alarms().take_due(now_ms, 100).into_iter().map(name).collect()
    }
}

#[test]
fn an_alarm_alone_makes_an_object_and_its_end_removes_it() {
    let mut world = World::new();
    let mut a = world.object("a");
    a.set_alarm(SOON);
    assert_eq!(a.alarm(), Some(Alarm::at(SOON)));
    assert!(world.file("a").exists());
    world.restart();
    let mut a = world.object("a");
    assert_eq!(a.alarm(), Some(Alarm::at(SOON)));
    a.turn(|turn| turn.set_alarm(None));
    assert_eq!(a.alarm(), None);
    world.settle(&mut a);
    assert_eq!(world.files(), Vec::<PathBuf>::new());
    world.restart();
    assert_eq!(world.object("a").alarm(), None);
    assert_eq!(world.due(u64::MAX >> 2), Vec::<String>::new());
}

#[test]
fn a_turn_sees_what_it_did_and_one_that_fails_did_nothing() {
    let world = World::new();
    let mut a = world.object("a");
    a.fail(|turn| {
        turn.set_alarm(Some(Alarm::at(SOON)));
        assert_eq!(turn.alarm().unwrap(), Some(Alarm::at(SOON)));
    });
    assert_eq!(a.alarm(), None);
    assert_eq!(world.files(), Vec::<PathBuf>::new());
    a.set_alarm(SOON);
    a.fail(|turn| {
        turn.set_alarm(None);
        assert_eq!(turn.alarm().unwrap(), None);
    });
    assert_eq!(a.alarm(), Some(Alarm::at(SOON)));
    // What cannot be applied takes the alarm with it.
    let failed = a.end(|turn| {
        turn.set_alarm(Some(Alarm::at(2 * SOON)));
        turn.exec("CREATE TABLE p (x PRIMARY KEY); CREATE TABLE c (x REFERENCES p DEFERRABLE INITIALLY DEFERRED)", &[])
            .unwrap();
        turn.exec("INSERT INTO c VALUES (1)", &[]).unwrap();
    });
    assert!(failed.is_err());
    assert_eq!(a.alarm(), Some(Alarm::at(SOON)));
}

#[test]
fn undoing_a_savepoint_undoes_the_alarm() {
    let world = World::new();
    let mut a = world.object("a");
    a.turn(|turn| {
        turn.set_alarm(Some(Alarm::at(1)));
        let outer = turn.savepoint().unwrap();
        turn.set_alarm(Some(Alarm::at(2)));
        let inner = turn.savepoint().unwrap();
        turn.set_alarm(None);
        turn.undo(inner).unwrap();
        assert_eq!(turn.alarm().unwrap(), Some(Alarm::at(2)));
        turn.undo(outer).unwrap();
        assert_eq!(turn.alarm().unwrap(), Some(Alarm::at(1)));
        let kept = turn.savepoint().unwrap();
        turn.set_alarm(Some(Alarm::at(3)));
        turn.keep(kept).unwrap();
    });
    assert_eq!(a.alarm(), Some(Alarm::at(3)));
}

/// A settling point applies what is stored and leaves the alarm alone.
#[test]
fn the_alarm_counts_at_the_end_of_the_turn_only() {
    let world = World::new();
    let mut a = world.object("a");
    a.set_alarm(SOON);
    a.fail(|turn| {
        turn.put("k", b"v").unwrap();
        turn.set_alarm(None);
        turn.apply_so_far().unwrap();
    });
    assert_eq!(a.get("k"), Some(b"v".to_vec()));
    assert_eq!(a.alarm(), Some(Alarm::at(SOON)));
    a.turn(|turn| {
        turn.set_alarm(Some(Alarm::at(2 * SOON)));
        turn.delete("k").unwrap();
        turn.apply_so_far().unwrap();
        turn.set_alarm(Some(Alarm::at(3 * SOON)));
    });
    assert_eq!(a.alarm(), Some(Alarm::at(3 * SOON)), "the object is there though nothing else is stored");
}

#[test]
fn removing_everything_removes_the_alarm() {
    let mut world = World::new();
    let mut a = world.object("a");
    a.turn(|turn| turn.put("k", b"v").unwrap());
    a.set_alarm(SOON);
    a.fail(|turn| turn.delete_all().unwrap());
    assert_eq!(a.alarm(), Some(Alarm::at(SOON)));
    a.turn(|turn| {
        turn.delete_all().unwrap();
        assert_eq!(turn.alarm().unwrap(), None);
        turn.put("k", b"w").unwrap();
    });
    assert_eq!(a.alarm(), None);
    a.turn(|turn| {
        turn.delete_all().unwrap();
        turn.set_alarm(Some(Alarm::at(SOON)));
    });
    assert_eq!((a.alarm(), a.get("k")), (Some(Alarm::at(SOON)), None));
    world.restart();
    let mut a = world.object("a");
    assert_eq!(a.alarm(), Some(Alarm::at(SOON)));
    assert!(a.delete());
    assert_eq!(a.alarm(), None);
    assert_eq!(world.due(SOON), Vec::<String>::new());
}

#[test]
fn alarms_come_in_their_order_and_once() {
    let world = World::new();
    let [mut a, mut b, mut c] = ["a", "b", "c"].map(|name| world.object(name));
    a.set_alarm(30);
    b.set_alarm(10);
    c.set_alarm(20);
    assert_eq!(world.due(9), Vec::<String>::new());
    assert_eq!(world.due(20), ["b", "c"]);
    assert_eq!(world.due(20), Vec::<String>::new());
    a.set_alarm(40);
    assert_eq!(world.due(39), Vec::<String>::new());
    a.turn(|turn| turn.set_alarm(None));
    b.set_alarm(50);
    assert_eq!(world.due(60), ["b"]);
}

/// Alarms beyond the horizon are found in the catalog when it comes to them, and those set meanwhile are not missed.
#[test]
fn the_horizon_moves() {
    const HOUR: u64 = 3_600_000;
    let mut world = World::new();
    let [mut a, mut b, mut c] = ["a", "b", "c"].map(|name| world.object(name));
    assert_eq!(world.due(0), Vec::<String>::new());
    a.set_alarm(HOUR);
    b.set_alarm(2 * HOUR);
    c.set_alarm(5);
    assert!(!world.databases.alarms().wants_look(0));
    assert_eq!(world.databases.alarms().first_ms(), Some(5), "only what is near is in memory");
    assert_eq!(world.due(5), ["c"]);
    assert!(world.databases.alarms().wants_look(HOUR));
    assert_eq!(world.due(HOUR), ["a"]);
    drop((a, b, c));
    world.restart();
    assert_eq!(world.due(HOUR), ["c", "a"], "they were taken and never run");
    let mut d = world.object("d");
    d.set_alarm(HOUR + 7);
    assert_eq!(world.due(2 * HOUR), ["d", "b"]);
}

#[test]
fn an_alarm_that_could_not_be_run_is_asked_for_again() {
    let world = World::new();
    let mut a = world.object("a");
    a.set_alarm(10);
    assert_eq!(world.due(10), ["a"]);
    let again = || world.databases.alarms().again(ClassKey::new("key"), (10, address("a").id), 20);
    again();
    assert_eq!(world.databases.alarms().first_ms(), Some(20));
    assert_eq!(world.due(19), Vec::<String>::new());
    let mut b = world.object("b");
    b.set_alarm(11);
    assert_eq!(world.due(20), ["a", "b"], "it does not stand behind those that were due later");
    a.set_alarm(30);
    again();
    assert_eq!(world.due(29), Vec::<String>::new(), "what the object says is newer");
}
