//! The guarantees of Holdfast, tested end to end: the `holdfast` binary as a child process, real components, real HTTP,
//! real kills. One module per subject; `harness` starts hosts and sends requests.
//!
//! What must stay true: no test sleeps (it waits for a condition, with a deadline), every host listens on free ports
//! and has a data directory of its own, and every guest in `tests/guests` is used here.

#[allow(dead_code, unused_imports, reason = "the harness serves other test binaries as well")]
#[path = "../harness/harness.rs"]
mod harness;
mod transcript;

mod addressing;
mod admin;
mod alarms;
mod beginnings;
mod browser;
mod calls;
mod cli;
mod clients;
mod connections;
mod counter;
mod crash;
mod damage;
mod deletion;
mod deploy;
mod disconnects;
mod failures;
mod fairness;
mod faults;
mod heavy;
mod host_calls;
mod hosts;
mod late;
mod late_javascript;
mod limits;
mod log;
mod logs;
mod one_meter;
mod oracle;
mod project;
mod readmes;
mod refusals;
mod renaming;
mod residency;
mod shutdown;
mod sql;
mod standard_error;
mod storage;
mod transfer;
mod unique_ids;
mod upgrade;
mod wasi;
mod wasi_http;
mod websockets;
mod whole;
