//! `holdfast:object/turn`: the running turn's caller and deadline, and its failure.

use wasmtime::component::HasData;

use super::Host;
use crate::base::{Env, TurnError};
use crate::wasm::bindings::turn as wit;
use crate::wasm::bindings::types::Failure;
use crate::wasm::calls::TurnCalls;
use crate::wasm::failure::guest_failure;
use crate::wasm::pace::Pace;

/// The part of a store that this interface needs.
pub(super) struct View<'a> {
    calls: &'a mut Option<TurnCalls>,
    pace: &'a mut Pace,
    env: &'a Env,
}

impl HasData for View<'static> {
    type Data<'a> = View<'a>;
}

/// Borrows that part.
pub(super) fn view(host: &mut Host) -> View<'_> {
    View { calls: &mut host.calls, pace: &mut host.pace, env: &host.env }
}

/// A failure with which guest code has ended its turn.
#[derive(Debug, thiserror::Error)]
#[error("the turn was failed")]
pub(in crate::wasm) struct FailedTurn(pub TurnError);

impl wit::Host for View<'_> {
    fn caller(&mut self) -> wasmtime::Result<Option<wit::Peer>> {
        self.pace.price(64, 0);
        let caller = self.calls.as_ref().and_then(TurnCalls::caller);
        Ok(caller.map(|caller| wit::Peer {
            class: caller.class.to_string(),
            id: caller.id.to_string(),
            name: caller.name.as_ref().map(ToString::to_string),
        }))
    }

    fn deadline(&mut self) -> wasmtime::Result<Option<u64>> {
        self.pace.price(0, 0);
        let ends = self.calls.as_ref().and_then(TurnCalls::ends);
        let left = |ends: std::time::Duration| ends.saturating_sub(self.env.elapsed()).as_millis() as u64;
        Ok(ends.map(|ends| self.env.wall_ms().saturating_add(left(ends))))
    }

    fn fail(&mut self, failure: Failure) -> wasmtime::Result<()> {
        let error = guest_failure(failure.code, failure.message, failure.retryable);
        Err(FailedTurn(error).into())
    }
}
