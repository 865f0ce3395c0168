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
    /// What the guest has logged of it. It is not in the log yet: the entry of the failed turn has it.
    pub logged: Option<Box<Logged>>,
}

/// An error that a guest has logged and then failed with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logged {
    /// What was said: the failure's message, and perhaps more.
    pub message: String,
    /// Named details, without the stack.
    pub fields: Vec<(String, String)>,
}

impl Failure {
    /// Longest message that is kept, in bytes (`wit/types.wit`).
    pub const MESSAGE_MAX: usize = 8 * 1024;

    /// A failure that is final, of which nothing else is known.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), retryable: false, stack: None, logged: None }
    }
}

/// Whose fault a failed turn is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The class's, or the client's.
    Guest,
    /// Nobody's: the host has no room.
    Capacity,
    /// The host's, or its machine's.
    Host,
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
    StackOverflow {
        /// The functions that were running, innermost first.
        stack: Option<String>,
    },
    /// The turn used up its fuel.
    #[error("the turn used up its {limit} units of fuel")]
    OutOfFuel {
        /// The limit.
        limit: u64,
        /// Where the guest's code was, innermost function first; none if the limit was reached in the host.
        stack: Option<String>,
    },
    /// The turn used up its CPU time.
    #[error("the turn used up its {} s of CPU time", .limit.as_secs_f64())]
    CpuTime {
        /// The limit.
        limit: Duration,
        /// Where the guest's code was, innermost function first; none if the limit was reached in the host.
        stack: Option<String>,
    },
    /// The turn took too long by the clock.
    #[error("the turn did not end within {} s", .limit.as_secs_f64())]
    WallTime {
        /// The limit.
        limit: Duration,
        /// Where the guest's code was, innermost function first; none if that is not known.
        stack: Option<String>,
    },
    /// The instance exceeded its memory limit.
    #[error("the instance wanted more than its {limit} bytes of memory")]
    OutOfMemory {
        /// The limit in bytes.
        limit: u64,
        /// The functions that were running, innermost first.
        stack: Option<String>,
    },
    /// What the turn's SQL needs of memory is over the object's limit; carries the limit in bytes.
    #[error("the object's SQL needs more than its {0} bytes of memory (sql-memory)")]
    SqlMemory(u64),
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
    /// The object has stored nothing, and the class does not let requests create objects.
    #[error("there is no such object, and its class does not let requests create one (`create = \"internal\"`)")]
    UnknownObject,
    /// The class was built for a version of the contract that the host does not run any more. Says which, and what to do.
    #[error("{0}")]
    ClassOutdated(String),
    /// The class's component could not be loaded.
    #[error("the class could not be loaded: {0}")]
    ClassUnavailable(String),
    /// The object's mailbox is full, or too many turns of its class wait to compute for long.
    #[error("too many requests of the object wait, or too many long computations of its class; try again later")]
    Overloaded,
    /// The host's memory is short, and the class has its share of it.
    #[error("the host's memory is short and the class has its share of it; try again later")]
    HostMemory,
    /// The handler has ended well, and there is no room for its response. Nothing that it wrote was kept.
    #[error(
        "the host's memory is short and the class has its share of it, so there is no room for the response; try again later"
    )]
    NoRoomForResponse,
    /// The host has no room for another live instance.
    #[error("the host has no room for another live instance; try again later")]
    NoCapacity,
    /// Nobody waited for the turn any more, it had written nothing, and it only waited; or it waited for room to begin.
    #[error("the client went away before the turn had written anything; it was given up")]
    Abandoned,
    /// The object's part of the commit log was lost while the outcome waited for it: what the turn did may be durable or not.
    #[error(
        "the host lost the object's commit log before what the turn did was known to be durable; it may have happened or not"
    )]
    OutcomeUnknown,
    /// The object, or its class, was deleted before the turn had ended. It was given up.
    #[error("the object was deleted before the request had ended; it was given up")]
    Deleted,
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
            Self::StackOverflow { .. } => "stack-overflow",
            Self::OutOfFuel { .. } => "fuel-exhausted",
            Self::CpuTime { .. } => "cpu-time-exceeded",
            Self::WallTime { .. } => "wall-time-exceeded",
            Self::OutOfMemory { .. } | Self::SqlMemory(_) => "out-of-memory",
            Self::InvalidResponse(_) => "invalid-response",
            Self::ResponseTooLarge(_) => "response-too-large",
            Self::NoHandler(_) => "no-handler",
            Self::StorageFull(_) => "storage-full",
            Self::NotApplied(_) => "not-applied",
            Self::SavepointOpen => "savepoint-open",
            Self::Storage(_) => "storage-failed",
            Self::Damaged(_) => "object-damaged",
            Self::Query(_) => "query-failed",
            Self::UnknownObject => "unknown-object",
            Self::ClassOutdated(_) => "class-outdated",
            Self::ClassUnavailable(_) => "class-unavailable",
            Self::Overloaded | Self::HostMemory | Self::NoRoomForResponse => "overloaded",
            Self::NoCapacity => "no-capacity",
            Self::Abandoned => "abandoned",
            Self::OutcomeUnknown => "outcome-unknown",
            Self::Deleted => "object-deleted",
            Self::Stopping => "stopping",
            Self::Host(_) => "internal",
        }
    }

    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::NoCapacity | Self::Overloaded | Self::Stopping => Fault::Capacity,
            Self::StorageFull(_) | Self::Storage(_) | Self::OutcomeUnknown | Self::Host(_) => Fault::Host,
            Self::ClassOutdated(_) | Self::ClassUnavailable(_) => Fault::Host,
            _ => Fault::Guest,
        }
    }

    /// Whether no turn failed: what was asked for was refused, with the reason as the answer, or nobody wanted it any more.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Query(_) | Self::UnknownObject | Self::Abandoned | Self::Deleted | Self::Stopping)
    }

    /// The limit of `[limits]` that the turn reached, if it failed of that: its key and its value.
    pub fn limit(&self) -> Option<(&'static str, String)> {
        Some(match self {
            Self::OutOfFuel { limit, .. } => ("fuel-per-turn", limit.to_string()),
            Self::CpuTime { limit, .. } => ("cpu-seconds-per-turn", limit.as_secs_f64().to_string()),
            Self::WallTime { limit, .. } => ("wall-seconds-per-turn", limit.as_secs_f64().to_string()),
            Self::OutOfMemory { limit, .. } => ("memory-per-instance", limit.to_string()),
            Self::ResponseTooLarge(limit) => ("response-body", limit.to_string()),
            _ => return None,
        })
    }

    /// Where it came from, for whoever wrote the class.
    pub fn stack(&self) -> Option<&str> {
        match self {
            Self::Guest(Failure { stack, .. })
            | Self::Trap { stack, .. }
            | Self::StackOverflow { stack }
            | Self::OutOfFuel { stack, .. }
            | Self::CpuTime { stack, .. }
            | Self::WallTime { stack, .. }
            | Self::OutOfMemory { stack, .. } => stack.as_deref(),
            _ => None,
        }
    }

    /// Whether the same request may succeed later without anybody changing anything.
    pub fn retryable(&self) -> bool {
        match self {
            Self::Guest(failure) => failure.retryable,
            Self::Overloaded | Self::HostMemory | Self::NoRoomForResponse => true,
            Self::NoCapacity | Self::Abandoned | Self::Stopping => true,
            _ => false,
        }
    }
}
