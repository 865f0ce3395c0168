//! `/v1/classes/{class}/objects`: make ids; list, show, query, delete and evict objects, run their alarms.
//!
//! Whatever is asked of one object goes to it as a call, so it is ordered with its turns and waits at its output gate.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::LOCATION;
use http::{Method, StatusCode, Uri};
use serde::{Deserialize, Serialize};

use super::{Admin, NoQuery, json, path, problem, query, sql};
use crate::base::limits::QUERY_BODY_MAX;
use crate::base::operation::{AlarmRun, Delete, Deletion, Describe, Evict, Eviction, RunAlarm};
use crate::base::socket::SocketCounts;
use crate::base::{Alarm, Call, Cause, ClassName, ObjectAddress, Principal};
use crate::gateway::problem::Problem;
use crate::router::Operation;
use crate::storage::StorageError;

/// Objects on one page: unless asked otherwise, and at most.
const PAGE: usize = 100;
const PAGE_MAX: usize = 1_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PageQuery {
    prefix: Option<String>,
    cursor: Option<String>,
    limit: Option<usize>,
}

/// One object as the admin API shows it.
#[derive(Serialize)]
struct Shown {
    id: String,
    name: Option<String>,
    /// Left out where the class is plain from the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    class: Option<ClassName>,
    bytes: u64,
    state: &'static str,
    alarm: Option<ShownAlarm>,
    /// Left out of lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    sockets: Option<ShownSockets>,
}

/// Times are milliseconds since the Unix epoch.
#[derive(Serialize)]
struct ShownAlarm {
    /// What it was set to.
    scheduled: u64,
    /// How many attempts have failed.
    failed: u32,
    /// When it is tried next.
    next: u64,
}

impl From<Alarm> for ShownAlarm {
    fn from(Alarm { due_ms, attempt, next_ms }: Alarm) -> Self {
        Self { scheduled: due_ms, failed: attempt, next: next_ms }
    }
}

#[derive(Serialize)]
struct ShownSockets {
    /// Open or closing.
    open: u64,
    buffered_bytes: u64,
    messages_in: u64,
    messages_out: u64,
}

impl From<SocketCounts> for ShownSockets {
    fn from(counts: SocketCounts) -> Self {
        let SocketCounts { sockets, buffered_bytes, messages_in, messages_out } = counts;
        Self { open: sockets, buffered_bytes, messages_in, messages_out }
    }
}

fn state(live: bool) -> &'static str {
    if live { "live" } else { "dormant" }
}

/// An object that has stored nothing.
pub(super) fn unknown(address: &ObjectAddress) -> Problem {
    Problem::new(&problem::UNKNOWN_OBJECT, "the object has stored nothing").about(address)
}

impl Admin {
    pub(super) async fn objects(&self, method: &Method, uri: &Uri, class: &str) -> Result<Response, Problem> {
        #[derive(Serialize)]
        struct Page {
            objects: Vec<Shown>,
            cursor: Option<String>,
        }
        match *method {
            Method::GET => {}
            Method::POST => return self.new_id(uri, class),
            _ => return Err(Problem::method_not_allowed("GET, HEAD, POST")),
        }
        let asked: PageQuery = query(uri)?;
        let limit = asked.limit.unwrap_or(PAGE);
        if !(1..=PAGE_MAX).contains(&limit) {
            return Err(Problem::new(&problem::BAD_QUERY, format!("limit is 1 to {PAGE_MAX}, not {limit}")));
        }
        let class = self.deployed(class)?;
        let page = self.router.objects(&class, asked.prefix, asked.cursor, limit).await;
        let page = page.map_err(|error| match error {
            StorageError::BadCursor => {
                Problem::new(&problem::BAD_QUERY, "cursor is not one that a listing of this class gave out")
            }
            error => Problem::internal(error),
        })?;
        let objects = page.objects.into_iter().map(|object| Shown {
            id: object.id.to_string(),
            name: object.name.map(|name| name.as_str().into()),
            class: None,
            bytes: object.bytes,
            state: state(object.live),
            alarm: object.alarm.map(ShownAlarm::from),
            sockets: None,
        });
        Ok(json(StatusCode::OK, &Page { objects: objects.collect(), cursor: page.cursor }))
    }

    /// Makes an id. Nobody can guess it, and no other id of 32 bytes is taken for one of the class.
    fn new_id(&self, uri: &Uri, class: &str) -> Result<Response, Problem> {
        #[derive(Serialize)]
        struct NewId {
            id: String,
            class: ClassName,
        }
        let NoQuery {} = query(uri)?;
        let class = self.deployed(class)?;
        let (id, class) = (self.router.new_id(&class).to_string(), class.name());
        let location = format!("/v1/classes/{class}/objects/@{id}");
        Ok(([(LOCATION, location)], json(StatusCode::CREATED, &NewId { id, class })).into_response())
    }

    pub(super) async fn object(
        &self,
        method: &Method,
        uri: &Uri,
        class: &str,
        object: &str,
    ) -> Result<Response, Problem> {
        if !matches!(*method, Method::GET | Method::DELETE) {
            return Err(Problem::method_not_allowed("DELETE, GET, HEAD"));
        }
        let NoQuery {} = query(uri)?;
        let address = self.address(class, object)?;
        if method == Method::DELETE {
            return match self.deliver(&address, Delete).await? {
                Deletion::Deleted => Ok(StatusCode::NO_CONTENT.into_response()),
                Deletion::Nothing => Err(unknown(&address)),
            };
        }
        let description = self.deliver(&address, Describe).await?.ok_or_else(|| unknown(&address))?;
        let name = description.name.as_ref().or(address.name.as_ref());
        let shown = Shown {
            id: address.id.to_string(),
            name: name.map(|name| name.as_str().into()),
            class: Some(address.class.clone()),
            bytes: description.bytes,
            state: state(description.live),
            alarm: description.alarm.map(ShownAlarm::from),
            sockets: Some(description.sockets.into()),
        };
        Ok(json(StatusCode::OK, &shown))
    }

    pub(super) async fn evict(
        &self,
        method: &Method,
        uri: &Uri,
        class: &str,
        object: &str,
    ) -> Result<Response, Problem> {
        #[derive(Serialize)]
        struct Evicted {
            evicted: bool,
        }
        let address = self.posted(method, uri, class, object)?;
        let evicted = self.deliver(&address, Evict).await? == Eviction::Evicted;
        Ok(json(StatusCode::OK, &Evicted { evicted }))
    }

    /// Runs the alarm now. What comes of it is told as of any turn, and a failure counts as an attempt.
    pub(super) async fn alarm(
        &self,
        method: &Method,
        uri: &Uri,
        class: &str,
        object: &str,
    ) -> Result<Response, Problem> {
        #[derive(Serialize)]
        struct Ran {
            ran: bool,
        }
        let address = self.posted(method, uri, class, object)?;
        match self.deliver(&address, RunAlarm::Now).await? {
            AlarmRun::Ran => Ok(json(StatusCode::OK, &Ran { ran: true })),
            AlarmRun::NotDue => {
                self.deliver(&address, Describe).await?.ok_or_else(|| unknown(&address))?;
                Err(Problem::new(&problem::NO_ALARM, "no alarm is set").about(&address))
            }
        }
    }

    pub(super) async fn sql(
        &self,
        method: &Method,
        uri: &Uri,
        class: &str,
        object: &str,
        body: &mut Body,
    ) -> Result<Response, Problem> {
        let address = self.posted(method, uri, class, object)?;
        let (body, _charge) = self.collect(body, QUERY_BODY_MAX, &problem::BODY_TOO_LARGE).await?;
        let asked = sql::read(&body)?;
        drop(body);
        let table = self.deliver(&address, asked).await?.ok_or_else(|| unknown(&address))?;
        Ok(json(StatusCode::OK, &sql::answer(table)))
    }

    /// The object that a `POST` without a query is about.
    fn posted(&self, method: &Method, uri: &Uri, class: &str, object: &str) -> Result<ObjectAddress, Problem> {
        if method != Method::POST {
            return Err(Problem::method_not_allowed("POST"));
        }
        let NoQuery {} = query(uri)?;
        self.address(class, object)
    }

    pub(super) fn address(&self, class: &str, object: &str) -> Result<ObjectAddress, Problem> {
        let class = self.deployed(class)?;
        path::object(class.name(), &class.key, object)
    }

    pub(super) fn call<O>(&self, address: &ObjectAddress, operation: O) -> Call<O> {
        Call::new(self.router.call_id(), address.clone(), (Cause::Admin, Principal::Admin), operation)
    }

    pub(super) async fn deliver<O: Operation>(
        &self,
        address: &ObjectAddress,
        operation: O,
    ) -> Result<O::Answer, Problem> {
        let call = self.call(address, operation);
        let id = call.id;
        self.router.deliver(call).await.map_err(|error| Problem::of_turn(&error, (address, id), true))
    }
}
