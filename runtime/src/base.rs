//! The vocabulary of the runtime: ids, calls, operations, outcomes, limits, the environment.
//!
//! Every layer may import this one; it imports none. Nothing here does I/O except `env`, which is the only place where the
//! clock and randomness of the machine are read, `output`, which writes the log, and `points`, which does what tests want.

pub mod alarm;
pub mod alone;
pub mod budget;
pub mod call;
pub mod cpu;
pub mod create;
pub mod descriptors;
pub mod env;
pub mod failures;
pub mod id;
pub mod limits;
pub mod logs;
pub mod memory;
pub mod metrics;
#[cfg(test)]
pub mod mistakes;
pub mod operation;
pub mod outcome;
pub mod output;
pub mod points;
pub mod share;
pub mod socket;

pub use alarm::Alarm;
pub use budget::{Exhausted, WorkBudget};
pub use call::{Call, CallId, CallIds, Cause, Chain, Principal, TraceContext};
pub use cpu::{ClassShare, Computing, CpuTimer, HeavyWork};
pub use create::Create;
pub use descriptors::Descriptors;
pub use env::Env;
pub use failures::{Failures, Occasion};
pub use id::{ClassKey, ClassName, Digest, ObjectAddress, ObjectId, ObjectName};
pub use limits::Limits;
pub use memory::{HostMemory, MemoryAccount, MemoryCharge, MemoryUse, NoMemory};
pub use metrics::Metrics;
pub use operation::{CheckedDatabase, FetchAnswer, Query, Request, Response, Table, Value};
pub use outcome::{Failure, TurnError};
pub use points::Point;
