//! The class is named in holdfast.toml, not here.

use holdfast::prelude::*;

#[object(name = "thing")]
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
