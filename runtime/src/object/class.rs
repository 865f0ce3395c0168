//! A deployed class as its objects see it: a name, a key that never changes, and the version that runs from the next
//! turn on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use bytes::Bytes;
use tokio::sync::{OnceCell, oneshot};

use crate::base::alone::OneAtATime;
use crate::base::share::{Slots, TooManyWait};
use crate::base::{Calls, ClassKey, ClassName, Create, Digest, LateSettings, Methods, TurnError};
use crate::storage::{ClassRecord, ClassRecords, ClassVersion};
use crate::wasm::compatibility;
use crate::wasm::{ClassCode, Engine, LoadError, Version};

/// A deployed class.
pub struct Class {
    /// The key from which its object ids are made.
    pub key: ClassKey,
    current: ArcSwap<CurrentVersion>,
    /// True while the class is being deleted, and afterwards.
    retired: AtomicBool,
}

/// The current version, with its code once it was needed.
struct CurrentVersion {
    record: ClassRecord,
    code: OnceCell<Arc<ClassCode>>,
    /// The classes that it may call, as its instances hold them.
    calls: Arc<Calls>,
    handles_alarms: bool,
    /// True once it was reported that alarms wait for a version that handles them.
    told_that_alarms_wait: AtomicBool,
}

impl CurrentVersion {
    fn new(record: ClassRecord, code: OnceCell<Arc<ClassCode>>) -> Self {
        let handles_alarms = compatibility::exports(&record.exports, "alarm-handler");
        let calls = Arc::new(record.current().calls.clone());
        Self { record, code, calls, handles_alarms, told_that_alarms_wait: AtomicBool::new(false) }
    }
}

/// What the admin API reports of the current version.
#[derive(Debug, Clone)]
pub struct VersionInfo {
    /// Counts the deployments that changed the component or a setting.
    pub version: u64,
    /// SHA-256 of the component.
    pub digest: Digest,
    /// Bytes of the component.
    pub size: u64,
    /// The interfaces that it exports.
    pub exports: Vec<String>,
    /// The interfaces that it imports.
    pub imports: Vec<String>,
    /// When the class was made, in milliseconds since the Unix epoch.
    pub created_ms: u64,
    /// When this version was deployed, in milliseconds since the Unix epoch.
    pub deployed_ms: u64,
    /// What may create objects.
    pub create: Create,
    /// What the class says about late work.
    pub late: LateSettings,
    /// The classes that it may call.
    pub calls: Calls,
    /// Which of its methods are public.
    pub methods: Methods,
    /// The message given at the deploy.
    pub message: Option<String>,
    /// The version of the contract (`wit/`) that the component was built for; none if it uses none of its interfaces.
    pub built_for: Option<Version>,
    /// True if that version is too old for this host: requests are answered with `class-outdated`.
    pub outdated: bool,
}

/// Components that are compiled at once, beside one for each core. A class has at most two under way, its deploy and
/// its first load, so one that takes long leaves room for others.
const COMPILERS_BESIDE_CORES: usize = 2;
/// Loads of one component, and components of one class, that may wait to be compiled.
const WAITING_MAX: usize = 16;
/// Stack of a thread that compiles, in bytes. Only what is used of it takes memory.
const COMPILER_STACK: usize = 32 << 20;
/// How much lower the priority of a thread that compiles is than that of the threads that serve (`nice`).
const COMPILER_NICE: i32 = 10;

/// Loads the code of classes: from the cache, or compiled by threads of low priority, which classes share fairly.
pub struct Loader {
    engine: Arc<Engine>,
    records: Arc<ClassRecords>,
    compilers: Arc<Slots>,
    /// Lets a component that several classes load at once be compiled once.
    components: Arc<OneAtATime<Digest>>,
}

impl Class {
    /// Creates a class whose code is loaded when it is first needed.
    pub fn dormant(record: ClassRecord) -> Self {
        Self::with(record, OnceCell::new())
    }

    /// Creates a class whose code is loaded.
    pub fn loaded(record: ClassRecord, code: Arc<ClassCode>) -> Self {
        Self::with(record, OnceCell::new_with(Some(code)))
    }

    fn with(record: ClassRecord, code: OnceCell<Arc<ClassCode>>) -> Self {
        let key = record.key.clone();
        let current = ArcSwap::from_pointee(CurrentVersion::new(record, code));
        Self { key, current, retired: AtomicBool::new(false) }
    }

    /// Returns the present name.
    pub fn name(&self) -> ClassName {
        self.current.load().record.name.clone()
    }

    /// Gives the class another name. The caller is the only one that changes the class, and makes its instances leave,
    /// because they know the old name.
    pub fn rename(&self, name: ClassName) {
        let current = self.current.load_full();
        let (mut record, code) = (current.record.clone(), current.code.clone());
        record.name = name;
        self.current.store(Arc::new(CurrentVersion::new(record, code)));
    }

    /// Lets no turn begin from now on. Turns that run end.
    pub fn retire(&self) {
        self.retired.store(true, Ordering::Release);
    }

    /// Takes [`retire`](Self::retire) back: the class could not be deleted.
    pub fn reinstate(&self) {
        self.retired.store(false, Ordering::Release);
    }

    /// Returns whether no turn may begin.
    pub fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }

    /// Replaces the version, from each object's next turn on.
    pub fn replace(&self, record: ClassRecord, code: Arc<ClassCode>) {
        self.current.store(Arc::new(CurrentVersion::new(record, OnceCell::new_with(Some(code)))));
    }

    /// Returns whether the current version exports a handler of alarms. While it does not, alarms that are due wait.
    pub fn handles_alarms(&self) -> bool {
        self.current.load().handles_alarms
    }

    /// Returns the number of the current version the first time that one of its alarms waits for another version, and
    /// none later.
    pub fn tell_that_alarms_wait(&self) -> Option<u64> {
        let current = self.current.load();
        (!current.told_that_alarms_wait.swap(true, Ordering::Relaxed)).then_some(current.record.current().number)
    }

    /// Returns the record of the current version.
    pub fn record(&self) -> ClassRecord {
        self.current.load().record.clone()
    }

    /// Returns what may create objects, by the current version.
    pub fn create(&self) -> Create {
        self.current.load().record.current().create
    }

    /// Returns what the current version says about late work.
    pub fn late(&self) -> LateSettings {
        self.current.load().record.current().late
    }

    /// Returns the classes that the current version may call.
    pub fn calls(&self) -> Arc<Calls> {
        self.current.load().calls.clone()
    }

    /// Returns the code of the current version, if it is loaded.
    pub fn code_if_loaded(&self) -> Option<Arc<ClassCode>> {
        self.current.load().code.get().cloned()
    }

    /// Returns the code of the current version, loading it first if necessary.
    pub async fn code(&self, loader: &Loader) -> Result<Arc<ClassCode>, TurnError> {
        let version = self.current.load_full();
        let record = &version.record;
        let load = async || {
            // Judged by the record: an outdated class must not cost a read of its component with each request.
            compatibility::check(&record.imports, &record.exports).map_err(not_loaded)?;
            loader.load_recorded(&self.key, record.current().digest).await
        };
        version.code.get_or_try_init(load).await.cloned()
    }

    /// Returns what the admin API reports of the current version.
    pub fn info(&self) -> VersionInfo {
        let current = self.current.load();
        let record = &current.record;
        let ClassVersion { number: version, digest, size, deployed_ms, create, late, calls, methods, message } =
            record.current().clone();
        let (exports, imports, created_ms) = (record.exports.clone(), record.imports.clone(), record.created_ms);
        let built_for = compatibility::built_for(&imports, &exports).map(|(oldest, _)| oldest);
        let outdated = matches!(compatibility::check(&imports, &exports), Err(LoadError::ClassOutdated(_)));
        VersionInfo {
            version,
            digest,
            size,
            exports,
            imports,
            created_ms,
            deployed_ms,
            create,
            late,
            calls,
            methods,
            message,
            built_for,
            outdated,
        }
    }

    /// Returns the versions that are kept, oldest first; the last one is the current one.
    pub fn versions(&self) -> Vec<ClassVersion> {
        self.current.load().record.versions().to_vec()
    }
}

impl Loader {
    /// Creates a loader for this engine and these components.
    pub fn new(engine: Arc<Engine>, records: Arc<ClassRecords>) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let compilers = Slots::brief(cores + COMPILERS_BESIDE_CORES, WAITING_MAX);
        Self { engine, records, compilers, components: OneAtATime::new(WAITING_MAX) }
    }

    /// Compiles and checks the component with this digest for a class, or takes its code from the cache. The caller
    /// must hold the component: its code is removed with it.
    pub async fn load(&self, class: &ClassKey, digest: Digest, component: Bytes) -> Result<Arc<ClassCode>, LoadError> {
        let busy = |TooManyWait| LoadError::Busy;
        let _alone = self.components.with(digest).await.map_err(busy)?;
        let engine = self.engine.clone();
        if let Some(code) = blocking(move || ClassCode::cached(&engine, digest)).await?? {
            return Ok(Arc::new(code));
        }
        let _slot = self.compilers.acquire(class).await.map_err(busy)?;
        let engine = self.engine.clone();
        on_compiler(move || ClassCode::compile(&engine, digest, &component)).await?.map(Arc::new)
    }

    async fn load_recorded(&self, class: &ClassKey, digest: Digest) -> Result<Arc<ClassCode>, TurnError> {
        let (records, unavailable) = (self.records.clone(), TurnError::ClassUnavailable);
        let read = tokio::task::spawn_blocking(move || records.component(&digest)).await;
        let component = read.map_err(|error| unavailable(error.to_string()))?;
        let component = component.map_err(|error| unavailable(error.to_string()))?;
        self.load(class, digest, component.into()).await.map_err(not_loaded)
    }
}

/// Returns the error of a turn whose class's code cannot be loaded.
fn not_loaded(error: LoadError) -> TurnError {
    match error {
        LoadError::Busy => TurnError::Overloaded,
        error @ LoadError::ClassOutdated(_) => TurnError::ClassOutdated(error.to_string()),
        error => TurnError::ClassUnavailable(error.to_string()),
    }
}

fn failed(why: impl std::fmt::Display) -> LoadError {
    LoadError::NotAComponent(format!("the compiler failed on it: {why}"))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, LoadError> {
    tokio::task::spawn_blocking(work).await.map_err(failed)
}

/// Runs work of seconds in a thread of its own. It completes even if the caller is gone: the result is kept in the
/// cache.
async fn on_compiler<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, LoadError> {
    let (sender, result) = oneshot::channel();
    let compile = move || {
        // Zero is the calling thread. If the priority cannot be lowered, the thread compiles with a normal one.
        let _ = rustix::process::setpriority_process(None, COMPILER_NICE);
        let _ = sender.send(work());
    };
    let thread = std::thread::Builder::new().name("compiler".into()).stack_size(COMPILER_STACK);
    thread.spawn(compile).map_err(failed)?;
    result.await.map_err(|_| failed("it panicked"))
}
