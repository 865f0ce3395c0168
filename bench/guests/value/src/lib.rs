//! An object that keeps one value of any size: PUT stores the body, GET answers it. For filling the commit log.

use holdfast::prelude::*;

#[object]
struct Kept {
    ctx: Context,
}

impl Object for Kept {
    fn new(ctx: Context) -> Result<Self> {
        Ok(Self { ctx })
    }

    fn fetch(&mut self, request: Request) -> Result<Response> {
        if request.method() == Method::PUT {
            self.ctx.storage().put_bytes("value", request.body())?;
            return Ok(Response::new(StatusCode::NO_CONTENT));
        }
        Ok(Response::bytes(self.ctx.storage().get_bytes("value")?.unwrap_or_default()))
    }
}
