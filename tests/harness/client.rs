//! An HTTP client of one listener: `ureq` for valid requests, a plain socket for all others.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::Value as Json;
use ureq::Agent;
use ureq::http::{Method, Request, Response};

use super::Answer;
use super::wait::PATIENCE;

/// A client of one listener.
#[derive(Clone)]
pub struct Client {
    agent: Agent,
    address: SocketAddr,
    token: Option<String>,
}

impl Client {
    /// Returns a client that sends this token, if there is one.
    pub fn new(address: SocketAddr, token: Option<String>) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .allow_non_standard_methods(true)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .timeout_global(Some(PATIENCE));
        Self { agent: config.build().into(), address, token }
    }

    /// Returns the address of the listener.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], b"")
    }

    pub fn post(&self, path: &str, body: impl AsRef<[u8]>) -> Answer {
        self.send(Method::POST, path, &[], body)
    }

    pub fn put(&self, path: &str, body: impl AsRef<[u8]>) -> Answer {
        self.send(Method::PUT, path, &[], body)
    }

    pub fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, &[], b"")
    }

    pub fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Answer {
        let sent = self.try_send(method, path, headers, body);
        sent.unwrap_or_else(|error| panic!("no answer to {path}: {error}"))
    }

    /// Sends a request to a host that may have ended.
    pub fn try_send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl AsRef<[u8]>,
    ) -> Result<Answer, ureq::Error> {
        let (head, body) = self.open(method, path, headers, body.as_ref())?.into_parts();
        let body = body.into_with_config().limit(u64::MAX).read_to_vec()?;
        Ok(Answer { status: head.status.as_u16(), headers: head.headers, body })
    }

    /// Opens a stream of server-sent events.
    pub fn events(&self, path: &str) -> Events {
        let response = self.open(Method::GET, path, &[], b"").expect("the stream begins");
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Events(BufReader::new(Box::new(response.into_body().into_reader())))
    }

    fn open(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Response<ureq::Body>, ureq::Error> {
        let mut request = Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if body.is_empty() { self.agent.run(request.body(())?) } else { self.agent.run(request.body(body)?) }
    }

    /// Sends these bytes on a connection of their own and leaves it open.
    pub fn write(&self, bytes: impl AsRef<[u8]>) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).expect("the listener accepts");
        stream.set_read_timeout(Some(PATIENCE)).expect("sockets have timeouts");
        stream.write_all(bytes.as_ref()).expect("the listener reads");
        stream
    }

    /// Sends a request as these lines, with the line ends of HTTP, and returns the answer.
    pub fn raw(&self, lines: &[&str], body: &[u8]) -> Answer {
        let mut request = lines.join("\r\n").into_bytes();
        request.extend_from_slice(b"\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        request.extend_from_slice(body);
        let mut answer = Vec::new();
        self.write(request).read_to_end(&mut answer).expect("an answer comes and the connection is closed");
        parse(&answer)
    }
}

/// Reads a response that ends with its connection.
fn parse(answer: &[u8]) -> Answer {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("a head ends with an empty line");
    let head = str::from_utf8(&answer[..end]).expect("a head is text");
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).expect("a status comes first");
    let headers = lines.filter_map(|line| {
        let (name, value) = line.split_once(": ")?;
        Some((name.parse().ok()?, value.parse().ok()?))
    });
    Answer { status, headers: headers.collect(), body: answer[end + 4..].into() }
}

/// A stream of server-sent events.
pub struct Events(BufReader<Box<dyn Read>>);

impl Iterator for Events {
    type Item = Json;

    /// Returns the data of the next event; none when the stream has ended.
    fn next(&mut self) -> Option<Json> {
        let mut line = String::new();
        loop {
            line.clear();
            if self.0.read_line(&mut line).expect("the stream goes on") == 0 {
                return None;
            }
            if let Some(data) = line.strip_prefix("data: ") {
                return Some(serde_json::from_str(data).expect("data is JSON"));
            }
        }
    }
}
