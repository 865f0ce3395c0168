//! Fair shares of a bounded resource that classes compete for: no class can starve the others.
//!
//! There are two kinds of resource and two rules. A resource that is held *briefly* (a quantum of computing) goes,
//! whenever a slot is released, to the waiting class that holds the fewest and was served longest ago; nothing is kept
//! free. A resource that is held for *long* (the run of an alarm, a live instance, memory) cannot be taken back when
//! another class arrives, so some of it is always kept free: a class may hold at most four times what is still free,
//! the rule of dynamic thresholds that switches use for their buffers (Choudhury and Hahne, 1998). Alone, a class gets
//! four fifths; the next one four fifths of the rest, at once.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::ClassKey;

/// A class may hold this many times what is free.
const TIMES_FREE: u64 = 4;
/// With fewer slots than this a fifth would be too little: the last slot is kept for a class that has none.
pub const FEW: usize = 16;

/// Returns whether a class that holds `held` of a long-held resource may take `more` of it while `free` is free.
pub fn may_take(held: u64, more: u64, free: u64) -> bool {
    let Some(left) = free.checked_sub(more) else { return false };
    held.saturating_add(more) <= left.saturating_mul(TIMES_FREE)
}

/// Does [`may_take`] for a small total. With a total of one, none is kept free.
pub fn may_take_of_few(held: u64, more: u64, free: u64) -> bool {
    more < free || held == 0 && more == free
}

/// Slots that classes share fairly.
pub struct Slots {
    total: usize,
    /// Whether they are held for long, so that some are kept free.
    lasting: bool,
    /// The number of tasks of one class that may wait.
    waiting_max: usize,
    state: Mutex<State>,
}

struct State {
    free: usize,
    /// The number of grants so far.
    grants: u64,
    classes: HashMap<ClassKey, Holder>,
}

#[derive(Default)]
struct Holder {
    held: usize,
    waiting: VecDeque<oneshot::Sender<Slot>>,
    /// The grant at which the class was last served, in `State::grants`.
    served: u64,
}

/// One slot. Dropping it releases it to the next waiting class.
pub struct Slot {
    slots: Arc<Slots>,
    class: ClassKey,
}

/// Too many tasks of the class wait already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many of the class wait for a slot")]
pub struct TooManyWait;

impl Slots {
    /// Creates slots that are held briefly; at most `waiting_max` tasks of one class wait.
    pub fn brief(total: usize, waiting_max: usize) -> Arc<Self> {
        Self::new(total, false, waiting_max)
    }

    /// Creates slots that are held without a bound in time; at most `waiting_max` tasks of one class wait.
    pub fn lasting(total: usize, waiting_max: usize) -> Arc<Self> {
        Self::new(total, true, waiting_max)
    }

    fn new(total: usize, lasting: bool, waiting_max: usize) -> Arc<Self> {
        let state = State { free: total, grants: 0, classes: HashMap::new() };
        Arc::new(Self { total, lasting, waiting_max, state: Mutex::new(state) })
    }

    /// Takes a slot if one is available at once.
    pub fn try_acquire(self: &Arc<Self>, class: &ClassKey) -> Option<Slot> {
        let mut state = self.state.lock();
        let waiting = state.classes.get(class).is_some_and(|holder| !holder.waiting.is_empty());
        if waiting || !self.may_have(&state, class) {
            return None;
        }
        Some(self.grant(&mut state, class))
    }

    /// Waits for a slot. Cancel-safe.
    pub async fn acquire(self: &Arc<Self>, class: &ClassKey) -> Result<Slot, TooManyWait> {
        let granted = {
            let mut state = self.state.lock();
            let waiting = state.classes.get(class).map_or(0, |holder| holder.waiting.len());
            if waiting == 0 && self.may_have(&state, class) {
                return Ok(self.grant(&mut state, class));
            }
            if waiting >= self.waiting_max {
                // Cancelled waiters take no place.
                let holder = state.classes.get_mut(class).expect("some of it wait");
                holder.waiting.retain(|waiting| !waiting.is_closed());
                if holder.waiting.len() >= self.waiting_max {
                    return Err(TooManyWait);
                }
            }
            let (sender, granted) = oneshot::channel();
            state.classes.entry(class.clone()).or_default().waiting.push_back(sender);
            granted
        };
        Ok(granted.await.expect("a waiting task is granted a slot before its entry is removed"))
    }

    /// Returns the number of free slots.
    pub fn free(&self) -> usize {
        self.state.lock().free
    }

    /// Reports whether no slot is held.
    pub fn all_free(&self) -> bool {
        self.free() == self.total
    }

    fn may_have(&self, state: &State, class: &ClassKey) -> bool {
        let held = state.classes.get(class).map_or(0, |holder| holder.held);
        let may_take = match (self.lasting, self.total < FEW) {
            (false, _) => return state.free > 0,
            (true, true) => may_take_of_few,
            (true, false) => may_take,
        };
        may_take(held as u64, 1, state.free as u64)
    }

    fn grant(self: &Arc<Self>, state: &mut State, class: &ClassKey) -> Slot {
        state.free -= 1;
        state.grants += 1;
        let grants = state.grants;
        let holder = state.classes.entry(class.clone()).or_default();
        holder.held += 1;
        holder.served = grants;
        Slot { slots: self.clone(), class: class.clone() }
    }

    /// Returns the waiting class that is served next.
    fn next(&self, state: &State) -> Option<ClassKey> {
        let waiting =
            state.classes.iter().filter(|(class, holder)| !holder.waiting.is_empty() && self.may_have(state, class));
        waiting.min_by_key(|(_, holder)| (holder.held, holder.served)).map(|(class, _)| class.clone())
    }

    fn give_back(self: &Arc<Self>, class: &ClassKey) {
        let mut state = self.state.lock();
        state.free += 1;
        if let Some(holder) = state.classes.get_mut(class) {
            holder.held -= 1;
        }
        // Sent after the lock is released: a slot whose receiver has been dropped comes back here.
        let mut granted = Vec::new();
        while let Some(next) = self.next(&state) {
            let holder = state.classes.get_mut(&next).expect("it waits");
            let Some(sender) = holder.waiting.pop_front() else { break };
            if !sender.is_closed() {
                granted.push((sender, self.grant(&mut state, &next)));
            }
        }
        if state.classes.get(class).is_some_and(|holder| holder.held == 0 && holder.waiting.is_empty()) {
            state.classes.remove(class);
        }
        drop(state);
        for (sender, slot) in granted {
            drop(sender.send(slot));
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.clone().give_back(&self.class);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn a_class_leaves_a_fifth_to_the_others() {
        assert!(may_take(79, 1, 21) && !may_take(80, 1, 20));
        assert!(may_take(0, 1, 20) && !may_take(0, 1, 1) && !may_take(0, 2, 1));
    }

    #[test]
    fn the_last_of_few_is_kept_for_a_class_that_has_none() {
        assert!(may_take_of_few(2, 1, 2) && !may_take_of_few(3, 1, 1) && may_take_of_few(0, 1, 1));
        assert!(!may_take_of_few(0, 1, 0) && !may_take_of_few(0, 2, 1));
        let slots = Slots::lasting(4, 0);
        let (greedy, modest) = (ClassKey::new("greedy"), ClassKey::new("modest"));
        let held: Vec<_> = std::iter::from_fn(|| slots.try_acquire(&greedy)).collect();
        assert_eq!(held.len(), 3);
        assert!(slots.try_acquire(&modest).is_some());
    }

    #[tokio::test]
    async fn the_class_that_holds_least_comes_first() {
        let (greedy, modest) = (ClassKey::new("greedy"), ClassKey::new("modest"));
        let slots = Slots::brief(1, 10);
        let held = slots.acquire(&greedy).await.unwrap();
        let waiting: Vec<_> = [&greedy, &greedy, &modest]
            .map(|class| {
                let (slots, class) = (slots.clone(), class.clone());
                tokio::spawn(async move { slots.acquire(&class).await.unwrap() })
            })
            .into_iter()
            .collect();
        tokio::task::yield_now().await;
        drop(held);
        let mut waiting = waiting.into_iter();
        let (first, second, third) = (waiting.next().unwrap(), waiting.next().unwrap(), waiting.next().unwrap());
        let modest_one = third.await.unwrap();
        assert!(!first.is_finished() && !second.is_finished());
        drop(modest_one);
        drop(first.await.unwrap());
        drop(second.await.unwrap());
        assert!(slots.all_free());
    }

    #[tokio::test]
    async fn lasting_slots_are_never_all_held_by_one() {
        let slots = Slots::lasting(20, 2);
        let (greedy, modest) = (ClassKey::new("greedy"), ClassKey::new("modest"));
        let held: Vec<_> = std::iter::from_fn(|| slots.try_acquire(&greedy)).collect();
        assert_eq!(held.len(), 16);
        assert!(slots.try_acquire(&modest).is_some());
        let mut given_up = Box::pin(slots.acquire(&greedy));
        assert!(given_up.as_mut().now_or_never().is_none());
        drop(given_up);
        drop(held);
        assert!(slots.all_free());
    }

    #[tokio::test]
    async fn more_than_may_wait_are_refused() {
        let slots = Slots::brief(1, 1);
        let class = ClassKey::new("class");
        let held = slots.try_acquire(&class);
        let mut waits = Box::pin(slots.acquire(&class));
        assert!(waits.as_mut().now_or_never().is_none());
        assert!(slots.acquire(&class).await.is_err());
        drop(held);
        assert!(waits.await.is_ok());
    }
}
