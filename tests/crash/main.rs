//! Crashes, full disks and damage, tested with the `holdfast` binary: it is killed, fails and runs out of space while
//! clients keep a ledger of what was acknowledged; afterwards every acknowledged write is there exactly once, in order.
//!
//! What must stay true: the checker can fail (`ledger` shows it a lost, a repeated and a moved write); every choice
//! comes from a seed, which is printed and can be given as `HOLDFAST_CRASH_SEED`; no test sleeps.

#[allow(dead_code, unused_imports, reason = "the harness serves tests/e2e as well")]
#[path = "../harness/harness.rs"]
mod harness;

mod dice;
mod ledger;
mod log_files;
mod world;

mod calls;
mod damage;
mod disk;
mod failpoints;
mod kills;
