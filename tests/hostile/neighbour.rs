//! The neighbour: objects of another class under a light and steady load, whose every answer is checked and every latency measured.
//!
//! Requests have times at which they are due, and latency counts from there: a host that stands still for a second makes all
//! requests of that second late, not only the one that was under way.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Once};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tungstenite::Message;
use ureq::http::StatusCode;

use crate::clock::{Stop, now};
use crate::harness::{Client, Host, Socket, guest};

/// Its class.
pub const NEIGHBOUR: &str = "neighbour";

/// Between two requests of each kind.
const FETCH_EVERY: Duration = Duration::from_millis(10);
const ADD_EVERY: Duration = Duration::from_millis(20);
const ECHO_EVERY: Duration = Duration::from_millis(20);
const TICK_EVERY: Duration = Duration::from_millis(250);
/// Objects that are fetched in turn, and objects whose alarms tick.
const FETCHED: u64 = 16;
const TICKING: u64 = 4;
/// A probe that is later than this does not try to catch up.
const CATCHES_UP: Duration = Duration::from_secs(2);
/// The name of its threads.
const PROBE: &str = "probe";
/// Wrong answers that are kept.
const WRONG_MAX: usize = 20;

/// Latencies of one kind.
#[derive(Default, Clone)]
pub struct Latencies(pub Vec<Duration>);

impl Latencies {
    /// The latency that this share of them does not exceed; zero if there is none.
    pub fn percentile(&self, share: f64) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort();
        let rank = (share * sorted.len() as f64).ceil() as usize;
        sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
    }

    pub fn p50(&self) -> Duration {
        self.percentile(0.5)
    }

    pub fn p99(&self) -> Duration {
        self.percentile(0.99)
    }
}

/// What the neighbour has felt for some time.
#[derive(Default, Clone)]
pub struct Felt {
    pub fetch: Latencies,
    pub add: Latencies,
    pub echo: Latencies,
    /// By how much alarms came late.
    pub alarm: Latencies,
    /// Answers that were wrong or did not come.
    pub wrong: Vec<String>,
}

impl Felt {
    /// Each kind by its name.
    pub fn kinds(&self) -> [(&'static str, &Latencies); 4] {
        [("fetch", &self.fetch), ("add", &self.add), ("echo", &self.echo), ("alarm", &self.alarm)]
    }
}

/// The running load.
pub struct Neighbour {
    stop: Arc<Stop>,
    probes: [Arc<Probe>; 3],
    threads: Vec<JoinHandle<()>>,
    client: Client,
    prefix: String,
    ticks: Mutex<Ticks>,
}

/// What a thread of a load sees.
#[derive(Default)]
pub struct Probe(Mutex<Seen>);

#[derive(Default)]
struct Seen {
    latencies: Vec<Duration>,
    wrong: Vec<String>,
    /// When the request was due that is under way.
    waiting_since: Option<Instant>,
}

/// The reported runs of each alarm, and their times.
struct Ticks {
    runs: [u64; TICKING as usize],
    at: Instant,
}

impl Neighbour {
    /// Deploys the class.
    pub fn deploy(host: &Host) {
        host.deploy(NEIGHBOUR, guest("neighbour"));
    }

    /// Begins the load, under names that begin with this. The class is deployed.
    pub fn start(client: &Client, prefix: &str) -> Self {
        let (stop, client) = (Arc::<Stop>::default(), client.clone());
        let probes: [Arc<Probe>; 3] = Default::default();
        let path = move |object: &str, rest: &str| format!("/{NEIGHBOUR}/{prefix}-{object}{rest}");
        for ticker in 0..TICKING {
            let every = format!("/tick?every={}", TICK_EVERY.as_millis());
            let answer = client.post(&path(&format!("tick-{ticker}"), &every), b"");
            assert_eq!(answer.status, StatusCode::NO_CONTENT, "{answer:?}");
        }
        let [fetch, add, echo] = &probes;
        let fetches = {
            let (client, paths) = (client.clone(), (0..FETCHED).map(|i| path(&format!("fetch-{i}"), "/")));
            let mut paths = paths.collect::<Vec<_>>().into_iter().cycle();
            let once = move || assert_eq!(client.get(&paths.next().expect("it is a cycle")).text(), "light");
            spawn(fetch, &stop, FETCH_EVERY, once)
        };
        let adds = {
            let (client, number, add_path) = (client.clone(), path("add", "/number"), path("add", "/add"));
            let mut expected = None;
            spawn(add, &stop, ADD_EVERY, move || {
                let before = expected.take().unwrap_or_else(|| client.get(&number).number());
                assert_eq!(client.post(&add_path, b"").number(), before + 1, "an increment");
                expected = Some(before + 1);
            })
        };
        let echoes = {
            let (client, path, mut socket, mut count) = (client.clone(), path("echo", "/"), None, 0);
            spawn(echo, &stop, ECHO_EVERY, move || {
                let mut open = socket.take().unwrap_or_else(|| Socket::open(&client, &path));
                count += 1;
                let said = format!("echo {count}");
                open.try_send(Message::text(said.as_str())).expect("the host reads");
                assert_eq!(open.hear(), said);
                socket = Some(open);
            })
        };
        let ticks = Mutex::new(Ticks { runs: [0; TICKING as usize], at: now() });
        let neighbour =
            Self { stop, probes, threads: vec![fetches, adds, echoes], client, prefix: prefix.into(), ticks };
        neighbour.take();
        neighbour
    }

    /// What was felt since this was last asked.
    pub fn take(&self) -> Felt {
        let mut wrong = Vec::new();
        let [fetch, add, echo] = self.probes.each_ref().map(|probe| Latencies(probe.take(&mut wrong)));
        let asked = catch_unwind(AssertUnwindSafe(|| self.take_ticks()));
        let alarm = asked.unwrap_or_else(|panic| {
            wrong.push(format!("alarms: {}", words(&*panic)));
            Latencies::default()
        });
        Felt { fetch, add, echo, alarm, wrong }
    }

    fn take_ticks(&self) -> Latencies {
        let mut ticks = self.ticks.lock();
        let since = ticks.at.elapsed();
        let mut late = Vec::new();
        for (ticker, before) in ticks.runs.iter_mut().enumerate() {
            let answer = self.client.get(&format!("/{NEIGHBOUR}/{}-tick-{ticker}/ticks", self.prefix));
            let (runs, early, late_ms): (u64, u64, Vec<u64>) =
                serde_json::from_str(answer.text()).expect("it is as the guest documents it");
            assert_eq!(early, 0, "alarms came early");
            let new = (runs - *before).min(late_ms.len() as u64) as usize;
            late.extend(late_ms[late_ms.len() - new..].iter().map(|ms| Duration::from_millis(*ms)));
            if new == 0 {
                late.push(since.saturating_sub(TICK_EVERY));
            }
            *before = runs;
        }
        ticks.at = now();
        Latencies(late)
    }

    /// Ends the load, and answers what was felt since this was last asked.
    pub fn end(mut self) -> Felt {
        self.join();
        self.take()
    }

    fn join(&mut self) {
        self.stop.tell();
        for thread in self.threads.drain(..) {
            thread.join().expect("a probe catches what goes wrong");
        }
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        self.join();
    }
}

impl Probe {
    /// What was seen since this was last asked; what was wrong is added.
    pub fn take(&self, wrong: &mut Vec<String>) -> Vec<Duration> {
        let mut seen = self.0.lock();
        wrong.append(&mut seen.wrong);
        let mut latencies = std::mem::take(&mut seen.latencies);
        latencies.extend(seen.waiting_since.map(|due| due.elapsed()));
        latencies
    }
}

/// Does something whenever it is due; a panic in it is a wrong answer.
pub fn spawn(
    probe: &Arc<Probe>,
    stop: &Arc<Stop>,
    every: Duration,
    mut once: impl FnMut() + Send + 'static,
) -> JoinHandle<()> {
    let (probe, stop) = (probe.clone(), stop.clone());
    keep_quiet();
    let thread = std::thread::Builder::new().name(PROBE.into());
    let running = thread.spawn(move || {
        let mut due = now();
        while !stop.pause(due.saturating_duration_since(now())) {
            probe.0.lock().waiting_since = Some(due);
            let outcome = catch_unwind(AssertUnwindSafe(&mut once));
            let mut seen = probe.0.lock();
            seen.waiting_since = None;
            seen.latencies.push(due.elapsed());
            if let Err(panic) = outcome
                && seen.wrong.len() < WRONG_MAX
            {
                seen.wrong.push(words(&*panic));
            }
            due = (due + every).max(now().checked_sub(CATCHES_UP).unwrap_or(due));
        }
    });
    running.expect("the test may have threads")
}

/// What panics in a probe is told once, with the row of its attack.
fn keep_quiet() {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if std::thread::current().name() != Some(PROBE) {
                loud(panic);
            }
        }));
    });
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without words").lines().collect::<Vec<_>>().join(" ").chars().take(400).collect()
}
