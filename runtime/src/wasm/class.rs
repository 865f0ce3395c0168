//! One version of a class: a compiled component, checked and linked, ready to be instantiated.
//!
//! The handlers of a class are the ones that its component exports. What it may import is fixed in `contract`;
//! everything else is refused at deploy with the full list, so that no instantiation fails on a missing import later.

#[cfg(test)]
use std::sync::Arc;

use wasmtime::component::{Component, InstancePre};
use wasmtime_wasi_http::p2::bindings::ProxyIndices;

use super::bindings::{alarm_handler, call_handler, fetch_handler, init_handler, later_handler, websocket_handler};
use super::capacity::Cost;
use super::compatibility;
use super::engine::Engine;
use super::host::Host;
use super::load_error::{LoadError, chain};
#[cfg(test)]
use super::script::Script;
use crate::base::Digest;

/// The handler of requests, by the interface that the class exports.
pub(super) enum RequestHandler {
    /// `holdfast:object/fetch-handler`.
    Fetch(fetch_handler::GuestIndices),
    /// `wasi:http/incoming-handler`.
    Incoming(ProxyIndices),
    /// None: its objects are called by others only.
    None,
}

/// The compiled code of one class version.
pub struct ClassCode {
    /// SHA-256 of the component.
    pub digest: Digest,
    /// What it exports, as named in the component, sorted.
    pub exports: Vec<String>,
    /// What it imports, as named in the component, sorted.
    pub imports: Vec<String>,
    /// What one instance takes of the host's capacity.
    pub cost: Cost,
    has_late_work: bool,
    may_call: bool,
    pub(super) runs: Runs,
}

/// The code that a class runs.
pub(super) enum Runs {
    /// A component.
    Component(Box<Exports>),
    /// A script.
    #[cfg(test)]
    Script(Arc<dyn Script>),
}

/// A component, ready to be instantiated, and the indices of its handlers.
pub(super) struct Exports {
    pub(super) pre: InstancePre<Host>,
    pub(super) handler: RequestHandler,
    pub(super) alarm: Option<alarm_handler::GuestIndices>,
    pub(super) websocket: Option<websocket_handler::GuestIndices>,
    pub(super) later: Option<later_handler::GuestIndices>,
    pub(super) call: Option<call_handler::GuestIndices>,
    pub(super) init: Option<init_handler::GuestIndices>,
}

impl ClassCode {
    /// Returns whether events of WebSockets are delivered to its objects.
    pub fn listens_to_websockets(&self) -> bool {
        match &self.runs {
            Runs::Component(exports) => exports.websocket.is_some(),
            #[cfg(test)]
            Runs::Script(_) => true,
        }
    }

    /// Returns whether its instances may have late work.
    pub fn has_late_work(&self) -> bool {
        self.has_late_work
    }

    /// Returns whether its code can call other objects.
    pub fn may_call(&self) -> bool {
        self.may_call
    }

    /// Returns whether resumes are delivered to its objects.
    pub fn handles_resumes(&self) -> bool {
        match &self.runs {
            Runs::Component(exports) => exports.later.is_some(),
            #[cfg(test)]
            Runs::Script(_) => true,
        }
    }

    /// Takes the code of a component from the cache, if it is there, and checks it. Reads files, so it must be called
    /// where blocking is allowed.
    pub fn cached(engine: &Engine, digest: Digest) -> Result<Option<Self>, LoadError> {
        let component = engine.cache.load(&engine.wasmtime, &digest);
        component.map(|component| Self::link(engine, digest, &component)).transpose()
    }

    /// Compiles a component and checks it. Takes seconds of one core for large components, and must not run twice at a
    /// time for one digest, which names the file in the cache.
    pub fn compile(engine: &Engine, digest: Digest, wasm: &[u8]) -> Result<Self, LoadError> {
        refuse_core_module(wasm)?;
        let component = engine.cache.compile(&engine.wasmtime, &digest, wasm)?;
        Self::link(engine, digest, &component)
    }

    /// Makes the code of a class out of its handlers.
    #[cfg(test)]
    pub fn script(script: Arc<dyn Script>) -> Self {
        let (exports, imports, digest) = (Vec::new(), Vec::new(), Digest::of(b"script"));
        let (has_late_work, may_call, cost) = (true, true, Cost::of(1, 1, 0));
        Self { digest, exports, imports, cost, has_late_work, may_call, runs: Runs::Script(script) }
    }

    fn link(engine: &Engine, digest: Digest, component: &Component) -> Result<Self, LoadError> {
        let kind = component.component_type();
        let names = |items: &mut dyn Iterator<Item = &str>| {
            let mut names: Vec<String> = items.map(str::to_owned).collect();
            names.sort();
            names
        };
        let imports = names(&mut kind.imports(&engine.wasmtime).map(|(name, _)| name));
        let exports = names(&mut kind.exports(&engine.wasmtime).map(|(name, _)| name));
        compatibility::check(&imports, &exports)?;
        // Fails if the component imports a function that its interface does not have.
        let pre = engine.linker.instantiate_pre(component);
        let pre = pre.map_err(|error| LoadError::ImportsRefused(vec![chain(&error)]))?;
        let has = |interface: &str| compatibility::exports(&exports, interface);
        let invalid = |error: wasmtime::Error| LoadError::NotAComponent(chain(&error));
        let is_proxy = exports.iter().any(|name| name.starts_with("wasi:http/incoming-handler@"));
        let handler = match (has("fetch-handler"), is_proxy) {
            (true, true) => return Err(LoadError::TwoHandlers),
            (true, false) => RequestHandler::Fetch(fetch_handler::GuestIndices::new(&pre).map_err(invalid)?),
            (false, true) => RequestHandler::Incoming(ProxyIndices::new(&pre).map_err(invalid)?),
            (false, false) if has("call-handler") => RequestHandler::None,
            (false, false) => return Err(LoadError::NoHandler(exports)),
        };
        let alarm = has("alarm-handler").then(|| alarm_handler::GuestIndices::new(&pre));
        let alarm = alarm.transpose().map_err(invalid)?;
        let websocket = has("websocket-handler").then(|| websocket_handler::GuestIndices::new(&pre));
        let websocket = websocket.transpose().map_err(invalid)?;
        let later = has("later-handler").then(|| later_handler::GuestIndices::new(&pre));
        let later = later.transpose().map_err(invalid)?;
        let call = has("call-handler").then(|| call_handler::GuestIndices::new(&pre));
        let call = call.transpose().map_err(invalid)?;
        let init = has("init-handler").then(|| init_handler::GuestIndices::new(&pre));
        let init = init.transpose().map_err(invalid)?;
        let cost = cost_of(component)?;
        if !engine.capacity.holds(cost) {
            return Err(LoadError::TooCostly(format!("{} memories and {} tables", cost.memories, cost.tables)));
        }
        let runs = Runs::Component(Box::new(Exports { pre, handler, alarm, websocket, later, call, init }));
        let has_late_work = compatibility::exports(&imports, "later");
        let may_call = compatibility::exports(&imports, "objects");
        Ok(Self { digest, exports, imports, cost, has_late_work, may_call, runs })
    }
}

fn cost_of(component: &Component) -> Result<Cost, LoadError> {
    let needs = component.resources_required();
    let needs =
        needs.ok_or_else(|| LoadError::TooCostly("it imports core modules, so its needs are unknown".into()))?;
    let bytes = u64::from(needs.num_memories) * needs.max_initial_memory_size.unwrap_or(0);
    Ok(Cost::of(needs.num_memories.max(1), needs.num_tables, bytes))
}

/// Refuses a core module before the compiler sees it, because uploading one is a common mistake.
fn refuse_core_module(wasm: &[u8]) -> Result<(), LoadError> {
    // The preamble: `\0asm`, a version and a layer; version 1 of layer 0 is a core module.
    if wasm.starts_with(b"\0asm\x01\0\0\0") { Err(LoadError::CoreModule) } else { Ok(()) }
}
