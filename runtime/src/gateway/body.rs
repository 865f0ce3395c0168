//! Bodies: those of requests are read completely within a limit, or discarded; those of responses are sent piece by
//! piece.
//!
//! Invariants: a body that announces more than the limit is refused before any of it is read, and no more than the
//! limit is ever held; bytes beyond a few kilobytes are charged to the class; a body that comes too slowly is refused.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Version};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;

use super::problem::{self, BODY_INCOMPLETE, BODY_TIMEOUT, Kind, Problem};
use super::wire::{Outgoing, Wire};
use crate::base::limits::UNCHARGED_BODY_MAX as SMALL;
use crate::base::{Env, Limits, MemoryAccount, MemoryCharge, MemoryUse, NoMemory};

/// The maximum time for reading the rest of a refused body.
const DISCARD_TIME: Duration = Duration::from_secs(10);
/// The bytes of a header besides its name and its value.
const HEADER_BYTES: usize = 32;
/// The initial buffer of a body, and the bytes that a response over HTTP/2 passes on at once.
const STEP: usize = 64 << 10;

/// How request bodies are read.
#[derive(Clone)]
pub struct Intake {
    /// The time in which a body must make some progress.
    stall: Duration,
    /// The bytes per second that it must reach on average, beyond that time.
    slowest: u64,
    env: Env,
}

impl Intake {
    /// Creates an intake from the limits.
    pub fn of(limits: &Limits, env: Env) -> Self {
        Self { stall: Duration::from_secs_f64(limits.body_seconds), slowest: limits.slowest_transfer, env }
    }

    /// Returns the complete body and its memory charge, or `too_large` if it has more than `limit` bytes. `charged_to`
    /// is called for bodies that are not small.
    pub async fn collect(
        &self,
        body: &mut Body,
        version: Version,
        (limit, too_large): (u64, &'static Kind),
        charged_to: impl Fn() -> MemoryAccount,
    ) -> Result<(Bytes, Option<MemoryCharge>), Problem> {
        if body.is_end_stream() {
            return Ok((Bytes::new(), None));
        }
        // The lower bound is the content-length if there is one.
        let announced = body.size_hint().lower();
        if announced > limit {
            return Err(refused(limit, too_large));
        }
        let begun = self.env.elapsed();
        let mut gathered = Gathered::default();
        while let Some(piece) = self.next_piece(body).await? {
            let length = gathered.len() + piece.len();
            if length as u64 > limit {
                return Err(refused(limit, too_large));
            }
            let charged = length > SMALL || version >= Version::HTTP_2;
            gathered.add(piece, announced as usize, charged.then_some(&charged_to))?;
            let allowed = self.stall.as_secs_f64() + length as f64 / self.slowest.max(1) as f64;
            if (self.env.elapsed() - begun).as_secs_f64() > allowed {
                return Err(too_slow());
            }
        }
        Ok(gathered.finish())
    }

    /// Charges for the head of a request over HTTP/2, of which one connection may have many at once.
    pub fn charge_head(
        &self,
        headers: &HeaderMap,
        charge: &mut Option<MemoryCharge>,
        charged_to: impl Fn() -> MemoryAccount,
    ) -> Result<(), Problem> {
        let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + HEADER_BYTES).sum();
        let taken = match charge {
            Some(charge) => charge.grow(bytes as u64),
            none => charged_to().take(MemoryUse::Requests, bytes as u64).map(|charge| *none = Some(charge)),
        };
        taken.map_err(|error| no_memory(&error, &problem::OVERLOADED))
    }

    /// Reads for a while what a client sends after its request was refused, and discards it. Many clients write their
    /// complete request before they read; if the connection were closed at once, they would see a reset and not the
    /// reason. Reads at most twice the limit: enough for a body that is a little over it.
    pub fn discard(&self, mut body: Body, limit: u64) {
        if body.is_end_stream() {
            return;
        }
        let env = self.env.clone();
        tokio::spawn(async move {
            let reading = async {
                let mut left = limit.saturating_mul(2);
                while let Some(Ok(frame)) = body.frame().await {
                    let read = frame.data_ref().map_or(0, Bytes::len) as u64;
                    left = left.saturating_sub(read);
                    if left == 0 {
                        break;
                    }
                }
            };
            env.timeout(DISCARD_TIME, reading).await
        });
    }

    /// Returns the next piece of a body; none at its end.
    pub async fn next_piece(&self, body: &mut Body) -> Result<Option<Bytes>, Problem> {
        loop {
            let Ok(frame) = self.env.timeout(self.stall, body.frame()).await else { return Err(too_slow()) };
            let incomplete = |error| {
                Problem::new(&BODY_INCOMPLETE, format!("the request body ended before its announced length: {error}"))
            };
            match frame.transpose().map_err(incomplete)? {
                None => return Ok(None),
                // Trailers are not passed on.
                Some(frame) => match frame.into_data() {
                    Ok(data) if !data.is_empty() => return Ok(Some(data)),
                    _ => {}
                },
            }
        }
    }
}

fn refused(limit: u64, too_large: &'static Kind) -> Problem {
    Problem::new(too_large, format!("the request body has more than {limit} bytes"))
}

fn too_slow() -> Problem {
    Problem::new(&BODY_TIMEOUT, "the request body came too slowly, or not at all")
}

fn no_memory(error: &NoMemory, kind: &'static Kind) -> Problem {
    Problem::new(kind, error.to_string())
}

/// The received part of a body. A body that comes in one piece is not copied; of others no piece is kept, because a
/// small one may hold a large buffer.
#[derive(Default)]
struct Gathered {
    first: Bytes,
    /// Used from the second piece on.
    all: BytesMut,
    charge: Option<MemoryCharge>,
}

impl Gathered {
    fn len(&self) -> usize {
        self.first.len() + self.all.len()
    }

    fn add(
        &mut self,
        piece: Bytes,
        announced: usize,
        charged_to: Option<&impl Fn() -> MemoryAccount>,
    ) -> Result<(), Problem> {
        let length = self.len() + piece.len();
        let is_first = self.len() == 0;
        // The buffer doubles, up to the announced length.
        let room = match is_first {
            true => length,
            false if length <= self.all.capacity() => self.all.capacity(),
            false => length.max((2 * length).min(announced)).max(STEP.min(announced)),
        };
        if let Some(charged_to) = charged_to {
            let taken = match &mut self.charge {
                Some(charge) => charge.grow((room as u64).saturating_sub(charge.bytes())),
                none => charged_to().take(MemoryUse::Requests, room as u64).map(|charge| *none = Some(charge)),
            };
            taken.map_err(|error| no_memory(&error, &problem::OVERLOADED))?;
        }
        if is_first {
            self.first = piece;
            return Ok(());
        }
        self.all.reserve(room - self.all.len());
        self.all.extend_from_slice(&std::mem::take(&mut self.first));
        self.all.extend_from_slice(&piece);
        Ok(())
    }

    fn finish(self) -> (Bytes, Option<MemoryCharge>) {
        let body = if self.all.is_empty() { self.first } else { self.all.freeze() };
        (body, self.charge)
    }
}

/// The bytes of a response, with what must be held until the last of them is sent.
struct Held {
    bytes: Bytes,
    /// None if the bytes are charged since their turn.
    _charge: Option<MemoryCharge>,
    _outgoing: Option<Outgoing>,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Returns the body of a response over a connection. A large one is charged since its turn ended; `charged_to` is
/// called for small ones over HTTP/2, of which a connection may have many.
pub fn response(
    bytes: Bytes,
    version: Version,
    wire: &Arc<Wire>,
    charged_to: impl FnOnce() -> MemoryAccount,
) -> Result<Body, Problem> {
    let over_http2 = version >= Version::HTTP_2;
    if bytes.is_empty() || bytes.len() <= SMALL && !over_http2 {
        return Ok(Body::from(bytes));
    }
    let charge = match bytes.len() <= SMALL {
        true => Some(charged_to().take(MemoryUse::Responses, bytes.len() as u64)),
        false => None,
    };
    let charge = charge.transpose().map_err(|error| no_memory(&error, &problem::RESPONSE_DROPPED))?;
    if !over_http2 {
        return Ok(Body::from(Bytes::from_owner(Held { bytes, _charge: charge, _outgoing: None })));
    }
    let outgoing = wire.send();
    let asked_for = outgoing.counter();
    let bytes = Bytes::from_owner(Held { bytes, _charge: charge, _outgoing: Some(outgoing) });
    if bytes.len() <= STEP {
        return Ok(Body::from(bytes));
    }
    Ok(Body::new(Pieces { left: bytes, asked_for }))
}

/// Returns the same body, which holds a value until it is dropped.
pub fn holding(body: Body, held: impl Send + 'static) -> Body {
    Body::new(body.map_frame(move |frame| {
        let _held = &held;
        frame
    }))
}

/// A long body, passed on piece by piece, so that its progress is visible.
struct Pieces {
    left: Bytes,
    asked_for: Arc<AtomicU64>,
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left.is_empty() {
            return Poll::Ready(None);
        }
        let length = STEP.min(self.left.len());
        let piece = self.left.split_to(length);
        self.asked_for.fetch_add(length as u64, Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::super::problem::BODY_TOO_LARGE;
    use super::*;
    use crate::base::HostMemory;

    fn intake() -> Intake {
        Intake::of(&Limits::default(), Env::system())
    }

    async fn collected(mut body: Body) -> Result<Bytes, &'static str> {
        let account = || HostMemory::new(0).unowned();
        let collecting = intake().collect(&mut body, Version::HTTP_11, (4, &BODY_TOO_LARGE), account).await;
        collecting.map(|(bytes, _)| bytes).map_err(|problem| problem.code())
    }

    /// Returns a body without a known length.
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

    /// What is held is charged while it comes, and refused when the memory is short; small bodies are not counted over
    /// HTTP/1.
    #[tokio::test]
    async fn a_body_is_charged_as_it_comes() {
        let memory = HostMemory::new(1 << 20);
        let collect = |pieces: usize, version| {
            let memory = memory.clone();
            async move {
                let pieces = futures_util::stream::iter(vec![Ok::<_, &str>(vec![b'x'; 8 << 10]); pieces]);
                let limit = (32 << 20, &BODY_TOO_LARGE);
                intake().collect(&mut Body::from_stream(pieces), version, limit, || memory.unowned()).await
            }
        };
        let (small, charge) = collect(2, Version::HTTP_11).await.unwrap();
        assert_eq!((small.len(), charge.is_none()), (16 << 10, true));
        let (body, charge) = collect(1, Version::HTTP_2).await.unwrap();
        assert_eq!((body.len(), charge.unwrap().bytes()), (8 << 10, 8 << 10));
        let (body, charge) = collect(30, Version::HTTP_11).await.unwrap();
        assert_eq!(body.len(), 240 << 10);
        assert!((240 << 10..480 << 10).contains(&charge.as_ref().unwrap().bytes()));
        assert_eq!(collect(200, Version::HTTP_11).await.err().map(|problem| problem.code()), Some("overloaded"));
        drop(charge);
        assert_eq!(memory.used(), 0, "what was refused is given back");
    }

    #[tokio::test]
    async fn a_body_that_stops_is_given_up() {
        let mut body = Body::from_stream(futures_util::stream::pending::<Result<Bytes, &str>>());
        let account = || HostMemory::new(0).unowned();
        let intake = Intake::of(&Limits { body_seconds: 0.01, ..Limits::default() }, Env::system());
        let collecting = intake.collect(&mut body, Version::HTTP_11, (4, &BODY_TOO_LARGE), account).await;
        assert_eq!(collecting.err().map(|problem| problem.code()), Some("body-timeout"));
    }
}
