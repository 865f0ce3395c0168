//! `holdfast:object/alarms`: the alarm of the running turn.

use wasmtime::component::HasData;

use super::{Host, running};
use crate::base::Alarm;
use crate::base::alarm::TIME_MAX;
use crate::storage::Turn;
use crate::wasm::bindings::alarms as wit;
use crate::wasm::pace::Pace;

/// The part of a store that this interface needs.
pub(super) struct View<'a> {
    turn: &'a mut Option<Turn>,
    handles_alarms: bool,
    pace: &'a mut Pace,
}

impl HasData for View<'static> {
    type Data<'a> = View<'a>;
}

/// Borrows that part.
pub(super) fn view(host: &mut Host) -> View<'_> {
    View { turn: &mut host.turn, handles_alarms: host.handles_alarms, pace: &mut host.pace }
}

/// The answer to the guest; the outer error ends the turn.
type Answer<T> = wasmtime::Result<Result<T, wit::Error>>;

impl wit::Host for View<'_> {
    fn get(&mut self) -> Answer<Option<u64>> {
        self.pace.price(0, 0);
        let alarm = running(self.turn)?.alarm();
        Ok(alarm.map(|alarm| alarm.map(|alarm| alarm.due_ms)).map_err(|error| wit::Error::Other(error.to_string())))
    }

    fn set(&mut self, time: u64) -> Answer<()> {
        self.pace.price(0, 0);
        if !self.handles_alarms {
            return Ok(Err(wit::Error::NoHandler));
        }
        if !(1..=TIME_MAX).contains(&time) {
            return Ok(Err(wit::Error::BadTime));
        }
        running(self.turn)?.set_alarm(Some(Alarm::at(time)));
        Ok(Ok(()))
    }

    fn delete(&mut self) -> Answer<()> {
        self.pace.price(0, 0);
        running(self.turn)?.set_alarm(None);
        Ok(Ok(()))
    }
}
