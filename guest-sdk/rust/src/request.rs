//! The request as handlers see it. Owns reading: of the path, the query, the headers and the body.

use std::fmt;

use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, Method, Uri};
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;

use crate::Error;
use crate::bindings::holdfast::object::http_types as wit;

/// An HTTP request: types of the [`http`] crate with a body that is there as a whole (at most 32 MiB by default).
///
/// Reading it as text, JSON or a query gives [`BadRequest`] when the caller sent something else. That converts into an
/// answer with status 400:
///
/// ```
/// use holdfast::prelude::*;
///
/// fn add(request: &Request) -> Result<Response> {
///     let terms: Vec<i64> = match request.json() {
///         Ok(terms) => terms,
///         Err(bad) => return Ok(bad.into()),
///     };
///     Ok(Response::json(&terms.iter().sum::<i64>()))
/// }
///
/// let request = http::Request::post("/add").body(b"[1, 2, 39]".to_vec())?;
/// assert_eq!(add(&request.into())?.body(), b"42");
/// let request = http::Request::post("/add").body(b"what?".to_vec())?;
/// assert_eq!(add(&request.into())?.status(), StatusCode::BAD_REQUEST);
/// # Ok::<(), holdfast::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Request {
    http: http::Request<Vec<u8>>,
    /// The segments of a path that had to be decoded; none for the usual path, which is cut up where it is.
    decoded: Option<Vec<String>>,
}

impl Request {
    /// The method, for example [`Method::GET`].
    pub fn method(&self) -> &Method {
        self.http.method()
    }

    /// Path and query below the object: `/add?n=2` for a request to `/counter/alice/add?n=2`.
    pub fn uri(&self) -> &Uri {
        self.http.uri()
    }

    /// The path below the object as sent; it always begins with `/`.
    pub fn path(&self) -> &str {
        self.uri().path()
    }

    /// The path that led to the object, for example `/counter/alice`: put it before a path to make a link.
    /// Empty if the request did not come through the gateway.
    ///
    /// ```
    /// # use holdfast::Request;
    /// let request = http::Request::get("/7").header("x-forwarded-prefix", "/notes/ann").body(vec![])?;
    /// assert_eq!(Request::from(request).prefix(), "/notes/ann");
    /// # Ok::<(), holdfast::Error>(())
    /// ```
    pub fn prefix(&self) -> &str {
        self.header("x-forwarded-prefix").unwrap_or_default()
    }

    /// The path in pieces, percent-decoded: made for `match`. `/` has none; `/a/` has two, the second is empty. Bytes
    /// that are not UTF-8 become `U+FFFD`.
    ///
    /// ```
    /// # use holdfast::prelude::*;
    /// fn route(request: &Request) -> String {
    ///     match (request.method(), request.segments().as_slice()) {
    ///         (&Method::GET, []) => "the list".into(),
    ///         (&Method::GET, ["books", title]) => format!("the book {title}"),
    ///         _ => "nothing".into(),
    ///     }
    /// }
    /// assert_eq!(route(&http::Request::get("/").body(vec![])?.into()), "the list");
    /// assert_eq!(route(&http::Request::get("/books/War%20%2F%20Peace").body(vec![])?.into()), "the book War / Peace");
    /// # Ok::<(), holdfast::Error>(())
    /// ```
    pub fn segments(&self) -> Vec<&str> {
        match &self.decoded {
            Some(segments) => segments.iter().map(String::as_str).collect(),
            None => split(self.path()).collect(),
        }
    }

    /// The query as a type of yours. Keys may repeat where the field is a `Vec`.
    ///
    /// # Errors
    /// [`BadRequest`] if a field is missing or is not what its type wants.
    ///
    /// ```
    /// # use holdfast::Request;
    /// #[derive(serde::Deserialize)]
    /// struct Page {
    ///     from: u64,
    ///     limit: Option<u32>,
    ///     #[serde(default)]
    ///     tag: Vec<String>,
    /// }
    ///
    /// let request = Request::from(http::Request::get("/list?from=20&tag=a&tag=b").body(vec![])?);
    /// let page: Page = request.query()?;
    /// assert_eq!((page.from, page.limit, page.tag.len()), (20, None, 2));
    /// # Ok::<(), holdfast::Error>(())
    /// ```
    pub fn query<T: DeserializeOwned>(&self) -> Result<T, BadRequest> {
        let query = self.uri().query().unwrap_or_default();
        serde_html_form::from_str(query).map_err(|error| BadRequest(format!("the query does not fit: {error}")))
    }

    /// All headers; their names are lower case.
    pub fn headers(&self) -> &HeaderMap {
        self.http.headers()
    }

    /// The first header of this name, if there is one and it is UTF-8.
    pub fn header(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.headers().get(name)?.as_bytes()).ok()
    }

    /// Whether the caller asks for a WebSocket, which [`Context::accept_websocket`](crate::Context::accept_websocket)
    /// gives it.
    ///
    /// ```
    /// # use holdfast::Request;
    /// let request = http::Request::get("/").header("connection", "Upgrade").header("upgrade", "websocket").body(vec![])?;
    /// assert!(Request::from(request).is_websocket_upgrade());
    /// # Ok::<(), holdfast::Error>(())
    /// ```
    pub fn is_websocket_upgrade(&self) -> bool {
        self.listed("upgrade").any(|protocol| protocol.eq_ignore_ascii_case("websocket"))
    }

    /// The sub-protocols that a client offers for its WebSocket, those that it likes best first. The header
    /// `sec-websocket-protocol` of the answer chooses one of them.
    ///
    /// ```
    /// # use holdfast::Request;
    /// let request = http::Request::get("/").header("sec-websocket-protocol", "chat.v2, chat.v1").body(vec![])?;
    /// assert_eq!(Request::from(request).websocket_protocols().collect::<Vec<_>>(), ["chat.v2", "chat.v1"]);
    /// # Ok::<(), holdfast::Error>(())
    /// ```
    pub fn websocket_protocols(&self) -> impl Iterator<Item = &str> {
        self.listed("sec-websocket-protocol")
    }

    /// The elements of headers that are lists with commas.
    fn listed(&self, name: &str) -> impl Iterator<Item = &str> {
        let values = self.headers().get_all(name).into_iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).map(str::trim).filter(|element| !element.is_empty())
    }

    /// The body.
    pub fn body(&self) -> &[u8] {
        self.http.body()
    }

    /// The body, without a copy.
    pub fn into_body(self) -> Vec<u8> {
        self.http.into_body()
    }

    /// The body as text.
    ///
    /// # Errors
    /// [`BadRequest`] if it is not UTF-8.
    pub fn text(&self) -> Result<&str, BadRequest> {
        std::str::from_utf8(self.body()).map_err(|error| BadRequest(format!("the body is not UTF-8: {error}")))
    }

    /// Parses the body as JSON into a type, for any `content-type`, so that `curl -d` works.
    ///
    /// # Errors
    /// [`BadRequest`] if the body is not JSON, or not what the type wants.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, BadRequest> {
        serde_json::from_slice(self.body()).map_err(|error| BadRequest(format!("the JSON body does not fit: {error}")))
    }

    /// The request as the [`http`] crate has it.
    pub fn into_http(self) -> http::Request<Vec<u8>> {
        self.http
    }
}

impl From<http::Request<Vec<u8>>> for Request {
    fn from(http: http::Request<Vec<u8>>) -> Self {
        let path = http.uri().path();
        let decode = |segment| percent_decode_str(segment).decode_utf8_lossy().into_owned();
        let decoded = path.contains('%').then(|| split(path).map(decode).collect());
        Self { http, decoded }
    }
}

impl TryFrom<wit::Request> for Request {
    type Error = Error;

    fn try_from(request: wit::Request) -> Result<Self, Error> {
        let invalid = |what: &str, error: http::Error| Error::new("invalid-request", format!("{what}: {error}"));
        let mut http = http::Request::new(request.body);
        *http.method_mut() =
            request.method.parse().map_err(|error: http::method::InvalidMethod| invalid("method", error.into()))?;
        *http.uri_mut() = Uri::try_from(request.uri).map_err(|error| invalid("uri", error.into()))?;
        http.headers_mut().reserve(request.headers.len());
        for (name, value) in request.headers {
            let name = HeaderName::try_from(name).map_err(|error| invalid("header name", error.into()))?;
            let value = HeaderValue::try_from(value).map_err(|error| invalid("header value", error.into()))?;
            http.headers_mut().append(name, value);
        }
        Ok(http.into())
    }
}

impl From<Request> for wit::Request {
    fn from(request: Request) -> Self {
        let (head, body) = request.http.into_parts();
        let headers = head.headers.iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect();
        let uri = head.uri.path_and_query().map_or_else(|| "/".into(), ToString::to_string);
        Self { method: head.method.to_string(), uri, headers, body }
    }
}

fn split(path: &str) -> impl Iterator<Item = &str> {
    let path = path.strip_prefix('/').unwrap_or(path);
    path.split('/').filter(move |_| !path.is_empty())
}

/// The caller sent something other than what was asked for. Says what, in words for the caller.
///
/// Converts into an answer with status 400: `Err(bad) => return Ok(bad.into())`, or by `?` in a function that returns
/// `Result<T, Response>`. By `?` in a handler itself it fails the turn like any other error, and the caller gets status
/// 500.
///
/// ```
/// # use holdfast::{Request, Response};
/// let request = Request::from(http::Request::post("/").body(b"{}".to_vec())?);
/// let bad = request.json::<Vec<u8>>().unwrap_err();
/// assert_eq!(
///     bad.to_string(),
///     "the JSON body does not fit: invalid type: map, expected a sequence at line 1 column 0",
/// );
/// assert_eq!(Response::from(bad).status(), 400);
/// # Ok::<(), holdfast::Error>(())
/// ```
#[derive(Debug)]
pub struct BadRequest(String);

impl fmt::Display for BadRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadRequest {}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(uri: &str) -> Request {
        let headers = vec![("x-a".to_owned(), b"1".to_vec()), ("x-a".to_owned(), b"2".to_vec())];
        wit::Request { method: "GET".into(), uri: uri.into(), headers, body: vec![] }.try_into().unwrap()
    }

    #[test]
    fn a_path_is_cut_at_slashes_and_then_decoded() {
        for (path, segments) in [
            ("/", &[][..]),
            ("/a", &["a"]),
            ("/a/b?c=/d", &["a", "b"]),
            ("/a/", &["a", ""]),
            ("//a", &["", "a"]),
            ("/a%2Fb/%C3%BC/%ff", &["a/b", "ü", "\u{fffd}"]),
        ] {
            assert_eq!(get(path).segments(), segments, "{path}");
        }
    }

    #[test]
    fn a_query_is_typed_and_its_errors_name_the_field() {
        let pairs: Vec<(String, String)> = get("/?a=1+2&b=%26").query().unwrap();
        assert_eq!(pairs, [("a".into(), "1 2".into()), ("b".into(), "&".into())]);

        #[derive(Debug, serde::Deserialize)]
        struct Ask {
            #[expect(dead_code)]
            n: u8,
        }
        assert_eq!(get("/").query::<Ask>().unwrap_err().to_string(), "the query does not fit: missing field `n`",);
    }

    #[test]
    fn repeated_headers_stay_in_their_order() {
        assert_eq!(get("/").headers().get_all("x-a").iter().collect::<Vec<_>>(), ["1", "2"]);
    }

    #[test]
    fn an_upgrade_is_recognised_in_any_spelling() {
        let with = |name: &str, values: &[&str]| {
            let headers = values.iter().map(|value| (name.to_owned(), value.as_bytes().to_vec())).collect();
            let request = wit::Request { method: "GET".into(), uri: "/".into(), headers, body: vec![] };
            Request::try_from(request).unwrap()
        };
        for (values, asks) in [(&["websocket"][..], true), (&["h2c, WebSocket"], true), (&["h2c"], false), (&[], false)]
        {
            assert_eq!(with("upgrade", values).is_websocket_upgrade(), asks, "{values:?}");
        }
        let request = with("sec-websocket-protocol", &["a,, b", "c"]);
        assert_eq!(request.websocket_protocols().collect::<Vec<_>>(), ["a", "b", "c"]);
    }

    #[test]
    fn what_http_cannot_express_is_an_error() {
        let request = wit::Request { method: "NO WAY".into(), uri: "/".into(), headers: vec![], body: vec![] };
        assert_eq!(Request::try_from(request).unwrap_err().code(), "invalid-request");
    }
}
