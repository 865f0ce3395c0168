//! It listens to WebSockets, and does not say so: the host would never call it.

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

impl AlarmHandler for Thing {
    fn alarm(&mut self, _alarm: Alarm) -> Result<()> {
        Ok(())
    }
}

impl WebSocketHandler for Thing {
    fn message(&mut self, _socket: WebSocket, _message: Message) -> Result<()> {
        Ok(())
    }
}

fn main() {}
