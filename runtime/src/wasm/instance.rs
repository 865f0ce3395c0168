//! The live memory of one object: a store that runs one call at a time.
//!
//! A turn goes in and comes out by value, and so does the instance: after a failure of any kind there is no instance
//! left, because a trapped or cancelled one cannot be entered again and its memory would differ from the storage.

#[cfg(test)]
mod script;

use std::sync::Arc;

use wasmtime::Store;

#[cfg(test)]
use self::script::ScriptInstance;
use super::bindings::init_handler;
use super::calls::TurnCalls;
use super::capacity::FIRST_GROWTH;
use super::class::{ClassCode, Runs};
use super::clock::TurnClock;
use super::context::InstanceContext;
use super::engine::Engine;
use super::event::{TurnAnswer, TurnEvent};
use super::failure::guest_failure;
use super::handlers::{Handlers, instantiate};
use super::host::Host;
use super::host_call::at_host_call;
use super::late::LateTurn;
use super::meter::MemoryMeter;
use super::pace::FUEL_PER_SLICE;
use super::timed::{Ends, Timed};
use super::trap::{memory_ran_out, trapped};
use crate::base::{Call, CallId, ClassShare, CpuTimer, Limits, MemoryCharge, ObjectName, TurnError, WorkBudget};
use crate::sockets::SocketTurn;
use crate::storage::{Database, Turn};

/// The live memory of one object.
pub enum Instance {
    /// The instance of a component.
    Component(Box<ComponentInstance>),
    /// The instance of a class that is a script.
    #[cfg(test)]
    Script(ScriptInstance),
}

/// The instance of a component: its store and its handlers.
pub struct ComponentInstance {
    store: Store<Host>,
    handlers: Handlers,
    /// The handler `init`, until it has succeeded in the first turn.
    init: Option<init_handler::Guest>,
    /// True until the first turn begins, which gets the fuel that making the instance has left.
    fresh: bool,
    code: Arc<ClassCode>,
    context: InstanceContext,
    share: Arc<ClassShare>,
}

/// How a turn of an instance ended.
pub struct TurnEnd<T> {
    /// The turn with what the handler has staged, to be applied or rolled back.
    pub turn: Turn,
    /// What the handler has done with sockets, to be applied or dropped with the turn.
    pub sockets: SocketTurn,
    /// What the handler has done with late work, to be applied or dropped with the turn.
    pub late: LateTurn,
    /// The instance; none if it must not be used again. A caller that rolls back what the turn has staged drops the
    /// instance.
    pub instance: Option<Instance>,
    /// The answer of the handler.
    pub result: Result<T, TurnError>,
    /// Fuel units that the turn used.
    pub fuel: u64,
}

impl Instance {
    /// Creates an instance of a class, for the turn of a call. `memory` is the charge with which it was admitted; its
    /// growth is charged to the same account.
    pub async fn new(
        engine: &Engine,
        code: Arc<ClassCode>,
        context: InstanceContext,
        call: CallId,
        memory: MemoryCharge,
    ) -> Result<Self, TurnError> {
        match &code.runs {
            Runs::Component(_) => ComponentInstance::new(engine, code.clone(), context, call, memory)
                .await
                .map(Box::new)
                .map(Self::Component),
            #[cfg(test)]
            Runs::Script(_) => Ok(Self::Script(ScriptInstance(code.clone()))),
        }
    }

    /// Returns the class version of the instance.
    pub fn code(&self) -> &Arc<ClassCode> {
        match self {
            Self::Component(instance) => &instance.code,
            #[cfg(test)]
            Self::Script(ScriptInstance(code)) => code,
        }
    }

    /// Returns whether it uses more than three quarters of the memory that an instance may have.
    pub fn is_nearly_full(&self) -> bool {
        match self {
            Self::Component(instance) => instance.store.data().memory.is_nearly_full(),
            #[cfg(test)]
            Self::Script(_) => false,
        }
    }

    /// Sets the object's name, if the object was first reached by id.
    pub fn learn_name(&mut self, name: Option<&ObjectName>) {
        match self {
            Self::Component(instance) => instance.learn_name(name),
            #[cfg(test)]
            Self::Script(_) => {}
        }
    }

    /// Runs the turn of a call on a database, sockets and late work that no other turn uses, unless `ends` ends it.
    pub async fn run<E: TurnEvent>(
        self,
        database: Box<Database>,
        (sockets, late): (SocketTurn, LateTurn),
        event: E,
        call: &Call<()>,
        ends: Ends<'_, '_>,
    ) -> TurnEnd<E::Answer> {
        match self {
            Self::Component(instance) => instance.run(database, (sockets, late), event, call, ends).await,
            #[cfg(test)]
            Self::Script(instance) => {
                let code = instance.0.clone();
                let Runs::Script(script) = &code.runs else { unreachable!("it was made of a script") };
                let (end, instance) = instance.run(&**script, database, sockets, late, event);
                TurnEnd { instance: instance.map(Self::Script), ..end }
            }
        }
    }
}

impl ComponentInstance {
    async fn new(
        engine: &Engine,
        code: Arc<ClassCode>,
        context: InstanceContext,
        call: CallId,
        memory: MemoryCharge,
    ) -> Result<Self, TurnError> {
        #[cfg_attr(not(test), allow(irrefutable_let_patterns, reason = "only tests have scripts"))]
        let Runs::Component(exports) = &code.runs else { unreachable!("the caller has looked") };
        let memory = MemoryMeter::new(memory, &context);
        let share = engine.heavy_work.of(&context.address.key);
        let cpu = CpuTimer::new(&context.limits, &context.env, share.clone());
        let work = WorkBudget::timed(context.limits.fuel_per_turn, cpu.clone());
        let copies = engine.copy_room.of_instance();
        let host = Host::new(&context, memory, copies, work, exports.alarm.is_some());
        let mut store = Store::new(&engine.wasmtime, host);
        store.data().log.begin_turn(call);
        store.limiter_async(|host| &mut host.memory);
        store.call_hook(at_host_call);
        prepare_fuel(&mut store, &context.limits).expect("the engine was made with fuel");
        // Bounds what one call may copy to the host: a list that names a few bytes of guest memory often enough would
        // fill the host's.
        store.set_hostcall_fuel(2 * context.limits.response_body as usize + (1 << 20));
        let (clock, pace) = (store.data().clock.clone(), store.data().pace.shared());
        let made = {
            let making = std::pin::pin!(instantiate(&mut store, exports));
            Timed::new(making, &context, &cpu, &clock, &pace).await
        };
        store.data_mut().copies.end();
        match made {
            Ok(Ok((handlers, init))) => {
                // The cost of the class is an upper bound if it has several memories.
                store.data_mut().memory.keep(FIRST_GROWTH);
                Ok(Self { store, handlers, init, fresh: true, code, context, share })
            }
            Ok(Err(error)) => {
                store.data_mut().stack.end_turn();
                Err(trapped(&store, &context.limits, &error))
            }
            Err(time_up) => {
                store.data_mut().stack.end_turn();
                Err(time_up.into_turn_error(store.data_mut().stopped_at.take()))
            }
        }
    }

    fn learn_name(&mut self, name: Option<&ObjectName>) {
        let address = &mut self.store.data_mut().address;
        if address.name.is_none() {
            address.name = name.cloned();
        }
    }

    async fn run<E: TurnEvent>(
        mut self: Box<Self>,
        database: Box<Database>,
        (sockets, late): (SocketTurn, LateTurn),
        event: E,
        of: &Call<()>,
        ends: Ends<'_, '_>,
    ) -> TurnEnd<E::Answer> {
        let cpu = CpuTimer::new(&self.context.limits, &self.context.env, self.share.clone());
        let mut units = self.context.limits.fuel_per_turn;
        let is_first = std::mem::take(&mut self.fresh);
        if is_first {
            units = self.store.data().work.remaining();
        } else {
            prepare_fuel(&mut self.store, &self.context.limits).expect("the engine was made with fuel");
        }
        let work = WorkBudget::timed(units, cpu.clone());
        let mut turn = Turn::begin(database, work.clone());
        event.begin(&mut turn);
        self.share.moved(event.body_bytes());
        self.store.data().log.begin_turn(of.id);
        let clock = self.begin((turn, sockets, late), of, &work);
        let pace = self.store.data().pace.shared();
        let called = {
            let call = std::pin::pin!(call(&mut self.store, &mut self.init, &self.handlers, event, &self.context));
            Timed::new(call, &self.context, &cpu, &clock, &pace).until(of.deadline).unless(ends).await
        };
        self.store.data_mut().copies.end();
        if is_first {
            self.store.data_mut().memory.keep(0);
        }
        let has_returned = matches!(called, Ok(Ok(_)));
        let result = match called {
            Ok(Ok(result)) => result,
            Ok(Err(error)) => Err(trapped(&self.store, &self.context.limits, &error)),
            Err(time_up) => Err(time_up.into_turn_error(self.store.data_mut().stopped_at.take())),
        };
        self.end(result, has_returned, &work)
    }

    fn begin(
        &mut self,
        (turn, sockets, late): (Turn, SocketTurn, LateTurn),
        of: &Call<()>,
        work: &WorkBudget,
    ) -> Arc<TurnClock> {
        let host = self.store.data_mut();
        host.work = work.clone();
        let now = self.context.env.elapsed();
        host.pace.begin_turn(now);
        host.calls = Some(TurnCalls::begin(of, now, self.context.limits.wall_time()));
        host.memory.begin_turn();
        host.clock.advance(&self.context.env);
        host.turn = Some(turn);
        host.sockets = Some(sockets);
        host.late = Some(late);
        host.clock.clone()
    }

    /// Ends the turn. Guest code and storage count fuel separately, each up to the limit, so that storage calls need
    /// not read the store; the sum counts.
    fn end<T: TurnAnswer>(
        mut self: Box<Self>,
        mut result: Result<T, TurnError>,
        has_returned: bool,
        work: &WorkBudget,
    ) -> TurnEnd<T> {
        let limit = self.context.limits.fuel_per_turn;
        let used_by_code = limit.saturating_sub(self.store.get_fuel().unwrap_or(0));
        let fuel = used_by_code + limit.saturating_sub(work.remaining());
        if result.is_ok() && fuel > limit {
            result = Err(TurnError::OutOfFuel { limit, stack: None });
        }
        let host = self.store.data_mut();
        host.stack.end_turn();
        host.memory.end_turn();
        if let Err(TurnError::Guest(failure)) = &mut result {
            failure.stack = host.log.last_error().and_then(|error| error.stack);
            failure.logged = host.log.take_cause(&failure.message).map(Box::new);
            if let Some(error) = memory_ran_out(failure, host.memory.refusal(), &self.context.limits) {
                result = Err(error);
            }
        }
        host.log.end_turn();
        host.calls = None;
        let turn = host.turn.take().expect("`begin` put the turn there and nothing else takes it");
        let sockets = host.sockets.take().expect("`begin` put them there and nothing else takes them");
        let late = host.late.take().expect("`begin` put it there and nothing else takes it");
        if let Ok(answer) = &result {
            self.share.moved(answer.bytes());
        }
        let result = result.and_then(|answer| if late.is_deferred() { Ok(answer) } else { answer.checked(&sockets) });
        // The handler has ended: it does not know that there is no room for its response, and one that returns a
        // failure can be called again.
        let has_ended = match &result {
            Ok(_) | Err(TurnError::NoRoomForResponse) => true,
            Err(error) => error.is_returned(),
        };
        let instance = (has_ended && has_returned && self.init.is_none()).then_some(Instance::Component(self));
        TurnEnd { turn, sockets, late, instance, result, fuel }
    }
}

fn prepare_fuel(store: &mut Store<Host>, limits: &Limits) -> wasmtime::Result<()> {
    store.set_fuel(limits.fuel_per_turn)?;
    store.fuel_async_yield_interval(Some(FUEL_PER_SLICE))
}

/// Calls `init` if this is the instance's first turn, then the handler. The outer error is a trap.
async fn call<E: TurnEvent>(
    store: &mut Store<Host>,
    init: &mut Option<init_handler::Guest>,
    handlers: &Handlers,
    event: E,
    context: &InstanceContext,
) -> wasmtime::Result<Result<E::Answer, TurnError>> {
    if let Some(handler) = init {
        if let Err(failure) = handler.call_init(&mut *store).await? {
            return Ok(Err(guest_failure(failure.code, failure.message, failure.retryable)));
        }
        *init = None;
        store.data_mut().turn.iter_mut().for_each(Turn::handler_begins);
    }
    store.data_mut().late.iter_mut().for_each(LateTurn::handler_begins);
    event.call(store, handlers, context).await
}
