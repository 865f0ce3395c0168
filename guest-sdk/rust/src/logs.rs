//! Sends the records of the `log` crate, and panics, to the object's log.

use log::kv::{Error, Key, Value, VisitSource};

use crate::bindings::holdfast::object::logging;

/// Installs logger and panic hook, once per instance and before any code of the class runs.
pub fn install() {
    // Fails only if there is a logger already, which was then put there on purpose.
    if log::set_logger(&HostLog).is_ok() {
        log::set_max_level(log::LevelFilter::Trace);
    }
    // A panic becomes a trap, which has no message; the log is where people will look for it.
    std::panic::set_hook(Box::new(|panic| {
        let message = panic.payload_as_str().unwrap_or("(a value that is not text)");
        let place = panic.location().map(|place| format!(" at {place}")).unwrap_or_default();
        logging::log(logging::Level::Error, &format!("panicked{place}: {message}"), &[]);
    }));
}

struct HostLog;

impl log::Log for HostLog {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let mut fields = Fields::default();
        // `Fields` refuses nothing, so what a faulty source yields before its own error is kept.
        let _ = record.key_values().visit(&mut fields);
        logging::log(level(record.level()), &record.args().to_string(), &fields.0);
    }

    fn flush(&self) {}
}

fn level(level: log::Level) -> logging::Level {
    match level {
        log::Level::Error => logging::Level::Error,
        log::Level::Warn => logging::Level::Warn,
        log::Level::Info => logging::Level::Info,
        log::Level::Debug => logging::Level::Debug,
        log::Level::Trace => logging::Level::Trace,
    }
}

#[derive(Default)]
struct Fields(Vec<(String, String)>);

impl<'kvs> VisitSource<'kvs> for Fields {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        self.0.push((key.to_string(), value.to_string()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use log::kv::Source;

    use super::*;

    #[test]
    fn fields_are_shown_as_text() {
        let mut fields = Fields::default();
        [("user", Value::from("ann")), ("n", Value::from(3))].visit(&mut fields).unwrap();
        assert_eq!(fields.0, [("user".to_owned(), "ann".to_owned()), ("n".to_owned(), "3".to_owned())]);
    }
}
