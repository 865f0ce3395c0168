//! The host side of what an instance can import: the data of its store, and one file for each interface.
//!
//! A host function may read and write only what belongs to its own object, and sees only the part of the store that its
//! interface needs (its `View`). It may trap its guest, but never panics.

mod alarms;
mod http;
mod identity;
mod key_value;
mod later;
mod logging;
mod objects;
mod sql;
mod storage;
mod turn;
mod wasi;
mod websockets;

pub(super) use self::turn::FailedTurn;

use std::sync::Arc;

use wasmtime::component::{HasSelf, Linker, ResourceTable};
use wasmtime_wasi::WasiCtx;
use wasmtime_wasi_http::WasiHttpCtx;

use self::http::NoOutgoing;
use self::logging::ObjectLog;
use super::bindings;
use super::caller::CallerOf;
use super::calls::TurnCalls;
use super::clock::TurnClock;
use super::context::InstanceContext;
use super::copies::Copies;
use super::guest_stack::GuestStack;
use super::late::LateTurn;
use super::meter::MemoryMeter;
use super::pace::Pace;
use crate::base::{Env, MemoryAccount, ObjectAddress, WorkBudget};
use crate::sockets::SocketTurn;
use crate::storage::Turn;

/// Open cursors, streams and requests of one instance; more than any honest guest holds at once.
pub(super) const RESOURCES_MAX: usize = 10_000;

/// The data of one instance's store.
pub struct Host {
    /// The running turn. Some exactly while a handler runs.
    pub(super) turn: Option<Turn>,
    /// The sockets of the running turn.
    pub(super) sockets: Option<SocketTurn>,
    /// The late work of the running turn.
    pub(super) late: Option<LateTurn>,
    /// The calls of the running turn.
    pub(super) calls: Option<TurnCalls>,
    /// The calls that the instance may make; none if it may call nobody.
    pub(super) caller: Option<CallerOf>,
    pub(super) address: ObjectAddress,
    /// True if the class has a handler for alarms.
    handles_alarms: bool,
    pub(super) memory: MemoryMeter,
    pub(super) stack: GuestStack,
    /// The remaining budget of the running turn.
    pub(super) work: WorkBudget,
    pub(super) pace: Pace,
    pub(super) copies: Copies,
    /// The functions that were running when the turn was given up, innermost first.
    pub(super) stopped_at: Option<String>,
    pub(super) clock: Arc<TurnClock>,
    pub(super) env: Env,
    pub(super) log: Arc<ObjectLog>,
    /// The account that responses are charged to, and the bytes that one may have.
    pub(super) responses: (MemoryAccount, u64),
    pub(super) table: ResourceTable,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    outgoing: NoOutgoing,
}

impl Host {
    /// Creates the data of a new instance's store. `work` is the budget for making the instance.
    pub(super) fn new(
        context: &InstanceContext,
        memory: MemoryMeter,
        copies: Copies,
        work: WorkBudget,
        handles_alarms: bool,
    ) -> Self {
        let clock = Arc::new(TurnClock::new(&context.env));
        let log = Arc::new(ObjectLog::new(context.logs.clone(), context.env.clone(), &context.address));
        let pace = Pace::new();
        let wasi = wasi::context(&context.env, &clock, &log, &pace.shared());
        let mut table = ResourceTable::new();
        table.set_max_capacity(RESOURCES_MAX);
        Self {
            turn: None,
            sockets: None,
            late: None,
            calls: None,
            caller: context.caller.clone(),
            address: context.address.clone(),
            handles_alarms,
            memory,
            stack: GuestStack::default(),
            work,
            pace,
            copies,
            stopped_at: None,
            clock,
            env: context.env.clone(),
            log,
            responses: (context.memory.clone(), context.limits.response_body),
            table,
            wasi,
            http: WasiHttpCtx::new(),
            outgoing: NoOutgoing,
        }
    }

    /// Returns whether the running turn has staged anything. The caller of such a turn may count on it once it has
    /// begun. What the turn has settled is not included.
    pub(super) fn has_written(&self) -> bool {
        self.turn.as_ref().is_some_and(Turn::has_staged)
            || self.sockets.as_ref().is_some_and(SocketTurn::has_staged)
            || self.late.as_ref().is_some_and(LateTurn::has_staged)
    }

    /// Returns whether the answer of the running turn is deferred.
    pub(super) fn is_deferred(&self) -> bool {
        self.late.as_ref().is_some_and(LateTurn::is_deferred)
    }
}

/// Returns the running turn. Guest code runs only inside one.
fn running(turn: &mut Option<Turn>) -> wasmtime::Result<&mut Turn> {
    turn.as_mut().ok_or_else(|| wasmtime::format_err!("storage was used outside of a turn"))
}

/// Links everything that components can import.
pub(super) fn link(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<Host>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    wasi::replace_unbounded(&mut linker)?;
    bindings::types::add_to_linker::<_, HasSelf<_>>(&mut linker, |host: &mut Host| host)?;
    bindings::http_types::add_to_linker::<_, HasSelf<_>>(&mut linker, |host: &mut Host| host)?;
    bindings::alarms::add_to_linker::<_, alarms::View>(&mut linker, alarms::view)?;
    bindings::identity::add_to_linker::<_, identity::View>(&mut linker, identity::view)?;
    bindings::key_value::add_to_linker::<_, key_value::View>(&mut linker, key_value::view)?;
    bindings::later::add_to_linker::<_, later::View>(&mut linker, later::view)?;
    bindings::logging::add_to_linker::<_, logging::View>(&mut linker, logging::view)?;
    bindings::objects::add_to_linker::<_, objects::View>(&mut linker, objects::view)?;
    bindings::packed_sql::add_to_linker::<_, sql::View>(&mut linker, sql::view)?;
    bindings::sql::add_to_linker::<_, sql::View>(&mut linker, sql::view)?;
    bindings::storage::add_to_linker::<_, storage::View>(&mut linker, storage::view)?;
    bindings::turn::add_to_linker::<_, turn::View>(&mut linker, turn::view)?;
    bindings::websockets::add_to_linker::<_, websockets::View>(&mut linker, websockets::view)?;
    Ok(linker)
}

impl bindings::types::Host for Host {}

impl bindings::http_types::Host for Host {}
