//! The admin listener: deploys classes, manages objects, serves guest logs and metrics.
//!
//! Every request must carry the bearer token, whatever its route: without it the answer reveals nothing, not even which
//! routes exist. The token is also a defence against web pages: it travels in a header that no browser attaches by
//! itself, and a preflight is answered 401. Host and origin are checked nevertheless (`hosts`).
//!
//! Routes are matched by hand on raw segments, because an object's segment must be read as sent (`path`).

mod calls;
mod classes;
mod objects;
pub(super) mod sql;
mod transfer;

use std::future::Future;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::Query;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{Method, StatusCode, Uri, Version};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use self::objects::ObjectRoute;
use super::body::Intake;
use super::connections::Service;
use super::hosts::Hosts;
use super::logs::{self, LogsQuery};
use super::path;
use super::problem::{self, Kind, Problem};
use super::token::AdminToken;
use super::wire::Wire;
use crate::base::logs::{GuestLogs, LogEntry};
use crate::base::{ClassName, MemoryCharge, Metrics};
use crate::router::{Class, Router};

/// The settings of the admin listener.
#[derive(Clone)]
pub struct AdminSettings {
    /// Bytes of one uploaded component (`Limits::component`).
    pub component: u64,
    /// How request bodies are read.
    pub intake: Intake,
    /// The hosts that requests may name, and the origins that may send them.
    pub hosts: Hosts,
    /// Becomes true, or is dropped, when the server begins to stop: log streams end, so that the drain can complete.
    pub stopping: watch::Receiver<bool>,
}

/// The service of the admin listener.
#[derive(Clone)]
pub struct AdminService(Arc<Admin>);

struct Admin {
    router: Arc<Router>,
    logs: Arc<GuestLogs>,
    metrics: Arc<Metrics>,
    token: AdminToken,
    settings: AdminSettings,
}

impl AdminService {
    /// Creates a service for holders of the token.
    pub fn new(
        router: Arc<Router>,
        logs: Arc<GuestLogs>,
        metrics: Arc<Metrics>,
        token: AdminToken,
        settings: AdminSettings,
    ) -> Self {
        Self(Arc::new(Admin { router, logs, metrics, token, settings }))
    }
}

impl Service for AdminService {
    async fn answer(&self, request: http::Request<Body>, _: Arc<Wire>) -> Response {
        let (parts, mut body) = request.into_parts();
        match self.0.answer(&parts, &mut body).await {
            Ok(response) => response,
            Err(problem) => {
                if problem.is_worth_reading_on() {
                    self.0.settings.intake.discard(body, self.0.settings.component);
                }
                problem.into_response()
            }
        }
    }
}

/// The query of routes without parameters.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoQuery {}

impl Admin {
    async fn answer(&self, parts: &Parts, body: &mut Body) -> Result<Response, Problem> {
        self.settings.hosts.admit(parts)?;
        if !self.token.admits(&parts.headers) {
            let detail = "send `Authorization: Bearer` with the token in <data>/admin.token";
            return Err(Problem::new(&problem::UNAUTHORIZED, detail));
        }
        let method = if parts.method == Method::HEAD { &Method::GET } else { &parts.method };
        let segments: Vec<&str> = parts.uri.path().split('/').skip(1).collect();
        let route = |class, object, allow| ObjectRoute::of(self, (method, &parts.uri), (class, object), allow);
        match segments[..] {
            ["v1", "classes"] => self.classes(method, &parts.uri),
            ["v1", "classes", class] => self.class(method, &parts.uri, class, body).await,
            ["v1", "classes", class, "rename"] => self.rename_class(method, &parts.uri, class).await,
            ["v1", "classes", class, "objects"] => self.objects(method, &parts.uri, class).await,
            ["v1", "classes", class, "objects", object] => route(class, object, "DELETE, GET, HEAD")?.object().await,
            ["v1", "classes", class, "objects", object, "evict"] => route(class, object, "POST")?.evict().await,
            ["v1", "classes", class, "objects", object, "alarm"] => route(class, object, "POST")?.alarm().await,
            ["v1", "classes", class, "objects", object, "call", method] => {
                route(class, object, "POST")?.call_method(method, body).await
            }
            ["v1", "classes", class, "objects", object, "sql"] => route(class, object, "POST")?.sql(body).await,
            ["v1", "classes", class, "objects", object, "export"] => route(class, object, "GET, HEAD")?.export().await,
            ["v1", "classes", class, "objects", object, "import"] => route(class, object, "PUT")?.import(body).await,
            ["v1", "logs"] => self.logs(method, &parts.uri),
            ["metrics"] => self.metrics(method, &parts.uri),
            _ => Err(Problem::new(&problem::UNKNOWN_ROUTE, "the admin API is at /v1/classes, /v1/logs and /metrics")),
        }
    }

    fn logs(&self, method: &Method, uri: &Uri) -> Result<Response, Problem> {
        #[derive(Serialize)]
        struct Entries<'a> {
            entries: Vec<&'a LogEntry>,
        }
        only_get(method)?;
        let asked: LogsQuery = query(uri)?;
        if asked.follow {
            return Ok(logs::follow(&self.logs, asked, self.settings.stopping.clone()));
        }
        let entries = logs::remembered(&self.logs, &asked);
        Ok(json(StatusCode::OK, &Entries { entries: entries.iter().map(AsRef::as_ref).collect() }))
    }

    fn metrics(&self, method: &Method, uri: &Uri) -> Result<Response, Problem> {
        only_get(method)?;
        let NoQuery {} = query(uri)?;
        self.router.update_metrics();
        let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        Ok(([(CONTENT_TYPE, content_type)], self.metrics.encode()).into_response())
    }

    /// Reads a complete request body; returns it with its memory charge.
    async fn collect(
        &self,
        body: &mut Body,
        limit: u64,
        too_large: &'static Kind,
    ) -> Result<(Bytes, Option<MemoryCharge>), Problem> {
        let charged_to = || self.router.unowned_memory();
        self.settings.intake.collect(body, Version::HTTP_11, (limit, too_large), charged_to).await
    }

    /// Returns the deployed class that a path segment names.
    fn deployed(&self, segment: &str) -> Result<Arc<Class>, Problem> {
        let name = ClassName::parse(segment)?;
        self.router.classes().get(&name).ok_or_else(|| problem::unknown_class(&name))
    }
}

fn only_get(method: &Method) -> Result<(), Problem> {
    if method == Method::GET { Ok(()) } else { Err(Problem::method_not_allowed("GET, HEAD")) }
}

/// Parses a query strictly: unknown, repeated and malformed parameters are errors.
fn query<T: DeserializeOwned>(uri: &Uri) -> Result<T, Problem> {
    let Query(query) =
        Query::try_from_uri(uri).map_err(|error| Problem::new(&problem::BAD_QUERY, error.body_text()))?;
    Ok(query)
}

fn json(status: StatusCode, value: &impl Serialize) -> Response {
    let body = serde_json::to_vec(value).expect("the answers of the admin API have a JSON form");
    (status, [(CONTENT_TYPE, "application/json")], body).into_response()
}

/// Runs work that must complete even if the client disconnects: a handler's future is dropped then, a task is not.
async fn to_the_end<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> Result<T, Problem> {
    tokio::spawn(work).await.map_err(Problem::internal)
}
