//! A client of WebSockets, and the limit of descriptors for many of them.

use std::net::SocketAddr;

use anyhow::{Context, bail, ensure};
use futures_util::{SinkExt, StreamExt};
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

/// More than any message here; each peer has a buffer of this size.
const BUFFER: usize = 1 << 10;

/// One open socket.
pub struct Peer(WebSocketStream<TcpStream>);

impl Peer {
    /// Opens a socket.
    pub async fn open(address: SocketAddr, path: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await.with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        let config = WebSocketConfig::default().read_buffer_size(BUFFER).write_buffer_size(BUFFER);
        let opened = client_async_with_config(format!("ws://{address}{path}"), stream, Some(config)).await;
        Ok(Self(opened.with_context(|| format!("no socket of {path}"))?.0))
    }

    /// Sends a message.
    pub async fn send(&mut self, message: Message) -> anyhow::Result<()> {
        Ok(self.0.send(message).await?)
    }

    /// Returns the next message. Answers pings meanwhile.
    pub async fn hear(&mut self) -> anyhow::Result<Message> {
        loop {
            match self.0.next().await.context("the socket was closed")?? {
                Message::Ping(_) | Message::Pong(_) => {}
                Message::Close(why) => bail!("the socket was closed: {why:?}"),
                message => return Ok(message),
            }
        }
    }

    /// Sends a text, and waits for its echo.
    pub async fn echo(&mut self, text: String) -> anyhow::Result<()> {
        let message = Message::text(text);
        self.send(message.clone()).await?;
        let heard = self.hear().await?;
        ensure!(heard == message, "{message:?} came back as {heard:?}");
        Ok(())
    }
}

/// Raises the limit of open files of this process and its children to the maximum.
pub fn allow_many() -> anyhow::Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    Ok(setrlimit(Resource::Nofile, limit)?)
}
