//! An object that reads and writes nothing: it measures the cost of a turn in which the guest does no work.

use holdfast::prelude::*;

#[object]
struct Hello;

impl Object for Hello {
    fn new(_ctx: Context) -> Result<Self> {
        Ok(Self)
    }

    fn fetch(&mut self, _request: Request) -> Result<Response> {
        Ok(Response::text("hello"))
    }
}
