//! An object that touches nothing: what a turn costs when the guest does no work.

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
