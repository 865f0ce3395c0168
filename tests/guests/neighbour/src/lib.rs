//! A well-behaved object that does a little of everything, so that tests can measure the effect of other classes on it.
//!
//! | request | does |
//! |---|---|
//! | `GET /` | answers `light`; touches nothing |
//! | `POST /add` | adds one to the stored number, answers it |
//! | `GET /number` | answers the stored number |
//! | upgrade, any path | accepts a WebSocket, whose messages are echoed |
//! | `POST /tick?every=MILLISECONDS` | has the alarm tick from now on: each run counts itself and arms the next one; 204 |
//! | `POST /once?in=MILLISECONDS` | arms the alarm to run once, 204 |
//! | `GET /ticks` | answers `[runs of the alarm, those that came early, [by how many ms each of the last 200 came late]]` |

use std::time::{Duration, SystemTime};

use holdfast::prelude::*;
use serde::{Deserialize, Serialize};

#[object(alarm, websocket)]
struct Neighbour {
    ctx: Context,
}

#[derive(Deserialize)]
struct Query {
    every: Option<u64>,
    r#in: Option<u64>,
}

/// The stored state of the alarm.
#[derive(Default, Serialize, Deserialize)]
struct Ticks {
    /// 0: it runs once.
    every: u64,
    runs: u64,
    early: u64,
    late_ms: Vec<u64>,
}

/// The number of runs that are kept.
const REMEMBERED: usize = 200;

impl Object for Neighbour {
    fn new(ctx: Context) -> Result<Self> {
        Ok(Self { ctx })
    }

    fn fetch(&mut self, request: Request) -> Result<Response> {
        if request.is_websocket_upgrade() {
            return Ok(self.ctx.accept_websocket(&request, [] as [&str; 0])?.1);
        }
        let query: Query = request.query()?;
        match (request.method(), request.path()) {
            (&Method::GET, "/") => Ok(Response::text("light")),
            (&Method::GET, "/number") => Ok(Response::text(self.number()?.to_string())),
            (&Method::POST, "/add") => {
                let number = self.number()? + 1;
                self.ctx.storage().put("n", &number)?;
                Ok(Response::text(number.to_string()))
            }
            (&Method::POST, "/tick" | "/once") => {
                let mut ticks = self.ticks()?;
                ticks.every = query.every.unwrap_or(0);
                self.ctx.storage().put("ticks", &ticks)?;
                self.ctx.alarm().set(Duration::from_millis(query.r#in.unwrap_or(ticks.every)))?;
                Ok(Response::new(StatusCode::NO_CONTENT))
            }
            (&Method::GET, "/ticks") => {
                let Ticks { runs, early, late_ms, .. } = self.ticks()?;
                Ok(Response::json(&(runs, early, late_ms)))
            }
            _ => Ok(Response::new(StatusCode::NOT_FOUND)),
        }
    }
}

impl AlarmHandler for Neighbour {
    fn alarm(&mut self, alarm: Alarm) -> Result<()> {
        let mut ticks = self.ticks()?;
        ticks.runs += 1;
        match SystemTime::now().duration_since(alarm.scheduled) {
            Ok(late) => ticks.late_ms.push(late.as_millis().try_into()?),
            Err(_) => ticks.early += 1,
        }
        let forgotten = ticks.late_ms.len().saturating_sub(REMEMBERED);
        ticks.late_ms.drain(..forgotten);
        if ticks.every > 0 {
            self.ctx.alarm().set(Duration::from_millis(ticks.every))?;
        }
        Ok(self.ctx.storage().put("ticks", &ticks)?)
    }
}

impl WebSocketHandler for Neighbour {
    fn message(&mut self, socket: WebSocket, message: Message) -> Result<()> {
        socket.send(message)?;
        Ok(())
    }
}

impl Neighbour {
    fn number(&self) -> Result<u64> {
        Ok(self.ctx.storage().get("n")?.unwrap_or(0))
    }

    fn ticks(&self) -> Result<Ticks> {
        Ok(self.ctx.storage().get("ticks")?.unwrap_or_default())
    }
}
