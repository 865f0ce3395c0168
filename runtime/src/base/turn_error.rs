//! The reasons for which a turn can fail. Each says whether the same request may succeed later.
//!
//! A failed turn leaves no trace in storage. The gateway maps the reasons to HTTP status codes.

use std::time::Duration;

/// A failure that a guest's handler returned instead of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// A short stable code chosen by the class.
    pub code: String,
    /// A message for a person; at most [`Failure::MESSAGE_MAX`] bytes.
    pub message: String,
    /// Whether the same request may succeed later.
    pub retryable: bool,
    /// The stack, as far as the guest has logged it.
    pub stack: Option<String>,
    /// The guest's log entry about the failure. It is not in the log yet: the entry of the failed turn includes it.
    pub logged: Option<Box<Logged>>,
}

/// An error that a guest has logged before it failed with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logged {
    /// The logged message: the failure's message, and perhaps more.
    pub message: String,
    /// Named details, without the stack.
    pub fields: Vec<(String, String)>,
}

impl Failure {
    /// The maximum length of a message in bytes (`wit/types.wit`).
    pub const MESSAGE_MAX: usize = 8 * 1024;

    /// The code that means, of an alarm's handler, that the alarm is not tried again (`wit/alarm-handler.wit`).
    pub const GIVE_UP: &str = "give-up";

    /// The code that means, if the instance was refused memory in the turn, that it ran out of memory: of languages
    /// whose code survives that (`wit/types.wit`).
    pub const OUT_OF_MEMORY: &str = "out-of-memory";

    /// The code that means, of the handler of calls, that the class has no such method (`wit/call-handler.wit`).
    pub const NO_METHOD: &str = "no-method";

    /// The code that means, of the handler of calls, that the arguments do not fit the method.
    pub const BAD_ARGUMENTS: &str = "bad-arguments";

    /// Returns whether an alarm whose handler fails so is given up at once.
    pub fn gives_up(&self) -> bool {
        self.code == Self::GIVE_UP
    }

    /// Creates a failure that is not retryable and has no stack.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), retryable: false, stack: None, logged: None }
    }
}

/// The party at fault for a failed turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The class, or the client.
    Guest,
    /// No party: the host has no room.
    Capacity,
    /// The host, or its machine.
    Host,
}

/// The reason why a turn failed, or why it did not begin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TurnError {
    /// The handler returned a failure.
    #[error("{}", .0.message)]
    Guest(Failure),
    /// The guest trapped: a panic, an abort, an exit, an out-of-bounds access.
    #[error("the object's code trapped: {reason}")]
    Trap {
        /// The kind of trap, and the guest's last output.
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
        /// The functions that were running, innermost first; none if the limit was reached in the host.
        stack: Option<String>,
    },
    /// The turn used up its CPU time.
    #[error("the turn used up its {} s of CPU time", .limit.as_secs_f64())]
    CpuTime {
        /// The limit.
        limit: Duration,
        /// The functions that were running, innermost first; none if the limit was reached in the host.
        stack: Option<String>,
    },
    /// The turn exceeded its wall time.
    #[error("the turn exceeded its wall time of {} s", .limit.as_secs_f64())]
    WallTime {
        /// The limit.
        limit: Duration,
        /// The functions that were running, innermost first; none if unknown.
        stack: Option<String>,
    },
    /// The instance exceeded its memory limit.
    #[error("the instance exceeded its memory limit of {limit} bytes")]
    OutOfMemory {
        /// The limit in bytes.
        limit: u64,
        /// The functions that were running, innermost first.
        stack: Option<String>,
    },
    /// The turn's SQL needs more memory than the object's limit; carries the limit in bytes.
    #[error("the object's SQL needs more than the limit of {0} bytes of memory (sql-memory)")]
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
    /// The class has no such method; carries its name, or what the class says about it.
    #[error("the class has no such method: {0}")]
    NoMethod(String),
    /// The arguments of a call do not fit the method; carries what the class says about them.
    #[error("the arguments do not fit the method: {0}")]
    BadArguments(String),
    /// The time was up that the caller had.
    #[error("the time of the call was up before its turn had ended")]
    Deadline,
    /// There is no room to store what the turn wrote.
    #[error("no room to store what the turn wrote: {0}")]
    StorageFull(String),
    /// The handler succeeded, but its writes cannot be applied: a deferred constraint is violated, or one of its
    /// statements ended the transaction.
    #[error("what the turn wrote could not be applied: {0}")]
    NotApplied(String),
    /// The handler succeeded and left a savepoint open.
    #[error("a savepoint is still open at the end of the turn; keep it or undo it")]
    SavepointOpen,
    /// The object's storage failed; its data is as it was before the turn.
    #[error("the object's storage failed: {0}")]
    Storage(String),
    /// What the object has stored is missing or differs from what was written. None of it is served.
    #[error("what the object has stored is damaged: {0}")]
    Damaged(String),
    /// A query of the admin API was refused or failed.
    #[error("{0}")]
    Query(String),
    /// The object has stored nothing, and the class does not let requests create objects.
    #[error("there is no such object, and its class does not let requests create one (`create = \"internal\"`)")]
    UnknownObject,
    /// The class was built for a version of the contract that the host no longer runs. Carries the version, and what to
    /// do.
    #[error("{0}")]
    ClassOutdated(String),
    /// The class's component could not be loaded.
    #[error("the class could not be loaded: {0}")]
    ClassUnavailable(String),
    /// The object's mailbox is full, or too many turns of its class wait to compute for long.
    #[error("too many requests of the object wait, or too many long computations of its class; try again later")]
    Overloaded,
    /// The host's memory is short, and the class uses its share of it.
    #[error("the host's memory is short and the class has its share of it; try again later")]
    HostMemory,
    /// The handler succeeded, and there is no memory for its response. Nothing that it wrote was kept.
    #[error(
        "the host's memory is short and the class has its share of it, so there is no room for the response; try again later"
    )]
    NoRoomForResponse,
    /// The host has no room for another live instance.
    #[error("the host has no room for another live instance; try again later")]
    NoCapacity,
    /// The instance could not grow: its class has its share of the host's memory.
    #[error(
        "the host's memory is short and the class has its share of it, so the instance could not grow; try again later"
    )]
    NoRoomToGrow,
    /// The client had disconnected, and the turn had written nothing and only waited, or waited for room to begin.
    #[error("the client disconnected before the turn had written anything; the turn was abandoned")]
    Abandoned,
    /// The object's lane of the commit log was lost while the outcome waited for it: the turn's writes may be durable
    /// or not.
    #[error(
        "the host lost the object's commit log before what the turn did was known to be durable; it may have happened or not"
    )]
    OutcomeUnknown,
    /// The instance was dropped before it had answered a request that it had deferred. What it had written until then
    /// stays.
    #[error(
        "the object's memory was dropped before it had answered; what it had written by then stays, and the rest was not done"
    )]
    InstanceDropped,
    /// The object, or its class, was deleted before the turn had ended. The turn was abandoned.
    #[error("the object was deleted before the request had ended; the turn was abandoned")]
    Deleted,
    /// The host is shutting down.
    #[error("the host is stopping; try again")]
    Stopping,
    /// The host failed in a way that is not the guest's fault.
    #[error("the host failed: {0}")]
    Host(String),
}

impl TurnError {
    /// Returns the stable code that clients match on; `docs/ERRORS.md` documents each.
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
            Self::NoMethod(_) => "no-method",
            Self::BadArguments(_) => "bad-arguments",
            Self::Deadline => "deadline",
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
            Self::NoCapacity | Self::NoRoomToGrow => "no-capacity",
            Self::Abandoned => "abandoned",
            Self::OutcomeUnknown => "outcome-unknown",
            Self::InstanceDropped => "instance-dropped",
            Self::Deleted => "object-deleted",
            Self::Stopping => "stopping",
            Self::Host(_) => "internal",
        }
    }

    /// Returns the party at fault.
    pub fn fault(&self) -> Fault {
        match self {
            Self::NoCapacity | Self::NoRoomToGrow | Self::Overloaded | Self::Stopping | Self::InstanceDropped => {
                Fault::Capacity
            }
            Self::StorageFull(_) | Self::Storage(_) | Self::OutcomeUnknown | Self::Host(_) => Fault::Host,
            Self::ClassOutdated(_) | Self::ClassUnavailable(_) => Fault::Host,
            _ => Fault::Guest,
        }
    }

    /// Reports whether no turn failed: the request was refused, with the reason as the answer, or its caller was gone.
    pub fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::Query(_)
                | Self::UnknownObject
                | Self::Abandoned
                | Self::Deleted
                | Self::Stopping
                | Self::InstanceDropped
        )
    }

    /// Reports whether the handler has returned the error: it has ended, and can be called again.
    pub fn is_returned(&self) -> bool {
        matches!(self, Self::Guest(_) | Self::NoMethod(_) | Self::BadArguments(_))
    }

    /// Returns the key and the value of the limit in `[limits]` that the turn reached, if it failed for that reason.
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

    /// Returns the guest's stack, for the author of the class.
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

    /// Reports whether the same request may succeed later without any change.
    pub fn retryable(&self) -> bool {
        match self {
            Self::Guest(failure) => failure.retryable,
            Self::Overloaded | Self::HostMemory | Self::NoRoomForResponse => true,
            Self::NoCapacity | Self::NoRoomToGrow | Self::Abandoned | Self::Stopping => true,
            _ => false,
        }
    }
}
