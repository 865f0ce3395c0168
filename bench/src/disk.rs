//! The flush latency of the disk at this moment, and whether a directory is on a disk.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use serde::Serialize;

use crate::report::percentile;

const FLUSHES: usize = 100;
const TMPFS_MAGIC: i64 = 0x0102_1994;

/// Latency of appending 4 KiB to a file and `fdatasync`, in microseconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct FlushLatency {
    pub p50_us: u32,
    pub p99_us: u32,
}

/// Measures the disk under a directory. Does not include the delay that `--flush-delay-us` adds to the systems.
pub fn flush_latency(directory: &Path) -> anyhow::Result<FlushLatency> {
    let mut file: File = tempfile::tempfile_in(directory)?;
    let mut micros = Vec::with_capacity(FLUSHES);
    for _ in 0..FLUSHES {
        let start = Instant::now();
        file.write_all(&[0x5a; 4096])?;
        file.sync_data()?;
        micros.push(start.elapsed().as_micros() as u32);
    }
    micros.sort_unstable();
    Ok(FlushLatency { p50_us: percentile(&micros, 50.0), p99_us: percentile(&micros, 99.0) })
}

/// Returns whether a directory is in memory, where flushes cost nothing and durable figures have no meaning.
pub fn in_memory(directory: &Path) -> anyhow::Result<bool> {
    #[allow(clippy::unnecessary_cast, reason = "the type differs between platforms")]
    Ok(rustix::fs::statfs(directory)?.f_type as i64 == TMPFS_MAGIC)
}
