//! Classes written in Rust, which replace components in simulations: the object layer runs their turns like any other.

use crate::base::socket::SocketEvent;
use crate::base::{Alarm, Request, Response, TurnError};
use crate::sockets::SocketTurn;
use crate::storage::Turn;

/// The handlers of a class. Those of one object are never called at the same time.
pub trait Script: Send + Sync {
    /// Answers a request.
    fn fetch(&self, request: Request, turn: &mut Turn, sockets: &mut SocketTurn) -> Result<Response, TurnError>;

    /// Runs the alarm.
    fn alarm(&self, alarm: Alarm, turn: &mut Turn, sockets: &mut SocketTurn) -> Result<(), TurnError>;

    /// Handles an event of a WebSocket.
    fn socket(&self, event: SocketEvent, turn: &mut Turn, sockets: &mut SocketTurn) -> Result<(), TurnError>;
}
