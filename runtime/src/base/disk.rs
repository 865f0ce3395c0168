//! The disk as a parameter: every write below the data directory goes through it, with the name of its failpoint.
//!
//! Owns how bytes reach files and directories, and not their meaning; the sequences of operations after which a change
//! is durable are here once. Every operation first calls [`Disk::at`], so a test can inject an error or a crash before
//! any of them; a simulated disk replaces only the operations that make data durable. Reads are not included: nothing
//! depends on when they happen.
//!
//! What SQLite writes (databases, WALs, catalogs, temporary files) goes through its VFS instead: it has no durable
//! state of its own, because the commit log has everything that a checkpoint has not flushed. The failpoints of those
//! writes are hit before the calls that cause them. `tests/tidy/disk.rs` forbids every other way to the disk.
//!
//! What is made is the owner's alone, files 0600 and directories 0700, whatever the umask allows.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, IoSlice};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate, syncfs};
use rustix::io::Errno;
use tempfile::{NamedTempFile, TempDir};

use super::failpoints::{self, Failpoint};
use super::output;

#[cfg(any(test, fuzzing))]
mod simulated;
#[cfg(test)]
mod tests;

#[cfg(any(test, fuzzing))]
pub use simulated::SimulatedDisk;

/// The exit code of a process whose log failed; the same as that of a process that cannot start.
const LOST: i32 = 1;

/// A disk. The first argument of each operation names it for failpoints.
pub trait Disk: fmt::Debug + Send + Sync + 'static {
    /// Called before each operation with its name. An error becomes the operation's error.
    fn at(&self, failpoint: Failpoint) -> io::Result<()>;

    /// Ends the process with a message, because it is unknown what is on disk.
    fn lost(&self, what: &str) -> !;

    /// Makes a file that must not exist yet.
    fn create(&self, failpoint: Failpoint, path: &Path) -> io::Result<File> {
        self.at(failpoint)?;
        private().create_new(true).open(path)
    }

    /// Makes an empty file, or empties the one that exists.
    fn create_empty(&self, failpoint: Failpoint, path: &Path) -> io::Result<File> {
        self.at(failpoint)?;
        private().create(true).truncate(true).open(path)
    }

    /// Opens a file for writing, and makes it if there is none.
    fn open_or_create(&self, failpoint: Failpoint, path: &Path) -> io::Result<File> {
        self.at(failpoint)?;
        private().create(true).truncate(false).open(path)
    }

    /// Opens a file for writing.
    fn open(&self, failpoint: Failpoint, path: &Path) -> io::Result<File> {
        self.at(failpoint)?;
        private().open(path)
    }

    /// Makes a file without a name in a directory: it ends when it is closed.
    fn create_unnamed(&self, failpoint: Failpoint, dir: &Path) -> io::Result<File> {
        self.at(failpoint)?;
        tempfile::tempfile_in(dir)
    }

    /// Makes a file with a new name in a directory. It is removed when the value is dropped.
    fn create_temporary(&self, failpoint: Failpoint, dir: &Path) -> io::Result<NamedTempFile> {
        self.at(failpoint)?;
        NamedTempFile::new_in(dir)
    }

    /// Makes a directory with a new name in a directory. It is removed when the value is dropped.
    fn create_temporary_dir(&self, failpoint: Failpoint, dir: &Path) -> io::Result<TempDir> {
        self.at(failpoint)?;
        tempfile::Builder::new().permissions(Permissions::from_mode(0o700)).tempdir_in(dir)
    }

    /// Writes all bytes at the offset.
    fn write_all_at(&self, failpoint: Failpoint, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.at(failpoint)?;
        file.write_all_at(bytes, offset)
    }

    /// Writes all buffers one after the other, in one system call if possible.
    fn write_vectored_at(
        &self,
        failpoint: Failpoint,
        file: &File,
        mut parts: &mut [IoSlice<'_>],
        mut offset: u64,
    ) -> io::Result<()> {
        self.at(failpoint)?;
        // IOV_MAX of Linux.
        const MOST: usize = 1024;
        IoSlice::advance_slices(&mut parts, 0);
        while !parts.is_empty() {
            match rustix::io::pwritev(file, &parts[..parts.len().min(MOST)], offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    offset += written as u64;
                    IoSlice::advance_slices(&mut parts, written);
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Allocates space on the disk for the first `bytes` of the file.
    fn allocate(&self, failpoint: Failpoint, file: &File, bytes: u64) -> io::Result<()> {
        self.at(failpoint)?;
        match fallocate(file, FallocateFlags::empty(), 0, bytes) {
            // The file system cannot reserve blocks: setting the file's length is all that is possible.
            Err(Errno::OPNOTSUPP) => file.set_len(bytes),
            done => Ok(done?),
        }
    }

    /// Sets the length of the file.
    fn set_len(&self, failpoint: Failpoint, file: &File, bytes: u64) -> io::Result<()> {
        self.at(failpoint)?;
        file.set_len(bytes)
    }

    /// Sets the permissions of a file or directory.
    fn set_mode(&self, failpoint: Failpoint, path: &Path, mode: u32) -> io::Result<()> {
        self.at(failpoint)?;
        fs::set_permissions(path, Permissions::from_mode(mode))
    }

    /// Flushes the file's contents and length.
    fn sync_data(&self, failpoint: Failpoint, file: &File) -> io::Result<()> {
        self.at(failpoint)?;
        file.sync_data()
    }

    /// Flushes the file with all its metadata, a shorter length included.
    fn sync_all(&self, failpoint: Failpoint, file: &File) -> io::Result<()> {
        self.at(failpoint)?;
        file.sync_all()
    }

    /// Flushes the directory's entries.
    fn sync_dir(&self, failpoint: Failpoint, dir: &Path) -> io::Result<()> {
        self.at(failpoint)?;
        File::open(dir)?.sync_all()
    }

    /// Flushes the entries of an open directory, which needs no further descriptor.
    fn sync_open_dir(&self, failpoint: Failpoint, _dir: &Path, opened: &File) -> io::Result<()> {
        self.at(failpoint)?;
        opened.sync_all()
    }

    /// Flushes the whole file system that contains the directory, directory entries included.
    fn sync_file_system(&self, failpoint: Failpoint, dir: &Path) -> io::Result<()> {
        self.at(failpoint)?;
        Ok(syncfs(File::open(dir)?)?)
    }

    /// Renames a file; replaces a file of that name.
    fn rename(&self, failpoint: Failpoint, from: &Path, to: &Path) -> io::Result<()> {
        self.at(failpoint)?;
        fs::rename(from, to)
    }

    /// Removes a file.
    fn remove(&self, failpoint: Failpoint, path: &Path) -> io::Result<()> {
        self.at(failpoint)?;
        fs::remove_file(path)
    }

    /// Removes a file without flushing its directory. Returns whether there was one.
    fn remove_if_there(&self, failpoint: Failpoint, path: &Path) -> io::Result<bool> {
        if_there(self.remove(failpoint, path))
    }

    /// Removes a directory and everything in it without flushing the one above. Returns whether there was one.
    fn remove_dir_all(&self, failpoint: Failpoint, dir: &Path) -> io::Result<bool> {
        self.at(failpoint)?;
        if_there(fs::remove_dir_all(dir))
    }

    /// Makes a directory, and those above it; not flushed.
    fn make_dir(&self, failpoint: Failpoint, dir: &Path) -> io::Result<()> {
        self.at(failpoint)?;
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|error| match error.kind() {
            // A file has the name: what is below it cannot be made.
            io::ErrorKind::AlreadyExists => Errno::NOTDIR.into(),
            _ => error,
        })
    }

    /// Makes the directory entry of `path` durable.
    fn sync_parent(&self, failpoint: Failpoint, path: &Path) -> io::Result<()> {
        match path.parent() {
            Some(parent) if parent.as_os_str().is_empty() => self.sync_dir(failpoint, Path::new(".")),
            Some(parent) => self.sync_dir(failpoint, parent),
            None => Ok(()),
        }
    }

    /// Makes a directory and those above it; durable when it returns.
    fn make_dir_durably(&self, failpoint: Failpoint, dir: &Path) -> io::Result<()> {
        let is_missing = |dir: &&Path| !dir.as_os_str().is_empty() && !dir.is_dir();
        let missing: Vec<&Path> = dir.ancestors().take_while(is_missing).collect();
        // What exists may have been made by a process that was killed before it flushed that. Only the last one: each
        // is flushed before the next one is made.
        match missing.last().and_then(|first| first.parent()) {
            None => self.sync_parent(failpoint, dir)?,
            // A directory outside, perhaps of another user.
            Some(outside) => _ = self.sync_parent(failpoint, outside),
        }
        missing.into_iter().rev().try_for_each(|dir| {
            self.make_dir(failpoint, dir)?;
            self.sync_parent(failpoint, dir)
        })
    }

    /// Replaces the file at `path` as a whole, or makes it; durable when it returns. The new file is written beside it,
    /// flushed and renamed, and the directory is flushed: a crash leaves the old file or the new one, and perhaps a
    /// `.tmp`, which nothing reads. The error says whether the old file is certainly still there.
    fn replace(&self, failpoint: Failpoint, path: &Path, bytes: &[u8]) -> Result<(), ReplaceError> {
        let beside = beside(path);
        let put = || {
            let file = self.create_empty(failpoint, &beside)?;
            self.write_all_at(failpoint, &file, bytes, 0)?;
            self.sync_all(failpoint, &file)?;
            self.rename(failpoint, &beside, path)
        };
        put().map_err(|error| {
            // It takes room, perhaps the last, and nothing would remove it later.
            let _ = self.remove(failpoint, &beside);
            ReplaceError::Unchanged(error)
        })?;
        self.sync_parent(failpoint, path).map_err(ReplaceError::Either)
    }

    /// Gives a file another name in the same directory; durable when it returns. After an error it has the old name,
    /// unless the disk refuses that, too.
    fn rename_durably(&self, failpoint: Failpoint, from: &Path, to: &Path) -> io::Result<()> {
        self.rename(failpoint, from, to)?;
        // The caller continues with the old name after an error, so the file must have it.
        self.sync_parent(failpoint, to).or_else(|error| self.rename(failpoint, to, from).and(Err(error)))
    }

    /// Removes the file at `path`; durable when it returns. Returns whether there was one.
    fn remove_durably(&self, failpoint: Failpoint, path: &Path) -> io::Result<bool> {
        let removed = self.remove_if_there(failpoint, path)?;
        // Also if there was none: an earlier removal may have failed to flush.
        self.sync_parent(failpoint, path)?;
        Ok(removed)
    }
}

/// The reason why a file was not replaced.
#[derive(Debug, thiserror::Error)]
pub enum ReplaceError {
    /// The old file is there, or none if there was none.
    #[error(transparent)]
    Unchanged(io::Error),
    /// The new file is there, and after a crash either of the two.
    #[error(transparent)]
    Either(io::Error),
}

impl From<ReplaceError> for io::Error {
    fn from((ReplaceError::Unchanged(error) | ReplaceError::Either(error)): ReplaceError) -> Self {
        error
    }
}

/// Returns whether the system had no room for an operation (descriptors, memory, space): nothing is wrong with what is
/// there, and the operation may succeed later.
pub fn is_lack_of_room(error: &io::Error) -> bool {
    use io::ErrorKind::{OutOfMemory, QuotaExceeded, StorageFull};
    let of_process = |code| [Errno::MFILE, Errno::NFILE].map(Errno::raw_os_error).contains(&code);
    matches!(error.kind(), StorageFull | QuotaExceeded | OutOfMemory) || error.raw_os_error().is_some_and(of_process)
}

/// How files are opened for writing, and for the reading with which a simulated disk flushes them.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    options
}

/// Returns the path of the file that replaces the one at `path`.
fn beside(path: &Path) -> PathBuf {
    path.with_extension("tmp")
}

fn if_there(removed: io::Result<()>) -> io::Result<bool> {
    match removed {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// The machine's own disk.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemDisk;

impl Disk for SystemDisk {
    fn at(&self, failpoint: Failpoint) -> io::Result<()> {
        failpoints::hit(failpoint)
    }

    /// Ends the process with an exit code and a message, without a core dump. No code of this program runs at exit: no
    /// destructors, no registered handlers; so nothing more is written or sent.
    ///
    /// After a failed flush the kernel may have dropped the pages that it could not write, so the contents of the file
    /// are unknown, and a later successful flush would prove nothing. Recovery reads what is really on disk.
    fn lost(&self, what: &str) -> ! {
        tracing::error!(
            "{what}; what the disk holds is unknown, so the process ends: check the disk, then start it again"
        );
        output::stderr().flush();
        std::process::exit(LOST)
    }
}
