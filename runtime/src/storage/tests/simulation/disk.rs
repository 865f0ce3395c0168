//! A disk that forgets: files in a directory, and what of them would be there if the power failed now.
//!
//! Files are real, so that SQLite can use them; what is *durable* of them is kept beside: each file's contents at its last flush and
//! each directory's names at its last flush. A process that is killed leaves the files as they are; a power cut leaves
//! a mixture: names that were never flushed may be there or not, and of a file any sectors, old or new, and any of both
//! lengths. The disk can also take a picture of itself before some operation, so that the world ends in the midst of a step.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use parking_lot::Mutex;

use super::schedule::Dice;
use crate::base::points::Point;
use crate::storage::commit_log::Disk;

/// What a device writes whole.
const SECTOR: usize = 512;
/// What a kernel writes back at once.
const BLOCK: usize = 4096;

/// The payload of the panic with which a process ends itself.
pub struct ProcessEnded(pub String);

/// A disk below a directory.
pub struct SimulatedDisk {
    root: PathBuf,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    durable: Durable,
    operations: u64,
    /// Before which operation a picture is taken, and the picture.
    picture_at: Option<u64>,
    picture: Option<Picture>,
    /// Which operation fails, once, and whether for lack of space.
    fault_at: Option<(u64, bool)>,
    /// Where the last group of the log begins.
    last_group: Option<(PathBuf, u64)>,
}

/// Numbers of files, by path below the root.
type Names = BTreeMap<PathBuf, Inode>;

#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
enum Inode {
    Directory,
    /// File systems give the number of a file that is gone to another one, later.
    File { number: u64, born: u128 },
}

/// When a file was born that is gone: before this process, or it would have another number.
const GONE: u128 = u128::MAX;

type Contents = HashMap<Inode, Arc<Vec<u8>>>;

#[derive(Clone, Default)]
struct Durable {
    names: Names,
    contents: Contents,
}

/// A disk at one moment.
#[derive(Clone)]
pub struct Picture {
    names: Names,
    contents: Contents,
    durable: Durable,
    last_group: Option<(PathBuf, u64)>,
}

impl SimulatedDisk {
    /// An empty disk below an empty directory.
    pub fn empty(root: &Path) -> Arc<Self> {
        Arc::new(Self { root: root.into(), state: Mutex::default() })
    }

    /// Operations so far.
    pub fn operations(&self) -> u64 {
        self.state.lock().operations
    }

    /// Takes a picture before the `after`th operation from now, or now if that is 0.
    pub fn take_picture(&self, after: u64) {
        let mut state = self.state.lock();
        state.picture = (after == 0).then(|| self.photograph(&state));
        state.picture_at = Some(state.operations + after);
    }

    /// The picture, once it was taken.
    pub fn picture(&self) -> Option<Picture> {
        let mut state = self.state.lock();
        let picture = state.picture.take()?;
        state.picture_at = None;
        Some(picture)
    }

    /// The disk as it is.
    pub fn now(&self) -> Picture {
        self.photograph(&self.state.lock())
    }

    /// Lets the `after`th operation from now fail.
    pub fn fail(&self, after: u64, full: bool) {
        let mut state = self.state.lock();
        state.fault_at = Some((state.operations + after + 1, full));
    }

    fn photograph(&self, state: &State) -> Picture {
        let (names, contents) = self.look();
        Picture { names, contents, durable: state.durable.clone(), last_group: state.last_group.clone() }
    }

    fn look(&self) -> (Names, Contents) {
        let (mut names, mut contents) = (Names::new(), HashMap::new());
        walk(&self.root, Path::new(""), &mut |path, inode| {
            if inode != Inode::Directory {
                contents.insert(inode, Arc::new(fs::read(self.root.join(&path)).expect("nobody else is here")));
            }
            names.insert(path, inode);
        });
        (names, contents)
    }

    fn below_root<'a>(&self, path: &'a Path) -> &'a Path {
        path.strip_prefix(&self.root).unwrap_or(path)
    }
}

impl Disk for SimulatedDisk {
    fn at(&self, _: Point) -> io::Result<()> {
        let mut state = self.state.lock();
        state.operations += 1;
        if state.picture.is_none() && state.picture_at.is_some_and(|at| at <= state.operations) {
            state.picture = Some(self.photograph(&state));
        }
        match state.fault_at {
            Some((at, full)) if at <= state.operations => {
                state.fault_at = None;
                Err(if full { rustix::io::Errno::NOSPC.into() } else { rustix::io::Errno::IO.into() })
            }
            _ => Ok(()),
        }
    }

    fn lost(&self, what: &str) -> ! {
        std::panic::panic_any(ProcessEnded(what.into()))
    }

    fn write_vectored_at(
        &self,
        point: Point,
        file: &File,
        parts: &mut [io::IoSlice<'_>],
        mut offset: u64,
    ) -> io::Result<()> {
        self.at(point)?;
        if point == Point::LogWrite {
            self.state.lock().last_group = Some((self.below_root(&path_of(file)).into(), offset));
        }
        for part in parts {
            file.write_all_at(part, offset)?;
            offset += part.len() as u64;
        }
        Ok(())
    }

    fn sync_data(&self, point: Point, file: &File) -> io::Result<()> {
        self.at(point)?;
        let (inode, mut bytes) = (inode_of(&file.metadata()?), Vec::new());
        // Through a descriptor of its own: this one may be for writing only.
        io::Read::read_to_end(&mut File::open(descriptor(file))?, &mut bytes)?;
        self.state.lock().durable.contents.insert(inode, Arc::new(bytes));
        Ok(())
    }

    fn sync_dir(&self, point: Point, dir: &Path) -> io::Result<()> {
        self.at(point)?;
        let dir = self.below_root(dir);
        let (now, _) = self.look();
        let is_here = |path: &Path| path.parent() == Some(dir);
        let mut state = self.state.lock();
        state.durable.names.retain(|path, _| !is_here(path));
        state.durable.names.extend(now.into_iter().filter(|(path, _)| is_here(path)));
        Ok(())
    }

    fn sync_file_system(&self, point: Point, _: &Path) -> io::Result<()> {
        self.at(point)?;
        let (names, contents) = self.look();
        self.state.lock().durable = Durable { names, contents };
        Ok(())
    }
}

impl Picture {
    /// The disk that the next process finds after this one was killed: everything written is there, and no more of it durable.
    pub fn after_kill(&self, root: &Path) -> Arc<SimulatedDisk> {
        for (path, inode) in &self.names {
            match inode {
                Inode::Directory => fs::create_dir_all(root.join(path)),
                file => fs::write(root.join(path), &*self.contents[file]),
            }
            .expect("the disk's directory can be written");
        }
        // The same files have other numbers now; those that are gone keep theirs, out of the way of new ones.
        let mut moved: HashMap<Inode, Inode> = HashMap::new();
        walk(root, Path::new(""), &mut |path, new| _ = moved.insert(self.names[&path], new));
        let renumber = |inode: &Inode| match (moved.get(inode), inode) {
            (Some(new), _) => *new,
            (None, Inode::Directory) => Inode::Directory,
            (None, Inode::File { number, .. }) => Inode::File { number: *number, born: GONE },
        };
        let durable = Durable {
            names: self.durable.names.iter().map(|(path, inode)| (path.clone(), renumber(inode))).collect(),
            contents: self.durable.contents.iter().map(|(inode, bytes)| (renumber(inode), bytes.clone())).collect(),
        };
        let state = State { durable, last_group: self.last_group.clone(), ..State::default() };
        Arc::new(SimulatedDisk { root: root.into(), state: Mutex::new(state) })
    }

    /// The disk after the power failed.
    pub fn after_power_cut(&self, dice: &mut Dice, root: &Path) -> Arc<SimulatedDisk> {
        let mut left = Picture { names: Names::new(), contents: HashMap::new(), ..self.clone() };
        let paths: std::collections::BTreeSet<_> = self.names.keys().chain(self.durable.names.keys()).collect();
        for (number, path) in (0..).zip(paths) {
            let (new, old) = (self.names.get(path), self.durable.names.get(path));
            let chosen = if dice.percent(50) { new } else { old };
            let parent = path.parent().expect("it is below the root");
            let reachable = parent == Path::new("") || left.names.contains_key(parent);
            match if new == old { new } else { chosen } {
                Some(Inode::Directory) if reachable => _ = left.names.insert(path.clone(), Inode::Directory),
                Some(file) if reachable => {
                    let inode = Inode::File { number, born: GONE };
                    left.names.insert(path.clone(), inode);
                    left.contents.insert(inode, Arc::new(self.mixture(dice, file)));
                }
                _ => {}
            }
        }
        left.durable = Durable { names: left.names.clone(), contents: left.contents.clone() };
        left.after_kill(root)
    }

    /// Of a file's contents at its last flush and now.
    fn mixture(&self, dice: &mut Dice, file: &Inode) -> Vec<u8> {
        let nothing = Arc::default();
        let old = self.durable.contents.get(file).unwrap_or(&nothing);
        let new = self.contents.get(file).unwrap_or(old);
        match dice.below(4) {
            _ if old == new => new.to_vec(),
            0 => old.to_vec(),
            1 => new.to_vec(),
            _ => {
                let length = if dice.percent(50) { old.len() } else { new.len() };
                let mut mixed = vec![0; length];
                for start in (0..length).step_by(BLOCK) {
                    let block = start..length.min(start + BLOCK);
                    // New sectors up to some place in the block, and old ones from there on.
                    let torn = match dice.below(10) {
                        0 => start + SECTOR * dice.below((BLOCK / SECTOR) as u64) as usize,
                        1..6 => block.end,
                        _ => start,
                    };
                    let from = |bytes: &[u8], at: usize| bytes.get(at).copied().unwrap_or_default();
                    block.for_each(|at| mixed[at] = from(if at < torn { new } else { old }, at));
                }
                mixed
            }
        }
    }

    /// Turns a bit over in the log somewhere before the last group. Answers whether there was a place.
    pub fn damage_log(&mut self, dice: &mut Dice) -> bool {
        let Some((last, offset)) = &self.last_group else { return false };
        let written = |path: &PathBuf| match self.contents.get(&self.names[path]) {
            Some(_) if path == last => *offset as usize,
            Some(bytes) if path < last => bytes.iter().rposition(|byte| *byte != 0).map_or(0, |end| end + 1),
            _ => 0,
        };
        let in_log = self.names.keys().filter(|path| path.parent() == last.parent());
        let places: Vec<_> = in_log.map(|path| (path.clone(), written(path))).filter(|(_, end)| *end > 0).collect();
        if places.is_empty() {
            return false;
        }
        let (path, end) = &places[dice.below(places.len() as u64) as usize];
        let bytes = self.contents.get_mut(&self.names[path]).expect("it was measured");
        Arc::make_mut(bytes)[dice.below(*end as u64) as usize] ^= 1 << dice.below(8);
        true
    }
}

fn walk(root: &Path, below: &Path, each: &mut dyn FnMut(PathBuf, Inode)) {
    let Ok(entries) = fs::read_dir(root.join(below)) else { return };
    for entry in entries.flatten() {
        let path = below.join(entry.file_name());
        let Ok(metadata) = entry.metadata() else { continue };
        each(path.clone(), inode_of(&metadata));
        if metadata.is_dir() {
            walk(root, &path, each);
        }
    }
}

fn inode_of(metadata: &fs::Metadata) -> Inode {
    let born = metadata.created().ok().and_then(|born| born.duration_since(UNIX_EPOCH).ok());
    match metadata.is_dir() {
        true => Inode::Directory,
        false => Inode::File { number: metadata.ino(), born: born.map_or(0, |born| born.as_nanos()) },
    }
}

fn descriptor(file: &File) -> PathBuf {
    format!("/proc/self/fd/{}", file.as_raw_fd()).into()
}

fn path_of(file: &File) -> PathBuf {
    fs::read_link(descriptor(file)).expect("an open file has a path")
}
