//! It says that it handles alarms, and does not.

use holdfast::prelude::*;

#[object(alarm)]
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
