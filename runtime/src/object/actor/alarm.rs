//! How an actor runs its object's alarm: the row in the database says whether it is due, and what happens when it
//! fails.

use super::{Actor, Failed, Object, Outcome, after, storage_failed};
use crate::base::alarm::{ATTEMPTS_MAX, counts_as_attempt};
use crate::base::logs::Level;
use crate::base::operation::{AlarmRun, RunAlarm};
use crate::base::{Alarm, Call, TurnError, WorkBudget};
use crate::storage::Turn;

impl Actor {
    /// Runs the alarm if it is due, and reports to the index what the alarm is afterwards, changed or not. When the
    /// host has failed nothing is reported, so the alarm is delivered again.
    pub(super) async fn alarm(
        &mut self,
        mut object: Object,
        call: &Call<()>,
        asked: RunAlarm,
    ) -> (Object, Result<Outcome<AlarmRun>, Failed>) {
        let alarm = match object.database().alarm() {
            Ok(alarm) => alarm,
            Err(error) => return (object, Err(storage_failed(error).into())),
        };
        // Otherwise it was deleted or set to another time meanwhile, or the clock was set back.
        let due = alarm.filter(|alarm| asked == RunAlarm::Now || self.host.env.wall_ms() >= alarm.next_ms);
        let outcome = match due {
            None => Ok(Outcome::Now(AlarmRun::NotDue)),
            Some(alarm) => {
                let ran;
                (object, ran) = self.run_alarm(object, call, alarm).await;
                match ran {
                    Ok(ran) => Ok(ran.map(|()| AlarmRun::Ran)),
                    Err(error) if counts_as_attempt(&error) => {
                        let consequence;
                        let is_last = matches!(&error, TurnError::Guest(failure) if failure.gives_up());
                        (object, consequence) = self.alarm_failed(object, alarm, is_last).await;
                        match consequence {
                            Ok(consequence) => Err(Failed { error, consequence }),
                            Err(error) => return (object, Err(error.into())),
                        }
                    }
                    Err(error) => {
                        let what = match error {
                            TurnError::NoHandler(_) => " and waits for a version that handles alarms",
                            _ => " and is tried again",
                        };
                        return (object, Err(Failed { error, consequence: (what.into(), Level::Warn) }));
                    }
                }
            }
        };
        match object.database().report_alarm() {
            Ok(()) => (object, outcome),
            Err(error) => (object, Err(storage_failed(error).into())),
        }
    }

    async fn run_alarm(
        &mut self,
        object: Object,
        call: &Call<()>,
        alarm: Alarm,
    ) -> (Object, Result<Outcome<()>, TurnError>) {
        self.host.metrics.alarms.inc();
        let host = self.host.clone();
        match host.databases.alarm_runs().begin(self.address.id) {
            Some(_running) => self.turn(object, call, alarm, None).await,
            None => {
                let reason = "the host ended three times in a row while it ran".into();
                (object, Err(TurnError::Trap { reason, stack: None }))
            }
        }
    }

    /// Records in a turn of the host's own when the alarm is retried, or that it is given up, as the handler can ask
    /// for (`is_last`). Returns what happens to it, in words.
    async fn alarm_failed(
        &mut self,
        object: Object,
        alarm: Alarm,
        is_last: bool,
    ) -> (Object, Result<(String, Level), TurnError>) {
        let now_ms = self.host.env.wall_ms();
        let next = if is_last { None } else { alarm.after_failure(now_ms, &self.host.env) };
        let (database, resident) = object.begin();
        let mut turn = Turn::begin(database, WorkBudget::unlimited());
        turn.set_alarm(next);
        let (database, applied) = self.apply(turn).await;
        let object = after(database, resident);
        if let Err(error) = applied {
            return (object, Err(error));
        }
        let attempt = format!(" (attempt {} of {ATTEMPTS_MAX})", alarm.attempt + 1);
        let consequence = match next {
            Some(next) => {
                let seconds = next.next_ms.saturating_sub(now_ms) as f64 / 1000.0;
                (format!("{attempt} and is tried again in {seconds:.1} s"), Level::Warn)
            }
            None => {
                self.host.metrics.alarms_given_up.inc();
                (format!("{attempt} and is given up"), Level::Error)
            }
        };
        (object, Ok(consequence))
    }
}
