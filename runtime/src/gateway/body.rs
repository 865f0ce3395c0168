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

#[cfg(test)]
mod tests {
    use super::super::problem::BODY_TOO_LARGE;
    use super::*;

    async fn collected(body: Body) -> Result<Bytes, &'static str> {
        let mut body = body;
        collect(&mut body, 4, &BODY_TOO_LARGE).await.map_err(|problem| problem.code())
    }

    /// A body that does not tell its length.
    fn stream(parts: &[Result<&'static str, &'static str>]) -> Body {
        Body::from_stream(futures_util::stream::iter(parts.to_vec()))
    }

    #[tokio::test]
    async fn a_body_is_limited_at_the_byte() {
        assert_eq!(collected(Body::empty()).await, Ok(Bytes::new()));
        assert_eq!(collected("1234".into()).await, Ok("1234".into()));
        assert_eq!(collected("12345".into()).await, Err("body-too-large"));
        assert_eq!(collected(stream(&[Ok("12"), Ok("34")])).await, Ok("1234".into()));
        assert_eq!(collected(stream(&[Ok("12"), Ok("345")])).await, Err("body-too-large"));
        assert_eq!(collected(stream(&[Ok("12"), Err("gone")])).await, Err("body-incomplete"));
    }

    /// Its content-length is enough to refuse it: the body, which breaks when it is read, is not.
    #[tokio::test]
    async fn an_announced_body_is_refused_unread() {
        struct Announced;
        impl http_body::Body for Announced {
            type Data = Bytes;
            type Error = &'static str;
            fn poll_frame(
                self: std::pin::Pin<&mut Self>,
                _: &mut std::task::Context<'_>,
            ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
                std::task::Poll::Ready(Some(Err("read")))
            }
            fn size_hint(&self) -> http_body::SizeHint {
                http_body::SizeHint::with_exact(5)
            }
        }
        assert_eq!(collected(Body::new(Announced)).await, Err("body-too-large"));
    }
}
