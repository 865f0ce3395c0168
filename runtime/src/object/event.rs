//! The events of a mailbox: each operation together with the reply for its own type of answer.
//!
//! An operation is a type that names the type of its answer ([`Operation`]), so a caller gets an answer of this type or
//! an error, and an actor cannot answer with anything else.

use std::fs::File;

use super::reply::ReplyTo;
use crate::base::operation::{
    AlarmRun, Delete, Deletion, Describe, Description, Evict, Eviction, Export, Import, RunAlarm,
};
use crate::base::socket::SocketEvent;
use crate::base::{CallAnswer, FetchAnswer, MemoryUse, MethodCall, Occasion, Query, Request, Table, TurnError, Value};

/// Bytes that an event takes beside its text and bodies, estimated.
const EVENT_BYTES: u64 = 256;

/// An operation on an object.
pub trait Operation {
    /// The type of its answer.
    type Answer: Send + 'static;

    /// Makes the operation an event whose answer is sent to `reply`.
    fn event(self, reply: ReplyTo<Self::Answer>) -> Event;
}

/// An operation that waits for its turn.
#[allow(clippy::large_enum_variant, reason = "nearly all are `Fetch`; a box would cost each of them an allocation")]
pub enum Event {
    /// A request for the guest's fetch handler.
    Fetch(Request, ReplyTo<FetchAnswer>),
    /// A call of a method.
    Call(MethodCall, ReplyTo<CallAnswer>),
    /// An event of a WebSocket of the object.
    Socket(SocketEvent, ReplyTo<()>),
    /// The object's alarm.
    Alarm(RunAlarm, ReplyTo<AlarmRun>),
    /// An operation of the admin API.
    Administration(Administration),
}

/// An operation of the admin API, which needs no instance.
pub enum Administration {
    /// See [`Describe`].
    Describe(ReplyTo<Option<Description>>),
    /// See [`Delete`].
    Delete(ReplyTo<Deletion>),
    /// See [`Evict`].
    Evict(ReplyTo<Eviction>),
    /// See [`Query`].
    Query(Box<Query>, ReplyTo<Option<Table>>),
    /// See [`Export`].
    Export(ReplyTo<Option<File>>),
    /// See [`Import`].
    Import(Import, ReplyTo<()>),
}

impl Operation for Request {
    type Answer = FetchAnswer;

    fn event(self, reply: ReplyTo<FetchAnswer>) -> Event {
        Event::Fetch(self, reply)
    }
}

impl Operation for MethodCall {
    type Answer = CallAnswer;

    fn event(self, reply: ReplyTo<CallAnswer>) -> Event {
        Event::Call(self, reply)
    }
}

impl Operation for SocketEvent {
    type Answer = ();

    fn event(self, reply: ReplyTo<()>) -> Event {
        Event::Socket(self, reply)
    }
}

impl Operation for RunAlarm {
    type Answer = AlarmRun;

    fn event(self, reply: ReplyTo<AlarmRun>) -> Event {
        Event::Alarm(self, reply)
    }
}

impl Operation for Describe {
    type Answer = Option<Description>;

    fn event(self, reply: ReplyTo<Option<Description>>) -> Event {
        Event::Administration(Administration::Describe(reply))
    }
}

impl Operation for Delete {
    type Answer = Deletion;

    fn event(self, reply: ReplyTo<Deletion>) -> Event {
        Event::Administration(Administration::Delete(reply))
    }
}

impl Operation for Evict {
    type Answer = Eviction;

    fn event(self, reply: ReplyTo<Eviction>) -> Event {
        Event::Administration(Administration::Evict(reply))
    }
}

impl Operation for Query {
    type Answer = Option<Table>;

    fn event(self, reply: ReplyTo<Option<Table>>) -> Event {
        Event::Administration(Administration::Query(Box::new(self), reply))
    }
}

impl Operation for Export {
    type Answer = Option<File>;

    fn event(self, reply: ReplyTo<Option<File>>) -> Event {
        Event::Administration(Administration::Export(reply))
    }
}

impl Operation for Import {
    type Answer = ();

    fn event(self, reply: ReplyTo<()>) -> Event {
        Event::Administration(Administration::Import(self, reply))
    }
}

impl Event {
    /// Returns the bytes that the event holds while it waits in a mailbox.
    pub(super) fn queued_bytes(&self) -> u64 {
        let text = match self {
            Self::Fetch(request, _) => {
                let headers = request.headers.iter().map(|(name, value)| name.as_str().len() + value.len());
                (request.body.len() + headers.sum::<usize>()) as u64
            }
            Self::Administration(Administration::Query(query, _)) => {
                let parameters: usize = query.parameters.iter().map(Value::heap_bytes).sum();
                (query.text.len() + parameters) as u64
            }
            Self::Call(call, _) => (call.method.as_str().len() + call.arguments.len()) as u64,
            Self::Socket(event, _) => event.kind.size(),
            Self::Alarm(..) | Self::Administration(_) => 0,
        };
        text + EVENT_BYTES
    }

    /// Returns the purpose of the event's bytes, and how many of them are charged already.
    pub(super) fn charged(&self) -> (MemoryUse, u64) {
        match self {
            Self::Fetch(Request { charge: Some(charge), .. }, _)
            | Self::Call(MethodCall { charge: Some(charge), .. }, _) => (MemoryUse::Requests, charge.bytes()),
            Self::Socket(..) => (MemoryUse::Sockets, 0),
            _ => (MemoryUse::Requests, 0),
        }
    }

    /// Returns what the event is about, for the log if its turn fails. Copies no text.
    pub(super) fn occasion(&self) -> Occasion {
        match self {
            Self::Fetch(request, _) => Occasion::Fetch(request.method.clone(), request.uri.clone()),
            Self::Call(call, _) => Occasion::Call(call.method.clone()),
            Self::Alarm(..) => Occasion::Alarm,
            Self::Socket(event, _) => Occasion::Socket(event.socket),
            Self::Administration(asked) => Occasion::Admin(match asked {
                Administration::Describe(_) => "a look",
                Administration::Delete(_) => "a deletion",
                Administration::Evict(_) => "an eviction",
                Administration::Query(..) => "a query",
                Administration::Import(..) => "an import",
                Administration::Export(_) => "an export",
            }),
        }
    }

    /// Returns whether the event comes from the host and needs no handler. Such events overtake those that wait for a
    /// handler which occupies its object.
    pub(super) fn is_hosts(&self) -> bool {
        use Administration::{Describe, Evict, Export};
        matches!(self, Self::Administration(Describe(_) | Evict(_) | Export(_)))
    }

    /// Returns whether the caller has dropped the receiving end of the reply.
    pub(super) fn is_cancelled(&self) -> bool {
        match self {
            Self::Fetch(_, reply) => reply.is_cancelled(),
            Self::Call(_, reply) => reply.is_cancelled(),
            Self::Socket(_, reply) => reply.is_cancelled(),
            Self::Alarm(_, reply) => reply.is_cancelled(),
            Self::Administration(asked) => match asked {
                Administration::Describe(reply) => reply.is_cancelled(),
                Administration::Delete(reply) => reply.is_cancelled(),
                Administration::Evict(reply) => reply.is_cancelled(),
                Administration::Query(_, reply) => reply.is_cancelled(),
                Administration::Export(reply) => reply.is_cancelled(),
                Administration::Import(_, reply) => reply.is_cancelled(),
            },
        }
    }

    /// Answers the event with an error that says nothing about what the object stores. Its turn has not begun.
    pub(super) fn refuse(self, error: TurnError) {
        match self {
            Self::Fetch(_, reply) => reply.refuse(error),
            Self::Call(_, reply) => reply.refuse(error),
            Self::Socket(_, reply) => reply.refuse(error),
            Self::Alarm(_, reply) => reply.refuse(error),
            Self::Administration(asked) => match asked {
                Administration::Describe(reply) => reply.refuse(error),
                Administration::Delete(reply) => reply.refuse(error),
                Administration::Evict(reply) => reply.refuse(error),
                Administration::Query(_, reply) => reply.refuse(error),
                Administration::Export(reply) => reply.refuse(error),
                Administration::Import(_, reply) => reply.refuse(error),
            },
        }
    }
}
