//! The records of classes.
//!
//! `classes/<name>.json` is a class with its versions, and the file's name is the class's name; their components are
//! [`super::components`]'. Every write is durable before it returns, the component before the record that names it. A
//! record says its format: this program writes 2 and reads 1 (one version, the current one) and 2. Invariants: a
//! component that a durable record names exists, and no two records have the same key.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::components::{self, Components, HeldComponent, paths};
use super::{DataDir, StorageError};
use crate::base::disk::ReplaceError;
use crate::base::{Calls, ClassKey, ClassName, Create, Digest, Disk, Failpoint, LateSettings, Methods};

/// The format that this program writes.
const FORMAT: u32 = 2;
/// Versions of a class that are kept, the current one included: enough to see what was deployed in weeks of work.
pub const VERSIONS_MAX: usize = 100;
/// Bytes of all components of a class's versions, beyond which the oldest go; the current one stays whatever its size.
/// What is compiled of them takes two to four times as much.
pub const VERSIONS_BYTES: u64 = 256 << 20;
/// Bytes of the message of a version.
pub const MESSAGE_MAX: usize = 1024;

/// One class as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassRecord {
    format: u32,
    /// Its name.
    pub name: ClassName,
    /// Its key, made once.
    pub key: ClassKey,
    /// When the class was first deployed: milliseconds since the Unix epoch.
    pub created_ms: u64,
    /// What the component of the current version exports.
    pub exports: Vec<String>,
    /// What it imports.
    pub imports: Vec<String>,
    /// The versions that are kept, oldest first. The last one is the current one.
    versions: Vec<ClassVersion>,
}

/// One version of a class.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassVersion {
    /// Counts deploys that changed the component or a setting, from 1.
    pub number: u64,
    /// Its component.
    pub digest: Digest,
    /// Bytes of the component.
    pub size: u64,
    /// When it was deployed: milliseconds since the Unix epoch.
    pub deployed_ms: u64,
    /// The origin of requests that may create objects.
    pub create: Create,
    /// What the class says about late work. Left out if nothing was set, as in records of before there was any.
    #[serde(default, skip_serializing_if = "LateSettings::is_default")]
    pub late: LateSettings,
    /// The classes that it may call; likewise.
    #[serde(default, skip_serializing_if = "Calls::is_empty")]
    pub calls: Calls,
    /// Which of its methods are public; likewise.
    #[serde(default, skip_serializing_if = "Methods::is_default")]
    pub methods: Methods,
    /// The message given at the deploy, at most [`MESSAGE_MAX`] bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl ClassRecord {
    /// A class with its first version.
    pub fn new(name: ClassName, key: ClassKey, first: ClassVersion) -> Self {
        let (created_ms, exports, imports) = (first.deployed_ms, Vec::new(), Vec::new());
        Self { format: FORMAT, name, key, created_ms, exports, imports, versions: vec![first] }
    }

    /// The current version.
    pub fn current(&self) -> &ClassVersion {
        self.versions.last().expect("a record is not read without a version")
    }

    /// The versions that are kept, oldest first.
    pub fn versions(&self) -> &[ClassVersion] {
        &self.versions
    }

    /// Makes another version the current one, and forgets the oldest ones beyond the limits.
    pub fn add(&mut self, version: ClassVersion) {
        self.versions.push(version);
        let (mut bytes, mut seen) = (0, HashSet::new());
        let fits = |version: &&ClassVersion| {
            bytes += if seen.insert(version.digest) { version.size } else { 0 };
            bytes <= VERSIONS_BYTES
        };
        let kept = self.versions.iter().rev().take(VERSIONS_MAX).take_while(fits).count().max(1);
        self.versions.drain(..self.versions.len() - kept);
    }
}

/// A record of format 1.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordOfOne {
    name: ClassName,
    key: ClassKey,
    version: u64,
    digest: Digest,
    size: u64,
    exports: Vec<String>,
    imports: Vec<String>,
    created_ms: u64,
    deployed_ms: u64,
    /// Records of before there were settings have none.
    #[serde(default)]
    create: Create,
}

impl From<RecordOfOne> for ClassRecord {
    fn from(one: RecordOfOne) -> Self {
        let RecordOfOne { name, key, version, digest, size, exports, imports, created_ms, deployed_ms, create } = one;
        let late = LateSettings::default();
        let (calls, methods, message) = Default::default();
        let first = ClassVersion { number: version, digest, size, deployed_ms, create, late, calls, methods, message };
        let versions = vec![first];
        Self { format: FORMAT, name, key, created_ms, exports, imports, versions }
    }
}

/// All class records of a data directory.
#[derive(Debug)]
pub struct ClassRecords {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    components: Arc<Components>,
    /// What the durable records name.
    named: Mutex<HashMap<ClassName, HashSet<Digest>>>,
}

impl ClassRecords {
    /// Opens them, and removes components and compiled code that no record names.
    pub fn open(dir: &DataDir) -> Result<Self, StorageError> {
        let classes = dir.classes();
        let below = classes.join("components");
        let disk = dir.disk().clone();
        let components = Components::open(disk.clone(), below.clone(), dir.cache())?;
        // A process that was killed may have left a record whose name is not durable yet. Turns will be, so it must be.
        for dir in [&classes, &below] {
            disk.sync_dir(Failpoint::ClassWrite, dir).map_err(StorageError::io("cannot flush", dir))?;
        }
        let records = Self { disk, components, dir: classes, named: Mutex::default() };
        records.load_all()?.iter().for_each(|record| records.name(record));
        records.components.sweep();
        Ok(records)
    }

    /// Every class, in the order of their names.
    pub fn load_all(&self) -> Result<Vec<ClassRecord>, StorageError> {
        let (mut records, mut keys) = (Vec::new(), HashMap::new());
        for path in paths(&self.dir)? {
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let record = read(&path)?;
            if let Some(other) = keys.insert(record.key.clone(), record.name.clone()) {
                let why = format!("it has the key of the class `{other}`, whose objects it would have; remove one");
                return Err(StorageError::ClassDamaged { path, why });
            }
            records.push(record);
        }
        records.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(records)
    }

    /// Writes a record, replacing the one of the same name. Its components have been put before, and are held.
    pub fn save(&self, record: &ClassRecord) -> Result<(), StorageError> {
        let json = serde_json::to_vec_pretty(record).expect("a record is plain data");
        let path = self.record_path(&record.name);
        match self.disk.replace(Failpoint::ClassWrite, &path, &json) {
            Ok(()) => self.name(record),
            // The next start may find this record, so what it names stays until the next one is written.
            Err(ReplaceError::Either(error)) => {
                self.name_too(record);
                return Err(StorageError::io("cannot write", &path)(error));
            }
            Err(ReplaceError::Unchanged(error)) => return Err(StorageError::io("cannot write", &path)(error)),
        }
        Ok(())
    }

    /// Holds what a durable record names, and lets go of what it named before.
    fn name(&self, record: &ClassRecord) {
        let digests: HashSet<Digest> = record.versions.iter().map(|version| version.digest).collect();
        digests.iter().for_each(|digest| self.components.hold_until_let_go(*digest));
        let before = self.named.lock().insert(record.name.clone(), digests);
        before.into_iter().flatten().for_each(|digest| self.components.let_go(&digest));
    }

    /// Holds what a record names that may be durable, beside what the present one names.
    fn name_too(&self, record: &ClassRecord) {
        let mut named = self.named.lock();
        let of_class = named.entry(record.name.clone()).or_default();
        for version in &record.versions {
            if of_class.insert(version.digest) {
                self.components.hold_until_let_go(version.digest);
            }
        }
    }

    /// Gives a class another name, which no class has: in one step, because the name of the file is what counts. The
    /// record's text has the old name until it is written again.
    pub fn rename(&self, from: &ClassName, to: &ClassName) -> Result<(), StorageError> {
        let path = self.record_path(from);
        let renamed = self.disk.rename_durably(Failpoint::ClassRename, &path, &self.record_path(to));
        renamed.map_err(StorageError::io("cannot rename", &path))?;
        let mut named = self.named.lock();
        if let Some(digests) = named.remove(from) {
            named.insert(to.clone(), digests);
        }
        Ok(())
    }

    /// Removes a record. Returns whether there was one.
    pub fn remove(&self, name: &ClassName) -> Result<bool, StorageError> {
        let path = self.record_path(name);
        let removed = self.disk.remove_durably(Failpoint::ClassRemove, &path);
        let removed = removed.map_err(StorageError::io("cannot remove", &path))?;
        let named = self.named.lock().remove(name);
        named.into_iter().flatten().for_each(|digest| self.components.let_go(&digest));
        Ok(removed)
    }

    /// Keeps a component and its compiled code until the answer is dropped.
    pub fn hold(&self, digest: Digest) -> HeldComponent {
        self.components.hold(digest)
    }

    /// Stores a component under its digest. It is removed with its last holder.
    pub fn put_component(&self, bytes: &[u8]) -> Result<Digest, StorageError> {
        self.components.put(bytes)
    }

    /// The bytes of a component, checked against their digest.
    pub fn component(&self, digest: &Digest) -> Result<Vec<u8>, StorageError> {
        components::read(&self.dir.join("components"), digest)
    }

    fn record_path(&self, name: &ClassName) -> PathBuf {
        self.dir.join(format!("{name}.json"))
    }
}

/// Reads the record at `path` and the components that it names, and changes nothing.
pub(super) fn check(classes: &Path, path: &Path) -> Result<ClassRecord, StorageError> {
    let record = read(path)?;
    let digests: HashSet<&Digest> = record.versions.iter().map(|version| &version.digest).collect();
    digests.into_iter().try_for_each(|digest| components::read(&classes.join("components"), digest).map(drop))?;
    Ok(record)
}

/// What every format has; before there was one it was 1.
#[derive(Deserialize)]
struct AnyFormat {
    #[serde(default = "first_format")]
    format: u32,
}

fn first_format() -> u32 {
    1
}

fn read(path: &Path) -> Result<ClassRecord, StorageError> {
    let bytes = fs::read(path).map_err(StorageError::io("cannot read", path))?;
    let damaged = |why: String| StorageError::ClassDamaged { path: path.into(), why };
    let unreadable = |error: serde_json::Error| damaged(error.to_string());
    let AnyFormat { format } = serde_json::from_slice(&bytes).map_err(unreadable)?;
    let mut record: ClassRecord = match format {
        1 => serde_json::from_slice::<RecordOfOne>(&bytes).map_err(unreadable)?.into(),
        FORMAT => serde_json::from_slice(&bytes).map_err(unreadable)?,
        _ => return Err(StorageError::ClassFormat { path: path.into(), format }),
    };
    if record.versions.is_empty() || !record.versions.is_sorted_by(|a, b| a.number < b.number) {
        return Err(damaged("its versions are not in order".into()));
    }
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    record.name = ClassName::parse(&name).map_err(|error| damaged(error.to_string()))?;
    Ok(record)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(number: u64, digest: Digest) -> ClassVersion {
        let (create, late) = (Create::Internal, LateSettings::default());
        let (calls, methods, message) = Default::default();
        ClassVersion { number, digest, size: 4, deployed_ms: 6, create, late, calls, methods, message }
    }

    fn record(name: &str, digest: Digest) -> ClassRecord {
        let (name, key) = (ClassName::parse(name).unwrap(), ClassKey::new(name));
        let mut record = ClassRecord::new(name, key, version(1, digest));
        (record.exports, record.imports) = (vec!["out".into()], vec!["in".into()]);
        record
    }

    /// A class record as data format 2 has it.
    const OF_FORMAT_1: &str = r#"{"name":"a","key":"a-key","version":7,
        "digest":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":4,"exports":["out"],
        "imports":["in"],"created_ms":5,"deployed_ms":6"#;

    fn opened() -> (tempfile::TempDir, DataDir, ClassRecords) {
        let root = tempfile::tempdir().unwrap();
        let dir = DataDir::open(root.path()).unwrap();
        let records = ClassRecords::open(&dir).unwrap();
        (root, dir, records)
    }

    /// Files as if a component had been compiled by two engines.
    fn compile(dir: &DataDir, digest: Digest) -> Vec<PathBuf> {
        let file = |engine: &str, extension: &str| {
            let dir = dir.cache().join(engine);
            fs::create_dir_all(&dir).unwrap();
            let file = dir.join(format!("{digest}.{extension}"));
            fs::write(&file, b"code").unwrap();
            file
        };
        vec![file("one", "cwasm"), file("one", "mac"), file("two", "cwasm"), file("two", "mac")]
    }

    #[test]
    fn records_and_components_survive_and_strays_go() {
        let (_root, dir, records) = opened();
        let (kept, stray) = (records.put_component(b"kept").unwrap(), records.put_component(b"stray").unwrap());
        let (kept_code, mut stray_code) = (compile(&dir, kept), compile(&dir, stray));
        stray_code.push(dir.cache().join("one").join("left over.tmp"));
        fs::write(stray_code.last().unwrap(), b"").unwrap();
        for name in ["b", "a"] {
            records.save(&record(name, kept)).unwrap();
        }
        drop(records);
        let records = ClassRecords::open(&dir).unwrap();
        let all = records.load_all().unwrap();
        assert_eq!(all, [record("a", kept), record("b", kept)]);
        assert_eq!(records.component(&kept).unwrap(), b"kept");
        assert!(records.component(&stray).is_err());
        assert!(kept_code.iter().all(|file| file.exists()) && !stray_code.iter().any(|file| file.exists()));
        assert!(records.remove(&all[0].name).unwrap() && !records.remove(&all[0].name).unwrap());
        assert_eq!(records.load_all().unwrap().len(), 1);
        assert!(records.component(&kept).is_ok(), "the other class names it");
        records.remove(&all[1].name).unwrap();
        assert!(records.component(&kept).is_err() && !kept_code.iter().any(|file| file.exists()));
    }

    #[test]
    fn what_a_deployment_is_about_stays_until_it_ends() {
        let (_root, dir, records) = opened();
        let digest = Digest::of(b"new");
        let code = compile(&dir, digest);
        let held = records.hold(digest);
        records.put_component(b"new").unwrap();
        // Another class comes and goes with the same component.
        records.save(&record("b", digest)).unwrap();
        records.remove(&ClassName::parse("b").unwrap()).unwrap();
        assert!(records.component(&digest).is_ok() && code[0].exists());
        drop(held);
        assert!(records.component(&digest).is_err() && !code.iter().any(|file| file.exists()));
    }

    #[test]
    fn a_renamed_class_is_the_same_one() {
        let (_root, dir, records) = opened();
        let [before, after] = ["before", "after"].map(|name| ClassName::parse(name).unwrap());
        let put = |n: u64| records.put_component(&n.to_le_bytes()).unwrap();
        let mut class = record("before", put(1));
        class.add(version(2, put(2)));
        records.save(&class).unwrap();
        records.rename(&before, &after).unwrap();
        let renamed = ClassRecord { name: after.clone(), ..class.clone() };
        assert_eq!(records.load_all().unwrap(), std::slice::from_ref(&renamed), "its versions are kept");
        assert!(records.rename(&before, &after).is_err(), "there is no such record any more");
        // Another class takes the old name and goes; the components of the renamed one stay.
        records.save(&ClassRecord { key: ClassKey::new("other"), ..record("before", put(1)) }).unwrap();
        assert!(records.remove(&before).unwrap());
        assert!(class.versions().iter().all(|version| records.component(&version.digest).is_ok()));
        drop(records);
        let records = ClassRecords::open(&dir).unwrap();
        assert!(class.versions().iter().all(|version| records.component(&version.digest).is_ok()));
        // Written again, it has the name inside as well.
        records.save(&renamed).unwrap();
        assert_eq!(records.load_all().unwrap(), [renamed]);
        assert!(records.remove(&after).unwrap());
        assert!(!class.versions().iter().any(|version| records.component(&version.digest).is_ok()));
    }

    #[test]
    fn two_records_with_one_key_are_refused() {
        let (_root, dir, records) = opened();
        records.save(&record("a", Digest::of(b""))).unwrap();
        fs::copy(dir.classes().join("a.json"), dir.classes().join("b.json")).unwrap();
        let error = records.load_all().unwrap_err().to_string();
        assert!(error.contains("has the key of the class"), "{error}");
    }

    #[test]
    fn versions_beyond_the_limits_go_with_their_components() {
        let (_root, _dir, records) = opened();
        let put = |n: u64| records.put_component(&n.to_le_bytes()).unwrap();
        let mut class = record("a", put(1));
        for number in 2..=VERSIONS_MAX as u64 + 5 {
            class.add(version(number, put(number)));
            records.save(&class).unwrap();
        }
        let numbers: Vec<u64> = class.versions().iter().map(|version| version.number).collect();
        assert_eq!(numbers, (6..=VERSIONS_MAX as u64 + 5).collect::<Vec<_>>());
        let is_there = |n: u64| records.component(&Digest::of(&n.to_le_bytes())).is_ok();
        assert!((1..=5).all(|n| !is_there(n)) && (6..=105).all(is_there));
        assert_eq!(class.created_ms, 6);

        // By bytes: the same component twice counts once, and the current one stays whatever its size.
        let mut class = record("b", put(1));
        class.add(ClassVersion { size: VERSIONS_BYTES - 8, ..version(2, put(2)) });
        class.add(ClassVersion { create: Create::Any, size: VERSIONS_BYTES - 8, ..version(3, put(2)) });
        class.add(version(4, put(4)));
        assert_eq!(class.versions().len(), 4);
        class.add(ClassVersion { size: 8, ..version(5, put(5)) });
        assert_eq!(class.versions().len(), 2, "what is older than a version that goes has gone");
        class.add(ClassVersion { size: VERSIONS_BYTES + 1, ..version(6, put(6)) });
        assert_eq!(class.versions().iter().map(|version| version.number).collect::<Vec<_>>(), [6]);
    }

    #[test]
    fn a_record_of_format_1_is_read_and_written_as_2() {
        let (_root, dir, records) = opened();
        let path = dir.classes().join("a.json");
        let digest = Digest::of(b"");
        for (setting, create) in [("}", Create::Stored), (r#","create":"any"}"#, Create::Any)] {
            fs::write(&path, format!("{OF_FORMAT_1}{setting}")).unwrap();
            let read = records.load_all().unwrap().remove(0);
            assert_eq!(read.versions(), [ClassVersion { create, ..version(7, digest) }]);
            assert_eq!(
                (read.created_ms, &read.exports[..], &read.imports[..]),
                (5, &["out".into()][..], &["in".into()][..])
            );
            records.save(&read).unwrap();
            assert!(fs::read_to_string(&path).unwrap().contains("\"format\": 2"));
            assert_eq!(records.load_all().unwrap(), [read]);
        }
    }

    #[test]
    fn damage_and_later_formats_are_told_with_the_file() {
        let (_root, dir, records) = opened();
        let held = records.hold(Digest::of(b"bytes"));
        let digest = records.put_component(b"bytes").unwrap();
        fs::write(records.components.path(&digest), b"other").unwrap();
        assert!(matches!(records.component(&digest), Err(StorageError::ClassDamaged { .. })));
        drop(held);
        let path = dir.classes().join("x.json");
        let refused = |content: &str, expected: &str| {
            fs::write(&path, content).unwrap();
            let text = records.load_all().unwrap_err().to_string();
            assert!(text.contains(path.to_str().unwrap()) && text.contains(expected), "{text}");
        };
        refused("{", "damaged");
        refused(r#"{"format":3,"new":1}"#, "format 3, and this program knows 1 and 2");
        refused(&format!(r#"{OF_FORMAT_1},"new":1}}"#), "unknown field");
        let empty = serde_json::json!({ "format": 2, "name": "x", "key": "k", "created_ms": 1, "exports": [], "imports": [],
            "versions": [] });
        refused(&empty.to_string(), "not in order");
    }
}
