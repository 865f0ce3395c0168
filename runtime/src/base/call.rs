//! The envelope of everything that reaches an object: id, target, cause, principal.
//!
//! The gateway, the router's alarms and, later, other objects create a [`Call`]; it travels unchanged to the turn that
//! it becomes. Its id is in the object's log, in the server's log and in problem documents. Nothing here does I/O, and
//! creating an id needs no system call.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::limits::CALLS_PER_CHAIN;
use super::{Env, ObjectAddress, ObjectId};

/// The id of one call. Displayed as 32 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId([u8; 16]);

/// Generates the call ids of one process: random bits of the process, followed by a counter. The result is scrambled,
/// because clients see the ids of their own calls and must not derive from them how many calls others make.
pub struct CallIds {
    process: u64,
    keys: [u64; 2],
    next: AtomicU64,
}

impl CallIds {
    /// Starts a sequence that no other process has.
    pub fn new(env: &Env) -> Self {
        let number = || u64::from_be_bytes(env.random());
        Self { process: number(), keys: [number(), number()], next: AtomicU64::new(0) }
    }

    /// Returns an id that it has never returned before.
    pub fn next(&self) -> CallId {
        let count = self.next.fetch_add(1, Ordering::Relaxed);
        let scrambled = self.keys.iter().fold(count, |number, key| mixed(number ^ key));
        CallId((u128::from(self.process) << 64 | u128::from(scrambled)).to_be_bytes())
    }
}

/// Maps numbers to numbers without collisions (the finalizer of SplitMix64).
fn mixed(mut number: u64) -> u64 {
    number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl FromStr for CallId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = hex_of(text.as_bytes()).filter(|_| text.len() == 32);
        number.map(|number| Self(number.to_be_bytes())).ok_or("the id of a call has 32 lowercase hex digits")
    }
}

impl Serialize for CallId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for CallId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The source of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// A request to the data listener.
    Http,
    /// The object's alarm is due.
    Alarm,
    /// An event of one of the object's WebSockets.
    Socket,
    /// A call by another object, whose turn waits for the answer.
    Object,
    /// The continuation of work that an earlier turn of the instance has begun.
    Resume,
    /// A message from another object.
    Message,
    /// A task of a front.
    Task,
    /// A schedule of the class.
    Cron,
    /// A request to the admin API.
    Admin,
}

impl Cause {
    /// Returns the name used in logs and spans.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Alarm => "alarm",
            Self::Socket => "socket",
            Self::Object => "object",
            Self::Resume => "resume",
            Self::Message => "message",
            Self::Task => "task",
            Self::Cron => "cron",
            Self::Admin => "admin",
        }
    }
}

/// The principal on whose behalf a call is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principal {
    /// A client of the data listener. The host does not know its identity.
    Client,
    /// The holder of the admin token.
    Admin,
    /// The host itself, for alarms.
    Host,
    /// Another object, whose turn makes the call.
    Object(Arc<ObjectAddress>),
}

impl Principal {
    /// Returns the object that makes the call.
    pub fn object(&self) -> Option<&Arc<ObjectAddress>> {
        match self {
            Self::Object(object) => Some(object),
            Self::Client | Self::Admin | Self::Host => None,
        }
    }
}

/// The calls that wait for a call, and the objects through which it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// The call that began the chain; the call itself if no other call waits for it.
    pub root: CallId,
    /// Objects whose turns wait for the call, outermost first. Empty for calls from outside.
    pub through: Vec<ObjectId>,
    /// The calls that the chain has made, once it has made one.
    pub budget: Option<CallBudget>,
}

impl Chain {
    /// Returns the number of calls that wait for the call.
    pub fn depth(&self) -> usize {
        self.through.len()
    }

    /// Returns the chain's budget of calls, which all of it share from now on.
    pub fn budget(&mut self) -> &CallBudget {
        self.budget.get_or_insert_default()
    }
}

/// The calls that all turns of one chain have made together.
#[derive(Debug, Clone, Default)]
pub struct CallBudget(Arc<AtomicU32>);

impl CallBudget {
    /// Counts a call. Returns false if the chain has made as many as it may ([`CALLS_PER_CHAIN`]).
    pub fn take(&self) -> bool {
        let more = |made: u32| (made < CALLS_PER_CHAIN).then_some(made + 1);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    /// Returns the number of calls made.
    pub fn made(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

impl PartialEq for CallBudget {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for CallBudget {}

/// W3C trace context: the trace that a client's request belongs to. It is passed on and never trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    trace: u128,
    parent: u64,
    flags: u8,
}

impl TraceContext {
    /// Parses a `traceparent` header (W3C Trace Context §3.2). Returns none if it is malformed: the request is served
    /// nevertheless.
    pub fn parse(header: &[u8]) -> Option<Self> {
        let (known, more) = header.split_at_checked(55)?;
        let mut parts = known.split(|byte| *byte == b'-');
        let [version, trace, parent, flags] = [2, 32, 16, 2].map(|length| {
            let part = parts.next().filter(|part| part.len() == length);
            part.and_then(hex_of)
        });
        let (version, trace, parent, flags) = (version?, trace?, parent?, flags?);
        // Version 0 has nothing after the flags; later versions may, after a dash.
        let is_whole = more.is_empty() || version > 0 && more[0] == b'-';
        let is_valid = version != 0xff && trace != 0 && parent != 0 && is_whole;
        is_valid.then_some(Self { trace, parent: parent as u64, flags: flags as u8 })
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.parent, self.flags)
    }
}

/// Parses at most 32 lowercase hex digits.
fn hex_of(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number, digit| match digit {
        b'0'..=b'9' => Some(number << 4 | u128::from(digit - b'0')),
        b'a'..=b'f' => Some(number << 4 | u128::from(digit - b'a' + 10)),
        _ => None,
    })
}

/// One event for one object. Calls are delivered as one turn each, in the order received.
#[derive(Debug)]
pub struct Call<E> {
    /// The id of the call.
    pub id: CallId,
    /// The object that the call is for.
    pub target: ObjectAddress,
    /// The source of the call.
    pub cause: Cause,
    /// The calls that wait for it.
    pub chain: Chain,
    /// The time after which the result is useless, by [`Env::elapsed`]. None: the limits of the turn apply alone.
    pub deadline: Option<Duration>,
    /// The trace that the call belongs to, if the client named one.
    pub trace: Option<TraceContext>,
    /// The principal on whose behalf the call is made.
    pub principal: Principal,
    /// The event to deliver.
    pub event: E,
}

impl<E> Call<E> {
    /// Creates a call from outside: only its caller waits for it, and it has no deadline of its own.
    pub fn new(id: CallId, target: ObjectAddress, (cause, principal): (Cause, Principal), event: E) -> Self {
        let chain = Chain { root: id, through: Vec::new(), budget: None };
        Self { id, target, cause, chain, deadline: None, trace: None, principal, event }
    }

    /// Replaces the event.
    pub fn with<F>(self, make: impl FnOnce(E) -> F) -> Call<F> {
        let Self { id, target, cause, chain, deadline, trace, principal, event } = self;
        Call { id, target, cause, chain, deadline, trace, principal, event: make(event) }
    }

    /// Takes the event out of the call.
    pub fn split(self) -> (Call<()>, E) {
        let Self { id, target, cause, chain, deadline, trace, principal, event } = self;
        (Call { id, target, cause, chain, deadline, trace, principal, event: () }, event)
    }

    /// Creates the span of the call's turn, which costs next to nothing unless the log level is `debug`.
    pub fn span(&self) -> tracing::Span {
        let trace = self.trace.as_ref().map(tracing::field::display);
        tracing::debug_span!("turn", call = %self.id, object = %self.target, cause = self.cause.name(), trace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_differ_within_a_process_and_between_processes() {
        let (one, other) = (CallIds::new(&Env::manual(1).0), CallIds::new(&Env::manual(2).0));
        let ids = [one.next(), one.next(), other.next()];
        assert!(ids[0] != ids[1] && ids[0] != ids[2]);
        let many: std::collections::HashSet<_> = (0..10_000).map(|_| one.next()).collect();
        assert_eq!(many.len(), 10_000);
        for id in ids {
            assert_eq!((id.to_string().len(), id.to_string().parse()), (32, Ok(id)));
            let json = serde_json::to_string(&id).unwrap();
            assert_eq!((serde_json::from_str::<CallId>(&json).unwrap(), json), (id, format!("\"{id}\"")));
        }
        for bad in ["", "0", &"0".repeat(31), &"0".repeat(33), &"G".repeat(32), &"A".repeat(32)] {
            assert!(bad.parse::<CallId>().is_err(), "{bad}");
        }
    }

    /// The examples of the recommendation, and variations of them.
    #[test]
    fn a_traceparent_is_read_strictly() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(TraceContext::parse(good.as_bytes()).unwrap().to_string(), good);
        let later = format!("cc{}-more", &good[2..]);
        assert_eq!(TraceContext::parse(later.as_bytes()).unwrap().to_string(), good);
        let zero = |from: &str| good.replace(from, &"0".repeat(from.len()));
        for bad in [
            String::new(),
            good[..54].into(),
            format!("{good}-more"),
            format!("{good} "),
            format!("ff{}", &good[2..]),
            format!("cc{}.more", &good[2..]),
            good.to_uppercase(),
            good.replace('-', "_"),
            zero("0af7651916cd43dd8448eb211c80319c"),
            zero("b7ad6b7169203331"),
            "é".repeat(30),
        ] {
            assert_eq!(TraceContext::parse(bad.as_bytes()), None, "{bad}");
        }
    }
}
