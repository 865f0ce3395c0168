//! Records: what one entry of a lane says, as bytes and back.
//!
//! Owns the payload of a record (`docs/LOG_FORMAT.md`, Records) and nothing around it: position, checksum and padding are the
//! frame's ([`super::format`]). Every parser takes arbitrary bytes: it never panics, and allocates nothing, because what it
//! answers borrows from the input. A record is parsed whole or not at all; only the pages' contents are left for later.

use lz4_flex::block::{compress_into, decompress_into, get_maximum_output_size};

use super::format::{FRAME, Reader, finish_frame};
use super::lane::Lsn;
use crate::base::Alarm;

/// Bytes of a database page, always.
pub const PAGE: usize = 4096;
/// Longest class key in bytes.
pub const CLASS_MAX: usize = 255;
/// Longest object name in bytes.
pub const NAME_MAX: usize = 1024;
/// A turn with pages of more bytes than this goes on in another part. Larger records are written and read all the same; the
/// point is that no submitter holds its lane for long.
pub const PART_BYTES: usize = 1 << 20;

const OPEN: u8 = 1;
const TURN: u8 = 2;
const CLASS_REMOVED: u8 = 3;
const RELEASE: u8 = 4;

/// Where a turn's record has it: after its frame, its kind and flags, the incarnation and the part.
const PAGE_COUNT_AT: usize = FRAME + 1 + 1 + 4 + 4;

const CREATED: u8 = 1;
const DELETED: u8 = 1 << 1;
const LAST: u8 = 1 << 2;
const NAMED: u8 = 1 << 3;
const ALARM_SET: u8 = 1 << 4;
const ALARM_CLEARED: u8 = 1 << 5;
const ADOPTED: u8 = 1 << 6;
const FLAGS: u8 = (1 << 7) - 1;

/// Why bytes are not what this log writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Damage(pub(super) &'static str);

/// One entry of a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// A process has opened the lane; what is in parts before it and has no last one is void.
    Open(Open),
    /// What one applied turn, or a part of it, changed.
    Turn(TurnRecord<'a>),
    /// Every object of the class in this lane is gone.
    ClassRemoved {
        /// The class key.
        class: &'a str,
    },
    /// Everything in the lane up to there is in flushed database files and catalogs.
    Release {
        /// The last position that nobody needs any more.
        upto: Lsn,
    },
}

/// Who opened a lane, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open {
    /// The node.
    pub node: [u8; 16],
    /// Milliseconds since the Unix epoch; for people, nothing depends on it.
    pub wall_ms: u64,
}

/// A turn, or one part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TurnRecord<'a> {
    /// Everything but the pages.
    pub head: TurnHead<'a>,
    /// The images of the pages that the turn changed.
    pub pages: Pages<'a>,
}

/// What a turn's record says besides pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TurnHead<'a> {
    /// The class key, 1 to 255 bytes.
    pub class: &'a str,
    /// The object.
    pub id: [u8; 32],
    /// Which life of the object: names its file.
    pub incarnation: u32,
    /// The object's record before this one in the same process; 0 if it is not known.
    pub previous: Lsn,
    /// Number of this part, from 0.
    pub part: u32,
    /// The parts count only when the one with `last` is there.
    pub last: bool,
    /// Carries all pages of the incarnation; nothing before it counts.
    pub created: bool,
    /// With `created`: the incarnation's file was flushed before this record, and the record has what changed since.
    pub adopted: bool,
    /// The object is gone; there are no pages.
    pub deleted: bool,
    /// Pages of the database after the turn (in the last part).
    pub page_count: u32,
    /// Bytes stored after the turn: pages in use × 4,096 (in the last part).
    pub bytes: u64,
    /// The object's name when it became known or changed, and with `created`; 1 to 1,024 bytes.
    pub name: Option<&'a str>,
    /// The alarm, when it changed.
    pub alarm: Option<AlarmChange>,
}

/// How a turn changed the object's alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlarmChange {
    /// It will ring.
    Set(Alarm),
    /// It will not ring.
    Cleared,
}

impl AlarmChange {
    /// To what it has become.
    pub fn to(alarm: Option<Alarm>) -> Self {
        alarm.map_or(Self::Cleared, Self::Set)
    }

    /// What it is now.
    pub fn alarm(self) -> Option<Alarm> {
        match self {
            Self::Set(alarm) => Some(alarm),
            Self::Cleared => None,
        }
    }
}

/// The page images of one record, in the order in which they were put in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pages<'a> {
    left: u32,
    bytes: &'a [u8],
}

impl<'a> Pages<'a> {
    /// Unpacks the next image into `image` and answers the page's number (from 1), or why it cannot be unpacked.
    pub fn next(&mut self, image: &mut [u8; PAGE]) -> Option<Result<u32, Damage>> {
        let (number, stored) = self.take()?;
        Some(unpack(stored, image).map(|()| number))
    }

    /// The numbers of the pages that are left, without unpacking them.
    pub fn numbers(&self) -> impl Iterator<Item = u32> + use<'a> {
        let mut pages = *self;
        std::iter::from_fn(move || pages.take().map(|(number, _)| number))
    }

    /// How many pages are left.
    pub fn len(&self) -> usize {
        self.left as usize
    }

    /// Whether none is left.
    pub fn is_empty(&self) -> bool {
        self.left == 0
    }

    /// The structure was checked when the record was parsed.
    fn take(&mut self) -> Option<(u32, &'a [u8])> {
        self.left = self.left.checked_sub(1)?;
        let mut reader = Reader::new(self.bytes);
        let page = page(&mut reader).ok()?;
        self.bytes = reader.rest();
        Some(page)
    }
}

fn page<'a>(reader: &mut Reader<'a>) -> Result<(u32, &'a [u8]), Damage> {
    let number = reader.u32()?;
    let length = usize::from(reader.u16()?);
    if number == 0 || length > PAGE {
        return Err(Damage("a page has no number or is too long"));
    }
    Ok((number, reader.bytes(length)?))
}

/// Nothing stored is a page of zeros; a whole page is stored as it is; anything shorter is one LZ4 block.
fn unpack(stored: &[u8], image: &mut [u8; PAGE]) -> Result<(), Damage> {
    match stored.len() {
        0 => image.fill(0),
        PAGE => image.copy_from_slice(stored),
        _ if decompress_into(stored, image).is_ok_and(|length| length == PAGE) => {}
        _ => return Err(Damage("a page cannot be decompressed")),
    }
    Ok(())
}

impl<'a> Record<'a> {
    /// Reads what [`Encoded`] wrote.
    pub fn parse(payload: &'a [u8]) -> Result<Self, Damage> {
        let mut reader = Reader::new(payload);
        let record = match reader.u8()? {
            OPEN => Self::Open(Open { node: reader.array()?, wall_ms: reader.u64()? }),
            TURN => Self::Turn(turn(&mut reader)?),
            CLASS_REMOVED => Self::ClassRemoved { class: reader.text8()? },
            RELEASE => Self::Release { upto: Lsn(reader.u64()?) },
            _ => return Err(Damage("a record of an unknown kind")),
        };
        if reader.rest().is_empty() { Ok(record) } else { Err(Damage("a record is longer than what it says")) }
    }
}

fn turn<'a>(reader: &mut Reader<'a>) -> Result<TurnRecord<'a>, Damage> {
    let flags = reader.u8()?;
    if flags & !FLAGS != 0 || flags & ALARM_SET != 0 && flags & ALARM_CLEARED != 0 {
        return Err(Damage("a turn's record has unknown flags"));
    }
    let (incarnation, part, page_count) = (reader.u32()?, reader.u32()?, reader.u32()?);
    let (previous, bytes) = (Lsn(reader.u64()?), reader.u64()?);
    let id = reader.array()?;
    let class = reader.text8()?;
    let name = if flags & NAMED != 0 { Some(reader.text16(NAME_MAX)?) } else { None };
    let alarm = match (flags & ALARM_SET != 0, flags & ALARM_CLEARED != 0) {
        (true, _) => {
            let (due_ms, attempt, next_ms) = (reader.u64()?, reader.u32()?, reader.u64()?);
            Some(AlarmChange::Set(Alarm { due_ms, attempt, next_ms }))
        }
        (_, true) => Some(AlarmChange::Cleared),
        _ => None,
    };
    let deleted = flags & DELETED != 0;
    let pages = Pages { left: reader.u32()?, bytes: reader.rest() };
    if deleted && !pages.is_empty() {
        return Err(Damage("a deleted object has pages"));
    }
    for _ in 0..pages.left {
        page(reader)?;
    }
    let (last, created, adopted) = (flags & LAST != 0, flags & CREATED != 0, flags & ADOPTED != 0);
    let head = TurnHead {
        class,
        id,
        incarnation,
        previous,
        part,
        last,
        created,
        adopted,
        deleted,
        page_count,
        bytes,
        name,
        alarm,
    };
    Ok(TurnRecord { head, pages })
}

/// A record in the bytes that a segment holds: frame, payload, padding.
#[derive(Clone, Debug)]
pub struct Encoded(Vec<u8>);

impl Encoded {
    pub(super) fn open(open: &Open) -> Self {
        let mut record = begin(OPEN, 32);
        record.extend(open.node);
        record.extend(open.wall_ms.to_le_bytes());
        Self::finish(record)
    }

    pub(super) fn release(upto: Lsn) -> Self {
        let mut record = begin(RELEASE, 16);
        record.extend(upto.0.to_le_bytes());
        Self::finish(record)
    }

    /// Every object of the class in the lane is gone.
    ///
    /// # Panics
    /// If the key does not have 1 to 255 bytes.
    pub fn class_removed(class: &str) -> Self {
        let mut record = begin(CLASS_REMOVED, 64);
        put_text8(&mut record, class);
        Self::finish(record)
    }

    /// Bytes that the record takes in a segment, and so in a reservation.
    #[allow(clippy::len_without_is_empty, reason = "no record is empty")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn finish(mut record: Vec<u8>) -> Self {
        finish_frame(&mut record);
        Self(record)
    }
}

/// Whether a payload is that of an OPEN.
pub(super) fn is_open(payload: &[u8]) -> bool {
    payload.first() == Some(&OPEN)
}

fn begin(kind: u8, capacity: usize) -> Vec<u8> {
    let mut record = Vec::with_capacity(FRAME + capacity);
    record.resize(FRAME, 0);
    record.push(kind);
    record
}

fn put_text8(record: &mut Vec<u8>, text: &str) {
    assert!(!text.is_empty(), "a class key is not empty");
    record.push(u8::try_from(text.len()).expect("a class key has at most 255 bytes"));
    record.extend(text.as_bytes());
}

/// Builds the record of a turn, page by page.
#[derive(Debug)]
pub struct TurnEncoder {
    record: Vec<u8>,
    /// Where the number of pages is.
    count_at: usize,
    pages: u32,
}

impl TurnEncoder {
    /// Begins a record.
    ///
    /// # Panics
    /// If the class key or the name is empty or too long.
    pub fn new(head: &TurnHead<'_>) -> Self {
        let mut record = begin(TURN, 1024);
        let flag = |on: bool, flag: u8| if on { flag } else { 0 };
        record.push(
            flag(head.created, CREATED)
                | flag(head.adopted, ADOPTED)
                | flag(head.deleted, DELETED)
                | flag(head.last, LAST)
                | flag(head.name.is_some(), NAMED)
                | flag(matches!(head.alarm, Some(AlarmChange::Set(_))), ALARM_SET)
                | flag(head.alarm == Some(AlarmChange::Cleared), ALARM_CLEARED),
        );
        for number in [head.incarnation, head.part, head.page_count] {
            record.extend(number.to_le_bytes());
        }
        record.extend(head.previous.0.to_le_bytes());
        record.extend(head.bytes.to_le_bytes());
        record.extend(head.id);
        put_text8(&mut record, head.class);
        if let Some(name) = head.name {
            assert!((1..=NAME_MAX).contains(&name.len()), "an object name has 1 to 1,024 bytes");
            record.extend((name.len() as u16).to_le_bytes());
            record.extend(name.as_bytes());
        }
        if let Some(AlarmChange::Set(Alarm { due_ms, attempt, next_ms })) = head.alarm {
            record.extend(due_ms.to_le_bytes());
            record.extend(attempt.to_le_bytes());
            record.extend(next_ms.to_le_bytes());
        }
        let count_at = record.len();
        record.extend([0; 4]);
        Self { record, count_at, pages: 0 }
    }

    /// Puts in the image of a page.
    ///
    /// # Panics
    /// If the number is 0 or the image does not have 4,096 bytes.
    pub fn page(&mut self, number: u32, image: &[u8]) {
        assert!(number > 0 && image.len() == PAGE, "pages are numbered from 1 and have 4,096 bytes");
        self.pages += 1;
        self.record.extend(number.to_le_bytes());
        let at = self.record.len() + 2;
        let stored = if image.iter().all(|byte| *byte == 0) {
            0
        } else {
            self.record.resize(at + get_maximum_output_size(PAGE), 0);
            match compress_into(image, &mut self.record[at..]) {
                Ok(length) if length < PAGE => length,
                _ => {
                    self.record[at..at + PAGE].copy_from_slice(image);
                    PAGE
                }
            }
        };
        self.record.resize(at + stored, 0);
        self.record[at - 2..at].copy_from_slice(&(stored as u16).to_le_bytes());
    }

    /// Says of how many pages the database is, in the place of what the head said.
    pub fn set_page_count(&mut self, pages: u32) {
        self.record[PAGE_COUNT_AT..PAGE_COUNT_AT + 4].copy_from_slice(&pages.to_le_bytes());
    }

    /// The record, ready to be submitted.
    pub fn finish(mut self) -> Encoded {
        self.record[self.count_at..self.count_at + 4].copy_from_slice(&self.pages.to_le_bytes());
        Encoded::finish(self.record)
    }
}
