//! Tests that the pages of `docs/reference/` agree with the program. The items of each page are read from their
//! definition, so a key, a metric or an argument that is missing on the page fails a test. `cli.md` is generated
//! completely:
//!
//! ```text
//! HOLDFAST_WRITE_REFERENCE=1 cargo test --release -p holdfast-runtime --lib reference
//! ```
//!
//! `tests/tidy/reference.rs` does the same for items that can only be read from the sources: the admin routes,
//! environment variables.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, Command};

use crate::base::{Limits, MemoryUse, Metrics};
use crate::config::ConfigFile;

/// The environment variable that makes the test of a generated page write the page instead of comparing it.
const WRITE: &str = "HOLDFAST_WRITE_REFERENCE";

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference").join(name)
}

fn page(name: &str) -> String {
    fs::read_to_string(file(name)).unwrap_or_else(|error| panic!("docs/reference/{name}: {error}"))
}

/// Returns the rows of the tables below a heading, up to the next heading, by their first cell, which is a code span.
fn rows(page: &str, heading: &str) -> BTreeMap<String, Vec<String>> {
    let below = page.lines().skip_while(|line| *line != heading).skip(1);
    let lines = below.take_while(|line| !line.starts_with('#')).filter(|line| line.starts_with("| `"));
    let cells = lines.map(|line| line.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect());
    cells.map(|row: Vec<String>| (row[0].trim_matches('`').to_owned(), row)).collect()
}

/// Returns the keys of a section of `holdfast.toml`, as the message about an unknown key lists them.
fn keys(section: &str) -> BTreeSet<String> {
    let error = ConfigFile::parse(&format!("{section}\nno-such-key = 1")).expect_err("the key is unknown");
    let (_, known) = error.split_once("expected").expect("the message lists the known keys");
    known.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn assert_same<'a>(page: &str, documented: impl IntoIterator<Item = &'a String>, defined: &BTreeSet<String>) {
    let documented: BTreeSet<String> = documented.into_iter().cloned().collect();
    let missing: Vec<_> = defined.difference(&documented).collect();
    let gone: Vec<_> = documented.difference(defined).collect();
    assert!(
        missing.is_empty() && gone.is_empty(),
        "docs/reference/{page} lacks {missing:?} and has {gone:?}, which are gone"
    );
}

#[test]
fn what_a_page_lacks_and_what_is_gone_are_found() {
    let page = "## `[a]`\n\n| key | unit |\n|---|---|\n| `x` | bytes |\n| `y` | none |\n\n## Else\n| `z` | |";
    let rows = rows(page, "## `[a]`");
    assert_eq!(rows["x"], ["`x`", "bytes"]);
    let defined = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect::<BTreeSet<String>>();
    assert_same("page", rows.keys(), &defined(&["x", "y"]));
    for other in [&["x"][..], &["x", "y", "z"]] {
        assert!(std::panic::catch_unwind(|| assert_same("page", rows.keys(), &defined(other))).is_err(), "{other:?}");
    }
}

#[test]
fn every_key_of_the_configuration_is_documented() {
    let page = page("configuration.md");
    let tables = [("## `[methods]`", "[methods]"), ("## `[build]`", "[build]"), ("## `[server]`", "[server]")];
    for (heading, section) in [("## Project", "")].into_iter().chain(tables) {
        // Those of `[calls]` are names of the class's own.
        let sections = ["calls", "methods", "build", "server", "limits"];
        let keys: BTreeSet<String> = keys(section).into_iter().filter(|key| !sections.contains(&&**key)).collect();
        assert!(!keys.is_empty(), "{section}: {keys:?}");
        assert_same("configuration.md", rows(&page, heading).keys(), &keys);
    }
}

#[test]
fn every_limit_is_documented_with_its_default() {
    let defaults = toml::Table::try_from(Limits::default()).expect("limits have a TOML form");
    let rows = rows(&page("configuration.md"), "## `[limits]`");
    assert_same("configuration.md", rows.keys(), &defaults.keys().cloned().collect());
    for (key, default) in defaults {
        let number = default.as_float().map_or_else(|| default.to_string(), |number| number.to_string());
        let documented = rows[&key][2].split(' ').next().unwrap_or_default().replace(',', "");
        assert_eq!(documented, number, "docs/reference/configuration.md: the default of {key}");
    }
}

#[test]
fn every_metric_is_documented_with_its_type_and_labels() {
    let metrics = Metrics::default();
    let of_purpose = |purpose: MemoryUse| crate::base::metrics::Purpose { purpose: purpose.name() };
    // A family without a member is not encoded.
    _ = metrics.failed_turns.get_or_create(&crate::base::metrics::Code { code: "internal" });
    _ = metrics.calls_not_run.get_or_create(&crate::base::metrics::Code { code: "call-cycle" });
    MemoryUse::ALL.into_iter().for_each(|purpose| _ = metrics.memory.get_or_create(&of_purpose(purpose)));
    let text = metrics.encode();

    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let types = types.map(|(name, kind)| {
        let suffix = if kind == "counter" { "_total" } else { "" };
        (format!("{name}{suffix}"), kind.to_owned())
    });
    let types: BTreeMap<String, String> = types.collect();
    let page = page("metrics.md");
    let rows: BTreeMap<_, _> = page
        .lines()
        .filter(|line| line.starts_with("## "))
        .flat_map(|heading| rows(&page, heading))
        .filter(|(name, _)| name.starts_with("holdfast_"))
        .collect();
    assert_same("metrics.md", rows.keys(), &types.keys().cloned().collect());
    for (name, kind) in &types {
        assert_eq!(&rows[name][1], kind, "docs/reference/metrics.md: the type of {name}");
        let labels = text.lines().find_map(|line| line.strip_prefix(&format!("{name}{{"))?.split_once('='));
        let label = labels.map_or("none".to_owned(), |(label, _)| format!("`{label}`"));
        assert_eq!(rows[name][2], label, "docs/reference/metrics.md: the labels of {name}");
    }
    for purpose in MemoryUse::ALL {
        let name = format!("`{}`", purpose.name());
        assert!(page.contains(&name), "docs/reference/metrics.md does not say what the purpose {name} is");
    }
}

#[test]
fn the_command_line_is_documented_as_it_is() {
    let rendered = render(&crate::cli::command());
    if std::env::var_os(WRITE).is_some() {
        fs::write(file("cli.md"), &rendered).expect("the page can be written");
    }
    assert!(
        page("cli.md") == rendered,
        "docs/reference/cli.md is out of date; write it again with\n  {WRITE}=1 cargo test --release -p holdfast-runtime --lib \
         reference"
    );
}

const HEAD: &str = "\
# Command line

This page is generated from the program's own definitions. A test fails when it is out of date. `holdfast COMMAND --help` says the same.

Standard output carries what was asked for and nothing else. Progress, hints and the log of the server go to standard error. With
`--json`, a command prints one JSON document a line. The exit code is 0 when the command succeeded, 1 when it failed (one line `error: …`
on standard error says what to do next), and 2 when it was used wrongly.

## How to name an object

Each command that is about one object takes it in either of two forms:

| form | how the name is read | example |
|---|---|---|
| `CLASS/NAME`, `CLASS/@ID` | as in a URL: `%XX` is a special character, `/` ends the name | `holdfast objects show notes/a%2Fb` |
| `CLASS NAME`, `CLASS @ID` | as `holdfast objects list` prints it: each character stands for itself | `holdfast objects show notes a/b` |

`@` and 64 lowercase hex digits are an id. Any other text is a name. `holdfast invoke` takes a path below the object as well:
`counter/alice/add?n=2`, or `counter alice /add?n=2`.

";

fn render(command: &Command) -> String {
    let mut command = command.clone();
    command.build();
    let mut text = HEAD.to_owned();
    render_one(&command, None, &mut text);
    format!("{}\n", text.trim_end())
}

fn render_one(command: &Command, parent: Option<&Command>, text: &mut String) {
    let name = command.get_bin_name().unwrap_or(command.get_name());
    let about = command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default();
    let about = with_stop(&about);
    let usage = command.clone().render_usage().to_string();
    let usage = usage.strip_prefix("Usage: ").unwrap_or(&usage);
    _ = write!(text, "## `{name}`\n\n{about}\n\n```text\n{usage}\n```\n\n");
    let inherited = |arg: &&Arg| {
        parent.is_some_and(|parent| parent.get_arguments().any(|of_parent| of_parent.get_id() == arg.get_id()))
    };
    let builtin = |arg: &&Arg| ["help", "version"].contains(&arg.get_id().as_str());
    let own: Vec<&Arg> = command
        .get_arguments()
        .filter(|arg| !(arg.is_hide_set() || builtin(arg) || arg.is_global_set() && inherited(arg)))
        .collect();
    if !own.is_empty() {
        *text += "| argument | meaning | default | environment |\n|---|---|---|---|\n";
        own.into_iter().for_each(|arg| *text += &row(arg));
        text.push('\n');
    }
    let commands: Vec<&Command> = command.get_subcommands().filter(|command| command.get_name() != "help").collect();
    if command.get_arguments().any(Arg::is_global_set) && !commands.is_empty() {
        *text += "Its commands take these arguments, too.\n\n";
    }
    if let Some(after) = command.get_after_help() {
        _ = write!(text, "```text\n{}\n```\n\n", after.to_string().trim_end());
    }
    commands.into_iter().for_each(|inner| render_one(inner, Some(command), text));
}

fn row(arg: &Arg) -> String {
    let takes_value = !matches!(arg.get_action(), ArgAction::SetTrue | ArgAction::Count | ArgAction::SetFalse);
    let values: Vec<&str> = arg.get_value_names().unwrap_or_default().iter().map(|name| name.as_str()).collect();
    let long = arg.get_long().map(|long| format!("--{long}"));
    let short = arg.get_short().map(|short| format!("`-{short}`, ")).unwrap_or_default();
    let words: Vec<String> = long.into_iter().chain(takes_value.then(|| values.join(" "))).collect();
    let name = format!("{short}`{}`", words.join(" "));
    let help = arg.get_help().or(arg.get_long_help()).map(ToString::to_string).unwrap_or_default();
    let possible: Vec<String> =
        arg.get_possible_values().iter().map(|value| format!("`{}`", value.get_name())).collect();
    let possible = match takes_value && !possible.is_empty() {
        true => format!(" One of {}.", possible.join(", ")),
        false => String::new(),
    };
    // A default that only the command knows is at the end of its help.
    let (help, default) = match help.split_once(" [default: ") {
        Some((help, default)) => match default.split_once(']') {
            Some((default, rest)) => (format!("{help}{rest}"), default.to_owned()),
            None => (help.to_owned(), default.to_owned()),
        },
        None => {
            let defaults = arg.get_default_values().iter().map(|value| value.to_string_lossy());
            let default: Vec<_> = defaults.map(|value| format!("`{value}`")).collect();
            let shown = takes_value && !default.is_empty();
            (
                help,
                if shown {
                    default.join(" ")
                } else if arg.is_required_set() {
                    "required".into()
                } else {
                    String::new()
                },
            )
        }
    };
    let environment = arg.get_env().map(|name| format!("`{}`", name.to_string_lossy())).unwrap_or_default();
    let cells =
        [name, format!("{}{possible}", with_stop(&help)), default, environment].map(|cell| cell.replace('|', "\\|"));
    format!("| {} |\n", cells.join(" | ")).replace("|  |", "| |").replace("|  |", "| |")
}

/// Adds the full stop, which clap removes from some sentences.
fn with_stop(text: &str) -> String {
    let stop = if text.is_empty() || text.ends_with('.') { "" } else { "." };
    format!("{text}{stop}")
}
