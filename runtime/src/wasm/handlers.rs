//! The handlers of one instance, by what its class exports.

use wasmtime::Store;
use wasmtime_wasi_http::p2::bindings::Proxy;

use super::bindings::{alarm_handler, call_handler, fetch_handler, init_handler, later_handler, websocket_handler};
use super::class::{Exports, RequestHandler};
use super::host::Host;

/// The handlers of events.
pub struct Handlers {
    pub(super) request: Handler,
    pub(super) alarm: Option<alarm_handler::Guest>,
    pub(super) websocket: Option<websocket_handler::Guest>,
    pub(super) later: Option<later_handler::Guest>,
    pub(super) call: Option<call_handler::Guest>,
}

/// The handler of requests.
pub enum Handler {
    /// `holdfast:object/fetch-handler`.
    Fetch(fetch_handler::Guest),
    /// `wasi:http/incoming-handler`.
    Incoming(Proxy),
    /// None.
    None,
}

/// Instantiates a component. Returns its handlers, and the one that is called before the first event.
pub(super) async fn instantiate(
    store: &mut Store<Host>,
    exports: &Exports,
) -> wasmtime::Result<(Handlers, Option<init_handler::Guest>)> {
    let instance = exports.pre.instantiate_async(&mut *store).await?;
    let request = match &exports.handler {
        RequestHandler::Fetch(indices) => Handler::Fetch(indices.load(&mut *store, &instance)?),
        RequestHandler::Incoming(indices) => Handler::Incoming(indices.load(&mut *store, &instance)?),
        RequestHandler::None => Handler::None,
    };
    let init = exports.init.as_ref().map(|indices| indices.load(&mut *store, &instance)).transpose()?;
    let alarm = exports.alarm.as_ref().map(|indices| indices.load(&mut *store, &instance)).transpose()?;
    let websocket = exports.websocket.as_ref().map(|indices| indices.load(&mut *store, &instance)).transpose()?;
    let later = exports.later.as_ref().map(|indices| indices.load(&mut *store, &instance)).transpose()?;
    let call = exports.call.as_ref().map(|indices| indices.load(&mut *store, &instance)).transpose()?;
    Ok((Handlers { request, alarm, websocket, later, call }, init))
}
