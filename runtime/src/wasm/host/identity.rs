//! `holdfast:object/identity`: id, name and class of the object.

use wasmtime::component::HasData;

use super::Host;
use crate::base::ObjectAddress;
use crate::base::limits::FUEL_PER_HOST_CALL;
use crate::wasm::bindings::identity;
use crate::wasm::pace::Pace;

/// The part of a store that this interface needs.
pub(super) struct View<'a> {
    address: &'a ObjectAddress,
    pace: &'a mut Pace,
}

impl HasData for View<'static> {
    type Data<'a> = View<'a>;
}

/// Borrows that part.
pub(super) fn view(host: &mut Host) -> View<'_> {
    View { address: &host.address, pace: &mut host.pace }
}

impl identity::Host for View<'_> {
    fn id(&mut self) -> wasmtime::Result<String> {
        // Digits are written one by one.
        self.pace.price(64, 8 * FUEL_PER_HOST_CALL);
        Ok(self.address.id.to_string())
    }

    fn name(&mut self) -> wasmtime::Result<Option<String>> {
        self.pace.price(self.address.name.as_ref().map_or(0, |name| name.as_str().len()), 0);
        Ok(self.address.name.as_ref().map(|name| name.as_str().to_owned()))
    }

    fn class(&mut self) -> wasmtime::Result<String> {
        self.pace.price(self.address.class.as_str().len(), 0);
        Ok(self.address.class.as_str().to_owned())
    }
}
