//! The instance of a class that is a script.

use std::sync::Arc;

use super::TurnEnd;
use crate::base::WorkBudget;
use crate::sockets::SocketTurn;
use crate::storage::{Database, Turn};
use crate::wasm::class::ClassCode;
use crate::wasm::event::{TurnAnswer, TurnEvent};
use crate::wasm::script::Script;

/// The instance of a class that is a script; it has no memory.
pub struct ScriptInstance(pub(super) Arc<ClassCode>);

impl ScriptInstance {
    pub(super) fn run<E: TurnEvent>(
        self,
        script: &dyn Script,
        database: Database,
        mut sockets: SocketTurn,
        event: E,
    ) -> (TurnEnd<E::Answer>, Option<Self>) {
        let mut turn = Turn::begin(database, WorkBudget::unlimited());
        event.begin(&mut turn);
        let result = event.script(script, &mut turn, &mut sockets);
        let result = result.and_then(|answer| answer.checked(&sockets));
        let instance = result.is_ok().then_some(self);
        (TurnEnd { turn, sockets, instance: None, result, fuel: 1 }, instance)
    }
}
