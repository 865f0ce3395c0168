//! Compiled code on disk, by component digest and engine settings.
//!
//! Compiled code is machine code that runs unchecked, so only files that this node wrote are loaded: beside each stands
//! a MAC under a key that never leaves the node. A file that is missing, torn or foreign is compiled again; losing the
//! cache loses nothing.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use wasmtime::Engine;
use wasmtime::component::Component;

use super::load_error::{LoadError, chain};
use crate::base::{Digest, Disk, Failpoint};

/// The code cache of one engine.
pub(super) struct CodeCache {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    key: [u8; 32],
}

impl CodeCache {
    /// Creates a cache under this directory for code of this engine.
    pub(super) fn new(disk: Arc<dyn Disk>, root: &Path, engine: &Engine, key: [u8; 32]) -> Self {
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        Self { disk, directory: root.join(format!("{:016x}", hasher.finish())), key }
    }

    /// Returns the component with this digest, if its code is in the cache and this node wrote it.
    pub(super) fn load(&self, engine: &Engine, digest: &Digest) -> Option<Component> {
        let (code, mac) = self.paths(digest);
        let expected = fs::read(mac).ok()?;
        self.mac(&fs::read(&code).ok()?).verify_slice(&expected).ok()?;
        // SAFETY: the MAC shows that this node's compiler wrote these bytes for an engine with these settings. They are
        // mapped after they were checked; a process that can write to the data directory in between already runs as
        // this user.
        unsafe { Component::deserialize_file(engine, &code) }.ok()
    }

    /// Compiles a component, stores the code in the cache, and returns the component.
    pub(super) fn compile(&self, engine: &Engine, digest: &Digest, wasm: &[u8]) -> Result<Component, LoadError> {
        let code = engine.precompile_component(wasm).map_err(|error| LoadError::NotAComponent(chain(&error)))?;
        if let Err(error) = self.keep(digest, &code) {
            tracing::warn!(%digest, %error, "compiled code could not be cached; it will be compiled again next time");
        }
        match self.load(engine, digest) {
            Some(component) => Ok(component),
            None => {
                // SAFETY: the bytes come straight from this engine's compiler.
                let loaded = unsafe { Component::deserialize(engine, &code) };
                // Code that can be compiled but not loaded has no place in the engine's pool.
                loaded.map_err(|error| LoadError::TooCostly(chain(&error)))
            }
        }
    }

    /// Writes the code and its MAC, without a flush. A crash in between leaves code without a MAC, which is not loaded.
    fn keep(&self, digest: &Digest, code: &[u8]) -> io::Result<()> {
        let at = Failpoint::CodeWrite;
        self.disk.make_dir(at, &self.directory)?;
        let (code_path, mac_path) = self.paths(digest);
        let temporary = code_path.with_extension("tmp");
        let write = |path: &Path, bytes: &[u8]| {
            let file = self.disk.create_empty(at, path)?;
            self.disk.write_all_at(at, &file, bytes, 0)
        };
        let kept = write(&temporary, code)
            .and_then(|()| self.disk.rename(at, &temporary, &code_path))
            .and_then(|()| write(&mac_path, &self.mac(code).finalize().into_bytes()));
        kept.inspect_err(|_| {
            // They take room, perhaps the last, and are useless alone.
            for path in [&temporary, &code_path, &mac_path] {
                let _ = self.disk.remove(at, path);
            }
        })
    }

    fn mac(&self, code: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes keys of any length");
        mac.update(code);
        mac
    }

    fn paths(&self, digest: &Digest) -> (PathBuf, PathBuf) {
        (self.directory.join(format!("{digest}.cwasm")), self.directory.join(format!("{digest}.mac")))
    }
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;
    use crate::base::disk::SimulatedDisk;

    /// A component with nothing in it.
    const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

    /// A fault at any step leaves code with its MAC or neither, and the component can be used.
    #[test]
    fn code_that_cannot_be_cached_is_compiled_again() {
        let engine = Engine::default();
        let digest = Digest::of(b"a component");
        for step in 1..10 {
            for errno in [Some(Errno::NOSPC), Some(Errno::IO), None] {
                let root = tempfile::tempdir().unwrap();
                let disk = SimulatedDisk::new(root.path()).unwrap();
                let cache = CodeCache::new(disk.clone(), root.path(), &engine, [1; 32]);
                match errno {
                    Some(errno) => disk.fail(Failpoint::CodeWrite, errno, step),
                    None => disk.kill(Failpoint::CodeWrite, step),
                }
                cache.compile(&engine, &digest, EMPTY).unwrap();
                let files = fs::read_dir(&cache.directory).map_or(0, Iterator::count);
                if !disk.is_out() {
                    let loads = cache.load(&engine, &digest).is_some();
                    assert_eq!(files, if loads { 2 } else { 0 }, "step {step}: nothing useless stays");
                }
                disk.restart();
                cache.compile(&engine, &digest, EMPTY).unwrap();
                assert!(cache.load(&engine, &digest).is_some(), "step {step}");
            }
        }
    }
}
