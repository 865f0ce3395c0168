//! Temporary files as the VFS hands them to SQLite ([`open`]).
//!
//! A file takes no locks and is used by one connection; it ends when SQLite closes it. Its bytes are charged to its
//! object's [`Temporary`].

use std::ffi::{c_int, c_void};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::slice;

use rusqlite::ffi::{
    SQLITE_FULL, SQLITE_INTERRUPT, SQLITE_IOERR_FSTAT, SQLITE_IOERR_READ, SQLITE_IOERR_SHORT_READ,
    SQLITE_IOERR_TRUNCATE, SQLITE_IOERR_WRITE, SQLITE_NOTFOUND, SQLITE_OK, sqlite3_file, sqlite3_int64,
    sqlite3_io_methods,
};

use super::stacks::may_use_files;
use super::temporary::Temporary;
use crate::base::MemoryCharge;

/// Bytes by which a file's charge grows.
const STEP: u64 = 256 << 10;

/// As SQLite sees it, and what it is.
#[repr(C)]
pub(super) struct TemporaryFile {
    base: sqlite3_file,
    inner: *mut Inner,
}

struct Inner {
    file: File,
    length: u64,
    charge: MemoryCharge,
    of: Temporary,
}

impl Inner {
    /// Charges for a file of this length, rounded up.
    fn grow(&mut self, length: u64) -> bool {
        let needed = length.next_multiple_of(STEP);
        let more = needed.saturating_sub(self.charge.bytes());
        more == 0 || self.of.clone().take(&mut self.charge, more)
    }

    fn shrink(&mut self, length: u64) {
        let less = self.charge.bytes().saturating_sub(length.next_multiple_of(STEP));
        self.of.give_back(less);
        self.charge.shrink(less);
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.of.give_back(self.charge.bytes());
    }
}

/// Opens a temporary file in the place that SQLite gives. False if the file system refuses.
///
/// # Safety
/// The place has room for a [`TemporaryFile`].
pub(super) unsafe fn open(of: Temporary, place: *mut sqlite3_file) -> bool {
    let Some((file, charge)) = of.make() else { return false };
    let inner = Box::into_raw(Box::new(Inner { file, length: 0, charge, of }));
    // SAFETY: the caller's; SQLite gives `inner` back to the methods below until it closes the file.
    unsafe { place.cast::<TemporaryFile>().write(TemporaryFile { base: sqlite3_file { pMethods: &METHODS }, inner }) };
    true
}

static METHODS: sqlite3_io_methods = sqlite3_io_methods {
    iVersion: 1,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(lock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(zero),
    xDeviceCharacteristics: Some(zero),
    xShmMap: None,
    xShmLock: None,
    xShmBarrier: None,
    xShmUnmap: None,
    xFetch: None,
    xUnfetch: None,
};

/// # Safety
/// The file is one that [`open`] made and that is not closed; nothing else uses it meanwhile.
unsafe fn inner<'a>(file: *mut sqlite3_file) -> &'a mut Inner {
    // SAFETY: the caller's.
    unsafe { &mut *(*file.cast::<TemporaryFile>()).inner }
}

unsafe extern "C" fn close(file: *mut sqlite3_file) -> c_int {
    // SAFETY: SQLite closes a file once and uses it no more.
    drop(unsafe { Box::from_raw((*file.cast::<TemporaryFile>()).inner) });
    SQLITE_OK
}

unsafe extern "C" fn read(file: *mut sqlite3_file, to: *mut c_void, bytes: c_int, at: sqlite3_int64) -> c_int {
    if !may_use_files() {
        return SQLITE_INTERRUPT;
    }
    // SAFETY: SQLite gives an open file and room for so many bytes.
    let (inner, to) = unsafe { (inner(file), slice::from_raw_parts_mut(to.cast::<u8>(), bytes as usize)) };
    let (mut done, at) = (0, at as u64);
    while done < to.len() {
        match inner.file.read_at(&mut to[done..], at + done as u64) {
            // What SQLite reads beyond the end is zeros.
            Ok(0) => {
                to[done..].fill(0);
                return SQLITE_IOERR_SHORT_READ;
            }
            Ok(read) => done += read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return SQLITE_IOERR_READ,
        }
    }
    SQLITE_OK
}

unsafe extern "C" fn write(file: *mut sqlite3_file, from: *const c_void, bytes: c_int, at: sqlite3_int64) -> c_int {
    if !may_use_files() {
        return SQLITE_INTERRUPT;
    }
    // SAFETY: SQLite gives an open file and so many bytes.
    let (inner, from) = unsafe { (inner(file), slice::from_raw_parts(from.cast::<u8>(), bytes as usize)) };
    let end = at as u64 + from.len() as u64;
    if end > inner.length {
        if !inner.grow(end) {
            return SQLITE_FULL;
        }
        inner.length = end;
    }
    match inner.file.write_all_at(from, at as u64) {
        Ok(()) => SQLITE_OK,
        Err(error) if error.kind() == std::io::ErrorKind::StorageFull => SQLITE_FULL,
        Err(_) => SQLITE_IOERR_WRITE,
    }
}

unsafe extern "C" fn truncate(file: *mut sqlite3_file, length: sqlite3_int64) -> c_int {
    // SAFETY: SQLite gives an open file.
    let inner = unsafe { inner(file) };
    if inner.file.set_len(length as u64).is_err() {
        return SQLITE_IOERR_TRUNCATE;
    }
    inner.length = length as u64;
    inner.shrink(length as u64);
    SQLITE_OK
}

unsafe extern "C" fn file_size(file: *mut sqlite3_file, length: *mut sqlite3_int64) -> c_int {
    // SAFETY: SQLite gives an open file.
    let Ok(metadata) = unsafe { inner(file) }.file.metadata() else { return SQLITE_IOERR_FSTAT };
    // SAFETY: SQLite gives a place for the answer.
    unsafe { *length = metadata.len() as sqlite3_int64 };
    SQLITE_OK
}

unsafe extern "C" fn sync(_: *mut sqlite3_file, _: c_int) -> c_int {
    SQLITE_OK
}

unsafe extern "C" fn lock(_: *mut sqlite3_file, _: c_int) -> c_int {
    SQLITE_OK
}

unsafe extern "C" fn check_reserved_lock(_: *mut sqlite3_file, answer: *mut c_int) -> c_int {
    // SAFETY: a place for the answer.
    unsafe { *answer = 0 };
    SQLITE_OK
}

unsafe extern "C" fn file_control(_: *mut sqlite3_file, _: c_int, _: *mut c_void) -> c_int {
    SQLITE_NOTFOUND
}

unsafe extern "C" fn zero(_: *mut sqlite3_file) -> c_int {
    0
}
