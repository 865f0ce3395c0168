//! The knowledge of the clients: which writes were requested, acknowledged or refused, and whether an object's list
//! agrees.
//!
//! Pure: no host, no clock. Invariants of each object, whatever happens to the process:
//! - an acknowledged entry is there, once, at the position of the acknowledgement;
//! - entries that were listed once stay unchanged: a list only grows at its end;
//! - no entry is there that was refused or never requested; an entry without an answer is there once or not at all;
//! - the entries of one client are in the order in which it sent them;
//! - the list has at least as many entries as any answer reported.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

/// One write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// The client that sent it; one number for each client of each round.
    pub client: u64,
    /// From 1, for each client.
    pub sequence: u64,
    /// Size of the filler, in bytes.
    pub length: u64,
    pub checksum: u64,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} ({} bytes, {:08x})", self.client, self.sequence, self.length, self.checksum)
    }
}

/// How an object disagrees with the ledger.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    #[error("lost: {entry} at {position}")]
    Lost { entry: Entry, position: u64 },
    #[error("moved: {entry} from {position} to {seen}")]
    Moved { entry: Entry, position: u64, seen: u64 },
    #[error("there {times} times: {entry}")]
    Repeated { entry: Entry, times: usize },
    #[error("there though it was refused or nobody asked for it: {entry} at {position}")]
    Invented { entry: Entry, position: u64 },
    #[error("out of order: {later} stands before {earlier}")]
    OutOfOrder { earlier: Entry, later: Entry },
    #[error("a client has received {told} entries, and there are {seen}")]
    Fewer { told: u64, seen: u64 },
}

/// The expected contents of all objects, by name.
#[derive(Default)]
pub struct Ledger(BTreeMap<String, Account>);

/// The expected contents of one object.
#[derive(Default)]
struct Account {
    /// The list as it was found after the last crash.
    settled: Vec<Entry>,
    /// Acknowledged since, by position from 1.
    acknowledged: BTreeMap<u64, Entry>,
    /// Sent, without an answer.
    unanswered: Vec<Entry>,
    /// The greatest number of entries that an answer reported.
    told: u64,
}

impl Ledger {
    /// Notes that an entry is about to be sent.
    pub fn sent(&mut self, object: &str, entry: Entry) {
        self.0.entry(object.into()).or_default().unanswered.push(entry);
    }

    /// Notes the answer that the entry is at this position.
    pub fn acknowledged(&mut self, object: &str, entry: Entry, position: u64) {
        let account = self.refuse(object, entry);
        account.told = account.told.max(position);
        let other = account.acknowledged.insert(position, entry);
        assert!(other.is_none(), "{object}: {entry} and {} were both given position {position}", other.unwrap());
    }

    /// Notes the answer that the entry was refused.
    pub fn refused(&mut self, object: &str, entry: Entry) {
        self.refuse(object, entry);
    }

    fn refuse(&mut self, object: &str, entry: Entry) -> &mut Account {
        let account = self.0.get_mut(object).expect("it was sent");
        account.unanswered.retain(|unanswered| *unanswered != entry);
        account
    }

    /// Notes that the entries without an answer were not applied.
    pub fn refuse_unanswered(&mut self) {
        self.0.values_mut().for_each(|account| account.unanswered.clear());
    }

    /// Notes the answer that there are this many entries.
    pub fn told(&mut self, object: &str, count: u64) {
        let told = &mut self.0.entry(object.into()).or_default().told;
        *told = count.max(*told);
    }

    /// Returns the objects that changed since they were last [settled](Self::settle).
    pub fn unsettled(&self) -> Vec<String> {
        let moved = |account: &Account| !account.acknowledged.is_empty() || !account.unanswered.is_empty();
        self.0.iter().filter(|(_, account)| moved(account)).map(|(name, _)| name.clone()).collect()
    }

    /// Returns all objects.
    pub fn objects(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    /// Compares an object's list with its expected contents.
    pub fn check(&self, object: &str, seen: &[Entry]) -> Vec<Violation> {
        self.0.get(object).map(|account| account.check(seen)).unwrap_or_default()
    }

    /// Takes an object's list as its expected contents. No request may be in progress.
    pub fn settle(&mut self, object: &str, seen: Vec<Entry>) {
        let told = seen.len() as u64;
        self.0.insert(object.into(), Account { settled: seen, told, ..Account::default() });
    }
}

impl Account {
    fn check(&self, seen: &[Entry]) -> Vec<Violation> {
        let mut places: HashMap<Entry, Vec<u64>> = HashMap::new();
        for (position, entry) in (1..).zip(seen) {
            places.entry(*entry).or_default().push(position);
        }
        let mut violations = Vec::new();
        for (position, entry) in self.known() {
            match places.get(&entry).map(Vec::as_slice) {
                None => violations.push(Violation::Lost { entry, position }),
                Some(places) if places.contains(&position) => {}
                Some(places) => violations.push(Violation::Moved { entry, position, seen: places[0] }),
            }
        }
        let known: HashMap<Entry, u64> = self.known().map(|(position, entry)| (entry, position)).collect();
        let mut last_of_client: HashMap<u64, Entry> = HashMap::new();
        for (position, entry) in (1..).zip(seen) {
            let of_entry = &places[entry];
            if of_entry[0] == position && of_entry.len() > 1 {
                violations.push(Violation::Repeated { entry: *entry, times: of_entry.len() });
            }
            if !known.contains_key(entry) && !self.unanswered.contains(entry) {
                violations.push(Violation::Invented { entry: *entry, position });
            }
            let last = last_of_client.insert(entry.client, *entry);
            if let Some(later) = last.filter(|last| last.sequence > entry.sequence) {
                violations.push(Violation::OutOfOrder { earlier: *entry, later });
            }
        }
        if self.told > seen.len() as u64 {
            violations.push(Violation::Fewer { told: self.told, seen: seen.len() as u64 });
        }
        violations
    }

    /// Returns every entry that must be there, with its position.
    fn known(&self) -> impl Iterator<Item = (u64, Entry)> {
        let acknowledged = self.acknowledged.iter().map(|(position, entry)| (*position, *entry));
        (1..).zip(self.settled.iter().copied()).chain(acknowledged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OBJECT: &str = "account";

    fn entry(client: u64, sequence: u64) -> Entry {
        Entry { client, sequence, length: 10, checksum: client * 1000 + sequence }
    }

    /// Returns a ledger. Settled: a, b. Acknowledged: c at 3, e at 5. No answer: d, f. Refused: g.
    fn ledger() -> (Ledger, [Entry; 7]) {
        let entries = [entry(1, 1), entry(2, 1), entry(1, 2), entry(2, 2), entry(3, 1), entry(4, 1), entry(5, 1)];
        let [a, b, c, d, e, f, g] = entries;
        let mut ledger = Ledger::default();
        ledger.settle(OBJECT, vec![a, b]);
        for entry in [c, d, e, f, g] {
            ledger.sent(OBJECT, entry);
        }
        ledger.acknowledged(OBJECT, c, 3);
        ledger.acknowledged(OBJECT, e, 5);
        ledger.refused(OBJECT, g);
        (ledger, entries)
    }

    #[test]
    fn what_may_be_is_accepted() {
        let (ledger, [a, b, c, d, e, f, _]) = ledger();
        assert_eq!(ledger.check(OBJECT, &[a, b, c, d, e]), []);
        assert_eq!(ledger.check(OBJECT, &[a, b, c, f, e]), [], "either of those without an answer may be there");
        assert_eq!(ledger.check(OBJECT, &[a, b, c, d, e, f]), []);
        assert_eq!(ledger.unsettled(), [OBJECT]);
    }

    #[test]
    fn a_lost_write_is_found() {
        let (ledger, [a, b, c, d, e, f, _]) = ledger();
        let (lost, fewer) = (Violation::Lost { entry: e, position: 5 }, Violation::Fewer { told: 5, seen: 4 });
        assert_eq!(ledger.check(OBJECT, &[a, b, c, d]), [lost, fewer]);
        assert_eq!(ledger.check(OBJECT, &[a, b, c, d, f])[0], Violation::Lost { entry: e, position: 5 });
        assert_eq!(
            ledger.check(OBJECT, &[f, b, c, d, e])[0],
            Violation::Lost { entry: a, position: 1 },
            "settled ones too"
        );
        let altered = Entry { checksum: 0, ..c };
        let (lost, invented) =
            (Violation::Lost { entry: c, position: 3 }, Violation::Invented { entry: altered, position: 3 });
        assert_eq!(ledger.check(OBJECT, &[a, b, altered, d, e]), [lost, invented]);
    }

    #[test]
    fn a_repeated_write_is_found() {
        let (ledger, [a, b, c, d, e, f, _]) = ledger();
        assert_eq!(ledger.check(OBJECT, &[a, b, c, d, e, e]), [Violation::Repeated { entry: e, times: 2 }]);
        assert_eq!(
            ledger.check(OBJECT, &[a, b, c, f, e, f]),
            [Violation::Repeated { entry: f, times: 2 }],
            "unanswered"
        );
    }

    #[test]
    fn a_moved_write_is_found() {
        let (ledger, [a, b, c, d, e, _, _]) = ledger();
        let moved = |entry, position, seen| Violation::Moved { entry, position, seen };
        assert_eq!(ledger.check(OBJECT, &[a, b, c, e, d]), [moved(e, 5, 4)]);
        let out_of_order = Violation::OutOfOrder { earlier: a, later: c };
        assert_eq!(ledger.check(OBJECT, &[c, b, a, d, e]), [moved(a, 1, 3), moved(c, 3, 1), out_of_order]);
    }

    #[test]
    fn what_nobody_may_see_is_found() {
        let (ledger, [a, b, c, d, e, _, g]) = ledger();
        assert_eq!(
            ledger.check(OBJECT, &[a, b, c, d, e, g]),
            [Violation::Invented { entry: g, position: 6 }],
            "refused"
        );
        let stranger = entry(9, 9);
        assert_eq!(
            ledger.check(OBJECT, &[a, b, c, stranger, e]),
            [Violation::Invented { entry: stranger, position: 4 }]
        );
    }

    #[test]
    fn what_somebody_was_told_is_held_to() {
        let (mut ledger, [a, b, c, d, e, ..]) = ledger();
        ledger.told(OBJECT, 6);
        assert_eq!(ledger.check(OBJECT, &[a, b, c, d, e]), [Violation::Fewer { told: 6, seen: 5 }]);
        ledger.settle(OBJECT, vec![a, b, c, d, e]);
        assert_eq!(ledger.unsettled(), Vec::<String>::new());
        assert_eq!(ledger.check(OBJECT, &[a, b, c, e, d]).len(), 2, "what was listed once stays");
    }
}
