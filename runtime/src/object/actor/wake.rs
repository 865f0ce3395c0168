//! How an object comes by an instance for its next turn: code of the class's current version, room, and memory.

use std::sync::Arc;

use super::{Actor, Resident, storage_failed};
use crate::base::{CallId, TurnError};
use crate::object::owed::Owed;
use crate::object::residency::Permit;
use crate::storage::Database;
use crate::wasm::{Abandoned, ClassCode, Cost, Instance, InstanceContext};

impl Actor {
    /// The code that the next turn runs.
    pub(super) async fn code(&self) -> Result<Arc<ClassCode>, TurnError> {
        if self.class.is_retired() {
            return Err(TurnError::ClassUnavailable("it is being deleted".into()));
        }
        match self.class.code_if_loaded() {
            Some(code) => Ok(code),
            None => self.class.code(&self.node.loader).await,
        }
    }

    /// The instance of the class's current version: the one at hand, or a new one. Waits for room no longer than anybody waits
    /// for the turn.
    pub(super) async fn wake(
        &mut self,
        database: &mut Database,
        resident: Option<Resident>,
        code: Arc<ClassCode>,
        call: CallId,
        abandoned: Option<Abandoned<'_>>,
    ) -> Result<Resident, TurnError> {
        match resident {
            Some(mut resident) if Arc::ptr_eq(resident.instance.code(), &code) => {
                resident.permit.mark_busy();
                resident.instance.learn_name(self.address.name.as_ref());
                return Ok(resident);
            }
            // What an instance of another version set on its connection goes with it.
            of_another => drop(of_another),
        }
        database.reset_session();
        self.learn_name(database)?;
        let permit = self.admit(code.cost, abandoned).await?;
        let instance = self.instantiate(code, call).await?;
        Ok(Resident { instance, permit, owed: Owed::default() })
    }

    async fn admit(&self, cost: Cost, abandoned: Option<Abandoned<'_>>) -> Result<Permit, TurnError> {
        let admitted = self.node.residency.admit(&self.class.key, cost, &self.mailbox);
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

    async fn instantiate(&self, code: Arc<ClassCode>, call: CallId) -> Result<Instance, TurnError> {
        let context = InstanceContext {
            address: self.address.clone(),
            limits: self.node.limits.clone(),
            logs: self.node.logs.clone(),
            env: self.node.env.clone(),
        };
        self.node.metrics.instances_started.inc();
        Instance::new(&self.node.engine, code, context, call).await
    }

    /// An object that is reached by id knows its name all the same if it was ever stored with one.
    pub(super) fn learn_name(&mut self, database: &mut Database) -> Result<(), TurnError> {
        if self.address.name.is_none() {
            self.address.name = database.name().map_err(storage_failed)?;
        }
        Ok(())
    }
}
