//! The budget of memory that guests and clients make the host use outside linear memories: SQLite's allocations,
//! bodies, responses, messages that wait for sockets. Linear memories have a budget of their own, by the same rule.
//!
//! Code that allocates for a class takes a [`MemoryCharge`] first, and holds it for as long as the bytes are allocated.
//! A class may hold at most four times what is free (`share`), so when memory is short the host refuses the class that
//! took most, never the others. Only the host's own work, which must not
//! fail, may exceed the limit ([`MemoryCharge::grow_anyway`]). Charges are counted by purpose, too, for the metrics.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;

use super::ClassKey;
use super::share::may_take;

/// The purpose of a charge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MemoryUse {
    /// Databases: pages, compiled statements, sorters, rows in transit.
    Sql,
    /// Bodies of requests, from their first byte to the end of their turn.
    Requests,
    /// Responses that clients have not read yet.
    Responses,
    /// Messages and frames that wait for the peers of WebSockets, and incoming messages.
    Sockets,
    /// Records that wait for the commit log.
    Log,
    /// Linear memories and tables of live instances.
    Instances,
    /// Entries in the log histories of guests.
    Histories,
}

impl MemoryUse {
    /// All purposes, in the order of their declaration.
    pub const ALL: [Self; 7] =
        [Self::Sql, Self::Requests, Self::Responses, Self::Sockets, Self::Log, Self::Instances, Self::Histories];

    /// Returns the label of the metric.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sql => "sql",
            Self::Requests => "requests",
            Self::Responses => "responses",
            Self::Sockets => "sockets",
            Self::Log => "log",
            Self::Instances => "instances",
            Self::Histories => "log-histories",
        }
    }
}

/// The memory budget of one host. Cheap to clone.
#[derive(Clone)]
pub struct HostMemory(Arc<Host>);

struct Host {
    limit: u64,
    used: AtomicU64,
    by_use: [AtomicU64; MemoryUse::ALL.len()],
    accounts: Mutex<HashMap<ClassKey, MemoryAccount>>,
    /// For bytes that belong to no class yet: requests to unknown classes, the admin API.
    unowned: Arc<OfClass>,
}

/// The part of the budget that one class uses. Cheap to clone.
#[derive(Clone)]
pub struct MemoryAccount {
    host: Arc<Host>,
    class: Arc<OfClass>,
}

#[derive(Default)]
struct OfClass {
    used: AtomicU64,
    /// Held while bytes are taken.
    adding: Mutex<()>,
}

/// Bytes taken from the budget. Dropping the charge returns them.
pub struct MemoryCharge {
    account: MemoryAccount,
    purpose: MemoryUse,
    bytes: u64,
}

/// The class may not have the bytes now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the class uses {used} bytes of the host's memory and {free} bytes are free; it may not take {wanted} more")]
pub struct NoMemory {
    /// The bytes that were requested.
    pub wanted: u64,
    /// The bytes that the class uses.
    pub used: u64,
    /// The bytes that are not in use.
    pub free: u64,
}

impl HostMemory {
    /// Creates a budget of `limit` bytes.
    pub fn new(limit: u64) -> Self {
        Self(Arc::new(Host {
            limit,
            used: AtomicU64::new(0),
            by_use: Default::default(),
            accounts: Mutex::default(),
            unowned: Arc::default(),
        }))
    }

    /// Returns the account of a class. Callers keep it, because this takes a lock.
    pub fn account(&self, class: &ClassKey) -> MemoryAccount {
        let mut accounts = self.0.accounts.lock();
        let account = || MemoryAccount { host: self.0.clone(), class: Arc::default() };
        accounts.entry(class.clone()).or_insert_with(account).clone()
    }

    /// Returns the account for bytes that belong to no class.
    pub fn unowned(&self) -> MemoryAccount {
        MemoryAccount { host: self.0.clone(), class: self.0.unowned.clone() }
    }

    /// Removes the account of a deleted class. Charges that are still held stay valid.
    pub fn forget(&self, class: &ClassKey) {
        self.0.accounts.lock().remove(class);
    }

    /// Returns the bytes of the budget.
    pub fn limit(&self) -> u64 {
        self.0.limit
    }

    /// Returns the bytes in use.
    pub fn used(&self) -> u64 {
        self.0.used.load(Relaxed)
    }

    /// Returns the bytes in use for one purpose.
    pub fn used_for(&self, purpose: MemoryUse) -> u64 {
        self.0.by_use[purpose as usize].load(Relaxed)
    }
}

impl MemoryAccount {
    /// Takes bytes.
    pub fn take(&self, purpose: MemoryUse, bytes: u64) -> Result<MemoryCharge, NoMemory> {
        let mut charge = self.none(purpose);
        charge.grow(bytes)?;
        Ok(charge)
    }

    /// Returns a charge of no bytes, which can grow.
    pub fn none(&self, purpose: MemoryUse) -> MemoryCharge {
        MemoryCharge { account: self.clone(), purpose, bytes: 0 }
    }

    /// Returns the bytes that the class uses.
    pub fn used(&self) -> u64 {
        self.class.used.load(Relaxed)
    }

    /// Reports whether the class may take this many bytes now.
    pub fn may_have(&self, bytes: u64) -> bool {
        may_take(self.used(), bytes, self.host.limit.saturating_sub(self.host.used.load(Relaxed)))
    }

    /// Reports whether the class uses more than seven eighths of what it may have now, which is four fifths of what
    /// others leave.
    pub fn is_short(&self) -> bool {
        let (used, by_all) = (self.used(), self.host.used.load(Relaxed));
        let left_by_others = self.host.limit.saturating_sub(by_all.saturating_sub(used));
        used.saturating_mul(10) > left_by_others.saturating_mul(7)
    }

    fn add(&self, purpose: MemoryUse, bytes: u64) -> Result<(), NoMemory> {
        // One at a time of each class: threads that took at once would not see each other's bytes, and together take
        // what the rule keeps free for other classes.
        let _one = self.class.adding.lock();
        let held = self.used();
        let taken = self.host.used.fetch_update(Relaxed, Relaxed, |used| {
            may_take(held, bytes, self.host.limit.saturating_sub(used)).then(|| used + bytes)
        });
        if let Err(used) = taken {
            return Err(NoMemory { wanted: bytes, used: held, free: self.host.limit.saturating_sub(used) });
        }
        self.class.used.fetch_add(bytes, Relaxed);
        self.host.by_use[purpose as usize].fetch_add(bytes, Relaxed);
        Ok(())
    }

    fn subtract(&self, purpose: MemoryUse, bytes: u64) {
        self.host.used.fetch_sub(bytes, Relaxed);
        self.class.used.fetch_sub(bytes, Relaxed);
        self.host.by_use[purpose as usize].fetch_sub(bytes, Relaxed);
    }
}

impl MemoryCharge {
    /// Takes more bytes.
    pub fn grow(&mut self, more: u64) -> Result<(), NoMemory> {
        if more > 0 {
            self.account.add(self.purpose, more)?;
            self.bytes += more;
        }
        Ok(())
    }

    /// Takes more bytes without checking the class's share: for the host's own work, which must not fail.
    pub fn grow_anyway(&mut self, more: u64) {
        let MemoryAccount { host, class } = &self.account;
        class.used.fetch_add(more, Relaxed);
        host.used.fetch_add(more, Relaxed);
        host.by_use[self.purpose as usize].fetch_add(more, Relaxed);
        self.bytes += more;
    }

    /// Returns some of the bytes to the budget; all of them if there are fewer.
    pub fn shrink(&mut self, less: u64) {
        let less = less.min(self.bytes);
        self.account.subtract(self.purpose, less);
        self.bytes -= less;
    }

    /// Splits off some of the bytes; all of them if there are fewer.
    pub fn split(&mut self, bytes: u64) -> Self {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        Self { account: self.account.clone(), purpose: self.purpose, bytes }
    }

    /// Returns the bytes that the charge holds.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl std::fmt::Debug for MemoryCharge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes for {}", self.bytes, self.purpose.name())
    }
}

impl Drop for MemoryCharge {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.account.subtract(self.purpose, self.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_took_most_is_refused_and_the_neighbour_is_not() {
        let memory = HostMemory::new(1_000);
        let (greedy, modest) = (memory.account(&ClassKey::new("greedy")), memory.account(&ClassKey::new("modest")));
        let mut charge = greedy.take(MemoryUse::Sql, 800).unwrap();
        assert_eq!(charge.grow(1), Err(NoMemory { wanted: 1, used: 800, free: 200 }));
        assert!(greedy.is_short() && !modest.is_short());
        let other = modest.take(MemoryUse::Requests, 160).unwrap();
        assert_eq!((memory.used(), memory.used_for(MemoryUse::Sql), modest.used()), (960, 800, 160));
        charge.shrink(300);
        assert_eq!((charge.bytes(), greedy.used()), (500, 500));
        drop((charge, other));
        assert_eq!((memory.used(), greedy.used(), memory.used_for(MemoryUse::Requests)), (0, 0, 0));
    }

    /// Threads that take at once take what one thread would: four fifths, neither more nor less.
    #[test]
    fn a_class_takes_the_same_on_many_threads_as_on_one() {
        for _ in 0..200 {
            let memory = HostMemory::new(1_000);
            let account = memory.account(&ClassKey::new("greedy"));
            let taken: Vec<_> = std::thread::scope(|scope| {
                let takes = || account.take(MemoryUse::Instances, 200).ok();
                let threads: Vec<_> = (0..8).map(|_| scope.spawn(takes)).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            assert_eq!((memory.used(), account.used()), (800, 800));
            drop(taken);
            assert_eq!((memory.used(), account.used()), (0, 0));
        }
    }

    #[test]
    fn a_class_has_one_account_until_it_is_forgotten() {
        let memory = HostMemory::new(100);
        let class = ClassKey::new("class");
        let charge = memory.account(&class).take(MemoryUse::Log, 10).unwrap();
        assert_eq!(memory.account(&class).used(), 10);
        memory.forget(&class);
        assert_eq!((memory.account(&class).used(), memory.used()), (0, 10));
        drop(charge);
        assert_eq!(memory.used(), 0);
    }
}
