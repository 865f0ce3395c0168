//! Stand-in for the router while the gateway is written; deleted at merge.
#![allow(missing_docs)]
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::base::invocation::Description;
use crate::base::*;

pub struct Class {
    pub name: ClassName,
    pub key: ClassKey,
}
pub struct VersionInfo {
    pub version: u64,
    pub digest: Digest,
    pub size: u64,
    pub exports: Vec<String>,
    pub imports: Vec<String>,
    pub created_ms: u64,
    pub deployed_ms: u64,
}
impl Class {
    pub fn info(&self) -> VersionInfo {
        let exports = vec!["holdfast:object/fetch-handler@0.1.0".into()];
        let digest = Digest::of(b"");
        VersionInfo { version: 1, digest, size: 0, exports, imports: vec![], created_ms: 1, deployed_ms: 2 }
    }
}
pub struct Deployed {
    pub class: Arc<Class>,
    pub created: bool,
    pub changed: bool,
}
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("{0}")]
    NotAComponent(String),
    #[error("core module")]
    CoreModule,
    #[error("{0:?}")]
    ImportsRefused(Vec<String>),
    #[error("{0:?}")]
    NoHandler(Vec<String>),
    #[error("two")]
    TwoHandlers,
    #[error("{0}")]
    TooCostly(String),
}
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    #[error("{0} bytes")]
    TooLarge(u64),
    #[error(transparent)]
    Refused(#[from] LoadError),
    #[error("{0}")]
    Storage(String),
}
impl DeployError {
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLarge(_) => "component-too-large",
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
#[derive(Debug, thiserror::Error)]
pub enum DeleteClassError {
    #[error("unknown")]
    Unknown,
    #[error("has objects")]
    HasObjects,
    #[error("{0}")]
    Storage(String),
}
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    #[error("bad cursor")]
    BadCursor,
    #[error("{0}")]
    Failed(String),
}
pub struct ObjectSummary {
    pub id: ObjectId,
    pub name: Option<ObjectName>,
    pub bytes: u64,
    pub live: bool,
}
pub struct ObjectPage {
    pub objects: Vec<ObjectSummary>,
    pub cursor: Option<String>,
}
#[derive(Default)]
pub struct Classes(Mutex<Vec<Arc<Class>>>);
impl Classes {
    pub fn get(&self, name: &ClassName) -> Option<Arc<Class>> {
        self.0.lock().iter().find(|class| class.name == *name).cloned()
    }
    pub fn list(&self) -> Vec<Arc<Class>> {
        self.0.lock().clone()
    }
    pub async fn deploy(&self, name: ClassName, component: Bytes) -> Result<Deployed, DeployError> {
        if !component.starts_with(b"\0asm") {
            return Err(LoadError::NotAComponent("no magic".into()).into());
        }
        let known = self.get(&name);
        let changed = known.is_none();
        let class = known.unwrap_or_else(|| Arc::new(Class { key: ClassKey::new("key"), name }));
        if changed {
            self.0.lock().push(class.clone());
        }
        Ok(Deployed { class, created: changed, changed })
    }
}
#[derive(Default)]
pub struct Router {
    classes: Classes,
}
impl Router {
    pub fn classes(&self) -> &Classes {
        &self.classes
    }
    pub async fn delete_class(&self, name: &ClassName, with_objects: bool) -> Result<(), DeleteClassError> {
        self.classes.get(name).ok_or(DeleteClassError::Unknown)?;
        if !with_objects {
            return Err(DeleteClassError::HasObjects);
        }
        self.classes.0.lock().retain(|class| class.name != *name);
        Ok(())
    }
    pub fn objects(
        &self,
        class: &Class,
        prefix: Option<&str>,
        cursor: Option<&str>,
        _limit: usize,
    ) -> Result<ObjectPage, StorageError> {
        match cursor {
            Some("bad") => return Err(StorageError::BadCursor),
            Some("broken") => return Err(StorageError::Failed("disk".into())),
            _ => {}
        }
        let name = ObjectName::parse(prefix.unwrap_or("alice")).ok();
        let id = ObjectId::unique(&class.key, [1; 16]);
        Ok(ObjectPage { objects: vec![ObjectSummary { id, name, bytes: 4096, live: true }], cursor: None })
    }
    /// Echoes: the response's headers are the request's, the body is `METHOD uri body`.
    pub async fn deliver(&self, address: ObjectAddress, invocation: Invocation) -> Result<Reply, TurnError> {
        let absent = address.name.as_ref().is_some_and(|name| name.as_str() == "absent");
        match invocation {
            Invocation::Fetch(request) => {
                if request.uri.path() == "/trap" {
                    return Err(TurnError::Trap("wasm `unreachable`".into()));
                }
                let mut body = format!("{} {} ", request.method, request.uri).into_bytes();
                body.extend_from_slice(&request.body);
                let status = http::StatusCode::IM_A_TEAPOT;
                Ok(Reply::Response(Response { status, headers: request.headers, body: body.into() }))
            }
            Invocation::Describe if absent => Ok(Reply::Description(None)),
            Invocation::Describe => {
                Ok(Reply::Description(Some(Description { name: address.name, bytes: 8192, live: false })))
            }
            Invocation::Delete | Invocation::Evict => Ok(Reply::Done(!absent)),
        }
    }
}
