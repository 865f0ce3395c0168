//! The `holdfast` binary. All of its code is in the library's `cli`, where tests reach it.

use std::process::ExitCode;

/// The number of heaps of the system's allocator. The default is eight per core; instances that are made on one thread
/// and dropped on another leave holes in all of them: resident memory grew by 13 % over 1,000,000 fetches under
/// eviction (docs/decisions/0003-allocator.md).
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const HEAPS: i32 = 2;

fn main() -> ExitCode {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: no other thread runs yet, and a value that the allocator does not take is ignored.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, HEAPS);
    }
    holdfast_runtime::cli::main()
}
