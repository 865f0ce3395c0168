//! Many schedules in one object: its one alarm, spread over a table. Needs the feature `schedules`. Owns the table
//! `holdfast_schedule`, the alarm of objects that use it, and the handling of failed jobs. `schedule` computes the
//! times.
//!
//! What must stay true: the alarm is set to the earliest time in the table when a turn ends; a job that fails, in any
//! way, keeps no other from running. The rest of this page shows its use.
//!
//! # Jobs
//! A job is a value of your type and a [`Schedule`]: once, at an interval, or by a cron expression. `run_due` in the
//! alarm handler runs the due jobs:
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use holdfast::prelude::*;
//! use holdfast::schedules::{Job, Schedule};
//! use serde::{Deserialize, Serialize};
//!
//! #[object(alarm)]
//! struct Shop {
//!     ctx: Context,
//! }
//!
//! #[derive(Serialize, Deserialize)]
//! enum Task {
//!     Release { order: u64 },
//!     Report,
//! }
//!
//! impl Object for Shop {
//!     fn new(ctx: Context) -> Result<Self> {
//!         // One job has this name, however often the instance is made.
//!         ctx.schedules().set("report", Schedule::cron("0 9 * * MON-FRI")?, &Task::Report)?;
//!         Ok(Self { ctx })
//!     }
//!
//!     fn fetch(&mut self, request: Request) -> Result<Response> {
//!         let order: u64 = request.json()?;
//!         let job = self.ctx.schedules().add(Schedule::once(Duration::from_secs(900))?, &Task::Release { order })?;
//!         Ok(Response::json(&job)) // its id: `cancel` takes it
//!     }
//! }
//!
//! impl AlarmHandler for Shop {
//!     fn alarm(&mut self, alarm: Alarm) -> Result<()> {
//!         self.ctx.schedules().run_due(alarm, |job: Job<Task>| match job.payload {
//!             Task::Release { order } => Ok(drop(self.ctx.storage().delete(format!("order:{order}"))?)),
//!             Task::Report => Ok(info!("{} bytes", self.ctx.storage().size()?)),
//!         })
//!     }
//! }
//! # fn main() {}
//! ```
//!
//! # Guarantees
//! * A job never runs early, and its effects on storage are applied once: it runs in a
//!   [`transaction`](crate::Storage::transaction) together with its mark as done. So it cannot `sync` or `delete_all`.
//! * A job that fails is undone, the others are not. It is tried again after 2, 4, 8, 16, 32 and 64 seconds. After the
//!   seventh failure one that runs once is kept as [failed](Schedules::failed), and a repeated one continues with its
//!   next time.
//! * A job that panics, or exceeds the turn's time, fails its turn. When the host retries the alarm, some seconds
//!   later, each job is noted durably before it runs. So the faulty job is found and waits like any failed one, and the
//!   effects of the others stay.
//! * A repeated job that missed its time, because the host was down, runs once and not once for each time that it
//!   missed.
//! * While a job runs, only its next time is scheduled: what it sets or cancels under its own name stays.
//!
//! The object's alarm belongs to its schedules: do not set it by hand beside them. Cron expressions are in UTC.
//! `SELECT * FROM holdfast_schedule` shows all jobs; times are milliseconds since the Unix epoch, payloads JSON.

mod schedule;

use std::marker::PhantomData;
use std::time::{Duration, SystemTime};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::alarm::{millis, time};
use crate::sql::Value;
use crate::{Alarm, AlarmClock, Context, ErrorContext as _, Result, Sql, SqlError, Storage, params};
pub use schedule::{BadSchedule, Repeat, Schedule};
use schedule::{Next, now};

/// Jobs that one turn runs at most; the alarm comes again at once for the others, so that requests get their turn.
const JOBS_PER_TURN: usize = 100;
/// When the host is about to give the alarm up, it is set anew, this far away.
const BREATH: Duration = Duration::from_secs(60);

const CREATE: &str = "
    CREATE TABLE IF NOT EXISTS holdfast_schedule (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT UNIQUE,
        payload TEXT NOT NULL,
        repeat TEXT,                          -- none: once
        scheduled INTEGER NOT NULL,           -- the time that it is about
        due INTEGER,                          -- when it is tried, next or again; none: it has failed for good
        failures INTEGER NOT NULL DEFAULT 0,  -- attempts for that time
        error TEXT                            -- what the last one failed with
    );
    CREATE INDEX IF NOT EXISTS holdfast_schedule_due ON holdfast_schedule (due);";
const PUT: &str = "
    INSERT INTO holdfast_schedule (name, payload, repeat, scheduled, due) VALUES (?1, ?2, ?3, ?4, ?4)
    ON CONFLICT (name) DO UPDATE SET payload = excluded.payload, repeat = excluded.repeat,
        scheduled = excluded.scheduled, due = excluded.due, failures = 0, error = NULL
    RETURNING id";
const COLUMNS: &str = "SELECT id, name, payload, repeat, scheduled, due, failures, error FROM holdfast_schedule";

/// The jobs of an object, from [`Context::schedules`]; see [`mod@crate::schedules`]. Their payloads are `T`, as JSON.
#[derive(Debug)]
pub struct Schedules<T> {
    payload: PhantomData<fn() -> T>,
}

/// A job: what is to be done, when, and how it went so far.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Job<T> {
    /// Its number in this object; not used again.
    pub id: i64,
    /// Its name, if it was [set](Schedules::set) under one.
    pub name: Option<String>,
    /// What is to be done.
    pub payload: T,
    /// When and how often it is repeated; `None` if it runs once.
    pub repeat: Option<Repeat>,
    /// The time that it is to run at, or was.
    pub scheduled: SystemTime,
    /// When it is tried, next or again: not before `scheduled`. `None` if it has failed for good.
    pub due: Option<SystemTime>,
    /// How many attempts for that time have failed.
    pub failures: u32,
    /// What the last attempt failed with, until one succeeds.
    pub error: Option<String>,
}

/// Which job: its id or its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key<'a> {
    /// [`Job::id`].
    Id(i64),
    /// [`Job::name`].
    Name(&'a str),
}

impl From<i64> for Key<'_> {
    fn from(id: i64) -> Self {
        Self::Id(id)
    }
}

impl<'a> From<&'a str> for Key<'a> {
    fn from(name: &'a str) -> Self {
        Self::Name(name)
    }
}

impl Context {
    /// The object's jobs; see [`mod@crate::schedules`].
    pub fn schedules<T: Serialize + DeserializeOwned>(&self) -> Schedules<T> {
        Schedules { payload: PhantomData }
    }
}

impl<T: Serialize + DeserializeOwned> Schedules<T> {
    /// Adds a job and returns its id.
    ///
    /// # Errors
    /// A payload that JSON cannot express; a class without `#[object(alarm)]`; those of storage.
    pub fn add(&self, schedule: Schedule, payload: &T) -> Result<i64> {
        self.put(None, &schedule, &serde_json::to_string(payload)?)
    }

    /// Sets the job of this name, in place of any there is, and returns its id. One that repeats as it did keeps its
    /// next time: setting it whenever the instance is made changes nothing.
    ///
    /// # Errors
    /// As for [`add`](Self::add).
    pub fn set(&self, name: &str, schedule: Schedule, payload: &T) -> Result<i64> {
        let payload = serde_json::to_string(payload)?;
        match self.row(Key::Name(name))? {
            Some(row) if row.repeat.is_some() && row.repeat == schedule.repeat_text() => {
                if row.payload != payload {
                    let update = "UPDATE holdfast_schedule SET payload = ? WHERE id = ?";
                    sql().exec(update, params![payload, row.id])?;
                }
                arm()?;
                Ok(row.id)
            }
            _ => self.put(Some(name), &schedule, &payload),
        }
    }

    /// The job with this id or name, if there is one: pending or failed.
    ///
    /// # Errors
    /// A payload that is not a `T`.
    pub fn get<'a>(&self, key: impl Into<Key<'a>>) -> Result<Option<Job<T>>> {
        self.row(key.into())?.map(Row::into_job).transpose()
    }

    /// The jobs that will run, in the order of their times.
    ///
    /// # Errors
    /// Each can be a payload that is not a `T`.
    pub fn pending(&self) -> Result<impl Iterator<Item = Result<Job<T>>> + use<T>> {
        self.rows("WHERE due IS NOT NULL ORDER BY due, id")
    }

    /// Returns the jobs that were to run once and failed finally, until they are [retried](Self::retry) or
    /// [cancelled](Self::cancel).
    ///
    /// # Errors
    /// Each can be a payload that is not a `T`.
    pub fn failed(&self) -> Result<impl Iterator<Item = Result<Job<T>>> + use<T>> {
        self.rows("WHERE due IS NULL ORDER BY id")
    }

    /// Removes a job, pending or failed; returns whether there was one.
    ///
    /// # Errors
    /// Those of storage.
    pub fn cancel<'a>(&self, key: impl Into<Key<'a>>) -> Result<bool> {
        let (column, value) = column(key.into());
        let delete = format!("DELETE FROM holdfast_schedule WHERE {column} = ?");
        let removed = if_there(sql().exec(&delete, [value]))?.is_some_and(|done| done.changes() > 0);
        if removed {
            arm()?;
        }
        Ok(removed)
    }

    /// Runs a finally failed job again, with new attempts; returns whether there was one.
    ///
    /// # Errors
    /// Those of storage.
    pub fn retry<'a>(&self, key: impl Into<Key<'a>>) -> Result<bool> {
        let (column, value) = column(key.into());
        let update = format!("UPDATE holdfast_schedule SET due = ?, failures = 0 WHERE {column} = ? AND due IS NULL");
        let found =
            if_there(sql().exec(&update, [Value::from(now() as i64), value]))?.is_some_and(|done| done.changes() > 0);
        if found {
            arm()?;
        }
        Ok(found)
    }

    /// Runs the jobs that are due, each as a whole or not at all, and sets the alarm to the next time. All that the
    /// handler of an alarm has to do.
    ///
    /// # Errors
    /// None of a job: a job that fails is tried again. Those of storage, after which the host tries the whole alarm
    /// again.
    pub fn run_due(&self, alarm: Alarm, mut work: impl FnMut(Job<T>) -> Result<()>) -> Result<()> {
        if alarm.is_last_attempt() {
            // Something fails that is no job of its own, or every one of them. Jobs wait, but the alarm is not lost.
            return Ok(AlarmClock::new().set(BREATH)?);
        }
        // The alarm was delivered, so its time has come, even if the clock was set back since.
        let now = now().max(millis(alarm.scheduled)?);
        // After an attempt that was cut off, jobs that have failed before wait for the alarm after this one: were one
        // of them to cut it off again, the host would wait longer and longer with all the others.
        let failures_max = if alarm.is_retry() { 0 } else { i64::MAX };
        for _ in 0..JOBS_PER_TURN {
            let due = format!("{COLUMNS} WHERE due <= ? AND failures <= ? ORDER BY due, id LIMIT 1");
            let row = if_there(sql().query_optional::<Row>(&due, params![now as i64, failures_max]))?.flatten();
            let Some(row) = row else { break };
            run(&row, now, alarm.is_retry() || row.failures > 0, &mut work)?;
        }
        arm()
    }

    fn put(&self, name: Option<&str>, schedule: &Schedule, payload: &str) -> Result<i64> {
        let first = schedule.first() as i64;
        let id = sql().query_one(&format!("{CREATE}{PUT}"), params![name, payload, schedule.repeat_text(), first])?;
        arm()?;
        Ok(id)
    }

    fn row(&self, key: Key) -> Result<Option<Row>> {
        let (column, value) = column(key);
        Ok(if_there(sql().query_optional(&format!("{COLUMNS} WHERE {column} = ?"), [value]))?.flatten())
    }

    fn rows(&self, which: &str) -> Result<impl Iterator<Item = Result<Job<T>>> + use<T>> {
        let rows = if_there(sql().query_as::<Row>(&format!("{COLUMNS} {which}"), []))?;
        Ok(rows.into_iter().flatten().map(|row| row?.into_job()))
    }
}

/// Runs one job. Its writes and its mark as done are kept together or not at all.
fn run<T: DeserializeOwned>(
    row: &Row,
    now: u64,
    is_suspect: bool,
    work: impl FnOnce(Job<T>) -> Result<()>,
) -> Result<()> {
    // A row that cannot be read fails like any other job.
    let repeat = row.repeat().ok().flatten();
    let after_failure = schedule::after_failure(row.scheduled, row.failures, repeat.as_ref(), now);
    if is_suspect {
        // If it takes the turn with it, this stays, and with it what the jobs before it did.
        put_back(row, after_failure, Some("it ended the whole turn: a panic, or a limit"))?;
        Storage::new().sync()?;
    }
    let result = Storage::new().transaction(|| {
        let job = row.clone().into_job()?;
        match schedule::after_success(row.scheduled, repeat.as_ref(), now) {
            Some(next) => put_back(row, next, None)?,
            None => drop(sql().exec("DELETE FROM holdfast_schedule WHERE id = ?", params![row.id])?),
        }
        work(job)
    });
    let Err(error) = result else { return Ok(()) };
    let (id, attempt) = (row.id, row.failures + 1);
    match after_failure {
        Next { failures: 1.., due: Some(_), .. } => log::warn!(job = id, attempt; "a job failed: {error}"),
        _ => log::error!(job = id, attempt; "a job failed and is given up: {error}"),
    }
    put_back(row, after_failure, Some(&error.to_string()))
}

fn put_back(row: &Row, next: Next, error: Option<&str>) -> Result<()> {
    let Next { scheduled, due, failures } = next;
    let due = due.map(|due| due as i64);
    sql().exec(
        "UPDATE holdfast_schedule SET scheduled = ?, due = ?, failures = ?, error = ? WHERE id = ?",
        params![scheduled as i64, due, failures, error, row.id],
    )?;
    Ok(())
}

/// Sets the alarm to the earliest time in the table.
fn arm() -> Result<()> {
    let next: Option<Option<u64>> = if_there(sql().query_one("SELECT min(due) FROM holdfast_schedule", []))?;
    let (alarm, next) = (AlarmClock::new(), next.flatten().map(time));
    match next {
        _ if alarm.get()? == next => {}
        Some(due) => alarm.set(due)?,
        None => alarm.delete()?,
    }
    Ok(())
}

fn sql() -> Sql {
    Sql::new()
}

/// An object without jobs has no table.
fn if_there<T>(result: Result<T, SqlError>) -> Result<Option<T>, SqlError> {
    match result {
        Err(SqlError::Sqlite { message, .. }) if message.contains("no such table: holdfast_schedule") => Ok(None),
        result => result.map(Some),
    }
}

fn column(key: Key) -> (&'static str, Value) {
    match key {
        Key::Id(id) => ("id", id.into()),
        Key::Name(name) => ("name", name.into()),
    }
}

/// A row of the table.
#[derive(Clone, Debug, Deserialize)]
struct Row {
    id: i64,
    name: Option<String>,
    payload: String,
    repeat: Option<String>,
    scheduled: u64,
    due: Option<u64>,
    failures: u32,
    error: Option<String>,
}

impl Row {
    fn repeat(&self) -> Result<Option<Repeat>> {
        let repeat = self.repeat.as_ref().map(|text| text.parse());
        repeat.transpose().context(format_args!("job {}", self.id))
    }

    fn into_job<T: DeserializeOwned>(self) -> Result<Job<T>> {
        Ok(Job {
            id: self.id,
            payload: serde_json::from_str(&self.payload).context(format_args!("the payload of job {}", self.id))?,
            repeat: self.repeat()?,
            name: self.name,
            scheduled: time(self.scheduled),
            due: self.due.map(time),
            failures: self.failures,
            error: self.error,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(payload: &str, repeat: Option<&str>) -> Row {
        let (payload, repeat) = (payload.to_owned(), repeat.map(str::to_owned));
        Row { id: 7, name: None, payload, repeat, scheduled: 1, due: Some(3), failures: 1, error: Some("no".into()) }
    }

    #[test]
    fn a_row_is_a_job() {
        let job: Job<Vec<u8>> = row("[1,2]", Some("every 60000")).into_job().unwrap();
        assert_eq!((job.id, job.payload, job.failures), (7, vec![1, 2], 1));
        assert_eq!(job.repeat, Some(Repeat::Every(Duration::from_secs(60))));
        assert_eq!((job.scheduled, job.due), (time(1), Some(time(3))));
    }

    #[test]
    fn what_is_no_job_says_which() {
        let error = row("{}", None).into_job::<Vec<u8>>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "the payload of job 7: invalid type: map, expected a sequence at line 1 column 0"
        );
        let error = row("1", Some("sometimes")).into_job::<u8>().unwrap_err();
        assert_eq!(error.to_string(), "job 7: no schedule: sometimes");
    }
}
