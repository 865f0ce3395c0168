//! The changes that the log has and a lane's file does not have yet: one entry per object.
//!
//! Only durable changes are added, in the order of their LSNs. Later ones replace earlier ones, so the size is that of
//! the number of changed objects, not of changes.

use std::collections::HashMap;

use crate::base::{ClassKey, ObjectId, ObjectName};
use crate::storage::commit_log::AlarmChange;

/// A change of the list of objects, made by a record of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The object exists.
    Object {
        /// Its class.
        class: ClassKey,
        /// Its id.
        id: ObjectId,
        /// Its name; none keeps the known one.
        name: Option<ObjectName>,
        /// Pages in use × 4,096.
        bytes: u64,
        /// The change of its alarm; none keeps it.
        alarm: Option<AlarmChange>,
    },
    /// The object is gone, its name and alarm with it.
    Gone {
        /// Its class.
        class: ClassKey,
        /// Its id.
        id: ObjectId,
    },
    /// Every object of the class in this lane is gone.
    ClassGone {
        /// The class.
        class: ClassKey,
    },
}

/// The changes of one lane, by class.
#[derive(Default)]
pub(super) struct Notes(HashMap<ClassKey, ClassNotes>);

/// The changes of one class.
#[derive(Default)]
pub(super) struct ClassNotes {
    /// All objects that the file lists of this class are gone.
    pub gone: bool,
    pub objects: HashMap<ObjectId, Noted>,
}

/// The change of one object.
pub(super) enum Noted {
    Gone,
    Object {
        name: Option<ObjectName>,
        bytes: u64,
        alarm: Option<AlarmChange>,
        /// The note replaces the file's row. Otherwise the name and the alarm in the row stay, if there is none here.
        whole: bool,
    },
}

impl Notes {
    pub fn add(&mut self, change: Change) {
        match change {
            Change::Object { class, id, name, bytes, alarm } => {
                self.0.entry(class).or_default().add(id, name, bytes, alarm);
            }
            Change::Gone { class, id } => {
                self.0.entry(class).or_default().objects.insert(id, Noted::Gone);
            }
            Change::ClassGone { class } => {
                self.0.insert(class, ClassNotes { gone: true, objects: HashMap::new() });
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the number of objects with notes.
    pub fn len(&self) -> usize {
        self.0.values().map(|class| class.objects.len()).sum()
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }

    pub fn class(&self, class: &ClassKey) -> Option<&ClassNotes> {
        self.0.get(class)
    }

    pub fn class_mut(&mut self, class: &ClassKey) -> Option<&mut ClassNotes> {
        self.0.get_mut(class)
    }

    pub fn classes(&self) -> impl Iterator<Item = (&ClassKey, &ClassNotes)> {
        self.0.iter()
    }
}

impl ClassNotes {
    fn add(&mut self, id: ObjectId, name: Option<ObjectName>, bytes: u64, alarm: Option<AlarmChange>) {
        let (name, alarm, whole) = match self.objects.remove(&id) {
            Some(Noted::Object { name: named, alarm: set, whole, .. }) => (name.or(named), alarm.or(set), whole),
            Some(Noted::Gone) => (name, alarm, true),
            None => (name, alarm, self.gone),
        };
        self.objects.insert(id, Noted::Object { name, bytes, alarm, whole });
    }
}
