//! `holdfast:object/websockets`: the object's sockets as the running turn uses them.

use bytes::Bytes;
use wasmtime::component::HasData;

use super::Host;
use crate::base::limits::{FUEL_PER_ITEM, FUEL_PER_SOCKET};
use crate::base::socket::{AutoResponse, CloseFrame, Message, SocketId};
use crate::sockets::{SocketError, SocketTurn};
use crate::wasm::bindings::websockets as wit;
use crate::wasm::pace::Pace;

/// The part of a store that this interface needs.
pub(super) struct View<'a> {
    sockets: &'a mut Option<SocketTurn>,
    pace: &'a mut Pace,
}

impl HasData for View<'static> {
    type Data<'a> = View<'a>;
}

/// Borrows that part.
pub(super) fn view(host: &mut Host) -> View<'_> {
    View { sockets: &mut host.sockets, pace: &mut host.pace }
}

/// The answer to the guest; the outer error ends the turn.
type Answer<T> = wasmtime::Result<Result<T, wit::Error>>;

impl wit::Host for View<'_> {
    fn accept(&mut self, tags: Vec<String>) -> Answer<u64> {
        self.pace.price(tags.iter().map(String::len).sum(), FUEL_PER_SOCKET + tags.len() as u64 * FUEL_PER_ITEM);
        Ok(answer(self.socket_turn()?.accept(tags)).map(|socket| socket.0))
    }

    fn sockets(&mut self, tag: Option<String>) -> wasmtime::Result<Vec<u64>> {
        self.pace.price(tag.as_ref().map_or(0, String::len), 0);
        let sockets = self.socket_turn()?.sockets(tag.as_deref());
        self.looked_at(tag.is_some().then_some(sockets.len()));
        Ok(sockets.into_iter().map(|socket| socket.0).collect())
    }

    fn tags(&mut self, socket: u64) -> Answer<Vec<String>> {
        self.pace.price(0, FUEL_PER_SOCKET);
        let tags = self.socket_turn()?.tags(SocketId(socket));
        self.pace.add_price(tags.as_ref().map_or(0, Vec::len) as u64 * FUEL_PER_ITEM);
        Ok(answer(tags))
    }

    fn attachment(&mut self, socket: u64) -> Answer<Option<Vec<u8>>> {
        self.pace.price(0, FUEL_PER_SOCKET);
        let attachment = self.socket_turn()?.attachment(SocketId(socket));
        self.pace.price(attachment.as_ref().map_or(0, |attachment| attachment.as_ref().map_or(0, Bytes::len)), 0);
        Ok(answer(attachment).map(|attachment| attachment.map(Vec::from)))
    }

    fn set_attachment(&mut self, socket: u64, attachment: Option<Vec<u8>>) -> Answer<()> {
        self.pace.price(attachment.as_ref().map_or(0, Vec::len), FUEL_PER_SOCKET);
        Ok(answer(self.socket_turn()?.set_attachment(SocketId(socket), attachment.map(Bytes::from))))
    }

    fn send(&mut self, socket: u64, message: wit::MessageResult) -> Answer<()> {
        self.pace.price(size(&message), FUEL_PER_SOCKET);
        Ok(answer(self.socket_turn()?.send(SocketId(socket), message.into())))
    }

    fn broadcast(&mut self, tag: Option<String>, message: wit::MessageResult) -> Answer<u32> {
        self.pace.price(size(&message) + tag.as_ref().map_or(0, String::len), 0);
        let receivers = self.socket_turn()?.broadcast(tag.as_deref(), message.into());
        self.looked_at(receivers.as_ref().ok().filter(|_| tag.is_some()).map(|receivers| *receivers as usize));
        Ok(answer(receivers))
    }

    fn buffered(&mut self, socket: u64) -> Answer<u64> {
        self.pace.price(0, FUEL_PER_SOCKET);
        Ok(answer(self.socket_turn()?.buffered(SocketId(socket))))
    }

    fn close(&mut self, socket: u64, code: Option<u16>, reason: String) -> Answer<()> {
        self.pace.price(reason.len(), FUEL_PER_SOCKET);
        Ok(answer(self.socket_turn()?.close(SocketId(socket), CloseFrame { code, reason })))
    }

    fn auto_response(&mut self) -> wasmtime::Result<Option<wit::AutoResponsePair>> {
        self.pace.price(0, FUEL_PER_SOCKET);
        let pair = self.socket_turn()?.auto_response();
        Ok(pair.map(|AutoResponse { request, response }| wit::AutoResponsePair { request, response }))
    }

    fn set_auto_response(&mut self, pair: Option<wit::AutoResponsePair>) -> Answer<()> {
        self.pace.price(pair.as_ref().map_or(0, |pair| pair.request.len() + pair.response.len()), FUEL_PER_SOCKET);
        let pair = pair.map(|wit::AutoResponsePair { request, response }| AutoResponse { request, response });
        Ok(answer(self.socket_turn()?.set_auto_response(pair)))
    }

    fn auto_response_time(&mut self, socket: u64) -> Answer<Option<u64>> {
        self.pace.price(0, FUEL_PER_SOCKET);
        Ok(answer(self.socket_turn()?.auto_response_ms(SocketId(socket))))
    }
}

impl View<'_> {
    fn socket_turn(&mut self) -> wasmtime::Result<&mut SocketTurn> {
        self.sockets.as_mut().ok_or_else(|| wasmtime::format_err!("sockets were used outside of a turn"))
    }

    /// Adds the price of looking at so many sockets, or at all that the object has if the number is unknown.
    fn looked_at(&mut self, sockets: Option<usize>) {
        let sockets = sockets.unwrap_or_else(|| self.sockets.as_ref().map_or(0, SocketTurn::count));
        self.pace.add_price(sockets as u64 * FUEL_PER_SOCKET);
    }
}

fn size(message: &wit::MessageResult) -> usize {
    match message {
        wit::MessageResult::Text(text) => text.len(),
        wit::MessageResult::Binary(bytes) => bytes.len(),
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

fn answer<T>(result: Result<T, SocketError>) -> Result<T, wit::Error> {
    result.map_err(|error| match error {
        SocketError::NotAnUpgrade => wit::Error::NotAnUpgrade,
        SocketError::AlreadyAccepted => wit::Error::AlreadyAccepted,
        SocketError::TooManySockets(limit) => wit::Error::TooManySockets(limit),
        SocketError::BadTag(why) => wit::Error::BadTag(why),
        SocketError::UnknownSocket => wit::Error::UnknownSocket,
        SocketError::Closing => wit::Error::Closing,
        SocketError::TooLarge(size, limit) => wit::Error::TooLarge(wit::OverLimit { size, limit }),
        SocketError::TooMuch(limit) => wit::Error::TooMuch(limit),
        SocketError::NoMemory(refused) => wit::Error::TooMuch(refused.used),
        SocketError::BadCode(code) => wit::Error::BadCode(code),
    })
}
