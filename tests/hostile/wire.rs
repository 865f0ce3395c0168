//! Bytes that no client library would send: requests cut off anywhere, hand-made frames of WebSockets and of HTTP/2.
//!
//! Nothing here panics when the host refuses, closes or has ended: it may do so to such clients.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long one read or write may wait. Then it is repeated or given up, so that no thread waits for a host without
/// end.
const PATIENCE: Duration = Duration::from_millis(250);

/// One connection.
pub struct Wire(TcpStream);

impl Wire {
    /// Connects.
    pub fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self(stream))
    }

    /// Writes all bytes, or fails once the host has not read for a while.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    /// Requests a WebSocket and waits for the end of the answer's head.
    pub fn upgrade(&mut self, path: &str) -> io::Result<()> {
        let key = "sec-websocket-version: 13\r\nsec-websocket-key: YWFhYWFhYWFhYWFhYWFhYQ==\r\n";
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\n{key}\r\n");
        self.send(request.as_bytes())?;
        self.0.set_read_timeout(Some(40 * PATIENCE))?;
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") {
            self.0.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        self.0.set_read_timeout(Some(PATIENCE))?;
        if head.starts_with(b"HTTP/1.1 101") { Ok(()) } else { Err(io::ErrorKind::ConnectionRefused.into()) }
    }

    /// Returns the status of the answer, if it is there. Does not wait.
    pub fn status(&mut self) -> Option<u16> {
        let mut head = [0; 12];
        self.0.set_nonblocking(true).ok()?;
        self.0.read_exact(&mut head).ok()?;
        str::from_utf8(&head).ok()?.strip_prefix("HTTP/1.1 ")?.parse().ok()
    }

    /// Reads once and discards the bytes. Returns their number; none if the connection has ended.
    pub fn swallow(&mut self) -> Option<usize> {
        let mut buffer = [0; 64 << 10];
        match self.0.read(&mut buffer) {
            Ok(0) => None,
            Ok(count) => Some(count),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => Some(0),
            Err(_) => None,
        }
    }
}

/// Returns a request without a body.
pub fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").into()
}

/// Returns a request with this body.
pub fn post(path: &str, body: &[u8]) -> Vec<u8> {
    let mut request = post_head(path, body.len());
    request.extend_from_slice(body);
    request
}

/// Returns the head of a request that announces this many bytes.
pub fn post_head(path: &str, len: usize) -> Vec<u8> {
    format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len}\r\n\r\n").into()
}

/// Returns a complete client frame of a WebSocket, of up to 125 bytes, with a mask of zeroes.
pub fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x80 | opcode, 0x80 | u8::try_from(payload.len()).expect("it is short"), 0, 0, 0, 0];
    frame.extend_from_slice(payload);
    frame
}

/// The first bytes of a client of HTTP/2.
pub const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// Types and flags of frames (RFC 9113 §6).
pub const H2_HEADERS: u8 = 1;
pub const H2_RST_STREAM: u8 = 3;
pub const H2_SETTINGS: u8 = 4;
pub const H2_PING: u8 = 6;
pub const H2_CONTINUATION: u8 = 9;
pub const H2_END_STREAM: u8 = 1;
pub const H2_END_HEADERS: u8 = 4;

/// Returns a frame of HTTP/2.
pub fn h2_frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(payload.len()).expect("it is short").to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Returns the header block of `GET` of a path of up to 126 bytes.
pub fn h2_get(path: &str) -> Vec<u8> {
    // Indexed: the method, the scheme. Literal, without indexing: the path, the authority.
    let mut block = vec![0x82, 0x86, 0x04, path.len() as u8];
    block.extend(path.as_bytes());
    block.extend(*b"\x01\x09localhost");
    block
}
