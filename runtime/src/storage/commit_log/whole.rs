//! Turns of several parts: such a turn counts only if its last part is there.
//!
//! Owns the parts that wait for their last one during a replay: their places, not their bytes. Invariant: an OPEN voids
//! the incomplete turns that the process before it left in its lane, and nothing else does.

use std::collections::HashMap;

use super::reader::Damage;
use super::record::Record;
use super::{At, Entry, Lane, Lsn};
#[cfg(test)]
use crate::base::seeded_bugs::{self, SeededBug};

/// A part that waited for the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its position.
    pub lsn: Lsn,
    /// Its place, for [`super::LaneLog::fetch`].
    pub at: At,
}

/// A filter of the entries that [`super::LaneLog::replay`] visits.
#[derive(Debug, Default)]
pub struct Whole {
    waiting: HashMap<(Lane, [u8; 32]), Waiting>,
}

#[derive(Debug)]
struct Waiting {
    next: u32,
    parts: Vec<Part>,
}

impl Whole {
    /// Takes the next entry. Returns `None` for a part whose turn is not complete yet. Returns `Some` if the entry
    /// counts, with the earlier parts of its turn (none for all other entries). Trimmed parts are not among them: their
    /// pages are in the object's file.
    pub fn next(&mut self, entry: &Entry<'_>) -> Result<Option<Vec<Part>>, Damage> {
        let head = match &entry.record {
            Record::Turn(turn) => &turn.head,
            Record::Open(_) => {
                self.waiting.retain(|(lane, _), _| *lane != entry.lane);
                return Ok(Some(Vec::new()));
            }
            _ => return Ok(Some(Vec::new())),
        };
        let key = (entry.lane, head.id);
        let mut turn = self.waiting.remove(&key).unwrap_or(Waiting { next: head.part, parts: Vec::new() });
        if turn.next != head.part {
            return Err(Damage("the parts of a turn do not follow each other"));
        }
        if head.last {
            return Ok(Some(turn.parts));
        }
        #[cfg(test)]
        let counts = seeded_bugs::is_planted(SeededBug::IncompleteParts).then(|| turn.parts.clone());
        #[cfg(not(test))]
        let counts = None;
        turn.next += 1;
        turn.parts.push(Part { lsn: entry.lsn, at: entry.at });
        self.waiting.insert(key, turn);
        Ok(counts)
    }
}
