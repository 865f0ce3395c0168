//! Reports of failed turns: one entry in the object's log and one line in the server's for each.
//!
//! A report is complete: event, code, message, limit, stack. Failures that come too fast are counted by object and
//! code, and the count is reported at the end of its time window. So no failure is silent, and a class that fails a
//! million times fills neither its own log nor the disk. The memory of each class is bounded.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Uri};
use parking_lot::Mutex;

use super::limits::{FAILURES_COUNTED_APART, FAILURES_OF_CLASS, FAILURES_OF_OBJECT, FAILURES_WINDOW_SECONDS};
use super::logs::{GuestLogs, Level, LogEntry, shown};
use super::socket::SocketId;
use super::turn_error::{Failure, Fault};
use super::{CallId, ClassKey, ClassName, Env, MethodName, ObjectAddress, TurnError};

/// The time window in which failures are counted together.
const WINDOW: Duration = Duration::from_secs(FAILURES_WINDOW_SECONDS);
/// The maximum bytes of a path in a report.
const PATH_MAX: usize = 512;
/// The maximum bytes of the message that stands as an example for counted failures.
const EXAMPLE_MAX: usize = 256;

/// The work that an object was doing.
#[derive(Debug, Clone)]
pub enum Occasion {
    /// A request. Reports contain only the path of the URI: queries may contain secrets.
    Fetch(Method, Uri),
    /// A call of a method.
    Call(MethodName),
    /// The object's alarm.
    Alarm,
    /// An event of a WebSocket.
    Socket(SocketId),
    /// Late work of earlier turns.
    Resume,
    /// An operation of the admin API; carries its description.
    Admin(&'static str),
}

impl fmt::Display for Occasion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fetch(method, uri) => {
                let path = uri.path();
                let end = path.floor_char_boundary(PATH_MAX);
                write!(f, "{method} {}{}", &path[..end], if end < path.len() { "…" } else { "" })
            }
            Self::Call(method) => write!(f, "a call of {method}"),
            Self::Alarm => f.write_str("the alarm"),
            Self::Resume => f.write_str("late work"),
            Self::Socket(id) => write!(f, "a turn with the WebSocket {id}"),
            Self::Admin(what) => write!(f, "{what} of the admin API"),
        }
    }
}

/// The failed turns of one host.
pub struct Failures {
    logs: Arc<GuestLogs>,
    env: Env,
    classes: Mutex<HashMap<ClassName, Window>>,
}

/// The recent failures of a class. Dropped at the end of its time window.
struct Window {
    /// The class's key.
    key: ClassKey,
    began: Duration,
    /// The number of failures that were reported in full.
    told: u32,
    by_object: HashMap<(String, &'static str), Count>,
    /// The counts of objects beyond the number that are counted apart.
    others: HashMap<&'static str, Count>,
}

#[derive(Default)]
struct Count {
    told: u32,
    left_out: u64,
    /// The first failure that was left out.
    example: Option<(String, Fault)>,
}

impl Failures {
    /// Creates a reporter that adds its entries to this log.
    pub fn new(logs: Arc<GuestLogs>, env: Env) -> Self {
        Self { logs, env, classes: Mutex::default() }
    }

    /// Reports a failed turn. `consequence` is what the host does next, as the rest of a sentence: "failed and is tried
    /// again".
    pub fn tell(
        &self,
        (address, call): (&ObjectAddress, CallId),
        occasion: &Occasion,
        consequence: &str,
        level: Level,
        error: &TurnError,
    ) {
        let message = message(occasion, consequence, error);
        if self.counts_only(address, &message, error) {
            return;
        }
        tell_server(&address.to_string(), Some(call), error.code(), error.fault(), &message);
        let mut entry = LogEntry::new(&self.env, (address, call), level, message);
        entry.fields = fields(error);
        self.logs.add(entry);
    }

    /// Reports the counts whose time window is over. Must be called about once a second.
    pub fn sweep(&self) {
        let now = self.env.elapsed();
        let over: Vec<_> = {
            let mut classes = self.classes.lock();
            classes.extract_if(|_, window| now.saturating_sub(window.began) >= WINDOW).collect()
        };
        over.into_iter().for_each(|(class, window)| self.close(&class, window, now));
    }

    /// Counts a failure. Returns whether it is counted only, not reported in full.
    fn counts_only(&self, address: &ObjectAddress, message: &str, error: &TurnError) -> bool {
        let now = self.env.elapsed();
        let mut classes = self.classes.lock();
        let over = classes.get(&address.class).is_some_and(|window| now.saturating_sub(window.began) >= WINDOW);
        let over = if over { classes.remove(&address.class) } else { None };
        let window = classes.entry(address.class.clone()).or_insert_with(|| Window::new(address.key.clone(), now));
        let only = window.count(shown(address), message, error);
        drop(classes);
        if let Some(over) = over {
            self.close(&address.class, over, now);
        }
        only
    }

    fn close(&self, class: &ClassName, window: Window, now: Duration) {
        let seconds = now.saturating_sub(window.began).as_secs().max(1);
        let others = window.others.into_iter().map(|(code, count)| (("(several)".to_owned(), code), count));
        for ((object, code), count) in window.by_object.into_iter().chain(others) {
            let Some((example, fault)) = count.example else { continue };
            let message = format!("repeated {} times in the last {seconds} s: {example}", count.left_out);
            tell_server(&format!("{class}/{object}"), None, code, fault, &message);
            let fields =
                vec![("code".to_owned(), code.to_owned()), ("repeated".to_owned(), count.left_out.to_string())];
            let (time, class, key, level) = (self.env.wall_ms(), class.to_string(), window.key.clone(), Level::Error);
            self.logs.add(LogEntry { time, class, key, object, call: None, level, message, fields });
        }
    }
}

impl Window {
    fn new(key: ClassKey, began: Duration) -> Self {
        Self { key, began, told: 0, by_object: HashMap::new(), others: HashMap::new() }
    }

    fn count(&mut self, object: String, message: &str, error: &TurnError) -> bool {
        let is_full = self.by_object.len() >= FAILURES_COUNTED_APART;
        let key = (object, error.code());
        let count = if is_full && !self.by_object.contains_key(&key) {
            self.others.entry(key.1).or_default()
        } else {
            self.by_object.entry(key).or_default()
        };
        if count.told < FAILURES_OF_OBJECT && self.told < FAILURES_OF_CLASS {
            count.told += 1;
            self.told += 1;
            return false;
        }
        count.left_out += 1;
        count.example.get_or_insert_with(|| {
            let end = message.floor_char_boundary(EXAMPLE_MAX);
            (message[..end].to_owned(), error.fault())
        });
        true
    }
}

/// Returns the message of a report. A guest that has logged the failure itself, in more words, is quoted.
fn message(occasion: &Occasion, consequence: &str, error: &TurnError) -> String {
    match error {
        TurnError::Guest(Failure { logged: Some(logged), .. }) => {
            format!("{occasion} failed{consequence}: {}", logged.message)
        }
        error => format!("{occasion} failed{consequence}: {error}"),
    }
}

fn fields(error: &TurnError) -> Vec<(String, String)> {
    let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let mut fields = vec![field("code", error.code())];
    if let TurnError::Guest(failure) = error {
        if failure.code != error.code() {
            fields.push(field("guest-code", &failure.code));
        }
        fields.extend(failure.logged.iter().flat_map(|logged| logged.fields.clone()));
    }
    if let Some((name, value)) = error.limit() {
        fields.push(field("limit", &format!("{name} = {value}")));
    }
    if let Some(stack) = error.stack() {
        fields.push(field("stack", stack));
    }
    fields
}

/// Writes the failure to the server's log, without the stack, which is long. Text of guests is quoted so that it stays
/// on its line.
fn tell_server(object: &str, call: Option<CallId>, code: &str, fault: Fault, message: &str) {
    let call = call.map(tracing::field::display);
    match fault {
        Fault::Guest => tracing::info!(?object, call, code, error = ?message, "turn failed"),
        Fault::Capacity => tracing::warn!(?object, call, code, error = ?message, "turn failed"),
        Fault::Host => tracing::error!(?object, call, code, error = ?message, "turn failed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::env::Manual;
    use crate::base::turn_error::Logged;
    use crate::base::{HostMemory, ObjectId, ObjectName};

    fn failures() -> (Failures, Arc<GuestLogs>, Arc<Manual>) {
        let ((env, clock), logs) = (Env::manual(0), Arc::new(GuestLogs::new(HostMemory::new(1 << 30))));
        (Failures::new(logs.clone(), env), logs, clock)
    }

    fn address(class: &str, name: &str) -> ObjectAddress {
        let (key, name) = (ClassKey::new(class), ObjectName::parse(name).unwrap());
        let id = ObjectId::from_name(&key, &name);
        ObjectAddress { class: ClassName::parse(class).unwrap(), key, id, name: Some(name) }
    }

    fn call() -> CallId {
        crate::base::CallIds::new(&Env::manual(9).0).next()
    }

    fn fetch() -> Occasion {
        Occasion::Fetch(Method::GET, "/a/b?token=secret".parse().unwrap())
    }

    fn fuel(stack: Option<&str>) -> TurnError {
        TurnError::OutOfFuel { limit: 7, stack: stack.map(Into::into) }
    }

    #[test]
    fn a_failure_says_what_which_limit_and_where() {
        let (failures, logs, _) = failures();
        failures.tell((&address("c", "o"), call()), &fetch(), "", Level::Error, &fuel(Some("at loop")));
        let entries = logs.remembered(Some("c"));
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0].message, "GET /a/b failed: the turn used up its 7 units of fuel");
        let fields: Vec<_> = entries[0].fields.iter().map(|(name, value)| (&**name, &**value)).collect();
        assert_eq!(fields, [("code", "fuel-exhausted"), ("limit", "fuel-per-turn = 7"), ("stack", "at loop")]);
    }

    #[test]
    fn what_a_guest_logged_of_its_failure_is_in_its_entry() {
        let (failures, logs, _) = failures();
        let logged = Logged { message: "TypeError: boom".into(), fields: vec![("logger".into(), "root".into())] };
        let failure = Failure { logged: Some(Box::new(logged)), ..Failure::new("teapot", "boom") };
        failures.tell(
            (&address("c", "o"), call()),
            &Occasion::Alarm,
            " (attempt 1)",
            Level::Warn,
            &TurnError::Guest(failure),
        );
        let entry = &logs.remembered(None)[0];
        assert_eq!((&*entry.message, entry.level), ("the alarm failed (attempt 1): TypeError: boom", Level::Warn));
        assert_eq!(entry.fields[1..], [("guest-code".into(), "teapot".into()), ("logger".into(), "root".into())]);
    }

    #[test]
    fn failures_that_come_too_fast_are_counted() {
        let (failures, logs, clock) = failures();
        for _ in 0..322 {
            failures.tell((&address("c", "o"), call()), &fetch(), "", Level::Error, &fuel(None));
        }
        let other = TurnError::NoHandler("fetch");
        failures.tell((&address("c", "o"), call()), &fetch(), "", Level::Error, &other);
        failures.tell((&address("d", "o"), call()), &fetch(), "", Level::Error, &fuel(None));
        failures.sweep();
        assert_eq!(logs.remembered(Some("c")).len(), FAILURES_OF_OBJECT as usize + 1, "each code is counted apart");
        assert_eq!(logs.remembered(Some("d")).len(), 1, "and each class");
        clock.advance(WINDOW);
        failures.sweep();
        let said = logs.remembered(Some("c")).last().unwrap().message.clone();
        assert!(said.starts_with("repeated 312 times in the last 10 s: GET /a/b failed"), "{said}");
        assert!(failures.classes.lock().is_empty(), "nothing is remembered of it");
        failures.tell((&address("c", "o"), call()), &fetch(), "", Level::Error, &fuel(None));
        assert_eq!(logs.remembered(Some("c")).len(), FAILURES_OF_OBJECT as usize + 3);
    }

    #[test]
    fn a_class_with_many_objects_that_fail_takes_a_bounded_place() {
        let (failures, logs, clock) = failures();
        for object in 0..1_000 {
            failures.tell((&address("c", &object.to_string()), call()), &fetch(), "", Level::Error, &fuel(None));
        }
        assert!(failures.classes.lock().values().all(|window| window.by_object.len() <= FAILURES_COUNTED_APART));
        let told = logs.remembered(Some("c")).len();
        assert!(told <= FAILURES_OF_CLASS as usize, "{told}");
        clock.advance(2 * WINDOW);
        // Without a sweep the next failure ends the time window.
        failures.tell((&address("c", "o"), call()), &fetch(), "", Level::Error, &fuel(None));
        let entries = logs.remembered(Some("c"));
        let repeated = |entry: &LogEntry| -> usize {
            let count = entry.fields.iter().find(|(name, _)| name == "repeated");
            count.map_or(0, |(_, count)| count.parse().unwrap())
        };
        let counted: usize = entries.iter().map(|entry| repeated(entry)).sum();
        assert_eq!(told + counted, 1_000, "each is told or counted");
    }

    #[test]
    fn a_long_path_is_cut() {
        let path = format!("/{}", "é".repeat(2_000)).parse();
        let shown = Occasion::Fetch(Method::PUT, path.unwrap()).to_string();
        assert!(shown.len() < PATH_MAX + 10 && shown.ends_with('…'), "{shown}");
    }
}
