//! The engine: how code is compiled, where instances live, and what every component can link against.
//!
//! All classes share one engine. Its settings were measured (`docs/decisions/0001-engine-settings.md`): fuel both
//! meters and yields; concurrency support is off because classes are synchronous and it doubles the cost of a call.

use std::path::Path;
use std::sync::Arc;

use wasmtime::component::Linker;
use wasmtime::{Config, Enabled, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig};

use super::cache::CodeCache;
use super::capacity::{self, InstanceCapacity};
use super::copies::CopyRoom;
use super::guest_stack::{FIBER_STACK, GUEST_STACK};
use super::host::{self, Host};
use crate::base::{Disk, Env, HeavyWork, Limits};

/// Written bytes of a memory and of a table that are reset by copying when the instance is dropped, and stay resident
/// for the next instance in the same place. Returning pages to the kernel interrupts every core, and each page that is
/// used again is a fault.
const KEPT_MEMORY: usize = 128 << 10;
const KEPT_TABLE: usize = 16 << 10;

/// Slots of the pool beyond the capacity, for instances that are being taken down while their successors already start.
const LEAVING: u32 = 64;

/// Compiles components and holds what their instances share.
pub struct Engine {
    pub(super) wasmtime: wasmtime::Engine,
    pub(super) linker: Linker<Host>,
    pub(super) cache: CodeCache,
    pub(super) copy_room: CopyRoom,
    /// Slots and shares of turns that compute for long.
    pub heavy_work: HeavyWork,
    /// The room for live instances.
    pub capacity: Arc<InstanceCapacity>,
}

impl Engine {
    /// Reserves the pool and links the host's functions.
    pub fn new(
        limits: &Limits,
        env: &Env,
        disk: Arc<dyn Disk>,
        cache: &Path,
        node_key: [u8; 32],
    ) -> wasmtime::Result<Self> {
        let capacity = Arc::new(InstanceCapacity::derive(limits));
        let wasmtime = wasmtime::Engine::new(&config(limits, &capacity))?;
        let linker = host::link(&wasmtime)?;
        let cache = CodeCache::new(disk, cache, &wasmtime, node_key);
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let copy_room = CopyRoom::new(cores, limits.response_body);
        Ok(Self { wasmtime, linker, cache, copy_room, heavy_work: HeavyWork::new(cores, env), capacity })
    }
}

fn config(limits: &Limits, capacity: &InstanceCapacity) -> Config {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(capacity.instances + LEAVING)
        // Core instances are only counted, not reserved, so this cannot be what runs out.
        .total_core_instances((capacity.instances + LEAVING).saturating_mul(capacity::CORE_INSTANCES_PER_COMPONENT))
        .total_memories(capacity.memories + LEAVING)
        .total_tables(capacity.tables + LEAVING)
        .total_stacks(capacity.instances + LEAVING)
        .max_core_instances_per_component(capacity::CORE_INSTANCES_PER_COMPONENT)
        .max_memories_per_component(capacity::MEMORIES_PER_COMPONENT)
        .max_tables_per_component(capacity::TABLES_PER_COMPONENT)
        .max_tables_per_module(capacity::TABLES_PER_COMPONENT)
        .max_memories_per_module(capacity::MEMORIES_PER_COMPONENT)
        .max_memory_size(limits.memory_per_instance as usize)
        .table_elements(capacity::TABLE_ELEMENTS)
        .linear_memory_keep_resident(KEPT_MEMORY)
        .table_keep_resident(KEPT_TABLE)
        .pagemap_scan(Enabled::Auto);
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        .concurrency_support(false)
        .consume_fuel(true)
        .cranelift_opt_level(OptLevel::Speed)
        .max_wasm_stack(GUEST_STACK)
        .async_stack_size(FIBER_STACK)
        // The same inputs take the same fuel and give the same bits on every machine.
        .relaxed_simd_deterministic(true)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    config
}
