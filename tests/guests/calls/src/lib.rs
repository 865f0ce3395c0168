//! Calls one function of the host, which the path names, `n` times with `bytes`, or forever if `n` is 0. `/write-and-sleep?ms=` stores
//! 1 under the key `n` and waits; `/stored` answers what is stored there.

use std::hint::black_box;
use std::time::Duration;

use holdfast::prelude::*;
use serde::Deserialize;
use wasip2::clocks::monotonic_clock;
use wasip2::http::types::Fields;
use wasip2::io::poll::poll;
use wasip2::random::random;

#[object]
struct Calls {
    ctx: Context,
}

#[derive(Deserialize)]
#[serde(default)]
struct Query {
    n: u64,
    bytes: usize,
    ms: u64,
}

impl Default for Query {
    fn default() -> Self {
        Self { n: 0, bytes: 16, ms: 0 }
    }
}

impl Object for Calls {
    fn new(ctx: Context) -> Result<Self> {
        Ok(Self { ctx })
    }

    fn fetch(&mut self, request: Request) -> Result<Response> {
        let query: Query = request.query()?;
        match request.path() {
            "/stored" => Ok(Response::text(self.ctx.storage().get::<u64>("n")?.unwrap_or(0).to_string())),
            "/write-and-sleep" => {
                self.ctx.storage().put("n", &1)?;
                std::thread::sleep(Duration::from_millis(query.ms));
                Ok(Response::text("slept"))
            }
            path => {
                self.prepare(path, &query)?;
                let times = if query.n == 0 { u64::MAX } else { query.n };
                for _ in 0..times {
                    self.call(path, query.bytes)?;
                }
                Ok(Response::text("called"))
            }
        }
    }
}

impl Calls {
    /// What is read is there.
    fn prepare(&self, path: &str, query: &Query) -> Result<()> {
        let value = vec![7; query.bytes.min(1_000_000)];
        if path == "/get-many" {
            self.ctx.storage().put_many_bytes(keys().map(|key| (key, value.clone())))?;
        }
        Ok(self.ctx.storage().put_bytes("key", value)?)
    }

    /// Not inlined, so that it is found in stacks.
    #[inline(never)]
    fn call(&self, path: &str, bytes: usize) -> Result<()> {
        let storage = self.ctx.storage();
        match path {
            "/random" => _ = black_box(random::get_random_bytes(bytes as u64)),
            "/random-number" => _ = black_box(random::get_random_u64()),
            "/clock" => _ = black_box(monotonic_clock::now()),
            "/poll" => {
                let ready = monotonic_clock::subscribe_duration(0);
                _ = black_box(poll(&vec![&ready; bytes]));
            }
            "/print" => println!("{}", "\n".repeat(bytes)),
            "/log" => info!("{}", "x".repeat(bytes)),
            "/fields" => {
                let entries: Vec<_> = (0..bytes).map(|i| (format!("n{i}"), vec![b'v'])).collect();
                _ = black_box(Fields::from_list(&entries));
            }
            "/get" => _ = black_box(storage.get_bytes("key")?),
            "/put" => storage.put_bytes("key", vec![8; bytes])?,
            "/get-many" => _ = black_box(storage.get_many_bytes(keys())?),
            "/put-many" => storage.put_many_bytes(keys().map(|key| (key, vec![8; bytes])))?,
            "/delete-many" => _ = black_box(storage.delete_many(keys())?),
            "/undo" => {
                let undone = storage.transaction::<()>(|| {
                    storage.put_bytes("key", vec![9; bytes])?;
                    bail!("undone", "as asked")
                });
                ensure!(undone.is_err(), "kept", "it was to be undone");
            }
            "/list" => _ = black_box(storage.list_bytes(holdfast::ListOptions::new())?.count()),
            "/sockets" => _ = black_box(self.ctx.websockets(None).len()),
            "/identity" => _ = black_box(self.ctx.id()),
            "/alarm" => _ = black_box(self.ctx.alarm().get()?),
            "/size" => _ = black_box(storage.size()?),
            unknown => bail!("unknown-call", "there is no call {unknown}"),
        }
        Ok(())
    }
}

/// Sixteen of them.
fn keys() -> impl Iterator<Item = String> {
    (0..16).map(|key| format!("key-{key}"))
}
