//! A queue of payments, handled in batches by the object's alarm: retries with growing waits, dead letters, redrive.
//!
//! The alarm is set to the earliest due time, or to now when a batch is full. One turn handles one batch; each message
//! in it is a transaction of its own, so that a failed one undoes nothing of the others. The effect of a message and
//! its removal from the queue are in the same turn: it counts once, also after a crash.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use holdfast::prelude::*;
use holdfast::serde_json;
use serde::{Deserialize, Serialize};

#[object(alarm)]
struct Queue {
    ctx: Context,
    config: Config,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(default)]
struct Config {
    /// The number of messages of a full batch.
    batch_size: u32,
    /// Seconds that a message waits for its batch to fill.
    max_wait: f64,
    /// Failures after which a message is a dead letter.
    max_attempts: u32,
    /// Seconds from the first failure to the next attempt. Doubles with each further one.
    retry_wait: f64,
}

/// A message of the batch.
#[derive(Deserialize)]
struct Message {
    id: i64,
    body: String,
    attempts: u32,
}

/// The body of a message: a positive or a negative amount.
#[derive(Deserialize)]
struct Payment {
    account: String,
    amount: i64,
}

#[derive(Serialize, Deserialize)]
struct DeadLetter {
    id: i64,
    body: String,
    attempts: u32,
    error: String,
}

const MIGRATIONS: &[&str] = &["
    CREATE TABLE message (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        body TEXT NOT NULL,
        due INTEGER,                          -- handled then at the latest; NULL for a dead letter
        attempts INTEGER NOT NULL DEFAULT 0,  -- those that failed
        error TEXT
    );
    CREATE INDEX message_due ON message (due, id);
    CREATE TABLE account (name TEXT PRIMARY KEY, balance INTEGER NOT NULL CHECK (balance >= 0)) WITHOUT ROWID;"];

impl Default for Config {
    fn default() -> Self {
        Self { batch_size: 10, max_wait: 5.0, max_attempts: 5, retry_wait: 2.0 }
    }
}

impl Object for Queue {
    fn new(ctx: Context) -> Result<Self> {
        ctx.sql().migrate(MIGRATIONS)?;
        let config = ctx.storage().get("config")?.unwrap_or_default();
        Ok(Self { ctx, config })
    }

    fn fetch(&mut self, request: Request) -> Result<Response> {
        match (request.method(), request.path()) {
            (&Method::POST, "/messages") => self.enqueue(&request),
            (_, "/messages") => Ok(not_allowed("POST")),
            (&Method::GET, "/stats") => self.stats(),
            (&Method::GET, "/accounts") => self.accounts(),
            (&Method::GET, "/dead") => self.dead(),
            (&Method::POST, "/dead/redrive") => self.redrive(),
            (&Method::GET, "/config") => Ok(Response::json(&self.config)),
            (&Method::PUT, "/config") => self.configure(&request),
            (_, path) => Ok(Response::error(StatusCode::NOT_FOUND, format!("there is no {path}"))),
        }
    }
}

impl AlarmHandler for Queue {
    /// Returns one batch: the due messages, filled up with those that wait for a full batch.
    fn alarm(&mut self, _alarm: Alarm) -> Result<()> {
        let now = now()?;
        let sql = "SELECT id, body, attempts FROM message WHERE due <= ?1 OR (attempts = 0 AND due IS NOT NULL)
                   ORDER BY due, id LIMIT ?2";
        let batch: Vec<Message> = self.ctx.sql().query_all(sql, params![now, self.config.batch_size])?;
        let mut handled = 0;
        for message in &batch {
            match self.ctx.storage().transaction(|| self.handle(message)) {
                Ok(()) => handled += 1,
                Err(error) => self.postpone(message, &error, now)?,
            }
        }
        info!(messages = batch.len(), handled; "a batch");
        self.count("handled", handled)?;
        self.count("batches", u64::from(!batch.is_empty()))?;
        self.set_alarm(now)
    }
}

impl Queue {
    fn enqueue(&self, request: &Request) -> Result<Response> {
        let bodies: Vec<serde_json::Value> = match request.json() {
            Ok(bodies) => bodies,
            Err(bad) => return Ok(bad.into()),
        };
        let now = now()?;
        for body in &bodies {
            let sql = "INSERT INTO message (body, due) VALUES (?, ?)";
            self.ctx.sql().exec(sql, params![body.to_string(), now + millis(self.config.max_wait)])?;
        }
        self.set_alarm(now)?;
        Ok(Response::json(&json!({ "queued": bodies.len() })).with_status(StatusCode::ACCEPTED))
    }

    /// Applies a message and removes it.
    fn handle(&self, message: &Message) -> Result<()> {
        let payment: Payment = serde_json::from_str(&message.body)?;
        // The table refuses a balance under 0. The message fails and is retried: the money may arrive later.
        let sql = "INSERT INTO account (name, balance) VALUES (?1, 0) ON CONFLICT DO NOTHING;";
        self.ctx.sql().exec(sql, params![&payment.account])?;
        let sql = "UPDATE account SET balance = balance + ? WHERE name = ?";
        self.ctx.sql().exec(sql, params![payment.amount, &payment.account])?;
        self.ctx.sql().exec("DELETE FROM message WHERE id = ?", params![message.id])?;
        Ok(())
    }

    /// Lets a failed message wait, each time twice as long, and makes it a dead letter in the end.
    fn postpone(&self, message: &Message, error: &Error, now: i64) -> Result<()> {
        let attempts = message.attempts + 1;
        let due = self.config.retry_after(attempts).map(|wait| now + wait);
        warn!(message = message.id, attempts, dead = due.is_none(); "{error}");
        let sql = "UPDATE message SET attempts = ?, due = ?, error = ? WHERE id = ?";
        self.ctx.sql().exec(sql, params![attempts, due, error.to_string(), message.id])?;
        Ok(())
    }

    /// Sets the alarm: now if a batch is full, else when the first message is due; no alarm without messages.
    fn set_alarm(&self, now: i64) -> Result<()> {
        let sql = "SELECT min(due), count(*) FILTER (WHERE attempts = 0) FROM message WHERE due IS NOT NULL";
        let (due, fresh): (Option<i64>, u32) = self.ctx.sql().query_one(sql, [])?;
        let time = if fresh >= self.config.batch_size { Some(now) } else { due };
        match time {
            Some(time) => self.ctx.alarm().set(UNIX_EPOCH + Duration::from_millis(time as u64))?,
            None => self.ctx.alarm().delete()?,
        }
        Ok(())
    }

    fn stats(&self) -> Result<Response> {
        let sql = "SELECT count(*) FILTER (WHERE due IS NOT NULL AND attempts = 0),
                          count(*) FILTER (WHERE due IS NOT NULL AND attempts > 0),
                          count(*) FILTER (WHERE due IS NULL) FROM message";
        let (waiting, retrying, dead): (u64, u64, u64) = self.ctx.sql().query_one(sql, [])?;
        let (handled, batches) = (self.counted("handled")?, self.counted("batches")?);
        Ok(Response::json(&json!({
            "waiting": waiting, "retrying": retrying, "dead": dead, "handled": handled, "batches": batches,
        })))
    }

    fn accounts(&self) -> Result<Response> {
        let sql = "SELECT name, balance FROM account ORDER BY name";
        let accounts: Vec<(String, i64)> = self.ctx.sql().query_all(sql, [])?;
        Ok(Response::json(&BTreeMap::from_iter(accounts)))
    }

    fn dead(&self) -> Result<Response> {
        let sql = "SELECT id, body, attempts, error FROM message WHERE due IS NULL ORDER BY id LIMIT 100";
        Ok(Response::json(&self.ctx.sql().query_all::<DeadLetter>(sql, [])?))
    }

    /// Queues all dead letters again, as if they were new.
    fn redrive(&self) -> Result<Response> {
        let now = now()?;
        let sql = "UPDATE message SET due = ?, attempts = 0 WHERE due IS NULL";
        let redriven = self.ctx.sql().exec(sql, params![now])?.changes();
        self.set_alarm(now)?;
        Ok(Response::json(&json!({ "redriven": redriven })))
    }

    fn configure(&mut self, request: &Request) -> Result<Response> {
        let config: Config = match request.json() {
            Ok(config) => config,
            Err(bad) => return Ok(bad.into()),
        };
        if !(1..=1000).contains(&config.batch_size) {
            return Ok(Response::error(StatusCode::BAD_REQUEST, "batch_size must be 1 to 1000"));
        }
        self.ctx.storage().put("config", &config)?;
        self.config = config;
        self.set_alarm(now()?)?; // a smaller batch may be full already
        Ok(Response::json(&self.config))
    }

    fn counted(&self, what: &str) -> Result<u64> {
        Ok(self.ctx.storage().get(what)?.unwrap_or(0))
    }

    fn count(&self, what: &str, more: u64) -> Result<()> {
        Ok(self.ctx.storage().put(what, &(self.counted(what)? + more))?)
    }
}

impl Config {
    /// Returns milliseconds until a message with this many failures is retried; none if it is given up.
    fn retry_after(&self, attempts: u32) -> Option<i64> {
        (attempts < self.max_attempts).then(|| millis(self.retry_wait * f64::from(attempts - 1).exp2()))
    }
}

/// Returns the start of this turn, in milliseconds since the Unix epoch.
fn now() -> Result<i64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as i64)
}

/// Converts seconds to milliseconds; a thousand years at most.
fn millis(seconds: f64) -> i64 {
    (seconds * 1e3).clamp(0.0, 3e13) as i64
}

fn not_allowed(allowed: &'static str) -> Response {
    Response::error(StatusCode::METHOD_NOT_ALLOWED, format!("only {allowed}")).with_header("allow", allowed)
}
