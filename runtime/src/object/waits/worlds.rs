//! Random worlds of objects that call one another, against an oracle that knows all waits.
//!
//! Each object has a mailbox and runs one turn at a time, whose script is a list of objects to call. An answer ends its
//! caller's wait when it is sent, and the caller goes on some time later, as in the host. What must hold: every world
//! comes to an end (nobody hangs), and a call is refused only if the oracle says that it would never end.

use std::collections::VecDeque;
use std::sync::Arc;

use super::tests::object;
use super::{Wait, Waits};
use crate::base::{Env, ObjectAddress};

/// Worlds of an ordinary run.
const WORLDS: u64 = 400;

/// What is seeded into a world, to see that the check can fail.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    /// No wait is refused.
    NoGraph,
    /// The caller's wait ends when the caller goes on, not when the answer is sent.
    LateEnd,
}

struct Dice(Env);

impl Dice {
    fn below(&self, limit: usize) -> usize {
        (u64::from_le_bytes(self.0.random()) % limit as u64) as usize
    }
}

/// A call in a mailbox: its caller, unless it is from outside.
struct Queued(Option<usize>);

#[derive(Default)]
struct Actor {
    mailbox: VecDeque<Queued>,
    turn: Option<Turn>,
    /// The object whose answer it waits for, as long as that has not sent it.
    awaits: Option<usize>,
}

struct Turn {
    caller: Option<usize>,
    script: Vec<usize>,
    /// The edge, as the ticket of the call holds it.
    wait: Option<Wait>,
    /// The turn has made a call and has not gone on.
    suspended: bool,
}

struct World {
    actors: Vec<Actor>,
    addresses: Vec<Arc<ObjectAddress>>,
    waits: Arc<Waits>,
    dice: Dice,
    fault: Fault,
    roots: usize,
    /// Calls that may still be made, so that a world comes to an end.
    budget: usize,
    made: u64,
    refused: u64,
    wrong: u64,
}

impl World {
    fn new(seed: u64, fault: Fault) -> Self {
        let dice = Dice(Env::manual(seed).0);
        let count = 2 + dice.below(7);
        let addresses = (0..count).map(|number| object(&number.to_string())).collect();
        let actors = (0..count).map(|_| Actor::default()).collect();
        let roots = 4 + dice.below(12);
        let (waits, budget) = (Arc::default(), 100);
        Self { actors, addresses, waits, dice, fault, roots, budget, made: 0, refused: 0, wrong: 0 }
    }

    /// Returns whether the wait of `from` for `to` would never end, from what each object really waits for.
    fn never_ends(&self, from: usize, to: usize) -> bool {
        let mut at = Some(to);
        // As many steps as there are objects: where nothing is refused there are circles beside the way.
        for _ in 0..=self.actors.len() {
            match at {
                Some(number) if number == from => return true,
                Some(number) => at = self.actors[number].awaits,
                None => return false,
            }
        }
        true
    }

    /// Returns the objects that can do something.
    fn able(&self) -> Vec<usize> {
        let is_able = |actor: &Actor| match &actor.turn {
            Some(_) => actor.awaits.is_none(),
            None => !actor.mailbox.is_empty(),
        };
        (0..self.actors.len()).filter(|number| is_able(&self.actors[*number])).collect()
    }

    /// Runs until nobody can do anything. Returns whether everything that began has ended.
    fn run(&mut self) -> bool {
        loop {
            if self.roots > 0 && self.dice.below(3) == 0 {
                self.roots -= 1;
                let target = self.dice.below(self.actors.len());
                self.actors[target].mailbox.push_back(Queued(None));
            }
            let able = self.able();
            match able.len() {
                0 if self.roots == 0 => break,
                0 => {}
                some => self.step(able[self.dice.below(some)]),
            }
        }
        self.actors.iter().all(|actor| actor.turn.is_none() && actor.mailbox.is_empty())
    }

    fn step(&mut self, number: usize) {
        let Some(mut turn) = self.actors[number].turn.take() else {
            let Some(Queued(caller)) = self.actors[number].mailbox.pop_front() else { return };
            let calls = self.dice.below(4).min(self.budget);
            self.budget -= calls;
            let script = (0..calls).map(|_| self.dice.below(self.actors.len())).collect();
            self.actors[number].turn = Some(Turn { caller, script, wait: None, suspended: false });
            return;
        };
        if std::mem::take(&mut turn.suspended) {
            turn.wait = None;
        }
        let Some(target) = turn.script.pop() else { return self.end(turn) };
        let never_ends = self.never_ends(number, target);
        match self.waits.begin(&self.addresses[number], &self.addresses[target]) {
            Err(_) if self.fault != Fault::NoGraph => {
                self.refused += 1;
                self.wrong += u64::from(!never_ends);
            }
            begun => {
                (turn.wait, turn.suspended) = (begun.ok(), true);
                self.made += 1;
                self.actors[number].awaits = Some(target);
                self.actors[target].mailbox.push_back(Queued(Some(number)));
            }
        }
        self.actors[number].turn = Some(turn);
    }

    /// Ends a turn: sends its answer.
    fn end(&mut self, turn: Turn) {
        let Some(caller) = turn.caller else { return };
        self.actors[caller].awaits = None;
        if self.fault != Fault::LateEnd
            && let Some(waiting) = &mut self.actors[caller].turn
        {
            waiting.wait = None;
        }
    }
}

fn worlds(count: u64, first: u64) -> (u64, u64) {
    let (mut made, mut refused) = (0, 0);
    for seed in first..first + count {
        let mut world = World::new(seed, Fault::None);
        assert!(world.run(), "the world {seed} hangs");
        assert_eq!(world.wrong, 0, "the world {seed} has refused a call that would have ended");
        assert_eq!(world.waits.count(), 0, "the world {seed} leaves waits");
        (made, refused) = (made + world.made, refused + world.refused);
    }
    (made, refused)
}

#[test]
fn no_world_hangs_and_no_call_is_refused_that_would_end() {
    let (made, refused) = worlds(WORLDS, 1);
    assert!(made > 10 * WORLDS && refused > WORLDS, "{made} calls made, {refused} refused");
}

#[test]
fn the_check_finds_a_host_without_a_graph_and_one_that_ends_waits_late() {
    let hang = (1..=50).filter(|seed| !World::new(*seed, Fault::NoGraph).run()).count();
    assert!(hang > 25, "{hang} of 50 worlds hang");
    let wrong: u64 = (1..=50)
        .map(|seed| {
            let mut world = World::new(seed, Fault::LateEnd);
            world.run();
            world.wrong
        })
        .sum();
    assert!(wrong > 0);
}

/// `cargo test --release --lib -- --ignored a_hundred_thousand_worlds --nocapture`
#[test]
#[ignore = "takes a minute"]
fn a_hundred_thousand_worlds() {
    let (made, refused) = worlds(100_000, 1_000_000);
    eprintln!("{made} calls made, {refused} refused");
}
