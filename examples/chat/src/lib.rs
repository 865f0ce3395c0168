//! A chat room per object: receives and sends messages over WebSockets. `room` stores them, `wire` has the frames for
//! clients.
//!
//! A client connects with the number of the last message that it has and gets the later ones in the turn that accepts
//! it, so none is missing. It numbers its own messages, and resends them until they are acknowledged; the room stores
//! the last number of each client, so no message is stored twice. Both are the convention of
//! `guest-sdk/browser/holdfast-socket.js`, which the page uses.
//!
//! Names are not checked. A service would authenticate in `connect`, before it accepts.

mod limit;
mod room;
mod wire;

use std::time::{SystemTime, UNIX_EPOCH};

use holdfast::prelude::*;
use limit::Limits;
use room::{Draft, Line, Room};
use serde::{Deserialize, Serialize};
use wire::{Event, Frame, Incoming, Said, Welcome};

#[object(websocket)]
struct Chat {
    ctx: Context,
    room: Room,
    limits: Limits,
}

/// The query of a handshake.
#[derive(Deserialize)]
struct Hello {
    name: String,
    client: String,
    #[serde(default)]
    after: i64,
}

/// The attachment of a socket.
#[derive(Serialize, Deserialize)]
struct Peer {
    name: String,
    client: String,
}

#[derive(Deserialize)]
struct After {
    #[serde(default)]
    after: i64,
}

/// A message over HTTP.
#[derive(Deserialize)]
struct Post {
    from: String,
    #[serde(flatten)]
    draft: Draft,
}

/// The close code for errors after which a client must not retry.
const REFUSED: u16 = 4400;
const REPLACED: u16 = 4409;

const PAGE: &str = include_str!("../page/index.html");
const ASSETS: [(&str, &str, &str); 3] = [
    ("/chat.css", "text/css; charset=utf-8", include_str!("../page/chat.css")),
    ("/chat.js", "text/javascript; charset=utf-8", include_str!("../page/chat.js")),
    (
        "/holdfast-socket.js",
        "text/javascript; charset=utf-8",
        include_str!("../../../guest-sdk/browser/holdfast-socket.js"),
    ),
];
/// The page loads nothing from elsewhere and runs only the scripts above.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
                      base-uri 'self'; form-action 'none'";

impl Object for Chat {
    fn new(ctx: Context) -> Result<Self> {
        let room = Room::open(&ctx)?;
        // After a restart of the host all sockets are gone, without a close event.
        for name in room.online()? {
            if ctx.websockets(&*person(&name)).is_empty() {
                room.leave(&name, now()?)?;
            }
        }
        Ok(Self { ctx, room, limits: Limits::default() })
    }

    fn fetch(&mut self, request: Request) -> Result<Response> {
        match (request.method(), request.path()) {
            (&Method::GET, "/") => Ok(page(&request)),
            (&Method::GET, "/socket") => self.connect(&request),
            (&Method::GET, "/messages") => match request.query::<After>() {
                Ok(After { after }) => Ok(Response::json(&self.room.since(after, None)?)),
                Err(bad) => Ok(bad.into()),
            },
            (&Method::POST, "/messages") => self.post(&request),
            (_, "/messages") => Ok(not_allowed("GET, POST")),
            (&Method::GET, "/people") => Ok(Response::json(&self.room.people()?)),
            (_, path) => match ASSETS.iter().find(|(asset, ..)| *asset == path) {
                Some((_, kind, text)) => Ok(Response::text(*text).with_header("content-type", *kind)),
                None => Ok(Response::error(StatusCode::NOT_FOUND, format!("there is no {path}"))),
            },
        }
    }
}

impl WebSocketHandler for Chat {
    fn message(&mut self, socket: WebSocket, message: Message) -> Result<()> {
        let Some(peer) = socket.attachment::<Peer>()? else { return Ok(()) }; // somebody who was refused
        match message.parse() {
            Ok(Incoming { id: Some(id), event: Said::Message(draft) }) => self.take(socket, &peer, id, &draft),
            Ok(Incoming { id: None, event: Said::Typing }) => self.tell(Event::Typing { name: &peer.name }),
            // A mistake of the client and not of this object, so the turn does not fail.
            _ => {
                socket.close(REFUSED, "this room does not know such messages")?;
                Ok(())
            }
        }
    }

    fn close(&mut self, socket: WebSocket, _close: Close) -> Result<()> {
        let Some(peer) = socket.attachment::<Peer>()? else { return Ok(()) };
        if self.ctx.websockets(&*person(&peer.name)).is_empty() {
            self.tell(Event::Person(&self.room.leave(&peer.name, now()?)?))?;
        }
        Ok(())
    }
}

impl Chat {
    /// Accepts a client, and sends the messages that it has missed.
    fn connect(&mut self, request: &Request) -> Result<Response> {
        if !request.is_websocket_upgrade() {
            return Ok(Response::error(StatusCode::UPGRADE_REQUIRED, "a WebSocket is here")
                .with_header("upgrade", "websocket"));
        }
        let (peer, after) = match request.query() {
            Ok(Hello { name, client, after }) => (Peer { name, client }, after),
            Err(bad) => return Ok(bad.into()),
        };
        if !room::is_name(&peer.name) || !is_client(&peer.client) {
            // A page cannot read why a handshake was refused, but it can read why a socket was closed.
            let (socket, response) = self.ctx.accept_websocket(request, ["refused"])?;
            socket.close(REFUSED, room::NO_NAME)?;
            return Ok(response);
        }
        let tags = [person(&peer.name), same_client(&peer.client)];
        for old in self.ctx.websockets(&*tags[1]) {
            old.close(REPLACED, "connected anew")?;
        }
        let (socket, response) = self.ctx.accept_websocket(request, tags)?;
        socket.set_attachment(&peer)?;
        self.ctx.set_auto_response("ping", "pong")?;
        self.welcome(socket, &peer, after)?;
        Ok(response)
    }

    fn welcome(&self, socket: WebSocket, peer: &Peer, after: i64) -> Result<()> {
        let arrived = self.room.join(&peer.name, now()?)?;
        let is_first = self.ctx.websockets(&*person(&peer.name)).len() == 1;
        let span = self.room.span()?;
        let reset = !span.continues(after);
        let lines = self.room.since(if reset { 0 } else { after }, Some(&peer.name))?;
        let welcome = Welcome {
            ack: self.room.last_from(&peer.client)?.unwrap_or(0),
            seq: span.newest,
            reset,
            room: self.ctx.name(),
            people: self.room.people()?,
            events: lines.iter().map(Event::numbered).collect(),
        };
        send(socket, &Frame::Welcome(welcome))?;
        if is_first { self.tell(Event::Person(&arrived)) } else { Ok(()) }
    }

    /// Handles a frame of a client, if its number is the next one.
    fn take(&mut self, socket: WebSocket, peer: &Peer, id: i64, draft: &Draft) -> Result<()> {
        match self.room.last_from(&peer.client)? {
            Some(last) if id <= last => return send(socket, &Frame::Ack(last)),
            Some(last) if id > last + 1 => return Ok(()), // comes again, after the one before it
            _ => {}
        }
        if let Err(wait) = self.limits.take(&peer.name, now()?) {
            return send(socket, &Frame::Retry { after: wait });
        }
        self.room.heard(&peer.client, id, now()?)?;
        match self.say(&peer.name, draft)? {
            Ok(_) => send(socket, &Frame::Ack(id)),
            Err(reason) => send(socket, &Frame::Refused { id, reason }),
        }
    }

    fn post(&mut self, request: &Request) -> Result<Response> {
        let Post { from, draft } = match request.json() {
            Ok(post) => post,
            Err(bad) => return Ok(bad.into()),
        };
        if !room::is_name(&from) {
            return Ok(Response::error(StatusCode::BAD_REQUEST, room::NO_NAME));
        }
        if let Err(wait) = self.limits.take(&from, now()?) {
            let refusal = Response::error(StatusCode::TOO_MANY_REQUESTS, "not so fast");
            return Ok(refusal.with_header("retry-after", wait.div_ceil(1000)));
        }
        Ok(match self.say(&from, &draft)? {
            Ok(line) => Response::json(&line).with_status(StatusCode::CREATED),
            Err(reason) => Response::error(StatusCode::BAD_REQUEST, reason),
        })
    }

    /// Sends all clients an event that is not stored.
    fn tell(&self, event: Event) -> Result<()> {
        self.ctx.broadcast(None, Message::json(&Frame::now(event))?)?;
        Ok(())
    }

    /// Stores a line and sends it to its recipients, or returns what is wrong with it.
    fn say(&self, from: &str, draft: &Draft) -> Result<Result<Line, &'static str>> {
        let line = match self.room.add(from, draft, now()?)? {
            Ok(line) => line,
            Err(reason) => return Ok(Err(reason)),
        };
        let message = Message::json(&Event::numbered(&line))?;
        match &line.to {
            None => _ = self.ctx.broadcast(None, message)?,
            Some(to) => {
                self.ctx.broadcast(&*person(to), message.clone())?;
                if *to != line.from {
                    self.ctx.broadcast(&*person(&line.from), message)?;
                }
            }
        }
        Ok(Ok(line))
    }
}

/// Sends nothing to a client that has disconnected meanwhile; it resumes when it reconnects.
fn send(socket: WebSocket, frame: &Frame) -> Result<()> {
    socket.send_json(frame)?;
    Ok(())
}

/// Returns the page; links in it are relative to the object, whose path may or may not end with a slash.
fn page(request: &Request) -> Response {
    let escaped = request.prefix().replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;");
    Response::html(PAGE.replace("{base}", &escaped)).with_header("content-security-policy", POLICY)
}

/// Returns the tag of all sockets of a person.
fn person(name: &str) -> String {
    format!("person:{name}")
}

/// Returns the tag of a client's sockets: one, or for a while two, when it has reconnected before the host noticed the
/// disconnection.
fn same_client(id: &str) -> String {
    format!("client:{id}")
}

fn is_client(id: &str) -> bool {
    (1..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Returns the start of this turn, in milliseconds since the Unix epoch.
fn now() -> Result<u64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as u64)
}

fn not_allowed(allowed: &'static str) -> Response {
    Response::error(StatusCode::METHOD_NOT_ALLOWED, format!("only {allowed}")).with_header("allow", allowed)
}
