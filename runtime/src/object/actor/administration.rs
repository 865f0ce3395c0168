//! The operations of the admin API on an object: to describe it, to run SQL, to export, import, evict or delete it.
//!
//! Each is taken from the mailbox like a turn and needs no instance. One that may change what is stored drops the
//! instance, because its memory depends on what was stored before. Like a turn's, each outcome goes through the gate.

use std::fs::File;
use std::pin::pin;

use super::super::event::Administration;
use super::super::output_gate;
use super::super::reply::ReplyTo;
use super::{Actor, Ended, Failed, Object, after, storage_failed};
use crate::base::logs::Level;
use crate::base::operation::{Deletion, Description, Eviction};
use crate::base::socket::{CloseFrame, code};
use crate::base::{CheckedDatabase, Computing, CpuTimer, Exhausted, Query, Table, TurnError, WorkBudget};
use crate::storage::{ApplyError, Database, Snapshot, SqlError, Turn};

impl Actor {
    /// Runs the operation and answers it.
    pub(super) async fn administrate(&mut self, mut object: Object, ended: Ended, asked: Administration) -> Object {
        match asked {
            Administration::Describe(reply) => {
                let description = self.describe(&mut object);
                self.answer(object, ended, description.map_err(Failed::from), reply)
            }
            Administration::Delete(reply) => {
                let (mut object, _) = self.drop_instance(object, "the object is deleted");
                let deleted = self.delete(object.database()).await;
                self.answer(object, ended, deleted.map_err(Failed::from), reply)
            }
            Administration::Evict(reply) => {
                let (object, had) = self.drop_instance(object, "it was evicted");
                let eviction = if had { Eviction::Evicted } else { Eviction::Dormant };
                self.answer(object, ended, Ok(eviction), reply)
            }
            Administration::Query(_, reply) if self.mailbox.is_deleted() => {
                self.answer(object, ended, Err(TurnError::Deleted.into()), reply)
            }
            Administration::Query(query, reply) => {
                let (object, table) = self.query(object, *query).await;
                self.answer(object, ended, table.map_err(Failed::from), reply)
            }
            Administration::Import(file, reply) => {
                let (object, imported) = self.import(object, file.0).await;
                self.answer(object, ended, imported.map_err(Failed::from), reply)
            }
            Administration::Export(reply) => match self.snapshot(object.database()).await {
                Ok(Some(snapshot)) => {
                    self.export(snapshot, ended, reply);
                    object
                }
                Ok(None) => self.answer(object, ended, Ok(None), reply),
                Err(error) => self.answer(object, ended, Err(error.into()), reply),
            },
        }
    }

    fn describe(&mut self, object: &mut Object) -> Result<Option<Description>, TurnError> {
        let live = !object.is_dormant();
        let database = object.database();
        self.learn_name(database)?;
        let stored = database.description().map_err(storage_failed)?;
        let sockets = self.sockets.as_ref().map(|sockets| sockets.counts()).unwrap_or_default();
        let exists = stored.is_some() || sockets.sockets > 0;
        Ok(exists.then(|| Description {
            name: self.address.name.clone(),
            bytes: stored.as_ref().map_or(0, |stored| stored.bytes),
            live,
            alarm: stored.and_then(|stored| stored.alarm),
            sockets,
        }))
    }

    /// Runs SQL as a turn. One that may write drops the instance, because its memory depends on what was stored before.
    async fn query(&mut self, mut object: Object, query: Query) -> (Object, Result<Option<Table>, TurnError>) {
        match object.database().description() {
            Ok(Some(_)) => {}
            Ok(None) => return (object, Ok(None)),
            Err(error) => return (object, Err(storage_failed(error))),
        }
        if query.write {
            (object, _) = self.drop_instance(object, "a query of the admin API writes");
        }
        let share = self.host.engine.heavy_work.of(&self.address.key);
        let timer = CpuTimer::new(&self.host.limits, &self.host.env, share);
        let work = WorkBudget::timed(self.host.limits.fuel_per_turn, timer.clone());
        let (database, resident) = object.begin();
        let mut turn = if query.write { Turn::begin(database, work) } else { Turn::begin_reading(database, work) };
        let deleted = self.mailbox.deleted(&self.class);
        let querying = async {
            let queried = Computing::new(pin!(turn.query_sliced(&query.text, &query.parameters)), timer).await;
            Ok(queried.unwrap_or(Err(SqlError::Exhausted(Exhausted::Overloaded))))
        };
        let answer = match deleted.or(querying).await {
            Ok(answer) => answer,
            Err(deleted) => {
                return (after(turn.roll_back(), resident), Err(deleted));
            }
        };
        let broken = turn.broken().cloned();
        let (database, answer) = match answer {
            Ok(table) => {
                let (database, applied) = self.apply(turn).await;
                (database, applied.map(|()| Some(table)))
            }
            Err(error) => {
                let error = match error {
                    SqlError::Exhausted(why) => ApplyError::Exhausted(why).into_turn_error(&self.host.limits),
                    SqlError::Full => TurnError::StorageFull(error.to_string()),
                    _ if let Some(broken) = broken => broken.into_turn_error(&self.host.limits),
                    error => TurnError::Query(error.to_string()),
                };
                (turn.roll_back(), Err(error))
            }
        };
        (after(database, resident), answer)
    }

    /// Returns what is stored at this moment, to be copied while turns go on.
    async fn snapshot(&mut self, database: &mut Database) -> Result<Option<Snapshot>, TurnError> {
        self.durable.reached(self.applied).await.map_err(|_| TurnError::OutcomeUnknown)?;
        database.snapshot().map_err(storage_failed)
    }

    /// Copies a snapshot in a thread of its own, which answers instead of the actor.
    fn export(&self, snapshot: Snapshot, ended: Ended, reply: ReplyTo<Option<File>>) {
        self.host.metrics.turns.inc();
        let (applied, durable, after) = (self.applied, self.durable.clone(), self.outbox.if_waiting());
        let (host, address) = (self.host.clone(), self.address.clone());
        tokio::task::spawn_blocking(move || {
            let copied = snapshot.copy().map(Some).map_err(storage_failed);
            if let Err(error) = &copied {
                host.tell((&address, ended.call), &ended.occasion, (String::new(), Level::Error), error);
            }
            reply.send(output_gate::hold_outcome(copied, applied, &durable), after);
        });
    }

    async fn import(&mut self, object: Object, file: CheckedDatabase) -> (Object, Result<(), TurnError>) {
        let (object, _) = self.drop_instance(object, "a database is imported");
        let (database, resident) = object.begin();
        let (database, applied) = database.import(file).await;
        let imported = applied.map(drop).map_err(|error| error.into_turn_error(&self.host.limits));
        (after(database, resident), imported)
    }

    /// Removes everything that is stored, and closes the sockets. The instance was dropped before, because its memory
    /// depends on what is removed.
    async fn delete(&mut self, database: &mut Database) -> Result<Deletion, TurnError> {
        let deleted = database.delete().await.map_err(storage_failed)?;
        let Some(sockets) = self.sockets.take() else {
            return Ok(if deleted { Deletion::Deleted } else { Deletion::Nothing });
        };
        self.host.sockets.forget(&self.address.id);
        let close_frame = sockets.close_all(&CloseFrame::of_host(code::GOING_AWAY, "the object was deleted"));
        self.release(close_frame, database.last_applied());
        Ok(Deletion::Deleted)
    }
}
