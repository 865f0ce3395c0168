//! `holdfast:object/identity`: which object this is.

use super::Host;
use crate::base::limits::FUEL_PER_HOST_CALL;
use crate::wasm::bindings::identity;

impl identity::Host for Host {
    fn id(&mut self) -> wasmtime::Result<String> {
        // Digits are written one by one.
        self.price(64, 8 * FUEL_PER_HOST_CALL);
        Ok(self.address.id.to_string())
    }

    fn name(&mut self) -> wasmtime::Result<Option<String>> {
        self.price(self.address.name.as_ref().map_or(0, |name| name.as_str().len()), 0);
        Ok(self.address.name.as_ref().map(|name| name.as_str().to_owned()))
    }

    fn class(&mut self) -> wasmtime::Result<String> {
        self.price(self.address.class.as_str().len(), 0);
        Ok(self.address.class.as_str().to_owned())
    }
}
