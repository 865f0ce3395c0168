//! Follows the HTTP/2 frames that a client sends, and detects clients that make the host work without sending requests.
//!
//! Pings and settings frames are answered without being requests; the other frames that carry no request cost work,
//! too. The HTTP library accepts them as fast as they come. Invariant: honest clients stay far below the bound. Clients
//! that measure the line send a ping per round trip while they receive data; therefore sent data and requests raise the
//! bound.

/// The connection preface of HTTP/2 (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEAD: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
/// Idle frames between two checks (a few seconds) that are always accepted.
const FREE: u64 = 1_000;
/// Idle frames that each request allows, and the bytes of data, in either direction, that allow one.
const A_REQUEST: u64 = 4;
const BYTES: u64 = 256;

/// The parser state of a connection.
#[derive(Debug, PartialEq, Eq)]
pub struct Calm {
    at: At,
    /// Idle frames since the last check, and how many more than the free ones are allowed.
    idle: u64,
    allowed: u64,
}

#[derive(Debug, PartialEq, Eq)]
enum At {
    /// This many bytes of the preface were read.
    Preface(usize),
    /// This many bytes of a frame header were read.
    Head([u8; HEAD], usize),
    /// This many bytes of a payload remain.
    Payload(u64),
    /// Not HTTP/2.
    Other,
}

impl Default for Calm {
    fn default() -> Self {
        Self { at: At::Preface(0), idle: 0, allowed: 0 }
    }
}

impl Calm {
    /// Reports whether the connection speaks HTTP/2, as far as it has been read.
    pub fn is_http2(&self) -> bool {
        matches!(self.at, At::Head(..) | At::Payload(_))
    }

    /// Starts a new counting period; this many bytes were sent in the previous one.
    pub fn look(&mut self, sent: u64) {
        (self.idle, self.allowed) = (0, sent / BYTES);
    }

    /// Reads further bytes. Returns false once there are too many idle frames.
    pub fn read(&mut self, mut bytes: &[u8]) -> bool {
        while let Some(first) = bytes.first().copied() {
            match &mut self.at {
                At::Other => return true,
                At::Preface(read) => {
                    let length = bytes.len().min(PREFACE.len() - *read);
                    // Nearly all connections speak HTTP/1, and differ at the first byte.
                    if first != PREFACE[*read] || bytes[..length] != PREFACE[*read..*read + length] {
                        self.at = At::Other;
                        return true;
                    }
                    *read += length;
                    bytes = &bytes[length..];
                    if *read == PREFACE.len() {
                        self.at = At::Head([0; HEAD], 0);
                    }
                }
                At::Head(head, read) => {
                    let length = bytes.len().min(HEAD - *read);
                    head[*read..*read + length].copy_from_slice(&bytes[..length]);
                    *read += length;
                    bytes = &bytes[length..];
                    if *read == HEAD {
                        let head = *head;
                        self.frame(head);
                    }
                }
                At::Payload(left) => {
                    let length = (bytes.len() as u64).min(*left);
                    *left -= length;
                    bytes = &bytes[length as usize..];
                    if *left == 0 {
                        self.at = At::Head([0; HEAD], 0);
                    }
                }
            }
        }
        self.idle <= FREE + self.allowed
    }

    fn frame(&mut self, head: [u8; HEAD]) {
        let length = u64::from(u32::from_be_bytes([0, head[0], head[1], head[2]]));
        match head[3] {
            HEADERS => self.allowed += A_REQUEST,
            DATA if length > 0 => self.allowed += length / BYTES,
            WINDOW_UPDATE | CONTINUATION => {}
            _ => self.idle += 1,
        }
        self.at = if length > 0 { At::Payload(length) } else { At::Head([0; HEAD], 0) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, length: usize) -> Vec<u8> {
        let mut frame = (length as u32).to_be_bytes()[1..].to_vec();
        frame.extend([kind, 0, 0, 0, 0, 0]);
        frame.resize(HEAD + length, 7);
        frame
    }

    /// Returns the same for every way of splitting the bytes.
    fn is_calm(frames: &[u8]) -> bool {
        let bytes = [PREFACE, frames].concat();
        let read = |cut: usize| {
            let mut calm = Calm::default();
            let all = bytes.chunks(cut).all(|bytes| calm.read(bytes));
            assert!(calm.is_http2());
            all
        };
        let at_once = read(bytes.len());
        assert!([1, 7, 1000].map(read).iter().all(|cut| *cut == at_once));
        at_once
    }

    #[test]
    fn who_makes_work_for_nothing_is_found() {
        const PING: u8 = 6;
        const SETTINGS: u8 = 4;
        let both = [frame(PING, 8), frame(SETTINGS, 0)].concat();
        let half = FREE as usize / 2;
        assert!(is_calm(&both.repeat(half)));
        assert!(!is_calm(&both.repeat(half + 1)));
        assert!(!is_calm(&frame(DATA, 0).repeat(2 * half + 1)), "empty pieces of a body");
        assert!(!is_calm(&frame(2, 5).repeat(2 * half + 1)), "priorities");
        let request = [frame(HEADERS, 40), frame(PING, 8), frame(PING, 8), frame(WINDOW_UPDATE, 4)].concat();
        assert!(is_calm(&request.repeat(3_000)), "a ping or two a request");
        assert!(is_calm(&[frame(DATA, 16_384), frame(PING, 8)].concat().repeat(1_100)), "an upload");
    }

    #[test]
    fn counting_begins_anew_and_what_is_sent_allows_some() {
        let (mut calm, pings) = (Calm::default(), frame(6, 8).repeat(FREE as usize));
        assert!(calm.read(PREFACE) && calm.read(&pings));
        calm.look(1 << 20);
        assert!(calm.read(&pings.repeat(4)));
        calm.look(0);
        assert!(calm.read(&pings) && !calm.read(&frame(6, 8)));
    }

    #[test]
    fn other_protocols_are_left_alone() {
        for text in ["GET / HTTP/1.1\r\n\r\n", "PRI * HTTP/1.1\r\n", "\0"] {
            let mut calm = Calm::default();
            assert!(calm.read(text.as_bytes()) && !calm.is_http2());
            assert!(calm.read(&frame(6, 8).repeat(5_000)));
        }
    }
}
