//! `holdfast:object/storage`: the running turn's storage as a whole, one to one.

use wasmtime::component::{HasData, Resource, ResourceTable};

use super::{Host, running};
use crate::base::limits::FUEL_PER_ENTRY;
use crate::base::{Env, ObjectAddress};
use crate::storage::{Turn, WholeError};
use crate::wasm::bindings::storage as wit;
use crate::wasm::clock::TurnClock;
use crate::wasm::pace::Pace;
use crate::wasm::resources::Savepoint;

/// Fuel of an operation on everything that is stored: about 0.2 ms of creating and closing files.
pub(super) const FUEL_PER_WHOLE: u64 = 2_000_000;

/// The part of a store that this interface needs.
pub(super) struct View<'a> {
    turn: &'a mut Option<Turn>,
    table: &'a mut ResourceTable,
    pace: &'a mut Pace,
    address: &'a ObjectAddress,
    clock: &'a TurnClock,
    env: &'a Env,
}

impl HasData for View<'static> {
    type Data<'a> = View<'a>;
}

/// Borrows that part.
pub(super) fn view(host: &mut Host) -> View<'_> {
    View {
        turn: &mut host.turn,
        table: &mut host.table,
        pace: &mut host.pace,
        address: &host.address,
        clock: &host.clock,
        env: &host.env,
    }
}

/// The answer to the guest; the outer error ends the turn.
type Answer<T> = wasmtime::Result<Result<T, wit::Error>>;

/// Converts errors for the guest; those that end the turn become a trap.
fn answer<T>(result: Result<T, WholeError>) -> Answer<T> {
    let error = match result {
        Ok(value) => return Ok(Ok(value)),
        Err(error) => error,
    };
    Ok(Err(match error {
        WholeError::SavepointOpen => wit::Error::SavepointOpen,
        WholeError::TooDeep(limit) => wit::Error::TooDeep(limit),
        WholeError::Closed => wit::Error::Closed,
        WholeError::Full => wit::Error::Full,
        WholeError::Exhausted(exhausted) => return Err(exhausted.into()),
        WholeError::Other(what) => wit::Error::Other(what),
    }))
}

impl wit::Host for View<'_> {
    fn open_savepoint(&mut self) -> Answer<Resource<Savepoint>> {
        self.pace.price(0, FUEL_PER_ENTRY);
        match running(self.turn)?.savepoint() {
            Ok(savepoint) => Ok(Ok(self.table.push(Savepoint(savepoint))?)),
            Err(error) => answer(Err(error)),
        }
    }

    fn size(&mut self) -> Answer<u64> {
        self.pace.price(0, FUEL_PER_ENTRY);
        answer(running(self.turn)?.size())
    }

    fn delete_all(&mut self) -> Answer<()> {
        self.pace.price(0, FUEL_PER_WHOLE);
        answer(running(self.turn)?.delete_all())
    }

    /// Applies what was staged and waits until it is durable, on the guest's own fiber. A turn that is given up
    /// meanwhile keeps what was applied.
    async fn sync(&mut self) -> Answer<()> {
        self.pace.price(0, FUEL_PER_WHOLE);
        let settled = settle(running(self.turn)?, self.address).await?;
        self.clock.advance(self.env);
        answer(settled)
    }
}

/// Makes durable what the turn has written so far and what its object has applied before. The outer error ends the
/// turn.
pub(super) async fn settle(turn: &mut Turn, address: &ObjectAddress) -> wasmtime::Result<Result<(), WholeError>> {
    let (lsn, mut durable) = match turn.settle_sliced().await {
        Ok(applied) => applied,
        Err(error) => return Ok(Err(error)),
    };
    // If the lane is lost the turn ends, because the outcome is unknown.
    durable.reached(lsn).await?;
    // The WAL stays long and the reset is retried; what it holds is safe.
    if let Err(error) = turn.maintain() {
        tracing::error!(object = %address, %error, "the object's WAL could not be reset");
    }
    Ok(Ok(()))
}

impl wit::HostSavepoint for View<'_> {
    fn keep(&mut self, savepoint: Resource<Savepoint>) -> Answer<()> {
        self.pace.price(0, FUEL_PER_ENTRY);
        let savepoint = self.table.get(&savepoint)?.0;
        answer(running(self.turn)?.keep(savepoint))
    }

    fn undo(&mut self, savepoint: Resource<Savepoint>) -> Answer<()> {
        self.pace.price(0, FUEL_PER_ENTRY);
        let savepoint = self.table.get(&savepoint)?.0;
        answer(running(self.turn)?.undo(savepoint))
    }

    fn drop(&mut self, savepoint: Resource<Savepoint>) -> wasmtime::Result<()> {
        self.pace.price(0, 0);
        let Savepoint(savepoint) = self.table.delete(savepoint)?;
        // A savepoint that has ended, or that outlived its turn in the guest's memory, has nothing left to undo. A turn
        // that cannot undo is broken and will not be applied.
        if let Some(turn) = self.turn {
            let _ = turn.undo(savepoint);
        }
        Ok(())
    }
}
