//! What turns send over WebSockets, on its way through the output gate: released in the order of the turns, each as soon as it is
//! durable, whatever the actor does meanwhile.
//!
//! What must stay true: an actor that leaves has released everything, so what its successor's turns send comes after it.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

use super::output_gate::{self, Gated};
use crate::sockets::Release;

/// Releases that wait for the disk.
#[derive(Default)]
pub(super) struct Outbox(Arc<Mutex<VecDeque<Gated<Release>>>>);

impl Outbox {
    /// Releases it when those before it are released and it is durable, which may be now.
    pub(super) fn put(&self, release: Gated<Release>) {
        let mut waiting = self.0.lock();
        waiting.push_back(release);
        let (first, nobody_waits) = (waiting.len() == 1, self.empty(&mut waiting));
        if first && !nobody_waits {
            let outbox = Self(self.0.clone());
            tokio::spawn(async move { outbox.wait_and_empty().await });
        }
    }

    /// Releases what is durable.
    pub(super) fn flush(&self) {
        self.empty(&mut self.0.lock());
    }

    async fn wait_and_empty(self) {
        loop {
            let waits_for = match self.0.lock().front() {
                Some(first) => first.waits_for(),
                None => return,
            };
            if let Some((applied, mut durable)) = waits_for {
                durable.reached(applied).await;
            }
            self.flush();
        }
    }

    /// Releases from the front what is durable. True if nothing is left.
    fn empty(&self, waiting: &mut VecDeque<Gated<Release>>) -> bool {
        while let Some(first) = waiting.pop_front() {
            match output_gate::open_now(first) {
                Ok(release) => release.now(),
                Err(not_yet) => {
                    waiting.push_front(not_yet);
                    return false;
                }
            }
        }
        true
    }
}
