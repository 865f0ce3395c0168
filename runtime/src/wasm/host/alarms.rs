//! `holdfast:object/alarms`: the alarm of the running turn.

use super::Host;
use crate::base::Alarm;
use crate::base::alarm::TIME_MAX;
use crate::wasm::bindings::alarms as wit;

/// What a guest gets; the outer error ends the turn.
type Answer<T> = wasmtime::Result<Result<T, wit::Error>>;

impl wit::Host for Host {
    fn get(&mut self) -> Answer<Option<u64>> {
        self.price(0, 0);
        let alarm = self.turn()?.alarm();
        Ok(alarm.map(|alarm| alarm.map(|alarm| alarm.due_ms)).map_err(|error| wit::Error::Other(error.to_string())))
    }

    fn set(&mut self, time: u64) -> Answer<()> {
        self.price(0, 0);
        if !self.handles_alarms {
            return Ok(Err(wit::Error::NoHandler));
        }
        if !(1..=TIME_MAX).contains(&time) {
            return Ok(Err(wit::Error::BadTime));
        }
        self.turn()?.set_alarm(Some(Alarm::at(time)));
        Ok(Ok(()))
    }

    fn delete(&mut self) -> Answer<()> {
        self.price(0, 0);
        self.turn()?.set_alarm(None);
        Ok(Ok(()))
    }
}
