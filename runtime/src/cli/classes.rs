//! `holdfast classes`: the deployed classes.

use std::io::{self, Write};
use std::time::Duration;

use clap::Subcommand;
use serde::Deserialize;
use serde_json::Value;

use super::api::{Api, Connection};
use super::class_info::{self, ClassInfo};
use super::{path, show};
use crate::base::{ClassName, Env};

/// List, show, rename and delete classes.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    connection: Connection,
    /// Print JSON: one document per line.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Command {
    /// List the deployed classes (the default of `holdfast classes`).
    List,
    /// Show one class with its exports and imports.
    Show {
        /// The class.
        class: ClassName,
    },
    /// List the versions of a class that are kept, the current one first.
    Versions {
        /// The class.
        class: ClassName,
    },
    /// Deploy an earlier version again. It becomes a version of its own; objects keep what they stored.
    Rollback {
        /// The class.
        class: ClassName,
        /// The number of the version.
        version: u64,
        /// A description of the version, for `holdfast classes versions`.
        #[arg(long)]
        message: Option<String>,
    },
    /// Rename a class; its objects keep their data, their alarms and their sockets.
    ///
    /// Requests and deployments reach it by the new name only: change `class` in the project's holdfast.toml, too.
    /// Earlier log entries of its objects stay under the old name.
    Rename {
        /// The class.
        class: ClassName,
        /// The new name, which must not be in use.
        to: ClassName,
    },
    /// Delete a class.
    Delete {
        /// The class.
        class: ClassName,
        /// Also delete its objects and their data; without this flag a class that has objects is not deleted.
        #[arg(long)]
        objects: bool,
    },
}

/// A version in the admin API.
#[derive(Deserialize)]
struct VersionInfo {
    version: u64,
    digest: String,
    size: u64,
    deployed: u64,
    create: String,
    #[serde(default)]
    message: String,
}

#[derive(Deserialize)]
struct VersionList {
    versions: Vec<Value>,
}

#[derive(Deserialize)]
struct ClassList {
    classes: Vec<Value>,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let api = Api::new(&args.connection, None)?;
    let out = &mut io::stdout();
    match args.command.unwrap_or(Command::List) {
        Command::List => list(&api, args.json, out),
        Command::Show { class } => show(&api, &class, args.json, out),
        Command::Versions { class } => versions(&api, &class, args.json, out),
        Command::Rollback { class, version, message } => {
            let version = version.to_string();
            let query = path::query(&[("version", Some(&version)), ("message", message.as_deref())]);
            class_info::print(api.put(&format!("/v1/classes/{class}{query}"), &[])?, args.json)
        }
        Command::Rename { class, to } => {
            let value: Value =
                api.post(&format!("/v1/classes/{class}/rename{}", path::query(&[("to", Some(to.as_str()))])))?;
            if args.json {
                writeln!(out, "{value}")?;
            } else {
                note!("renamed {class} to {to}");
            }
            Ok(())
        }
        Command::Delete { class, objects } => {
            let query = if objects { "?objects=delete" } else { "" };
            api.delete(&format!("/v1/classes/{class}{query}"))?;
            note!("deleted {class}{}", if objects { " and its objects" } else { "" });
            Ok(())
        }
    }
}

fn list(api: &Api, json: bool, out: &mut impl Write) -> anyhow::Result<()> {
    let classes = api.get::<ClassList>("/v1/classes")?.classes;
    if json {
        return Ok(classes.iter().try_for_each(|class| writeln!(out, "{class}"))?);
    }
    if classes.is_empty() {
        note!("no classes yet; add one with `holdfast deploy`");
        return Ok(());
    }
    let now = Env::system().wall_ms();
    let (mut rows, mut any_outdated) = (Vec::new(), false);
    for class in classes {
        let class = ClassInfo::deserialize(class)?;
        let age = show::duration(Duration::from_millis(now.saturating_sub(class.deployed)));
        let (contract, digest) = (class.contract(), class.digest.chars().take(12).collect());
        any_outdated |= class.outdated;
        let (version, size) = (class.version.to_string(), show::bytes(class.size));
        rows.push([class.name, version, size, digest, contract, format!("{age} ago")]);
    }
    show::table(out, ["CLASS", "VERSION>", "SIZE>", "DIGEST", "CONTRACT", "DEPLOYED"], &rows)?;
    if any_outdated {
        note!("outdated classes answer no requests; build them with the present SDK and deploy them again");
    }
    Ok(())
}

fn versions(api: &Api, class: &ClassName, json: bool, out: &mut impl Write) -> anyhow::Result<()> {
    let versions = api.get::<VersionList>(&format!("/v1/classes/{class}"))?.versions;
    if json {
        return Ok(versions.iter().try_for_each(|version| writeln!(out, "{version}"))?);
    }
    let mut rows = Vec::new();
    for version in versions {
        let VersionInfo { version, digest, size, deployed, create, message } = VersionInfo::deserialize(version)?;
        let digest: String = digest.chars().take(12).collect();
        let message = show::printable(message.lines().next().unwrap_or_default()).to_string();
        rows.push([version.to_string(), show::bytes(size), digest, show::time(deployed), create, message]);
    }
    Ok(show::table(out, ["VERSION>", "SIZE>", "DIGEST", "DEPLOYED", "CREATE", "MESSAGE"], &rows)?)
}

fn show(api: &Api, class: &ClassName, json: bool, out: &mut impl Write) -> anyhow::Result<()> {
    let value: Value = api.get(&format!("/v1/classes/{class}"))?;
    if json {
        return Ok(writeln!(out, "{value}")?);
    }
    let info = ClassInfo::deserialize(value)?;
    let contract = info.contract();
    let mut fields = vec![
        ("class", info.name),
        ("version", info.version.to_string()),
        ("size", show::bytes(info.size)),
        ("digest", info.digest),
        ("created", show::time(info.created)),
        ("deployed", show::time(info.deployed)),
        ("create", info.create),
        ("contract", contract),
    ];
    fields.extend(info.message.map(|message| ("message", message)));
    for (label, interfaces) in [("exports", info.exports), ("imports", info.imports)] {
        let labels = std::iter::once(label).chain(std::iter::repeat(""));
        fields.extend(labels.zip(interfaces));
    }
    Ok(show::fields(out, &fields)?)
}
