//! The stack on which an instance's code runs: charges what a turn uses of it beyond what is free, and gives its pages
//! back to the system after a turn that has used many.
//!
//! wasmtime keeps one stack for each store, of which only touched pages take memory. What must stay true: between turns
//! an instance has no more than [`FREE`] of it; a turn that waits with more is charged for it.

use std::ptr;

/// Guest stack in bytes; the rest of a fiber's stack is for host functions. SQL has stacks of its own; SQLite calls of
/// the host itself take less than a tenth of what is left here.
pub(super) const GUEST_STACK: usize = 8 << 20;
pub(super) const FIBER_STACK: usize = GUEST_STACK + (1536 << 10);

/// Bytes of the stack that every instance may use and keep.
const FREE: usize = 256 << 10;
/// Bytes below those that tell whether a turn has used more. Frames of more than a page touch each of their pages
/// (Cranelift's stack probes), smaller ones have a return address in each page, so none passes without leaving a trace.
const TELLTALE: usize = 8 << 10;
/// Bytes above the first frame of guest code that the host's own frames take at most, with a lot to spare.
const ABOVE: usize = 256 << 10;

const _: () = assert!(FREE + TELLTALE < GUEST_STACK && GUEST_STACK + ABOVE < FIBER_STACK);

/// The stack of one instance.
#[derive(Default)]
pub(super) struct GuestStack {
    /// An address in the frame that has called guest code first in this turn.
    entry: Option<usize>,
}

impl GuestStack {
    /// Notes that guest code is called. It runs on the stack on which this function runs: a store that yields takes no
    /// calls on others.
    #[inline]
    pub(super) fn enter(&mut self) {
        if self.entry.is_none() {
            self.entry = Some(here());
        }
    }

    /// Returns the bytes beyond [`FREE`] that are in use where this is called.
    #[inline]
    pub(super) fn in_use(&self) -> u64 {
        self.entry.map_or(0, |entry| entry.saturating_sub(here()).saturating_sub(FREE)) as u64
    }

    /// Returns whether the turn, whose last frame has left the stack, has used more than [`FREE`].
    pub(super) fn was_deep(&self) -> bool {
        let Some(entry) = self.entry else { return false };
        let telltale = ptr::with_exposed_provenance::<[u64; TELLTALE / 8]>(end_of_free(entry) - TELLTALE);
        // SAFETY: these bytes are mapped: wasmtime's stack has `FIBER_STACK` bytes below its first frame. Nothing runs
        // on it, as the turn is over, and nothing else has it, as the store keeps it for its next call.
        unsafe { ptr::read_volatile(telltale) }.iter().fold(0, |all, word| all | word) != 0
    }

    /// Ends a turn, whose last frame has left the stack: if it has used more than [`FREE`], gives the pages back.
    pub(super) fn end_turn(&mut self) {
        let was_deep = self.was_deep();
        let Some(entry) = self.entry.take().filter(|_| was_deep) else { return };
        let lowest = (entry + ABOVE - FIBER_STACK).next_multiple_of(PAGE);
        let (start, bytes) = (ptr::with_exposed_provenance_mut(lowest), end_of_free(entry) - lowest);
        // SAFETY: as in `was_deep`; these pages are below the first frame, and above the guard page.
        unsafe { libc::madvise(start, bytes, libc::MADV_DONTNEED) };
    }
}

/// Returns the address down to which the stack is free, at the beginning of a page.
fn end_of_free(entry: usize) -> usize {
    (entry - FREE) & !(PAGE - 1)
}

/// The largest page of the systems that Holdfast runs on.
const PAGE: usize = 64 << 10;

/// Returns an address in the frame of the caller, about.
#[inline(always)]
fn here() -> usize {
    let local = 0_u8;
    std::hint::black_box(&raw const local).expose_provenance()
}
