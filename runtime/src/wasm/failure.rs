//! The failure that a handler returns, as the error of its turn.

use crate::base::{Failure, TurnError};

/// Returns the error of a turn whose handler has returned a failure. A code that is not one is replaced, a long message
/// cut.
pub(super) fn guest_failure(code: String, mut message: String, retryable: bool) -> TurnError {
    let fits = (1..=64).contains(&code.len())
        && code.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    message.truncate(message.floor_char_boundary(Failure::MESSAGE_MAX));
    let code = if fits { code } else { "guest-error".into() };
    TurnError::Guest(Failure { retryable, ..Failure::new(code, message) })
}
