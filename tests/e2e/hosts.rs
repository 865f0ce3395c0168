//! The host names that a listener answers for, the web pages that may call it, and requests that can be read in two
//! ways.

use crate::harness::{Client, Host, Socket, guest};

fn host_with(server: &str) -> Host {
    let host = Host::with_config(&format!("[server]\n{server}\n[limits]\nlive-instances = 8\n"));
    host.deploy("echo", guest("echo"));
    host.deploy("sockets", guest("sockets"));
    host
}

/// Returns status and code of the answer to these bytes, which must close the connection or be the last one.
fn answer(client: &Client, request: &str) -> (u16, String) {
    let mut answer = Vec::new();
    std::io::Read::read_to_end(&mut client.write(request), &mut answer).expect("an answer comes");
    let text = String::from_utf8(answer).expect("it is text");
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
    let code = text.split("\"code\":\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or("none");
    (status.unwrap_or_else(|| panic!("no answer to {request:?}: {text:?}")), code.into())
}

fn asked(client: &Client, headers: &[&str]) -> (u16, String) {
    let lines = headers.join("\r\n");
    answer(client, &format!("GET /echo/alice HTTP/1.1\r\nconnection: close\r\n{lines}\r\n\r\n"))
}

#[test]
fn a_page_of_another_site_does_not_reach_a_loopback_listener() {
    let mut host = host_with("");
    let none = || "none".to_owned();
    let data = |headers: &[&str]| asked(host.data(), headers);
    for good in ["localhost", "LOCALHOST:8787", "127.0.0.1:80", "[::1]:80", "counter.localhost"] {
        assert_eq!(data(&[&format!("host: {good}")]), (200, none()), "{good}");
    }
    for bad in ["evil.example", "localhost.evil.example", "192.0.2.1", ""] {
        assert_eq!(data(&[&format!("host: {bad}")]), (421, "unknown-host".into()), "{bad}");
    }
    for good in ["http://localhost:3000", "http://127.0.0.1:8787"] {
        assert_eq!(data(&["host: localhost", &format!("origin: {good}")]), (200, none()), "{good}");
    }
    for bad in ["https://evil.example", "null"] {
        assert_eq!(data(&["host: localhost", &format!("origin: {bad}")]), (403, "unknown-origin".into()), "{bad}");
    }
    // The same holds for WebSockets.
    let upgrade = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                   sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";
    for (headers, refused) in [
        ("host: evil.example\r\norigin: http://evil.example\r\n", "421"),
        ("host: localhost\r\norigin: https://evil.example\r\n", "403"),
    ] {
        let mut stream = host.data().write(format!("GET /sockets/room HTTP/1.1\r\n{headers}{upgrade}"));
        let mut head = [0; 12];
        std::io::Read::read_exact(&mut stream, &mut head).unwrap();
        assert_eq!(&head[..], format!("HTTP/1.1 {refused}").as_bytes());
    }
    drop(Socket::open(host.data(), "/sockets/room"));
    // Not even with the token.
    assert_eq!(asked(host.admin(), &["host: evil.example"]), (421, "unknown-host".into()));
    assert_eq!(asked(host.admin(), &["host: localhost"]), (401, "unauthorized".into()));
    host.assert_alive();
}

#[test]
fn hosts_and_origins_can_be_named() {
    let host = host_with("hosts = ['api.example.com']\norigins = ['https://app.example.com']");
    let data = |headers: &[&str]| asked(host.data(), headers).0;
    assert_eq!(data(&["host: api.example.com"]), 200);
    assert_eq!(data(&["host: other.example.com"]), 421);
    assert_eq!(data(&["host: api.example.com", "origin: https://app.example.com"]), 200);
    assert_eq!(data(&["host: api.example.com", "origin: https://api.example.com"]), 200);
    assert_eq!(data(&["host: api.example.com", "origin: https://other.example.com"]), 403);
    let host = host_with("hosts = ['*']\norigins = ['*']");
    assert_eq!(asked(host.data(), &["host: any.example", "origin: null"]).0, 200);
}

/// A request that two servers could read differently is refused, and nothing after it on that connection is answered.
#[test]
fn requests_that_can_be_read_in_two_ways() {
    let mut host = host_with("");
    let bad = (400, "bad-request".to_owned());
    const SMUGGLED: &str = "GET /echo/smuggled HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    for request in [
        "GET /echo/alice HTTP/1.1\r\n\r\n",
        "GET /echo/alice HTTP/1.1\r\nhost: localhost\r\nhost: localhost\r\n\r\n",
        "GET /echo/alice HTTP/1.1\nhost: localhost\r\n\r\n",
        "GET /echo/alice HTTP/1.1\r\nhost: localhost\n\r\n",
        "GET /echo/alice HTTP/1.1\r\nhost: localhost\r\n\n",
        "GET /echo/alice HTTP/1.1\r\nhost: a, b\r\n\r\n",
        "POST /echo/alice HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST /echo/alice HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n",
        "POST /echo/alice HTTP/1.1\r\nhost: localhost\r\ncontent-length: 3\r\ncontent-length: 3\r\n\r\nabc",
        "POST /echo/alice HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    ] {
        let request = request.replacen("\r\n", "\r\nconnection: close\r\n", 1);
        assert_eq!(answer(host.data(), &request), bad, "{request:?}");
        assert_eq!(answer(host.admin(), &request).0, 400, "{request:?}");
    }
    // The connection is closed, even if the client requests keep-alive, so the following bytes are not a request.
    let smuggling = format!(
        "POST /echo/alice HTTP/1.1\r\nhost: localhost\r\ncontent-length: 6\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{SMUGGLED}"
    );
    let mut text = String::new();
    std::io::Read::read_to_string(&mut host.data().write(smuggling), &mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 400 ") && !text.contains("smuggled"), "{text}");
    // A request that the library refuses itself has no body, but the same status.
    for request in [
        "GET /echo/alice HTTP/1.1\r\nhost: localhost\r\nx: y\r\n z\r\n\r\n",
        "GET  /echo/alice HTTP/1.1\r\nhost: localhost\r\n\r\n",
        "GET /echo/alice HTTP/1.1\r\nhost : localhost\r\n\r\n",
        "GET /echo/alice HTTP/1.1\r\nhost: local\0host\r\n\r\n",
    ] {
        assert_eq!(answer(host.data(), request).0, 400, "{request:?}");
    }
    // HTTP/1.0 has no such header, and pipelined requests are two requests.
    assert_eq!(answer(host.data(), "GET /echo/alice HTTP/1.0\r\n\r\n").0, 200);
    let two = "POST /echo/alice HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\n\n\n".to_owned() + SMUGGLED;
    let mut text = String::new();
    std::io::Read::read_to_string(&mut host.data().write(two), &mut text).unwrap();
    assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 2, "{text}");
    host.assert_alive();
}

#[test]
fn a_browser_that_asks_for_an_icon_is_no_mistake() {
    let host = host_with("");
    host.get("/favicon.ico").problem(404, "unknown-route");
    assert!(!host.log().contains("favicon"), "{}", host.log());
}
