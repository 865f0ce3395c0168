//! The `holdfast` binary. All of its code is in the library's `cli`, where tests reach it.

use std::process::ExitCode;

/// The number of heaps of the system's allocator. The default is eight per core; instances that are made on one thread
/// and dropped on another leave holes in all of them: resident memory grew by 13 % over 1,000,000 fetches under
/// eviction (docs/decisions/0003-allocator.md).
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const HEAPS: i32 = 2;
/// Allocations from this size on, in bytes, are memory maps of their own, which the system gets back when they are
/// freed. By default glibc raises its threshold to 32 MiB once a client has sent or received a large body; from then on
/// bodies lie in the heaps, and what they leave there stays resident: 280 MB under the attack that sends most.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const MAPPED: i32 = 1 << 20;
/// Free bytes that a heap may keep at its end. The default is 128 KiB if `MAPPED` is set.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const KEPT: i32 = 32 << 20;

fn main() -> ExitCode {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: no other thread runs yet, and values that the allocator does not take are ignored.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, HEAPS);
        libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED);
        libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT);
    }
    holdfast_runtime::cli::main()
}
