//! SQLite's allocator: counts what SQLite allocates for each object, and limits it.
//!
//! SQLite has one allocator for the whole process; this file is it. A thread enters the [`Heap`] of a database
//! ([`enter`]); allocations until it leaves belong to that heap, whichever thread frees them and whenever: each
//! allocation is preceded by a header with its heap. A heap is bounded (`[limits] sql-memory`) and charged to its
//! class's account of the host's memory. An allocation over either limit is refused: SQLite returns `SQLITE_NOMEM`, and
//! the turn fails ([`Refusal`]).
//!
//! While SQLite compiles a statement, up to a minute with nested views, it calls no function of the host's that could
//! end it; but it allocates all the time. So each allocation also checks whether the statement may continue
//! (`running`). Neither check applies to statements that end a transaction.
//!
//! An allocation uses no shared atomics: a thread takes the whole reserve of its heap when it enters, and returns the
//! rest when it leaves; the reserve grows and shrinks in steps of [`STEP`].
//! Invariants:
//! * a ledger lives as long as its heap, any of its allocations, or any thread that has entered it, whichever is
//!   longest;
//! * an allocation is never counted for one heap and freed for another.

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU8, Ordering};

use parking_lot::Mutex;
use rusqlite::ffi;

use super::running::may_allocate;
use super::temporary::Temporary;
use crate::base::{MemoryCharge, NoMemory};

/// Bytes by which the reserve of a heap grows: a fresh connection needs three steps, a simple turn none.
const STEP: i64 = 32 << 10;
/// Bytes that a heap may keep in reserve while no thread has entered it.
const RESERVE_MAX: i64 = 4 * STEP;
/// Bytes by which all heaps must have shrunk before the process's free memory is worth giving to the system.
const WORTH_TRIMMING: i64 = 32 << 20;

/// Bytes that all heaps have reserved, and the most that they had since [`trim`] last looked.
static RESERVED: AtomicI64 = AtomicI64::new(0);
static PEAK: AtomicI64 = AtomicI64::new(0);
/// Bytes of heaps that the process may still hold of the system.
static HIGH: AtomicI64 = AtomicI64::new(0);

/// The amount that each holder of a ledger adds to its `held`: more than all bytes.
const HOLDER: i64 = 1 << 48;

/// In front of each allocation. Sixteen bytes, so that what follows is aligned as `malloc` aligns.
struct Header {
    /// Null: it belongs to no heap.
    ledger: *const Ledger,
    /// With the header.
    size: usize,
}

const HEADER: usize = size_of::<Header>();
const _: () = assert!(HEADER == 16);

/// The reasons why an allocation was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The object has reached its own limit of so many bytes.
    Object(u64),
    /// The host's memory is short, and the class has more than its share.
    Host,
}

/// The memory of one database. Cheap to clone.
#[derive(Clone)]
pub(super) struct Heap(Arc<Handle>);

/// The part of a ledger's life that heaps are: they hold it once.
struct Handle(NonNull<Ledger>);

// SAFETY: it points to a ledger, which is made of atomics and locks, and keeps it alive.
unsafe impl Send for Handle {}
// SAFETY: as above.
unsafe impl Sync for Handle {}

struct Ledger {
    limit: u64,
    /// Bytes that are charged. Changes only while the lock of `charge` is held.
    reserved: AtomicI64,
    /// Bytes allocated and bytes in the hands of threads that work for it, and [`HOLDER`] for each of them and for the
    /// handle. At 0 the ledger is freed.
    held: AtomicI64,
    charge: Mutex<MemoryCharge>,
    /// 0: nothing was refused; 1: the object's limit; 2: the host's.
    refused: AtomicU8,
    temporary: Temporary,
}

/// For whom a thread allocates.
struct Current {
    ledger: Cell<*const Ledger>,
    /// Bytes that it may allocate without asking; counted in the ledger's `held`.
    grant: Cell<i64>,
    /// Nothing is refused: for ending a transaction.
    exempt: Cell<bool>,
}

thread_local! {
    static CURRENT: Current =
        const { Current { ledger: Cell::new(ptr::null()), grant: Cell::new(0), exempt: Cell::new(false) } };
}

/// A thread works for a heap until this is dropped, which holds the ledger for as long. (The pointers keep this from
/// being sent to another thread.)
pub(super) struct Entered {
    ledger: *const Ledger,
    before: Before,
}

/// The state of a thread before it entered a heap.
enum Before {
    /// It had entered the same heap, and nothing changed.
    Same,
    /// It had entered the same heap, which might refuse.
    Refusing,
    /// It had entered another heap or none: its ledger, the thread's grant, and whether nothing was refused.
    Other(*const Ledger, i64, bool),
}

/// The heap of a suspended stack, which may continue on another thread.
pub(super) struct Paused {
    ledger: *const Ledger,
    exempt: bool,
}

// SAFETY: what it points to is held by an `Entered` on the suspended stack, which moves with it.
unsafe impl Send for Paused {}

/// Has the calling thread allocate for this heap. Entering the heap that it works for already does nothing. On a stack
/// that may continue on another thread, [`pause`] comes before each suspension.
#[inline(never)]
pub(super) fn enter(heap: &Heap) -> Entered {
    switch(heap, false)
}

/// Enters the heap so that nothing is refused, for what the host must be able to do. Allocations are charged all the
/// same.
#[inline(never)]
pub(super) fn enter_exempt(heap: &Heap) -> Entered {
    switch(heap, true)
}

fn switch(heap: &Heap, exempt: bool) -> Entered {
    let ledger: *const Ledger = heap.0.0.as_ptr();
    let before = CURRENT.with(|current| {
        if current.ledger.get() == ledger {
            let refusing = exempt && !current.exempt.replace(exempt || current.exempt.get());
            return if refusing { Before::Refusing } else { Before::Same };
        }
        let before = Before::Other(current.ledger.get(), current.grant.get(), current.exempt.replace(exempt));
        current.ledger.set(ledger);
        current.grant.set(heap.ledger().take_reserve(HOLDER));
        before
    });
    Entered { ledger, before }
}

/// Has the calling thread leave its heap: for allocations that outlive its work, or because the stack that it runs on
/// is about to be suspended. Called on that stack, as is [`Paused::go_on`].
#[inline(never)]
pub(super) fn pause() -> Paused {
    CURRENT.with(|current| {
        let ledger = current.ledger.replace(ptr::null());
        let (unused, exempt) = (current.grant.replace(0), current.exempt.replace(false));
        // SAFETY: the ledger of a heap that is entered is held.
        if let Some(ledger) = unsafe { ledger.as_ref() } {
            ledger.bring_back(unused);
        }
        Paused { ledger, exempt }
    })
}

impl Paused {
    /// Has the calling thread work for whom the stack worked before it was suspended.
    #[inline(never)]
    pub(super) fn go_on(self) {
        CURRENT.with(|current| {
            // SAFETY: the ledger is still held by an `Entered` of this stack.
            let grant = unsafe { self.ledger.as_ref() }.map_or(0, |ledger| ledger.take_reserve(0));
            current.ledger.set(self.ledger);
            current.grant.set(grant);
            current.exempt.set(self.exempt);
        });
    }
}

impl Drop for Entered {
    #[inline(never)]
    fn drop(&mut self) {
        let (ledger, grant, exempt) = match self.before {
            Before::Same => return,
            Before::Refusing => return CURRENT.with(|current| current.exempt.set(false)),
            Before::Other(ledger, grant, exempt) => (ledger, grant, exempt),
        };
        let unused = CURRENT.with(|current| {
            // Otherwise the stack was suspended without `pause`; what this thread does for others is not to be mixed up
            // with it.
            let same = current.ledger.get() == self.ledger;
            debug_assert!(same, "a stack was suspended without `pause`");
            if !same {
                return 0;
            }
            current.ledger.set(ledger);
            current.exempt.set(exempt);
            current.grant.replace(grant)
        });
        // SAFETY: this has held the ledger until here, and the bytes were in the thread's hands.
        unsafe { Ledger::leave(self.ledger, unused) };
    }
}

/// Temporary files of the heap that the calling thread works for.
pub(super) fn current_temporary() -> Option<Temporary> {
    let ledger = CURRENT.with(|current| current.ledger.get());
    // SAFETY: the ledger of a heap that is entered is held.
    unsafe { ledger.as_ref() }.map(|ledger| ledger.temporary.clone())
}

impl Heap {
    /// Creates a heap of at most `limit` bytes, which are taken from `charge`'s account. Fails if not even a connection
    /// fits there.
    pub fn new(mut charge: MemoryCharge, limit: u64, temporary: Temporary) -> Result<Self, NoMemory> {
        charge.grow((2 * STEP) as u64)?;
        reserved(charge.bytes() as i64);
        let ledger = Ledger {
            limit,
            reserved: AtomicI64::new(charge.bytes() as i64),
            held: AtomicI64::new(HOLDER),
            charge: Mutex::new(charge),
            refused: AtomicU8::new(0),
            temporary,
        };
        let ledger = NonNull::from(Box::leak(Box::new(ledger)));
        Ok(Self(Arc::new(Handle(ledger))))
    }

    fn ledger(&self) -> &Ledger {
        // SAFETY: the handle keeps it alive.
        unsafe { self.0.0.as_ref() }
    }

    /// Returns the bytes in use. Exact while no thread has entered the heap.
    #[cfg(test)]
    pub fn used(&self) -> u64 {
        self.ledger().bytes() as u64
    }

    /// What was refused since this was last asked.
    pub fn take_refusal(&self) -> Option<Refusal> {
        let ledger = self.ledger();
        // Asked after each statement: a read costs less than a swap.
        if ledger.refused.load(Ordering::Relaxed) == 0 {
            return None;
        }
        match ledger.refused.swap(0, Ordering::Relaxed) {
            0 => None,
            1 => Some(Refusal::Object(ledger.limit)),
            _ => Some(Refusal::Host),
        }
    }

    /// Holds bytes that are not SQLite's, for what is read from it. None if they are refused.
    pub fn hold(&self, bytes: usize) -> Option<Held> {
        self.ledger().take(bytes as i64, false, false)?;
        Some(Held { heap: self.clone(), bytes: bytes as i64 })
    }

    /// Temporary files of the database.
    pub fn temporary(&self) -> &Temporary {
        &self.ledger().temporary
    }
}

/// Bytes of a heap that are not SQLite's. Dropping it gives them back.
pub(super) struct Held {
    heap: Heap,
    bytes: i64,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.heap.ledger().bring_back(self.bytes);
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: the handle has held it, once.
        unsafe { Ledger::give(self.0.as_ptr(), HOLDER) };
    }
}

impl Ledger {
    /// Bytes allocated or in the hands of threads.
    fn bytes(&self) -> i64 {
        self.held.load(Ordering::Relaxed) & (HOLDER - 1)
    }

    /// Returns the bytes that are reserved and not in use.
    fn spare(&self) -> i64 {
        self.reserved.load(Ordering::Relaxed) - self.bytes()
    }

    /// Takes everything that is reserved and not in use, and holds the ledger once more if `holder` is [`HOLDER`].
    fn take_reserve(&self, holder: i64) -> i64 {
        let held = self.held.load(Ordering::Relaxed);
        let spare = (self.reserved.load(Ordering::Relaxed) - (held & (HOLDER - 1))).max(0);
        if self.held.compare_exchange(held, held + holder + spare, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            return spare;
        }
        self.held.fetch_add(holder, Ordering::Relaxed);
        // The first allocation asks for more.
        0
    }

    /// Takes so many bytes, or with `all` everything that is not in use but at least these, reserving more if need be.
    /// None if that is refused.
    #[cold]
    fn take(&self, wanted: i64, exempt: bool, all: bool) -> Option<i64> {
        let mut charge = self.charge.lock();
        let spare = self.spare();
        let missing = wanted - spare.max(0);
        if missing > 0 {
            let more = (missing as u64).next_multiple_of(STEP as u64);
            let refused = if exempt {
                charge.grow_anyway(more);
                0
            } else if charge.bytes() + more > self.limit {
                1
            } else {
                2 * u8::from(charge.grow(more).is_err())
            };
            if refused != 0 {
                self.refused.store(refused, Ordering::Relaxed);
                return None;
            }
            self.reserved.fetch_add(more as i64, Ordering::Relaxed);
            reserved(more as i64);
        }
        let granted = if all { self.spare().max(wanted) } else { wanted };
        self.held.fetch_add(granted, Ordering::Relaxed);
        Some(granted)
    }

    /// A thread leaves with so many bytes that it took and did not use.
    fn bring_back(&self, unused: i64) {
        self.held.fetch_sub(unused, Ordering::AcqRel);
        if self.spare() > RESERVE_MAX {
            self.shrink();
        }
    }

    /// The same, and does not hold the ledger any more.
    ///
    /// # Safety
    /// The caller holds the ledger and does not use it after this.
    unsafe fn leave(ledger: *const Self, unused: i64) {
        // SAFETY: the caller holds it until the last line of each way.
        unsafe {
            if (*ledger).spare() + unused > RESERVE_MAX {
                (*ledger).bring_back(unused);
                Self::give(ledger, HOLDER);
            } else {
                Self::give(ledger, unused + HOLDER);
            }
        }
    }

    #[cold]
    fn shrink(&self) {
        let mut charge = self.charge.lock();
        let spare = self.spare();
        let less = (spare - STEP).max(0);
        charge.shrink(less as u64);
        self.reserved.fetch_sub(less, Ordering::Relaxed);
        reserved(-less);
    }

    /// Gives back bytes that were held, or a [`HOLDER`]. The last ones take the ledger with them.
    ///
    /// # Safety
    /// So many are held by the caller, and the caller does not use the ledger after this.
    unsafe fn give(ledger: *const Self, bytes: i64) {
        // SAFETY: what the caller holds keeps the ledger alive up to here; the caller that brings `held` to 0 was the
        // last holder.
        unsafe {
            if (*ledger).held.fetch_sub(bytes, Ordering::AcqRel) == bytes {
                drop(Box::from_raw(ledger.cast_mut()));
            }
        }
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        reserved(-self.reserved.load(Ordering::Relaxed));
    }
}

/// All heaps together have reserved so many bytes more.
fn reserved(more: i64) {
    let now = RESERVED.fetch_add(more, Ordering::Relaxed) + more;
    PEAK.fetch_max(now, Ordering::Relaxed);
}

/// Takes bytes from the calling thread's grant, for the heap that it works for. None if they are refused, or the
/// statement may not continue.
fn charge(bytes: i64) -> Option<*const Ledger> {
    CURRENT.with(|current| {
        if !current.exempt.get() && !may_allocate(bytes.max(0) as usize) {
            return None;
        }
        let ledger = current.ledger.get();
        if ledger.is_null() {
            return Some(ledger);
        }
        let mut grant = current.grant.get();
        if grant < bytes {
            // SAFETY: the ledger of a heap that is entered is held.
            grant += unsafe { (*ledger).take(bytes - grant, current.exempt.get(), true) }?;
        }
        current.grant.set(grant - bytes);
        Some(ledger)
    })
}

/// Gives bytes of a heap back, to the calling thread's grant if it works for it.
///
/// # Safety
/// They were charged to that heap, once, and are not used any more.
unsafe fn discharge(ledger: *const Ledger, bytes: i64) {
    CURRENT.with(|current| {
        if ledger == current.ledger.get() {
            current.grant.set(current.grant.get() + bytes);
        } else if !ledger.is_null() {
            // SAFETY: the caller's bytes are held until here.
            unsafe { Ledger::give(ledger, bytes) };
        }
    });
}

/// The system itself has no memory.
///
/// # Safety
/// The ledger, if it is not null, is held.
unsafe fn system_refused(ledger: *const Ledger) {
    // SAFETY: the caller's.
    if let Some(ledger) = unsafe { ledger.as_ref() } {
        ledger.refused.store(2, Ordering::Relaxed);
    }
}

unsafe extern "C" fn allocate(size: c_int) -> *mut c_void {
    let size = size.max(0) as usize + HEADER;
    let Some(ledger) = charge(size as i64) else { return ptr::null_mut() };
    // SAFETY: `malloc` answers null or room for `size` bytes, aligned for any header.
    unsafe {
        let start: *mut Header = libc::malloc(size).cast();
        if start.is_null() {
            system_refused(ledger);
            discharge(ledger, size as i64);
            return ptr::null_mut();
        }
        start.write(Header { ledger, size });
        start.add(1).cast()
    }
}

unsafe extern "C" fn free(allocation: *mut c_void) {
    // SAFETY: SQLite frees what `allocate` or `reallocate` gave it, once; a header is in front of it.
    unsafe {
        let start = allocation.cast::<Header>().sub(1);
        let Header { ledger, size } = start.read();
        libc::free(start.cast());
        discharge(ledger, size as i64);
    }
}

unsafe extern "C" fn reallocate(allocation: *mut c_void, size: c_int) -> *mut c_void {
    let size = size.max(0) as usize + HEADER;
    // SAFETY: as for `free`. If `realloc` answers null, what was there before stays as it was.
    unsafe {
        let start = allocation.cast::<Header>().sub(1);
        let Header { ledger, size: before } = start.read();
        if CURRENT.with(|current| current.ledger.get()) != ledger {
            return moved(allocation, before - HEADER, size - HEADER);
        }
        let more = size as i64 - before as i64;
        if more > 0 && charge(more).is_none() {
            return ptr::null_mut();
        }
        let start: *mut Header = libc::realloc(start.cast(), size).cast();
        if start.is_null() {
            system_refused(ledger);
            discharge(ledger, more.max(0));
            return ptr::null_mut();
        }
        (*start).size = size;
        discharge(ledger, (-more).max(0));
        start.add(1).cast()
    }
}

/// An allocation of another heap becomes one of the heap that the thread works for.
///
/// # Safety
/// The allocation is SQLite's, has so many bytes, and is not used any more unless this answers null.
unsafe fn moved(allocation: *mut c_void, before: usize, size: usize) -> *mut c_void {
    // SAFETY: both have at least as many bytes as are copied; they do not overlap.
    unsafe {
        let new = allocate(size as c_int);
        if !new.is_null() {
            ptr::copy_nonoverlapping(allocation.cast::<u8>(), new.cast(), before.min(size));
            free(allocation);
        }
        new
    }
}

unsafe extern "C" fn size_of_allocation(allocation: *mut c_void) -> c_int {
    // SAFETY: SQLite asks about what it was given.
    unsafe { ((*allocation.cast::<Header>().sub(1)).size - HEADER) as c_int }
}

unsafe extern "C" fn rounded(size: c_int) -> c_int {
    size.saturating_add(7) & !7
}

unsafe extern "C" fn begin(_: *mut c_void) -> c_int {
    ffi::SQLITE_OK
}

unsafe extern "C" fn end(_: *mut c_void) {}

/// Has SQLite use this allocator. Fails if SQLite is in use already.
pub(super) fn install() -> c_int {
    let methods = ffi::sqlite3_mem_methods {
        xMalloc: Some(allocate),
        xFree: Some(free),
        xRealloc: Some(reallocate),
        xSize: Some(size_of_allocation),
        xRoundup: Some(rounded),
        xInit: Some(begin),
        xShutdown: Some(end),
        pAppData: ptr::null_mut(),
    };
    // SAFETY: SQLite copies the methods, which fulfil what it asks of them.
    unsafe { ffi::sqlite3_config(ffi::SQLITE_CONFIG_MALLOC, &raw const methods) }
}

/// Gives the process's free memory back to the system, if heaps were much smaller during the whole time since the last
/// call than before: so not between two turns of a busy object. May take milliseconds for each hundred megabytes;
/// allocations of other threads wait meanwhile. For one caller, now and then.
pub fn trim() {
    let peak = PEAK.swap(RESERVED.load(Ordering::Relaxed), Ordering::Relaxed);
    let high = HIGH.load(Ordering::Relaxed);
    if high - peak < WORTH_TRIMMING {
        return HIGH.store(high.max(peak), Ordering::Relaxed);
    }
    HIGH.store(peak, Ordering::Relaxed);
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: it may be called at any time.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(test)]
mod tests;
