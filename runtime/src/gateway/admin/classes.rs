//! `/v1/classes`: deploy, list, show, rename and delete classes.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{Method, StatusCode, Uri};
use serde::{Deserialize, Serialize};

use super::{Admin, NoQuery, json, only_get, problem, query, to_the_end};
use crate::base::call_settings::BadCalls;
use crate::base::{Calls, ClassName, Create, Digest, LateSettings, Methods, PublicMethods};
use crate::gateway::problem::Problem;
use crate::router::{Class, DeleteClassError, DeployError, DeploySettings, Deployed, RenameClassError};
use crate::storage::{ClassVersion, MESSAGE_MAX};

/// One class as the admin API shows it; times in milliseconds since the Unix epoch.
#[derive(Serialize)]
struct Shown {
    name: ClassName,
    version: u64,
    digest: Digest,
    size: u64,
    exports: Vec<String>,
    imports: Vec<String>,
    created: u64,
    deployed: u64,
    create: Create,
    /// Only what is set.
    #[serde(skip_serializing_if = "LateSettings::is_default", flatten)]
    late: LateSettings,
    #[serde(skip_serializing_if = "Calls::is_empty")]
    calls: Calls,
    #[serde(skip_serializing_if = "Methods::is_default")]
    methods: Methods,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    /// The version of the contract that it was built for; null if it uses none of its interfaces.
    built_for: Option<String>,
    /// Whether requests are answered with `class-outdated`, because the host no longer runs that version.
    outdated: bool,
    /// In the answer to a deploy only: whether the component or a setting differs from the previous version.
    #[serde(skip_serializing_if = "Option::is_none")]
    changed: Option<bool>,
    /// For a single class only: the versions that are kept, the current one first.
    #[serde(skip_serializing_if = "Option::is_none")]
    versions: Option<Vec<ShownVersion>>,
}

/// One version of a class.
#[derive(Serialize)]
struct ShownVersion {
    version: u64,
    digest: Digest,
    size: u64,
    deployed: u64,
    create: Create,
    #[serde(skip_serializing_if = "LateSettings::is_default", flatten)]
    late: LateSettings,
    #[serde(skip_serializing_if = "Calls::is_empty")]
    calls: Calls,
    #[serde(skip_serializing_if = "Methods::is_default")]
    methods: Methods,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

impl From<ClassVersion> for ShownVersion {
    fn from(version: ClassVersion) -> Self {
        let ClassVersion {
            number: version,
            digest,
            size,
            deployed_ms: deployed,
            create,
            late,
            calls,
            methods,
            message,
        } = version;
        Self { version, digest, size, deployed, create, late, calls, methods, message }
    }
}

impl Shown {
    fn with_versions(class: &Class) -> Self {
        let versions = class.versions().into_iter().rev().map(ShownVersion::from).collect();
        Self { versions: Some(versions), ..Self::of(class, None) }
    }

    fn of(class: &Class, changed: Option<bool>) -> Self {
        let info = class.info();
        Self {
            name: class.name(),
            version: info.version,
            digest: info.digest,
            size: info.size,
            exports: info.exports,
            imports: info.imports,
            created: info.created_ms,
            deployed: info.deployed_ms,
            create: info.create,
            late: info.late,
            calls: info.calls,
            methods: info.methods,
            message: info.message,
            built_for: info.built_for.map(|version| format!("holdfast:object@{version}")),
            outdated: info.outdated,
            changed,
            versions: None,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeleteQuery {
    objects: Option<Objects>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RenameQuery {
    to: String,
}

/// Settings of the class; omitted ones stay as they are.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeployQuery {
    create: Option<Create>,
    interleave: Option<bool>,
    #[serde(rename = "late-seconds")]
    late_seconds: Option<u32>,
    /// The classes that it may call: `NAME=CLASS,NAME=CLASS`.
    calls: Option<String>,
    /// The methods that are public: `METHOD,METHOD`.
    public: Option<String>,
    /// A description of the version, stored with it.
    message: Option<String>,
    /// Deploys this version again, instead of a component in the body.
    version: Option<u64>,
}

impl DeployQuery {
    fn settings(self) -> Result<DeploySettings, Problem> {
        let message = self.message.clone().filter(|message| !message.is_empty());
        if message.as_ref().is_some_and(|message| message.len() > MESSAGE_MAX) {
            return Err(Problem::new(&problem::BAD_QUERY, format!("a message has at most {MESSAGE_MAX} bytes")));
        }
        let Self { create, interleave, late_seconds, calls, public, .. } = self;
        let bad = |error: BadCalls| Problem::new(&problem::BAD_QUERY, error.to_string());
        let calls = calls.map(|text| text.parse::<Calls>()).transpose().map_err(bad)?;
        let public = public.map(|text| text.parse::<PublicMethods>()).transpose().map_err(bad)?;
        Ok(DeploySettings { create, interleave, late_seconds, calls, public, message })
    }
}

#[derive(Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Objects {
    Delete,
}

impl Admin {
    pub(super) fn classes(&self, method: &Method, uri: &Uri) -> Result<Response, Problem> {
        #[derive(Serialize)]
        struct Classes {
            classes: Vec<Shown>,
        }
        only_get(method)?;
        let NoQuery {} = query(uri)?;
        let classes = self.router.classes().list().iter().map(|class| Shown::of(class, None)).collect();
        Ok(json(StatusCode::OK, &Classes { classes }))
    }

    pub(super) async fn class(
        &self,
        method: &Method,
        uri: &Uri,
        class: &str,
        body: &mut Body,
    ) -> Result<Response, Problem> {
        match *method {
            Method::GET => {
                let NoQuery {} = query(uri)?;
                Ok(json(StatusCode::OK, &Shown::with_versions(&*self.deployed(class)?)))
            }
            Method::PUT => {
                let (name, asked) = (ClassName::parse(class)?, query::<DeployQuery>(uri)?);
                match asked.version {
                    Some(version) => self.roll_back(name, version, asked.settings()?, body).await,
                    None => self.deploy(name, asked.settings()?, body).await,
                }
            }
            Method::DELETE => self.delete_class(ClassName::parse(class)?, query(uri)?).await,
            _ => Err(Problem::method_not_allowed("DELETE, GET, HEAD, PUT")),
        }
    }

    async fn deploy(&self, name: ClassName, settings: DeploySettings, body: &mut Body) -> Result<Response, Problem> {
        let limit = self.settings.component;
        let (component, charge) = self.collect(body, limit, &problem::COMPONENT_TOO_LARGE).await?;
        let router = self.router.clone();
        let deploying = async move {
            let deployed = router.deploy(name, component, settings).await;
            drop(charge);
            deployed
        };
        shown(to_the_end(deploying).await?)
    }

    async fn roll_back(
        &self,
        name: ClassName,
        version: u64,
        settings: DeploySettings,
        body: &mut Body,
    ) -> Result<Response, Problem> {
        if !self.collect(body, 0, &problem::BODY_TOO_LARGE).await?.0.is_empty() {
            let detail = "`version` deploys a stored component again; send no body";
            return Err(Problem::new(&problem::BAD_BODY, detail));
        }
        self.deployed(name.as_str())?;
        let router = self.router.clone();
        shown(to_the_end(async move { router.roll_back(name, version, settings).await }).await?)
    }
}

/// The answer to a deploy.
fn shown(deployed: Result<Deployed, DeployError>) -> Result<Response, Problem> {
    let deployed = deployed.map_err(|error| Problem::of_deploy(&error))?;
    let shown = Shown::of(&deployed.class, Some(deployed.changed));
    Ok(json(if deployed.created { StatusCode::CREATED } else { StatusCode::OK }, &shown))
}

impl Admin {
    pub(super) async fn rename_class(&self, method: &Method, uri: &Uri, class: &str) -> Result<Response, Problem> {
        if method != Method::POST {
            return Err(Problem::method_not_allowed("POST"));
        }
        let asked: RenameQuery = query(uri)?;
        let (from, to) = (ClassName::parse(class)?, ClassName::parse(&asked.to)?);
        let (router, old, new) = (self.router.clone(), from.clone(), to.clone());
        match to_the_end(async move { router.rename_class(&old, &new).await }).await? {
            Ok(class) => Ok(json(StatusCode::OK, &Shown::of(&class, None))),
            Err(RenameClassError::Unknown) => Err(problem::unknown_class(&from)),
            Err(RenameClassError::Taken) => {
                let detail = format!("`{to}` is another class; delete it, or rename it first");
                Err(Problem::new(&problem::CLASS_EXISTS, detail))
            }
            Err(error @ RenameClassError::Busy) => Err(Problem::new(&problem::OVERLOADED, error.to_string())),
            Err(RenameClassError::Storage(error)) => Err(Problem::of_storage(error)),
        }
    }

    async fn delete_class(&self, name: ClassName, asked: DeleteQuery) -> Result<Response, Problem> {
        let with_objects = asked.objects == Some(Objects::Delete);
        let (router, class) = (self.router.clone(), name.clone());
        match to_the_end(async move { router.delete_class(&class, with_objects).await }).await? {
            Ok(()) => Ok(StatusCode::NO_CONTENT.into_response()),
            Err(DeleteClassError::Unknown) => Err(problem::unknown_class(&name)),
            Err(DeleteClassError::HasObjects) => {
                let detail = format!("`{name}` still has objects; delete them with it by adding ?objects=delete");
                Err(Problem::new(&problem::CLASS_HAS_OBJECTS, detail))
            }
            Err(error @ DeleteClassError::Busy) => Err(Problem::new(&problem::OVERLOADED, error.to_string())),
            Err(DeleteClassError::Storage(error)) => Err(Problem::of_storage(error)),
            Err(error @ DeleteClassError::StillRunning(_)) => Err(Problem::internal(error)),
        }
    }
}
