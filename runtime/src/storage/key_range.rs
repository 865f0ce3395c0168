//! Ranges of keys: what a listing has yet to read. Pure functions of texts, in the order of their UTF-8 bytes.

/// What a listing returns and in which order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListOptions {
    /// First key wanted (inclusive).
    pub start: Option<String>,
    /// Only keys after this one (exclusive). Not together with `start`.
    pub start_after: Option<String>,
    /// Only keys before this one (exclusive).
    pub end: Option<String>,
    /// Only keys that begin with this.
    pub prefix: Option<String>,
    /// The same keys in descending order.
    pub reverse: bool,
    /// At most this many entries. Not 0.
    pub limit: Option<u32>,
}

/// What is left of the range of an open listing.
pub(super) struct KeyRange {
    /// The first key, inclusive.
    pub from: String,
    /// Before which key to end; none is after all keys.
    pub to: Option<String>,
    pub reverse: bool,
    /// Entries still wanted.
    pub left: u32,
}

impl KeyRange {
    /// Creates the range that the options name, or returns why they name none.
    pub fn new(options: ListOptions) -> Result<Self, &'static str> {
        let ListOptions { start, start_after, end, prefix, reverse, limit } = options;
        if start.is_some() && start_after.is_some() {
            return Err("start and start-after are given together; give one of them");
        }
        if limit == Some(0) {
            return Err("the limit is 0; leave it out to list all entries");
        }
        let start = start.or(start_after.map(|key| after(&key))).unwrap_or_default();
        let (first, past) = match prefix {
            Some(prefix) => (prefix.clone(), past_prefix(&prefix)),
            None => (String::new(), None),
        };
        let to = match (end, past) {
            (Some(end), Some(past)) => Some(end.min(past)),
            (end, past) => end.or(past),
        };
        Ok(Self { from: start.max(first), to, reverse, left: limit.unwrap_or(u32::MAX) })
    }

    /// Takes entries off the range that were read; `last` is the key of the last one.
    pub fn advance(&mut self, read: u32, last: &str) {
        self.left -= read;
        match self.reverse {
            true => self.to = Some(last.to_owned()),
            false => self.from = after(last),
        }
    }
}

/// Returns the first text after this one.
fn after(key: &str) -> String {
    format!("{key}\0")
}

/// Returns the first text after all texts that begin with this prefix; none if there is no such text.
pub(super) fn past_prefix(prefix: &str) -> Option<String> {
    let mut past: Vec<char> = prefix.chars().collect();
    while let Some(last) = past.pop() {
        // The characters after the last one, without the gap of the surrogates.
        if let Some(next) = (last..=char::MAX).nth(1) {
            past.push(next);
            return Some(past.into_iter().collect());
        }
    }
    None
}
