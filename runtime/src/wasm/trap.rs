//! The error of a turn whose guest code stopped before it returned, with the functions that were running.

use wasmtime::{PoolConcurrencyLimitError, Store, Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use super::host::{FailedTurn, Host};
use super::meter::Refusal;
use crate::base::{Exhausted, Failure, Limits, TurnError};
use crate::storage::LaneLost;

/// Returns the error of a turn whose guest code stopped with a trap, an exit or an error of a host function.
pub(super) fn trapped(store: &Store<Host>, limits: &Limits, error: &wasmtime::Error) -> TurnError {
    let host = store.data();
    let stack = error.downcast_ref::<WasmBacktrace>().map(functions);
    if let Some(exhausted) = error.downcast_ref::<Exhausted>() {
        return match exhausted {
            Exhausted::Fuel => TurnError::OutOfFuel { limit: limits.fuel_per_turn, stack },
            Exhausted::CpuTime => TurnError::CpuTime { limit: limits.cpu_time(), stack },
            Exhausted::Overloaded | Exhausted::Cancelled => TurnError::Overloaded,
        };
    }
    if let Some(FailedTurn(failed)) = error.downcast_ref::<FailedTurn>() {
        return failed.clone();
    }
    if error.is::<LaneLost>() {
        return TurnError::OutcomeUnknown;
    }
    if error.is::<PoolConcurrencyLimitError>() {
        return TurnError::NoCapacity;
    }
    let trap = error.downcast_ref::<Trap>();
    match (trap, host.memory.refusal()) {
        (Some(Trap::OutOfFuel), _) => return TurnError::OutOfFuel { limit: limits.fuel_per_turn, stack },
        (_, Some(Refusal::Limit)) => return TurnError::OutOfMemory { limit: limits.memory_per_instance, stack },
        (_, Some(Refusal::Host)) => return TurnError::NoRoomToGrow,
        _ => {}
    }
    let last_words = host.log.last_error();
    match (trap, error.downcast_ref::<I32Exit>()) {
        (Some(Trap::StackOverflow), _) => TurnError::StackOverflow { stack },
        // Compiled languages have a second stack, in their memory, which can be used up first: it ends where the memory
        // does.
        (Some(Trap::MemoryOutOfBounds), _) if host.stack.was_deep() => TurnError::StackOverflow { stack },
        (Some(trap), _) => {
            host.log.drop_cause();
            let mut reason = last_words.map_or_else(|| trap.to_string(), |words| format!("{trap}: {}", words.message));
            reason.truncate(reason.floor_char_boundary(Failure::MESSAGE_MAX));
            TurnError::Trap { reason, stack }
        }
        (None, Some(exit)) => TurnError::Trap { reason: format!("it called exit with code {}", exit.0), stack },
        (None, None) => TurnError::Trap { reason: error.root_cause().to_string(), stack },
    }
}

/// Returns the error of a turn whose handler says that it ran out of memory, if it was refused some in this turn.
pub(super) fn memory_ran_out(failure: &Failure, refusal: Option<Refusal>, limits: &Limits) -> Option<TurnError> {
    if failure.code != Failure::OUT_OF_MEMORY {
        return None;
    }
    Some(match refusal? {
        Refusal::Limit => TurnError::OutOfMemory { limit: limits.memory_per_instance, stack: failure.stack.clone() },
        Refusal::Host => TurnError::NoRoomToGrow,
    })
}

/// Returns a line for each function that was running, innermost first: its place in the module, and its name if the
/// component has names.
pub(super) fn functions(backtrace: &WasmBacktrace) -> String {
    let text = backtrace.to_string();
    let mut lines = text.split_once('\n').map_or_else(String::new, |(_title, lines)| lines.trim_end().to_owned());
    lines.truncate(lines.floor_char_boundary(Failure::MESSAGE_MAX));
    lines
}
