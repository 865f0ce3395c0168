//! Classes written in Rust, which replace components in simulations: the object layer runs their turns like any other.

use super::event::Scripted;
use crate::base::socket::SocketEvent;
use crate::base::{Alarm, CallAnswer, MethodCall, Request, Response, TurnError};

/// The handlers of a class. Those of one object are never called at the same time.
pub trait Script: Send + Sync {
    /// Answers a request.
    fn fetch(&self, request: Request, turn: &mut Scripted<'_>) -> Result<Response, TurnError>;

    /// Answers a call of a method.
    fn call(&self, call: MethodCall, _turn: &mut Scripted<'_>) -> Result<CallAnswer, TurnError> {
        Err(TurnError::NoMethod(call.method.to_string()))
    }

    /// Runs the alarm.
    fn alarm(&self, alarm: Alarm, turn: &mut Scripted<'_>) -> Result<(), TurnError>;

    /// Handles an event of a WebSocket.
    fn socket(&self, event: SocketEvent, turn: &mut Scripted<'_>) -> Result<(), TurnError>;

    /// Resumes late work.
    fn resume(&self, tokens: Vec<u64>, turn: &mut Scripted<'_>) -> Result<(), TurnError>;
}
