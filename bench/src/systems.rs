//! The measured systems. Owns the start of each on a fresh data directory, and its end with the run.
//!
//! All of them answer `GET /hello/{name}`, `POST /number/{name}` and `GET /number/{name}` (see `load::Operation`).

mod holdfast;
mod workerd;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use crate::Common;
use crate::load::Objects;

pub use holdfast::Guests;

/// Long enough for a start that rebuilds the list of objects.
const READY_WITHIN: Duration = Duration::from_secs(300);

/// The kind of a system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Holdfast.
    Holdfast,
    /// An earlier binary of Holdfast.
    Before,
    /// The Durable Objects runtime.
    Workerd,
    /// `bench baseline`.
    Baseline,
}

impl Kind {
    /// Returns its name in tables and results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Holdfast => "holdfast",
            Self::Before => "before",
            Self::Workerd => "workerd",
            Self::Baseline => "baseline",
        }
    }
}

/// Everything that starting a system needs, made once per run.
pub struct Launcher {
    scratch: PathBuf,
    flush_delay_us: Option<u64>,
    holdfast: Option<(PathBuf, Guests)>,
    before: Option<(PathBuf, Guests)>,
    workerd: Option<PathBuf>,
}

impl Launcher {
    /// Builds the guests if there is a host to run them, and installs workerd if it is measured.
    pub async fn prepare(common: &Common, workerd: bool) -> anyhow::Result<Self> {
        let scratch = match &common.scratch {
            Some(scratch) => scratch.clone(),
            // Beside the build, which is on a disk; a temporary directory may be in memory.
            None => std::env::current_exe()?.with_file_name("bench-scratch"),
        };
        std::fs::create_dir_all(&scratch)?;
        if common.flush_delay_us.is_some() {
            output(Command::new("strace").arg("--version")).await.context("--flush-delay-us needs strace")?;
        }
        let found =
            |binary: &PathBuf| binary.canonicalize().with_context(|| format!("no such binary: {}", binary.display()));
        let holdfast = match &common.holdfast {
            Some(binary) => Some((found(binary)?, Guests::build().await?)),
            None => None,
        };
        let before = match (&common.before, &common.before_guests) {
            (Some(binary), Some(directory)) => Some((found(binary)?, Guests::read(directory)?)),
            (Some(binary), None) => Some((found(binary)?, Guests::build().await?)),
            (None, _) => None,
        };
        let workerd = if workerd && before.is_none() { Some(workerd::install().await?) } else { None };
        Ok(Self { scratch, flush_delay_us: common.flush_delay_us, holdfast, before, workerd })
    }

    /// Returns the directory in which data directories are made.
    pub fn scratch(&self) -> &Path {
        &self.scratch
    }

    /// Returns the systems that can be started, Holdfast first.
    pub fn kinds(&self) -> Vec<Kind> {
        if self.before.is_some() {
            return vec![Kind::Holdfast, Kind::Before];
        }
        let ours = self.holdfast.as_ref().map(|_| Kind::Holdfast);
        ours.into_iter().chain(self.workerd.as_ref().map(|_| Kind::Workerd)).chain([Kind::Baseline]).collect()
    }

    /// Returns the version that each system reports.
    pub async fn versions(&self) -> anyhow::Result<serde_json::Map<String, Value>> {
        let binaries = [
            (Kind::Holdfast, self.holdfast.as_ref().map(|(binary, _)| binary)),
            (Kind::Before, self.before.as_ref().map(|(binary, _)| binary)),
            (Kind::Workerd, self.workerd.as_ref()),
        ];
        let mut versions = serde_json::Map::new();
        for (kind, binary) in binaries {
            if let Some(binary) = binary {
                let version = output(Command::new(binary).arg("--version")).await?;
                versions.insert(kind.name().into(), version.trim().into());
            }
        }
        Ok(versions)
    }

    /// Starts a system on an empty data directory, and waits until it serves.
    pub async fn start(&self, kind: Kind) -> anyhow::Result<Running> {
        match kind {
            Kind::Holdfast => self.start_holdfast("").await,
            Kind::Before => {
                let before = self.before.as_ref();
                let (binary, guests) = before.context("say where the earlier binary is: --before FILE")?;
                let system = holdfast::start(self, Kind::Before, binary, self.data_directory()?, "").await?;
                system.admin()?.deploy(guests).await?;
                Ok(system)
            }
            Kind::Workerd => workerd::start(self).await,
            Kind::Baseline => {
                let data = self.data_directory()?;
                let binary = std::env::current_exe()?;
                let command = vec![binary.into(), "baseline".into(), "--data".into(), data.path().into()];
                let mut process = self.spawn(kind, command, data)?;
                let ready = process.ready_line().await?;
                Ok(Running { kind, address: address(&ready, "data")?, admin: None, process })
            }
        }
        .with_context(|| format!("cannot start {}", kind.name()))
    }

    /// Starts Holdfast with settings of its own, in the syntax of `holdfast.toml`.
    pub async fn start_holdfast(&self, settings: &str) -> anyhow::Result<Running> {
        let (_, guests) = self.holdfast()?;
        let system = self.start_holdfast_on(self.data_directory()?, settings).await?;
        system.admin()?.deploy(guests).await?;
        Ok(system)
    }

    /// Starts Holdfast on the data of an earlier process, classes included; see [`Running::data`].
    pub async fn start_holdfast_on(&self, data: Arc<TempDir>, settings: &str) -> anyhow::Result<Running> {
        holdfast::start(self, Kind::Holdfast, &self.holdfast()?.0, data, settings).await
    }

    fn holdfast(&self) -> anyhow::Result<&(PathBuf, Guests)> {
        self.holdfast.as_ref().context("say where the binary is: --holdfast FILE")
    }

    fn data_directory(&self) -> anyhow::Result<Arc<TempDir>> {
        Ok(Arc::new(tempfile::Builder::new().prefix("data-").tempdir_in(&self.scratch)?))
    }

    /// Starts a child in a process group of its own, under strace when flushes are delayed.
    fn spawn(&self, kind: Kind, command: Vec<OsString>, data: Arc<TempDir>) -> anyhow::Result<Process> {
        let mut arguments: Vec<OsString> = Vec::new();
        if let Some(micros) = self.flush_delay_us {
            // -D: the system stays a child of the driver, and strace is detached.
            arguments.extend(["strace", "-D", "-f", "--seccomp-bpf", "-o", "/dev/null"].map(OsString::from));
            let delay = format!("inject=fsync,fdatasync:delay_exit={micros}");
            arguments.extend(["-e", "trace=fsync,fdatasync", "-e", &delay].map(OsString::from));
        }
        arguments.extend(command);
        let complaints = data.path().with_extension("stderr");
        let mut child = Command::new(&arguments[0])
            .args(&arguments[1..])
            .current_dir(data.path()) // so that no holdfast.toml of the working directory is read
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&complaints)?)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot run {}", arguments[0].display()))?;
        let stdout = child.stdout.take().context("the child has no standard output")?;
        Ok(Process { kind, child, lines: BufReader::new(stdout).lines(), complaints, data })
    }
}

/// A system that serves. Dropping it kills it (SIGKILL) and removes its data, unless [`Running::data`] is still held.
pub struct Running {
    /// The kind of the system.
    pub kind: Kind,
    /// The address for requests.
    pub address: SocketAddr,
    admin: Option<holdfast::Admin>,
    process: Process,
}

impl Running {
    /// Makes live objects dormant: Holdfast by request, workerd by idle time; the baseline has none.
    pub async fn make_dormant(&self, objects: &Objects) -> anyhow::Result<()> {
        match (&self.admin, self.kind) {
            (Some(admin), _) => admin.evict(objects).await,
            (None, Kind::Workerd) => {
                tokio::time::sleep(workerd::EVICTS_AFTER).await;
                Ok(())
            }
            (None, kind) => bail!("{} has no dormant objects", kind.name()),
        }
    }

    /// Returns its data, which stays as long as this is held, to start another process on it.
    pub fn data(&self) -> Arc<TempDir> {
        self.process.data.clone()
    }

    /// Returns one metric of the host (Holdfast only).
    pub async fn metric(&self, name: &str) -> anyhow::Result<u64> {
        self.admin()?.metric(name).await
    }

    /// Deploys a component (Holdfast only).
    pub async fn deploy(&self, class: &str, component: &[u8]) -> anyhow::Result<()> {
        self.admin()?.deploy_one(class, component).await
    }

    fn admin(&self) -> anyhow::Result<&holdfast::Admin> {
        self.admin.as_ref().with_context(|| format!("{} has no admin API", self.kind.name()))
    }

    /// Returns the CPU time that its process has used, on all cores together (Linux).
    pub fn cpu_time(&self) -> anyhow::Result<Duration> {
        let pid = self.process.child.id().context("it has ended")?;
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The command's name, in parentheses, may hold anything; user and system time are 11 and 12 fields behind it.
        let (_, fields) = stat.rsplit_once(')').context("no command in stat")?;
        let ticks: Vec<u64> = fields.split_whitespace().skip(11).take(2).map(str::parse).collect::<Result<_, _>>()?;
        Ok(Duration::from_secs_f64(ticks.iter().sum::<u64>() as f64 / rustix::param::clock_ticks_per_second() as f64))
    }

    /// Returns resident memory in KiB (`VmRSS`; Linux). A page counts as often as it is mapped.
    pub fn resident_kib(&self) -> anyhow::Result<u64> {
        self.kib("status", "VmRSS:")
    }

    /// Returns its memory of the machine, in KiB (Linux): its pages, each once however often it is mapped, and the page
    /// tables. Code and initial memory of a class that instances only read are one copy, but resident for each of them.
    pub fn memory_kib(&self) -> anyhow::Result<u64> {
        Ok(self.kib("smaps_rollup", "Pss:")? + self.kib("status", "VmPTE:")?)
    }

    /// Returns a line of a file in `/proc`.
    fn kib(&self, file: &str, name: &str) -> anyhow::Result<u64> {
        let pid = self.process.child.id().context("it has ended")?;
        let lines = std::fs::read_to_string(format!("/proc/{pid}/{file}"))?;
        let value = lines.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("no {name}"))?;
        Ok(value.trim().trim_end_matches(" kB").parse()?)
    }

    /// Returns its name and its last output on standard error, which has the reason when it stopped answering.
    pub fn describe(&self) -> String {
        let last_words = self.process.last_words();
        let separator = if last_words.is_empty() { "" } else { ", whose last words were:\n" };
        format!("{}{separator}{last_words}", self.kind.name())
    }
}

/// A child with its data and its standard error.
struct Process {
    kind: Kind,
    child: Child,
    /// Held open: a child that prints more must not find a closed pipe.
    lines: Lines<BufReader<ChildStdout>>,
    complaints: PathBuf,
    data: Arc<TempDir>,
}

impl Process {
    /// Returns the first line of standard output, which every system here prints as JSON when it serves.
    async fn ready_line(&mut self) -> anyhow::Result<Value> {
        match timeout(READY_WITHIN, self.lines.next_line()).await {
            Ok(Ok(Some(line))) => serde_json::from_str(&line).with_context(|| format!("not a ready line: {line}")),
            Ok(Ok(None)) => bail!("{} ended before it was ready\n{}", self.kind.name(), self.last_words()),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => bail!("{} was not ready within {READY_WITHIN:?}\n{}", self.kind.name(), self.last_words()),
        }
    }

    fn last_words(&self) -> String {
        let text = std::fs::read_to_string(&self.complaints).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Kills the group: strace ends with its system.
        if let Some(pid) = self.child.id().and_then(|id| Pid::from_raw(id as i32)) {
            _ = kill_process_group(pid, Signal::KILL);
            // Its data is removed next: wait until it has ended, and leave the reaping to `Child`.
            _ = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
        }
        _ = std::fs::remove_file(&self.complaints);
    }
}

/// Returns the standard output of a command that must succeed; its standard error is shown.
async fn output(command: &mut Command) -> anyhow::Result<String> {
    let output = command.stderr(Stdio::inherit()).kill_on_drop(true).output().await;
    let shown = command.as_std().get_program().display().to_string();
    let output = output.with_context(|| format!("cannot run {shown}"))?;
    anyhow::ensure!(output.status.success(), "{shown} ended with {}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}

fn address(ready: &Value, key: &str) -> anyhow::Result<SocketAddr> {
    ready[key].as_str().and_then(|text| text.parse().ok()).with_context(|| format!("no address {key:?} in {ready}"))
}

fn directory(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}
