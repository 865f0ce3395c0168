//! What can be asked of an object, and what it answers.
//!
//! The gateway makes invocations out of HTTP, the object layer delivers them one at a time. Nothing here knows HTTP beyond the
//! words a guest sees.

use std::fs::File;

use bytes::Bytes;
use http::header::SEC_WEBSOCKET_PROTOCOL;
use http::{HeaderMap, Method, StatusCode, Uri};
use tempfile::NamedTempFile;

use super::socket::{SocketCounts, SocketEvent, SocketId};
use super::{Alarm, MemoryCharge};

/// One event for one object. Each is delivered as one turn, in the order received.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "nearly all are `Fetch`; a box would cost each of them an allocation")]
pub enum Invocation {
    /// A request for the guest's fetch handler.
    Fetch(Request),
    /// Something happened to a WebSocket of the object.
    Socket(SocketEvent),
    /// Tell what is stored, without waking the instance.
    Describe,
    /// Remove everything the object stored and drop its instance.
    Delete,
    /// Drop the instance, keep what is stored.
    Evict,
    /// Run SQL under the guest's rules, without waking the instance; one that writes drops it.
    Query(Box<Query>),
    /// Copy what is stored into a file.
    Export,
    /// Put a database in the place of what is stored and drop the instance.
    Import(CheckedDatabase),
    /// Run the alarm: if its time has come, or whatever its time.
    Alarm {
        /// Whatever its time.
        now: bool,
    },
}

/// SQL of the admin API.
#[derive(Debug)]
pub struct Query {
    /// One or more statements.
    pub text: String,
    /// Parameters of the last one.
    pub parameters: Vec<Value>,
    /// Whether it may write.
    pub write: bool,
}

/// A value as SQLite stores it.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// NULL.
    Null,
    /// A 64-bit signed integer.
    Integer(i64),
    /// A 64-bit float. SQLite stores NaN as NULL.
    Real(f64),
    /// UTF-8 text.
    Text(String),
    /// Bytes.
    Blob(Vec<u8>),
}

impl Value {
    /// Bytes of a text or a blob; those of a number count as 8.
    pub fn heap_bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Blob(bytes) => bytes.len(),
            Self::Null | Self::Integer(_) | Self::Real(_) => 8,
        }
    }
}

/// A database file that storage has checked and made ready to be an object's; made by nobody else.
#[derive(Debug)]
pub struct CheckedDatabase {
    /// Where it is.
    pub(crate) file: NamedTempFile,
    /// The alarm that it holds.
    pub(crate) alarm: Option<Alarm>,
}

impl Invocation {
    /// Bytes that this invocation holds while it waits in a mailbox.
    pub fn queued_bytes(&self) -> u64 {
        match self {
            Self::Fetch(request) => {
                let headers: usize =
                    request.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
                (request.body.len() + headers) as u64 + 256
            }
            Self::Query(query) => {
                let parameters: usize = query.parameters.iter().map(Value::heap_bytes).sum();
                (query.text.len() + parameters) as u64 + 256
            }
            Self::Socket(event) => event.kind.size() + 256,
            Self::Describe | Self::Delete | Self::Evict | Self::Export | Self::Import(_) | Self::Alarm { .. } => 256,
        }
    }
}

/// An HTTP request as the guest sees it.
#[derive(Debug)]
pub struct Request {
    /// The method as sent.
    pub method: Method,
    /// Path below the object, with the query.
    pub uri: Uri,
    /// Headers as sent, and `x-forwarded-prefix`.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
    /// Whether it asks for a WebSocket, in a way that can be answered with one.
    pub websocket: bool,
    /// What its body takes of the host's memory; none if the body is empty. Given back when the turn is over.
    pub charge: Option<MemoryCharge>,
}

impl Request {
    /// The sub-protocols that the client offers, in its order.
    pub fn websocket_protocols(&self) -> Vec<String> {
        let offers = self.headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
        offers.flat_map(|value| value.split(',')).map(|protocol| protocol.trim().to_owned()).collect()
    }
}

/// An HTTP response of a guest, checked: its status is 200 to 599 (or 101 in `Reply::Upgrade`), its headers are valid and none
/// of them is the host's; `content-length` says what the guest thinks.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

/// What a turn that succeeded answers.
#[derive(Debug)]
pub enum Reply {
    /// To `Fetch`.
    Response(Response),
    /// To `Fetch` with a request for a WebSocket: it is accepted.
    Upgrade(Response, SocketId),
    /// To `Describe`; none if the object does not exist.
    Description(Option<Description>),
    /// To `Delete`, `Evict`, `Alarm` and `Socket`: whether there was something to delete, to drop, to run or to hear. To `Import`:
    /// always true.
    Done(bool),
    /// To `Query`; none if the object does not exist.
    Table(Option<Box<Table>>),
    /// To `Export`: a file without a name, to be read from its start; none if the object does not exist.
    File(Option<File>),
}

/// The rows of a query, in one piece.
#[derive(Debug, PartialEq)]
pub struct Table {
    /// Column names, duplicates kept.
    pub columns: Vec<String>,
    /// The rows.
    pub rows: Vec<Vec<Value>>,
    /// Rows changed by all statements, without those of triggers.
    pub changes: u64,
    /// The rowid of the last successful insert since the database was opened, or 0.
    pub last_insert_rowid: i64,
    /// Whether there were more rows than are here.
    pub truncated: bool,
}

/// What the admin API tells of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// The name it was reached by.
    pub name: Option<crate::base::ObjectName>,
    /// Pages in use × 4,096.
    pub bytes: u64,
    /// Whether it has a live instance.
    pub live: bool,
    /// Its alarm, if one is set.
    pub alarm: Option<Alarm>,
    /// Its WebSockets.
    pub sockets: SocketCounts,
}
