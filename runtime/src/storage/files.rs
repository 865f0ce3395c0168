//! Operations on files that are durable when they return.
//!
//! A file is replaced as a whole: the new one is written beside it, flushed and renamed, and the directory is flushed.
//! A crash leaves the old file or the new one, and perhaps a `.tmp` that is never read.
//!
//! What is made is the owner's alone, files 0600 and directories 0700, whatever the umask allows.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use super::StorageError;

/// How files of the data directory are made.
pub(super) fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}

/// Makes a directory of the data directory, and those above it; not flushed.
pub(super) fn make_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Whether the system had no room for what was asked (descriptors, memory, space): nothing is wrong with what is there,
/// and it may succeed later.
pub(super) fn is_lack_of_room(error: &io::Error) -> bool {
    use io::ErrorKind::{OutOfMemory, QuotaExceeded, StorageFull};
    let of_process =
        |code| [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE].map(|errno| errno.raw_os_error()).contains(&code);
    matches!(error.kind(), StorageFull | QuotaExceeded | OutOfMemory) || error.raw_os_error().is_some_and(of_process)
}

/// Replaces the file at `path`; durable when it returns.
pub(super) fn write_durably(path: &Path, bytes: &[u8]) -> Result<(), StorageError> {
    let beside = path.with_extension("tmp");
    let write = || {
        let mut file = private().write(true).create(true).truncate(true).open(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        sync_parent(path)
    };
    write().map_err(StorageError::io("cannot write", path))
}

/// Gives a file another name in the same directory; durable when it returns. After an error it has the old name, unless
/// the disk refuses that, too.
pub(super) fn rename_durably(from: &Path, to: &Path) -> Result<(), StorageError> {
    let rename = || {
        fs::rename(from, to)?;
        // The caller continues with the old name after an error, so the file must have it.
        sync_parent(to).or_else(|error| fs::rename(to, from).and(Err(error)))
    };
    rename().map_err(StorageError::io("cannot rename", from))
}

/// Removes the file at `path`; durable when it returns. Returns whether there was one.
pub(super) fn remove_durably(path: &Path) -> Result<bool, StorageError> {
    let remove = || match remove_if_there(path)? {
        true => sync_parent(path).map(|()| true),
        false => Ok(false),
    };
    remove().map_err(StorageError::io("cannot remove", path))
}

/// Makes a directory and those above it; durable when it returns.
pub(super) fn make_dir_durably(path: &Path) -> Result<(), StorageError> {
    let make = || {
        let missing = path.ancestors().take_while(|dir| !dir.as_os_str().is_empty() && !dir.is_dir()).count();
        make_dir(path)?;
        // Also if it was there: a process that was killed may have made it and not flushed that.
        path.ancestors().take(missing.max(1)).try_for_each(sync_parent)
    };
    make().map_err(StorageError::io("cannot make the directory", path))
}

/// Removes a file without flushing its directory. Returns whether there was one.
pub(super) fn remove_if_there(path: &Path) -> io::Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Makes the directory entry of `path` durable.
pub(super) fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => return Ok(()),
    };
    File::open(parent)?.sync_all()
}
