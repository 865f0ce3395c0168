//! B10: the time of a start after SIGKILL, with many objects and the longest commit log that can occur.
//!
//! Only the log has what was written: no checkpoint has run (the log's capacity is raised so that none begins), and
//! recovery discards the objects' WALs unread. A restart is measured from the call that makes the process: to its ready
//! line, to the first correct answer of an object, and then the first touch of others, one after another. Every answer
//! is compared with what was written.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rustix::fs::{Advice, fadvise};
use serde::Serialize;
use serde_json::json;
use tempfile::TempDir;

use crate::Common;
use crate::disk;
use crate::http::{Connection, request};
use crate::load::{self, Random, whole_micros};
use crate::report::{self, Measured, median, millis, thousands};
use crate::systems::{Launcher, Running};

/// The goal of the time from the start of the process to the first answer, in seconds.
const GOAL: f64 = 3.0;
/// For a checkpoint.
const PATIENCE: Duration = Duration::from_secs(300);
const MIB: u64 = 1 << 20;
/// How often the log's length is checked while it is filled: after each of this many parts of all objects.
const PARTS: usize = 20;

#[derive(clap::Args)]
pub struct Args {
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1_000..))]
    objects: u64,
    /// Bytes of a value; random, so that the log cannot compress them.
    #[arg(long, default_value_t = 1_024)]
    value: usize,
    /// MiB of the log that are needed when the process is killed.
    #[arg(long, default_value_t = 1_024)]
    log_mib: u64,
    /// Restarts with the log in the page cache, and the same number without.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    restarts: u32,
    /// Objects that are touched after the first.
    #[arg(long, default_value_t = 1_000)]
    touches: usize,
    #[arg(long, default_value_t = 64)]
    connections: usize,
    #[command(flatten)]
    common: Common,
}

/// The variant of a restart.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// A plain restart.
    Plain,
    /// The log's files are not in the page cache.
    Cold,
    /// The list of objects is deleted.
    Unlisted,
    /// The log is at its capacity: a checkpoint begins at once.
    Round,
}

impl Kind {
    /// The one with a checkpoint is last: it makes the log short.
    const ALL: [Self; 4] = [Self::Plain, Self::Cold, Self::Unlisted, Self::Round];

    fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Cold => "cold-log",
            Self::Round => "round-at-once",
            Self::Unlisted => "list-lost",
        }
    }
}

#[derive(Serialize)]
struct Restart {
    ready_us: u32,
    first_answer_us: u32,
    touches: Measured,
    /// After the touches.
    resident_kib: u64,
    /// Time until the checkpoint that began at once had made the log short, if there was one.
    log_short_us: Option<u32>,
}

/// The written values: the objects one after another, repeatedly.
#[derive(Clone, Copy)]
struct Written {
    objects: usize,
    bytes: usize,
    writes: usize,
}

impl Written {
    /// Returns the nth value of an object.
    fn value(&self, object: usize, version: usize) -> Vec<u8> {
        let mut random = Random::new((version * self.objects + object) as u64);
        let words = std::iter::repeat_with(|| random.next().to_le_bytes()).take(self.bytes.div_ceil(8));
        let mut value: Vec<u8> = words.flatten().collect();
        value.truncate(self.bytes);
        value
    }

    fn put(&self, write: usize) -> Vec<u8> {
        let (object, version) = (write % self.objects, write / self.objects);
        request("PUT", &path(object), &[], &self.value(object, version))
    }

    /// Returns whether an object answers its last value.
    fn check(&self, object: usize, body: &[u8]) -> anyhow::Result<()> {
        let last = (self.writes - 1 - object) / self.objects;
        ensure!(body == self.value(object, last), "o{object} does not hold its {last}th value");
        Ok(())
    }
}

fn path(object: usize) -> String {
    format!("/value/o{object}")
}

fn capacity(bytes: u64) -> String {
    format!("[limits]\nlog-capacity = {bytes}\n")
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    let launcher = Launcher::prepare(&args.common, false).await?;
    let conditions = report::conditions(launcher.versions().await?);
    // A checkpoint begins at half of the capacity: here never.
    let settings = capacity(args.log_mib * MIB * 5 / 2);
    let flush = disk::flush_latency(launcher.scratch())?;

    let system = launcher.start_holdfast(&settings).await?;
    let filled = fill(&args, &system).await.with_context(|| system.describe())?;
    let (written, writing) = &filled;
    let live = system.metric("holdfast_log_live_bytes").await?;
    let records = system.metric("holdfast_log_records_total").await?;
    let data = system.data();
    drop(system);

    println!(
        "B10: start with {} objects and a log of {} MiB after SIGKILL",
        thousands(args.objects as f64),
        live / MIB
    );
    println!("  {} records, values of {} bytes", thousands(records as f64), args.value);
    println!(
        "  disk: fdatasync of 4 KiB p50 {} ms, p99 {} ms",
        millis(flush.p50_us.into()),
        millis(flush.p99_us.into())
    );
    println!("  {:<14} {:>4} {:>10} {:>10} {:>10} {:>10}", "", "", "ready ms", "first ms", "p50 ms", "p99 ms");
    let mut kinds = serde_json::Map::new();
    let mut first_s = f64::NAN;
    for kind in Kind::ALL {
        let times = if matches!(kind, Kind::Plain | Kind::Cold) { args.restarts } else { 1 };
        let mut restarts = Vec::new();
        for time in 0..times {
            let system = Restarting { launcher: &launcher, data: &data, written, settings: &settings, args: &args };
            restarts.push(system.measure(kind, time).await.with_context(|| kind.name())?);
        }
        let of = |pick: fn(&Restart) -> u32| median(restarts.iter().map(|restart| f64::from(pick(restart))));
        let (ready, first) = (of(|restart| restart.ready_us), of(|restart| restart.first_answer_us));
        let (p50, p99) = (of(|restart| restart.touches.p50_us), of(|restart| restart.touches.p99_us));
        let [ready_ms, first_ms, p50_ms, p99_ms] = [ready, first, p50, p99].map(millis);
        println!("  {:<14} {times:>2} × {ready_ms:>10} {first_ms:>10} {p50_ms:>10} {p99_ms:>10}", kind.name());
        if kind == Kind::Plain {
            first_s = first / 1e6;
        }
        let medians = json!({ "ready_us": ready, "first_answer_us": first, "p50_us": p50, "p99_us": p99 });
        kinds.insert(kind.name().into(), json!({ "medians": medians, "restarts": restarts }));
    }
    let reached = first_s <= GOAL;
    let verdict = if reached { "reached" } else { "MISSED" };
    println!("  to reach: first answer ≤ {GOAL} s: {first_s:.2} s, {verdict}");
    let result = json!({
        "workload": "b10",
        "title": "start after SIGKILL: ready, first answer, first touch of dormant objects",
        "conditions": conditions,
        "objects": args.objects,
        "value_bytes": args.value,
        "writes": written.writes,
        "writing": writing,
        "log_live_bytes": live,
        "log_records": records,
        "touches": args.touches,
        "fdatasync": flush,
        "flush_delay_us": args.common.flush_delay_us.unwrap_or(0),
        "goal_seconds": GOAL,
        "reached": reached,
        "kinds": kinds,
    });
    report::save("b10", &result)
}

/// Makes the objects and writes to them until the log is long enough; returns the time of each part.
async fn fill(args: &Args, system: &Running) -> anyhow::Result<(Written, Vec<Measured>)> {
    let mut written = Written { objects: args.objects as usize, bytes: args.value, writes: 0 };
    let part = written.objects / PARTS;
    let mut measured = Vec::new();
    while written.writes < written.objects || system.metric("holdfast_log_live_bytes").await? < args.log_mib * MIB {
        let numbers = written.writes..written.writes + part;
        let put = move |write| written.put(write);
        measured.push(load::each(system.address, args.connections, numbers, put, |_, _| Ok(())).await?.0);
        written.writes += part;
    }
    Ok((written, measured))
}

/// The common parts of all restarts.
struct Restarting<'a> {
    launcher: &'a Launcher,
    data: &'a Arc<TempDir>,
    written: &'a Written,
    settings: &'a str,
    args: &'a Args,
}

impl Restarting<'_> {
    async fn measure(&self, kind: Kind, time: u32) -> anyhow::Result<Restart> {
        let data = self.data.path().join("data");
        match kind {
            Kind::Cold => forget_files(&data.join("log"))?,
            Kind::Unlisted => std::fs::remove_dir_all(data.join("catalog"))?,
            Kind::Plain | Kind::Round => {}
        }
        let round = capacity(self.args.log_mib * MIB);
        let settings = if kind == Kind::Round { &round } else { self.settings };
        let mut objects = self.pick(kind, time).into_iter();

        let began = Instant::now();
        let system = self.launcher.start_holdfast_on(self.data.clone(), settings).await?;
        let ready_us = whole_micros(began.elapsed());
        let mut connection = Connection::open(system.address).await?;
        self.touch(&mut connection, objects.next().context("at least one is picked")?).await?;
        let first_answer_us = whole_micros(began.elapsed());

        let (touching, mut micros) = (Instant::now(), Vec::new());
        for object in objects {
            let sent = Instant::now();
            self.touch(&mut connection, object).await?;
            micros.push(whole_micros(sent.elapsed()));
        }
        let touches = Measured::new(touching.elapsed(), micros);
        let resident_kib = system.resident_kib()?;
        let log_short_us = if kind == Kind::Round {
            while system.metric("holdfast_log_live_bytes").await? > self.args.log_mib * MIB / 2 {
                ensure!(began.elapsed() < PATIENCE, "no checkpoint has made the log short within {PATIENCE:?}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Some(whole_micros(began.elapsed()))
        } else {
            None
        };
        if kind == Kind::Plain && time + 1 == self.args.restarts {
            self.check_all(&system).await?;
        }
        Ok(Restart { ready_us, first_answer_us, touches, resident_kib, log_short_us })
    }

    /// Returns different objects, and others for each restart.
    fn pick(&self, kind: Kind, time: u32) -> Vec<usize> {
        let mut random = Random::new(u64::from(time) * 10 + kind as u64);
        let mut picked = Vec::new();
        let mut seen = std::collections::HashSet::new();
        while picked.len() <= self.args.touches {
            let object = (random.next() % self.written.objects as u64) as usize;
            if seen.insert(object) {
                picked.push(object);
            }
        }
        picked
    }

    async fn touch(&self, connection: &mut Connection, object: usize) -> anyhow::Result<()> {
        let answer = connection.exchange(&request("GET", &path(object), &[], b"")).await?;
        self.written.check(object, answer.ok()?)
    }

    /// Checks that every object answers its last value.
    async fn check_all(&self, system: &Running) -> anyhow::Result<()> {
        let written = *self.written;
        let get = |object| request("GET", &path(object), &[], b"");
        let check = move |object, body: &[u8]| written.check(object, body);
        load::each(system.address, self.args.connections, 0..written.objects, get, check).await.map(drop)
    }
}

/// Drops the files of a directory, which were flushed, from the page cache.
fn forget_files(directory: &Path) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        fadvise(File::open(entry?.path())?, 0, None, Advice::DontNeed)?;
    }
    Ok(())
}
