//! A simulated disk that loses power: real files in a directory, and a record of what of them is durable.
//!
//! Owns the possible states of a directory after a power cut: each 512-byte sector that was not flushed is old or new,
//! lengths are in between, entries of directories that were not flushed are old or new, in any order; a rename within a
//! directory happens or does not. It includes files that are written directly (by SQLite), because it reads the files
//! themselves.
//!
//! Invariants: flushed data survives every power cut; the same seed after the same operations gives the same directory.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use rustix::io::Errno;

use super::Disk;
use crate::base::Env;
use crate::base::failpoints::{Action, Failpoint, Rules};

const SECTOR: usize = 512;

/// A directory on a simulated disk.
pub struct SimulatedDisk {
    root: PathBuf,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    durable: Tree,
    operations: u64,
    faults: Rules,
    /// Operations that a fault has failed.
    refused: u64,
    /// The number of the operation before which the power is cut.
    stop_at: Option<u64>,
}

/// Files by identity and directories by path; the root's path is empty.
#[derive(Default)]
struct Tree {
    files: HashMap<Id, Arc<Vec<u8>>>,
    /// Open, so that the system gives the inode of a known file to no other one: the clock of births is coarse.
    handles: HashMap<Id, File>,
    dirs: BTreeMap<PathBuf, BTreeMap<OsString, Entry>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Entry {
    File(Id),
    Dir,
}

/// The identity of a file under any name. An inode number alone is given to another file once this one is removed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Id(u64, SystemTime);

impl Id {
    fn of(metadata: &Metadata) -> Self {
        Self(metadata.ino(), metadata.created().unwrap_or(SystemTime::UNIX_EPOCH))
    }
}

impl SimulatedDisk {
    /// Creates the disk of this directory. The present contents are durable.
    pub fn new(root: &Path) -> io::Result<Arc<Self>> {
        let durable = Tree::read(root)?;
        Ok(Arc::new(Self { root: root.into(), state: Mutex::new(State { durable, ..State::default() }) }))
    }

    /// Makes the operation of this number at this failpoint (the first from now being 1) fail with this error.
    pub fn fail(&self, failpoint: Failpoint, error: Errno, nth: u64) {
        self.state.lock().faults.add(failpoint, Action::Fail(error), nth);
    }

    /// Ends the process before the operation of this number at this failpoint (the first from now being 1): that one
    /// and all later ones fail.
    pub fn kill(&self, failpoint: Failpoint, nth: u64) {
        self.state.lock().faults.add(failpoint, Action::Kill, nth);
    }

    /// Returns the number of operations so far.
    pub fn operations(&self) -> u64 {
        self.state.lock().operations
    }

    /// Returns how many operations have failed because of [`Self::fail`].
    pub fn refused(&self) -> u64 {
        self.state.lock().refused
    }

    /// Makes the operation of this number and all later ones fail, as if the power were cut.
    pub fn stop_at(&self, operation: u64) {
        self.state.lock().stop_at = Some(operation);
    }

    /// Returns whether operations fail because of [`Self::stop_at`], or because the process has ended itself.
    pub fn is_out(&self) -> bool {
        let state = self.state.lock();
        state.stop_at.is_some_and(|stop| state.operations >= stop)
    }

    /// Starts another process on the disk as it is; nothing more of it becomes durable. Faults are removed.
    pub fn restart(&self) {
        let mut state = self.state.lock();
        (state.stop_at, state.faults) = (None, Rules::default());
    }

    /// Cuts the power and restores it: the directory is as a real disk could leave it, and all of that is durable.
    /// Removes injected faults. No file may be open: the files are replaced.
    pub fn power_cut(&self, seed: u64) -> io::Result<()> {
        let mut state = self.state.lock();
        let current = Tree::read(&self.root)?;
        let (random, _) = Env::manual(seed);
        let mut left = BTreeMap::new();
        let cut = Cut { durable: &state.durable, current: &current, random };
        cut.dir(Path::new(""), &mut left);
        for entry in fs::read_dir(&self.root)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() { fs::remove_dir_all(entry.path())? } else { fs::remove_file(entry.path())? }
        }
        for (path, content) in left {
            match content {
                Some(bytes) => fs::write(self.root.join(path), bytes)?,
                None => fs::create_dir(self.root.join(path))?,
            }
        }
        *state = State { durable: Tree::read(&self.root)?, ..State::default() };
        Ok(())
    }
}

impl fmt::Debug for SimulatedDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimulatedDisk").field("root", &self.root).finish_non_exhaustive()
    }
}

impl Disk for SimulatedDisk {
    fn at(&self, failpoint: Failpoint) -> io::Result<()> {
        let mut state = self.state.lock();
        state.operations += 1;
        if state.stop_at.is_some_and(|stop| state.operations >= stop) {
            return Err(io::Error::other("the power is out"));
        }
        match state.faults.hit(failpoint) {
            None => Ok(()),
            Some((Action::Fail(errno), _)) => {
                state.refused += 1;
                Err(errno.into())
            }
            Some((Action::Kill, _)) => {
                state.stop_at = Some(0);
                Err(io::Error::other("the process was killed"))
            }
        }
    }

    /// Panics, which ends the thread that would have ended the process.
    fn lost(&self, what: &str) -> ! {
        self.stop_at(0);
        panic!("{what}");
    }

    fn sync_data(&self, failpoint: Failpoint, file: &File) -> io::Result<()> {
        self.at(failpoint)?;
        let metadata = file.metadata()?;
        let mut bytes = vec![0; metadata.len() as usize];
        file.read_exact_at(&mut bytes, 0)?;
        let (id, durable) = (Id::of(&metadata), &mut self.state.lock().durable);
        durable.handles.insert(id, file.try_clone()?);
        durable.files.insert(id, Arc::new(bytes));
        Ok(())
    }

    fn sync_all(&self, failpoint: Failpoint, file: &File) -> io::Result<()> {
        self.sync_data(failpoint, file)
    }

    fn sync_dir(&self, failpoint: Failpoint, dir: &Path) -> io::Result<()> {
        self.at(failpoint)?;
        // A directory above the root existed before.
        if let Ok(within) = dir.strip_prefix(&self.root) {
            let mut names = BTreeMap::new();
            let durable = &mut self.state.lock().durable;
            for (name, (entry, path)) in entries(dir)? {
                if let Entry::File(id) = entry {
                    durable.handles.insert(id, File::open(path)?);
                }
                names.insert(name, entry);
            }
            durable.dirs.insert(within.into(), names);
        }
        Ok(())
    }

    fn sync_open_dir(&self, failpoint: Failpoint, dir: &Path, _opened: &File) -> io::Result<()> {
        self.sync_dir(failpoint, dir)
    }

    fn sync_file_system(&self, failpoint: Failpoint, _dir: &Path) -> io::Result<()> {
        self.at(failpoint)?;
        let all = Tree::read(&self.root)?;
        self.state.lock().durable = all;
        Ok(())
    }
}

fn entries(dir: &Path) -> io::Result<BTreeMap<OsString, (Entry, PathBuf)>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        let what = if metadata.is_dir() { Entry::Dir } else { Entry::File(Id::of(&metadata)) };
        found.insert(entry.file_name(), (what, entry.path()));
    }
    Ok(found)
}

impl Tree {
    fn read(root: &Path) -> io::Result<Self> {
        let mut tree = Self::default();
        let mut waiting = vec![PathBuf::new()];
        while let Some(dir) = waiting.pop() {
            let mut names = BTreeMap::new();
            for (name, (entry, path)) in entries(&root.join(&dir))? {
                match entry {
                    Entry::Dir => waiting.push(dir.join(&name)),
                    Entry::File(id) => {
                        tree.files.insert(id, Arc::new(fs::read(&path)?));
                        tree.handles.insert(id, File::open(path)?);
                    }
                }
                names.insert(name, entry);
            }
            tree.dirs.insert(dir, names);
        }
        Ok(tree)
    }
}

/// One power cut.
struct Cut<'a> {
    durable: &'a Tree,
    current: &'a Tree,
    random: Env,
}

impl Cut<'_> {
    /// Returns a number below `limit`.
    fn below(&self, limit: usize) -> usize {
        (u64::from_le_bytes(self.random.random()) % limit as u64) as usize
    }

    /// Returns what is left of a directory: paths, with contents if they are files, parents first.
    fn dir(&self, dir: &Path, left: &mut BTreeMap<PathBuf, Option<Vec<u8>>>) {
        let none = BTreeMap::new();
        let old = self.durable.dirs.get(dir).unwrap_or(&none);
        let new = self.current.dirs.get(dir).unwrap_or(&none);
        for (name, from_new) in self.choices(old, new) {
            let Some(entry) = (if from_new { new.get(&name) } else { old.get(&name) }) else { continue };
            let path = dir.join(&name);
            match entry {
                Entry::File(id) => drop(left.insert(path, Some(self.file(*id)))),
                Entry::Dir => {
                    left.insert(path.clone(), None);
                    self.dir(&path, left);
                }
            }
        }
    }

    /// Returns for each name whether it is as it is now. Names between which a file was moved are decided together.
    fn choices(&self, old: &BTreeMap<OsString, Entry>, new: &BTreeMap<OsString, Entry>) -> BTreeMap<OsString, bool> {
        let names: BTreeSet<&OsString> = old.keys().chain(new.keys()).collect();
        let mut group: BTreeMap<&OsString, usize> = names.iter().copied().zip(0..).collect();
        for (from, entry) in old.iter().filter(|(from, entry)| new.get(*from) != Some(*entry)) {
            let moved = new.iter().filter(|(_, now)| matches!(entry, Entry::File(_)) && *now == entry);
            for (to, _) in moved {
                let (keep, join) = (group[from], group[to]);
                group.values_mut().filter(|group| **group == join).for_each(|group| *group = keep);
            }
        }
        let coins: Vec<bool> = names.iter().map(|_| self.below(2) == 1).collect();
        group.into_iter().map(|(name, group)| (name.clone(), coins[group])).collect()
    }

    fn file(&self, id: Id) -> Vec<u8> {
        let empty = Arc::default();
        let old = self.durable.files.get(&id).unwrap_or(&empty);
        let new = self.current.files.get(&id).unwrap_or(old);
        if old == new {
            return old.to_vec();
        }
        let (short, long) = (old.len().min(new.len()), old.len().max(new.len()));
        let length = match self.below(3) {
            0 => old.len(),
            1 => new.len(),
            _ => short + self.below(long - short + 1),
        };
        // All, none, the first ones, or any.
        let style = self.below(4);
        let limit = self.below(length / SECTOR + 2);
        let mut left = vec![0; length];
        for (index, sector) in left.chunks_mut(SECTOR).enumerate() {
            let is_new = match style {
                0 => true,
                1 => false,
                2 => index < limit,
                _ => self.below(2) == 1,
            };
            let from = if is_new { new } else { old };
            let from = from.get(index * SECTOR..).unwrap_or_default();
            let known = from.len().min(sector.len());
            sector[..known].copy_from_slice(&from[..known]);
        }
        left
    }
}
