//! A host under test: `holdfast serve` with a data directory that outlives the process.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value as Json;
use tempfile::TempDir;

use super::program::{Ended, Program, holdfast, holdfast_under};
use super::{Answer, Client, eventually, metrics};

/// Many hosts run at once, so each is small unless its test needs more.
const LIVE_INSTANCES: u32 = 32;
const ANY_PORT: &str = "127.0.0.1:0";

/// A host and its data.
pub struct Host {
    directory: TempDir,
    program: Program,
    data: Client,
    admin: Client,
}

impl Host {
    /// Starts a host with default limits.
    pub fn start() -> Self {
        Self::with("")
    }

    /// Starts a host with these lines in `[limits]`.
    pub fn with(limits: &str) -> Self {
        let instances =
            if limits.contains("live-instances") { "" } else { &format!("live-instances = {LIVE_INSTANCES}\n") };
        Self::with_config(&format!("[server]\nerror-details = true\n\n[limits]\n{instances}{limits}\n"))
    }

    /// Starts a host with this `holdfast.toml`.
    pub fn with_config(config: &str) -> Self {
        Self::with_descriptors(config, None)
    }

    /// Starts a host with this `holdfast.toml` and with a limit of open files and sockets.
    pub fn with_descriptors(config: &str, descriptors: Option<u32>) -> Self {
        Self::prepared(config, descriptors, |_| {})
    }

    /// Starts a host with default limits on an existing data directory: `fill` makes it, as `data` in the directory
    /// that it gets.
    pub fn on(fill: impl FnOnce(&Path)) -> Self {
        Self::prepared("[server]\nerror-details = true\n", None, fill)
    }

    fn prepared(config: &str, descriptors: Option<u32>, fill: impl FnOnce(&Path)) -> Self {
        let directory = tempfile::tempdir().expect("there is room for a data directory");
        std::fs::write(directory.path().join("holdfast.toml"), config).expect("the directory can be written");
        fill(directory.path());
        let started = start(serve(&directory, ANY_PORT, descriptors), &directory);
        let (program, data, admin) = started.unwrap_or_else(|ended| panic!("{ended}"));
        Self { directory, program, data, admin }
    }

    /// Returns the client of the data listener.
    pub fn data(&self) -> &Client {
        &self.data
    }

    /// Returns the client of the admin listener; it has the token.
    pub fn admin(&self) -> &Client {
        &self.admin
    }

    /// Returns the id of the host's process.
    pub fn process_id(&self) -> u32 {
        self.program.id()
    }

    /// Returns the CPU time that the process has used so far.
    pub fn cpu_time(&self) -> Duration {
        self.program.cpu_time()
    }

    /// Returns the data directory.
    pub fn data_directory(&self) -> PathBuf {
        data_directory(&self.directory)
    }

    /// Returns the number of the host's process.
    pub fn process(&self) -> u32 {
        self.program.id()
    }

    /// Returns whether the process runs.
    pub fn is_running(&mut self) -> bool {
        self.program.is_running()
    }

    /// Deploys a component, which must be accepted, and returns the answer of the admin API.
    pub fn deploy(&self, class: &str, component: impl AsRef<[u8]>) -> Json {
        let answer = self.admin.put(&format!("/v1/classes/{class}"), component);
        assert!(matches!(answer.status, 200 | 201), "{answer:?}");
        serde_json::from_slice(&answer.body).expect("it is JSON")
    }

    /// Sends a `GET` to the data listener.
    pub fn get(&self, path: &str) -> Answer {
        self.data.get(path)
    }

    /// Sends a `POST` to the data listener.
    pub fn post(&self, path: &str, body: impl AsRef<[u8]>) -> Answer {
        self.data.post(path, body)
    }

    /// Kills the process (SIGKILL) and waits for its end.
    pub fn kill(&mut self) {
        self.program.kill();
    }

    /// Kills the process (SIGKILL) without waiting for its end.
    pub fn begin_to_die(&self) {
        self.program.signal(Signal::KILL);
    }

    /// Sends SIGTERM without waiting for the end.
    pub fn begin_to_stop(&self) {
        self.program.signal(Signal::TERM);
    }

    /// Lowers the limit of open files of the running process to this many more than it has open, or restores the limit.
    pub fn limit_descriptors(&self, more: Option<u64>) {
        self.program.limit_descriptors(more);
    }

    /// Waits for the end of the process.
    pub fn end(&mut self) -> ExitStatus {
        self.program.end()
    }

    /// Sends SIGTERM and waits for the end.
    pub fn terminate(&mut self) -> ExitStatus {
        self.begin_to_stop();
        self.end()
    }

    /// Starts the host again on the same data. It must have ended.
    pub fn restart(&mut self) {
        self.restart_with_failpoints("").unwrap_or_else(|ended| panic!("{ended}"));
    }

    /// Does [`Self::restart`] with these failpoints armed (`docs/TESTING.md`). Returns how the process ended if it does
    /// not serve.
    pub fn restart_with_failpoints(&mut self, failpoints: &str) -> Result<(), Ended> {
        self.relaunch(ANY_PORT, failpoints)
    }

    /// Does [`Self::restart`] with the data listener at its previous address, for clients that reconnect.
    pub fn restart_in_place(&mut self) {
        self.relaunch(&self.data.address().to_string(), "").unwrap_or_else(|ended| panic!("{ended}"));
    }

    fn relaunch(&mut self, listen: &str, failpoints: &str) -> Result<(), Ended> {
        assert!(!self.program.is_running(), "kill or terminate it first");
        (self.program, self.data, self.admin) = launch(&self.directory, listen, failpoints)?;
        Ok(())
    }

    /// Returns what the host has logged since its last start.
    pub fn log(&self) -> String {
        self.program.stderr.text()
    }

    /// Panics unless the host still serves.
    pub fn assert_alive(&mut self) {
        assert!(self.program.is_running(), "the process has ended");
        assert_eq!(self.get("/_health").text(), "ok");
    }

    /// Returns one sample of the metrics; 0 when it is not there.
    pub fn metric(&self, sample: &str) -> u64 {
        let samples = metrics::parse(self.admin.get("/metrics").text());
        samples.get(sample).copied().unwrap_or_default() as u64
    }

    /// Waits until a metric has this value.
    pub fn wait_for_metric(&self, sample: &str, value: u64) {
        eventually(&format!("{sample} to be {value}"), || (self.metric(sample) == value).then_some(()));
    }

    /// Waits until this many instances are in memory: for a long turn, until it runs.
    pub fn wait_for_live_instances(&self, count: u64) {
        self.wait_for_metric("holdfast_live_instances", count);
    }

    /// Returns the `state` of an object in the admin API.
    pub fn state(&self, class: &str, object: &str) -> String {
        let shown = self.admin.get(&format!("/v1/classes/{class}/objects/{object}")).json();
        shown["state"].as_str().expect("it is text").into()
    }

    /// Returns a client command that is configured for this host.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = holdfast(arguments);
        command.env("HOLDFAST_SERVER", format!("http://{}", self.admin.address()));
        command.env("HOLDFAST_DATA_URL", format!("http://{}", self.data.address()));
        command.env("HOLDFAST_DATA", self.data_directory());
        command
    }

    /// Runs a client command to its end.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("the program starts")
    }
}

fn data_directory(directory: &TempDir) -> PathBuf {
    directory.path().join("data")
}

fn serve(directory: &TempDir, listen: &str, descriptors: Option<u32>) -> Command {
    let plain = holdfast(&["serve", "--listen", listen, "--admin-listen", ANY_PORT]);
    let mut command = match descriptors {
        None => plain,
        Some(descriptors) => {
            let mut shell = holdfast_under("sh");
            shell.args(["-c", &format!("ulimit -n {descriptors} && exec \"$0\" \"$@\"")]);
            shell.arg(plain.get_program()).args(plain.get_args());
            shell
        }
    };
    command.arg("--config").arg(directory.path().join("holdfast.toml"));
    command.arg("--data").arg(data_directory(directory));
    command
}

fn launch(directory: &TempDir, listen: &str, failpoints: &str) -> Result<(Program, Client, Client), Ended> {
    let mut command = serve(directory, listen, None);
    if !failpoints.is_empty() {
        command.env("HOLDFAST_TEST_FAILPOINTS", failpoints);
    }
    start(command, directory)
}

fn start(command: Command, directory: &TempDir) -> Result<(Program, Client, Client), Ended> {
    let mut program = Program::start(command);
    let (data, admin) = program.await_output("the ready line", |stdout| {
        let line = stdout.strip_suffix('\n')?;
        let addresses = line.strip_prefix("holdfast ready data=").and_then(|rest| rest.split_once(" admin="));
        Some(addresses.map(|(data, admin)| (data.parse(), admin.parse())).expect("the line is as documented"))
    })?;
    let token = std::fs::read_to_string(data_directory(directory).join("admin.token")).expect("there is a token");
    let data = Client::new(data.expect("it is an address"), None);
    Ok((program, data, Client::new(admin.expect("it is an address"), Some(token.trim().into()))))
}
