//! Turns that became whole: a turn of several parts counts only when its last part is there.
//!
//! Owns which parts wait for their last one during a replay. Keeps places, not bytes. What must stay true: an OPEN
//! voids what the process before it left incomplete in its lane, and nothing else does.

use std::collections::HashMap;

use super::reader::Damage;
use super::record::Record;
use super::{At, Entry, Lane, Lsn};
#[cfg(test)]
use crate::base::seeded_bugs::{self, SeededBug};

/// A part that was held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its position.
    pub lsn: Lsn,
    /// Where it is, for [`super::LaneLog::fetch`].
    pub at: At,
}

/// Filters what [`super::LaneLog::replay`] shows.
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
    /// Takes the next entry. `None`: it is a part whose last one has not come. `Some`: it counts, after these parts of
    /// the same turn that came before it (none for all other entries). Parts that were trimmed are not among them: what
    /// they say is in the object's file.
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
