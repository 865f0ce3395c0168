//! Pages of the list: merges what the files and the notes of all lanes list.
//!
//! Every lane is read in the order of the list, as far as it is needed; so a page costs what it shows, however many
//! objects there are, and a cursor means the same whatever happened since: the list goes on after that name and id.

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
