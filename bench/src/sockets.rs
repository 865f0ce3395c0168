//! B11: WebSockets. Round trips of messages that an object echoes, and one message to all sockets of an object.
//!
//! Every message is checked: an echo equals what was sent, and a broadcast reaches every socket once, in order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde_json::{Map, Value, json};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;

use crate::Common;
use crate::peer::{self, Peer};
use crate::report::{self, Measured, median, millis, thousands};
use crate::systems::{Kind, Launcher, Running};

const GOAL: f64 = 3.0;
const WARM_UP: Duration = Duration::from_secs(1);
/// Bytes of every message.
const MESSAGE: usize = 64;

#[derive(clap::Args)]
pub struct Args {
    /// Loads by the beginning of their name, for example `echo`; all when none is named.
    loads: Vec<String>,
    /// Measured rounds of each system.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Seconds of one round.
    #[arg(long, default_value = "5", value_parser = crate::seconds)]
    seconds: Duration,
    #[command(flatten)]
    common: Common,
}

struct Load {
    name: &'static str,
    title: &'static str,
    sockets: usize,
    objects: usize,
    broadcast: bool,
}

const LOADS: &[Load] = &[
    Load {
        name: "echo-many",
        title: "round trips, 64 sockets of 64 objects",
        sockets: 64,
        objects: 64,
        broadcast: false,
    },
    Load {
        name: "echo-one",
        title: "round trips, 64 sockets of one object",
        sockets: 64,
        objects: 1,
        broadcast: false,
    },
    Load {
        name: "broadcast",
        title: "one message to 1,000 sockets of an object",
        sockets: 1_000,
        objects: 1,
        broadcast: true,
    },
];

/// A system, its sockets and all its measurements.
struct Contender {
    system: Running,
    peers: Vec<Peer>,
    rounds: Vec<Measured>,
    /// CPU time of the system for each message that it sent, in microseconds.
    cpu_us: Vec<f64>,
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    let asked = |load: &&Load| args.loads.is_empty() || args.loads.iter().any(|name| load.name.starts_with(&**name));
    let loads: Vec<&Load> = LOADS.iter().filter(asked).collect();
    ensure!(!loads.is_empty(), "there are {}", LOADS.iter().map(|load| load.name).collect::<Vec<_>>().join(", "));
    peer::allow_many()?;
    let launcher = Launcher::prepare(&args.common, true).await?;
    let conditions = report::conditions(launcher.versions().await?);
    println!("B11: WebSockets");
    let mut results = Map::new();
    for load in loads {
        let result = load.run(&args, &launcher).await.with_context(|| load.name)?;
        results.insert(load.name.into(), result);
    }
    let result = json!({
        "workload": "b11",
        "title": "WebSockets: round trips, and one message to all sockets of an object",
        "seconds": args.seconds.as_secs_f64(),
        "message_bytes": MESSAGE,
        "conditions": conditions,
        "goal_times_workerd": GOAL,
        "loads": results,
    });
    report::save("b11", &result)
}

impl Load {
    async fn run(&self, args: &Args, launcher: &Launcher) -> anyhow::Result<Value> {
        let mut contenders = Vec::new();
        for kind in launcher.kinds() {
            // The baseline has no sockets.
            if kind != Kind::Baseline {
                contenders.push(self.contender(launcher.start(kind).await?).await?);
            }
        }
        for round in 0..args.rounds {
            // Each goes first as often as the other.
            if round % 2 == 1 {
                contenders.reverse();
            }
            for contender in &mut contenders {
                let before = contender.system.cpu_time()?;
                let measured = self.measure(contender, args.seconds).await;
                let measured = measured.with_context(|| contender.system.describe())?;
                let cpu = contender.system.cpu_time()?.saturating_sub(before);
                contender.cpu_us.push(cpu.as_secs_f64() * 1e6 / (measured.requests * self.copies()) as f64);
                contender.rounds.push(measured);
            }
            if round % 2 == 1 {
                contenders.reverse();
            }
        }
        Ok(self.report(&contenders))
    }

    /// Returns the number of peers that receive one message.
    fn copies(&self) -> usize {
        if self.broadcast { self.sockets } else { 1 }
    }

    /// Opens the sockets and warms the system up.
    async fn contender(&self, system: Running) -> anyhow::Result<Contender> {
        let mut peers = Vec::with_capacity(self.sockets);
        for number in 0..self.sockets {
            let opened = open(system.address, number, self.objects).await;
            peers.push(opened.with_context(|| system.describe())?);
        }
        let mut contender = Contender { system, peers, rounds: Vec::new(), cpu_us: Vec::new() };
        let warmed = self.measure(&mut contender, WARM_UP).await.map(drop);
        warmed.with_context(|| contender.system.describe())?;
        Ok(contender)
    }

    async fn measure(&self, contender: &mut Contender, duration: Duration) -> anyhow::Result<Measured> {
        let peers = std::mem::take(&mut contender.peers);
        let (measured, peers) =
            if self.broadcast { broadcast(peers, duration).await? } else { echo(peers, duration).await? };
        contender.peers = peers;
        Ok(measured)
    }

    /// Prints a table and returns the same for the results.
    fn report(&self, contenders: &[Contender]) -> Value {
        println!("  {}: {}", self.name, self.title);
        println!("    {:<10} {:>12} {:>9} {:>9} {:>14}", "", "messages/s", "p50 ms", "p99 ms", "CPU µs/message");
        let mut systems = Map::new();
        let mut rates = Vec::new();
        for contender in contenders {
            let of = |pick: &dyn Fn(&Measured) -> f64| median(contender.rounds.iter().map(pick));
            let rate = of(&|m| m.rate * self.copies() as f64);
            let (p50, p99) = (of(&|m| f64::from(m.p50_us)), of(&|m| f64::from(m.p99_us)));
            let cpu = median(contender.cpu_us.iter().copied());
            let name = contender.system.kind.name();
            println!("    {name:<10} {:>12} {:>9} {:>9} {cpu:>14.1}", thousands(rate), millis(p50), millis(p99));
            let medians =
                json!({ "messages_per_second": rate, "p50_us": p50, "p99_us": p99, "cpu_us_per_message": cpu });
            systems.insert(name.into(), json!({ "medians": medians, "rounds": contender.rounds }));
            rates.push(rate);
        }
        let ratio = if let [ours, theirs] = rates[..] { Some(ours / theirs) } else { None };
        if let Some(ratio) = ratio {
            let verdict = if ratio >= GOAL { "reached" } else { "NOT reached" };
            println!("    to reach: ≥ {GOAL} × workerd: {ratio:.2} ×, {verdict}");
        }
        json!({
            "title": self.title,
            "sockets": self.sockets,
            "objects": self.objects,
            "systems": systems,
            "ours_is_better": ratio,
        })
    }
}

/// Opens one of many sockets, which are spread over this many objects.
pub async fn open(address: SocketAddr, number: usize, objects: usize) -> anyhow::Result<Peer> {
    Peer::open(address, &format!("/socket/o{}/{number}", number % objects)).await
}

fn text(number: usize) -> String {
    format!("{number:0MESSAGE$}")
}

/// Measures round trips: each peer sends its next message when it has the echo of the last.
async fn echo(peers: Vec<Peer>, duration: Duration) -> anyhow::Result<(Measured, Vec<Peer>)> {
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for mut peer in peers {
        tasks.spawn(async move {
            let mut micros = Vec::new();
            while start.elapsed() < duration {
                let sent = Instant::now();
                peer.echo(text(micros.len())).await?;
                micros.push(whole_micros(sent));
            }
            anyhow::Ok((peer, micros))
        });
    }
    let (mut peers, mut all) = (Vec::new(), Vec::new());
    while let Some(done) = tasks.join_next().await {
        let (peer, micros) = done??;
        peers.push(peer);
        all.extend(micros);
    }
    Ok((Measured::new(start.elapsed(), all), peers))
}

/// Measures broadcasts: one peer sends to all, itself included, and again when all have received it.
async fn broadcast(mut peers: Vec<Peer>, duration: Duration) -> anyhow::Result<(Measured, Vec<Peer>)> {
    let mut speaker = peers.pop().context("somebody has to speak")?;
    let listeners = peers.len();
    let heard = Arc::new((AtomicUsize::new(0), Notify::new()));
    let mut tasks = JoinSet::new();
    for peer in peers {
        tasks.spawn(listen(peer, heard.clone(), listeners));
    }
    let (start, mut micros) = (Instant::now(), Vec::new());
    loop {
        let last = start.elapsed() >= duration;
        let message = Message::binary(if last { String::new() } else { text(micros.len()) });
        let sent = Instant::now();
        speaker.send(message.clone()).await?;
        ensure!(speaker.hear().await? == message, "the speaker heard something else");
        if last {
            break;
        }
        tokio::select! {
            () = heard.1.notified() => micros.push(whole_micros(sent)),
            Some(ended) = tasks.join_next() => bail!("a listener ended: {:?}", ended?.err()),
        }
    }
    let measured = Measured::new(start.elapsed(), micros);
    let mut peers = vec![speaker];
    while let Some(peer) = tasks.join_next().await {
        peers.push(peer??);
    }
    Ok((measured, peers))
}

/// Receives every message once and in order, until an empty one.
async fn listen(mut peer: Peer, heard: Arc<(AtomicUsize, Notify)>, listeners: usize) -> anyhow::Result<Peer> {
    for number in 0.. {
        let message = peer.hear().await?;
        if message.is_empty() {
            break;
        }
        ensure!(message == Message::binary(text(number)), "{message:?} where number {number} was to come");
        if (heard.0.fetch_add(1, Relaxed) + 1).is_multiple_of(listeners) {
            heard.1.notify_one();
        }
    }
    Ok(peer)
}

fn whole_micros(since: Instant) -> u32 {
    u32::try_from(since.elapsed().as_micros()).unwrap_or(u32::MAX)
}
