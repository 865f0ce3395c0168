//! Raw statement handles: the one file that steps SQLite by hand.
//!
//! A cursor outlives the call that opened it and moves with its connection between threads, which `rusqlite::Statement`
//! cannot. A [`Statement`] must be used with the connection that prepared it and dropped before that connection; the
//! connection's owner keeps both in one value, statements first. (Dropped too late it would leak, not dangle: SQLite
//! refuses to close a connection that has statements.)

use std::borrow::Cow;
use std::ffi::{CStr, c_int};
use std::ptr::{self, NonNull};
use std::slice;

use rusqlite::{Connection, ErrorCode, ffi};

use crate::base::Value;

/// An error that SQLite reports.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} (SQLite code {code})")]
pub struct SqliteError {
    /// The extended result code.
    pub code: i32,
    /// SQLite's message.
    pub message: String,
}

/// A prepared statement.
pub(super) struct Statement(NonNull<ffi::sqlite3_stmt>);

// SAFETY: SQLite is compiled with THREADSAFE=1, so a handle is tied to no thread; `&mut` guards every use that changes
// it, and its connection moves with it.
unsafe impl Send for Statement {}

impl Drop for Statement {
    fn drop(&mut self) {
        // SAFETY: the handle is live and finalized once.
        unsafe { ffi::sqlite3_finalize(self.0.as_ptr()) };
    }
}

/// Returns the error of the connection's last failed call.
pub(super) fn last_error(connection: &Connection) -> SqliteError {
    // SAFETY: the handle is that of an open connection; the message is copied before any other call.
    unsafe {
        let db = connection.handle();
        let message = CStr::from_ptr(ffi::sqlite3_errmsg(db)).to_string_lossy().into_owned();
        SqliteError { code: ffi::sqlite3_extended_errcode(db), message }
    }
}

/// Returns whether SQLite reports that a file is not what was written to it.
pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    let extended = error.sqlite_error().map(|error| error.extended_code);
    matches!(error.sqlite_error_code(), Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt))
        || extended == Some(ffi::SQLITE_IOERR_DATA)
}

/// Rows changed by the last finished INSERT, UPDATE or DELETE, without those of triggers.
pub(super) fn changes(connection: &Connection) -> u64 {
    // SAFETY: the handle is that of an open connection.
    unsafe { ffi::sqlite3_changes64(connection.handle()) as u64 }
}

/// Pages written to disk since the connection was opened, a page that was written twice counted twice.
pub(super) fn pages_written(connection: &Connection) -> u64 {
    let (mut written, mut unused) = (0, 0);
    // SAFETY: the handle is that of an open connection; both out-pointers live through the call.
    unsafe {
        let db = connection.handle();
        ffi::sqlite3_db_status(db, ffi::SQLITE_DBSTATUS_CACHE_WRITE, &mut written, &mut unused, 0);
    }
    written as u64
}

impl Statement {
    /// Compiles the first statement of a text. Returns also how many bytes of the text it took. None if there is no
    /// statement.
    pub fn prepare(connection: &Connection, text: &str) -> Result<(Option<Self>, usize), SqliteError> {
        let (mut handle, mut tail) = (ptr::null_mut(), ptr::null());
        // SAFETY: the text is given with its length, and both out-pointers live through the call.
        let code = unsafe {
            let (db, start) = (connection.handle(), text.as_ptr().cast());
            ffi::sqlite3_prepare_v3(db, start, text.len() as c_int, 0, &mut handle, &mut tail)
        };
        match code {
            ffi::SQLITE_OK => Ok((NonNull::new(handle).map(Self), tail as usize - text.as_ptr() as usize)),
            _ => Err(last_error(connection)),
        }
    }

    /// Binds the parameter with this index, counted from 1. The value is copied.
    pub fn bind(&mut self, index: usize, value: &Value) -> c_int {
        let (handle, index) = (self.0.as_ptr(), index as c_int);
        // SAFETY: the handle is live; text and blobs are given with their length and copied (TRANSIENT) before the call
        // returns. An empty blob has a dangling but non-null pointer that is not read.
        unsafe {
            match value {
                Value::Null => ffi::sqlite3_bind_null(handle, index),
                Value::Integer(number) => ffi::sqlite3_bind_int64(handle, index, *number),
                Value::Real(number) => ffi::sqlite3_bind_double(handle, index, *number),
                Value::Text(text) => {
                    let (start, length) = (text.as_ptr().cast(), text.len() as u64);
                    let (free, encoding) = (ffi::SQLITE_TRANSIENT(), ffi::SQLITE_UTF8 as u8);
                    ffi::sqlite3_bind_text64(handle, index, start, length, free, encoding)
                }
                Value::Blob(bytes) => {
                    let (start, length) = (bytes.as_ptr().cast(), bytes.len() as u64);
                    ffi::sqlite3_bind_blob64(handle, index, start, length, ffi::SQLITE_TRANSIENT())
                }
            }
        }
    }

    /// Runs to the next row: `SQLITE_ROW`, `SQLITE_DONE` or an error code.
    pub fn step(&mut self) -> c_int {
        // SAFETY: the handle is live.
        unsafe { ffi::sqlite3_step(self.0.as_ptr()) }
    }

    /// Resets the statement, and clears its parameters.
    pub fn reset(&mut self) {
        // SAFETY: the handle is live.
        unsafe {
            ffi::sqlite3_reset(self.0.as_ptr());
            ffi::sqlite3_clear_bindings(self.0.as_ptr());
        }
    }

    /// Whether it leaves the database file as it is.
    pub fn is_readonly(&self) -> bool {
        // SAFETY: the handle is live.
        unsafe { ffi::sqlite3_stmt_readonly(self.0.as_ptr()) != 0 }
    }

    /// Returns the number of its parameters.
    pub fn parameters(&self) -> usize {
        // SAFETY: the handle is live.
        unsafe { ffi::sqlite3_bind_parameter_count(self.0.as_ptr()) as usize }
    }

    /// Steps of SQLite's virtual machine since the last time this was asked.
    pub fn take_steps(&mut self) -> u64 {
        // SAFETY: the handle is live.
        unsafe { ffi::sqlite3_stmt_status(self.0.as_ptr(), ffi::SQLITE_STMTSTATUS_VM_STEP, 1) as u64 }
    }

    /// Bytes that it takes of memory. Takes as long as freeing it would.
    pub fn memory(&self) -> usize {
        // SAFETY: the handle is live.
        unsafe { ffi::sqlite3_stmt_status(self.0.as_ptr(), ffi::SQLITE_STMTSTATUS_MEMUSED, 0) as usize }
    }

    /// Returns the number of columns of its rows.
    pub fn columns(&self) -> usize {
        // SAFETY: the handle is live.
        unsafe { ffi::sqlite3_column_count(self.0.as_ptr()) as usize }
    }

    /// The name of a column.
    pub fn column_name(&self, column: usize) -> Cow<'_, str> {
        // SAFETY: the handle is live and the column exists; nothing that would change the name is called while it is
        // borrowed. Null means out of memory.
        unsafe {
            let name = ffi::sqlite3_column_name(self.0.as_ptr(), column as c_int);
            if name.is_null() { Cow::Borrowed("") } else { repaired(CStr::from_ptr(name).to_bytes()) }
        }
    }

    /// A column of the current row.
    pub fn value(&self, column: usize) -> ValueRef<'_> {
        let (handle, column) = (self.0.as_ptr(), column as c_int);
        // SAFETY: the last step answered a row and the column exists. The bytes stay as they are until the next step,
        // which needs `&mut`: their type is not changed by reading them as what they are. A pointer is null only where
        // the length is 0 (or memory ran out, and then the length is 0 too).
        unsafe {
            let bytes = |start: *const u8| {
                let length = ffi::sqlite3_column_bytes(handle, column) as usize;
                if start.is_null() { &[] } else { slice::from_raw_parts(start, length) }
            };
            match ffi::sqlite3_column_type(handle, column) {
                ffi::SQLITE_INTEGER => ValueRef::Integer(ffi::sqlite3_column_int64(handle, column)),
                ffi::SQLITE_FLOAT => ValueRef::Real(ffi::sqlite3_column_double(handle, column)),
                ffi::SQLITE_TEXT => ValueRef::Text(repaired(bytes(ffi::sqlite3_column_text(handle, column)))),
                ffi::SQLITE_BLOB => ValueRef::Blob(bytes(ffi::sqlite3_column_blob(handle, column).cast())),
                _ => ValueRef::Null,
            }
        }
    }
}

/// A statement whose rows have not all been read. Its current row was not returned yet.
pub(super) struct SqlCursor {
    pub statement: Statement,
    /// Under which text it may be cached, if it may.
    pub text: Option<Box<str>>,
    pub writes: bool,
}

/// A column of the current row as SQLite holds it. Text that is not UTF-8 is repaired.
pub(super) enum ValueRef<'a> {
    Null,
    Integer(i64),
    Real(f64),
    Text(Cow<'a, str>),
    Blob(&'a [u8]),
}

impl ValueRef<'_> {
    /// Returns the bytes that it counts against the limits.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Blob(bytes) => bytes.len(),
            Self::Null | Self::Integer(_) | Self::Real(_) => 8,
        }
    }
}

/// Text that needs no repair is checked much faster than it would be repaired.
fn repaired(text: &[u8]) -> Cow<'_, str> {
    str::from_utf8(text).map_or_else(|_| String::from_utf8_lossy(text), Cow::Borrowed)
}
