//! No alarm is lost: random stories of real databases, their alarm index, a clock, and the expected alarms.

use super::*;

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
