//! Decides whether the turn that makes an object has stored more than tables: rows or keys of its handler, beside what
//! the constructor and migrations made.
//!
//! Rows are counted as SQLite counts changes, less those that savepoints undid. Rows of the SDKs' table of migrations
//! only record that tables were made, so they count as the tables do: not at all.

use rusqlite::Connection as Sqlite;

use super::{Stage, StagedAlarm, Turn};

/// Queries whether the table exists in which the SDKs record the migrations of an object. A guest may give this name to
/// something else (a view, for example), which the host must not run.
const HAS_TABLE: &str = "SELECT EXISTS (SELECT 1 FROM sqlite_schema
    WHERE name = 'holdfast_migration' AND type = 'table' AND rootpage > 0)";
/// Counts its rows, up to more than any object has migrations.
const MIGRATIONS: &str = "SELECT count(*) FROM (SELECT 1 FROM main.holdfast_migration LIMIT 10000)";

/// Counts of changes within the turn's transaction.
#[derive(Clone, Copy, Default)]
pub(super) struct Beginnings {
    /// Changes of rows that savepoints have undone.
    undone: u64,
    /// Changes of rows, and rows in the table of migrations, before the handler.
    before_handler: (u64, u64),
}

impl Turn {
    /// Notes that the constructor has run: later writes are the handler's.
    pub fn handler_begins(&mut self) {
        if self.is_new() {
            // SQLite counts what a statement changed when it ends.
            self.close_writing_cursors();
            self.beginnings.before_handler = (self.changed_rows(), self.migrations());
        }
    }

    /// Whether applying the turn would make an object in which there is nothing but what the constructor and migrations
    /// made.
    pub fn makes_only_tables(&mut self) -> bool {
        if !self.is_new()
            || self.broken().is_some()
            || !self.savepoints.is_empty()
            || matches!(self.alarm, StagedAlarm::Set(Some(_)))
        {
            return false;
        }
        self.close_writing_cursors();
        let (rows, migrations) = self.beginnings.before_handler;
        let changed = self.changed_rows().saturating_sub(rows);
        changed == 0 || changed == self.migrations().saturating_sub(migrations)
    }

    /// Counts the changes of rows in the turn's transaction that were not undone.
    pub(in crate::storage) fn changed_rows(&mut self) -> u64 {
        let Stage::Writing { total_changes: before, .. } = self.stage else { return 0 };
        let undone = self.beginnings.undone;
        let now = self.database().opened().map_or(0, |file| file.connection.guest().total_changes());
        now.saturating_sub(before + undone)
    }

    /// Notes that a savepoint was undone; `rows` is the count of changes when it began.
    pub(in crate::storage) fn undone_to(&mut self, rows: u64) {
        self.beginnings.undone += self.changed_rows().saturating_sub(rows);
    }

    /// Counts the rows in the table of migrations; 0 without one.
    fn migrations(&mut self) -> u64 {
        let ask = |sqlite: &Sqlite, what| sqlite.query_row(what, [], |row| row.get::<_, i64>(0));
        let count = |sqlite: &Sqlite| if ask(sqlite, HAS_TABLE)? == 0 { Ok(0) } else { ask(sqlite, MIGRATIONS) };
        let rows = self.database().opened().and_then(|file| file.connection.host(count).ok());
        rows.map_or(0, |rows| rows as u64)
    }
}
