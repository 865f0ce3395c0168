//! What the exports that `#[object]` writes call: the way from the contract's records to an [`Object`] and back.
//!
//! Holds the one instance. The host calls `init` once and before all others, and never two functions at once.

use std::any::Any;
use std::cell::RefCell;

use crate::bindings::exports::holdfast::object::fetch_handler as wit;
use crate::bindings::holdfast::object::types::Failure;
use crate::bindings::with_alarm::exports::holdfast::object::alarm_handler::AlarmInfo;
use crate::{AlarmHandler, Context, Error, Object, Request, Result, logs};

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
    let handle = |object: &mut dyn Any| match object.downcast_mut::<T>() {
        Some(object) => object.alarm(info.into()),
        None => Err(Error::new("not-initialised", "the instance is of another class")),
    };
    Ok(with_object(|object| handle(object))?)
}

fn with_object<T>(work: impl FnOnce(&mut dyn Object) -> Result<T>) -> Result<T> {
    OBJECT.with_borrow_mut(|object| match object {
        Some(object) => work(object.as_mut()),
        None => Err(Error::new("not-initialised", "the host called a handler before `init`")),
    })
}
