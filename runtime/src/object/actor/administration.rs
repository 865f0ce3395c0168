//! What the admin API asks of an object: to say what it is, to run SQL, to be copied, replaced or deleted.
//!
//! Each is taken from the mailbox like a turn and needs no instance. What may change what is stored drops the instance: its memory
//! tells of what was there. Like a turn's, each outcome goes through the gate.

use std::pin::pin;

use super::super::handle::{Outcome, ReplyTo};
use super::super::lifecycle::Event;
use super::super::output_gate;
use super::{Actor, storage_failed};
use crate::base::invocation::Description;
use crate::base::logs::Level;
use crate::base::socket::{Goodbye, code};
use crate::base::{CheckedDatabase, Computing, CpuTimer, Exhausted, Occasion, Query, Reply, TurnError, WorkBudget};
use crate::storage::{ApplyError, Snapshot, SqlError};

impl Actor {
    pub(super) fn describe(&mut self) -> Outcome {
        self.advance(Event::InvokedWithoutInstance);
        self.learn_name()?;
        let database = self.database.as_mut().expect("no turn is running");
        let stored = database.description().map_err(storage_failed)?;
        let sockets = self.sockets.as_ref().map(|sockets| sockets.counts()).unwrap_or_default();
        let exists = stored.is_some() || sockets.sockets > 0;
        let description = exists.then(|| Description {
            name: self.address.name.clone(),
            bytes: stored.as_ref().map_or(0, |stored| stored.bytes),
            live: self.resident.is_some(),
            alarm: stored.and_then(|stored| stored.alarm),
            sockets,
        });
        Ok(Reply::Description(description))
    }

    /// Runs SQL of the admin API as a turn. One that may write drops the instance: its memory tells of what was there.
    pub(super) async fn query(&mut self, query: Query) -> Outcome {
        self.advance(Event::InvokedWithoutInstance);
        let database = self.database.as_mut().expect("no turn is running");
        if database.description().map_err(storage_failed)?.is_none() {
            return Ok(Reply::Table(None));
        }
        if query.write {
            self.advance(Event::DropAsked);
        }
        let share = self.node.engine.heavy_work.of(&self.address.key);
        let timer = CpuTimer::new(&self.node.limits, &self.node.env, share);
        let work = WorkBudget::timed(self.node.limits.fuel_per_turn, timer.clone());
        let database = self.database.take().expect("no turn is running");
        let mut turn = if query.write { database.begin(work) } else { database.begin_reading(work) };
        let deleted = self.mailbox.deleted(&self.class);
        let querying = async {
            let queried = Computing::new(pin!(turn.query_sliced(&query.text, &query.parameters)), timer).await;
            Ok(queried.unwrap_or(Err(SqlError::Exhausted(Exhausted::Overloaded))))
        };
        let answer = match deleted.or(querying).await {
            Ok(answer) => answer,
            Err(deleted) => {
                self.database = Some(turn.roll_back());
                return Err(deleted);
            }
        };
        let broken = turn.broken().cloned();
        match answer {
            Ok(table) => self.apply(turn).await.map(|()| Reply::Table(Some(Box::new(table)))),
            Err(error) => {
                self.database = Some(turn.roll_back());
                Err(match error {
                    SqlError::Exhausted(why) => ApplyError::Exhausted(why).into_turn_error(&self.node.limits),
                    SqlError::Full => TurnError::StorageFull(error.to_string()),
                    _ if let Some(broken) = broken => broken.into_turn_error(&self.node.limits),
                    error => TurnError::Query(error.to_string()),
                })
            }
        }
    }

    /// What is stored at this moment, to be copied while turns go on.
    pub(super) async fn snapshot(&mut self) -> Result<Option<Snapshot>, TurnError> {
        self.advance(Event::InvokedWithoutInstance);
        self.durable.reached(self.applied).await;
        self.database.as_mut().expect("no turn is running").snapshot().map_err(storage_failed)
    }

    /// Copies it in a thread of its own, which answers in the place of the actor.
    pub(super) fn export(&self, snapshot: Snapshot, occasion: Occasion, reply: ReplyTo) {
        self.node.metrics.turns.inc();
        let (applied, durable, after) = (self.applied, self.durable.clone(), self.outbox.if_waiting());
        let (node, address) = (self.node.clone(), self.address.clone());
        tokio::task::spawn_blocking(move || {
            let copied = snapshot.copy().map(|file| Reply::File(Some(file))).map_err(storage_failed);
            if let Err(error) = &copied {
                node.tell(&address, &occasion, (String::new(), Level::Error), error);
            }
            reply.send(output_gate::hold(copied, applied, &durable), after);
        });
    }

    pub(super) async fn import(&mut self, file: CheckedDatabase) -> Outcome {
        self.advance(Event::InvokedWithoutInstance);
        self.advance(Event::DropAsked);
        let (database, applied) = self.database.take().expect("no turn is running").import(file).await;
        self.database = Some(database);
        applied.map(|_| Reply::Done(true)).map_err(|error| error.into_turn_error(&self.node.limits))
    }

    /// Removes everything that is stored, and closes the sockets. The instance goes, too: its memory tells of what is gone.
    pub(super) async fn delete(&mut self) -> Outcome {
        self.advance(Event::InvokedWithoutInstance);
        self.advance(Event::DropAsked);
        let database = self.database.as_mut().expect("no turn is running");
        let deleted = database.delete().await.map_err(storage_failed)?;
        let Some(sockets) = self.sockets.take() else { return Ok(Reply::Done(deleted)) };
        self.node.sockets.forget(&self.address.id);
        self.release(sockets.goodbye_to_all(&Goodbye::of_host(code::GOING_AWAY, "the object was deleted")));
        Ok(Reply::Done(true))
    }
}
