//! Standard WASI 0.2, linked for all classes and without power: no directories, no sockets, no arguments, no
//! environment.
//!
//! Nearly every toolchain imports these interfaces whether the program uses them or not. A guest really has randomness,
//! output that goes to its log, and clocks. **Time stands still while guest code runs**: both clocks show when the turn
//! began, and move on only when the guest has waited. So no guest can time the host.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource, ResourceTable};
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::bindings::io::poll::Host as _;
use wasmtime_wasi::p2::{DynPollable, OutputStream, Pollable, StreamResult};
use wasmtime_wasi::{HostMonotonicClock, HostWallClock, WasiCtx, WasiCtxView, WasiView};

use super::logging::ObjectLog;
use super::{Host, RESOURCES_MAX};
use crate::base::Env;
use crate::base::limits::{
    FUEL_PER_COPIED_BYTE, FUEL_PER_ITEM, FUEL_PER_LOG_ENTRY, FUEL_PER_RANDOM_BYTE, LOG_ENTRY_MAX,
};
use crate::base::logs::Level;
use crate::wasm::clock::TurnClock;
use crate::wasm::pace::Shared;

/// Most random bytes of one call.
const RANDOM_MAX: u64 = 1 << 20;
/// Fuel of a call that asks the system for something, or registers a waker and a timer, beside that of its bytes and
/// items.
const FUEL_OF_SYSTEM: u64 = 10_000;
/// Random bytes that the host draws at once.
const RANDOM_BYTES: usize = 256;

pub(super) fn context(env: &Env, clock: &Arc<TurnClock>, log: &Arc<ObjectLog>, pace: &Arc<Shared>) -> WasiCtx {
    let seed = u128::from_le_bytes(env.random());
    WasiCtx::builder()
        .wall_clock(Wall(clock.clone()))
        .monotonic_clock(Monotonic(clock.clone()))
        .secure_random(Random::new(env))
        .insecure_random(Random::new(env))
        .insecure_random_seed(seed)
        .max_random_size(RANDOM_MAX)
        .stdout(Lines::new(log.clone(), pace.clone(), Level::Info))
        .stderr(Lines::new(log.clone(), pace.clone(), Level::Warn))
        .allow_tcp(false)
        .allow_udp(false)
        .build()
}

impl WasiView for Host {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        // Called before every call of these interfaces.
        self.pace.in_wasi();
        let table: &mut ResourceTable = &mut self.table;
        WasiCtxView { ctx: &mut self.wasi, table }
    }
}

/// Replaces the functions of standard WASI whose cost depends on their arguments by ones that have a price.
pub(super) fn replace_unbounded(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let random = |mut store: StoreContextMut<'_, Host>, (length,): (u64,)| Ok((store.data_mut().random(length)?,));
    linker.instance("wasi:random/random@0.2.12")?.func_wrap("get-random-bytes", random)?;
    linker.instance("wasi:random/insecure@0.2.12")?.func_wrap("get-insecure-random-bytes", random)?;
    let mut poll = linker.instance("wasi:io/poll@0.2.12")?;
    poll.func_wrap_async(
        "poll",
        |mut store: StoreContextMut<'_, Host>, (pollables,): (Vec<Resource<DynPollable>>,)| {
            Box::new(async move { Ok((store.data_mut().poll(pollables).await?,)) })
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

impl Host {
    fn random(&mut self, length: u64) -> wasmtime::Result<Vec<u8>> {
        wasmtime::ensure!(length <= RANDOM_MAX, "{length} random bytes were asked for; one call gives {RANDOM_MAX}");
        self.pace.price(length as usize, FUEL_OF_SYSTEM + length * FUEL_PER_RANDOM_BYTE);
        let mut bytes = vec![0; length as usize];
        self.env.fill_random(&mut bytes);
        Ok(bytes)
    }

    /// Waits for at least one of them. The same pollable may be given more than once, but not more often than there can
    /// be different ones.
    async fn poll(&mut self, pollables: Vec<Resource<DynPollable>>) -> wasmtime::Result<Vec<u32>> {
        wasmtime::ensure!(pollables.len() <= RESOURCES_MAX, "one poll waits for at most {RESOURCES_MAX} pollables");
        self.pace.price(0, FUEL_OF_SYSTEM + pollables.len() as u64 * 2 * FUEL_PER_ITEM);
        self.table.poll(pollables).await
    }
}

struct Wall(Arc<TurnClock>);

impl HostWallClock for Wall {
    fn resolution(&self) -> Duration {
        Duration::from_millis(1)
    }

    fn now(&self) -> Duration {
        Duration::from_millis(self.0.wall_ms())
    }
}

struct Monotonic(Arc<TurnClock>);

impl HostMonotonicClock for Monotonic {
    fn resolution(&self) -> u64 {
        1_000_000
    }

    fn now(&self) -> u64 {
        self.0.monotonic_ms() * 1_000_000
    }
}

/// Random bytes, drawn in bulk: a guest takes them one by one, and an interpreter that starts takes thousands.
struct Random {
    env: Env,
    at_hand: [u8; RANDOM_BYTES],
    /// How many of them were taken.
    used: usize,
}

impl Random {
    fn new(env: &Env) -> Self {
        Self { env: env.clone(), at_hand: [0; RANDOM_BYTES], used: RANDOM_BYTES }
    }

    fn take<const N: usize>(&mut self) -> [u8; N] {
        if self.used + N > RANDOM_BYTES {
            self.env.fill_random(&mut self.at_hand);
            self.used = 0;
        }
        let taken = self.at_hand[self.used..self.used + N].try_into().expect("it is as long as it is");
        self.used += N;
        taken
    }
}

impl rand_core::TryRng for Random {
    type Error = std::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        Ok(u32::from_le_bytes(self.take()))
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        Ok(u64::from_le_bytes(self.take()))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error> {
        self.env.fill_random(bytes);
        Ok(())
    }
}

/// Standard output or error: each line becomes a log entry. A line longer than an entry is split.
#[derive(Clone)]
struct Lines {
    log: Arc<ObjectLog>,
    pace: Arc<Shared>,
    level: Level,
    rest: Arc<Mutex<Vec<u8>>>,
}

impl Lines {
    fn new(log: Arc<ObjectLog>, pace: Arc<Shared>, level: Level) -> Self {
        Self { log, pace, level, rest: Arc::default() }
    }

    fn append(&self, bytes: &[u8]) {
        let mut rest = self.rest.lock();
        let mut lines = 0;
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            for part in piece.chunks(LOG_ENTRY_MAX) {
                rest.extend_from_slice(part);
                if rest.ends_with(b"\n") || rest.len() >= LOG_ENTRY_MAX {
                    let line = String::from_utf8_lossy(rest.trim_ascii_end()).into_owned();
                    rest.clear();
                    lines += 1;
                    self.log.add(self.level, line, Vec::new());
                }
            }
        }
        self.pace.add_price(bytes.len() as u64 * FUEL_PER_COPIED_BYTE + lines * FUEL_PER_LOG_ENTRY);
    }
}

impl IsTerminal for Lines {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Lines {
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }

    fn async_stream(&self) -> Box<dyn tokio::io::AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Lines {
    async fn ready(&mut self) {}
}

impl OutputStream for Lines {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.append(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(64 << 10)
    }
}

impl tokio::io::AsyncWrite for Lines {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        self.append(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
