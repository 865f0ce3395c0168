//! Misuses resources in the way that the path names.
//!
//! | request | does |
//! |---|---|
//! | `GET /` | answers `light`; touches nothing |
//! | `GET /loop`, `/recurse`, `/panic` | computes, or calls itself, without end; panics |
//! | `GET /sleep?ms=N` | waits; so does any `POST` to it, whatever its body |
//! | `GET /random`, `/log` | requests random bytes, or logs, a megabyte or 16 kB at a time, without end |
//! | `GET /grow?n=N` | allocates N MiB more of memory, writes to all of it and keeps it; answers `grown` |
//! | `POST /sql`, body: a statement | runs it to its end, reading all of its rows; answers how many |
//! | `POST /cursors?n=N`, body: a query | opens N cursors over it, reads a row of each and keeps them; answers N |
//! | `GET /put?n=N`, `/list` | writes N entries of 1 MB each; reads all entries, without end |
//! | `GET /missing` | makes a table and answers 404 |
//! | `GET /answer?n=N` | answers N MiB |
//! | `POST /alarm?mode=MODE` | has the alarm run at once and from then on: `loop`, `panic`, or `again`, which arms it for at once; 204 |
//! | upgrade, any path | accepts a WebSocket |
//!
//! A WebSocket's text `broadcast N` sends N messages of 1 MB to all sockets of the object, `empty N` N empty ones to
//! all, `hold N` sends as `broadcast` does and then computes without end; any other message is ignored.

use std::hint::black_box;
use std::time::Duration;

use holdfast::prelude::*;
use holdfast::sql::Rows;
use serde::Deserialize;

#[object(alarm, websocket)]
struct Hostile {
    ctx: Context,
    chunks: Vec<Vec<u8>>,
    cursors: Vec<Rows>,
}

#[derive(Deserialize)]
struct Query {
    #[serde(default)]
    n: usize,
    #[serde(default)]
    ms: u64,
    #[serde(default)]
    mode: String,
}

const KIB_16: usize = 16 << 10;
const MB: usize = 1_000_000;
const MIB: usize = 1 << 20;

impl Object for Hostile {
    fn new(ctx: Context) -> Result<Self> {
        Ok(Self { ctx, chunks: Vec::new(), cursors: Vec::new() })
    }

    fn fetch(&mut self, request: Request) -> Result<Response> {
        if request.is_websocket_upgrade() {
            return Ok(self.ctx.accept_websocket(&request, [] as [&str; 0])?.1);
        }
        let query: Query = request.query()?;
        match request.path() {
            "/" => Ok(Response::text("light")),
            "/loop" => endless(),
            "/recurse" => Ok(Response::text(recurse(0).to_string())),
            "/panic" => panic!("told to panic"),
            "/sleep" => {
                std::thread::sleep(Duration::from_millis(query.ms));
                Ok(Response::text("slept"))
            }
            "/random" => random(),
            "/log" => log(),
            "/grow" => {
                self.chunks.extend((0..query.n).map(|_| black_box(vec![1; MIB])));
                Ok(Response::text("grown"))
            }
            "/sql" => Ok(Response::text(self.ctx.sql().exec(request.text()?, [])?.count().to_string())),
            "/cursors" => self.open(request.text()?, query.n),
            "/put" => self.put(query.n),
            "/list" => self.list(),
            "/missing" => self.missing(),
            "/answer" => Ok(Response::bytes(vec![b'a'; query.n * MIB])),
            "/alarm" => {
                self.ctx.storage().put("mode", &query.mode)?;
                self.ctx.alarm().set(Duration::ZERO)?;
                Ok(Response::new(StatusCode::NO_CONTENT))
            }
            unknown => bail!("unknown-harm", "there is no {unknown}"),
        }
    }
}

impl AlarmHandler for Hostile {
    fn alarm(&mut self, _alarm: Alarm) -> Result<()> {
        match self.ctx.storage().get::<String>("mode")?.as_deref() {
            Some("loop") => endless(),
            Some("again") => Ok(self.ctx.alarm().set(Duration::ZERO)?),
            mode => panic!("told to panic: {mode:?}"),
        }
    }
}

impl WebSocketHandler for Hostile {
    fn message(&mut self, _socket: WebSocket, message: Message) -> Result<()> {
        let (what, times) = message.as_text().and_then(|text| text.split_once(' ')).unwrap_or_default();
        for _ in 0..times.parse().unwrap_or(0) {
            match what {
                "broadcast" | "hold" => _ = self.ctx.broadcast(None, vec![0; MB])?,
                "empty" => _ = self.ctx.broadcast(None, "")?,
                _ => {}
            }
        }
        if what == "hold" {
            endless()
        }
        Ok(())
    }
}

impl Hostile {
    fn open(&mut self, query: &str, cursors: usize) -> Result<Response> {
        for _ in 0..cursors {
            let mut rows = self.ctx.sql().exec(query, [])?;
            rows.next().transpose()?;
            self.cursors.push(rows);
        }
        Ok(Response::text(cursors.to_string()))
    }

    fn put(&self, entries: usize) -> Result<Response> {
        for key in 0..entries {
            self.ctx.storage().put_bytes(key.to_string(), vec![key as u8; MB])?;
        }
        Ok(Response::text(entries.to_string()))
    }

    fn list(&self) -> Result<Response> {
        loop {
            for entry in self.ctx.storage().list_bytes(ListOptions::default())? {
                black_box(entry?);
            }
        }
    }

    fn missing(&self) -> Result<Response> {
        self.ctx.sql().migrate(["CREATE TABLE thing (id INTEGER PRIMARY KEY, name TEXT UNIQUE)"])?;
        Ok(Response::new(StatusCode::NOT_FOUND))
    }
}

fn endless() -> ! {
    loop {
        black_box(());
    }
}

/// Uses the stack of the engine rather than the one in memory, which holds only what has an address.
#[inline(never)]
#[expect(unconditional_recursion, reason = "what it is for")]
fn recurse(depth: u64) -> u64 {
    black_box(recurse(black_box(depth) + 1)) + 1
}

fn random() -> Result<Response> {
    let mut bytes = vec![0; MB];
    loop {
        getrandom::fill(black_box(&mut bytes))?;
    }
}

fn log() -> ! {
    let line = "l".repeat(KIB_16 - 256);
    loop {
        info!("{line}");
    }
}
