//! Compiled code on disk, by component digest and engine settings.
//!
//! Compiled code is machine code that runs unchecked, so only files that this node wrote are loaded: beside each stands
//! a MAC under a key that never leaves the node. A file that is missing, torn or foreign is compiled again; losing the
//! cache loses nothing.

use std::fs::{self, DirBuilder, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use wasmtime::Engine;
use wasmtime::component::Component;

use super::load_error::{LoadError, chain};
use crate::base::Digest;

/// The code cache of one engine.
pub(super) struct CodeCache {
    directory: PathBuf,
    key: [u8; 32],
}

impl CodeCache {
    /// Creates a cache under this directory for code of this engine.
    pub(super) fn new(root: &Path, engine: &Engine, key: [u8; 32]) -> Self {
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        Self { directory: root.join(format!("{:016x}", hasher.finish())), key }
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

    fn keep(&self, digest: &Digest, code: &[u8]) -> std::io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)?;
        let (code_path, mac_path) = self.paths(digest);
        let temporary = code_path.with_extension("tmp");
        let write = |path: &Path, bytes: &[u8]| {
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?.write_all(bytes)
        };
        write(&temporary, code)?;
        fs::rename(&temporary, code_path)?;
        write(&mac_path, &self.mac(code).finalize().into_bytes())
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
