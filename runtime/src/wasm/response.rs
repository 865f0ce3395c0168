//! Responses of turns: checked, and charged to their class from when the host holds them until their last byte is
//! dropped.
//!
//! A response waits until its turn is durable and a connection takes it, which the class cannot influence; meanwhile
//! the instance may answer the next request. What must stay true: beyond a few kilobytes of head and of body nothing is
//! held without a charge; small bodies are charged by the connection, where there may be many of them.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use http_body::Body;
use http_body_util::BodyExt;

use super::bindings::fetch_handler;
use crate::base::limits::{RESPONSE_HEAD_MAX, UNCHARGED_BODY_MAX, UNCHARGED_HEAD_MAX};
use crate::base::{FetchAnswer, MemoryAccount, MemoryCharge, MemoryUse, NoMemory, Response, TurnError};
use crate::sockets::SocketTurn;

/// Headers that belong to the connection, and so to the host. So does `content-length`, which the gateway sets, except
/// in the answer to HEAD.
const HOST_HEADERS: [HeaderName; 6] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::TE,
    header::TRAILER,
    HeaderName::from_static("keep-alive"),
];
/// Bytes that a header takes beside its name and its value.
const HEADER_BYTES: usize = 64;
/// Room for a body of several pieces at first, in bytes.
const STEP: usize = 16 << 10;

/// Bytes with their charge, which lasts until the last reference to any of them is dropped.
struct Charged<T> {
    bytes: T,
    _charge: MemoryCharge,
}

impl<T: AsRef<[u8]>> AsRef<[u8]> for Charged<T> {
    fn as_ref(&self) -> &[u8] {
        self.bytes.as_ref()
    }
}

fn charged<T: AsRef<[u8]> + Send + 'static>(bytes: T, charge: MemoryCharge) -> Bytes {
    Bytes::from_owner(Charged { bytes, _charge: charge })
}

fn no_room(_: NoMemory) -> TurnError {
    TurnError::NoRoomForResponse
}

/// Charges the result of a method, which is held until its caller takes it.
pub(super) fn result(bytes: Vec<u8>, limit: u64, memory: &MemoryAccount) -> Result<Bytes, TurnError> {
    if bytes.len() as u64 > limit {
        return Err(TurnError::ResponseTooLarge(limit));
    }
    if bytes.len() <= UNCHARGED_BODY_MAX {
        return Ok(bytes.into());
    }
    let charge = memory.take(MemoryUse::Responses, bytes.len() as u64).map_err(no_room)?;
    Ok(charged(bytes, charge))
}

/// Checks the response that a handler has returned.
pub(super) fn returned(
    response: fetch_handler::Response,
    body_limit: u64,
    memory: &MemoryAccount,
) -> Result<Response, TurnError> {
    if response.body.len() as u64 > body_limit {
        return Err(TurnError::ResponseTooLarge(body_limit));
    }
    let body = match response.body.len() {
        ..=UNCHARGED_BODY_MAX => response.body.into(),
        length => charged(response.body, memory.take(MemoryUse::Responses, length as u64).map_err(no_room)?),
    };
    let invalid = |what: String| TurnError::InvalidResponse(what);
    let status = StatusCode::from_u16(response.status).ok();
    let status = status.ok_or_else(|| invalid(format!("{} is not an HTTP status", response.status)))?;
    let mut headers = HeaderMap::with_capacity(response.headers.len().min(128));
    for (name, value) in response.headers {
        let shown = || name.chars().take(80).collect::<String>();
        let parsed_name = HeaderName::from_bytes(name.as_bytes());
        let parsed_name = parsed_name.map_err(|_| invalid(format!("`{}` is not a header name", shown())))?;
        let value = HeaderValue::from_maybe_shared(Bytes::from(value));
        let value = value.map_err(|_| invalid(format!("the value of the header `{}` is not allowed", shown())))?;
        let appended = headers.try_append(parsed_name, value);
        appended.map_err(|_| invalid("it has too many headers".into()))?;
    }
    finish(status, headers, body, memory)
}

/// Returns the answer with this response. One with status 101 opens the socket that the turn has accepted.
pub(super) fn opening(response: Response, sockets: &SocketTurn) -> Result<FetchAnswer, TurnError> {
    if response.status != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(FetchAnswer::Response(response));
    }
    let invalid = |what: &str| Err(TurnError::InvalidResponse(what.into()));
    let Some(socket) = sockets.accepted() else {
        return invalid("its status is 101, but the turn accepted no socket");
    };
    match response.headers.get(header::SEC_WEBSOCKET_PROTOCOL) {
        Some(protocol) if !sockets.offers(protocol.as_bytes()) => {
            invalid("its sec-websocket-protocol is none that the client offers")
        }
        _ => Ok(FetchAnswer::Upgrade(response, socket)),
    }
}

/// Checks the head of a response whose body is charged, and charges the head.
pub(super) fn finish(
    status: StatusCode,
    mut headers: HeaderMap,
    body: Bytes,
    memory: &MemoryAccount,
) -> Result<Response, TurnError> {
    if !matches!(status.as_u16(), 101 | 200..=599) {
        return Err(TurnError::InvalidResponse(format!("its status is {status}; use 200 to 599, or 101 for a socket")));
    }
    for name in &HOST_HEADERS {
        headers.remove(name);
    }
    let head: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + HEADER_BYTES).sum();
    if head > RESPONSE_HEAD_MAX {
        let what = format!("its headers take {head} bytes, each with {HEADER_BYTES} more; at most {RESPONSE_HEAD_MAX}");
        return Err(TurnError::InvalidResponse(what));
    }
    if head > UNCHARGED_HEAD_MAX {
        let charge = memory.take(MemoryUse::Responses, head as u64).map_err(no_room)?;
        // One of the values holds the charge: the head is sent as a whole.
        if let Some(value) = headers.values_mut().next() {
            let held = charged(Bytes::copy_from_slice(value.as_bytes()), charge);
            *value = HeaderValue::from_maybe_shared(held).expect("it was a value");
        }
    }
    Ok(Response { status, headers, body })
}

/// Collects a body that is written while its turn runs, and charges it piece by piece. Pieces are copied, because a
/// guest may send a byte at a time.
pub(super) async fn collected<B>(body: B, body_limit: u64, memory: &MemoryAccount) -> Result<Bytes, TurnError>
where
    B: Body<Data = Bytes>,
    B::Error: std::fmt::Display,
{
    let mut body = std::pin::pin!(body);
    let (mut all, mut charge) = (Vec::new(), None::<MemoryCharge>);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| TurnError::InvalidResponse(error.to_string()))?;
        // Trailers are not passed on.
        let Ok(piece) = frame.into_data() else { continue };
        let length = all.len() + piece.len();
        if length as u64 > body_limit {
            return Err(TurnError::ResponseTooLarge(body_limit));
        }
        if length > all.capacity() {
            let room = length.max(2 * all.capacity()).max(STEP).min(body_limit as usize).max(length);
            if room > UNCHARGED_BODY_MAX {
                let more = (room as u64).saturating_sub(charge.as_ref().map_or(0, MemoryCharge::bytes));
                let taken = match &mut charge {
                    Some(charge) => charge.grow(more),
                    none => memory.take(MemoryUse::Responses, more).map(|charge| *none = Some(charge)),
                };
                // The handler has not ended, so the turn fails as a whole.
                taken.map_err(|_| TurnError::HostMemory)?;
            }
            all.reserve_exact(room - all.len());
        }
        all.extend_from_slice(&piece);
    }
    Ok(match charge {
        Some(charge) => charged(all, charge),
        None => all.into(),
    })
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use http_body::Frame;
    use http_body_util::StreamBody;

    use super::*;
    use crate::base::HostMemory;

    fn response(body: usize, header: usize) -> fetch_handler::Response {
        let headers = vec![("x".to_owned(), vec![b'y'; header]), ("z".to_owned(), b"z".to_vec())];
        fetch_handler::Response { status: 200, headers, body: vec![0; body] }
    }

    #[test]
    fn a_response_is_charged_until_its_last_byte_is_gone() {
        let memory = HostMemory::new(1 << 20);
        let account = memory.unowned();
        let answered = |body, header| returned(response(body, header), 1 << 30, &account);
        let Ok(large) = answered(100_000, 1) else { panic!("there is room") };
        assert_eq!(memory.used(), 100_000);
        let rest = { large.body }.split_off(99_999);
        assert_eq!(memory.used(), 100_000, "one byte is enough");
        drop(rest);
        assert_eq!(memory.used(), 0);
        let head = answered(0, 10_000).unwrap_or_else(|_| panic!("there is room"));
        assert!((10_000..11_000).contains(&memory.used()) && head.headers["x"].len() == 10_000);
        drop(head);
        assert_eq!(memory.used(), 0);
        assert!(matches!(answered(2 << 20, 1), Err(TurnError::NoRoomForResponse)));
        assert!(matches!(answered(0, RESPONSE_HEAD_MAX), Err(TurnError::InvalidResponse(_))));
        let _small = answered(UNCHARGED_BODY_MAX, 100).unwrap_or_else(|_| panic!("it is small"));
        assert_eq!(memory.used(), 0);
    }

    /// Whatever the pieces, what is held is charged while the handler runs.
    #[tokio::test]
    async fn a_body_is_charged_while_it_comes() {
        let memory = HostMemory::new(1 << 20);
        let account = memory.unowned();
        let pieces = |count: usize, length: usize| {
            let piece = move |_| Ok::<_, String>(Frame::data(Bytes::from(vec![b'x'; length])));
            StreamBody::new(stream::iter((0..count).map(piece)))
        };
        let body = collected(pieces(100_000, 1), 1 << 30, &account).await.expect("there is room");
        assert!(body.len() == 100_000 && (100_000..200_000).contains(&memory.used()), "{}", memory.used());
        drop(body);
        assert_eq!(memory.used(), 0);
        let refused = collected(pieces(20, 100_000), 1 << 30, &account).await;
        assert_eq!((refused.err(), memory.used()), (Some(TurnError::HostMemory), 0));
        let too_large = collected(pieces(2, 1_000), 1_999, &account).await;
        assert_eq!(too_large.err(), Some(TurnError::ResponseTooLarge(1_999)));
        assert_eq!(collected(pieces(2, 1_000), 2_000, &account).await.map(|body| body.len()), Ok(2_000));
    }
}
