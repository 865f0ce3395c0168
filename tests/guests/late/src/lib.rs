//! Defers and resumes as its requests order.
//!
//! `GET /wait` is answered by `POST /tell`, which answers all who wait, or `POST /fail-all` or `/forget-all`; `/show`
//! answers what the instance knows. `POST /after?ms=&holds=&write=` schedules a resume, `/cancel` the last one; `/save`
//! stores the body with a debounce; `/spin` schedules resumes without end. `/fail` and `/fail-having-written` fail. A
//! socket's message `wait` is deferred; any other is echoed and ends those. `/socket-later` accepts one in a resume,
//! `/socket-held` holds the instance. `/exclusive?ms=` keeps other events out for so long, `/exclusive-for-nothing`.
//! `/drop` and `/drop-and-fail` answer one and have the instance dropped.

use std::time::Duration;

use holdfast::prelude::*;
use serde::{Deserialize, Serialize};

#[object(later, websocket)]
struct Late {
    ctx: Context,
    waiting: Vec<(Deferred, Option<Token>)>,
    messages: Vec<Deferred>,
    known: Known,
    last: Option<Token>,
    writes: Vec<Token>,
    spins: bool,
    saving: Debounce,
    text: String,
    upgrade: Option<(Deferred, Token)>,
    exclusive: Option<Token>,
}

/// What the instance knows: its memory.
#[derive(Clone, Default, Serialize)]
struct Known {
    waiting: usize,
    /// Turns of requests.
    turns: u32,
    /// Resumes, and the turns in which they came.
    resumes: u32,
    resume_turns: u32,
    gone: u32,
}

#[derive(Deserialize)]
#[serde(default)]
struct After {
    ms: u64,
    holds: bool,
    write: bool,
    times: u32,
}

impl Default for After {
    fn default() -> Self {
        Self { ms: 0, holds: true, write: false, times: 1 }
    }
}

impl Object for Late {
    fn new(ctx: Context) -> Result<Self> {
        let init = ctx.defer().unwrap_err();
        ensure!(init == LateError::NotDeferrable, "wrong", "init: {init}");
        Ok(Self {
            ctx,
            waiting: Vec::new(),
            messages: Vec::new(),
            known: Known::default(),
            last: None,
            writes: Vec::new(),
            spins: false,
            saving: Debounce::default(),
            text: String::new(),
            upgrade: None,
            exclusive: None,
        })
    }

    fn fetch(&mut self, request: Request) -> Result<Response> {
        self.known.turns += 1;
        match request.path() {
            "/wait" => {
                let deferred = self.ctx.defer()?;
                ensure!(self.ctx.defer().unwrap_err() == LateError::NotDeferrable, "wrong", "twice");
                let gone = Some(deferred.on_gone()?);
                self.waiting.push((deferred, gone));
            }
            // Answered in the turn itself.
            "/at-once" => self.ctx.defer()?.respond(Response::text("at once"))?,
            "/wait-and-fail" => {
                let _never = self.ctx.defer()?;
                bail!("refused", "after it was deferred")
            }
            "/tell" => {
                self.ctx.storage().put("told", &request.text()?)?;
                for (waiting, _) in self.waiting.drain(..) {
                    waiting.respond(Response::text(request.text()?))?;
                }
            }
            "/fail-all" => {
                self.ctx.storage().put("told", "failed")?;
                for (waiting, _) in self.waiting.drain(..) {
                    waiting.fail(Error::new("out-of-tea", "none is left"))?;
                }
            }
            "/forget-all" => self.waiting.clear(),
            "/wrong-kind" => {
                if let Some((waiting, _)) = self.waiting.pop() {
                    let error = waiting.done().unwrap_err();
                    return Ok(Response::text(error.to_string()));
                }
            }
            "/after" => {
                let After { ms, holds, write, times } = request.query()?;
                for _ in 0..times {
                    let delay = Duration::from_millis(ms);
                    let token = match holds {
                        true => self.ctx.resume_after(delay)?,
                        false => self.ctx.resume_if_in_memory_after(delay)?,
                    };
                    self.last = Some(token);
                    if write {
                        self.writes.push(token);
                    }
                }
            }
            "/cancel" => {
                let had = self.last.take().is_some_and(|token| self.ctx.cancel(token));
                return Ok(Response::text(had.to_string()));
            }
            "/spin" => {
                self.spins = true;
                self.ctx.resume_after(Duration::ZERO)?;
            }
            "/save" => {
                self.text = request.text()?.to_owned();
                self.saving.put_off(&self.ctx, Duration::from_millis(request.query::<After>()?.ms))?;
            }
            "/fail" => bail!("refused", "as ordered"),
            "/fail-having-written" => {
                self.ctx.storage().put("told", "never")?;
                bail!("refused", "as ordered")
            }
            "/stored" => return Ok(Response::text(self.ctx.storage().get::<String>("told")?.unwrap_or_default())),
            "/show" => {
                self.known.waiting = self.waiting.len();
                return Ok(Response::json(&self.known));
            }
            "/socket" => {
                return Ok(self.ctx.accept_websocket(&request, ["all"])?.1);
            }
            "/socket-held" => {
                let (socket, response) = self.ctx.accept_websocket(&request, ["held"])?;
                self.ctx.hold_for(socket)?;
                return Ok(response);
            }
            "/socket-later" => {
                let deferred = self.ctx.defer()?;
                self.upgrade = Some((deferred, self.ctx.resume_after(Duration::from_millis(20))?));
            }
            "/exclusive" => {
                self.ctx.set_exclusive(true);
                self.exclusive = Some(self.ctx.resume_after(Duration::from_millis(request.query::<After>()?.ms))?);
            }
            "/exclusive-for-nothing" => self.ctx.set_exclusive(true),
            "/drop" | "/drop-and-fail" => {
                self.ctx.drop_instance();
                if let Some((waiting, _)) = self.waiting.pop() {
                    waiting.respond(Response::text("last words"))?;
                }
                if request.path() == "/drop-and-fail" {
                    bail!("refused", "as ordered");
                }
            }
            path => return Ok(Response::error(StatusCode::NOT_FOUND, format!("there is no {path}"))),
        }
        Ok(Response::text("not deferred"))
    }
}

impl LateHandler for Late {
    fn resume(&mut self, tokens: &[Token]) -> Result<()> {
        ensure!(self.ctx.defer().unwrap_err() == LateError::NotDeferrable, "wrong", "a resume");
        self.known.resumes += tokens.len() as u32;
        self.known.resume_turns += 1;
        let gone = |waiting: &(Deferred, Option<Token>)| waiting.1.is_some_and(|token| tokens.contains(&token));
        for (waiting, _) in self.waiting.extract_if(.., |waiting| gone(waiting)) {
            self.known.gone += 1;
            let error = waiting.respond(Response::text("too late")).unwrap_err();
            ensure!(error.case() == Some("gone"), "wrong", "{error}");
        }
        if self.writes.extract_if(.., |token| tokens.contains(token)).count() > 0 {
            self.ctx.storage().put("told", "resumed")?;
        }
        if let Some((upgrade, _)) = self.upgrade.take_if(|(_, token)| tokens.contains(token)) {
            match upgrade.accept_websocket(["later"]) {
                Ok(socket) => {
                    upgrade.respond(Response::new(StatusCode::SWITCHING_PROTOCOLS))?;
                    socket.send("welcome")?;
                }
                Err(error) => upgrade.respond(Response::error(StatusCode::BAD_REQUEST, error))?,
            }
        }
        if self.exclusive.take_if(|token| tokens.contains(token)).is_some() {
            self.ctx.set_exclusive(false);
        }
        if self.saving.is_due(tokens) {
            self.ctx.storage().put("told", &self.text)?;
        }
        if self.spins {
            self.ctx.resume_after(Duration::ZERO)?;
        }
        Ok(())
    }
}

impl WebSocketHandler for Late {
    fn message(&mut self, socket: WebSocket, message: Message) -> Result<()> {
        if matches!(&message, Message::Text(text) if text == "wait") {
            self.messages.push(self.ctx.defer()?);
            return Ok(());
        }
        for waiting in self.messages.drain(..) {
            waiting.done()?;
        }
        socket.send(message)?;
        Ok(())
    }
}
