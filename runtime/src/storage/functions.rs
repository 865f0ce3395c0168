//! The host's own versions of the SQL functions whose cost SQLite does not bound.
//!
//! SQLite cannot be interrupted inside a function, and some of its functions take time in the product of the sizes of
//! their arguments: with values of 2 MB that is minutes (docs/decisions/0010-sql-memory-and-functions.md has the
//! table). These return the same, for every type and for text that is not UTF-8, in time linear in their arguments;
//! what may take longer charges the turn's work as it goes and ends with it.
//!
//! Nothing here may panic: a panic would cross SQLite's frames and end the process.

use std::collections::{HashMap, HashSet};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;
use std::slice;
use std::sync::Arc;

use memchr::memmem;
use rusqlite::ffi::{self, sqlite3_context, sqlite3_value};

use super::session::Session;
use crate::base::Exhausted;

pub(super) mod auxiliary;
mod json;
#[cfg(test)]
mod tests;

/// Bytes that are looked at in the time of one step of SQLite's virtual machine (about 10 ns).
const BYTES_PER_STEP: u64 = 16;
/// Work that is charged at once, in the same bytes: about 40 µs.
const CHARGE: u64 = 64 << 10;

type Function = unsafe extern "C" fn(*mut sqlite3_context, c_int, *mut *mut sqlite3_value);

/// The functions, with their names and numbers of arguments.
const FUNCTIONS: [(&CStr, c_int, Function); 8] = [
    (c"instr", 2, instr),
    (c"replace", 3, replace),
    (c"trim", 2, trim),
    (c"ltrim", 2, trim_start),
    (c"rtrim", 2, trim_end),
    (c"unhex", 2, unhex),
    (c"json_patch", 2, json::patch),
    (c"jsonb_patch", 2, json::patch_binary),
];

/// Has the connection use them in the place of SQLite's.
pub(super) fn register(sqlite: &rusqlite::Connection, session: &Arc<Session>) -> rusqlite::Result<()> {
    // Results of the functions of JSON are marked as JSON, for the next one.
    let flags = ffi::SQLITE_UTF8 | ffi::SQLITE_DETERMINISTIC | ffi::SQLITE_INNOCUOUS | ffi::SQLITE_RESULT_SUBTYPE;
    for (name, arguments, function) in FUNCTIONS {
        let session = Arc::as_ptr(session).cast_mut().cast::<c_void>();
        // SAFETY: the handle is that of an open connection, and the functions are written for SQLite to call. A
        // connection keeps its session until it is closed (`Connection` drops it last).
        let code = unsafe {
            let (db, name) = (sqlite.handle(), name.as_ptr());
            ffi::sqlite3_create_function_v2(db, name, arguments, flags, session, Some(function), None, None, None)
        };
        if code != ffi::SQLITE_OK {
            return Err(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None));
        }
    }
    Ok(())
}

/// A call of a function.
struct Call<'a> {
    context: *mut sqlite3_context,
    arguments: &'a [*mut sqlite3_value],
    /// Work that was not charged yet, in bytes.
    work: u64,
}

impl<'a> Call<'a> {
    /// # Safety
    /// These are the arguments of a function that SQLite is calling.
    unsafe fn new(context: *mut sqlite3_context, count: c_int, arguments: *mut *mut sqlite3_value) -> Self {
        // SAFETY: the caller's.
        Self { context, arguments: unsafe { slice::from_raw_parts(arguments, count as usize) }, work: 0 }
    }

    fn kind(&self, argument: usize) -> c_int {
        // SAFETY: an argument of the running call.
        unsafe { ffi::sqlite3_value_type(self.arguments[argument]) }
    }

    /// An argument as text, or a blob's bytes taken for text. None for NULL, and when there is no memory.
    fn text(&self, argument: usize) -> Option<&'a [u8]> {
        let value = self.arguments[argument];
        // SAFETY: an argument of the running call; its text stays until the function returns, as nothing else converts
        // it.
        unsafe {
            let start = ffi::sqlite3_value_text(value);
            (!start.is_null()).then(|| slice::from_raw_parts(start, ffi::sqlite3_value_bytes(value) as usize))
        }
    }

    /// The same without making text of a blob, which others may look at after this function.
    fn bytes(&self, argument: usize) -> Option<&'a [u8]> {
        if self.kind(argument) != ffi::SQLITE_BLOB {
            return self.text(argument);
        }
        let value = self.arguments[argument];
        // SAFETY: as for `text`.
        unsafe {
            let start = ffi::sqlite3_value_blob(value).cast::<u8>();
            match ffi::sqlite3_value_bytes(value) as usize {
                0 => Some(&[]),
                length => (!start.is_null()).then(|| slice::from_raw_parts(start, length)),
            }
        }
    }

    /// Charges work on so many bytes to the turn, now and then.
    fn worked(&mut self, bytes: usize) -> Result<(), Exhausted> {
        self.work += bytes as u64;
        if self.work < CHARGE { Ok(()) } else { self.charge() }
    }

    #[cold]
    fn charge(&mut self) -> Result<(), Exhausted> {
        let steps = std::mem::take(&mut self.work) / BYTES_PER_STEP;
        self.session().tick(steps)
    }

    fn session(&self) -> &Session {
        // SAFETY: the user data is the session, and lives as long as the connection.
        unsafe { &*ffi::sqlite3_user_data(self.context).cast_const().cast::<Session>() }
    }

    fn end(&mut self, ended: Result<(), Exhausted>) {
        if ended.is_err() {
            // SAFETY: the running call.
            unsafe {
                ffi::sqlite3_result_error(self.context, c"interrupted".as_ptr(), -1);
                ffi::sqlite3_result_error_code(self.context, ffi::SQLITE_INTERRUPT);
            }
        }
    }

    fn no_memory(&self) {
        // SAFETY: the running call.
        unsafe { ffi::sqlite3_result_error_nomem(self.context) };
    }

    fn answer_integer(&self, number: usize) {
        // SAFETY: the running call.
        unsafe { ffi::sqlite3_result_int64(self.context, number as i64) };
    }

    /// Answers a copy of this text.
    fn answer_text(&self, text: &[u8]) {
        // SAFETY: the text is given with its length and copied. An empty one has a pointer that is not null.
        unsafe {
            let (start, length) = (text.as_ptr().cast::<c_char>(), text.len() as u64);
            let (free, encoding) = (ffi::SQLITE_TRANSIENT(), ffi::SQLITE_UTF8 as u8);
            ffi::sqlite3_result_text64(self.context, start, length, free, encoding);
        }
    }

    /// Memory of SQLite's for an answer of so many bytes and a zero. None if that is refused; the call has failed then.
    fn room(&self, bytes: usize) -> Option<Room> {
        // SAFETY: SQLite answers null or so many bytes.
        let start = unsafe { ffi::sqlite3_malloc64(bytes as u64 + 1) }.cast::<u8>();
        if start.is_null() {
            self.no_memory();
            return None;
        }
        Some(Room { start, length: 0, room: bytes })
    }

    /// Bytes that a value may have.
    fn value_max(&self) -> usize {
        // SAFETY: the running call's connection.
        unsafe {
            ffi::sqlite3_limit(ffi::sqlite3_context_db_handle(self.context), ffi::SQLITE_LIMIT_LENGTH, -1) as usize
        }
    }
}

/// An answer that is being written.
struct Room {
    start: *mut u8,
    length: usize,
    room: usize,
}

impl Room {
    fn push(&mut self, bytes: &[u8]) {
        let bytes = &bytes[..bytes.len().min(self.room - self.length)];
        // SAFETY: there is room for them, which nothing else points to.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), self.start.add(self.length), bytes.len()) };
        self.length += bytes.len();
    }

    fn answer(self, call: &Call<'_>, blob: bool) {
        let (start, length) = (self.start, self.length);
        std::mem::forget(self);
        // SAFETY: SQLite owns its memory again, and frees it. The zero has its own byte.
        unsafe {
            start.add(length).write(0);
            if blob {
                ffi::sqlite3_result_blob64(call.context, start.cast(), length as u64, Some(ffi::sqlite3_free));
            } else {
                let (free, encoding) = (Some(ffi::sqlite3_free as _), ffi::SQLITE_UTF8_ZT as u8);
                ffi::sqlite3_result_text64(call.context, start.cast(), length as u64, free, encoding);
            }
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        // SAFETY: it was not answered.
        unsafe { ffi::sqlite3_free(self.start.cast()) };
    }
}

fn is_continuation(byte: u8) -> bool {
    byte & 0xc0 == 0x80
}

/// `instr(X, Y)`: where Y first is in X, counted from 1, in characters unless both are blobs.
unsafe extern "C" fn instr(context: *mut sqlite3_context, count: c_int, arguments: *mut *mut sqlite3_value) {
    // SAFETY: SQLite calls.
    let mut call = unsafe { Call::new(context, count, arguments) };
    if call.kind(0) == ffi::SQLITE_NULL || call.kind(1) == ffi::SQLITE_NULL {
        return;
    }
    let blobs = call.kind(0) == ffi::SQLITE_BLOB && call.kind(1) == ffi::SQLITE_BLOB;
    let (Some(text), Some(wanted)) = (call.bytes(0), call.bytes(1)) else { return call.no_memory() };
    let paid = call.worked(text.len() + wanted.len());
    if paid.is_err() {
        return call.end(paid);
    }
    call.answer_position(text, wanted, blobs);
}

impl Call<'_> {
    fn answer_position(&self, text: &[u8], wanted: &[u8], blobs: bool) {
        let found = match wanted.first() {
            None => Some(0),
            // SQLite looks at the beginning and at each byte that begins a character.
            Some(first) if !blobs && is_continuation(*first) => text.starts_with(wanted).then_some(0),
            Some(_) => memmem::find(text, wanted),
        };
        self.answer_integer(match found {
            None => 0,
            Some(at) if blobs || at == 0 => at + 1,
            Some(at) => 1 + text[1..=at].iter().filter(|byte| !is_continuation(**byte)).count(),
        });
    }
}

/// `replace(X, Y, Z)`: X with each Y in it replaced by Z.
unsafe extern "C" fn replace(context: *mut sqlite3_context, count: c_int, arguments: *mut *mut sqlite3_value) {
    // SAFETY: SQLite calls.
    let mut call = unsafe { Call::new(context, count, arguments) };
    let Some(text) = call.text(0) else { return };
    let Some(pattern) = call.text(1) else { return };
    if pattern.first().is_none_or(|first| *first == 0) {
        return call.answer_text(text);
    }
    let Some(by) = call.text(2) else { return };
    let finder = memmem::Finder::new(pattern);
    let found = finder.find_iter(text).count();
    let length = text.len() - found * pattern.len() + found.saturating_mul(by.len());
    if by.len() > pattern.len() && found > 0 && length > call.value_max() {
        // SAFETY: the running call.
        return unsafe { ffi::sqlite3_result_error_toobig(context) };
    }
    let paid = call.worked(2 * text.len() + length);
    if paid.is_err() {
        return call.end(paid);
    }
    let Some(mut room) = call.room(length) else { return };
    let mut rest = 0;
    for at in finder.find_iter(text) {
        room.push(&text[rest..at]);
        room.push(by);
        rest = at + pattern.len();
    }
    room.push(&text[rest..]);
    room.answer(&call, false);
}

/// Which ends `trim` and its like look at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ends {
    Start,
    End,
    Both,
}

unsafe extern "C" fn trim(context: *mut sqlite3_context, count: c_int, arguments: *mut *mut sqlite3_value) {
    // SAFETY: SQLite calls.
    unsafe { Call::new(context, count, arguments) }.trim(Ends::Both);
}

unsafe extern "C" fn trim_start(context: *mut sqlite3_context, count: c_int, arguments: *mut *mut sqlite3_value) {
    // SAFETY: SQLite calls.
    unsafe { Call::new(context, count, arguments) }.trim(Ends::Start);
}

unsafe extern "C" fn trim_end(context: *mut sqlite3_context, count: c_int, arguments: *mut *mut sqlite3_value) {
    // SAFETY: SQLite calls.
    unsafe { Call::new(context, count, arguments) }.trim(Ends::End);
}

impl Call<'_> {
    /// `trim(X, Y)`: X without the characters of Y at its ends.
    fn trim(&mut self, ends: Ends) {
        let Some(mut text) = self.text(0) else { return };
        let Some(set) = self.text(1) else { return };
        let set = set.split(|byte| *byte == 0).next().unwrap_or_default();
        let trimmed = self.worked(text.len() + set.len()).and_then(|()| {
            let set = Characters::of(set);
            if ends != Ends::End {
                while let Some(length) = set.at_start(self, text)? {
                    text = &text[length..];
                }
            }
            if ends != Ends::Start {
                while let Some(length) = set.at_end(self, text)? {
                    text = &text[..text.len() - length];
                }
            }
            Ok(())
        });
        match trimmed {
            Ok(()) => self.answer_text(text),
            ended => self.end(ended),
        }
    }
}

/// A set of characters as SQLite cuts them: a byte from 0xC0 on with all continuation bytes after it, or any other
/// byte. Where the beginnings of several fit, the first one counts.
struct Characters<'a> {
    /// Place in the set of each character of one byte; none is `usize::MAX`.
    single: [usize; 256],
    /// Place in the set of each longer one, by length, which is 2 to 4 unless the set is not UTF-8.
    longer: Vec<(usize, HashMap<&'a [u8], usize>)>,
}

impl<'a> Characters<'a> {
    fn of(set: &'a [u8]) -> Self {
        let mut characters = Self { single: [usize::MAX; 256], longer: Vec::new() };
        let mut by_length: HashMap<usize, HashMap<&[u8], usize>> = HashMap::new();
        let mut at = 0;
        while let Some(first) = set.get(at) {
            let more = match first {
                0xc0.. => set[at + 1..].iter().take_while(|byte| is_continuation(**byte)).count(),
                _ => 0,
            };
            match more {
                0 => {
                    let place = &mut characters.single[usize::from(*first)];
                    *place = (*place).min(at);
                }
                _ => _ = by_length.entry(more + 1).or_default().entry(&set[at..at + 1 + more]).or_insert(at),
            }
            at += 1 + more;
        }
        characters.longer = by_length.into_iter().collect();
        characters
    }

    /// The length of the character of the set that the text begins with.
    fn at_start(&self, call: &mut Call<'_>, text: &[u8]) -> Result<Option<usize>, Exhausted> {
        let single = text.first().map_or(usize::MAX, |first| self.single[usize::from(*first)]);
        self.first(call, single, |length| text.get(..length))
    }

    /// The length of the character of the set that the text ends with.
    fn at_end(&self, call: &mut Call<'_>, text: &[u8]) -> Result<Option<usize>, Exhausted> {
        let single = text.last().map_or(usize::MAX, |last| self.single[usize::from(*last)]);
        self.first(call, single, |length| text.get(text.len().checked_sub(length)?..))
    }

    fn first<'t>(
        &self,
        call: &mut Call<'_>,
        single: usize,
        part: impl Fn(usize) -> Option<&'t [u8]>,
    ) -> Result<Option<usize>, Exhausted> {
        let mut first = (single, 1);
        for (length, characters) in &self.longer {
            call.worked(*length)?;
            if let Some(place) = part(*length).and_then(|part| characters.get(part)) {
                first = first.min((*place, *length));
            }
        }
        Ok((first.0 != usize::MAX).then_some(first.1))
    }
}

/// `unhex(X, Y)`: the bytes that X has as hexadecimal digits, between which characters of Y may stand. NULL if others
/// do.
unsafe extern "C" fn unhex(context: *mut sqlite3_context, count: c_int, arguments: *mut *mut sqlite3_value) {
    // SAFETY: SQLite calls.
    let mut call = unsafe { Call::new(context, count, arguments) };
    let (Some(digits), Some(mut ignored)) = (call.text(0), call.text(1)) else { return };
    let paid = call.worked(4 * digits.len() + 4 * ignored.len());
    if paid.is_err() {
        return call.end(paid);
    }
    let mut ignoring = Ignored { ascii: [false; 128], others: HashSet::new() };
    while let Some(character) = read_character(&mut ignored) {
        match ignoring.ascii.get_mut(character as usize) {
            Some(ascii) => *ascii = true,
            None => _ = ignoring.others.insert(character),
        }
    }
    let digits = digits.split(|byte| *byte == 0).next().unwrap_or_default();
    let Some(mut room) = call.room(digits.len() / 2) else { return };
    if unhex_into(digits, &ignoring, |byte| room.push(&[byte])) {
        room.answer(&call, true);
    }
}

/// Characters that may stand between digits.
struct Ignored {
    ascii: [bool; 128],
    others: HashSet<u32>,
}

impl Ignored {
    fn contains(&self, character: u32) -> bool {
        self.ascii.get(character as usize).copied().unwrap_or_else(|| self.others.contains(&character))
    }
}

fn unhex_into(mut digits: &[u8], ignored: &Ignored, mut push: impl FnMut(u8)) -> bool {
    let value = |digit: &u8| char::from(*digit).to_digit(16);
    while let Some(first) = digits.first() {
        if let Some(high) = value(first) {
            let Some(low) = digits.get(1).and_then(value) else { return false };
            push((high << 4 | low) as u8);
            digits = &digits[2..];
        } else if !read_character(&mut digits).is_some_and(|character| ignored.contains(character)) {
            return false;
        }
    }
    true
}

/// The next character as SQLite reads UTF-8: bytes that are none stand for something, too.
fn read_character(text: &mut &[u8]) -> Option<u32> {
    let (first, mut rest) = text.split_first()?;
    let mut character = u32::from(*first);
    if *first >= 0xc0 {
        character = match *first {
            0xc0..=0xdf => character & 0x1f,
            0xe0..=0xef => character & 0x0f,
            0xf0..=0xf7 => character & 0x07,
            0xf8..=0xfb => character & 0x03,
            0xfd => 1,
            _ => 0,
        };
        while let Some((next, after)) = rest.split_first().filter(|(next, _)| is_continuation(**next)) {
            character = (character << 6).wrapping_add(u32::from(next & 0x3f));
            rest = after;
        }
        if character < 0x80 || character & 0xffff_f800 == 0xd800 || character & 0xffff_fffe == 0xfffe {
            character = 0xfffd;
        }
    }
    *text = rest;
    Some(character)
}
