//! The components of classes, and the one collector of those that are not needed any more.
//!
//! `classes/components/<digest>.wasm` are the bytes that versions were made of; `cache/<engine>/<digest>.cwasm` and
//! `.mac` are what was compiled of them. A component has holders: the record of a class holds those of its versions, a
//! running deployment the one that it deploys. When the last holder lets go, the component and its compiled code are
//! removed. A killed process may leave files without a holder; the next start removes them, when only records hold
//! components.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::StorageError;
use crate::base::{Digest, Disk, Failpoint};

/// All components of a data directory.
#[derive(Debug)]
pub(super) struct Components {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    cache: PathBuf,
    /// How often each is held. Locked while a file is written or removed, so that neither undoes the other.
    holders: Mutex<HashMap<Digest, usize>>,
}

/// Keeps a component and its compiled code from being removed. Dropping it may remove files.
#[derive(Debug)]
pub struct HeldComponent {
    components: Arc<Components>,
    digest: Digest,
}

impl Drop for HeldComponent {
    fn drop(&mut self) {
        self.components.let_go(&self.digest);
    }
}

impl Components {
    pub fn open(disk: Arc<dyn Disk>, dir: PathBuf, cache: PathBuf) -> Result<Arc<Self>, StorageError> {
        let made = disk.make_dir_durably(Failpoint::DataDirMake, &dir);
        made.map_err(StorageError::io("cannot make the directory", &dir))?;
        Ok(Arc::new(Self { disk, dir, cache, holders: Mutex::default() }))
    }

    /// Holds a component for as long as the answer lives.
    pub fn hold(self: &Arc<Self>, digest: Digest) -> HeldComponent {
        self.hold_until_let_go(digest);
        HeldComponent { components: self.clone(), digest }
    }

    /// Holds a component until [`Self::let_go`], and beyond the end of the process. For records, which are durable.
    pub fn hold_until_let_go(&self, digest: Digest) {
        *self.holders.lock().entry(digest).or_default() += 1;
    }

    /// One holder less. The component goes with the last one.
    pub fn let_go(&self, digest: &Digest) {
        let mut holders = self.holders.lock();
        match holders.get_mut(digest) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                holders.remove(digest);
                self.collect(|of| of == OsStr::new(&digest.to_string()));
            }
        }
    }

    /// Removes all files without a holder. For the start: later, a component that is being compiled would go, too.
    pub fn sweep(&self) {
        let holders = self.holders.lock();
        let is_held =
            |of: &OsStr| of.to_str().is_some_and(|of| Digest::from_hex(of).is_ok_and(|of| holders.contains_key(&of)));
        self.collect(|of| !is_held(of));
    }

    /// The only collector: removes the files of components that `goes` selects, by the digest in their names. What
    /// cannot be removed is tried again at the next start, and is no error.
    fn collect(&self, goes: impl Fn(&OsStr) -> bool) {
        let engines = paths(&self.cache).unwrap_or_default();
        for dir in engines.iter().chain([&self.dir]).filter(|dir| dir.is_dir()) {
            for file in paths(dir).unwrap_or_default() {
                if file.file_stem().is_some_and(&goes)
                    && let Err(error) = self.disk.remove_if_there(Failpoint::ComponentRemove, &file)
                {
                    tracing::warn!("cannot remove {}, which is not needed any more: {error}", file.display());
                }
            }
        }
    }

    /// Stores a component under its digest, durably. Hold it before, or it may go at once.
    pub fn put(&self, bytes: &[u8]) -> Result<Digest, StorageError> {
        let digest = Digest::of(bytes);
        let _alone = self.holders.lock();
        let path = self.path(&digest);
        let written = self.disk.replace(Failpoint::ComponentWrite, &path, bytes);
        written.map_err(|error| StorageError::io("cannot write", &path)(error.into()))?;
        Ok(digest)
    }

    pub fn path(&self, digest: &Digest) -> PathBuf {
        path(&self.dir, digest)
    }
}

fn path(dir: &Path, digest: &Digest) -> PathBuf {
    dir.join(format!("{digest}.wasm"))
}

/// The bytes of a component below a directory, checked against their digest.
pub(super) fn read(dir: &Path, digest: &Digest) -> Result<Vec<u8>, StorageError> {
    let path = path(dir, digest);
    let bytes = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(StorageError::ClassDamaged { path, why: "it is missing".into() });
        }
        bytes => bytes.map_err(StorageError::io("cannot read", &path))?,
    };
    match Digest::of(&bytes) == *digest {
        true => Ok(bytes),
        false => Err(StorageError::ClassDamaged { path, why: "its bytes do not have the digest in its name".into() }),
    }
}

/// What is in a directory.
pub(super) fn paths(dir: &Path) -> Result<Vec<PathBuf>, StorageError> {
    let read = || fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>();
    read().map_err(StorageError::io("cannot list", dir))
}
