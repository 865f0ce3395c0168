//! Reminders, one object per person: `POST /` with a text and a time; the reminder is delivered then, also without a
//! client.
//!
//! An object has one alarm; `schedules` of the SDK builds many on it. Delivery here means a move to a table. A job and
//! its writes are one transaction, so each reminder is in the table once for each of its times, also after a crash.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use holdfast::prelude::*;
use holdfast::schedules::{BadSchedule, Job, Repeat, Schedule, Schedules};
use serde::{Deserialize, Serialize};

#[object(alarm)]
struct Reminders {
    ctx: Context,
}

/// The body of a request.
#[derive(Deserialize)]
struct Draft {
    text: String,
    #[serde(flatten)]
    time: Time,
}

/// A time in one of three ways.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Time {
    /// Seconds from now.
    In(u64),
    /// Milliseconds since the Unix epoch.
    At(u64),
    /// A cron expression in UTC: repeated.
    Cron(String),
}

/// The payload of a job.
#[derive(Serialize, Deserialize)]
struct Reminder {
    text: String,
}

/// A pending reminder, as answers have it.
#[derive(Serialize)]
struct Pending {
    id: i64,
    text: String,
    /// The next time, in milliseconds since the Unix epoch.
    due: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    cron: Option<String>,
}

/// A delivered reminder.
#[derive(Serialize, Deserialize)]
struct Delivered {
    id: i64,
    text: String,
    /// The time that was set, and the time of delivery.
    due: u64,
    at: u64,
}

#[derive(Serialize)]
struct Lists {
    pending: Vec<Pending>,
    delivered: Vec<Delivered>,
}

const MIGRATIONS: &[&str] =
    &["CREATE TABLE delivered (id INTEGER NOT NULL, text TEXT NOT NULL, due INTEGER NOT NULL, at INTEGER NOT NULL)"];

impl Object for Reminders {
    fn new(ctx: Context) -> Result<Self> {
        ctx.sql().migrate(MIGRATIONS)?;
        Ok(Self { ctx })
    }

    fn fetch(&mut self, request: Request) -> Result<Response> {
        match (request.method(), request.segments().as_slice()) {
            (&Method::GET, []) => self.list(),
            (&Method::POST, []) => self.create(&request),
            (_, []) => Ok(not_allowed("GET, POST")),
            (&Method::DELETE, [id]) => self.cancel(id),
            (_, [_]) => Ok(not_allowed("DELETE")),
            _ => Ok(Response::error(StatusCode::NOT_FOUND, format!("there is no {}", request.path()))),
        }
    }
}

impl AlarmHandler for Reminders {
    fn alarm(&mut self, alarm: Alarm) -> Result<()> {
        self.schedules().run_due(alarm, |reminder| self.deliver(reminder))
    }
}

impl Reminders {
    fn create(&self, request: &Request) -> Result<Response> {
        let draft: Draft = match request.json() {
            Ok(draft) => draft,
            Err(bad) => return Ok(bad.into()),
        };
        let schedule = match draft.time.schedule() {
            Ok(schedule) => schedule,
            Err(bad) => return Ok(Response::error(StatusCode::BAD_REQUEST, bad)),
        };
        let id = self.schedules().add(schedule, &Reminder { text: draft.text })?;
        let job = self.schedules().get(id)?.context("reading the reminder that was just added")?;
        Ok(Response::json(&Pending::try_from(job)?)
            .with_status(StatusCode::CREATED)
            .with_header("location", format!("{}/{id}", request.prefix())))
    }

    fn list(&self) -> Result<Response> {
        let jobs = self.schedules().pending()?.take(100);
        let pending = jobs.map(|job| Pending::try_from(job?)).collect::<Result<_>>()?;
        let sql = "SELECT id, text, due, at FROM delivered ORDER BY rowid DESC LIMIT 100";
        let delivered = self.ctx.sql().query_all(sql, [])?;
        Ok(Response::json(&Lists { pending, delivered }))
    }

    fn cancel(&self, id: &str) -> Result<Response> {
        match id.parse::<i64>() {
            Ok(id) if self.schedules().cancel(id)? => Ok(Response::new(StatusCode::NO_CONTENT)),
            _ => Ok(Response::error(StatusCode::NOT_FOUND, format!("there is no reminder {id}"))),
        }
    }

    fn deliver(&self, Job { id, payload, scheduled, .. }: Job<Reminder>) -> Result<()> {
        info!("to {}: {}", self.ctx.name().unwrap_or_default(), payload.text);
        let sql = "INSERT INTO delivered (id, text, due, at) VALUES (?, ?, ?, ?)";
        let (due, at) = (millis(scheduled)?, millis(SystemTime::now())?);
        self.ctx.sql().exec(sql, params![id, payload.text, due as i64, at as i64])?;
        Ok(())
    }

    fn schedules(&self) -> Schedules<Reminder> {
        self.ctx.schedules()
    }
}

impl Time {
    fn schedule(&self) -> Result<Schedule, BadSchedule> {
        match self {
            Self::In(seconds) => Schedule::once(Duration::from_secs(*seconds)),
            Self::At(millis) => Schedule::once(UNIX_EPOCH + Duration::from_millis(*millis)),
            Self::Cron(expression) => Schedule::cron(expression),
        }
    }
}

impl TryFrom<Job<Reminder>> for Pending {
    type Error = Error;

    fn try_from(job: Job<Reminder>) -> Result<Self> {
        let cron = match job.repeat {
            Some(Repeat::Cron(expression)) => Some(expression),
            _ => None,
        };
        Ok(Self { id: job.id, text: job.payload.text, due: millis(job.scheduled)?, cron })
    }
}

fn millis(time: SystemTime) -> Result<u64> {
    Ok(time.duration_since(UNIX_EPOCH)?.as_millis() as u64)
}

fn not_allowed(allowed: &'static str) -> Response {
    Response::error(StatusCode::METHOD_NOT_ALLOWED, format!("only {allowed}")).with_header("allow", allowed)
}
