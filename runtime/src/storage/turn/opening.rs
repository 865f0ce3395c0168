//! Opens the object's file and the transaction of a turn: the file is opened at the first read and made when a turn
//! first needs one; the transaction begins at the first write.

use std::sync::atomic::Ordering::Relaxed;

use super::{Access, Origin, Stage, Turn};
use crate::storage::connection::Connection;
use crate::storage::errors::SqlError;
use crate::storage::statement::{last_error, pages_written};

impl Turn {
    /// Returns the connection, if the object has a file.
    pub(in crate::storage) fn existing(&mut self) -> Result<Option<&mut Connection>, SqlError> {
        if self.database.opened().is_none() {
            match self.database.look() {
                Ok(None) => return Ok(None),
                Ok(Some(file)) => file.connection.session.begin_turn(&self.work, self.access == Access::Reads),
                Err(error) => return Err(self.break_with(error.into())),
            }
        }
        Ok(self.database.opened().map(|file| &mut file.connection))
    }

    /// Returns the connection; makes the file if the object has none.
    #[inline]
    pub(in crate::storage) fn connection(&mut self) -> Result<&mut Connection, SqlError> {
        if self.database.opened().is_none() {
            self.open_or_create()?;
        }
        Ok(&mut self.database.opened().expect("made above").connection)
    }

    #[cold]
    fn open_or_create(&mut self) -> Result<(), SqlError> {
        if self.existing()?.is_none() {
            // Noted before the file is there, so that one that was begun and cannot be used is removed again.
            self.origin = Origin::ThisTurn;
            match self.database.create() {
                Ok(file) => file.connection.session.begin_turn(&self.work, self.access == Access::Reads),
                Err(error) => return Err(self.break_with(error.into())),
            }
            self.remains.doubt();
        }
        Ok(())
    }

    /// Returns the connection, in a transaction.
    pub(in crate::storage) fn writing(&mut self) -> Result<&mut Connection, SqlError> {
        if let Stage::Reading = self.stage {
            if self.access == Access::Reads {
                return Err(SqlError::NotAuthorized("writing, which has to be asked for".into()));
            }
            let connection = self.connection()?;
            let begun = connection.control(|sqlite| sqlite.prepare_cached("BEGIN IMMEDIATE")?.execute([]));
            if begun.is_err() {
                let error = last_error(connection.guest());
                return Err(self.refused(error));
            }
            connection.session.writing.store(true, Relaxed);
            let (total_changes, pages_written) =
                (connection.guest().total_changes(), pages_written(connection.guest()));
            self.stage = Stage::Writing { total_changes, pages_written, schema_changed: false };
            self.begin_savepoints()?;
        }
        self.connection()
    }
}
