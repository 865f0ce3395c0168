//! B12: many objects' alarms, all due within a short time; once undisturbed, once with SIGKILL in the middle and a
//! restart.
//!
//! Alarms are set over HTTP, each at a time of its own, spread evenly over a window that begins when all are set. The
//! driver sends nothing meanwhile. Then it reads what every object has stored: how often its handler was applied, for
//! which time, and when.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tempfile::TempDir;

use crate::Common;
use crate::disk;
use crate::http::request;
use crate::load;
use crate::report::{self, Measured, millis, percentile, thousands};
use crate::systems::{Launcher, Running};

/// The goal of the p99 of lateness, in milliseconds.
const GOAL: u32 = 2_000;
/// Alarms count as done when none has run for this long: longer than the host waits before it retries one.
const QUIET: Duration = Duration::from_secs(4);
const PATIENCE: Duration = Duration::from_secs(300);

#[derive(clap::Args)]
pub struct Args {
    /// Objects, each with one alarm.
    #[arg(long, default_value_t = 100_000)]
    objects: usize,
    /// Seconds over which the alarms are due.
    #[arg(long, default_value = "30", value_parser = crate::seconds)]
    window: Duration,
    /// Seconds from now until the window begins; all must be set by then.
    #[arg(long, default_value = "150", value_parser = crate::seconds)]
    lead: Duration,
    #[arg(long, default_value_t = 64)]
    connections: usize,
    #[command(flatten)]
    common: Common,
}

/// The final state of an object. Times are milliseconds since the Unix epoch.
#[derive(Deserialize)]
struct Handled {
    times: u32,
    scheduled: u64,
    at: u64,
    pending: bool,
    /// The time that was set.
    #[serde(skip)]
    due: u64,
}

impl Handled {
    fn late(&self) -> u32 {
        u32::try_from(self.at.saturating_sub(self.due)).unwrap_or(u32::MAX)
    }
}

/// Lateness of alarms, in milliseconds.
#[derive(Serialize)]
struct Lateness {
    alarms: usize,
    p50_ms: u32,
    p99_ms: u32,
    max_ms: u32,
}

impl Lateness {
    fn of<'a>(handled: impl Iterator<Item = &'a Handled>) -> Self {
        let mut late: Vec<u32> = handled.map(Handled::late).collect();
        late.sort_unstable();
        let [p50_ms, p99_ms, max_ms] = [50.0, 99.0, 100.0].map(|percent| percentile(&late, percent));
        Self { alarms: late.len(), p50_ms, p99_ms, max_ms }
    }
}

/// Violations.
#[derive(Serialize)]
struct Wrong {
    /// Never handled.
    lost: usize,
    /// Applied more than once.
    twice: usize,
    early: usize,
    /// The handler got another time than was set, or an alarm is still set.
    other: usize,
}

impl Wrong {
    fn of(all: &[Handled]) -> Self {
        let count = |is: fn(&Handled) -> bool| all.iter().filter(|handled| is(handled)).count();
        Self {
            lost: count(|handled| handled.times == 0),
            twice: count(|handled| handled.times > 1),
            early: count(|handled| handled.times > 0 && handled.at < handled.due),
            other: count(|handled| handled.pending || (handled.times > 0 && handled.scheduled != handled.due)),
        }
    }

    fn nothing(&self) -> bool {
        self.lost + self.twice + self.early + self.other == 0
    }
}

/// The process that was killed and the one after it.
#[derive(Serialize)]
struct Interruption {
    /// The time when it had ended, in milliseconds after the window began.
    killed_ms: u64,
    /// Time from there until the next process was ready.
    down_ms: u64,
    /// Alarms that were handled before the kill.
    handled_before: usize,
    /// Alarms that were due and not handled when the next process was ready, and the time until all were handled.
    overdue: Lateness,
    caught_up_ms: u64,
    /// Alarms due later.
    after: Lateness,
}

#[derive(Serialize)]
struct RoundResult {
    setting: Measured,
    /// Lateness of all alarms, the overdue ones included.
    late: Lateness,
    wrong: Wrong,
    /// Time from the beginning of the window until the last handler began.
    done_ms: u64,
    /// CPU time of the host for each alarm, from the beginning of the window until all were done: reading the index,
    /// waking, running, storing, eviction.
    cpu_us_per_alarm: Option<f64>,
    /// Measured before the objects were read.
    resident_kib: u64,
    interruption: Option<Interruption>,
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    let launcher = Launcher::prepare(&args.common, false).await?;
    let conditions = report::conditions(launcher.versions().await?);
    let flush = disk::flush_latency(launcher.scratch())?;
    println!("B12: {} alarms due within {} s", thousands(args.objects as f64), args.window.as_secs_f64());
    println!(
        "  disk: fdatasync of 4 KiB p50 {} ms, p99 {} ms",
        millis(flush.p50_us.into()),
        millis(flush.p99_us.into())
    );

    let (calm, _calm_data) = round(&args, &launcher, false).await.context("left alone")?;
    println!("  left alone");
    show(&calm);
    println!("    {:.0} µs of CPU time an alarm", calm.cpu_us_per_alarm.unwrap_or(f64::NAN));
    let (killed, _killed_data) = round(&args, &launcher, true).await.context("killed in the midst")?;
    println!("  killed in the midst");
    show(&killed);
    if let Some(Interruption { killed_ms, down_ms, overdue, caught_up_ms, after, .. }) = &killed.interruption {
        println!("    killed at {killed_ms} ms, ready again {down_ms} ms later with {} overdue", overdue.alarms);
        println!("    caught up {caught_up_ms} ms after that; those due later: p99 {} ms late", after.p99_ms);
    }

    let none_wrong = calm.wrong.nothing() && killed.wrong.nothing();
    let reached = none_wrong && calm.late.p99_ms <= GOAL;
    let verdict = if reached { "reached" } else { "MISSED" };
    println!("  to reach: none lost, early or applied twice, p99 ≤ {GOAL} ms late: {verdict}");
    let result = json!({
        "workload": "b12",
        "title": "alarms of as many objects, due within a short window; then with SIGKILL in its midst",
        "conditions": conditions,
        "objects": args.objects,
        "window_seconds": args.window.as_secs_f64(),
        "connections": args.connections,
        "fdatasync": flush,
        "flush_delay_us": args.common.flush_delay_us.unwrap_or(0),
        "goal_p99_ms": GOAL,
        "reached": reached,
        "left_alone": calm,
        "killed": killed,
    });
    report::save("b12", &result)?;
    ensure!(none_wrong, "alarms were lost, early or applied twice");
    Ok(())
}

fn show(RoundResult { late, wrong, done_ms, .. }: &RoundResult) {
    println!(
        "    late by p50 {} ms, p99 {} ms, at most {} ms; the last began {done_ms} ms after the window did",
        late.p50_ms, late.p99_ms, late.max_ms
    );
    println!("    {} lost, {} twice, {} early, {} otherwise wrong", wrong.lost, wrong.twice, wrong.early, wrong.other);
}

/// Runs the measurement. Also returns the data directory: removing so many files may take minutes and is done at the
/// end.
async fn round(args: &Args, launcher: &Launcher, kill: bool) -> anyhow::Result<(RoundResult, Arc<TempDir>)> {
    let mut system = launcher.start_holdfast("").await?;
    let begin = now_ms() + args.lead.as_millis() as u64;
    let (objects, window_ms) = (args.objects, args.window.as_millis() as u64);
    let due = move |object: usize| begin + window_ms * object as u64 / objects as u64;
    let set = move |object| request("POST", &format!("/alarm/o{object}?at={}", due(object)), &[], b"");
    let set = load::each(system.address, args.connections, 0..objects, set, |_, _| Ok(())).await;
    let (setting, _) = set.with_context(|| system.describe())?;
    ensure!(now_ms() < begin, "the alarms were not set within {:?}; pass a longer --lead", args.lead);

    sleep_until(begin).await;
    let cpu_before = system.cpu_time()?;
    let mut times = None;
    if kill {
        sleep_until(begin + window_ms / 2).await;
        let data = system.data();
        drop(system);
        let killed = now_ms();
        system = launcher.start_holdfast_on(data, "").await?;
        times = Some((killed, now_ms()));
    }
    sleep_until(begin + window_ms).await;
    quiet(&system).await?;
    let cpu = system.cpu_time()?.saturating_sub(cpu_before);
    let resident_kib = system.resident_kib()?;

    let get = |object| request("GET", &format!("/alarm/o{object}"), &[], b"");
    let read = move |object, body: &[u8]| Ok(Handled { due: due(object), ..serde_json::from_slice(body)? });
    let read = load::each(system.address, args.connections, 0..objects, get, read).await;
    let (_, all) = read.with_context(|| system.describe())?;
    let interruption = times.map(|(killed, ready)| {
        let again = || all.iter().filter(move |handled| handled.times > 0 && handled.at >= killed);
        let overdue = || again().filter(move |handled| handled.due <= ready);
        Interruption {
            killed_ms: killed - begin,
            down_ms: ready - killed,
            handled_before: all.iter().filter(|handled| handled.times > 0 && handled.at < killed).count(),
            overdue: Lateness::of(overdue()),
            caught_up_ms: overdue().map(|handled| handled.at.saturating_sub(ready)).max().unwrap_or(0),
            after: Lateness::of(again().filter(|handled| handled.due > ready)),
        }
    });
    let outcome = RoundResult {
        setting,
        late: Lateness::of(all.iter().filter(|handled| handled.times > 0)),
        wrong: Wrong::of(&all),
        done_ms: all.iter().map(|handled| handled.at.saturating_sub(begin)).max().unwrap_or(0),
        cpu_us_per_alarm: (!kill).then(|| cpu.as_secs_f64() * 1e6 / objects as f64),
        resident_kib,
        interruption,
    };
    Ok((outcome, system.data()))
}

/// Waits until no alarm has run for a while.
async fn quiet(system: &Running) -> anyhow::Result<()> {
    let (began, mut changed, mut count) = (Instant::now(), Instant::now(), 0);
    while changed.elapsed() < QUIET {
        ensure!(began.elapsed() < PATIENCE, "alarms still run {PATIENCE:?} after the last was due");
        let now = system.metric("holdfast_alarms_total").await?;
        if now != count {
            (changed, count) = (Instant::now(), now);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}

async fn sleep_until(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms.saturating_sub(now_ms()))).await;
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis() as u64)
}
