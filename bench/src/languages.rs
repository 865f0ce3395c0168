//! The cost of each language: the classes of the conformance suite (`tests/conformance`), built by `holdfast build`,
//! each on a host of its own.
//!
//! The figures are those of a caller with one connection on this machine, so the cost of a request is in all of them,
//! except where one figure is subtracted from another. Only this command writes the table in
//! `docs/languages/README.md`.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde::Serialize;
use serde_json::json;
use tokio::process::Command;

use crate::Common;
use crate::http::{Connection, request};
use crate::load::whole_micros;
use crate::report::{self, Measured, thousands};
use crate::systems::{Launcher, Running};

/// Objects that are made to measure wake-up time and memory.
const OBJECTS: usize = 400;
/// Requests to one object.
const REQUESTS: usize = 2_000;
/// Lines of a script that measures the cost of a storage call.
const CALLS: usize = 1_000;
/// Scripts of that kind.
const SCRIPTS: usize = 20;
const GIB: u64 = 1 << 30;
/// The lines in the document between which the table is written.
const MARKERS: [&str; 2] = ["<!-- measured -->\n", "<!-- end -->\n"];

/// Classes of the conformance suite, in the order of the table: the directory, its name in the table, and what compiles
/// or runs it. JavaScript and TypeScript cost the same; only the engine differs.
const LANGUAGES: [(&str, &str, &str); 9] = [
    ("rust", "Rust", "rustc, wasm32-wasip2"),
    ("c", "C", "Zig's Clang"),
    ("cpp", "C++", "Zig's Clang"),
    ("zig", "Zig", "Zig, `ReleaseSafe`"),
    ("assemblyscript", "AssemblyScript", "asc"),
    ("go", "Go", "Go, wasip1"),
    ("javascript", "JavaScript, TypeScript", "QuickJS (the default engine), componentize-qjs"),
    ("typescript", "JavaScript, TypeScript", "StarlingMonkey, componentize-js"),
    ("python", "Python", "CPython, componentize-py"),
];

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    common: Common,
}

#[derive(Serialize)]
struct Figures {
    language: &'static str,
    toolchain: &'static str,
    component_bytes: usize,
    /// Time from sending the component to the answer that it is deployed.
    deploy_ms: f64,
    /// Time of the first request to an object, less that of later ones.
    instantiate_us: f64,
    /// Memory of the host for one more object that has answered two requests.
    live_object_kib: f64,
    live_objects_in_8_gib: u64,
    /// A request without a body to an object in memory.
    fetch: Measured,
    /// `get` of a small value, from the class's call to its result.
    get_us: f64,
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    let launcher = Launcher::prepare(&args.common, false).await?;
    let conditions = report::conditions(launcher.versions().await?);
    let mut all = Vec::new();
    for (class, language, toolchain) in LANGUAGES {
        println!("{class}");
        let component = build(&args.common, class).await?;
        all.push(measure(&launcher, language, toolchain, &component).await?);
    }
    let table = table(&all);
    print!("\n{table}");
    write_into(&repository().join("docs/languages/README.md"), &table)?;
    report::save("languages", &json!({ "conditions": conditions, "languages": all }))
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package is in the repository").into()
}

async fn build(common: &Common, class: &str) -> anyhow::Result<Vec<u8>> {
    let holdfast = common.holdfast.as_deref().context("say where the binary is: --holdfast FILE")?;
    let mut command = Command::new(holdfast.canonicalize()?);
    command.arg("build").arg(repository().join("tests/conformance").join(class));
    let output = command.stderr(std::process::Stdio::inherit()).kill_on_drop(true).output().await?;
    ensure!(output.status.success(), "{class} is not built");
    let file = String::from_utf8(output.stdout)?;
    std::fs::read(file.trim()).with_context(|| format!("cannot read {}", file.trim()))
}

async fn measure(
    launcher: &Launcher,
    language: &'static str,
    toolchain: &'static str,
    component: &[u8],
) -> anyhow::Result<Figures> {
    // More than are made: an instance with several memories needs several places.
    let settings = format!("[limits]\nlive-instances = {}\nidle-seconds = 3600.0\n", 4 * OBJECTS);
    let system = launcher.start_holdfast(&settings).await?;
    let began = Instant::now();
    system.deploy("conformance", component).await?;
    let deploy_ms = began.elapsed().as_secs_f64() * 1000.0;

    let mut connection = Connection::open(system.address).await?;
    // The first instance reads the compiled code from disk.
    let (fetch, get_us) = one_object(&mut connection).await?;
    let before = system.memory_kib()?;
    let instantiate_us = wake(&mut connection).await?;
    let live_object_kib = system.memory_kib()?.saturating_sub(before) as f64 / OBJECTS as f64;
    ensure!(live(&system).await? >= OBJECTS as u64, "the objects are not in memory any more");
    Ok(Figures {
        language,
        toolchain,
        component_bytes: component.len(),
        deploy_ms,
        instantiate_us,
        live_object_kib,
        live_objects_in_8_gib: (8.0 * (GIB / 1024) as f64 / live_object_kib) as u64,
        fetch,
        get_us,
    })
}

async fn live(system: &Running) -> anyhow::Result<u64> {
    system.metric("holdfast_live_instances").await
}

/// Measures the cost of requests and calls of an object in memory.
async fn one_object(connection: &mut Connection) -> anyhow::Result<(Measured, f64)> {
    run_script(connection, "one", "put a 1").await?;
    let ask = request("GET", "/conformance/one/status/204", &[], b"");
    let mut micros = Vec::with_capacity(REQUESTS);
    let began = Instant::now();
    for _ in 0..REQUESTS {
        let sent = Instant::now();
        connection.exchange(&ask).await?.ok()?;
        micros.push(whole_micros(sent.elapsed()));
    }
    let fetch = Measured::new(began.elapsed(), micros);
    // The same script without the call: the difference is the cost of the call.
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for _ in 0..SCRIPTS {
        with.push(run_script(connection, "one", &"get a\n".repeat(CALLS)).await?.as_secs_f64());
        without.push(run_script(connection, "one", &"count\n".repeat(CALLS)).await?.as_secs_f64());
    }
    let difference = report::median(with) - report::median(without);
    Ok((fetch, difference * 1e6 / CALLS as f64))
}

/// Returns the microseconds that the first request to an object takes longer than the second.
async fn wake(connection: &mut Connection) -> anyhow::Result<f64> {
    let (mut first, mut second) = (Vec::new(), Vec::new());
    for object in 0..OBJECTS {
        let name = format!("o{object}");
        first.push(run_script(connection, &name, "count").await?.as_secs_f64());
        second.push(run_script(connection, &name, "count").await?.as_secs_f64());
    }
    Ok((report::median(first) - report::median(second)) * 1e6)
}

async fn run_script(connection: &mut Connection, object: &str, script: &str) -> anyhow::Result<Duration> {
    let ask = request("POST", &format!("/conformance/{object}/run"), &[], script.as_bytes());
    let sent = Instant::now();
    connection.exchange(&ask).await?.ok()?;
    Ok(sent.elapsed())
}

fn table(all: &[Figures]) -> String {
    let mut table = String::from(
        "| language | toolchain | component | compiled at deploy | first request, more than others | fetch p50 | one `get` | memory per live object | live objects in 8 GiB |\n\
         |---|---|---|---|---|---|---|---|---|\n",
    );
    for figures in all {
        let Figures { language, toolchain, .. } = figures;
        table += &format!(
            "| {language} | {toolchain} | {} kB | {} ms | {} µs | {} µs | {:.1} µs | {} KiB | {} |\n",
            thousands(figures.component_bytes as f64 / 1000.0),
            thousands(figures.deploy_ms),
            thousands(figures.instantiate_us),
            figures.fetch.p50_us,
            figures.get_us,
            thousands(figures.live_object_kib),
            thousands(figures.live_objects_in_8_gib as f64),
        );
    }
    table
}

/// Puts the table between the markers of a document.
fn write_into(document: &Path, table: &str) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(document).with_context(|| format!("cannot read {}", document.display()))?;
    let parts = text.split_once(MARKERS[0]).and_then(|(before, rest)| Some((before, rest.split_once(MARKERS[1])?.1)));
    let (before, after) = parts.with_context(|| format!("{} has no markers", document.display()))?;
    let [start, end] = MARKERS;
    Ok(std::fs::write(document, format!("{before}{start}{table}{end}{after}"))?)
}
