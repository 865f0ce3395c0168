//! Failpoints: places where a test makes the disk fail or the program end. They do nothing outside tests.
//!
//! Owns the names, the rules for them and their counters. A failpoint is reached through a [disk](super::disk) only:
//! the system's disk has the rules of `HOLDFAST_TEST_FAILPOINTS`, a simulated disk has its own. Does not own the
//! meaning of an error at a failpoint: the code that called the disk treats it as it would treat the same error of the
//! system. `docs/TESTING.md` documents the names and the syntax of rules.
//!
//! Faults of the program itself are not faults of its disk: see `base/seeded_bugs.rs`.
//!
//! Invariants: without rules a failpoint costs one load; a rule that cannot be parsed is refused at the start, because
//! a test whose fault never happens proves nothing; a failpoint that is named after an operation stands before it.

use std::env;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::io::Errno;
use rustix::process::{Signal, getpid, kill_process};

/// The environment variable with the rules, read once at the start of the process.
pub const VARIABLE: &str = "HOLDFAST_TEST_FAILPOINTS";

macro_rules! failpoints {
    ($($(#[doc = $doc:literal])+ $failpoint:ident = $name:literal,)+) => {
        /// A place that a rule can name.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum Failpoint { $($(#[doc = $doc])+ $failpoint,)+ }

        impl Failpoint {
            /// All failpoints, in the order of a turn's way to the disk and of the background work.
            pub const ALL: &[Self] = &[$(Self::$failpoint,)+];

            /// Returns the stable name.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$failpoint => $name,)+ }
            }
        }
    };
}

failpoints! {
    /// Before each step that makes the data directory: its directories, its lock, `FORMAT`, permissions.
    DataDirMake = "data-dir-make",
    /// Before each step that writes a secret of the node.
    SecretWrite = "secret-write",
    /// A turn is applied in the object's SQLite database, and not yet in the commit log.
    TurnApplied = "turn-applied",
    /// What a turn has written before it calls another object is durable; before the call is delivered.
    CallSettled = "call-settled",
    /// A call is in the mailbox of its object.
    CallDelivered = "call-delivered",
    /// Before the bytes of a group are written to a segment.
    LogWrite = "log-write",
    /// A group is written; before its flush.
    LogFlush = "log-flush",
    /// A group is durable; before this is published.
    LogFlushed = "log-flushed",
    /// Before a segment is created or prepared for reuse.
    SegmentCreate = "segment-create",
    /// Before the header of a segment is written.
    SegmentHeader = "segment-header",
    /// Before a segment that is no longer needed is removed or put aside.
    SegmentDrop = "segment-drop",
    /// Recovery has found an unfinished group at the end of the log; before it is cut.
    LogCut = "log-cut",
    /// Before each step that cuts the torn end of an existing log, and before one of its lanes is opened.
    LogOpen = "log-open",
    /// Before a clean end of the log is written.
    LogClose = "log-close",
    /// Before each step that creates an object's file.
    ObjectCreate = "object-create",
    /// Before each file of an object is removed that was deleted or replaced.
    ObjectRemove = "object-remove",
    /// Before each file of an object is removed that never counted: what a failed turn or a crash has left.
    ObjectDiscard = "object-discard",
    /// Before the first open of an object by this process writes the log's pages to its file, and before each step of
    /// that but the pages.
    ObjectRecover = "object-recover",
    /// Before each page that such an open writes back from the log.
    ObjectRecoverPage = "object-recover-page",
    /// Before the checksums of an object's pages are written, and each block of them.
    SumsWrite = "sums-write",
    /// Before what a failed turn or an earlier process has left in an object's WAL is cut off.
    WalCut = "wal-cut",
    /// Before an object's WAL is copied into its database file, by the object or by a checkpoint.
    WalReset = "wal-reset",
    /// Before each page that a checkpoint copies from a WAL into a database file.
    CheckpointPage = "checkpoint-page",
    /// An object's WAL is copied into its database file; before the WAL restarts from its beginning.
    WalRestart = "wal-restart",
    /// A checkpoint has reset the WALs that it covers; before it flushes the file system.
    CheckpointSync = "checkpoint-sync",
    /// The file system is flushed; before the log records what is released.
    CheckpointTrim = "checkpoint-trim",
    /// Before a catalog's transaction.
    CatalogWrite = "catalog-write",
    /// Before each step that replaces a lost catalog by an empty one.
    CatalogRebuild = "catalog-rebuild",
    /// Before each step that writes a deployed component.
    ComponentWrite = "component-write",
    /// Before a component that is not needed any more, or its compiled code, is removed.
    ComponentRemove = "component-remove",
    /// Before each step that writes compiled code to the cache.
    CodeWrite = "code-write",
    /// A deployed component is on disk; before each step that writes the record of its class.
    ClassWrite = "class-write",
    /// Before each step that renames the record of a class.
    ClassRename = "class-rename",
    /// Before each step that removes the record of a class.
    ClassRemove = "class-remove",
    /// Before each step that writes to `alarms.running`.
    AlarmRun = "alarm-run",
    /// Before each step that writes an export, an upload or what is needed to check it.
    TransferWrite = "transfer-write",
    /// Before each step that makes an uploaded database the object's.
    ImportAdopt = "import-adopt",
}

/// Parses the rules of the environment. Must be called once, before anything else runs; without the variable no
/// failpoint is armed.
pub fn arm() -> Result<(), FailpointError> {
    let Some(text) = env::var_os(VARIABLE) else { return Ok(()) };
    let text = text.into_string().map_err(|_| FailpointError::NotText)?;
    let rules = Rules::parse(&text)?;
    tracing::warn!("{VARIABLE} is set: this process will fail where it says `{text}`");
    // A second call in one process changes nothing: the counters of failpoints are kept.
    let _ = ARMED.set(rules);
    Ok(())
}

/// Reports that the process has reached a failpoint. Returns the error that a rule demands there, if any; does not
/// return if a rule kills the process.
#[inline]
pub fn hit(failpoint: Failpoint) -> io::Result<()> {
    match ARMED.get() {
        None => Ok(()),
        Some(rules) => match rules.hit(failpoint) {
            None => Ok(()),
            Some((Action::Fail(errno), _)) => Err(errno.into()),
            Some((Action::Kill, number)) => die(failpoint, number),
        },
    }
}

static ARMED: OnceLock<Rules> = OnceLock::new();

/// The reason why the rules cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum FailpointError {
    #[error("{VARIABLE} is not text")]
    NotText,
    #[error("{VARIABLE}: `{0}` is not of the form POINT:ACTION or POINT:ACTION@WHEN")]
    Form(String),
    #[error("{VARIABLE}: there is no failpoint `{0}`; there are {known}", known = known())]
    Unknown(String),
    #[error("{VARIABLE}: there is no action `{0}`; there are kill, eio, enospc, edquot, emfile, enfile and enomem")]
    Action(String),
    #[error("{VARIABLE}: `{0}` is not N, N.. (from 1) or file=PATH")]
    When(String),
}

fn known() -> String {
    Failpoint::ALL.iter().map(|failpoint| failpoint.name()).collect::<Vec<_>>().join(", ")
}

/// The faults of one disk.
#[derive(Default)]
pub struct Rules(Vec<Rule>);

struct Rule {
    failpoint: Failpoint,
    action: Action,
    when: When,
    hits: AtomicU64,
}

/// What happens at a failpoint.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Action {
    /// The process ends.
    Kill,
    /// The operation fails.
    Fail(Errno),
}

#[derive(PartialEq, Debug)]
enum When {
    /// Only the hit with this number, counted from 1.
    Nth(u64),
    /// That hit and all later ones.
    From(u64),
    /// While a file exists at this path, so that a test can begin and end a fault.
    File(PathBuf),
}

impl Rules {
    fn parse(text: &str) -> Result<Self, FailpointError> {
        text.split(',')
            .map(str::trim)
            .filter(|rule| !rule.is_empty())
            .map(Rule::parse)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Adds a rule: the action applies to the hit with this number from now on, counted from 1.
    pub fn add(&mut self, failpoint: Failpoint, action: Action, nth: u64) {
        self.0.push(Rule { failpoint, action, when: When::Nth(nth), hits: AtomicU64::new(0) });
    }

    /// Counts the hit in every rule of the failpoint. Returns the action of the first rule that applies, if any, with
    /// the number of the hit.
    pub fn hit(&self, failpoint: Failpoint) -> Option<(Action, u64)> {
        let mut wanted = None;
        for rule in self.0.iter().filter(|rule| rule.failpoint == failpoint) {
            let number = rule.hits.fetch_add(1, Ordering::Relaxed) + 1;
            if rule.when.applies(number) {
                wanted = wanted.or(Some((rule.action, number)));
            }
        }
        wanted
    }
}

impl Rule {
    fn parse(text: &str) -> Result<Self, FailpointError> {
        let (name, rest) = text.split_once(':').ok_or_else(|| FailpointError::Form(text.into()))?;
        let (action, when) = rest.split_once('@').unwrap_or((rest, "1"));
        let failpoint = Failpoint::ALL
            .iter()
            .find(|failpoint| failpoint.name() == name)
            .ok_or_else(|| FailpointError::Unknown(name.into()))?;
        let action = match action {
            "kill" => Action::Kill,
            "eio" => Action::Fail(Errno::IO),
            "enospc" => Action::Fail(Errno::NOSPC),
            "edquot" => Action::Fail(Errno::DQUOT),
            "emfile" => Action::Fail(Errno::MFILE),
            "enfile" => Action::Fail(Errno::NFILE),
            "enomem" => Action::Fail(Errno::NOMEM),
            other => return Err(FailpointError::Action(other.into())),
        };
        let when = When::parse(when).ok_or_else(|| FailpointError::When(when.into()))?;
        Ok(Self { failpoint: *failpoint, action, when, hits: AtomicU64::new(0) })
    }
}

impl When {
    fn parse(text: &str) -> Option<Self> {
        if let Some(path) = text.strip_prefix("file=") {
            return (!path.is_empty()).then(|| Self::File(path.into()));
        }
        let number = |text: &str| text.parse().ok().filter(|number| *number > 0);
        match text.strip_suffix("..") {
            Some(first) => number(first).map(Self::From),
            None => number(text).map(Self::Nth),
        }
    }

    fn applies(&self, number: u64) -> bool {
        match self {
            Self::Nth(wanted) => number == *wanted,
            Self::From(first) => number >= *first,
            Self::File(path) => path.exists(),
        }
    }
}

/// Kills the process with SIGKILL, so that none of its code runs any more: no destructor, no flush, no handler.
fn die(failpoint: Failpoint, number: u64) -> ! {
    // Not `eprintln!`, which panics if standard error is closed.
    let _ = writeln!(io::stderr(), "killed at the failpoint {} (hit {number}), as {VARIABLE} wants", failpoint.name());
    let _ = kill_process(getpid(), Signal::KILL);
    // The signal ends every thread, this one at the latest when it returns from that call.
    std::process::abort()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failures(rules: &str, hits: usize) -> Vec<Option<Action>> {
        let rules = Rules::parse(rules).unwrap();
        (0..hits).map(|_| rules.hit(Failpoint::LogFlush).map(|(action, _)| action)).collect()
    }

    const EIO: Option<Action> = Some(Action::Fail(Errno::IO));
    const ENOSPC: Option<Action> = Some(Action::Fail(Errno::NOSPC));

    #[test]
    fn rules_apply_when_they_say() {
        assert_eq!(failures("", 2), [None, None]);
        assert_eq!(failures("log-flush:eio", 3), [EIO, None, None], "the first hit, unless told otherwise");
        assert_eq!(failures("log-flush:eio@2", 3), [None, EIO, None]);
        assert_eq!(failures("log-flush:enospc@2..", 3), [None, ENOSPC, ENOSPC]);
        assert_eq!(failures("log-flush:enospc@3.., log-flush:eio@1", 4), [EIO, None, ENOSPC, ENOSPC]);
        let codes = |rule| failures(rule, 1)[0];
        assert_eq!(codes("log-flush:emfile"), Some(Action::Fail(Errno::MFILE)));
        assert_eq!(codes("log-flush:enfile"), Some(Action::Fail(Errno::NFILE)));
        assert_eq!(codes("log-flush:enomem"), Some(Action::Fail(Errno::NOMEM)));
        assert_eq!(codes("log-flush:edquot"), Some(Action::Fail(Errno::DQUOT)));
        assert_eq!(codes("log-flush:kill"), Some(Action::Kill));
        assert_eq!(failures("log-write:eio@1..", 2), [None, None], "of another failpoint");
    }

    #[test]
    fn a_file_begins_and_ends_a_fault() {
        let directory = tempfile::tempdir().unwrap();
        let switch = directory.path().join("full");
        let rules = Rules::parse(&format!("log-flush:enospc@file={}", switch.display())).unwrap();
        assert_eq!(rules.hit(Failpoint::LogFlush), None);
        std::fs::write(&switch, "").unwrap();
        assert_eq!(rules.hit(Failpoint::LogFlush), Some((Action::Fail(Errno::NOSPC), 2)));
        std::fs::remove_file(&switch).unwrap();
        assert_eq!(rules.hit(Failpoint::LogFlush), None);
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        let error = |text: &str| Rules::parse(text).err().unwrap();
        assert_eq!(error("log-flush"), FailpointError::Form("log-flush".into()));
        assert_eq!(error("log-flush:eio,log-flsh:eio"), FailpointError::Unknown("log-flsh".into()));
        assert!(error("log-flsh:eio").to_string().contains("log-flush, "), "the message lists what there is");
        assert_eq!(error("log-flush:explode"), FailpointError::Action("explode".into()));
        for when in ["", "0", "0..", "..3", "x", "file="] {
            assert_eq!(error(&format!("log-flush:eio@{when}")), FailpointError::When(when.into()));
        }
    }

    #[test]
    fn names_are_stable_and_documented() {
        let document = include_str!("../../../docs/TESTING.md");
        for (index, failpoint) in Failpoint::ALL.iter().enumerate() {
            let name = failpoint.name();
            assert!(document.contains(&format!("| `{name}` |")), "docs/TESTING.md does not say what {name} is");
            assert!(Failpoint::ALL[..index].iter().all(|other| other.name() != name), "{name} is there twice");
        }
    }
}
