//! B8: SQL inside one turn, beside the same SQL with rusqlite in this process.
//!
//! Each round has a new object and a new database: 10,000 rows are inserted in one turn, read one by one in the next,
//! and scanned in a third. Holdfast's figures are the latencies of the requests, HTTP and the durable end of the turn
//! included; the baseline's are one transaction that ends with a flush, and another for the reads. Both must give the
//! same sums.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rusqlite::Connection as Sqlite;
use serde_json::json;

use crate::Common;
use crate::disk;
use crate::http::{Connection, request};
use crate::report::{self, median, millis};
use crate::systems::{Launcher, Running};

const ROWS: i64 = 10_000;
/// The goal: the ratio of each of the three to the baseline.
const GOAL: f64 = 2.0;
const STEPS: [(&str, &str); 3] =
    [("insert", "10,000 inserts"), ("read", "10,000 point reads"), ("scan", "a scan of 10,000 rows")];

#[derive(clap::Args)]
pub struct Args {
    /// Measured rounds; one more is run before them and does not count.
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    #[command(flatten)]
    common: Common,
}

/// The times of the three in one round.
type Round = [Duration; 3];

pub async fn run(args: Args) -> anyhow::Result<()> {
    let launcher = Launcher::prepare(&args.common, false).await?;
    let conditions = report::conditions(launcher.versions().await?);
    let system = launcher.start_holdfast("").await?;
    let (mut ours, mut baseline, mut flushes) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=args.rounds {
        flushes.push(disk::flush_latency(launcher.scratch())?);
        let through = through_a_guest(&system, round).await.with_context(|| system.describe())?;
        let (here, sums) = in_process(launcher.scratch())?;
        ensure!(through.1 == sums, "a guest's sums are {:?}, those of the baseline {sums:?}", through.1);
        if round > 0 {
            ours.push(through.0);
            baseline.push(here);
        }
    }
    let flush_p50 = median(flushes.iter().map(|flush| f64::from(flush.p50_us)));
    println!("B8: SQL inside one turn, through a guest and with rusqlite in process");
    println!("  disk: fdatasync of 4 KiB p50 {} ms", millis(flush_p50));
    println!("  {:<24} {:>10} {:>10} {:>8}", "", "guest ms", "baseline ms", "ratio");
    let mut steps = serde_json::Map::new();
    let mut reached = true;
    for (at, (name, title)) in STEPS.iter().enumerate() {
        let micros = |rounds: &[Round]| rounds.iter().map(|round| round[at].as_secs_f64() * 1e6).collect::<Vec<_>>();
        let (ours, baseline) = (micros(&ours), micros(&baseline));
        let (our_median, baseline_median) = (median(ours.iter().copied()), median(baseline.iter().copied()));
        let ratio = our_median / baseline_median;
        reached &= ratio <= GOAL;
        println!("  {title:<24} {:>10} {:>10} {ratio:>8.2}", millis(our_median), millis(baseline_median));
        let step = json!({ "ratio": ratio, "reached": ratio <= GOAL, "holdfast_us": ours, "rusqlite_us": baseline });
        steps.insert((*name).into(), step);
    }
    println!("  at most {GOAL} × the baseline: {}", if reached { "reached" } else { "MISSED" });
    let result = json!({
        "workload": "b8",
        "title": "SQL inside one turn: 10,000 inserts, 10,000 point reads, a scan of 10,000 rows",
        "conditions": conditions,
        "goal_ratio": GOAL,
        "fdatasync_p50_us": flush_p50,
        "flush_delay_us": args.common.flush_delay_us.unwrap_or(0),
        "steps": steps,
    });
    report::save("b8", &result)
}

/// Runs three turns of one object; the first request makes the object and is not measured.
async fn through_a_guest(system: &Running, round: u32) -> anyhow::Result<(Round, [i64; 3])> {
    let mut connection = Connection::open(system.address).await?;
    let (mut took, mut sums) = (Round::default(), [0; 3]);
    connection.exchange(&request("GET", &format!("/table/round-{round}/"), &[], b"")).await?.ok()?;
    for (at, (step, _)) in STEPS.iter().enumerate() {
        let asked = request("GET", &format!("/table/round-{round}/{step}?n={ROWS}"), &[], b"");
        let began = Instant::now();
        let answer = connection.exchange(&asked).await?;
        took[at] = began.elapsed();
        sums[at] = std::str::from_utf8(answer.ok()?)?.parse()?;
    }
    Ok((took, sums))
}

/// Runs the same as an application without a host would: one transaction, cached statements, WAL, flushed at the end.
fn in_process(scratch: &Path) -> anyhow::Result<(Round, [i64; 3])> {
    let directory = tempfile::tempdir_in(scratch)?;
    let mut sqlite = Sqlite::open(directory.path().join("baseline.sqlite"))?;
    sqlite.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
         CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT NOT NULL, amount INTEGER NOT NULL)",
    )?;
    let began = Instant::now();
    let transaction = sqlite.transaction()?;
    for id in 0..ROWS {
        let mut insert = transaction.prepare_cached("INSERT INTO item (id, name, amount) VALUES (?, ?, ?)")?;
        insert.execute((id, format!("the item with number {id}"), id * 3))?;
    }
    transaction.commit()?;
    let inserted = began.elapsed();

    // In a transaction, as in a turn: without one, SQLite locks for each row.
    let transaction = sqlite.transaction()?;
    let began = Instant::now();
    let mut read_sum = 0;
    for at in 0..ROWS {
        let mut read = transaction.prepare_cached("SELECT name, amount FROM item WHERE id = ?")?;
        let (name, amount): (String, i64) =
            read.query_row([at * 7_919 % ROWS], |row| Ok((row.get(0)?, row.get(1)?)))?;
        read_sum += amount + name.len() as i64;
    }
    let read = began.elapsed();

    let began = Instant::now();
    let mut scan_sum = 0;
    let mut scan = transaction.prepare_cached("SELECT id, name, amount FROM item")?;
    let rows =
        scan.query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?, row.get::<_, i64>(2)?)))?;
    for row in rows {
        let (id, name, amount) = row?;
        scan_sum += id + amount + name.len() as i64;
    }
    Ok(([inserted, read, began.elapsed()], [ROWS, read_sum, scan_sum]))
}
