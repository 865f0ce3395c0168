//! How an actor gets an instance for the next turn: code of the class's current version, room, and memory.

use std::sync::Arc;

use super::{Actor, Resident, storage_failed};
use crate::base::{Call, CallId, ClassKey, MemoryCharge, ObjectAddress, TurnError};
use crate::object::host_context::HostContext;
use crate::object::mailbox::Mailbox;
use crate::object::owed::Owed;
use crate::object::residency::{Need, Permit};
use crate::storage::Database;
use crate::wasm::{CallerOf, ClassCode, Instance, InstanceContext, Late, Signal};

impl Actor {
    /// Returns the code that the next turn runs.
    pub(super) async fn code(&self) -> Result<Arc<ClassCode>, TurnError> {
        if self.class.is_retired() {
            return Err(TurnError::ClassUnavailable("it is being deleted".into()));
        }
        match self.class.code_if_loaded() {
            Some(code) => Ok(code),
            None => self.mailbox.deleted(&self.class).or(self.class.code(&self.host.loader)).await,
        }
    }

    /// Returns an instance of the class's current version: the live one, or a new one. Waits for room no longer than
    /// the caller waits for the turn.
    pub(super) async fn wake(
        &mut self,
        database: &mut Database,
        resident: Option<Resident>,
        code: Arc<ClassCode>,
        call: &Call<()>,
        abandoned: Option<Signal<'_>>,
    ) -> Result<Resident, TurnError> {
        match resident {
            // One that owes answers ends them first; when it is late, it is dropped between turns.
            Some(mut resident) if Arc::ptr_eq(resident.instance.code(), &code) || !resident.owed.is_empty() => {
                resident.permit.mark_busy();
                resident.instance.learn_name(self.address.name.as_ref());
                return Ok(resident);
            }
            // What an instance of another version has set on its connection is reset.
            Some(Resident { instance, permit, late, owed, .. }) => {
                // Its room may be what the new instance needs.
                drop((instance, permit));
                _ = self.forget_late_work(late, owed, "its class has another version", database.last_applied());
                self.alarm_is_dropped(database);
            }
            None => {}
        }
        database.reset_session();
        // A new instance knows the class by its present name.
        self.address.class = self.class.name();
        self.learn_name(database)?;
        let (host, address, mailbox) = (&self.host, &self.address, &self.mailbox);
        let calls = self.class.calls();
        let may_call = code.may_call() && !calls.is_empty();
        let caller = may_call.then(|| CallerOf { calls, caller: self.caller.clone() });
        let need = Need { cost: code.cost, depth: call.chain.depth(), may_call };
        let making = async {
            let mut permit = host.admit(&address.key, need, mailbox, abandoned).await?;
            let instance = host.instantiate(address, code, (call.id, caller), permit.take_memory()).await?;
            let (late, owed, last_event) = (Late::default(), Owed::default(), host.env.elapsed());
            Ok(Resident {
                instance,
                permit,
                late,
                owed,
                last_event,
                leaves_by: None,
                exclusive_until: None,
                is_held: false,
                asks_to_leave: false,
            })
        };
        mailbox.deleted(&self.class).or(Box::pin(making)).await
    }

    /// Reads the name of an object that was reached by id, if it was ever stored with one.
    pub(super) fn learn_name(&mut self, database: &mut Database) -> Result<(), TurnError> {
        if self.address.name.is_none() {
            self.address.name = database.name().map_err(storage_failed)?;
        }
        Ok(())
    }
}

impl HostContext {
    /// Waits for room for an instance, no longer than the caller waits for the turn.
    async fn admit(
        &self,
        class: &ClassKey,
        need: Need,
        mailbox: &Mailbox,
        abandoned: Option<Signal<'_>>,
    ) -> Result<Permit, TurnError> {
        let admitted = self.residency.admit(class, need, mailbox);
        match abandoned {
            None => admitted.await,
            Some(abandoned) => tokio::select! {
                biased;
                permit = admitted => permit,
                () = abandoned => return Err(TurnError::Abandoned),
            },
        }
        .ok_or(TurnError::NoCapacity)
    }

    async fn instantiate(
        &self,
        address: &ObjectAddress,
        code: Arc<ClassCode>,
        (call, caller): (CallId, Option<CallerOf>),
        memory: MemoryCharge,
    ) -> Result<Instance, TurnError> {
        let context = InstanceContext {
            address: address.clone(),
            limits: self.limits.clone(),
            memory: self.memory.account(&address.key),
            logs: self.logs.clone(),
            room: self.residency.clone(),
            env: self.env.clone(),
            caller,
        };
        self.metrics.instances_started.inc();
        Instance::new(&self.engine, code, context, call, memory).await
    }
}
