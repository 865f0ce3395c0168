//! The requirements after a crash, as a model without a disk.
//!
//! An object is a list of versions, one for each applied turn; a lane is the order in which turns of its objects were
//! applied. What a crash leaves of a lane is the versions up to some place in that order: not before anything that was
//! reported to a caller, and the same place for all objects of the lane.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::schedule::Write;

/// The contents of an object. The default is an object that does not exist.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct State {
    pub keys: BTreeMap<String, Vec<u8>>,
    /// The rows of its table, if there is one.
    pub rows: Option<Vec<Vec<u8>>>,
    /// When its alarm is due, if one is set.
    pub alarm: Option<u64>,
}

impl State {
    /// Applies a write.
    pub fn write(&mut self, write: &Write) {
        match write {
            Write::Put { key, value } => _ = self.keys.insert(key.clone(), value.expand()),
            Write::Delete { key } => _ = self.keys.remove(key),
            Write::Insert { rows, value } => {
                self.rows.get_or_insert_default().extend((0..*rows).map(|_| value.expand()));
            }
            Write::SetAlarm { at } => self.alarm = *at,
            Write::DeleteAll => *self = Self::default(),
        }
    }

    /// Returns a digest. Equal states have equal digests, and different states different ones.
    fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }
}

/// Abbreviates values to their lengths.
impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let keys: Vec<_> = self.keys.iter().map(|(key, value)| format!("{key}: {}", value.len())).collect();
        let rows = self.rows.as_ref().map(Vec::len);
        let alarm = self.alarm;
        write!(f, "{{{}; rows {rows:?}; alarm {alarm:?}; {:016x}}}", keys.join(", "), self.digest())
    }
}

/// A disagreement between a world and the model.
#[derive(Debug, thiserror::Error)]
pub enum Violation {
    #[error("object {object} reads {seen:?} instead of {expected:?}")]
    Reads { object: usize, seen: Box<State>, expected: Box<State> },
    #[error("lane {lane} came back at {place} of {turns} turns, and turn {told} was visible")]
    Lost { lane: usize, place: usize, turns: usize, told: usize },
    #[error("lane {lane}: each of its objects came back in some earlier version, but not all as of the same turn")]
    NotAPrefix { lane: usize },
    #[error("object {object} came back as {seen:?}, which is no version since the last durable one")]
    NeverWas { object: usize, seen: State },
}

/// All objects.
#[derive(Clone)]
pub struct Model {
    objects: Vec<Object>,
    lanes: Vec<Lane>,
}

#[derive(Clone)]
struct Object {
    lane: usize,
    latest: State,
    /// Digests of all versions since the last recovery; the first one was durable then.
    versions: Vec<u64>,
}

#[derive(Clone, Default)]
struct Lane {
    /// Objects whose turns were applied, in that order.
    turns: Vec<usize>,
    /// The number of those turns that are visible.
    told: usize,
}

/// A place in a lane: what is true of it is true of everything before it as well.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    lane: usize,
    turns: usize,
}

impl Model {
    /// Creates a model of objects that do not exist yet, in these lanes.
    pub fn new(lanes: &[usize]) -> Self {
        let count = lanes.iter().max().map_or(0, |last| last + 1);
        let object = |lane: &usize| Object { lane: *lane, latest: State::default(), versions: Vec::new() };
        let mut model =
            Self { objects: lanes.iter().map(object).collect(), lanes: (0..count).map(|_| Lane::default()).collect() };
        model.settle(vec![State::default(); lanes.len()]);
        model
    }

    /// Returns the state of an object as the process sees it.
    pub fn latest(&self, object: usize) -> &State {
        &self.objects[object].latest
    }

    /// Records that a turn was applied.
    pub fn applied(&mut self, object: usize, state: State) {
        let Object { lane, latest, versions } = &mut self.objects[object];
        versions.push(state.digest());
        *latest = state;
        self.lanes[*lane].turns.push(object);
    }

    /// Returns the place that becomes visible with an answer about the object now.
    pub fn place(&self, object: usize) -> Place {
        let lane = self.objects[object].lane;
        let last = self.lanes[lane].turns.iter().rposition(|turn| *turn == object);
        Place { lane, turns: last.map_or(0, |last| last + 1) }
    }

    /// Marks a place as visible.
    pub fn told(&mut self, place: Place) {
        let told = &mut self.lanes[place.lane].told;
        *told = place.turns.max(*told);
    }

    /// Checks a read of the running process.
    pub fn reads(&self, object: usize, seen: State) -> Result<(), Violation> {
        let expected = self.latest(object);
        if seen == *expected {
            return Ok(());
        }
        Err(Violation::Reads { object, seen: Box::new(seen), expected: Box::new(expected.clone()) })
    }

    /// Checks what a crash has left of all objects. From then on it counts as visible.
    pub fn recovered(&mut self, seen: Vec<State>) -> Result<(), Violation> {
        let digests: Vec<u64> = seen.iter().map(State::digest).collect();
        for lane in 0..self.lanes.len() {
            self.check_lane(lane, &digests, &seen)?;
        }
        self.settle(seen);
        Ok(())
    }

    fn check_lane(&self, lane: usize, digests: &[u64], seen: &[State]) -> Result<(), Violation> {
        let Lane { turns, told } = &self.lanes[lane];
        let of_lane: Vec<usize> = (0..self.objects.len()).filter(|object| self.objects[*object].lane == lane).collect();
        if let Some(object) =
            of_lane.iter().find(|object| !self.objects[**object].versions.contains(&digests[**object]))
        {
            return Err(Violation::NeverWas { object: *object, seen: seen[*object].clone() });
        }
        let matches = |place: &usize| {
            let before = |object: usize| turns[..*place].iter().filter(|turn| **turn == object).count();
            of_lane.iter().all(|object| self.objects[*object].versions[before(*object)] == digests[*object])
        };
        match (0..=turns.len()).rev().find(matches) {
            Some(place) if place >= *told => Ok(()),
            Some(place) => Err(Violation::Lost { lane, place, turns: turns.len(), told: *told }),
            None => Err(Violation::NotAPrefix { lane }),
        }
    }

    fn settle(&mut self, states: Vec<State>) {
        for (object, state) in self.objects.iter_mut().zip(states) {
            object.versions = vec![state.digest()];
            object.latest = state;
        }
        self.lanes.iter_mut().for_each(|lane| *lane = Lane::default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(value: u8) -> State {
        State { keys: BTreeMap::from([("key".into(), vec![value])]), ..State::default() }
    }

    /// Creates two objects in one lane: a1, b1, a2 (visible), b2.
    fn model() -> Model {
        let mut model = Model::new(&[0, 0]);
        model.applied(0, state(1));
        model.applied(1, state(1));
        model.applied(0, state(2));
        model.told(model.place(0));
        model.applied(1, state(2));
        model
    }

    #[test]
    fn what_may_come_back_is_accepted() {
        assert!(model().recovered(vec![state(2), state(1)]).is_ok(), "b2 was not visible");
        assert!(model().recovered(vec![state(2), state(2)]).is_ok());
        let mut model = model();
        model.recovered(vec![state(2), state(1)]).unwrap();
        assert!(model.reads(1, state(1)).is_ok());
        assert!(model.recovered(vec![state(2), state(1)]).is_ok(), "and again");
        assert!(model.recovered(vec![state(1), state(1)]).is_err(), "what was recovered once is recovered again");
    }

    #[test]
    fn everything_else_is_found() {
        let back = |states: [State; 2]| model().recovered(states.into());
        assert!(matches!(back([state(1), state(1)]), Err(Violation::Lost { place: 2, told: 3, .. })));
        assert!(matches!(back([State::default(), state(1)]), Err(Violation::NotAPrefix { lane: 0 })));
        assert!(matches!(back([state(1), state(2)]), Err(Violation::NotAPrefix { lane: 0 })));
        assert!(matches!(back([state(3), state(2)]), Err(Violation::NeverWas { object: 0, .. })));
        assert!(matches!(model().reads(0, state(1)), Err(Violation::Reads { .. })));
    }
}
