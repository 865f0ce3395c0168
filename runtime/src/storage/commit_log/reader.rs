//! Reads the fields of the log's bytes: integers, arrays and texts, from arbitrary input.
//!
//! Integers are little-endian. A read never goes past the end of the input, never panics and never allocates.

/// The reason why bytes are not what this log writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Damage(pub(super) &'static str);

/// Reads fields one after the other.
pub(super) struct Reader<'a>(&'a [u8]);

pub(super) const SHORT: Damage = Damage("it ends too early");

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub fn bytes(&mut self, length: usize) -> Result<&'a [u8], Damage> {
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(SHORT)?;
        self.0 = rest;
        Ok(bytes)
    }

    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Damage> {
        let (bytes, rest) = self.0.split_first_chunk::<N>().ok_or(SHORT)?;
        self.0 = rest;
        Ok(*bytes)
    }

    pub fn u8(&mut self) -> Result<u8, Damage> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub fn u16(&mut self) -> Result<u16, Damage> {
        self.array().map(u16::from_le_bytes)
    }

    pub fn u32(&mut self) -> Result<u32, Damage> {
        self.array().map(u32::from_le_bytes)
    }

    pub fn u64(&mut self) -> Result<u64, Damage> {
        self.array().map(u64::from_le_bytes)
    }

    /// Reads a text that follows its length in one byte; it is not empty.
    pub fn text8(&mut self) -> Result<&'a str, Damage> {
        let length = self.u8()?;
        self.text(usize::from(length))
    }

    /// Reads a text that follows its length in two bytes; it is not empty.
    pub fn text16(&mut self, most: usize) -> Result<&'a str, Damage> {
        match usize::from(self.u16()?) {
            length if length <= most => self.text(length),
            _ => Err(Damage("a text is too long")),
        }
    }

    fn text(&mut self, length: usize) -> Result<&'a str, Damage> {
        match std::str::from_utf8(self.bytes(length)?) {
            Ok("") => Err(Damage("a text is empty")),
            Ok(text) => Ok(text),
            Err(_) => Err(Damage("a text is not UTF-8")),
        }
    }

    pub fn rest(&self) -> &'a [u8] {
        self.0
    }
}
