//! A catalog against a model: random records, flushes, writes, trims, crashes and damage. In every case the list is
//! exactly what the durable records say.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;
use crate::storage::commit_log::AlarmChange;

#[derive(Debug, Clone)]
enum Op {
    /// A turn of one of the objects: reached by its name or by its id, with one of three sizes.
    Turn(usize, bool, usize),
    Delete(usize),
    RemoveClass,
    /// A turn that changes nothing in the list.
    Other(u16),
    /// Some of the lane's records become durable.
    Flush(u16, usize),
    Write,
    /// Everything durable is written, and the log is trimmed up to there.
    Checkpoint,
    List(Option<String>, usize),
    /// The process ends, by a crash or not; lanes are damaged; the next process starts.
    Restart(bool, Vec<(usize, Damage)>),
}

#[derive(Debug, Clone, Copy)]
enum Damage {
    Removed,
    Garbage,
    /// Truncated to so many percent of its pages.
    Cut(usize),
    /// Replaced by a copy from an earlier restart.
    Older,
}

fn op() -> impl Strategy<Value = Op> {
    let object = || 0..OBJECTS.len();
    let damage = prop_oneof![
        Just(Damage::Removed),
        Just(Damage::Garbage),
        (0..100usize).prop_map(Damage::Cut),
        Just(Damage::Older),
        Just(Damage::Older),
    ];
    let damages = prop::collection::vec((0..usize::from(LANES), damage), 0..3);
    let prefix = prop::option::of("[ab]{0,2}|\u{10ffff}");
    prop_oneof![
        8 => (object(), any::<bool>(), 0..SIZES).prop_map(|(object, name, size)| Op::Turn(object, name, size)),
        2 => object().prop_map(Op::Delete),
        1 => Just(Op::RemoveClass),
        1 => (0..LANES).prop_map(Op::Other),
        6 => (0..LANES, 1..5usize).prop_map(|(lane, records)| Op::Flush(lane, records)),
        2 => Just(Op::Write),
        1 => Just(Op::Checkpoint),
        2 => (prefix, 1..4usize).prop_map(|(prefix, limit)| Op::List(prefix, limit)),
        2 => (any::<bool>(), damages).prop_map(|(crash, damages)| Op::Restart(crash, damages)),
    ]
}

const SIZES: usize = 3;

/// Every object that can exist.
static OBJECTS: LazyLock<Vec<ObjectAddress>> =
    LazyLock::new(|| ["a", "b", "ab", "ba", "aab", "\u{10ffff}", "c", "d", "e"].map(address).into());

/// Returns an object's database, and the bytes that are listed for it.
struct Stored {
    file: Vec<u8>,
    bytes: u64,
}

/// Returns the alarm of an object that has one of the sizes.
fn alarm(size: usize) -> Option<Alarm> {
    (size > 0).then(|| Alarm { due_ms: 10, attempt: 2, next_ms: 10 * size as u64 })
}

/// Returns the databases of an object with or without a known name, with one of the sizes.
fn stored(object: usize, named: bool, size: usize) -> &'static Stored {
    static ALL: LazyLock<Vec<Stored>> = LazyLock::new(|| {
        let all = OBJECTS.iter().flat_map(|object| [None, object.name.clone()].map(|name| (object, name)));
        let addresses = all.map(|(object, name)| ObjectAddress { name, ..object.clone() });
        let sizes = |address: ObjectAddress| {
            (0..SIZES).map(move |size| with_alarm(&address, 1, size as u32 * 9_000, alarm(size)))
        };
        addresses.flat_map(sizes).map(|(file, bytes)| Stored { file, bytes }).collect()
    });
    &ALL[(object * 2 + usize::from(named)) * SIZES + size]
}

/// What exists: by object, whether its name is known and its size.
type Model = BTreeMap<usize, (bool, usize)>;

/// The content of a record, as the model has it.
#[derive(Debug, Clone, Copy)]
enum Recorded {
    Turn(usize, bool, usize),
    Delete(usize),
    RemoveClass,
    Nothing,
}

struct Lists {
    catalog: Option<Catalog>,
    dir: DataDir,
    _root: TempDir,
    lanes: Lanes,
    records: Vec<Vec<Recorded>>,
    trimmed: Vec<Lsn>,
    /// Each lane's file as it was at the last restart, and its applied LSN.
    older: Vec<Option<(Vec<u8>, Lsn)>>,
}

fn lane(object: usize) -> usize {
    Lane::of(OBJECTS[object].id.as_bytes(), LANES).index()
}

fn change(recorded: Recorded) -> Option<Change> {
    Some(match recorded {
        Recorded::Turn(n, named, size) => {
            let name = OBJECTS[n].name.clone().filter(|_| named);
            let (class, bytes) = (OBJECTS[n].key.clone(), stored(n, true, size).bytes);
            Change::Object { class, id: OBJECTS[n].id, name, bytes, alarm: Some(AlarmChange::to(alarm(size))) }
        }
        Recorded::Delete(n) => gone(&OBJECTS[n]),
        Recorded::RemoveClass => Change::ClassGone { class: key() },
        Recorded::Nothing => return None,
    })
}

impl Lists {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let each = usize::from(LANES);
        let mut node = Self {
            catalog: None,
            dir: DataDir::open(root.path()).unwrap(),
            _root: root,
            lanes: Lanes::new(),
            records: vec![Vec::new(); each],
            trimmed: vec![Lsn(0); each],
            older: vec![None; each],
        };
        node.begin(&[]);
        node
    }

    fn catalog(&self) -> &Catalog {
        self.catalog.as_ref().unwrap()
    }

    fn append(&mut self, n: usize, recorded: Recorded) {
        self.records[n].push(recorded);
        let lane = Lane::new(n as u16);
        let lsn = self.lanes.append(lane);
        if let Some(change) = change(recorded) {
            self.catalog().note(lane, lsn, change);
        }
    }

    fn run(&mut self, op: &Op) {
        match op {
            Op::Turn(object, named, size) => self.append(lane(*object), Recorded::Turn(*object, *named, *size)),
            Op::Delete(object) => self.append(lane(*object), Recorded::Delete(*object)),
            Op::RemoveClass => (0..LANES.into()).for_each(|n| self.append(n, Recorded::RemoveClass)),
            Op::Other(n) => self.append(usize::from(*n), Recorded::Nothing),
            Op::Flush(n, records) => self.lanes.durable[usize::from(*n)].send_modify(|durable| {
                let Durable::Upto(upto) = durable else { unreachable!("no lane is lost here") };
                upto.0 = (upto.0 + *records as u64).min(self.lanes.appended[usize::from(*n)]);
            }),
            Op::Write => {
                self.catalog().write(&vec![Lsn(0); LANES.into()]).unwrap();
                self.check_alarms();
            }
            Op::Checkpoint => {
                let upto = self.lanes.upto();
                self.catalog().write(&upto).unwrap();
                self.trimmed = upto;
            }
            Op::List(prefix, limit) => self.check(prefix.as_deref(), *limit),
            Op::Restart(crash, damages) => self.restart(*crash, damages),
        }
    }

    /// What the durable records say.
    fn model(&self) -> Model {
        let mut model = Model::new();
        for (n, (records, durable)) in self.records.iter().zip(self.lanes.upto()).enumerate() {
            for recorded in &records[..durable.0 as usize] {
                match *recorded {
                    Recorded::Turn(object, named, size) => {
                        let known = model.get(&object).is_some_and(|(known, _)| *known);
                        model.insert(object, (named || known, size));
                    }
                    Recorded::Delete(object) => _ = model.remove(&object),
                    Recorded::RemoveClass => model.retain(|object, _| lane(*object) != n),
                    Recorded::Nothing => {}
                }
            }
        }
        model
    }

    /// Checks that the files list each alarm by its time, read in one page and in small pages.
    fn check_alarms(&self) {
        let place = |(n, (_, size)): (usize, (bool, usize))| Some((alarm(size)?.next_ms, OBJECTS[n].id));
        let mut expected: Vec<_> = self.model().into_iter().filter_map(place).collect();
        expected.sort();
        for limit in [2, 100] {
            let (mut from, mut listed) = ((0, ObjectId::from_bytes([0; 32])), Vec::new());
            let until = (u64::MAX >> 1, from.1);
            while from < until {
                let (found, end) = self.catalog().alarms(from, until, limit, None, &[]).unwrap();
                listed.extend(found.into_iter().map(|(_, place)| place));
                from = end;
            }
            listed.sort();
            assert_eq!(listed, expected);
        }
    }

    fn check(&self, prefix: Option<&str>, limit: usize) {
        let all = self.model().into_iter().map(|(n, (named, size))| CatalogEntry {
            id: OBJECTS[n].id,
            name: OBJECTS[n].name.clone().filter(|_| named),
            bytes: stored(n, true, size).bytes,
            alarm: alarm(size),
        });
        let prefix_fits = |entry: &CatalogEntry| match (&entry.name, prefix.unwrap_or("")) {
            (_, "") => true,
            (Some(name), prefix) => name.as_str().starts_with(prefix),
            (None, _) => false,
        };
        let mut expected: Vec<_> = all.filter(prefix_fits).collect();
        expected.sort_by_key(|entry| (entry.name.is_none(), entry.name.clone(), entry.id));
        assert_eq!(listed(self.catalog(), prefix, limit), expected);
        if prefix.is_none() {
            assert_eq!(self.catalog().has_objects(&key()).unwrap(), !expected.is_empty());
        }
    }

    fn restart(&mut self, crash: bool, damages: &[(usize, Damage)]) {
        let catalog = self.catalog.take().unwrap();
        if crash {
            drop(catalog)
        } else {
            catalog.close().unwrap()
        }
        // What was not durable does not exist.
        for (n, durable) in self.lanes.upto().into_iter().enumerate() {
            self.records[n].truncate(durable.0 as usize);
            self.lanes.appended[n] = durable.0;
        }
        let mut lost = Vec::new();
        for (n, damage) in damages.iter().copied() {
            let file = lane_file(&self.dir, n);
            lost.retain(|lane| *lane != n);
            match damage {
                Damage::Older => match &self.older[n] {
                    Some((older, applied)) if *applied >= self.trimmed[n] => fs::write(file, older).unwrap(),
                    Some((older, _)) => {
                        fs::write(file, older).unwrap();
                        lost.push(n);
                    }
                    None => {
                        let _ = fs::remove_file(file);
                        lost.push(n);
                    }
                },
                Damage::Removed => {
                    let _ = fs::remove_file(file);
                    lost.push(n);
                }
                Damage::Garbage => {
                    fs::write(file, [7; 5_000]).unwrap();
                    lost.push(n);
                }
                Damage::Cut(percent) => {
                    let bytes = fs::read(&file).unwrap_or_default();
                    fs::write(file, &bytes[..bytes.len() / 4096 * percent / 100 * 4096]).unwrap();
                    lost.push(n);
                }
            }
        }
        lost.sort_unstable();
        self.begin(&lost);
        self.check(None, 2);
    }

    fn begin(&mut self, expected: &[usize]) {
        let first = self.older.iter().all(Option::is_none);
        let files: Vec<_> = (0..LANES.into()).map(|n| fs::read(lane_file(&self.dir, n)).unwrap_or_default()).collect();
        let (catalog, applied, lost) = Catalog::open(&self.dir, &self.trimmed).unwrap();
        if !first {
            assert_eq!(lost, expected.iter().map(|n| Lane::new(*n as u16)).collect::<Vec<_>>());
        }
        for n in 0..usize::from(LANES) {
            assert!(self.trimmed[n] <= applied[n] && applied[n] <= self.lanes.upto()[n], "lane {n}");
            let whole = !lost.contains(&Lane::new(n as u16));
            self.older[n] = whole.then(|| (files[n].clone(), applied[n])).or(self.older[n].take());
        }
        if !lost.is_empty() {
            self.repair();
            catalog.rebuild(&lost, &self.dir.objects()).unwrap();
        }
        for (n, records) in self.records.iter().enumerate() {
            for (recorded, lsn) in records.iter().zip(1..).skip(self.trimmed[n].0 as usize) {
                change(*recorded).into_iter().for_each(|change| catalog.replay(Lane::new(n as u16), Lsn(lsn), change));
            }
        }
        catalog.follow(self.lanes.watches()).unwrap();
        self.catalog = Some(catalog);
    }

    /// Leaves the databases as the durable records describe them.
    fn repair(&self) {
        fs::remove_dir_all(self.dir.objects()).unwrap();
        fs::create_dir(self.dir.objects()).unwrap();
        for (object, (named, size)) in self.model() {
            put(&place(&self.dir, &OBJECTS[object], 1), &stored(object, named, size).file);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_reader_is_told_what_the_durable_records_say(ops in prop::collection::vec(op(), 1..60)) {
        let mut node = Lists::new();
        for op in &ops {
            node.run(op);
            node.check(None, 50);
        }
    }
}
