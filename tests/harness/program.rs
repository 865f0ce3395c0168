//! The `holdfast` binary as a child process: its output is collected, and it does not outlive its test.

use std::fmt;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit};

use super::eventually;

/// Returns a command of the binary under test, without Holdfast's variables of the tester's environment.
pub fn holdfast(arguments: &[&str]) -> Command {
    let mut command = holdfast_under(env!("CARGO_BIN_EXE_holdfast"));
    command.args(arguments);
    command
}

/// Returns a command of a program that starts the binary under test.
pub fn holdfast_under(program: &str) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null());
    for variable in ["DATA", "DATA_URL", "SERVER", "TOKEN", "LOG", "TEST_FAILPOINTS"] {
        command.env_remove(format!("HOLDFAST_{variable}"));
    }
    command
}

/// Returns the same command with a lower priority: for builds, which must not slow down hosts and their clients in
/// other tests. Only a little lower: with 15, a build beside eight busy processes gets a hundredth of a core and takes
/// hours.
pub fn nice(command: &Command) -> Command {
    let mut nice = Command::new("nice");
    nice.args(["-n", "3"]).arg(command.get_program()).args(command.get_args()).stdin(Stdio::null());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => nice.env(name, value),
            None => nice.env_remove(name),
        };
    }
    command.get_current_dir().map(|directory| nice.current_dir(directory));
    nice
}

/// A running program.
pub struct Program {
    child: Child,
    pub stdout: Output,
    pub stderr: Output,
}

impl Program {
    /// Starts a command.
    pub fn start(mut command: Command) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let stdout = Output::of(child.stdout.take().expect("it is piped"));
        let stderr = Output::of(child.stderr.take().expect("it is piped"));
        Self { child, stdout, stderr }
    }

    /// Waits until `find` recognises something on the program's standard output.
    pub fn expect<T>(&mut self, what: &str, find: impl Fn(&str) -> Option<T>) -> T {
        self.await_output(what, find).unwrap_or_else(|ended| panic!("before {what}: {ended}"))
    }

    /// Does [`Self::expect`] for a program that may end before.
    pub fn await_output<T>(&mut self, what: &str, find: impl Fn(&str) -> Option<T>) -> Result<T, Ended> {
        let found = eventually(what, || match find(&self.stdout.text()) {
            Some(found) => Some(Some(found)),
            // Its last output has been read when its pipes are closed.
            None => self.has_ended().then_some(None),
        });
        found.ok_or_else(|| Ended { status: self.end(), log: self.stdout.text() + &self.stderr.text() })
    }

    /// Lowers the program's limit of open files to this many more than it has open, or raises it to the limit of the
    /// test process.
    pub fn limit_descriptors(&self, more: Option<u64>) {
        let pid = Pid::from_child(&self.child);
        let open = || {
            let numbers = std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).expect("it runs").flatten();
            let number = |entry: std::fs::DirEntry| entry.file_name().to_str()?.parse::<u64>().ok();
            numbers.filter_map(number).max().map_or(0, |last| last + 1)
        };
        let own = getrlimit(Resource::Nofile);
        let current = more.map_or(own.maximum, |more| Some(open() + more));
        prlimit(Some(pid), Resource::Nofile, Rlimit { current, maximum: own.maximum }).expect("it is the tester's own");
    }

    /// Returns whether the program has ended and all of its output was read.
    fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("a child can be asked").is_some() && self.stdout.ended() && self.stderr.ended()
    }

    /// Sends a signal.
    /// Returns the id of the process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns the CPU time that the process has used so far.
    pub fn cpu_time(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("it runs");
        let fields: Vec<_> = stat.rsplit_once(')').expect("its name ends").1.split_whitespace().collect();
        let ticks: u64 = fields[11..13].iter().map(|ticks| ticks.parse::<u64>().expect("a number")).sum();
        // A hundred a second on every Linux.
        Duration::from_millis(ticks * 10)
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the program is there to be told");
    }

    /// Waits for the end of the program.
    pub fn end(&mut self) -> ExitStatus {
        eventually("the program's end", || self.child.try_wait().expect("a child can be asked"))
    }

    /// Kills the program (SIGKILL).
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        assert_eq!(self.end().signal(), Some(Signal::KILL.as_raw()));
    }

    /// Returns whether the program runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child can be asked").is_none()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if self.is_running() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- the program's log:\n{}---", self.stderr.text());
        }
    }
}

/// A program that ended sooner than expected.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    /// The output of the program.
    pub log: String,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the program ended, {}:\n{}", self.status, self.log)
    }
}

/// One of the two output streams of a program.
#[derive(Clone)]
pub struct Output(Arc<Mutex<Printed>>);

#[derive(Default)]
struct Printed {
    bytes: Vec<u8>,
    ended: bool,
}

impl Output {
    fn of(mut pipe: impl Read + Send + 'static) -> Self {
        let output = Self(Arc::default());
        let printed = output.0.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            loop {
                match pipe.read(&mut buffer) {
                    Ok(0) | Err(_) => break,
                    Ok(count) => printed.lock().bytes.extend_from_slice(&buffer[..count]),
                }
            }
            printed.lock().ended = true;
        });
        output
    }

    /// Returns all output so far.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().bytes).into_owned()
    }

    fn ended(&self) -> bool {
        self.0.lock().ended
    }
}
