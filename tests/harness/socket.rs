//! A WebSocket client that does one operation at a time, with timeouts that allow for a busy machine.

use std::net::TcpStream;

use serde_json::{Value as Json, json};
use tungstenite::client::IntoClientRequest;
use tungstenite::handshake::HandshakeError;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tungstenite::{Error, Message, WebSocket, client};

use super::{Answer, Client};

/// One open socket.
pub struct Socket {
    socket: WebSocket<TcpStream>,
    /// The sub-protocol that the object chose.
    pub protocol: Option<String>,
}

impl Socket {
    /// Opens a socket, which the object must accept.
    #[track_caller]
    pub fn open(client: &Client, path: &str) -> Self {
        Self::offer(client, path, "").unwrap_or_else(|answer| panic!("{path} was refused: {answer:?}"))
    }

    /// Opens a socket with these sub-protocols on offer, or returns the answer that refused it.
    pub fn offer(client: &Client, path: &str, protocols: &str) -> Result<Self, Box<Answer>> {
        let address = client.address();
        let mut request = format!("ws://{address}{path}").into_client_request().expect("it is an address");
        if !protocols.is_empty() {
            request.headers_mut().insert("sec-websocket-protocol", protocols.parse().expect("it is a header"));
        }
        let stream = client.write(b"");
        stream.set_nodelay(true).expect("sockets have options");
        let config = WebSocketConfig::default().max_message_size(None).max_frame_size(None);
        match client::client_with_config(request, stream, Some(config)) {
            Ok((socket, response)) => {
                let protocol = response.headers().get("sec-websocket-protocol");
                let protocol = protocol.map(|name| name.to_str().expect("it is text").to_owned());
                Ok(Self { socket, protocol })
            }
            Err(HandshakeError::Failure(Error::Http(response))) => {
                let (head, body) = response.into_parts();
                let (status, headers) = (head.status.as_u16(), head.headers);
                Err(Box::new(Answer { status, headers, body: body.unwrap_or_default() }))
            }
            Err(error) => panic!("no handshake: {error}"),
        }
    }

    /// Sends a text.
    pub fn say(&mut self, text: &str) {
        self.send(Message::text(text));
    }

    /// Sends a message.
    pub fn send(&mut self, message: Message) {
        self.socket.send(message).expect("the host reads");
    }

    /// Sends a message that need not arrive.
    pub fn try_send(&mut self, message: Message) -> Result<(), Error> {
        self.socket.send(message)
    }

    /// Returns the next message of any kind.
    pub fn next(&mut self) -> Message {
        self.socket.read().expect("a message comes")
    }

    /// Returns the next message that is not a ping, which must be text.
    #[track_caller]
    pub fn hear(&mut self) -> String {
        loop {
            match self.next() {
                Message::Text(text) => return text.as_str().to_owned(),
                Message::Ping(_) => {}
                other => panic!("not a text: {other:?}"),
            }
        }
    }

    /// Has the object of `tests/guests/sockets` run these operations in a turn of this socket, and returns the results.
    #[track_caller]
    pub fn order(&mut self, ops: Json) -> Json {
        self.say(&format!("!{ops}"));
        let answer = self.hear();
        let results = answer.strip_prefix('=').unwrap_or_else(|| panic!("no results: {answer}"));
        serde_json::from_str(results).expect("results are JSON")
    }

    /// Does [`order`](Self::order) with one operation.
    #[track_caller]
    pub fn order_one(&mut self, op: Json) -> Json {
        self.order(json!([op]))[0].take()
    }

    /// Sends a close frame and waits for the answer.
    pub fn close(&mut self, code: u16, reason: &str) -> Option<(u16, String)> {
        let frame = CloseFrame { code: CloseCode::from(code), reason: reason.into() };
        self.socket.close(Some(frame)).expect("the host reads");
        self.closed()
    }

    /// Reads up to the host's close frame and returns its code and reason; none if it had no code. The host must close
    /// the connection then.
    #[track_caller]
    pub fn closed(&mut self) -> Option<(u16, String)> {
        let mut close = None;
        loop {
            match self.socket.read() {
                Ok(Message::Close(frame)) => {
                    close = Some(frame.map(|frame| (frame.code.into(), frame.reason.as_str().to_owned())));
                }
                Ok(_) => {}
                Err(Error::ConnectionClosed) => return close.expect("a close frame came"),
                Err(error) => panic!("the connection ended otherwise: {error}; {close:?}"),
            }
        }
    }

    /// Returns the underlying connection.
    pub fn stream(&mut self) -> &mut TcpStream {
        self.socket.get_mut()
    }
}
