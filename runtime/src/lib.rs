//! Holdfast hosts durable objects: classes are WebAssembly components, objects are single-threaded instances with a
//! SQLite database of their own.
//!
//! Layers, each importing only those to its right (a test proves it):
//! `gateway → router → object → wasm → sockets → storage → base`. `docs/ARCHITECTURE.md` has the words and the
//! invariants.

pub mod base;
pub mod cli;
pub mod config;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod gateway;
pub mod object;
#[cfg(test)]
mod reference;
pub mod router;
pub mod server;
pub mod sockets;
pub mod storage;
pub mod wasm;
