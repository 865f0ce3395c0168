//! An hour of random hostile tenants and clients beside clients that keep a ledger and alarms that must be delivered,
//! with SIGKILL each minute.
//!
//! What must stay true: every acknowledged write is there, once and in order; every acknowledged alarm has run, once;
//! ticking alarms continue to tick; only the kills end the process; its memory stays under its limit.

use std::fmt::Write as _;
use std::os::unix::process::ExitStatusExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::process::Signal;
use ureq::http::Method;

use crate::arena::Arena;
use crate::attack::{Attack, RESIDENT_MAX, chosen};
use crate::clients::CLIENTS;
use crate::clock::{Stop, StopAtEnd, now, pass};
use crate::dice::Dice;
use crate::harness::{Client, Host, within};
use crate::neighbour::{NEIGHBOUR, Neighbour};
use crate::process::Process;
use crate::tenants::TENANTS;
use crate::world::{Tally, World};

/// The configuration: as in the other tests, with turns so short that a minute has many.
const CONFIG: &str = "[server]\nerror-details = true\n\n[limits]\nlive-instance-bytes = 536_870_912\nhost-memory = 268_435_456\n\
                      memory-per-instance = 67_108_864\ncpu-seconds-per-turn = 2.0\nlive-instances = 600\n";
/// Time until the kill.
const ROUND: Duration = Duration::from_secs(55);
/// Attacks at once.
const ATTACKS: u64 = 3;
/// Clients that keep the ledger, objects that they write to, and what each waits between two writes.
const WRITERS: usize = 4;
const ACCOUNTS: u64 = 12;
const WRITE_EVERY: Duration = Duration::from_millis(15);
/// After this many rounds the objects are deleted and others are written to, because complete lists are read after each
/// kill.
const ROUNDS_OF_A_LIST: u64 = 5;
/// Between two alarms that are armed, the furthest of them in milliseconds, and how late one may be once the host is
/// quiet.
const ARM_EVERY: Duration = Duration::from_millis(300);
const ARMED_FOR_MS: u64 = 100_000;
const TOLERANCE: Duration = Duration::from_secs(180);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Runs for `HOLDFAST_HOSTILE_MINUTES`:
/// `HOLDFAST_HOSTILE_MINUTES=60 cargo test --release --test hostile -- --ignored the_hour --nocapture`.
/// `HOLDFAST_CRASH_SEED` repeats the choices.
#[test]
#[ignore = "takes HOLDFAST_HOSTILE_MINUTES (60)"]
fn the_hour() {
    let minutes: u64 =
        std::env::var("HOLDFAST_HOSTILE_MINUTES").map_or(60, |minutes| minutes.parse().expect("a number"));
    let mut hour = Hour::begin(Dice::of_the_run("the_hour"));
    let began = now();
    while began.elapsed() < Duration::from_secs(60 * minutes) {
        hour.round();
    }
    hour.world.check_all();
    eprintln!("{:.0} minutes: {}", began.elapsed().as_secs_f64() / 60.0, hour.told());
}

/// An alarm that the host has acknowledged.
struct Armed {
    object: String,
    due: Instant,
}

struct Hour {
    world: World,
    dice: Dice,
    rounds: u64,
    /// The number in the names of the objects that have the current lists.
    list: u64,
    acknowledged: u64,
    armed: Mutex<Vec<Armed>>,
    alarms_run: u64,
    most: u64,
    /// The neighbour's worst p99 of a round, by kind.
    worst: [Duration; 4],
}

impl Hour {
    fn begin(dice: Dice) -> Self {
        let world = World::of(Host::with_config(CONFIG));
        Neighbour::deploy(&world.host);
        let (armed, worst) = (Mutex::default(), Default::default());
        Self { world, dice, rounds: 0, list: 0, acknowledged: 0, armed, alarms_run: 0, most: 0, worst }
    }

    fn told(&self) -> String {
        let mut text = format!(
            "{} kills, {} writes acknowledged and none lost, {} alarms acknowledged, run once each; at most {} MiB of memory;\n\
             the neighbour's worst p99 of a minute:",
            self.rounds,
            self.acknowledged,
            self.alarms_run,
            self.most >> 20
        );
        for (kind, worst) in ["fetch", "add", "echo", "alarm"].iter().zip(self.worst) {
            let _ = write!(text, " {kind} {worst:.1?}");
        }
        text
    }

    /// Runs attacks, kills the host in the middle of them, and checks the data.
    fn round(&mut self) {
        let attacks: Vec<_> = (0..ATTACKS).map(|_| pick(&mut self.dice)).collect();
        let names: Vec<_> = attacks.iter().map(|attack| attack.name).collect();
        let began = now();
        let arena = Arena::of(&self.world.host, self.dice.below(2) == 0);
        let (neighbour, tally) = (Neighbour::start(self.world.host.data(), "n"), Tally::default());
        let (world, armed) = (&self.world, &self.armed);
        let (stop, dying) = (Stop::default(), AtomicBool::new(false));
        let (list, process) = (self.list, Process(world.host.process()));
        let dice: Vec<_> = (0..=WRITERS).map(|_| self.dice.fork()).collect();
        let felt = std::thread::scope(|scope| {
            let (stop, arena, tally, dying) = (&stop, &arena, &tally, &dying);
            let _stopped = StopAtEnd(stop);
            let mut dice = dice.into_iter();
            let of_alarms = dice.next().expect("there is one");
            for dice in dice {
                scope.spawn(move || write(world, dice, list, stop, tally));
            }
            scope.spawn(move || arm(world.host.data(), of_alarms, stop, dying, armed));
            for attack in attacks {
                scope.spawn(move || (attack.run)(arena, stop));
            }
            while began.elapsed() < ROUND {
                let resident = process.resident();
                assert_ne!(resident, 0, "{names:?}: the process has ended");
                self.most = self.most.max(resident);
                pass(LOOK_EVERY);
            }
            // The host is killed while all this runs; only the neighbour's measurements are taken before.
            let felt = neighbour.end();
            dying.store(true, Ordering::Relaxed);
            world.host.begin_to_die();
            felt
        });
        self.acknowledged += tally.acknowledged();
        let heard = arena.take_heard();
        let status = self.world.host.end();
        assert_eq!(status.signal(), Some(Signal::KILL.as_raw()), "{names:?}: {status}\n{}", self.world.host.log());
        self.rounds += 1;
        for (worst, (_, latencies)) in self.worst.iter_mut().zip(felt.kinds()) {
            *worst = latencies.p99().max(*worst);
        }
        let p99 = felt.kinds().map(|(kind, latencies)| format!("{kind} {:.1?}", latencies.p99())).join(", ");
        eprintln!("{} ({}): {p99}; {heard}", self.rounds, names.join(", "));
        assert_eq!(felt.wrong, Vec::<String>::new(), "{names:?}: the neighbour's answers");
        assert!(self.most <= RESIDENT_MAX, "{names:?}: {} MiB of memory", self.most >> 20);
        self.look();
        eprintln!("  {:.0} s: {}", began.elapsed().as_secs_f64(), self.told().replace('\n', " "));
    }

    /// Starts the host again and compares its data with the ledger.
    fn look(&mut self) {
        self.world.host.restart();
        self.world.check();
        self.alarms_came();
        self.tickers_tick();
        if self.rounds.is_multiple_of(ROUNDS_OF_A_LIST) {
            let ended = format!("list-{}-", self.list);
            self.world.check_all();
            self.world
                .objects()
                .iter()
                .filter(|object| object.starts_with(&ended))
                .for_each(|object| self.world.delete(object));
            self.list += 1;
        }
        let arena = Arena::of(&self.world.host, false);
        // A class whose turns compute for long is deleted once they have ended; until then the host answers that and
        // needs a retry.
        within(TOLERANCE, "the restless class to be removed", || arena.calm().then_some(()));
    }

    /// Checks that every due alarm has run, once.
    fn alarms_came(&mut self) {
        let due = |armed: &mut Armed| armed.due < now();
        let come: Vec<_> = self.armed.lock().extract_if(.., due).collect();
        for Armed { object, .. } in come {
            let runs = within(TOLERANCE, &format!("the alarm of {object}"), || {
                let ticks = self.world.host.get(&format!("/{NEIGHBOUR}/{object}/ticks")).json();
                let runs = ticks[0].as_u64().expect("it is a number");
                assert_eq!(ticks[1], 0, "{object}'s alarm was early");
                (runs > 0).then_some(runs)
            });
            assert_eq!(runs, 1, "{object}'s alarm");
            self.alarms_run += 1;
        }
    }

    /// Checks that alarms that ticked before the kill still tick.
    fn tickers_tick(&self) {
        let runs = |ticker| self.world.host.get(&format!("/{NEIGHBOUR}/n-tick-{ticker}/ticks")).json()[0].as_u64();
        let before: Vec<_> = (0..4).map(runs).collect();
        for (ticker, before) in before.into_iter().enumerate() {
            within(TOLERANCE, &format!("ticker {ticker}"), || (runs(ticker) > before).then_some(()));
        }
    }
}

fn pick(dice: &mut Dice) -> Attack {
    let all = [TENANTS, CLIENTS].concat();
    let chosen = chosen(&all);
    *chosen[dice.below(chosen.len() as u64) as usize]
}

/// Runs a client of the ledger, and a new one after each request without an answer.
fn write(world: &World, mut dice: Dice, list: u64, stop: &Stop, tally: &Tally) {
    while !stop.told() {
        let mut writer = world.writer(dice.fork(), tally);
        while !stop.pause(WRITE_EVERY) {
            let object = format!("list-{list}-{}", dice.below(ACCOUNTS));
            let end = ["?end=fail", "?end=trap", "?end=settle"].get(dice.below(20) as usize).copied().unwrap_or("");
            if writer.write(&object, end).is_err() {
                break;
            }
        }
    }
}

/// Arms alarms, each of an object of its own, and notes those that were acknowledged.
fn arm(client: &Client, mut dice: Dice, stop: &Stop, dying: &AtomicBool, armed: &Mutex<Vec<Armed>>) {
    while !stop.pause(ARM_EVERY) {
        let (object, wait) = (format!("once-{}", dice.below(u64::MAX)), dice.below(ARMED_FOR_MS));
        let path = format!("/{NEIGHBOUR}/{object}/once?in={wait}");
        match client.try_send(Method::POST, &path, &[], b"") {
            Ok(answer) if answer.status == 204 => {
                armed.lock().push(Armed { object, due: now() + Duration::from_millis(wait) });
            }
            Ok(answer) if answer.status == 503 => {}
            Ok(answer) => panic!("an alarm was answered {answer:?}"),
            Err(error) => assert!(dying.load(Ordering::Relaxed) || stop.told(), "an alarm got no answer: {error}"),
        }
    }
}
