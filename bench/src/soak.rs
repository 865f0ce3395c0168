//! A million requests to more objects than may be live, with the memory of the host watched.
//!
//! Objects are made live and dropped all the time; what leaks on that way shows as a curve that climbs.

use anyhow::Context;
use serde_json::json;

use crate::Common;
use crate::load::{self, Objects, Operation, Order, Until};
use crate::report::{self, thousands};
use crate::systems::Launcher;

/// One sample for every 2 % of the requests.
const SAMPLES: u64 = 50;
/// Memory at the end may exceed the memory after the first tenth by this much.
const GROWTH_MAX: f64 = 0.05;
const BAR_WIDTH: u64 = 40;

#[derive(clap::Args)]
pub struct Args {
    /// Requests in all.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(SAMPLES..))]
    requests: u64,
    /// Objects that they go to.
    #[arg(long, default_value_t = 10_000)]
    objects: usize,
    /// How many of them may be live at once.
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

    // Medians, because instances come and go by the hundred between two samples.
    let tenth_after = |sample: u64| {
        let from = sample as usize + 1;
        let mut tenth: Vec<u64> = curve[from..from + SAMPLES as usize / 10].iter().map(|(_, kib)| *kib).collect();
        tenth.sort_unstable();
        tenth[tenth.len() / 2]
    };
    let (tenth, end) = (tenth_after(SAMPLES / 10), tenth_after(SAMPLES - SAMPLES / 10));
    let growth = end as f64 / tenth as f64 - 1.0;
    let flat = growth <= GROWTH_MAX;
    draw(&curve);
    let verdict = if flat { "flat" } else { "GROWS" };
    println!("  {tenth} KiB in the second tenth, {end} KiB in the last (medians): {:+.1} %, {verdict}", growth * 100.0);
    let result = json!({
        "workload": "soak",
        "requests": args.requests,
        "objects": args.objects,
        "live_instances": args.live,
        "connections": args.connections,
        "conditions": conditions,
        "resident_kib": curve.iter().map(|(requests, kib)| json!({ "requests": requests, "kib": kib })).collect::<Vec<_>>(),
        "growth_after_first_tenth": growth,
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
