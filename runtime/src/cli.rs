//! The command line. Parses arguments, calls one module per command, prints errors.
//!
//! Standard output carries only the requested data, so that it can be piped; progress, hints and the server's log go to
//! standard error. `--json` prints one JSON document per line. Exit codes: 0 success, 1 failure (one `error:` on
//! standard error that says what to do next), 2 wrong usage.
//!
//! Only `serve` and `dev` run the server; `data` reads a data directory; every other command is a client of its HTTP
//! listeners.

/// Writes a line to standard error. Unlike `eprintln!` it does not panic if standard error is closed.
macro_rules! note {
    ($($words:tt)*) => {
        _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("{}\n", format_args!($($words)*)))
    };
}

pub mod build;

mod api;
mod call;
mod class_info;
mod classes;
mod data;
mod deploy;
mod dev;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod invoke;
mod logs;
mod new;
mod objects;
mod path;
mod project;
mod sdk;
mod serve;
mod show;
mod signals;
mod sse;
mod target;
mod update_sdk;
mod watch;

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::base::{failpoints, output};
use crate::server::Server;

/// Durable objects in any language that compiles to a WebAssembly component.
#[derive(Parser)]
#[command(name = "holdfast", version, after_help = FIRST_STEPS)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// The filter of the log on standard error, for example `debug` or `warn,holdfast_runtime=trace`.
    #[arg(
        long,
        global = true,
        env = "HOLDFAST_LOG",
        hide_env_values = true,
        value_name = "FILTER",
        help_heading = "Log"
    )]
    log: Option<String>,
}

const FIRST_STEPS: &str = "\
A class is a component; an object is one instance of it, with storage of its own, created when it is first addressed.

First steps:
  holdfast new counter --lang rust              create a project
  holdfast dev counter                          build and serve it; redeploys when you save
  curl http://127.0.0.1:8787/counter/alice      ask the object `alice` of the class `counter`

A server that stays:
  export HOLDFAST_DATA=/var/lib/holdfast        what it stores, and the token that clients show
  holdfast serve                                objects on :8787, administration on :8788
  holdfast deploy counter                       again after each change; objects keep their state
  holdfast objects list counter                 which objects there are
  holdfast logs --follow                        what they say

`holdfast COMMAND --help` tells more.";

#[derive(Subcommand)]
enum Command {
    New(new::Args),
    UpdateSdk(update_sdk::Args),
    Dev(dev::Args),
    Serve(serve::Args),
    Build(build::Args),
    Deploy(deploy::Args),
    Classes(classes::Args),
    Objects(objects::Args),
    Invoke(invoke::Args),
    Call(call::Args),
    Logs(logs::Args),
    Data(data::Args),
}

/// Returns the definitions of all commands and arguments.
#[cfg(test)]
pub(crate) fn command() -> clap::Command {
    <Cli as clap::CommandFactory>::command()
}

/// Runs the program with the arguments of the process.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = start_log(&cli).and_then(|()| Ok(failpoints::arm()?)).and_then(|()| run(cli.command));
    let code = match result {
        Ok(()) => ExitCode::SUCCESS,
        // The reader of the output has closed it (`holdfast objects list counter | head`).
        Err(error) if show::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            output::stderr().line(format!("error: {}\n", show::chain(&error)).as_bytes());
            ExitCode::FAILURE
        }
    };
    output::stderr().flush();
    code
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::New(args) => new::run(args),
        Command::UpdateSdk(args) => update_sdk::run(args),
        Command::Dev(args) => dev::run(args),
        Command::Serve(args) => serve::run(args),
        Command::Build(args) => build::run(args),
        Command::Deploy(args) => deploy::run(args),
        Command::Classes(args) => classes::run(args),
        Command::Objects(args) => objects::run(args),
        Command::Invoke(args) => invoke::run(args),
        Command::Call(args) => call::run(args),
        Command::Logs(args) => logs::run(args),
        Command::Data(args) => data::run(args),
    }
}

fn start_log(cli: &Cli) -> anyhow::Result<()> {
    let default = if matches!(cli.command, Command::Serve(_)) { "warn,holdfast_runtime=info" } else { "warn" };
    let filter = cli.log.as_deref().unwrap_or(default);
    let filter = EnvFilter::try_new(filter)
        .with_context(|| format!("`{filter}` is not a log filter; try `info` or `warn,holdfast_runtime=debug`"))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(output::stderr)
        .with_ansi(io::stderr().is_terminal())
        .init();
    if matches!(cli.command, Command::Serve(_) | Command::Dev(_)) {
        // A panic costs one turn; waiting for standard error in the hook would cost a thread.
        std::panic::set_hook(Box::new(|panic| {
            let (message, place) =
                (panic.payload_as_str().unwrap_or_default(), panic.location().map(ToString::to_string));
            let thread = std::thread::current().name().unwrap_or_default().to_owned();
            let backtrace = std::backtrace::Backtrace::capture();
            tracing::error!(?message, place, thread, %backtrace, "the host panicked; this is a bug of Holdfast");
        }));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use clap::error::ErrorKind;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split(' '))
    }

    #[test]
    fn the_definitions_agree_with_each_other() {
        Cli::command().debug_assert();
    }

    #[test]
    fn documented_lines_parse() {
        for line in [
            "holdfast serve",
            "holdfast serve --data d --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 --config c.toml --json",
            "holdfast dev",
            "holdfast dev examples/counter --listen [::1]:0 --data d",
            "holdfast new counter --lang rust",
            "holdfast new counter --lang rust --sdk ../guest-sdk/rust",
            "holdfast update-sdk",
            "holdfast update-sdk examples/counter",
            "holdfast build",
            "holdfast build examples/counter",
            "holdfast deploy",
            "holdfast deploy counter.wasm --class counter --server http://127.0.0.1:1 --token t",
            "holdfast classes",
            "holdfast classes --json",
            "holdfast classes list --json --data d",
            "holdfast classes show counter",
            "holdfast classes delete counter --objects",
            "holdfast classes rename counter tally",
            "holdfast objects new-id counter --json",
            "holdfast objects list counter --prefix a --limit 5 --server http://127.0.0.1:1",
            "holdfast objects show counter alice",
            "holdfast objects delete counter @59002eb8cf872e541722977a258a12d6a93bbe8192b502e1c0cb250aa91af234",
            "holdfast objects evict counter alice --json",
            "holdfast objects show counter/alice --json",
            "holdfast objects sql counter/alice SELECT --write -p 1",
            "holdfast objects sql counter -p 1 alice --write SELECT",
            "holdfast objects export counter/alice a.sqlite",
            "holdfast objects import counter alice a/b.sqlite",
            "holdfast objects alarm counter/@bob",
            "holdfast invoke counter/alice/add?n=2 -X POST -d {} -H content-type:application/json -i",
            "holdfast invoke counter/alice --data-url http://127.0.0.1:1",
            "holdfast invoke counter alice /add?n=2 -X POST",
            "holdfast logs",
            "holdfast logs counter --follow",
            "holdfast logs counter/alice --follow --json",
            "holdfast logs counter --json alice",
            "holdfast serve --log debug",
            "holdfast data verify --data d --json",
            "holdfast data inspect",
            "holdfast data verify --log-only",
            "holdfast data inspect --data d --json",
        ] {
            if let Err(error) = parse(line) {
                panic!("{line}: {error}");
            }
        }
    }

    #[test]
    fn wrong_lines_are_refused_with_the_way_out() {
        for (line, says) in [
            ("holdfast new Counter --lang rust", "beginning with a letter"),
            ("holdfast new counter --lang cobol", "rust"),
            ("holdfast serve --listen localhost", "127.0.0.1:8787"),
            ("holdfast objects list Counter", "is not a class name"),
            ("holdfast invoke counter", "CLASS/NAME"),
            ("holdfast invoke counter/a -H nonsense", "NAME: VALUE"),
            ("holdfast logs Counter", "is not a class name"),
            ("holdfast objects show counter", "CLASS/NAME"),
            ("holdfast objects show counter/a/b", "%2F"),
            ("holdfast objects show", "OBJECT"),
            ("holdfast objects sql counter/a", "the statements are missing"),
            ("holdfast objects export counter/a b c", "too many"),
        ] {
            let error = parse(line).err().unwrap_or_else(|| panic!("{line} was accepted")).to_string();
            assert!(error.contains(says), "{line}: {error}");
        }
        assert_eq!(
            parse("holdfast").err().map(|e| e.kind()),
            Some(ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand)
        );
    }
}
