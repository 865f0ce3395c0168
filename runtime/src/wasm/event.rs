//! How each type of event is delivered to a guest's handler, and how the handler's result becomes the answer.
//!
//! Each event is a type that names the type of its answer, so a turn cannot be answered with the answer of another
//! event.

use std::convert::Infallible;
use std::pin::pin;

use futures_util::FutureExt;
use futures_util::future::{Either, select};
use http::{HeaderValue, header};
use http_body_util::{BodyExt, Full};
use wasmtime::Store;
use wasmtime_wasi_http::WasiHttpView;
use wasmtime_wasi_http::p2::bindings::Proxy;
use wasmtime_wasi_http::p2::bindings::http::types::Scheme;

use super::bindings::{alarm_handler, call_handler, fetch_handler, http_types, websocket_handler};
use super::context::InstanceContext;
use super::failure::guest_failure;
use super::handlers::{Handler, Handlers};
use super::host::Host;
use super::late::Kind;
#[cfg(test)]
use super::late::LateTurn;
use super::response;
#[cfg(test)]
use super::script::Script;
use crate::base::socket::{Message, SocketEvent, SocketEventKind};
use crate::base::{CallAnswer, Failure, FetchAnswer, MethodCall, Request, Response, TakenAlarm, TurnError};
use crate::sockets::SocketTurn;
use crate::storage::Turn;

/// The result of a handler: the outer error is a trap.
type Called<T> = wasmtime::Result<Result<T, TurnError>>;

/// An event that is delivered in a turn of an instance.
pub trait TurnEvent: Sized + Send {
    /// The answer of a turn that succeeds.
    type Answer: TurnAnswer;

    /// Returns the sub-protocols that the client offers, if the event asks for a WebSocket.
    fn offered_protocols(&self) -> Option<Vec<String>> {
        None
    }

    /// Returns what the caller waits for, if the answer can be deferred.
    fn waits_for(&self) -> Option<Kind>;

    /// Returns how many bytes of body are handed to the guest.
    fn body_bytes(&self) -> usize {
        0
    }

    /// Stages what the event itself changes.
    fn begin(&self, _turn: &mut Turn) {}

    /// Calls the handler.
    fn call(
        self,
        store: &mut Store<Host>,
        handlers: &Handlers,
        context: &InstanceContext,
    ) -> impl Future<Output = Called<Self::Answer>> + Send;

    /// Runs a handler that is a script.
    #[cfg(test)]
    fn script(self, script: &dyn Script, turn: &mut Scripted<'_>) -> Result<Self::Answer, TurnError>;
}

/// A turn as a script sees it.
#[cfg(test)]
pub struct Scripted<'a> {
    /// The storage.
    pub turn: &'a mut Turn,
    /// The sockets.
    pub sockets: &'a mut SocketTurn,
    /// The late work.
    pub late: &'a mut LateTurn,
}

/// The answer of a turn, as the object layer uses it.
pub trait TurnAnswer: Send + Sized + 'static {
    /// Checks the answer against what the turn has done with sockets.
    fn checked(self, _sockets: &SocketTurn) -> Result<Self, TurnError> {
        Ok(self)
    }

    /// Returns the response, if the answer is one.
    fn response(&self) -> Option<&Response> {
        None
    }

    /// Returns whether the answer opens the socket that the turn has accepted.
    fn opens_socket(&self) -> bool {
        false
    }

    /// Returns whether what the turn has staged is undone, although it is answered.
    fn undoes(&self) -> bool {
        false
    }

    /// Returns the bytes that the answer takes out of the guest.
    fn bytes(&self) -> usize {
        self.response().map_or(0, |response| response.body.len())
    }
}

impl TurnAnswer for CallAnswer {
    fn undoes(&self) -> bool {
        matches!(self, Self::Refused(_))
    }

    fn bytes(&self) -> usize {
        let (Self::Value(bytes) | Self::Refused(bytes)) = self;
        bytes.len()
    }
}

impl TurnAnswer for () {}

impl TurnAnswer for FetchAnswer {
    /// Checks a response with status 101, which opens the socket that the turn has accepted.
    fn checked(self, sockets: &SocketTurn) -> Result<Self, TurnError> {
        match self {
            Self::Response(response) => response::opening(response, sockets),
            other => Ok(other),
        }
    }

    fn response(&self) -> Option<&Response> {
        match self {
            Self::Response(response) => Some(response),
            Self::Upgrade(..) => None,
        }
    }

    fn opens_socket(&self) -> bool {
        matches!(self, Self::Upgrade(..))
    }
}

impl TurnEvent for Request {
    type Answer = FetchAnswer;

    fn waits_for(&self) -> Option<Kind> {
        Some(Kind::Response)
    }

    fn offered_protocols(&self) -> Option<Vec<String>> {
        self.websocket.then(|| self.websocket_protocols())
    }

    fn body_bytes(&self) -> usize {
        self.body.len()
    }

    async fn call(
        self,
        store: &mut Store<Host>,
        handlers: &Handlers,
        context: &InstanceContext,
    ) -> Called<FetchAnswer> {
        let response = match &handlers.request {
            Handler::Fetch(guest) => call_fetch(store, guest, &self, context).await,
            Handler::Incoming(proxy) => call_incoming(store, proxy, self, context).await,
            Handler::None => return Ok(Err(TurnError::NoHandler("fetch"))),
        };
        Ok(response?.map(FetchAnswer::Response))
    }

    #[cfg(test)]
    fn script(self, script: &dyn Script, turn: &mut Scripted<'_>) -> Result<FetchAnswer, TurnError> {
        script.fetch(self, turn).map(FetchAnswer::Response)
    }
}

impl TurnEvent for MethodCall {
    type Answer = CallAnswer;

    fn waits_for(&self) -> Option<Kind> {
        Some(Kind::Value)
    }

    fn body_bytes(&self) -> usize {
        self.arguments.len()
    }

    async fn call(self, store: &mut Store<Host>, handlers: &Handlers, context: &InstanceContext) -> Called<CallAnswer> {
        let Some(guest) = &handlers.call else {
            return Ok(Err(TurnError::NoMethod("it exports no call-handler".into())));
        };
        let called = guest.call_call(&mut *store, self.method.as_str(), &self.arguments).await?;
        let result = |bytes| response::result(bytes, context.limits.response_body, &context.memory);
        Ok(match called {
            Ok(_) if store.data().is_deferred() => Ok(CallAnswer::Value(Default::default())),
            Ok(call_handler::Answer::Value(value)) => result(value).map(CallAnswer::Value),
            Ok(call_handler::Answer::Refused(value)) => result(value).map(CallAnswer::Refused),
            Err(failure) => Err(failed_call(guest_failure(failure.code, failure.message, failure.retryable))),
        })
    }

    #[cfg(test)]
    fn script(self, script: &dyn Script, turn: &mut Scripted<'_>) -> Result<CallAnswer, TurnError> {
        script.call(self, turn)
    }
}

/// Returns the error of a call whose handler has returned a failure. Two codes have a meaning for the host.
fn failed_call(error: TurnError) -> TurnError {
    match error {
        TurnError::Guest(Failure { code, message, .. }) if code == Failure::NO_METHOD => TurnError::NoMethod(message),
        TurnError::Guest(Failure { code, message, .. }) if code == Failure::BAD_ARGUMENTS => {
            TurnError::BadArguments(message)
        }
        error => error,
    }
}

/// The object's alarm, which is consumed if the turn succeeds. One that the handler sets is a new one.
impl TurnEvent for TakenAlarm {
    type Answer = ();

    fn waits_for(&self) -> Option<Kind> {
        Some(Kind::Alarm(*self))
    }

    fn begin(&self, turn: &mut Turn) {
        turn.run_alarm(*self);
    }

    async fn call(self, store: &mut Store<Host>, handlers: &Handlers, _context: &InstanceContext) -> Called<()> {
        // An earlier version of the class had a handler when the alarm was set.
        let Some(guest) = &handlers.alarm else { return Ok(Err(TurnError::NoHandler("alarm"))) };
        let info = alarm_handler::AlarmInfo { scheduled: self.alarm.due_ms, retry_count: self.alarm.attempt };
        let called = guest.call_alarm(store, info).await?;
        Ok(called.map_err(|failure| guest_failure(failure.code, failure.message, failure.retryable)))
    }

    #[cfg(test)]
    fn script(self, script: &dyn Script, turn: &mut Scripted<'_>) -> Result<(), TurnError> {
        script.alarm(self.alarm, turn)
    }
}

/// Resumes, by their tokens.
pub struct Resume(pub Vec<u64>);

impl TurnEvent for Resume {
    type Answer = ();

    fn waits_for(&self) -> Option<Kind> {
        None
    }

    async fn call(self, store: &mut Store<Host>, handlers: &Handlers, _context: &InstanceContext) -> Called<()> {
        let Some(guest) = &handlers.later else { return Ok(Ok(())) };
        let called = guest.call_resume(store, &self.0).await?;
        Ok(called.map_err(|failure| guest_failure(failure.code, failure.message, failure.retryable)))
    }

    #[cfg(test)]
    fn script(self, script: &dyn Script, turn: &mut Scripted<'_>) -> Result<(), TurnError> {
        script.resume(self.0, turn)
    }
}

impl TurnEvent for SocketEvent {
    type Answer = ();

    fn waits_for(&self) -> Option<Kind> {
        Some(Kind::Event)
    }

    async fn call(self, store: &mut Store<Host>, handlers: &Handlers, _context: &InstanceContext) -> Called<()> {
        let Some(guest) = &handlers.websocket else { return Ok(Ok(())) };
        let socket = self.socket.0;
        let called = match self.kind {
            SocketEventKind::Message(Message::Text(text)) => {
                guest.call_message(store, socket, websocket_handler::SocketMessage::Text(text.as_str())).await
            }
            SocketEventKind::Message(Message::Binary(bytes)) => {
                guest.call_message(store, socket, websocket_handler::SocketMessage::Binary(&bytes)).await
            }
            SocketEventKind::Close { code, reason, was_clean } => {
                guest.call_close(store, socket, code, &reason, was_clean).await
            }
            SocketEventKind::Error(text) => guest.call_error(store, socket, &text).await,
        };
        Ok(called?.map_err(|failure| guest_failure(failure.code, failure.message, failure.retryable)))
    }

    #[cfg(test)]
    fn script(self, script: &dyn Script, turn: &mut Scripted<'_>) -> Result<(), TurnError> {
        script.socket(self, turn)
    }
}

async fn call_fetch(
    store: &mut Store<Host>,
    guest: &fetch_handler::Guest,
    request: &Request,
    context: &InstanceContext,
) -> wasmtime::Result<Result<Response, TurnError>> {
    let uri = request.uri.to_string();
    let headers: Vec<(&str, &[u8])> =
        request.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    let request =
        http_types::RequestParam { method: request.method.as_str(), uri: &uri, headers: &headers, body: &request.body };
    Ok(match guest.call_fetch(&mut *store, request).await? {
        Ok(_) if store.data().is_deferred() => Ok(Response::none()),
        Ok(response) => response::returned(response, context.limits.response_body, &context.memory),
        Err(failure) => Err(guest_failure(failure.code, failure.message, failure.retryable)),
    })
}

/// Calls the handler of `wasi:http`. The body is collected while the guest writes it, because the stream between them
/// holds only a little.
async fn call_incoming(
    store: &mut Store<Host>,
    proxy: &Proxy,
    request: Request,
    context: &InstanceContext,
) -> wasmtime::Result<Result<Response, TurnError>> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let never: fn(Infallible) -> wasmtime_wasi_http::Error = |never| match never {};
    let mut http_request = http::Request::new(Full::new(request.body).map_err(never));
    *http_request.method_mut() = request.method;
    *http_request.uri_mut() = request.uri;
    *http_request.headers_mut() = request.headers;
    http_request.headers_mut().entry(header::HOST).or_insert(HeaderValue::from_static("localhost"));
    let mut http = store.data_mut().http();
    let request = http.new_incoming_request(Scheme::Http, http_request)?;
    let outparam = http.new_response_outparam(sender)?;
    let calling = async { proxy.wasi_http_incoming_handler().call_handle(&mut *store, request, outparam).await };
    let collecting = async {
        let Ok(answer) = receiver.await else {
            return Err(TurnError::InvalidResponse("the handler set none".into()));
        };
        let (parts, body) = match answer {
            Ok(response) => response.into_parts(),
            Err(code) => return Err(guest_failure("http-error".into(), code.to_string(), false)),
        };
        let body = response::collected(body, context.limits.response_body, &context.memory).await?;
        // The handler may still run, so the turn has not succeeded.
        response::finish(parts.status, parts.headers, body, &context.memory).map_err(|error| match error {
            TurnError::NoRoomForResponse => TurnError::HostMemory,
            error => error,
        })
    };
    let collected = {
        let (calling, collecting) = (pin!(calling), pin!(collecting));
        match select(calling, collecting).await {
            // What the guest has sent is available now, and the handler sends nothing more: a response that a trapped
            // or careless guest still holds would never end.
            Either::Left((called, collecting)) => called.map(|()| {
                let unfinished = || Err(TurnError::InvalidResponse("the handler returned without finishing it".into()));
                tokio::task::unconstrained(collecting).now_or_never().unwrap_or_else(unfinished)
            }),
            Either::Right((Ok(response), calling)) => calling.await.map(|()| Ok(response)),
            // The host takes no more of the response, even if the guest goes on.
            Either::Right((refused, _)) => Ok(refused),
        }
    };
    // A handler that defers its answer need not set one.
    match collected {
        Ok(Err(TurnError::InvalidResponse(_))) if store.data().is_deferred() => Ok(Ok(Response::none())),
        collected => collected,
    }
}
