//! An object with an alarm that stores when it was handled and how often: the stored values show whether an alarm was
//! lost, early, or applied twice. `POST /?at=TIME` sets it, `GET /` answers the stored values. Times are milliseconds
//! since the Unix epoch.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use holdfast::prelude::*;
use serde::{Deserialize, Serialize};

#[object(alarm)]
struct Timed {
    ctx: Context,
}

#[derive(Deserialize)]
struct Set {
    at: u64,
}

#[derive(Default, Serialize, Deserialize)]
struct Handled {
    times: u32,
    /// The time of the alarm, as the handler got it.
    scheduled: u64,
    /// When the last handler's turn began.
    at: u64,
}

impl Object for Timed {
    fn new(ctx: Context) -> Result<Self> {
        Ok(Self { ctx })
    }

    fn fetch(&mut self, request: Request) -> Result<Response> {
        if request.method() == Method::POST {
            let Set { at } = request.query()?;
            self.ctx.alarm().set(UNIX_EPOCH + Duration::from_millis(at))?;
            return Ok(Response::new(StatusCode::NO_CONTENT));
        }
        let Handled { times, scheduled, at } = self.handled()?;
        let pending = self.ctx.alarm().get()?.is_some();
        Ok(Response::json(&json!({ "times": times, "scheduled": scheduled, "at": at, "pending": pending })))
    }
}

impl AlarmHandler for Timed {
    fn alarm(&mut self, alarm: Alarm) -> Result<()> {
        let times = self.handled()?.times + 1;
        let handled = Handled { times, scheduled: millis(alarm.scheduled)?, at: millis(SystemTime::now())? };
        self.ctx.storage().put("handled", &handled)?;
        Ok(())
    }
}

impl Timed {
    fn handled(&self) -> Result<Handled> {
        Ok(self.ctx.storage().get("handled")?.unwrap_or_default())
    }
}

fn millis(time: SystemTime) -> Result<u64> {
    Ok(time.duration_since(UNIX_EPOCH)?.as_millis().try_into()?)
}
