//! The part of HTTP/2 with prior knowledge that tests need: requests without a body, and the response of each stream.
//! Nothing is compressed, and windows are opened only when a test does so.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;

use super::Client;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// One connection.
pub struct Http2 {
    stream: TcpStream,
    /// The frames received on each stream, and whether it has ended.
    bodies: BTreeMap<u32, (Vec<u8>, bool)>,
}

impl Http2 {
    /// Connects, with the initial windows of the protocol.
    pub fn connect(client: &Client) -> Self {
        Self::with_settings(client, &[])
    }

    /// Connects with these settings.
    pub fn with_settings(client: &Client, settings: &[(u16, u32)]) -> Self {
        let mut this = Self { stream: client.write(PREFACE), bodies: BTreeMap::new() };
        let payload: Vec<u8> = settings
            .iter()
            .flat_map(|(name, value)| [&name.to_be_bytes()[..], &value.to_be_bytes()].concat())
            .collect();
        this.send(SETTINGS, 0, 0, &payload).expect("the host reads");
        this
    }

    /// Sends a request: `GET` of `localhost` unless its fields say otherwise.
    pub fn request(&mut self, stream: u32, fields: &[(&str, &str)]) {
        self.try_request(stream, fields).expect("the host reads");
    }

    /// Does [`request`](Self::request) to a host that may have closed the connection.
    pub fn try_request(&mut self, stream: u32, fields: &[(&str, &str)]) -> std::io::Result<()> {
        let defaults = [(":method", "GET"), (":scheme", "http"), (":authority", "localhost"), (":path", "/")];
        let mut block = Vec::new();
        for (name, value) in defaults {
            let value = fields.iter().find(|field| field.0 == name).map_or(value, |field| field.1);
            literal(&mut block, name, value);
        }
        for (name, value) in fields.iter().filter(|field| !field.0.starts_with(':')) {
            literal(&mut block, name, value);
        }
        self.send(HEADERS, END_STREAM | END_HEADERS, stream, &block)
    }

    /// Resets the stream of a request.
    pub fn reset(&mut self, stream: u32) -> std::io::Result<()> {
        const CANCEL: u32 = 8;
        self.send(RST_STREAM, 0, stream, &CANCEL.to_be_bytes())
    }

    /// Returns the complete body of the response on a stream.
    pub fn body(&mut self, stream: u32) -> Vec<u8> {
        while !self.bodies.get(&stream).is_some_and(|(_, ended)| *ended) {
            assert!(self.read(), "the connection ended before the response");
        }
        self.bodies.remove(&stream).expect("it is there").0
    }

    /// Reads until the host closes the connection.
    pub fn until_closed(&mut self) {
        while self.read() {}
    }

    /// Reads one frame. Returns false if the host closed the connection.
    fn read(&mut self) -> bool {
        let mut head = [0; 9];
        if self.stream.read_exact(&mut head).is_err() {
            return false;
        }
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & !(1 << 31);
        let (kind, flags, mut payload) = (head[3], head[4], vec![0; length]);
        if self.stream.read_exact(&mut payload).is_err() {
            return false;
        }
        match kind {
            DATA | HEADERS => {
                let (body, ended) = self.bodies.entry(stream).or_default();
                if kind == DATA {
                    body.extend_from_slice(&payload);
                }
                *ended |= flags & END_STREAM != 0;
            }
            SETTINGS if flags & ACK == 0 => return self.send(SETTINGS, ACK, 0, &[]).is_ok(),
            PING if flags & ACK == 0 => return self.send(PING, ACK, 0, &payload).is_ok(),
            RST_STREAM => panic!("stream {stream} was reset: {payload:?}"),
            GOAWAY | SETTINGS | PING | WINDOW_UPDATE => {}
            kind => panic!("a frame of type {kind}"),
        }
        true
    }

    fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> std::io::Result<()> {
        let length = (payload.len() as u32).to_be_bytes();
        let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
        self.stream.write_all(&[&head, payload].concat())
    }
}

/// Encodes a field without index and compression (RFC 7541 §6.2.2); both parts must be shorter than 127 bytes.
fn literal(block: &mut Vec<u8>, name: &str, value: &str) {
    assert!(name.len() < 127 && value.len() < 127);
    block.push(0);
    for part in [name, value] {
        block.push(part.len() as u8);
        block.extend_from_slice(part.as_bytes());
    }
}
