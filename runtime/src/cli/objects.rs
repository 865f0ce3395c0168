//! `holdfast objects`: what a class has stored.

use std::io::{self, Write};

use clap::Subcommand;
use serde::Deserialize;
use serde_json::Value;

use super::api::{Api, Connection};
use super::{path, show};
use crate::base::ClassName;

/// The most that the admin API answers at once.
const PAGE: usize = 1_000;

/// List, show, delete and evict objects.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    connection: Connection,
    /// Print JSON: one document a line.
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
    /// Show one object.
    Show(Which),
    /// Delete an object and all it stored.
    Delete(Which),
    /// Drop an object's live instance; what it stored stays, and its next request begins with a fresh one.
    Evict(Which),
}

#[derive(clap::Args)]
struct Which {
    /// The class.
    class: ClassName,
    /// The object's name, or @ and its id of 64 hex digits.
    #[arg(value_name = "NAME|@ID")]
    object: String,
}

impl Which {
    fn path(&self) -> String {
        format!("/v1/classes/{}/objects/{}", self.class, path::object(&self.object))
    }

    fn shown(&self) -> String {
        format!("{}/{}", self.class, show::printable(&self.object))
    }
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
        Command::Show(which) => {
            let value: Value = api.get(&which.path())?;
            if args.json { Ok(writeln!(out, "{value}")?) } else { show_one(&which, value, out) }
        }
        Command::Delete(which) => {
            api.delete(&which.path())?;
            eprintln!("deleted {}", which.shown());
            Ok(())
        }
        Command::Evict(which) => {
            let value: Value = api.post(&format!("{}/evict", which.path()))?;
            if args.json {
                writeln!(out, "{value}")?;
            } else if value["evicted"] == true {
                eprintln!("evicted {}", which.shown());
            } else {
                eprintln!("{} had no live instance", which.shown());
            }
            Ok(())
        }
    }
}

/// Pages are printed as they come, so columns have fixed widths and the one without a bound is last.
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
        eprintln!("no objects; an object exists once it has stored something");
    }
    Ok(())
}

fn show_one(which: &Which, value: Value, out: &mut impl Write) -> anyhow::Result<()> {
    let object = ObjectInfo::deserialize(value)?;
    let name = object.name.as_deref().map_or("(never reached by name)".into(), show::printable);
    let fields = [
        ("class", which.class.to_string()),
        ("name", name.into()),
        ("id", format!("@{}", object.id)),
        ("size", show::bytes(object.bytes)),
        ("state", object.state),
    ];
    Ok(show::fields(out, &fields)?)
}
