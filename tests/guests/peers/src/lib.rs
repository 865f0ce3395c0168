//! Calls others as its requests and callers order, and is called.
//!
//! `POST /call` with `{"class","name","id","method","arguments","timeout","put"}` calls a method, having written `put`
//! if it is there, and answers `{"value"}` or `{"error"}`. `/fetch` with `{"class","name","path"}` sends a request.
//! `/many` makes so many calls, `/at-once` at once, and `/leave` one that it does not wait for. `/savepoint` calls
//! inside a transaction. `/ids` answers ids. `/get?key=` what is stored.

use std::thread::sleep;
use std::time::{Duration, SystemTime};

use holdfast::calls::{ObjectRef, Started};
use holdfast::prelude::*;
use holdfast::serde_json::{self, Value};
use serde::Deserialize;

#[object(calls, later)]
struct Peers {
    ctx: Context,
    /// Turns of this instance.
    turns: u32,
    waiting: Vec<Deferred>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Ask {
    class: String,
    name: Option<String>,
    id: String,
    method: String,
    arguments: Value,
    timeout: Option<u64>,
    put: Option<String>,
    path: String,
    times: u32,
}

#[derive(Deserialize)]
struct Key {
    key: String,
}

#[derive(Deserialize)]
struct Named {
    key: String,
    value: Value,
}

impl Object for Peers {
    fn new(ctx: Context) -> Result<Self> {
        Ok(Self { ctx, turns: 0, waiting: Vec::new() })
    }

    fn fetch(&mut self, request: Request) -> Result<Response> {
        self.turns += 1;
        if request.path() == "/get" {
            let Key { key } = request.query()?;
            return Ok(Response::json(&self.ctx.storage().get::<Value>(&key)?));
        }
        if request.path() == "/echo" {
            let header = request.header("x-test").unwrap_or_default().to_owned();
            let told = format!("{} {} {header}", request.method(), request.uri());
            return Ok(Response::new(StatusCode::IM_A_TEAPOT)
                .with_header("x-told", told)
                .with_body(request.into_body()));
        }
        let ask: Ask = request.json()?;
        Ok(Response::json(&match request.path() {
            "/call" => told(self.call_other(&ask)),
            "/fail-after-call" => {
                told(self.call_other(&ask));
                bail!("wanted", "after the call")
            }
            "/escape" => self.call_other(&ask)?,
            "/fetch" => {
                let sent = holdfast::http::Request::put(&ask.path).header("x-test", "yes").body(b"body".to_vec())?;
                match self.other(&ask).fetch(sent) {
                    Ok(response) => json!({
                        "status": response.status().as_u16(),
                        "told": response.headers()["x-told"].to_str()?,
                        "body": String::from_utf8_lossy(response.body()),
                    }),
                    Err(error) => told(Err(error)),
                }
            }
            "/many" => {
                let mut made = 0;
                let other = self.other(&ask);
                let error = loop {
                    match other.call::<Value>(&ask.method, &ask.arguments) {
                        Ok(_) => made += 1,
                        Err(error) => break told(Err(error)),
                    }
                    if made == ask.times {
                        break Value::Null;
                    }
                };
                json!({ "made": made, "end": error })
            }
            "/savepoint" => {
                let mut end = Value::Null;
                self.ctx.storage().transaction(|| {
                    end = told(self.call_other(&ask));
                    Ok(())
                })?;
                end
            }
            // Calls so many objects at once, waits for the first, and answers their values, those that had ended
            // first and the code of one call too many.
            "/at-once" => {
                let objects = self.ctx.objects(&ask.class);
                let begin = |number| objects.named(format!("{number}")).start(&ask.method, &ask.arguments);
                let begun = (0..ask.times).map(begin).collect::<Result<Vec<_>, _>>()?;
                let more = begin(ask.times).err().map(|error| error.code().to_owned());
                let none = Started::wait_for_any(&begun.iter().collect::<Vec<_>>(), Some(Duration::ZERO)).len();
                let first = Started::wait_for_any(&begun.iter().collect::<Vec<_>>(), None);
                let ended: Vec<_> = begun.into_iter().map(|call| told(call.finish())).collect();
                json!({ "ended": ended, "none": none, "first": first, "more": more })
            }
            // Begins a call and ends without waiting for it.
            "/leave" => {
                let begun = self.other(&ask).start(&ask.method, &ask.arguments)?;
                if ask.times > 0 {
                    drop(begun);
                } else {
                    std::mem::forget(begun);
                }
                Value::Null
            }
            "/ids" => {
                let objects = self.ctx.objects(&ask.class);
                let (of, new) = (objects.id_of("alice")?, objects.new_id()?);
                let (right, wrong) = (objects.check_id(&of), objects.check_id(&"0".repeat(64)));
                let code = wrong.unwrap_err().code().to_owned();
                json!({ "of": of, "new": new, "right": right.is_ok(), "wrong": code })
            }
            other => bail!("wrong", "there is no {other}"),
        }))
    }
}

impl Peers {
    fn other(&self, ask: &Ask) -> ObjectRef {
        let objects = self.ctx.objects(&ask.class);
        let other = match &ask.name {
            Some(name) => objects.named(name),
            None => objects.with_id(&ask.id),
        };
        match ask.timeout {
            Some(timeout) => other.within(Duration::from_millis(timeout)),
            None => other,
        }
    }

    fn call_other(&self, ask: &Ask) -> Result<Value, CallError> {
        if let Some(put) = &ask.put {
            self.ctx.storage().put("put", put).expect("there is room");
        }
        self.other(ask).call(&ask.method, &ask.arguments)
    }
}

fn told(result: Result<Value, CallError>) -> Value {
    match result {
        Ok(value) => json!({ "value": value }),
        Err(error) => json!({ "error": {
            "code": error.code(),
            "message": error.to_string(),
            "object": error.is_from_object(),
            "retryable": error.is_retryable(),
            "fate": match error.fate() {
                Fate::NotRun => "not-run",
                Fate::Failed => "failed",
                Fate::Unknown => "unknown",
            },
            "refusal": error.refusal::<Value>(),
            "cycle": error.cycle(),
        }}),
    }
}

impl CallHandler for Peers {
    fn call(&mut self, method: &str, arguments: Arguments) -> Result<Reply> {
        self.turns += 1;
        let storage = self.ctx.storage();
        let one = || arguments.read::<(Value,)>().map(|(value,)| value);
        Reply::value(&match method {
            "echo" => one()?,
            "size" => arguments.as_bytes().len().into(),
            "large" => {
                let (size,): (usize,) = arguments.read()?;
                Value::String("x".repeat(size))
            }
            "turns" => self.turns.into(),
            "get" => {
                let (key,): (String,) = arguments.read()?;
                storage.get::<Value>(&key)?.into()
            }
            "put" => {
                let (key, value): (String, Value) = arguments.read()?;
                storage.put(&key, &value)?;
                value
            }
            "put-by-name" => {
                let Named { key, value } = arguments.read()?;
                storage.put(&key, &value)?;
                value
            }
            "refuse" => return Reply::refused(&one()?),
            "refuse-having-put" => {
                storage.put("refused", "yes")?;
                return Reply::refused(&one()?);
            }
            "fail" => return Err(Error::new("sold-out", "no seats").retryable()),
            "fail-having-put" => {
                storage.put("failed", "yes")?;
                return Err(Error::new("sold-out", "no seats"));
            }
            "trap" => panic!("as ordered"),
            "sleep" => {
                let (ms, marker): (u64, Option<String>) = arguments.read()?;
                storage.put("slept", "yes")?;
                if let Some(marker) = marker {
                    let marker = self.ctx.objects("room").named(marker);
                    marker.call::<Value>("put", &("began", true))?;
                }
                sleep(Duration::from_millis(ms));
                Value::Null
            }
            "caller" => match self.ctx.caller() {
                Some(caller) => json!({ "class": caller.class, "id": caller.id, "name": caller.name }),
                None => Value::Null,
            },
            "left" => {
                let left = self.ctx.deadline().and_then(|end| end.duration_since(SystemTime::now()).ok());
                left.map_or(Value::Null, |left| (left.as_millis() as u64).into())
            }
            // Calls the first of these with the rest of them; answers how deep it went, or the error.
            "chain" => {
                let (class, mut names): (String, Vec<String>) = arguments.read()?;
                if names.is_empty() {
                    return Reply::value(&json!({ "depth": 0 }));
                }
                let next = self.ctx.objects(&class).named(names.remove(0));
                match next.call::<Value>("chain", &(class, names)) {
                    Ok(mut value) => {
                        if let Some(depth) = value.get_mut("depth").and_then(|depth| depth.as_u64()) {
                            value["depth"] = (depth + 1).into();
                        }
                        value
                    }
                    Err(error) => told(Err(error)),
                }
            }
            "ask" => told(self.call_other(&serde_json::from_value(one()?)?)),
            "defer" => {
                self.waiting.push(self.ctx.defer()?);
                Value::Null
            }
            "waiting" => self.waiting.len().into(),
            "answer-all" => {
                let value = one()?;
                for waiting in self.waiting.drain(..) {
                    match value.as_str() {
                        Some("refuse") => waiting.refuse(&value)?,
                        Some("fail") => waiting.fail(Error::new("late", "failed later"))?,
                        _ => waiting.return_value(&value)?,
                    }
                }
                Value::Null
            }
            _ => return Err(Error::no_method(method)),
        })
    }
}

impl LateHandler for Peers {
    fn resume(&mut self, _tokens: &[Token]) -> Result<()> {
        Ok(())
    }
}
