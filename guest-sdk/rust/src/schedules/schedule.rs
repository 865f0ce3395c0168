//! When a job runs: the pure part of schedules, from times to times. No storage, and no clock but [`now`].
//! Times are milliseconds since the Unix epoch.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, Utc};
use croner::parser::{CronParser, Seconds, Year};

use crate::alarm::{When, millis};

/// How long a job waits after its first failure, its second and so on: as the host does with alarms. After one more it
/// is given up.
const RETRY_SECONDS: [u64; 6] = [2, 4, 8, 16, 32, 64];
/// The latest time of an alarm.
const MAX: u64 = (1 << 53) - 1;

/// When a job is to run. Made in the turn that adds the job.
///
/// ```
/// use std::time::Duration;
/// use holdfast::schedules::Schedule;
///
/// let in_a_minute = Schedule::once(Duration::from_secs(60))?;
/// let hourly = Schedule::every(Duration::from_secs(3600))?;
/// let on_workdays_at_nine = Schedule::cron("0 9 * * MON-FRI")?;
/// assert_eq!(Schedule::cron("0 25 * * *").unwrap_err().to_string(), "no schedule: 0 25 * * *: Component error: Number out of bounds.");
/// # Ok::<(), holdfast::schedules::BadSchedule>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    first: u64,
    repeat: Option<Repeat>,
}

impl Schedule {
    /// Once: a [`Duration`] from now, or at a [`SystemTime`]. A time that has passed is now.
    ///
    /// # Errors
    /// A time before 1970, or further away than an alarm can be set.
    pub fn once(when: impl Into<When>) -> Result<Self, BadSchedule> {
        match when.into().time().and_then(millis) {
            Ok(first) if first <= MAX => Ok(Self { first: first.max(1), repeat: None }),
            _ => Err(BadSchedule("a time before 1970, or too far in the future".into())),
        }
    }

    /// Repeats, the first time one interval from now. The duration of jobs does not add up: the times are whole
    /// intervals apart, and those that are missed are left out.
    ///
    /// # Errors
    /// An interval under a second.
    pub fn every(interval: Duration) -> Result<Self, BadSchedule> {
        if interval < Duration::from_secs(1) {
            return Err(BadSchedule("an interval under a second".into()));
        }
        Ok(Self { repeat: Some(Repeat::Every(interval)), ..Self::once(interval)? })
    }

    /// By a cron expression in UTC: minute, hour, day of the month, month, day of the week; with six fields the first
    /// is the second. As in Vixie's cron, with names (`MON-FRI`, `@daily`), `L` for last, `#` for the nth weekday and
    /// `W` for the closest workday.
    ///
    /// # Errors
    /// An expression that is wrong, or that no time fits; the error says why.
    pub fn cron(expression: &str) -> Result<Self, BadSchedule> {
        Ok(Self { first: next_by_cron(expression, now())?, repeat: Some(Repeat::Cron(expression.to_owned())) })
    }

    pub(super) fn first(&self) -> u64 {
        self.first
    }

    pub(super) fn repeat_text(&self) -> Option<String> {
        self.repeat.as_ref().map(Repeat::to_string)
    }
}

/// How a job is repeated. Shown as it is stored: `every 60000` (milliseconds) or `cron 0 9 * * MON-FRI`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// Whole intervals from its first time.
    Every(Duration),
    /// By a cron expression in UTC.
    Cron(String),
}

impl Repeat {
    /// The first time that is later than now.
    fn next(&self, scheduled: u64, now: u64) -> Result<u64, BadSchedule> {
        match self {
            Self::Every(interval) => {
                let interval = interval.as_millis() as u64;
                let missed = now.saturating_sub(scheduled) / interval;
                Ok(scheduled.saturating_add((missed + 1).saturating_mul(interval)).min(MAX))
            }
            Self::Cron(expression) => next_by_cron(expression, now),
        }
    }
}

impl fmt::Display for Repeat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Every(interval) => write!(f, "every {}", interval.as_millis()),
            Self::Cron(expression) => write!(f, "cron {expression}"),
        }
    }
}

impl FromStr for Repeat {
    type Err = BadSchedule;

    fn from_str(text: &str) -> Result<Self, BadSchedule> {
        match text.split_once(' ') {
            Some(("cron", expression)) => Ok(Self::Cron(expression.to_owned())),
            Some(("every", interval)) => match interval.parse() {
                Ok(interval @ 1_000..) => Ok(Self::Every(Duration::from_millis(interval))),
                _ => Err(BadSchedule(text.to_owned())),
            },
            _ => Err(BadSchedule(text.to_owned())),
        }
    }
}

/// The reason why a schedule is invalid, as a text for its author.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no schedule: {0}")]
pub struct BadSchedule(String);

/// Where a job stands after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Next {
    pub(super) scheduled: u64,
    /// None: it has failed for good.
    pub(super) due: Option<u64>,
    pub(super) failures: u32,
}

/// None if it is done.
pub(super) fn after_success(scheduled: u64, repeat: Option<&Repeat>, now: u64) -> Option<Next> {
    let next = repeat?.next(scheduled, now).ok()?;
    Some(Next { scheduled: next, due: Some(next), failures: 0 })
}

pub(super) fn after_failure(scheduled: u64, failures: u32, repeat: Option<&Repeat>, now: u64) -> Next {
    match RETRY_SECONDS.get(failures as usize) {
        Some(seconds) => Next { scheduled, due: Some(now + seconds * 1_000), failures: failures + 1 },
        // A repeated one has another chance at its next time.
        None => after_success(scheduled, repeat, now).unwrap_or(Next { scheduled, due: None, failures: failures + 1 }),
    }
}

/// The turn's time, rounded down: what is due then is due.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// The first time after this one that the expression fits.
fn next_by_cron(expression: &str, after: u64) -> Result<u64, BadSchedule> {
    let wrong = |reason: &dyn fmt::Display| BadSchedule(format!("{expression}: {reason}"));
    let parser = CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).build();
    let cron = parser.parse(expression).map_err(|error| wrong(&error))?;
    let after = i64::try_from(after).ok().and_then(DateTime::<Utc>::from_timestamp_millis);
    let after = after.ok_or_else(|| wrong(&"no time to begin at"))?;
    let next = cron.find_next_occurrence(&after, false).map_err(|error| wrong(&error))?;
    u64::try_from(next.timestamp_millis()).map_err(|error| wrong(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-01-01T00:00:00Z, a Thursday.
    const NEW_YEAR: u64 = 1_767_225_600_000;
    const HOUR: u64 = 3_600_000;

    fn every(seconds: u64) -> Repeat {
        Repeat::Every(Duration::from_secs(seconds))
    }

    fn cron(expression: &str) -> Repeat {
        Repeat::Cron(expression.into())
    }

    #[test]
    fn what_was_missed_is_left_out() {
        let next = |repeat: Repeat, scheduled, now| repeat.next(scheduled, now).unwrap();
        assert_eq!(next(every(60), 1_000, 1_000), 61_000);
        assert_eq!(next(every(60), 1_000, 60_999), 61_000);
        assert_eq!(next(every(60), 1_000, 61_000), 121_000);
        assert_eq!(next(every(60), 1_000, 10 * HOUR), 10 * HOUR + 1_000);
        assert_eq!(next(cron("0 * * * *"), NEW_YEAR, NEW_YEAR), NEW_YEAR + HOUR);
        assert_eq!(next(cron("0 * * * *"), NEW_YEAR, NEW_YEAR + 5 * HOUR + 1), NEW_YEAR + 6 * HOUR);
        // Handled before its time, as after a clock was set back: the next one, not the same again.
        assert_eq!(next(every(60), 61_000, 1_000), 121_000);
    }

    #[test]
    fn cron_is_as_people_know_it() {
        let hours = |expression| (next_by_cron(expression, NEW_YEAR + 1).unwrap() - NEW_YEAR) / HOUR;
        for (expression, expected) in
            [("0 9 * * MON-FRI", 9), ("@daily", 24), ("0 0 L * *", 30 * 24), ("0 12 * * 0", 84), ("0 0 1 * 6", 48)]
        {
            assert_eq!(hours(expression), expected, "{expression}");
        }
        assert_eq!(next_by_cron("*/15 * * * * *", NEW_YEAR + 1).unwrap(), NEW_YEAR + 15_000);
    }

    #[test]
    fn what_is_no_schedule_says_why() {
        for wrong in ["", "often", "61 * * * *", "* * * * * * *", "0 0 31 2 *"] {
            let error = Schedule::cron(wrong).unwrap_err().to_string();
            assert!(error.starts_with(&format!("no schedule: {wrong}")), "{error}");
        }
        assert!(Schedule::every(Duration::from_millis(999)).is_err());
        assert!(Schedule::every(Duration::MAX).is_err());
        assert!(Schedule::once(UNIX_EPOCH - Duration::from_secs(1)).is_err());
        assert_eq!(Schedule::once(UNIX_EPOCH).unwrap().first(), 1);
    }

    #[test]
    fn what_is_stored_is_what_is_shown() {
        for (repeat, text) in [(every(60), "every 60000"), (cron("0 9 * * MON"), "cron 0 9 * * MON")] {
            assert_eq!(repeat.to_string(), text);
            assert_eq!(text.parse(), Ok(repeat));
        }
        for wrong in ["", "every", "every 0", "every -1", "never 1"] {
            assert!(wrong.parse::<Repeat>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_job_is_tried_seven_times() {
        let (mut failures, mut now, mut waits) = (0, 5_000, vec![]);
        while let Next { due: Some(due), failures: more, .. } = after_failure(5_000, failures, None, now) {
            waits.push((due - now) / 1_000);
            (failures, now) = (more, due);
        }
        assert_eq!((waits, failures), (RETRY_SECONDS.to_vec(), 6));
        assert_eq!(after_failure(5_000, 6, None, now), Next { scheduled: 5_000, due: None, failures: 7 });
    }

    #[test]
    fn a_repeated_job_goes_on_with_its_next_time() {
        let next = Next { scheduled: 65_000, due: Some(65_000), failures: 0 };
        assert_eq!(after_failure(5_000, 6, Some(&every(60)), 6_000), next);
        assert_eq!(after_success(5_000, Some(&every(60)), 6_000), Some(next));
        assert_eq!(after_success(5_000, None, 6_000), None);
    }
}
