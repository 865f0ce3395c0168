//! Records, the entries of a lane: encodes and parses them.
//!
//! Owns the payload of a record (`docs/LOG_FORMAT.md`, Records) and nothing around it: checksum and padding belong to
//! the frame ([`super::format`]), images of pages to [`super::page`]. Every parser takes arbitrary bytes: it never
//! panics, and allocates nothing, because its result borrows from the input. A record is parsed completely or not at
//! all; only the contents of pages are unpacked later.

use super::format::{FRAME, finish_frame};
use super::page::{PAGE, Packed, pack};
use super::position::Lsn;
use super::reader::{Damage, Reader};
use crate::base::{Alarm, TakenAlarm};

/// Longest class key in bytes.
pub const CLASS_MAX: usize = 255;
/// Longest object name in bytes.
pub const NAME_MAX: usize = 1024;
/// A turn whose pages may take more than this is split into parts: no submitter locks its lane for long, and a record
/// fits into a message of 1 MiB with the headers around it. Larger records can be read.
pub const PART_BYTES: usize = 1 << 20;
/// The most bytes of a part besides its images: frame, fixed fields, class key, name, alarms, and a batch's header.
pub const PART_OVERHEAD: usize = 2048;

const OPEN: u8 = 1;
const TURN: u8 = 2;
const CLASS_REMOVED: u8 = 3;
const TRIM: u8 = 4;
const NOOP: u8 = 7;

const CREATED: u8 = 1;
const DELETED: u8 = 1 << 1;
const LAST: u8 = 1 << 2;
const NAMED: u8 = 1 << 3;
const ALARM_SET: u8 = 1 << 4;
const ALARM_CLEARED: u8 = 1 << 5;
const ADOPTED: u8 = 1 << 6;
/// Two more bytes of flags follow.
const MORE: u8 = 1 << 7;

const SERIAL: u16 = 1;
const RUNNING: u16 = 1 << 1;
const MORE_FLAGS: u16 = SERIAL | RUNNING;

/// The reasons why a payload is no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRecord {
    /// No version writes this.
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// Only a later version writes this.
    #[error("{0}")]
    Unknown(&'static str),
}

/// One entry of a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// A process has opened the lane; parts of turns before it whose last part is missing are void.
    Open(Open),
    /// The changes of one applied turn, or of a part of it.
    Turn(TurnRecord<'a>),
    /// Every object of the class in this lane is gone.
    ClassRemoved {
        /// The class key.
        class: &'a str,
    },
    /// Everything in the lane up to this position is in flushed database files and catalogs.
    Trim {
        /// The last position that is not needed any more.
        upto: Lsn,
    },
    /// Nothing.
    Noop,
}

/// The process that opened a lane, and the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open {
    /// The node.
    pub node: [u8; 16],
    /// Milliseconds since the Unix epoch; for display only.
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

/// The fields of a turn's record besides pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TurnHead<'a> {
    /// The class key, 1 to 255 bytes.
    pub class: &'a str,
    /// The object.
    pub id: [u8; 32],
    /// The incarnation of the object: part of its file's name.
    pub incarnation: u32,
    /// The object's record before this one in the same process; 0 if it is not known.
    pub previous: Lsn,
    /// Number of this part, from 0.
    pub part: u32,
    /// The parts count only if the part with `last` is there.
    pub last: bool,
    /// Contains all pages of the incarnation; nothing before it counts.
    pub created: bool,
    /// With `created`: the incarnation's file was flushed before this record, which contains the pages changed since.
    pub adopted: bool,
    /// The object is gone; there are no pages.
    pub deleted: bool,
    /// Pages of the database after the turn (in the last part).
    pub page_count: u32,
    /// Bytes stored after the turn: pages in use × 4,096 (in the last part).
    pub bytes: u64,
    /// The object's name, if it became known or changed, and with `created`; 1 to 1,024 bytes.
    pub name: Option<&'a str>,
    /// The alarms, if they changed.
    pub alarms: Option<Alarms>,
}

/// All alarms of an object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Alarms {
    /// The one that is set.
    pub set: Option<NumberedAlarm>,
    /// The one that was taken and whose handler is suspended, or has failed and is tried again.
    pub running: Option<NumberedAlarm>,
}

/// An alarm with the number that distinguishes it from the object's other alarms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NumberedAlarm {
    /// Its serial number: higher than those of alarms that were set before; 0 if version 1 wrote it.
    pub serial: u64,
    /// The alarm.
    pub alarm: Alarm,
}

impl Alarms {
    /// Returns the alarm that comes next. One that was running when the process ended is run again.
    pub fn next(&self) -> Option<Alarm> {
        let alarms = self.running.into_iter().chain(self.set).map(|numbered| numbered.alarm);
        alarms.min_by_key(|alarm| alarm.next_ms)
    }

    /// Takes the alarm that is to be run at this time: a running one first, because it was due before.
    pub fn take(&self, now_ms: u64) -> Option<TakenAlarm> {
        let taken = |again| move |NumberedAlarm { serial, alarm }| TakenAlarm { serial, alarm, again };
        let due = |numbered: &NumberedAlarm| numbered.alarm.next_ms <= now_ms;
        let running = self.running.filter(due).map(taken(true));
        running.or_else(|| self.set.filter(due).map(taken(false)))
    }

    /// Returns the change of the object's alarm in the catalog.
    pub fn change(&self) -> AlarmChange {
        AlarmChange::to(self.next())
    }
}

/// A change of the object's alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlarmChange {
    /// The alarm is set.
    Set(Alarm),
    /// No alarm is set.
    Cleared,
}

impl AlarmChange {
    /// Returns the change to this state.
    pub fn to(alarm: Option<Alarm>) -> Self {
        alarm.map_or(Self::Cleared, Self::Set)
    }

    /// Returns the state after the change.
    pub fn alarm(self) -> Option<Alarm> {
        match self {
            Self::Set(alarm) => Some(alarm),
            Self::Cleared => None,
        }
    }
}

/// The page images of one record, in the order in which they were added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pages<'a> {
    left: u32,
    bytes: &'a [u8],
}

impl<'a> Pages<'a> {
    /// Unpacks the next image into `image`. Returns the page's number (from 1), or why the image cannot be unpacked.
    pub fn next(&mut self, image: &mut [u8; PAGE]) -> Option<Result<u32, Damage>> {
        let (number, stored) = self.take()?;
        Some(stored.unpack(image).map(|()| number))
    }

    /// Returns the numbers of the pages that are left, without unpacking them.
    pub fn numbers(&self) -> impl Iterator<Item = u32> + use<'a> {
        let mut pages = *self;
        std::iter::from_fn(move || pages.take().map(|(number, _)| number))
    }

    /// Returns the number of pages that are left.
    pub fn len(&self) -> usize {
        self.left as usize
    }

    /// Whether none is left.
    pub fn is_empty(&self) -> bool {
        self.left == 0
    }

    /// Takes the next image. The structure was checked when the record was parsed.
    fn take(&mut self) -> Option<(u32, Packed<'a>)> {
        self.left = self.left.checked_sub(1)?;
        let mut reader = Reader::new(self.bytes);
        let page = page(&mut reader).ok()?;
        self.bytes = reader.rest();
        Some(page)
    }
}

fn page<'a>(reader: &mut Reader<'a>) -> Result<(u32, Packed<'a>), Damage> {
    match reader.u32()? {
        0 => Err(Damage("a page has no number")),
        number => Ok((number, Packed::take(reader)?)),
    }
}

impl<'a> Record<'a> {
    /// Parses what [`Encoded`] wrote. The checksum was checked before, so what this version does not know was written
    /// by a later one.
    pub fn parse(payload: &'a [u8]) -> Result<Self, NoRecord> {
        let mut reader = Reader::new(payload);
        let record = match reader.u8()? {
            OPEN => Self::Open(Open { node: reader.array()?, wall_ms: reader.u64()? }),
            TURN => Self::Turn(turn(&mut reader)?),
            CLASS_REMOVED => Self::ClassRemoved { class: reader.text8()? },
            TRIM => Self::Trim { upto: Lsn(reader.u64()?) },
            NOOP => Self::Noop,
            kind => return Err(NoRecord::Unknown(unknown_kind(kind))),
        };
        if reader.rest().is_empty() { Ok(record) } else { Err(Damage("a record is longer than what it says").into()) }
    }
}

/// Names a kind that this version does not know. `docs/LOG_FORMAT.md`, Records, has the table of reserved kinds.
fn unknown_kind(kind: u8) -> &'static str {
    match kind {
        5 => "a record of kind 5 (OPENED)",
        6 => "a record of kind 6 (CLOSED)",
        8 => "a record of kind 8 (ARCHIVED)",
        9 => "a record of kind 9 (BASE)",
        10 => "a record of kind 10 (ALARM_BEGUN)",
        _ => "a record of an unknown kind",
    }
}

fn turn<'a>(reader: &mut Reader<'a>) -> Result<TurnRecord<'a>, NoRecord> {
    let flags = reader.u8()?;
    let more = if flags & MORE != 0 { reader.u16()? } else { 0 };
    if more & !MORE_FLAGS != 0 {
        return Err(NoRecord::Unknown("a turn's record with unknown flags"));
    }
    let (set, cleared) = (flags & ALARM_SET != 0, flags & ALARM_CLEARED != 0);
    if set && cleared || more & SERIAL != 0 && !set || more & RUNNING != 0 && !(set || cleared) {
        return Err(Damage("a turn's record has flags that exclude each other").into());
    }
    let (incarnation, part, page_count) = (reader.u32()?, reader.u32()?, reader.u32()?);
    let (previous, bytes) = (Lsn(reader.u64()?), reader.u64()?);
    let id = reader.array()?;
    let class = reader.text8()?;
    let name = if flags & NAMED != 0 { Some(reader.text16(NAME_MAX)?) } else { None };
    let pending = if set { Some(numbered(reader, more & SERIAL != 0)?) } else { None };
    let running = if more & RUNNING != 0 { Some(numbered(reader, true)?) } else { None };
    let alarms = (set || cleared).then_some(Alarms { set: pending, running });
    let deleted = flags & DELETED != 0;
    let pages = Pages { left: reader.u32()?, bytes: reader.rest() };
    if deleted && !pages.is_empty() {
        return Err(Damage("a deleted object has pages").into());
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
        alarms,
    };
    Ok(TurnRecord { head, pages })
}

fn numbered(reader: &mut Reader<'_>, has_serial: bool) -> Result<NumberedAlarm, Damage> {
    let (due_ms, attempt, next_ms) = (reader.u64()?, reader.u32()?, reader.u64()?);
    let serial = if has_serial { reader.u64()? } else { 0 };
    Ok(NumberedAlarm { serial, alarm: Alarm { due_ms, attempt, next_ms } })
}

/// The bytes of a record in a segment: frame, payload, padding.
#[derive(Clone, Debug)]
pub struct Encoded(Vec<u8>);

impl Encoded {
    pub(super) fn open(open: &Open) -> Self {
        let mut record = begin(OPEN, 32);
        record.extend(open.node);
        record.extend(open.wall_ms.to_le_bytes());
        Self::finish(record)
    }

    pub(super) fn trim(upto: Lsn) -> Self {
        let mut record = begin(TRIM, 16);
        record.extend(upto.0.to_le_bytes());
        Self::finish(record)
    }

    /// Encodes the record that removes every object of the class in the lane.
    ///
    /// # Panics
    /// If the key does not have 1 to 255 bytes.
    pub fn class_removed(class: &str) -> Self {
        let mut record = begin(CLASS_REMOVED, 64);
        put_text8(&mut record, class);
        Self::finish(record)
    }

    /// Returns the bytes that the record takes in a segment, and so in a reservation.
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

/// Whether a payload is the payload of an OPEN.
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

/// Encodes the record of a turn, page by page.
#[derive(Debug)]
pub struct TurnEncoder {
    record: Vec<u8>,
    /// The offset of the size of the database.
    page_count_at: usize,
    /// The offset of the number of pages.
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
        let alarms = head.alarms.unwrap_or_default();
        let more = if alarms.set.is_some() { SERIAL } else { 0 } | if alarms.running.is_some() { RUNNING } else { 0 };
        let flag = |on: bool, flag: u8| if on { flag } else { 0 };
        record.push(
            flag(head.created, CREATED)
                | flag(head.adopted, ADOPTED)
                | flag(head.deleted, DELETED)
                | flag(head.last, LAST)
                | flag(head.name.is_some(), NAMED)
                | flag(alarms.set.is_some(), ALARM_SET)
                | flag(head.alarms.is_some() && alarms.set.is_none(), ALARM_CLEARED)
                | flag(more != 0, MORE),
        );
        if more != 0 {
            record.extend(more.to_le_bytes());
        }
        let page_count_at = record.len() + 4 + 4;
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
        for NumberedAlarm { serial, alarm } in alarms.set.into_iter().chain(alarms.running) {
            record.extend(alarm.due_ms.to_le_bytes());
            record.extend(alarm.attempt.to_le_bytes());
            record.extend(alarm.next_ms.to_le_bytes());
            record.extend(serial.to_le_bytes());
        }
        let count_at = record.len();
        record.extend([0; 4]);
        Self { record, page_count_at, count_at, pages: 0 }
    }

    /// Adds the image of a page.
    ///
    /// # Panics
    /// If the number is 0 or the image does not have 4,096 bytes.
    pub fn page(&mut self, number: u32, image: &[u8]) {
        let image = image.try_into().expect("a page has 4,096 bytes");
        assert!(number > 0, "pages are numbered from 1");
        self.pages += 1;
        self.record.extend(number.to_le_bytes());
        pack(number, image, &mut self.record);
    }

    /// Sets the number of pages of the database, in place of the one in the head.
    pub fn set_page_count(&mut self, pages: u32) {
        self.record[self.page_count_at..self.page_count_at + 4].copy_from_slice(&pages.to_le_bytes());
    }

    /// Returns the record, ready to be submitted.
    pub fn finish(mut self) -> Encoded {
        self.record[self.count_at..self.count_at + 4].copy_from_slice(&self.pages.to_le_bytes());
        Encoded::finish(self.record)
    }
}
