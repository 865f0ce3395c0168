//! A million requests to more objects than may be live, with the memory of the host watched.
//!
//! Objects become live and dormant all the time; a leak shows as growing memory.

use anyhow::Context;
use serde_json::json;

use crate::Common;
use crate::load::{self, Objects, Operation, Order, Until};
use crate::report::{self, thousands};
use crate::systems::Launcher;

/// One sample for every 2 % of the requests.
const SAMPLES: u64 = 50;
/// The peak of the last fifth may exceed that of the first by this much.
const GROWTH_MAX: f64 = 0.05;
const BAR_WIDTH: u64 = 40;

#[derive(clap::Args)]
pub struct Args {
    /// Total number of requests.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(SAMPLES..))]
    requests: u64,
    /// Objects that they go to.
    #[arg(long, default_value_t = 10_000)]
    objects: usize,
    /// Maximum of live objects.
    #[arg(long, default_value_t = 1_000)]
    live: u32,
    #[arg(long, default_value_t = 64)]
    connections: usize,
    #[command(flatten)]
    common: Common,
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    let launcher = Launcher::prepare(&args.common, false).await?;
    let conditions = report::conditions(launcher.versions().await?);
    let system = launcher.start_holdfast(&format!("[limits]\nlive-instances = {}\n", args.live)).await?;
    let objects = Objects::new("o", args.objects);

    println!("soak: {} fetches over {} objects, at most {} live", args.requests, args.objects, args.live);
    let mut curve = vec![(0, system.resident_kib()?)];
    let mut rounds = Vec::new();
    for sample in 1..=SAMPLES {
        let requests = args.requests * sample / SAMPLES - args.requests * (sample - 1) / SAMPLES;
        let until = Until::Requests(requests);
        let round = load::run(system.address, args.connections, until, Operation::Hello, &objects, Order::Random).await;
        let round = round.with_context(|| system.describe())?;
        let resident = system.resident_kib()?;
        println!(
            "  {:>3} %  {:>9} KiB  {:>8}/s  p99 {:>6} µs",
            sample * 100 / SAMPLES,
            resident,
            thousands(round.rate),
            round.p99_us
        );
        curve.push((args.requests * sample / SAMPLES, resident));
        rounds.push(round);
    }

    // Peaks, because resident memory varies by a third as instances are made and dropped by the hundred.
    let peak_of_fifth = |fifth: u64| {
        let (from, to) = (SAMPLES / 5 * fifth + 1, SAMPLES / 5 * (fifth + 1));
        curve[from as usize..=to as usize].iter().map(|(_, kib)| *kib).max().unwrap_or_default()
    };
    let (first, last) = (peak_of_fifth(0), peak_of_fifth(4));
    let growth = last as f64 / first as f64 - 1.0;
    let flat = growth <= GROWTH_MAX;
    draw(&curve);
    let verdict = if flat { "flat" } else { "GROWS" };
    println!("  peak of {first} KiB in the first fifth, {last} KiB in the last: {:+.1} %, {verdict}", growth * 100.0);
    let result = json!({
        "workload": "soak",
        "requests": args.requests,
        "objects": args.objects,
        "live_instances": args.live,
        "connections": args.connections,
        "conditions": conditions,
        "resident_kib": curve.iter().map(|(requests, kib)| json!({ "requests": requests, "kib": kib })).collect::<Vec<_>>(),
        "growth_of_peak": growth,
        "flat": flat,
        "rounds": rounds,
    });
    report::save("soak", &result)?;
    anyhow::ensure!(flat, "memory grows");
    Ok(())
}

fn draw(curve: &[(u64, u64)]) {
    let most = curve.iter().map(|(_, kib)| *kib).max().unwrap_or(1).max(1);
    for (requests, kib) in curve {
        println!("  {:>10} {}", thousands(*requests as f64), "█".repeat((kib * BAR_WIDTH / most) as usize));
    }
}
