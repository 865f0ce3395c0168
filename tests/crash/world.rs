//! A host with the guest `ledger`, its clients, and the ledger that they keep.
//!
//! Clients write before they know how it will end: each entry is in the ledger before its request leaves. They take every
//! answer for the truth, failures and plain counts as well: each answer that depends on data must be as durable as an acknowledgement.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use ureq::http::Method;

use crate::dice::Dice;
use crate::harness::{Answer, Client, Host, eventually, guest};
use crate::ledger::{Entry, Ledger};

/// Objects that all clients write to; besides them, each write in [`FRESH`] makes an object of its own.
const SHARED_OBJECTS: u64 = 24;
const FRESH: u64 = 40;
/// Clients that write at the same time.
const CLIENTS: usize = 8;

/// A host and what is known of its objects.
pub struct World {
    pub host: Host,
    ledger: Mutex<Ledger>,
    next_client: AtomicU64,
}

/// What the clients of one load have heard.
#[derive(Default)]
pub struct Tally {
    acknowledged: AtomicU64,
    full: AtomicU64,
}

impl Tally {
    /// Writes that were acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Writes that found the disk full.
    pub fn full(&self) -> u64 {
        self.full.load(Ordering::Relaxed)
    }
}

impl World {
    /// A host with these lines in its `holdfast.toml`, after what the ledger needs.
    pub fn with_config(lines: &str) -> Self {
        let config = format!("[server]\nerror-details = true\n\n[limits]\nlive-instances = 32\n{lines}\n");
        Self::of(Host::with_config(&config))
    }

    /// The world of a host, which shows error details.
    pub fn of(host: Host) -> Self {
        host.deploy("ledger", guest("ledger"));
        Self { host, ledger: Mutex::default(), next_client: AtomicU64::new(1) }
    }

    /// Clients write until `enough` says so, or until the host has gone. Returns when the last of them has ended, and answers
    /// how many writes were acknowledged.
    pub fn load(&self, dice: &mut Dice, mut enough: impl FnMut(&Tally) -> bool) -> u64 {
        let (stop, tally) = (AtomicBool::new(false), Tally::default());
        std::thread::scope(|scope| {
            let (stop, tally) = (&stop, &tally);
            let clients = (0..CLIENTS).map(|_| self.writer(dice.fork(), tally));
            let running: Vec<_> = clients.map(|client| scope.spawn(move || client.run(stop))).collect();
            // Clients must end when this thread gives up, or the scope would wait for them forever.
            let _stopped = Stop(stop);
            eventually("the load to have its effect", || {
                let gone = running.iter().all(|client| client.is_finished());
                (gone || enough(tally)).then_some(())
            });
        });
        tally.acknowledged()
    }

    /// A client of its own number.
    pub fn writer<'a>(&'a self, dice: Dice, tally: &'a Tally) -> Writer<'a> {
        let number = self.next_client.fetch_add(1, Ordering::Relaxed);
        Writer { ledger: &self.ledger, client: self.host.data(), number, sequence: 0, dice, tally }
    }

    /// Fails unless all objects that anything happened to agree with the ledger, which then takes them as they are.
    pub fn check(&self) {
        let objects = self.ledger.lock().unsettled();
        self.check_these(&objects);
    }

    /// [`Self::check`] of all objects.
    pub fn check_all(&self) {
        let objects = self.objects();
        self.check_these(&objects);
    }

    /// All objects.
    pub fn objects(&self) -> Vec<String> {
        self.ledger.lock().objects()
    }

    /// Says that nothing came of the requests that got no answer; a check then fails if they are there.
    pub fn nothing_is_unanswered(&self) {
        self.ledger.lock().refuse_unanswered();
    }

    /// Deletes an object, which nobody writes to meanwhile, and knows that it has no entries.
    #[allow(dead_code, reason = "`tests/hostile/` uses it")]
    pub fn delete(&self, object: &str) {
        let answer = self.host.data().delete(&format!("/ledger/{object}"));
        assert_eq!(answer.status, 204, "{answer:?}");
        self.ledger.lock().settle(object, Vec::new());
    }

    fn check_these(&self, objects: &[String]) {
        for object in objects {
            let seen = self.list(object);
            let violations = self.ledger.lock().check(object, &seen);
            let told: Vec<_> = violations.iter().map(ToString::to_string).collect();
            assert!(told.is_empty(), "{object}:\n{}\nof {} entries", told.join("\n"), seen.len());
            self.ledger.lock().settle(object, seen);
        }
    }

    /// The entries of an object.
    pub fn list(&self, object: &str) -> Vec<Entry> {
        let listed = self.host.get(&format!("/ledger/{object}")).json();
        let entries = listed.as_array().expect("it is a list").iter().map(|entry| {
            let [client, sequence, length, checksum] =
                [0, 1, 2, 3].map(|member| entry[member].as_u64().expect("it is a number"));
            Entry { client, sequence, length, checksum }
        });
        entries.collect()
    }
}

/// Ends the clients when it goes out of scope.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The host did not answer.
#[derive(Debug)]
pub struct Gone;

/// One client.
pub struct Writer<'a> {
    ledger: &'a Mutex<Ledger>,
    client: &'a Client,
    number: u64,
    sequence: u64,
    dice: Dice,
    tally: &'a Tally,
}

impl Writer<'_> {
    fn run(mut self, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) && self.ask().is_ok() {}
    }

    /// One request, of any kind, to any object.
    fn ask(&mut self) -> Result<(), Gone> {
        let object = match self.dice.below(FRESH) {
            0 => format!("fresh-{}-{}", self.number, self.sequence),
            _ => format!("shared-{}", self.dice.below(SHARED_OBJECTS)),
        };
        match self.dice.below(100) {
            0..10 => self.count(&object),
            10..18 => self.write(&object, "?end=fail"),
            18..20 => self.write(&object, "?end=trap"),
            20..25 => self.write(&object, "?end=settle"),
            _ => self.write(&object, ""),
        }
    }

    fn count(&mut self, object: &str) -> Result<(), Gone> {
        let answer = self.send(Method::GET, &format!("/ledger/{object}/count"), b"")?;
        if answer.status == 200 {
            self.ledger.lock().told(object, answer.number());
        }
        Ok(())
    }

    /// Sends an entry and writes down what comes of it.
    pub fn write(&mut self, object: &str, end: &str) -> Result<(), Gone> {
        let length = match self.dice.below(100) {
            0 => self.dice.below(1_500_000),
            1..6 => self.dice.below(60_000),
            _ => self.dice.below(300),
        };
        let filler = self.dice.bytes(length);
        self.sequence += 1;
        let (client, sequence) = (self.number, self.sequence);
        let entry = Entry { client, sequence, length, checksum: checksum(&filler) };
        self.ledger.lock().sent(object, entry);
        let answer = self.send(Method::POST, &format!("/ledger/{object}/{client}/{sequence}{end}"), &filler)?;
        let mut ledger = self.ledger.lock();
        match heard(&answer) {
            Heard::Acknowledged(position) => {
                ledger.acknowledged(object, entry, position);
                self.tally.acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            Heard::Refused(told) => {
                ledger.refused(object, entry);
                ledger.told(object, told);
            }
            Heard::Full => {
                ledger.refused(object, entry);
                self.tally.full.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    fn send(&self, method: Method, path: &str, body: &[u8]) -> Result<Answer, Gone> {
        self.client.try_send(method, path, &[], body).map_err(|_| Gone)
    }
}

/// What an answer to a write says.
enum Heard {
    /// It is at this position, also when what the turn did afterwards failed.
    Acknowledged(u64),
    /// It was not taken; there were so many entries before.
    Refused(u64),
    /// There was no room for it.
    Full,
}

fn heard(answer: &Answer) -> Heard {
    if answer.status == 200 {
        return Heard::Acknowledged(answer.number());
    }
    let problem: serde_json::Value = serde_json::from_slice(&answer.body).expect("errors are JSON");
    let number =
        || problem["detail"].as_str().and_then(|detail| detail.parse().ok()).unwrap_or_else(|| panic!("{problem}"));
    let [code, of_guest] = ["code", "guest_code"].map(|member| problem[member].as_str().unwrap_or_default());
    match (answer.status, code, of_guest) {
        (500, "guest-error", "settled") => Heard::Acknowledged(number()),
        (500, "guest-error", "told-to-fail") => Heard::Refused(number()),
        (500, "guest-trap", _) | (503, ..) => Heard::Refused(0),
        (507, "storage-full", _) => Heard::Full,
        _ => panic!("a write was answered {} {problem}", answer.status),
    }
}

/// As the guest computes it: FNV-1a.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)).into()
}
