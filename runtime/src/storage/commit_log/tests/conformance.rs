//! The conformance suite of a log of lanes, run on the file log (manually and with its threads) and on the one in
//! memory.

use std::time::Duration;

use futures_util::FutureExt;

use super::*;

/// One of the logs, and how to drive and end it.
enum Subject {
    File { dir: Dir, log: Option<FileLog> },
    Memory(MemoryLog),
}

impl Subject {
    fn all(lanes: u16) -> Vec<Self> {
        Self::all_on(&options(lanes))
    }

    fn all_on(options: &LogOptions) -> Vec<Self> {
        let file = |manual| {
            let mut dir = Dir::new(options.lanes);
            dir.options = LogOptions { manual, ..options.clone() };
            let log = Some(dir.open());
            Self::File { dir, log }
        };
        vec![file(true), file(false), Self::Memory(MemoryLog::new(options.clone()))]
    }

    fn lose(&self, lane: Lane) {
        match self {
            Self::File { log, .. } => log.as_ref().unwrap().lose(lane),
            Self::Memory(log) => log.lose(lane),
        }
    }

    /// Does one step of a manually driven log.
    fn step(&self) -> bool {
        match self {
            Self::File { log, .. } => log.as_ref().unwrap().step(),
            Self::Memory(log) => log.step(),
        }
    }

    fn log(&self) -> &dyn LaneLog {
        match self {
            Self::File { log, .. } => log.as_ref().unwrap(),
            Self::Memory(log) => log,
        }
    }

    /// Returns when everything submitted is durable.
    fn settle(&self, writers: &[LaneWriter]) {
        match self {
            Self::File { log: Some(log), dir } if dir.options.manual => while log.step() {},
            Self::Memory(log) => while log.step() {},
            Self::File { .. } => {}
        }
        writers.iter().for_each(|writer| writer.durable().wait(writer.appended()).unwrap());
    }

    fn crash(&mut self) {
        match self {
            Self::File { dir, log } => {
                *log = None;
                *log = Some(dir.open());
            }
            Self::Memory(log) => *log = log.crash(),
        }
    }

    fn is_threaded(&self) -> bool {
        matches!(self, Self::File { dir, .. } if !dir.options.manual)
    }
}

fn open_all(log: &dyn LaneLog) -> Vec<LaneWriter> {
    (0..log.lanes()).map(|lane| log.open(Lane::new(lane), NODE).unwrap()).collect()
}

#[test]
fn positions_are_dense_and_replay_shows_them_in_order() {
    for mut subject in Subject::all(4) {
        let writers = open_all(subject.log());
        for round in 0..20_u8 {
            for (lane, writer) in writers.iter().enumerate() {
                let record = turn(&head(lane as u16, round), u64::from(round), 100);
                let mut reservation = lane::block_on(reserve(subject.log(), record.len() as u64)).unwrap();
                let mut told = None;
                let lsn = writer.submit(record, &mut reservation, |lsn| told = Some(lsn));
                assert_eq!(told, Some(lsn));
                assert_eq!(lsn, Lsn(u64::from(round) + 2), "after OPEN and the earlier records");
                assert_eq!(writer.appended(), lsn);
            }
            if round % 3 == 0 {
                subject.settle(&writers);
            }
        }
        subject.settle(&writers);
        assert!(writers.iter().all(|writer| writer.durable().upto() == Lsn(21)));
        assert!(replayed(subject.log()).is_empty(), "what was appended after the opening is not replayed");
        drop(writers);
        subject.crash();
        let first = replayed(subject.log());
        for lane in 0..4 {
            let mine: Vec<_> = first.iter().filter(|line| line.starts_with(&format!("lane {lane} "))).collect();
            assert_eq!(mine.len(), 21);
            assert!(mine[0].ends_with("@1 open"));
            for (index, line) in mine.iter().enumerate().skip(1) {
                assert!(line.starts_with(&format!("lane {lane} @{} turn {} ", index + 1, index - 1)), "{line}");
            }
        }
        subject.crash();
        assert_eq!(replayed(subject.log()), first, "reading changes nothing");
    }
}

#[test]
fn a_wait_for_a_lost_lane_ends_with_an_error() {
    for subject in Subject::all(2).into_iter().filter(|subject| !subject.is_threaded()) {
        let writers = open_all(subject.log());
        subject.settle(&writers);
        let lsn = submit(subject.log(), &writers[0], turn(&head(0, 1), 1, 100));
        let (mut durable, durable_of_other) = (writers[0].durable(), writers[1].durable());
        let waiting = std::thread::spawn({
            let durable = writers[0].durable();
            move || durable.wait(lsn)
        });
        assert!(durable.reached(lsn).now_or_never().is_none());
        subject.lose(Lane::new(0));
        assert_eq!(
            (durable.reached(lsn).now_or_never(), waiting.join().unwrap()),
            (Some(Err(LaneLost)), Err(LaneLost))
        );
        let other = submit(subject.log(), &writers[1], turn(&head(1, 1), 1, 100));
        while subject.step() {}
        assert_eq!(durable.wait(lsn), Err(LaneLost), "a flush in progress does not restore the lane");
        assert!(!durable.covers(Lsn(0)) && durable.is_lost() && durable_of_other.covers(other));
        subject.log().trim(&[Lsn(1), other]).unwrap();
        assert_eq!([subject.log().trimmed(Lane::new(0)), subject.log().trimmed(Lane::new(1))], [Lsn(0), other]);
    }
}

#[test]
fn what_is_only_appended_is_not_durable() {
    for mut subject in Subject::all(1).into_iter().filter(|subject| !subject.is_threaded()) {
        let writers = open_all(subject.log());
        subject.settle(&writers);
        let lsn = submit(subject.log(), &writers[0], turn(&head(0, 1), 1, 100));
        let durable = writers[0].durable();
        assert_eq!((lsn, durable.upto(), durable.covers(lsn)), (Lsn(2), Lsn(1), false));
        assert!(durable.clone().reached(lsn).now_or_never().is_none());
        subject.crash();
        assert_eq!(replayed(subject.log()), ["lane 0 @1 open"]);
        let writers = open_all(subject.log());
        assert_eq!(writers[0].appended(), Lsn(2), "the position is given again");
    }
}

/// Also if the clock is set back, the process ends, and everything with a time was trimmed before.
#[test]
fn times_never_decrease_within_a_lane() {
    let (env, clock) = Env::manual(7);
    let start = env.wall();
    for mut subject in Subject::all_on(&LogOptions { env, ..options(2) }) {
        clock.set_wall(start);
        let mut writers = open_all(subject.log());
        for step in 1..=6_u64 {
            // Forward, back, forward, back …
            clock.set_wall(start + Duration::from_secs(if step % 2 == 1 { 10 * step } else { step }));
            submit(subject.log(), &writers[0], turn(&head(0, step as u8), step, 100));
            subject.settle(&writers);
            if step == 4 {
                let upto = [0, 1].map(|lane| subject.log().last(Lane::new(lane)));
                subject.log().trim(&upto).unwrap();
                subject.crash();
                writers = open_all(subject.log());
                subject.settle(&writers);
            }
        }
        drop(writers);
        subject.crash();
        let mut times: [Vec<u64>; 2] = Default::default();
        subject
            .log()
            .replay(&mut |entry| {
                times[entry.lane.index()].push(entry.wall_ms - start.as_millis() as u64);
                Ok(())
            })
            .unwrap();
        assert_eq!(times[0], [30_000, 30_000, 50_000, 50_000], "trim, open, turns");
        // Nothing had advanced this lane's time further than its own opening and trim.
        assert!(times[1].is_sorted() && times[1].len() == 2, "{times:?}");
    }
}

#[test]
fn a_lane_has_one_writer() {
    for subject in Subject::all(2) {
        let _writer = subject.log().open(Lane::new(1), NODE).unwrap();
        assert!(matches!(subject.log().open(Lane::new(1), NODE), Err(LogError::Lane(_))));
        assert!(subject.log().open(Lane::new(0), NODE).is_ok());
    }
}

#[test]
fn what_is_trimmed_is_not_shown_again() {
    for mut subject in Subject::all(2) {
        let writers = open_all(subject.log());
        for object in 0..4 {
            submit(subject.log(), &writers[0], turn(&head(0, object), 1, 100));
        }
        subject.settle(&writers);
        subject.log().trim(&[Lsn(3), Lsn(0)]).unwrap();
        assert_eq!(subject.log().trimmed(Lane::new(0)), Lsn(3));
        assert_eq!(subject.log().trimmed(Lane::new(1)), Lsn(0));
        let lines = |subject: &Subject| -> Vec<String> {
            replayed(subject.log()).iter().map(|line| line.split(' ').take(4).collect::<Vec<_>>().join(" ")).collect()
        };
        subject.crash();
        let mut left = lines(&subject);
        left.sort();
        assert_eq!(left, ["lane 0 @4 turn", "lane 0 @5 turn", "lane 0 @6 trim", "lane 1 @1 open"]);
        assert_eq!(subject.log().trimmed(Lane::new(0)), Lsn(3));
        assert!(
            matches!(subject.log().trim(&[Lsn(5), Lsn(0)]), Err(LogError::Lane(_))),
            "a lane that is not open cannot say what is trimmed"
        );
        let writers = open_all(subject.log());
        subject.settle(&writers);
        subject.log().trim(&[Lsn(6), Lsn(2)]).unwrap();
        subject.crash();
        let mut left = lines(&subject);
        left.sort();
        assert_eq!(left, ["lane 0 @7 open", "lane 0 @8 trim", "lane 1 @3 trim"]);
    }
}

#[test]
fn trimming_makes_room() {
    for subject in Subject::all(1) {
        let writers = open_all(subject.log());
        let mut last = Lsn(0);
        let mut rounds = 0;
        // Four times the capacity.
        for number in 0..500 {
            let record = turn(&head(0, 1), number, 4096);
            let mut reservation = loop {
                let room = subject.log().room();
                match subject.log().try_reserve(record.len() as u64) {
                    Ok(reservation) => break reservation,
                    Err(NoRoom::Full(why)) => panic!("{why}"),
                    Err(NoRoom::Wait) => {
                        subject.settle(&writers);
                        if subject.log().usage().live > 300 << 10 {
                            subject.log().trim(&[last]).unwrap();
                            rounds += 1;
                        }
                        assert!(subject.is_threaded() || room.now_or_never().is_some(), "the room is reported");
                    }
                }
            };
            last = writers[0].submit(record, &mut reservation, |_| {});
        }
        subject.settle(&writers);
        assert!(rounds >= 4, "{rounds}");
        let usage = subject.log().usage();
        assert!(usage.live <= usage.capacity && usage.in_flight == 0, "{usage:?}");
        assert_eq!(usage.records, 501 + rounds);
    }
}

#[test]
fn a_turn_counts_when_its_last_part_is_there() {
    for mut subject in Subject::all(1) {
        let writers = open_all(subject.log());
        let part = |object, part, last| turn(&TurnHead { part, last, ..head(0, object) }, 1, 100);
        for record in [part(1, 0, false), part(2, 0, true), part(1, 1, false), part(3, 0, false), part(1, 2, true)] {
            submit(subject.log(), &writers[0], record);
        }
        subject.settle(&writers);
        drop(writers);
        subject.crash();
        let writers = open_all(subject.log());
        submit(subject.log(), &writers[0], part(3, 0, true));
        subject.settle(&writers);
        drop(writers);
        subject.crash();
        let (mut whole, mut seen) = (Whole::default(), Vec::new());
        let replay = subject.log().replay(&mut |entry| {
            if let Some(parts) = whole.next(&entry).unwrap() {
                seen.push((entry.lsn.0, parts.iter().map(|part| part.lsn.0).collect::<Vec<_>>()));
                for part in parts {
                    let payload = subject.log().fetch(part.at)?;
                    assert!(matches!(Record::parse(&payload), Ok(Record::Turn(turn)) if turn.head.id[1] == 1));
                }
            }
            Ok(())
        });
        replay.unwrap();
        assert_eq!(seen, [(1, vec![]), (3, vec![]), (6, vec![2, 4]), (7, vec![]), (8, vec![])]);
    }
}

#[test]
fn too_much_in_flight_waits() {
    for subject in Subject::all(1).into_iter().filter(|subject| !subject.is_threaded()) {
        let log = subject.log();
        let writers = open_all(log);
        let first = log.try_reserve(100 << 10).unwrap();
        let second = log.try_reserve(100 << 10).expect("one reservation may go over the limit");
        let room = log.room();
        assert!(matches!(log.try_reserve(1), Err(NoRoom::Wait)));
        assert!(log.room().now_or_never().is_none());
        drop(second);
        assert!(room.now_or_never().is_some());
        let mut third = log.try_reserve(30 << 10).unwrap();
        let record = turn(&head(0, 1), 1, 4096);
        let taken = record.len() as u64;
        writers[0].submit(record, &mut third, |_| {});
        assert!(matches!(log.try_reserve(1), Err(NoRoom::Wait)), "submitted and not durable is in flight");
        drop(first);
        drop(third);
        assert!((taken..taken + 200).contains(&log.usage().in_flight), "only what was submitted is");
        subject.settle(&writers);
        assert_eq!(log.usage().in_flight, 0);
        assert!(matches!(log.try_reserve(1 << 20), Err(NoRoom::Full(_))), "more than the log ever takes");
    }
}

#[test]
fn a_log_in_memory_that_fails_makes_nothing_durable() {
    let log = MemoryLog::new(options(1));
    let writer = log.open(Lane::new(0), NODE).unwrap();
    assert!(log.step());
    log.fail();
    let lsn = submit(&log, &writer, turn(&head(0, 1), 1, 10));
    assert!(!log.step() && !writer.durable().covers(lsn));
    assert_eq!(replayed(&log.crash()), ["lane 0 @1 open"]);
}

#[test]
fn many_threads_share_groups_and_each_keeps_its_order() {
    let mut dir = Dir::new(4);
    dir.options.manual = false;
    let log = dir.open();
    let writers = open_all(&log);
    std::thread::scope(|scope| {
        for thread in 0..8_u16 {
            let (log, writer) = (&log, &writers[usize::from(thread % 4)]);
            scope.spawn(move || {
                for number in 0..100 {
                    let record = turn(&head(thread % 4, thread as u8), number, 20);
                    let mut reservation = lane::block_on(reserve(log, record.len() as u64)).unwrap();
                    let lsn = writer.submit(record, &mut reservation, |_| {});
                    writer.durable().wait(lsn).unwrap();
                }
            });
        }
    });
    log.close();
    let usage = log.usage();
    assert_eq!(usage.records, 804);
    assert!(usage.groups < 804 && usage.segments > 3, "{usage:?}");
    drop((log, writers));
    let (log, mut last) = (dir.open(), std::collections::HashMap::new());
    log.replay(&mut |entry| {
        if let Record::Turn(turn) = &entry.record {
            let lsn = last.insert(turn.head.id, entry.lsn).unwrap_or_default();
            assert!(lsn < entry.lsn);
        }
        Ok(())
    })
    .unwrap();
    assert_eq!(last.len(), 8);
}
