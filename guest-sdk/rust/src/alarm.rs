//! The object's one alarm: setting it ([`AlarmClock`]) and handling it ([`AlarmHandler`], [`Alarm`]). The rest of this
//! page shows both. The host keeps time and retries. For many times in one object use `holdfast::schedules`.
//!
//! # A time at which the host calls
//! The host calls an object at the time that it has set, also after an hour without requests, a deploy or a restart of
//! the host. `#[object(alarm)]` says that a class has a handler for that, and [`AlarmHandler`] is the handler:
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use holdfast::prelude::*;
//!
//! /// Deletes its status after a minute without an update.
//! #[object(alarm)]
//! struct Presence {
//!     ctx: Context,
//! }
//!
//! impl Object for Presence {
//!     fn new(ctx: Context) -> Result<Self> {
//!         Ok(Self { ctx })
//!     }
//!
//!     fn fetch(&mut self, request: Request) -> Result<Response> {
//!         self.ctx.storage().put("status", request.text()?)?;
//!         self.ctx.alarm().set(Duration::from_secs(60))?; // in place of the one before
//!         Ok(Response::new(StatusCode::NO_CONTENT))
//!     }
//! }
//!
//! impl AlarmHandler for Presence {
//!     fn alarm(&mut self, _alarm: Alarm) -> Result<()> {
//!         self.ctx.storage().delete("status")?;
//!         Ok(())
//!     }
//! }
//! # fn main() {}
//! ```
//!
//! # Guarantees
//! * **Never early, and at least once.** The handler is called at that time or later. An alarm that became due while
//!   the host was down is delivered when it starts.
//! * **Part of the turn.** Setting or deleting counts when the turn succeeds; when it fails, or the
//!   [`transaction`](crate::Storage::transaction) around it is undone, the alarm is unchanged.
//! * **Retried.** If the handler fails, its writes are undone, and it is called again after 2, 4, 8, 16, 32 and 64
//!   seconds, each up to a quarter longer. After the seventh failure the alarm is given up: the host logs that and
//!   removes the alarm.
//! * **Twice is possible** for effects outside the object: those of a failed attempt are not undone. The handler's
//!   writes are applied once.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::bindings::holdfast::object::alarms as wit;
use crate::bindings::with_alarm::exports::holdfast::object::alarm_handler::AlarmInfo;
use crate::{Object, Result, declared};

/// A class that handles the object's alarm. Belongs to `#[object(alarm)]`; see [`mod@crate::alarm`].
#[diagnostic::on_unimplemented(
    message = "the #[object(alarm)] struct `{Self}` has no `impl AlarmHandler`",
    label = "what should it do when the alarm comes? Write `impl AlarmHandler for {Self}`",
    note = "fn alarm(&mut self, alarm: Alarm) -> Result<()>"
)]
pub trait AlarmHandler: Object + declared::Alarm {
    /// Handles the alarm: one turn, like a request. No alarm is set any more when it begins, so a repeating handler
    /// sets the next one. After an error it is called again later; see [`mod@crate::alarm`].
    fn alarm(&mut self, alarm: Alarm) -> Result<()>;
}

/// An alarm whose time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Alarm {
    /// The time that was set, in whole milliseconds. It is now or in the past.
    pub scheduled: SystemTime,
    /// How many attempts to handle this alarm have failed: 0 to [`LAST_RETRY`](Self::LAST_RETRY).
    pub retry_count: u32,
}

impl Alarm {
    /// The retry after which there is no other.
    pub const LAST_RETRY: u32 = 6;

    /// Whether an attempt to handle it has failed.
    pub fn is_retry(&self) -> bool {
        self.retry_count > 0
    }

    /// Whether the alarm is given up if this attempt fails, too.
    ///
    /// ```no_run
    /// # use holdfast::prelude::*;
    /// # fn deliver(_: &Context) -> Result<()> { Ok(()) }
    /// fn on_alarm(ctx: &Context, alarm: Alarm) -> Result<()> {
    ///     match deliver(ctx) {
    ///         Err(error) if alarm.is_last_attempt() => {
    ///             ctx.storage().put("undelivered", &error.to_string())?; // kept, because this turn succeeds
    ///             Ok(())
    ///         }
    ///         result => result,
    ///     }
    /// }
    /// ```
    pub fn is_last_attempt(&self) -> bool {
        self.retry_count >= Self::LAST_RETRY
    }
}

impl From<AlarmInfo> for Alarm {
    fn from(AlarmInfo { scheduled, retry_count }: AlarmInfo) -> Self {
        Self { scheduled: time(scheduled), retry_count }
    }
}

/// The object's one alarm, from [`Context::alarm`](crate::Context::alarm): what it is set to, and setting it. A change
/// is part of the turn.
#[derive(Clone, Copy, Debug)]
pub struct AlarmClock(());

impl AlarmClock {
    pub(crate) fn new() -> Self {
        Self(())
    }

    /// When the alarm will come; `None` if it is not set. While it is being handled it is not, unless the handler has
    /// set a new one.
    ///
    /// # Errors
    /// Only what is the host's fault.
    pub fn get(&self) -> Result<Option<SystemTime>, AlarmError> {
        Ok(wit::get()?.map(time))
    }

    /// Sets the alarm, in place of any there is: a [`Duration`] from the start of this turn, or a [`SystemTime`]. It
    /// comes then or later, never early; a time that has passed comes at once, after this turn.
    ///
    /// ```no_run
    /// # use std::time::{Duration, SystemTime};
    /// # use holdfast::prelude::*;
    /// # fn f(ctx: &Context, closing: SystemTime) -> Result<()> {
    /// ctx.alarm().set(Duration::from_secs(60))?;
    /// ctx.alarm().set(closing)?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`AlarmError::BadTime`], [`AlarmError::NoHandler`].
    pub fn set(&self, when: impl Into<When>) -> Result<(), AlarmError> {
        Ok(wit::set(millis(when.into().time()?)?)?)
    }

    /// Removes the alarm. Without one this does nothing.
    ///
    /// # Errors
    /// Only what is the host's fault.
    pub fn delete(&self) -> Result<(), AlarmError> {
        Ok(wit::delete()?)
    }
}

/// A point in time: itself, or how long from now. Functions take both by `impl Into<When>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// At this time.
    At(SystemTime),
    /// This long after the start of the turn.
    In(Duration),
}

impl From<SystemTime> for When {
    fn from(time: SystemTime) -> Self {
        Self::At(time)
    }
}

impl From<Duration> for When {
    fn from(wait: Duration) -> Self {
        Self::In(wait)
    }
}

impl When {
    pub(crate) fn time(self) -> Result<SystemTime, AlarmError> {
        match self {
            Self::At(time) => Ok(time),
            Self::In(wait) => SystemTime::now().checked_add(wait).ok_or(AlarmError::BadTime),
        }
    }
}

/// Why the alarm was not set, read or deleted. Nothing was changed, and the turn can continue.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AlarmError {
    /// The time is not after 1970, or 2^53 milliseconds or more after it.
    #[error("no time for an alarm: it is not after 1970, or too far in the future")]
    BadTime,
    /// The class has no handler, so nothing could be called.
    #[error("the class has no handler for alarms: write #[object(alarm)] and implement `AlarmHandler`")]
    NoHandler,
    /// Anything else, in the words of the host.
    #[error("{0}")]
    Other(String),
}

impl AlarmError {
    /// Returns the case as a stable word to match on: the contract's (`wit/alarms.wit`).
    ///
    /// ```
    /// assert_eq!(holdfast::AlarmError::NoHandler.case(), "no-handler");
    /// ```
    pub fn case(&self) -> &'static str {
        match self {
            Self::BadTime => "bad-time",
            Self::NoHandler => "no-handler",
            Self::Other(_) => "other",
        }
    }
}

impl From<wit::Error> for AlarmError {
    fn from(error: wit::Error) -> Self {
        match error {
            wit::Error::BadTime => Self::BadTime,
            wit::Error::NoHandler => Self::NoHandler,
            wit::Error::Other(reason) => Self::Other(reason),
        }
    }
}

/// Milliseconds since the epoch, rounded up: what is set must not come before it.
pub(crate) fn millis(time: SystemTime) -> Result<u64, AlarmError> {
    let since = time.duration_since(UNIX_EPOCH).map_err(|_| AlarmError::BadTime)?;
    u64::try_from(since.as_nanos().div_ceil(1_000_000)).map_err(|_| AlarmError::BadTime)
}

pub(crate) fn time(millis: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_never_rounded_to_an_earlier_one() {
        for (nanos, expected) in [(0, 0), (1, 1), (999_999, 1), (1_000_000, 1), (1_000_001, 2)] {
            assert_eq!(millis(UNIX_EPOCH + Duration::from_nanos(nanos)), Ok(expected));
        }
        assert_eq!(millis(UNIX_EPOCH - Duration::from_nanos(1)), Err(AlarmError::BadTime));
        assert_eq!(millis(time((1 << 53) - 1)), Ok((1 << 53) - 1));
    }

    #[test]
    fn a_wait_that_never_ends_is_no_time() {
        assert_eq!(When::from(Duration::MAX).time(), Err(AlarmError::BadTime));
    }

    #[test]
    fn the_last_attempt_is_the_seventh() {
        let alarm = |retry_count| Alarm { scheduled: UNIX_EPOCH, retry_count };
        assert!(!alarm(0).is_retry() && alarm(1).is_retry());
        assert!(!alarm(5).is_last_attempt() && alarm(6).is_last_attempt());
    }
}
