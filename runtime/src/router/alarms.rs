//! Has alarms run when their time has come: one task for all of them, and one that checks that none is lost.
//!
//! It asks storage which come next, sends each object a call, and does not mind what the object does with it: the
//! object looks at its own alarm, and says in storage's index what the alarm is afterwards. What must stay true: an alarm that was
//! taken from the index is delivered, and then either its object has said what its alarm is or the alarm is put back; a
//! class whose alarms take all that it may have holds up no other class; the alarms of a class whose version has no handler wait
//! for one that has.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::{Router, blocking};
use crate::base::logs::{Level, LogEntry};
use crate::base::operation::RunAlarm;
use crate::base::share::{Slot, Slots};
use crate::base::{Alarm, Call, Cause, ClassKey, ObjectAddress, Principal, TurnError, alarm::counts_as_attempt};
use crate::storage::alarm_index::{Now, Place};
use crate::storage::alarm_look::{Suspects, TOLERANCE};

/// Alarms that run at once, so that a host that was down does not do everything in its first second. Most of them wait: for room,
/// for the disk. With 64, half of the alarms of B12 were over 0.2 s late; with 256, over 11 ms. A class alone may have four
/// fifths of these, which is 256.
const RUNNING_MAX: usize = 320;
/// How often the wall clock is looked at while nothing is due: it may be set by hand.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Alarms that are sent before the clock is looked at again.
const AT_ONCE: usize = 64;

/// As many as may run at once, shared by classes. One is taken before an alarm is.
pub(super) fn slots() -> Arc<Slots> {
    Slots::lasting(RUNNING_MAX, 0)
}

impl Router {
    /// Runs alarms until the router stops.
    pub async fn run_alarms(self: Arc<Self>) {
        let alarms = self.host.databases.alarms();
        let (mut look_from, mut looking) = (Duration::ZERO, None::<JoinHandle<bool>>);
        while !self.is_stopping() {
            let now = self.now();
            if let Some(looked) = looking.take_if(|look| look.is_finished())
                && !looked.await.unwrap_or(false)
            {
                look_from = now.elapsed + LOOK_EVERY;
            }
            // Not waited for: it reads catalogs, which may take as long as the disk does, and what is in memory must not be late.
            if looking.is_none() && now.elapsed >= look_from && alarms.wants_look(now.wall_ms) {
                looking = Some(tokio::spawn(self.clone().look_ahead(now.wall_ms)));
            }
            let admit = |class: &ClassKey| self.handles_alarms(class).then(|| self.alarm_slots.try_acquire(class))?;
            let round = alarms.take_due(now, AT_ONCE, LOOK_EVERY, admit);
            if round.due.is_empty() {
                tokio::select! {
                    () = self.host.env.sleep_until(now.elapsed + round.wait) => {}
                    () = alarms.changed() => {}
                    // Time may have passed the new horizon meanwhile.
                    looked = async { looking.as_mut().expect("it is there").await }, if looking.is_some() => {
                        looking = None;
                        if !looked.unwrap_or(false) {
                            look_from = now.elapsed + LOOK_EVERY;
                        }
                    }
                }
            }
            for (class, place, slot) in round.due {
                self.guests.spawn(self.clone().run_alarm(class, place, slot));
            }
        }
    }

    /// Looks for alarms that are overdue until the router stops.
    pub async fn check_alarms(self: Arc<Self>) {
        let mut suspects = Suspects::default();
        while !self.is_stopping() {
            self.host.env.sleep_until(self.host.env.elapsed() + TOLERANCE).await;
            let (databases, now_ms) = (self.host.databases.clone(), self.host.env.wall_ms());
            let checking = blocking(move || (databases.check_alarms(now_ms, &mut suspects), suspects));
            let checked;
            (checked, suspects) = checking.await;
            match checked {
                Ok(check) => {
                    self.host.metrics.alarms_overdue.set(check.overdue as i64);
                    self.host.metrics.alarms_rearmed.inc_by(check.rearmed.len() as u64);
                    if let Some((due_ms, id)) = check.rearmed.first() {
                        let count = check.rearmed.len();
                        tracing::warn!(%id, due_ms, "{count} alarms were overdue and not armed, and are armed again");
                    }
                }
                Err(error) => tracing::error!("failed to check for overdue alarms: {error}"),
            }
        }
    }

    /// Whether every alarm that is due by now was handed to its object and is done with.
    pub fn alarms_are_done(&self) -> bool {
        self.host.databases.alarms().are_done(self.now()) && self.alarm_slots.all_free()
    }

    /// Whether the class's current version handles alarms; says it once if not. The alarms of a version that does not stay where
    /// they are, due and untouched, until there is one that does; the scheduler sees that within [`LOOK_EVERY`].
    fn handles_alarms(&self, key: &ClassKey) -> bool {
        // One that is gone is left to whoever takes the alarm.
        let Some(class) = self.classes.with_key(key).filter(|class| !class.handles_alarms()) else { return true };
        if let Some(version) = class.tell_that_alarms_wait() {
            let message =
                format!("alarms wait: version {version} exports no alarm-handler; they come once a version does");
            let name = class.name().to_string();
            tracing::warn!(class = %name, "{message}");
            let (time, object) = (self.host.env.wall_ms(), "(several)".to_owned());
            let (key, level, fields) = (class.key.clone(), Level::Warn, Vec::new());
            self.host.logs.add(LogEntry { time, class: name, key, object, call: None, level, message, fields });
        }
        false
    }

    fn now(&self) -> Now {
        // In this order, so that no time that passes meanwhile is slept twice.
        let elapsed = self.host.env.elapsed();
        Now { wall_ms: self.host.env.wall_ms(), elapsed }
    }

    /// Reads the alarms of the next minute. False if that failed; those in memory come all the same.
    async fn look_ahead(self: Arc<Self>, now_ms: u64) -> bool {
        let databases = self.host.databases.clone();
        let looked = blocking(move || databases.look_for_alarms(now_ms)).await;
        looked
            .inspect_err(|error| tracing::error!("failed to read which alarms come next; retrying in 1 s: {error}"))
            .is_ok()
    }

    async fn run_alarm(self: Arc<Self>, key: ClassKey, place: Place, slot: Slot) {
        let (_, id) = place;
        let alarms = self.host.databases.alarms();
        // A class that is gone took its objects with it.
        let Some(class) = self.classes.with_key(&key) else { return alarms.forget(&id) };
        let target = ObjectAddress { class: class.name(), key, id, name: None };
        let of_host = (Cause::Alarm, Principal::Host);
        let delivered = self.deliver(Call::new(self.call_id(), target, of_host, RunAlarm::IfDue)).await;
        drop(slot);
        let wait = match delivered {
            Err(TurnError::Damaged(_) | TurnError::ClassOutdated(_)) => Alarm::DAMAGED_RETRY,
            _ => Alarm::HOST_RETRY,
        };
        let put_back = alarms.settled(&id, self.host.env.elapsed() + wait);
        match delivered {
            Err(error) if !counts_as_attempt(&error) && !matches!(error, TurnError::Stopping) => {
                // Its object has told of it, unless it was never asked.
                tracing::debug!(%id, %error, "an alarm could not be run and is tried again");
            }
            Err(error) if put_back => {
                tracing::warn!(%id, %error, "that an alarm failed could not be stored, and it is tried again");
            }
            _ => {}
        }
    }
}
