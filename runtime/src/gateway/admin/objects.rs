//! `/v1/classes/{class}/objects`: create ids; list, show, query, delete and evict objects, run their alarms.
//!
//! Each operation on one object is a call, so it is ordered with the object's turns and waits at its output gate.

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

/// The number of objects on one page: the default, and the maximum.
const PAGE: usize = 100;
const PAGE_MAX: usize = 1_000;
/// Objects that wait for one that is shown.
const WAITING_SHOWN: usize = 100;

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
    /// Omitted where the request names the class.
    #[serde(skip_serializing_if = "Option::is_none")]
    class: Option<ClassName>,
    bytes: u64,
    state: &'static str,
    alarm: Option<ShownAlarm>,
    /// Omitted in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    sockets: Option<ShownSockets>,
    /// The object that its turn waited for when this was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    waits_for: Option<String>,
    /// The objects whose turns waited for it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    waited_for_by: Vec<String>,
}

/// Times are milliseconds since the Unix epoch.
#[derive(Serialize)]
struct ShownAlarm {
    /// The time that the alarm was set to.
    scheduled: u64,
    /// The number of failed attempts.
    failed: u32,
    /// The time of the next attempt.
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
            StorageError::BadCursor => Problem::new(&problem::BAD_QUERY, "cursor is not from a listing of this class"),
            error => Problem::of_storage(error),
        })?;
        let objects = page.objects.into_iter().map(|object| Shown {
            id: object.id.to_string(),
            name: object.name.map(|name| name.as_str().into()),
            class: None,
            bytes: object.bytes,
            state: state(object.live),
            alarm: object.alarm.map(ShownAlarm::from),
            sockets: None,
            waits_for: None,
            waited_for_by: Vec::new(),
        });
        Ok(json(StatusCode::OK, &Page { objects: objects.collect(), cursor: page.cursor }))
    }

    /// Creates an id. It cannot be guessed, and no other 32 bytes are accepted as an id of the class.
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
}

/// A request to one object: what the routes below `/v1/classes/{class}/objects/{object}` have in common. The router of
/// `admin` creates it; its methods are the handlers.
pub(super) struct ObjectRoute<'a> {
    pub(super) admin: &'a Admin,
    pub(super) method: &'a Method,
    pub(super) address: ObjectAddress,
}

impl<'a> ObjectRoute<'a> {
    /// Checks a request in the order that all routes have: the method against `allow`, the query, which must be empty,
    /// then the class and the object that the path segments name. `allow` is the value of the header of that name.
    pub(super) fn of(
        admin: &'a Admin,
        (method, uri): (&'a Method, &Uri),
        (class, object): (&str, &str),
        allow: &'static str,
    ) -> Result<Self, Problem> {
        if !allow.split(", ").any(|allowed| allowed == method.as_str()) {
            return Err(Problem::method_not_allowed(allow));
        }
        let NoQuery {} = query(uri)?;
        let class = admin.deployed(class)?;
        let address = path::object(class.name(), &class.key, object)?;
        Ok(Self { admin, method, address })
    }

    /// Shows or deletes the object.
    pub(super) async fn object(self) -> Result<Response, Problem> {
        if self.method == Method::DELETE {
            return match self.deliver(Delete).await? {
                Deletion::Deleted => Ok(StatusCode::NO_CONTENT.into_response()),
                Deletion::Nothing => Err(self.unknown()),
            };
        }
        // Before its description, which waits for the end of its turn.
        let (waits_for, waited_for_by) = self.admin.router.waits(&self.address.id, WAITING_SHOWN);
        let description = self.deliver(Describe).await?.ok_or_else(|| self.unknown())?;
        let address = self.address;
        let name = description.name.as_ref().or(address.name.as_ref());
        let shown = Shown {
            id: address.id.to_string(),
            name: name.map(|name| name.as_str().into()),
            class: Some(address.class.clone()),
            bytes: description.bytes,
            state: state(description.live),
            alarm: description.alarm.map(ShownAlarm::from),
            sockets: Some(description.sockets.into()),
            waits_for,
            waited_for_by,
        };
        Ok(json(StatusCode::OK, &shown))
    }

    /// Drops the object's instance.
    pub(super) async fn evict(self) -> Result<Response, Problem> {
        #[derive(Serialize)]
        struct Evicted {
            evicted: bool,
        }
        let evicted = self.deliver(Evict).await? == Eviction::Evicted;
        Ok(json(StatusCode::OK, &Evicted { evicted }))
    }

    /// Runs the alarm now. Its outcome is reported like that of any turn, and a failure counts as an attempt.
    pub(super) async fn alarm(self) -> Result<Response, Problem> {
        #[derive(Serialize)]
        struct Ran {
            ran: bool,
        }
        match self.deliver(RunAlarm::Now).await? {
            AlarmRun::Ran | AlarmRun::Suspended => Ok(json(StatusCode::OK, &Ran { ran: true })),
            AlarmRun::NotDue => {
                self.deliver(Describe).await?.ok_or_else(|| self.unknown())?;
                Err(Problem::new(&problem::NO_ALARM, "no alarm is set, or the handler of one goes on")
                    .about(&self.address))
            }
        }
    }

    /// Runs a query on the object.
    pub(super) async fn sql(self, body: &mut Body) -> Result<Response, Problem> {
        let (body, _charge) = self.admin.collect(body, QUERY_BODY_MAX, &problem::BODY_TOO_LARGE).await?;
        let asked = sql::read(&body)?;
        drop(body);
        let table = self.deliver(asked).await?.ok_or_else(|| self.unknown())?;
        Ok(json(StatusCode::OK, &sql::answer(table)))
    }

    /// Creates a call to the object.
    pub(super) fn call<O>(&self, operation: O) -> Call<O> {
        let from = (Cause::Admin, Principal::Admin);
        Call::new(self.admin.router.call_id(), self.address.clone(), from, operation)
    }

    /// Delivers an operation and waits for its answer.
    pub(super) async fn deliver<O: Operation>(&self, operation: O) -> Result<O::Answer, Problem> {
        let call = self.call(operation);
        let id = call.id;
        let delivered = self.admin.router.deliver(call).await;
        delivered.map_err(|error| Problem::of_turn(&error, (&self.address, id), true))
    }

    /// Returns the problem for an object that has stored nothing.
    pub(super) fn unknown(&self) -> Problem {
        Problem::new(&problem::UNKNOWN_OBJECT, "the object has stored nothing").about(&self.address)
    }
}
