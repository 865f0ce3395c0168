//! How an object comes and goes: a pure state machine. No async, no clock, no I/O; the actor feeds it events and performs
//! the one effect that each of them has.

/// Where an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// No instance. → `Running` when a turn needs one, `Gone` when nothing is left to do.
    Dormant,
    /// A handler runs. → `Idle` when it succeeded, `Dormant` when it failed.
    Running,
    /// An instance waits for its next turn. → `Running`, `Dormant` when it is dropped.
    Idle,
    /// The actor has left the router's map; its task ends. Final.
    Gone,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// The next invocation needs an instance.
    Invoked,
    /// The next invocation reads or changes only what is stored.
    InvokedWithoutInstance,
    /// The handler returned and what it wrote is applied.
    TurnApplied,
    /// The turn failed and was rolled back.
    TurnFailed,
    /// Somebody else needs the room, the instance was idle for too long, or its memory must not outlive its storage.
    DropAsked,
    /// The mailbox is empty and everything applied is durable.
    Quiet,
}

/// What the actor does about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// Make an instance if there is none, and run the turn on it.
    Run,
    /// Do it without an instance.
    RunWithoutInstance,
    /// Others may have the instance's room from now on.
    MarkIdle,
    /// Drop the instance.
    DropInstance,
    /// Leave the router's map, unless something has arrived meanwhile.
    Leave,
    /// Nothing.
    None,
}

impl State {
    /// The next state, and what to do.
    pub(super) fn handle(self, event: Event) -> (State, Effect) {
        match (self, event) {
            (State::Dormant | State::Idle, Event::Invoked) => (State::Running, Effect::Run),
            (State::Dormant | State::Idle, Event::InvokedWithoutInstance) => (self, Effect::RunWithoutInstance),
            (State::Running, Event::TurnApplied) => (State::Idle, Effect::MarkIdle),
            (State::Running, Event::TurnFailed) => (State::Dormant, Effect::DropInstance),
            (State::Idle, Event::DropAsked) => (State::Dormant, Effect::DropInstance),
            (State::Dormant, Event::Quiet) => (State::Gone, Effect::Leave),
            // An instance that waits is worth its memory until somebody asks for it.
            (State::Idle, Event::Quiet) => (State::Idle, Effect::None),
            // Nothing to drop, or it is dropped already.
            (State::Dormant, Event::DropAsked) => (State::Dormant, Effect::None),
            // The actor runs one thing at a time, so these do not happen; if they do, nothing is lost by staying.
            (State::Running, Event::Invoked | Event::InvokedWithoutInstance | Event::DropAsked | Event::Quiet)
            | (State::Dormant | State::Idle, Event::TurnApplied | Event::TurnFailed)
            | (State::Gone, _) => (self, Effect::None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATES: [State; 4] = [State::Dormant, State::Running, State::Idle, State::Gone];
    const EVENTS: [Event; 6] = [
        Event::Invoked,
        Event::InvokedWithoutInstance,
        Event::TurnApplied,
        Event::TurnFailed,
        Event::DropAsked,
        Event::Quiet,
    ];

    #[test]
    fn an_instance_exists_exactly_while_running_or_idle() {
        for state in STATES {
            for event in EVENTS {
                let had = matches!(state, State::Running | State::Idle);
                let (next, effect) = state.handle(event);
                let has = match effect {
                    Effect::Run => true,
                    Effect::DropInstance => false,
                    _ => had,
                };
                assert_eq!(
                    has,
                    matches!(next, State::Running | State::Idle),
                    "{state:?} {event:?} → {next:?} {effect:?}"
                );
            }
        }
    }

    #[test]
    fn only_a_dormant_object_leaves_and_nobody_comes_back() {
        for state in STATES {
            for event in EVENTS {
                let (next, effect) = state.handle(event);
                assert_eq!(effect == Effect::Leave, state == State::Dormant && event == Event::Quiet);
                assert!(state != State::Gone || next == State::Gone);
            }
        }
    }

    #[test]
    fn a_failed_turn_leaves_no_instance_and_the_next_one_makes_one() {
        let (state, effect) = State::Idle.handle(Event::Invoked);
        assert_eq!((state, effect), (State::Running, Effect::Run));
        let (state, effect) = state.handle(Event::TurnFailed);
        assert_eq!((state, effect), (State::Dormant, Effect::DropInstance));
        assert_eq!(state.handle(Event::Invoked), (State::Running, Effect::Run));
    }
}
