//! `holdfast data`: shows and verifies the content of a data directory.
//!
//! Reads the directory itself, without a server, and changes no byte of it. Damage is not an error of the command: it
//! prints all of it, with the next step, and the exit code reports that there was some.

mod log;

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Subcommand;
use serde_json::{Value, json};

use super::show;
use crate::config::DEFAULT_DATA;
use crate::storage::verify::{self, DataDamage, DataReport};
use crate::storage::{DataDirError, DataDirView, commit_log};

/// Verify and show the content of a data directory.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
    /// The data directory [default: ./.holdfast].
    #[arg(long, global = true, env = "HOLDFAST_DATA", hide_env_values = true, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Print JSON: one document per line.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Verify the commit log, every class and every page of every object, and show all damage.
    ///
    /// Fails if there is any. Changes nothing. Must not run while a server uses the directory.
    Verify {
        /// Verify the commit log alone: every byte of it that counts, reported by file and offset.
        #[arg(long)]
        log_only: bool,
    },
    /// Show every record of the commit log, and the position of each lane.
    ///
    /// While a server uses the directory, the end may be missing and trimmed segments may disappear.
    Inspect,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let data = DataDirView::open(args.data.unwrap_or(DEFAULT_DATA.into()))?;
    let out = &mut BufWriter::new(io::stdout().lock());
    match args.command {
        Command::Verify { .. } if data.in_use() => {
            let refused = DataDirError::InUse(data.root().into());
            Err(refused).context("data cannot be verified while a server writes it")
        }
        Command::Verify { log_only: true } => log::verify(&commit_log::verify(&data.log())?, args.json, out),
        Command::Verify { log_only: false } => verify(&data, args.json, out),
        Command::Inspect => log::inspect(&data, args.json, out),
    }
}

fn verify(data: &DataDirView, json: bool, out: &mut impl Write) -> anyhow::Result<()> {
    let log_report = commit_log::verify(&data.log())?;
    log::verify(&log_report, json, out).context("objects cannot be verified without the log")?;
    let mut told = 0;
    let report = verify::verify(data, &log_report, &mut |done, total| {
        let percent = done * 100 / total.max(1);
        if percent >= told + 5 {
            told = percent;
            note!("{percent} % of {total} objects");
        }
    })?;
    show_report(&report, json, out)?;
    out.flush()?;
    match report.damage.len() {
        0 => Ok(()),
        count => bail!(
            "{count} objects or classes are damaged; start the server and import an export of each (`holdfast objects import`), or \
             accept the loss (`holdfast objects delete`); all others are served"
        ),
    }
}

fn show_report(report: &DataReport, json: bool, out: &mut impl Write) -> io::Result<()> {
    if json {
        for damage in &report.damage {
            writeln!(out, "{}", damage_json(damage))?;
        }
        let lost: Vec<_> = report.lists_lost.iter().map(|path| path.to_string_lossy()).collect();
        let DataReport { objects, pages, unchecked, damage, .. } = report;
        let whole = damage.is_empty();
        let summary = json!({
            "whole": whole, "objects": objects, "pages": pages, "unchecked": unchecked, "damaged": damage.len(),
            "listsLost": lost,
        });
        return writeln!(out, "{summary}");
    }
    for damage in &report.damage {
        writeln!(out, "{}", damage_text(damage))?;
    }
    for path in &report.lists_lost {
        let what = "is unreliable and will be rebuilt at the next start: missing files were not detected";
        writeln!(out, "{} {what}", path.display())?;
    }
    writeln!(out, "{} objects, {} pages are intact.", report.objects, report.pages)?;
    if report.unchecked > 0 {
        let what = "pages have no checksum yet: an earlier version wrote them, and they have not been read since";
        writeln!(out, "{} {what}.", report.unchecked)?;
    }
    Ok(())
}

fn damage_json(damage: &DataDamage) -> Value {
    let DataDamage { class, object, name, file, pages, why } = damage;
    json!({
        "damaged": object.as_ref().map_or_else(|| class.clone(), |id| format!("{class}/@{id}")), "class": class,
        "id": object.as_ref().map(ToString::to_string), "name": name, "file": file.to_string_lossy(), "pages": pages, "why": why,
    })
}

fn damage_text(damage: &DataDamage) -> String {
    let DataDamage { class, object, name, file, pages, why } = damage;
    let class = show::printable(class);
    let mut text = match (object, name) {
        (Some(_), Some(name)) => format!("{class}/{}", show::printable(name)),
        (Some(id), None) => format!("{class}/@{id}"),
        (None, _) => format!("the class {class}"),
    };
    text += &format!(" is damaged: {}: {why}", file.display());
    if !pages.is_empty() {
        let pages: Vec<_> = pages.iter().map(u32::to_string).collect();
        text += &format!(": {}", pages.join(", "));
    }
    text
}
