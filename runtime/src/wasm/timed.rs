//! A guest call that ends when its CPU or wall time is up, or when it is ended from outside.
//!
//! Fuel is the deterministic limit of a turn, and the engine's. CPU time is the second one, for guests that burn fuel
//! slowly; it is counted at the yields that fuel causes and within SQL, so a turn that ends within its first slice does
//! not read the clock. A call that computes for long waits for a slot of its class ([`Computing`]).

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use super::clock::TurnClock;
use super::context::InstanceContext;
use super::pace::Shared;
use crate::base::env::Sleep;
use crate::base::share::TooManyWait;
use crate::base::{Computing, CpuTimer, TurnError};

/// A future that ends when something has happened.
pub type Signal<'a> = &'a mut (dyn Future<Output = ()> + Send + Unpin);

/// The signals that end a turn from outside.
pub struct Ends<'a, 'b> {
    /// The caller is gone. Takes effect while the turn only waits and has written nothing. None for turns that are
    /// always finished.
    pub abandoned: Option<Signal<'a>>,
    /// The object is to be deleted. Takes effect at once.
    pub deleted: Signal<'b>,
}

/// A guest call with limits of time. Dropping the call poisons the instance, so the caller drops that, too.
pub(super) struct Timed<'a, 'b, 'c, F> {
    call: Computing<Pin<&'a mut F>>,
    context: &'a InstanceContext,
    cpu: &'a CpuTimer,
    clock: &'a TurnClock,
    pace: &'a Shared,
    abandoned: Option<Signal<'b>>,
    deleted: Option<Signal<'c>>,
    wall: Option<Sleep>,
    /// When the caller's time is up, by `Env::elapsed`.
    deadline: Option<Duration>,
    /// Whether `wall` ends at the deadline, before the limit of the turn.
    ends_at_deadline: bool,
}

/// The reason why a timed call ended without a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TimeUp {
    /// It used its CPU time.
    Cpu(Duration),
    /// It took its wall time.
    Wall(Duration),
    /// The time of its caller was up.
    Deadline,
    /// It waited for something, had written nothing, and its caller was gone.
    Abandoned,
    /// Its object is to be deleted.
    Deleted,
    /// It was to compute for long, and too many turns of its class wait to do so.
    Overloaded,
}

impl<'a, 'b, 'c, F: Future> Timed<'a, 'b, 'c, F> {
    pub(super) fn new(
        call: Pin<&'a mut F>,
        context: &'a InstanceContext,
        cpu: &'a CpuTimer,
        clock: &'a TurnClock,
        pace: &'a Shared,
    ) -> Self {
        Self {
            call: Computing::new(call, cpu.clone()),
            context,
            cpu,
            clock,
            pace,
            abandoned: None,
            deleted: None,
            wall: None,
            deadline: None,
            ends_at_deadline: false,
        }
    }

    /// Ends the call, too, when its caller's time is up.
    pub(super) fn until(mut self, deadline: Option<Duration>) -> Self {
        self.deadline = deadline;
        self
    }

    /// Ends the call, too, when one of these signals does.
    pub(super) fn unless(mut self, ends: Ends<'b, 'c>) -> Self {
        (self.abandoned, self.deleted) = (ends.abandoned, Some(ends.deleted));
        self
    }

    fn is_abandoned(&mut self, context: &mut Context<'_>) -> bool {
        let only_waits = self.call.only_waits() && !self.pace.has_written();
        let Some(abandoned) = self.abandoned.as_mut().filter(|_| only_waits) else { return false };
        let is_abandoned = Pin::new(&mut **abandoned).poll(context).is_ready();
        if is_abandoned {
            self.abandoned = None;
        }
        is_abandoned
    }

    /// Returns why the call is to end now, if it is.
    fn poll_time_up(&mut self, context: &mut Context<'_>) -> Poll<TimeUp> {
        let limits = &self.context.limits;
        if self.cpu.is_used_up() {
            return Poll::Ready(TimeUp::Cpu(limits.cpu_time()));
        }
        if self.deleted.as_mut().is_some_and(|deleted| Pin::new(&mut **deleted).poll(context).is_ready()) {
            return Poll::Ready(TimeUp::Deleted);
        }
        if self.is_abandoned(context) {
            return Poll::Ready(TimeUp::Abandoned);
        }
        let limit = limits.wall_time();
        let wall = self.wall.get_or_insert_with(|| {
            let env = &self.context.env;
            let left = self.deadline.map(|deadline| deadline.saturating_sub(env.elapsed()));
            self.ends_at_deadline = left.is_some_and(|left| left < limit);
            env.sleep(left.map_or(limit, |left| left.min(limit)))
        });
        let time_up = if self.ends_at_deadline { TimeUp::Deadline } else { TimeUp::Wall(limit) };
        Pin::new(wall).poll(context).map(|()| time_up)
    }
}

impl<F: Future> Future for Timed<'_, '_, '_, F> {
    type Output = Result<F::Output, TimeUp>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if this.call.waits() {
            this.clock.advance(&this.context.env);
        }
        this.pace.polled();
        let time_up = match Pin::new(&mut this.call).poll(context) {
            Poll::Ready(Ok(output)) => return Poll::Ready(Ok(output)),
            Poll::Ready(Err(TooManyWait)) => Poll::Ready(TimeUp::Overloaded),
            Poll::Pending => this.poll_time_up(context),
        };
        if time_up.is_ready() {
            this.pace.give_up();
        }
        time_up.map(Err)
    }
}

impl TimeUp {
    /// Returns the error of the turn. `stack` has the functions that were running, if they are known.
    pub(super) fn into_turn_error(self, stack: Option<String>) -> TurnError {
        match self {
            Self::Cpu(limit) => TurnError::CpuTime { limit, stack },
            Self::Wall(limit) => TurnError::WallTime { limit, stack },
            Self::Deadline => TurnError::Deadline,
            Self::Abandoned => TurnError::Abandoned,
            Self::Deleted => TurnError::Deleted,
            Self::Overloaded => TurnError::Overloaded,
        }
    }
}
