//! `holdfast logs`: the log of guests, and the format of an entry on a terminal (`dev` uses it too).

use std::io::{self, Write};

use serde::Deserialize;
use serde_json::Value;

use super::api::{Api, Connection};
use super::path;
use super::show::{self, Colour, Colours};
use super::sse::Events;
use super::target::Scope;
use crate::base::logs::{Level, LogEntry};

/// Print the log of objects.
///
/// The server keeps about the last thousand entries of each class. Every failed turn is one; failures that come too
/// fast are counted.
#[derive(clap::Args)]
#[command(override_usage = "holdfast logs [OPTIONS] [CLASS|OBJECT]")]
pub struct Args {
    #[command(flatten)]
    scope: Scope,
    /// Continue with new entries as they come.
    #[arg(short, long)]
    follow: bool,
    /// Print JSON: one entry per line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Deserialize)]
struct History {
    entries: Vec<Value>,
}

#[derive(Deserialize)]
struct Missed {
    missed: u64,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let api = Api::new(&args.connection, None)?;
    let (class, object) = match &args.scope {
        Scope::All => (None, None),
        Scope::Class(class) => (Some(class.as_str()), None),
        Scope::Object(object) => (Some(object.class.as_str()), Some(object.logged_as())),
    };
    let follow = args.follow.then_some("true");
    let query = path::query(&[("class", class), ("object", object), ("follow", follow)]);
    let path = format!("/v1/logs{query}");

    let colours = Colours::of_stdout();
    let print = |entry: Value| -> anyhow::Result<()> {
        let out = &mut io::stdout().lock();
        if args.json {
            return Ok(writeln!(out, "{entry}")?);
        }
        Ok(write!(out, "{}", line(&LogEntry::deserialize(entry)?, colours))?)
    };
    if !args.follow {
        return api.get::<History>(&path)?.entries.into_iter().try_for_each(print);
    }
    for event in Events::new(api.stream(&path)?) {
        let Ok(event) = event else { break };
        if event.kind == "missed" {
            let Missed { missed } = serde_json::from_str(&event.data)?;
            note!("{}", missed_line(missed));
        } else {
            print(serde_json::from_str(&event.data)?)?;
        }
    }
    anyhow::bail!("the server ended the log; follow it again once the server is back")
}

/// Returns the line that replaces entries that came faster than they were read.
pub fn missed_line(missed: u64) -> String {
    format!("… {missed} entries left out: they came faster than they could be shown")
}

/// Formats an entry as lines of text, each ended.
pub fn line(entry: &LogEntry, colours: Colours) -> String {
    let (level, colour) = match entry.level {
        Level::Trace => ("TRACE", Colour::Dim),
        Level::Debug => ("DEBUG", Colour::Cyan),
        Level::Info => ("INFO ", Colour::Green),
        Level::Warn => ("WARN ", Colour::Yellow),
        Level::Error => ("ERROR", Colour::Red),
    };
    let time = show::time(entry.time);
    let object = format!("{}/{}", show::printable(&entry.class), object(&entry.object));
    let mut line = format!(
        "{} {} {}",
        colours.paint(Colour::Dim, &time),
        colours.paint(colour, level),
        colours.paint(Colour::Bold, &object)
    );
    for (number, text) in entry.message.trim_end().lines().enumerate() {
        line += if number == 0 { "  " } else { "\n    " };
        line += &show::printable(text);
    }
    for (key, value) in &entry.fields {
        let value: Vec<_> = value.trim_end().lines().map(show::printable).collect();
        line += if value.len() > 1 { "\n    " } else { "  " };
        line += &colours.paint(Colour::Dim, &format!("{}={}", show::printable(key), value.join("\n    ")));
    }
    line.push('\n');
    line
}

/// Returns a name as it is; of an id only a prefix that distinguishes objects.
fn object(object: &str) -> String {
    match object.strip_prefix('@').and_then(|id| id.get(..8).filter(|_| id.len() == 64)) {
        Some(beginning) => format!("@{beginning}…"),
        None => show::printable(object).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ClassKey;

    #[test]
    fn an_entry_is_a_line() {
        let mut entry = LogEntry {
            time: 1_709_251_199_999,
            class: "counter".into(),
            key: ClassKey::new("key"),
            object: "alice".into(),
            call: None,
            level: Level::Warn,
            message: "late".into(),
            fields: vec![("by".into(), "2 s".into())],
        };
        assert_eq!(line(&entry, Colours::NONE), "2024-02-29T23:59:59.999Z WARN  counter/alice  late  by=2 s\n");

        entry.object = format!("@{}", "59002eb8".repeat(8));
        entry.message = "first\nsecond \x1b[2J\n".into();
        entry.fields = vec![("stack".into(), "at a\n  at \x07\n".into())];
        let expected = "2024-02-29T23:59:59.999Z WARN  counter/@59002eb8…  first\n    second \\u{1b}[2J\n    \
                        stack=at a\n      at \\u{7}\n";
        assert_eq!(line(&entry, Colours::NONE), expected);
    }
}
