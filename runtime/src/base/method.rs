//! Calls of methods: what is asked of an object, its answer, and why it failed for the caller.
//!
//! Arguments and results are CBOR (RFC 8949), which only guests and the gateway read.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::{Failure, MemoryCharge, TurnError};

/// The name of a method: 1 to 256 bytes without control characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MethodName(Arc<str>);

/// The text is not the name of a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a method's name has 1 to 256 bytes and no control characters")]
pub struct NotMethodName;

impl MethodName {
    const MAX: usize = 256;

    /// Parses the name of a method.
    pub fn parse(name: &str) -> Result<Self, NotMethodName> {
        let fits = (1..=Self::MAX).contains(&name.len()) && !name.contains(char::is_control);
        if fits { Ok(Self(name.into())) } else { Err(NotMethodName) }
    }

    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MethodName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A call of a method.
#[derive(Debug)]
pub struct MethodCall {
    /// The method.
    pub method: MethodName,
    /// An array of arguments, or a map of arguments by name.
    pub arguments: Bytes,
    /// The memory charge of the arguments; none if they are small. Returned when the turn is over.
    pub charge: Option<MemoryCharge>,
}

/// The answer of a method.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallAnswer {
    /// The result.
    Value(Bytes),
    /// A refusal: what the turn staged is undone, unless the answer was deferred.
    Refused(Bytes),
}

/// What is known of the turn of a call that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It has not run.
    NotRun,
    /// It ran and was rolled back; what it had settled stays.
    Failed,
    /// It may have run.
    Unknown,
}

/// Why a call failed, for the object that made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallError {
    /// A code of the host, or of the object that was called.
    pub code: Cow<'static, str>,
    /// A description; at most [`Failure::MESSAGE_MAX`] bytes.
    pub message: String,
    /// Whether the object that was called has chosen code and message.
    pub guest: bool,
    /// Whether the same call may succeed later.
    pub retryable: bool,
    /// What is known of its turn.
    pub fate: Fate,
    /// The value of a refusal.
    pub refusal: Option<Bytes>,
    /// The objects of a circle of waits.
    pub cycle: Option<String>,
}

impl CallError {
    /// Creates an error of the host's. The call has not run.
    pub fn not_run(code: &'static str, message: impl Into<String>) -> Self {
        Self::of_host(code, message.into(), Fate::NotRun)
    }

    /// Creates an error of the host's.
    pub fn of_host(code: &'static str, message: String, fate: Fate) -> Self {
        let code = Cow::Borrowed(code);
        Self { code, message, guest: false, retryable: false, fate, refusal: None, cycle: None }
    }

    /// Creates the error of a refusal.
    pub fn refused(value: Bytes) -> Self {
        let error = Self::of_host("refused", "the method refused".into(), Fate::Failed);
        Self { guest: true, refusal: Some(value), ..error }
    }

    /// Creates the error of a call whose turn failed, or did not begin.
    pub fn of_turn(error: TurnError, fate: Fate) -> Self {
        let retryable = error.retryable();
        match error {
            TurnError::Guest(Failure { code, message, .. }) => {
                Self { code: code.into(), guest: true, retryable, ..Self::of_host("guest-error", message, fate) }
            }
            error => {
                let mut message = error.to_string();
                message.truncate(message.floor_char_boundary(Failure::MESSAGE_MAX));
                Self { retryable, ..Self::of_host(error.code(), message, fate) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_method_is_checked_at_its_edges() {
        for good in ["a", "booking/reserve", "größe", &"m".repeat(256)] {
            assert!(MethodName::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "a\nb", "\u{7f}", &"m".repeat(257)] {
            assert_eq!(MethodName::parse(bad), Err(NotMethodName));
        }
    }

    #[test]
    fn the_error_of_a_class_keeps_its_own_code() {
        let failed = TurnError::Guest(Failure { retryable: true, ..Failure::new("sold-out", "no seats") });
        let error = CallError::of_turn(failed, Fate::Failed);
        assert_eq!((&*error.code, error.guest, error.retryable), ("sold-out", true, true));
        let error = CallError::of_turn(TurnError::Overloaded, Fate::NotRun);
        assert_eq!((&*error.code, error.guest, error.retryable), ("overloaded", false, true));
    }
}
