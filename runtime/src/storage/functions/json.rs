//! `json_patch` and `jsonb_patch`, bounded.
//!
//! SQLite looks for each member of the patch among all members of the target. What that will take is priced by their
//! numbers, charged before it runs, and refused beyond [`STEPS_MAX`]. The work itself is SQLite's, on a connection of
//! its own where its functions have not been replaced; a few are kept, as many as there were calls at once.

use std::ffi::{CStr, c_int};
use std::ptr;

use memchr::memchr_iter;
use parking_lot::Mutex;
use rusqlite::ffi::{self, sqlite3, sqlite3_context, sqlite3_stmt, sqlite3_value};

use super::Call;
use crate::storage::heap;

/// Steps that one call may take: about a second.
const STEPS_MAX: u64 = 100_000_000;
/// Fewer are charged now and then, without a look at the clock.
const FEW: u64 = 4_000;
/// What SQLite marks JSON with.
const JSON: u32 = b'J' as u32;
/// Connections that are kept for the next calls.
const KEPT: usize = 8;

/// Statements that call SQLite's own function.
static TEXT: Mutex<Vec<Original>> = Mutex::new(Vec::new());
static BINARY: Mutex<Vec<Original>> = Mutex::new(Vec::new());

pub(super) unsafe extern "C" fn patch(context: *mut sqlite3_context, count: c_int, values: *mut *mut sqlite3_value) {
    // SAFETY: SQLite calls.
    unsafe { Call::new(context, count, values).patch(&TEXT, c"SELECT json_patch(?1, ?2)", true) };
}

pub(super) unsafe extern "C" fn patch_binary(
    context: *mut sqlite3_context,
    count: c_int,
    values: *mut *mut sqlite3_value,
) {
    // SAFETY: SQLite calls.
    unsafe { Call::new(context, count, values).patch(&BINARY, c"SELECT jsonb_patch(?1, ?2)", false) };
}

impl Call<'_> {
    /// # Safety
    /// The call is running.
    unsafe fn patch(&mut self, kept: &Mutex<Vec<Original>>, text: &CStr, marked: bool) {
        let steps = self.steps();
        // SAFETY: the caller's; the arguments are copied.
        unsafe {
            if steps > STEPS_MAX {
                ffi::sqlite3_result_error(self.context, c"too many members for json_patch()".as_ptr(), -1);
                return ffi::sqlite3_result_error_code(self.context, ffi::SQLITE_TOOBIG);
            }
            let charged = match steps {
                ..FEW => self.worked(steps as usize * super::BYTES_PER_STEP as usize),
                _ => self.session().tick_ahead(steps),
            };
            if let Err(exhausted) = charged {
                return self.end(Err(exhausted));
            }
            let taken = kept.lock().pop();
            let Some(original) = taken.or_else(|| Original::open(text)) else { return self.no_memory() };
            original.run(self, marked);
            let mut kept = kept.lock();
            if kept.len() < KEPT {
                kept.push(original);
            }
        }
    }

    /// Each member of the patch is looked for in the target, to which it may be added, and each change moves what comes
    /// after it.
    fn steps(&self) -> u64 {
        let members = |n: usize| {
            let bytes = self.bytes(n).unwrap_or_default();
            let members = match self.kind(n) {
                ffi::SQLITE_BLOB => bytes.len() / 2,
                _ => memchr_iter(b',', bytes).count(),
            };
            (members as u64 + 1, bytes.len() as u64)
        };
        let ((target, length), (patch, more)) = (members(0), members(1));
        patch.saturating_mul((target + patch) / 2 + (length + more) / 200)
    }
}

/// A connection of its own with one statement.
struct Original {
    db: *mut sqlite3,
    statement: *mut sqlite3_stmt,
}

// SAFETY: SQLite is compiled with THREADSAFE=1, so handles are tied to no thread; one at a time has it.
unsafe impl Send for Original {}

impl Original {
    /// What it allocates now belongs to no heap: it outlives the call.
    fn open(text: &CStr) -> Option<Self> {
        let paused = heap::pause();
        let mut original = Self { db: ptr::null_mut(), statement: ptr::null_mut() };
        let flags = ffi::SQLITE_OPEN_READWRITE | ffi::SQLITE_OPEN_CREATE | ffi::SQLITE_OPEN_NOMUTEX;
        // SAFETY: texts end with zeros, and places for the answers live through the calls.
        let made = unsafe {
            ffi::sqlite3_open_v2(c":memory:".as_ptr(), &mut original.db, flags, ptr::null()) == ffi::SQLITE_OK
                && ffi::sqlite3_prepare_v2(original.db, text.as_ptr(), -1, &mut original.statement, ptr::null_mut())
                    == ffi::SQLITE_OK
        };
        paused.go_on();
        made.then_some(original)
    }

    /// # Safety
    /// The call is running.
    unsafe fn run(&self, call: &Call<'_>, marked: bool) {
        let statement = self.statement;
        // SAFETY: the statement is live, and all values are copied before they go.
        unsafe {
            ffi::sqlite3_limit(self.db, ffi::SQLITE_LIMIT_LENGTH, call.value_max() as c_int);
            for (n, value) in (1..).zip(call.arguments) {
                ffi::sqlite3_bind_value(statement, n, *value);
            }
            if ffi::sqlite3_step(statement) == ffi::SQLITE_ROW {
                let answer = ffi::sqlite3_column_value(statement, 0);
                ffi::sqlite3_result_value(call.context, answer);
                if marked && ffi::sqlite3_value_type(answer) != ffi::SQLITE_NULL {
                    ffi::sqlite3_result_subtype(call.context, JSON);
                }
            } else {
                let code = ffi::sqlite3_errcode(self.db);
                ffi::sqlite3_result_error(call.context, ffi::sqlite3_errmsg(self.db), -1);
                if code != ffi::SQLITE_ERROR {
                    ffi::sqlite3_result_error_code(call.context, code);
                }
            }
            ffi::sqlite3_reset(statement);
            ffi::sqlite3_clear_bindings(statement);
        }
    }
}

impl Drop for Original {
    fn drop(&mut self) {
        // SAFETY: both are closed once; null is nothing.
        unsafe {
            ffi::sqlite3_finalize(self.statement);
            ffi::sqlite3_close(self.db);
        }
    }
}
