//! The operations on an object, and the type of the answer to each.
//!
//! The gateway creates operations from HTTP, and the object layer delivers them one at a time, each in its
//! [`Call`](super::Call). The trait `object::Operation` assigns each operation its answer. This module knows no more of
//! HTTP than guests see.

use bytes::Bytes;
use http::header::SEC_WEBSOCKET_PROTOCOL;
use http::{HeaderMap, Method, StatusCode, Uri};
use tempfile::NamedTempFile;

use super::socket::{SocketCounts, SocketId};
use super::{Alarm, MemoryCharge};

/// Reads what is stored, without starting the instance. Answers none if the object does not exist.
#[derive(Debug, Clone, Copy)]
pub struct Describe;

/// Removes everything that the object stores, and drops its instance.
#[derive(Debug, Clone, Copy)]
pub struct Delete;

/// The outcome of a [`Delete`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletion {
    /// Everything is removed.
    Deleted,
    /// The object had stored nothing.
    Nothing,
}

/// Drops the instance and keeps what is stored.
#[derive(Debug, Clone, Copy)]
pub struct Evict;

/// The outcome of an [`Evict`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Eviction {
    /// The instance was dropped.
    Evicted,
    /// There was no instance.
    Dormant,
}

/// Copies what is stored into an unnamed file, to be read from its start. Answers none if the object does not exist.
#[derive(Debug, Clone, Copy)]
pub struct Export;

/// Replaces what is stored with a database, and drops the instance.
#[derive(Debug)]
pub struct Import(pub CheckedDatabase);

/// Runs the object's alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunAlarm {
    /// If it is due.
    IfDue,
    /// At once, whatever its due time.
    Now,
}

/// The outcome of a [`RunAlarm`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlarmRun {
    /// The alarm was run.
    Ran,
    /// Its handler goes on in later turns.
    Suspended,
    /// There is no alarm, or it is not due, or the handler of one is suspended.
    NotDue,
}

/// The answer to a request.
#[derive(Debug)]
pub enum FetchAnswer {
    /// A response.
    Response(Response),
    /// The requested WebSocket is accepted, and opens with this response.
    Upgrade(Response, SocketId),
}

/// A query of the admin API, run under the guest's rules without starting the instance; a query that writes drops it.
/// Answers none if the object does not exist.
#[derive(Debug)]
pub struct Query {
    /// One or more statements.
    pub text: String,
    /// Parameters of the last statement.
    pub parameters: Vec<Value>,
    /// Whether the query may write.
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
    /// Returns the bytes of a text or a blob; a number counts as 8.
    pub fn heap_bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Blob(bytes) => bytes.len(),
            Self::Null | Self::Integer(_) | Self::Real(_) => 8,
        }
    }
}

/// A database file that storage has checked and prepared to become an object's. Only storage creates it.
#[derive(Debug)]
pub struct CheckedDatabase {
    /// The file.
    pub(crate) file: NamedTempFile,
    /// The alarm that the database contains.
    pub(crate) alarm: Option<Alarm>,
}

/// An HTTP request as the guest sees it.
#[derive(Debug)]
pub struct Request {
    /// The method as sent.
    pub method: Method,
    /// The path below the object, with the query.
    pub uri: Uri,
    /// Headers as sent, and `x-forwarded-prefix`.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
    /// Whether the request asks for a WebSocket in a valid form.
    pub websocket: bool,
    /// The memory charge of the body; none if the body is empty. Returned when the turn is over.
    pub charge: Option<MemoryCharge>,
}

impl Request {
    /// Returns the sub-protocols that the client offers, in its order.
    pub fn websocket_protocols(&self) -> Vec<String> {
        let offers = self.headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
        offers.flat_map(|value| value.split(',')).map(|protocol| protocol.trim().to_owned()).collect()
    }
}

/// An HTTP response of a guest, validated: its status is 200 to 599 (or 101 in `FetchAnswer::Upgrade`), its headers are
/// valid and none of them is reserved for the host; `content-length` is the guest's claim.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

impl Response {
    /// Returns a response that stands for one that comes later.
    pub fn none() -> Self {
        Self { status: StatusCode::NO_CONTENT, headers: HeaderMap::new(), body: Bytes::new() }
    }
}

/// The complete result of a query.
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
    /// Whether the result was cut because it had more rows.
    pub truncated: bool,
}

/// The admin API's description of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// The name by which it was addressed.
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
