//! Tests of both listeners' services from a client's view: routes, refusals, headers. Tests of parsing paths, mapping
//! problems and following logs are beside each.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::header::{ALLOW, AUTHORIZATION, CONTENT_TYPE, HOST, WWW_AUTHENTICATE};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;

use super::connections::Service;
use super::wire::Wire;
use super::*;
use crate::base::logs::{GuestLogs, Level, LogEntry};
use crate::base::{ClassKey, Env, HostMemory, Limits, Metrics};
use crate::router::Router;

const LIMIT: u64 = 64 * 1024;

/// Creates an empty router, with a data directory that lives as long as the test binary needs it.
fn router() -> Arc<Router> {
    let directory = tempfile::tempdir().unwrap();
    let limits = Limits { live_instances: 1, ..Limits::default() };
    crate::server::empty_router(directory.path(), limits)
}

/// Both services on one router without any class.
struct Host {
    data: DataService,
    admin: AdminService,
    _stop: watch::Sender<bool>,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn text(&self) -> &str {
        str::from_utf8(&self.body).unwrap()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Returns status and code of a problem.
    fn problem(&self) -> (u16, String) {
        assert_eq!(self.headers[CONTENT_TYPE], "application/problem+json");
        (self.status.as_u16(), self.json()["code"].as_str().unwrap().into())
    }
}

async fn call(service: &impl Service, request: Request<Body>) -> Answer {
    let (parts, body) = service.answer(request, Arc::<Wire>::default()).await.into_parts();
    let body = body.collect().await.unwrap().to_bytes().into();
    Answer { status: parts.status, headers: parts.headers, body }
}

fn request(line: &str) -> http::request::Builder {
    let (method, uri) = line.split_once(' ').unwrap();
    Request::builder().method(method).uri(uri).header(HOST, "localhost")
}

impl Host {
    fn new() -> Self {
        let (router, logs) = (router(), Arc::new(GuestLogs::new(HostMemory::new(1 << 30))));
        let entry = |object: &str| LogEntry {
            time: 5,
            class: "echo".into(),
            key: ClassKey::new("echo"),
            object: object.into(),
            call: None,
            level: Level::Info,
            message: "m".into(),
            fields: Vec::new(),
        };
        logs.add(entry("alice"));
        logs.add(entry("bob"));
        let (stop, stopping) = watch::channel(false);
        let intake = Intake::of(&Limits::default(), Env::system());
        let hosts = HostSettings::default().of_listener([127, 0, 0, 1].into());
        let settings = AdminSettings { component: LIMIT, intake: intake.clone(), hosts: hosts.clone(), stopping };
        let token = AdminToken::new("token");
        Self {
            data: DataService::new(
                router.clone(),
                DataSettings {
                    request_body: LIMIT,
                    intake,
                    hosts,
                    sockets: SocketSettings { message: LIMIT, silence: Duration::from_secs(1) },
                    error_details: false,
                },
            ),
            admin: AdminService::new(router, logs, Arc::new(Metrics::default()), token, settings),
            _stop: stop,
        }
    }

    async fn data(&self, line: &str) -> Answer {
        call(&self.data, request(line).body(Body::empty()).unwrap()).await
    }

    async fn admin(&self, line: &str) -> Answer {
        call(&self.admin, request(line).header(AUTHORIZATION, "Bearer token").body(Body::empty()).unwrap()).await
    }

    async fn put(&self, class: &str, component: &[u8]) -> Answer {
        let request = request(&format!("PUT /v1/classes/{class}")).header(AUTHORIZATION, "Bearer token");
        call(&self.admin, request.body(component.to_vec().into()).unwrap()).await
    }
}

#[tokio::test]
async fn the_data_listener_refuses_with_a_code() {
    let host = Host::new();
    for (line, expected) in [
        ("GET /", (404, "unknown-route")),
        ("GET //alice", (404, "unknown-route")),
        ("OPTIONS *", (404, "unknown-route")),
        ("GET /_", (404, "reserved")),
        ("GET /_health/x", (404, "reserved")),
        ("POST /_health", (405, "method-not-allowed")),
        ("GET /None/alice", (400, "bad-class")),
        ("GET /favicon.ico", (404, "unknown-route")),
        ("GET /none/alice", (404, "unknown-class")),
        ("GET /none/%zz/%FF", (404, "unknown-class")),
    ] {
        let (status, code) = host.data(line).await.problem();
        assert_eq!((status, code.as_str()), expected, "{line}");
    }
    let health = host.data("GET /_health").await;
    assert_eq!((health.status, health.text()), (StatusCode::OK, "ok"));
}

#[tokio::test]
async fn what_is_not_a_component_is_refused() {
    let host = Host::new();
    assert_eq!(host.put("echo", b"nonsense").await.problem(), (422, "not-a-component".into()));
    assert_eq!(host.put("Echo", b"nonsense").await.problem(), (400, "bad-class".into()));
    assert_eq!(host.put("echo?force=1", b"nonsense").await.problem(), (400, "bad-query".into()));
    assert_eq!(host.put("echo", &vec![0; LIMIT as usize + 1]).await.problem(), (413, "component-too-large".into()));
    assert_eq!(host.admin("GET /v1/classes").await.json(), json!({ "classes": [] }));
}

#[tokio::test]
async fn the_admin_listener_refuses_with_a_code() {
    let host = Host::new();
    for (line, expected) in [
        ("GET /v1/classes/", (400, "bad-class")),
        ("GET /v1/classes/none", (404, "unknown-class")),
        ("DELETE /v1/classes/none", (404, "unknown-class")),
        ("DELETE /v1/classes/none?objects=keep", (400, "bad-query")),
        ("GET /v1/classes/none/objects", (404, "unknown-class")),
        ("GET /v1/classes/none/objects?limit=1000", (404, "unknown-class")),
        ("GET /v1/classes/none/objects?limit=0", (400, "bad-query")),
        ("GET /v1/classes/none/objects?limit=1001", (400, "bad-query")),
        ("GET /v1/classes/none/objects?limit=many", (400, "bad-query")),
        ("GET /v1/classes/none/objects?limit=1&limit=1", (400, "bad-query")),
        ("GET /v1/classes/none/objects?size=1", (400, "bad-query")),
        ("GET /v1/classes/none/objects/alice", (404, "unknown-class")),
        ("GET /v1/classes/none/objects/alice?x=1", (400, "bad-query")),
        ("GET /v1/classes/none/objects/alice/x", (404, "unknown-route")),
        ("POST /v1/classes/none/objects/alice/evict", (404, "unknown-class")),
        ("POST /v1/classes/none/objects/alice/sql", (404, "unknown-class")),
        ("POST /v1/classes/none/objects/alice/sql?x=1", (400, "bad-query")),
        ("GET /v1/classes/none/objects/alice/export", (404, "unknown-class")),
        ("PUT /v1/classes/none/objects/alice/import", (404, "unknown-class")),
        ("GET /v1/logs?follow=perhaps", (400, "bad-query")),
        ("GET /metrics?x=1", (400, "bad-query")),
    ] {
        let (status, code) = host.admin(line).await.problem();
        assert_eq!((status, code.as_str()), expected, "{line}");
    }
}

/// A client that writes its complete request before it reads sees the refusal, not a reset connection, and may go on.
#[tokio::test]
async fn a_refusal_reaches_a_client_that_is_still_writing() {
    let host = Host::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let mut client = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (_stop, stopping) = watch::channel(false);
    let places = Places::set_aside(1, Arc::default());
    let server =
        tokio::spawn(serve(listener, host.data, places, (Patience::of(&Limits::default()), Env::system()), stopping));
    let body = vec![b'x'; LIMIT as usize + 4096];
    let head = format!("POST /none/alice HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n", body.len());
    client.write_all(head.as_bytes()).await.unwrap();
    client.write_all(&body).await.unwrap();
    client.write_all(b"GET /_health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answers = String::new();
    client.read_to_string(&mut answers).await.unwrap();
    assert!(answers.starts_with("HTTP/1.1 404 ") && answers.contains("HTTP/1.1 200 OK"), "{answers}");
    server.abort();
}

const ADMIN_ROUTES: [(&str, &str); 13] = [
    ("/v1/classes", "GET, HEAD"),
    ("/v1/classes/echo", "DELETE, GET, HEAD, PUT"),
    ("/v1/classes/echo/rename", "POST"),
    ("/v1/classes/echo/objects", "GET, HEAD, POST"),
    ("/v1/classes/echo/objects/alice", "DELETE, GET, HEAD"),
    ("/v1/classes/echo/objects/alice/evict", "POST"),
    ("/v1/classes/echo/objects/alice/sql", "POST"),
    ("/v1/classes/echo/objects/alice/export", "GET, HEAD"),
    ("/v1/classes/echo/objects/alice/import", "PUT"),
    ("/v1/logs", "GET, HEAD"),
    ("/metrics", "GET, HEAD"),
    ("/", ""),
    ("/v1/none", ""),
];

#[tokio::test]
async fn nothing_is_told_without_the_token() {
    let host = Host::new();
    for (path, _) in ADMIN_ROUTES {
        for method in ["GET", "PUT", "POST", "DELETE", "OPTIONS", "BREW"] {
            for token in [None, Some("Bearer wrong")] {
                let mut request = request(&format!("{method} {path}"));
                if let Some(token) = token {
                    request = request.header(AUTHORIZATION, token);
                }
                let answer = call(&host.admin, request.body(Body::empty()).unwrap()).await;
                assert_eq!(answer.problem(), (401, "unauthorized".into()), "{method} {path}");
                assert_eq!(answer.headers[WWW_AUTHENTICATE], "Bearer");
            }
        }
    }
}

#[tokio::test]
async fn admin_routes_take_their_methods_only() {
    let host = Host::new();
    for (path, allow) in ADMIN_ROUTES {
        let answer = host.admin(&format!("BREW {path}")).await;
        match allow {
            "" => assert_eq!(answer.problem(), (404, "unknown-route".into()), "{path}"),
            allow => {
                assert_eq!(answer.problem(), (405, "method-not-allowed".into()), "{path}");
                assert_eq!(answer.headers[ALLOW], allow, "{path}");
            }
        }
    }
    assert_eq!(host.admin("HEAD /v1/classes").await.status, StatusCode::OK);
}

#[tokio::test]
async fn logs_and_metrics_are_served() {
    let host = Host::new();
    let entries = host.admin("GET /v1/logs?class=echo&object=bob").await.json();
    let bob = json!({ "time": 5, "class": "echo", "object": "bob", "level": "info", "message": "m" });
    assert_eq!(entries, json!({ "entries": [bob] }));
    let follow = request("GET /v1/logs?follow=true&object=bob").header(AUTHORIZATION, "Bearer token");
    let mut stream = host.admin.answer(follow.body(Body::empty()).unwrap(), Arc::default()).await;
    assert_eq!(stream.headers()[CONTENT_TYPE], "text/event-stream");
    let first = stream.body_mut().frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(first.starts_with(b"data: {\"time\":5,") && first.ends_with(b"}\n\n"), "{first:?}");
    let metrics = host.admin("GET /metrics").await;
    assert!(metrics.headers[CONTENT_TYPE].to_str().unwrap().starts_with("application/openmetrics-text"));
    assert!(metrics.text().contains("holdfast_turns_total 0") && metrics.text().ends_with("# EOF\n"));
}
