//! One object's database: a file that a turn makes when it first needs it.
//!
//! `objects/<class key>/<first 2 hex of the id>/<id>-<incarnation>.sqlite`, in WAL mode, opened by one connection. It is a fast
//! local copy of what the commit log says: nothing here is flushed. Which incarnation counts is told in `incarnations`. What must
//! stay true:
//! * a `-wal` that an earlier process left is never opened: `repair` sees to that before anything else is done;
//! * the WAL is copied into the database file only once everything in it is durable;
//! * a file without an identity holds nothing that was ever durable, and is replaced;
//! * an object's record is in the log before anybody can see what it wrote outside its own turns.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use rusqlite::ErrorCode;

use super::capture::{Wal, capture, wal_length, wal_path};
use super::catalog::{Catalog, Change};
use super::commit_log::{
    Disk, DurableWatch, Encoded, FileLog, Lane, LaneLog, LaneWriter, LogOptions, LogUsage, Lsn, NoRoom, Reservation,
    SystemDisk, TurnEncoder, TurnHead,
};
use super::connection::Connection;
use super::files::{remove_if_there, sync_parent};
use super::identity::Identity;
use super::incarnations::{FIRST, Incarnations};
use super::release::{Release, Unreleased};
use super::repair::{Mended, Repairs};
use super::replay::replay;
use super::template::{PAGE, Template};
use super::{DataDir, StorageError, Turn};
#[cfg(test)]
use crate::base::mistakes::{self, Mistake};
use crate::base::points::Point;
use crate::base::{ClassKey, Env, Limits, ObjectAddress, ObjectId, ObjectName, WorkBudget};

/// Frames in a WAL (4 KiB each) at which it is copied back and begun anew, once everything in it is durable. More frames
/// cost disk, and time when the log is cut.
const WAL_RESET_FRAMES: u32 = 128;
/// Bytes that a record without pages may take.
const SMALL_RECORD: u64 = 4096;
/// How long a turn waits for room in the commit log: a round of releases takes seconds on a slow disk.
const ROOM_PATIENCE: Duration = Duration::from_secs(10);
/// Frames at which an object whose turns never stop waits for the disk, to begin its WAL anew.
const WAL_FRAMES_MAX: u32 = 8 * WAL_RESET_FRAMES;

/// Every object's database, the commit log that they all append to, and the list of them. Cheap to clone.
#[derive(Clone)]
pub struct Databases(pub(super) Arc<Node>);

pub(super) struct Node {
    pub root: PathBuf,
    pub objects: PathBuf,
    /// Files on their way in or out; emptied when the directory is opened.
    pub transfers: PathBuf,
    pub template: Template,
    pub max_pages: u32,
    pub disk: Arc<dyn Disk>,
    pub log: Arc<dyn LaneLog>,
    pub lanes: Vec<LaneWriter>,
    pub catalog: Catalog,
    pub repairs: Repairs,
    pub release: Release,
}

impl Databases {
    /// Opens the databases of a data directory: reads the commit log, has the list of objects catch up with it, and starts
    /// to append. Touches no object, unless a part of the list was lost.
    pub fn open(dir: &DataDir, limits: &Limits, env: &Env) -> Result<Self, StorageError> {
        let disk = Arc::new(SystemDisk);
        let (budget, segment_bytes) = (limits.log, limits.log_segment);
        let options = LogOptions { budget, segment_bytes, ..LogOptions::new(env.clone()) };
        let log = FileLog::open(&dir.log(), options, disk.clone())?;
        let databases = Self::open_on(dir, limits, env, disk, Arc::new(log))?;
        let started = databases.0.release.start(Arc::downgrade(&databases.0));
        started.map_err(StorageError::io("cannot start the thread that cuts", &dir.log()))?;
        Ok(databases)
    }

    /// The same on a given log and disk; nobody cuts the log unless asked.
    pub(super) fn open_on(
        dir: &DataDir,
        limits: &Limits,
        env: &Env,
        disk: Arc<dyn Disk>,
        log: Arc<dyn LaneLog>,
    ) -> Result<Self, StorageError> {
        super::connection::configure_process();
        let objects = dir.objects();
        let template = Template::build().map_err(StorageError::sqlite(&objects))?;
        let lanes = || (0..log.lanes()).map(Lane::new);
        let released: Vec<Lsn> = lanes().map(|lane| log.released(lane)).collect();
        let (catalog, _, lost) = Catalog::open(dir, &released)?;
        let repairs = Repairs::new();
        replay(&*log, |lane, lsn, said| {
            if lost.is_empty() {
                catalog.replay(lane, lsn, said.change());
            }
            repairs.note(lsn, said)
        })?;
        if !lost.is_empty() {
            // The list is made again from the databases, which must hold what the log holds.
            for (class, id) in repairs.waiting() {
                repairs.mend(&id, &Incarnations::at(&objects, &class, &id), &*log, &*disk)?;
            }
            catalog.rebuild(&lost, &objects)?;
            replay(&*log, |lane, lsn, said| {
                catalog.replay(lane, lsn, said.change());
                Ok(())
            })?;
        }
        let node_id = env.random();
        let lanes = lanes().map(|lane| log.open(lane, node_id)).collect::<Result<Vec<_>, _>>()?;
        catalog.follow(lanes.iter().map(LaneWriter::durable).collect())?;
        Ok(Self(Arc::new(Node {
            root: dir.root().into(),
            objects,
            transfers: dir.transfers(),
            template,
            max_pages: (limits.database / PAGE as u64).min(u32::MAX.into()) as u32,
            disk,
            log,
            lanes,
            catalog,
            repairs,
            release: Release::default(),
        })))
    }

    /// The database of an object. Does no I/O. The caller sees to it that there is one `Database` an object, and drops it
    /// only when everything applied is durable.
    pub fn database(&self, address: &ObjectAddress) -> Database {
        // What an earlier `Database` of this process could not finish.
        let left = self.0.release.of(&address.id);
        self.database_below(&self.0.objects, address, left)
    }

    /// A database below another directory than the objects', which is never applied to.
    pub(super) fn scratch(&self, directory: &Path, address: &ObjectAddress) -> Database {
        self.database_below(directory, address, None)
    }

    fn database_below(&self, directory: &Path, address: &ObjectAddress, left: Option<Arc<Unreleased>>) -> Database {
        let files = Incarnations::of(directory, address);
        let lane = self.0.lane(&address.id).clone();
        let durable = lane.durable();
        let (mended, watched) = (left.is_some(), left.is_some());
        let unreleased = left.unwrap_or_else(|| Arc::new(Unreleased::new(files.clone(), durable.clone())));
        let (incarnation, last) = {
            let state = unreleased.lock();
            (state.incarnation, state.last)
        };
        Database {
            node: self.0.clone(),
            address: address.clone(),
            path: files.file(incarnation),
            incarnations: files,
            incarnation,
            file: FileState::Unknown,
            aside: None,
            mended,
            watched,
            unreleased,
            lane,
            durable,
            last,
            told: None,
            handles: 0,
        }
    }

    /// The list of all objects.
    pub fn catalog(&self) -> &Catalog {
        &self.0.catalog
    }

    /// What the commit log holds and has done.
    pub fn log_usage(&self) -> LogUsage {
        self.0.log.usage()
    }

    /// Removes everything that the objects of a class stored; gone for good when it returns. No object of the class is
    /// open, and none will be.
    pub fn remove_class(&self, key: &ClassKey) -> Result<(), StorageError> {
        let node = &self.0;
        let record = Encoded::class_removed(key.as_str());
        let mut waits = Vec::with_capacity(node.lanes.len());
        for (n, lane) in node.lanes.iter().enumerate() {
            let room = node.log.try_reserve(record.len() as u64);
            let mut reservation = room.map_err(no_room(&node.root))?;
            let gone = |lsn| node.catalog.note(Lane::new(n as u16), lsn, Change::ClassGone { class: key.clone() });
            waits.push((lane.durable(), lane.submit(record.clone(), &mut reservation, gone)));
        }
        waits.iter().for_each(|(durable, lsn)| durable.wait(*lsn));
        node.repairs.forget_class(key.as_str());
        let dir = node.objects.join(key.as_str());
        match fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(StorageError::io("cannot remove", &dir)(error))
            }
            _ => Ok(()),
        }
    }

    /// Has the database files hold everything, says so in the log, and ends it. Objects were dropped before.
    pub fn close(self) -> Result<(), StorageError> {
        self.0.release.stop();
        self.0.release_round()?;
        self.0.log.close();
        Ok(())
    }
}

impl Node {
    pub fn lane_of(&self, id: &ObjectId) -> Lane {
        Lane::of(id.as_bytes(), self.lanes.len() as u16)
    }

    pub fn lane(&self, id: &ObjectId) -> &LaneWriter {
        &self.lanes[self.lane_of(id).index()]
    }

    /// What was applied and cannot be appended must not be seen by anybody.
    fn lost(&self, path: &Path, error: &io::Error) -> ! {
        self.disk.lost(&format!("what a turn wrote to {} cannot be put into the commit log: {error}", path.display()))
    }
}

/// One object's database. Owned by whoever runs the object; moves between threads, used by one at a time.
pub struct Database {
    pub(super) node: Arc<Node>,
    address: ObjectAddress,
    pub(super) incarnations: Incarnations,
    /// Whose file is used, and its path.
    pub(super) incarnation: u32,
    pub(super) path: PathBuf,
    pub(super) file: FileState,
    /// What counts until the running turn, which replaces it, is applied.
    aside: Option<(u32, FileState)>,
    /// What an earlier process left of the object's WAL is gone.
    mended: bool,
    /// Release rounds know of the object.
    watched: bool,
    pub(super) unreleased: Arc<Unreleased>,
    lane: LaneWriter,
    durable: DurableWatch,
    /// The object's last record; 0 if this process has not appended one.
    last: Lsn,
    /// What the list of objects was told last: the name and the bytes.
    told: Option<(Option<ObjectName>, u64)>,
    handles: u64,
}

/// What is known of the file. `Unknown` → `Absent` or `Open` when looked at; `Absent` → `Open` when a turn needs it;
/// `Open` → `Unknown` when the connection is dropped, → `Absent` when the file is removed.
pub(super) enum FileState {
    Unknown,
    Absent,
    Open(Box<OpenFile>),
}

/// An open database file.
pub(super) struct OpenFile {
    pub connection: Connection,
    /// Its WAL, to read back what a COMMIT wrote; opened when it is first needed, closed after the connection.
    wal: Option<Wal>,
    /// What the file says of itself; none until the first turn is applied.
    pub identity: Option<Identity>,
    /// Bytes of pages in use after the last applied turn.
    pub bytes: u64,
    /// How it came to be, if nothing of it is in the log yet.
    pub made: Option<Made>,
}

/// How a database file was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Made {
    /// From the template: its pages belong to the first record.
    FromTemplate,
    /// From an import: the file is flushed before the first record.
    FromFile,
}

/// What an object stores, in short.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The name it was reached by.
    pub name: Option<ObjectName>,
    /// Pages in use × 4,096.
    pub bytes: u64,
}

impl Database {
    /// Begins a turn, whose work is charged to the budget. Does no I/O.
    pub fn begin(self, work: WorkBudget) -> Turn {
        Turn::new(self, work, false)
    }

    /// Begins a turn whose writes are refused.
    pub fn begin_reading(self, work: WorkBudget) -> Turn {
        Turn::new(self, work, true)
    }

    /// The object's name: the one it is reached by now, or the one that is stored. Reads the file if it has to.
    pub fn name(&mut self) -> Result<Option<ObjectName>, StorageError> {
        if self.address.name.is_none() {
            self.address.name = self.look()?.and_then(|file| file.identity.as_ref()?.name.clone());
        }
        Ok(self.address.name.clone())
    }

    /// The object was reached by this name: the next turn that is applied stores it.
    pub fn reached_by(&mut self, name: &ObjectName) {
        self.address.name = Some(name.clone());
    }

    /// What is stored; none if the object does not exist. Makes no file.
    pub fn description(&mut self) -> Result<Option<Stored>, StorageError> {
        let Some(bytes) = self.look()?.map(|file| file.bytes) else { return Ok(None) };
        Ok(Some(Stored { name: self.name()?, bytes }))
    }

    /// Removes everything the object stored, as a turn does: gone for good once that is durable. Answers whether there was
    /// anything. A damaged file can be removed.
    pub async fn delete(&mut self) -> Result<bool, StorageError> {
        match self.look() {
            Ok(None) => return Ok(false),
            Ok(Some(_)) | Err(StorageError::Damaged { .. }) => {}
            Err(error) => return Err(error),
        }
        let mut room = self.room(SMALL_RECORD).await.map_err(no_room(&self.path))?;
        self.append_removal(&mut room);
        Ok(true)
    }

    /// Room in the commit log, if there is some at this moment.
    pub(super) fn room_now(&self, bytes: u64) -> Result<Reservation, NoRoom> {
        self.node.log.try_reserve(bytes)
    }

    /// Waits for room in the commit log. Fails when the disk is full, or when the log was not cut in time.
    pub(super) fn room(&self, bytes: u64) -> impl Future<Output = Result<Reservation, NoRoom>> + Send + use<> {
        let node = self.node.clone();
        let waited = async move {
            loop {
                let room = node.log.room();
                match node.log.try_reserve(bytes) {
                    Err(NoRoom::Wait) => node.release.want_round(),
                    answer => return answer,
                }
                room.await;
            }
        };
        async { tokio::time::timeout(ROOM_PATIENCE, waited).await.unwrap_or(Err(NoRoom::Wait)) }
    }

    /// Watches how far the object is durable.
    pub fn durable(&self) -> DurableWatch {
        self.durable.clone()
    }

    /// The last position applied. What was read after it may be told once a [`DurableWatch`] covers it.
    pub fn last_applied(&self) -> Lsn {
        self.last
    }

    /// Forgets what the instance set on its connection (pragmas). Called when an instance is dropped.
    pub fn reset_session(&mut self) {
        if let FileState::Open(file) = &self.file
            && file.connection.session.altered.load(Relaxed)
        {
            self.close();
        }
    }

    /// Removes replaced files, and copies a long WAL back into the database file to begin it anew. Called between turns;
    /// does nothing unless everything applied is durable.
    pub fn maintain(&mut self) -> Result<(), StorageError> {
        if !self.may_reset() {
            return Ok(());
        }
        let mut state = self.unreleased.lock();
        let mut removed = state.remove_stale(&self.incarnations, &*self.node.disk);
        let frames = state.frames;
        if frames == 0 {
            state.first = None;
        }
        let gone = matches!(self.file, FileState::Absent) && self.aside.is_none();
        if removed.is_ok() && gone && state.incarnation != FIRST {
            // Nothing is left, so the next life of the object is a first one again.
            removed = self.incarnations.unmark();
            state.incarnation = FIRST;
        }
        let incarnation = state.incarnation;
        drop(state);
        if gone {
            self.use_incarnation(incarnation);
        }
        removed.map_err(StorageError::io("cannot remove what was replaced of", &self.path))?;
        if frames >= WAL_RESET_FRAMES { self.reset_wal().map(drop) } else { Ok(()) }
    }

    /// Whether everything applied is durable, so the database file may hold it and what it replaced may go.
    fn may_reset(&self) -> bool {
        #[cfg(test)]
        if mistakes::is_made(Mistake::ResetNotDurable) {
            return true;
        }
        self.durable.covers(self.last)
    }

    /// Whether the object must wait for the disk before its next turn, because its WAL has grown too long.
    pub fn must_settle(&self) -> bool {
        self.unreleased.lock().frames >= WAL_FRAMES_MAX
    }

    /// Copies the WAL back, if everything in it is durable. Answers whether it is empty: not while a statement is open or
    /// the file is being copied.
    pub(super) fn reset_wal(&self) -> Result<bool, StorageError> {
        let FileState::Open(file) = &self.file else { return Ok(true) };
        let mut state = self.unreleased.lock();
        if state.frames == 0 {
            return Ok(true);
        }
        if state.copying || !self.may_reset() {
            return Ok(false);
        }
        let reset = || {
            self.node.disk.at(Point::WalReset)?;
            let reset = file.connection.reset_wal().map_err(io::Error::other)?;
            self.node.disk.at(Point::WalRestart)?;
            Ok(reset)
        };
        if !reset().map_err(StorageError::io("cannot copy back the WAL of", &self.path))? {
            return Ok(false);
        }
        (state.frames, state.first) = (0, None);
        Ok(true)
    }

    /// The open file, if the object has one; opens it if it was not looked at yet.
    pub(super) fn look(&mut self) -> Result<Option<&mut OpenFile>, StorageError> {
        if let FileState::Unknown = self.file {
            self.mend()?;
            self.cut_wal().map_err(StorageError::io("cannot cut the WAL of", &self.path))?;
            self.file = match self.open_existing()? {
                Some(file) => FileState::Open(Box::new(file)),
                None => FileState::Absent,
            };
        }
        Ok(self.opened())
    }

    /// The file, if it is open.
    pub(super) fn opened(&mut self) -> Option<&mut OpenFile> {
        match &mut self.file {
            FileState::Open(file) => Some(file),
            FileState::Unknown | FileState::Absent => None,
        }
    }

    /// Makes the database file. The object has none.
    pub(super) fn create(&mut self) -> Result<&mut OpenFile, StorageError> {
        self.make(Made::FromTemplate, |path, template| template.write(path))
    }

    /// Makes the database file as `put` does, and opens it.
    pub(super) fn make(
        &mut self,
        made: Made,
        put: impl Fn(&Path, &Template) -> io::Result<()>,
    ) -> Result<&mut OpenFile, StorageError> {
        let path = &self.path;
        let write = || {
            self.node.disk.at(Point::ObjectCreate)?;
            remove_if_there(&wal_path(path))?;
            put(path, &self.node.template)?;
            if self.incarnation == FIRST { Ok(()) } else { self.incarnations.mark() }
        };
        let written = match write() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let dir = path.parent().expect("a database is in a directory");
                fs::create_dir_all(dir).and_then(|()| write())
            }
            written => written,
        };
        written.map_err(StorageError::io("cannot create", path))?;
        let file = open_file(path, self.node.max_pages).map_err(StorageError::sqlite(path))?;
        self.file = FileState::Open(Box::new(OpenFile { made: Some(made), ..file }));
        Ok(self.opened().expect("opened above"))
    }

    /// The first thing this process does to the object's files.
    fn mend(&mut self) -> Result<(), StorageError> {
        if self.mended {
            return Ok(());
        }
        let node = self.node.clone();
        if let Mended::At(incarnation) =
            node.repairs.mend(&self.address.id, &self.incarnations, &*node.log, &*node.disk)?
        {
            self.use_incarnation(incarnation);
        }
        self.mended = true;
        Ok(())
    }

    /// Leaves in the WAL what was applied, and nothing that a turn which failed may have left behind it.
    fn cut_wal(&self) -> io::Result<()> {
        let wanted = wal_length(self.unreleased.lock().frames);
        match fs::File::options().write(true).open(wal_path(&self.path)) {
            Ok(wal) if wal.metadata()?.len() > wanted => wal.set_len(wanted),
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Opens the incarnation that counts, if there is one. Those that a crash left before anything was durable are removed.
    fn open_existing(&mut self) -> Result<Option<OpenFile>, StorageError> {
        if self.last != Lsn(0) {
            // This process knows what counts.
            return if self.path.exists() { self.open_incarnation() } else { Ok(None) };
        }
        let candidates = self.incarnations.candidates();
        let candidates = candidates.map_err(StorageError::io("cannot look for", &self.path))?;
        for (n, incarnation) in candidates.iter().enumerate() {
            self.use_incarnation(*incarnation);
            if let Some(file) = self.open_incarnation()? {
                let mut state = self.unreleased.lock();
                (state.incarnation, state.stale) = (*incarnation, candidates[n + 1..].to_vec());
                drop(state);
                return Ok(Some(file));
            }
        }
        self.use_incarnation(FIRST);
        Ok(None)
    }

    pub(super) fn use_incarnation(&mut self, incarnation: u32) {
        if self.incarnation != incarnation {
            (self.incarnation, self.path) = (incarnation, self.incarnations.file(incarnation));
        }
    }

    fn open_incarnation(&self) -> Result<Option<OpenFile>, StorageError> {
        let path = &self.path;
        let torn = match self.node.template.is_torn(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            torn => torn.map_err(StorageError::io("cannot read", path))?,
        };
        let damaged = |why: String| StorageError::Damaged { path: path.clone(), why };
        if !torn {
            let file = open_file(path, self.node.max_pages).map_err(|error| match is_damage(&error) {
                true => damaged(error.to_string()),
                false => StorageError::sqlite(path)(error),
            })?;
            if let Some(identity) = &file.identity {
                if identity.class != self.address.key.as_str() || identity.id != self.address.id.to_string() {
                    return Err(damaged("it is the database of another object".into()));
                }
                return Ok(Some(file));
            }
        }
        self.incarnations.remove(self.incarnation).map_err(StorageError::io("cannot remove", path))?;
        Ok(None)
    }

    /// Puts what is stored aside: the running turn replaces it. Until that is applied the object looks as if it had
    /// nothing. A damaged file can be put aside, too.
    pub(super) fn set_aside(&mut self) -> Result<(), StorageError> {
        match self.look() {
            Ok(None) => return Ok(()),
            Ok(Some(_)) | Err(StorageError::Damaged { .. }) => {}
            Err(error) => return Err(error),
        }
        let _ = self.name(); // Learnt, so that the successor is told; one of a damaged file is lost.
        let file = std::mem::replace(&mut self.file, FileState::Absent);
        self.aside = Some((self.incarnation, file));
        self.use_incarnation(self.incarnation + 1);
        Ok(())
    }

    /// Whether the running turn replaces what is stored.
    pub(super) fn has_aside(&self) -> bool {
        self.aside.is_some()
    }

    /// What the turn replaced counts again; its successor was discarded.
    pub(super) fn restore_aside(&mut self) {
        if let Some((incarnation, file)) = self.aside.take() {
            self.use_incarnation(incarnation);
            self.file = file;
        }
    }

    /// Does what can fail before a turn's COMMIT, because nothing may between that and its record.
    pub(super) fn prepare_append(&mut self) -> io::Result<()> {
        let path = &self.path;
        let FileState::Open(file) = &mut self.file else { return Ok(()) };
        if file.wal.is_none() {
            file.wal = Some(Wal::open(path)?);
        }
        if file.made == Some(Made::FromFile) {
            // The log does not have these pages, so they must be on disk before it names them.
            fs::File::open(path)?.sync_all()?;
            path.ancestors().take(3).try_for_each(sync_parent)?;
        }
        Ok(())
    }

    /// Appends what a COMMIT has just written to the WAL. Nobody has seen it yet; if it cannot be appended the process ends.
    pub(super) fn append(&mut self, room: &mut Reservation) -> Lsn {
        let path = self.path.clone();
        let records = match self.records() {
            Ok(records) => records,
            Err(error) => self.node.lost(&path, &error),
        };
        self.watch();
        let FileState::Open(file) = &mut self.file else { unreachable!("a turn was applied to it") };
        file.made = None;
        let frames = file.connection.frames();
        let change = self.change();
        let mut state = self.unreleased.lock();
        state.frames = frames;
        state.incarnation = self.incarnation;
        state.stale.extend(self.aside.take().map(|(incarnation, _)| incarnation));
        let count = records.len();
        for (n, record) in records.into_iter().enumerate() {
            self.last = self.lane.submit(record, room, |lsn| {
                state.first.get_or_insert(lsn);
                state.last = lsn;
                if let (true, Some(change)) = (n + 1 == count, &change) {
                    self.node.catalog.note(self.node.lane_of(&self.address.id), lsn, change.clone());
                }
            });
        }
        self.last
    }

    /// What the last COMMIT wrote.
    fn records(&self) -> io::Result<Vec<Encoded>> {
        self.node.disk.at(Point::TurnApplied)?;
        let FileState::Open(file) = &self.file else { unreachable!("a turn was applied to it") };
        let wal = file.wal.as_ref().expect("opened before the COMMIT");
        let before = if self.aside.is_some() { 0 } else { self.unreleased.lock().frames };
        let name = file.identity.as_ref().and_then(|identity| identity.name.as_ref());
        let known = self.told.as_ref().is_some_and(|(told, _)| told.as_ref() == name);
        let head = TurnHead {
            created: file.made.is_some(),
            adopted: file.made == Some(Made::FromFile),
            bytes: file.bytes,
            name: name.filter(|_| !known || file.made.is_some()).map(ObjectName::as_str),
            ..self.head()
        };
        let template = (file.made == Some(Made::FromTemplate)).then_some(&self.node.template);
        capture(wal, before..file.connection.frames(), head, template)
    }

    fn head(&self) -> TurnHead<'_> {
        TurnHead {
            class: self.address.key.as_str(),
            id: *self.address.id.as_bytes(),
            incarnation: self.incarnation,
            previous: self.last,
            part: 0,
            last: true,
            created: false,
            adopted: false,
            deleted: false,
            page_count: 0,
            bytes: 0,
            name: None,
            alarm: None,
        }
    }

    /// What the last turn changed in the list of objects, if anything.
    fn change(&mut self) -> Option<Change> {
        let file = self.opened()?;
        let (name, bytes) = (file.identity.as_ref().and_then(|identity| identity.name.clone()), file.bytes);
        let now = Some((name.clone(), bytes));
        if self.told == now {
            return None;
        }
        self.told = now;
        Some(Change::Object { class: self.address.key.clone(), id: self.address.id, name, bytes })
    }

    /// Appends that nothing is stored any more. The files go once that is durable.
    pub(super) fn append_removal(&mut self, room: &mut Reservation) -> Lsn {
        if self.aside.take().is_some() {
            // What this turn made instead never counted.
            self.discard();
        }
        self.file = FileState::Absent;
        self.told = None;
        self.watch();
        let record = TurnEncoder::new(&TurnHead { deleted: true, ..self.head() }).finish();
        let gone = self.incarnations.candidates().unwrap_or_else(|_| vec![self.incarnation]);
        let mut state = self.unreleased.lock();
        state.stale = gone;
        state.frames = 0;
        state.incarnation = self.incarnation + 1;
        let change = Change::Gone { class: self.address.key.clone(), id: self.address.id };
        self.last = self.lane.submit(record, room, |lsn| {
            state.last = lsn;
            self.node.catalog.note(self.node.lane_of(&self.address.id), lsn, change);
        });
        drop(state);
        self.use_incarnation(self.incarnation + 1);
        self.last
    }

    fn watch(&mut self) {
        if !std::mem::replace(&mut self.watched, true) {
            self.node.release.watch(self.address.id, &self.unreleased);
        }
    }

    /// Drops the connection; the file is looked at again when it is next needed.
    pub(super) fn close(&mut self) {
        if let FileState::Open(_) = self.file {
            self.file = FileState::Unknown;
        }
    }

    /// Removes a file that nothing was ever applied to.
    pub(super) fn discard(&mut self) {
        self.file = FileState::Unknown;
        // If the file stays it has no identity, so it is replaced when the object is next looked at.
        if self.incarnations.remove(self.incarnation).is_ok() {
            self.file = FileState::Absent;
        }
    }

    pub(super) fn address(&self) -> &ObjectAddress {
        &self.address
    }

    /// A number that no other cursor or savepoint of this `Database` has.
    pub(super) fn next_handle(&mut self) -> u64 {
        self.handles += 1;
        self.handles
    }
}

/// Leaves no WAL behind, if it can: one that stays is looked after by the release rounds and by whoever opens the object next.
impl Drop for Database {
    fn drop(&mut self) {
        if self.aside.is_some() {
            self.discard();
            self.restore_aside();
        }
        let empty = self.reset_wal().unwrap_or(false);
        if let FileState::Open(_) = std::mem::replace(&mut self.file, FileState::Unknown)
            && empty
        {
            // One that stays is removed when the object is next opened.
            let _ = remove_if_there(&wal_path(&self.path));
        }
        if self.watched {
            self.node.release.put_away(&self.address.id, &self.unreleased);
        }
    }
}

/// Opens a database file and reads what it says of itself. Its WAL is read into memory; no byte of either file changes,
/// though a missing WAL is made, empty.
pub(super) fn open_file(path: &Path, max_pages: u32) -> rusqlite::Result<OpenFile> {
    let connection = Connection::open(path, max_pages)?;
    let identity = connection.host(Identity::read)?;
    let bytes = connection.bytes()?;
    Ok(OpenFile { connection, wal: None, identity, bytes, made: None })
}

pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt))
}

pub(super) fn no_room(path: &Path) -> impl FnOnce(NoRoom) -> StorageError {
    move |why| {
        StorageError::io("cannot append to the commit log of", path)(io::Error::new(
            io::ErrorKind::StorageFull,
            why.to_string(),
        ))
    }
}
