//! Runs operations on its WebSockets as requests say, and stores the events of its sockets.
//!
//! **Upgrade**, any path: `GET /?...` with the headers of a WebSocket handshake. Parameters, all optional:
//!
//! | parameter | does |
//! |---|---|
//! | `tag=TAG` | a tag to accept with; may be repeated |
//! | `accept=N` | calls `accept` this often (default 1); with 0 nothing is accepted |
//! | `ops=JSON` | runs these [`Op`]s after that (percent-encoded), about the accepted socket |
//! | `status=CODE` | answers with this status and the body `refused` in place of 101 |
//! | `protocol=NAME` | chooses this sub-protocol, whatever the client offers; `protocol=first`: the first one offered, if any |
//!
//! If `accept` refuses, the answer is 422 with the case as the body, as the contract names it: `bad-tag`. With
//! `accept=0` and no `status` the answer is 101 without a socket.
//!
//! **Messages.** A text that begins with `!` is a JSON list of ops: it runs them about its own socket and then sends
//! `=` and the JSON list of their results (nothing if the socket is closing by then). Any other message is echoed, text
//! as text and bytes as bytes, unless `on` says what to do. Every event is stored before anything else is done in its
//! turn, and logged at level info as `event: ` and itself as JSON, which stays when the turn fails.
//!
//! **HTTP**, without an upgrade:
//!
//! | request | answers |
//! |---|---|
//! | `GET /` | the [report](Sockets::report), see below |
//! | `GET /events?after=N&event=NAME` | the stored events of this name (default: all) with a number over N (default 0), at most 2,000 |
//! | `POST /do`, body: a JSON list of ops | the JSON list of their results |
//!
//! The report is `{"instance": a random number that this instance drew when it was made, "turns": turns that it has
//! begun, this one included, "constructed_with": how many sockets there were then, "auto_response": [request, response]
//! or null, "sockets": [{"id", "tags", "attachment", "buffered", "auto_response_time": ms or null}, ..]}`. With over
//! 100 sockets `sockets` has the first 100 only; `count` has the number of all. An event is `{"n", "socket", "event":
//! "message", "text"}`, `{.., "event": "message", "bytes", "sum"}` (binary, and text over 200 bytes; the sum is FNV-1a,
//! 64 bits, in hex), `{.., "event": "close", "code", "reason", "was_clean", "tags", "attachment", "open": whether the
//! socket is still among `sockets`}` or `{.., "event": "error", "text"}`. Numbers rise from 1 in the order of the
//! turns.
//!
//! # Ops
//! Each is the name alone, or `{"name": argument}`. `socket` is an id and may be left out for the turn's own socket, as
//! may every argument with a default. The result is `null` unless stated otherwise, and `{"error": case}` where the
//! contract refuses; later ops still run.
//!
//! | op | does |
//! |---|---|
//! | `{"send": {"text": T, "socket"?}}` | sends a text |
//! | `{"send_bytes": {"size": N, "byte"?: B, "times"?: 1, "socket"?}}` | sends N bytes B (default 0), so many times |
//! | `{"broadcast": {"text": T, "tag"?}}` | result: how many sockets got it |
//! | `{"close": {"code"?: C, "reason"?: R, "socket"?}}` | closes; no code: none |
//! | `{"sockets": TAG or null}` | result: the ids |
//! | `{"tags": ID or null}` | result: the tags |
//! | `{"attach": VALUE}`, `{"attachment": ID or null}`, `"detach"` | the turn's own socket's; `attachment` has the value as its result |
//! | `{"attach_bytes": N}` | attaches a text whose encoding is N bytes long (N of 259 to 65,538) |
//! | `{"buffered": ID or null}` | result: bytes |
//! | `{"auto_response": [REQUEST, RESPONSE] or null}` | sets it or removes it |
//! | `"accept"` | accepts as if this turn were an upgrade; result: the id |
//! | `"report"` | result: the report |
//! | `{"put": [KEY, VALUE]}`, `{"get": KEY}` | a text in storage |
//! | `{"on": [EVENT, OPS or null]}` | from now on these ops run in events `message`, `close` or `error`, in place of the echo; `null` ends that |
//! | `"fail"`, `"trap"`, `"loop"` | the turn fails (code `told-to-fail`), traps, or runs until the host ends it |
//! | `{"sleep": MS}`, `"sync"`, `"delete_all"` | waits; `storage.sync`; `storage.delete-all` |
//! | `{"undo": OPS}`, `{"keep": OPS}` | runs them in a savepoint that is undone or kept; result: theirs |

mod ops;

use std::time::{SystemTime, UNIX_EPOCH};

use holdfast::http;
use holdfast::prelude::*;
use holdfast::serde_json::{self, Value as Json};
use ops::Op;
use serde::Deserialize;

#[object(websocket)]
struct Sockets {
    ctx: Context,
    instance: u64,
    turns: u64,
    constructed_with: usize,
}

#[derive(Deserialize)]
struct Upgrade {
    #[serde(default)]
    tag: Vec<String>,
    #[serde(default = "once")]
    accept: u32,
    ops: Option<String>,
    status: Option<u16>,
    protocol: Option<String>,
}

#[derive(Deserialize)]
struct Wanted {
    #[serde(default)]
    after: i64,
    event: Option<String>,
}

const MIGRATIONS: &[&str] = &["CREATE TABLE event (n INTEGER PRIMARY KEY AUTOINCREMENT, json TEXT NOT NULL)"];

/// Longer texts are reported by their checksum.
const SHORT: usize = 200;

impl Object for Sockets {
    fn new(ctx: Context) -> Result<Self> {
        ctx.sql().migrate(MIGRATIONS)?;
        let instance = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0) >> 11;
        let constructed_with = ctx.websockets(None).len();
        Ok(Self { ctx, instance, turns: 0, constructed_with })
    }

    fn fetch(&mut self, request: Request) -> Result<Response> {
        self.turns += 1;
        match (request.method(), request.path()) {
            _ if request.is_websocket_upgrade() => self.upgrade(&request),
            (&Method::GET, "/") => Ok(Response::json(&self.report()?)),
            (&Method::GET, "/events") => {
                let Wanted { after, event } = request.query()?;
                Ok(Response::json(&self.events(after, event.as_deref())?))
            }
            (&Method::POST, "/do") => Ok(Response::json(&self.run(None, &request.json::<Vec<Op>>()?)?)),
            _ => Ok(Response::new(StatusCode::NOT_FOUND)),
        }
    }
}

impl WebSocketHandler for Sockets {
    fn message(&mut self, socket: WebSocket, message: Message) -> Result<()> {
        self.turns += 1;
        let told = match message.as_text() {
            Some(text) if text.len() <= SHORT => json!({ "text": text }),
            _ => json!({ "bytes": message.as_bytes().len(), "sum": format!("{:016x}", sum(message.as_bytes())) }),
        };
        self.remember(socket, "message", told)?;
        if let Some(ops) = message.as_text().and_then(|text| text.strip_prefix('!')) {
            let results = self.run(Some(socket), &serde_json::from_str::<Vec<Op>>(ops)?)?;
            socket.send(format!("={}", Json::from(results)))?;
            return Ok(());
        }
        match self.told_to_do("message")? {
            Some(ops) => _ = self.run(Some(socket), &ops)?,
            None => _ = socket.send(message)?,
        }
        Ok(())
    }

    fn close(&mut self, socket: WebSocket, close: Close) -> Result<()> {
        self.turns += 1;
        let Close { code, reason, was_clean, .. } = close;
        let told = json!({
            "code": code, "reason": reason, "was_clean": was_clean,
            "tags": socket.tags()?, "attachment": socket.attachment::<Json>()?,
            "open": self.ctx.websockets(None).contains(&socket),
        });
        self.event(socket, "close", told)
    }

    fn error(&mut self, socket: WebSocket, reason: String) -> Result<()> {
        self.turns += 1;
        self.event(socket, "error", json!({ "text": reason }))
    }
}

impl Sockets {
    fn upgrade(&self, request: &Request) -> Result<Response> {
        let upgrade: Upgrade = request.query()?;
        let (mut socket, mut response) = (None, Response::new(StatusCode::SWITCHING_PROTOCOLS));
        for _ in 0..upgrade.accept {
            match self.ctx.accept_websocket(request, &upgrade.tag) {
                Ok((accepted, made)) => (socket, response) = (Some(accepted), made),
                Err(error) => return Ok(Response::text(error.case()).with_status(StatusCode::UNPROCESSABLE_ENTITY)),
            }
        }
        if let Some(ops) = upgrade.ops {
            self.run(socket, &serde_json::from_str::<Vec<Op>>(&ops)?)?;
        }
        let protocol = match upgrade.protocol.as_deref() {
            Some("first") => request.websocket_protocols().next(),
            protocol => protocol,
        };
        if let Some(protocol) = protocol {
            response = response.with_header("sec-websocket-protocol", protocol);
        }
        Ok(match upgrade.status {
            Some(status) => response.with_status(StatusCode::from_u16(status)?).with_body("refused"),
            None => response,
        })
    }

    fn event(&self, socket: WebSocket, event: &str, told: Json) -> Result<()> {
        self.remember(socket, event, told)?;
        match self.told_to_do(event)? {
            Some(ops) => self.run(Some(socket), &ops).map(drop),
            None => Ok(()),
        }
    }

    fn remember(&self, socket: WebSocket, event: &str, mut told: Json) -> Result<()> {
        told["socket"] = socket.id().into();
        told["event"] = event.into();
        info!("event: {told}");
        self.ctx.sql().exec("INSERT INTO event (json) VALUES (?)", params![told.to_string()])?;
        Ok(())
    }

    fn events(&self, after: i64, name: Option<&str>) -> Result<Vec<Json>> {
        let sql = "SELECT n, json FROM event WHERE n > ?1 AND json ->> 'event' = ifnull(?2, json ->> 'event')
                   ORDER BY n LIMIT 2000";
        let rows = self.ctx.sql().query_all::<(i64, String)>(sql, params![after, name])?;
        let event = |(n, text): (i64, String)| {
            let mut event: Json = serde_json::from_str(&text)?;
            event["n"] = n.into();
            Ok(event)
        };
        rows.into_iter().map(event).collect()
    }

    fn report(&self) -> Result<Json> {
        let sockets = self.ctx.websockets(None);
        let shown = sockets.iter().take(100).map(|socket| {
            let answered = socket.auto_response_time()?.map(millis).transpose()?;
            Ok(json!({
                "id": socket.id(), "tags": socket.tags()?, "attachment": socket.attachment::<Json>()?,
                "buffered": socket.buffered()?, "auto_response_time": answered,
            }))
        });
        let auto_response = self.ctx.auto_response().map(|pair| [pair.request, pair.response]);
        Ok(json!({
            "instance": self.instance, "turns": self.turns, "constructed_with": self.constructed_with,
            "auto_response": auto_response, "count": sockets.len(), "sockets": shown.collect::<Result<Vec<_>>>()?,
        }))
    }
}

/// Returns a request that looks like an upgrade, for turns without one.
fn forged_upgrade() -> Request {
    let mut request = http::Request::new(Vec::new());
    request.headers_mut().insert(http::header::UPGRADE, http::HeaderValue::from_static("websocket"));
    request.into()
}

fn millis(time: SystemTime) -> Result<u64> {
    Ok(time.duration_since(UNIX_EPOCH)?.as_millis().try_into()?)
}

fn sum(bytes: &[u8]) -> u64 {
    let step = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

fn once() -> u32 {
    1
}
