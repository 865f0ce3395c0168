//! An object that counts: every request adds one to its number and answers it.
//!
//! The number lives in storage only, so it is the same after a restart; each object has its own.

use holdfast::prelude::*;

#[object]
struct Counter {
    ctx: Context,
}

impl Object for Counter {
    fn new(ctx: Context) -> Result<Self> {
        Ok(Self { ctx })
    }

    fn fetch(&mut self, _request: Request) -> Result<Response> {
        let n = self.ctx.storage().get::<u64>("n")?.unwrap_or(0) + 1;
        self.ctx.storage().put("n", &n)?;
        Ok(Response::text(n.to_string()))
    }
}
