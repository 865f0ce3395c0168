//! Files that are on disk before a function returns.
//!
//! A file is replaced whole: written beside, flushed, renamed, and its directory flushed. A crash leaves the old file or
//! the new one, and perhaps a `.tmp` that nobody reads.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use super::StorageError;

/// Replaces the file at `path`; durable when it returns.
pub(super) fn write_durably(path: &Path, bytes: &[u8]) -> Result<(), StorageError> {
    let beside = path.with_extension("tmp");
    let write = || {
        let mut file = File::create(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        sync_parent(path)
    };
    write().map_err(StorageError::io("cannot write", path))
}

/// Removes the file at `path`; durable when it returns. Answers whether there was one.
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
        fs::create_dir_all(path)?;
        // Also if it was there: a process that was killed may have made it and not flushed that.
        path.ancestors().take(missing.max(1)).try_for_each(sync_parent)
    };
    make().map_err(StorageError::io("cannot make the directory", path))
}

/// Removes a file without flushing its directory. Answers whether there was one.
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
