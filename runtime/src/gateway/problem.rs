//! Errors in HTTP responses: `application/problem+json` (RFC 9457) with a stable code.
//!
//! One table maps each code to its status and title; `docs/ERRORS.md` explains each, and a test keeps the two
//! consistent. Codes of lower layers come from `TurnError::code` and `DeployError::code` and are looked up here. This
//! is the only place that logs the error of a turn with a waiting caller: errors of a guest below `warn`, errors of the
//! host at `error`.
//!
//! Invariant: 503 is the only retryable status, and every 503 is retryable but `instance-dropped`, of which part was
//! done.

use std::borrow::Cow;
use std::fmt::Display;

use axum::response::{IntoResponse, Response};
use http::header::{ALLOW, CONNECTION, CONTENT_TYPE, RETRY_AFTER, SEC_WEBSOCKET_VERSION, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde::Serialize;

use crate::base::id::IdError;
use crate::base::{CallId, ClassName, ObjectAddress, TurnError};
use crate::router::DeployError;
use crate::storage::StorageError;

/// One row of the table: the meaning of a code in HTTP.
#[derive(Debug)]
pub struct Kind {
    /// The stable code that clients match on.
    pub code: &'static str,
    /// The status of the response.
    pub status: StatusCode,
    /// The title, the same for every occurrence.
    pub title: &'static str,
}

macro_rules! kinds {
    ($($name:ident $code:literal $status:ident $title:literal)*) => {
        $(pub const $name: Kind = Kind { code: $code, status: StatusCode::$status, title: $title };)*
        /// All rows.
        const ALL: &[&Kind] = &[$(&$name),*];
    };
}

kinds! {
    // Bad requests.
    BAD_REQUEST "bad-request" BAD_REQUEST "Not a request that HTTP allows"
    UNKNOWN_HOST "unknown-host" MISDIRECTED_REQUEST "The host does not answer for this name"
    UNKNOWN_ORIGIN "unknown-origin" FORBIDDEN "Pages of this origin may not call"
    BODY_TIMEOUT "body-timeout" REQUEST_TIMEOUT "The request body is too slow"
    BAD_CLASS "bad-class" BAD_REQUEST "Not a class name"
    BAD_NAME "bad-name" BAD_REQUEST "Not an object name"
    BAD_ID "bad-id" BAD_REQUEST "Not an object id"
    ID_OF_OTHER_CLASS "id-of-other-class" BAD_REQUEST "The object id belongs to another class"
    BAD_QUERY "bad-query" BAD_REQUEST "Bad query parameters"
    BAD_BODY "bad-body" BAD_REQUEST "The route does not accept this body"
    BODY_INCOMPLETE "body-incomplete" BAD_REQUEST "The request body is incomplete"
    UNAUTHORIZED "unauthorized" UNAUTHORIZED "The admin token is missing or wrong"
    UNKNOWN_CLASS "unknown-class" NOT_FOUND "No such class"
    UNKNOWN_VERSION "unknown-version" NOT_FOUND "No such version of the class"
    UNKNOWN_OBJECT "unknown-object" NOT_FOUND "No such object"
    NO_ALARM "no-alarm" NOT_FOUND "The object has no alarm"
    UNKNOWN_ROUTE "unknown-route" NOT_FOUND "No such route"
    RESERVED "reserved" NOT_FOUND "Paths that begin with _ are reserved"
    METHOD_NOT_ALLOWED "method-not-allowed" METHOD_NOT_ALLOWED "The route does not support this method"
    CLASS_HAS_OBJECTS "class-has-objects" CONFLICT "The class has objects"
    CLASS_EXISTS "class-exists" CONFLICT "Another class has this name"
    BODY_TOO_LARGE "body-too-large" PAYLOAD_TOO_LARGE "The request body is too large"
    QUERY_FAILED "query-failed" UNPROCESSABLE_ENTITY "The query failed"
    IMPORT_REFUSED "import-refused" UNPROCESSABLE_ENTITY "Not a database that an object can have"
    BAD_HANDSHAKE "bad-handshake" BAD_REQUEST "Not a request that can open a WebSocket"
    WEBSOCKET_VERSION "websocket-version" UPGRADE_REQUIRED "Not a version of the WebSocket protocol that the host speaks"
    // Deploying.
    COMPONENT_TOO_LARGE "component-too-large" PAYLOAD_TOO_LARGE "The component is too large"
    NOT_A_COMPONENT "not-a-component" UNPROCESSABLE_ENTITY "Not a WebAssembly component"
    CORE_MODULE "core-module" UNPROCESSABLE_ENTITY "A core module, not a component"
    CLASS_OUTDATED "class-outdated" UNPROCESSABLE_ENTITY "The class was built for an older version of the contract"
    HOST_OUTDATED "host-outdated" UNPROCESSABLE_ENTITY "The class was built for a newer version of the contract"
    IMPORTS_REFUSED "imports-refused" UNPROCESSABLE_ENTITY "The component imports interfaces that are not granted"
    NO_HANDLER_EXPORTED "no-handler-exported" UNPROCESSABLE_ENTITY "The component exports no handler"
    TWO_HANDLERS "two-handlers" UNPROCESSABLE_ENTITY "The component exports two handlers for requests"
    TOO_COSTLY "too-costly" UNPROCESSABLE_ENTITY "One instance needs more than this host allows"
    // Turns: the guest.
    GUEST_ERROR "guest-error" INTERNAL_SERVER_ERROR "The object answered with a failure"
    GUEST_TRAP "guest-trap" INTERNAL_SERVER_ERROR "The object's code trapped"
    STACK_OVERFLOW "stack-overflow" INTERNAL_SERVER_ERROR "The object's code used up its call stack"
    FUEL_EXHAUSTED "fuel-exhausted" INTERNAL_SERVER_ERROR "The turn used up its fuel"
    CPU_TIME_EXCEEDED "cpu-time-exceeded" INTERNAL_SERVER_ERROR "The turn used up its CPU time"
    WALL_TIME_EXCEEDED "wall-time-exceeded" INTERNAL_SERVER_ERROR "The turn took too long"
    OUT_OF_MEMORY "out-of-memory" INTERNAL_SERVER_ERROR "The instance exceeded its memory limit"
    INVALID_RESPONSE "invalid-response" INTERNAL_SERVER_ERROR "The object's response is not valid"
    RESPONSE_TOO_LARGE "response-too-large" INTERNAL_SERVER_ERROR "The object's response is too large"
    RESPONSE_DROPPED "response-dropped" INTERNAL_SERVER_ERROR "No memory to hold the response of a turn that succeeded"
    NO_HANDLER "no-handler" NOT_IMPLEMENTED "The class does not handle this kind of event"
    // Calls.
    NO_METHOD "no-method" NOT_FOUND "The class has no such method"
    BAD_ARGUMENTS "bad-arguments" BAD_REQUEST "The arguments do not fit the method"
    REFUSED "refused" UNPROCESSABLE_ENTITY "The method refused"
    BAD_RESULT "bad-result" INTERNAL_SERVER_ERROR "The result of the method has no form in JSON"
    DEADLINE "deadline" GATEWAY_TIMEOUT "The time of the call was up"
    NOT_GRANTED "not-granted" FORBIDDEN "The class may not call this class"
    CALL_CYCLE "call-cycle" CONFLICT "The call would wait for its own caller"
    CALL_DEPTH "call-depth" LOOP_DETECTED "Too many turns wait for one another"
    TOO_MANY_CALLS "too-many-calls" TOO_MANY_REQUESTS "The turn, or its chain, has made too many calls"
    // Turns: the host.
    STORAGE_FULL "storage-full" INSUFFICIENT_STORAGE "No room to store what is to be written"
    NOT_APPLIED "not-applied" INTERNAL_SERVER_ERROR "What the turn wrote could not be applied"
    SAVEPOINT_OPEN "savepoint-open" INTERNAL_SERVER_ERROR "The handler left a savepoint open"
    STORAGE_FAILED "storage-failed" INTERNAL_SERVER_ERROR "The object's storage failed"
    OBJECT_DAMAGED "object-damaged" INTERNAL_SERVER_ERROR "What the object has stored is damaged"
    CLASS_UNAVAILABLE "class-unavailable" INTERNAL_SERVER_ERROR "The class could not be loaded"
    OVERLOADED "overloaded" SERVICE_UNAVAILABLE "Too many requests of the object, or long computations of its class, wait"
    NO_CAPACITY "no-capacity" SERVICE_UNAVAILABLE "The host has no room for another live instance"
    ABANDONED "abandoned" SERVICE_UNAVAILABLE "The client disconnected before the turn had written anything"
    OBJECT_DELETED "object-deleted" CONFLICT "The object was deleted before the request had ended"
    STOPPING "stopping" SERVICE_UNAVAILABLE "The host is stopping"
    INSTANCE_DROPPED "instance-dropped" SERVICE_UNAVAILABLE "The object's memory was dropped before it had answered"
    OUTCOME_UNKNOWN "outcome-unknown" BAD_GATEWAY "The outcome of the turn is unknown"
    INTERNAL "internal" INTERNAL_SERVER_ERROR "The host failed"
}

/// Returns the row of a lower layer's code.
fn kind(code: &str) -> &'static Kind {
    ALL.iter().find(|kind| kind.code == code).unwrap_or(&&INTERNAL)
}

/// Creates the problem for a class that is not deployed.
pub fn unknown_class(name: &ClassName) -> Problem {
    Problem::new(
        &UNKNOWN_CLASS,
        format!("no class `{name}` is deployed; deploy it, or look for its name with `holdfast classes`"),
    )
}

/// One error of a response.
#[derive(Debug)]
pub struct Problem {
    kind: &'static Kind,
    status: StatusCode,
    detail: Option<Cow<'static, str>>,
    object: Option<String>,
    call: Option<CallId>,
    guest: Option<Box<OfGuest>>,
    allow: Option<&'static str>,
}

/// The guest's description of its failure.
#[derive(Debug, Default, Serialize)]
struct OfGuest {
    #[serde(skip_serializing_if = "Option::is_none")]
    guest_code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stack: Option<String>,
    /// The value of a refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<serde_json::Value>,
}

impl Problem {
    /// Creates a problem of this kind; the detail says what is wrong in this case and what to do.
    pub fn new(kind: &'static Kind, detail: impl Into<Cow<'static, str>>) -> Self {
        let detail = Some(detail.into());
        Self { kind, status: kind.status, detail, object: None, call: None, guest: None, allow: None }
    }

    /// Creates the problem for a method that a route does not support; `allow` lists the supported ones.
    pub fn method_not_allowed(allow: &'static str) -> Self {
        let detail = format!("this route supports {allow}");
        Self { allow: Some(allow), ..Self::new(&METHOD_NOT_ALLOWED, detail) }
    }

    /// Creates the problem for a failure of the host outside any turn, and logs it.
    pub fn internal(error: impl Display) -> Self {
        let detail = error.to_string();
        tracing::error!(error = ?detail, "request failed");
        Self::new(&INTERNAL, detail)
    }

    /// Creates the problem for a failure of storage outside any turn. A lack of room passes when there is room again.
    pub fn of_storage(error: StorageError) -> Self {
        match error.is_lack_of_room() {
            true => Self::new(&STORAGE_FULL, error.to_string()),
            false => Self::internal(error),
        }
    }

    /// Creates the problem for a failed turn. Without `details`, it contains no text that a guest or the host wrote for
    /// developers.
    pub fn of_turn(error: &TurnError, (address, call): (&ObjectAddress, CallId), details: bool) -> Self {
        let object = address.to_string();
        let fixed_text = log(error, &object, call);
        let kind = kind(error.code());
        Self {
            kind,
            status: match error {
                error if error.retryable() => StatusCode::SERVICE_UNAVAILABLE,
                // At a deploy the upload is at fault, at a request the request is not.
                TurnError::ClassOutdated(_) => StatusCode::INTERNAL_SERVER_ERROR,
                _ => kind.status,
            },
            detail: (details || fixed_text).then(|| error.to_string().into()),
            object: Some(object),
            call: Some(call),
            guest: Some(Box::new(OfGuest {
                guest_code: match error {
                    TurnError::Guest(failure) => Some(failure.code.clone()),
                    _ => None,
                },
                stack: error.stack().filter(|_| details).map(str::to_owned),
                error: None,
            })),
            allow: None,
        }
    }

    /// Creates the problem for a component that was not deployed.
    pub fn of_deploy(error: &DeployError) -> Self {
        match error.code() {
            "internal" => Self::internal(error),
            code => Self::new(kind(code), error.to_string()),
        }
    }

    /// Adds the object.
    pub fn about(self, address: &ObjectAddress) -> Self {
        Self { object: Some(address.to_string()), ..self }
    }

    /// Adds the call.
    pub fn of_call(self, call: CallId) -> Self {
        Self { call: Some(call), ..self }
    }

    /// Adds the value of a refusal.
    pub fn with_error(self, error: Option<serde_json::Value>) -> Self {
        Self { guest: Some(Box::new(OfGuest { error, ..OfGuest::default() })), ..self }
    }

    /// Reports whether the rest of the request should be read and discarded.
    pub fn is_worth_reading_on(&self) -> bool {
        self.status != StatusCode::REQUEST_TIMEOUT
    }

    /// Returns the stable code.
    #[cfg(test)]
    pub fn code(&self) -> &'static str {
        self.kind.code
    }
}

/// Logs an answer to the server's log; the failure of a turn is reported where it ran (`base::failures`), unless the
/// turn never began. Returns whether the error's text is fixed, that is, contains nothing that a guest or the host
/// wrote for developers.
pub(super) fn log(error: &TurnError, object: &str, call: CallId) -> bool {
    use TurnError::*;
    let code = error.code();
    match error {
        // Logged without the stack, which is long; text of guests is quoted so that it stays on its line.
        Host(_) => tracing::error!(?object, %call, code, error = ?error.to_string(), "turn failed"),
        _ => tracing::debug!(?object, %call, code, error = ?error.to_string(), "answered with an error"),
    }
    match error {
        Guest(_) | Query(_) | Trap { .. } | InvalidResponse(_) | NotApplied(_) => false,
        StorageFull(_) | Storage(_) | Damaged(_) | ClassUnavailable(_) | Host(_) => false,
        StackOverflow { .. } | OutOfFuel { .. } | CpuTime { .. } | WallTime { .. } | OutOfMemory { .. } => true,
        NoMethod(_) | BadArguments(_) => false,
        Deadline => true,
        SqlMemory(_) | ResponseTooLarge(_) | NoHandler(_) | SavepointOpen | UnknownObject | ClassOutdated(_) => true,
        Overloaded | HostMemory | NoRoomForResponse | NoCapacity | NoRoomToGrow | Abandoned | Deleted => true,
        Stopping | OutcomeUnknown | InstanceDropped => true,
    }
}

impl From<IdError> for Problem {
    fn from(error: IdError) -> Self {
        let kind = match error {
            IdError::ClassName(_) => &BAD_CLASS,
            IdError::ObjectNameLength(_) => &BAD_NAME,
            IdError::Malformed => &BAD_ID,
            IdError::OtherClass => &ID_OF_OTHER_CLASS,
        };
        Self::new(kind, error.to_string())
    }
}

/// The members of the JSON object, in the order of RFC 9457, then ours.
#[derive(Serialize)]
struct Members<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<Cow<'a, str>>,
    code: &'a str,
    retryable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    object: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    call: Option<CallId>,
    #[serde(flatten)]
    guest: Option<Box<OfGuest>>,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let retryable = self.status == StatusCode::SERVICE_UNAVAILABLE && self.kind.code != INSTANCE_DROPPED.code;
        let members = Members {
            r#type: format!("urn:holdfast:error:{}", self.kind.code),
            title: self.kind.title,
            status: self.status.as_u16(),
            detail: self.detail,
            code: self.kind.code,
            retryable,
            object: self.object,
            call: self.call,
            guest: self.guest,
        };
        let body = serde_json::to_vec(&members).expect("strings and numbers have a JSON form");
        let mut response = (self.status, [(CONTENT_TYPE, "application/problem+json")], body).into_response();
        let mut header = |name, value| response.headers_mut().insert(name, HeaderValue::from_static(value));
        if retryable {
            header(RETRY_AFTER, "1");
        }
        if self.status == StatusCode::UNAUTHORIZED {
            header(WWW_AUTHENTICATE, "Bearer");
        }
        if self.status == StatusCode::REQUEST_TIMEOUT {
            header(CONNECTION, "close");
        }
        if self.status == StatusCode::UPGRADE_REQUIRED {
            header(SEC_WEBSOCKET_VERSION, "13");
        }
        if let Some(allow) = self.allow {
            header(ALLOW, allow);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use http_body_util::BodyExt;
    use serde_json::{Value, json};

    use super::*;
    use crate::base::{CallIds, ClassKey, ClassName, Env, Failure, ObjectId, ObjectName};
    use crate::wasm::LoadError;
    use crate::wasm::Version;

    fn failure(retryable: bool) -> TurnError {
        let stack = Some("secret".into());
        TurnError::Guest(Failure { retryable, stack, ..Failure::new("sold-out", "no\nseats") })
    }

    fn turn_errors() -> Vec<TurnError> {
        use TurnError::*;
        let text = || "secret".to_owned();
        let mut all = vec![
            failure(false),
            failure(true),
            Trap { reason: text(), stack: Some(text()) },
            StackOverflow { stack: None },
            OutOfFuel { limit: 1, stack: None },
            OutOfMemory { limit: 1, stack: None },
        ];
        all.extend([
            CpuTime { limit: Duration::ZERO, stack: None },
            WallTime { limit: Duration::ZERO, stack: None },
            InvalidResponse(text()),
            ResponseTooLarge(1),
        ]);
        all.extend([
            NoHandler("fetch"),
            NoMethod(text()),
            BadArguments(text()),
            Deadline,
            NotApplied(text()),
            SavepointOpen,
            UnknownObject,
            Query(text()),
            StorageFull(text()),
            Storage(text()),
            Damaged(text()),
            ClassUnavailable(text()),
            ClassOutdated("built for 0.1.0".into()),
        ]);
        all.extend([Overloaded, HostMemory, NoRoomForResponse, SqlMemory(1), NoCapacity, NoRoomToGrow]);
        all.extend([Abandoned, Deleted, Stopping, OutcomeUnknown, Host(text())]);
        all
    }

    fn deploy_codes() -> Vec<&'static str> {
        use LoadError::*;
        let mut refusals =
            vec![NotAComponent(String::new()), CoreModule, ImportsRefused(Vec::new()), TwoHandlers, Busy];
        refusals.extend([NoHandler(Vec::new()), TooCostly(String::new())]);
        refusals.extend([ClassOutdated(Version::newest()), HostOutdated(Version::newest())]);
        let others = [DeployError::TooLarge(1), DeployError::Storage(crate::storage::StorageError::BadCursor)];
        refusals.into_iter().map(DeployError::Refused).chain(others).map(|error| error.code()).collect()
    }

    fn alice() -> ObjectAddress {
        let (key, name) = (ClassKey::new("key"), ObjectName::parse("alice").unwrap());
        let id = ObjectId::from_name(&key, &name);
        ObjectAddress { class: ClassName::parse("counter").unwrap(), key, id, name: Some(name) }
    }

    fn of_turn(error: &TurnError, details: bool) -> Problem {
        let call = CallIds::new(&Env::manual(1).0).next();
        Problem::of_turn(error, (&alice(), call), details)
    }

    async fn sent(problem: Problem) -> (http::HeaderMap, Value) {
        let (parts, body) = problem.into_response().into_parts();
        let value: Value = serde_json::from_slice(&body.collect().await.unwrap().to_bytes()).unwrap();
        assert_eq!(value["status"], parts.status.as_u16());
        assert_eq!(parts.headers[CONTENT_TYPE], "application/problem+json");
        (parts.headers, value)
    }

    #[test]
    fn every_code_of_the_lower_layers_is_in_the_table() {
        let codes = turn_errors().iter().map(TurnError::code).chain(deploy_codes()).collect::<Vec<_>>();
        for code in codes {
            assert_eq!(kind(code).code, code);
        }
        let unique: std::collections::BTreeSet<_> = ALL.iter().map(|kind| kind.code).collect();
        assert_eq!(unique.len(), ALL.len());
    }

    #[test]
    fn unavailable_and_retryable_are_the_same() {
        for error in turn_errors() {
            let problem = of_turn(&error, true);
            assert_eq!(problem.status == StatusCode::SERVICE_UNAVAILABLE, error.retryable(), "{error:?}");
        }
    }

    /// `docs/ERRORS.md` has one row per code: `| code | status | retryable | meaning | what to do |`.
    #[test]
    fn the_document_and_the_table_agree() {
        let document = include_str!("../../../docs/ERRORS.md");
        let documented: BTreeMap<&str, (&str, &str)> = document
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split_once("` | "))
            .map(|(code, rest)| {
                let cells: Vec<&str> = rest.split(" | ").collect();
                (code, (cells[0], cells[1]))
            })
            .collect();
        let rows: Vec<(&str, String)> = ALL.iter().map(|kind| (kind.code, kind.status.as_u16().to_string())).collect();
        let table = rows.iter().map(|(code, status)| {
            let row = match (*code, status.as_str()) {
                ("guest-error", _) => ("500 or 503", "if 503"),
                ("class-outdated", _) => ("422 or 500", "no"),
                ("instance-dropped", status) => (status, "no"),
                (_, "503") => ("503", "yes"),
                (_, status) => (status, "no"),
            };
            (*code, row)
        });
        assert_eq!(documented, table.collect());
    }

    #[tokio::test]
    async fn a_problem_has_all_members() {
        let (headers, value) = sent(of_turn(&failure(true), true)).await;
        assert_eq!(headers[RETRY_AFTER], "1");
        let expected = json!({
            "type": "urn:holdfast:error:guest-error", "title": "The object answered with a failure", "status": 503,
            "detail": "no\nseats", "code": "guest-error", "retryable": true, "object": "counter/alice",
            "call": CallIds::new(&Env::manual(1).0).next(),
            "guest_code": "sold-out", "stack": "secret",
        });
        assert_eq!(value, expected);
        let (headers, value) = sent(of_turn(&failure(false), true)).await;
        assert_eq!((value["status"].as_u64(), value["retryable"].as_bool()), (Some(500), Some(false)));
        assert!(!headers.contains_key(RETRY_AFTER));
    }

    #[tokio::test]
    async fn headers_tell_what_to_do() {
        let (headers, value) = sent(Problem::method_not_allowed("GET, HEAD")).await;
        assert_eq!(
            (&headers[ALLOW], &value["code"]),
            (&HeaderValue::from_static("GET, HEAD"), &json!("method-not-allowed"))
        );
        assert!(value.get("object").is_none() && value.get("guest_code").is_none());
        let (headers, _) = sent(Problem::new(&UNAUTHORIZED, "no")).await;
        assert_eq!(headers[WWW_AUTHENTICATE], "Bearer");
    }

    #[tokio::test]
    async fn without_details_no_secret_leaves() {
        for error in turn_errors() {
            let (_, value) = sent(of_turn(&error, false)).await;
            let text = value.to_string();
            assert!(!text.contains("secret") && !text.contains("seats"), "{text}");
            assert_eq!(value["code"], error.code());
        }
        let (_, value) = sent(of_turn(&TurnError::OutOfFuel { limit: 7, stack: None }, false)).await;
        assert_eq!(value["detail"], "the turn used up its 7 units of fuel");
    }
}
