//! The smallest subject: objects that are written completely into the commit log, without SQLite.
//!
//! It tests the log alone, and shows that the model, the disk and the schedules detect each seeded bug. The other
//! subject is storage.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::model::State;
use super::schedule::{End, OBJECTS, Write};
use super::{Failed, Subject, Turned, Until, World};
use crate::base::disk::SimulatedDisk;
use crate::base::seeded_bugs::{self, SeededBug};
use crate::base::{Disk, Failpoint};
use crate::storage::commit_log::{
    At, Encoded, FileLog, Lane, LaneLog, LaneWriter, LogOptions, Lsn, PAGE, Record, TurnEncoder, TurnHead, Whole,
};

const LANES: u16 = 3;
const PAGES_PER_PART: usize = 4;
const CLASS: &str = "class";

pub struct Pages {
    root: PathBuf,
    log: FileLog,
    disk: Arc<SimulatedDisk>,
    lanes: Vec<LaneWriter>,
    /// What the log has of objects that were not read yet.
    live: HashMap<usize, Vec<At>>,
    objects: HashMap<usize, State>,
    last: [Lsn; OBJECTS],
}

/// Returns an id; ids are evenly spread over the lanes.
fn id(object: usize) -> [u8; 32] {
    let mut id = [7; 32];
    id[..2].copy_from_slice(&((object * (65_536 / OBJECTS)) as u16).to_be_bytes());
    id
}

fn object_of(id: &[u8; 32]) -> usize {
    (0..OBJECTS).find(|object| super::pages::id(*object) == *id).expect("an id of this world")
}

impl Subject for Pages {
    fn open(root: &Path, disk: Arc<SimulatedDisk>, world: World) -> Result<Self, String> {
        let options = LogOptions {
            lanes: LANES,
            segment_bytes: 64 << 10,
            capacity: 1 << 20,
            in_flight: 512 << 10,
            manual: true,
            ..LogOptions::new(world.env)
        };
        let log = FileLog::open(&root.join("log"), options, disk.clone()).map_err(|error| error.to_string())?;
        let (mut live, mut whole) = (HashMap::new(), Whole::default());
        let replayed = log.replay(&mut |entry| {
            let parts = whole.next(&entry).expect("parts follow each other");
            let Record::Turn(turn) = &entry.record else { return Ok(()) };
            if let Some(parts) = parts {
                let places = parts.iter().map(|part| part.at).chain([entry.at]).collect();
                live.insert(object_of(&turn.head.id), places);
            }
            Ok(())
        });
        replayed.map_err(|error| error.to_string())?;
        let open = |lane| log.open(Lane::new(lane), [1; 16]).map_err(|error| error.to_string());
        let lanes = (0..LANES).map(open).collect::<Result<_, _>>()?;
        fs::create_dir_all(root.join("objects")).map_err(|error| error.to_string())?;
        Ok(Self { root: root.into(), log, disk, lanes, live, objects: HashMap::new(), last: [Lsn(0); OBJECTS] })
    }

    fn lane(object: usize) -> usize {
        Lane::of(&id(object), LANES).index()
    }

    fn turn(&mut self, object: usize, writes: &[Write], end: End) -> Result<Turned, Failed> {
        let before = self.state(object)?;
        let mut state = before.clone();
        writes.iter().for_each(|write| state.write(write));
        let nothing = Turned { wrote: false, until: Until::Durable(self.last[object]) };
        if end == End::Fail || state == before {
            return Ok(nothing);
        }
        let records = records(object, &state);
        let bytes = records.iter().map(|record| record.len() as u64).sum();
        if self.log.try_reserve(bytes).is_err() {
            while self.flush() {}
            self.checkpoint()?;
        }
        let Ok(mut reservation) = self.log.try_reserve(bytes) else { return Ok(nothing) };
        for record in records {
            self.last[object] = self.lanes[Self::lane(object)].submit(record, &mut reservation, |_| {});
        }
        self.objects.insert(object, state);
        Ok(Turned { wrote: true, until: Until::Durable(self.last[object]) })
    }

    fn read(&mut self, object: usize) -> Result<(State, Until), Failed> {
        Ok((self.state(object)?, Until::Durable(self.last[object])))
    }

    fn durable(&self, object: usize) -> Lsn {
        self.lanes[Self::lane(object)].durable().upto()
    }

    fn flush(&mut self) -> bool {
        self.log.step()
    }

    fn maintain(&mut self, object: usize) -> Result<(), Failed> {
        if self.durable(object) >= self.last[object] || seeded_bugs::is_planted(SeededBug::ResetNotDurable) {
            self.write_file(object).map_err(|error| Failed(error.to_string()))?;
        }
        Ok(())
    }

    fn leave(&mut self, object: usize) {
        if self.maintain(object).is_ok() {
            // Its file has it now.
            self.objects.remove(&object);
            self.live.remove(&object);
        }
    }

    fn checkpoint(&mut self) -> Result<(), Failed> {
        let upto: Vec<Lsn> = self.lanes.iter().map(|lane| lane.durable().upto()).collect();
        if !seeded_bugs::is_planted(SeededBug::TrimTooFar) {
            let write = || -> io::Result<()> {
                (0..OBJECTS).try_for_each(|object| self.write_file(object))?;
                self.disk.sync_file_system(Failpoint::CheckpointSync, &self.root)
            };
            write().map_err(|error| Failed(error.to_string()))?;
        }
        self.log.trim(&upto).map_err(|error| Failed(error.to_string()))?;
        // The files have it now, and the log does not need it.
        self.live.clear();
        Ok(())
    }

    fn catalog(&mut self) -> Result<(), Failed> {
        Ok(())
    }

    fn listed(&mut self) -> Option<Vec<usize>> {
        None
    }
}

impl Pages {
    fn file(&self, object: usize) -> PathBuf {
        self.root.join("objects").join(object.to_string())
    }

    fn state(&mut self, object: usize) -> Result<State, Failed> {
        if let Some(state) = self.objects.get(&object) {
            return Ok(state.clone());
        }
        let image = match self.live.get(&object) {
            None => fs::read(self.file(object)).unwrap_or_default(),
            Some(parts) => self.fetch(parts).map_err(|error| Failed(error.to_string()))?,
        };
        let state = decode(&image).ok_or_else(|| Failed(format!("object {object} cannot be read")))?;
        self.objects.insert(object, state.clone());
        Ok(state)
    }

    fn fetch(&self, parts: &[At]) -> Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>> {
        let (mut image, mut page) = (Vec::new(), [0; PAGE]);
        for part in parts {
            let bytes = self.log.fetch(*part)?;
            let Record::Turn(mut turn) = Record::parse(&bytes)? else { return Err("not a turn".into()) };
            while let Some(number) = turn.pages.next(&mut page) {
                image.resize(number? as usize * PAGE, 0);
                let start = image.len() - PAGE;
                image[start..].copy_from_slice(&page);
            }
        }
        Ok(image)
    }

    /// Complete, if it was changed or the log still has it; not flushed.
    fn write_file(&self, object: usize) -> io::Result<()> {
        let image = match (self.objects.get(&object), self.live.get(&object)) {
            (Some(state), _) => encode(state),
            (None, Some(parts)) => self.fetch(parts).map_err(io::Error::other)?,
            (None, None) => return Ok(()),
        };
        self.disk.at(Failpoint::WalReset)?;
        let file = fs::File::options().create(true).truncate(false).write(true).open(self.file(object))?;
        file.write_all_at(&image, 0)?;
        file.set_len(image.len() as u64)
    }
}

/// Returns the records of a turn that stores this state, in small parts.
fn records(object: usize, state: &State) -> Vec<Encoded> {
    let image = encode(state);
    let parts: Vec<_> = image.chunks(PAGES_PER_PART * PAGE).collect();
    let record = |(part, pages): (usize, &&[u8])| {
        let mut encoder = TurnEncoder::new(&TurnHead {
            class: CLASS,
            id: id(object),
            incarnation: 1,
            previous: Lsn(0),
            part: part as u32,
            last: part + 1 == parts.len(),
            created: true,
            adopted: false,
            deleted: false,
            page_count: (image.len() / PAGE) as u32,
            bytes: image.len() as u64,
            name: None,
            alarms: None,
        });
        let numbers = (part * PAGES_PER_PART + 1) as u32..;
        numbers.zip(pages.chunks(PAGE)).for_each(|(number, page)| encoder.page(number, page));
        encoder.finish()
    };
    parts.iter().enumerate().map(record).collect()
}

/// Returns whole pages: the length, then the state as JSON.
fn encode(state: &State) -> Vec<u8> {
    let text = serde_json::to_vec(&(&state.keys, &state.rows, state.alarm)).expect("a state is JSON");
    let mut image = (text.len() as u64).to_le_bytes().to_vec();
    image.extend(text);
    image.resize(image.len().next_multiple_of(PAGE), 0);
    image
}

fn decode(image: &[u8]) -> Option<State> {
    let Some((length, text)) = image.split_first_chunk() else { return Some(State::default()) };
    let text = text.get(..u64::from_le_bytes(*length) as usize)?;
    let (keys, rows, alarm) = if text.is_empty() { Default::default() } else { serde_json::from_slice(text).ok()? };
    Some(State { keys, rows, alarm })
}

#[test]
fn the_log_by_itself_keeps_its_promises() {
    super::simulate::<Pages>(2_000);
}

#[test]
fn seeded_bugs_around_the_log_are_noticed() {
    use SeededBug::{CutNotLast, IncompleteParts, ResetNotDurable, TrimTooFar};
    super::notices::<Pages>(&[TrimTooFar, ResetNotDurable, IncompleteParts, CutNotLast], 2_000);
}
