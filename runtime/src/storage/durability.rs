//! What is durable: the only place that makes a [`DurableLsn`].
//!
//! Each open database has a [`Sequence`]. A turn that was applied is *appended*: it gets the next [`Lsn`], and a flush is
//! requested. A bounded pool of threads flushes the object's WAL (on first use also the new database file and the
//! directories that lead to it) and then publishes how far the object is durable. Turns that are appended while a flush
//! runs share the next one. This is the seam that the commit log takes over.
//!
//! A failed flush ends the process: the kernel may have dropped the pages it could not write, so nobody can know what the
//! file holds, and a later flush that succeeds would prove nothing.

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use parking_lot::{Condvar, Mutex};
use tokio::sync::watch;

use super::files::sync_parent;

/// Flush threads: enough that a file system can put many files' flushes into one journal write, few enough to cost
/// nothing. A slow disk is slow however many wait.
const FLUSH_THREADS: usize = 16;

/// A position in one object's sequence of applied turns; 0 is before the first. Counts from each opening of the object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(u64);

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "@{}", self.0)
    }
}

/// A position up to which everything is on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct DurableLsn(u64);

impl DurableLsn {
    /// Whether that position is on disk.
    pub fn covers(self, lsn: Lsn) -> bool {
        self.0 >= lsn.0
    }
}

/// Watches how far one object is durable. Clones watch the same object.
#[derive(Clone, Debug)]
pub struct DurableWatch(watch::Receiver<DurableLsn>);

impl DurableWatch {
    /// Whether that position is on disk by now.
    pub fn covers(&self, lsn: Lsn) -> bool {
        self.0.borrow().covers(lsn)
    }

    /// Waits until that position is on disk. Never returns if it never will be.
    pub async fn reached(&mut self, lsn: Lsn) {
        if self.0.wait_for(|durable| durable.covers(lsn)).await.is_err() {
            std::future::pending().await
        }
    }
}

/// How bytes reach the disk, and what happens when they do not. An argument, so that tests can be slow or fail.
pub(super) trait Disk: Send + Sync {
    /// Returns when everything is on disk that was written to these files before the call.
    fn flush(&self, files: &WalFiles) -> io::Result<()>;

    /// Called when it is not known what is on disk. Nothing is published after it.
    fn lost(&self, what: &str);
}

/// The machine's own disk.
#[derive(Default)]
pub(super) struct SystemDisk {
    /// Directories whose own names are on disk. Those that were there when the process began are too
    /// (`Databases::open` flushes the file system), but one flush more for each costs less than finding out.
    known: Mutex<HashSet<PathBuf>>,
}

impl Disk for SystemDisk {
    fn flush(&self, files: &WalFiles) -> io::Result<()> {
        match files.flush(&self.known) {
            // Deleted meanwhile: what it held need not survive.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            flushed => flushed,
        }
    }

    fn lost(&self, what: &str) {
        tracing::error!(
            "{what}; the process ends, because what the disk holds is unknown: check the disk, then start again"
        );
        std::process::abort();
    }
}

/// The files of one database that a flush concerns.
pub(super) struct WalFiles {
    database: PathBuf,
    wal: File,
    /// Whether the files' names and the database file itself have yet to be flushed.
    new: AtomicBool,
}

impl WalFiles {
    /// Descriptors of an open database's files. `new` if this process made one of them.
    pub fn open(database: &Path, new: bool) -> io::Result<Self> {
        Ok(Self { database: database.into(), wal: File::open(wal_path(database))?, new: new.into() })
    }

    fn flush(&self, known: &Mutex<HashSet<PathBuf>>) -> io::Result<()> {
        self.wal.sync_data()?;
        if self.new.load(Ordering::Relaxed) {
            File::open(&self.database)?.sync_all()?;
            sync_parent(&self.database)?;
            // `<2 hex>` and `<class key>`.
            for dir in self.database.ancestors().skip(1).take(2) {
                if !known.lock().contains(dir) {
                    sync_parent(dir)?;
                    known.lock().insert(dir.into());
                }
            }
            self.new.store(false, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// The `-wal` beside a database file.
pub(super) fn wal_path(database: &Path) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push("-wal");
    path.into()
}

/// The threads that flush. Dropping the pool finishes what was requested.
pub(super) struct FlushPool {
    queue: Arc<Queue>,
    threads: Vec<JoinHandle<()>>,
}

struct Queue {
    disk: Box<dyn Disk>,
    waiting: Mutex<Waiting>,
    wake: Condvar,
    flushes: AtomicU64,
}

#[derive(Default)]
struct Waiting {
    objects: VecDeque<Arc<Object>>,
    stopping: bool,
}

/// What a sequence and the flush threads share.
struct Object {
    progress: Mutex<Progress>,
    durable: watch::Sender<DurableLsn>,
}

#[derive(Default)]
struct Progress {
    appended: Lsn,
    /// Waits in the queue or is being flushed.
    requested: bool,
    files: Option<Arc<WalFiles>>,
}

impl FlushPool {
    pub fn start(disk: Box<dyn Disk>) -> io::Result<Self> {
        let queue =
            Arc::new(Queue { disk, waiting: Mutex::default(), wake: Condvar::new(), flushes: AtomicU64::new(0) });
        let spawn = |n| {
            let queue = queue.clone();
            thread::Builder::new().name(format!("flush-{n}")).spawn(move || queue.work())
        };
        let threads = (0..FLUSH_THREADS).map(spawn).collect::<io::Result<_>>()?;
        Ok(Self { queue, threads })
    }

    /// Flushes done so far.
    pub fn flushes(&self) -> u64 {
        self.queue.flushes.load(Ordering::Relaxed)
    }

    /// Says that it is not known what is on disk: ends the process.
    pub fn lost(&self, what: &str) {
        self.queue.disk.lost(what);
    }

    /// The sequence of a database that is about to be used.
    pub fn sequence(&self) -> Sequence {
        let durable = watch::Sender::new(DurableLsn::default());
        Sequence { queue: self.queue.clone(), object: Arc::new(Object { progress: Mutex::default(), durable }) }
    }
}

impl Drop for FlushPool {
    fn drop(&mut self) {
        self.queue.waiting.lock().stopping = true;
        self.queue.wake.notify_all();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Queue {
    fn push(&self, object: Arc<Object>) {
        self.waiting.lock().objects.push_back(object);
        self.wake.notify_one();
    }

    fn pop(&self) -> Option<Arc<Object>> {
        let mut waiting = self.waiting.lock();
        loop {
            match waiting.objects.pop_front() {
                Some(object) => return Some(object),
                None if waiting.stopping => return None,
                None => self.wake.wait(&mut waiting),
            }
        }
    }

    fn work(&self) {
        while let Some(object) = self.pop() {
            self.flush(object);
        }
    }

    /// Order: read how far it is appended, flush, publish. What is appended meanwhile waits for the next flush.
    fn flush(&self, object: Arc<Object>) {
        let (upto, files) = {
            let progress = object.progress.lock();
            (progress.appended, progress.files.clone())
        };
        if let Some(files) = &files
            && let Err(error) = self.disk.flush(files)
        {
            self.disk.lost(&format!("flushing {} failed: {error}", files.database.display()));
            return;
        }
        self.flushes.fetch_add(1, Ordering::Relaxed);
        object.durable.send_replace(DurableLsn(upto.0));
        let mut progress = object.progress.lock();
        progress.requested = progress.appended > upto;
        if progress.requested {
            drop(progress);
            self.push(object);
        }
    }
}

/// The applied turns of one open database. Owned by it; cheap.
pub(super) struct Sequence {
    queue: Arc<Queue>,
    object: Arc<Object>,
}

impl Sequence {
    /// The last position appended.
    pub fn last(&self) -> Lsn {
        self.object.progress.lock().appended
    }

    pub fn watch(&self) -> DurableWatch {
        DurableWatch(self.object.durable.subscribe())
    }

    /// Whether everything appended is on disk.
    pub fn is_durable(&self) -> bool {
        self.object.durable.borrow().covers(self.last())
    }

    /// Tells which files the next flushes concern: before the first turn on them is applied, because nothing may fail
    /// between a turn's COMMIT and its flush.
    pub fn prepare(&self, open: impl FnOnce() -> io::Result<WalFiles>) -> io::Result<()> {
        let mut progress = self.object.progress.lock();
        if progress.files.is_none() {
            progress.files = Some(Arc::new(open()?));
        }
        Ok(())
    }

    /// Forgets the files: they are gone, and what they held needs no flush any more.
    pub fn forget(&self) {
        self.object.progress.lock().files = None;
    }

    /// Appends an applied turn and requests its flush. If the turn put other files in the place of those before, flushes
    /// concern these from now on; what the old ones hold need not survive.
    pub fn append(&self, replaced: Option<WalFiles>) -> Lsn {
        let mut progress = self.object.progress.lock();
        if let Some(files) = replaced {
            progress.files = Some(Arc::new(files));
        }
        progress.appended.0 += 1;
        let lsn = progress.appended;
        if !std::mem::replace(&mut progress.requested, true) {
            drop(progress);
            self.queue.push(self.object.clone());
        }
        lsn
    }
}
