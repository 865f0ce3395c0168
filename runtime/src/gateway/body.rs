//! Request bodies: collected whole within a limit, or thrown away politely.
//!
//! What must stay true: a body that announces more than the limit is refused before any of it is read, and no more than
//! the limit is ever held.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body::Body as _;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::time::timeout;

use super::problem::{BODY_INCOMPLETE, Kind, Problem};

/// How long a refused body is read on.
const DISCARD_TIME: Duration = Duration::from_secs(10);

/// The whole body, or `too_large` when it has more than `limit` bytes, or `body-incomplete` when it breaks off.
pub async fn collect(body: &mut Body, limit: u64, too_large: &'static Kind) -> Result<Bytes, Problem> {
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    let refused = || Problem::new(too_large, format!("the request body has more than {limit} bytes"));
    // The lower bound is the content-length if there is one.
    if body.size_hint().lower() > limit {
        return Err(refused());
    }
    match Limited::new(body, usize::try_from(limit).unwrap_or(usize::MAX)).collect().await {
        Ok(whole) => Ok(whole.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(refused()),
        Err(error) => Err(Problem::new(&BODY_INCOMPLETE, format!("the request body broke off: {error}"))),
    }
}

/// Reads on, for a while, what a client sends after its request was refused, and throws it away. Many clients write their
/// whole request before they read; if the connection were closed at once, they would see a reset and not the reason.
/// At most twice the limit is read: enough for whoever is a little over.
pub fn discard(mut body: Body, limit: u64) {
    if body.is_end_stream() {
        return;
    }
    tokio::spawn(timeout(DISCARD_TIME, async move {
        let mut left = limit.saturating_mul(2);
        while let Some(Ok(frame)) = body.frame().await {
            let read = frame.data_ref().map_or(0, Bytes::len) as u64;
            left = left.saturating_sub(read);
            if left == 0 {
                break;
            }
        }
    }));
}
