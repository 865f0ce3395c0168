//! A token bucket, one object per key that is limited: `/take?cost=1` answers 200, or 429 with `retry-after`.
//!
//! The bucket is kept in memory, so a decision reads nothing; taken tokens are also stored, so a restart does not
//! refill the bucket. The two cannot differ: a failed turn drops the instance, and the next one loads the stored
//! bucket.

use std::time::{SystemTime, UNIX_EPOCH};

use holdfast::prelude::*;
use serde::{Deserialize, Serialize};

#[object]
struct RateLimiter {
    ctx: Context,
    bucket: Bucket,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
struct Config {
    /// How many tokens the bucket holds.
    capacity: u32,
    /// How many tokens are added per second.
    refill_per_second: f64,
}

#[derive(Serialize, Deserialize)]
struct Bucket {
    config: Config,
    /// The tokens at the time below.
    tokens: f64,
    /// Seconds since the Unix epoch.
    at: f64,
}

#[derive(Deserialize)]
struct Take {
    #[serde(default = "one")]
    cost: u32,
}

fn one() -> u32 {
    1
}

impl Object for RateLimiter {
    fn new(ctx: Context) -> Result<Self> {
        let bucket = match ctx.storage().get("bucket")? {
            Some(bucket) => bucket,
            None => Bucket::full(Config { capacity: 10, refill_per_second: 1.0 }, now()?),
        };
        Ok(Self { ctx, bucket })
    }

    fn fetch(&mut self, request: Request) -> Result<Response> {
        match (request.method(), request.path()) {
            (&Method::GET | &Method::POST, "/take") => self.take(&request),
            (_, "/take") => Ok(not_allowed("GET, POST")),
            (&Method::GET, "/config") => Ok(Response::json(&self.bucket.config)),
            (&Method::PUT, "/config") => self.configure(&request),
            (_, "/config") => Ok(not_allowed("GET, PUT")),
            (_, path) => Ok(Response::error(StatusCode::NOT_FOUND, format!("there is no {path}"))),
        }
    }
}

impl RateLimiter {
    fn take(&mut self, request: &Request) -> Result<Response> {
        let cost = match request.query::<Take>() {
            Ok(take) => take.cost,
            Err(bad) => return Ok(bad.into()),
        };
        let capacity = self.bucket.config.capacity;
        if cost > capacity {
            let detail = format!("a cost of {cost} is more than the bucket ever holds ({capacity})");
            return Ok(Response::error(StatusCode::BAD_REQUEST, detail));
        }
        self.bucket.refill(now()?);
        match self.bucket.take(cost) {
            Ok(()) => {
                self.ctx.storage().put("bucket", &self.bucket)?;
                Ok(self.answer(true))
            }
            // Nothing is stored: a refusal costs no write, and there may be thousands.
            Err(wait) => {
                Ok(self.answer(false).with_status(StatusCode::TOO_MANY_REQUESTS).with_header("retry-after", wait))
            }
        }
    }

    /// Sets a new configuration, which begins with a full bucket.
    fn configure(&mut self, request: &Request) -> Result<Response> {
        let config: Config = match request.json() {
            Ok(config) => config,
            Err(bad) => return Ok(bad.into()),
        };
        if config.capacity == 0 || config.refill_per_second <= 0.0 {
            return Ok(Response::error(StatusCode::BAD_REQUEST, "capacity and refill_per_second must be over 0"));
        }
        self.bucket = Bucket::full(config, now()?);
        self.ctx.storage().put("bucket", &self.bucket)?;
        Ok(Response::json(&config))
    }

    fn answer(&self, allowed: bool) -> Response {
        Response::json(&json!({ "allowed": allowed, "remaining": self.bucket.tokens as u32 }))
    }
}

impl Bucket {
    fn full(config: Config, now: f64) -> Self {
        Self { config, tokens: config.capacity.into(), at: now }
    }

    fn refill(&mut self, now: f64) {
        // A wall clock can be set back; then no tokens are added until it has caught up.
        let seconds = (now - self.at).max(0.0);
        self.tokens = (self.tokens + seconds * self.config.refill_per_second).min(self.config.capacity.into());
        self.at = self.at.max(now);
    }

    /// Takes tokens, or returns in how many seconds there will be enough.
    fn take(&mut self, cost: u32) -> Result<(), u64> {
        let missing = f64::from(cost) - self.tokens;
        if missing > 0.0 {
            return Err((missing / self.config.refill_per_second).ceil() as u64);
        }
        self.tokens -= f64::from(cost);
        Ok(())
    }
}

/// Returns the start of this turn, in seconds since the Unix epoch.
fn now() -> Result<f64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64())
}

fn not_allowed(allowed: &'static str) -> Response {
    Response::error(StatusCode::METHOD_NOT_ALLOWED, format!("only {allowed}")).with_header("allow", allowed)
}
