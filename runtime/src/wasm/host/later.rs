//! `holdfast:object/later`: work that goes on after the running turn.

use std::sync::Arc;

use wasmtime::component::HasData;

use super::logging::ObjectLog;
use super::{Host, running};
use crate::base::limits::{FUEL_PER_ENTRY, FUEL_PER_ITEM};
use crate::base::{Env, FetchAnswer, MemoryAccount, TakenAlarm, TurnError};
use crate::storage::Turn;
use crate::wasm::bindings::later as wit;
use crate::wasm::event::guest_failure;
use crate::wasm::late::{Given, Kind, LateError, LateTurn};
use crate::wasm::pace::Pace;
use crate::wasm::response;

/// The part of a store that this interface needs.
pub(super) struct View<'a> {
    late: &'a mut Option<LateTurn>,
    turn: &'a mut Option<Turn>,
    pace: &'a mut Pace,
    env: &'a Env,
    log: &'a Arc<ObjectLog>,
    responses: &'a (MemoryAccount, u64),
}

impl HasData for View<'static> {
    type Data<'a> = View<'a>;
}

/// Borrows that part.
pub(super) fn view(host: &mut Host) -> View<'_> {
    View {
        late: &mut host.late,
        turn: &mut host.turn,
        pace: &mut host.pace,
        env: &host.env,
        log: &host.log,
        responses: &host.responses,
    }
}

/// The answer to the guest; the outer error ends the turn.
type Answer<T> = wasmtime::Result<Result<T, wit::Error>>;

impl View<'_> {
    fn late(&mut self) -> wasmtime::Result<&mut LateTurn> {
        self.late.as_mut().ok_or_else(|| wasmtime::format_err!("late work was used outside of a turn"))
    }
}

impl wit::Host for View<'_> {
    fn resume_after(&mut self, milliseconds: u64, holds: bool) -> Answer<u64> {
        self.pace.price(0, FUEL_PER_ENTRY);
        let now = self.env.elapsed();
        Ok(answer(self.late()?.resume_after(now, milliseconds, holds)))
    }

    fn cancel(&mut self, token: u64) -> wasmtime::Result<bool> {
        self.pace.price(0, FUEL_PER_ENTRY);
        Ok(self.late()?.cancel(token))
    }

    fn defer(&mut self) -> Answer<u64> {
        self.pace.price(0, FUEL_PER_ENTRY);
        Ok(answer(self.late()?.defer()))
    }

    fn reply(&mut self, deferred: u64, given: wit::Answer) -> Answer<()> {
        self.pace.price(size(&given), FUEL_PER_ENTRY);
        let kind = match self.late()?.waits_for(deferred) {
            Ok(kind) => kind,
            Err(error) => return Ok(answer(Err(error))),
        };
        let given = match (kind, given) {
            (Kind::Response, wit::Answer::Response(response)) => {
                let (account, limit) = self.responses;
                Given::Response(response::returned(response, *limit, account).map(FetchAnswer::Response))
            }
            (Kind::Response, wit::Answer::Failed(failure)) => Given::Response(Err(self.failed(failure))),
            (Kind::Event | Kind::Alarm(_), wit::Answer::Done) => Given::Done(Ok(())),
            (Kind::Event | Kind::Alarm(_), wit::Answer::Failed(failure)) => Given::Done(Err(self.failed(failure))),
            _ => return Ok(Err(wit::Error::WrongKind)),
        };
        if let (Kind::Alarm(TakenAlarm { serial, alarm, .. }), Given::Done(outcome)) = (kind, &given) {
            let again = outcome.as_ref().err();
            let again = again.and_then(|error| alarm.after_error(error, self.env.wall_ms(), self.env));
            running(self.turn)?.end_alarm(serial, again);
        }
        Ok(answer(self.late()?.reply(deferred, given)))
    }

    fn on_gone(&mut self, deferred: u64) -> Answer<u64> {
        self.pace.price(0, FUEL_PER_ENTRY);
        Ok(answer(self.late()?.on_gone(deferred)))
    }

    fn accept(&mut self, _deferred: u64, _tags: Vec<String>) -> Answer<u64> {
        self.pace.price(0, FUEL_PER_ENTRY);
        Ok(Err(wit::Error::Other("this host does not accept sockets of deferred requests yet".into())))
    }

    fn hold_for(&mut self, _socket: u64) -> Answer<()> {
        self.pace.price(0, FUEL_PER_ENTRY);
        Ok(Err(wit::Error::Other("this host does not hold instances for sockets yet".into())))
    }

    fn exclusive(&mut self, _on: bool) -> wasmtime::Result<()> {
        self.pace.price(0, FUEL_PER_ENTRY);
        Ok(())
    }
}

impl View<'_> {
    /// Returns the error of a deferred turn whose handler has failed, with what was logged about it.
    fn failed(&mut self, failure: crate::wasm::bindings::types::Failure) -> TurnError {
        let mut error = guest_failure(failure.code, failure.message, failure.retryable);
        if let TurnError::Guest(failure) = &mut error {
            failure.stack = self.log.last_error().and_then(|error| error.stack);
            failure.logged = self.log.take_cause(&failure.message).map(Box::new);
        }
        error
    }
}

/// Returns the bytes of an answer, with the price of its items as bytes.
fn size(answer: &wit::Answer) -> usize {
    match answer {
        wit::Answer::Response(response) => {
            let headers =
                response.headers.iter().map(|(name, value)| name.len() + value.len() + FUEL_PER_ITEM as usize);
            response.body.len() + headers.sum::<usize>()
        }
        wit::Answer::Value(bytes) | wit::Answer::Refused(bytes) => bytes.len(),
        wit::Answer::Done => 0,
        wit::Answer::Failed(failure) => failure.code.len() + failure.message.len(),
    }
}

fn answer<T>(result: Result<T, LateError>) -> Result<T, wit::Error> {
    result.map_err(|error| match error {
        LateError::TooMany(limit) => wit::Error::TooMany(limit),
        LateError::NotDeferrable => wit::Error::NotDeferrable,
        LateError::Gone => wit::Error::Gone,
        LateError::WrongKind => wit::Error::WrongKind,
        LateError::Other(why) => wit::Error::Other(why),
    })
}
