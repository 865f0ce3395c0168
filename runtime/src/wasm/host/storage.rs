//! `holdfast:object/storage`: the running turn's storage as a whole, one to one.

use wasmtime::component::Resource;

use super::Host;
use crate::base::limits::FUEL_PER_ENTRY;
use crate::storage::WholeError;
use crate::wasm::bindings::storage as wit;
use crate::wasm::resources::Savepoint;

/// What an operation on everything that is stored costs: about 0.2 ms of files made and closed.
const FUEL_PER_WHOLE: u64 = 2_000_000;

/// What a guest gets; the outer error ends the turn.
type Answer<T> = wasmtime::Result<Result<T, wit::Error>>;

/// Gives the guest its own errors; those that end the turn become a trap.
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

impl wit::Host for Host {
    fn open_savepoint(&mut self) -> Answer<Resource<Savepoint>> {
        self.price(0, FUEL_PER_ENTRY);
        match self.turn()?.savepoint() {
            Ok(savepoint) => Ok(Ok(self.table.push(Savepoint(savepoint))?)),
            Err(error) => answer(Err(error)),
        }
    }

    fn size(&mut self) -> Answer<u64> {
        self.price(0, FUEL_PER_ENTRY);
        answer(self.turn()?.size())
    }

    fn delete_all(&mut self) -> Answer<()> {
        self.price(0, FUEL_PER_WHOLE);
        answer(self.turn()?.delete_all())
    }

    /// The guest waits on its own fiber; a turn that is given up meanwhile keeps what was applied.
    async fn sync(&mut self) -> Answer<()> {
        self.price(0, FUEL_PER_WHOLE);
        self.turn()?.make_room().await;
        let (lsn, mut durable) = match self.turn()?.apply_so_far_sliced().await {
            Ok(applied) => applied,
            Err(error) => return answer(Err(error)),
        };
        // On a lane that is lost the turn ends: nobody can say what became of it.
        durable.reached(lsn).await?;
        // The WAL stays long and is tried again; what it holds is safe.
        if let Err(error) = self.turn()?.maintain() {
            tracing::error!(object = %self.address, %error, "the object's WAL could not be reset");
        }
        self.clock.advance(&self.env);
        Ok(Ok(()))
    }
}

impl wit::HostSavepoint for Host {
    fn keep(&mut self, savepoint: Resource<Savepoint>) -> Answer<()> {
        self.price(0, FUEL_PER_ENTRY);
        let savepoint = self.table.get(&savepoint)?.0;
        answer(self.turn()?.keep(savepoint))
    }

    fn undo(&mut self, savepoint: Resource<Savepoint>) -> Answer<()> {
        self.price(0, FUEL_PER_ENTRY);
        let savepoint = self.table.get(&savepoint)?.0;
        answer(self.turn()?.undo(savepoint))
    }

    fn drop(&mut self, savepoint: Resource<Savepoint>) -> wasmtime::Result<()> {
        self.price(0, 0);
        let Savepoint(savepoint) = self.table.delete(savepoint)?;
        // One that has ended, or that outlived its turn in the guest's memory, has nothing left to undo. A turn that
        // cannot undo is broken and will not be applied.
        if let Some(turn) = &mut self.turn {
            let _ = turn.undo(savepoint);
        }
        Ok(())
    }
}
