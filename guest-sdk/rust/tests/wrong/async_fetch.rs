//! Handlers are not async: the host calls one at a time.

use holdfast::prelude::*;

#[object]
struct Thing;

impl Object for Thing {
    fn new(_ctx: Context) -> Result<Self> {
        Ok(Self)
    }

    async fn fetch(&mut self, _request: Request) -> Result<Response> {
        Ok(Response::text("hello"))
    }
}

fn main() {}
