//! Fails in the way the path names, after staging 999 under the key `n`. `/get`, `/put?n=` and `/count` show and set
//! what is stored, `/sleep?ms=` waits without failing, `/deep?n=` goes so many calls deep.

use std::hint::black_box;
use std::time::Duration;

use holdfast::http::HeaderValue;
use holdfast::prelude::*;
use serde::Deserialize;

#[object]
struct Faults {
    ctx: Context,
}

#[derive(Deserialize)]
struct Query {
    #[serde(default)]
    n: u64,
    #[serde(default)]
    ms: u64,
    #[serde(default)]
    kind: String,
}

impl Object for Faults {
    fn new(ctx: Context) -> Result<Self> {
        Ok(Self { ctx })
    }

    fn fetch(&mut self, request: Request) -> Result<Response> {
        let query: Query = request.query()?;
        match request.path() {
            "/get" => Ok(Response::text(self.stored()?.to_string())),
            "/put" => self.store(query.n),
            "/count" => self.store(self.stored()? + 1),
            "/deep" => Ok(Response::text(dig(query.n, 1, 2, 3, 5, 8, 13).to_string())),
            "/sleep" => {
                std::thread::sleep(Duration::from_millis(query.ms));
                Ok(Response::text("slept"))
            }
            // The memory stays as large.
            "/grow" => {
                drop(black_box(vec![1u8; (query.n as usize) << 20]));
                Ok(Response::text("grown"))
            }
            fault => {
                self.store(999)?;
                self.fail(fault, &query.kind)
            }
        }
    }
}

impl Faults {
    fn stored(&self) -> Result<u64> {
        Ok(self.ctx.storage().get("n")?.unwrap_or(0))
    }

    fn store(&self, n: u64) -> Result<Response> {
        self.ctx.storage().put("n", &n)?;
        Ok(Response::text(n.to_string()))
    }

    fn fail(&self, fault: &str, kind: &str) -> Result<Response> {
        match fault {
            "/loop" => loop {
                black_box(());
            },
            "/alloc" => {
                let mut chunks = Vec::new();
                loop {
                    // Not zeroes, so that every page is touched.
                    chunks.push(black_box(vec![1u8; 1 << 20]));
                }
            }
            "/panic" => panic!("told to panic"),
            "/recurse" => Ok(Response::text(recurse(0).to_string())),
            "/fail" => bail!("teapot", "told to fail"),
            "/fail-retryable" => Err(Error::new("teapot", "told to fail for now").retryable()),
            "/exit" => std::process::exit(3),
            "/sql-loop" => {
                let endless = "WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT count(*) FROM c";
                Ok(Response::text(self.ctx.sql().query_one::<i64>(endless, [])?.to_string()))
            }
            "/bad-response" => bad_response(kind),
            unknown => bail!("unknown-fault", "there is no fault {unknown}"),
        }
    }
}

/// Goes so many levels deep. Each takes some hundred bytes of the host's stack, and none of the guest's own.
#[inline(never)]
fn dig(levels: u64, a: u64, b: u64, c: u64, d: u64, e: u64, f: u64) -> u64 {
    if levels == 0 {
        return a;
    }
    let below = dig(levels - 1, b ^ levels, c, d, e, f, a.wrapping_add(levels));
    let mixed = a.wrapping_mul(below | 1) ^ b.rotate_left(below as u32) ^ c.wrapping_mul(below | 5);
    mixed ^ d.rotate_right(below as u32) ^ e.wrapping_mul(mixed | 3) ^ f.rotate_left(mixed as u32)
}

/// Uses the stack of the engine rather than the one in memory, which holds only what has an address.
#[inline(never)]
#[expect(unconditional_recursion, reason = "what it is for")]
fn recurse(depth: u64) -> u64 {
    black_box(recurse(black_box(depth) + 1)) + 1
}

fn bad_response(kind: &str) -> Result<Response> {
    let mut response = Response::text("refused by the host");
    match kind {
        "status" => Ok(response.with_status(StatusCode::from_u16(999)?)),
        "header" => {
            // SAFETY: nothing of `http` interprets the value; its validity is for the host to check.
            let value = unsafe { HeaderValue::from_maybe_shared_unchecked(&b"two\r\nlines: 1"[..]) };
            response.headers_mut().insert("x-bad", value);
            Ok(response)
        }
        unknown => bail!("unknown-fault", "there is no bad response {unknown:?}"),
    }
}
