//! Closed-loop load over several connections: each sends its next request when it has the answer to the last.
//!
//! Every answer is checked, and a wrong one ends the run: wrong answers have no figure. Increments
//! are counted per object, so that `verify` can compare acknowledged increments with stored numbers.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use tokio::task::JoinSet;

use crate::http::{Connection, request};
use crate::report::Measured;

const VERIFIED_MAX: usize = 1_000;

/// The operation of a request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Operation {
    /// `GET /hello/{name}` → `hello`
    Hello,
    /// `POST /number/{name}` → the new number, durable
    Increment,
    /// `GET /number/{name}` → the number
    Read,
}

/// The end of a measurement. Requests in progress then are still answered and counted.
#[derive(Debug, Clone, Copy)]
pub enum Until {
    Elapsed(Duration),
    Requests(u64),
}

/// A set of objects of one system, with the number of increments of each.
pub struct Objects {
    prefix: String,
    acknowledged: Vec<AtomicU32>,
}

impl Objects {
    /// Makes a set of names. With a new prefix none of the objects exists.
    pub fn new(prefix: impl Into<String>, count: usize) -> Arc<Self> {
        Arc::new(Self { prefix: prefix.into(), acknowledged: (0..count).map(|_| AtomicU32::new(0)).collect() })
    }

    /// Returns the number of objects.
    pub fn len(&self) -> usize {
        self.acknowledged.len()
    }

    /// Returns the name of an object.
    pub fn name(&self, index: usize) -> String {
        format!("{}{index}", self.prefix)
    }

    /// Returns the bytes of a request to an object.
    pub fn request(&self, operation: Operation, index: usize) -> Vec<u8> {
        let name = self.name(index);
        match operation {
            Operation::Hello => request("GET", &format!("/hello/{name}"), &[], b""),
            Operation::Increment => request("POST", &format!("/number/{name}"), &[], b""),
            Operation::Read => request("GET", &format!("/number/{name}"), &[], b""),
        }
    }

    /// Checks an answer. `before` is the number of increments that were acknowledged when the request was sent.
    fn check(&self, operation: Operation, index: usize, before: u32, body: &[u8]) -> anyhow::Result<()> {
        let right = match operation {
            Operation::Hello => body == b"hello",
            // Answers may overtake each other, but each includes what was acknowledged before its request.
            Operation::Increment => {
                self.acknowledged[index].fetch_add(1, Relaxed);
                number(body)? > u64::from(before)
            }
            Operation::Read => number(body)? == u64::from(before),
        };
        ensure!(right, "{operation:?} of {} was answered {:?}", self.name(index), String::from_utf8_lossy(body));
        Ok(())
    }
}

/// The choice of the object for the next request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Order {
    /// Any object, all equally likely.
    Random,
    /// Each object exactly once; the load ends with the last.
    Once,
}

/// Runs a load and measures every request.
pub async fn run(
    address: SocketAddr,
    connections: usize,
    until: Until,
    operation: Operation,
    objects: &Arc<Objects>,
    order: Order,
) -> anyhow::Result<Measured> {
    let mut clients = Vec::new();
    for _ in 0..connections {
        clients.push(Connection::open(address).await?);
    }
    // Prepared before: formatting a name is a cost of the load, not of the system.
    let requests: Arc<[Vec<u8>]> = (0..objects.len()).map(|index| objects.request(operation, index)).collect();
    let started = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for (seed, client) in clients.into_iter().enumerate() {
        let objects = objects.clone();
        let pick = match order {
            Order::Random => Pick::Random(Random::new(seed as u64)),
            Order::Once => Pick::Once,
        };
        let (requests, started) = (requests.clone(), started.clone());
        let client = Client { client, until, operation, objects, requests, pick, started, start };
        tasks.spawn(client.run());
    }
    let mut micros = Vec::new();
    while let Some(result) = tasks.join_next().await {
        micros.extend(result??);
    }
    Ok(Measured::new(start.elapsed(), micros))
}

/// Sends a request for each number of a range once, over this many connections, and passes every answer's body to
/// `judge`; an error of it ends the load. Returns the results of `judge`, in any order.
pub async fn each<T: Send + 'static>(
    address: SocketAddr,
    connections: usize,
    numbers: Range<usize>,
    prepare: impl Fn(usize) -> Vec<u8> + Send + Sync + 'static,
    judge: impl Fn(usize, &[u8]) -> anyhow::Result<T> + Send + Sync + 'static,
) -> anyhow::Result<(Measured, Vec<T>)> {
    let shared = Arc::new((prepare, judge, Mutex::new(numbers)));
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..connections {
        let shared = shared.clone();
        tasks.spawn(async move {
            let (prepare, judge, numbers) = &*shared;
            let mut client = Connection::open(address).await?;
            let mut done = Vec::new();
            loop {
                let next = numbers.lock().expect("no holder panics").next();
                let Some(number) = next else { return anyhow::Ok(done) };
                let request = prepare(number);
                let sent = Instant::now();
                let answer = client.exchange(&request).await?;
                let took = whole_micros(sent.elapsed());
                let judged = answer.ok().and_then(|body| judge(number, body));
                done.push((took, judged.with_context(|| format!("request {number}"))?));
            }
        });
    }
    let (mut micros, mut judged) = (Vec::new(), Vec::new());
    while let Some(result) = tasks.join_next().await {
        let (took, said): (Vec<u32>, Vec<T>) = result??.into_iter().unzip();
        micros.extend(took);
        judged.extend(said);
    }
    Ok((Measured::new(start.elapsed(), micros), judged))
}

/// Measures one read of each object over one connection. All objects must be dormant before.
pub async fn wake(address: SocketAddr, objects: &Objects) -> anyhow::Result<Measured> {
    let mut connection = Connection::open(address).await?;
    let (start, mut micros) = (Instant::now(), Vec::new());
    for index in 0..objects.len() {
        let before = objects.acknowledged[index].load(Relaxed);
        let request = objects.request(Operation::Read, index);
        let sent = Instant::now();
        let answer = connection.exchange(&request).await?;
        micros.push(whole_micros(sent.elapsed()));
        objects.check(Operation::Read, index, before, answer.ok()?)?;
        let fetches = answer.header("x-fetches")?;
        ensure!(fetches.as_deref() == Some("1"), "{} was live: fetches {fetches:?}", objects.name(index));
    }
    Ok(Measured::new(start.elapsed(), micros))
}

/// Compares stored numbers with acknowledged increments: none lost, none applied twice. Reads up to 1,000 objects.
pub async fn verify(address: SocketAddr, objects: &Objects) -> anyhow::Result<()> {
    let mut connection = Connection::open(address).await?;
    let counts = objects.acknowledged.iter().map(|count| u64::from(count.load(Relaxed))).enumerate();
    let written: Vec<(usize, u64)> = counts.filter(|(_, count)| *count > 0).collect();
    for &(index, acknowledged) in written.iter().step_by(written.len().div_ceil(VERIFIED_MAX).max(1)) {
        let stored = number(connection.exchange(&objects.request(Operation::Read, index)).await?.ok()?)?;
        ensure!(stored == acknowledged, "{} holds {stored} after {acknowledged} increments", objects.name(index));
    }
    Ok(())
}

enum Pick {
    Random(Random),
    Once,
}

struct Client {
    client: Connection,
    until: Until,
    operation: Operation,
    objects: Arc<Objects>,
    requests: Arc<[Vec<u8>]>,
    pick: Pick,
    /// Requests of all clients so far.
    started: Arc<AtomicU64>,
    start: Instant,
}

impl Client {
    async fn run(mut self) -> anyhow::Result<Vec<u32>> {
        let mut micros = Vec::new();
        while let Some(index) = self.next() {
            let before = self.objects.acknowledged[index].load(Relaxed);
            let sent = Instant::now();
            let answer = self.client.exchange(&self.requests[index]).await?;
            micros.push(whole_micros(sent.elapsed()));
            let body = answer.ok().with_context(|| self.objects.name(index))?;
            self.objects.check(self.operation, index, before, body)?;
        }
        Ok(micros)
    }

    /// Returns the object of the next request, or none at the end.
    fn next(&mut self) -> Option<usize> {
        let count = self.started.fetch_add(1, Relaxed);
        let over = match self.until {
            Until::Elapsed(duration) => self.start.elapsed() >= duration,
            Until::Requests(requests) => count >= requests,
        };
        let index = match &mut self.pick {
            Pick::Once => count as usize,
            Pick::Random(random) => (random.next() % self.objects.len() as u64) as usize,
        };
        (!over && index < self.objects.len()).then_some(index)
    }
}

/// A xorshift generator: the same numbers for the same seed.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(0x9e37_79b9_7f4a_7c15 ^ (seed + 1))
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

pub fn whole_micros(duration: Duration) -> u32 {
    u32::try_from(duration.as_micros()).unwrap_or(u32::MAX)
}

fn number(body: &[u8]) -> anyhow::Result<u64> {
    let text = std::str::from_utf8(body)?;
    text.parse().with_context(|| format!("{text:?} is not a number"))
}
