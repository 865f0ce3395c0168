//! Verifies a data directory: every class and every object, against checksums, the list of objects and the commit log.
//!
//! Reads only: no byte of the directory changes, and what it takes from a catalog it takes from a copy. The commit log
//! was judged before ([`LogReport`]), because pages that the log still has are not judged by the file: the next start
//! writes them again. Damage is reported object by object; an error means that the directory could not be read.
//! Invariant: a state that a crash can leave is not reported as damage.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::capture::wal_path;
use super::catalog;
use super::commit_log::{Lane, LogError, LogReport, Record, Seen, TurnRecord, Whole, inspect};
use super::data_dir::DataDirView;
use super::on_disk;
use super::sums::{PageSums, sum, sums_path};
use super::template::{PAGE, Template};
use super::{StorageError, connection};
use crate::base::{ClassKey, ObjectId, SystemDisk};

/// Pages that are named of one object, of all that are wrong.
const PAGES_NAMED: usize = 20;
/// Bytes that are read at once.
const BATCH: usize = 256 * PAGE;

/// What was looked at and what is wrong.
#[derive(Debug, Default)]
pub struct DataReport {
    /// Objects that exist.
    pub objects: u64,
    /// Pages that are what was written.
    pub pages: u64,
    /// Pages that have no checksum yet, because an earlier version wrote them and they were not read since.
    pub unchecked: u64,
    /// Catalogs that cannot be relied on: an object whose file is missing is not detected. The next start rebuilds
    /// them.
    pub lists_lost: Vec<PathBuf>,
    /// Everything that is wrong.
    pub damage: Vec<DataDamage>,
}

/// An object or a class that is not what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataDamage {
    /// The class's name, or its key if no record has it.
    pub class: String,
    /// The object; none if the class itself is damaged.
    pub object: Option<ObjectId>,
    /// The object's name, if it is known.
    pub name: Option<String>,
    /// The file.
    pub file: PathBuf,
    /// Pages that are wrong, from 1; at most 20 are named.
    pub pages: Vec<u32>,
    /// What is wrong.
    pub why: String,
}

/// Checks everything but the log, which was found to be intact. `progress` gets how many objects of
/// how many are done.
pub fn verify(
    view: &DataDirView,
    log: &LogReport,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<DataReport, StorageError> {
    connection::configure_process();
    let template = Template::build().map_err(StorageError::sqlite(view.root()))?;
    let mut verifier = Verifier { names: HashMap::new(), template, report: DataReport::default() };
    verifier.classes(&view.classes())?;
    let mut known = listed(&view.catalog(), log, &mut verifier.report.lists_lost)?;
    logged(&view.log(), log, &mut known)?;
    let (total, mut done) = (known.len() as u64, 0);
    let objects = view.objects();
    let there = objects.try_exists().map_err(StorageError::io("cannot look for", &objects))?;
    let mut visit = |class: &ClassKey, id, files: BTreeMap<u32, PathBuf>| {
        let known = known.remove(&(class.clone(), id));
        verifier.object(&Object { class, id, files: &files, known: known.as_ref(), dir: None })?;
        done += 1;
        progress(done, total.max(done));
        Ok(())
    };
    if there {
        on_disk::find(&objects, &mut visit)?;
    }
    for ((class, id), known) in known {
        let dir = view.objects().join(class.as_str()).join(&id.to_string()[..2]);
        let files = BTreeMap::new();
        verifier.object(&Object { class: &class, id, files: &files, known: Some(&known), dir: Some(dir) })?;
        done += 1;
        progress(done, total.max(done));
    }
    verifier.report.damage.sort_by(|a, b| (&a.class, a.object, &a.file).cmp(&(&b.class, b.object, &b.file)));
    Ok(verifier.report)
}

/// What is known of an object besides its files.
#[derive(Default)]
struct Known {
    name: Option<String>,
    /// The list has it.
    listed: bool,
    logged: Option<Logged>,
}

/// What the log says of an object since its last trim.
#[derive(Default)]
struct Logged {
    incarnation: u32,
    deleted: bool,
    /// The log has every page.
    complete: bool,
    page_count: u32,
    pages: HashSet<u32>,
}

type AllKnown = HashMap<(ClassKey, ObjectId), Known>;

/// Returns what the catalogs list. Each is read in a copy, because SQLite cannot read one that a killed process left
/// without changing the files beside it.
fn listed(catalog: &Path, log: &LogReport, lost: &mut Vec<PathBuf>) -> Result<AllKnown, StorageError> {
    let copies = tempfile::tempdir().map_err(StorageError::io("cannot make a directory beside", catalog))?;
    let mut known = AllKnown::new();
    for (lane, (last, trimmed)) in log.lanes.iter().enumerate() {
        let path = catalog.join(format!("{lane:02}.sqlite"));
        let copy = copies.path().join("copy.sqlite");
        let _ = (fs::remove_file(&copy), fs::remove_file(wal_path(&copy)));
        let copied = fs::copy(&path, &copy).and_then(|_| match fs::copy(wal_path(&path), wal_path(&copy)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        });
        match copied {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                lost.push(path);
                continue;
            }
            copied => copied.map_err(StorageError::io("cannot copy", &path))?,
        }
        let mut found = Vec::new();
        let read = catalog::read_copy(&copy, |class, id, name| found.push((class, id, name)));
        match read {
            Ok(Some(applied)) if (*trimmed..=*last).contains(&applied) => {
                let of = |(class, id, name)| ((class, id), Known { name, listed: true, logged: None });
                known.extend(found.into_iter().map(of));
            }
            _ => lost.push(path),
        }
    }
    Ok(known)
}

/// Adds what the log says: what exists by it, and which pages it has.
fn logged(dir: &Path, log: &LogReport, known: &mut AllKnown) -> Result<(), StorageError> {
    let (mut whole, mut waiting) = (Whole::default(), HashMap::<(Lane, ObjectId), HashSet<u32>>::new());
    inspect(dir, &mut |seen| {
        let Seen::Record { entry, .. } = seen else { return Ok(()) };
        if log.lanes.get(entry.lane.index()).is_none_or(|(_, trimmed)| entry.lsn <= *trimmed) {
            return Ok(());
        }
        let parts = whole.next(&entry).map_err(|damage| LogError::Visitor(Box::new(damage)))?;
        match &entry.record {
            Record::Open(_) => waiting.retain(|(lane, _), _| *lane != entry.lane),
            Record::Trim { .. } | Record::Noop => {}
            Record::ClassRemoved { class } => {
                let lanes = log.lanes.len() as u16;
                known.retain(|(of, id), _| of.as_str() != *class || Lane::of(id.as_bytes(), lanes) != entry.lane);
            }
            Record::Turn(turn) => {
                let id = ObjectId::from_bytes(turn.head.id);
                let mut pages = waiting.remove(&(entry.lane, id)).unwrap_or_default();
                pages.extend(turn.pages.numbers());
                match parts {
                    None => _ = waiting.insert((entry.lane, id), pages),
                    Some(parts) => {
                        let object = known.entry((ClassKey::new(turn.head.class), id)).or_default();
                        object.said(turn, parts.len(), pages);
                    }
                }
            }
        }
        Ok(())
    })?;
    Ok(())
}

impl Known {
    /// Records an applied turn. `turn` is its last part.
    fn said(&mut self, turn: &TurnRecord<'_>, earlier_parts: usize, pages: HashSet<u32>) {
        let head = &turn.head;
        let logged = self.logged.get_or_insert_default();
        if head.created || head.deleted {
            logged.complete = earlier_parts == head.part as usize && !head.adopted;
            logged.pages.clear();
        }
        (logged.incarnation, logged.deleted, logged.page_count) = (head.incarnation, head.deleted, head.page_count);
        logged.pages.extend(pages);
        self.listed = !head.deleted;
        self.name = head.name.map(str::to_owned).or(self.name.take());
    }
}

struct Verifier {
    /// Classes' names by their keys.
    names: HashMap<String, String>,
    template: Template,
    report: DataReport,
}

/// An object and what there is of it.
struct Object<'a> {
    class: &'a ClassKey,
    id: ObjectId,
    /// Its files by incarnation.
    files: &'a BTreeMap<u32, PathBuf>,
    known: Option<&'a Known>,
    /// Where its files would be, if it has none.
    dir: Option<PathBuf>,
}

/// What is wrong with a file.
struct Wrong {
    pages: Vec<u32>,
    why: String,
}

impl Wrong {
    fn whole(why: impl Into<String>) -> Self {
        Self { pages: Vec::new(), why: why.into() }
    }
}

impl Verifier {
    fn classes(&mut self, dir: &Path) -> Result<(), StorageError> {
        let entries = match fs::read_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(StorageError::io("cannot list", dir))?,
        };
        for entry in entries {
            let path = entry.map_err(StorageError::io("cannot list", dir))?.path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let class = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            match super::classes::check(dir, &path) {
                Ok(record) => _ = self.names.insert(record.key.as_str().into(), class),
                Err(StorageError::ClassDamaged { path, why }) => {
                    let (object, name, pages) = (None, None, Vec::new());
                    self.report.damage.push(DataDamage { class, object, name, file: path, pages, why });
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn object(&mut self, object: &Object<'_>) -> Result<(), StorageError> {
        let logged = object.known.and_then(|known| known.logged.as_ref());
        let (file, wrong) = match logged {
            Some(logged) => self.by_log(object, logged)?,
            None => self.by_files(object)?,
        };
        let Some(Wrong { pages, why }) = wrong else { return Ok(()) };
        let key = object.class.as_str();
        self.report.damage.push(DataDamage {
            class: self.names.get(key).cloned().unwrap_or_else(|| key.to_owned()),
            object: Some(object.id),
            name: object.known.and_then(|known| known.name.clone()),
            file,
            pages,
            why,
        });
        Ok(())
    }

    /// The log says which file counts; the next start writes the pages that it has.
    fn by_log(&mut self, object: &Object<'_>, logged: &Logged) -> Result<(PathBuf, Option<Wrong>), StorageError> {
        if logged.deleted {
            return Ok((PathBuf::new(), None));
        }
        self.report.objects += 1;
        let Some(path) = object.files.get(&logged.incarnation) else {
            let why =
                (!logged.complete).then(|| Wrong::whole("the file is missing, and the log has only a part of it"));
            return Ok((object.path(logged.incarnation), why));
        };
        if logged.complete {
            self.report.pages += u64::from(logged.page_count);
            return Ok((path.clone(), None));
        }
        let wrong = self.pages(path, Some(logged)).map_err(StorageError::io("cannot read", path))?;
        Ok((path.clone(), wrong))
    }

    /// Checks an object by its files: the newest file to which something was applied counts.
    fn by_files(&mut self, object: &Object<'_>) -> Result<(PathBuf, Option<Wrong>), StorageError> {
        for path in object.files.values().rev() {
            let unused = self.template.is_unused(path).map_err(StorageError::io("cannot read", path))?;
            if unused {
                continue;
            }
            if let Some(wrong) = self.pages(path, None).map_err(StorageError::io("cannot read", path))? {
                self.report.objects += 1;
                return Ok((path.clone(), Some(wrong)));
            }
            match on_disk::read(path) {
                Ok(Some((identity, _))) => {
                    self.report.objects += 1;
                    let is_of = identity.class == object.class.as_str() && identity.id == object.id.to_string();
                    let wrong = (!is_of).then(|| Wrong::whole("it is the database of another object"));
                    return Ok((path.clone(), wrong));
                }
                Ok(None) => {}
                Err(error) => return Ok((path.clone(), Some(Wrong::whole(error.to_string())))),
            }
        }
        let listed = object.known.is_some_and(|known| known.listed);
        self.report.objects += u64::from(listed);
        let path = object.files.values().next_back().cloned().unwrap_or_else(|| object.path(1));
        let why = "the object has stored something, and this file is missing, empty or not begun";
        Ok((path, listed.then(|| Wrong::whole(why))))
    }

    /// Checks the pages of a file that the log does not have.
    fn pages(&mut self, path: &Path, logged: Option<&Logged>) -> io::Result<Option<Wrong>> {
        let file = File::open(path)?;
        let sums = PageSums::of(Arc::new(SystemDisk), path);
        if !sums.is_of_this_version()? {
            let why = format!("its checksums, {}, are not what was written", sums_path(path).display());
            return Ok(Some(Wrong::whole(why)));
        }
        let count = match logged {
            Some(logged) => logged.page_count,
            None => page_count(&file)?,
        };
        let (mut wrong, mut unchecked, mut number) = (Vec::new(), 0_u64, 0);
        let mut batch = vec![0; BATCH.min(count as usize * PAGE)];
        while number < count {
            let pages = (count - number).min((BATCH / PAGE) as u32);
            let filled = read_at(&file, &mut batch[..pages as usize * PAGE], u64::from(number) * PAGE as u64)?;
            for (index, image) in batch[..pages as usize * PAGE].chunks_exact(PAGE).enumerate() {
                number += 1;
                if logged.is_some_and(|logged| logged.pages.contains(&number)) {
                    self.report.pages += 1;
                } else if (index + 1) * PAGE > filled {
                    wrong.push(number);
                } else {
                    match sums.known(number)? {
                        None => unchecked += 1,
                        Some(known) if known == sum(number, image) => self.report.pages += 1,
                        Some(_) => wrong.push(number),
                    }
                }
            }
        }
        self.report.unchecked += unchecked;
        if wrong.is_empty() {
            // Checked with SQLite's own check, where there is nothing better.
            return Ok((unchecked > 0 && logged.is_none()).then(|| quick_check(path)).flatten());
        }
        let why = format!("{} of its {count} pages are not what was written", wrong.len());
        wrong.truncate(PAGES_NAMED);
        Ok(Some(Wrong { pages: wrong, why }))
    }
}

impl Object<'_> {
    fn path(&self, incarnation: u32) -> PathBuf {
        let name = format!("{}-{incarnation}.sqlite", self.id);
        match (self.files.values().next(), &self.dir) {
            (Some(file), _) => file.with_file_name(name),
            (None, Some(dir)) => dir.join(name),
            (None, None) => name.into(),
        }
    }
}

/// How many pages a file has by its header, or by its length if that has more to say.
fn page_count(file: &File) -> io::Result<u32> {
    let pages = (file.metadata()?.len().div_ceil(PAGE as u64)) as u32;
    let mut header = [0; 100];
    if read_at(file, &mut header, 0)? < header.len() {
        return Ok(pages.max(1));
    }
    let number = |at: usize| u32::from_be_bytes([0, 1, 2, 3].map(|byte| header[at + byte]));
    // The size in the header counts if it was written with the change counter.
    Ok(if number(24) == number(92) && number(28) != 0 { number(28).min(pages + 1) } else { pages })
}

/// Reads until the buffer is full or the file ends. Returns the number of bytes.
fn read_at(file: &File, into: &mut [u8], at: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < into.len() {
        match file.read_at(&mut into[filled..], at + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    into[filled..].fill(0);
    Ok(filled)
}

fn quick_check(path: &Path) -> Option<Wrong> {
    let checked = on_disk::open(path)
        .and_then(|database| database.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0)));
    match checked {
        Ok(text) if text == "ok" => None,
        Ok(text) => Some(Wrong::whole(text)),
        Err(error) => Some(Wrong::whole(error.to_string())),
    }
}
