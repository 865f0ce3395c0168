//! SQLite's allocator and page cache, which ask whether the statement may go on.
//!
//! While SQLite compiles a statement it calls nothing of the host's that could end it, for as long as a minute with views in views; but it
//! allocates all the time. Within one step of its virtual machine it may go over all pages of a table; it asks its cache for each. What is
//! refused ends the statement with `SQLITE_NOMEM`.

use std::ffi::{c_int, c_uint, c_void};
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::OnceLock;

use rusqlite::ffi::{self, sqlite3_mem_methods, sqlite3_pcache, sqlite3_pcache_methods2, sqlite3_pcache_page};

use super::stacks::{may_allocate, may_fetch};

type Malloc = unsafe extern "C" fn(c_int) -> *mut c_void;
type Realloc = unsafe extern "C" fn(*mut c_void, c_int) -> *mut c_void;
type Fetch = unsafe extern "C" fn(*mut sqlite3_pcache, c_uint, c_int) -> *mut sqlite3_pcache_page;

/// What SQLite would use by itself.
static OWN: OnceLock<Own> = OnceLock::new();

struct Own {
    malloc: Malloc,
    realloc: Realloc,
    fetch: Fetch,
}

/// Has SQLite use them. Before SQLite's first use; if it is in use already, nothing changes.
pub(super) fn install() {
    let mut memory = MaybeUninit::<sqlite3_mem_methods>::zeroed();
    let mut pages = MaybeUninit::<sqlite3_pcache_methods2>::zeroed();
    // SAFETY: SQLite is not in use yet; each option takes a pointer to such methods, the first two to fill them, the others to copy them. All
    // zeroes are valid methods (none).
    unsafe {
        ffi::sqlite3_config(ffi::SQLITE_CONFIG_GETMALLOC, memory.as_mut_ptr());
        ffi::sqlite3_config(ffi::SQLITE_CONFIG_GETPCACHE2, pages.as_mut_ptr());
        let (memory, pages) = (memory.assume_init(), pages.assume_init());
        let (Some(own_malloc), Some(own_realloc), Some(own_fetch)) = (memory.xMalloc, memory.xRealloc, pages.xFetch)
        else {
            return;
        };
        if OWN.set(Own { malloc: own_malloc, realloc: own_realloc, fetch: own_fetch }).is_ok() {
            let memory = sqlite3_mem_methods { xMalloc: Some(malloc), xRealloc: Some(realloc), ..memory };
            let pages = sqlite3_pcache_methods2 { xFetch: Some(fetch), ..pages };
            ffi::sqlite3_config(ffi::SQLITE_CONFIG_MALLOC, &raw const memory);
            ffi::sqlite3_config(ffi::SQLITE_CONFIG_PCACHE2, &raw const pages);
        }
    }
}

unsafe extern "C" fn malloc(bytes: c_int) -> *mut c_void {
    match OWN.get() {
        // SAFETY: SQLite's own function, called as SQLite called this.
        Some(own) if may_allocate() => unsafe { (own.malloc)(bytes) },
        _ => ptr::null_mut(),
    }
}

unsafe extern "C" fn realloc(memory: *mut c_void, bytes: c_int) -> *mut c_void {
    match OWN.get() {
        // SAFETY: as above.
        Some(own) if may_allocate() => unsafe { (own.realloc)(memory, bytes) },
        _ => ptr::null_mut(),
    }
}

/// With `create` 0 a page is only looked for, and not finding it would mean that it is not in the cache: that is never refused.
unsafe extern "C" fn fetch(cache: *mut sqlite3_pcache, page: c_uint, create: c_int) -> *mut sqlite3_pcache_page {
    match OWN.get() {
        // SAFETY: as above.
        Some(own) if may_fetch() || create == 0 => unsafe { (own.fetch)(cache, page, create) },
        _ => ptr::null_mut(),
    }
}
