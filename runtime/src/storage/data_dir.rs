//! The data directory: one per server, held by one process at a time.
//!
//! ```text
//! LOCK             held (flock) while a process uses the directory
//! FORMAT           `holdfast data 3`: which layout this is, and what a program must know to use it
//! admin.token      the admin API's bearer token, written by the server
//! classes/         class records and components
//! objects/         databases: <class key>/<2 hex>/<id>-<incarnation>.sqlite, .sums and .sqlite-wal
//! log/             the commit log
//! catalog/         the list of objects, a file for each lane of the log; can be rebuilt
//! alarms.running   which alarms run; can be deleted
//! cache/           compiled code; can be deleted
//! transfers/       exports and imports on their way, temporary files; emptied at the start
//! ```
//! The lock stands for file locks on every database below: SQLite takes none of its own. Everything is the owner's
//! alone: the directory and those in it 0700, files 0600.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FlockOperation, flock};

use super::commit_log::LANES_MAX;
use crate::base::{Disk, Failpoint, SystemDisk};

/// The first line of `FORMAT` in a directory that this program makes.
const FORMAT: &str = "holdfast data 3";
/// The one before, which is upgraded when a server opens it.
const FORMAT_2: &str = "holdfast data 2";
/// Lanes of every directory of format 2.
const LANES_2: u16 = 16;
/// What group and others may do, as bits of a mode.
const OTHERS: u32 = 0o077;

/// An open data directory. Dropping it unlocks it.
#[derive(Debug)]
pub struct DataDir {
    root: PathBuf,
    disk: Arc<dyn Disk>,
    lanes: u16,
    _lock: File,
}

/// Why a data directory could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another process holds it.
    #[error("{} is in use by another process; stop that server or pass another --data", .0.display())]
    InUse(PathBuf),
    /// Its `FORMAT` file is not one that this version knows.
    #[error(
        "{} says {found:?}, and this program knows formats 2 and 3; nothing was changed. Start the version of holdfast that \
         made the directory, or a later one, or pass another --data",
        path.display()
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// What the file says.
        found: String,
    },
    /// Something in it is only known to later versions.
    #[error(
        "{} says {needed:?}, which this program does not know; nothing was changed. Start the version of holdfast that wrote it, \
         or a later one, or pass another --data",
        path.display()
    )]
    Needs {
        /// The file.
        path: PathBuf,
        /// The line that is not known.
        needed: String,
    },
    /// There is none.
    #[error("{} is not a data directory; pass another --data", .0.display())]
    Missing(PathBuf),
    /// The file system refused.
    #[error("{}: {cause}; check that --data names a directory that you may write", path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// Why not.
        cause: io::Error,
    },
}

impl DataDir {
    /// Opens and locks the directory, making it first if it does not exist.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, DataDirError> {
        Self::open_on(Arc::new(SystemDisk), path.as_ref())
    }

    /// Opens the directory on a disk, which everything that is opened in it uses.
    pub fn open_on(disk: Arc<dyn Disk>, path: &Path) -> Result<Self, DataDirError> {
        const MAKE: Failpoint = Failpoint::DataDirMake;
        let refused = |cause| DataDirError::Io { path: path.into(), cause };
        disk.make_dir_durably(MAKE, path).map_err(refused)?;
        // Absolute, because SQLite opens files by path for as long as the process lives.
        let root = fs::canonicalize(path).map_err(refused)?;
        let lock = disk.open_or_create(MAKE, &root.join("LOCK")).map_err(refused)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(DataDirError::InUse(root)),
            Err(error) => return Err(refused(error.into())),
        }
        let lanes = claim_format(&*disk, &root)?.lanes;
        let dir = Self { root, disk, lanes, _lock: lock };
        dir.make_private();
        dir.disk.remove_dir_all(MAKE, &dir.transfers()).map_err(refused)?;
        for sub in [dir.objects(), dir.classes(), dir.cache(), dir.transfers(), dir.log()] {
            let refused = |cause| DataDirError::Io { path: sub.clone(), cause };
            dir.disk.make_dir_durably(MAKE, &sub).map_err(refused)?;
        }
        Ok(dir)
    }

    /// Takes the directory and everything in it from other users of the machine, if it is not the owner's alone: those
    /// of earlier versions are not. Done once, because a directory of mode 0700 protects its contents.
    fn make_private(&self) {
        match tighten_root(&*self.disk, &self.root) {
            Ok(false) => {}
            Ok(true) => {
                tracing::info!("{} and all that is in it is its owner's alone from now on", self.root.display())
            }
            Err(error) => tracing::warn!(
                "{} can be reached by other users of this machine, and that cannot be changed: {error}",
                self.root.display()
            ),
        }
    }

    /// The disk that the directory is on.
    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    /// Lanes of the directory's commit log: the number with which the directory was made.
    pub fn lanes(&self) -> u16 {
        self.lanes
    }

    /// The directory itself, absolute.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Databases of objects.
    pub fn objects(&self) -> PathBuf {
        self.root.join("objects")
    }

    /// Class records and components.
    pub fn classes(&self) -> PathBuf {
        self.root.join("classes")
    }

    /// Compiled code.
    pub fn cache(&self) -> PathBuf {
        self.root.join("cache")
    }

    /// Files on their way in or out of the objects: copies that are read, uploads that are checked.
    pub fn transfers(&self) -> PathBuf {
        self.root.join("transfers")
    }

    /// The list of objects.
    pub fn catalog(&self) -> PathBuf {
        self.root.join("catalog")
    }

    /// Which alarms are running.
    pub fn alarm_runs(&self) -> PathBuf {
        self.root.join("alarms.running")
    }

    /// The commit log.
    pub fn log(&self) -> PathBuf {
        self.root.join("log")
    }

    /// Where the admin API's token is.
    pub fn admin_token_path(&self) -> PathBuf {
        self.root.join("admin.token")
    }
}

/// A data directory that is looked at without changing a byte of it. Until this is dropped, no server can begin to use
/// it.
#[derive(Debug)]
pub struct DataDirView {
    root: PathBuf,
    /// None if there is no lock to hold, or a server holds it.
    _lock: Option<File>,
    in_use: bool,
}

impl DataDirView {
    /// Looks at a data directory, also at one that a server uses.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, DataDirError> {
        let root = path.as_ref().to_path_buf();
        let refused = |cause| DataDirError::Io { path: root.clone(), cause };
        match fs::read(root.join("FORMAT")) {
            Ok(found) => _ = Format::parse(&root, &found)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(DataDirError::Missing(root)),
            Err(error) => return Err(refused(error)),
        }
        let lock = match File::open(root.join("LOCK")) {
            Ok(lock) => Some(lock),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(refused(error)),
        };
        let locked = lock.as_ref().map_or(Ok(()), |lock| flock(lock, FlockOperation::NonBlockingLockShared));
        let in_use = match locked {
            Ok(()) => false,
            Err(rustix::io::Errno::WOULDBLOCK) => true,
            Err(error) => return Err(refused(error.into())),
        };
        Ok(Self { root, _lock: lock, in_use })
    }

    /// Whether a server uses it, so that it may change while it is looked at.
    pub fn in_use(&self) -> bool {
        self.in_use
    }

    /// The directory, as it was given.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Segments of the commit log.
    pub fn log(&self) -> PathBuf {
        self.root.join("log")
    }

    /// Class records and components.
    pub fn classes(&self) -> PathBuf {
        self.root.join("classes")
    }

    /// Databases of objects.
    pub fn objects(&self) -> PathBuf {
        self.root.join("objects")
    }

    /// The list of objects.
    pub fn catalog(&self) -> PathBuf {
        self.root.join("catalog")
    }
}

/// Returns whether anything was open to others. The root comes last, so that an interrupted run is repeated.
fn tighten_root(disk: &dyn Disk, root: &Path) -> io::Result<bool> {
    if fs::metadata(root)?.permissions().mode() & OTHERS == 0 {
        return Ok(false);
    }
    tighten(disk, root)?;
    Ok(true)
}

fn tighten(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            tighten(disk, &entry.path())?;
        } else if kind.is_file() && entry.metadata()?.permissions().mode() & OTHERS != 0 {
            disk.set_mode(Failpoint::DataDirMake, &entry.path(), 0o600)?;
        }
    }
    disk.set_mode(Failpoint::DataDirMake, dir, 0o700)
}

/// What a `FORMAT` file says. Its first line names the layout, and that number has grown for the last time: later
/// versions add files, and a line of their own if a program that does not know them must not use the directory.
#[derive(Debug, PartialEq, Eq)]
struct Format {
    version: u16,
    lanes: u16,
}

impl Format {
    fn parse(root: &Path, bytes: &[u8]) -> Result<Self, DataDirError> {
        let path = root.join("FORMAT");
        let text = String::from_utf8_lossy(bytes);
        let shown = |text: &str| text.chars().take(80).collect();
        let mut lines = text.lines();
        let mut format = match lines.next() {
            Some(FORMAT_2) => Self { version: 2, lanes: LANES_2 },
            Some(FORMAT) => Self { version: 3, lanes: 0 },
            first => return Err(DataDirError::Format { path, found: shown(first.unwrap_or_default()) }),
        };
        for line in lines {
            match line.strip_prefix("lanes ").and_then(|lanes| lanes.parse().ok()) {
                Some(lanes @ 1..=LANES_MAX) if format.version == 3 => format.lanes = lanes,
                _ => return Err(DataDirError::Needs { path, needed: shown(line) }),
            }
        }
        match format.lanes {
            0 => Err(DataDirError::Format { path, found: shown(text.trim_end()) }),
            _ => Ok(format),
        }
    }

    fn write(&self, disk: &dyn Disk, path: &Path) -> Result<(), DataDirError> {
        let text = format!("{FORMAT}\nlanes {}\n", self.lanes);
        let written = disk.replace(Failpoint::DataDirMake, path, text.as_bytes());
        written.map_err(|error| DataDirError::Io { path: path.into(), cause: error.into() })
    }
}

/// Reads which format the directory has. A new one gets the newest, and one of the format before is upgraded: its file
/// says the new format before anything else changes, so that an earlier program never meets what it does not know.
fn claim_format(disk: &dyn Disk, root: &Path) -> Result<Format, DataDirError> {
    let file = root.join("FORMAT");
    let found = match fs::read(&file) {
        Ok(found) => Format::parse(root, &found)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let new = Format { version: 3, lanes: LANES_MAX };
            new.write(disk, &file)?;
            return Ok(new);
        }
        Err(cause) => return Err(DataDirError::Io { path: file, cause }),
    };
    if found.version == 2 {
        found.write(disk, &file)?;
        tracing::info!(
            "{} was upgraded from data format 2 to 3; earlier versions of holdfast cannot open it any more",
            root.display()
        );
    }
    Ok(Format { version: 3, ..found })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_at_a_time() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a/b");
        let held = DataDir::open(&path).unwrap();
        let message = DataDir::open(&path).unwrap_err().to_string();
        assert!(message.contains("in use") && message.contains("--data"), "{message}");
        drop(held);
        assert!(DataDir::open(&path).is_ok());
    }

    #[test]
    fn looking_changes_nothing_and_keeps_servers_out() {
        let root = tempfile::tempdir().unwrap();
        assert!(matches!(DataDirView::open(root.path()), Err(DataDirError::Missing(_))));
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
        let used = DataDir::open(root.path()).unwrap();
        assert!(DataDirView::open(root.path()).unwrap().in_use());
        drop(used);
        let view = DataDirView::open(root.path()).unwrap();
        assert!(!view.in_use() && !DataDirView::open(root.path()).unwrap().in_use());
        assert!(matches!(DataDir::open(root.path()), Err(DataDirError::InUse(_))));
        drop(view);
        assert!(DataDir::open(root.path()).is_ok());
    }

    #[test]
    fn another_format_is_refused() {
        let root = tempfile::tempdir().unwrap();
        drop(DataDir::open(root.path()).unwrap());
        let file = root.path().join("FORMAT");
        let refused = |content: &str, expected: &str| {
            fs::write(&file, content).unwrap();
            for error in [DataDir::open(root.path()).unwrap_err(), DataDirView::open(root.path()).unwrap_err()] {
                let text = error.to_string();
                for said in [file.to_str().unwrap(), expected, "nothing was changed", "later one"] {
                    assert!(text.contains(said), "{said}: {text}");
                }
            }
            assert_eq!(fs::read_to_string(&file).unwrap(), content);
        };
        refused("holdfast data 9\n", "\"holdfast data 9\", and this program knows formats 2 and 3");
        refused("holdfast data 3\nlanes 64\npacks\n", "\"packs\", which this program does not know");
        refused("holdfast data 3\nlanes 65\n", "\"lanes 65\"");
        refused("holdfast data 2\nlanes 64\n", "\"lanes 64\"");
        refused("holdfast data 3\n", "\"holdfast data 3\"");
        refused("", "\"\"");
        refused("\u{0}garbage", "garbage");
    }

    #[test]
    fn a_new_directory_has_64_lanes_and_one_of_format_2_keeps_its_16() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(DataDir::open(root.path()).unwrap().lanes(), 64);
        assert_eq!(DataDir::open(root.path()).unwrap().lanes(), 64);
        let file = root.path().join("FORMAT");
        fs::write(&file, "holdfast data 2\n").unwrap();
        assert!(DataDirView::open(root.path()).is_ok());
        assert_eq!(fs::read_to_string(&file).unwrap(), "holdfast data 2\n", "looking upgrades nothing");
        assert_eq!(DataDir::open(root.path()).unwrap().lanes(), 16);
        assert_eq!(fs::read_to_string(&file).unwrap(), "holdfast data 3\nlanes 16\n");
        assert_eq!(DataDir::open(root.path()).unwrap().lanes(), 16);
    }
}
