//! SIGINT and SIGTERM: the first requests an orderly stop, the second ends the process at once.

use std::thread;

use anyhow::Context;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

/// The exit code that shells report for a program that SIGINT ended.
const INTERRUPTED: i32 = 130;

/// Calls `stop` at the first SIGINT or SIGTERM; a second one ends the process at once.
///
/// From here on neither signal ends the process by itself.
pub fn on_stop(stop: impl FnOnce() + Send + 'static) -> anyhow::Result<()> {
    let runtime = Builder::new_current_thread().enable_io().build().context("cannot wait for signals")?;
    let (mut interrupt, mut terminate) = {
        let _entered = runtime.enter();
        let listen = |kind| signal(kind).context("cannot wait for signals");
        (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?)
    };
    thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            let mut either = || {
                runtime.block_on(async {
                    tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
                });
            };
            either();
            stop();
            either();
            std::process::exit(INTERRUPTED);
        })
        .context("cannot wait for signals")?;
    Ok(())
}
