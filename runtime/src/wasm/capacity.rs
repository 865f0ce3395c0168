//! The capacity of the machine: the room for live instances, and what one instance of a class takes of it.
//!
//! The cap on live instances is derived from what the kernel and the pool run out of first: memory maps
//! (`vm.max_map_count`), file descriptors, and bytes of memory. The figures per instance were measured with wasmtime
//! 48: 2 maps for a stack and its guard, 4 for a linear memory with its copy-on-write image.

use std::sync::Arc;

use crate::base::share::{FEW, may_take, may_take_of_few};
use crate::base::{ClassKey, Descriptors, HostMemory, Limits, MemoryAccount, MemoryCharge, MemoryUse, NoMemory};

/// Maps that one instance's stack takes.
const MAPS_PER_STACK: u32 = 2;
/// Maps that one linear memory takes.
const MAPS_PER_MEMORY: u32 = 4;
/// Share of `vm.max_map_count` left to everything else: code, databases, threads.
const MAPS_FOR_OTHERS: u32 = 16_000;
/// Descriptors per live object: its database, the log of that database twice, and one to spare.
const DESCRIPTORS_PER_OBJECT: u64 = 4;
/// Descriptors left to connections and files of the host.
const DESCRIPTORS_FOR_OTHERS: u64 = 2_000;
/// Most live instances. More gain nothing: a dormant object wakes in tens of microseconds.
const INSTANCES_MAX: u32 = 8_000;
/// Bytes that an instance may grow by in its first turn without being refused. Without them an instance could be made
/// only to fail.
pub(super) const FIRST_GROWTH: u64 = 1 << 20;
/// Linear memories that a component may use; interpreters made of several modules use up to three.
pub const MEMORIES_PER_COMPONENT: u32 = 8;
/// Tables that a component may use.
pub const TABLES_PER_COMPONENT: u32 = 40;
/// Core instances that a component may use; Python's use 38.
pub const CORE_INSTANCES_PER_COMPONENT: u32 = 100;
/// Elements of one table.
pub const TABLE_ELEMENTS: usize = 100_000;

/// The part of the capacity that one instance of a class takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cost {
    /// Instances, each with a stack: 1.
    pub instances: u32,
    /// Linear memories.
    pub memories: u32,
    /// Tables.
    pub tables: u32,
    /// Bytes of the linear memories at the beginning, without later growth: their number times the size of the largest.
    pub bytes: u64,
}

impl Cost {
    /// Returns the cost of one instance with these memories and tables, and so many bytes at the beginning.
    pub fn of(memories: u32, tables: u32, bytes: u64) -> Self {
        Self { instances: 1, memories, tables, bytes }
    }

    /// Returns the memory maps that instances of this cost take.
    fn maps(&self) -> u32 {
        self.instances * MAPS_PER_STACK + self.memories * MAPS_PER_MEMORY
    }

    /// Returns the larger of both costs in each dimension.
    pub fn max(self, other: Self) -> Self {
        Self {
            instances: self.instances.max(other.instances),
            memories: self.memories.max(other.memories),
            tables: self.tables.max(other.tables),
            bytes: self.bytes.max(other.bytes),
        }
    }

    /// Returns the sum of both costs.
    pub fn plus(self, other: Self) -> Self {
        Self {
            instances: self.instances + other.instances,
            memories: self.memories + other.memories,
            tables: self.tables + other.tables,
            bytes: self.bytes + other.bytes,
        }
    }

    /// Returns the difference of both costs.
    pub fn minus(self, other: Self) -> Self {
        Self {
            instances: self.instances - other.instances,
            memories: self.memories - other.memories,
            tables: self.tables - other.tables,
            bytes: self.bytes - other.bytes,
        }
    }
}

/// The room that this host has for live instances.
pub struct InstanceCapacity {
    /// Live instances, and so stacks.
    pub instances: u32,
    /// Linear memories.
    pub memories: u32,
    /// Tables.
    pub tables: u32,
    /// The file descriptors that live objects share with connections.
    pub descriptors: Arc<Descriptors>,
    maps: u32,
    /// Bytes of linear memories and tables.
    pub memory: HostMemory,
}

impl InstanceCapacity {
    /// Derives the capacity from the machine, or takes less where the limits say so.
    pub fn derive(limits: &Limits) -> Self {
        let maps = read_number("/proc/sys/vm/max_map_count").unwrap_or(65_530).min(u64::from(u32::MAX)) as u32;
        let maps = maps.saturating_sub(MAPS_FOR_OTHERS).max(600);
        let descriptors = raise_descriptor_limit();
        let by_descriptors = descriptors.saturating_sub(DESCRIPTORS_FOR_OTHERS) / DESCRIPTORS_PER_OBJECT;
        let by_maps = maps / (MAPS_PER_STACK + MAPS_PER_MEMORY);
        let derived = by_maps.min(by_descriptors.min(u64::from(INSTANCES_MAX)) as u32).max(16);
        let instances = if limits.live_instances == 0 { derived } else { limits.live_instances.min(derived) };
        let bytes = if limits.live_instance_bytes == 0 { machine_memory() / 2 } else { limits.live_instance_bytes };
        let memories = (instances + instances / 2).min(maps / MAPS_PER_MEMORY).max(MEMORIES_PER_COMPONENT);
        let tables = (instances * 3).max(TABLES_PER_COMPONENT);
        let descriptors = Arc::new(Descriptors::new(descriptors, instances));
        Self { instances, memories, tables, descriptors, maps, memory: HostMemory::new(bytes) }
    }

    /// Returns whether instances of this total cost fit.
    pub fn holds(&self, cost: Cost) -> bool {
        cost.instances <= self.instances
            && self.descriptors.hold_objects(cost.instances)
            && cost.memories <= self.memories
            && cost.tables <= self.tables
            && cost.maps() <= self.maps.max(self.instances * (MAPS_PER_STACK + MAPS_PER_MEMORY))
    }

    /// Returns the room that a turn of this depth, of `deepest` at most, leaves for the turns that it may wait for: for
    /// an instance of this cost at each further depth. No more than half of the room is kept, so on a small host fewer
    /// depths have any.
    pub fn kept_for_calls(&self, cost: Cost, depth: usize, deepest: usize) -> Cost {
        let fit = |each: u32, total: u32| (total / 2).checked_div(each).unwrap_or(u32::MAX);
        let rungs = fit(cost.instances, self.instances).min(fit(cost.memories, self.memories));
        let rungs = rungs.min(fit(cost.tables, self.tables)).min(deepest as u32);
        let left = rungs.saturating_sub(depth as u32);
        Cost { instances: cost.instances * left, memories: cost.memories * left, tables: cost.tables * left, bytes: 0 }
    }

    /// Returns whether a class whose instances take `held` may have another that takes `more`, while all instances take
    /// `used`. Some room is kept free for other classes (`share`).
    pub fn may_take(&self, held: Cost, more: Cost, used: Cost) -> bool {
        let kept = |total: u32, held: u32, more: u32, used: u32| {
            let may_take = if (self.instances as usize) < FEW { may_take_of_few } else { may_take };
            may_take(u64::from(held), u64::from(more), u64::from(total.saturating_sub(used)))
        };
        self.holds(used.plus(more))
            && kept(self.instances, held.instances, more.instances, used.instances)
            && kept(self.memories, held.memories, more.memories, used.memories)
            && kept(self.tables, held.tables, more.tables, used.tables)
    }

    /// Takes the bytes that an instance of this cost begins with, and [`FIRST_GROWTH`] more, which it gives back after
    /// its first turn.
    pub fn take_bytes(account: &MemoryAccount, cost: Cost) -> Result<MemoryCharge, NoMemory> {
        account.take(MemoryUse::Instances, first_bytes(cost))
    }

    /// Returns whether [`Self::take_bytes`] would find the bytes now.
    pub fn has_bytes(account: &MemoryAccount, cost: Cost) -> bool {
        account.may_have(first_bytes(cost))
    }

    /// Returns the account of a class for the bytes of linear memories and tables.
    pub fn account(&self, class: &ClassKey) -> MemoryAccount {
        self.memory.account(class)
    }
}

fn first_bytes(cost: Cost) -> u64 {
    if cost.bytes == 0 { 0 } else { cost.bytes + FIRST_GROWTH }
}

fn read_number(path: &str) -> Option<u64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// Returns the bytes of memory that this process may use: the machine's, or less if its control group says so.
pub fn machine_memory() -> u64 {
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix("kB")?.trim().parse::<u64>().ok())
        .map_or(4 << 30, |kib| kib << 10);
    read_number("/sys/fs/cgroup/memory.max").map_or(total, |limit| limit.min(total))
}

/// Raises the soft limit on open files to the hard one and returns it.
fn raise_descriptor_limit() -> u64 {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
    getrlimit(Resource::Nofile).current.unwrap_or(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configured_cap_is_the_cap() {
        let capacity = InstanceCapacity::derive(&Limits { live_instances: 3, ..Limits::default() });
        assert!(capacity.holds(Cost { instances: 3, memories: 3, tables: 6, bytes: 0 }));
        assert!(!capacity.holds(Cost { instances: 4, memories: 4, tables: 8, bytes: 0 }));
    }

    #[test]
    fn no_class_takes_all_that_a_large_host_has_in_any_dimension() {
        let capacity = InstanceCapacity::derive(&Limits { live_instances: 100, ..Limits::default() });
        let (plain, heavy) = (Cost::of(1, 1, 0), Cost::of(8, 40, 0));
        let fill = |cost: Cost, used: Cost| {
            let mut held = Cost::default();
            while capacity.may_take(held, cost, used.plus(held)) {
                held = held.plus(cost);
            }
            held
        };
        assert_eq!(fill(plain, Cost::default()).instances, 80);
        let held = fill(heavy, Cost::default());
        assert!(held.memories <= 120 && held.tables <= 240, "{held:?}");
        assert!(fill(heavy, held).instances > 0 && fill(plain, held).instances > 0);
    }
}
