//! Objects that call objects: [`Context::objects`] to call others, [`CallHandler`] to be called.
//!
//! A call is a turn of the object that is called: its own transaction, whose answer comes once it is on disk. The class
//! that calls names those that it calls in its `holdfast.toml`:
//!
//! ```toml
//! [calls]
//! stock = "stock"      # the name in the code = the class
//! ```
//!
//! ```no_run
//! use holdfast::prelude::*;
//!
//! # fn f(ctx: &Context) -> Result<()> {
//! let tea = ctx.objects("stock").named("tea");
//! let left: u32 = tea.call("take", &(3,))?; // the arguments are a tuple
//! # Ok(()) }
//! ```
//!
//! The other side says `#[object(calls)]`:
//!
//! ```no_run
//! use holdfast::prelude::*;
//!
//! #[object(calls)]
//! struct Stock {
//!     ctx: Context,
//! }
//!
//! impl CallHandler for Stock {
//!     fn call(&mut self, method: &str, arguments: Arguments) -> Result<Reply> {
//!         match method {
//!             "take" => {
//!                 let (count,): (u32,) = arguments.read()?;
//!                 let left = self.ctx.storage().get("left")?.unwrap_or(10_u32);
//!                 let Some(rest) = left.checked_sub(count) else { return Reply::refused(&left) };
//!                 self.ctx.storage().put("left", &rest)?;
//!                 Reply::value(&rest)
//!             }
//!             _ => Err(Error::no_method(method)),
//!         }
//!     }
//! }
//!
//! impl Object for Stock {
//!     fn new(ctx: Context) -> Result<Self> {
//!         Ok(Self { ctx })
//!     }
//!
//!     fn fetch(&mut self, _request: Request) -> Result<Response> {
//!         Ok(Response::new(StatusCode::NOT_FOUND))
//!     }
//! }
//! # fn main() {}
//! ```
//!
//! # What a call does to the turn that makes it
//! What the turn has written so far is made durable before the call leaves, and stays even if the turn fails later. So
//! a turn with calls is several steps, not one: write down what you are about to do, and undo by another call what must
//! not stay. While a turn waits for a call, its object does nothing else.
//!
//! # Errors
//! A [`CallError`] says what is known of the call ([`CallError::fate`]): it has not run, it was rolled back, or it may
//! have run. `?` fails the turn with the same code.

use std::borrow::Cow;
use std::fmt;
use std::thread::sleep;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::bindings::holdfast::object::objects as wit;
use crate::bindings::holdfast::object::turn;
use crate::bindings::with_calls::exports::holdfast::object::call_handler::Answer;
use crate::{Context, Error, Object, Request, Response, Result, declared};

/// A class whose objects other objects call. Belongs to `#[object(calls)]`; see [`mod@crate::calls`].
#[diagnostic::on_unimplemented(
    message = "the #[object(calls)] struct `{Self}` has no `impl CallHandler`",
    label = "what should it do when it is called? Write `impl CallHandler for {Self}`",
    note = "fn call(&mut self, method: &str, arguments: Arguments) -> Result<Reply>"
)]
pub trait CallHandler: Object + declared::Calls {
    /// Handles a call: one turn.
    ///
    /// [`Reply::refused`] undoes what the turn wrote, as an error does, and gives the caller a value.
    /// [`Error::no_method`] is for a method that the class does not have.
    fn call(&mut self, method: &str, arguments: Arguments) -> Result<Reply>;
}

/// The arguments of a call, as they were sent.
#[derive(Clone, Debug)]
pub struct Arguments(Vec<u8>);

impl Arguments {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// Reads them as a tuple (`(u32, String)`, `(u32,)` for one) or, if they were sent by name, as a
    /// struct.
    ///
    /// # Errors
    /// The code `bad-arguments` if they are something else.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T> {
        decode(&self.0).map_err(|why| Error::new("bad-arguments", why))
    }

    /// The arguments in CBOR: an array, or a map by name.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The answer of a call.
#[derive(Clone, Debug)]
pub struct Reply(Answer);

impl Reply {
    /// Answers with a value.
    ///
    /// # Errors
    /// If the value cannot be written, such as a map whose keys are maps.
    pub fn value(value: &(impl Serialize + ?Sized)) -> Result<Self> {
        Ok(Self(Answer::Value(encode(value)?)))
    }

    /// Refuses with a value: what the turn wrote is undone, and the caller gets the value as
    /// [`refusal`](CallError::refusal).
    ///
    /// # Errors
    /// As [`value`](Self::value).
    pub fn refused(value: &(impl Serialize + ?Sized)) -> Result<Self> {
        Ok(Self(Answer::Refused(encode(value)?)))
    }

    pub(crate) fn into_answer(self) -> Answer {
        self.0
    }
}

impl Context {
    /// Other objects, of the class that has this name under `[calls]` in `holdfast.toml`.
    pub fn objects(&self, class: impl Into<String>) -> Objects {
        Objects { class: class.into() }
    }

    /// The object that calls this one in the turn that runs; `None` if it is no call, or one of an operator.
    pub fn caller(&self) -> Option<Peer> {
        turn::caller().map(|turn::Peer { class, id, name }| Peer { class, id, name })
    }

    /// When the turn that runs is given up; `None` in a resume.
    pub fn deadline(&self) -> Option<SystemTime> {
        turn::deadline().map(|milliseconds| UNIX_EPOCH + Duration::from_millis(milliseconds))
    }
}

/// An object that calls this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The name of its class.
    pub class: String,
    /// Its id.
    pub id: String,
    /// Its name, if it was reached by one.
    pub name: Option<String>,
}

/// The objects of a class, from [`Context::objects`].
#[derive(Clone, Debug)]
pub struct Objects {
    class: String,
}

impl Objects {
    /// The object with this name. It need not exist yet.
    pub fn named(&self, name: impl Into<String>) -> ObjectRef {
        self.at(wit::Address::Name(name.into()))
    }

    /// The object with this id, as [`Context::id`] shows it.
    pub fn with_id(&self, id: impl Into<String>) -> ObjectRef {
        self.at(wit::Address::Id(id.into()))
    }

    fn at(&self, object: wit::Address) -> ObjectRef {
        ObjectRef { to: wit::Target { class: self.class.clone(), object }, timeout: None }
    }

    /// The id of the object with this name.
    ///
    /// # Errors
    /// The code `not-granted` if the class is not under `[calls]`.
    pub fn id_of(&self, name: &str) -> Result<String, CallError> {
        Ok(wit::id_of(&self.class, name)?)
    }

    /// The id of a new object without a name. It cannot be guessed.
    ///
    /// # Errors
    /// As [`id_of`](Self::id_of).
    pub fn new_id(&self) -> Result<String, CallError> {
        Ok(wit::new_id(&self.class)?)
    }

    /// Checks that an id belongs to this class.
    ///
    /// # Errors
    /// The code `id-of-other-class` or `bad-id` if it does not; else as [`id_of`](Self::id_of).
    pub fn check_id(&self, id: &str) -> Result<(), CallError> {
        Ok(wit::check_id(&self.class, id)?)
    }
}

/// Another object, from [`Objects::named`] or [`Objects::with_id`]. Making one does nothing.
#[derive(Clone, Debug)]
pub struct ObjectRef {
    to: wit::Target,
    timeout: Option<Duration>,
}

/// Times that a call is made again that has not run because there was no room.
const RETRIES: u32 = 3;
/// The wait before the first of them; each further one is twice as long.
const RETRY_WAIT: Duration = Duration::from_millis(50);

impl ObjectRef {
    /// The same object, whose calls fail with `deadline` after this much time; 30 s otherwise.
    pub fn within(self, timeout: Duration) -> Self {
        Self { timeout: Some(timeout), ..self }
    }

    /// Calls a method and waits for its result. The arguments are a tuple (`&(3, "tea")`, `&(3,)` for one, `&()` for
    /// none) or, by name, a struct. A call that has not run because there was no room is repeated up to three times.
    ///
    /// # Errors
    /// A [`CallError`], which says what is known of the call.
    pub fn call<R: DeserializeOwned>(&self, method: &str, arguments: &impl Serialize) -> Result<R, CallError> {
        let arguments = arguments_of(arguments)?;
        let value = self.again(|options| wit::call(&self.to, method, &arguments, options))?;
        decode(&value).map_err(|why| CallError::local("bad-result", format!("the result of {method}: {why}")))
    }

    /// Begins a call and does not wait for its end: [`Started::finish`] does. So several objects work at once; a turn
    /// has at most 64 calls that have not ended. It is not repeated when there is no room.
    ///
    /// ```no_run
    /// # use holdfast::prelude::*;
    /// # fn f(ctx: &Context) -> Result<()> {
    /// let stock = ctx.objects("stock");
    /// let begun: Vec<_> =
    ///     ["tea", "milk"].iter().map(|name| stock.named(*name).start("left", &())).collect::<Result<_, _>>()?;
    /// let left: Vec<u32> = begun.into_iter().map(|call| call.finish()).collect::<Result<_, _>>()?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`call`](Self::call), as far as the call was not begun.
    pub fn start(&self, method: &str, arguments: &impl Serialize) -> Result<Started, CallError> {
        let arguments = arguments_of(arguments)?;
        Ok(Started(wit::start(&self.to, method, &arguments, self.options())?))
    }

    /// Sends a request and waits for the response: a turn of the object's `fetch`. The request's path is the part below
    /// the object.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub fn fetch(&self, request: impl Into<Request>) -> Result<Response, CallError> {
        let request = request.into().into();
        let response = self.again(|options| wit::fetch(&self.to, &request, options))?;
        Response::try_from(response).map_err(|error| CallError::local("bad-result", error.to_string()))
    }

    fn again<T>(&self, mut make: impl FnMut(wit::CallOptions) -> Result<T, wit::CallError>) -> Result<T, CallError> {
        let mut wait = RETRY_WAIT;
        for _ in 0..RETRIES {
            match make(self.options()) {
                Err(error) if is_no_room(&error) => sleep(wait),
                result => return Ok(result?),
            }
            wait *= 2;
        }
        Ok(make(self.options())?)
    }

    fn options(&self) -> wit::CallOptions {
        let milliseconds = |timeout: Duration| u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
        wit::CallOptions { timeout_ms: self.timeout.map(milliseconds) }
    }
}

/// A call that was begun, from [`ObjectRef::start`]. Dropped, or at the end of its turn, it is cancelled if its own
/// turn has not begun.
#[derive(Debug)]
#[must_use = "a call that is dropped is cancelled, unless it runs already"]
pub struct Started(wit::Pending);

impl Started {
    /// Waits until the call has ended. Returns its result.
    ///
    /// # Errors
    /// As [`ObjectRef::call`].
    pub fn finish<R: DeserializeOwned>(self) -> Result<R, CallError> {
        let value = self.0.finish()?;
        decode(&value).map_err(|why| CallError::local("bad-result", why))
    }

    /// Waits until one of these calls has ended, at most for a time. Returns the places of those that have.
    pub fn wait_for_any(calls: &[&Self], timeout: Option<Duration>) -> Vec<usize> {
        let calls: Vec<&wit::Pending> = calls.iter().map(|call| &call.0).collect();
        let timeout = timeout.map(|timeout| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
        wit::wait(&calls, timeout).into_iter().map(|at| at as usize).collect()
    }
}

fn is_no_room(error: &wit::CallError) -> bool {
    !error.guest && error.fate == wit::Fate::NotRun && matches!(&*error.code, "overloaded" | "no-capacity")
}

/// What is known of a call that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It has not run.
    NotRun,
    /// It ran and was rolled back; what it had made durable before stays.
    Failed,
    /// It may have run.
    Unknown,
}

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallError {
    code: Cow<'static, str>,
    message: String,
    is_from_object: bool,
    is_retryable: bool,
    fate: Fate,
    refusal: Option<Vec<u8>>,
    other: Vec<(String, String)>,
}

impl CallError {
    fn local(code: &'static str, message: String) -> Self {
        let (code, fate, other) = (code.into(), Fate::Unknown, Vec::new());
        Self { code, message, is_from_object: false, is_retryable: false, fate, refusal: None, other }
    }

    /// The code: one of the host's, or the one that the object's own error has.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// Whether the object that was called has chosen code and message.
    pub fn is_from_object(&self) -> bool {
        self.is_from_object
    }

    /// Whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        self.is_retryable
    }

    /// What is known of the call.
    pub fn fate(&self) -> Fate {
        self.fate
    }

    /// The value of a [refusal](Reply::refused), if this is one and the value can be read as a `T`.
    pub fn refusal<T: DeserializeOwned>(&self) -> Option<T> {
        decode(self.refusal.as_deref()?).ok()
    }

    /// For the code `call-cycle`: the objects of the circle, as `room/a → table/b → room/a`.
    pub fn cycle(&self) -> Option<&str> {
        self.other.iter().find(|(name, _)| name == "cycle").map(|(_, cycle)| cycle.as_str())
    }
}

impl From<wit::CallError> for CallError {
    fn from(error: wit::CallError) -> Self {
        let wit::CallError { code, message, guest, retryable, fate, refusal, other } = error;
        let fate = match fate {
            wit::Fate::NotRun => Fate::NotRun,
            wit::Fate::Failed => Fate::Failed,
            wit::Fate::Unknown => Fate::Unknown,
        };
        Self { code: code.into(), message, is_from_object: guest, is_retryable: retryable, fate, refusal, other }
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for CallError {}

const CBOR_NULL: u8 = 0xf6;
/// An empty array.
const NO_ARGUMENTS: [u8; 1] = [0x80];

fn arguments_of(arguments: &impl Serialize) -> Result<Vec<u8>, CallError> {
    let wrong = |why: String| CallError { fate: Fate::NotRun, ..CallError::local("bad-arguments", why) };
    let bytes = encode(arguments).map_err(|error| wrong(error.to_string()))?;
    match bytes.first().map(|first| (first, first >> 5)) {
        Some((&CBOR_NULL, _)) => Ok(NO_ARGUMENTS.into()),
        Some((_, 4 | 5)) => Ok(bytes),
        _ => Err(wrong("the arguments of a call are a tuple or a struct; write `&(value,)` for one".into())),
    }
}

pub(crate) fn encode(value: &(impl Serialize + ?Sized)) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).map_err(|error| Error::new("bad-value", error))?;
    Ok(bytes)
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let mut rest = bytes;
    let value = ciborium::from_reader(&mut rest).map_err(|error| error.to_string())?;
    if rest.is_empty() { Ok(value) } else { Err("there is more after the value".into()) }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Seat {
        row: u32,
        names: Vec<Option<String>>,
    }

    fn sent(arguments: &impl Serialize) -> Arguments {
        Arguments::new(arguments_of(arguments).unwrap())
    }

    #[test]
    fn arguments_are_read_as_they_were_sent() {
        let seat = || Seat { row: 1, names: vec![None, Some("ann".into())] };
        assert_eq!(sent(&(seat(), 2)).read::<(Seat, u8)>().unwrap(), (seat(), 2));
        assert_eq!(sent(&seat()).read::<Seat>().unwrap(), seat());
        assert_eq!(sent(&()).as_bytes(), [0x80]);
        assert_eq!(sent(&("x",)).read::<(u8,)>().unwrap_err().code(), "bad-arguments");
        assert_eq!(sent(&(1, 2)).read::<(u8,)>().unwrap_err().code(), "bad-arguments");
        let error = arguments_of(&3).unwrap_err();
        assert_eq!((error.code(), error.fate()), ("bad-arguments", Fate::NotRun));
    }

    #[test]
    fn a_refusal_is_read_as_what_it_was() {
        let refusal = Some(encode("none left").unwrap());
        let error = CallError { refusal, ..CallError::local("refused", String::new()) };
        assert_eq!((error.refusal(), error.refusal::<u8>()), (Some("none left".to_owned()), None));
    }
}
