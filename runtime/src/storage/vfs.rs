//! How SQLite reaches the files of objects: its own VFS without locks, less what it would ask the system at each open in vain.
//!
//! * A path is taken as it is. `unix-none` asks of each directory above the file whether it is a symbolic link, which is ten
//!   system calls for a file as deep as an object's.
//! * There is no rollback journal beside a file that is opened: databases are in WAL mode, and nobody else's journal is
//!   ever rolled back.
//! * Temporary files are those of `temporary`, as long as SQLite works for an object.
//!
//! The data directory is locked as a whole; SQLite's own locks would be lost whenever a release round closes its descriptor.

use std::ffi::{CStr, c_char, c_int};
use std::ptr;
use std::sync::Once;

use rusqlite::ffi::{
    SQLITE_CANTOPEN, SQLITE_OK, SQLITE_OPEN_DELETEONCLOSE, sqlite3_file, sqlite3_vfs, sqlite3_vfs_find,
    sqlite3_vfs_register,
};

use super::heap;
use super::temporary::{self, TemporaryFile};

/// What objects' databases are opened with, once [`register`] was called.
pub(super) const OBJECTS: &str = "holdfast";
/// What it is a copy of.
pub(super) const PLAIN: &str = "unix-none";
const OBJECTS_NAME: &CStr = c"holdfast";
const PLAIN_NAME: &CStr = c"unix-none";

/// Has SQLite know the VFS.
pub(super) fn register() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: SQLite's own VFSes live as long as the process; their functions work on copies of them, which is how
        // SQLite itself makes its variants. What is registered is leaked, so it lives as long.
        #[allow(non_snake_case, reason = "named as SQLite's fields")]
        let registered = unsafe {
            let base = sqlite3_vfs_find(PLAIN_NAME.as_ptr());
            assert!(!base.is_null(), "SQLite was compiled for Unix");
            let (name, next) = (OBJECTS_NAME.as_ptr(), ptr::null_mut());
            let (full, access) = (Some(full_pathname as FullPathname), Some(access as Access));
            let szOsFile = (*base).szOsFile.max(size_of::<TemporaryFile>() as c_int);
            let xOpen = Some(open as Open);
            let vfs = sqlite3_vfs {
                zName: name,
                pNext: next,
                szOsFile,
                xOpen,
                xFullPathname: full,
                xAccess: access,
                ..*base
            };
            sqlite3_vfs_register(Box::leak(Box::new(vfs)), 0)
        };
        assert_eq!(registered, SQLITE_OK, "registering a VFS cannot fail");
    });
}

type Open = unsafe extern "C" fn(*mut sqlite3_vfs, *const c_char, *mut sqlite3_file, c_int, *mut c_int) -> c_int;
type FullPathname = unsafe extern "C" fn(*mut sqlite3_vfs, *const c_char, c_int, *mut c_char) -> c_int;
type Access = unsafe extern "C" fn(*mut sqlite3_vfs, *const c_char, c_int, *mut c_int) -> c_int;

unsafe extern "C" fn full_pathname(_: *mut sqlite3_vfs, path: *const c_char, room: c_int, full: *mut c_char) -> c_int {
    // SAFETY: SQLite gives a text that ends with a zero, and room for so many bytes elsewhere.
    unsafe {
        let path = CStr::from_ptr(path).to_bytes_with_nul();
        if path.len() > room as usize {
            return SQLITE_CANTOPEN;
        }
        ptr::copy_nonoverlapping(path.as_ptr().cast(), full, path.len());
    }
    SQLITE_OK
}

unsafe extern "C" fn open(
    vfs: *mut sqlite3_vfs,
    path: *const c_char,
    file: *mut sqlite3_file,
    flags: c_int,
    opened: *mut c_int,
) -> c_int {
    // SAFETY: SQLite gives a place of `szOsFile` bytes for the file, and a path or null for a temporary one; all else goes to the
    // VFS that this is a copy of, which was found when this was registered.
    unsafe {
        if path.is_null()
            && flags & SQLITE_OPEN_DELETEONCLOSE != 0
            && let Some(of) = heap::current_temporary()
        {
            (*file).pMethods = ptr::null();
            if !temporary::open(of, file) {
                return SQLITE_CANTOPEN;
            }
            if !opened.is_null() {
                *opened = flags;
            }
            return SQLITE_OK;
        }
        match (*sqlite3_vfs_find(PLAIN_NAME.as_ptr())).xOpen {
            Some(open) => open(vfs, path, file, flags, opened),
            None => SQLITE_CANTOPEN,
        }
    }
}

unsafe extern "C" fn access(vfs: *mut sqlite3_vfs, path: *const c_char, flags: c_int, answer: *mut c_int) -> c_int {
    // SAFETY: SQLite gives a text that ends with a zero and a place for the answer; what it is asked otherwise goes
    // to the VFS that this is a copy of, which was found when this was registered.
    unsafe {
        if CStr::from_ptr(path).to_bytes().ends_with(b"-journal") {
            *answer = 0;
            return SQLITE_OK;
        }
        match (*sqlite3_vfs_find(PLAIN_NAME.as_ptr())).xAccess {
            Some(access) => access(vfs, path, flags, answer),
            None => SQLITE_CANTOPEN,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rusqlite::{Connection, OpenFlags};

    use super::*;

    /// Whatever lies beside a database, it is not what SQLite makes of it that counts.
    #[test]
    fn a_journal_that_was_left_is_not_rolled_back() {
        crate::storage::connection::configure_process();
        let dir = tempfile::tempdir().unwrap();
        let (file, journal) = (dir.path().join("a.sqlite"), dir.path().join("a.sqlite-journal"));
        let open = |vfs| Connection::open_with_flags_and_vfs(&file, OpenFlags::default(), vfs).unwrap();
        let writer = open(OBJECTS);
        writer.execute_batch("CREATE TABLE t (x); INSERT INTO t VALUES (1); PRAGMA journal_mode = PERSIST").unwrap();
        writer.execute_batch("PRAGMA cache_spill = 1; BEGIN; UPDATE t SET x = 2").unwrap();
        let before = fs::read(&file).unwrap();
        writer.cache_flush().unwrap();
        assert_ne!(fs::read(&file).unwrap(), before, "the transaction's pages are in the file");
        let (torn, left) = (fs::read(&file).unwrap(), fs::read(&journal).unwrap());
        drop(writer);
        let read = |vfs| {
            fs::write(&file, &torn).unwrap();
            fs::write(&journal, &left).unwrap();
            open(vfs).query_row("SELECT x FROM t", [], |row| row.get::<_, i64>(0)).unwrap()
        };
        assert_eq!((read(OBJECTS), read(PLAIN)), (2, 1));
    }
}
