//! The messages of the sockets: the frames of `guest-sdk/browser/holdfast-socket.js`, and this room's events in them.

use serde::{Deserialize, Serialize};

use crate::room::{Draft, Line, Person};

/// A frame of a client. One with an id must be acknowledged.
#[derive(Deserialize)]
pub struct Incoming {
    pub id: Option<i64>,
    pub event: Said,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Said {
    Message(Draft),
    Typing,
}

/// A frame to a client.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Frame<'a> {
    Welcome(Welcome<'a>),
    Ack(i64),
    Refused {
        id: i64,
        reason: &'static str,
    },
    Retry {
        after: u64,
    },
    #[serde(untagged)]
    Event {
        /// None if the event is not stored.
        #[serde(skip_serializing_if = "Option::is_none")]
        seq: Option<i64>,
        event: Event<'a>,
    },
}

#[derive(Serialize)]
pub struct Welcome<'a> {
    pub ack: i64,
    pub seq: i64,
    pub reset: bool,
    pub room: Option<String>,
    pub people: Vec<Person>,
    pub events: Vec<Frame<'a>>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Event<'a> {
    Message(&'a Line),
    /// A person has connected or disconnected.
    Person(&'a Person),
    Typing {
        name: &'a str,
    },
}

impl<'a> Event<'a> {
    pub fn numbered(line: &'a Line) -> Frame<'a> {
        Frame::Event { seq: Some(line.seq), event: Event::Message(line) }
    }
}

impl<'a> Frame<'a> {
    /// Returns the frame of an event that is not stored.
    pub fn now(event: Event<'a>) -> Self {
        Self::Event { seq: None, event }
    }
}
