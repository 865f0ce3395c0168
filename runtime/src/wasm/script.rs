//! Classes written in Rust, which stand for components in simulations: the object layer runs their turns as it runs any.

use std::sync::Arc;

use super::capacity::Cost;
use super::class::{ClassCode, Runs};
use super::event::TurnEvent;
use super::instance::TurnEnd;
use crate::base::socket::SocketEvent;
use crate::base::{Alarm, Digest, Request, Response, TurnError, WorkBudget};
use crate::sockets::SocketTurn;
use crate::storage::{Database, Turn};

/// The handlers of a class. Those of one object are never called at the same time.
pub trait Script: Send + Sync {
    /// Answers a request.
    fn fetch(&self, request: Request, turn: &mut Turn, sockets: &mut SocketTurn) -> Result<Response, TurnError>;

    /// Runs the alarm.
    fn alarm(&self, alarm: Alarm, turn: &mut Turn, sockets: &mut SocketTurn) -> Result<(), TurnError>;

    /// Hears of a WebSocket.
    fn socket(&self, event: SocketEvent, turn: &mut Turn, sockets: &mut SocketTurn) -> Result<(), TurnError>;
}

/// The live memory of an object whose class is a script: none.
pub struct ScriptInstance(pub(super) Arc<ClassCode>);

impl ClassCode {
    /// Makes the code of a class out of its handlers.
    pub fn script(script: Arc<dyn Script>) -> Self {
        let (exports, imports, digest) = (Vec::new(), Vec::new(), Digest::of(b"script"));
        Self { digest, exports, imports, cost: Cost::of(1, 1, 0), runs: Runs::Script(script) }
    }
}

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
        let result = result.and_then(|answer| super::event::TurnAnswer::checked(answer, &sockets));
        let instance = result.is_ok().then_some(self);
        (TurnEnd { turn, sockets, instance: None, result, fuel: 1 }, instance)
    }
}
