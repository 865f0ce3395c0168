//! The statement that runs on the calling thread, and the checks that need not suspend it.
//!
//! SQLite's allocator, page cache and temporary files check whether the statement may continue. This file owns the
//! state of the running statement and the check of the allocator, which never suspends; the checks that may suspend are
//! in `stacks`.

use std::cell::Cell;
use std::ptr;
use std::time::Duration;

use corosensei::Yielder;

use crate::base::WorkBudget;

/// Bytes that must be left of a stack for an allocation to be granted: a refusal ends the statement before the stack
/// overflows.
const LEFT: usize = 16 << 20;
/// CPU time that a statement may use where it cannot be suspended: hundreds of times what compiling an ordinary one
/// takes.
const STRETCH: Duration = Duration::from_millis(250);
/// Allocations between two looks at stack and clock: some 20 µs of compiling.
pub(super) const ALLOCATIONS: u32 = 256;
/// Bytes of an allocation at which the clock is looked at in any case: filling it takes far longer than the look. One
/// step of SQLite's virtual machine may fill one, and the limit is otherwise checked only after hundreds of steps.
const LARGE: usize = 64 << 10;

/// The error of a statement that [`may_allocate`] has ended.
pub(super) const TOO_MUCH_AT_ONCE: &str =
    "a statement may compile for 250 ms, and nest views and expressions no deeper than 48 MiB of stack allow";

/// The state of the statement that runs on the calling thread's stack. It is stored on that stack.
pub(super) struct Running {
    pub yielder: *const Yielder<(), ()>,
    /// Borrowed by the `OnStack` that drives the coroutine.
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
    /// The running statement; null if the thread is on its own stack.
    static RUNNING: Cell<*const Running> = const { Cell::new(ptr::null()) };
}

/// Returns the running statement. Not inlined, nor is [`set_running`]: a stack may continue on another thread, and
/// within one function a compiler may keep the address of a thread-local.
#[inline(never)]
pub(super) fn running<'a>() -> Option<&'a Running> {
    // SAFETY: it is set by [`Seat`] and `give_way` only, to something on the stack that the thread is on, and is null
    // again before that ends.
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
        // SAFETY: the `OnStack` that drives the coroutine borrows it for longer than the coroutine runs.
        unsafe { &*self.work }
    }

    /// Returns the bytes of the stack in use, by the address of a variable on it.
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

/// Returns whether SQLite may be given so many bytes. Called at each allocation, because compiling a statement calls
/// nothing else of the host's, but allocates all the time. Never suspends the statement, because SQLite may hold a
/// mutex.
pub(super) fn may_allocate(bytes: usize) -> bool {
    let Some(running) = running() else { return true };
    let count = running.allocations.get() + 1;
    running.allocations.set(count % ALLOCATIONS);
    match count < ALLOCATIONS {
        true => bytes < LARGE || running.work().check_time().is_ok(),
        false => running.may_go_on(),
    }
}

/// Whether [`may_allocate`] has refused memory since the last call, because the running statement is too deep or was
/// compiled for too long.
pub(super) fn take_denied() -> bool {
    running().is_some_and(|running| running.denied.take())
}

/// Notes that the running statement was compiled, so it may have used much of the stack.
pub(super) fn note_compiled() {
    if let Some(running) = running() {
        running.compiled.set(true);
    }
}

/// A guard: the thread runs this statement until the guard is dropped.
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
