//! The fuzz targets of the gateway; see [`crate::fuzz`].

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use http::header::{HOST, ORIGIN};
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::BodyExt;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;

use super::admin::sql;
use super::calm::Calm;
use super::cbor;
use super::frames::Frames;
use super::heads::Heads;
use super::hosts::{HostSettings, Hosts};
use super::path::{self, Target};
use crate::base::socket::code;
use crate::base::{ClassKey, ClassName, HostMemory, Table, Value};

/// Tests a request's path: the path that the guest sees, appended to the prefix, is the path that was sent (a missing
/// slash aside), and a name and its id address the same object.
pub fn path(input: &[u8]) {
    let key = ClassKey::new("key");
    let Ok(uri) = Uri::try_from(input) else { return };
    let Some(target) = Target::of(uri.path()) else { return };
    let Ok(class) = ClassName::parse(target.class) else { return };
    let Ok(address) = path::object(class.clone(), &key, target.object) else { return };
    let (whole, seen) = (uri.path_and_query().map_or("/", |whole| whole.as_str()), path::below(&uri, target.prefix));
    let seen = seen.to_string();
    assert!(target.prefix.to_owned() + &seen == whole || target.prefix.to_owned() + &seen[1..] == whole);
    let by_id = path::object(class, &key, &format!("@{}", address.id)).expect("an id that the host made");
    assert_eq!(by_id.id, address.id);
}

/// Tests the body of a query: accepted parameters come back unchanged as values of an answer.
pub fn query(input: &[u8]) {
    let Ok(query) = sql::read(input) else { return };
    // SQLite has no NaN, so no answer has one.
    let exact = |value: &Value| !matches!(value, Value::Real(real) if real.is_nan());
    let row: Vec<Value> = query.parameters.into_iter().filter(exact).collect();
    let table =
        Table { columns: vec![], rows: vec![row.clone()], changes: 0, last_insert_rowid: i64::MIN, truncated: false };
    let answer = serde_json::to_value(sql::answer(table)).expect("an answer has a JSON form");
    let body = serde_json::json!({ "sql": "", "parameters": answer["rows"][0] });
    let Ok(again) = sql::read(body.to_string().as_bytes()) else { panic!("{body} is refused") };
    assert_eq!(again.parameters, row);
}

/// Tests HTTP/1 input: the result is the same for every way of splitting the bytes, and the HTTP library finds no
/// request that was not seen, or that comes after a fault.
pub fn heads(input: &[u8]) {
    let read = |cut: usize| {
        let mut heads = Heads::default();
        let fault = input.chunks(cut).find_map(|bytes| heads.read(bytes).err());
        (heads.complete, fault)
    };
    let (complete, fault) = read(input.len().max(1));
    assert!([1, 3].map(read).iter().all(|cut| *cut == (complete, fault)));
    let served = served(input);
    // The first request with a fault is refused, and the connection ends with it.
    assert!(served <= complete || fault.is_some(), "{served} requests were served and {complete} were seen");
}

/// Tests arguments and results of calls: no result panics, and arguments that are accepted have one form in JSON, which
/// is accepted again.
pub fn calls(input: &[u8]) {
    if let Ok(json) = cbor::to_json(input) {
        serde_json::from_slice::<serde::de::IgnoredAny>(&json).expect("a result in JSON is JSON");
    }
    let Ok(arguments) = cbor::arguments(input) else { return };
    let json = cbor::to_json(&arguments).expect("it was JSON");
    let again = cbor::arguments(&json).expect("it is an array or an object still");
    assert_eq!(cbor::to_json(&again).expect("it was JSON"), json);
}

/// Tests HTTP/2 input: what was counted is the same for every way of splitting the bytes.
pub fn calm(input: &[u8]) {
    let read = |cut: usize| {
        let mut calm = Calm::default();
        input.chunks(cut).for_each(|bytes| _ = calm.read(bytes));
        calm
    };
    let at_once = read(input.len().max(1));
    assert!([1, 3, 10].iter().all(|cut| read(*cut) == at_once));
}

/// Returns the number of requests that the HTTP library finds and reads to their end.
fn served(input: &[u8]) -> u64 {
    let served = Arc::<AtomicU64>::default();
    let count = served.clone();
    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
        let count = count.clone();
        async move {
            if request.into_body().collect().await.is_ok() {
                count.fetch_add(1, Relaxed);
            }
            Ok::<_, Infallible>(Response::new(String::new()))
        }
    });
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("it needs nothing");
    runtime.block_on(async {
        // A buffer for all that either side sends.
        let (mut client, server) = tokio::io::duplex((1 << 20) + input.len());
        let connection = tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(server), service));
        // Fails when the library has ended the connection.
        let _ = client.write_all(input).await;
        let _ = client.shutdown().await;
        let _ = connection.await;
    });
    served.load(Relaxed)
}

/// Tests frames of a WebSocket: the result is the same for every way of splitting the bytes, and agrees with the frame
/// headers.
pub fn frames(input: &[u8]) {
    let read = |cut: usize| {
        let (mut frames, _) = Frames::new((), HostMemory::new(1 << 40).unowned());
        let mut before = 0;
        for bytes in input.chunks(cut) {
            match frames.look_at(bytes) {
                (read, Ok(())) => before += read,
                (read, Err((code, _))) => return (before + read, Some(code)),
            }
        }
        (before, None)
    };
    let expected = frames_end(input);
    for cut in [1, 3, input.len().max(1)] {
        // A fault is in the last byte of a header; a different split may have passed on more or fewer bytes of that
        // header.
        assert_eq!(read(cut).1, expected, "in pieces of {cut}");
    }
}

/// Returns the reason why a peer that sends these frames is disconnected, if it is.
fn frames_end(mut input: &[u8]) -> Option<u16> {
    while let [first, second, rest @ ..] = input {
        let (bytes, least) = match second & 0x7f {
            126 => (2, 126),
            127 => (8, 1 << 16),
            _ => (0, 0),
        };
        let masked = if second & 0x80 == 0 { 0 } else { 4 };
        let (written, rest) = rest.split_at_checked(bytes)?;
        let (_mask, rest) = rest.split_at_checked(masked)?;
        let length = match bytes {
            0 => u64::from(second & 0x7f),
            _ => written.iter().fold(0, |length, byte| length << 8 | u64::from(*byte)),
        };
        if length < least || length >> 63 == 1 || first & 8 != 0 && length > 125 {
            return Some(code::PROTOCOL);
        }
        input = rest.get(usize::try_from(length).unwrap_or(usize::MAX)..)?;
    }
    None
}

/// Tests one line each of `host`, `origin` and the request's target. Requests that a loopback listener accepts are for
/// this machine, and from its pages.
pub fn hosts(input: &[u8]) {
    let mut lines = input.splitn(3, |byte| *byte == b'\n');
    let mut request = Request::new(());
    for name in [HOST, ORIGIN] {
        let value = lines.next().filter(|line| !line.is_empty()).map(HeaderValue::from_bytes);
        let Ok(value) = value.transpose() else { return };
        value.map(|value| request.headers_mut().insert(name, value));
    }
    if let Some(Ok(target)) = lines.next().filter(|line| !line.is_empty()).map(Uri::try_from) {
        *request.uri_mut() = target;
    }
    let (parts, ()) = request.into_parts();
    let hosts: Hosts = HostSettings::default().of_listener(IpAddr::V4(Ipv4Addr::LOCALHOST));
    if hosts.admit(&parts).is_err() {
        return;
    }
    // A browser passes the host of a page to the resolver.
    let is_here = |authority: &str| match Uri::try_from(format!("http://{authority}/")) {
        Ok(uri) => {
            let host = uri.host().unwrap_or_default().trim_end_matches('.').to_ascii_lowercase();
            let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
            host == "localhost"
                || host.ends_with(".localhost")
                || address.is_ok_and(|ip| ip.to_canonical().is_loopback())
        }
        // No browser can request it.
        Err(_) => true,
    };
    let text = |name| parts.headers.get(name).and_then(|value| value.to_str().ok());
    let target = parts.uri.authority().map(|authority| authority.as_str());
    let host = target.or(text(HOST)).unwrap_or_default();
    assert!(is_here(host), "{host:?} is admitted");
    if let Some((_scheme, page)) = text(ORIGIN).and_then(|origin| origin.split_once("://")) {
        assert!(is_here(page), "a page of {page:?} is admitted");
    }
}
