//! One object's database: a file that a turn makes when it first needs one.
//!
//! The file is `objects/<class key>/<first 2 hex of the id>/<id>-<incarnation>.sqlite`, in WAL mode, opened by one
//! connection. It is a local copy of the state that the commit log makes durable: nothing here is flushed.
//! `incarnations` says which incarnation counts. Invariants:
//! * SQLite never reads what an earlier process left in a `-wal` file: it is emptied before the database is opened;
//! * the WAL is copied into the database file only once everything in it is durable;
//! * a file without an identity holds nothing that was ever durable, and is replaced;
//! * the record of a turn is in the log before the turn's writes are visible outside the object's own turns.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use rusqlite::ErrorCode;

use super::StorageError;
use super::capture::{Wal, cut_wal, wal_length, wal_path};
use super::commit_log::{Alarms, DurableWatch, LaneWriter, Lsn, NoRoom, Reservation};
use super::connection::Connection;
use super::dirty::DirtyObject;
use super::heap::Heap;
use super::identity::Identity;
use super::incarnations::{FIRST, Incarnations};
use super::shared::StorageShared;
use super::statement::is_damage;
use super::sums::{PageSums, sums_path};
use super::template::Template;
use crate::base::disk::is_lack_of_room;
#[cfg(test)]
use crate::base::seeded_bugs::{self, SeededBug};
use crate::base::{Alarm, Failpoint, ObjectAddress, ObjectName};

/// Frames in a WAL (4 KiB each) at which it is reset (copied into the database file and begun anew), once everything in
/// it is durable. More frames cost disk space, and time when a checkpoint is made.
const WAL_RESET_FRAMES: u32 = 128;
/// The most bytes that a record without pages takes.
const SMALL_RECORD: u64 = 4096;
/// How long a turn waits for room in the commit log. A checkpoint takes seconds on a slow disk.
const ROOM_PATIENCE: Duration = Duration::from_secs(10);
/// Frames at which an object that is never idle waits for the disk before its next turn, so that its WAL can be reset.
const WAL_FRAMES_MAX: u32 = 8 * WAL_RESET_FRAMES;

/// One object's database. Owned by the object's actor; moves between threads, used by one at a time.
pub struct Database {
    pub(super) shared: Arc<StorageShared>,
    pub(super) address: ObjectAddress,
    pub(super) incarnations: Incarnations,
    /// The incarnation whose file is used, and the file's path.
    pub(super) incarnation: u32,
    pub(super) path: PathBuf,
    pub(super) file: FileState,
    /// The incarnation that the running turn replaces; it counts until the turn is applied.
    pub(super) aside: Option<(u32, FileState)>,
    /// The object was recovered: nothing of an earlier process's WAL is left.
    pub(super) recovered: bool,
    /// The object is among [`StorageShared::dirty`].
    pub(super) watched: bool,
    pub(super) dirty: Arc<DirtyObject>,
    pub(super) lane: LaneWriter,
    pub(super) durable: DurableWatch,
    /// The object's last record; 0 if this process has not appended one.
    pub(super) last: Lsn,
    /// The last state that the list of objects has of the object.
    pub(super) told: Option<Stored>,
    pub(super) handles: u64,
    /// The file is in another directory than the objects', and the object is not in the list of objects.
    pub(super) scratch: bool,
    /// Incarnations whose files exist and none of which can be used. They are removed when they are replaced.
    pub(super) unusable: Vec<u32>,
    /// The handler of the object's running alarm is suspended in an instance. Meanwhile the index of all alarms counts
    /// the object's as being delivered, and none is.
    pub(super) alarm_suspended: bool,
}

/// The state of the file. `Unknown` → `Absent` or `Open` when it is looked at; `Absent` → `Open` when a turn needs it;
/// `Open` → `Unknown` when the connection is dropped, → `Absent` when the file is removed.
pub(super) enum FileState {
    Unknown,
    Absent,
    Open(Box<OpenFile>),
}

/// An open database file.
pub(super) struct OpenFile {
    pub connection: Connection,
    /// The sums of its pages.
    pub(super) sums: Arc<PageSums>,
    /// Its WAL, to read back what a COMMIT wrote; opened when it is first needed, closed after the connection.
    pub(super) wal: Option<Wal>,
    /// The identity stored in the file; none until the first turn is applied.
    pub identity: Option<Identity>,
    /// The alarms that applied turns have left.
    pub alarms: Alarms,
    /// Bytes of pages in use after the last applied turn.
    pub bytes: u64,
    /// How the file was made, if nothing of it is in the log yet.
    pub made: Option<Made>,
}

/// How a database file was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Made {
    /// From the template: the first record contains its pages.
    FromTemplate,
    /// From an import: the file is flushed before the first record.
    FromFile,
}

/// A summary of what an object stores.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The name that requests used for it.
    pub name: Option<ObjectName>,
    /// Pages in use × 4,096.
    pub bytes: u64,
    /// The alarm that comes next, if there is one.
    pub alarm: Option<Alarm>,
    /// All alarms.
    pub(super) alarms: Alarms,
}

impl Database {
    /// Returns the object's name: the one of the current request, or the stored one. Reads the file if necessary.
    pub fn name(&mut self) -> Result<Option<ObjectName>, StorageError> {
        if self.address.name.is_none() {
            self.address.name = self.look()?.and_then(|file| file.identity.as_ref()?.name.clone());
        }
        Ok(self.address.name.clone())
    }

    /// Sets the name by which a request reached the object. The next applied turn stores it.
    pub fn reached_by(&mut self, name: &ObjectName) {
        self.address.name = Some(name.clone());
    }

    /// Returns a summary of what is stored; none if the object does not exist. Makes no file.
    pub fn description(&mut self) -> Result<Option<Stored>, StorageError> {
        let Some(bytes) = self.look()?.map(|file| file.bytes) else { return Ok(None) };
        let alarms = self.alarms()?;
        Ok(Some(Stored { name: self.name()?, bytes, alarm: alarms.next(), alarms }))
    }

    /// Returns the alarm that comes next.
    pub fn alarm(&mut self) -> Result<Option<Alarm>, StorageError> {
        Ok(self.alarms()?.next())
    }

    /// Returns the alarms that applied turns have left.
    pub(super) fn alarms(&mut self) -> Result<Alarms, StorageError> {
        Ok(self.look()?.map_or_else(Alarms::default, |file| file.alarms))
    }

    /// Removes everything that the object stored, as a turn does; the removal is final once it is durable. Returns
    /// whether anything was stored. A damaged file can be removed.
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

    /// Reserves room in the commit log, without waiting.
    pub(super) fn room_now(&self, bytes: u64) -> Result<Reservation, NoRoom> {
        self.shared.log.try_reserve(bytes)
    }

    /// Reserves room in the commit log. Waits for it; fails if the disk is full, or if the log was not trimmed within
    /// [`ROOM_PATIENCE`].
    pub(super) fn room(&self, bytes: u64) -> impl Future<Output = Result<Reservation, NoRoom>> + Send + use<> {
        let shared = self.shared.clone();
        async move {
            // Nearly always there is room.
            match shared.log.try_reserve(bytes) {
                Err(NoRoom::Wait) => {}
                answer => return answer,
            }
            let waited = async {
                loop {
                    let room = shared.log.room();
                    match shared.log.try_reserve(bytes) {
                        Err(NoRoom::Wait) => shared.checkpoints.want_checkpoint(),
                        answer => return answer,
                    }
                    room.await;
                }
            };
            shared.env.timeout(ROOM_PATIENCE, waited).await.unwrap_or(Err(NoRoom::Wait))
        }
    }

    /// Returns a watch on how far the object's lane is durable.
    pub fn durable(&self) -> DurableWatch {
        self.durable.clone()
    }

    /// Notes that a turn has reached a failpoint.
    pub(super) fn reach(&self, failpoint: Failpoint) -> std::io::Result<()> {
        self.shared.disk.at(failpoint)
    }

    /// Returns the last applied position. What was read after it may become visible once a [`DurableWatch`] covers it.
    pub fn last_applied(&self) -> Lsn {
        self.last
    }

    /// Closes the connection if the instance has set pragmas on it. Called when an instance is dropped.
    pub fn reset_session(&mut self) {
        if let FileState::Open(file) = &self.file
            && file.connection.session.altered.load(Relaxed)
        {
            self.close();
        }
    }

    /// Removes replaced files, and resets a long WAL. Called between turns; does nothing unless everything applied is
    /// durable.
    pub fn maintain(&mut self) -> Result<(), StorageError> {
        if !self.may_reset() {
            return Ok(());
        }
        let mut state = self.dirty.lock();
        let mut removed = state.remove_stale(&self.incarnations);
        let frames = state.frames;
        if frames == 0 {
            state.first = None;
        }
        let gone = matches!(self.file, FileState::Absent) && self.aside.is_none();
        if removed.is_ok() && gone && state.incarnation != FIRST {
            // Nothing is left, so the next life of the object is a first one again.
            removed = self.incarnations.unmark(Failpoint::ObjectRemove);
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

    /// Whether everything applied is durable, so that the database file may hold it and replaced files may be removed.
    fn may_reset(&self) -> bool {
        #[cfg(test)]
        if seeded_bugs::is_planted(SeededBug::ResetNotDurable) {
            return true;
        }
        self.durable.covers(self.last)
    }

    /// Whether the object must wait for the disk before its next turn, because its WAL has grown too long.
    pub fn must_settle(&self) -> bool {
        self.dirty.lock().frames >= WAL_FRAMES_MAX
    }

    /// Copies the WAL into the database file and begins it anew, if everything in it is durable. Returns whether the
    /// WAL is empty: it is not while a statement is open or the file is being copied.
    pub(super) fn reset_wal(&self) -> Result<bool, StorageError> {
        let FileState::Open(file) = &self.file else { return Ok(true) };
        let mut state = self.dirty.lock();
        if state.frames == 0 {
            return Ok(true);
        }
        if state.copying || !self.may_reset() {
            return Ok(false);
        }
        let reset = || {
            self.shared.disk.at(Failpoint::WalReset)?;
            let reset = file.connection.reset_wal().map_err(io::Error::other)?;
            self.shared.disk.at(Failpoint::WalRestart)?;
            Ok(reset)
        };
        if !reset().map_err(StorageError::io("cannot copy back the WAL of", &self.path))? {
            return Ok(false);
        }
        (state.frames, state.first) = (0, None);
        Ok(true)
    }

    /// Writes the sums that were computed for pages without one. Not while the WAL has pages: a checkpoint writes them
    /// then.
    fn keep_sums(&self) {
        let FileState::Open(file) = &self.file else { return };
        if file.identity.is_some() && self.aside.is_none() && self.dirty.lock().frames == 0 {
            // Without them the next visit computes them again.
            let _ = file.sums.write();
            file.sums.shrink();
        }
    }

    /// Returns the object's file, if it has one; opens it if that is not known yet.
    pub(super) fn look(&mut self) -> Result<Option<&mut OpenFile>, StorageError> {
        if let FileState::Unknown = self.file {
            self.recover()?;
            self.file = match self.open_existing()? {
                Some(file) => FileState::Open(Box::new(file)),
                None => FileState::Absent,
            };
        }
        Ok(self.opened())
    }

    /// Returns the file, if it is open.
    pub(super) fn opened(&mut self) -> Option<&mut OpenFile> {
        match &mut self.file {
            FileState::Open(file) => Some(file),
            FileState::Unknown | FileState::Absent => None,
        }
    }

    /// Makes the database file of an object that has none.
    pub(super) fn create(&mut self) -> Result<&mut OpenFile, StorageError> {
        let disk = self.shared.disk.clone();
        self.make(Made::FromTemplate, |path, template| {
            template.write(&*disk, path)?;
            template.sums(disk.clone(), path)
        })
    }

    /// Has `put` write the database file, and opens it.
    pub(super) fn make(
        &mut self,
        made: Made,
        put: impl Fn(&Path, &Template) -> io::Result<Arc<PageSums>>,
    ) -> Result<&mut OpenFile, StorageError> {
        let (path, disk) = (&self.path, &self.shared.disk);
        let write = || {
            disk.remove_if_there(Failpoint::ObjectCreate, &wal_path(path))?;
            let sums = put(path, &self.shared.template)?;
            if self.incarnation != FIRST {
                self.incarnations.mark()?;
            }
            io::Result::Ok(sums)
        };
        let written = match write() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let dir = path.parent().expect("a database is in a directory");
                disk.make_dir(Failpoint::ObjectCreate, dir).and_then(|()| write())
            }
            written => written,
        };
        let sums = written.map_err(StorageError::io("cannot create", path))?;
        let heap = self.shared.heap(&self.address.key)?;
        let file = open_file(path, sums, self.shared.max_pages, heap).map_err(sqlite_failed(path))?;
        self.file = FileState::Open(Box::new(OpenFile { made: Some(made), ..file }));
        Ok(self.opened().expect("opened above"))
    }

    /// Recovers the object's files, before this process does anything else with them.
    fn recover(&mut self) -> Result<(), StorageError> {
        if self.recovered {
            return Ok(());
        }
        let shared = self.shared.clone();
        let recovered = shared.recovery.recover(&self.address.id, &self.incarnations, &*shared.log)?;
        if let Some(incarnation) = recovered {
            self.use_incarnation(incarnation);
        }
        self.recovered = true;
        Ok(())
    }

    /// Cuts the WAL to the frames that this process has applied. Removes what an earlier process left, and what a
    /// failed turn may have left behind them.
    fn cut_wal(&self) -> io::Result<()> {
        let frames = self.dirty.lock().frames;
        cut_wal(&*self.shared.disk, &self.path, wal_length(frames))
    }

    /// Opens the incarnation that counts, if there is one. Removes incarnations that a crash left before anything was
    /// durable. If none counts although the object is in the list of objects, the object is damaged.
    fn open_existing(&mut self) -> Result<Option<OpenFile>, StorageError> {
        self.unusable.clear();
        if self.last != Lsn(0) {
            // This process knows what counts.
            let deleted = self.dirty.lock().deleted;
            return match self.open_incarnation()? {
                None if !deleted => Err(self.missing()),
                found => Ok(found),
            };
        }
        let candidates = self.incarnations.candidates();
        let candidates = candidates.map_err(StorageError::io("cannot look for", &self.path))?;
        for (n, incarnation) in candidates.iter().enumerate() {
            self.use_incarnation(*incarnation);
            let opened = self.open_incarnation().inspect_err(|_| self.unusable = candidates.clone())?;
            if let Some(file) = opened {
                self.remove_incarnations(&candidates[..n])?;
                let mut state = self.dirty.lock();
                (state.incarnation, state.stale) = (*incarnation, candidates[n + 1..].to_vec());
                state.sums = Some((*incarnation, file.sums.clone()));
                drop(state);
                return Ok(Some(file));
            }
        }
        if !self.scratch && self.shared.catalog.lists(&self.address.key, &self.address.id)? {
            self.use_incarnation(candidates.first().copied().unwrap_or(FIRST));
            self.unusable = candidates;
            return Err(self.missing());
        }
        self.remove_incarnations(&candidates)?;
        self.use_incarnation(FIRST);
        Ok(None)
    }

    fn missing(&self) -> StorageError {
        let why = "the object has stored something, and this file is missing, empty or not begun".into();
        StorageError::Damaged { path: self.path.clone(), why }
    }

    fn remove_incarnations(&self, incarnations: &[u32]) -> Result<(), StorageError> {
        let remove = |incarnation: &u32| self.incarnations.remove(Failpoint::ObjectDiscard, *incarnation);
        incarnations.iter().try_for_each(remove).map_err(StorageError::io("cannot remove", &self.path))
    }

    pub(super) fn use_incarnation(&mut self, incarnation: u32) {
        if self.incarnation != incarnation {
            (self.incarnation, self.path) = (incarnation, self.incarnations.file(incarnation));
        }
    }

    /// Opens the file of the incarnation in use. Returns none if there is no file, or nothing was ever applied to it.
    fn open_incarnation(&self) -> Result<Option<OpenFile>, StorageError> {
        let path = &self.path;
        if !path.try_exists().map_err(StorageError::io("cannot look for", path))? {
            return Ok(None);
        }
        self.cut_wal().map_err(StorageError::io("cannot cut the WAL of", path))?;
        let damaged = |why: String| StorageError::Damaged { path: path.clone(), why };
        let sums = self.sums_to_open();
        match open_file(path, sums.clone(), self.shared.max_pages, self.shared.heap(&self.address.key)?) {
            Ok(OpenFile { identity: None, .. }) => Ok(None),
            Ok(file) if !file.is_of(&self.address) => Err(damaged("it is the database of another object".into())),
            Ok(file) => Ok(Some(file)),
            Err(error) if !is_damage(&error) && sums.damage().is_none() => Err(sqlite_failed(path)(error)),
            // What a crash leaves of a new file may look like damage.
            Err(error) => match self.shared.template.is_unused(path).map_err(StorageError::io("cannot read", path))? {
                true => Ok(None),
                false => Err(sums.damage().unwrap_or_else(|| damaged(error.to_string()))),
            },
        }
    }

    /// Returns the sums of the file in use, with all pages marked as not checked.
    fn sums_to_open(&self) -> Arc<PageSums> {
        let mut state = self.dirty.lock();
        if state.incarnation != self.incarnation {
            return PageSums::of(self.shared.disk.clone(), &self.path);
        }
        let sums = state.sums(&self.incarnations);
        sums.shrink();
        sums
    }

    /// Puts what is stored aside, because the running turn replaces it. The turn continues as if the object had nothing
    /// stored. A damaged file can be put aside, too.
    pub(super) fn set_aside(&mut self) -> Result<(), StorageError> {
        match self.look() {
            Ok(None) => return Ok(()),
            Ok(Some(_)) | Err(StorageError::Damaged { .. }) => {}
            Err(error) => return Err(error),
        }
        let _ = self.name(); // Read now, for the successor; the name of a damaged file is lost.
        let file = std::mem::replace(&mut self.file, FileState::Absent);
        self.aside = Some((self.incarnation, file));
        self.use_incarnation(self.incarnation + 1);
        Ok(())
    }

    /// Whether the running turn replaces what is stored.
    pub(super) fn has_aside(&self) -> bool {
        self.aside.is_some()
    }

    /// Returns the last position of the object's lane.
    pub(super) fn appended(&self) -> Lsn {
        self.lane.appended()
    }

    /// Returns the alarms of what the running turn replaces.
    pub(super) fn aside_alarms(&self) -> Alarms {
        match &self.aside {
            Some((_, FileState::Open(file))) => file.alarms,
            _ => Alarms::default(),
        }
    }

    /// Restores what the turn has put aside; its successor was discarded.
    pub(super) fn restore_aside(&mut self) {
        if let Some((incarnation, file)) = self.aside.take() {
            self.use_incarnation(incarnation);
            self.file = file;
        }
    }

    pub(super) fn watch(&mut self) {
        if !std::mem::replace(&mut self.watched, true) {
            self.shared.dirty.watch(self.address.id, &self.dirty);
        }
    }

    /// Drops the connection; the file is looked at again when it is next needed.
    pub(super) fn close(&mut self) {
        if let FileState::Open(_) = self.file {
            self.file = FileState::Unknown;
        }
    }

    /// Removes a file to which nothing was ever applied.
    pub(super) fn discard(&mut self) {
        self.file = FileState::Unknown;
        // If the file stays it has no identity, so it is replaced when the object is next looked at.
        if self.incarnations.remove(Failpoint::ObjectDiscard, self.incarnation).is_ok() {
            self.file = FileState::Absent;
        }
    }

    pub(super) fn address(&self) -> &ObjectAddress {
        &self.address
    }

    /// Returns a number that no other cursor or savepoint of this `Database` has.
    pub(super) fn next_handle(&mut self) -> u64 {
        self.handles += 1;
        self.handles
    }
}

/// Empties the WAL if possible: checkpoints, or the next opening of the object, take care of frames that stay in it.
/// The file stays, because making and removing one for each visit costs more than the visit's turn.
impl Drop for Database {
    fn drop(&mut self) {
        if self.aside.is_some() {
            self.discard();
            self.restore_aside();
        }
        if self.alarm_suspended {
            // Its actor has died of a bug: otherwise it has said what becomes of it.
            self.alarm_is_dropped(Duration::ZERO);
        }
        let _ = self.reset_wal();
        self.keep_sums();
        self.file = FileState::Unknown;
        if self.watched {
            self.shared.dirty.put_away(&self.address.id, &self.dirty);
        }
    }
}

impl OpenFile {
    fn is_of(&self, address: &ObjectAddress) -> bool {
        let of = |identity: &Identity| identity.class == address.key.as_str() && identity.id == address.id.to_string();
        self.identity.as_ref().is_some_and(of)
    }
}

/// Opens a database file and reads its identity. The WAL is read into memory; no byte of either file changes, but a
/// missing WAL is made, empty.
pub(super) fn open_file(path: &Path, sums: Arc<PageSums>, max_pages: u32, heap: Heap) -> rusqlite::Result<OpenFile> {
    let connection = Connection::open_checked(path, sums.clone(), max_pages, heap)?;
    let identity = connection.host(Identity::read)?;
    let bytes = connection.bytes()?;
    let alarms = identity.as_ref().map_or_else(Alarms::default, |identity| identity.alarms);
    Ok(OpenFile { connection, sums, wal: None, identity, alarms, bytes, made: None })
}

/// Returns why SQLite did not open a file.
fn sqlite_failed(path: &Path) -> impl FnOnce(rusqlite::Error) -> StorageError {
    move |error| {
        let unclear = [Some(ErrorCode::CannotOpen), Some(ErrorCode::SystemIoFailure)];
        match lack_of_room(path).filter(|_| unclear.contains(&error.sqlite_error_code())) {
            Some(why) => StorageError::io("cannot open", path)(why),
            None => StorageError::sqlite(path)(error),
        }
    }
}

/// Returns the error if files cannot be opened at this moment for lack of descriptors or memory. SQLite's codes do not
/// distinguish this reason from others.
pub(super) fn lack_of_room(path: &Path) -> Option<io::Error> {
    let two = fs::File::open(path).and_then(|first| Ok((first, fs::File::open(sums_path(path))?)));
    two.err().filter(is_lack_of_room)
}

pub(super) fn no_room(path: &Path) -> impl FnOnce(NoRoom) -> StorageError {
    move |why| {
        StorageError::io("cannot append to the commit log of", path)(io::Error::new(
            io::ErrorKind::StorageFull,
            why.to_string(),
        ))
    }
}
