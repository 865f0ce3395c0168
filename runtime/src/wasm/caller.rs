//! The delivery of calls to other objects, as an instance uses it. The router implements it.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::base::{Call, CallAnswer, CallError, CallId, Calls, ClassKey, ClassName, FetchAnswer, MethodCall, Request};

/// Delivers the calls of objects to other objects.
pub trait Caller: Send + Sync {
    /// Returns the key of the class with this name.
    fn class(&self, name: &ClassName) -> Option<ClassKey>;

    /// Creates the id of a new call.
    fn call_id(&self) -> CallId;

    /// Puts a call into the mailbox of its target, and returns its outcome to be awaited. Calls of one object to one
    /// object are delivered in the order in which they are made. Dropping the outcome withdraws a call whose turn has
    /// not begun.
    fn call(&self, call: Call<MethodCall>) -> Calling<CallAnswer>;

    /// Does the same with a request.
    fn fetch(&self, call: Call<Request>) -> Calling<FetchAnswer>;

    /// As [`call`](Self::call); the caller does not wait yet.
    fn start(&self, call: Call<MethodCall>) -> Started<CallAnswer>;

    /// As [`fetch`](Self::fetch); the caller does not wait yet.
    fn start_fetch(&self, call: Call<Request>) -> Started<FetchAnswer>;
}

/// A call that was begun.
pub struct Started<T> {
    /// Its outcome.
    pub outcome: Calling<T>,
    /// Says when the caller waits for it.
    pub wait: Arc<dyn CallWait>,
}

/// The wait of a caller for a call that was begun.
pub trait CallWait: Send + Sync {
    /// Notes that the caller waits from now on. Fails, and withdraws the call if its turn has not begun, if the wait
    /// could never end.
    fn begin(&self) -> Result<(), CallError>;

    /// Notes that the caller does other things again.
    fn pause(&self);
}

/// The outcome of a call.
pub type Calling<T> = BoxFuture<'static, Result<T, CallError>>;

/// The calls that an instance may make.
#[derive(Clone)]
pub struct CallerOf {
    /// The classes that it may call.
    pub calls: Arc<Calls>,
    /// Delivers its calls.
    pub caller: Arc<dyn Caller>,
}
