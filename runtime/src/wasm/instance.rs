//! The live memory of one object: a store and one call at a time.
//!
//! A turn goes in by value and comes out by value, and so does the instance: after a failure of any kind there is no instance
//! left to call, because a trapped or cancelled one cannot be entered again and its memory would tell another story
//! than the storage.

use std::convert::Infallible;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::{Either, select};
use http::{HeaderValue, StatusCode, header};
use http_body_util::{BodyExt, Full};
use wasmtime::{PoolConcurrencyLimitError, Store, Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;
use wasmtime_wasi_http::WasiHttpView;
use wasmtime_wasi_http::p2::bindings::Proxy;
use wasmtime_wasi_http::p2::bindings::http::types::Scheme;

use super::bindings::{alarm_handler, fetch_handler, http_types, init_handler, websocket_handler};
use super::class::{ClassCode, RequestHandler};
use super::engine::Engine;
use super::host::Host;
use super::host::wasi::TurnClock;
use super::meter::{Ends, FUEL_PER_SLICE, MemoryMeter, Refusal, TimeUp, Timed};
use super::pace::at_host_call;
use super::response;
use crate::base::logs::GuestLogs;
use crate::base::socket::{Message, SocketEvent, SocketEventKind};
use crate::base::{
    Alarm, ClassShare, CpuTimer, Env, Exhausted, Failure, Limits, MemoryAccount, ObjectAddress, ObjectName, Reply,
    Request, Response, TurnError, WorkBudget,
};
use crate::sockets::SocketTurn;
use crate::storage::{Database, Turn};

/// What an instance is made with.
#[derive(Clone)]
pub struct InstanceContext {
    /// The object it is the memory of.
    pub address: ObjectAddress,
    /// What a turn may use.
    pub limits: Arc<Limits>,
    /// What its responses are charged to.
    pub memory: MemoryAccount,
    /// Where its log entries go.
    pub logs: Arc<GuestLogs>,
    /// Clock and randomness.
    pub env: Env,
}

/// The live memory of one object.
pub struct Instance {
    store: Store<Host>,
    handlers: Handlers,
    /// Some until the first turn has called it.
    init: Option<init_handler::Guest>,
    /// Until the first turn begins: making the instance used fuel of it.
    fresh: bool,
    code: Arc<ClassCode>,
    context: InstanceContext,
    share: Arc<ClassShare>,
}

/// What the class exports.
struct Handlers {
    request: Handler,
    alarm: Option<alarm_handler::Guest>,
    websocket: Option<websocket_handler::Guest>,
}

enum Handler {
    Fetch(fetch_handler::Guest),
    Incoming(Proxy),
}

/// What a turn of an instance is about.
#[allow(clippy::large_enum_variant, reason = "nearly all are `Fetch`; a box would cost each of them an allocation")]
pub enum TurnEvent {
    /// A request.
    Fetch(Request),
    /// The object's alarm, which is done if the turn succeeds.
    Alarm(Alarm),
    /// Something happened to a WebSocket.
    Socket(SocketEvent),
}

/// How a call ended.
pub struct TurnEnd {
    /// The turn with what the handler staged, to be applied or rolled back.
    pub turn: Turn,
    /// What the handler did with sockets, to be applied or dropped with the turn.
    pub sockets: SocketTurn,
    /// The instance; none if it is not to be used again. Whoever rolls back what its handler wrote drops it.
    pub instance: Option<Instance>,
    /// What the handler answered.
    pub result: Result<Reply, TurnError>,
    /// Fuel units that the turn used.
    pub fuel: u64,
}

impl Instance {
    /// Makes an instance of a class. Its memory counts from here on.
    pub async fn new(engine: &Engine, code: Arc<ClassCode>, context: InstanceContext) -> Result<Self, TurnError> {
        let memory = MemoryMeter::new(engine.budget.account(&context.address.key), context.limits.memory_per_instance);
        let share = engine.heavy_work.of(&context.address.key);
        let cpu = CpuTimer::new(&context.limits, &context.env, share.clone());
        let work = WorkBudget::timed(context.limits.fuel_per_turn, cpu.clone());
        let mut store = Store::new(&engine.wasmtime, Host::new(&context, memory, work, code.alarm.is_some()));
        store.limiter(|host| &mut host.memory);
        store.call_hook(at_host_call);
        prepare_fuel(&mut store, &context.limits).expect("the engine was made with fuel");
        // What one call may copy to the host: without it, a few bytes of guest memory listed often enough fill the host's.
        store.set_hostcall_fuel(2 * context.limits.response_body as usize + (1 << 20));
        let (clock, pace) = (store.data().clock.clone(), store.data().pace.shared());
        let made = {
            let making = std::pin::pin!(instantiate(&mut store, &code));
            Timed::new(making, &context, &cpu, &clock, &pace).await
        };
        match made {
            Ok(Ok((handlers, init))) => Ok(Self { store, handlers, init, fresh: true, code, context, share }),
            Ok(Err(error)) => Err(trapped(&store, &context.limits, &error)),
            Err(time_up) => Err(time_up.into_turn_error(store.data_mut().stopped_at.take())),
        }
    }

    /// The class version that this is an instance of.
    pub fn code(&self) -> &Arc<ClassCode> {
        &self.code
    }

    /// Tells the object its name, if it was first reached by id.
    pub fn learn_name(&mut self, name: Option<&ObjectName>) {
        let address = &mut self.store.data_mut().address;
        if address.name.is_none() {
            address.name = name.cloned();
        }
    }

    /// Runs one turn on a database and sockets that no other turn uses, unless it is ended from outside.
    pub async fn run(
        mut self,
        database: Database,
        sockets: SocketTurn,
        event: TurnEvent,
        ends: Ends<'_, '_>,
    ) -> TurnEnd {
        let cpu = CpuTimer::new(&self.context.limits, &self.context.env, self.share.clone());
        let mut units = self.context.limits.fuel_per_turn;
        if std::mem::take(&mut self.fresh) {
            units = self.store.data().work.remaining();
        } else {
            prepare_fuel(&mut self.store, &self.context.limits).expect("the engine was made with fuel");
        }
        let work = WorkBudget::timed(units, cpu.clone());
        let mut turn = database.begin(work.clone());
        if let TurnEvent::Alarm(_) = event {
            // It has come; what the handler sets is another one.
            turn.set_alarm(None);
        }
        if let TurnEvent::Fetch(request) = &event {
            self.share.moved(request.body.len());
        }
        let clock = self.begin(turn, sockets, &work);
        let pace = self.store.data().pace.shared();
        let called = {
            let init = self.init.take();
            let call = std::pin::pin!(call(&mut self.store, init, &self.handlers, event, &self.context));
            Timed::new(call, &self.context, &cpu, &clock, &pace).unless(ends).await
        };
        let result = match called {
            Ok(Ok(result)) => result,
            Ok(Err(error)) => Err(trapped(&self.store, &self.context.limits, &error)),
            Err(time_up) => Err(time_up.into_turn_error(self.store.data_mut().stopped_at.take())),
        };
        self.end(result, &work)
    }

    fn begin(&mut self, turn: Turn, sockets: SocketTurn, work: &WorkBudget) -> Arc<TurnClock> {
        let host = self.store.data_mut();
        host.work = work.clone();
        host.pace.begin_turn(self.context.env.elapsed());
        host.memory.begin_turn();
        host.clock.advance(&self.context.env);
        host.turn = Some(turn);
        host.sockets = Some(sockets);
        host.clock.clone()
    }

    /// Guest code and storage have counted apart, each up to the limit, which costs storage calls no look at the store;
    /// what counts is the sum.
    fn end(mut self, mut result: Result<Reply, TurnError>, work: &WorkBudget) -> TurnEnd {
        let limit = self.context.limits.fuel_per_turn;
        let used_by_code = limit.saturating_sub(self.store.get_fuel().unwrap_or(0));
        let fuel = used_by_code + limit.saturating_sub(work.remaining());
        if result.is_ok() && fuel > limit {
            result = Err(TurnError::OutOfFuel { limit, stack: None });
        }
        let host = self.store.data_mut();
        if let Err(TurnError::Guest(failure)) = &mut result {
            failure.stack = host.log.last_error().and_then(|error| error.stack);
            failure.logged = host.log.take_cause(&failure.message).map(Box::new);
        }
        host.log.end_turn();
        let turn = host.turn.take().expect("`begin` put the turn there and nothing else takes it");
        let sockets = host.sockets.take().expect("`begin` put them there and nothing else takes them");
        if let Ok(Reply::Response(response)) = &result {
            self.share.moved(response.body.len());
        }
        let result = result.and_then(|reply| upgraded(reply, &sockets));
        // Of a response that there is no room for the handler knows nothing: it has ended well.
        let has_ended_well = matches!(result, Ok(_) | Err(TurnError::NoRoomForResponse));
        let instance = has_ended_well.then_some(self);
        TurnEnd { turn, sockets, instance, result, fuel }
    }
}

fn prepare_fuel(store: &mut Store<Host>, limits: &Limits) -> wasmtime::Result<()> {
    store.set_fuel(limits.fuel_per_turn)?;
    store.fuel_async_yield_interval(Some(FUEL_PER_SLICE))
}

async fn instantiate(
    store: &mut Store<Host>,
    code: &ClassCode,
) -> wasmtime::Result<(Handlers, Option<init_handler::Guest>)> {
    let instance = code.pre.instantiate_async(&mut *store).await?;
    let request = match &code.handler {
        RequestHandler::Fetch(indices) => Handler::Fetch(indices.load(&mut *store, &instance)?),
        RequestHandler::Incoming(indices) => Handler::Incoming(indices.load(&mut *store, &instance)?),
    };
    let init = code.init.as_ref().map(|indices| indices.load(&mut *store, &instance)).transpose()?;
    let alarm = code.alarm.as_ref().map(|indices| indices.load(&mut *store, &instance)).transpose()?;
    let websocket = code.websocket.as_ref().map(|indices| indices.load(&mut *store, &instance)).transpose()?;
    Ok((Handlers { request, alarm, websocket }, init))
}

/// The calls of one turn: `init` when it is the instance's first, then the handler. The outer error is a trap.
async fn call(
    store: &mut Store<Host>,
    init: Option<init_handler::Guest>,
    handlers: &Handlers,
    event: TurnEvent,
    context: &InstanceContext,
) -> wasmtime::Result<Result<Reply, TurnError>> {
    if let Some(init) = init {
        if let Err(failure) = init.call_init(&mut *store).await? {
            return Ok(Err(guest_failure(failure.code, failure.message, failure.retryable)));
        }
        store.data_mut().turn.iter_mut().for_each(Turn::handler_begins);
    }
    let request = match event {
        TurnEvent::Fetch(request) => request,
        TurnEvent::Alarm(due) => return call_alarm(store, handlers.alarm.as_ref(), due).await,
        TurnEvent::Socket(event) => return call_websocket(store, handlers.websocket.as_ref(), event).await,
    };
    let response = match &handlers.request {
        Handler::Fetch(guest) => call_fetch(store, guest, &request, context).await,
        Handler::Incoming(proxy) => call_incoming(store, proxy, request, context).await,
    };
    Ok(response?.map(Reply::Response))
}

async fn call_alarm(
    store: &mut Store<Host>,
    guest: Option<&alarm_handler::Guest>,
    due: Alarm,
) -> wasmtime::Result<Result<Reply, TurnError>> {
    // The class had one when the alarm was set, in an earlier version.
    let Some(guest) = guest else { return Ok(Err(TurnError::NoHandler("alarm"))) };
    let info = alarm_handler::AlarmInfo { scheduled: due.due_ms, retry_count: due.attempt };
    Ok(match guest.call_alarm(store, info).await? {
        Ok(()) => Ok(Reply::Done(true)),
        Err(failure) => Err(guest_failure(failure.code, failure.message, failure.retryable)),
    })
}

async fn call_websocket(
    store: &mut Store<Host>,
    guest: Option<&websocket_handler::Guest>,
    event: SocketEvent,
) -> wasmtime::Result<Result<Reply, TurnError>> {
    let Some(guest) = guest else { return Ok(Ok(Reply::Done(false))) };
    let socket = event.socket.0;
    let called = match event.kind {
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
    Ok(match called? {
        Ok(()) => Ok(Reply::Done(true)),
        Err(failure) => Err(guest_failure(failure.code, failure.message, failure.retryable)),
    })
}

/// What a response with status 101 means: the socket that the turn accepted is to be opened.
fn upgraded(reply: Reply, sockets: &SocketTurn) -> Result<Reply, TurnError> {
    let response = match reply {
        Reply::Response(response) if response.status == StatusCode::SWITCHING_PROTOCOLS => response,
        other => return Ok(other),
    };
    let invalid = |what: &str| Err(TurnError::InvalidResponse(what.into()));
    let Some(socket) = sockets.accepted() else {
        return invalid("its status is 101, but the turn accepted no socket");
    };
    match response.headers.get(header::SEC_WEBSOCKET_PROTOCOL) {
        Some(protocol) if !sockets.offers(protocol.as_bytes()) => {
            invalid("its sec-websocket-protocol is none that the client offers")
        }
        _ => Ok(Reply::Upgrade(response, socket)),
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
        http_types::Request { method: request.method.as_str(), uri: &uri, headers: &headers, body: &request.body };
    Ok(match guest.call_fetch(store, request).await? {
        Ok(response) => response::returned(response, context.limits.response_body, &context.memory),
        Err(failure) => Err(guest_failure(failure.code, failure.message, failure.retryable)),
    })
}

/// The body is collected while the guest writes it, because the stream between them holds only a little.
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
        // The handler may still run, so it cannot be said that it has ended well.
        response::finish(parts.status, parts.headers, body, &context.memory).map_err(|error| match error {
            TurnError::NoRoomForResponse => TurnError::HostMemory,
            error => error,
        })
    };
    let (calling, collecting) = (std::pin::pin!(calling), std::pin::pin!(collecting));
    match select(calling, collecting).await {
        // What the guest has sent by now is there to be taken, and nobody is left to send more: what a trapped or careless
        // guest still holds of the response would be waited for in vain.
        Either::Left((called, collecting)) => called.map(|()| {
            let unfinished = || Err(TurnError::InvalidResponse("the handler returned without finishing it".into()));
            tokio::task::unconstrained(collecting).now_or_never().unwrap_or_else(unfinished)
        }),
        Either::Right((Ok(response), calling)) => calling.await.map(|()| Ok(response)),
        // The host takes no more of it, whatever the guest still has to say.
        Either::Right((refused, _)) => Ok(refused),
    }
}

fn guest_failure(code: String, mut message: String, retryable: bool) -> TurnError {
    let fits = (1..=64).contains(&code.len())
        && code.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    message.truncate(message.floor_char_boundary(Failure::MESSAGE_MAX));
    let code = if fits { code } else { "guest-error".into() };
    TurnError::Guest(Failure { retryable, ..Failure::new(code, message) })
}

/// Why guest code stopped running, with the backtrace.
fn trapped(store: &Store<Host>, limits: &Limits, error: &wasmtime::Error) -> TurnError {
    let host = store.data();
    let stack = error.downcast_ref::<WasmBacktrace>().map(functions);
    if let Some(exhausted) = error.downcast_ref::<Exhausted>() {
        return match exhausted {
            Exhausted::Fuel => TurnError::OutOfFuel { limit: limits.fuel_per_turn, stack },
            Exhausted::CpuTime => TurnError::CpuTime { limit: limits.cpu_time(), stack },
            Exhausted::Overloaded | Exhausted::Cancelled => TurnError::Overloaded,
        };
    }
    if error.is::<PoolConcurrencyLimitError>() {
        return TurnError::NoCapacity;
    }
    let trap = error.downcast_ref::<Trap>();
    match (trap, host.memory.refusal()) {
        (Some(Trap::OutOfFuel), _) => return TurnError::OutOfFuel { limit: limits.fuel_per_turn, stack },
        (_, Some(Refusal::Limit)) => return TurnError::OutOfMemory { limit: limits.memory_per_instance, stack },
        (_, Some(Refusal::Host)) => return TurnError::NoCapacity,
        _ => {}
    }
    let last_words = host.log.last_error();
    match (trap, error.downcast_ref::<I32Exit>()) {
        (Some(Trap::StackOverflow), _) => TurnError::StackOverflow { stack },
        (Some(trap), _) => {
            host.log.drop_cause();
            let mut reason = last_words.map_or_else(|| trap.to_string(), |words| format!("{trap}: {}", words.message));
            reason.truncate(reason.floor_char_boundary(Failure::MESSAGE_MAX));
            TurnError::Trap { reason, stack }
        }
        (None, Some(exit)) => TurnError::Trap { reason: format!("it called exit with code {}", exit.0), stack },
        (None, None) => TurnError::Trap { reason: error.root_cause().to_string(), stack },
    }
}

/// A line for each function that was running, innermost first: its place in the module, and its name if the component has names.
pub(super) fn functions(backtrace: &WasmBacktrace) -> String {
    let text = backtrace.to_string();
    let mut lines = text.split_once('\n').map_or_else(String::new, |(_title, lines)| lines.trim_end().to_owned());
    lines.truncate(lines.floor_char_boundary(Failure::MESSAGE_MAX));
    lines
}

impl TimeUp {
    /// `stack` are the functions that were running, if they are known.
    fn into_turn_error(self, stack: Option<String>) -> TurnError {
        match self {
            Self::Cpu(limit) => TurnError::CpuTime { limit, stack },
            Self::Wall(limit) => TurnError::WallTime { limit, stack },
            Self::Abandoned => TurnError::Abandoned,
            Self::Deleted => TurnError::Deleted,
            Self::Overloaded => TurnError::Overloaded,
        }
    }
}
