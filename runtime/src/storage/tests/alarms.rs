//! The alarm as part of a turn, and the order in which alarms are taken.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::base::Alarm;
use crate::storage::alarm_index::{Now, Place};
use crate::storage::alarm_look::{Suspects, TOLERANCE};

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

/// What a model object does when it is asked to run its alarm.
#[derive(Debug, Clone, Copy)]
enum Answer {
    Done,
    SetSame,
    SetLater(u64),
    DeleteAllAndSetSame,
    /// The turn fails, and another is applied that says when it is tried again.
    Fail(u64),
    /// The handler goes on after the turn, and has perhaps set another alarm.
    Suspend(Option<u64>),
    /// It cannot be asked to run its alarm.
    Unreachable,
}

#[derive(Debug, Clone, Copy)]
enum Happens {
    Set(usize, u64),
    Delete(usize),
    DeleteAll(usize),
    /// A turn that sets and fails.
    Fail(usize, u64),
    Leave(usize),
    /// The wall clock moves by so many ticks, back if negative.
    Clock(i64),
    Ring(Answer),
    /// A suspended handler ends, and is perhaps tried again.
    End(usize, Option<u64>),
    /// The instance of a suspended handler is dropped.
    Drop(usize),
    Restart,
}

const OBJECTS: usize = 8;
const TICK: u64 = 15_000;

fn answer() -> impl Strategy<Value = Answer> {
    prop_oneof![
        2 => Just(Answer::Done),
        2 => Just(Answer::SetSame),
        1 => (0..8u64).prop_map(Answer::SetLater),
        1 => Just(Answer::DeleteAllAndSetSame),
        1 => (1..8u64).prop_map(Answer::Fail),
        3 => prop::option::of(0..8u64).prop_map(Answer::Suspend),
        1 => Just(Answer::Unreachable),
    ]
}

fn happens() -> impl Strategy<Value = Happens> {
    let object = 0..OBJECTS;
    prop_oneof![
        6 => (object.clone(), 1..40u64).prop_map(|(object, at)| Happens::Set(object, at)),
        1 => object.clone().prop_map(Happens::Delete),
        1 => object.clone().prop_map(Happens::DeleteAll),
        1 => (object.clone(), 1..40u64).prop_map(|(object, at)| Happens::Fail(object, at)),
        2 => object.clone().prop_map(Happens::Leave),
        3 => (object.clone(), prop::option::of(1..8u64)).prop_map(|(object, again)| Happens::End(object, again)),
        1 => object.prop_map(Happens::Drop),
        2 => (-6..12i64).prop_map(Happens::Clock),
        5 => answer().prop_map(Happens::Ring),
        1 => Just(Happens::Restart),
    ]
}

/// Real databases, their alarm index, a clock, and the expected alarm of each object.
struct Alarming {
    world: World,
    objects: Vec<Option<Object>>,
    model: [Model; OBJECTS],
    wall_ms: u64,
    elapsed: Duration,
}

/// What is expected of the alarms of an object.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Model {
    set: Option<Alarm>,
    running: Option<Alarm>,
    /// The serial number of the alarm whose handler is suspended.
    suspended: Option<u64>,
}

impl Model {
    fn next(&self) -> Option<Alarm> {
        self.running.into_iter().chain(self.set).min_by_key(|alarm| alarm.next_ms)
    }

    /// The running alarm is tried again, unless another one is due before, or does not come again.
    fn ran(&mut self, again: Option<Alarm>) {
        let is_first = |again: &Alarm| self.set.is_none_or(|set| set.next_ms > again.next_ms);
        self.running = self.running.and(again.filter(is_first));
    }
}

impl Alarming {
    fn new() -> Self {
        let world = World::new();
        world.alarms_in_memory(4);
        let (wall_ms, elapsed) = (10 * TICK, Duration::ZERO);
        Self { world, objects: (0..OBJECTS).map(|_| None).collect(), model: Default::default(), wall_ms, elapsed }
    }

    fn address(n: usize) -> ObjectAddress {
        ObjectAddress { key: ClassKey::new(["key", "other", "third"][n % 3]), ..address(&n.to_string()) }
    }

    fn object(&mut self, n: usize) -> &mut Object {
        let databases = &self.world.databases;
        self.objects[n].get_or_insert_with(|| Object(Some(databases.database(&Self::address(n)))))
    }

    fn set(&mut self, n: usize, alarm: Option<Alarm>) {
        self.object(n).turn(|turn| turn.set_alarm(alarm));
        self.model[n].set = alarm;
    }

    fn end(&mut self, n: usize, again: Option<u64>) {
        let Some(serial) = self.model[n].suspended.take() else { return };
        let next_ms = again.map(|ticks| self.wall_ms + ticks * TICK);
        let alarm = self.model[n].running;
        let again = next_ms.zip(alarm).map(|(next_ms, alarm)| Alarm { attempt: alarm.attempt + 1, next_ms, ..alarm });
        self.object(n).turn(|turn| turn.end_alarm(serial, again));
        self.object(n).database().report_alarm().unwrap();
        self.model[n].ran(again);
    }

    fn happen(&mut self, what: Happens) {
        match what {
            Happens::Set(n, at) => self.set(n, Some(Alarm::at(at * TICK))),
            Happens::Delete(n) => self.set(n, None),
            Happens::DeleteAll(n) => {
                self.object(n).turn(|turn| turn.delete_all().unwrap());
                (self.model[n].set, self.model[n].running) = (None, None);
            }
            Happens::Fail(n, at) => self.object(n).fail(|turn| turn.set_alarm(Some(Alarm::at(at * TICK)))),
            Happens::Leave(n) => {
                self.world.flush();
                self.objects[n] = None;
                self.model[n].suspended = None;
            }
            Happens::End(n, again) => self.end(n, again),
            Happens::Drop(n) => {
                let again = self.elapsed + Duration::from_secs(1);
                self.object(n).database().alarm_is_dropped(again);
                self.model[n].suspended = None;
            }
            Happens::Clock(ticks) => {
                self.wall_ms = self.wall_ms.saturating_add_signed(ticks * TICK as i64).max(1);
                self.elapsed += Duration::from_secs(1);
            }
            Happens::Ring(answer) => _ = self.ring(answer),
            Happens::Restart => {
                self.world.flush();
                self.objects.iter_mut().for_each(|object| *object = None);
                self.model.iter_mut().for_each(|model| model.suspended = None);
                self.world.restart();
                self.world.alarms_in_memory(4);
            }
        }
    }

    /// Does what the scheduler does once. Returns whether any alarm was due.
    fn ring(&mut self, answer: Answer) -> bool {
        self.world.flush();
        let alarms = self.world.databases.alarms();
        for _ in 0..100 {
            if alarms.wants_look(self.wall_ms) {
                self.world.databases.look_for_alarms(self.wall_ms).unwrap();
            }
        }
        let now = Now { wall_ms: self.wall_ms, elapsed: self.elapsed };
        let due = alarms.take_due(now, 3, WAIT, |_| Some(())).due;
        for (_, (_, id), ()) in &due {
            let n = (0..OBJECTS).find(|n| Self::address(*n).id == *id).unwrap();
            if !matches!(answer, Answer::Unreachable) {
                self.run(n, answer);
                self.object(n).database().report_alarm().unwrap();
            }
            if self.model[n].suspended.is_some() {
                continue;
            }
            self.world.databases.alarms().settled(id, self.elapsed + Duration::from_secs(1));
        }
        !due.is_empty()
    }

    fn run(&mut self, n: usize, answer: Answer) {
        let (model, now_ms) = (self.model[n], self.wall_ms);
        assert_eq!(self.object(n).alarm(), model.next());
        let taken = self.object(n).database().take_alarm(now_ms).unwrap();
        let is_due = |alarm: &Alarm| alarm.next_ms <= now_ms;
        let expected = model.running.filter(is_due).or(model.set.filter(is_due));
        assert_eq!(taken.map(|taken| taken.alarm), expected.filter(|_| model.suspended.is_none()));
        let Some(taken) = taken else { return };
        let (alarm, again) = (taken.alarm, taken.again);
        assert_eq!(again, model.running.is_some_and(|alarm| is_due(&alarm)));
        let sets = match answer {
            Answer::Done | Answer::Unreachable => None,
            Answer::SetSame | Answer::DeleteAllAndSetSame => Some(Alarm::at(alarm.due_ms)),
            Answer::SetLater(ticks) => Some(Alarm::at(alarm.due_ms + ticks * TICK)),
            Answer::Fail(ticks) => {
                self.object(n).fail(|turn| turn.run_alarm(taken));
                let (attempt, next_ms) = (alarm.attempt + 1, self.wall_ms + ticks * TICK);
                let next = Some(Alarm { attempt, next_ms, ..alarm });
                if !again {
                    return self.set(n, next);
                }
                self.object(n).turn(|turn| turn.end_alarm(taken.serial, next));
                return self.model[n].ran(next);
            }
            Answer::Suspend(ticks) => ticks.map(|ticks| Alarm::at(alarm.due_ms + ticks * TICK)),
        };
        let suspends = matches!(answer, Answer::Suspend(_));
        self.object(n).turn(|turn| {
            turn.run_alarm(taken);
            assert_eq!(turn.alarm().unwrap(), if again { model.set } else { None });
            if suspends {
                turn.suspend_alarm();
            }
            if matches!(answer, Answer::DeleteAllAndSetSame) {
                turn.delete_all().unwrap();
            }
            if sets.is_some() {
                turn.set_alarm(sets);
            }
        });
        let is_kept = again && !matches!(answer, Answer::DeleteAllAndSetSame);
        self.model[n] = Model {
            set: sets.or(model.set.filter(|_| is_kept)),
            running: suspends.then_some(alarm),
            suspended: suspends.then_some(taken.serial),
        };
    }

    fn check(&self) {
        let alarms = self.world.databases.alarms();
        for (n, model) in self.model.iter().enumerate() {
            let Some(alarm) = model.next() else { continue };
            let address = Self::address(n);
            assert!(alarms.knows(&address.key, (alarm.next_ms, address.id)), "{n} is forgotten: {alarm:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_alarm_is_lost(story in prop::collection::vec(happens(), 0..80)) {
        let mut alarming = Alarming::new();
        for what in story {
            alarming.happen(what);
            alarming.check();
        }
        // In the end all alarms are delivered.
        (0..OBJECTS).for_each(|n| alarming.end(n, None));
        alarming.wall_ms = 1_000 * TICK;
        alarming.elapsed += Duration::from_secs(1);
        let mut rounds = 0;
        while alarming.ring(Answer::Done) {
            rounds += 1;
            prop_assert!(rounds < 1_000);
        }
        prop_assert_eq!(alarming.model, [Model::default(); OBJECTS]);
    }
}

/// The process ends while a handler is suspended: the alarm is run again, with the same number of attempts, before the
/// one that was set meanwhile.
#[test]
fn a_suspended_alarm_outlives_the_process() {
    let mut world = World::new();
    world.object("a").set_alarm(SOON);
    assert_eq!(world.due(SOON), ["a"]);
    let mut a = world.object("a");
    let taken = a.database().take_alarm(SOON).unwrap().unwrap();
    a.turn(|turn| {
        turn.run_alarm(taken);
        turn.set_alarm(Some(Alarm::at(9 * SOON)));
        turn.suspend_alarm();
    });
    assert!(a.database().take_alarm(99 * SOON).unwrap().is_none(), "one handler at a time");
    assert!(world.due(99 * SOON).is_empty());
    a.turn(|turn| assert_eq!(turn.alarm().unwrap(), Some(Alarm::at(9 * SOON)), "guests see the one that is set"));
    drop(a);
    world.restart();
    assert_eq!(world.due(SOON), ["a"]);
    let mut a = world.object("a");
    let again = a.database().take_alarm(SOON).unwrap().unwrap();
    assert_eq!((again.serial, again.alarm, again.again), (taken.serial, Alarm::at(SOON), true));
    a.turn(|turn| turn.run_alarm(again));
    a.database().report_alarm().unwrap();
    assert_eq!((a.alarm(), world.due(SOON).is_empty()), (Some(Alarm::at(9 * SOON)), true));
}

/// An alarm that is set to the time of the one that was consumed is another one.
#[test]
fn consumed_is_compared_by_number() {
    let world = World::new();
    let mut a = world.object("a");
    a.set_alarm(SOON);
    let taken = a.database().take_alarm(SOON).unwrap().unwrap();
    a.turn(|turn| {
        turn.run_alarm(taken);
        turn.set_alarm(Some(taken.alarm));
        turn.suspend_alarm();
    });
    a.turn(|turn| turn.end_alarm(taken.serial + 1, None));
    a.turn(|turn| turn.end_alarm(taken.serial, None));
    let next = a.database().take_alarm(SOON).unwrap().unwrap();
    assert!(next.serial > taken.serial && next.alarm == taken.alarm && !next.again);
}
