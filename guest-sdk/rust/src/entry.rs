//! What the exports that `#[object]` writes call: the way from the contract's records to an [`Object`] and back.
//!
//! Holds the one instance. The host calls `init` once and before all others, and never two functions at once.

use std::any::Any;
use std::cell::RefCell;

use crate::bindings::holdfast::object::http_types as wit;
use crate::bindings::holdfast::object::types::Failure;
use crate::bindings::holdfast::object::websockets::Message;
use crate::bindings::with_alarm::exports::holdfast::object::alarm_handler::AlarmInfo;
use crate::bindings::with_calls::exports::holdfast::object::call_handler::Answer;
use crate::{
    AlarmHandler, Arguments, CallHandler, Close, Context, Error, LateHandler, Object, Request, Result, Token,
    WebSocket, WebSocketHandler, logs,
};

thread_local! {
    static OBJECT: RefCell<Option<Box<dyn Object>>> = const { RefCell::new(None) };
}

/// Creates the instance of this component's object.
pub fn init<T: Object>() -> Result<(), Failure> {
    logs::install();
    let object = T::new(Context::new())?;
    OBJECT.set(Some(Box::new(object)));
    Ok(())
}

/// Gives a request to the instance.
pub fn fetch(request: wit::Request) -> Result<wit::Response, Failure> {
    let request = Request::try_from(request)?;
    let response = with_object(|object| object.fetch(request))?;
    Ok(response.try_into()?)
}

/// Gives an alarm to the instance, which is a `T`.
pub fn alarm<T: AlarmHandler>(info: AlarmInfo) -> Result<(), Failure> {
    Ok(with_instance(|object: &mut T| object.alarm(info.into()))?)
}

/// Gives a call to the instance, which is a `T`.
pub fn call<T: CallHandler>(method: String, arguments: Vec<u8>) -> Result<Answer, Failure> {
    let reply = with_instance(|object: &mut T| object.call(&method, Arguments::new(arguments)))?;
    Ok(reply.into_answer())
}

/// Resumes the instance, which is a `T`.
pub fn resume<T: LateHandler>(tokens: Vec<u64>) -> Result<(), Failure> {
    let tokens: Vec<Token> = tokens.into_iter().map(Token).collect();
    Ok(with_instance(|object: &mut T| object.resume(&tokens))?)
}

/// What happens on a socket, as the contract has it.
pub enum SocketEvent {
    /// A message came.
    Message(Message),
    /// The connection is over: the code, the reason, whether it was clean.
    Close(u16, String, bool),
    /// Something went wrong, in words.
    Error(String),
}

/// Passes an event of a socket to the instance, which is a `T`.
pub fn socket_event<T: WebSocketHandler>(socket: u64, event: SocketEvent) -> Result<(), Failure> {
    let socket = WebSocket::from_id(socket);
    let handle = |object: &mut T| match event {
        SocketEvent::Message(message) => object.message(socket, message),
        SocketEvent::Close(code, reason, was_clean) => object.close(socket, Close { code, reason, was_clean }),
        SocketEvent::Error(reason) => object.error(socket, reason),
    };
    Ok(with_instance(handle)?)
}

fn with_instance<T: Object, A>(handle: impl FnOnce(&mut T) -> Result<A>) -> Result<A> {
    with_object(|object| match (object as &mut dyn Any).downcast_mut() {
        Some(object) => handle(object),
        None => Err(Error::new("not-initialized", "the instance is of another class")),
    })
}

fn with_object<T>(work: impl FnOnce(&mut dyn Object) -> Result<T>) -> Result<T> {
    OBJECT.with_borrow_mut(|object| match object {
        Some(object) => work(object.as_mut()),
        None => Err(Error::new("not-initialized", "the host called a handler before `init`")),
    })
}
