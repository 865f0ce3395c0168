//! A crate is one class, wherever its object is written.

use holdfast::prelude::*;

#[object]
struct Thing;

impl Object for Thing {
    fn new(_ctx: Context) -> Result<Self> {
        Ok(Self)
    }

    fn fetch(&mut self, _request: Request) -> Result<Response> {
        Ok(Response::text("hello"))
    }
}

mod other {
    use holdfast::prelude::*;

    #[object]
    struct Thing;

    impl Object for Thing {
        fn new(_ctx: Context) -> Result<Self> {
            Ok(Self)
        }

        fn fetch(&mut self, _request: Request) -> Result<Response> {
            Ok(Response::text("hello"))
        }
    }
}

fn main() {}
