//! The instance of a class that is a script.

use std::sync::Arc;

use super::TurnEnd;
use crate::base::{TurnError, WorkBudget};
use crate::sockets::SocketTurn;
use crate::storage::{Database, Turn};
use crate::wasm::class::ClassCode;
use crate::wasm::event::{Scripted, TurnAnswer, TurnEvent};
use crate::wasm::late::LateTurn;
use crate::wasm::script::Script;

/// The instance of a class that is a script; it has no memory.
pub struct ScriptInstance(pub(super) Arc<ClassCode>);

impl ScriptInstance {
    pub(super) fn run<E: TurnEvent>(
        self,
        script: &dyn Script,
        database: Box<Database>,
        mut sockets: SocketTurn,
        mut late: LateTurn,
        event: E,
    ) -> (TurnEnd<E::Answer>, Option<Self>) {
        let mut turn = Turn::begin(database, WorkBudget::unlimited());
        event.begin(&mut turn);
        late.handler_begins();
        let result = event.script(script, &mut Scripted { turn: &mut turn, sockets: &mut sockets, late: &mut late });
        let result = result.and_then(|answer| if late.is_deferred() { Ok(answer) } else { answer.checked(&sockets) });
        let instance = result.as_ref().map_or_else(TurnError::is_returned, |_| true).then_some(self);
        (TurnEnd { turn, sockets, late, instance: None, result, fuel: 1 }, instance)
    }
}
