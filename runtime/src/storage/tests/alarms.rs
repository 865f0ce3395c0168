//! The alarm as part of a turn, and the order in which alarms are taken.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::base::Alarm;
use crate::storage::alarm_index::{Now, Place};
use crate::storage::alarm_look::{Suspects, TOLERANCE};

mod lost;
mod suspended;

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
    /// Takes the objects whose alarm is due and returns their names in order. Both clocks show the same time.
    fn due(&self, now_ms: u64) -> Vec<String> {
        self.take(now_ms).into_iter().map(|(_, (_, id))| name_of(&id)).collect()
    }

    fn take(&self, now_ms: u64) -> Vec<(ClassKey, Place)> {
        self.look(now_ms);
        self.take_of(now_ms, |_| true)
    }

    fn look(&self, now_ms: u64) {
        self.flush();
        self.databases.look_for_alarms(now_ms).unwrap();
    }

    fn take_of(&self, now_ms: u64, admits: impl Fn(&ClassKey) -> bool) -> Vec<(ClassKey, Place)> {
        let round = self.databases.alarms().take_due(now(now_ms), 100, WAIT, |class| admits(class).then_some(()));
        round.due.into_iter().map(|(class, place, ())| (class, place)).collect()
    }

    /// Returns how long the scheduler would sleep, in milliseconds.
    fn wait_ms(&self, now_ms: u64) -> u128 {
        self.databases.alarms().take_due(now(now_ms), 0, WAIT, |_| Some(())).wait.as_millis()
    }

    /// The limit on alarms in memory.
    fn alarms_in_memory(&self, max: usize) {
        self.databases.alarms().near.lock().max = max;
    }

    fn settled(&self, name: &str, again_ms: u64) -> bool {
        self.databases.alarms().settled(&address(name).id, Duration::from_millis(again_ms))
    }
}

const WAIT: Duration = Duration::from_secs(1_000_000);

fn now(ms: u64) -> Now {
    Now { wall_ms: ms, elapsed: Duration::from_millis(ms) }
}

fn name_of(id: &ObjectId) -> String {
    let names = ["a", "b", "c", "d"].map(|name| (address(name).id, name.to_owned()));
    names.iter().find(|(of, _)| of == id).unwrap().1.clone()
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
    // A turn that cannot be applied does not apply its alarm either.
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

/// Alarms beyond the horizon are read from the catalog when they come within it, and those set meanwhile are not
/// missed.
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
    assert_eq!(world.wait_ms(0), 5, "only what is near is in memory");
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
    assert!(world.settled("a", 20) && !world.settled("a", 30));
    assert_eq!(world.wait_ms(10), 10);
    assert_eq!(world.due(19), Vec::<String>::new());
    let mut b = world.object("b");
    b.set_alarm(11);
    assert_eq!(world.due(20), ["a", "b"], "it is not placed behind alarms that were due later");
    a.set_alarm(30);
    assert!(!world.settled("a", 20), "what the object has reported is newer");
    assert_eq!(world.due(29), Vec::<String>::new());
    assert_eq!(world.due(30), ["a"]);
    assert!(world.settled("a", 40));
    // The clock is set back by hand: the delay passes all the same, because it is measured on the monotonic clock.
    let set_back = Now { wall_ms: 31, elapsed: Duration::from_millis(40) };
    let taken = world.databases.alarms().take_due(set_back, 100, WAIT, |_| Some(())).due;
    assert_eq!(taken.len(), 1);
}

/// What the object reports after it was asked to run its alarm counts, also when that stores nothing: what was consumed
/// is the alarm that was handed out, not its time.
#[test]
fn an_alarm_that_is_set_to_the_same_time_again_comes_again() {
    type Handler = fn(&mut Turn);
    let same: Handler = |turn| turn.set_alarm(Some(Alarm::at(SOON)));
    let anew: Handler = |turn| {
        turn.delete_all().unwrap();
        turn.set_alarm(Some(Alarm::at(SOON)));
    };
    let settles: Handler = |turn| {
        turn.put("k", b"v").unwrap();
        turn.apply_so_far().unwrap();
        turn.set_alarm(Some(Alarm::at(SOON)));
    };
    for (handler, leaves) in [(same, false), (same, true), (anew, false), (anew, true), (settles, false)] {
        let world = World::new();
        let mut a = world.object("a");
        a.set_alarm(SOON);
        for run in 0..5 {
            assert!(world.due(SOON).contains(&"a".to_owned()), "run {run}");
            a.turn(|turn| {
                turn.set_alarm(None);
                handler(turn);
            });
            a.database().report_alarm().unwrap();
            assert!(!world.settled("a", SOON));
            if leaves {
                world.flush();
                a = world.object("a");
            }
        }
        a.turn(|turn| turn.set_alarm(None));
        a.database().report_alarm().unwrap();
        assert_eq!(world.due(SOON), Vec::<String>::new());
    }
}

/// An object that is asked too early, because the clock was set back in between, reports when its alarm is due.
#[test]
fn an_alarm_that_was_not_due_after_all_comes_later() {
    let world = World::new();
    let mut a = world.object("a");
    a.set_alarm(SOON);
    assert_eq!(world.due(SOON), ["a"]);
    a.database().report_alarm().unwrap();
    assert!(!world.settled("a", SOON));
    assert_eq!(world.due(SOON - 1), Vec::<String>::new());
    assert_eq!(world.due(SOON), ["a"]);
}

/// A turn that removes everything, settles and then fails has removed everything except the alarm.
#[test]
fn a_settling_point_after_delete_all_leaves_the_alarm() {
    let mut world = World::new();
    let mut a = world.object("a");
    a.turn(|turn| turn.put("k", b"v").unwrap());
    a.set_alarm(SOON);
    a.fail(|turn| {
        turn.delete_all().unwrap();
        assert_eq!(turn.alarm().unwrap(), None);
        turn.apply_so_far().unwrap();
        assert_eq!(turn.alarm().unwrap(), None, "to the turn it is gone");
    });
    assert_eq!((a.get("k"), a.alarm()), (None, Some(Alarm::at(SOON))));
    world.restart();
    let mut a = world.object("a");
    assert_eq!((a.get("k"), a.alarm()), (None, Some(Alarm::at(SOON))));
    a.turn(|turn| {
        turn.delete_all().unwrap();
        turn.put("k", b"w").unwrap();
        turn.apply_so_far().unwrap();
        turn.delete("k").unwrap();
    });
    assert_eq!(a.alarm(), None);
    world.settle(&mut a);
    assert_eq!(world.files(), Vec::<PathBuf>::new());
}

/// A class that is not admitted keeps its alarms and delays no other class. A class with more alarms than fit leaves
/// the later ones to the catalog, and all of them are delivered in the end.
#[test]
fn a_class_with_a_backlog_hides_no_other() {
    let world = World::new();
    world.alarms_in_memory(8);
    world.look(0);
    let greedy = ClassKey::new("greedy");
    let place = |n: u64| ObjectAddress { key: greedy.clone(), ..by_id(&format!("greedy {n}")) };
    for n in 0..50 {
        Object(Some(world.databases.database(&place(n)))).set_alarm(10 + n);
    }
    assert!(world.databases.alarms().near.lock().waiting_of(&greedy) <= 8);
    world.object("a").set_alarm(70);
    let refused = world.take_of(100, |class| *class != greedy);
    assert_eq!(refused.iter().map(|(_, (_, id))| name_of(id)).collect::<Vec<_>>(), ["a"]);
    world.object("b").set_alarm(200_000);
    assert_eq!(world.wait_ms(100), WAIT.as_millis());
    let mut taken = 0;
    while taken < 50 {
        while world.databases.alarms().wants_look(100) {
            world.look(100);
            assert!(world.databases.alarms().near.lock().waiting_of(&greedy) <= 8);
        }
        let round = world.take_of(100, |_| true);
        assert!(round.iter().all(|(class, _)| *class == greedy) && !round.is_empty(), "{taken}: {round:?}");
        taken += round.len();
    }
    world.look(199_000);
    assert_eq!(world.due(200_000), ["b"]);
}

/// The running check compares what is stored with what is in memory.
#[test]
fn an_alarm_that_the_index_has_lost_is_armed_again() {
    let world = World::new();
    let [mut a, mut b] = ["a", "b"].map(|name| world.object(name));
    let later = SOON + 2 * TOLERANCE.as_millis() as u64;
    let mut suspects = Suspects::default();
    let mut check = || {
        world.flush();
        let check = world.databases.check_alarms(later, &mut suspects).unwrap();
        (check.overdue, check.rearmed.len())
    };
    a.set_alarm(SOON);
    b.set_alarm(SOON + 1);
    assert_eq!(check(), (2, 0), "not read yet");
    world.look(later);
    assert_eq!((check(), check()), ((2, 0), (2, 0)), "they wait");
    assert_eq!(world.due(SOON), ["a"]);
    assert_eq!((check(), check()), ((1, 0), (1, 0)), "one runs");
    // Lost, as if by an unknown fault.
    world.databases.alarms().forget(&address("a").id);
    assert_eq!(world.due(SOON), Vec::<String>::new());
    assert_eq!((check(), check(), check()), ((1, 0), (2, 1), (2, 0)));
    assert_eq!(world.due(later), ["a", "b"]);
    world.settled("b", later);
    assert_eq!(check(), (1, 0), "it is to be tried again");
    for object in [&mut a, &mut b] {
        object.turn(|turn| turn.set_alarm(None));
    }
    assert_eq!((check(), check()), ((0, 0), (0, 0)));
}
