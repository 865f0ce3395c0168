//! What the commit log says of objects, told in its order: whole turns, and classes that are gone.
//!
//! A large turn is several records; it counts only if the last one is there, and a process that opens the lane voids what
//! an earlier one left incomplete.

use std::collections::HashMap;

use super::StorageError;
use super::catalog::Change;
use super::commit_log::{At, Entry, Lane, LaneLog, LogError, Lsn, Record, TurnHead};
use crate::base::{ClassKey, ObjectId, ObjectName};

/// What one or more records say together.
pub(super) enum Said<'a> {
    /// A turn was applied.
    Turn {
        id: ObjectId,
        /// Of the last part.
        head: TurnHead<'a>,
        /// Where all its parts are.
        parts: Vec<At>,
    },
    /// Every object of the class in this lane is gone.
    ClassRemoved(&'a str),
}

/// Tells everything that no flushed file holds yet.
pub(super) fn replay(
    log: &dyn LaneLog,
    mut tell: impl FnMut(Lane, Lsn, Said<'_>) -> Result<(), StorageError>,
) -> Result<(), StorageError> {
    let mut unfinished: HashMap<ObjectId, (Lane, Vec<At>)> = HashMap::new();
    let mut failed = None;
    let replayed = log.replay(&mut |Entry { lane, lsn, at, record }| {
        let said = match record {
            Record::Turn(turn) => {
                let (id, head) = (ObjectId::from_bytes(turn.head.id), turn.head);
                let (_, parts) = unfinished.entry(id).or_insert_with(|| (lane, Vec::new()));
                if parts.len() != head.part as usize {
                    return Err(LogError::unexpected(at, "a turn lacks one of its parts"));
                }
                parts.push(at);
                if !head.last {
                    return Ok(());
                }
                let (_, parts) = unfinished.remove(&id).expect("put in above");
                Said::Turn { id, head, parts }
            }
            Record::ClassRemoved { class } => Said::ClassRemoved(class),
            Record::Open(_) => {
                unfinished.retain(|_, (of, _)| *of != lane);
                return Ok(());
            }
            Record::Release { .. } => return Ok(()),
        };
        tell(lane, lsn, said).map_err(|error| {
            failed = Some(error);
            LogError::Stopped
        })
    });
    match failed {
        Some(error) => Err(error),
        None => Ok(replayed?),
    }
}

impl Said<'_> {
    /// What it changes in the list of objects.
    pub fn change(&self) -> Change {
        match self {
            Self::ClassRemoved(class) => Change::ClassGone { class: ClassKey::new(class) },
            Self::Turn { id, head, .. } if head.deleted => Change::Gone { class: ClassKey::new(head.class), id: *id },
            Self::Turn { id, head, .. } => Change::Object {
                class: ClassKey::new(head.class),
                id: *id,
                name: head.name.and_then(|name| ObjectName::parse(name).ok()),
                bytes: head.bytes,
            },
        }
    }
}
