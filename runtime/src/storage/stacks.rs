//! Runs SQLite on stacks of its own, so that a statement can be suspended while it runs.
//!
//! The text of a statement decides how deep SQLite recurses and how long it computes. So everything that compiles or
//! runs a guest's SQL runs as a coroutine ([`OnStack`]), on a stack that is large enough for the deepest statement that
//! the limits admit (measured: `docs/decisions/0009-sql-on-its-own-stacks.md`). The coroutine is suspended
//! ([`give_way`]) when its slice of CPU time is over, so that no thread is blocked while a statement waits for its next
//! slice.
//!
//! Invariants:
//! * a suspended statement is never unwound: when its future is dropped, the statement is resumed with its budget
//!   ended, and the progress handler makes SQLite end it as any other error would;
//! * a statement is suspended only where SQLite holds none of its mutexes, and on the upper part of its stack
//!   ([`SHALLOW`]), so that stacks that wait take little memory;
//! * a suspended stack may continue on another thread, so it holds no guard of a lock and no borrow of a thread-local.

use std::io;
use std::marker::PhantomData;
use std::pin::Pin;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll};

use corosensei::stack::{DefaultStack, Stack as _};
use corosensei::{Coroutine, CoroutineResult, Yielder};
use parking_lot::Mutex;

use super::heap;
use super::running::{Running, Seat, running, set_running};
use crate::base::{Exhausted, WorkBudget};

/// Address space of one stack: eight times what the deepest known statement takes. Only used pages take memory.
const STACK: usize = 64 << 20;
/// A statement that is deeper than this is not suspended: only compiling goes deeper, and `running` bounds that.
const SHALLOW: usize = 256 << 10;
/// Pages, and reads and writes of temporary files, between two looks at the clock: 20 µs to 1 ms.
const FETCHES: u32 = 256;
const USES_OF_FILES: u32 = 64;
/// Stacks that exist at once. Each running or waiting statement has one.
const STACKS_MAX: usize = 4_096;
/// Stacks that are kept for the next statements.
const KEPT: usize = 64;
/// Bytes that a stack keeps when its lower pages are given back to the system.
const RESIDENT: usize = 32 << 10;
/// Uses of a stack after which its lower pages are given back, even if no statement was compiled on it: only compiling
/// uses much.
const USES: u32 = 4_096;

/// The stacks of one process. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Stacks(Arc<Pool>);

#[derive(Default)]
struct Pool {
    /// The free stacks, each with the number of its uses since its lower pages were given back.
    unused: Mutex<Vec<(DefaultStack, u32)>>,
    count: AtomicUsize,
}

/// A stack that belongs to one turn at a time.
pub(super) struct Stack {
    /// None only while it is dropped, or a coroutine has it.
    memory: Option<DefaultStack>,
    uses: u32,
    pool: Arc<Pool>,
}

impl Stacks {
    /// Returns a free or new stack; none if there are [`STACKS_MAX`], or the system refuses one.
    pub fn take(&self) -> Option<Stack> {
        let unused = self.0.unused.lock().pop();
        let (memory, uses) = match unused {
            Some(unused) => unused,
            None => (self.0.make().ok()?, 0),
        };
        Some(Stack { memory: Some(memory), uses, pool: self.0.clone() })
    }
}

impl Pool {
    fn make(&self) -> io::Result<DefaultStack> {
        if self.count.fetch_add(1, Relaxed) >= STACKS_MAX {
            self.count.fetch_sub(1, Relaxed);
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        let memory = DefaultStack::new(STACK).inspect_err(|_| _ = self.count.fetch_sub(1, Relaxed))?;
        let unused = ptr::with_exposed_provenance_mut(memory.limit().get());
        // SAFETY: advice about the pages of this stack. With huge pages each stack would take two megabytes.
        unsafe { libc::madvise(unused, STACK, libc::MADV_NOHUGEPAGE) };
        Ok(memory)
    }
}

impl Stack {
    /// Counts a use, and gives pages back to the system that few statements use.
    fn used(&mut self, compiled: bool) {
        self.uses += 1;
        if compiled || self.uses >= USES {
            self.shrink();
        }
    }

    fn shrink(&mut self) {
        self.uses = 0;
        let Some(memory) = &self.memory else { return };
        let (guard, base) = (memory.limit().get(), memory.base().get());
        let unused = ptr::with_exposed_provenance_mut(guard + GUARD);
        // SAFETY: the pages between the guard and the kept part belong to this stack, on which nothing runs.
        unsafe { libc::madvise(unused, base - RESIDENT - guard - GUARD, libc::MADV_DONTNEED) };
    }
}

/// Bytes at the end of a stack that stay as they are: its guard page, on any system.
const GUARD: usize = 64 << 10;

impl Drop for Stack {
    fn drop(&mut self) {
        if self.uses >= USES {
            self.shrink();
        }
        let Some(memory) = self.memory.take() else {
            // It was dropped with its coroutine.
            self.pool.count.fetch_sub(1, Relaxed);
            return;
        };
        let mut unused = self.pool.unused.lock();
        if unused.len() < KEPT {
            unused.push((memory, self.uses));
        } else {
            drop(unused);
            drop(memory);
            self.pool.count.fetch_sub(1, Relaxed);
        }
    }
}

/// Suspends the statement that runs on this stack, so that others can compute, if it can be suspended here. Does
/// nothing on a thread's own stack.
///
/// The caller holds no lock and no borrow of a thread-local, and checks its budget afterwards.
pub(super) fn give_way() {
    let Some(running) = running() else { return };
    if running.depth() > SHALLOW || running.work().check().is_err() {
        return;
    }
    set_running(ptr::null());
    let allocating = heap::pause();
    // SAFETY: the yielder lives as long as the coroutine, which runs: this is its stack.
    unsafe { (*running.yielder).suspend(()) };
    allocating.go_on();
    set_running(running);
}

/// Whether SQLite may have a page. Called for each page that SQLite fetches, because within one step of its virtual
/// machine it may read all pages of a table. May suspend the statement. A statement is refused only one page: rolling
/// it back needs pages, too.
pub(super) fn may_fetch() -> bool {
    let Some(running) = running() else { return true };
    let count = running.fetches.get() + 1;
    running.fetches.set(count % FETCHES);
    count < FETCHES || goes_on(running) || running.refused_page.replace(true)
}

/// Whether a statement may use a temporary file once more. Called for each read and write, because sorting does little
/// else within one step. May suspend the statement. A statement is refused only one use: rolling it back reads its
/// journal, which is a temporary file, too.
pub(super) fn may_use_files() -> bool {
    let Some(running) = running() else { return true };
    let count = running.uses_of_files.get() + 1;
    running.uses_of_files.set(count % USES_OF_FILES);
    count < USES_OF_FILES || goes_on(running) || running.refused_file.replace(true)
}

/// Checks the clock, and suspends the statement if its slice is over. Returns whether the statement may continue.
#[cold]
fn goes_on(running: &Running) -> bool {
    if running.work().check_time().is_ok() && running.work().must_give_way() {
        give_way();
    }
    running.work().check().is_ok()
}

/// A call that runs on a stack. The future is pending while the call is suspended, and wakes itself. If it is dropped
/// before its end, it ends the budget of the work and runs the call until it stops. The call stores its own result:
/// returning it from here would copy it several times.
pub(super) struct OnStack<'a> {
    /// None once it has ended.
    coroutine: Option<Coroutine<(), (), bool, DefaultStack>>,
    /// The stack without its memory, which the coroutine owns.
    stack: Option<Stack>,
    work: &'a WorkBudget,
    borrows: PhantomData<&'a mut ()>,
}

// SAFETY: what `run` captures is `Send`. What else is on the stack while it is suspended are SQLite's own frames, which
// know no threads (the connection is opened without mutexes, so it has none that a thread would own, and `give_way` is
// called where no global one is held), and those frames of `storage` and `rusqlite` that are below a progress handler
// or a function of SQL: they hold references into the turn, which is `Send`, and nothing that belongs to a thread.
unsafe impl Send for OnStack<'_> {}

impl<'a> OnStack<'a> {
    /// Creates a call that runs `run` on this stack. Nothing runs before the first poll.
    pub fn new(mut stack: Stack, work: &'a WorkBudget, run: impl FnOnce() + Send + 'a) -> Self {
        let memory = stack.memory.take().expect("a stack has its memory while no call runs on it");
        let (base, limit) = (memory.base().get(), memory.limit().get());
        let body = move |yielder: &Yielder<(), ()>, ()| {
            let running = Running::new(yielder, work, base, limit);
            let seat = Seat::take(&running);
            run();
            drop(seat);
            running.compiled.get()
        };
        // SAFETY: what `body` borrows lives for 'a, and so does the future, which drives the coroutine to its end when
        // it is dropped. If it is forgotten, the coroutine never runs again and its stack is never used again.
        let coroutine = unsafe { Coroutine::with_stack_unchecked(memory, body) };
        Self { coroutine: Some(coroutine), stack: Some(stack), work, borrows: PhantomData }
    }

    /// Runs the call to its end on the calling thread.
    pub fn run_through(mut self) {
        while self.resume().is_none() {}
    }

    /// Resumes the call. Returns the stack once the call has ended.
    fn resume(&mut self) -> Option<Stack> {
        let coroutine = self.coroutine.as_mut().expect("it is not polled after its end");
        let CoroutineResult::Return(compiled) = coroutine.resume(()) else { return None };
        let (coroutine, stack) = (self.coroutine.take(), self.stack.take());
        let (coroutine, mut stack) = coroutine.zip(stack).expect("both were there");
        stack.memory = Some(coroutine.into_stack());
        stack.used(compiled);
        Some(stack)
    }
}

impl Future for OnStack<'_> {
    type Output = Stack;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut().resume() {
            Some(stack) => Poll::Ready(stack),
            None => {
                context.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }
}

impl Drop for OnStack<'_> {
    fn drop(&mut self) {
        let Some(coroutine) = self.coroutine.as_mut().filter(|coroutine| coroutine.started() && !coroutine.done())
        else {
            return;
        };
        self.work.end(Exhausted::Cancelled);
        // With its budget ended it is not suspended again.
        while let CoroutineResult::Yield(()) = coroutine.resume(()) {}
        if let (Some(coroutine), Some(stack)) = (self.coroutine.take(), &mut self.stack) {
            stack.memory = Some(coroutine.into_stack());
            stack.uses = USES;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::super::running::{ALLOCATIONS, may_allocate, take_denied};
    use super::*;

    /// Calls itself so deep, with a frame of about a kilobyte each.
    #[inline(never)]
    fn recurse(depth: usize) -> usize {
        let frame = std::hint::black_box([depth as u8; 1_000]);
        if depth == 0 { 0 } else { 1 + recurse(depth - 1) + usize::from(frame[999] != depth as u8) }
    }

    fn poll<T>(future: &mut (impl Future<Output = T> + Unpin)) -> Poll<T> {
        Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn it_goes_on_where_it_left_off_on_any_thread() {
        let (stacks, work) = (Stacks::default(), WorkBudget::unlimited());
        let (mut places, mut deep) = (Vec::new(), 0);
        let mut call = OnStack::new(stacks.take().unwrap(), &work, || {
            for place in 0..3 {
                places.push(place);
                give_way();
            }
            deep = recurse(30_000);
        });
        assert!(poll(&mut call).is_pending());
        assert!(running().is_none());
        let stack = std::thread::scope(|scope| {
            let there = scope.spawn(move || {
                assert!(poll(&mut call).is_pending());
                call
            });
            let mut call = there.join().unwrap();
            assert!(poll(&mut call).is_pending());
            match poll(&mut call) {
                Poll::Ready(stack) => stack,
                Poll::Pending => panic!("it has nothing left to do"),
            }
        });
        assert_eq!((deep, places), (30_000, vec![0, 1, 2]));
        drop(stack);
        assert_eq!(stacks.0.count.load(Relaxed), 1);
    }

    #[test]
    fn one_that_is_dropped_ends_by_itself() {
        let (stacks, work) = (Stacks::default(), WorkBudget::unlimited());
        let mut ended = None;
        let mut call = OnStack::new(stacks.take().unwrap(), &work, || {
            while work.check().is_ok() {
                give_way();
            }
            ended = Some(work.check());
        });
        assert!(poll(&mut call).is_pending());
        drop(call);
        assert_eq!(ended, Some(Err(Exhausted::Cancelled)));
        drop(OnStack::new(stacks.take().unwrap(), &work, || panic!("it is never polled")));
        assert_eq!(stacks.0.count.load(Relaxed), 0);
    }

    #[test]
    fn a_deep_statement_is_not_suspended_and_gets_no_memory_near_the_end_of_its_stack() {
        #[inline(never)]
        fn deep(levels: usize, at: &dyn Fn() -> bool) -> bool {
            let frame = std::hint::black_box([levels as u8; 1_000]);
            let answer = if levels == 0 { at() } else { deep(levels - 1, at) };
            answer && frame[0] == levels as u8
        }
        let (stacks, work) = (Stacks::default(), WorkBudget::unlimited());
        let allocates = || (0..2 * ALLOCATIONS).all(|_| may_allocate(1));
        let mut call = OnStack::new(stacks.take().unwrap(), &work, || {
            let pauses = || {
                give_way();
                true
            };
            assert!(deep(1_000, &pauses));
            assert!(deep(30_000, &allocates) && !take_denied());
            assert!(!deep(50_000, &allocates) && take_denied() && !take_denied());
        });
        assert!(poll(&mut call).is_ready());
    }

    #[test]
    fn a_panic_comes_out_and_the_stack_is_not_used_again() {
        let (stacks, work) = (Stacks::default(), WorkBudget::unlimited());
        let mut call = OnStack::new(stacks.take().unwrap(), &work, || {
            if work.check().is_ok() {
                panic!("a bug of the host");
            }
        });
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| poll(&mut call)));
        assert!(panicked.is_err() && running().is_none());
        drop(call);
        assert_eq!(stacks.0.count.load(Relaxed), 0);
    }
}
