//! Why a turn fails: [`Error`], and the ways to make one. Knows the `failure` record of the contract and no other part
//! of it.

use std::any::Any;
use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;

use crate::bindings::holdfast::object::types::Failure;
use crate::{AlarmError, BadRequest, CallError, LateError, SqlError, StorageError, WebSocketError};

/// What handlers return; the error is [`Error`] unless said otherwise.
///
/// ```
/// fn double(text: &str) -> holdfast::Result<i64> {
///     Ok(text.parse::<i64>()? * 2)
/// }
/// # assert_eq!(double("21").unwrap(), 42);
/// # assert_eq!(double("x").unwrap_err().to_string(), "invalid digit found in string");
/// ```
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a turn fails.
///
/// **Returning one undoes the turn**: nothing it wrote is kept, the object's memory is dropped if it wrote anything,
/// and the caller gets status 500, or 503 when it is [retryable](Error::retryable). That is right for what should not
/// happen. For what callers do wrong return `Ok` with an answer, for example
/// [`Response::error`](crate::Response::error).
///
/// Every `std::error::Error` becomes one by `?`; its sources are kept in the message.
///
/// ```
/// use holdfast::prelude::*;
///
/// fn parse(text: &str) -> Result<u16> {
///     text.parse().context("reading the port")
/// }
///
/// let error = parse("70000").unwrap_err();
/// assert_eq!(error.to_string(), "reading the port: number too large to fit in target type");
/// assert_eq!(error.code(), "guest-error");
/// ```
#[derive(Debug)]
pub struct Error {
    code: Cow<'static, str>,
    message: String,
    retryable: bool,
    case: Option<&'static str>,
    source: Option<Box<dyn Any>>,
}

impl Error {
    /// The code of errors that were given none.
    const DEFAULT_CODE: &str = "guest-error";

    /// An error with a code that callers can match on, 1 to 64 bytes of `[a-z0-9-]` (the host shows others as
    /// `guest-error`), and a message for people, of which the host keeps 8 KiB.
    ///
    /// ```
    /// let error = holdfast::Error::new("out-of-stock", "no chairs left");
    /// assert_eq!((error.code(), error.to_string().as_str()), ("out-of-stock", "no chairs left"));
    /// ```
    pub fn new(code: impl Into<Cow<'static, str>>, message: impl fmt::Display) -> Self {
        Self { code: code.into(), message: message.to_string(), retryable: false, case: None, source: None }
    }

    /// The error of a [`CallHandler`](crate::CallHandler) that has no such method. The caller learns that the call has
    /// not run.
    pub fn no_method(method: &str) -> Self {
        Self::new("no-method", method)
    }

    /// Says that the same request may succeed later: callers get status 503 in place of 500.
    ///
    /// ```
    /// let error = holdfast::Error::new("warming-up", "the index is being built").retryable();
    /// assert!(error.is_retryable());
    /// ```
    pub fn retryable(mut self) -> Self {
        self.retryable = true;
        self
    }

    /// Puts what was being done in front of the message. [`ErrorContext::context`] does it to a `Result`.
    pub fn context(mut self, doing: impl fmt::Display) -> Self {
        self.message = format!("{doing}: {}", self.message);
        self
    }

    /// The code that callers can match on.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// Returns the case of the [`StorageError`], [`SqlError`], [`AlarmError`], [`LateError`] or [`WebSocketError`] that
    /// `?` made this error of: a stable word of the contract (`wit/`), for example `constraint`. `None` for any other
    /// error.
    ///
    /// ```
    /// use holdfast::prelude::*;
    ///
    /// let error = Error::from(SqlError::NoRows).context("reading the balance");
    /// assert_eq!(error.case(), Some("no-rows"));
    /// assert_eq!(Error::new("overdrawn", "no money").case(), None);
    /// ```
    pub fn case(&self) -> Option<&'static str> {
        self.case
    }

    /// Whether the same request may succeed later.
    pub fn is_retryable(&self) -> bool {
        self.retryable
    }

    /// The error that `?` made this one of, if it was an `E`.
    ///
    /// ```
    /// use holdfast::prelude::*;
    ///
    /// let error = Error::from(SqlError::NoRows).context("reading the balance");
    /// assert_eq!(error.downcast_ref(), Some(&SqlError::NoRows));
    /// ```
    pub fn downcast_ref<E: StdError + 'static>(&self) -> Option<&E> {
        self.source.as_ref()?.downcast_ref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

// `Error` itself is no `std::error::Error`, which is what makes this possible (`anyhow` does the same).
impl<E: StdError + 'static> From<E> for Error {
    fn from(error: E) -> Self {
        let any: &dyn Any = &error;
        let call = any.downcast_ref::<CallError>().map(|error| (error.code().to_owned(), error.is_retryable()));
        let (code, case) = if let Some(error) = any.downcast_ref::<StorageError>() {
            ("storage-error", Some(error.case()))
        } else if let Some(error) = any.downcast_ref::<SqlError>() {
            ("sql-error", Some(error.case()))
        } else if let Some(error) = any.downcast_ref::<AlarmError>() {
            ("alarm-error", Some(error.case()))
        } else if let Some(error) = any.downcast_ref::<LateError>() {
            ("late-error", Some(error.case()))
        } else if let Some(error) = any.downcast_ref::<WebSocketError>() {
            ("websocket-error", Some(error.case()))
        } else if any.is::<BadRequest>() {
            ("bad-request", None)
        } else {
            (Self::DEFAULT_CODE, None)
        };
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            message = format!("{message}: {cause}");
            source = cause.source();
        }
        // That of a call keeps its own code.
        let (code, retryable) = call.map_or((code.into(), false), |(code, retryable)| (Cow::Owned(code), retryable));
        Self { case, retryable, source: Some(Box::new(error)), ..Self::new(code, message) }
    }
}

impl From<Error> for Failure {
    fn from(Error { code, message, retryable, .. }: Error) -> Self {
        Self { code: code.into_owned(), message, retryable }
    }
}

/// Adds what was being done to an error; in the prelude.
///
/// ```
/// use holdfast::prelude::*;
///
/// fn first(words: &[&str]) -> Result<String> {
///     Ok(words.first().context("choosing a word: the list is empty")?.to_string())
/// }
/// assert!(first(&[]).is_err());
/// ```
pub trait ErrorContext<T> {
    /// Turns the error into an [`Error`] whose message begins with `doing`. A `None` becomes an error with this
    /// message.
    fn context(self, doing: impl fmt::Display) -> Result<T>;
}

impl<T, E: Into<Error>> ErrorContext<T> for Result<T, E> {
    fn context(self, doing: impl fmt::Display) -> Result<T> {
        self.map_err(|error| error.into().context(doing))
    }
}

impl<T> ErrorContext<T> for Option<T> {
    fn context(self, doing: impl fmt::Display) -> Result<T> {
        self.ok_or_else(|| Error::new(Error::DEFAULT_CODE, doing))
    }
}

/// Fails the turn: returns an [`Error`] with a code and a message made like `format!`.
///
/// ```
/// use holdfast::prelude::*;
///
/// fn pay(balance: u64, price: u64) -> Result<u64> {
///     match balance.checked_sub(price) {
///         Some(rest) => Ok(rest),
///         None => bail!("overdrawn", "{price} is more than {balance}"),
///     }
/// }
/// assert_eq!(pay(1, 2).unwrap_err().code(), "overdrawn");
/// ```
#[macro_export]
macro_rules! bail {
    ($code:expr, $($message:tt)+) => {
        return ::core::result::Result::Err($crate::Error::new($code, ::core::format_args!($($message)+)))
    };
}

/// Fails the turn unless a condition holds; the rest is as in [`bail!`].
///
/// ```
/// use holdfast::prelude::*;
///
/// fn half(n: u32) -> Result<u32> {
///     ensure!(n % 2 == 0, "odd", "{n} has no half");
///     Ok(n / 2)
/// }
/// assert_eq!(half(3).unwrap_err().to_string(), "3 has no half");
/// ```
#[macro_export]
macro_rules! ensure {
    ($condition:expr, $code:expr, $($message:tt)+) => {
        if !$condition {
            $crate::bail!($code, $($message)+);
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] Inner);

    #[derive(Debug, thiserror::Error)]
    #[error("inner")]
    struct Inner(#[source] std::num::ParseIntError);

    #[test]
    fn the_whole_chain_is_in_the_message() {
        let error = Error::from(Outer(Inner("x".parse::<u8>().unwrap_err()))).context("start");
        assert_eq!(error.to_string(), "start: outer: inner: invalid digit found in string");
    }

    #[test]
    fn errors_of_the_sdk_keep_a_code_of_their_own() {
        assert_eq!(Error::from(StorageError::Full).case(), Some("full"));
        assert_eq!(Error::from(WebSocketError::Closing).context("telling all").case(), Some("closing"));
        assert_eq!(Error::from(std::fmt::Error).case(), None);
        assert_eq!(Error::from(StorageError::Full).code(), "storage-error");
        assert_eq!(Error::from(SqlError::Full).code(), "sql-error");
        assert_eq!(Error::from(AlarmError::NoHandler).code(), "alarm-error");
        assert_eq!(Error::from(LateError::Gone).code(), "late-error");
        assert_eq!(Error::from(WebSocketError::Closing).code(), "websocket-error");
        assert_eq!(Error::from(std::fmt::Error).code(), "guest-error");
    }

    #[test]
    fn a_failure_has_all_that_the_error_had() {
        let failure = Failure::from(Error::new("busy", "later").retryable());
        assert_eq!((failure.code.as_str(), failure.message.as_str(), failure.retryable), ("busy", "later", true));
    }
}
