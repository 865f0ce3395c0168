//! The hook on the way from guest code to the host and back: charges the price of a call, makes the turn give way, and
//! records the running functions when the turn is given up.

use wasmtime::{CallHook, StoreContextMut, WasmBacktrace};

use super::host::Host;
use super::pace::FUEL_PER_SLICE;
use super::trap::functions;

/// Checks the turn whenever an instance's code calls the host or the engine, and when the call returns. An error ends
/// the turn.
pub(super) fn at_host_call(store: StoreContextMut<'_, Host>, transition: CallHook) -> wasmtime::Result<()> {
    match transition {
        CallHook::CallingHost => before(store),
        CallHook::ReturningFromHost => after(store),
        CallHook::CallingWasm => calling_code(store),
        CallHook::ReturningFromWasm => code_returned(store),
    }
}

fn calling_code(mut store: StoreContextMut<'_, Host>) -> wasmtime::Result<()> {
    let host = store.data_mut();
    host.stack.enter();
    host.copies.end();
    Ok(())
}

fn code_returned(mut store: StoreContextMut<'_, Host>) -> wasmtime::Result<()> {
    let host = store.data_mut();
    host.copies.returned(host.memory.used());
    Ok(())
}

fn before(mut store: StoreContextMut<'_, Host>) -> wasmtime::Result<()> {
    let host = store.data_mut();
    let deep = host.stack.in_use();
    if deep > 0 && !host.memory.deepen(deep) {
        return Err(wasmtime::format_err!("the class has its share of the host's memory; no more stack"));
    }
    host.copies.in_host_call(true);
    if !host.pace.has_written() && host.has_written() {
        host.pace.note_written();
    }
    // This call may be the one by which the turn gives way; if not, the turn is asked again.
    if host.pace.take_back() { store.fuel_async_yield_interval(Some(FUEL_PER_SLICE)) } else { Ok(()) }
}

fn after(mut store: StoreContextMut<'_, Host>) -> wasmtime::Result<()> {
    let host = store.data_mut();
    host.copies.in_host_call(false);
    if host.pace.is_given_up() {
        // The call is being dropped, whatever is returned here.
        if host.stopped_at.is_none() {
            let stack = functions(&WasmBacktrace::capture(&store));
            store.data_mut().stopped_at = Some(stack);
        }
        return Ok(());
    }
    let price = host.pace.take_price();
    if price > 0 {
        host.work.charge(price)?;
    }
    host.work.check()?;
    if !host.pace.count(price, &host.env)? {
        return Ok(());
    }
    host.work.check_time()?;
    // Compiled code checks its fuel at the next loop or function, and finds none.
    store.fuel_async_yield_interval(Some(1))
}
