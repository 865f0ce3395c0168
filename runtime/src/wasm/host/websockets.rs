//! `holdfast:object/websockets`: what the running turn does with the object's sockets.

use bytes::Bytes;

use super::Host;
use crate::base::socket::{AutoResponse, Goodbye, Message, SocketId};
use crate::sockets::SocketError;
use crate::wasm::bindings::websockets as wit;

/// What a guest gets; the outer error ends the turn.
type Answer<T> = wasmtime::Result<Result<T, wit::Error>>;

impl wit::Host for Host {
    fn accept(&mut self, tags: Vec<String>) -> Answer<u64> {
        Ok(told(self.socket_turn()?.accept(tags)).map(|socket| socket.0))
    }

    fn sockets(&mut self, tag: Option<String>) -> wasmtime::Result<Vec<u64>> {
        let sockets = self.socket_turn()?.sockets(tag.as_deref());
        Ok(sockets.into_iter().map(|socket| socket.0).collect())
    }

    fn tags(&mut self, socket: u64) -> Answer<Vec<String>> {
        Ok(told(self.socket_turn()?.tags(SocketId(socket))))
    }

    fn attachment(&mut self, socket: u64) -> Answer<Option<Vec<u8>>> {
        let attachment = self.socket_turn()?.attachment(SocketId(socket));
        Ok(told(attachment).map(|attachment| attachment.map(Vec::from)))
    }

    fn set_attachment(&mut self, socket: u64, attachment: Option<Vec<u8>>) -> Answer<()> {
        Ok(told(self.socket_turn()?.set_attachment(SocketId(socket), attachment.map(Bytes::from))))
    }

    fn send(&mut self, socket: u64, message: wit::MessageResult) -> Answer<()> {
        Ok(told(self.socket_turn()?.send(SocketId(socket), message.into())))
    }

    fn broadcast(&mut self, tag: Option<String>, message: wit::MessageResult) -> Answer<u32> {
        Ok(told(self.socket_turn()?.broadcast(tag.as_deref(), message.into())))
    }

    fn buffered(&mut self, socket: u64) -> Answer<u64> {
        Ok(told(self.socket_turn()?.buffered(SocketId(socket))))
    }

    fn close(&mut self, socket: u64, code: Option<u16>, reason: String) -> Answer<()> {
        Ok(told(self.socket_turn()?.close(SocketId(socket), Goodbye { code, reason })))
    }

    fn auto_response(&mut self) -> wasmtime::Result<Option<wit::AutoResponsePair>> {
        let pair = self.socket_turn()?.auto_response();
        Ok(pair.map(|AutoResponse { request, response }| wit::AutoResponsePair { request, response }))
    }

    fn set_auto_response(&mut self, pair: Option<wit::AutoResponsePair>) -> Answer<()> {
        let pair = pair.map(|wit::AutoResponsePair { request, response }| AutoResponse { request, response });
        Ok(told(self.socket_turn()?.set_auto_response(pair)))
    }

    fn auto_response_time(&mut self, socket: u64) -> Answer<Option<u64>> {
        Ok(told(self.socket_turn()?.auto_response_ms(SocketId(socket))))
    }
}

impl From<wit::MessageResult> for Message {
    fn from(message: wit::MessageResult) -> Self {
        match message {
            wit::MessageResult::Text(text) => Self::Text(text.into()),
            wit::MessageResult::Binary(bytes) => Self::Binary(bytes.into()),
        }
    }
}

fn told<T>(result: Result<T, SocketError>) -> Result<T, wit::Error> {
    result.map_err(|error| match error {
        SocketError::NotAnUpgrade => wit::Error::NotAnUpgrade,
        SocketError::AcceptedAlready => wit::Error::AcceptedAlready,
        SocketError::TooManySockets(limit) => wit::Error::TooManySockets(limit),
        SocketError::BadTag(why) => wit::Error::BadTag(why),
        SocketError::UnknownSocket => wit::Error::UnknownSocket,
        SocketError::Closing => wit::Error::Closing,
        SocketError::TooLarge(bytes, limit) => wit::Error::TooLarge((bytes, limit)),
        SocketError::TooMuch(limit) => wit::Error::TooMuch(limit),
        SocketError::NoMemory(refused) => wit::Error::TooMuch(refused.used),
        SocketError::BadCode(code) => wit::Error::BadCode(code),
    })
}
