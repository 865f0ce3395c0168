//! The disk as a parameter: every write operation of the log, of recovery and of checkpoints goes through it, with the
//! name of its failpoint.
//!
//! Owns how bytes reach files and directories, and not their meaning. Every method first calls [`Disk::at`], so a test
//! can inject an error or a crash before any operation; a simulated disk replaces only the operations that make data
//! durable. Reads are not included: nothing depends on when they happen.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{FallocateFlags, fallocate, syncfs};

use crate::base::failpoints::{self, Failpoint};
use crate::base::output;
use crate::storage::files::private;

/// The exit code of a process whose log failed; the same as that of a process that cannot start.
const LOST: i32 = 1;

/// A disk.
pub trait Disk: Send + Sync + 'static {
    /// Called before each operation with its name. An error becomes the operation's error.
    fn at(&self, failpoint: Failpoint) -> io::Result<()>;

    /// Ends the process with a message, because it is unknown what is on disk.
    fn lost(&self, what: &str) -> !;

    /// Makes a file that must not exist yet.
    fn create(&self, failpoint: Failpoint, path: &Path) -> io::Result<File> {
        self.at(failpoint)?;
        private().read(true).write(true).create_new(true).open(path)
    }

    /// Opens a file for writing.
    fn open(&self, failpoint: Failpoint, path: &Path) -> io::Result<File> {
        self.at(failpoint)?;
        OpenOptions::new().read(true).write(true).open(path)
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
                Err(rustix::io::Errno::INTR) => {}
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
            Err(rustix::io::Errno::OPNOTSUPP) => file.set_len(bytes),
            done => Ok(done?),
        }
    }

    /// Sets the length of the file.
    fn set_len(&self, failpoint: Failpoint, file: &File, bytes: u64) -> io::Result<()> {
        self.at(failpoint)?;
        file.set_len(bytes)
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

    /// Renames a file within its directory; replaces a file of that name.
    fn rename(&self, failpoint: Failpoint, from: &Path, to: &Path) -> io::Result<()> {
        self.at(failpoint)?;
        fs::rename(from, to)
    }

    /// Removes a file.
    fn remove(&self, failpoint: Failpoint, path: &Path) -> io::Result<()> {
        self.at(failpoint)?;
        fs::remove_file(path)
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
