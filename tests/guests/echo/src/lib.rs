//! Answers every request with the request as it arrived, as JSON; the header `x-status` sets the status of the answer,
//! `x-length` makes the answer one without a body and with this `content-length`.

use holdfast::prelude::*;

#[object]
struct Echo {
    ctx: Context,
}

impl Object for Echo {
    fn new(ctx: Context) -> Result<Self> {
        Ok(Self { ctx })
    }

    fn fetch(&mut self, request: Request) -> Result<Response> {
        if let Some(length) = request.header("x-length") {
            return Ok(Response::bytes([]).with_header("content-length", length));
        }
        let headers: Vec<_> = request
            .headers()
            .iter()
            .map(|(name, value)| (name.as_str(), String::from_utf8_lossy(value.as_bytes())))
            .collect();
        let echo = Response::json(&json!({
            "method": request.method().as_str(),
            "uri": request.uri().to_string(),
            "headers": headers,
            "body": String::from_utf8_lossy(request.body()),
            "body_len": request.body().len(),
            "id": self.ctx.id(),
            "name": self.ctx.name(),
            "class": self.ctx.class(),
        }));
        match request.header("x-status") {
            Some(status) => Ok(echo.with_status(status.parse()?)),
            None => Ok(echo),
        }
    }
}
