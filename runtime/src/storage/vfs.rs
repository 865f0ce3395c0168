//! The VFS for the files of objects: SQLite's own without locks, and without the system calls at each open that are of
//! no use here.
//!
//! * A path is taken as it is. `unix-none` asks of each directory above the file whether it is a symbolic link, which
//!   is ten system calls for a file as deep as an object's.
//! * There is no rollback journal beside a file that is opened: databases are in WAL mode, and a journal that is found
//!   is never rolled back.
//! * Temporary files are those of `temporary`, as long as SQLite works for an object.
//! * Pages of a database file are checked when they are read, and their sums are noted when they are written (`sums`),
//!   if the file is opened through [`with_sums`]. WALs have checksums of SQLite's own.
//!
//! The data directory is locked as a whole; SQLite's own locks would be lost whenever a checkpoint closes its
//! descriptor.

use std::cell::RefCell;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::io;
use std::mem::size_of;
use std::ptr;
use std::sync::{Arc, Once};

use rusqlite::ffi::{
    SQLITE_CANTOPEN, SQLITE_FULL, SQLITE_IOERR_DATA, SQLITE_IOERR_READ, SQLITE_IOERR_SHORT_READ, SQLITE_IOERR_WRITE,
    SQLITE_OK, SQLITE_OPEN_DELETEONCLOSE, SQLITE_OPEN_MAIN_DB, sqlite3_file, sqlite3_filename, sqlite3_int64,
    sqlite3_io_methods, sqlite3_vfs, sqlite3_vfs_find, sqlite3_vfs_register,
};

use super::heap;
use super::sums::{PageSums, sum};
use super::template::PAGE;
use super::temporary::Temporary;
use super::temporary_file::{self, TemporaryFile};
use crate::base::disk::is_lack_of_room;

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
        let registered = unsafe {
            let base = sqlite3_vfs_find(PLAIN_NAME.as_ptr());
            assert!(!base.is_null(), "SQLite was compiled for Unix");
            let (name, next) = (OBJECTS_NAME.as_ptr(), ptr::null_mut());
            let (full, access) = (Some(full_pathname as FullPathname), Some(access as Access));
            let size = (size_of::<CheckedFile>() as c_int + (*base).szOsFile).max(size_of::<TemporaryFile>() as c_int);
            let vfs = sqlite3_vfs {
                zName: name,
                pNext: next,
                szOsFile: size,
                xOpen: Some(open),
                xFullPathname: full,
                xAccess: access,
                ..*base
            };
            sqlite3_vfs_register(Box::leak(Box::new(vfs)), 0)
        };
        assert_eq!(registered, SQLITE_OK, "registering a VFS cannot fail");
    });
}

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

thread_local! {
    /// The sums of the database file that this thread opens next.
    static SUMS: RefCell<Option<Arc<PageSums>>> = const { RefCell::new(None) };
}

/// Opens a database, the pages of which have these sums.
pub(super) fn with_sums<T>(sums: Option<Arc<PageSums>>, open: impl FnOnce() -> T) -> T {
    SUMS.set(sums);
    let opened = open();
    SUMS.set(None);
    opened
}

/// What SQLite takes for the file: ours, and the plain one behind it.
#[repr(C, align(16))]
struct CheckedFile {
    base: sqlite3_file,
    sums: *const PageSums,
    /// Bytes of the file; below 0 until SQLite has asked for them, which it does at the beginning of each transaction.
    /// Checkpoints may make the file longer, but only while its WAL has these pages, and then SQLite goes by the WAL; a
    /// checkpoint cuts the file.
    size: sqlite3_int64,
}

static CHECKED: sqlite3_io_methods = sqlite3_io_methods {
    // Without shared memory and memory maps: databases are opened exclusively.
    iVersion: 1,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: None,
    xShmLock: None,
    xShmBarrier: None,
    xShmUnmap: None,
    xFetch: None,
    xUnfetch: None,
};

/// Opens a plain file, a checked one if it is a database with sums, or a temporary one of the object.
unsafe extern "C" fn open(
    vfs: *mut sqlite3_vfs,
    path: sqlite3_filename,
    file: *mut sqlite3_file,
    flags: c_int,
    flags_out: *mut c_int,
) -> c_int {
    let sums = if flags & SQLITE_OPEN_MAIN_DB != 0 { SUMS.take() } else { None };
    if path.is_null()
        && flags & SQLITE_OPEN_DELETEONCLOSE != 0
        && let Some(of) = heap::current_temporary()
    {
        // SAFETY: SQLite gives `szOsFile` bytes for the file, which are enough for a temporary one, and null or a place
        // for the flags.
        return unsafe { open_temporary(of, file, flags, flags_out) };
    }
    // SAFETY: SQLite gives `szOsFile` bytes for the file, which are enough for ours and the plain one. The plain VFS
    // works on a copy of itself as it does on itself. The count that `into_raw` takes is given back by `close`, which
    // SQLite calls for each file whose methods are set.
    unsafe {
        let Some(plain) = (*sqlite3_vfs_find(PLAIN_NAME.as_ptr())).xOpen else { return SQLITE_CANTOPEN };
        let Some(sums) = sums else { return plain(vfs, path, file, flags, flags_out) };
        (*file).pMethods = ptr::null();
        let opened = plain(vfs, path, behind(file), flags, flags_out);
        if opened == SQLITE_OK {
            let (base, sums) = (sqlite3_file { pMethods: &CHECKED }, Arc::into_raw(sums));
            let checked = CheckedFile { base, sums, size: -1 };
            ptr::write(file.cast::<CheckedFile>(), checked);
        }
        opened
    }
}

/// Opens a temporary file of the object that SQLite works for.
unsafe fn open_temporary(of: Temporary, file: *mut sqlite3_file, flags: c_int, flags_out: *mut c_int) -> c_int {
    // SAFETY: the caller's.
    unsafe {
        (*file).pMethods = ptr::null();
        if !temporary_file::open(of, file) {
            return SQLITE_CANTOPEN;
        }
        if !flags_out.is_null() {
            *flags_out = flags;
        }
    }
    SQLITE_OK
}

/// The plain file behind ours.
unsafe fn behind(file: *mut sqlite3_file) -> *mut sqlite3_file {
    // SAFETY: both are in one allocation, see `open`.
    unsafe { file.cast::<CheckedFile>().add(1).cast() }
}

/// Calls a method of the plain file.
macro_rules! plain {
    ($file:ident, $method:ident $(, $argument:expr)*) => {{
        // SAFETY: `file` is one of ours, so the plain file stands behind it.
        let plain = unsafe { behind($file) };
        // SAFETY: `open` has opened the plain file, whose methods are those of the plain VFS, all there.
        unsafe { ((*(*plain).pMethods).$method.expect("a VFS for Unix has it"))(plain $(, $argument)*) }
    }};
}

unsafe fn sums_of<'a>(file: *mut sqlite3_file) -> &'a PageSums {
    // SAFETY: `open` has put them there, and they live until `close`.
    unsafe { &*(*file.cast::<CheckedFile>()).sums }
}

/// Returns the stored copy of the file's size.
unsafe fn size_of_file<'a>(file: *mut sqlite3_file) -> &'a mut sqlite3_int64 {
    // SAFETY: `open` has put it there; a file is used by one thread at a time, and no method of it holds the size while
    // it calls another.
    unsafe { &mut (*file.cast::<CheckedFile>()).size }
}

unsafe extern "C" fn close(file: *mut sqlite3_file) -> c_int {
    let closed = plain!(file, xClose);
    // SAFETY: as `open` says; SQLite does not use the file any more.
    unsafe {
        drop(Arc::from_raw((*file.cast::<CheckedFile>()).sums));
        (*file).pMethods = ptr::null();
    }
    closed
}

unsafe extern "C" fn read(file: *mut sqlite3_file, into: *mut c_void, bytes: c_int, at: sqlite3_int64) -> c_int {
    // SAFETY: as `open` says.
    let sums = unsafe { sums_of(file) };
    let (page, within) = ((at / PAGE as i64) as u32 + 1, (at % PAGE as i64) as usize);
    let checked = if bytes as usize == PAGE && within == 0 {
        let code = plain!(file, xRead, into, bytes, at);
        if code != SQLITE_OK && code != SQLITE_IOERR_SHORT_READ {
            return code;
        }
        // SAFETY: SQLite gives room for so many bytes, all of which were written: what a short read lacks is zeros.
        let image = unsafe { std::slice::from_raw_parts(into.cast::<u8>(), PAGE) };
        return answer(sums.check(page, image, code == SQLITE_OK), code);
    } else if within + bytes as usize <= PAGE && !sums.is_checked(page) {
        // A look at the header, which decides how all other pages are read, or at a part of a long value.
        let mut image = [0; PAGE];
        let code = plain!(file, xRead, image.as_mut_ptr().cast(), PAGE as c_int, at - within as i64);
        if code != SQLITE_OK && code != SQLITE_IOERR_SHORT_READ {
            return code;
        }
        let checked = sums.check(page, &image, code == SQLITE_OK);
        if let (SQLITE_OK, Ok(true)) = (code, &checked) {
            // SAFETY: SQLite gives room for so many bytes, which are within the page.
            unsafe { ptr::copy_nonoverlapping(image[within..].as_ptr(), into.cast(), bytes as usize) };
            return SQLITE_OK;
        }
        checked
    } else {
        Ok(true)
    };
    match answer(checked, SQLITE_OK) {
        SQLITE_OK => plain!(file, xRead, into, bytes, at),
        refused => refused,
    }
}

fn answer(checked: io::Result<bool>, read: c_int) -> c_int {
    match checked {
        Ok(true) => read,
        Ok(false) => SQLITE_IOERR_DATA,
        Err(error) => failed(&error, SQLITE_IOERR_READ),
    }
}

unsafe extern "C" fn write(file: *mut sqlite3_file, from: *const c_void, bytes: c_int, at: sqlite3_int64) -> c_int {
    let code = plain!(file, xWrite, from, bytes, at);
    if code != SQLITE_OK {
        return code;
    }
    // SAFETY: as `open` says.
    let size = unsafe { size_of_file(file) };
    if *size >= 0 {
        *size = (*size).max(at + i64::from(bytes));
    }
    if bytes as usize != PAGE {
        return code;
    }
    let page = (at / PAGE as i64) as u32 + 1;
    // SAFETY: SQLite gives so many bytes.
    let (sums, image) = unsafe { (sums_of(file), std::slice::from_raw_parts(from.cast::<u8>(), PAGE)) };
    match sums.set(page, sum(page, image)) {
        Ok(()) => SQLITE_OK,
        Err(error) => failed(&error, SQLITE_IOERR_WRITE),
    }
}

/// The end of a checkpoint: SQLite cuts the file to its size, and then begins the WAL anew.
unsafe extern "C" fn truncate(file: *mut sqlite3_file, bytes: sqlite3_int64) -> c_int {
    let code = plain!(file, xTruncate, bytes);
    if code != SQLITE_OK {
        return code;
    }
    // SAFETY: as everywhere here.
    let sums = unsafe {
        *size_of_file(file) = bytes;
        sums_of(file)
    };
    sums.truncate((bytes / PAGE as i64) as u32);
    match sums.write() {
        Ok(()) => SQLITE_OK,
        Err(error) => failed(&error, SQLITE_IOERR_WRITE),
    }
}

unsafe extern "C" fn sync(file: *mut sqlite3_file, flags: c_int) -> c_int {
    plain!(file, xSync, flags)
}

unsafe extern "C" fn file_size(file: *mut sqlite3_file, size: *mut sqlite3_int64) -> c_int {
    // SAFETY: as `open` says; SQLite gives a place for the answer.
    let (known, size) = unsafe { (size_of_file(file), &mut *size) };
    if *known < 0 {
        let code = plain!(file, xFileSize, size);
        if code != SQLITE_OK {
            return code;
        }
        *known = *size;
    }
    *size = *known;
    SQLITE_OK
}

unsafe extern "C" fn lock(file: *mut sqlite3_file, level: c_int) -> c_int {
    plain!(file, xLock, level)
}

unsafe extern "C" fn unlock(file: *mut sqlite3_file, level: c_int) -> c_int {
    plain!(file, xUnlock, level)
}

unsafe extern "C" fn check_reserved_lock(file: *mut sqlite3_file, answer: *mut c_int) -> c_int {
    plain!(file, xCheckReservedLock, answer)
}

unsafe extern "C" fn file_control(file: *mut sqlite3_file, what: c_int, argument: *mut c_void) -> c_int {
    plain!(file, xFileControl, what, argument)
}

unsafe extern "C" fn sector_size(file: *mut sqlite3_file) -> c_int {
    plain!(file, xSectorSize)
}

unsafe extern "C" fn device_characteristics(file: *mut sqlite3_file) -> c_int {
    plain!(file, xDeviceCharacteristics)
}

/// Returns SQLite's code for an error at reading or writing the file of sums.
fn failed(error: &io::Error, otherwise: c_int) -> c_int {
    if is_lack_of_room(error) { SQLITE_FULL } else { otherwise }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rusqlite::{Connection, OpenFlags};

    use super::*;

    /// The files that lie beside a database do not count, whatever SQLite would make of them.
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
    /// The stored size is the file's size, as far as SQLite relies on it: while the WAL is empty.
    #[test]
    fn a_file_that_grows_and_shrinks_has_its_size() {
        crate::storage::connection::configure_process();
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.sqlite");
        let open = || Connection::open_with_flags_and_vfs(&file, OpenFlags::default(), OBJECTS).unwrap();
        let sqlite = with_sums(Some(PageSums::fresh(std::sync::Arc::new(crate::base::SystemDisk), &file)), open);
        let settings = "PRAGMA auto_vacuum = FULL; PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL;";
        sqlite.execute_batch(&format!("{settings} CREATE TABLE t (x)")).unwrap();
        for rows in [300, 10, 500, 0] {
            sqlite.execute("DELETE FROM t", []).unwrap();
            let numbers = "WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT 500)";
            let insert = format!("{numbers} INSERT INTO t SELECT randomblob(3000) FROM c WHERE n <= ?");
            sqlite.execute(&insert, [rows]).unwrap();
            let busy = sqlite.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0)).unwrap();
            let pages = sqlite.query_row("PRAGMA page_count", [], |row| row.get::<_, i64>(0)).unwrap();
            let stored = sqlite.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0)).unwrap();
            assert_eq!((busy, stored), (0, rows));
            assert_eq!(pages as u64 * PAGE as u64, fs::metadata(&file).unwrap().len());
        }
    }
}
