//! `holdfast:object/later`: work that goes on after the running turn.

use std::sync::Arc;

use http::{HeaderValue, StatusCode, header};
use wasmtime::component::HasData;

use super::logging::ObjectLog;
use super::{Host, running};
use crate::base::limits::{FUEL_PER_ENTRY, FUEL_PER_ITEM};
use crate::base::socket::SocketId;
use crate::base::{CallAnswer, Env, FetchAnswer, MemoryAccount, Response, TakenAlarm, TurnError};
use crate::sockets::{SocketError, SocketTurn};
use crate::storage::Turn;
use crate::wasm::bindings::later as wit;
use crate::wasm::caller::CallerOf;
use crate::wasm::calls::TurnCalls;
use crate::wasm::failure::guest_failure;
use crate::wasm::late::{Given, Kind, LateError, LateTurn};
use crate::wasm::pace::Pace;
use crate::wasm::response;

/// The part of a store that this interface needs.
pub(super) struct View<'a> {
    late: &'a mut Option<LateTurn>,
    calls: &'a mut Option<TurnCalls>,
    caller: &'a Option<CallerOf>,
    turn: &'a mut Option<Turn>,
    sockets: &'a mut Option<SocketTurn>,
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
        calls: &mut host.calls,
        caller: &host.caller,
        turn: &mut host.turn,
        sockets: &mut host.sockets,
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
        self.share_budget();
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
                let response = response::returned(response, *limit, account);
                Given::Response(response.and_then(|response| self.opened(deferred, response)))
            }
            (Kind::Response, wit::Answer::Failed(failure)) => Given::Response(Err(self.failed(failure))),
            (Kind::Value, wit::Answer::Value(value)) => Given::Value(self.result(value).map(CallAnswer::Value)),
            (Kind::Value, wit::Answer::Refused(value)) => Given::Value(self.result(value).map(CallAnswer::Refused)),
            (Kind::Value, wit::Answer::Failed(failure)) => Given::Value(Err(self.failed(failure))),
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
        self.share_budget();
        Ok(answer(self.late()?.on_gone(deferred)))
    }

    fn accept(&mut self, deferred: u64, tags: Vec<String>) -> Answer<u64> {
        self.pace.price(tags.iter().map(String::len).sum(), FUEL_PER_ENTRY + tags.len() as u64 * FUEL_PER_ITEM);
        let is_own = match self.late()?.may_accept(deferred) {
            Ok(is_own) => is_own,
            Err(error) => return Ok(answer(Err(error))),
        };
        if is_own {
            return Ok(self.socket_turn()?.accept(tags).map(|id| id.0).map_err(refused));
        }
        let accepted = match self.socket_turn()?.accept_later(tags) {
            Ok(accepted) => accepted,
            Err(error) => return Ok(Err(refused(error))),
        };
        let SocketId(id) = accepted.id();
        self.late()?.accept(deferred, accepted);
        Ok(Ok(id))
    }

    fn hold_for(&mut self, socket: u64) -> Answer<()> {
        self.pace.price(0, FUEL_PER_ENTRY);
        let socket = SocketId(socket);
        if let Err(error) = self.socket_turn()?.buffered(socket) {
            return Ok(Err(refused(error)));
        }
        self.late()?.hold_for(socket);
        Ok(Ok(()))
    }

    fn exclusive(&mut self, on: bool) -> wasmtime::Result<()> {
        self.pace.price(0, FUEL_PER_ENTRY);
        self.late()?.set_exclusive(on);
        Ok(())
    }

    fn drop_instance(&mut self) -> wasmtime::Result<()> {
        self.pace.price(0, FUEL_PER_ENTRY);
        self.late()?.drop_instance();
        Ok(())
    }
}

impl View<'_> {
    /// Has the resumes of this turn share its budget of calls, if it may make any.
    fn share_budget(&mut self) {
        if let (Some(_), Some(calls), Some(late)) = (&self.caller, self.calls.as_mut(), self.late.as_mut()) {
            late.share_budget(calls.budget());
        }
    }

    fn result(&self, bytes: Vec<u8>) -> Result<bytes::Bytes, TurnError> {
        let (account, limit) = self.responses;
        response::result(bytes, *limit, account)
    }

    fn socket_turn(&mut self) -> wasmtime::Result<&mut SocketTurn> {
        self.sockets.as_mut().ok_or_else(|| wasmtime::format_err!("sockets were used outside of a turn"))
    }

    /// Returns the answer to a deferred request. A response with status 101 opens the socket that was accepted for it.
    fn opened(&mut self, deferred: u64, response: Response) -> Result<FetchAnswer, TurnError> {
        let (Some(late), Some(sockets)) = (self.late.as_mut(), self.sockets.as_mut()) else {
            return Ok(FetchAnswer::Response(response));
        };
        if response.status != StatusCode::SWITCHING_PROTOCOLS || late.defers(deferred) {
            return response::opening(response, sockets);
        }
        let protocol = response.headers.get(header::SEC_WEBSOCKET_PROTOCOL).map(HeaderValue::as_bytes);
        let accepted = late.open(deferred, protocol).map_err(TurnError::InvalidResponse)?;
        let id = accepted.id();
        sockets.open_later(accepted);
        Ok(FetchAnswer::Upgrade(response, id))
    }

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

fn refused(error: SocketError) -> wit::Error {
    match error {
        SocketError::NotAnUpgrade => wit::Error::WrongKind,
        SocketError::TooManySockets(limit) => wit::Error::TooMany(limit),
        error => wit::Error::Other(error.to_string()),
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
