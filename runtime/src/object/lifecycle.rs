//! The states of a live object, each owning what the object has, and the steps between them. No async, no clock, no
//! I/O.
//!
//! An object between two messages is an [`Object`]. A turn takes database and instance out of it and gives both back by
//! value, so nothing else can use either while it runs; an object that has left has given its database up. Generic over
//! both, so that the steps are tested without either.

/// An object between two messages.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Object<D, I> {
    /// No instance. → `Idle` or `Suspended` after a turn that succeeded; leaves when no message waits.
    Dormant(D),
    /// An instance waits for its next turn. → `Dormant` when the instance is dropped or a turn fails.
    Idle(D, I),
    /// As `Idle`, and the instance owes answers of earlier turns.
    Suspended(D, I),
}

/// What an instance owes after its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// Nothing until the next event.
    Nothing,
    /// It owes answers.
    Answers,
}

/// What happens to an object for which no message waits.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Quiet<D, I> {
    /// The object keeps its instance until the room is needed or it was idle for too long.
    Stays(Object<D, I>),
    /// The object leaves the router's map, unless a message has arrived meanwhile.
    Leaves(D),
}

impl<D, I> Object<D, I> {
    /// Begins a turn, which takes everything.
    pub(super) fn begin(self) -> (D, Option<I>) {
        match self {
            Self::Dormant(database) => (database, None),
            Self::Idle(database, instance) | Self::Suspended(database, instance) => (database, Some(instance)),
        }
    }

    /// Ends a turn, with an instance that can run another one or without.
    pub(super) fn after(database: D, instance: Option<(I, Left)>) -> Self {
        match instance {
            None => Self::Dormant(database),
            Some((instance, Left::Nothing)) => Self::Idle(database, instance),
            Some((instance, Left::Answers)) => Self::Suspended(database, instance),
        }
    }

    /// Takes the instance out: its room is needed, it was idle for too long, or its memory must not outlive its
    /// storage.
    pub(super) fn without_instance(self) -> (D, Option<I>) {
        self.begin()
    }

    /// Says what to do when the mailbox is empty and everything applied is durable.
    pub(super) fn quiet(self) -> Quiet<D, I> {
        match self {
            Self::Dormant(database) => Quiet::Leaves(database),
            stays => Quiet::Stays(stays),
        }
    }

    /// Returns whether there is no instance.
    pub(super) fn is_dormant(&self) -> bool {
        matches!(self, Self::Dormant(_))
    }

    /// Returns the instance, if there is one.
    pub(super) fn instance(&mut self) -> Option<&mut I> {
        match self {
            Self::Dormant(_) => None,
            Self::Idle(_, instance) | Self::Suspended(_, instance) => Some(instance),
        }
    }

    /// Returns whether the instance owes answers.
    pub(super) fn is_suspended(&self) -> bool {
        matches!(self, Self::Suspended(..))
    }

    /// Returns the database.
    pub(super) fn database(&mut self) -> &mut D {
        match self {
            Self::Dormant(database) | Self::Idle(database, _) | Self::Suspended(database, _) => database,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A database and an instance that cannot be made twice.
    #[derive(Debug, PartialEq, Eq)]
    struct Database;
    #[derive(Debug, PartialEq, Eq)]
    struct Instance;

    fn states() -> [Object<Database, Instance>; 3] {
        [Object::Dormant(Database), Object::Idle(Database, Instance), Object::Suspended(Database, Instance)]
    }

    #[test]
    fn only_a_dormant_object_leaves() {
        for mut object in states() {
            let is_dormant = object.is_dormant();
            assert_eq!(object.database(), &Database);
            assert_eq!(object.instance().is_some(), !is_dormant);
            match object.quiet() {
                Quiet::Leaves(Database) => assert!(is_dormant),
                Quiet::Stays(object) => assert!(!is_dormant && object.begin().1.is_some()),
            }
        }
    }

    #[test]
    fn a_failed_turn_leaves_no_instance_and_a_good_one_says_what_is_left() {
        for object in states() {
            let (database, _) = object.begin();
            assert_eq!(Object::<_, Instance>::after(database, None), Object::Dormant(Database));
        }
        let after = |left| Object::after(Database, Some((Instance, left)));
        assert_eq!(after(Left::Nothing), Object::Idle(Database, Instance));
        assert_eq!(after(Left::Answers), Object::Suspended(Database, Instance));
    }

    #[test]
    fn an_instance_that_is_dropped_comes_out_once() {
        for object in states() {
            let had = !object.is_dormant();
            let (database, instance) = object.without_instance();
            assert_eq!(instance.is_some(), had);
            assert_eq!(Object::<_, Instance>::Dormant(database).without_instance(), (Database, None));
        }
    }
}
