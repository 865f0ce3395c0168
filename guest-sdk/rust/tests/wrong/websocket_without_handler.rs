//! It says that it listens to WebSockets, and does not.

use holdfast::prelude::*;

#[object(websocket)]
struct Thing;

impl Object for Thing {
    fn new(_ctx: Context) -> Result<Self> {
        Ok(Self)
    }

    fn fetch(&mut self, _request: Request) -> Result<Response> {
        Ok(Response::text("hello"))
    }
}

fn main() {}
