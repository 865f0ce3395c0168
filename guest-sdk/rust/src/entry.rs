//! What the exports that `#[object]` writes call: the way from the contract's records to an [`Object`] and back.
//!
//! Holds the one instance. The host calls `init` once and before `fetch`, and never two functions at once.

use std::cell::RefCell;

use crate::bindings::exports::holdfast::object::fetch_handler as wit;
use crate::bindings::holdfast::object::types::Failure;
use crate::{Context, Error, Object, Request, logs};

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
    let response = OBJECT.with_borrow_mut(|object| match object {
        Some(object) => object.fetch(request),
        None => Err(Error::new("not-initialised", "the host called `fetch` before `init`")),
    })?;
    Ok(response.try_into()?)
}
