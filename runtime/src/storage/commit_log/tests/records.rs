//! Records and headers as bytes: there and back, and arbitrary bytes.

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
    fn any_alarm()(kind in 0..3, due_ms: u64, attempt: u32, next_ms: u64) -> Option<AlarmChange> {
        match kind {
            0 => None,
            1 => Some(AlarmChange::Cleared),
            _ => Some(AlarmChange::Set(Alarm { due_ms, attempt, next_ms })),
        }
    }
}

/// Pages that compress, that do not, and that are empty.
fn any_page() -> impl Strategy<Value = Vec<u8>> {
    (0..3, any::<u64>(), 1..PAGE).prop_map(|(kind, seed, noise)| {
        let mut image = vec![0; PAGE];
        match kind {
            0 => {}
            1 => Env::manual(seed).0.fill_random(&mut image),
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
        numbers: (u32, u32, u32), wide: (u64, u64), alarm in any_alarm(),
        pages in proptest::collection::vec((1_u32.., any_page()), 0..5),
    ) {
        let (incarnation, part, page_count) = numbers;
        let head = TurnHead {
            class: &class, id, incarnation, previous: Lsn(wide.0), part, last: flags.0, created: flags.1, adopted: flags.2,
            deleted: pages.is_empty(), page_count, bytes: wide.1, name: name.as_deref(), alarm,
        };
        let mut encoder = TurnEncoder::new(&head);
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

    /// Neither panics nor allocates by what the bytes claim; a byte changed in a record never passes its checksum.
    #[test]
    fn arbitrary_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300), at: usize, change in 1_u8..) {
        let _ = Record::parse(&bytes);
        for kind in 1..5 {
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
                length: frames.len() as u32,
            };
            let (bytes, _) = header.encode(frames);
            headers.extend(bytes);
            body.extend(bytes);
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
    }
}

#[test]
fn the_other_kinds_come_back() {
    let open = Open { node: NODE, wall_ms: 77 };
    assert_eq!(Record::parse(payload(&Encoded::open(&open))), Ok(Record::Open(open)));
    assert_eq!(Record::parse(payload(&Encoded::release(Lsn(9)))), Ok(Record::Release { upto: Lsn(9) }));
    assert_eq!(Record::parse(payload(&Encoded::class_removed("ab"))), Ok(Record::ClassRemoved { class: "ab" }));
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
