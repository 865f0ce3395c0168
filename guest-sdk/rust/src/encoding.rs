//! How values of yours become bytes that the host keeps: MessagePack with the names of fields and variants. Errors are
//! what serde says; whose bytes they were is known above.

use serde::Serialize;
use serde::de::DeserializeOwned;

pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, String> {
    rmp_serde::to_vec_named(value).map_err(|error| error.to_string())
}

pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let mut rest = bytes;
    let value = T::deserialize(&mut rmp_serde::Deserializer::new(&mut rest)).map_err(|error| error.to_string())?;
    // Only bytes that were never encoded, or not as one value, have a rest.
    if rest.is_empty() { Ok(value) } else { Err(format!("{} bytes follow its end", rest.len())) }
}
