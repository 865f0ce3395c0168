//! Records and headers as bytes: round trips, and arbitrary bytes.

use proptest::prelude::*;

use super::super::format::*;
use super::*;
use crate::base::Alarm;

fn payload(record: &Encoded) -> &[u8] {
    let (payload, rest) = split_frame(record.bytes()).unwrap();
    assert!(rest.is_empty() && record.len().is_multiple_of(8));
    payload
}

prop_compose! {
    fn any_alarm()(is_there: bool, serial: u64, due_ms: u64, attempt: u32, next_ms: u64) -> Option<NumberedAlarm> {
        is_there.then_some(NumberedAlarm { serial, alarm: Alarm { due_ms, attempt, next_ms } })
    }
}

prop_compose! {
    fn any_alarms()(are_there: bool, set in any_alarm(), running in any_alarm()) -> Option<Alarms> {
        are_there.then_some(Alarms { set, running })
    }
}

/// Pages that compress, that do not, that are empty, and that look like those of a b-tree: with a hole, or with remains
/// of one.
fn any_page() -> impl Strategy<Value = Vec<u8>> {
    let header = (prop::sample::select(vec![2, 5, 10, 13]), 0..400_u16, 0..=PAGE as u16, 0..PAGE);
    (0..5, any::<u64>(), 1..PAGE, header).prop_map(|(kind, seed, noise, (flag, cells, content, stray))| {
        let mut image = vec![0; PAGE];
        match kind {
            0 => {}
            1 => Env::manual(seed).0.fill_random(&mut image),
            3 | 4 => {
                let from = usize::from(content);
                Env::manual(seed).0.fill_random(&mut image[from..]);
                for header in [0, 100] {
                    image[header] = flag;
                    image[header + 3..header + 5].copy_from_slice(&cells.to_be_bytes());
                    image[header + 5..header + 7].copy_from_slice(&content.to_be_bytes());
                }
                if kind == 4 {
                    image[stray] = 1;
                }
            }
            _ => Env::manual(seed).0.fill_random(&mut image[..noise]),
        }
        image
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_turn_comes_back(
        class in "[a-z]{1,255}", name in proptest::option::of("\\PC{1,200}"), id: [u8; 32], flags: (bool, bool, bool),
        numbers: (u32, u32, u32), wide: (u64, u64), alarms in any_alarms(),
        pages in proptest::collection::vec((1_u32.., any_page()), 0..5),
    ) {
        let (incarnation, part, page_count) = numbers;
        let head = TurnHead {
            class: &class, id, incarnation, previous: Lsn(wide.0), part, last: flags.0, created: flags.1, adopted: flags.2,
            deleted: pages.is_empty(), page_count, bytes: wide.1, name: name.as_deref(), alarms,
        };
        let mut encoder = TurnEncoder::new(&TurnHead { page_count: 0, ..head.clone() });
        encoder.set_page_count(page_count);
        pages.iter().for_each(|(number, image)| encoder.page(*number, image));
        let record = encoder.finish();
        let Ok(Record::Turn(mut turn)) = Record::parse(payload(&record)) else { panic!("it is a turn") };
        prop_assert_eq!(&turn.head, &head);
        prop_assert_eq!(turn.pages.len(), pages.len());
        prop_assert!(turn.pages.numbers().eq(pages.iter().map(|(number, _)| *number)));
        let mut image = [1; PAGE];
        for (number, expected) in &pages {
            prop_assert_eq!(turn.pages.next(&mut image), Some(Ok(*number)));
            prop_assert_eq!(&image[..], &expected[..]);
        }
        prop_assert_eq!(turn.pages.next(&mut image), None);
    }

    /// Parsing neither panics nor allocates by what the bytes claim; a changed byte in a record never passes its
    /// checksum.
    #[test]
    fn arbitrary_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300), at: usize, change in 1_u8..) {
        let _ = Record::parse(&bytes);
        for kind in 1..16 {
            let with_kind: Vec<u8> = std::iter::once(kind).chain(bytes.iter().copied()).collect();
            if let Ok(Record::Turn(mut turn)) = Record::parse(&with_kind) {
                while turn.pages.next(&mut [0; PAGE]).is_some() {}
            }
        }
        let _ = SegmentHeader::parse(&bytes);
        let _ = split_frame(&bytes);
        if let Some((header, _)) = GroupHeader::parse(&bytes) {
            let _ = parse_body(&header, &bytes);
        }
        let claims = GroupHeader { length: u32::MAX, batches: u16::MAX, flags: 0, sequence: 1, salt: 0, chain: 0, body: 0 };
        prop_assert!(parse_body(&claims, &bytes).is_err());
        let mut record = turn(&head(1, 1), 1, 40).bytes().to_vec();
        let at = at % record.len();
        record[at] ^= change;
        let padding = split_frame(&record).is_ok_and(|(payload, _)| FRAME + payload.len() <= at);
        prop_assert!(padding || split_frame(&record).is_err());
    }

    #[test]
    fn batches_come_back(lengths in proptest::collection::vec(0..4_usize, 1..5), first: u32, chain: u64) {
        let record = turn(&head(0, 1), 1, 40);
        let frames: Vec<Vec<u8>> = lengths.iter().map(|length| record.bytes().repeat(*length)).collect();
        let (mut body, mut headers) = (Vec::new(), Vec::new());
        for (lane, frames) in frames.iter().enumerate() {
            let header = BatchHeader {
                lane: Lane::new(lane as u16), records: lengths[lane] as u32, first: Lsn(first.into()), epoch: Lsn(1), chain,
                length: frames.len() as u32, wall_ms: (lane % 2 == 0).then_some(chain),
            };
            let encoded = header.encode(frames);
            headers.extend(encoded.bytes());
            body.extend(encoded.bytes());
            body.extend(frames);
        }
        let group = GroupHeader {
            length: body.len() as u32, batches: frames.len() as u16, flags: 0, sequence: 9, salt: 8, chain,
            body: xxhash_rust::xxh3::xxh3_64(&headers),
        };
        let (bytes, _) = group.encode();
        let (parsed, _) = GroupHeader::parse(&bytes).unwrap();
        prop_assert_eq!(parsed, group);
        let batches = parse_body(&parsed, &body).unwrap();
        prop_assert_eq!(batches.len(), frames.len());
        prop_assert!(batches.iter().zip(&frames).all(|(batch, frames)| batch.frames == frames));
        let timed = |(lane, batch): (usize, &Batch<'_>)| batch.header.wall_ms == (lane % 2 == 0).then_some(chain);
        prop_assert!(batches.iter().enumerate().all(timed));
    }
}

#[test]
fn the_other_kinds_come_back() {
    let open = Open { node: NODE, wall_ms: 77 };
    assert_eq!(Record::parse(payload(&Encoded::open(&open))), Ok(Record::Open(open)));
    assert_eq!(Record::parse(payload(&Encoded::trim(Lsn(9)))), Ok(Record::Trim { upto: Lsn(9) }));
    assert_eq!(Record::parse(payload(&Encoded::class_removed("ab"))), Ok(Record::ClassRemoved { class: "ab" }));
}

/// What a later version writes is distinguished from damage.
#[test]
fn kinds_and_flags_of_later_versions_are_unknown() {
    assert_eq!(Record::parse(&[7]), Ok(Record::Noop));
    let what = |payload: &[u8]| match Record::parse(payload) {
        Err(NoRecord::Unknown(what)) => what,
        other => panic!("{other:?}"),
    };
    for (kind, name) in [(5, "OPENED"), (6, "CLOSED"), (8, "ARCHIVED"), (9, "BASE"), (10, "ALARM_BEGUN")] {
        assert!(what(&[kind, 1, 2]).contains(name));
    }
    for kind in [0, 11, 12, 13, 14, 255] {
        assert_eq!(what(&[kind]), "a record of an unknown kind");
    }
    let known = turn(&head(0, 1), 1, 40);
    let mut flagged = payload(&known).to_vec();
    flagged[1] |= 1 << 7;
    for bit in 2..16 {
        let flags: u16 = 1 << bit;
        let wide = [&flagged[..2], &flags.to_le_bytes(), &flagged[2..]].concat();
        assert!(what(&wide).contains("unknown flags"), "{bit}");
    }
    let none = [&flagged[..2], &[0, 0], &flagged[2..]].concat();
    assert_eq!(Record::parse(&none), Record::parse(payload(&known)), "no set flag is the same as no flags");
    let running = [&flagged[..2], &[2, 0], &flagged[2..]].concat();
    assert!(matches!(Record::parse(&running), Err(NoRecord::Damaged(_))), "an alarm is complete or not there");
}

#[test]
fn no_part_of_a_turn_takes_more_than_a_mebibyte() {
    let (class, name) = ("c".repeat(CLASS_MAX), "n".repeat(NAME_MAX));
    let alarm = Some(NumberedAlarm { serial: 1, alarm: Alarm::at(2) });
    let alarms = Some(Alarms { set: alarm, running: alarm });
    let mut encoder = TurnEncoder::new(&TurnHead { class: &class, name: Some(&name), alarms, ..head(0, 1) });
    let mut image = [0; PAGE];
    Env::manual(1).0.fill_random(&mut image);
    (1..=((PART_BYTES - PART_OVERHEAD) / IMAGE_MAX) as u32).for_each(|page| encoder.page(page, &image));
    let bytes = encoder.finish().len() + BATCH_HEADER;
    assert!((PART_BYTES - IMAGE_MAX..=PART_BYTES).contains(&bytes), "{bytes}");
}

/// Returns the pages of a database that SQLite has written, in the order of the file.
fn real_pages(statements: &str) -> Vec<u8> {
    // SQLite accepts settings for the process only before its first use.
    crate::storage::connection::configure_process();
    let file = tempfile::NamedTempFile::new().unwrap();
    let database = rusqlite::Connection::open(file.path()).unwrap();
    database.execute_batch("PRAGMA page_size = 4096; PRAGMA secure_delete = OFF;").unwrap();
    database.execute_batch(statements).unwrap();
    drop(database);
    std::fs::read(file.path()).unwrap()
}

fn packed(number: u32, image: &[u8]) -> usize {
    let mut encoder = TurnEncoder::new(&head(0, 1));
    let empty = TurnEncoder::new(&head(0, 1)).finish().bytes().len();
    encoder.page(number, image);
    let record = encoder.finish();
    let Ok(Record::Turn(mut turn)) = Record::parse(payload(&record)) else { panic!("it is a turn") };
    let mut back = [1; PAGE];
    assert_eq!(turn.pages.next(&mut back), Some(Ok(number)));
    assert!(back == *image, "page {number} comes back to the last byte");
    record.len() - empty
}

#[test]
fn holes_of_real_pages_are_left_out_and_come_back() {
    let rows = "CREATE TABLE t (a PRIMARY KEY, b); CREATE INDEX i ON t (b);
        WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 2000)
        INSERT INTO t SELECT x, hex(randomblob(x % 97)) FROM n;";
    let deleted = format!("{rows} DELETE FROM t WHERE a % 3 = 0; UPDATE t SET b = hex(randomblob(a % 31));");
    let large = "CREATE TABLE t (a); INSERT INTO t VALUES (randomblob(100000)); DROP TABLE t; CREATE TABLE u (b);";
    let tiny = "CREATE TABLE t (a PRIMARY KEY, b) WITHOUT ROWID; INSERT INTO t VALUES ('n', 1);";
    for statements in [rows, &deleted, large, tiny] {
        let pages = real_pages(statements);
        for (number, image) in (1..).zip(pages.chunks_exact(PAGE)) {
            packed(number, image);
        }
    }
    // What an increment in a small object writes.
    let pages = real_pages(tiny);
    let last = packed(2, &pages[PAGE..]);
    assert!(last <= 64, "{last} bytes");
}

/// Both ends of the unallocated part of a page may hold remains of cells; the zeros between them are a hole all the
/// same.
#[test]
fn what_is_left_of_cells_stays_and_a_writer_that_does_not_look_is_noticed() {
    let mut image = [0; PAGE];
    image[0] = 13;
    image[5..7].copy_from_slice(&3000_u16.to_be_bytes());
    image[8..12].copy_from_slice(b"left");
    image[2990..3000].copy_from_slice(b"left over!");
    Env::manual(1).0.fill_random(&mut image[3000..]);
    let holed = packed(2, &image);
    assert!(holed < 1200, "{holed}");
    crate::base::seeded_bugs::plant(Some(crate::base::seeded_bugs::SeededBug::HoleNotZero));
    let noticed = std::panic::catch_unwind(|| packed(2, &image));
    crate::base::seeded_bugs::plant(None);
    assert!(noticed.is_err());
}

#[test]
fn lanes_are_dealt_out_evenly() {
    for lanes in [1, 3, 16, 64] {
        let mut counts = vec![0; usize::from(lanes)];
        for slot in 0..4096_u16 {
            let mut id = [0xff; 32];
            id[..2].copy_from_slice(&(slot << 4 | 0xf).to_be_bytes());
            counts[Lane::of(&id, lanes).index()] += 1;
        }
        let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
        assert!(most - least <= 1, "{counts:?}");
    }
}
