//! The deployed classes, by name and by key, and the changes to them.
//!
//! A deploy is answered once the component and the class's record are durable; only then do objects see the new
//! version. Deployments, renames and deletions of one class are serialised; those of different classes do not wait for
//! each other.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dashmap::DashMap;

use super::blocking;
use crate::base::alone::{Alone, OneAtATime};
use crate::base::share::TooManyWait;
use crate::base::{Calls, ClassKey, ClassName, Create, Digest, LateSettings, Limits, Methods, PublicMethods};
use crate::object::{Class, HostContext};
use crate::storage::{ClassRecord, ClassRecords, ClassVersion, StorageError};
use crate::wasm::LoadError;

/// The maximum number of changes of one class that wait: more than people or a build farm reach by intentional deploys.
/// It bounds how long the last one waits, not memory: waiting components are charged to `host-memory`, which refuses
/// others long before 32 of the largest size wait.
const CHANGES_MAX: usize = 32;

/// All deployed classes of one host.
pub struct Classes {
    by_name: DashMap<ClassName, Arc<Class>>,
    /// The same classes by key. Changed after `by_name`.
    by_key: DashMap<ClassKey, Arc<Class>>,
    records: Arc<ClassRecords>,
    host: Arc<HostContext>,
    /// Held during each deploy, rename or deletion of a class.
    changing: Arc<OneAtATime<ClassName>>,
}

/// The settings of a deploy, besides the component.
#[derive(Debug, Clone, Default)]
pub struct DeploySettings {
    /// The class's `create` setting; none keeps the current one.
    pub create: Option<Create>,
    /// Whether its handlers may defer their answers; none keeps the current setting.
    pub interleave: Option<bool>,
    /// Seconds for which resumes may hold an instance; none keeps the current setting.
    pub late_seconds: Option<u32>,
    /// The classes that it may call; none keeps the current setting.
    pub calls: Option<Calls>,
    /// The methods that are public; none keeps the current setting.
    pub public: Option<PublicMethods>,
    /// A description of the version, at most [`MESSAGE_MAX`](crate::storage::MESSAGE_MAX) bytes; stored with it.
    pub message: Option<String>,
}

impl DeploySettings {
    fn late(&self, current: LateSettings) -> LateSettings {
        LateSettings {
            interleave: self.interleave.unwrap_or(current.interleave),
            late_seconds: self.late_seconds.or(current.late_seconds),
        }
    }
}

/// The result of a deploy.
pub struct Deployed {
    /// The class after the deploy.
    pub class: Arc<Class>,
    /// Whether the class is new.
    pub created: bool,
    /// Whether the component or a setting differs from the previous version.
    pub changed: bool,
}

/// The reason why a component was not deployed. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// The component is over the limit; carries the limit in bytes.
    #[error("a component has at most {0} bytes")]
    TooLarge(u64),
    /// Too many changes of the class wait already.
    #[error("the host has too many deployments of the class waiting; deploy again later")]
    Busy,
    /// The class has no such version, or no longer keeps it.
    #[error(
        "the class has no version {0}, or no longer keeps it; `holdfast classes versions` lists the versions that it keeps"
    )]
    UnknownVersion(u64),
    /// The component cannot be a class.
    #[error(transparent)]
    Refused(#[from] LoadError),
    /// The host failed to store it.
    #[error("the class could not be stored: {0}")]
    Storage(StorageError),
}

impl From<StorageError> for DeployError {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

impl DeployError {
    /// The stable code that clients match on; `docs/ERRORS.md` documents each.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLarge(_) => "component-too-large",
            Self::Busy | Self::Refused(LoadError::Busy) => "overloaded",
            Self::Refused(LoadError::NotAComponent(_)) => "not-a-component",
            Self::Refused(LoadError::CoreModule) => "core-module",
            Self::Refused(LoadError::ClassOutdated(_)) => "class-outdated",
            Self::Refused(LoadError::HostOutdated(_)) => "host-outdated",
            Self::Refused(LoadError::ImportsRefused(_)) => "imports-refused",
            Self::Refused(LoadError::NoHandler(_)) => "no-handler-exported",
            Self::Refused(LoadError::TwoHandlers) => "two-handlers",
            Self::Refused(LoadError::TooCostly(_)) => "too-costly",
            Self::UnknownVersion(_) => "unknown-version",
            Self::Storage(error) if error.is_lack_of_room() => "storage-full",
            Self::Storage(_) => "internal",
        }
    }
}

/// The reason why a class was not deleted. Its record is unchanged; objects may have been deleted.
#[derive(Debug, thiserror::Error)]
pub enum DeleteClassError {
    /// There is no such class.
    #[error("there is no such class")]
    Unknown,
    /// Too many changes of the class wait already.
    #[error("the host has too many deployments of the class waiting; deploy again later")]
    Busy,
    /// The class has objects.
    #[error("the class has objects; delete them with it by ?objects=delete")]
    HasObjects,
    /// The host failed.
    #[error("the class could not be deleted: {0}")]
    Storage(StorageError),
    /// The turns of the class did not end; carries how long the host waited for them.
    #[error("turns of the class were still running after {} s; try again", .0.as_secs_f64())]
    StillRunning(Duration),
}

impl From<StorageError> for DeleteClassError {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

/// The reason why a class was not renamed. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum RenameClassError {
    /// There is no such class.
    #[error("there is no such class")]
    Unknown,
    /// Another class has the name.
    #[error("another class has that name")]
    Taken,
    /// Too many changes of one of the two classes wait already.
    #[error("the host has too many deployments of the class waiting; rename it later")]
    Busy,
    /// The host failed.
    #[error("the class could not be renamed: {0}")]
    Storage(StorageError),
}

impl From<StorageError> for RenameClassError {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

impl Classes {
    /// Opens the recorded classes. Their code is loaded when it is first needed.
    pub fn open(records: Arc<ClassRecords>, host: Arc<HostContext>) -> Result<Self, StorageError> {
        let (by_name, by_key) = (DashMap::new(), DashMap::new());
        let classes = Self { by_name, by_key, records, host, changing: OneAtATime::new(CHANGES_MAX) };
        for record in classes.records.load_all()? {
            classes.add(Arc::new(Class::dormant(record)));
        }
        Ok(classes)
    }

    pub(super) fn add(&self, class: Arc<Class>) {
        self.by_name.insert(class.name(), class.clone());
        self.by_key.insert(class.key.clone(), class);
    }

    /// Returns the class with this name.
    pub fn get(&self, name: &ClassName) -> Option<Arc<Class>> {
        self.by_name.get(name).map(|class| class.clone())
    }

    /// Returns the class with this key.
    pub fn with_key(&self, key: &ClassKey) -> Option<Arc<Class>> {
        self.by_key.get(key).map(|class| class.clone())
    }

    /// Returns all classes, by name.
    pub fn list(&self) -> Vec<Arc<Class>> {
        let mut classes: Vec<Arc<Class>> = self.by_name.iter().map(|class| class.clone()).collect();
        classes.sort_by_key(|class| class.name());
        // A class that is being renamed appears twice.
        classes.dedup_by(|a, b| Arc::ptr_eq(a, b));
        classes
    }

    /// Makes a component the current version of a class, and creates the class if there is none. If nothing changes, no
    /// version is added.
    pub async fn deploy(
        &self,
        name: ClassName,
        component: Bytes,
        settings: DeploySettings,
    ) -> Result<Deployed, DeployError> {
        let _alone = self.change(&name).await.map_err(|TooManyWait| DeployError::Busy)?;
        self.deploy_alone(name, component, settings, None).await
    }

    async fn deploy_alone(
        &self,
        name: ClassName,
        component: Bytes,
        settings: DeploySettings,
        again: Option<ClassVersion>,
    ) -> Result<Deployed, DeployError> {
        let limits: &Limits = &self.host.limits;
        if component.len() as u64 > limits.component {
            return Err(DeployError::TooLarge(limits.component));
        }
        let hashed = component.clone();
        let digest = blocking(move || Digest::of(&hashed)).await;
        let _held = self.records.hold(digest);
        let existing = self.get(&name);
        // A new class has no key yet; any key that is unique to it is sufficient here.
        let key = existing.as_ref().map_or_else(|| ClassKey::new(name.as_str()), |class| class.key.clone());
        let code = self.host.loader.load(&key, digest, component.clone()).await?;
        let previous = existing.as_ref().map(|class| class.record());
        // What the deploy does not say stays as it is, or as it was in the version that is deployed again.
        let kept = again.or_else(|| previous.as_ref().map(|record| record.current().clone()));
        let create = settings.create.or(kept.as_ref().map(|kept| kept.create)).unwrap_or_default();
        let late = settings.late(kept.as_ref().map(|kept| kept.late).unwrap_or_default());
        let (kept_calls, kept_methods) = kept.map(|kept| (kept.calls, kept.methods)).unwrap_or_default();
        let calls = settings.calls.unwrap_or(kept_calls);
        let methods = settings.public.map(|public| Methods { public }).unwrap_or(kept_methods);
        let is_same = |record: &&ClassRecord| {
            let current = record.current();
            (current.digest, current.create, current.late) == (digest, create, late)
                && (&current.calls, &current.methods) == (&calls, &methods)
        };
        if let (Some(class), Some(record)) = (&existing, previous.as_ref().filter(is_same)) {
            // Stored even if unchanged: a deploy repairs a damaged component.
            self.store(record.clone(), component).await?;
            return Ok(Deployed { class: class.clone(), created: false, changed: false });
        }
        let (size, message) = (component.len() as u64, settings.message);
        let deployed_ms = self.host.env.wall_ms();
        let number = previous.as_ref().map_or(0, |record| record.current().number) + 1;
        let version = ClassVersion { number, digest, size, deployed_ms, create, late, calls, methods, message };
        let mut record = self.with_version(name, previous, version);
        (record.exports, record.imports) = (code.exports.clone(), code.imports.clone());
        self.store(record.clone(), component).await?;
        let created = existing.is_none();
        let class = match existing {
            Some(class) => {
                class.replace(record, code);
                class
            }
            None => {
                let class = Arc::new(Class::loaded(record, code));
                self.add(class.clone());
                class
            }
        };
        Ok(Deployed { class, created, changed: true })
    }

    fn with_version(&self, name: ClassName, previous: Option<ClassRecord>, version: ClassVersion) -> ClassRecord {
        match previous {
            Some(mut record) => {
                record.add(version);
                record
            }
            None => ClassRecord::new(name, ClassKey::random(self.host.env.random()), version),
        }
    }

    /// Makes an earlier version of a class the current one again: its component and, unless the settings override it,
    /// its other settings. It gets a new version number.
    pub async fn roll_back(
        &self,
        name: ClassName,
        number: u64,
        settings: DeploySettings,
    ) -> Result<Deployed, DeployError> {
        // Exclusive from here on: a class that is renamed or deleted meanwhile must not be created again.
        let _alone = self.change(&name).await.map_err(|TooManyWait| DeployError::Busy)?;
        let versions = self.get(&name).map_or_else(Vec::new, |class| class.versions());
        let version = versions.into_iter().find(|version| version.number == number);
        let version = version.ok_or(DeployError::UnknownVersion(number))?;
        let (records, _held) = (self.records.clone(), self.records.hold(version.digest));
        let component = blocking(move || records.component(&version.digest)).await?;
        self.deploy_alone(name, component.into(), settings, Some(version)).await
    }

    /// Renames a class; the new name is durable when this returns.
    pub(super) async fn rename(&self, from: &ClassName, to: &ClassName) -> Result<Arc<Class>, RenameClassError> {
        if from == to {
            return self.get(from).ok_or(RenameClassError::Unknown);
        }
        // The same order for all, so that two crosswise renames do not deadlock.
        let (first, second) = if from < to { (from, to) } else { (to, from) };
        let busy = |TooManyWait| RenameClassError::Busy;
        let _first = self.change(first).await.map_err(busy)?;
        let _second = self.change(second).await.map_err(busy)?;
        let class = self.get(from).ok_or(RenameClassError::Unknown)?;
        if self.get(to).is_some() {
            return Err(RenameClassError::Taken);
        }
        let (records, old, new) = (self.records.clone(), from.clone(), to.clone());
        blocking(move || records.rename(&old, &new)).await?;
        class.rename(to.clone());
        // Meanwhile both names lead to the class, rather than none.
        self.by_name.insert(to.clone(), class.clone());
        self.by_name.remove(from);
        Ok(class)
    }

    async fn store(&self, record: ClassRecord, component: Bytes) -> Result<(), StorageError> {
        let records = self.records.clone();
        blocking(move || records.put_component(&component).and_then(|_| records.save(&record))).await
    }

    /// Waits for other changes of the class, and excludes them until the guard is dropped.
    pub(super) async fn change(&self, name: &ClassName) -> Result<Alone<ClassName>, TooManyWait> {
        self.changing.with(name.clone()).await
    }

    /// Removes a class. Its objects are already deleted, and the caller holds the guard of [`change`](Self::change).
    pub(super) async fn remove(&self, name: &ClassName) -> Result<(), DeleteClassError> {
        let (records, gone) = (self.records.clone(), name.clone());
        blocking(move || records.remove(&gone)).await?;
        if let Some((_, class)) = self.by_name.remove(name) {
            self.by_key.remove(&class.key);
        }
        Ok(())
    }
}
