//! The file descriptors that connections and live objects share.
//!
//! Neither has a fixed part: either may use most of what the host itself does not need, in order of arrival. A floor is
//! reserved for objects, so that connections alone never stop them. A live object that finds no descriptors makes an
//! idle object leave, as when memory is short.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// For the commit log, catalogs (two each, of up to 64 lanes), uploads, both listeners and the connections to the admin
/// listener, and the runtime.
const FOR_HOST: u64 = 576;
/// Descriptors of one live object: its database, the WAL of that database twice, and one to spare.
const PER_OBJECT: u64 = 4;
/// The fraction of the live objects that always find descriptors: one in this many.
const FLOOR: u64 = 4;

/// The descriptors of one host.
#[derive(Debug)]
pub struct Descriptors {
    /// Descriptors for connections and objects together.
    shared: u64,
    /// Descriptors reserved for objects.
    floor: u64,
    connections: AtomicU64,
}

impl Descriptors {
    /// Divides `limit` descriptors; there are at most `objects_max` live objects.
    pub fn new(limit: u64, objects_max: u32) -> Self {
        let floor = (u64::from(objects_max) / FLOOR).max(1) * PER_OBJECT;
        Self { shared: limit.saturating_sub(FOR_HOST).max(floor), floor, connections: AtomicU64::new(0) }
    }

    /// Returns the maximum number of connections when few objects are live.
    pub fn connections_max(&self) -> u64 {
        self.shared - self.floor
    }

    /// Reports whether this many objects may be live beside the open connections.
    pub fn hold_objects(&self, objects: u32) -> bool {
        let needed = u64::from(objects) * PER_OBJECT;
        needed <= self.floor || needed + self.connections.load(Relaxed) <= self.shared
    }

    /// Takes a descriptor for a connection, given the number of live objects.
    pub fn take_connection(&self, objects: u64) -> bool {
        let room = self.shared.saturating_sub(self.floor.max(objects * PER_OBJECT));
        self.connections.fetch_update(Relaxed, Relaxed, |open| (open < room).then_some(open + 1)).is_ok()
    }

    /// Returns a connection's descriptor.
    pub fn give_connection(&self) {
        self.connections.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_first_may_have_most_and_objects_have_a_floor() {
        let descriptors = Descriptors::new(2_176, 100);
        assert_eq!(descriptors.connections_max(), 1_500);
        assert!(descriptors.hold_objects(400) && !descriptors.hold_objects(401));
        assert!(!descriptors.take_connection(400), "objects have all");
        let taken = (0..).take_while(|_| descriptors.take_connection(0)).count();
        assert_eq!(taken, 1_500);
        assert!(descriptors.hold_objects(25) && !descriptors.hold_objects(26));
        (0..4).for_each(|_| descriptors.give_connection());
        assert!(descriptors.hold_objects(26) && descriptors.take_connection(25) && !descriptors.take_connection(26));
    }

    #[test]
    fn with_next_to_none_a_few_objects_live() {
        let descriptors = Descriptors::new(64, 16);
        assert!(descriptors.hold_objects(4) && !descriptors.hold_objects(5) && !descriptors.take_connection(0));
    }
}
