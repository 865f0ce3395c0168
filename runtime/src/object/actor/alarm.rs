//! How an actor runs its object's alarm: the rows in the database say whether it is due, and what happens when it
//! fails.

use super::{Actor, Failed, Object, Outcome, Waiter, after, storage_failed};
use crate::base::alarm::{ATTEMPTS_MAX, counts_as_attempt, gives_up};
use crate::base::logs::Level;
use crate::base::operation::{AlarmRun, RunAlarm};
use crate::base::{Alarm, Call, TakenAlarm, TurnError, WorkBudget};
use crate::storage::Turn;

impl Actor {
    /// Runs the alarm if it is due, and reports to the index what the alarm is afterwards, changed or not. When the
    /// host has failed nothing is reported, so the alarm is delivered again. Returns the alarm that was run, too.
    pub(super) async fn alarm(
        &mut self,
        mut object: Object,
        call: &Call<()>,
        asked: RunAlarm,
    ) -> (Object, Result<Outcome<AlarmRun>, Failed>, Option<TakenAlarm>) {
        let now_ms = match asked {
            RunAlarm::Now => u64::MAX,
            RunAlarm::IfDue => self.host.env.wall_ms(),
        };
        // None if it was deleted or set to another time meanwhile, or the clock was set back.
        let taken = match object.database().take_alarm(now_ms) {
            Ok(taken) => taken,
            Err(error) => return (object, Err(storage_failed(error).into()), None),
        };
        let (is_told, outcome);
        (object, is_told, outcome) = match taken {
            None => (object, true, Ok(Outcome::Now(AlarmRun::NotDue))),
            Some(taken) => self.run_taken(object, call, taken).await,
        };
        if !is_told {
            return (object, outcome, taken);
        }
        match object.database().report_alarm() {
            Ok(()) => (object, outcome, taken),
            Err(error) => (object, Err(storage_failed(error).into()), taken),
        }
    }

    /// Runs an alarm. Returns whether what becomes of it is stored.
    async fn run_taken(
        &mut self,
        object: Object,
        call: &Call<()>,
        taken: TakenAlarm,
    ) -> (Object, bool, Result<Outcome<AlarmRun>, Failed>) {
        let (object, ran) = self.run_alarm(object, call, taken).await;
        match ran {
            Ok(ran) => (object, true, Ok(ran.map(|()| AlarmRun::Ran))),
            Err(error) if counts_as_attempt(&error) => match self.alarm_failed(object, taken, &error).await {
                (object, Ok(again_ms)) => {
                    let consequence = self.alarm_consequence(taken.alarm, &error, again_ms);
                    (object, true, Err(Failed { error, consequence }))
                }
                (object, Err(error)) => (object, false, Err(error.into())),
            },
            Err(error) => {
                let what = match error {
                    TurnError::NoHandler(_) => " and waits for a version that handles alarms",
                    _ => " and is tried again",
                };
                (object, false, Err(Failed { error, consequence: (what.into(), Level::Warn) }))
            }
        }
    }

    async fn run_alarm(
        &mut self,
        object: Object,
        call: &Call<()>,
        taken: TakenAlarm,
    ) -> (Object, Result<Outcome<()>, TurnError>) {
        self.host.metrics.alarms.inc();
        let host = self.host.clone();
        match host.databases.alarm_runs().begin(self.address.id) {
            Some(_running) => self.turn(object, call, taken, Waiter::default()).await,
            None => {
                let reason = "the host ended three times in a row while it ran".into();
                (object, Err(TurnError::Trap { reason, stack: None }))
            }
        }
    }

    /// Records in a turn of the host's own when the alarm is retried, or that it is given up. Returns in how many
    /// milliseconds it is retried.
    pub(super) async fn alarm_failed(
        &mut self,
        object: Object,
        taken: TakenAlarm,
        error: &TurnError,
    ) -> (Object, Result<Option<u64>, TurnError>) {
        let now_ms = self.host.env.wall_ms();
        let next = taken.alarm.after_error(error, now_ms, &self.host.env);
        let (database, resident) = object.begin();
        let mut turn = Turn::begin(database, WorkBudget::unlimited());
        match taken.again {
            true => turn.end_alarm(taken.serial, next),
            false => turn.set_alarm(next),
        }
        let (database, applied) = self.apply(turn).await;
        let again_ms = next.map(|next| next.next_ms.saturating_sub(now_ms));
        (after(database, resident), applied.map(|()| again_ms))
    }

    /// Counts an alarm that has failed for the last time. Returns what happens to it, in words; the time until it is
    /// tried again is in milliseconds.
    pub(super) fn alarm_consequence(&self, alarm: Alarm, error: &TurnError, again_ms: Option<u64>) -> (String, Level) {
        let attempt = alarm.attempt + 1;
        let text = format!(" (attempt {attempt} of {ATTEMPTS_MAX})");
        if attempt >= ATTEMPTS_MAX || gives_up(error) {
            self.host.metrics.alarms_given_up.inc();
            return (format!("{text} and is given up"), Level::Error);
        }
        let when = again_ms.map_or_else(String::new, |ms| format!(" in {:.1} s", ms as f64 / 1000.0));
        (format!("{text} and is tried again{when}"), Level::Warn)
    }
}
