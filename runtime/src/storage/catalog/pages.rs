//! Pages of the list: merges what the files and the notes of all lanes list.
//!
//! Every lane is read in the order of the list, and no further than necessary; so the cost of a page depends on its
//! length and not on the number of objects.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rusqlite::Rows;

use super::CatalogPage;
use super::file;
use super::lane::LaneState;
use super::notes::{ClassNotes, Noted};
use super::position::{Found, Position, Range};
use crate::base::{ClassKey, ObjectId};
use crate::storage::commit_log::AlarmChange;

/// The error of a lane that could not be read: its index, and SQLite's error.
pub(super) type Failed = (usize, rusqlite::Error);

/// Returns the objects of a class within the range that the lanes list, at most `limit`. The lanes' notes of the class
/// are complete.
pub(super) fn page(lanes: &[&LaneState], class: &ClassKey, range: &Range, limit: usize) -> Result<CatalogPage, Failed> {
    let limit = limit.max(1);
    let each = lanes.iter().enumerate();
    let statements = each.map(|(n, lane)| lane.file.select().map_err(|error| (n, error)));
    let mut statements = statements.collect::<Result<Vec<_>, _>>()?;
    let mut files = Vec::with_capacity(lanes.len());
    // The next row of each lane's file, and all notes.
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

/// The rows of a lane's file for which there are no notes.
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
