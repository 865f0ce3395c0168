//! The records of classes and their components.
//!
//! `classes/<name>.json` is a class, and the file's name is the class's name; `classes/components/<digest>.wasm` are the bytes its
//! versions were made of. Every write is durable before it returns, the component before the record that names it. Components that
//! no record names are removed at the next start.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::files::{make_dir_durably, remove_durably, remove_if_there, rename_durably, write_durably};
use super::{DataDir, StorageError};
use crate::base::points::{self, Point};
use crate::base::{ClassKey, ClassName, Create, Digest};

/// One class as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassRecord {
    /// Its name.
    pub name: ClassName,
    /// Its key, made once.
    pub key: ClassKey,
    /// Counts deploys that changed the component or a setting, from 1.
    pub version: u64,
    /// The component of this version.
    pub digest: Digest,
    /// Bytes of the component.
    pub size: u64,
    /// What the component exports.
    pub exports: Vec<String>,
    /// What the component imports.
    pub imports: Vec<String>,
    /// When the class was first deployed: milliseconds since the Unix epoch.
    pub created_ms: u64,
    /// When this version was deployed.
    pub deployed_ms: u64,
    /// Who may create objects. Records of before there were settings have none.
    #[serde(default)]
    pub create: Create,
}

/// All class records of a data directory.
#[derive(Debug)]
pub struct ClassRecords {
    dir: PathBuf,
    components: PathBuf,
    /// Held while a component is written: two classes may be given the same one at the same time.
    writing: Mutex<()>,
}

impl ClassRecords {
    /// Opens them, and removes components that no record names.
    pub fn open(dir: &DataDir) -> Result<Self, StorageError> {
        let (classes, writing) = (dir.classes(), Mutex::default());
        let records = Self { components: classes.join("components"), dir: classes, writing };
        make_dir_durably(&records.components)?;
        // A process that was killed may have left a record whose name is not durable yet. Turns will be, so it must be.
        for dir in [&records.dir, &records.components] {
            fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(StorageError::io("cannot flush", dir))?;
        }
        let named: HashSet<_> =
            records.load_all()?.iter().map(|record| records.component_path(&record.digest)).collect();
        for file in paths(&records.components)? {
            if !named.contains(&file) {
                remove_if_there(&file).map_err(StorageError::io("cannot remove", &file))?;
            }
        }
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

    /// Writes a record, replacing the one of the same name. Its component has been put before.
    pub fn save(&self, record: &ClassRecord) -> Result<(), StorageError> {
        let (json, path) =
            (serde_json::to_vec_pretty(record).expect("a record is plain data"), self.record_path(&record.name));
        points::hit(Point::ClassWrite).map_err(StorageError::io("cannot write", &path))?;
        write_durably(&path, &json)
    }

    /// Gives a class another name, which no class has: in one step, because the name of the file is what counts. The record's text
    /// has the old name until it is written again.
    pub fn rename(&self, from: &ClassName, to: &ClassName) -> Result<(), StorageError> {
        let path = self.record_path(from);
        points::hit(Point::ClassRename).map_err(StorageError::io("cannot rename", &path))?;
        rename_durably(&path, &self.record_path(to))
    }

    /// Removes a record. Answers whether there was one.
    pub fn remove(&self, name: &ClassName) -> Result<bool, StorageError> {
        remove_durably(&self.record_path(name))
    }

    /// Stores a component under its digest.
    pub fn put_component(&self, bytes: &[u8]) -> Result<Digest, StorageError> {
        let digest = Digest::of(bytes);
        let _alone = self.writing.lock();
        write_durably(&self.component_path(&digest), bytes)?;
        Ok(digest)
    }

    /// The bytes of a component, checked against their digest.
    pub fn component(&self, digest: &Digest) -> Result<Vec<u8>, StorageError> {
        let path = self.component_path(digest);
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(StorageError::ClassDamaged { path, why: "it is missing".into() });
            }
            bytes => bytes.map_err(StorageError::io("cannot read", &path))?,
        };
        match Digest::of(&bytes) == *digest {
            true => Ok(bytes),
            false => {
                Err(StorageError::ClassDamaged { path, why: "its bytes do not have the digest in its name".into() })
            }
        }
    }

    fn record_path(&self, name: &ClassName) -> PathBuf {
        self.dir.join(format!("{name}.json"))
    }

    fn component_path(&self, digest: &Digest) -> PathBuf {
        self.components.join(format!("{digest}.wasm"))
    }
}

/// Reads the record at `path` and the component that it names, and changes nothing.
pub(super) fn check(classes: &Path, path: &Path) -> Result<ClassRecord, StorageError> {
    let records =
        ClassRecords { dir: classes.into(), components: classes.join("components"), writing: Mutex::default() };
    let record = read(path)?;
    records.component(&record.digest)?;
    Ok(record)
}

fn read(path: &Path) -> Result<ClassRecord, StorageError> {
    let bytes = fs::read(path).map_err(StorageError::io("cannot read", path))?;
    let damaged = |why| StorageError::ClassDamaged { path: path.into(), why };
    let record: ClassRecord = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let name = ClassName::parse(&name).map_err(|error| damaged(error.to_string()))?;
    Ok(ClassRecord { name, ..record })
}

fn paths(dir: &PathBuf) -> Result<Vec<PathBuf>, StorageError> {
    let read = || fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>();
    read().map_err(StorageError::io("cannot list", dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(name: &str, digest: Digest) -> ClassRecord {
        let (name, key) = (ClassName::parse(name).unwrap(), ClassKey::new(name));
        let (exports, imports) = (vec!["out".into()], vec!["in".into()]);
        let create = Create::Internal;
        ClassRecord { name, key, version: 1, digest, size: 4, exports, imports, created_ms: 5, deployed_ms: 6, create }
    }

    #[test]
    fn records_and_components_survive_and_strays_go() {
        let root = tempfile::tempdir().unwrap();
        let dir = DataDir::open(root.path()).unwrap();
        let records = ClassRecords::open(&dir).unwrap();
        let (kept, stray) = (records.put_component(b"kept").unwrap(), records.put_component(b"stray").unwrap());
        for name in ["b", "a"] {
            records.save(&record(name, kept)).unwrap();
        }
        let records = ClassRecords::open(&dir).unwrap();
        let all = records.load_all().unwrap();
        assert_eq!(all, [record("a", kept), record("b", kept)]);
        assert_eq!(records.component(&kept).unwrap(), b"kept");
        assert!(records.component(&stray).is_err());
        assert!(records.remove(&all[0].name).unwrap() && !records.remove(&all[0].name).unwrap());
        assert_eq!(records.load_all().unwrap().len(), 1);
    }

    #[test]
    fn a_renamed_class_is_the_same_one() {
        let root = tempfile::tempdir().unwrap();
        let dir = DataDir::open(root.path()).unwrap();
        let records = ClassRecords::open(&dir).unwrap();
        let (before, digest) = (ClassName::parse("before").unwrap(), records.put_component(b"bytes").unwrap());
        records.save(&record("before", digest)).unwrap();
        let after = ClassName::parse("after").unwrap();
        records.rename(&before, &after).unwrap();
        let renamed = ClassRecord { name: after.clone(), ..record("before", digest) };
        assert_eq!(ClassRecords::open(&dir).unwrap().load_all().unwrap(), std::slice::from_ref(&renamed));
        assert!(records.rename(&before, &after).is_err(), "there is no such record any more");
        // Written again, it has the name inside as well.
        records.save(&renamed).unwrap();
        assert_eq!(records.load_all().unwrap(), [renamed]);
    }

    #[test]
    fn two_records_with_one_key_are_refused() {
        let root = tempfile::tempdir().unwrap();
        let dir = DataDir::open(root.path()).unwrap();
        let records = ClassRecords::open(&dir).unwrap();
        records.save(&record("a", Digest::of(b""))).unwrap();
        fs::copy(dir.classes().join("a.json"), dir.classes().join("b.json")).unwrap();
        let error = records.load_all().unwrap_err().to_string();
        assert!(error.contains("has the key of the class"), "{error}");
    }

    #[test]
    fn a_record_of_before_there_were_settings_has_their_defaults() {
        let mut json = serde_json::to_value(record("a", Digest::of(b""))).unwrap();
        json.as_object_mut().unwrap().remove("create").unwrap();
        let read: ClassRecord = serde_json::from_value(json).unwrap();
        assert_eq!(read, ClassRecord { create: Create::Stored, ..record("a", Digest::of(b"")) });
    }

    #[test]
    fn damage_is_told_with_the_file() {
        let root = tempfile::tempdir().unwrap();
        let dir = DataDir::open(root.path()).unwrap();
        let records = ClassRecords::open(&dir).unwrap();
        let digest = records.put_component(b"bytes").unwrap();
        fs::write(records.component_path(&digest), b"other").unwrap();
        assert!(matches!(records.component(&digest), Err(StorageError::ClassDamaged { .. })));
        fs::write(dir.classes().join("x.json"), b"{").unwrap();
        assert!(records.load_all().unwrap_err().to_string().contains("x.json"));
    }
}
