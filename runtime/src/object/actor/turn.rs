//! How an actor runs a turn of the instance, and applies what it has staged or rolls it back.
//!
//! What must stay true: what the instance remembers is what is stored. So a turn that staged something which was not
//! applied leaves no instance, and one that staged nothing may fail and leave it.

use super::{Actor, Object, Outcome, Resident, Waiter, after, dormant};
use crate::base::logs::{Level, LogEntry};
use crate::base::turn_error::{Failure, Logged};
use crate::base::{Call, CallId, Create, FetchAnswer, TurnError};
use crate::sockets::SocketTurn;
use crate::storage::{Database, Turn};
use crate::wasm::{Ends, Given, LateTurn, Signal, TurnAnswer, TurnEvent};

impl Actor {
    /// Runs one turn of the instance: wakes it, runs the handler, applies or rolls back.
    pub(super) async fn turn<E: TurnEvent>(
        &mut self,
        object: Object,
        call: &Call<()>,
        event: E,
        Waiter { gone: mut abandoned, ticket }: Waiter<'_>,
    ) -> (Object, Result<Outcome<E::Answer>, TurnError>) {
        let code = match self.code().await {
            Ok(code) => code,
            Err(error) => return (object, Err(error)),
        };
        let (mut database, resident) = object.begin();
        let waits: Option<Signal<'_>> = abandoned.as_mut().map(|abandoned| &mut **abandoned as _);
        let mut resident = match self.wake(&mut database, resident, code, call, waits).await {
            Ok(resident) => resident,
            Err(error) => return (dormant(database), Err(error)),
        };
        if let Some(ticket) = &ticket {
            if !ticket.begin() {
                return (after(database, Some(resident)), Err(TurnError::Abandoned));
            }
            // A call that has begun ends by itself.
            abandoned = None;
        }
        let late = LateTurn::begin(std::mem::take(&mut resident.late), self.late_context(&resident, &event, call));
        if !late.is_idle() {
            // Others depend on the instance, which a turn that is abandoned takes with it.
            abandoned = None;
        }
        let Resident { instance, permit, owed, last_event, leaves_by, exclusive_until, is_held, asks_to_leave, .. } =
            resident;
        let object = (self.address.id, self.address.key.clone());
        let (sockets, offered) = (self.sockets.clone(), event.offered_protocols());
        let sockets = SocketTurn::begin(self.host.sockets.clone(), object, sockets, offered);
        let mut deleted = self.mailbox.deleted(&self.class);
        let ends = Ends { abandoned, deleted: &mut deleted };
        let end = instance.run(database, (sockets, late), event, call, ends).await;
        self.host.metrics.fuel.inc_by(end.fuel);
        let mut late = end.late;
        let late_work = (late.has_staged(), late.has_more_than_resumes());
        let asks_to_leave = asks_to_leave || late.drops_instance();
        let opens = matches!(late.own_reply(), Some(Given::Response(Ok(FetchAnswer::Upgrade(..)))));
        let is_deferred = late.is_deferred();
        let mut staged = Staged { turn: end.turn, sockets: end.sockets, late_work, opens, is_deferred };
        if is_deferred {
            staged.turn.suspend_alarm();
            if late.own_reply().is_none() {
                late.defer_upgrade(staged.sockets.defer());
            }
        }
        let (database, kept, outcome) = self.end(call.id, staged, end.result).await;
        let (late, effects) = match kept {
            // Of late work a turn whose memory alone is kept has staged resumes at most, which that memory counts on.
            Kept::All | Kept::Memory => late.apply(),
            Kept::Nothing => (late.undo(), Default::default()),
        };
        // What the turn has deferred is answered by `end_event`.
        let outcome = outcome.map(|answer| match effects.deferred {
            Some(token) => {
                ticket.iter().for_each(|ticket| ticket.defer());
                Outcome::Later(token)
            }
            None => Outcome::Now(answer),
        });
        self.given = effects.replies;
        match end.instance.filter(|_| kept != Kept::Nothing) {
            Some(instance) => {
                let resident = Resident {
                    instance,
                    permit,
                    late,
                    owed,
                    last_event,
                    leaves_by,
                    exclusive_until,
                    is_held,
                    asks_to_leave,
                };
                (after(database, Some(resident)), outcome)
            }
            None => {
                // Boxed: a turn that succeeds has no room for it.
                let failed = self.turn_has_failed(database, (late, owed), outcome.as_ref().err());
                let object = Box::pin(failed).await;
                (object, outcome)
            }
        }
    }

    /// Applies a turn whose handler succeeded, and rolls others back.
    async fn end<T: TurnAnswer>(
        &mut self,
        call: CallId,
        Staged { mut turn, sockets, late_work: (has_late_work, has_more_than_resumes), opens, is_deferred }: Staged,
        result: Result<T, TurnError>,
    ) -> (Box<Database>, Kept, Result<T, TurnError>) {
        let stages_nothing = !(turn.has_staged() || sockets.has_staged() || has_more_than_resumes);
        let answer = match result {
            Ok(answer) => answer,
            // A turn that has only read, whose answer was lost on the way: it is applied like any other.
            Err(error @ TurnError::NoRoomForResponse) if stages_nothing => {
                return match self.apply(turn).await {
                    (database, Ok(())) => (database, Kept::All, Err(error)),
                    (database, Err(error)) => (database, Kept::Nothing, Err(error)),
                };
            }
            // So it can be called again, and those who wait for other answers need not suffer.
            Err(error) if error.is_returned() && stages_nothing && turn.broken().is_none() => {
                return (turn.roll_back(), Kept::Memory, Err(error));
            }
            Err(error) => {
                // A handler that cannot handle an error of storage returns it or panics; the cause is the error of
                // storage.
                let cause = turn.broken().filter(|_| error.is_returned() || matches!(error, TurnError::Trap { .. }));
                let cause = cause.map(|cause| cause.clone().into_turn_error(&self.host.limits));
                let error = match cause {
                    Some(cause) => {
                        self.log_words_of(call, error);
                        cause
                    }
                    None => error,
                };
                return (turn.roll_back(), Kept::Nothing, Err(error));
            }
        };
        if answer.undoes() && !is_deferred {
            let kept = if stages_nothing { Kept::Memory } else { Kept::Nothing };
            return (turn.roll_back(), kept, Ok(answer));
        }
        let is_error = answer.response().is_some_and(|response| response.status.as_u16() >= 400);
        if is_error && !has_late_work && self.keeps_nothing_of(&mut turn) {
            return (turn.roll_back(), Kept::Nothing, Ok(answer));
        }
        let (database, applied) = self.apply(turn).await;
        if let Err(error) = applied {
            return (database, Kept::Nothing, Err(error));
        }
        if let Some(release) = sockets.apply(opens || answer.opens_socket()) {
            self.sockets = Some(release.of().clone());
            self.release(release, database.last_applied());
        }
        (database, Kept::All, Ok(answer))
    }

    /// Returns whether the turn of a request that was answered with an error would create an object that holds only
    /// empty tables.
    fn keeps_nothing_of(&self, turn: &mut Turn) -> bool {
        self.class.create() == Create::Stored
            && turn.makes_only_tables()
            && self.sockets.as_ref().is_none_or(|sockets| sockets.counts().sockets == 0)
    }

    /// Logs the guest's text of an error that is replaced by another one.
    fn log_words_of(&self, call: CallId, error: TurnError) {
        if let TurnError::Guest(Failure { logged: Some(logged), .. }) = error {
            let Logged { message, fields } = *logged;
            let entry = LogEntry::new(&self.host.env, (&self.address, call), Level::Error, message);
            self.host.logs.add(LogEntry { fields, ..entry });
        }
    }

    /// Applies what a turn has staged.
    pub(super) async fn apply(&self, mut turn: Turn) -> (Box<Database>, Result<(), TurnError>) {
        turn.make_room().await;
        let (database, applied) = turn.apply_sliced().await;
        (database, applied.map(drop).map_err(|error| error.into_turn_error(&self.host.limits)))
    }
}

/// What a turn has staged.
struct Staged {
    turn: Turn,
    sockets: SocketTurn,
    /// Whether there is late work, and whether more than resumes.
    late_work: (bool, bool),
    /// Whether a deferred answer that the turn has given itself opens its socket.
    opens: bool,
    /// Whether what the handler has returned is not its answer.
    is_deferred: bool,
}

/// What is kept of a turn.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kept {
    /// All of it, and so the instance.
    All,
    /// The instance with its resumes: the turn failed and had staged nothing else.
    Memory,
    /// Nothing: the turn failed, or made only empty tables.
    Nothing,
}
