//! The wait graph: which object waits for which, inside its turn. It finds waits that cannot end.
//!
//! A turn waits for one call at a time, so an object has at most one edge, and the walk from an object is a path. An
//! edge is added under one lock together with the check, so the graph never has a circle. It is removed when the answer
//! is given, before the object that gives it takes its next turn, or when the caller stops waiting: whichever is first.
//! So a circle that is found is one: each object on it waits, and none can be entered.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::base::{ObjectAddress, ObjectId};

/// The waits of all objects of one host.
#[derive(Default)]
pub struct Waits(Mutex<Edges>);

#[derive(Default)]
struct Edges {
    by_waiter: HashMap<ObjectId, Edge>,
    /// The serial number of the last edge.
    last: u64,
}

struct Edge {
    serial: u64,
    from: Arc<ObjectAddress>,
    to: Arc<ObjectAddress>,
}

/// An edge of the graph. Dropping it removes the edge.
pub struct Wait {
    waits: Arc<Waits>,
    from: ObjectId,
    serial: u64,
}

/// The objects on the circle that a wait would have closed, as `room/a → table/b → room/a`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cycle(pub String);

impl Waits {
    /// Adds the wait of one object for another, unless it could never end. The caller ensures that `from` waits for
    /// nothing else.
    pub fn begin(self: &Arc<Self>, from: &Arc<ObjectAddress>, to: &Arc<ObjectAddress>) -> Result<Wait, Cycle> {
        let mut edges = self.0.lock();
        if let Some(path) = edges.path(to, &from.id) {
            drop(edges);
            let objects: Vec<String> = std::iter::once(from).chain(&path).map(ToString::to_string).collect();
            return Err(Cycle(objects.join(" → ")));
        }
        edges.last += 1;
        let serial = edges.last;
        edges.by_waiter.insert(from.id, Edge { serial, from: from.clone(), to: to.clone() });
        Ok(Wait { waits: self.clone(), from: from.id, serial })
    }

    /// Returns the object that this one waits for.
    pub fn waits_for(&self, object: &ObjectId) -> Option<Arc<ObjectAddress>> {
        self.0.lock().by_waiter.get(object).map(|edge| edge.to.clone())
    }

    /// Returns the objects that wait for this one, as they are written in messages: at most so many.
    pub fn waited_for_by(&self, object: &ObjectId, limit: usize) -> Vec<String> {
        let edges = self.0.lock();
        let waiting = edges.by_waiter.values().filter(|edge| edge.to.id == *object).take(limit);
        waiting.map(|edge| edge.from.to_string()).collect()
    }

    /// Returns how many objects wait.
    pub fn count(&self) -> usize {
        self.0.lock().by_waiter.len()
    }
}

impl Edges {
    /// Returns the way from one object to another, both included, if there is one.
    fn path(&self, from: &Arc<ObjectAddress>, to: &ObjectId) -> Option<Vec<Arc<ObjectAddress>>> {
        let mut path = vec![from];
        // The graph has no circle, so this ends.
        while path.last().is_some_and(|last| last.id != *to) {
            path.push(&self.by_waiter.get(&path.last()?.id)?.to);
        }
        Some(path.into_iter().cloned().collect())
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        let mut edges = self.waits.0.lock();
        if edges.by_waiter.get(&self.from).is_some_and(|edge| edge.serial == self.serial) {
            edges.by_waiter.remove(&self.from);
        }
    }
}

#[cfg(test)]
mod worlds;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{ClassKey, ClassName, ObjectName};

    pub(super) fn object(name: &str) -> Arc<ObjectAddress> {
        let (key, name) = (ClassKey::new("key"), ObjectName::parse(name).unwrap());
        let id = ObjectId::from_name(&key, &name);
        Arc::new(ObjectAddress { class: ClassName::parse("room").unwrap(), key, id, name: Some(name) })
    }

    #[test]
    fn the_caller_that_closes_a_circle_gets_its_path() {
        let waits = Arc::<Waits>::default();
        let [a, b, c] = ["a", "b", "c"].map(object);
        let own = waits.begin(&a, &a).err().unwrap();
        assert_eq!(own, Cycle("room/a → room/a".into()));
        let (_ab, bc) = (waits.begin(&a, &b).unwrap(), waits.begin(&b, &c).unwrap());
        let closed = waits.begin(&c, &a).err().unwrap();
        assert_eq!(closed, Cycle("room/c → room/a → room/b → room/c".into()));
        assert_eq!(waits.waits_for(&a.id), Some(b.clone()));
        assert_eq!((waits.waited_for_by(&b.id, 9), waits.waited_for_by(&a.id, 9)), (vec!["room/a".into()], vec![]));
        drop(bc);
        let ca = waits.begin(&c, &a).unwrap();
        assert!(waits.begin(&b, &c).is_err());
        drop(ca);
        assert_eq!(waits.count(), 1);
    }

    #[test]
    fn an_edge_that_is_dropped_late_leaves_its_successor() {
        let waits = Arc::<Waits>::default();
        let [a, b, c] = ["a", "b", "c"].map(object);
        let first = waits.begin(&a, &b).unwrap();
        let second = waits.begin(&a, &c).unwrap();
        drop(first);
        assert_eq!(waits.waits_for(&a.id), Some(c));
        drop(second);
        assert_eq!(waits.count(), 0);
    }
}
