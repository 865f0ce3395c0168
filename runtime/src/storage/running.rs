//! The statement that runs on the calling thread's stack, and whether SQLite may go on with it.
//!
//! SQLite asks through its allocator, its page cache and its files. This file answers what can be answered without
//! suspending the statement; `stacks` does the rest.

use std::cell::Cell;
use std::ptr;
use std::time::Duration;

use corosensei::Yielder;

use crate::base::WorkBudget;

/// What must be left of a stack for SQLite to be given memory: the refusal ends the statement before the stack does.
const LEFT: usize = 16 << 20;
/// CPU time that a statement may compute where it cannot be suspended: hundreds of times what compiling an honest one takes.
const STRETCH: Duration = Duration::from_millis(250);
/// Allocations between two looks at stack and clock: some 20 µs of compiling.
pub(super) const ALLOCATIONS: u32 = 256;

/// What a statement is told that [`may_allocate`] has ended.
pub(super) const TOO_MUCH_AT_ONCE: &str =
    "a statement may compile for 250 ms, and nest views and expressions no deeper than 48 MiB of stack allow";

/// What runs on the stack that the calling thread is on, as [`give_way`] and [`may_allocate`] need it. Lives on that stack.
pub(super) struct Running {
    pub yielder: *const Yielder<(), ()>,
    /// Borrowed by the [`OnStack`] that drives the coroutine.
    work: *const WorkBudget,
    base: usize,
    limit: usize,
    allocations: Cell<u32>,
    pub fetches: Cell<u32>,
    pub uses_of_files: Cell<u32>,
    denied: Cell<bool>,
    pub refused_page: Cell<bool>,
    pub refused_file: Cell<bool>,
    pub compiled: Cell<bool>,
}

thread_local! {
    /// Null: the thread is on its own stack.
    static RUNNING: Cell<*const Running> = const { Cell::new(ptr::null()) };
}

/// Not inlined, nor is [`set_running`]: a stack may go on on another thread, and within one function a compiler may remember where a
/// thread-local is.
#[inline(never)]
pub(super) fn running<'a>() -> Option<&'a Running> {
    // SAFETY: it is set by `run` and `give_way` only, to something on the stack that the thread is on, and is null again before that ends.
    unsafe { RUNNING.get().as_ref() }
}

#[inline(never)]
pub(super) fn set_running(running: *const Running) {
    RUNNING.set(running);
}

impl Running {
    pub fn new(yielder: &Yielder<(), ()>, work: &WorkBudget, base: usize, limit: usize) -> Self {
        Self {
            yielder,
            work,
            base,
            limit,
            allocations: Cell::new(0),
            fetches: Cell::new(0),
            uses_of_files: Cell::new(0),
            denied: Cell::new(false),
            refused_page: Cell::new(false),
            refused_file: Cell::new(false),
            compiled: Cell::new(false),
        }
    }

    pub fn work(&self) -> &WorkBudget {
        // SAFETY: whoever drives the coroutine borrows it for longer than the coroutine runs.
        unsafe { &*self.work }
    }

    /// Bytes of the stack in use, by the address of something that is on it.
    pub fn depth(&self) -> usize {
        let here = 0_u8;
        self.base.saturating_sub(ptr::from_ref(&here).addr())
    }

    #[cold]
    fn may_go_on(&self) -> bool {
        if self.work().check_time().is_err() {
            return false;
        }
        if self.depth() + LEFT > self.base - self.limit || self.work().running() > STRETCH {
            self.denied.set(true);
        }
        !self.denied.get()
    }
}

/// Whether SQLite may be given memory: asked at each allocation, because that is what it does all the time while it compiles. Suspends nothing,
/// because SQLite may hold a mutex.
pub(super) fn may_allocate() -> bool {
    let Some(running) = running() else { return true };
    let count = running.allocations.get() + 1;
    running.allocations.set(count % ALLOCATIONS);
    count < ALLOCATIONS || running.may_go_on()
}

/// Whether [`may_allocate`] has refused something to the running statement because it is too deep or compiled for too long.
pub(super) fn take_denied() -> bool {
    running().is_some_and(|running| running.denied.take())
}

/// The running statement was compiled, so it may have used much of the stack.
pub(super) fn note_compiled() {
    if let Some(running) = running() {
        running.compiled.set(true);
    }
}

/// The thread runs on this stack until it is dropped.
pub(super) struct Seat;

impl Seat {
    pub fn take(running: &Running) -> Self {
        set_running(running);
        Self
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        set_running(ptr::null());
    }
}
