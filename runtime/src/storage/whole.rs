//! `wit/storage.wit`: savepoints and the operations on everything that an object stores.
//!
//! A savepoint is a savepoint of SQLite once the turn has a transaction; before the first write there is nothing to
//! undo, and open savepoints begin with the transaction. Removing everything puts the database aside and continues
//! without one; the end of the turn (or a settling point) makes the next incarnation count, or none.

use super::errors::{SqlError, WholeError};
use super::statement::last_error;
use super::turn::{OpenSavepoint, Remains, Savepoint, Stage};
use super::{ApplyError, DurableWatch, Lsn, StorageError, Turn};
use crate::base::limits::SAVEPOINTS_MAX;

/// The price of an operation on savepoints, in steps: some microseconds that SQLite does not count.
const SAVEPOINT_STEPS: u64 = 200;

impl Turn {
    /// Opens a savepoint inside those that are open.
    pub fn savepoint(&mut self) -> Result<Savepoint, WholeError> {
        self.check()?;
        if self.savepoints.len() >= SAVEPOINTS_MAX as usize {
            return Err(WholeError::TooDeep(SAVEPOINTS_MAX));
        }
        self.pay(SAVEPOINT_STEPS)?;
        let savepoint = Savepoint(self.next_handle());
        let changed_rows = self.changed_rows();
        self.savepoints.push(OpenSavepoint { savepoint, alarm: self.alarm, changed_rows });
        if let Stage::Writing { .. } = self.stage {
            self.close_writing_cursors();
            let begun = self.host_statement(&format!("SAVEPOINT {}", name(self.savepoints.len())));
            begun.inspect_err(|_| _ = self.savepoints.pop())?;
        }
        Ok(savepoint)
    }

    /// Ends a savepoint and those inside it; what was written since stays part of the turn.
    pub fn keep(&mut self, savepoint: Savepoint) -> Result<(), WholeError> {
        let depth = self.depth_of(savepoint)?;
        if let Stage::Writing { .. } = self.stage {
            self.close_writing_cursors();
            self.host_statement(&format!("RELEASE {}", name(depth)))?;
        }
        self.savepoints.truncate(depth - 1);
        Ok(())
    }

    /// Goes back to where a savepoint began, and ends it and those inside it. SQL cursors are closed, because the rows
    /// they would read may be gone; listings continue with what is stored then.
    pub fn undo(&mut self, savepoint: Savepoint) -> Result<(), WholeError> {
        let depth = self.depth_of(savepoint)?;
        if let Stage::Writing { .. } = self.stage {
            self.close_sql_cursors(|_| true);
            let undone = self.host_statement(&format!("ROLLBACK TO {}", name(depth)));
            let ended = undone.and_then(|()| self.host_statement(&format!("RELEASE {}", name(depth))));
            // The guest may ignore the error, and what was to be undone must not become part of the turn.
            ended.map_err(|error| self.failed(format!("a savepoint could not be undone: {error}")))?;
            self.remains = Remains::Unknown;
            self.undone_to(self.savepoints[depth - 1].changed_rows);
        }
        self.alarm = self.savepoints[depth - 1].alarm;
        self.savepoints.truncate(depth - 1);
        Ok(())
    }

    /// Bytes that are stored: pages in use × 4,096, with what the turn has written; 0 if nothing is stored.
    pub fn size(&mut self) -> Result<u64, WholeError> {
        self.check()?;
        self.pay(SAVEPOINT_STEPS)?;
        let nothing = self.is_new() && matches!(self.stage, Stage::Reading);
        let bytes = match self.existing()? {
            Some(connection) if !nothing => connection.bytes().map_err(|_| last_error(connection.guest())),
            _ => Ok(0),
        };
        Ok(bytes.map_err(|error| self.refused(error))?)
    }

    /// Removes everything that is stored, at once whatever its size. What the turn stores afterwards stays. Pragmas
    /// that were set go with the connection.
    pub fn delete_all(&mut self) -> Result<(), WholeError> {
        self.check()?;
        if !self.savepoints.is_empty() {
            return Err(WholeError::SavepointOpen);
        }
        self.pay(SAVEPOINT_STEPS)?;
        self.set_aside().map_err(|error| self.break_with(error.into()))?;
        Ok(())
    }

    /// Applies what the turn has written so far; the turn continues. It is settled once the watch says that the
    /// position is durable. Cursors that only read stay open.
    pub fn apply_so_far(&mut self) -> Result<(Lsn, DurableWatch), WholeError> {
        self.check()?;
        if !self.savepoints.is_empty() {
            return Err(WholeError::SavepointOpen);
        }
        self.close_writing_cursors();
        let applied = match self.carry_alarm().and_then(|()| self.commit()) {
            Ok(applied) => applied,
            // The transaction is still there, and can be recovered.
            Err(ApplyError::Constraint(error)) if !self.has_ended() => {
                return Err(WholeError::Other(ApplyError::Constraint(error).to_string()));
            }
            Err(error) => return Err(self.break_with(error).into()),
        };
        self.begin_again(applied.wrote);
        Ok((applied.lsn, self.database().durable()))
    }

    /// Maintains the files between two segments of a turn; see [`super::Database::maintain`].
    pub fn maintain(&mut self) -> Result<(), StorageError> {
        self.database().maintain()
    }

    /// Returns the depth of a savepoint, from 1.
    fn depth_of(&mut self, savepoint: Savepoint) -> Result<usize, WholeError> {
        self.check()?;
        self.pay(SAVEPOINT_STEPS)?;
        let at = self.savepoints.iter().position(|open| open.savepoint == savepoint);
        at.map(|at| at + 1).ok_or(WholeError::Closed)
    }

    /// Begins the open savepoints in a transaction that has just begun.
    pub(super) fn begin_savepoints(&mut self) -> Result<(), SqlError> {
        (1..=self.savepoints.len()).try_for_each(|depth| self.host_statement(&format!("SAVEPOINT {}", name(depth))))
    }
}

/// Guests cannot name savepoints, so these only have to differ from each other and from that of a call.
fn name(depth: usize) -> String {
    format!("_hf_{depth}")
}
