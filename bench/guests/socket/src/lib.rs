//! A room: text is echoed to its sender, bytes are sent to all sockets of the object. A socket's tag is the path of its
//! request.

use holdfast::prelude::*;

#[object(websocket)]
struct Socket {
    ctx: Context,
}

impl Object for Socket {
    fn new(ctx: Context) -> Result<Self> {
        Ok(Self { ctx })
    }

    fn fetch(&mut self, request: Request) -> Result<Response> {
        let (_, response) = self.ctx.accept_websocket(&request, [request.path()])?;
        Ok(response)
    }
}

impl WebSocketHandler for Socket {
    fn message(&mut self, socket: WebSocket, message: Message) -> Result<()> {
        match message.as_text() {
            Some(_) => _ = socket.send(message)?,
            None => _ = self.ctx.broadcast(None, message)?,
        }
        Ok(())
    }
}
