//! Hostile tenants and clients, each beside a neighbour that does a little of everything and whose latencies are
//! measured without and with the attack. What must stay true of each: the process lives, the neighbour's answers are
//! correct and in time, memory stays under its limit, and a minute after the attack the latencies are normal again.
//! `docs/SECURITY.md` has the limits.
//!
//! The asserted bounds of latencies are generous, because machines that run tests are busy; the printed table has the
//! measured numbers. Attacks never fail a test themselves: the host may treat them in any way.

#[allow(dead_code, unused_imports, reason = "the harness serves tests/e2e as well")]
#[path = "../harness/harness.rs"]
mod harness;

#[path = "../crash/dice.rs"]
mod dice;
#[path = "../crash/ledger.rs"]
mod ledger;
#[allow(dead_code, reason = "the ledger's world serves tests/crash as well")]
#[path = "../crash/world.rs"]
mod world;

mod arena;
mod attack;
mod clients;
mod clock;
mod half_load;
mod hour;
mod neighbour;
mod process;
mod statements;
mod table;
mod tenants;
mod wire;
