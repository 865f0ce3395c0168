//! Runs due alarms: one task schedules all of them, another checks that none is lost.
//!
//! The scheduler asks storage which alarms come next and sends each object a call; it does not depend on what the
//! object does with it: the object reads its own alarm, and writes the resulting alarm to storage's index. Invariants:
//! an alarm that was taken from the index is delivered, and then either its object has written its alarm to the index
//! or the alarm is put back; a class whose alarms use its full share delays no other class; the alarms of a class whose
//! version has no handler wait for one that has.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::{Router, blocking};
use crate::base::logs::{Level, LogEntry};
use crate::base::operation::{AlarmRun, RunAlarm};
use crate::base::share::{Slot, Slots};
use crate::base::{Alarm, Call, Cause, ClassKey, ObjectAddress, Principal, TurnError, alarm::counts_as_attempt};
use crate::storage::alarm_index::{Now, Place};
use crate::storage::alarm_look::{Suspects, TOLERANCE};

/// Alarms that run at once, so that a host that was down does not do everything in its first second. Most of them wait:
/// for room, for the disk. With 64, half of the alarms of B12 were over 0.2 s late; with 256, over 11 ms. A class alone
/// may have four fifths of these, which is 256.
const RUNNING_MAX: usize = 320;
/// The interval at which the wall clock is read while no alarm is due: an operator may set it.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The number of alarms that are sent before the clock is read again.
const AT_ONCE: usize = 64;

/// Creates the slots for running alarms, which classes share. A slot is taken before an alarm is.
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
            // Not awaited: it reads catalogs, which may take as long as the disk does, and alarms in memory must not be
            // late.
            if looking.is_none() && now.elapsed >= look_from && alarms.wants_look(now.wall_ms) {
                looking = Some(tokio::spawn(self.clone().look_ahead(now.wall_ms)));
            }
            let admit = |class: &ClassKey| self.handles_alarms(class).then(|| self.alarm_slots.try_acquire(class))?;
            let round = alarms.take_due(now, AT_ONCE, LOOK_EVERY, admit);
            if round.due.is_empty() {
                tokio::select! {
                    () = self.host.env.sleep_until(now.elapsed + round.wait) => {}
                    () = alarms.changed() => {}
                    // The time may have passed the new horizon meanwhile.
                    looked = async { looking.as_mut().expect("it is there").await }, if looking.is_some() => {
                        looking = None;
                        if !looked.unwrap_or(false) {
                            look_from = now.elapsed + LOOK_EVERY;
                        }
                    }
                }
            }
            for (class, place, slot) in round.due {
                self.delivery.guests.spawn(self.clone().run_alarm(class, place, slot));
            }
        }
    }

    /// Checks for overdue alarms until the router stops.
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

    /// Reports whether every alarm that is due by now was sent to its object and is finished.
    pub fn alarms_are_done(&self) -> bool {
        self.host.databases.alarms().are_done(self.now()) && self.alarm_slots.all_free()
    }

    /// Reports whether the class's current version handles alarms, and logs it once if not. The alarms of a version
    /// without a handler stay as they are, due and unchanged, until a version has one; the scheduler notices that
    /// within [`LOOK_EVERY`].
    fn handles_alarms(&self, key: &ClassKey) -> bool {
        // The alarm of a deleted class is handled where it is sent.
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

    /// Reads the alarms of the next minute. Returns false if that failed; those in memory are sent nevertheless.
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
        // The objects of a deleted class were deleted with it.
        let Some(class) = self.classes.with_key(&key) else { return alarms.forget(&id) };
        let target = ObjectAddress { class: class.name(), key, id, name: None };
        let of_host = (Cause::Alarm, Principal::Host);
        let delivered = self.deliver(Call::new(self.call_id(), target, of_host, RunAlarm::IfDue)).await;
        drop(slot);
        if let Ok(AlarmRun::Suspended) = delivered {
            // The object reports when the handler has ended or its instance is dropped.
            return alarms.has_room();
        }
        let wait = match delivered {
            Err(TurnError::Damaged(_) | TurnError::ClassOutdated(_)) => Alarm::DAMAGED_RETRY,
            _ => Alarm::HOST_RETRY,
        };
        let put_back = alarms.settled(&id, self.host.env.elapsed() + wait);
        match delivered {
            Err(error) if !counts_as_attempt(&error) && !matches!(error, TurnError::Stopping) => {
                // Its object has updated the index, unless it was never asked.
                tracing::debug!(%id, %error, "an alarm could not be run; it is retried");
            }
            Err(error) if put_back => {
                tracing::warn!(%id, %error, "failed to store that an alarm failed; the alarm is retried");
            }
            _ => {}
        }
    }
}
