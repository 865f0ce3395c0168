//! The thread that makes checkpoints, and the requests for them.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};

/// How often the thread looks at the log's size, and how soon it retries a checkpoint that failed.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The thread, if it was started, and the lock of the checkpoint that runs.
#[derive(Default)]
pub(super) struct CheckpointThread {
    running: Mutex<()>,
    signal: Arc<Signal>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl CheckpointThread {
    /// Waits until no other checkpoint runs; none begins while the guard is held.
    pub fn alone(&self) -> MutexGuard<'_, ()> {
        self.running.lock()
    }

    /// Whether a checkpoint runs.
    #[cfg(test)]
    pub fn is_running(&self) -> bool {
        self.running.is_locked()
    }

    /// Requests a checkpoint: a turn waits for room in the log.
    pub fn want_checkpoint(&self) {
        self.signal.state.lock().wanted = true;
        self.signal.wake.notify_all();
    }

    /// Starts the thread, which does `run`.
    pub fn start(&self, run: impl FnOnce(&Signal) + Send + 'static) -> io::Result<()> {
        let signal = self.signal.clone();
        let thread = thread::Builder::new().name("log-checkpoint".into()).spawn(move || run(&signal))?;
        *self.thread.lock() = Some(thread);
        Ok(())
    }

    /// Ends the thread, after the checkpoint that it makes.
    pub fn stop(&self) {
        self.signal.state.lock().stop = true;
        self.signal.wake.notify_all();
        if let Some(thread) = self.thread.lock().take() {
            let _ = thread.join();
        }
    }
}

/// What others ask of the thread.
#[derive(Default)]
pub(super) struct Signal {
    state: Mutex<Asked>,
    wake: Condvar,
}

#[derive(Default)]
struct Asked {
    wanted: bool,
    stop: bool,
}

impl Signal {
    /// Waits for a request or for [`LOOK_EVERY`]. Returns whether a checkpoint was requested; none if the thread has to
    /// end.
    pub fn next(&self) -> Option<bool> {
        let mut state = self.state.lock();
        if !state.wanted && !state.stop {
            self.wake.wait_for(&mut state, LOOK_EVERY);
        }
        (!state.stop).then(|| std::mem::take(&mut state.wanted))
    }

    /// Waits after a failure, for [`LOOK_EVERY`] or until the thread has to end or another request comes.
    pub fn pause(&self) {
        let mut state = self.state.lock();
        if !state.stop {
            self.wake.wait_for(&mut state, LOOK_EVERY);
        }
    }
}
