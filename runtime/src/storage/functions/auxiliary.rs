//! `snippet` and `highlight` of FTS5, bounded.
//!
//! Both take time in the square of how often a row matches: a row of 2 MB that matches at every second byte would take
//! an hour. What they will take is priced by the number of matches, charged before they run, and refused beyond
//! [`STEPS_MAX`].
//!
//! FTS5 accepts a function under a name that is taken, and the newest counts; but it has no call that returns the
//! earlier one. That is read from its own list, whose layout is that of the bundled SQLite; what is found must agree
//! with the connection and with itself, or nothing is changed and the two are refused.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;
use std::sync::Arc;

use rusqlite::ffi::{
    self, Fts5Context, Fts5ExtensionApi, fts5_api, fts5_extension_function, sqlite3, sqlite3_context, sqlite3_value,
};

use crate::storage::session::Session;

/// Steps that one call may take: about a second.
const STEPS_MAX: u64 = 100_000_000;

/// Matches below which the cost is negligible.
const FEW: u64 = 200;

/// The head of FTS5's own object for a connection (`struct Fts5Global`).
#[repr(C)]
struct Global {
    api: fts5_api,
    db: *mut sqlite3,
    next_id: i64,
    functions: *mut Function,
}

/// `struct Fts5Auxiliary`.
#[repr(C)]
struct Function {
    global: *mut Global,
    name: *const c_char,
    user_data: *mut c_void,
    function: fts5_extension_function,
    destroy: Option<unsafe extern "C" fn(*mut c_void)>,
    next: *mut Self,
}

/// One of the two, as it was.
struct Bounded {
    session: Arc<Session>,
    original: fts5_extension_function,
    /// What it costs in steps, for so many matches in a text of so many bytes.
    steps: fn(u64, u64) -> u64,
}

/// Has the connection use the bounded ones.
pub(in crate::storage) fn bound(sqlite: &rusqlite::Connection, session: &Arc<Session>) -> rusqlite::Result<()> {
    let api = api(sqlite)?;
    // A score of each match over all matches; a step is 10 ns.
    let snippet: fn(u64, u64) -> u64 = |matches, _| matches.saturating_mul(matches);
    // Two pieces for each match, and for each its length is counted anew.
    let highlight: fn(u64, u64) -> u64 = |matches, bytes| matches.saturating_mul(2 * bytes / 120);
    for (name, steps) in [(c"snippet", snippet), (c"highlight", highlight)] {
        // SAFETY: `api` is FTS5's for this open connection. FTS5 owns the data from here on, and gives it to `forget`.
        let code = unsafe {
            let original = find(api, sqlite.handle(), name);
            let data = Box::into_raw(Box::new(Bounded { session: session.clone(), original, steps }));
            match (*api).xCreateFunction {
                Some(create) => create(api, name.as_ptr(), data.cast(), Some(run), Some(forget)),
                None => ffi::SQLITE_ERROR,
            }
        };
        if code != ffi::SQLITE_OK {
            return Err(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None));
        }
    }
    Ok(())
}

/// FTS5's interface, which it gives through a function of SQL.
fn api(sqlite: &rusqlite::Connection) -> rusqlite::Result<*mut fts5_api> {
    let mut api: *mut fts5_api = ptr::null_mut();
    let mut statement = ptr::null_mut();
    // SAFETY: the handle is that of an open connection, the texts end with zeros, and the place for the answer lives
    // until the statement is finalized.
    unsafe {
        let text = c"SELECT fts5(?1)".as_ptr();
        let mut code = ffi::sqlite3_prepare_v2(sqlite.handle(), text, -1, &mut statement, ptr::null_mut());
        if code == ffi::SQLITE_OK {
            let place = (&raw mut api).cast();
            ffi::sqlite3_bind_pointer(statement, 1, place, c"fts5_api_ptr".as_ptr(), None);
            ffi::sqlite3_step(statement);
            code = ffi::sqlite3_finalize(statement);
        }
        if code != ffi::SQLITE_OK || api.is_null() {
            return Err(rusqlite::Error::SqliteFailure(ffi::Error::new(code.max(1)), None));
        }
    }
    Ok(api)
}

/// The function that FTS5 has under this name now; none if its list is not as expected.
///
/// # Safety
/// The interface is FTS5's for this open connection, of the bundled SQLite.
unsafe fn find(api: *mut fts5_api, db: *mut sqlite3, name: &CStr) -> fts5_extension_function {
    // SAFETY: the interface is the head of the bundled FTS5's `Fts5Global`, which this reads as declared there.
    unsafe {
        let global = api.cast::<Global>();
        if (*global).db != db {
            return None;
        }
        let mut function = (*global).functions;
        while let Some(known) = function.as_ref() {
            if known.global != global {
                return None;
            }
            if CStr::from_ptr(known.name) == name {
                return known.function;
            }
            function = known.next;
        }
    }
    None
}

unsafe extern "C" fn forget(data: *mut c_void) {
    // SAFETY: it is what `bound` gave, once.
    drop(unsafe { Box::from_raw(data.cast::<Bounded>()) });
}

unsafe extern "C" fn run(
    api: *const Fts5ExtensionApi,
    fts: *mut Fts5Context,
    context: *mut sqlite3_context,
    count: c_int,
    values: *mut *mut sqlite3_value,
) {
    // SAFETY: FTS5 calls with its own interface, whose user data is what `bound` gave.
    unsafe {
        let Some(bounded) = (*api).xUserData.map(|data| data(fts).cast::<Bounded>()).and_then(|data| data.as_ref())
        else {
            return ffi::sqlite3_result_error_code(context, ffi::SQLITE_ERROR);
        };
        let matches = matches(api, fts);
        let steps = match matches {
            ..FEW => 0,
            _ => (bounded.steps)(matches, bytes(api, fts, count, values)),
        };
        if steps > STEPS_MAX {
            let why = c"too many matches in one row for snippet() or highlight()";
            ffi::sqlite3_result_error(context, why.as_ptr(), -1);
            return ffi::sqlite3_result_error_code(context, ffi::SQLITE_TOOBIG);
        }
        if steps > 0 && bounded.session.tick_ahead(steps).is_err() {
            return ffi::sqlite3_result_error_code(context, ffi::SQLITE_INTERRUPT);
        }
        match bounded.original {
            Some(original) => original(api, fts, context, count, values),
            None => ffi::sqlite3_result_error_code(context, ffi::SQLITE_ERROR),
        }
    }
}

/// How often the row matches.
///
/// # Safety
/// Both are FTS5's, for a running call.
unsafe fn matches(api: *const Fts5ExtensionApi, fts: *mut Fts5Context) -> u64 {
    let mut matches = 0;
    // SAFETY: the caller's.
    unsafe { (*api).xInstCount.map(|instances| instances(fts, &mut matches)) };
    matches.max(0) as u64
}

/// How long the text of the column is that the first argument names.
///
/// # Safety
/// All are FTS5's, for a running call.
unsafe fn bytes(
    api: *const Fts5ExtensionApi,
    fts: *mut Fts5Context,
    count: c_int,
    values: *mut *mut sqlite3_value,
) -> u64 {
    let (mut text, mut length) = (ptr::null(), 0);
    // SAFETY: the caller's. Without arguments the original refuses the call; a column that is not there has no text.
    unsafe {
        if count > 0 {
            let column = ffi::sqlite3_value_int(*values);
            (*api).xColumnText.map(|get| get(fts, column, &mut text, &mut length));
        }
    }
    length.max(0) as u64
}
