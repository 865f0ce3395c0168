//! Positions in the list of objects: its order, its cursors and its ranges.
//!
//! The order is by name, then by id; objects without a name come last. A cursor is a position as text, so it keeps its
//! meaning whatever changes in the list: the list continues after that name and id.

use std::fmt;

use super::CatalogEntry;
use crate::base::{Alarm, ObjectId, ObjectName};
use crate::storage::StorageError;
use crate::storage::key_range::past_prefix;

/// A position in the list: that of an object, or one between objects.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::storage) struct Position {
    unnamed: bool,
    name: String,
    /// 32 bytes, or none for the position before every object of the name.
    pub id: Vec<u8>,
}

/// The end of a range; exclusive.
pub(super) enum Until {
    Name(String),
    /// The first object without a name.
    Unnamed,
    End,
}

/// A range of the list.
pub(super) struct Range {
    /// Exclusive.
    pub after: Position,
    pub until: Until,
}

impl Position {
    pub fn new(name: Option<&ObjectName>, id: &ObjectId) -> Self {
        Self { unnamed: name.is_none(), name: name.map_or("", ObjectName::as_str).into(), id: id.as_bytes().to_vec() }
    }

    fn before(name: &str) -> Self {
        Self { unnamed: false, name: name.into(), id: Vec::new() }
    }

    pub fn parse(cursor: &str) -> Option<Self> {
        let (id, name) = cursor.split_once('-')?;
        let name = String::from_utf8(hex::decode(name).ok()?).ok()?;
        Some(Self { unnamed: name.is_empty(), name, id: ObjectId::from_hex(id).ok()?.as_bytes().to_vec() })
    }

    pub fn name(&self) -> Option<&str> {
        (!self.unnamed).then_some(&self.name)
    }

    pub fn entry(self, bytes: u64, alarm: Option<Alarm>) -> CatalogEntry {
        let id = ObjectId::from_bytes(self.id.try_into().expect("the place of an object has its id"));
        CatalogEntry { id, name: ObjectName::parse(&self.name).ok(), bytes, alarm }
    }
}

/// Formats the cursor that continues after this position.
impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", hex::encode(&self.id), hex::encode(&self.name))
    }
}

impl Range {
    /// Creates the range of the objects whose names begin with `prefix` (an empty one is none), after `cursor`.
    pub fn new(prefix: Option<&str>, cursor: Option<&str>) -> Result<Self, StorageError> {
        let prefix = prefix.unwrap_or("");
        let first = Position::before(prefix);
        let after = match cursor {
            Some(cursor) => first.max(Position::parse(cursor).ok_or(StorageError::BadCursor)?),
            None => first,
        };
        let until = match past_prefix(prefix) {
            _ if prefix.is_empty() => Until::End,
            Some(past) => Until::Name(past),
            None => Until::Unnamed,
        };
        Ok(Self { after, until })
    }

    pub fn contains(&self, position: &Position) -> bool {
        let ended = match &self.until {
            Until::Name(name) => position.unnamed || position.name >= *name,
            Until::Unnamed => position.unnamed,
            Until::End => false,
        };
        *position > self.after && !ended
    }
}

/// An object's position, its bytes and its alarm.
pub(super) type Found = (Position, u64, Option<Alarm>);
