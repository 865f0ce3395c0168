//! SIGKILL at random moments under load.

use crate::dice::Dice;
use crate::world::World;

/// Crashes of one run.
const ROUNDS: u64 = 50;
/// At most so many acknowledgements before a crash.
const ACKNOWLEDGEMENTS: u64 = 300;
/// One stop in so many is a clean one.
const CLEAN: u64 = 10;

#[test]
fn every_acknowledged_write_is_there_once_and_in_order() {
    let mut dice = Dice::of_the_run("kills");
    let mut world = World::with_config("");
    for _ in 0..ROUNDS {
        crash(&mut world, &mut dice, ACKNOWLEDGEMENTS);
    }
    world.check_all();
}

/// For minutes, with more load between crashes: `cargo test --release --test crash -- --ignored for_minutes --nocapture`.
#[test]
#[ignore = "takes HOLDFAST_CRASH_ROUNDS (200) crashes of seconds each"]
fn for_minutes() {
    let rounds = std::env::var("HOLDFAST_CRASH_ROUNDS").map_or(200, |rounds| rounds.parse().expect("a number"));
    let mut dice = Dice::of_the_run("for_minutes");
    let (mut world, mut acknowledged) = (World::with_config(""), 0);
    for round in 1..=rounds {
        acknowledged += crash(&mut world, &mut dice, 20 * ACKNOWLEDGEMENTS);
        eprintln!("{round} of {rounds}: {} objects agree, {acknowledged} writes acknowledged", world.objects().len());
        // Whole lists are read after each crash, so they must not grow forever.
        if round % 25 == 0 {
            world.check_all();
            world = World::with_config("");
        }
    }
    world.check_all();
}

/// Load, an end in the middle of it, a start, and a look at what is there. Answers how many writes were acknowledged.
fn crash(world: &mut World, dice: &mut Dice, acknowledgements: u64) -> u64 {
    let wanted = dice.below(acknowledgements);
    let clean = dice.below(CLEAN) == 0;
    let mut told = false;
    let acknowledged = world.load(dice, |tally| {
        if !told && tally.acknowledged() >= wanted {
            told = true;
            if clean { world.host.begin_to_stop() } else { world.host.begin_to_die() }
        }
        false
    });
    world.host.end();
    world.host.restart();
    world.check();
    acknowledged
}
