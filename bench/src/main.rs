//! `bench`: measures Holdfast beside its peers and its baselines. `bench/README.md` defines the figures.
//!
//! Owns the command line and nothing else. The children of a run end with it: they are killed by handle
//! when their `Running` is dropped, and Ctrl-C or SIGTERM end `main` by returning from it.

mod alarms;
mod baseline;
mod disk;
mod http;
mod languages;
mod load;
mod memory;
mod peer;
mod report;
mod soak;
mod sockets;
mod sql;
mod start;
mod systems;
mod workloads;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

/// Measures Holdfast beside its peers and its baselines.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run workloads against Holdfast, workerd and the baseline, and print the figures and their ratio.
    Run(workloads::Args),
    /// Serve a million requests with a limit of live instances and watch the memory.
    Soak(soak::Args),
    /// B7: resident memory of live and dormant objects and of hibernated sockets.
    Memory(memory::Args),
    /// B8: 10,000 inserts, 10,000 point reads and a scan of 10,000 rows in one turn each, beside rusqlite in process.
    Sql(sql::Args),
    /// B10: restart after SIGKILL with 100,000 objects and a commit log of 1 GiB.
    Start(start::Args),
    /// B11: round trips over WebSockets and one message to a thousand of them, beside workerd.
    Sockets(sockets::Args),
    /// B12: 100,000 alarms of 100,000 objects within 30 seconds, without and with SIGKILL in the middle.
    Alarms(alarms::Args),
    /// Measure the class of each language; writes the table of docs/languages/README.md.
    Languages(languages::Args),
    /// Serve the baseline: bare axum, and one file with one flush per batch. `run` starts it itself.
    Baseline {
        /// The directory of the file.
        #[arg(long, value_name = "DIR")]
        data: PathBuf,
    },
}

/// The arguments of every measuring command.
#[derive(clap::Args)]
struct Common {
    /// The binary to measure; without it `run` measures the peers and the baseline alone.
    #[arg(long, value_name = "FILE")]
    holdfast: Option<PathBuf>,
    /// An earlier binary: `run` measures it in place of workerd and the baseline.
    #[arg(long, value_name = "FILE", requires = "holdfast")]
    before: Option<PathBuf>,
    /// Components for the earlier binary (`bench_hello.wasm` and so on), if it does not run those of today's contract.
    #[arg(long, value_name = "DIR", requires = "before")]
    before_guests: Option<PathBuf>,
    /// The directory in which data directories are made [default: beside the build].
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
    /// Microseconds added to every fsync and fdatasync of every system (Linux, needs strace).
    #[arg(long, value_name = "MICROSECONDS")]
    flush_delay_us: Option<u64>,
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        // The baseline may use every core, as the other systems do.
        Command::Baseline { data } => {
            runtime(tokio::runtime::Builder::new_multi_thread())?.block_on(baseline::serve(&data))
        }
        // One thread makes the load, because it shares the machine with the system.
        Command::Run(args) => load_runtime()?.block_on(until_stopped(workloads::run(args))),
        Command::Sql(args) => load_runtime()?.block_on(until_stopped(sql::run(args))),
        Command::Start(args) => load_runtime()?.block_on(until_stopped(start::run(args))),
        Command::Memory(args) => load_runtime()?.block_on(until_stopped(memory::run(args))),
        Command::Sockets(args) => load_runtime()?.block_on(until_stopped(sockets::run(args))),
        Command::Alarms(args) => load_runtime()?.block_on(until_stopped(alarms::run(args))),
        Command::Languages(args) => load_runtime()?.block_on(until_stopped(languages::run(args))),
        Command::Soak(args) => load_runtime()?.block_on(until_stopped(soak::run(args))),
    }
}

fn load_runtime() -> std::io::Result<tokio::runtime::Runtime> {
    runtime(tokio::runtime::Builder::new_current_thread())
}

fn runtime(mut builder: tokio::runtime::Builder) -> std::io::Result<tokio::runtime::Runtime> {
    builder.enable_all().build()
}

async fn until_stopped(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        result = work => result,
        _ = interrupt.recv() => anyhow::bail!("interrupted; what was started is stopped"),
        _ = terminate.recv() => anyhow::bail!("told to stop; what was started is stopped"),
    }
}

/// Parses seconds of the command line.
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().map_err(|_| "write a number of seconds, for example 5 or 0.5")?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}
