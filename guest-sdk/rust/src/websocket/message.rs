//! What messages are made of and read as. The type is the contract's.

use std::borrow::Cow;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Message, WebSocketError};

impl Message {
    /// A text message: a value as JSON.
    ///
    /// # Errors
    /// [`WebSocketError::Encode`] if the value cannot be JSON.
    pub fn json<T: Serialize + ?Sized>(value: &T) -> Result<Self, WebSocketError> {
        serde_json::to_string(value).map(Self::Text).map_err(|error| WebSocketError::Encode(error.to_string()))
    }

    /// The text, if it is a text message.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Binary(_) => None,
        }
    }

    /// The bytes, of text in UTF-8.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }

    /// Reads the message, which is JSON, as a type of yours.
    ///
    /// A client that sends something else has made a mistake. An `Err` from the handler would close its socket with
    /// code 1011, as if the mistake were the object's. This tells it:
    ///
    /// ```no_run
    /// # use holdfast::prelude::*;
    /// # #[derive(serde::Deserialize)] struct Move;
    /// # fn play(_: Move) -> Result<()> { Ok(()) }
    /// fn message(socket: WebSocket, message: Message) -> Result<()> {
    ///     match message.parse() {
    ///         Ok(next) => play(next),
    ///         Err(error) => {
    ///             socket.send_json(&json!({ "error": error.to_string() }))?;
    ///             Ok(())
    ///         }
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    /// If it is not JSON, or not what the type wants.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(self.as_bytes())
    }
}

impl From<String> for Message {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Message {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<Cow<'_, str>> for Message {
    fn from(text: Cow<str>) -> Self {
        Self::Text(text.into())
    }
}

impl From<Vec<u8>> for Message {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Binary(bytes)
    }
}

impl From<&[u8]> for Message {
    fn from(bytes: &[u8]) -> Self {
        Self::Binary(bytes.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_text_is_sent_as_text_and_bytes_as_bytes() {
        for text in [Message::from("ü"), "ü".to_owned().into(), Cow::Borrowed("ü").into()] {
            assert_eq!((text.as_text(), text.as_bytes()), (Some("ü"), "ü".as_bytes()));
        }
        for bytes in [Message::from(&b"\xff"[..]), vec![0xff].into()] {
            assert_eq!((bytes.as_text(), bytes.as_bytes()), (None, &b"\xff"[..]));
        }
    }

    #[test]
    fn json_is_text_and_read_from_either() {
        let message = Message::json(&[1, 2]).unwrap();
        assert_eq!(message, Message::Text("[1,2]".into()));
        assert_eq!(message.parse::<[u8; 2]>().unwrap(), [1, 2]);
        assert_eq!(Message::from(&b"7"[..]).parse::<u8>().unwrap(), 7);
        assert!(Message::from("seven").parse::<u8>().is_err());
        let keys_that_are_no_text = std::collections::BTreeMap::from([(vec![1], 1)]);
        let error = Message::json(&keys_that_are_no_text).unwrap_err();
        assert_eq!(error.to_string(), "the value cannot be sent or attached: key must be a string");
    }
}
