//! Sets its alarm and handles it as requests say. Times are milliseconds since the Unix epoch.
//!
//! | request | does |
//! |---|---|
//! | `GET /` | answers `{"alarm": time or null, "now": start of this turn, "runs": [run, ..]}`; writes nothing |
//! | `POST /set?at=TIME` or `?in=MILLISECONDS` | sets the alarm; 204 |
//! | `POST /delete` | deletes it; 204 |
//! | … `&then=fail`, `trap` | the same, and the turn fails (code `told-to-fail`), or traps |
//! | … `&then=settle-fail` | the same, settles (`storage.sync`), and fails |
//! | … `&then=undo`, `keep` | the same inside a savepoint, which is undone or kept; the turn succeeds |
//! | … `&then=delete-all` | the same, and then delete-all; the turn succeeds |
//! | `PUT /mode`, body: JSON | sets what the handler does from now on, see [`Mode`] |
//! | `DELETE /` | delete-all |
//!
//! A refusal of the contract is answered with 422 and its case as the body: `bad-time`, `no-handler`, `other`.
//!
//! A run is `{"scheduled", "retry_count", "at": start of its turn, "alarm": result of `get` inside, "name": the
//! object's}`. The runs of turns that succeeded are stored; each run that begins also logs, at level info, `alarm
//! handled: ` and itself as JSON.

use std::hint::black_box;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use holdfast::prelude::*;
use serde::{Deserialize, Serialize};

#[object(alarm)]
struct Alarms {
    ctx: Context,
}

#[derive(Deserialize)]
struct Query {
    at: Option<u64>,
    r#in: Option<u64>,
    #[serde(default)]
    then: Then,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Then {
    #[default]
    Succeed,
    Fail,
    Trap,
    SettleFail,
    Undo,
    Keep,
    DeleteAll,
}

/// What the handler does after its run is logged and stored: `"succeed"`, `{"fail": 3}` and so on.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Mode {
    #[default]
    Succeed,
    /// Fails this many times: as long as the retry count is under this.
    Fail(u32),
    Trap,
    /// Runs until the host ends it.
    Loop,
    /// Waits for this many milliseconds and succeeds.
    Sleep(u64),
    /// Sets a new alarm, this many milliseconds from now, and succeeds.
    Set(u64),
    /// Sets the time that it was called for again until it has run this often, counting this run.
    SetSame(usize),
    /// The same with the present time.
    SetNow(usize),
    /// As `set-same`, after a settling point and a delete-all that leaves nothing but its runs and this mode.
    DeleteAllSetSame(usize),
    /// As `set`, and fails as long as the retry count is under 2.
    SetFail(u64),
}

#[derive(Serialize, Deserialize)]
struct Run {
    scheduled: u64,
    retry_count: u32,
    at: u64,
    alarm: Option<u64>,
    name: Option<String>,
}

impl Object for Alarms {
    fn new(ctx: Context) -> Result<Self> {
        Ok(Self { ctx })
    }

    fn fetch(&mut self, request: Request) -> Result<Response> {
        let query: Query = request.query()?;
        let change = || match (query.at, query.r#in) {
            (Some(at), _) => self.ctx.alarm().set(UNIX_EPOCH + Duration::from_millis(at)),
            (_, Some(wait)) => self.ctx.alarm().set(Duration::from_millis(wait)),
            _ => self.ctx.alarm().delete(),
        };
        match (request.method(), request.path()) {
            (&Method::GET, "/") => self.show(),
            (&Method::POST, "/set" | "/delete") => self.change(change, query.then),
            (&Method::PUT, "/mode") => {
                self.ctx.storage().put("mode", &request.json::<Mode>()?)?;
                Ok(done())
            }
            (&Method::DELETE, "/") => {
                self.ctx.storage().delete_all()?;
                Ok(done())
            }
            _ => Ok(Response::new(StatusCode::NOT_FOUND)),
        }
    }
}

impl AlarmHandler for Alarms {
    fn alarm(&mut self, alarm: Alarm) -> Result<()> {
        let run = Run {
            scheduled: millis(alarm.scheduled)?,
            retry_count: alarm.retry_count,
            at: now()?,
            alarm: self.set_to()?,
            name: self.ctx.name(),
        };
        info!("alarm handled: {}", holdfast::serde_json::to_string(&run)?);
        let mut runs = self.runs()?;
        runs.push(run);
        self.ctx.storage().put("runs", &runs)?;
        match self.ctx.storage().get("mode")?.unwrap_or_default() {
            Mode::Succeed => Ok(()),
            Mode::Fail(times) => self.fail_if(alarm.retry_count < times),
            Mode::Trap => panic!("told to trap"),
            Mode::Loop => loop {
                black_box(());
            },
            Mode::Sleep(wait) => {
                std::thread::sleep(Duration::from_millis(wait));
                Ok(())
            }
            Mode::Set(wait) => Ok(self.ctx.alarm().set(Duration::from_millis(wait))?),
            Mode::SetSame(times) => self.set_until(times, alarm.scheduled),
            Mode::SetNow(times) => self.set_until(times, SystemTime::now()),
            Mode::DeleteAllSetSame(times) => {
                let (storage, runs, mode) = (self.ctx.storage(), self.runs()?, Mode::DeleteAllSetSame(times));
                storage.sync()?;
                storage.delete_all()?;
                storage.put("runs", &runs)?;
                storage.put("mode", &mode)?;
                self.set_until(times, alarm.scheduled)
            }
            Mode::SetFail(wait) => {
                self.ctx.alarm().set(Duration::from_millis(wait))?;
                self.fail_if(alarm.retry_count < 2)
            }
        }
    }
}

impl Alarms {
    fn show(&self) -> Result<Response> {
        Ok(Response::json(&json!({ "alarm": self.set_to()?, "now": now()?, "runs": self.runs()? })))
    }

    fn change(&self, change: impl Fn() -> Result<(), AlarmError>, then: Then) -> Result<Response> {
        let storage = self.ctx.storage();
        let mut changed = Ok(());
        let undo = matches!(then, Then::Undo);
        if undo || matches!(then, Then::Keep) {
            let kept = storage.transaction(|| {
                changed = change();
                self.fail_if(undo)
            });
            ensure!(kept.is_err() == undo, "unexpected", "the savepoint ended with {kept:?}");
        } else {
            changed = change();
        }
        match then {
            Then::Succeed | Then::Undo | Then::Keep => {}
            Then::Fail => self.fail_if(true)?,
            Then::Trap => panic!("told to trap"),
            Then::SettleFail => {
                storage.sync()?;
                self.fail_if(true)?;
            }
            Then::DeleteAll => storage.delete_all()?,
        }
        Ok(changed.map_or_else(refusal, |()| done()))
    }

    fn set_until(&self, times: usize, time: SystemTime) -> Result<()> {
        if self.runs()?.len() < times {
            self.ctx.alarm().set(time)?;
        }
        Ok(())
    }

    fn fail_if(&self, condition: bool) -> Result<()> {
        ensure!(!condition, "told-to-fail", "as asked");
        Ok(())
    }

    fn set_to(&self) -> Result<Option<u64>> {
        self.ctx.alarm().get()?.map(millis).transpose()
    }

    fn runs(&self) -> Result<Vec<Run>> {
        Ok(self.ctx.storage().get("runs")?.unwrap_or_default())
    }
}

fn refusal(error: AlarmError) -> Response {
    Response::text(error.case()).with_status(StatusCode::UNPROCESSABLE_ENTITY)
}

fn done() -> Response {
    Response::new(StatusCode::NO_CONTENT)
}

fn now() -> Result<u64> {
    millis(SystemTime::now())
}

fn millis(time: SystemTime) -> Result<u64> {
    Ok(time.duration_since(UNIX_EPOCH)?.as_millis().try_into()?)
}
