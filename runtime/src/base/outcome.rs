//! How a turn can end badly: one enum, few kinds, each saying whether the same request may succeed later.
//!
//! A turn that ends with one of these left no trace in storage. HTTP status codes are the gateway's business.

use std::time::Duration;

/// What a guest's handler returned instead of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// A short stable word chosen by the class.
    pub code: String,
    /// For a person; at most [`Failure::MESSAGE_MAX`] bytes.
    pub message: String,
    /// Whether the same request may succeed later.
    pub retryable: bool,
    /// Where it came from, as far as the guest has told the log.
    pub stack: Option<String>,
}

impl Failure {
    /// Longest message that is kept, in bytes (`wit/types.wit`).
    pub const MESSAGE_MAX: usize = 8 * 1024;
}

/// Why a turn failed, or why it was never begun.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TurnError {
    /// The handler returned a failure.
    #[error("{}", .0.message)]
    Guest(Failure),
    /// The guest trapped: a panic, an abort, an exit, an access out of bounds.
    #[error("the object's code trapped: {reason}")]
    Trap {
        /// Which trap it was, and what the guest said last.
        reason: String,
        /// The functions that were running, innermost first.
        stack: Option<String>,
    },
    /// The guest's call stack overflowed.
    #[error("the object's code used up its call stack; look for a recursion that does not end")]
    StackOverflow,
    /// The turn used up its fuel.
    #[error("the turn used up its {0} units of fuel")]
    OutOfFuel(u64),
    /// The turn used up its CPU time.
    #[error("the turn used up its {} s of CPU time", .0.as_secs_f64())]
    CpuTime(Duration),
    /// The turn took too long by the clock.
    #[error("the turn did not end within {} s", .0.as_secs_f64())]
    WallTime(Duration),
    /// The instance wanted more memory than its limit; carries the limit in bytes.
    #[error("the instance wanted more than its {0} bytes of memory")]
    OutOfMemory(u64),
    /// The handler returned something that is not an HTTP response.
    #[error("the object's response is not valid: {0}")]
    InvalidResponse(String),
    /// The response body is over the limit; carries the limit in bytes.
    #[error("the object's response body is larger than {0} bytes")]
    ResponseTooLarge(u64),
    /// The class exports no handler for the event.
    #[error("the class exports no {0} handler")]
    NoHandler(&'static str),
    /// No room to store what the turn wrote.
    #[error("no room to store what the turn wrote: {0}")]
    StorageFull(String),
    /// The handler succeeded, but what it left behind cannot be applied: a deferred constraint is violated, or one of its
    /// statements ended the transaction.
    #[error("what the turn wrote could not be applied: {0}")]
    NotApplied(String),
    /// The handler succeeded and left a savepoint open.
    #[error("a savepoint is still open at the end of the turn; keep it or undo it")]
    SavepointOpen,
    /// The object's storage failed; its data is what it was before the turn.
    #[error("the object's storage failed: {0}")]
    Storage(String),
    /// What the object has stored is not there, or not as it was written. Nothing of it is served.
    #[error("what the object has stored is damaged: {0}")]
    Damaged(String),
    /// A query of the admin API was refused or failed.
    #[error("{0}")]
    Query(String),
    /// The class's component could not be loaded.
    #[error("the class could not be loaded: {0}")]
    ClassUnavailable(String),
    /// The object's mailbox is full.
    #[error("the object has too many requests waiting; try again later")]
    Overloaded,
    /// The host has no room for another live instance.
    #[error("the host has no room for another live instance; try again later")]
    NoCapacity,
    /// The host is shutting down.
    #[error("the host is stopping; try again")]
    Stopping,
    /// The host failed in a way that is not the guest's fault.
    #[error("the host failed: {0}")]
    Host(String),
}

impl TurnError {
    /// The stable code that clients match on; `docs/ERRORS.md` documents each.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Guest(_) => "guest-error",
            Self::Trap { .. } => "guest-trap",
            Self::StackOverflow => "stack-overflow",
            Self::OutOfFuel(_) => "fuel-exhausted",
            Self::CpuTime(_) => "cpu-time-exceeded",
            Self::WallTime(_) => "wall-time-exceeded",
            Self::OutOfMemory(_) => "out-of-memory",
            Self::InvalidResponse(_) => "invalid-response",
            Self::ResponseTooLarge(_) => "response-too-large",
            Self::NoHandler(_) => "no-handler",
            Self::StorageFull(_) => "storage-full",
            Self::NotApplied(_) => "not-applied",
            Self::SavepointOpen => "savepoint-open",
            Self::Storage(_) => "storage-failed",
            Self::Damaged(_) => "object-damaged",
            Self::Query(_) => "query-failed",
            Self::ClassUnavailable(_) => "class-unavailable",
            Self::Overloaded => "overloaded",
            Self::NoCapacity => "no-capacity",
            Self::Stopping => "stopping",
            Self::Host(_) => "internal",
        }
    }

    /// Where it came from, for whoever wrote the class.
    pub fn stack(&self) -> Option<&str> {
        match self {
            Self::Guest(Failure { stack, .. }) | Self::Trap { stack, .. } => stack.as_deref(),
            _ => None,
        }
    }

    /// Whether the same request may succeed later without anybody changing anything.
    pub fn retryable(&self) -> bool {
        match self {
            Self::Guest(failure) => failure.retryable,
            Self::Overloaded | Self::NoCapacity | Self::Stopping => true,
            _ => false,
        }
    }
}
