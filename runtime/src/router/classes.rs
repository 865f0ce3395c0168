//! The deployed classes: by name, and how one is deployed.
//!
//! A deploy is answered once the component and the class's record are durable; only then do objects see the new version.
//! Deployments, renamings and deletions of one class happen one after the other, so they cannot mix; those of different classes do
//! not wait for each other.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dashmap::DashMap;

use super::blocking;
use crate::base::alone::{Alone, OneAtATime};
use crate::base::share::TooManyWait;
use crate::base::{ClassKey, ClassName, Create, Digest, Limits};
use crate::object::{Class, HostContext};
use crate::storage::{ClassRecord, ClassRecords, ClassVersion, StorageError};
use crate::wasm::LoadError;

/// Changes of one class that may wait for each other: a number that no two people and no build farm reach by deploying what
/// they mean to. It bounds how long the last one waits, not memory: components that wait are charged to `host-memory`, which has
/// refused others long before 32 of the largest size wait.
const CHANGES_MAX: usize = 32;

/// All deployed classes of one host.
pub struct Classes {
    by_name: DashMap<ClassName, Arc<Class>>,
    /// The same ones. Changed after `by_name`.
    by_key: DashMap<ClassKey, Arc<Class>>,
    records: Arc<ClassRecords>,
    host: Arc<HostContext>,
    /// Held by whoever deploys, renames or deletes a class.
    changing: Arc<OneAtATime<ClassName>>,
}

/// What a deploy says besides the component.
#[derive(Debug, Clone, Default)]
pub struct DeploySettings {
    /// Who may create objects; none keeps what the class has.
    pub create: Option<Create>,
    /// What is new, at most [`MESSAGE_MAX`](crate::storage::MESSAGE_MAX) bytes: part of the version.
    pub message: Option<String>,
}

/// What a deploy did.
pub struct Deployed {
    /// The class as it is now.
    pub class: Arc<Class>,
    /// Whether the class is new.
    pub created: bool,
    /// Whether the component or a setting differs from the one before.
    pub changed: bool,
}

/// Why a component was not deployed. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// Over the limit; carries it in bytes.
    #[error("a component has at most {0} bytes")]
    TooLarge(u64),
    /// Too many change the class already.
    #[error("the host has too many deployments of the class waiting; deploy again later")]
    Busy,
    /// The class has no such version, or keeps it no longer.
    #[error("the class has no version {0}, or keeps it no longer; `holdfast classes versions` shows those that it has")]
    UnknownVersion(u64),
    /// The component cannot be a class.
    #[error(transparent)]
    Refused(#[from] LoadError),
    /// The host could not store it.
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
            Self::Storage(_) => "internal",
        }
    }
}

/// Why a class was not deleted. Its record is as it was; objects may have been deleted.
#[derive(Debug, thiserror::Error)]
pub enum DeleteClassError {
    /// There is no such class.
    #[error("there is no such class")]
    Unknown,
    /// Too many change the class already.
    #[error("the host has too many deployments of the class waiting; deploy again later")]
    Busy,
    /// It has objects.
    #[error("the class has objects; delete them with it by ?objects=delete")]
    HasObjects,
    /// The host failed.
    #[error("the class could not be deleted: {0}")]
    Storage(StorageError),
    /// Its turns did not end; carries how long they were waited for.
    #[error("turns of the class were still running after {} s; try again", .0.as_secs_f64())]
    StillRunning(Duration),
}

impl From<StorageError> for DeleteClassError {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

/// Why a class was not given another name. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum RenameClassError {
    /// There is no such class.
    #[error("there is no such class")]
    Unknown,
    /// Another class has the name.
    #[error("another class has that name")]
    Taken,
    /// Too many change one of the two already.
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
    /// The classes that are recorded. Their code is loaded when it is first needed.
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

    /// The class with this name.
    pub fn get(&self, name: &ClassName) -> Option<Arc<Class>> {
        self.by_name.get(name).map(|class| class.clone())
    }

    /// The class with this key.
    pub fn with_key(&self, key: &ClassKey) -> Option<Arc<Class>> {
        self.by_key.get(key).map(|class| class.clone())
    }

    /// All classes, by name.
    pub fn list(&self) -> Vec<Arc<Class>> {
        let mut classes: Vec<Arc<Class>> = self.by_name.iter().map(|class| class.clone()).collect();
        classes.sort_by_key(|class| class.name());
        // One that is being renamed is there twice.
        classes.dedup_by(|a, b| Arc::ptr_eq(a, b));
        classes
    }

    /// Makes a component the current version of a class, and makes the class if there is none. If that changes nothing,
    /// there is no version more.
    pub async fn deploy(
        &self,
        name: ClassName,
        component: Bytes,
        settings: DeploySettings,
    ) -> Result<Deployed, DeployError> {
        let _alone = self.change(&name).await.map_err(|TooManyWait| DeployError::Busy)?;
        self.deploy_alone(name, component, settings).await
    }

    async fn deploy_alone(
        &self,
        name: ClassName,
        component: Bytes,
        settings: DeploySettings,
    ) -> Result<Deployed, DeployError> {
        let limits: &Limits = &self.host.limits;
        if component.len() as u64 > limits.component {
            return Err(DeployError::TooLarge(limits.component));
        }
        let hashed = component.clone();
        let digest = blocking(move || Digest::of(&hashed)).await;
        let _held = self.records.hold(digest);
        let existing = self.get(&name);
        // A class that is new has no key yet; any that is its own will do.
        let key = existing.as_ref().map_or_else(|| ClassKey::new(name.as_str()), |class| class.key.clone());
        let code = self.host.loader.load(&key, digest, component.clone()).await?;
        let create = settings.create.or(existing.as_ref().map(|class| class.create())).unwrap_or_default();
        let previous = existing.as_ref().map(|class| class.record());
        let is_same = |record: &&ClassRecord| {
            let current = record.current();
            (current.digest, current.create) == (digest, create)
        };
        if let (Some(class), Some(record)) = (&existing, previous.as_ref().filter(is_same)) {
            // Stored again all the same: deploying is how a damaged component is repaired.
            self.store(record.clone(), component).await?;
            return Ok(Deployed { class: class.clone(), created: false, changed: false });
        }
        let (size, message) = (component.len() as u64, settings.message);
        let deployed_ms = self.host.env.wall_ms();
        let number = previous.as_ref().map_or(0, |record| record.current().number) + 1;
        let mut record =
            self.with_version(name, previous, ClassVersion { number, digest, size, deployed_ms, create, message });
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

    /// Makes an earlier version of a class the current one again: its component and, unless the settings say another,
    /// who may create objects. It gets a number of its own.
    pub async fn roll_back(
        &self,
        name: ClassName,
        number: u64,
        settings: DeploySettings,
    ) -> Result<Deployed, DeployError> {
        // Alone from here on: a class that is renamed or deleted meanwhile must not be made anew.
        let _alone = self.change(&name).await.map_err(|TooManyWait| DeployError::Busy)?;
        let versions = self.get(&name).map_or_else(Vec::new, |class| class.versions());
        let version = versions.into_iter().find(|version| version.number == number);
        let version = version.ok_or(DeployError::UnknownVersion(number))?;
        let (records, _held) = (self.records.clone(), self.records.hold(version.digest));
        let component = blocking(move || records.component(&version.digest)).await?;
        let create = settings.create.or(Some(version.create));
        self.deploy_alone(name, component.into(), DeploySettings { create, ..settings }).await
    }

    /// Gives a class another name, which it has durably when this returns.
    pub(super) async fn rename(&self, from: &ClassName, to: &ClassName) -> Result<Arc<Class>, RenameClassError> {
        if from == to {
            return self.get(from).ok_or(RenameClassError::Unknown);
        }
        // In one order for all, so that two that rename crosswise do not wait for each other.
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
        // In between both names lead to it, rather than none.
        self.by_name.insert(to.clone(), class.clone());
        self.by_name.remove(from);
        Ok(class)
    }

    async fn store(&self, record: ClassRecord, component: Bytes) -> Result<(), StorageError> {
        let records = self.records.clone();
        blocking(move || records.put_component(&component).and_then(|_| records.save(&record))).await
    }

    /// Waits for whoever changes the class, and keeps others from it until the guard is dropped.
    pub(super) async fn change(&self, name: &ClassName) -> Result<Alone<ClassName>, TooManyWait> {
        self.changing.with(name.clone()).await
    }

    /// Forgets a class. Its objects are gone, and the caller holds what [`change`](Self::change) gave.
    pub(super) async fn remove(&self, name: &ClassName) -> Result<(), DeleteClassError> {
        let (records, gone) = (self.records.clone(), name.clone());
        blocking(move || records.remove(&gone)).await?;
        if let Some((_, class)) = self.by_name.remove(name) {
            self.by_key.remove(&class.key);
        }
        Ok(())
    }
}
