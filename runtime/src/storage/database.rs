//! One object's database: a file that a turn makes when it first needs it.
//!
//! `objects/<class key>/<first 2 hex of the id>/<id>-<incarnation>.sqlite`, in WAL mode, opened by one connection. Which
//! incarnation counts is told in `incarnations`. What must stay true:
//! * a file without an identity holds nothing that was ever applied, and is replaced;
//! * a `-wal` never meets a database that it does not belong to: creating one first removes the other, durably;
//! * removing the database file is what deletes an object; everything else is litter.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use rusqlite::{ErrorCode, ffi};

use super::connection::Connection;
use super::durability::{Disk, DurableWatch, FlushPool, Lsn, Sequence, SystemDisk, WalFiles, wal_path};
use super::files::{remove_if_there, sync_parent};
use super::identity::Identity;
use super::incarnations::{FIRST, Incarnations, RemoveError};
use super::template::{PAGE, Template};
use super::{DataDir, StorageError, Turn};
use crate::base::{ClassKey, Limits, ObjectAddress, ObjectName, WorkBudget};

/// Frames in a WAL (4 KiB each) at which it is copied back and begun anew. A reset costs three flushes; more frames cost
/// disk, and time when the object is next opened.
const WAL_RESET_FRAMES: u32 = 1_000;

/// Every object's database, the template of new ones and the threads that flush them. Cheap to clone; the last clone that
/// is dropped, databases included, finishes the flushes.
#[derive(Clone)]
pub struct Databases(pub(super) Arc<Node>);

pub(super) struct Node {
    objects: PathBuf,
    /// Files on their way in or out; emptied when the directory is opened.
    pub transfers: PathBuf,
    template: Template,
    pub max_pages: u32,
    pub pool: FlushPool,
    /// Database files that are being copied, so their WAL must not be copied back.
    pub copying: Mutex<HashSet<PathBuf>>,
}

impl Databases {
    /// Opens the databases of a data directory. Everything in the file system is flushed first, so what an earlier process
    /// left unflushed when it was killed is durable before anybody reads it.
    pub fn open(dir: &DataDir, limits: &Limits) -> Result<Self, StorageError> {
        Self::open_on(dir, limits, Box::new(SystemDisk::default()))
    }

    pub(super) fn open_on(dir: &DataDir, limits: &Limits, disk: Box<dyn Disk>) -> Result<Self, StorageError> {
        let objects = dir.objects();
        let flush_all = || rustix::fs::syncfs(fs::File::open(&objects)?).map_err(io::Error::from);
        flush_all().map_err(StorageError::io("cannot flush", &objects))?;
        super::connection::configure_process();
        let template = Template::build().map_err(StorageError::sqlite(&objects))?;
        let pool = FlushPool::start(disk).map_err(StorageError::io("cannot start flush threads for", &objects))?;
        let max_pages = (limits.database / PAGE as u64).min(u32::MAX.into()) as u32;
        let transfers = dir.transfers();
        let node = Node { objects, transfers, template, max_pages, pool, copying: Mutex::default() };
        let databases = Self(Arc::new(node));
        databases.finish_removals()?;
        Ok(databases)
    }

    /// The database of an object. Does no I/O. The caller sees to it that there is one `Database` an object, and drops it
    /// only when everything applied is durable.
    pub fn database(&self, address: &ObjectAddress) -> Database {
        self.database_below(&self.0.objects, address)
    }

    pub(super) fn database_below(&self, directory: &Path, address: &ObjectAddress) -> Database {
        let incarnations = Incarnations::of(directory, address);
        Database {
            node: self.0.clone(),
            address: address.clone(),
            path: incarnations.file(FIRST),
            incarnations,
            incarnation: FIRST,
            file: FileState::Unknown,
            aside: None,
            stale: Vec::new(),
            sequence: self.0.pool.sequence(),
            change: None,
            handles: 0,
        }
    }

    /// Flushes done so far.
    pub fn flushes(&self) -> u64 {
        self.0.pool.flushes()
    }

    /// Removes everything that the objects of a class stored; gone for good when it returns. No object of the class is
    /// open. Answers whether there was anything.
    pub fn remove_class(&self, key: &ClassKey) -> Result<bool, StorageError> {
        let dir = self.0.objects.join(key.as_str());
        let removed = self.0.objects.join(format!("{key}.removed"));
        let rename = || match fs::rename(&dir, &removed) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            renamed => renamed.and_then(|()| sync_parent(&removed)).map(|()| true),
        };
        let found = rename().map_err(StorageError::io("cannot remove", &dir))?;
        self.finish_removals()?;
        Ok(found)
    }

    fn finish_removals(&self) -> Result<(), StorageError> {
        let finish = || {
            for entry in fs::read_dir(&self.0.objects)? {
                let path = entry?.path();
                if path.extension().is_some_and(|extension| extension == "removed") {
                    fs::remove_dir_all(&path)?;
                }
            }
            Ok(())
        };
        finish().map_err(StorageError::io("cannot remove deleted objects below", &self.0.objects))
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
    /// Replaced incarnations whose files are to go once their successor is durable.
    stale: Vec<u32>,
    sequence: Sequence,
    /// Bytes stored after the last applied turn, until somebody asks.
    change: Option<u64>,
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
    /// What the file says of itself; none until the first turn is applied.
    pub identity: Option<Identity>,
    /// Bytes of pages in use after the last applied turn.
    pub bytes: u64,
    /// This opening made the file or its WAL.
    pub new: bool,
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

    /// Removes everything the object stored; gone for good when it returns. Answers whether there was anything. A damaged
    /// file can be removed.
    pub fn delete(&mut self) -> Result<bool, StorageError> {
        match self.look() {
            Ok(None) => return Ok(false),
            Ok(Some(_)) | Err(StorageError::Damaged { .. }) => {}
            Err(error) => return Err(error),
        }
        self.remove()?;
        Ok(true)
    }

    /// Removes every file of the object; gone for good when it returns.
    pub(super) fn remove(&mut self) -> Result<(), StorageError> {
        let (action, path) = ("cannot delete", self.path.clone());
        match self.incarnations.remove_all() {
            Ok(()) => {}
            Err(RemoveError::Kept(error)) => return Err(StorageError::io(action, &path)(error)),
            Err(RemoveError::Unknown(error)) => {
                self.node.pool.lost(&format!("flushing the deletion of {} failed: {error}", path.display()));
                return Err(StorageError::io(action, &path)(error));
            }
        }
        // Turns that wait for their flush are superseded: nothing of them need survive.
        self.sequence.forget();
        (self.aside, self.change) = (None, Some(0));
        self.stale.clear();
        self.use_incarnation(FIRST);
        self.file = FileState::Absent;
        Ok(())
    }

    /// Bytes that are stored since the last applied change that was not asked for yet; 0 if the object is gone.
    pub fn take_change(&mut self) -> Option<u64> {
        self.change.take()
    }

    /// Watches how far the object is durable.
    pub fn durable(&self) -> DurableWatch {
        self.sequence.watch()
    }

    /// The last position applied. What was read after it may be told once a [`DurableWatch`] covers it.
    pub fn last_applied(&self) -> Lsn {
        self.sequence.last()
    }

    /// Forgets what the instance set on its connection (pragmas). Called when an instance is dropped.
    pub fn reset_session(&mut self) {
        if let FileState::Open(file) = &self.file
            && file.connection.session.altered.load(std::sync::atomic::Ordering::Relaxed)
        {
            self.close();
        }
    }

    /// Removes replaced files once what replaced them is durable, and copies a long WAL back into the database file to
    /// begin it anew. Called between turns; may take some milliseconds. Prefers a moment when nothing waits for a flush, and
    /// does not insist on one: a reset flushes the WAL itself before it copies.
    pub fn maintain(&mut self) -> Result<(), StorageError> {
        let durable = self.sequence.is_durable();
        if durable {
            // One that stays is told from what counts, and removed when the object is next opened.
            self.stale.drain(..).for_each(|incarnation| _ = self.incarnations.remove(incarnation));
        }
        let FileState::Open(file) = &self.file else { return Ok(()) };
        let wait = if durable { 1 } else { 4 };
        if file.connection.frames() < wait * WAL_RESET_FRAMES || self.node.copying.lock().contains(&self.path) {
            return Ok(());
        }
        self.reset_wal().map(drop)
    }

    /// Copies the WAL back. Answers whether it could: not while a statement is open.
    pub(super) fn reset_wal(&self) -> Result<bool, StorageError> {
        let FileState::Open(file) = &self.file else { return Ok(true) };
        match file.connection.reset_wal() {
            Ok(false) => return Ok(false),
            Ok(true) => {}
            Err(error) => {
                // Any other failure leaves the WAL as it was: nothing is lost, and it can be tried again.
                if error.sqlite_error().is_some_and(|error| error.extended_code == ffi::SQLITE_IOERR_FSYNC) {
                    self.node.pool.lost(&format!("flushing {} failed: {error}", self.path.display()));
                }
                return Err(StorageError::sqlite(&self.path)(error));
            }
        }
        // The WAL must be empty on disk before new frames are written: old ones between them would be believed.
        let wal = wal_path(&self.path);
        fs::File::open(&wal).and_then(|wal| wal.sync_all()).map(|()| true).map_err(|error| {
            self.node.pool.lost(&format!("flushing {} failed: {error}", wal.display()));
            StorageError::io("cannot flush", &wal)(error)
        })
    }

    /// The open file, if the object has one; opens it if it was not looked at yet.
    pub(super) fn look(&mut self) -> Result<Option<&mut OpenFile>, StorageError> {
        if let FileState::Unknown = self.file {
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
        self.make(|path, template| template.write(path))
    }

    /// Makes the database file as `put` does, and opens it.
    pub(super) fn make(
        &mut self,
        put: impl Fn(&Path, &Template) -> io::Result<()>,
    ) -> Result<&mut OpenFile, StorageError> {
        let path = &self.path;
        let write = || {
            // A WAL that outlived its database must not be believed by the next one, whatever order the disk keeps.
            if remove_if_there(&wal_path(path))? {
                sync_parent(path)?;
            }
            put(path, &self.node.template)
        };
        let written = match write() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let dir = path.parent().expect("a database is in a directory");
                fs::create_dir_all(dir).and_then(|()| write())
            }
            written => written,
        };
        written.map_err(StorageError::io("cannot create", path))?;
        let open = || {
            let connection = Connection::open(path, self.node.max_pages)?;
            let bytes = connection.bytes()?;
            Ok(OpenFile { connection, identity: None, bytes, new: true })
        };
        self.file = FileState::Open(Box::new(open().map_err(StorageError::sqlite(path))?));
        if self.aside.is_none() {
            self.sequence.forget();
        }
        Ok(self.opened().expect("opened above"))
    }

    /// Opens the incarnation that counts, if there is one. Those that a crash left before anything was applied are removed.
    fn open_existing(&mut self) -> Result<Option<OpenFile>, StorageError> {
        let candidates = self.incarnations.candidates();
        let candidates = candidates.map_err(StorageError::io("cannot look for", &self.path))?;
        for (n, incarnation) in candidates.iter().enumerate() {
            self.use_incarnation(*incarnation);
            if let Some(file) = self.open_incarnation()? {
                self.stale = candidates[n + 1..].to_vec();
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
        let new = !wal_path(path).exists();
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
                return Ok(Some(OpenFile { new, ..file }));
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
        self.incarnations.mark().map_err(StorageError::io("cannot mark", &self.path))?;
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

    /// The turn was applied: gives it a position, requests its flush and notes the size.
    pub(super) fn append(&mut self, replaced: Option<WalFiles>, bytes: u64) -> Lsn {
        if let Some((incarnation, _)) = self.aside.take() {
            self.stale.push(incarnation);
        }
        self.change = Some(bytes);
        self.sequence.append(replaced)
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
        if self.aside.is_none() {
            self.sequence.forget();
        }
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

    /// Opens what flushes need, before the first turn on these files is applied. Answers it if it is to take the place of
    /// what flushes concern now, when the turn is applied and not before: earlier turns may wait for their flush.
    pub(super) fn prepare_flush(&self) -> io::Result<Option<WalFiles>> {
        if self.aside.is_some() {
            return WalFiles::open(&self.path, true).map(Some);
        }
        let new = matches!(&self.file, FileState::Open(file) if file.new);
        self.sequence.prepare(|| WalFiles::open(&self.path, new)).map(|()| None)
    }
}

/// Opens a database file and reads what it says of itself. Its WAL is read into memory; no byte of either file changes,
/// though a missing WAL is made, empty.
pub(super) fn open_file(path: &Path, max_pages: u32) -> rusqlite::Result<OpenFile> {
    let connection = Connection::open(path, max_pages)?;
    let identity = connection.host(Identity::read)?;
    let bytes = connection.bytes()?;
    Ok(OpenFile { connection, identity, bytes, new: false })
}

pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt))
}
