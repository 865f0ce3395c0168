//! The memory meter of an instance: counts its linear memory and tables, and refuses growth beyond its limit or the
//! host's.
//!
//! Idle instances keep their memory, and leave when it is needed. So growth that finds no bytes waits for some of them
//! to leave, as a turn that begins waits for room; once a turn, or an interpreter that retries would wait without end.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::ResourceLimiterAsync;

use super::capacity::TABLE_ELEMENTS;
use super::context::{GrowthRoom, InstanceContext};
use crate::base::{ClassKey, Env, MemoryCharge};

/// Bytes that an element of a table takes.
const TABLE_ELEMENT: u64 = 8;
/// How long growth waits for bytes before it is refused.
const PATIENCE: Duration = Duration::from_secs(5);
/// The first time until it looks again, which doubles up to the last. Each look takes the lock of all instances, and
/// asks one to leave: many that wait must not keep others from it.
const LOOK_AFTER: Duration = Duration::from_millis(10);
const LOOK_AFTER_MAX: Duration = Duration::from_millis(100);

/// The memory of one instance, counted against its own limit and its class's share of the host's memory.
pub(super) struct MemoryMeter {
    /// The charge, which covers at least what is used: the beginning was charged at admission.
    charge: MemoryCharge,
    used: u64,
    /// Bytes of the stack that the turn is charged for.
    stack: u64,
    limit: u64,
    refusal: Option<Refusal>,
    class: ClassKey,
    room: Arc<dyn GrowthRoom>,
    env: Env,
}

/// The reason why memory was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The instance is at its own limit.
    Limit,
    /// The instances of the class have reached their share of the host's memory, or all instances the total.
    Host,
}

impl MemoryMeter {
    /// Creates a meter. `charge` is the one with which the instance was admitted.
    pub(super) fn new(charge: MemoryCharge, context: &InstanceContext) -> Self {
        let InstanceContext { address, limits, room, env, .. } = context;
        let (class, room, env) = (address.key.clone(), room.clone(), env.clone());
        Self { charge, used: 0, stack: 0, limit: limits.memory_per_instance, refusal: None, class, room, env }
    }

    /// Forgets refusals of earlier turns, because the guest may have handled them.
    pub(super) fn begin_turn(&mut self) {
        self.refusal = None;
    }

    /// Ends a turn: its stack is not used any more.
    pub(super) fn end_turn(&mut self) {
        if std::mem::take(&mut self.stack) > 0 {
            self.keep(0);
        }
    }

    /// Charges so many bytes of the stack until the end of the turn, if the turn is not charged for them already.
    pub(super) fn deepen(&mut self, stack: u64) -> bool {
        if stack <= self.stack {
            return true;
        }
        if self.charge.grow(self.used.saturating_add(stack).saturating_sub(self.charge.bytes())).is_err() {
            self.refusal = Some(Refusal::Host);
            return false;
        }
        self.stack = stack;
        true
    }

    /// Keeps what is used and `more` bytes of the charge; gives the rest back.
    pub(super) fn keep(&mut self, more: u64) {
        self.charge.shrink(self.charge.bytes().saturating_sub(self.used.saturating_add(more)));
    }

    fn take(&mut self, more: u64) -> bool {
        let used = self.used.saturating_add(more);
        if used > self.limit {
            self.refusal = Some(Refusal::Limit);
        } else if self.charge.grow(used.saturating_add(self.stack).saturating_sub(self.charge.bytes())).is_err() {
            self.refusal = Some(Refusal::Host);
        } else {
            self.used = used;
            return true;
        }
        false
    }

    /// Does `take`, and waits while idle instances leave if that can give it the bytes.
    async fn take_patiently(&mut self, more: u64) -> bool {
        let refused = self.refusal;
        if self.take(more) {
            return true;
        }
        if refused.is_some() || self.refusal != Some(Refusal::Host) {
            return false;
        }
        let until = self.env.elapsed().saturating_add(PATIENCE);
        let mut pause = LOOK_AFTER;
        while self.env.elapsed() < until && self.room.ask_for_bytes(&self.class) {
            self.env.sleep(pause).await;
            pause = (2 * pause).min(LOOK_AFTER_MAX);
            if self.take(more) {
                self.refusal = None;
                return true;
            }
        }
        false
    }

    /// Returns the bytes of memory and tables.
    pub(super) fn used(&self) -> u64 {
        self.used
    }

    /// Returns whether more than three quarters of the limit are used.
    pub(super) fn is_nearly_full(&self) -> bool {
        self.used > self.limit - self.limit / 4
    }

    /// Returns why memory was refused in this turn, if it was. A trap after a refusal is caused by the refusal.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        self.refusal
    }
}

#[async_trait::async_trait]
impl ResourceLimiterAsync for MemoryMeter {
    /// Counts growth. A refusal makes `memory.grow` return −1, as the specification defines it: interpreters may
    /// collect garbage and retry.
    async fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(self.take_patiently(desired.saturating_sub(current) as u64).await)
    }

    async fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let more = desired.saturating_sub(current) as u64;
        Ok(desired <= TABLE_ELEMENTS && self.take_patiently(more * TABLE_ELEMENT).await)
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::*;
    use crate::base::{HostMemory, MemoryUse};

    /// The idle instances of others, which leave when they are asked, one at a time.
    #[derive(Default)]
    struct Idle(Mutex<Vec<MemoryCharge>>);

    impl GrowthRoom for Idle {
        fn ask_for_bytes(&self, _class: &ClassKey) -> bool {
            self.0.lock().pop().is_some()
        }
    }

    fn meter(charge: MemoryCharge, idle: &Arc<Idle>) -> MemoryMeter {
        let (class, env) = (ClassKey::new("class"), Env::system());
        MemoryMeter { charge, used: 0, stack: 0, limit: 6_000, refusal: None, class, room: idle.clone(), env }
    }

    #[test]
    fn what_an_instance_was_admitted_with_pays_for_its_growth_and_goes_back_when_it_is_not_used() {
        let memory = HostMemory::new(10_000);
        let account = memory.account(&ClassKey::new("class"));
        let mut meter = meter(account.take(MemoryUse::Instances, 3_000).unwrap(), &Arc::default());
        assert!(meter.take(1_000));
        meter.keep(500);
        assert_eq!(account.used(), 1_500);
        assert!(meter.take(400));
        assert_eq!(account.used(), 1_500, "paid for already");
        assert!(meter.take(600));
        meter.keep(0);
        assert_eq!(account.used(), 2_000);
        assert!(!meter.take(4_001) && meter.refusal() == Some(Refusal::Limit));
        let others = memory.account(&ClassKey::new("other")).take(MemoryUse::Instances, 6_000).unwrap();
        assert!(!meter.take(2_000) && meter.refusal() == Some(Refusal::Host));
        drop((meter, others));
        assert_eq!(memory.used(), 0);
    }

    #[tokio::test]
    async fn growth_waits_while_idle_instances_leave_once_a_turn() {
        let memory = HostMemory::new(10_000);
        let idle = Arc::new(Idle::default());
        let other = memory.account(&ClassKey::new("other"));
        *idle.0.lock() = (0..4).map(|_| other.take(MemoryUse::Instances, 1_500).unwrap()).collect();
        let account = memory.account(&ClassKey::new("class"));
        let mut meter = meter(account.none(MemoryUse::Instances), &idle);
        assert!(meter.memory_growing(0, 5_000, None).await.unwrap(), "two of them had to leave");
        assert_eq!((idle.0.lock().len(), meter.refusal()), (2, None));
        assert!(!meter.memory_growing(5_000, 6_001, None).await.unwrap(), "beyond its own limit");
        assert_eq!((idle.0.lock().len(), meter.refusal()), (2, Some(Refusal::Limit)));
        meter.begin_turn();
        let busy = memory.account(&ClassKey::new("busy")).take(MemoryUse::Instances, 1_600).unwrap();
        idle.0.lock().clear();
        let _still = other.take(MemoryUse::Instances, 2_400).unwrap();
        assert!(!meter.memory_growing(5_000, 6_000, None).await.unwrap(), "none is left that could leave");
        assert_eq!(meter.refusal(), Some(Refusal::Host));
        *idle.0.lock() = vec![busy];
        assert!(!meter.memory_growing(5_000, 6_000, None).await.unwrap(), "it has waited in this turn");
        meter.begin_turn();
        assert!(meter.memory_growing(5_000, 6_000, None).await.unwrap());
    }

    #[test]
    fn the_stack_of_a_turn_is_charged_until_its_end() {
        let memory = HostMemory::new(10_000);
        let account = memory.account(&ClassKey::new("class"));
        let mut meter = meter(account.take(MemoryUse::Instances, 1_000).unwrap(), &Arc::default());
        assert!(meter.take(1_000) && meter.deepen(300) && meter.deepen(200) && meter.take(100));
        assert_eq!(account.used(), 1_400);
        assert!(!meter.deepen(20_000) && meter.refusal() == Some(Refusal::Host));
        meter.end_turn();
        assert_eq!(account.used(), 1_100);
    }
}
