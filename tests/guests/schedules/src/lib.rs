//! Jobs that fail in every way, to show that other jobs are not affected. Times are milliseconds since the Unix epoch.
//!
//! | request | does |
//! |---|---|
//! | `POST /?in=MILLISECONDS`, `?every=MILLISECONDS`, `?cron=EXPRESSION`, body: a [`Task`] as JSON | adds a job; answers its id, or 400 |
//! | … `&name=NAME` | sets the job of this name |
//! | `GET /` | answers `{"alarm": time or null, "pending": [job, ..], "failed": [job, ..], "runs": [run, ..]}` |
//! | `DELETE /{id}`, `POST /{id}/retry` | cancels, retries; answers whether there was one: `true`, `false` |
//!
//! A job is `{"id", "name", "repeat", "scheduled", "due", "failures", "error"}`, a run `{"id", "scheduled", "failures",
//! "at"}`. A run is stored by its job: those of attempts that failed are undone with them.

use std::hint::black_box;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use holdfast::prelude::*;
use holdfast::schedules::{BadSchedule, Job, Schedule, Schedules as Jobs};
use holdfast::serde_json::Value as Json;
use serde::{Deserialize, Serialize};

#[object(alarm)]
struct Schedules {
    ctx: Context,
}

/// What a job does after its run is stored: `"succeed"`, `{"fail": 3}` and so on. The number counts the attempts that
/// fail.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Task {
    Succeed,
    Fail(u32),
    Panic(u32),
    /// Runs until the host ends it.
    Loop(u32),
}

#[derive(Deserialize)]
struct Query {
    r#in: Option<u64>,
    every: Option<u64>,
    cron: Option<String>,
    name: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Run {
    id: i64,
    scheduled: u64,
    failures: u32,
    at: u64,
}

impl Object for Schedules {
    fn new(ctx: Context) -> Result<Self> {
        Ok(Self { ctx })
    }

    fn fetch(&mut self, request: Request) -> Result<Response> {
        match (request.method(), request.segments().as_slice()) {
            (&Method::GET, []) => self.show(),
            (&Method::POST, []) => self.add(&request),
            (&Method::DELETE, [id]) => Ok(Response::json(&self.jobs().cancel(id.parse::<i64>()?)?)),
            (&Method::POST, [id, "retry"]) => Ok(Response::json(&self.jobs().retry(id.parse::<i64>()?)?)),
            _ => Ok(Response::new(StatusCode::NOT_FOUND)),
        }
    }
}

impl AlarmHandler for Schedules {
    fn alarm(&mut self, alarm: Alarm) -> Result<()> {
        self.jobs().run_due(alarm, |job| self.run(job))
    }
}

impl Schedules {
    fn add(&self, request: &Request) -> Result<Response> {
        let (query, task) = (request.query::<Query>()?, request.json::<Task>()?);
        let schedule = match query.schedule() {
            Ok(schedule) => schedule,
            Err(bad) => return Ok(Response::error(StatusCode::BAD_REQUEST, bad)),
        };
        let id = match &query.name {
            Some(name) => self.jobs().set(name, schedule, &task)?,
            None => self.jobs().add(schedule, &task)?,
        };
        Ok(Response::json(&id))
    }

    fn run(&self, job: Job<Task>) -> Result<()> {
        let run = Run { id: job.id, scheduled: millis(job.scheduled)?, failures: job.failures, at: now()? };
        let mut runs = self.runs()?;
        runs.push(run);
        self.ctx.storage().put("runs", &runs)?;
        match job.payload {
            Task::Fail(times) if job.failures < times => bail!("told-to-fail", "as asked"),
            Task::Panic(times) if job.failures < times => panic!("told to panic"),
            Task::Loop(times) if job.failures < times => loop {
                black_box(());
            },
            _ => Ok(()),
        }
    }

    fn show(&self) -> Result<Response> {
        let alarm = self.ctx.alarm().get()?.map(millis).transpose()?;
        let pending = self.jobs().pending()?.map(|job| show(job?)).collect::<Result<Vec<_>>>()?;
        let failed = self.jobs().failed()?.map(|job| show(job?)).collect::<Result<Vec<_>>>()?;
        let runs = self.runs()?;
        Ok(Response::json(&json!({ "alarm": alarm, "pending": pending, "failed": failed, "runs": runs })))
    }

    fn runs(&self) -> Result<Vec<Run>> {
        Ok(self.ctx.storage().get("runs")?.unwrap_or_default())
    }

    fn jobs(&self) -> Jobs<Task> {
        self.ctx.schedules()
    }
}

impl Query {
    fn schedule(&self) -> Result<Schedule, BadSchedule> {
        match (self.every, &self.cron) {
            (Some(interval), _) => Schedule::every(Duration::from_millis(interval)),
            (_, Some(expression)) => Schedule::cron(expression),
            _ => Schedule::once(Duration::from_millis(self.r#in.unwrap_or(0))),
        }
    }
}

fn show(job: Job<Task>) -> Result<Json> {
    Ok(json!({
        "id": job.id,
        "name": job.name,
        "repeat": job.repeat.map(|repeat| repeat.to_string()),
        "scheduled": millis(job.scheduled)?,
        "due": job.due.map(millis).transpose()?,
        "failures": job.failures,
        "error": job.error,
    }))
}

fn now() -> Result<u64> {
    millis(SystemTime::now())
}

fn millis(time: SystemTime) -> Result<u64> {
    Ok(time.duration_since(UNIX_EPOCH)?.as_millis().try_into()?)
}
