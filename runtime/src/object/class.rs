//! A deployed class as its objects see it: a name, a key that never changes, and the version that counts from the next
//! turn on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use bytes::Bytes;
use tokio::sync::{OnceCell, Semaphore};

use crate::base::{ClassKey, ClassName, Create, Digest, TurnError};
use crate::storage::{ClassRecord, ClassRecords};
use crate::wasm::{ClassCode, Engine, LoadError};

/// A deployed class.
pub struct Class {
    /// Its name.
    pub name: ClassName,
    /// What its object ids are made from.
    pub key: ClassKey,
    current: ArcSwap<Version>,
    /// While it is deleted, and afterwards.
    retired: AtomicBool,
}

/// One version, with its code once somebody needed it.
struct Version {
    record: ClassRecord,
    code: OnceCell<Arc<ClassCode>>,
}

/// What can be told of the current version.
#[derive(Debug, Clone)]
pub struct VersionInfo {
    /// Counts the deployments that changed the component or a setting.
    pub version: u64,
    /// SHA-256 of the component.
    pub digest: Digest,
    /// Bytes of the component.
    pub size: u64,
    /// What it exports.
    pub exports: Vec<String>,
    /// What it imports.
    pub imports: Vec<String>,
    /// When the class was made, in milliseconds since the Unix epoch.
    pub created_ms: u64,
    /// When this version was deployed, in milliseconds since the Unix epoch.
    pub deployed_ms: u64,
    /// Who may create objects.
    pub create: Create,
}

/// Loads the code of classes: one compilation at a time, apart from the threads that serve.
pub struct Loader {
    engine: Arc<Engine>,
    records: Arc<ClassRecords>,
    compiling: Semaphore,
}

impl Class {
    /// A class whose code is loaded when it is first needed.
    pub fn dormant(record: ClassRecord) -> Self {
        Self::with(record, OnceCell::new())
    }

    /// A class whose code is at hand.
    pub fn loaded(record: ClassRecord, code: Arc<ClassCode>) -> Self {
        Self::with(record, OnceCell::new_with(Some(code)))
    }

    fn with(record: ClassRecord, code: OnceCell<Arc<ClassCode>>) -> Self {
        let (name, key) = (record.name.clone(), record.key.clone());
        Self { name, key, current: ArcSwap::from_pointee(Version { record, code }), retired: AtomicBool::new(false) }
    }

    /// No turn begins from now on; those that run end.
    pub fn retire(&self) {
        self.retired.store(true, Ordering::Release);
    }

    /// Takes [`retire`](Self::retire) back: the class could not be deleted.
    pub fn reinstate(&self) {
        self.retired.store(false, Ordering::Release);
    }

    /// Whether no turn may begin.
    pub fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }

    /// Replaces the version at each object's next turn.
    pub fn replace(&self, record: ClassRecord, code: Arc<ClassCode>) {
        self.current.store(Arc::new(Version { record, code: OnceCell::new_with(Some(code)) }));
    }

    /// What is recorded of the current version.
    pub fn record(&self) -> ClassRecord {
        self.current.load().record.clone()
    }

    /// Who may create objects, by the current version.
    pub fn create(&self) -> Create {
        self.current.load().record.create
    }

    /// The code of the current version, if it is loaded.
    pub fn code_if_loaded(&self) -> Option<Arc<ClassCode>> {
        self.current.load().code.get().cloned()
    }

    /// The code of the current version.
    pub async fn code(&self, loader: &Loader) -> Result<Arc<ClassCode>, TurnError> {
        let version = self.current.load_full();
        let loaded = version.code.get_or_try_init(|| loader.load_recorded(version.record.digest)).await;
        loaded.cloned().map_err(TurnError::ClassUnavailable)
    }

    /// What can be told of the current version.
    pub fn info(&self) -> VersionInfo {
        let ClassRecord { version, digest, size, exports, imports, created_ms, deployed_ms, create, .. } =
            self.record();
        VersionInfo { version, digest, size, exports, imports, created_ms, deployed_ms, create }
    }
}

impl Loader {
    /// A loader for this engine and these components.
    pub fn new(engine: Arc<Engine>, records: Arc<ClassRecords>) -> Self {
        Self { engine, records, compiling: Semaphore::new(1) }
    }

    /// Compiles and checks a component, or takes its code from the cache.
    pub async fn load(&self, component: Bytes) -> Result<Arc<ClassCode>, LoadError> {
        let engine = self.engine.clone();
        let _permit = self.compiling.acquire().await.expect("the semaphore is never closed");
        let loading = tokio::task::spawn_blocking(move || ClassCode::load(&engine, Digest::of(&component), &component));
        match loading.await {
            Ok(loaded) => loaded.map(Arc::new),
            Err(panic) => Err(LoadError::NotAComponent(format!("the compiler failed on it: {panic}"))),
        }
    }

    async fn load_recorded(&self, digest: Digest) -> Result<Arc<ClassCode>, String> {
        let records = self.records.clone();
        let reading = tokio::task::spawn_blocking(move || records.component(&digest));
        let component = reading.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        self.load(component.into()).await.map_err(|error| error.to_string())
    }
}
