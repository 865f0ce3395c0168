//! A number that every open page shows live: one object, its page, and a WebSocket from each page.

use holdfast::prelude::*;

#[object(websocket)]
struct Counter {
    ctx: Context,
}

impl Object for Counter {
    fn new(ctx: Context) -> Result<Self> {
        Ok(Self { ctx })
    }

    fn fetch(&mut self, request: Request) -> Result<Response> {
        if request.is_websocket_upgrade() {
            let (socket, response) = self.ctx.accept_websocket(&request, ["page"])?;
            socket.send(self.number()?.to_string())?;
            return Ok(response);
        }
        match *request.method() {
            Method::POST => Ok(Response::text(self.add()?.to_string())),
            _ => Ok(Response::html(include_str!("page.html"))),
        }
    }
}

impl WebSocketHandler for Counter {
    fn message(&mut self, _socket: WebSocket, _message: Message) -> Result<()> {
        self.add().map(drop)
    }
}

impl Counter {
    fn number(&self) -> Result<u64> {
        Ok(self.ctx.storage().get("n")?.unwrap_or(0))
    }

    fn add(&self) -> Result<u64> {
        let n = self.number()? + 1;
        self.ctx.storage().put("n", &n)?;
        self.ctx.broadcast("page", n.to_string())?;
        Ok(n)
    }
}
