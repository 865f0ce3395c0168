//! The vocabulary of the runtime: ids, calls, operations, outcomes, limits, the environment.
//!
//! Every layer may import this one; it imports none. Nothing here does I/O except `env`, the only place that reads the
//! machine's clock and randomness, `disk`, the only way to the disk, and `output`, which writes the server's log.

pub mod alarm;
pub mod alone;
pub mod budget;
pub mod call;
pub mod call_settings;
pub mod cpu;
pub mod create;
pub mod descriptors;
pub mod disk;
pub mod env;
pub mod failpoints;
pub mod failures;
pub mod id;
pub mod late_settings;
pub mod limits;
pub mod logs;
pub mod memory;
pub mod method;
pub mod metrics;
pub mod operation;
pub mod output;
#[cfg(test)]
pub mod seeded_bugs;
pub mod share;
pub mod socket;
pub mod turn_error;

pub use alarm::{Alarm, TakenAlarm};
pub use budget::{Exhausted, WorkBudget};
pub use call::{Call, CallBudget, CallId, CallIds, Cause, Chain, Principal, TraceContext};
pub use call_settings::{Calls, Methods, PublicMethods};
pub use cpu::{ClassShare, Computing, CpuTimer, HeavyWork};
pub use create::Create;
pub use descriptors::Descriptors;
pub use disk::{Disk, SystemDisk};
pub use env::Env;
pub use failpoints::Failpoint;
pub use failures::{Failures, Occasion};
pub use id::{ClassKey, ClassName, Digest, ObjectAddress, ObjectId, ObjectName};
pub use late_settings::LateSettings;
pub use limits::Limits;
pub use memory::{HostMemory, MemoryAccount, MemoryCharge, MemoryUse, NoMemory};
pub use method::{CallAnswer, CallError, Fate, MethodCall, MethodName};
pub use metrics::Metrics;
pub use operation::{CheckedDatabase, FetchAnswer, Query, Request, Response, Table, Value};
pub use turn_error::{Failure, TurnError};
