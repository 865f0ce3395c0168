//! The measurements and their conditions, as a table for people and as JSON.
//!
//! Results have no path of the machine, because they are published.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use serde::Serialize;
use serde_json::{Map, Value, json};

/// One load against one system.
#[derive(Debug, Clone, Serialize)]
pub struct Measured {
    pub requests: usize,
    pub seconds: f64,
    /// Answers per second.
    pub rate: f64,
    pub p50_us: u32,
    pub p90_us: u32,
    pub p99_us: u32,
    pub max_us: u32,
}

impl Measured {
    /// Summarises the latencies of all requests in microseconds, given in any order.
    pub fn new(elapsed: Duration, mut micros: Vec<u32>) -> Self {
        micros.sort_unstable();
        let seconds = elapsed.as_secs_f64();
        Self {
            requests: micros.len(),
            seconds,
            rate: micros.len() as f64 / seconds,
            p50_us: percentile(&micros, 50.0),
            p90_us: percentile(&micros, 90.0),
            p99_us: percentile(&micros, 99.0),
            max_us: percentile(&micros, 100.0),
        }
    }
}

/// Returns a percentile of sorted values; 0 for none.
pub fn percentile(sorted: &[u32], percent: f64) -> u32 {
    let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0)
}

/// Returns the median of some numbers; NaN for none.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_unstable_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => f64::midpoint(values[n / 2 - 1], values[n / 2]),
    }
}

/// Returns the conditions of a figure that the driver does not choose.
pub fn conditions(versions: Map<String, Value>) -> Value {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let cpu = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map(|rest| rest.trim_start_matches(['\t', ' ', ':']));
    let git = std::process::Command::new("git")
        .args(["describe", "--always", "--dirty"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .ok()
        .filter(|output| output.status.success());
    json!({
        "unix_seconds": SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_secs()),
        "revision": git.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()),
        "versions": versions,
        "cpus": std::thread::available_parallelism().map_or(0, usize::from),
        "cpu": cpu,
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "load_average_before": read("/proc/loadavg").split(' ').next(),
    })
}

/// Writes `bench/results/{name}.json`.
pub fn save(name: &str, result: &Value) -> anyhow::Result<()> {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("results");
    std::fs::create_dir_all(&directory)?;
    let file = directory.join(name).with_extension("json");
    std::fs::write(&file, serde_json::to_string_pretty(result)? + "\n")
        .with_context(|| format!("cannot write {}", file.display()))?;
    println!("  → bench/results/{name}.json\n");
    Ok(())
}

/// Formats a number as `12,345`.
pub fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let grouped: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|chunk| std::str::from_utf8(chunk).unwrap_or("")).collect();
    grouped.join(",")
}

/// Formats microseconds as milliseconds.
pub fn millis(micros: f64) -> String {
    format!("{:.2}", micros / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let values: Vec<u32> = (1..=200).collect();
        assert_eq!([0.0, 50.0, 99.0, 100.0].map(|percent| percentile(&values, percent)), [1, 100, 198, 200]);
        assert_eq!(percentile(&[], 50.0), 0);
    }

    #[test]
    fn the_median_of_an_even_number_is_between_the_two() {
        assert_eq!((median([3.0, 1.0, 2.0]), median([4.0, 1.0, 3.0, 2.0])), (2.0, 2.5));
        assert!(median([]).is_nan());
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!([7.0, 999.6, 1_234_567.0].map(thousands), ["7", "1,000", "1,234,567"]);
    }
}
