//! What can be asked of an object, and what each of these operations answers.
//!
//! The gateway makes operations out of HTTP, and the object layer delivers them one at a time, each in its [`Call`](super::Call).
//! What answers which is a type (`object::Operation`). Nothing here knows HTTP beyond the words a guest sees.

use bytes::Bytes;
use http::header::SEC_WEBSOCKET_PROTOCOL;
use http::{HeaderMap, Method, StatusCode, Uri};
use tempfile::NamedTempFile;

use super::socket::{SocketCounts, SocketId};
use super::{Alarm, MemoryCharge};

/// Asks what is stored, without waking the instance. Answers none if the object does not exist.
#[derive(Debug, Clone, Copy)]
pub struct Describe;

/// Removes everything that the object stores, and drops its instance.
#[derive(Debug, Clone, Copy)]
pub struct Delete;

/// What became of a [`Delete`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletion {
    /// Everything is gone.
    Deleted,
    /// There was nothing.
    Nothing,
}

/// Drops the instance and keeps what is stored.
#[derive(Debug, Clone, Copy)]
pub struct Evict;

/// What became of an [`Evict`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Eviction {
    /// The instance was dropped.
    Evicted,
    /// There was none.
    Dormant,
}

/// Copies what is stored into a file: one without a name, to be read from its start. Answers none if the object does not exist.
#[derive(Debug, Clone, Copy)]
pub struct Export;

/// Puts a database in the place of what is stored, and drops the instance.
#[derive(Debug)]
pub struct Import(pub CheckedDatabase);

/// Runs the object's alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunAlarm {
    /// If its time has come.
    IfDue,
    /// Whatever its time.
    Now,
}

/// What became of a [`RunAlarm`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlarmRun {
    /// It was run.
    Ran,
    /// There is none, or it is not due.
    NotDue,
}

/// What a request is answered with.
#[derive(Debug)]
pub enum FetchAnswer {
    /// A response.
    Response(Response),
    /// The WebSocket that it asked for is accepted, and opens with this response.
    Upgrade(Response, SocketId),
}

/// SQL of the admin API, run under the guest's rules without waking the instance; one that writes drops it. Answers none if the
/// object does not exist.
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

/// An HTTP response of a guest, checked: its status is 200 to 599 (or 101 in `FetchAnswer::Upgrade`), its headers are valid and none
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
