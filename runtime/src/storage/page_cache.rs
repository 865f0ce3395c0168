//! SQLite's page cache, which checks whether the statement may continue: within one step of its virtual machine SQLite
//! may read all pages of a table, and fetches each from its cache. A refusal ends the statement with `SQLITE_NOMEM`.

use std::ffi::{c_int, c_uint};
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::OnceLock;

use rusqlite::ffi::{self, sqlite3_pcache, sqlite3_pcache_methods2, sqlite3_pcache_page};

use super::stacks::may_fetch;

type Fetch = unsafe extern "C" fn(*mut sqlite3_pcache, c_uint, c_int) -> *mut sqlite3_pcache_page;

/// What SQLite would use by itself.
static OWN: OnceLock<Fetch> = OnceLock::new();

/// Has SQLite use it. Before SQLite's first use; if it is in use already, nothing changes.
pub(super) fn install() {
    let mut methods = MaybeUninit::<sqlite3_pcache_methods2>::zeroed();
    // SAFETY: SQLite is not in use yet; both options take a pointer to such methods, the first to fill them, the other
    // to copy them. All zeroes are valid methods (none).
    unsafe {
        ffi::sqlite3_config(ffi::SQLITE_CONFIG_GETPCACHE2, methods.as_mut_ptr());
        let methods = methods.assume_init();
        if let Some(own) = methods.xFetch
            && OWN.set(own).is_ok()
        {
            let methods = sqlite3_pcache_methods2 { xFetch: Some(fetch), ..methods };
            ffi::sqlite3_config(ffi::SQLITE_CONFIG_PCACHE2, &raw const methods);
        }
    }
}

/// With `create` 0 a page is only looked for, and not finding it would mean that it is not in the cache: that is never
/// refused.
unsafe extern "C" fn fetch(cache: *mut sqlite3_pcache, page: c_uint, create: c_int) -> *mut sqlite3_pcache_page {
    match OWN.get() {
        // SAFETY: SQLite's own function, called as SQLite called this.
        Some(own) if may_fetch() || create == 0 => unsafe { own(cache, page, create) },
        _ => ptr::null_mut(),
    }
}
