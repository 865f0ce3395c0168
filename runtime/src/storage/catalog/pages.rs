//! The list's order, its cursors, and how the lanes' parts of it become one.
//!
//! Every lane is read in the order of the list, as far as it is needed; so a page costs what it shows, however many
//! objects there are, and a cursor means the same whatever happened since: the list goes on after that name and id.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt;

use rusqlite::Rows;

use super::file;
use super::lane::LaneState;
use super::notes::{ClassNotes, Noted};
use super::{CatalogEntry, CatalogPage};
use crate::base::{Alarm, ClassKey, ObjectId, ObjectName};
use crate::storage::StorageError;
use crate::storage::commit_log::AlarmChange;
use crate::storage::key_value::past_prefix;

/// A place in the list: that of an object, or one between.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::storage) struct Position {
    unnamed: bool,
    name: String,
    /// 32 bytes, or none to come before every object of the name.
    pub id: Vec<u8>,
}

/// Where a part of the list ends; the place itself is not in it.
pub(super) enum Until {
    Name(String),
    /// Before the objects without a name.
    Unnamed,
    End,
}

/// A part of the list.
pub(super) struct Range {
    /// The place itself is not in it.
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

    fn entry(self, bytes: u64, alarm: Option<Alarm>) -> CatalogEntry {
        let id = ObjectId::from_bytes(self.id.try_into().expect("the place of an object has its id"));
        CatalogEntry { id, name: ObjectName::parse(&self.name).ok(), bytes, alarm }
    }
}

/// The cursor that continues after this place.
impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", hex::encode(&self.id), hex::encode(&self.name))
    }
}

impl Range {
    /// The objects whose names begin with `prefix` (an empty one is none), from where `cursor` left off.
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

    fn contains(&self, position: &Position) -> bool {
        let ended = match &self.until {
            Until::Name(name) => position.unnamed || position.name >= *name,
            Until::Unnamed => position.unnamed,
            Until::End => false,
        };
        *position > self.after && !ended
    }
}

/// An object's place, its bytes and its alarm.
pub(super) type Found = (Position, u64, Option<Alarm>);

/// Why a lane could not be read: which one, and what SQLite says.
pub(super) type Failed = (usize, rusqlite::Error);

/// What the lanes list of a class within the range, at most `limit` objects. Their notes of the class are whole.
pub(super) fn page(lanes: &[&LaneState], class: &ClassKey, range: &Range, limit: usize) -> Result<CatalogPage, Failed> {
    let limit = limit.max(1);
    let each = lanes.iter().enumerate();
    let statements = each.map(|(n, lane)| lane.file.select().map_err(|error| (n, error)));
    let mut statements = statements.collect::<Result<Vec<_>, _>>()?;
    let mut files = Vec::with_capacity(lanes.len());
    // The next of each lane's file, and everything that is noted.
    let mut next = BinaryHeap::new();
    for (n, (lane, statement)) in lanes.iter().zip(&mut statements).enumerate() {
        let failed = |error| (n, error);
        let notes = lane.notes.class(class);
        let rows = file::rows(statement, class, range).map_err(failed)?;
        let mut file = Listed { rows, notes };
        next.extend(file.next().map_err(failed)?.map(|found| Reverse((found, Some(n)))));
        files.push(file);
        for (id, noted) in notes.into_iter().flat_map(|notes| &notes.objects) {
            if let Noted::Object { name, bytes, alarm, .. } = noted {
                let position = Position::new(name.as_ref(), id);
                let alarm = alarm.and_then(AlarmChange::alarm);
                next.extend(range.contains(&position).then_some(Reverse(((position, *bytes, alarm), None))));
            }
        }
    }
    let mut entries = Vec::new();
    let mut cursor = None;
    while entries.len() < limit
        && let Some(Reverse(((position, bytes, alarm), from))) = next.pop()
    {
        if let Some(n) = from {
            let following = files[n].next().map_err(|error| (n, error))?;
            next.extend(following.map(|found| Reverse((found, from))));
        }
        cursor = (entries.len() + 1 == limit && !next.is_empty()).then(|| position.to_string());
        entries.push(position.entry(bytes, alarm));
    }
    Ok(CatalogPage { entries, cursor })
}

/// What a lane's file lists and its notes say nothing of.
struct Listed<'a> {
    rows: Rows<'a>,
    notes: Option<&'a ClassNotes>,
}

impl Listed<'_> {
    fn next(&mut self) -> rusqlite::Result<Option<Found>> {
        if self.notes.is_some_and(|notes| notes.gone) {
            return Ok(None);
        }
        while let Some(row) = self.rows.next()? {
            let id = ObjectId::from_bytes(row.get(1)?);
            if !self.notes.is_some_and(|notes| notes.objects.contains_key(&id)) {
                return file::entry(row).map(Some);
            }
        }
        Ok(None)
    }
}
