//! Resources that an instance keeps although the SDK would drop them: savepoints that are ended in any order or never,
//! and cursors that outlive their turn. So this uses the contract itself.

use holdfast::__private::bindings::holdfast::object::{key_value, sql, storage};
use holdfast::prelude::*;
use holdfast::serde_json::Value as Json;

use crate::key_value::{List, texts};
use crate::sql::{Statement, json_row, parameters};

/// Empty in a fresh instance.
#[derive(Default)]
pub struct Kept {
    /// None once dropped.
    savepoints: Vec<Option<storage::Savepoint>>,
    rows: Option<sql::Cursor>,
    entries: Option<key_value::Entries>,
}

impl Kept {
    /// Opens a savepoint and returns its number.
    pub fn open_savepoint(&mut self) -> Result<Json> {
        self.savepoints.push(Some(storage::open_savepoint().map_err(StorageError::from)?));
        Ok(json!({ "savepoint": self.savepoints.len() - 1 }))
    }

    /// Returns the savepoint of this number, ended or not.
    pub fn savepoint(&self, number: usize) -> Result<&storage::Savepoint> {
        self.savepoints.get(number).and_then(Option::as_ref).context(missing(number))
    }

    /// Drops a savepoint without keeping or undoing it.
    pub fn drop_savepoint(&mut self, number: usize) -> Result<()> {
        self.savepoints.get_mut(number).and_then(Option::take).context(missing(number)).map(drop)
    }

    /// Runs a statement and keeps the cursor of its remaining rows.
    pub fn open_rows(&mut self, Statement { text, params, .. }: Statement) -> Result<Json> {
        let result = sql::exec(&text, &parameters(&params)?).map_err(SqlError::from)?;
        self.rows = result.more;
        Ok(json!({ "rows": result.rows.len(), "more": self.rows.is_some() }))
    }

    /// Returns the next rows of the kept cursor.
    pub fn next_rows(&self, max: u32) -> Result<Json> {
        let rows = self.rows.as_ref().context("no cursor is kept")?.next(max).map_err(SqlError::from)?;
        Ok(json!({ "rows": rows.into_iter().map(json_row).collect::<Vec<_>>() }))
    }

    /// Opens a listing and keeps it.
    pub fn open_entries(&mut self, list: List) -> Result<()> {
        let List { start, start_after, end, prefix, reverse, limit } = list;
        let options = key_value::ListOptions { start, start_after, end, prefix, reverse, limit };
        self.entries = Some(key_value::list(&options).map_err(StorageError::from)?);
        Ok(())
    }

    /// Returns the next entries of the kept listing.
    pub fn next_entries(&self, max: u32) -> Result<Json> {
        let entries = self.entries.as_ref().context("no listing is kept")?.next(max).map_err(StorageError::from)?;
        Ok(json!({ "entries": texts(entries.into_iter().map(|entry| (entry.key, entry.value))) }))
    }
}

fn missing(number: usize) -> String {
    format!("there is no savepoint {number}")
}
