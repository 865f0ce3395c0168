//! A keep-alive HTTP/1.1 connection, cheap enough for a load generator.
//!
//! One request at a time, sent as prepared bytes; the answer stays in the connection's buffer. Answers must carry a
//! `Content-Length`, which all systems measured here give; anything else is an error rather than a guess.

use std::net::SocketAddr;

use anyhow::{Context, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const HEADERS_MAX: usize = 32;
const READ_SIZE: usize = 4096;

/// An open connection.
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// An answer, borrowed from its connection.
pub struct Answer<'c> {
    /// The status code.
    pub status: u16,
    /// The whole body.
    pub body: &'c [u8],
    head: &'c [u8],
}

impl Answer<'_> {
    /// Returns the body, if the status is a success.
    pub fn ok(&self) -> anyhow::Result<&[u8]> {
        ensure!((200..300).contains(&self.status), "status {}: {}", self.status, String::from_utf8_lossy(self.body));
        Ok(self.body)
    }

    /// Returns the first header of that name.
    pub fn header(&self, name: &str) -> anyhow::Result<Option<String>> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut response = httparse::Response::new(&mut headers);
        response.parse(self.head)?;
        let found = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        Ok(found.map(|header| String::from_utf8_lossy(header.value).into_owned()))
    }
}

impl Connection {
    /// Connects.
    pub async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await.with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(READ_SIZE) })
    }

    /// Sends one request and waits for the complete answer.
    pub async fn exchange(&mut self, request: &[u8]) -> anyhow::Result<Answer<'_>> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        let mut head = None;
        loop {
            self.buffer.reserve(READ_SIZE);
            ensure!(self.stream.read_buf(&mut self.buffer).await? > 0, "the server closed the connection");
            if head.is_none() {
                head = parse_head(&self.buffer)?;
            }
            if let Some(Head { status, length, body }) = head
                && self.buffer.len() >= length + body
            {
                ensure!(self.buffer.len() == length + body, "bytes after the end of an answer");
                let (head, body) = self.buffer.split_at(length);
                return Ok(Answer { status, body, head });
            }
        }
    }
}

/// Returns the bytes of a request.
pub fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut text = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n");
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    if method != "GET" {
        text += &format!("content-length: {}\r\n", body.len());
    }
    text += "\r\n";
    [text.as_bytes(), body].concat()
}

#[derive(Clone, Copy)]
struct Head {
    status: u16,
    /// Bytes of the head itself.
    length: usize,
    /// Bytes of the body that follows.
    body: usize,
}

/// Parses a head. Returns none while it is incomplete.
fn parse_head(bytes: &[u8]) -> anyhow::Result<Option<Head>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(length) = response.parse(bytes)? else { return Ok(None) };
    let status = response.code.context("an answer without a status")?;
    let Some(header) = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length")) else {
        if status == 204 {
            return Ok(Some(Head { status, length, body: 0 }));
        }
        bail!("an answer without a content-length: {}", String::from_utf8_lossy(&bytes[..length]));
    };
    let body = std::str::from_utf8(header.value)?.trim().parse()?;
    Ok(Some(Head { status, length, body }))
}
