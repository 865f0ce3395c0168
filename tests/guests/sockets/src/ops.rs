//! The operations that an object can run in a turn. The crate's documentation has the meaning of each.

use std::hint::black_box;
use std::time::Duration;

use holdfast::prelude::*;
use holdfast::serde_json::Value as Json;
use serde::{Deserialize, Serialize};

use super::{Sockets, forged_upgrade};

#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    Send {
        text: String,
        socket: Option<u64>,
    },
    SendBytes {
        size: usize,
        #[serde(default)]
        byte: u8,
        #[serde(default = "super::once")]
        times: u32,
        socket: Option<u64>,
    },
    Broadcast {
        text: String,
        tag: Option<String>,
    },
    Close {
        code: Option<u16>,
        #[serde(default)]
        reason: String,
        socket: Option<u64>,
    },
    Sockets(Option<String>),
    Tags(Option<u64>),
    Attach(Json),
    AttachBytes(usize),
    Attachment(Option<u64>),
    Detach,
    Buffered(Option<u64>),
    AutoResponse(Option<(String, String)>),
    Accept,
    Report,
    Put(String, String),
    Get(String),
    On(String, Option<Vec<Op>>),
    Fail,
    Trap,
    Loop,
    Sleep(u64),
    Sync,
    DeleteAll,
    Undo(Vec<Op>),
    Keep(Vec<Op>),
}

impl Sockets {
    /// Returns the ops that an event runs, if any are set.
    pub fn told_to_do(&self, event: &str) -> Result<Option<Vec<Op>>> {
        Ok(self.ctx.storage().get(format!("on:{event}"))?)
    }

    /// Runs ops, in a turn whose event is of this socket.
    pub fn run(&self, own: Option<WebSocket>, ops: &[Op]) -> Result<Vec<Json>> {
        ops.iter().map(|op| self.run_one(own, op)).collect()
    }

    fn run_one(&self, own: Option<WebSocket>, op: &Op) -> Result<Json> {
        let done = match op {
            Op::Fail => bail!("told-to-fail", "as asked"),
            Op::Trap => panic!("told to trap"),
            Op::Loop => loop {
                black_box(());
            },
            Op::Sleep(millis) => {
                std::thread::sleep(Duration::from_millis(*millis));
                Json::Null
            }
            Op::Report => self.report()?,
            Op::Put(..) | Op::Get(_) | Op::On(..) | Op::Sync | Op::DeleteAll | Op::Undo(_) | Op::Keep(_) => {
                self.store(own, op)?
            }
            op => match self.socket_op(own, op) {
                Ok(result) => result,
                Err(error) => json!({ "error": error.case() }),
            },
        };
        Ok(done)
    }

    fn socket_op(&self, own: Option<WebSocket>, op: &Op) -> Result<Json, WebSocketError> {
        // An op without a socket in a turn without one names a socket that does not exist.
        let socket = |id: &Option<u64>| id.map(WebSocket::from_id).or(own).unwrap_or(WebSocket::from_id(0));
        let done = |()| Json::Null;
        let unless_closing = |open: bool| if open { Ok(Json::Null) } else { Err(WebSocketError::Closing) };
        match op {
            Op::Send { text, socket: id } => socket(id).send(&**text).and_then(unless_closing),
            Op::SendBytes { size, byte, times, socket: id } => {
                let mut sent = true;
                for _ in 0..*times {
                    sent &= socket(id).send(vec![*byte; *size])?;
                }
                unless_closing(sent)
            }
            Op::Broadcast { text, tag } => self.ctx.broadcast(tag.as_deref(), &**text).map(Json::from),
            Op::Close { code, reason, socket: id } => socket(id).close(*code, reason).and_then(unless_closing),
            Op::Sockets(tag) => {
                let sockets = self.ctx.websockets(tag.as_deref());
                Ok(sockets.into_iter().map(WebSocket::id).collect())
            }
            Op::Tags(id) => socket(id).tags().map(Json::from),
            Op::Attach(value) => socket(&None).set_attachment(value).map(done),
            // The head of such a text is 3 bytes long.
            Op::AttachBytes(size) => socket(&None).set_attachment(&"a".repeat(size.saturating_sub(3))).map(done),
            Op::Attachment(id) => Ok(socket(id).attachment::<Json>()?.into()),
            Op::Detach => socket(&None).remove_attachment().map(done),
            Op::Buffered(id) => socket(id).buffered().map(Json::from),
            Op::AutoResponse(Some((request, response))) => self.ctx.set_auto_response(request, response).map(done),
            Op::AutoResponse(None) => self.ctx.remove_auto_response().map(done),
            Op::Accept => Ok(self.ctx.accept_websocket(&forged_upgrade(), ["late"])?.0.id().into()),
            _ => Err(WebSocketError::Other("no op about sockets".into())),
        }
    }

    fn store(&self, own: Option<WebSocket>, op: &Op) -> Result<Json> {
        let storage = self.ctx.storage();
        match op {
            Op::Put(key, value) => storage.put(key, value)?,
            Op::Get(key) => return Ok(storage.get::<Json>(key)?.into()),
            Op::On(event, Some(ops)) => storage.put(format!("on:{event}"), ops)?,
            Op::On(event, None) => _ = storage.delete(format!("on:{event}"))?,
            Op::Sync => storage.sync()?,
            Op::DeleteAll => {
                storage.delete_all()?;
                self.ctx.sql().migrate(super::MIGRATIONS)?;
            }
            Op::Undo(ops) | Op::Keep(ops) => {
                let mut results = vec![];
                let undo = matches!(op, Op::Undo(_));
                let kept = storage.transaction(|| {
                    results = self.run(own, ops)?;
                    ensure!(!undo, "undone", "as asked");
                    Ok(())
                });
                if let Err(error) = kept
                    && error.code() != "undone"
                {
                    return Err(error);
                }
                return Ok(results.into());
            }
            _ => bail!("no-op", "no op about storage"),
        }
        Ok(Json::Null)
    }
}
