//! B7: the memory of idle objects and sockets. Each figure is the growth of the host's memory from a tenth of the
//! objects or sockets to all of them, divided by their difference.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde::Serialize;
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::Common;
use crate::load::{self, Objects, Operation, Order, Until};
use crate::peer::{self, Peer};
use crate::report::{self, thousands};
use crate::sockets;
use crate::systems::{Launcher, Running};

const CONNECTIONS: usize = 64;
/// Bytes each.
const LIVE_GOAL: f64 = 150.0 * 1024.0;
const DORMANT_GOAL: f64 = 300.0;
const SOCKET_GOAL: f64 = 8.0 * 1024.0;
/// Freed memory is returned to the system a little later.
const SETTLE: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(120);

#[derive(clap::Args)]
pub struct Args {
    /// Sockets, each with a tag of its own.
    #[arg(long, default_value_t = 10_000)]
    sockets: usize,
    /// Objects that the sockets belong to.
    #[arg(long, default_value_t = 100)]
    rooms: usize,
    #[arg(long, default_value_t = 1_000)]
    live: usize,
    #[arg(long, default_value_t = 100_000)]
    dormant: usize,
    #[command(flatten)]
    common: Common,
}

#[derive(Serialize)]
struct Growth {
    count: usize,
    before_kib: u64,
    after_kib: u64,
    bytes_each: f64,
    goal_bytes: f64,
    reached: bool,
}

impl Growth {
    fn new(what: &str, count: usize, before_kib: u64, after_kib: u64, goal_bytes: f64) -> Self {
        let bytes_each = (after_kib as f64 - before_kib as f64) * 1024.0 / count as f64;
        let reached = bytes_each <= goal_bytes;
        let (each, goal) = (thousands(bytes_each), thousands(goal_bytes));
        let verdict = if reached { "reached" } else { "NOT reached" };
        println!(
            "  {what:<40} {before_kib:>9} → {after_kib:>9} KiB  {each:>8} bytes each, to reach: ≤ {goal}, {verdict}"
        );
        Self { count, before_kib, after_kib, bytes_each, goal_bytes, reached }
    }
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    peer::allow_many()?;
    let launcher = Launcher::prepare(&args.common, false).await?;
    let conditions = report::conditions(launcher.versions().await?);
    println!("B7: memory");
    let live = live(&args, &launcher).await.context("live objects")?;
    let dormant = dormant(&args, &launcher).await.context("dormant objects")?;
    let (idle, after_a_message) = hibernated(&args, &launcher).await.context("sockets")?;
    let result = json!({
        "workload": "b7",
        "title": "memory of what does nothing",
        "conditions": conditions,
        "live_objects": live,
        "dormant_objects": dormant,
        "sockets_of_dormant_objects": idle,
        "sockets_after_a_message_each": after_a_message,
        "objects_of_the_sockets": args.rooms,
    });
    report::save("b7", &result)
}

/// Measures objects of a small Rust class that have stored a number and wait for the next request.
async fn live(args: &Args, launcher: &Launcher) -> anyhow::Result<Growth> {
    let system = launcher.start_holdfast("[limits]\nidle-seconds = 3600\n").await?;
    let (warm, more) = (args.live / 10, args.live);
    increment(&system, "warm", warm).await?;
    let before = settled(&system, warm).await?;
    increment(&system, "more", more).await?;
    let after = settled(&system, warm + more).await?;
    Ok(Growth::new("live objects", more, before, after, LIVE_GOAL))
}

/// Measures the same objects when they are dormant. Few are live at a time, so the allocator's memory for these is
/// constant.
async fn dormant(args: &Args, launcher: &Launcher) -> anyhow::Result<Growth> {
    let system = launcher.start_holdfast("[limits]\nlive-instances = 100\nidle-seconds = 0.5\n").await?;
    increment(&system, "warm", args.dormant / 10).await?;
    let before = settled(&system, 0).await?;
    increment(&system, "more", args.dormant).await?;
    let after = settled(&system, 0).await?;
    Ok(Growth::new("dormant objects", args.dormant, before, after, DORMANT_GOAL))
}

/// Measures open sockets of dormant objects: before any message of their peers, and after each got an echo.
async fn hibernated(args: &Args, launcher: &Launcher) -> anyhow::Result<(Growth, Growth)> {
    let system = launcher.start_holdfast("[limits]\nidle-seconds = 0.5\n").await?;
    let mut listening = Listening::default();
    listening.open(&system, args.sockets / 10, args.rooms).await?;
    let before = settled(&system, 0).await?;
    listening.open(&system, args.sockets, args.rooms).await?;
    let after = settled(&system, 0).await?;
    let idle = Growth::new("hibernated sockets", args.sockets, before, after, SOCKET_GOAL);

    let peers = listening.stop().await;
    ensure!(peers.len() == args.sockets + args.sockets / 10, "{} sockets are left", peers.len());
    let mut tasks = JoinSet::new();
    for (number, mut peer) in peers.into_iter().enumerate() {
        tasks.spawn(async move { peer.echo(format!("{number:064}")).await.map(|()| peer) });
    }
    let mut listening = Listening::default();
    while let Some(peer) = tasks.join_next().await {
        listening.add(peer?.with_context(|| system.describe())?);
    }
    let after = settled(&system, 0).await?;
    Ok((idle, Growth::new("the same after a message each", args.sockets, before, after, SOCKET_GOAL)))
}

async fn increment(system: &Running, prefix: &str, count: usize) -> anyhow::Result<()> {
    let (all, objects) = (Until::Requests(u64::MAX), Objects::new(prefix, count));
    let done = load::run(system.address, CONNECTIONS, all, Operation::Increment, &objects, Order::Once).await;
    done.map(drop).with_context(|| system.describe())
}

/// Returns the host's memory when this many objects are live.
async fn settled(system: &Running, live: usize) -> anyhow::Result<u64> {
    let began = Instant::now();
    while system.metric("holdfast_live_instances").await? != live as u64 {
        ensure!(began.elapsed() < PATIENCE, "not {live} live objects after {PATIENCE:?}");
        sleep(Duration::from_millis(100)).await;
    }
    sleep(SETTLE).await;
    system.memory_kib()
}

/// Peers that answer pings, which the system sends to silent peers.
#[derive(Default)]
struct Listening {
    tasks: JoinSet<Peer>,
    /// The peers read until this is dropped.
    until: watch::Sender<()>,
}

impl Listening {
    /// Opens this many more sockets, spread over this many objects.
    async fn open(&mut self, system: &Running, sockets: usize, objects: usize) -> anyhow::Result<()> {
        for number in 0..sockets {
            let peer = sockets::open(system.address, number, objects).await.with_context(|| system.describe())?;
            self.add(peer);
        }
        Ok(())
    }

    fn add(&mut self, mut peer: Peer) {
        let mut until = self.until.subscribe();
        self.tasks.spawn(async move {
            tokio::select! {
                // A closed socket is detected when it sends.
                _ = peer.hear() => {}
                _ = until.changed() => {}
            }
            peer
        });
    }

    async fn stop(self) -> Vec<Peer> {
        let Self { tasks, until } = self;
        drop(until);
        tasks.join_all().await
    }
}
