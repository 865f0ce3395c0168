//! Has alarms run when their time has come: one task for all of them.
//!
//! It asks storage which come next, sends each object an invocation, and does not mind what the object does with it: the
//! object looks at its own alarm, and what it decides comes back through storage. What must stay true: an alarm that was
//! taken from storage's index is either looked at by its object or put back.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::{Router, blocking};
use crate::base::{Alarm, ClassKey, Invocation, ObjectAddress, TurnError, alarm::counts_as_attempt};
use crate::storage::alarm_index::Place;

/// Alarms that run at once, so that a host that was down does not do everything in its first second. Most of them wait: for room,
/// for the disk. With 64, half of the alarms of B12 were over 0.2 s late; with 256, over 11 ms.
const RUNNING_MAX: usize = 256;
/// How often the wall clock is looked at while nothing is due: it may be set by hand.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// As many as may run at once. One is taken before an alarm is.
pub(super) fn slots() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(RUNNING_MAX))
}

impl Router {
    /// Runs alarms until the router stops.
    pub async fn run_alarms(self: Arc<Self>) {
        while !self.is_stopping() {
            // Before the clock is looked at, so that no time that passes meanwhile is slept twice.
            let began = self.node.env.elapsed();
            self.look_ahead(began).await;
            // Waits while as many run as may.
            let Ok(slot) = self.alarm_slots.clone().acquire_owned().await else { return };
            let alarms = self.node.databases.alarms();
            let Some((class, place)) = alarms.take_due(self.node.env.wall_ms(), 1).pop() else {
                drop(slot);
                self.wait_for_alarms(began).await;
                continue;
            };
            let router = self.clone();
            self.guests.spawn(async move {
                router.run_alarm(class, place).await;
                drop(slot);
            });
        }
    }

    /// Whether every alarm that is due by then was handed to its object and is done with.
    pub fn alarms_are_done(&self, by_ms: u64) -> bool {
        let alarms = self.node.databases.alarms();
        alarms.knows(by_ms)
            && alarms.first_ms().is_none_or(|first| first > by_ms)
            && self.alarm_slots.available_permits() == RUNNING_MAX
    }

    async fn look_ahead(&self, began: Duration) {
        let now_ms = self.node.env.wall_ms();
        if self.node.databases.alarms().wants_look(now_ms) {
            let databases = self.node.databases.clone();
            if let Err(error) = blocking(move || databases.look_for_alarms(now_ms)).await {
                tracing::error!("which alarms come next could not be read, it is tried again: {error}");
                self.node.env.sleep_until(began + LOOK_EVERY).await;
            }
        }
    }

    async fn wait_for_alarms(&self, began: Duration) {
        let alarms = self.node.databases.alarms();
        let until_first =
            alarms.first_ms().map(|first| Duration::from_millis(first.saturating_sub(self.node.env.wall_ms())));
        let wait = until_first.map_or(LOOK_EVERY, |until| until.min(LOOK_EVERY));
        tokio::select! {
            () = self.node.env.sleep_until(began + wait) => {}
            () = alarms.changed() => {}
        }
    }

    async fn run_alarm(&self, key: ClassKey, place: Place) {
        let (_, id) = place;
        // A class that is gone took its objects with it.
        let Some(class) = self.classes.with_key(&key) else { return };
        let address = ObjectAddress { class: class.name.clone(), key: key.clone(), id, name: None };
        match self.deliver(address, Invocation::Alarm { now: false }).await {
            // What became of it is in storage.
            Ok(_) => {}
            Err(error) if counts_as_attempt(&error) => {}
            Err(TurnError::Stopping) => {}
            Err(error) => {
                tracing::warn!(%id, %error, "an alarm could not be run and is tried again");
                let wait = if let TurnError::Damaged(_) = error { Alarm::DAMAGED_RETRY } else { Alarm::HOST_RETRY };
                let from_ms = self.node.env.wall_ms() + wait.as_millis() as u64;
                self.node.databases.alarms().again(key, place, from_ms);
            }
        }
    }
}
