//! The queues of lanes, between the submitters of records and the writer, and how far each lane is durable.
//!
//! Owns one queue per lane, under a lock of its own. Does not own where bytes are stored: the file log and the memory
//! log take what is queued, and publish. Invariants: positions are dense and assigned in the order of the bytes; only a
//! log's writer publishes, and only what it has made durable.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use parking_lot::Mutex;
use tokio::sync::watch;

use super::LogError;
use super::position::{Lane, Lsn};
use super::record::Encoded;
use super::room::{Reservation, Room};

/// How far a lane is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durable {
    /// Durable up to this position.
    Upto(Lsn),
    /// The lane was lost to this process, which cannot know how far it is durable. Final.
    Lost,
}

/// The error of a lane that was lost: what was appended to it may be durable or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this part of the commit log was lost; whether what was appended to it is durable is unknown")]
pub struct LaneLost;

/// A watch on how far one lane is durable. Clones watch the same lane.
#[derive(Clone, Debug)]
pub struct DurableWatch(watch::Receiver<Durable>);

impl DurableWatch {
    /// Creates a watch on what a test sends.
    #[cfg(test)]
    pub(crate) fn of(durable: watch::Receiver<Durable>) -> Self {
        Self(durable)
    }

    /// Returns how far the lane is durable; 0 if it is lost.
    pub fn upto(&self) -> Lsn {
        match *self.0.borrow() {
            Durable::Upto(lsn) => lsn,
            Durable::Lost => Lsn(0),
        }
    }

    /// Whether that position is durable. Always false for a lost lane, even for positions that were durable.
    pub fn covers(&self, lsn: Lsn) -> bool {
        matches!(*self.0.borrow(), Durable::Upto(upto) if upto >= lsn)
    }

    /// Whether the lane is lost.
    pub fn is_lost(&self) -> bool {
        *self.0.borrow() == Durable::Lost
    }

    /// Waits until that position is durable. Fails if the lane is lost, or its log dropped, before that.
    pub async fn reached(&mut self, lsn: Lsn) -> Result<(), LaneLost> {
        let is_over = |durable: &Durable| match durable {
            Durable::Upto(upto) => *upto >= lsn,
            Durable::Lost => true,
        };
        match self.0.wait_for(is_over).await.as_deref() {
            Ok(Durable::Upto(_)) => Ok(()),
            Ok(Durable::Lost) | Err(_) => Err(LaneLost),
        }
    }

    /// Blocks the thread until that position is durable. Fails as [`reached`](Self::reached) does.
    pub fn wait(&self, lsn: Lsn) -> Result<(), LaneLost> {
        if self.covers(lsn) { Ok(()) } else { block_on(self.clone().reached(lsn)) }
    }
}

/// Runs a future to its end by parking the thread: waiting for the log's writer needs no runtime.
pub(super) fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(value) => return value,
            Poll::Pending => thread::park(),
        }
    }
}

/// Appends to one lane. Cheap to clone.
#[derive(Clone)]
pub struct LaneWriter {
    lanes: Arc<Lanes>,
    lane: Lane,
}

impl LaneWriter {
    /// Appends a record. Never blocks on the disk. `then` runs under the lane's lock, before a later position is
    /// assigned: it must be short and must not submit. The reservation is reduced by what the record takes.
    pub fn submit(&self, record: Encoded, reservation: &mut Reservation, then: impl FnOnce(Lsn)) -> Lsn {
        let covered = reservation.take(record.len() as u64);
        self.lanes.submit(self.lane, &record, covered, None, then)
    }

    /// Returns a watch on how far the lane is durable.
    pub fn durable(&self) -> DurableWatch {
        self.lanes.durable(self.lane)
    }

    /// Returns the last submitted position.
    pub fn appended(&self) -> Lsn {
        self.lanes.appended(self.lane)
    }
}

/// The lanes as submitters and a log's writer share them.
pub(super) struct Lanes {
    lanes: Box<[Shared]>,
    /// One bit per lane: its queue is not empty.
    dirty: AtomicU64,
    writer: OnceLock<Thread>,
    pub room: Arc<Room>,
}

struct Shared {
    queue: Mutex<Queue>,
    durable: watch::Sender<Durable>,
    opened: AtomicBool,
}

struct Queue {
    next: Lsn,
    gathered: Gathered,
}

/// The queue of a lane: frames one after the other, with dense positions from `first`.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    pub first: Lsn,
    pub records: u32,
    pub frames: Vec<u8>,
    /// Bytes of reservations that these frames use.
    pub covered: u64,
    /// The position of the last Trim among the records.
    pub trim: Option<Lsn>,
}

impl Lanes {
    /// Creates lanes that continue after these positions, all of which are durable.
    pub fn new(last: &[Lsn], room: Arc<Room>) -> Arc<Self> {
        let lane = |last: &Lsn| Shared {
            queue: Mutex::new(Queue { next: Lsn(last.0 + 1), gathered: Gathered::default() }),
            durable: watch::Sender::new(Durable::Upto(*last)),
            opened: AtomicBool::new(false),
        };
        let lanes = last.iter().map(lane).collect();
        Arc::new(Self { lanes, dirty: AtomicU64::new(0), writer: OnceLock::new(), room })
    }

    pub fn count(&self) -> u16 {
        self.lanes.len() as u16
    }

    /// Appends the OPEN of a lane and returns its writer; `None` if the lane is open already.
    pub fn open(self: &Arc<Self>, lane: Lane, open: &Encoded) -> Option<LaneWriter> {
        if self.lanes[lane.index()].opened.swap(true, Ordering::AcqRel) {
            return None;
        }
        self.submit(lane, open, 0, None, |_| {});
        Some(LaneWriter { lanes: self.clone(), lane })
    }

    fn is_open(&self, lane: Lane) -> bool {
        self.lanes[lane.index()].opened.load(Ordering::Acquire)
    }

    pub fn submit(&self, lane: Lane, record: &Encoded, covered: u64, trim: Option<Lsn>, then: impl FnOnce(Lsn)) -> Lsn {
        let mut queue = self.lanes[lane.index()].queue.lock();
        let lsn = queue.next;
        queue.next = Lsn(lsn.0 + 1);
        let gathered = &mut queue.gathered;
        if gathered.records == 0 {
            gathered.first = lsn;
        }
        gathered.records += 1;
        gathered.frames.extend_from_slice(record.bytes());
        gathered.covered += covered;
        gathered.trim = trim.or(gathered.trim);
        then(lsn);
        drop(queue);
        if self.dirty.fetch_or(1 << lane.index(), Ordering::AcqRel) == 0 {
            self.wake();
        }
        lsn
    }

    /// Appends a Trim to each lane whose position is new. Returns the positions of the Trims.
    pub fn submit_trims(&self, upto: &[Lsn], trimmed: impl Fn(Lane) -> Lsn) -> Result<Vec<(Lane, Lsn)>, LogError> {
        assert_eq!(upto.len(), self.lanes.len(), "a trim names a position for each lane");
        let lanes = (0..self.count()).map(Lane::new).zip(upto.iter().copied());
        let moved = lanes.filter(|(lane, upto)| *upto > trimmed(*lane) && !self.durable(*lane).is_lost());
        let moved: Vec<_> = moved.collect();
        if let Some((lane, _)) = moved.iter().find(|(lane, _)| !self.is_open(*lane)) {
            return Err(LogError::Lane(*lane));
        }
        let submit = |(lane, upto): (Lane, Lsn)| {
            let durable = self.durable(lane);
            assert!(durable.covers(upto) || durable.is_lost(), "only what is durable is trimmed");
            (lane, self.submit(lane, &Encoded::trim(upto), 0, Some(upto), |_| {}))
        };
        Ok(moved.into_iter().map(submit).collect())
    }

    /// Sets the thread that is woken when something is submitted.
    pub fn wakes(&self, writer: Thread) {
        let _ = self.writer.set(writer);
    }

    pub fn wake(&self) {
        if let Some(writer) = self.writer.get() {
            writer.unpark();
        }
    }

    pub fn is_idle(&self) -> bool {
        self.dirty.load(Ordering::Acquire) == 0
    }

    /// Takes what is queued, lane by lane. Each lane continues with the empty buffer that `empty` returns.
    pub fn gather(&self, mut empty: impl FnMut() -> Vec<u8>, mut take: impl FnMut(Lane, Gathered)) {
        let mut dirty = self.dirty.swap(0, Ordering::AcqRel);
        while dirty != 0 {
            let index = dirty.trailing_zeros();
            dirty &= dirty - 1;
            let fresh = Gathered { frames: empty(), ..Gathered::default() };
            let gathered = std::mem::replace(&mut self.lanes[index as usize].queue.lock().gathered, fresh);
            // The bit may be set once more for records that an earlier call has taken.
            if gathered.records > 0 {
                take(Lane::new(index as u16), gathered);
            }
        }
    }

    /// Publishes how far a lane is durable. Called only by a log's writer, after its flush.
    pub fn publish(&self, lane: Lane, upto: Lsn) {
        self.change(lane, Durable::Upto(upto));
    }

    /// Marks a lane as lost: all that wait for it fail, now and later.
    #[cfg(test)]
    pub fn lose(&self, lane: Lane) {
        self.change(lane, Durable::Lost);
    }

    fn change(&self, lane: Lane, to: Durable) {
        // A lost lane stays lost, whatever a flush does that was running.
        self.lanes[lane.index()].durable.send_if_modified(|durable| {
            let changes = *durable != Durable::Lost;
            if changes {
                *durable = to;
            }
            changes
        });
    }

    pub fn durable(&self, lane: Lane) -> DurableWatch {
        DurableWatch(self.lanes[lane.index()].durable.subscribe())
    }

    pub fn appended(&self, lane: Lane) -> Lsn {
        Lsn(self.lanes[lane.index()].queue.lock().next.0 - 1)
    }
}
