//! Replays the commit log as events about objects, in its order: whole turns, and removed classes.

use super::StorageError;
use super::catalog::Change;
use super::commit_log::{At, Lane, LaneLog, LogError, Lsn, Record, TurnHead, Whole};
use crate::base::{ClassKey, ObjectId, ObjectName};

/// What one or more records say together.
#[expect(clippy::large_enum_variant, reason = "one at a time, while the log is replayed")]
pub(super) enum ReplayEvent<'a> {
    /// A turn was applied.
    Turn {
        id: ObjectId,
        /// Of the last part.
        head: TurnHead<'a>,
        /// Where its parts are that are not trimmed.
        parts: Vec<At>,
    },
    /// Every object of the class in this lane is gone.
    ClassRemoved(&'a str),
}

/// Replays everything that no flushed file holds yet.
pub(super) fn replay(
    log: &dyn LaneLog,
    mut tell: impl FnMut(Lane, Lsn, ReplayEvent<'_>) -> Result<(), StorageError>,
) -> Result<(), StorageError> {
    let mut whole = Whole::default();
    let visited = log.replay(&mut |entry| {
        let parts = whole.next(&entry).map_err(|damage| LogError::Visitor(Box::new(damage)))?;
        let Some(parts) = parts else { return Ok(()) };
        let event = match entry.record {
            Record::Turn(turn) => {
                let parts = parts.iter().map(|part| part.at).chain([entry.at]).collect();
                ReplayEvent::Turn { id: ObjectId::from_bytes(turn.head.id), head: turn.head, parts }
            }
            Record::ClassRemoved { class } => ReplayEvent::ClassRemoved(class),
            Record::Open(_) | Record::Trim { .. } | Record::Noop => return Ok(()),
        };
        tell(entry.lane, entry.lsn, event).map_err(|error| LogError::Visitor(Box::new(error)))
    });
    Ok(visited?)
}

impl ReplayEvent<'_> {
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
                alarm: head.alarms.map(|alarms| alarms.change()),
            },
        }
    }
}
