//! The disk as an argument: every operation of the log, of recovery and of trim goes through it, with the name of its
//! failpoint.
//!
//! Owns how bytes reach files and directories, and nothing of what they mean. Every method first calls [`Disk::at`], so
//! a test can fail or stop the world before any of them; a simulated disk needs to replace only what makes things
//! durable. Reads are not here: nothing depends on when they happen.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{FallocateFlags, fallocate, syncfs};

use crate::base::failpoints::{self, Failpoint};
use crate::base::output;
use crate::storage::files::private;

/// The exit code of a process that has lost its log; the same as of one that does not start.
const LOST: i32 = 1;

/// Where files are.
pub trait Disk: Send + Sync + 'static {
    /// Called before each operation with its name. An error is the operation's error.
    fn at(&self, failpoint: Failpoint) -> io::Result<()>;

    /// Called when it is not known what is on disk: says why and ends the process.
    fn lost(&self, what: &str) -> !;

    /// Makes a file that must not be there yet.
    fn create(&self, failpoint: Failpoint, path: &Path) -> io::Result<File> {
        self.at(failpoint)?;
        private().read(true).write(true).create_new(true).open(path)
    }

    /// Opens a file to write it.
    fn open(&self, failpoint: Failpoint, path: &Path) -> io::Result<File> {
        self.at(failpoint)?;
        OpenOptions::new().read(true).write(true).open(path)
    }

    /// Writes all of it.
    fn write_all_at(&self, failpoint: Failpoint, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.at(failpoint)?;
        file.write_all_at(bytes, offset)
    }

    /// Writes all of them one after the other, in one call if the system takes them so.
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

    /// Makes sure that the first `bytes` of the file have their place on the disk.
    fn allocate(&self, failpoint: Failpoint, file: &File, bytes: u64) -> io::Result<()> {
        self.at(failpoint)?;
        match fallocate(file, FallocateFlags::empty(), 0, bytes) {
            // A file system that cannot promise: the file's length is all that can be had.
            Err(rustix::io::Errno::OPNOTSUPP) => file.set_len(bytes),
            done => Ok(done?),
        }
    }

    /// Cuts or lengthens the file.
    fn set_len(&self, failpoint: Failpoint, file: &File, bytes: u64) -> io::Result<()> {
        self.at(failpoint)?;
        file.set_len(bytes)
    }

    /// Returns when the file's contents and length are on disk.
    fn sync_data(&self, failpoint: Failpoint, file: &File) -> io::Result<()> {
        self.at(failpoint)?;
        file.sync_data()
    }

    /// Returns when the file is on disk with all that belongs to it, a shorter length included.
    fn sync_all(&self, failpoint: Failpoint, file: &File) -> io::Result<()> {
        self.at(failpoint)?;
        file.sync_all()
    }

    /// Returns when the directory's entries are on disk.
    fn sync_dir(&self, failpoint: Failpoint, dir: &Path) -> io::Result<()> {
        self.at(failpoint)?;
        File::open(dir)?.sync_all()
    }

    /// The same of a directory that is open, which needs no descriptor.
    fn sync_open_dir(&self, failpoint: Failpoint, _dir: &Path, opened: &File) -> io::Result<()> {
        self.at(failpoint)?;
        opened.sync_all()
    }

    /// Returns when everything of the file system that holds the directory is on disk, directory entries included.
    fn sync_file_system(&self, failpoint: Failpoint, dir: &Path) -> io::Result<()> {
        self.at(failpoint)?;
        Ok(syncfs(File::open(dir)?)?)
    }

    /// Moves a file in the place of another, within one directory.
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

    /// Ends the process as an error does, with a message and without a core. Nothing of this program runs at exit:
    /// destructors do not, and nobody has registered anything, so nothing more is written or told.
    ///
    /// After a failed flush the kernel may have dropped the pages it could not write, so nobody can know what the file
    /// holds, and a later flush that succeeds would prove nothing. Recovery reads what is really there.
    fn lost(&self, what: &str) -> ! {
        tracing::error!(
            "{what}; what the disk holds is unknown, so the process ends: check the disk, then start it again"
        );
        output::stderr().flush();
        std::process::exit(LOST)
    }
}
