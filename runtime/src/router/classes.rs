//! The deployed classes: by name, and how one is deployed.
//!
//! A deploy is answered once the component and the class's record are durable; only then do objects see the new version.
//! Deployments and deletions of one class happen one after the other, so they cannot mix; those of different classes do not wait
//! for each other.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dashmap::DashMap;

use super::blocking;
use crate::base::alone::{Alone, OneAtATime};
use crate::base::share::TooManyWait;
use crate::base::{ClassKey, ClassName, Create, Env, Limits};
use crate::object::{Class, Node};
use crate::storage::{ClassRecord, ClassRecords, StorageError};
use crate::wasm::{ClassCode, LoadError};

/// Deployments and deletions of one class that may wait for each other; each holds its component.
const CHANGES_MAX: usize = 32;

/// All deployed classes of one host.
pub struct Classes {
    by_name: DashMap<ClassName, Arc<Class>>,
    /// The same ones. Changed after `by_name`.
    by_key: DashMap<ClassKey, Arc<Class>>,
    records: Arc<ClassRecords>,
    node: Arc<Node>,
    /// Held by whoever deploys or deletes a class.
    changing: Arc<OneAtATime<ClassName>>,
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
            Self::Refused(LoadError::ImportsRefused(_)) => "imports-refused",
            Self::Refused(LoadError::NoHandler(_)) => "no-handler-exported",
            Self::Refused(LoadError::TwoHandlers) => "two-handlers",
            Self::Refused(LoadError::TooCostly(_)) => "too-costly",
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

impl Classes {
    /// The classes that are recorded. Their code is loaded when it is first needed.
    pub fn open(records: Arc<ClassRecords>, node: Arc<Node>) -> Result<Self, StorageError> {
        let (by_name, by_key) = (DashMap::new(), DashMap::new());
        let classes = Self { by_name, by_key, records, node, changing: OneAtATime::new(CHANGES_MAX) };
        for record in classes.records.load_all()? {
            classes.add(Arc::new(Class::dormant(record)));
        }
        Ok(classes)
    }

    pub(super) fn add(&self, class: Arc<Class>) {
        self.by_name.insert(class.name.clone(), class.clone());
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
        classes.sort_by(|a, b| a.name.cmp(&b.name));
        classes
    }

    /// Makes a component the current version of a class, and makes the class if there is none. Without `create` the class keeps
    /// what it has.
    pub async fn deploy(
        &self,
        name: ClassName,
        component: Bytes,
        create: Option<Create>,
    ) -> Result<Deployed, DeployError> {
        let limits: &Limits = &self.node.limits;
        if component.len() as u64 > limits.component {
            return Err(DeployError::TooLarge(limits.component));
        }
        let _alone = self.change(&name).await.map_err(|TooManyWait| DeployError::Busy)?;
        let existing = self.get(&name);
        // A class that is new has no key yet; any that is its own will do.
        let key = existing.as_ref().map_or_else(|| ClassKey::new(name.as_str()), |class| class.key.clone());
        let code = self.node.loader.load(&key, component.clone()).await?;
        let create = create.or(existing.as_ref().map(|class| class.create())).unwrap_or_default();
        let is_same = |class: &&Arc<Class>| class.record().digest == code.digest && class.create() == create;
        if let Some(class) = existing.as_ref().filter(is_same) {
            // Stored again all the same: deploying is how a damaged component is repaired.
            self.store(class.record(), component).await?;
            return Ok(Deployed { class: class.clone(), created: false, changed: false });
        }
        let previous = existing.as_ref().map(|class| class.record());
        let record = next_record(&self.node.env, name.clone(), previous, &code, component.len() as u64, create);
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

fn next_record(
    env: &Env,
    name: ClassName,
    previous: Option<ClassRecord>,
    code: &ClassCode,
    size: u64,
    create: Create,
) -> ClassRecord {
    let now = env.wall_ms();
    let (version, key, created_ms) = match previous {
        Some(previous) => (previous.version + 1, previous.key, previous.created_ms),
        None => (1, ClassKey::random(env.random()), now),
    };
    let (exports, imports) = (code.exports.clone(), code.imports.clone());
    ClassRecord {
        name,
        key,
        version,
        digest: code.digest,
        size,
        exports,
        imports,
        created_ms,
        deployed_ms: now,
        create,
    }
}
