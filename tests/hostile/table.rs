//! The measurements, as a table for people and as JSON for `bench/results/`.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::neighbour::Felt;

/// One attack.
pub struct Row {
    pub name: &'static str,
    pub does: &'static str,
    pub idle: Felt,
    pub attacked: Felt,
    /// Resident memory of the process in bytes: before, maximum during, and after recovery.
    pub resident: [u64; 3],
    /// Time from the end of the attack until the neighbour's latencies were normal; none if they did not become so.
    pub back: Option<Duration>,
    /// The answers that the attackers got.
    pub heard: String,
    /// Violations.
    pub faults: Vec<String>,
}

/// Returns the table. Latencies are `p50/p99` in milliseconds.
pub fn print(rows: &[Row]) -> String {
    let mut text = String::from(
        "latencies of the neighbour are p50/p99 in ms, without → with the attack; memory is resident MiB, before/most/after\n\n\
         | attack | fetch | add | echo | alarm late | memory | back in | attackers heard |\n|---|---|---|---|---|---|---|---|\n",
    );
    for row in rows {
        let both = |kind: usize| {
            let [idle, attacked] = [&row.idle, &row.attacked].map(|felt| felt.kinds()[kind].1);
            format!("{}/{} → {}/{}", ms(idle.p50()), ms(idle.p99()), ms(attacked.p50()), ms(attacked.p99()))
        };
        let memory = row.resident.map(|bytes| (bytes >> 20).to_string()).join("/");
        let back = row.back.map_or("never".into(), |back| format!("{:.1} s", back.as_secs_f64()));
        let kinds = [0, 1, 2, 3].map(both).join(" | ");
        let _ = writeln!(text, "| {} ({}) | {kinds} | {memory} | {back} | {} |", row.name, row.does, row.heard);
    }
    text
}

/// Returns the same as JSON.
pub fn json(rows: &[Row]) -> Json {
    let felt = |felt: &Felt| {
        let kind = |(name, latencies): (&str, &crate::neighbour::Latencies)| {
            (name.to_owned(), json!({ "p50_ms": millis(latencies.p50()), "p99_ms": millis(latencies.p99()) }))
        };
        Json::Object(felt.kinds().into_iter().map(kind).collect())
    };
    let row = |row: &Row| {
        json!({
            "attack": row.name, "does": row.does, "without": felt(&row.idle), "with": felt(&row.attacked),
            "resident_bytes": { "before": row.resident[0], "most": row.resident[1], "after": row.resident[2] },
            "back_seconds": row.back.map(|back| back.as_secs_f64()), "attackers_heard": row.heard, "faults": row.faults,
        })
    };
    rows.iter().map(row).collect()
}

fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e4).round() / 10.0
}

fn ms(time: Duration) -> String {
    match millis(time) {
        ms if ms < 10.0 => format!("{ms:.1}"),
        ms => format!("{ms:.0}"),
    }
}
