//! The answer of a handler. Owns making one; what the host requires of it beyond that is checked there.

use std::fmt::Display;

use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, LOCATION};
use http::{HeaderMap, StatusCode};
use serde::Serialize;

use crate::bindings::holdfast::object::http_types as wit;
use crate::{BadRequest, Error, Result};

/// An HTTP response with types of the [`http`] crate. It leaves the host once everything its turn wrote is durable.
///
/// Making one never fails: if a header or a JSON body cannot be, the turn fails with `invalid-response` when the
/// handler returns it.
///
/// ```
/// use holdfast::prelude::*;
///
/// let response = Response::json(&json!({ "id": 7 }))
///     .with_status(StatusCode::CREATED)
///     .with_header("location", "/notes/7");
/// assert_eq!(response.status(), StatusCode::CREATED);
/// assert_eq!(response.body(), br#"{"id":7}"#);
/// ```
#[derive(Debug)]
pub struct Response {
    /// Boxed, so that functions can return `Result<T, Response>` without passing a large error around.
    http: Box<http::Response<Vec<u8>>>,
    /// The first thing that went wrong in making it.
    fault: Option<Error>,
}

impl Response {
    /// An empty response, for example of [`StatusCode::NO_CONTENT`]. Statuses under 200 and over 599 fail the turn,
    /// but for the 101 of [an accepted WebSocket](crate::Context::accept_websocket).
    pub fn new(status: StatusCode) -> Self {
        let mut http = http::Response::new(Vec::new());
        *http.status_mut() = status;
        http.into()
    }

    /// 200 with plain text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::ok("text/plain; charset=utf-8", text.into().into_bytes())
    }

    /// 200 with a value as JSON.
    pub fn json<T: Serialize + ?Sized>(value: &T) -> Self {
        match serde_json::to_vec(value) {
            Ok(body) => Self::ok("application/json", body),
            Err(error) => Self::new(StatusCode::OK).with_fault(format_args!("the body cannot be JSON: {error}")),
        }
    }

    /// 200 with an HTML page.
    pub fn html(page: impl Into<String>) -> Self {
        Self::ok("text/html; charset=utf-8", page.into().into_bytes())
    }

    /// 200 with bytes, as `application/octet-stream` unless [`with_header`](Self::with_header) says something else.
    pub fn bytes(bytes: impl Into<Vec<u8>>) -> Self {
        Self::ok("application/octet-stream", bytes.into())
    }

    /// 303: look there, with GET. [`with_status`](Self::with_status) makes it another kind of redirect. A path begins
    /// with [`Request::prefix`](crate::Request::prefix) to stay within the object.
    pub fn redirect(location: impl AsRef<str>) -> Self {
        Self::new(StatusCode::SEE_OTHER).with_header(LOCATION, location.as_ref())
    }

    /// Makes an error for the caller in the form of the host's own: `application/problem+json` (RFC 9457) with `title`,
    /// `status` and `detail`. Unlike an `Err` it is an ordinary answer: the turn succeeds and its writes are applied.
    ///
    /// ```
    /// use holdfast::prelude::*;
    ///
    /// let response = Response::error(StatusCode::NOT_FOUND, "there is no note 7");
    /// assert_eq!(response.body(), br#"{"title":"Not Found","status":404,"detail":"there is no note 7"}"#);
    /// ```
    pub fn error(status: StatusCode, detail: impl Display) -> Self {
        #[derive(Serialize)]
        struct Problem {
            title: &'static str,
            status: u16,
            detail: String,
        }
        let title = status.canonical_reason().unwrap_or("Error");
        Self::json(&Problem { title, status: status.as_u16(), detail: detail.to_string() })
            .with_status(status)
            .with_header(CONTENT_TYPE, "application/problem+json")
    }

    /// The same response with another status.
    pub fn with_status(mut self, status: StatusCode) -> Self {
        *self.http.status_mut() = status;
        self
    }

    /// The same response with a header set, in place of any of that name. Names and values can be text, numbers as
    /// values, and the types of the [`http`] crate.
    ///
    /// ```
    /// # use holdfast::prelude::*;
    /// let response = Response::text("slow down").with_status(StatusCode::TOO_MANY_REQUESTS).with_header("retry-after", 3);
    /// assert_eq!(response.headers()["retry-after"], "3");
    /// ```
    pub fn with_header<N, V>(mut self, name: N, value: V) -> Self
    where
        N: TryInto<HeaderName, Error: Display>,
        V: TryInto<HeaderValue, Error: Display>,
    {
        match (name.try_into(), value.try_into()) {
            (Ok(name), Ok(value)) => {
                self.http.headers_mut().insert(name, value);
                self
            }
            (Err(error), _) => self.with_fault(error),
            (Ok(name), Err(error)) => self.with_fault(format_args!("{name}: {error}")),
        }
    }

    /// The same response with another body.
    pub fn with_body(mut self, body: impl Into<Vec<u8>>) -> Self {
        *self.http.body_mut() = body.into();
        self
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.http.status()
    }

    /// The headers.
    pub fn headers(&self) -> &HeaderMap {
        self.http.headers()
    }

    /// The headers, to change them; `append` adds a second one of the same name.
    pub fn headers_mut(&mut self) -> &mut HeaderMap {
        self.http.headers_mut()
    }

    /// The body.
    pub fn body(&self) -> &[u8] {
        self.http.body()
    }

    /// The response as the [`http`] crate has it.
    ///
    /// # Errors
    /// `invalid-response` if a header or a JSON body could not be made.
    pub fn into_http(self) -> Result<http::Response<Vec<u8>>> {
        self.fault.map_or(Ok(*self.http), Err)
    }

    fn ok(content_type: &'static str, body: Vec<u8>) -> Self {
        let mut response = Self::new(StatusCode::OK).with_body(body);
        response.http.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        response
    }

    fn with_fault(mut self, reason: impl Display) -> Self {
        self.fault.get_or_insert_with(|| Error::new("invalid-response", reason));
        self
    }
}

impl From<http::Response<Vec<u8>>> for Response {
    fn from(http: http::Response<Vec<u8>>) -> Self {
        Self { http: Box::new(http), fault: None }
    }
}

/// Status 400 with what was wrong.
impl From<BadRequest> for Response {
    fn from(bad: BadRequest) -> Self {
        Self::error(StatusCode::BAD_REQUEST, bad)
    }
}

impl TryFrom<Response> for wit::Response {
    type Error = Error;

    fn try_from(response: Response) -> Result<Self> {
        let (head, body) = response.into_http()?.into_parts();
        let headers = head.headers.iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect();
        Ok(Self { status: head.status.as_u16(), headers, body })
    }
}

impl TryFrom<wit::Response> for Response {
    type Error = Error;

    fn try_from(response: wit::Response) -> Result<Self> {
        let invalid = |error: http::Error| Error::new("invalid-response", error);
        let mut built = http::Response::builder().status(response.status);
        for (name, value) in response.headers {
            built = built.header(name, value);
        }
        Ok(built.body(response.body).map_err(invalid)?.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_reaches_the_contract() {
        let mut response = Response::redirect("/there").with_header("x-n", 7);
        response.headers_mut().append("x-n", HeaderValue::from_static("8"));
        let sent = wit::Response::try_from(response).unwrap();
        let headers = [("location", "/there"), ("x-n", "7"), ("x-n", "8")].map(|(n, v)| (n.to_owned(), v.into()));
        assert_eq!((sent.status, sent.headers, sent.body), (303, headers.to_vec(), vec![]));
    }

    #[test]
    fn the_first_fault_is_the_one_that_is_told() {
        let response = Response::text("x").with_header("x-a", "line\nbreak").with_header("no spaces", "1");
        let error = response.into_http().unwrap_err();
        assert_eq!(
            (error.code(), error.to_string().as_str()),
            ("invalid-response", "x-a: failed to parse header value")
        );
    }

    #[test]
    fn what_json_cannot_say_is_a_fault() {
        let keys_that_are_no_text = std::collections::BTreeMap::from([(vec![1], 1)]);
        let error = Response::json(&keys_that_are_no_text).into_http().unwrap_err();
        assert_eq!(error.to_string(), "the body cannot be JSON: key must be a string");
    }
}
