//! A large response between the end of its turn and its connection: charged to the class for all of that time.
//!
//! It waits until it is durable and until a connection takes it over, which is not the class's to say; meanwhile the instance may
//! answer the next request. Small responses are charged by the connection, where that matters.

use bytes::Bytes;

use crate::base::limits::UNCHARGED_BODY_MAX;
use crate::base::{MemoryAccount, MemoryCharge, MemoryUse, Response, TurnError};

/// The bytes of a response with their charge, which lasts for as long as anybody has any of them.
struct Charged {
    bytes: Bytes,
    _charge: MemoryCharge,
}

impl AsRef<[u8]> for Charged {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Charges the body of a response if it is over [`UNCHARGED_BODY_MAX`]. Nothing of the turn may have been applied: without room for
/// the response it fails.
pub(super) fn hold(response: &mut Response, charged_to: impl FnOnce() -> MemoryAccount) -> Result<(), TurnError> {
    let length = response.body.len();
    if length > UNCHARGED_BODY_MAX {
        let charge = charged_to().take(MemoryUse::Responses, length as u64).map_err(|_| TurnError::HostMemory)?;
        let bytes = std::mem::take(&mut response.body);
        response.body = Bytes::from_owner(Charged { bytes, _charge: charge });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, StatusCode};

    use super::*;
    use crate::base::HostMemory;

    #[test]
    fn a_large_response_is_charged_until_its_last_byte_is_gone() {
        let memory = HostMemory::new(1 << 20);
        let response = |bytes: usize| {
            let body = vec![0; bytes].into();
            Response { status: StatusCode::OK, headers: HeaderMap::new(), body }
        };
        let used = || memory.used();
        let mut large = response(100_000);
        hold(&mut large, || memory.unowned()).unwrap();
        let rest = { large.body }.split_off(99_999);
        assert_eq!(used(), 100_000, "one byte is enough");
        drop(rest);
        assert_eq!(used(), 0);
        assert_eq!(hold(&mut response(2 << 20), || memory.unowned()), Err(TurnError::HostMemory));
        assert!(hold(&mut response(UNCHARGED_BODY_MAX), || unreachable!("it is small")).is_ok());
    }
}
