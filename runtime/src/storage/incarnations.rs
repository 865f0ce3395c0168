//! The files of one object: `<id>-<incarnation>.sqlite` with its `-wal` and `.sums`, three for each making of the
//! object.
//!
//! An object has one incarnation but for moments: removing everything at once and importing make the next one beside
//! it. **The newest incarnation whose file has an identity counts**, unless the commit log knows better; the identity
//! is applied with what the file holds, and a file gets it only when that is durable. Older ones go when the newest is
//! durable.
//!
//! Nearly every object stays at incarnation 1, and looking for others would mean to read a directory of thousands. So
//! an empty `<id>.incarnations` is made before the first one beyond 1; without it only incarnation 1 is looked for.
//! Neither name is flushed by itself: until a checkpoint has flushed both, the log names the incarnation that counts.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::capture::wal_path;
use super::sums::{PageSums, sums_path};
use crate::base::{ClassKey, Disk, Failpoint, ObjectAddress, ObjectId};

/// The incarnation of an object that was never replaced.
pub(super) const FIRST: u32 = 1;

/// The files of one object: where they are, and the disk that they are on.
#[derive(Clone)]
pub(super) struct Incarnations {
    pub disk: Arc<dyn Disk>,
    dir: PathBuf,
    id: String,
}

impl Incarnations {
    /// Those of an object below `objects/`.
    pub fn of(disk: &Arc<dyn Disk>, objects: &Path, address: &ObjectAddress) -> Self {
        Self::at(disk, objects, &address.key, &address.id)
    }

    /// Those of the object with this class key and id.
    pub fn at(disk: &Arc<dyn Disk>, objects: &Path, class: &ClassKey, id: &ObjectId) -> Self {
        let id = id.to_string();
        Self { disk: disk.clone(), dir: objects.join(class.as_str()).join(&id[..2]), id }
    }

    /// The database file of an incarnation.
    pub fn file(&self, incarnation: u32) -> PathBuf {
        self.dir.join(format!("{}-{incarnation}.sqlite", self.id))
    }

    /// The sums of an incarnation's pages.
    pub fn sums(&self, incarnation: u32) -> Arc<PageSums> {
        PageSums::of(self.disk.clone(), &self.file(incarnation))
    }

    /// Whether the object is one of the class with this key.
    pub fn is_of(&self, class: &ClassKey) -> bool {
        self.dir.parent().and_then(Path::file_name).is_some_and(|name| name == class.as_str())
    }

    fn mark_path(&self) -> PathBuf {
        self.dir.join(format!("{}.incarnations", self.id))
    }

    /// Makes the mark, if it is not there: before a file beyond incarnation 1 is made.
    pub fn mark(&self) -> io::Result<()> {
        self.disk.open_or_create(Failpoint::ObjectCreate, &self.mark_path()).map(drop)
    }

    /// Incarnations that may have a file, the newest first.
    pub fn candidates(&self) -> io::Result<Vec<u32>> {
        if !self.mark_path().try_exists()? {
            return Ok(vec![FIRST]);
        }
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let name = entry?.file_name();
            let rest = name.to_str().and_then(|name| name.strip_prefix(&self.id)?.strip_prefix('-'));
            found.extend(rest.and_then(|rest| rest.strip_suffix(".sqlite")?.parse::<u32>().ok()));
        }
        found.sort_unstable_by(|a, b| b.cmp(a));
        Ok(found)
    }

    /// Removes one incarnation's files; the removal is not flushed.
    pub fn remove(&self, failpoint: Failpoint, incarnation: u32) -> io::Result<()> {
        let file = self.file(incarnation);
        // First, so that sums do not meet a file of the same name that is made later.
        [sums_path(&file), file.clone(), wal_path(&file)]
            .iter()
            .try_for_each(|path| self.disk.remove_if_there(failpoint, path).map(drop))
    }

    /// Removes every file of the object; the removal is not flushed.
    pub fn remove_all(&self, failpoint: Failpoint) -> io::Result<()> {
        for incarnation in self.candidates()? {
            self.remove(failpoint, incarnation)?;
        }
        self.unmark(failpoint)
    }

    /// Removes the mark: there is no file beyond incarnation 1.
    pub fn unmark(&self, failpoint: Failpoint) -> io::Result<()> {
        self.disk.remove_if_there(failpoint, &self.mark_path()).map(drop)
    }
}
