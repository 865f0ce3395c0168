//! Handlers take the request by value and return a result.

use holdfast::prelude::*;

#[object]
struct Thing;

impl Object for Thing {
    fn new(_ctx: Context) -> Result<Self> {
        Ok(Self)
    }

    fn fetch(&mut self, _request: &Request) -> Response {
        Response::text("hello")
    }
}

fn main() {}
