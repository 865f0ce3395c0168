//! The workloads that compare systems, and the steps of one: start, warm up, alternate, verify, report.

use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::{Map, Value, json};

use crate::Common;
use crate::disk::{self, FlushLatency};
use crate::load::{self, Objects, Operation, Order, Until};
use crate::report::{self, Measured, median, millis, thousands};
use crate::systems::{Kind, Launcher, Running};

const WARM_UP: Duration = Duration::from_secs(1);
/// New objects are named in advance; more per second than any system here makes.
const NEW_OBJECTS_PER_SECOND: f64 = 20_000.0;

#[derive(clap::Args)]
pub struct Args {
    /// Workloads by the beginning of their name, for example `b1` or `b2-64`; all when none is named.
    workloads: Vec<String>,
    /// Measured rounds of each system.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Seconds of one round.
    #[arg(long, default_value = "5", value_parser = crate::seconds)]
    seconds: Duration,
    #[command(flatten)]
    common: Common,
}

/// The objects of a load.
#[derive(Clone, Copy, PartialEq)]
enum Population {
    /// This many objects, which exist before the measurement.
    Existing(usize),
    /// A new object for each request.
    New,
    /// This many objects, dormant before each round and read once.
    Dormant(usize),
}

#[derive(Clone, Copy, PartialEq)]
enum Metric {
    Rate,
    MedianLatency,
}

/// A goal of Holdfast.
#[derive(Clone, Copy)]
enum Goal {
    /// At least this many times as good as a system; the second number applies when flushes are delayed.
    Times(Kind, f64, f64),
    /// A median latency of at most this many flushes and this many microseconds.
    Within { flushes: f64, micros: f64 },
}

struct Workload {
    name: &'static str,
    title: &'static str,
    operation: Operation,
    population: Population,
    connections: usize,
    metric: Metric,
    goals: &'static [Goal],
}

const WORKLOADS: &[Workload] = &[
    Workload {
        name: "b1-one",
        title: "fetch that touches nothing, one object, 64 connections",
        operation: Operation::Hello,
        population: Population::Existing(1),
        connections: 64,
        metric: Metric::Rate,
        goals: &[Goal::Times(Kind::Workerd, 8.0, 8.0), Goal::Times(Kind::Baseline, 0.6, 0.6)],
    },
    Workload {
        name: "b1-many",
        title: "fetch that touches nothing, 1,000 objects, 64 connections",
        operation: Operation::Hello,
        population: Population::Existing(1_000),
        connections: 64,
        metric: Metric::Rate,
        goals: &[Goal::Times(Kind::Workerd, 8.0, 8.0), Goal::Times(Kind::Baseline, 0.6, 0.6)],
    },
    Workload {
        name: "b2-64",
        title: "durable increment, 1,000 objects, 64 connections",
        operation: Operation::Increment,
        population: Population::Existing(1_000),
        connections: 64,
        metric: Metric::Rate,
        goals: &[Goal::Times(Kind::Workerd, 8.0, 25.0)],
    },
    Workload {
        name: "b2-256",
        title: "durable increment, 1,000 objects, 256 connections",
        operation: Operation::Increment,
        population: Population::Existing(1_000),
        connections: 256,
        metric: Metric::Rate,
        goals: &[Goal::Times(Kind::Workerd, 8.0, 25.0)],
    },
    Workload {
        name: "b3",
        title: "durable increment, one object, 16 connections",
        operation: Operation::Increment,
        population: Population::Existing(1),
        connections: 16,
        metric: Metric::Rate,
        goals: &[Goal::Times(Kind::Workerd, 5.0, 5.0)],
    },
    Workload {
        name: "b4",
        title: "one client, one durable increment at a time",
        operation: Operation::Increment,
        population: Population::Existing(1),
        connections: 1,
        metric: Metric::MedianLatency,
        goals: &[Goal::Within { flushes: 1.5, micros: 0.0 }],
    },
    Workload {
        name: "b5-64",
        title: "first durable write to new objects, 64 connections",
        operation: Operation::Increment,
        population: Population::New,
        connections: 64,
        metric: Metric::Rate,
        goals: &[Goal::Times(Kind::Workerd, 15.0, 15.0)],
    },
    Workload {
        name: "b5-1",
        title: "first durable write to new objects, one connection",
        operation: Operation::Increment,
        population: Population::New,
        connections: 1,
        metric: Metric::MedianLatency,
        goals: &[Goal::Within { flushes: 2.0, micros: 1_000.0 }],
    },
    Workload {
        name: "b6",
        title: "wake a dormant object (read), one connection",
        operation: Operation::Read,
        population: Population::Dormant(500),
        connections: 1,
        metric: Metric::MedianLatency,
        goals: &[Goal::Within { flushes: 0.0, micros: 1_000.0 }],
    },
];

/// Runs the selected workloads, one after another. One that fails does not stop the others.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let asked = |workload: &&Workload| {
        args.workloads.is_empty() || args.workloads.iter().any(|name| workload.name.starts_with(name.as_str()))
    };
    let workloads: Vec<&Workload> = WORKLOADS.iter().filter(asked).collect();
    ensure!(
        !workloads.is_empty(),
        "there are {}",
        WORKLOADS.iter().map(|workload| workload.name).collect::<Vec<_>>().join(", ")
    );
    let launcher = Launcher::prepare(&args.common, true).await?;
    if disk::in_memory(launcher.scratch())? {
        println!("! data directories are in memory: durable figures of this run mean nothing; see --scratch\n");
    }
    let mut failed = Vec::new();
    for workload in workloads {
        if let Err(error) = workload.run(&args, &launcher).await {
            eprintln!("{} failed: {error:#}\n", workload.name);
            failed.push(workload.name);
        }
    }
    ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    Ok(())
}

/// A system under a workload, and all its measurements.
struct Contender {
    system: Running,
    objects: std::sync::Arc<Objects>,
    rounds: Vec<Measured>,
    /// CPU time of the system in each round, divided by the answers of the round, in microseconds. It includes other
    /// work of the round (eviction and checks of objects).
    cpu_us: Vec<f64>,
    /// Flushes of the commit log in each round, divided by the answers of the round; empty for systems that have no
    /// such count. The fewer turns share a flush, the more CPU time a durable request takes.
    flushes: Vec<f64>,
}

impl Contender {
    async fn log_flushes(&self) -> Option<u64> {
        self.system.metric("holdfast_log_flushes_total").await.ok()
    }
}

impl Workload {
    async fn run(&self, args: &Args, launcher: &Launcher) -> anyhow::Result<()> {
        let conditions = report::conditions(launcher.versions().await?);
        let mut contenders = Vec::new();
        for kind in launcher.kinds() {
            // The baseline has no objects, so no dormant ones.
            if kind != Kind::Baseline || !matches!(self.population, Population::Dormant(_)) {
                contenders.push(self.contender(launcher.start(kind).await?).await?);
            }
        }
        let mut flushes = Vec::new();
        for round in 0..args.rounds {
            // Each goes first equally often, so that neither always runs during the write-back of the other.
            if round % 2 == 1 {
                contenders.reverse();
            }
            for contender in &mut contenders {
                flushes.push(disk::flush_latency(launcher.scratch())?);
                let (before, flushed) = (contender.system.cpu_time()?, contender.log_flushes().await);
                let measured = self.measure(contender, round, args.seconds).await;
                let measured = measured.with_context(|| contender.system.describe())?;
                let cpu = contender.system.cpu_time()?.saturating_sub(before);
                contender.cpu_us.push(cpu.as_secs_f64() * 1e6 / measured.requests as f64);
                if let Some((before, now)) = flushed.zip(contender.log_flushes().await) {
                    contender.flushes.push(now.saturating_sub(before) as f64 / measured.requests as f64);
                }
                contender.rounds.push(measured);
            }
            if round % 2 == 1 {
                contenders.reverse();
            }
        }
        for contender in &contenders {
            load::verify(contender.system.address, &contender.objects)
                .await
                .with_context(|| contender.system.describe())?;
        }
        self.report(args, &contenders, &flushes, conditions)
    }

    /// Makes the objects and warms the system up.
    async fn contender(&self, system: Running) -> anyhow::Result<Contender> {
        let objects = match self.population {
            Population::Existing(count) | Population::Dormant(count) => Objects::new("o", count),
            Population::New => Objects::new("warm", (WARM_UP.as_secs_f64() * NEW_OBJECTS_PER_SECOND) as usize),
        };
        let contender = Contender { system, objects, rounds: Vec::new(), cpu_us: Vec::new(), flushes: Vec::new() };
        // A read of an object that was never written would measure nothing.
        let operation = if self.operation == Operation::Read { Operation::Increment } else { self.operation };
        let (address, objects) = (contender.system.address, &contender.objects);
        let warmed = async {
            if self.population == Population::New {
                load::run(address, self.connections, Until::Elapsed(WARM_UP), operation, objects, Order::Once).await?;
            } else {
                load::run(address, self.connections, Until::Requests(u64::MAX), operation, objects, Order::Once)
                    .await?;
                load::run(address, self.connections, Until::Elapsed(WARM_UP), operation, objects, Order::Random)
                    .await?;
            }
            anyhow::Ok(())
        };
        warmed.await.with_context(|| contender.system.describe())?;
        Ok(contender)
    }

    async fn measure(&self, contender: &Contender, round: u32, duration: Duration) -> anyhow::Result<Measured> {
        let Contender { system, objects, .. } = contender;
        let (address, until) = (system.address, Until::Elapsed(duration));
        match self.population {
            Population::Existing(_) => {
                load::run(address, self.connections, until, self.operation, objects, Order::Random).await
            }
            Population::New => {
                let objects =
                    Objects::new(format!("r{round}-"), (duration.as_secs_f64() * NEW_OBJECTS_PER_SECOND) as usize + 1);
                let measured =
                    load::run(address, self.connections, until, self.operation, &objects, Order::Once).await?;
                load::verify(address, &objects).await?;
                Ok(measured)
            }
            Population::Dormant(_) => {
                // Makes objects live first, however long ago the last round was, so that every measured object was
                // evicted in the same way.
                let all = Until::Requests(u64::MAX);
                load::run(address, self.connections, all, Operation::Read, objects, Order::Once).await?;
                system.make_dormant(objects).await?;
                load::wake(address, objects).await
            }
        }
    }

    fn figure(&self, measured: &Measured) -> f64 {
        match self.metric {
            Metric::Rate => measured.rate,
            Metric::MedianLatency => f64::from(measured.p50_us),
        }
    }

    fn report(
        &self,
        args: &Args,
        contenders: &[Contender],
        flushes: &[FlushLatency],
        conditions: Value,
    ) -> anyhow::Result<()> {
        let delay = args.common.flush_delay_us.unwrap_or(0);
        let flush = |pick: fn(&FlushLatency) -> u32| median(flushes.iter().map(|latency| f64::from(pick(latency))));
        let (flush_p50, flush_p99) = (flush(|latency| latency.p50_us), flush(|latency| latency.p99_us));
        let slowed = if delay > 0 { format!(" + {} ms for every system", millis(delay as f64)) } else { String::new() };
        println!("{}: {}", self.name.to_uppercase(), self.title);
        println!("  disk: fdatasync of 4 KiB p50 {} ms, p99 {} ms{slowed}", millis(flush_p50), millis(flush_p99));
        let cpu_title = "CPU µs/request";
        println!(
            "  {:<10} {:>10} {:>10} {:>10} {cpu_title:>14} {:>15} {:>14}",
            "", "per second", "p50 ms", "p99 ms", "flushes/request", "ours is better"
        );

        let ours = contenders.iter().find(|contender| contender.system.kind == Kind::Holdfast);
        let ours = ours.map(|contender| median(contender.rounds.iter().map(|round| self.figure(round))));
        let mut systems = Map::new();
        for contender in contenders {
            let of = |pick: &dyn Fn(&Measured) -> f64| median(contender.rounds.iter().map(pick));
            let (rate, p50, p99) = (of(&|m| m.rate), of(&|m| f64::from(m.p50_us)), of(&|m| f64::from(m.p99_us)));
            let theirs = of(&|m| self.figure(m));
            let cpu = median(contender.cpu_us.iter().copied());
            let flushes = (!contender.flushes.is_empty()).then(|| median(contender.flushes.iter().copied()));
            let shown_flushes = flushes.map_or(String::new(), |flushes| format!("{flushes:.3}"));
            let kind = contender.system.kind;
            let ratio = ours.filter(|_| kind != Kind::Holdfast).map(|ours| match self.metric {
                Metric::Rate => ours / theirs,
                Metric::MedianLatency => theirs / ours,
            });
            let shown = ratio.map_or(String::new(), |ratio| format!("{ratio:.2} ×"));
            println!(
                "  {:<10} {:>10} {:>10} {:>10} {cpu:>14.1} {shown_flushes:>15} {shown:>14}",
                kind.name(),
                thousands(rate),
                millis(p50),
                millis(p99)
            );
            let medians = json!({
                "rate": rate,
                "p50_us": p50,
                "p99_us": p99,
                "cpu_us_per_request": cpu,
                "flushes_per_request": flushes,
            });
            let rounds = json!({ "rounds": contender.rounds, "cpu_us_per_request": contender.cpu_us });
            systems
                .insert(kind.name().into(), json!({ "medians": medians, "ours_is_better": ratio, "measured": rounds }));
        }
        let goals: Vec<String> =
            self.goals.iter().filter_map(|goal| goal.judge(ours?, &systems, flush_p50, delay)).collect();
        for goal in &goals {
            println!("  {goal}");
        }
        let result = json!({
            "workload": self.name,
            "title": self.title,
            "connections": self.connections,
            "seconds": args.seconds.as_secs_f64(),
            "flush_delay_us": delay,
            "conditions": conditions,
            "fdatasync": { "p50_us": flush_p50, "p99_us": flush_p99, "rounds": flushes },
            "systems": systems,
            "goals": goals,
        });
        let suffix = if delay > 0 { format!("-flush+{delay}us") } else { String::new() };
        // A comparison with an earlier binary must not replace the results of the comparison with peers.
        let compared = if args.common.before.is_some() { "-before" } else { "" };
        report::save(&format!("{}{suffix}{compared}", self.name), &result)
    }
}

impl Goal {
    /// Returns a sentence with the verdict; none if the system to compare with was not measured.
    fn judge(self, ours: f64, systems: &Map<String, Value>, flush_p50: f64, delay: u64) -> Option<String> {
        let verdict = |reached: bool| if reached { "reached" } else { "NOT reached" };
        match self {
            Self::Times(kind, plain, slowed) => {
                let times = if delay > 0 { slowed } else { plain };
                let ratio = systems.get(kind.name())?["ours_is_better"].as_f64()?;
                Some(format!("to reach: ≥ {times} × {}: {ratio:.2} ×, {}", kind.name(), verdict(ratio >= times)))
            }
            Self::Within { flushes, micros } => {
                let limit = flushes * (flush_p50 + delay as f64) + micros;
                let (ours_ms, limit_ms) = (millis(ours), millis(limit));
                Some(format!(
                    "to reach: p50 ≤ {limit_ms} ms ({flushes} flushes + {} ms): {ours_ms} ms, {}",
                    millis(micros),
                    verdict(ours <= limit)
                ))
            }
        }
    }
}
