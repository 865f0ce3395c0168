//! What is counted, for which owner, and when it is given back.

use std::thread;

use super::*;
use crate::base::{ClassKey, HostMemory, MemoryUse};

fn heap(memory: &HostMemory, limit: u64) -> Heap {
    let account = memory.account(&ClassKey::new("class"));
    let temporary = Temporary::new(
        std::sync::Arc::new(crate::base::SystemDisk),
        std::path::Path::new("/nowhere"),
        0,
        account.clone(),
    );
    Heap::new(account.take(MemoryUse::Sql, 0).unwrap(), limit, temporary).unwrap()
}

fn alloc(size: usize) -> *mut c_void {
    // SAFETY: any size may be asked for.
    unsafe { allocate(size as c_int) }
}

fn release(allocation: *mut c_void) {
    // SAFETY: the tests free what they allocated, once.
    unsafe { free(allocation) }
}

#[test]
fn bytes_belong_to_whom_the_thread_works_for() {
    let memory = HostMemory::new(100 << 20);
    let (one, other) = (heap(&memory, 1 << 20), heap(&memory, 1 << 20));
    let nobodys = alloc(1_000);
    let (ones, others) = {
        let _for = enter(&one);
        let ones = alloc(1_000);
        let others = {
            let _for = enter(&other);
            let _again = enter(&other);
            alloc(5_000)
        };
        let more = alloc(2_000);
        release(others);
        let others = {
            let _for = enter(&other);
            alloc(6_000)
        };
        // SAFETY: allocated above.
        (unsafe { reallocate(more, 10_000) }, (ones, others))
    };
    assert_eq!((one.used(), other.used()), (11_000 + 2 * 16, 6_016));
    release(ones);
    release(nobodys);
    release(others.0);
    assert_eq!((one.used(), other.used()), (0, 6_016));
    // The heap is dropped before the memory that was allocated for it.
    drop((one, other));
    assert!(memory.used() > 0);
    release(others.1);
    assert_eq!(memory.used(), 0);
}

#[test]
fn more_than_the_limit_is_refused_and_what_is_there_stays() {
    let memory = HostMemory::new(100 << 20);
    let heap = heap(&memory, 1 << 20);
    let entered = enter(&heap);
    let first = alloc(900 << 10);
    assert!(alloc(200 << 10).is_null());
    // SAFETY: allocated above.
    assert!(unsafe { reallocate(first, 1_100 << 10) }.is_null());
    assert_eq!((heap.take_refusal(), heap.take_refusal()), (Some(Refusal::Object(1 << 20)), None));
    {
        let _exempt = enter_exempt(&heap);
        release(alloc(200 << 10));
    }
    assert_eq!(heap.take_refusal(), None);
    release(first);
    let again = alloc(900 << 10);
    assert!(!again.is_null());
    release(again);
    drop(entered);
    assert!(memory.used() <= RESERVE_MAX as u64, "{}", memory.used());
    drop(heap);
    assert_eq!(memory.used(), 0);
}

#[test]
fn the_hosts_memory_is_the_other_limit() {
    let memory = HostMemory::new(1 << 20);
    let heap = heap(&memory, 100 << 20);
    let _for = enter(&heap);
    assert!(alloc(900 << 10).is_null());
    assert_eq!(heap.take_refusal(), Some(Refusal::Host));
    let small = alloc(500 << 10);
    assert!(!small.is_null());
    release(small);
}

/// What another thread frees is given back to its owner at once, and a stack that was suspended continues for its own
/// owner.
#[test]
fn threads_change() {
    let memory = HostMemory::new(100 << 20);
    let one = heap(&memory, 50 << 20);
    let entered = enter(&one);
    let allocations: Vec<usize> = (0..1_000).map(|n| alloc(n * 10) as usize).collect();
    let paused = pause();
    let nobodys = alloc(10);
    thread::scope(|scope| {
        let (one, ours) = (&one, &allocations);
        scope.spawn(move || {
            ours[..500].iter().for_each(|allocation| release(*allocation as *mut c_void));
            let _for = enter(one);
            ours[500..].iter().for_each(|allocation| release(*allocation as *mut c_void));
        });
    });
    release(nobodys);
    assert_eq!(one.used(), 0);
    paused.go_on();
    let last = alloc(100);
    drop(entered);
    assert_eq!(one.used(), 116);
    release(last);
}
