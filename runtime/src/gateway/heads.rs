//! Follows the HTTP/1 requests of a client, and detects ambiguities that the HTTP library accepts and other servers
//! refuse: request smuggling exploits such differences.
//!
//! The library goes on when a line ends with a bare line feed, when `content-length` stands beside `transfer-encoding`,
//! when a length is given twice. It has decided by then how long the request is, and another server on the way may have
//! decided otherwise. A fault is recorded with the number of its request; the service refuses that request and all
//! later ones of the connection, which is then closed.
//!
//! Invariants: only requests without a fault are followed to their end, because nothing needs to be right after a
//! fault; what the library itself refuses may be parsed in any way. A line costs no copy unless a read splits it.

/// The description of a fault, for the answer.
pub type Fault = &'static str;

/// The library refuses longer lines.
const LINE_MAX: usize = 64 << 10;

/// The parser state of a connection.
#[derive(Default)]
pub struct Heads {
    at: At,
    /// A line whose end has not arrived.
    partial: Vec<u8>,
    length: Option<u64>,
    chunked: bool,
    /// The number of complete heads.
    pub complete: u64,
}

#[derive(Default, PartialEq)]
enum At {
    /// Before a request line. Empty lines may precede it.
    #[default]
    Start,
    Fields,
    Body(u64),
    ChunkSize,
    /// Bytes of a chunk and of the line end behind it.
    Chunk(u64),
    Trailers,
    /// HTTP/2, another protocol after an upgrade, or input that the library refuses.
    Opaque,
}

impl Heads {
    /// Reports whether a head has begun and not ended.
    pub fn in_head(&self) -> bool {
        self.at == At::Fields || self.at == At::Start && !self.partial.is_empty()
    }

    /// Stops parsing.
    pub fn stop(&mut self) {
        self.at = At::Opaque;
        self.partial = Vec::new();
    }

    /// Parses further bytes. Parses nothing more after a fault.
    pub fn read(&mut self, mut bytes: &[u8]) -> Result<(), Fault> {
        while !bytes.is_empty() {
            match &mut self.at {
                At::Opaque => return Ok(()),
                At::Body(left) | At::Chunk(left) => {
                    let skipped = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                    *left -= skipped as u64;
                    bytes = &bytes[skipped..];
                    match self.at {
                        At::Body(0) => self.at = At::Start,
                        At::Chunk(0) => self.at = At::ChunkSize,
                        _ => {}
                    }
                }
                At::Start | At::Fields | At::ChunkSize | At::Trailers => {
                    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
                        self.partial.extend_from_slice(bytes);
                        if self.partial.len() > LINE_MAX {
                            self.stop();
                        }
                        return Ok(());
                    };
                    let (line, rest) = bytes.split_at(end + 1);
                    bytes = rest;
                    let read = if self.partial.is_empty() {
                        self.line(line)
                    } else {
                        let mut whole = std::mem::take(&mut self.partial);
                        whole.extend_from_slice(line);
                        self.line(&whole)
                    };
                    read.inspect_err(|_| self.stop())?;
                }
            }
        }
        Ok(())
    }

    /// Parses a line with its end.
    fn line(&mut self, line: &[u8]) -> Result<(), Fault> {
        let Some(line) = line.strip_suffix(b"\r\n") else {
            if matches!(self.at, At::Start | At::Fields) {
                return Err("a line ends with a bare line feed");
            }
            // In the framing of chunks the library itself refuses it.
            self.stop();
            return Ok(());
        };
        match self.at {
            At::Start if line.is_empty() => {}
            At::Start if line == b"PRI * HTTP/2.0" => self.stop(),
            At::Start => (self.at, self.length, self.chunked) = (At::Fields, None, false),
            At::Fields if line.is_empty() => return self.end_of_head(),
            At::Fields => return self.field(line),
            At::ChunkSize => match chunk_size(line) {
                Some(0) => self.at = At::Trailers,
                Some(size) => self.at = At::Chunk(size.saturating_add(2)),
                None => self.stop(),
            },
            At::Trailers if line.is_empty() => self.at = At::Start,
            At::Trailers => {}
            At::Body(_) | At::Chunk(_) | At::Opaque => unreachable!("no line is read there"),
        }
        Ok(())
    }

    fn field(&mut self, line: &[u8]) -> Result<(), Fault> {
        match line[0] {
            b'c' | b'C' => {
                let Some(value) = value_of(line, b"content-length") else { return Ok(()) };
                let length = str::from_utf8(value).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
                let length = length.and_then(|text| text.parse().ok()).ok_or("`content-length` is not a number")?;
                if self.length.replace(length).is_some() {
                    return Err("the request has two `content-length` headers");
                }
            }
            b't' | b'T' => {
                let Some(value) = value_of(line, b"transfer-encoding") else { return Ok(()) };
                if std::mem::replace(&mut self.chunked, true) || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err("`transfer-encoding` can only be `chunked`");
                }
            }
            b' ' | b'\t' => return Err("a header is continued on a second line"),
            _ => {}
        }
        Ok(())
    }

    fn end_of_head(&mut self) -> Result<(), Fault> {
        self.at = match (self.chunked, self.length) {
            (true, Some(_)) => return Err("`content-length` stands beside `transfer-encoding`"),
            (true, None) => At::ChunkSize,
            (false, None | Some(0)) => At::Start,
            (false, Some(length)) => At::Body(length),
        };
        self.complete += 1;
        Ok(())
    }
}

/// Returns the value of the header with this name; none for other headers.
fn value_of<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (found, value) = line.split_at_checked(name.len())?;
    let value = found.eq_ignore_ascii_case(name).then_some(value)?.strip_prefix(b":")?;
    Some(value.trim_ascii())
}

fn chunk_size(line: &[u8]) -> Option<u64> {
    let digits = line.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii_end();
    let digits = str::from_utf8(digits).ok().filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
    u64::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Returns the number of heads read, and the fault; the same for every way of splitting the bytes.
    fn read(text: &str) -> (u64, Option<Fault>) {
        let whole = |cuts: usize| {
            let mut heads = Heads::default();
            let fault = text.as_bytes().chunks(cuts).find_map(|bytes| heads.read(bytes).err());
            (heads.complete, fault)
        };
        let at_once = whole(text.len().max(1));
        assert!([1, 2, 3, 7].map(whole).iter().all(|cut| *cut == at_once), "{text:?}");
        at_once
    }

    #[test]
    fn what_is_said_in_two_ways_is_found() {
        const GET: &str = "GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";
        for (text, complete, fault) in [
            (GET.repeat(3), 3, None),
            (format!("\r\n{GET}"), 1, None),
            (format!("POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\n{{\n}}{GET}"), 2, None),
            (
                format!("POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n2;x=y\r\n\n\n\r\n0\r\nt: v\r\n\r\n{GET}"),
                2,
                None,
            ),
            (format!("{GET}GET / HTTP/1.1\nhost: localhost\r\n\r\n"), 1, Some("a line ends with a bare line feed")),
            ("GET / HTTP/1.1\r\nhost: h\n\r\n".into(), 0, Some("a line ends with a bare line feed")),
            ("GET / HTTP/1.1\r\nhost: localhost\r\n\n".into(), 0, Some("a line ends with a bare line feed")),
            ("\nGET / HTTP/1.1\r\n\r\n".into(), 0, Some("a line ends with a bare line feed")),
            ("GET / HTTP/1.1\r\nx: y\r\n z\r\n\r\n".into(), 0, Some("a header is continued on a second line")),
            ("GET / HTTP/1.1\r\nx: y\r\n\tz\r\n\r\n".into(), 0, Some("a header is continued on a second line")),
            (
                "POST / HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n".into(),
                0,
                Some("`content-length` stands beside `transfer-encoding`"),
            ),
            (
                "POST / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\n".into(),
                0,
                Some("the request has two `content-length` headers"),
            ),
            ("POST / HTTP/1.1\r\ncontent-length: +1\r\n\r\n".into(), 0, Some("`content-length` is not a number")),
            ("POST / HTTP/1.1\r\ncontent-length: 1, 1\r\n\r\n".into(), 0, Some("`content-length` is not a number")),
            (
                "POST / HTTP/1.1\r\ntransfer-encoding: gzip, chunked\r\n\r\n".into(),
                0,
                Some("`transfer-encoding` can only be `chunked`"),
            ),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\n\n".into(), 0, None),
        ] {
            assert_eq!(read(&text), (complete, fault), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(pieces in prop::collection::vec(prop::sample::select(vec![
            "GET / HTTP/1.1", "\r\n", "\n", "\r", "content-length: 5", "transfer-encoding: chunked", "5\r\n", "0", "x: y", ":", " ", "é", "ffffffffffffffff",
        ]), 0..16)) {
            read(&pieces.concat());
        }
    }
}
