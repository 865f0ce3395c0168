//! The data listener: HTTP requests to objects, and their responses.
//!
//! The hot path. A request's parts are moved, not copied, into the invocation; on the way back the guest's headers and body
//! are moved into the response. The host's own headers were dropped from guests' responses before they come here.
//!
//! What must stay true: a guest sees its request as sent except for the path (cut below the object), `x-forwarded-prefix`
//! (what was cut off; a client cannot forge it) and `host` (from HTTP/2's `:authority`). When a client goes away, the future
//! of its request is dropped; what that means for a turn is the router's business.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::HOST;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};

use super::body;
use super::path::{self, Target};
use super::problem::{self, Problem};
use super::websocket::{self, Handshake, Opening, SocketSettings};
use crate::base::{ClassName, Invocation, Reply, Request};
use crate::router::Router;

/// What the operator decides about the data listener.
#[derive(Debug, Clone, Copy)]
pub struct DataSettings {
    /// Bytes of one request body (`Limits::request_body`).
    pub request_body: u64,
    /// WebSockets.
    pub sockets: SocketSettings,
    /// Whether clients are told what guests and the host wrote for developers: failure messages, traps, storage errors.
    pub error_details: bool,
}

/// The service of the data listener.
pub fn data_router(router: Arc<Router>, settings: DataSettings) -> axum::Router {
    axum::Router::new().fallback(handle).with_state(Arc::new(Data { router, settings }))
}

struct Data {
    router: Arc<Router>,
    settings: DataSettings,
}

async fn handle(State(data): State<Arc<Data>>, request: axum::extract::Request) -> Response {
    let (parts, mut body) = request.into_parts();
    match data.answer(parts, &mut body).await {
        Ok(response) => response,
        Err(problem) => {
            body::discard(body, data.settings.request_body);
            problem.into_response()
        }
    }
}

impl Data {
    async fn answer(&self, mut parts: Parts, body: &mut Body) -> Result<Response, Problem> {
        let target = match Target::of(parts.uri.path()) {
            Some(target) if target.class.starts_with('_') => return host_path(&parts),
            Some(target) if !target.class.is_empty() => target,
            _ => return Err(Problem::new(&problem::UNKNOWN_ROUTE, "objects are at /{class}/{name}")),
        };
        let name = ClassName::parse(target.class)?;
        let class = self.router.classes().get(&name).ok_or_else(|| problem::unknown_class(&name))?;
        let address = path::object(name, &class.key, target.object)?;
        let asked = websocket::is_asked_for(&parts.headers);
        let handshake =
            asked.then(|| Handshake::of(&parts.method, &parts.headers, &mut parts.extensions)).transpose()?;
        let limit = self.settings.request_body;
        let (uri, headers) = seen_by_guest(&parts.uri, target.prefix, parts.headers)?;
        let body = body::collect(body, limit, &problem::BODY_TOO_LARGE).await?;
        let request = Request { method: parts.method, uri, headers, body, websocket: handshake.is_some(), charge: None };
        let outcome = match handshake {
            None => self.router.deliver(address.clone(), Invocation::Fetch(request)).await,
            Some(handshake) => {
                let opening =
                    websocket::open(self.router.clone(), address.clone(), request, handshake, self.settings.sockets);
                match opening.await {
                    Opening::Opened(response) => return Ok(response),
                    Opening::Answered(outcome) => outcome,
                }
            }
        };
        match outcome {
            Ok(Reply::Response(response)) => {
                let mut sent = Response::new(Body::from(response.body));
                *sent.status_mut() = response.status;
                *sent.headers_mut() = response.headers;
                Ok(sent)
            }
            Ok(_) => Err(Problem::internal("a fetch turn was not answered with a response")),
            Err(error) => Err(Problem::of_turn(&error, &address, self.settings.error_details)),
        }
    }
}

/// What the host answers itself: paths that begin with `_`, as no class name does.
fn host_path(parts: &Parts) -> Result<Response, Problem> {
    match (parts.uri.path(), &parts.method) {
        ("/_health", &Method::GET | &Method::HEAD) => Ok("ok".into_response()),
        ("/_health", _) => Err(Problem::method_not_allowed("GET, HEAD")),
        _ => Err(Problem::new(&problem::RESERVED, "the host answers /_health only")),
    }
}

/// The URI and the headers that the guest is given.
fn seen_by_guest(uri: &Uri, prefix: &str, mut headers: HeaderMap) -> Result<(Uri, HeaderMap), Problem> {
    const X_FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
    let forwarded = HeaderValue::from_str(prefix).or_else(|_| HeaderValue::from_bytes(prefix.as_bytes()));
    let no_header = |_| Problem::new(&problem::BAD_NAME, "percent-encode control characters in the object name");
    headers.insert(X_FORWARDED_PREFIX, forwarded.map_err(no_header)?);
    if let Some(authority) = uri.authority() {
        // RFC 9110 §7.2: the authority of the target goes before any Host header, without user information.
        let host = authority.as_str().rsplit('@').next().unwrap_or_default();
        if let Ok(host) = HeaderValue::from_str(host) {
            headers.insert(HOST, host);
        }
    }
    Ok((path::below(uri, prefix), headers))
}

#[cfg(test)]
mod tests {
    use super::*;

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
