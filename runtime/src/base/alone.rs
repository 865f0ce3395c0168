//! Mutual exclusion per key, in order of arrival, with a bound on the number of waiting tasks.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Mutex as Line, OwnedMutexGuard};

use super::share::TooManyWait;

/// Queues by key. Keys that are not in use take no memory.
pub struct OneAtATime<K: Eq + Hash + Clone> {
    queues: Mutex<HashMap<K, Queue>>,
    waiting_max: usize,
}

#[derive(Default)]
struct Queue {
    line: Arc<Line<()>>,
    /// The number of tasks that hold the key or wait for it.
    here: usize,
}

/// Exclusive use of a key. Dropping it releases the key.
pub struct Alone<K: Eq + Hash + Clone> {
    /// Declared before the place, so that it is dropped first.
    _first: OwnedMutexGuard<()>,
    _place: Place<K>,
}

struct Place<K: Eq + Hash + Clone> {
    queues: Arc<OneAtATime<K>>,
    key: K,
}

impl<K: Eq + Hash + Clone> OneAtATime<K> {
    /// Creates queues in which at most `waiting_max` tasks wait for each key.
    pub fn new(waiting_max: usize) -> Arc<Self> {
        Arc::new(Self { queues: Mutex::default(), waiting_max })
    }

    /// Waits for exclusive use of the key. Cancel-safe.
    pub async fn with(self: &Arc<Self>, key: K) -> Result<Alone<K>, TooManyWait> {
        let line = {
            let mut queues = self.queues.lock();
            let queue = queues.entry(key.clone()).or_default();
            if queue.here > self.waiting_max {
                return Err(TooManyWait);
            }
            queue.here += 1;
            queue.line.clone()
        };
        let place = Place { queues: self.clone(), key };
        Ok(Alone { _first: line.lock_owned().await, _place: place })
    }
}

impl<K: Eq + Hash + Clone> Drop for Place<K> {
    fn drop(&mut self) {
        let mut queues = self.queues.queues.lock();
        if let Some(queue) = queues.get_mut(&self.key) {
            queue.here -= 1;
            if queue.here == 0 {
                queues.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn each_key_has_a_bounded_queue_of_its_own() {
        let queues = OneAtATime::new(1);
        let first = queues.with("a").await.unwrap();
        let mut second = Box::pin(queues.with("a"));
        assert!(second.as_mut().now_or_never().is_none());
        assert!(queues.with("a").await.is_err());
        assert!(queues.with("b").now_or_never().is_some());
        drop(first);
        drop(second.await.unwrap());
        assert!(queues.queues.lock().is_empty());
    }
}
