//! What can be asked of an object, and what it answers.
//!
//! The gateway makes invocations out of HTTP, the object layer delivers them one at a time. Nothing here knows HTTP beyond the
//! words a guest sees.

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, Uri};

/// One event for one object. Each is delivered as one turn, in the order received.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "nearly all are `Fetch`; a box would cost each of them an allocation")]
pub enum Invocation {
    /// A request for the guest's fetch handler.
    Fetch(Request),
    /// Tell what is stored, without waking the instance.
    Describe,
    /// Remove everything the object stored and drop its instance.
    Delete,
    /// Drop the instance, keep what is stored.
    Evict,
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
            Self::Describe | Self::Delete | Self::Evict => 256,
        }
    }
}

/// An HTTP request as the guest sees it.
#[derive(Debug, Clone)]
pub struct Request {
    /// The method as sent.
    pub method: Method,
    /// Path below the object, with the query.
    pub uri: Uri,
    /// Headers as sent, and `x-forwarded-prefix`.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

/// An HTTP response of a guest, checked: its status is 200 to 599, its headers are valid and none of them is the host's.
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
    /// To `Describe`; none if the object does not exist.
    Description(Option<Description>),
    /// To `Delete` and `Evict`: whether there was something to delete or to drop.
    Done(bool),
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
}
