//! `holdfast objects`: the objects of a class and their data.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use anyhow::Context;
use clap::Subcommand;
use serde::Deserialize;
use serde_json::{Value, json};

use super::api::{Api, Connection};
use super::target::{ObjectAndFile, ObjectAndSql, ObjectArg, Target};
use super::{path, show};
use crate::base::ClassName;

/// The maximum page size of the admin API.
const PAGE: usize = 1_000;

/// List, show, query, export, import, delete and evict objects, run their alarms, and create ids for new ones.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    connection: Connection,
    /// Print JSON: one document per line.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Command {
    /// List the objects of a class that have stored something.
    List {
        /// The class.
        class: ClassName,
        /// Only objects whose name begins with this.
        #[arg(long)]
        prefix: Option<String>,
        /// At most this many [default: all].
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
    },
    /// Create an id for a new object that has no name, and print it as @ and 64 hex digits. The object exists once it
    /// has stored something.
    NewId {
        /// The class.
        class: ClassName,
    },
    /// Show one object.
    #[command(override_usage = "holdfast objects show [OPTIONS] <OBJECT>")]
    Show(ObjectArg),
    /// Delete an object and all its data.
    #[command(override_usage = "holdfast objects delete [OPTIONS] <OBJECT>")]
    Delete(ObjectArg),
    /// Query an object with SQL, under the rules of its class's own statements and without starting an instance.
    #[command(override_usage = "holdfast objects sql [OPTIONS] <OBJECT> <SQL>")]
    Sql {
        #[command(flatten)]
        which: ObjectAndSql,
        /// A parameter of the last statement, in order: JSON (null, a number, a "text", {"base64": "…"}), or else text.
        #[arg(long = "parameter", short, value_name = "VALUE")]
        parameters: Vec<String>,
        /// Allow the statements to write. The object's live instance is dropped.
        #[arg(long)]
        write: bool,
    },
    /// Copy an object's data into an SQLite file, while it continues to serve.
    ///
    /// The file `-` is standard output.
    #[command(override_usage = "holdfast objects export [OPTIONS] <OBJECT> <FILE>")]
    Export(ObjectAndFile),
    /// Replace all data of an object with an SQLite file.
    #[command(override_usage = "holdfast objects import [OPTIONS] <OBJECT> <FILE>")]
    Import(ObjectAndFile),
    /// Run an object's alarm now, whatever its due time.
    #[command(override_usage = "holdfast objects alarm [OPTIONS] <OBJECT>")]
    Alarm(ObjectArg),
    /// Drop an object's live instance; its data stays, and its next request starts a new instance.
    #[command(override_usage = "holdfast objects evict [OPTIONS] <OBJECT>")]
    Evict(ObjectArg),
}

#[derive(Deserialize)]
struct Page {
    objects: Vec<Value>,
    cursor: Option<String>,
}

#[derive(Deserialize)]
struct ObjectInfo {
    id: String,
    name: Option<String>,
    bytes: u64,
    state: String,
    alarm: Option<AlarmInfo>,
    /// Absent in lists.
    #[serde(default)]
    sockets: SocketsInfo,
    /// The object whose answer it waited for.
    waits_for: Option<String>,
    #[serde(default)]
    waited_for_by: Vec<String>,
}

#[derive(Default, Deserialize)]
struct SocketsInfo {
    open: u64,
    buffered_bytes: u64,
    messages_in: u64,
    messages_out: u64,
}

impl SocketsInfo {
    fn shown(&self) -> String {
        let Self { open, buffered_bytes, messages_in, messages_out } = self;
        match open {
            0 => "none".into(),
            _ => format!(
                "{open} open, {messages_in} messages in, {messages_out} out, {} waiting",
                show::bytes(*buffered_bytes)
            ),
        }
    }
}

#[derive(Deserialize)]
struct AlarmInfo {
    scheduled: u64,
    failed: u32,
    next: u64,
}

impl AlarmInfo {
    fn shown(&self) -> String {
        let scheduled = show::time(self.scheduled);
        match self.failed {
            0 => scheduled,
            failed => format!("{scheduled}, failed {failed} times, next try {}", show::time(self.next)),
        }
    }
}

impl ObjectInfo {
    fn shown(&self) -> String {
        self.name.as_deref().map_or_else(|| format!("@{}", self.id), |name| show::printable(name).into())
    }
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let api = Api::new(&args.connection, None)?;
    let out = &mut io::stdout().lock();
    match args.command {
        Command::List { class, prefix, limit } => list(&api, &class, prefix.as_deref(), limit, args.json, out),
        Command::NewId { class } => {
            let value: Value = api.post(&format!("/v1/classes/{class}/objects"))?;
            if args.json {
                return Ok(writeln!(out, "{value}")?);
            }
            Ok(writeln!(out, "@{}", value["id"].as_str().unwrap_or_default())?)
        }
        Command::Show(ObjectArg(object)) => {
            let value: Value = api.get(&object.admin_path())?;
            if args.json { Ok(writeln!(out, "{value}")?) } else { show_one(&object, value, out) }
        }
        Command::Delete(ObjectArg(object)) => {
            api.delete(&object.admin_path())?;
            note!("deleted {object}");
            Ok(())
        }
        Command::Sql { which: ObjectAndSql { object, sql }, parameters, write } => {
            let parameters =
                parameters.into_iter().map(|text| serde_json::from_str(&text).unwrap_or(Value::String(text)));
            let asked = json!({ "sql": sql, "parameters": parameters.collect::<Vec<_>>(), "write": write });
            let value: Value = api.post_json(&format!("{}/sql", object.admin_path()), &asked)?;
            if args.json { Ok(writeln!(out, "{value}")?) } else { show_rows(value, out) }
        }
        Command::Export(ObjectAndFile { object, file }) => export(&api, &object, &file, out),
        Command::Import(ObjectAndFile { object, file }) => {
            let source = File::open(&file).with_context(|| format!("cannot read {}", file.display()))?;
            api.upload(&format!("{}/import", object.admin_path()), &source)?;
            note!("imported {} as {object}", file.display());
            Ok(())
        }
        Command::Alarm(ObjectArg(object)) => {
            let value: Value = api.post(&format!("{}/alarm", object.admin_path()))?;
            if args.json {
                writeln!(out, "{value}")?;
            } else {
                note!("ran the alarm of {object}");
            }
            Ok(())
        }
        Command::Evict(ObjectArg(object)) => {
            let value: Value = api.post(&format!("{}/evict", object.admin_path()))?;
            if args.json {
                writeln!(out, "{value}")?;
            } else if value["evicted"] == true {
                note!("evicted {object}");
            } else {
                note!("{object} had no live instance");
            }
            Ok(())
        }
    }
}

#[derive(Deserialize)]
struct Rows {
    columns: Vec<String>,
    rows: Vec<Vec<Value>>,
    changes: u64,
    truncated: bool,
}

/// Prints rows. Cells are separated by tabs; text is printed as it is, except for characters that a terminal would
/// interpret.
fn show_rows(value: Value, out: &mut impl Write) -> anyhow::Result<()> {
    let Rows { columns, rows, changes, truncated } = Rows::deserialize(value)?;
    if !columns.is_empty() {
        let names: Vec<_> = columns.iter().map(|name| show::printable(name)).collect();
        writeln!(out, "{}", names.join("\t"))?;
    }
    for row in rows {
        let cells: Vec<String> = row.iter().map(cell).collect();
        writeln!(out, "{}", cells.join("\t"))?;
    }
    if truncated {
        note!("there are more rows; narrow the query with WHERE or LIMIT");
    }
    if changes > 0 {
        note!("{changes} rows changed");
    }
    Ok(())
}

/// Formats a text, a number, NULL, an integer of any size, or a blob as base64.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => "NULL".into(),
        Value::String(text) => show::printable(text).into(),
        Value::Object(object) => {
            object.values().next().and_then(Value::as_str).map_or_else(String::new, |text| show::printable(text).into())
        }
        value => value.to_string(),
    }
}

/// Writes to a temporary file and renames it, so that a file of that name is complete.
fn export(api: &Api, object: &Target, file: &Path, out: &mut impl Write) -> anyhow::Result<()> {
    let mut body = api.stream(&format!("{}/export", object.admin_path()))?;
    let broke_off = || "the export is incomplete; try again";
    if file == Path::new("-") {
        io::copy(&mut body, out).with_context(broke_off)?;
        return Ok(());
    }
    let dir = file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut beside =
        tempfile::NamedTempFile::new_in(dir).with_context(|| format!("cannot write in {}", dir.display()))?;
    let bytes = io::copy(&mut body, &mut beside).with_context(broke_off)?;
    beside.persist(file).with_context(|| format!("cannot write {}", file.display()))?;
    note!("exported {object} to {} ({})", file.display(), show::bytes(bytes));
    Ok(())
}

/// Prints pages as they come, so columns have fixed widths and the one without a bound is last.
fn list(
    api: &Api,
    class: &ClassName,
    prefix: Option<&str>,
    limit: Option<usize>,
    json: bool,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let (mut left, mut cursor, mut any) = (limit.unwrap_or(usize::MAX), None::<String>, false);
    while left > 0 {
        let count = left.min(PAGE).to_string();
        let query = path::query(&[("prefix", prefix), ("cursor", cursor.as_deref()), ("limit", Some(&count))]);
        let page: Page = api.get(&format!("/v1/classes/{class}/objects{query}"))?;
        left = left.saturating_sub(page.objects.len());
        for value in page.objects {
            if json {
                writeln!(out, "{value}")?;
                continue;
            }
            if !any {
                writeln!(out, "{:>10}  {:<7}  OBJECT", "SIZE", "STATE")?;
            }
            any = true;
            let object = ObjectInfo::deserialize(value)?;
            writeln!(out, "{:>10}  {:<7}  {}", show::bytes(object.bytes), object.state, object.shown())?;
        }
        cursor = page.cursor;
        if cursor.is_none() {
            break;
        }
    }
    if !any && !json {
        note!("no objects; an object exists once it has stored something");
    }
    Ok(())
}

fn show_one(target: &Target, value: Value, out: &mut impl Write) -> anyhow::Result<()> {
    let object = ObjectInfo::deserialize(value)?;
    let name = object.name.as_deref().map_or("(never reached by name)".into(), show::printable);
    let mut fields = vec![
        ("class", target.class.to_string()),
        ("name", name.into()),
        ("id", format!("@{}", object.id)),
        ("size", show::bytes(object.bytes)),
        ("state", object.state),
        ("alarm", object.alarm.map_or("none".into(), |alarm| alarm.shown())),
        ("sockets", object.sockets.shown()),
    ];
    // As it was when it was asked: it is shown when its turn is over.
    let waits = object.waits_for.iter().map(|other| ("waited for", show::printable(other).into_owned()));
    fields.extend(waits);
    if !object.waited_for_by.is_empty() {
        fields.push(("waited for by", show::printable(&object.waited_for_by.join(", ")).into_owned()));
    }
    Ok(show::fields(out, &fields)?)
}
