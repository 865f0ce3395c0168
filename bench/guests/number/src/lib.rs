//! An object that keeps one number: POST adds one and answers it, GET reads it.
//!
//! Does the same as `workerd/worker.js`, one storage read and at most one write; only the host differs.

use holdfast::prelude::*;

#[object]
struct Number {
    ctx: Context,
    /// In memory only: 1 shows the driver that the object was not live before this request.
    fetches: u64,
}

impl Object for Number {
    fn new(ctx: Context) -> Result<Self> {
        Ok(Self { ctx, fetches: 0 })
    }

    fn fetch(&mut self, request: Request) -> Result<Response> {
        self.fetches += 1;
        let mut n = self.ctx.storage().get::<u64>("n")?.unwrap_or(0);
        if request.method() == Method::POST {
            n += 1;
            self.ctx.storage().put("n", &n)?;
        }
        Ok(Response::text(n.to_string()).with_header("x-fetches", self.fetches.to_string()))
    }
}
