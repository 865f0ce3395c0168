//! `holdfast:object/objects`: calls of the running turn to other objects.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{Either, select};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use wasmtime::component::{HasData, Resource, ResourceTable};

use super::storage::{FUEL_PER_WHOLE, settle};
use super::{Host, running};
use crate::base::id::IdError;
use crate::base::limits::{CALL_BYTES_MAX, FUEL_PER_CALL, FUEL_PER_COPIED_BYTE, FUEL_PER_ITEM};
use crate::base::{
    Call, CallAnswer, CallError, CallId, ClassKey, ClassName, Env, Failpoint, Fate, FetchAnswer, MemoryAccount,
    MemoryCharge, MemoryUse, MethodCall, MethodName, ObjectAddress, ObjectId, ObjectName, Request, Response,
};
use crate::storage::{Turn, WholeError};
use crate::wasm::bindings::http_types;
use crate::wasm::bindings::objects as wit;
use crate::wasm::caller::CallerOf;
use crate::wasm::calls::TurnCalls;
use crate::wasm::clock::TurnClock;
use crate::wasm::pace::Pace;
use crate::wasm::pending::{Answered, Slot};
use crate::wasm::resources::PendingCall;

/// Bytes of a call up to which it is not charged: an instance makes one call at a time.
const UNCHARGED: usize = 16 << 10;

/// The part of a store that this interface needs.
pub(super) struct View<'a> {
    turn: &'a mut Option<Turn>,
    calls: &'a mut Option<TurnCalls>,
    caller: &'a Option<CallerOf>,
    table: &'a mut ResourceTable,
    pace: &'a mut Pace,
    address: &'a ObjectAddress,
    clock: &'a Arc<TurnClock>,
    env: &'a Env,
    memory: &'a MemoryAccount,
}

impl HasData for View<'static> {
    type Data<'a> = View<'a>;
}

/// Borrows that part.
pub(super) fn view(host: &mut Host) -> View<'_> {
    View {
        turn: &mut host.turn,
        calls: &mut host.calls,
        caller: &host.caller,
        table: &mut host.table,
        pace: &mut host.pace,
        address: &host.address,
        clock: &host.clock,
        env: &host.env,
        memory: &host.responses.0,
    }
}

/// The answer to the guest; the outer error ends the turn.
type Answer<T> = wasmtime::Result<Result<T, wit::CallError>>;

/// What a host function has come to: an error for the guest, or one that ends the turn.
enum Stop {
    Refuse(CallError),
    Trap(wasmtime::Error),
}

impl From<CallError> for Stop {
    fn from(error: CallError) -> Self {
        Self::Refuse(error)
    }
}

fn answer<T>(result: Result<T, Stop>) -> Answer<T> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(Stop::Refuse(error)) => Ok(Err(shown(error))),
        Err(Stop::Trap(error)) => Err(error),
    }
}

fn shown(error: CallError) -> wit::CallError {
    let CallError { code, message, guest, retryable, fate, refusal, cycle } = error;
    wit::CallError {
        code: code.into_owned(),
        message,
        guest,
        retryable,
        fate: match fate {
            Fate::NotRun => wit::Fate::NotRun,
            Fate::Failed => wit::Fate::Failed,
            Fate::Unknown => wit::Fate::Unknown,
        },
        refusal: refusal.map(Vec::from),
        other: cycle.into_iter().map(|cycle| ("cycle".to_owned(), cycle)).collect(),
    }
}

impl wit::Host for View<'_> {
    async fn call(
        &mut self,
        to: wit::Target,
        method: String,
        arguments: Vec<u8>,
        options: wit::CallOptions,
    ) -> Answer<Vec<u8>> {
        self.pace.price(method.len() + arguments.len(), FUEL_PER_CALL);
        answer(self.call_method(to, &method, arguments, options).await)
    }

    async fn fetch(
        &mut self,
        to: wit::Target,
        request: http_types::RequestResult,
        options: wit::CallOptions,
    ) -> Answer<http_types::Response> {
        self.price_request(&request);
        answer(self.fetch_from(to, request, options).await)
    }

    async fn start(
        &mut self,
        to: wit::Target,
        method: String,
        arguments: Vec<u8>,
        options: wit::CallOptions,
    ) -> Answer<Resource<PendingCall>> {
        self.pace.price(method.len() + arguments.len(), FUEL_PER_CALL);
        answer(self.start_method(to, &method, arguments, options).await)
    }

    async fn start_fetch(
        &mut self,
        to: wit::Target,
        request: http_types::RequestResult,
        options: wit::CallOptions,
    ) -> Answer<Resource<PendingCall>> {
        self.price_request(&request);
        answer(self.start_request(to, request, options).await)
    }

    async fn wait(&mut self, any: Vec<Resource<PendingCall>>, timeout_ms: Option<u64>) -> wasmtime::Result<Vec<u32>> {
        self.pace.price(0, (1 + any.len() as u64) * FUEL_PER_ITEM);
        let slots = any.iter().map(|pending| Ok(self.table.get(pending)?.0.clone()));
        let slots: Vec<Arc<Slot>> = slots.collect::<wasmtime::Result<_>>()?;
        let one_has = poll_fn(|context| {
            // All are polled: each is to wake the turn.
            let ended = slots.iter().filter(|slot| slot.poll_ended(context).is_ready()).count();
            if ended > 0 { Poll::Ready(()) } else { Poll::Pending }
        });
        match (timeout_ms, &slots[..]) {
            (_, []) => {}
            (Some(0), _) => _ = one_has.now_or_never(),
            (None, [slot]) => slot.ended().await,
            (None, _) => one_has.await,
            (Some(milliseconds), _) => {
                let sleep = pin!(self.env.sleep(Duration::from_millis(milliseconds)));
                let (Either::Left(_) | Either::Right(_)) = select(pin!(one_has), sleep).await;
            }
        }
        self.clock.advance(self.env);
        let ended = slots.iter().enumerate().filter(|(_, slot)| !slot.is_running());
        Ok(ended.map(|(at, _)| at as u32).collect())
    }

    fn id_of(&mut self, class: String, name: String) -> Answer<String> {
        self.pace.price(class.len() + name.len() + 64, 8 * FUEL_PER_ITEM);
        let id = self.class(&class).and_then(|(_, key)| {
            let name = ObjectName::parse(&name).map_err(bad_address)?;
            Ok(ObjectId::from_name(&key, &name).to_string())
        });
        Ok(id.map_err(shown))
    }

    fn new_id(&mut self, class: String) -> Answer<String> {
        self.pace.price(class.len() + 64, 8 * FUEL_PER_ITEM);
        let id = self.class(&class).map(|(_, key)| ObjectId::unique(&key, self.env.random()).to_string());
        Ok(id.map_err(shown))
    }

    fn check_id(&mut self, class: String, id: String) -> Answer<()> {
        self.pace.price(class.len() + id.len(), 8 * FUEL_PER_ITEM);
        let checked = self.class(&class).and_then(|(_, key)| ObjectId::parse(&key, &id).map_err(bad_address));
        Ok(checked.map(drop).map_err(shown))
    }
}

impl wit::HostPending for View<'_> {
    async fn finish(&mut self, pending: Resource<PendingCall>) -> Answer<Vec<u8>> {
        self.pace.price(0, FUEL_PER_ITEM);
        let outcome = self.outcome(&pending).await?;
        answer(match outcome {
            Ok(Answered::Value(value)) => self.value(value),
            Ok(Answered::Response(_)) => Err(other_kind("finish-fetch").into()),
            Err(error) => Err(error.into()),
        })
    }

    async fn finish_fetch(&mut self, pending: Resource<PendingCall>) -> Answer<http_types::Response> {
        self.pace.price(0, FUEL_PER_ITEM);
        let outcome = self.outcome(&pending).await?;
        answer(match outcome {
            Ok(Answered::Response(response)) => Ok(self.response(response)),
            Ok(Answered::Value(_)) => Err(other_kind("finish").into()),
            Err(error) => Err(error.into()),
        })
    }

    fn drop(&mut self, pending: Resource<PendingCall>) -> wasmtime::Result<()> {
        self.pace.price(0, 0);
        let PendingCall(slot) = self.table.delete(pending)?;
        slot.cancel();
        Ok(())
    }
}

fn other_kind(right: &str) -> CallError {
    let why = format!("it is of the other kind; use `{right}`, and begin it again");
    CallError::of_host("bad-request", why, Fate::Unknown)
}

impl View<'_> {
    fn price_request(&mut self, request: &http_types::RequestResult) {
        let items = request.headers.len() as u64 * FUEL_PER_ITEM;
        self.pace.price(request_bytes(request), FUEL_PER_CALL + items);
    }

    /// Waits for a call that was begun, and returns its outcome.
    async fn outcome(&mut self, pending: &Resource<PendingCall>) -> wasmtime::Result<Result<Answered, CallError>> {
        let slot = self.table.get(pending)?.0.clone();
        slot.ended().await;
        self.clock.advance(self.env);
        let taken = || {
            CallError::of_host(
                "bad-request",
                "its outcome was returned already, or its turn is over".into(),
                Fate::Unknown,
            )
        };
        Ok(slot.take().unwrap_or_else(|| Err(taken())))
    }

    fn begun(&mut self, slot: Arc<Slot>) -> Result<Resource<PendingCall>, Stop> {
        self.pace.note_written();
        self.turn_calls()?.begun(slot.clone());
        self.reach(Failpoint::CallDelivered)?;
        self.table.push(PendingCall(slot)).map_err(|error| Stop::Trap(error.into()))
    }

    async fn start_method(
        &mut self,
        to: wit::Target,
        method: &str,
        arguments: Vec<u8>,
        options: wit::CallOptions,
    ) -> Result<Resource<PendingCall>, Stop> {
        self.turn_calls()?.may_begin()?;
        let (target, deadline, call) = self.prepare_method(to, method, arguments, options).await?;
        let slot = {
            let CallerOf { caller, .. } = self.caller()?;
            let started = caller.start(self.envelope(caller.call_id(), target, deadline, call)?);
            Slot::new(started, Answered::Value)
        };
        self.begun(slot)
    }

    async fn start_request(
        &mut self,
        to: wit::Target,
        request: http_types::RequestResult,
        options: wit::CallOptions,
    ) -> Result<Resource<PendingCall>, Stop> {
        self.turn_calls()?.may_begin()?;
        let (target, deadline, request) = self.prepare_request(to, request, options).await?;
        let slot = {
            let CallerOf { caller, .. } = self.caller()?;
            let started = caller.start_fetch(self.envelope(caller.call_id(), target, deadline, request)?);
            Slot::new(started, Answered::Response)
        };
        self.begun(slot)
    }

    async fn call_method(
        &mut self,
        to: wit::Target,
        method: &str,
        arguments: Vec<u8>,
        options: wit::CallOptions,
    ) -> Result<Vec<u8>, Stop> {
        let (target, deadline, call) = self.prepare_method(to, method, arguments, options).await?;
        let calling = {
            let CallerOf { caller, .. } = self.caller()?;
            caller.call(self.envelope(caller.call_id(), target, deadline, call)?)
        };
        self.pace.note_written();
        self.reach(Failpoint::CallDelivered)?;
        let outcome = calling.await;
        self.clock.advance(self.env);
        self.value(outcome?)
    }

    async fn prepare_method(
        &mut self,
        to: wit::Target,
        method: &str,
        arguments: Vec<u8>,
        options: wit::CallOptions,
    ) -> Result<(ObjectAddress, Duration, MethodCall), Stop> {
        let target = self.target(to)?;
        let method = MethodName::parse(method).map_err(|error| CallError::not_run("no-method", error.to_string()))?;
        let charge = self.charge(arguments.len())?;
        let deadline = self.prepare(options).await?;
        Ok((target, deadline, MethodCall { method, arguments: arguments.into(), charge }))
    }

    async fn prepare_request(
        &mut self,
        to: wit::Target,
        request: http_types::RequestResult,
        options: wit::CallOptions,
    ) -> Result<(ObjectAddress, Duration, Request), Stop> {
        let target = self.target(to)?;
        let charge = self.charge(request_bytes(&request))?;
        let request = request_of(request, charge)?;
        let deadline = self.prepare(options).await?;
        Ok((target, deadline, request))
    }

    /// Returns the result of a method.
    fn value(&mut self, answer: CallAnswer) -> Result<Vec<u8>, Stop> {
        match answer {
            CallAnswer::Value(value) => {
                self.pace.add_price(value.len() as u64 * FUEL_PER_COPIED_BYTE);
                Ok(Vec::from(value))
            }
            CallAnswer::Refused(value) => Err(CallError::refused(value).into()),
        }
    }

    /// Returns the response to a request.
    fn response(&mut self, answer: FetchAnswer) -> http_types::Response {
        let (FetchAnswer::Response(response) | FetchAnswer::Upgrade(response, _)) = answer;
        let Response { status, headers, body } = response;
        let bytes = body.len() + headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum::<usize>();
        self.pace.add_price(bytes as u64 * FUEL_PER_COPIED_BYTE + headers.len() as u64 * FUEL_PER_ITEM);
        let headers =
            headers.iter().map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec())).collect();
        http_types::Response { status: status.as_u16(), headers, body: Vec::from(body) }
    }

    async fn fetch_from(
        &mut self,
        to: wit::Target,
        request: http_types::RequestResult,
        options: wit::CallOptions,
    ) -> Result<http_types::Response, Stop> {
        let (target, deadline, request) = self.prepare_request(to, request, options).await?;
        let calling = {
            let CallerOf { caller, .. } = self.caller()?;
            caller.fetch(self.envelope(caller.call_id(), target, deadline, request)?)
        };
        self.pace.note_written();
        self.reach(Failpoint::CallDelivered)?;
        let outcome = calling.await;
        self.clock.advance(self.env);
        Ok(self.response(outcome?))
    }

    fn reach(&mut self, failpoint: Failpoint) -> Result<(), Stop> {
        let turn = running(self.turn).map_err(Stop::Trap)?;
        turn.reach(failpoint).map_err(|error| Stop::Trap(error.into()))
    }

    fn caller(&self) -> Result<&CallerOf, CallError> {
        self.caller.as_ref().ok_or_else(|| {
            CallError::not_run(
                "not-granted",
                "the class may call no other class; name those that it calls under [calls] in holdfast.toml",
            )
        })
    }

    fn turn_calls(&mut self) -> Result<&mut TurnCalls, Stop> {
        let outside = || Stop::Trap(wasmtime::format_err!("an object was called outside of a turn"));
        self.calls.as_mut().ok_or_else(outside)
    }

    fn envelope<E>(&self, id: CallId, to: ObjectAddress, deadline: Duration, event: E) -> Result<Call<E>, Stop> {
        let outside = || Stop::Trap(wasmtime::format_err!("an object was called outside of a turn"));
        let calls = self.calls.as_ref().ok_or_else(outside)?;
        Ok(calls.envelope(id, (self.address, to), deadline, event))
    }

    /// Returns the class that the settings have under this name, with its key.
    fn class(&self, name: &str) -> Result<(ClassName, ClassKey), CallError> {
        let CallerOf { calls, caller } = self.caller()?;
        let Some(class) = calls.get(name) else {
            let name: String = name.chars().take(80).collect();
            let why = format!("`{name}` is not under [calls] in holdfast.toml; write there which class it names");
            return Err(CallError::not_run("not-granted", why));
        };
        let key = caller.class(class);
        let unknown = || CallError::not_run("unknown-class", format!("no class `{class}` is deployed"));
        Ok((class.clone(), key.ok_or_else(unknown)?))
    }

    fn target(&self, to: wit::Target) -> Result<ObjectAddress, CallError> {
        let (class, key) = self.class(&to.class)?;
        let (id, name) = match to.object {
            wit::Address::Name(name) => {
                let name = ObjectName::parse(&name).map_err(bad_address)?;
                (ObjectId::from_name(&key, &name), Some(name))
            }
            wit::Address::Id(id) => (ObjectId::parse(&key, &id).map_err(bad_address)?, None),
        };
        Ok(ObjectAddress { class, key, id, name })
    }

    /// Charges what a call holds while it waits.
    fn charge(&self, bytes: usize) -> Result<Option<MemoryCharge>, CallError> {
        if bytes > CALL_BYTES_MAX {
            let why = format!("a call has at most {CALL_BYTES_MAX} bytes of arguments");
            return Err(CallError::not_run("bad-arguments", why));
        }
        if bytes <= UNCHARGED {
            return Ok(None);
        }
        let charge = self.memory.take(MemoryUse::Requests, bytes as u64);
        let error = |_| CallError::of_turn(crate::base::TurnError::HostMemory, Fate::NotRun);
        charge.map(Some).map_err(error)
    }

    /// Counts a call and settles the turn. Returns when the call fails.
    async fn prepare(&mut self, options: wit::CallOptions) -> Result<Duration, Stop> {
        let now = self.env.elapsed();
        let deadline = self.turn_calls()?.make(now, options.timeout_ms)?;
        let turn = running(self.turn).map_err(Stop::Trap)?;
        if turn.has_staged() {
            self.pace.add_price(FUEL_PER_WHOLE);
        }
        match settle(turn, self.address).await.map_err(Stop::Trap)? {
            Ok(()) => self.reach(Failpoint::CallSettled).map(|()| deadline),
            Err(WholeError::SavepointOpen) => {
                let why = "a call is not possible while a savepoint is open; keep it or undo it before";
                Err(CallError::not_run("savepoint-open", why).into())
            }
            Err(WholeError::Exhausted(exhausted)) => Err(Stop::Trap(exhausted.into())),
            Err(error) => Err(CallError::not_run("storage-full", error.to_string()).into()),
        }
    }
}

fn bad_address(error: IdError) -> CallError {
    let code = match error {
        IdError::ClassName(_) => "bad-class",
        IdError::ObjectNameLength(_) => "bad-name",
        IdError::Malformed => "bad-id",
        IdError::OtherClass => "id-of-other-class",
    };
    CallError::not_run(code, error.to_string())
}

fn request_bytes(request: &http_types::RequestResult) -> usize {
    let headers: usize = request.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    request.method.len() + request.uri.len() + request.body.len() + headers
}

/// Returns the request that a guest makes, if HTTP allows it.
fn request_of(request: http_types::RequestResult, charge: Option<MemoryCharge>) -> Result<Request, CallError> {
    let bad = |what: &str| CallError::not_run("bad-request", format!("{what}, which HTTP does not allow"));
    let method: Method = request.method.parse().map_err(|_| bad("the method has characters"))?;
    let uri: Uri = request.uri.parse().map_err(|_| bad("the URI has characters"))?;
    if !request.uri.starts_with('/') {
        let why = "the URI begins with `/`: it is the part below the object";
        return Err(CallError::not_run("bad-request", why));
    }
    let mut headers = HeaderMap::with_capacity(request.headers.len().min(64));
    for (name, value) in &request.headers {
        let name: HeaderName = name.parse().map_err(|_| bad("the name of a header has characters"))?;
        let value = HeaderValue::from_bytes(value).map_err(|_| bad("the value of a header has characters"))?;
        headers.try_append(name, value).map_err(|_| bad("there are too many headers"))?;
    }
    Ok(Request { method, uri, headers, body: Bytes::from(request.body), websocket: false, charge })
}
