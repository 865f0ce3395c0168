//! The cases, in the order of the documentation. Each is a function that panics if the class does not behave as
//! documented.

mod alarm;
mod errors;
mod fetch;
mod key_value;
mod late;
mod logs;
mod memory;
mod sockets;
mod sql;
mod storage;
mod transaction;

use crate::subject::Subject;

type Case = (&'static str, fn(&Subject));

/// Returns all cases.
pub fn all() -> impl Iterator<Item = Case> {
    let parts: [&[Case]; 11] = [
        fetch::CASES,
        memory::CASES,
        key_value::CASES,
        sql::CASES,
        transaction::CASES,
        storage::CASES,
        alarm::CASES,
        sockets::CASES,
        late::CASES,
        errors::CASES,
        logs::CASES,
    ];
    parts.into_iter().flatten().copied()
}

/// Returns whether a case belongs to the core, which bindings without an SDK must pass: requests, identity, memory,
/// key-value and failures.
pub fn is_core(case: &str) -> bool {
    let part = case.split_once('/').map_or(case, |(part, _)| part);
    ["fetch", "identity", "memory", "key-value"].contains(&part) || case == "errors/failure"
}
