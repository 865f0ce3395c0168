//! The data listener: HTTP requests to objects, and their responses.
//!
//! This is the hot path. A request's parts are moved, not copied, into the call; on the way back the guest's headers
//! and body are moved into the response. Headers that are reserved for the host were removed from guests' responses
//! before.
//!
//! Invariants: a guest sees its request as sent except for the path (cut below the object), `x-forwarded-prefix` (the
//! part that was cut off; a client cannot forge it), `host` (from HTTP/2's `:authority`) and `cookie` (one header, RFC
//! 9113 §8.2.3). When a client disconnects, the future of its request is dropped; the router decides what that means
//! for the turn.

use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_LENGTH, COOKIE, HOST};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version};

use super::body::{self, Intake};
use super::connections::Service;
use super::hosts::Hosts;
use super::path::{self, Target};
use super::problem::{self, Problem};
use super::websocket::{self, Handshake, Opening, SocketSettings};
use super::wire::Wire;
use crate::base::{self, Call, Cause, ClassKey, ClassName, FetchAnswer, Principal, Request, TraceContext};
use crate::router::Router;

/// The settings of the data listener.
#[derive(Clone)]
pub struct DataSettings {
    /// Bytes of one request body (`Limits::request_body`).
    pub request_body: u64,
    /// How request bodies are read.
    pub intake: Intake,
    /// The hosts that requests may name, and the origins that may send them.
    pub hosts: Hosts,
    /// WebSockets.
    pub sockets: SocketSettings,
    /// Whether clients receive details for developers: failure messages, traps, storage errors.
    pub error_details: bool,
}

/// The service of the data listener.
#[derive(Clone)]
pub struct DataService(Arc<Data>);

struct Data {
    router: Arc<Router>,
    settings: DataSettings,
}

impl DataService {
    /// Creates a service for the objects of a router.
    pub fn new(router: Arc<Router>, settings: DataSettings) -> Self {
        Self(Arc::new(Data { router, settings }))
    }
}

impl Service for DataService {
    async fn answer(&self, request: http::Request<Body>, wire: Arc<Wire>) -> Response {
        let (parts, mut body) = request.into_parts();
        match self.0.answer(parts, &mut body, wire).await {
            Ok(response) => response,
            Err(problem) => {
                if problem.is_worth_reading_on() {
                    self.0.settings.intake.discard(body, self.0.settings.request_body);
                }
                problem.into_response()
            }
        }
    }
}

impl Data {
    async fn answer(&self, mut parts: Parts, body: &mut Body, wire: Arc<Wire>) -> Result<Response, Problem> {
        self.settings.hosts.admit(&parts)?;
        let target = match Target::of(parts.uri.path()) {
            Some(target) if target.class.starts_with('_') => return host_path(&parts),
            // Browsers request it by themselves; it is not a client's error.
            Some(target) if !target.class.is_empty() && parts.uri.path() != "/favicon.ico" => target,
            _ => return Err(Problem::new(&problem::UNKNOWN_ROUTE, "objects are at /{class}/{name}")),
        };
        let name = ClassName::parse(target.class)?;
        let class = self.router.classes().get(&name).ok_or_else(|| problem::unknown_class(&name))?;
        let address = path::object(name, &class.key, target.object)?;
        let asked = websocket::is_asked_for(&parts.headers);
        let handshake =
            asked.then(|| Handshake::of(&parts.method, &parts.headers, &mut parts.extensions)).transpose()?;
        let limit = (self.settings.request_body, &problem::BODY_TOO_LARGE);
        let (uri, headers) = seen_by_guest(&parts.uri, target.prefix, parts.headers)?;
        let charged_to = || self.router.memory(&class.key);
        let intake = &self.settings.intake;
        let (body, mut charge) = intake.collect(body, parts.version, limit, charged_to).await?;
        if parts.version >= Version::HTTP_2 {
            intake.charge_head(&headers, &mut charge, charged_to)?;
        }
        let is_head = parts.method == Method::HEAD;
        let trace = trace_of(&headers);
        let request = Request { method: parts.method, uri, headers, body, websocket: handshake.is_some(), charge };
        let id = self.router.call_id();
        let call = Call { trace, ..Call::new(id, address.clone(), (Cause::Http, Principal::Client), request) };
        let outcome = match handshake {
            None => self.router.deliver(call).await,
            Some(handshake) => {
                let (router, wire) = (self.router.clone(), wire.clone());
                let opening = websocket::open(router, call, handshake, self.settings.sockets, wire);
                match opening.await {
                    Opening::Opened(response) => return Ok(response),
                    Opening::Answered(outcome) => outcome,
                }
            }
        };
        match outcome {
            Ok(FetchAnswer::Response(response)) => self
                .sent(response, is_head, parts.version, &wire, &class.key)
                .map_err(|problem| problem.about(&address).of_call(id)),
            // Only a request for a WebSocket is answered so, and `open` has handled those.
            Ok(FetchAnswer::Upgrade(..)) => Err(Problem::internal("a plain request was answered with a WebSocket")),
            Err(error) => Err(Problem::of_turn(&error, (&address, id), self.settings.error_details)),
        }
    }

    /// Turns an object's answer into the response to the client.
    fn sent(
        &self,
        mut response: base::Response,
        is_head: bool,
        version: Version,
        wire: &Arc<Wire>,
        class: &ClassKey,
    ) -> Result<Response, Problem> {
        let has_none = matches!(response.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        // Only in the answer to HEAD can an object know more about the length than the host.
        if !is_head || has_none || !response.body.is_empty() || !is_length(&response.headers) {
            response.headers.remove(CONTENT_LENGTH);
        }
        let body = match has_none {
            true => Body::empty(),
            false => body::response(response.body, version, wire, || self.router.memory(class))?,
        };
        let mut sent = Response::new(body);
        *sent.status_mut() = response.status;
        *sent.headers_mut() = response.headers;
        Ok(sent)
    }
}

/// Returns the trace that the request's header names. Two headers count as none.
fn trace_of(headers: &HeaderMap) -> Option<TraceContext> {
    let mut parents = headers.get_all("traceparent").iter();
    let parent = parents.next()?;
    parents.next().is_none().then(|| TraceContext::parse(parent.as_bytes()))?
}

/// Reports whether there is exactly one length, and it is a number.
fn is_length(headers: &HeaderMap) -> bool {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let is_number = |length: &HeaderValue| !length.is_empty() && length.as_bytes().iter().all(u8::is_ascii_digit);
    lengths.next().is_some_and(is_number) && lengths.next().is_none()
}

/// Answers paths of the host: those that begin with `_`, as no class name does.
fn host_path(parts: &Parts) -> Result<Response, Problem> {
    match (parts.uri.path(), &parts.method) {
        ("/_health", &Method::GET | &Method::HEAD) => Ok("ok".into_response()),
        ("/_health", _) => Err(Problem::method_not_allowed("GET, HEAD")),
        _ => Err(Problem::new(&problem::RESERVED, "the host answers /_health only")),
    }
}

/// Returns the URI and the headers that the guest receives.
fn seen_by_guest(uri: &Uri, prefix: &str, mut headers: HeaderMap) -> Result<(Uri, HeaderMap), Problem> {
    const X_FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
    let forwarded = HeaderValue::from_str(prefix).or_else(|_| HeaderValue::from_bytes(prefix.as_bytes()));
    let no_header = |_| Problem::new(&problem::BAD_NAME, "percent-encode control characters in the object name");
    headers.insert(X_FORWARDED_PREFIX, forwarded.map_err(no_header)?);
    if let Some(authority) = uri.authority() {
        // RFC 9110 §7.2: the authority of the target takes precedence over any Host header, without user information.
        let host = authority.as_str().rsplit('@').next().unwrap_or_default();
        if let Ok(host) = HeaderValue::from_str(host) {
            headers.insert(HOST, host);
        }
    }
    join_cookies(&mut headers);
    Ok((path::below(uri, prefix), headers))
}

/// Joins the cookies that HTTP/2 may send one by one; to an object they are one header.
fn join_cookies(headers: &mut HeaderMap) {
    let mut cookies = headers.get_all(COOKIE).iter();
    if let (Some(first), Some(second)) = (cookies.next(), cookies.next()) {
        let all: Vec<&[u8]> = [first, second].into_iter().chain(cookies).map(HeaderValue::as_bytes).collect();
        let joined = HeaderValue::from_bytes(&all.join(&b"; "[..])).expect("header values and a separator are one");
        headers.insert(COOKIE, joined);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_are_one_header() {
        let cookies = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            values.iter().for_each(|value| _ = headers.append(COOKIE, HeaderValue::from_static(value)));
            join_cookies(&mut headers);
            headers.get_all(COOKIE).iter().map(|value| value.to_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(cookies(&[]), [""; 0]);
        assert_eq!(cookies(&["a=1; b=2"]), ["a=1; b=2"]);
        assert_eq!(cookies(&["a=1", "b=2, 3", "c=4"]), ["a=1; b=2, 3; c=4"]);
    }

    #[test]
    fn a_guest_sees_where_it_was_reached() {
        let sent = HeaderMap::from_iter([
            (HeaderName::from_static("x-forwarded-prefix"), HeaderValue::from_static("/forged")),
            (HOST, HeaderValue::from_static("plain.example")),
        ]);
        let (uri, headers) = seen_by_guest(&"/c/a%2Fb/x?y".parse().unwrap(), "/c/a%2Fb", sent.clone()).unwrap();
        assert_eq!(uri, "/x?y");
        assert_eq!(headers.get_all("x-forwarded-prefix").iter().collect::<Vec<_>>(), ["/c/a%2Fb"]);
        assert_eq!(headers[HOST], "plain.example");
        let absolute = "http://user:pass@target.example:8080/c/€".parse().unwrap();
        let (uri, headers) = seen_by_guest(&absolute, "/c/€", sent).unwrap();
        assert_eq!(uri, "/");
        assert_eq!(headers["x-forwarded-prefix"].as_bytes(), "/c/€".as_bytes());
        assert_eq!(headers.get_all(HOST).iter().collect::<Vec<_>>(), ["target.example:8080"]);
    }
}
