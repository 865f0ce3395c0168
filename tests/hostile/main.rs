//! Hostile tenants and clients, each beside a neighbour that does a little of everything and whose latencies are measured without
//! and with the attack. What must stay true of each: the process lives, the neighbour's answers are right and not late, memory
//! stays under its limit, and a minute after the attack everything is as before. `docs/SECURITY.md` says what bounds what.
//!
//! What the tests assert of latencies is generous, because machines that run tests are busy; the table that they print has the true
//! numbers. Attacks never fail a test themselves: whatever the host does to them is right.

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
