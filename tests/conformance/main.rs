//! The conformance suite (`docs/CONFORMANCE.md`): every case is run on a real host against the class of every language,
//! built by `holdfast build`.
//!
//! What must stay true: no case depends on the language. A case that a language cannot pass is in [`SKIPPED`] with its
//! reason, is in the documentation with the same words, and really fails.

#[allow(dead_code, unused_imports, reason = "the harness serves tests/e2e as well")]
#[path = "../harness/harness.rs"]
mod harness;

mod bodies;
mod cases;
mod compat;
mod sdks;
mod subject;

use std::collections::BTreeMap;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};

use harness::guests::build_project;
use harness::{Host, root};
use subject::Subject;

/// The cases that a language cannot pass, with the reason. A part of the suite that a language has nothing of is listed
/// whole, as `late/*`, and is not run.
const SKIPPED: &[(&str, &str, &str)] = &[
    ("javascript", "sql/whole-reals", ONE_NUMBER),
    ("javascript", "late/gone", "`request.signal` says nothing yet of a client that has gone"),
    ("typescript", "sql/whole-reals", ONE_NUMBER),
    (
        "typescript",
        "late/*",
        "the class is built for StarlingMonkey, which keeps its promises to itself; QuickJS has it",
    ),
];

const ONE_NUMBER: &str =
    "JavaScript has one type of numbers: a float without a fraction is bound and read as an integer";

/// Languages whose class does the core of the conformance suite only, see [`cases::is_core`].
const CORE_ONLY: &[&str] = &["wat"];

macro_rules! languages {
    ($($name:ident $thrown_in:literal)*) => {
        /// Each is a directory of `tests/conformance`.
        const LANGUAGES: &[&str] = &[$(stringify!($name)),*];
        $(
            #[test]
            fn $name() {
                passes(stringify!($name), $thrown_in);
            }
        )*
    };
}

languages! {
    rust "src/lib.rs"
    javascript "src/index.js"
    typescript "src/index.ts"
    assemblyscript "assembly/script.ts"
    python "main.py"
    go "script.go"
    c "src/main.c"
    cpp "src/script.cpp"
    zig "script.zig"
    wat "class.wat"
}

/// Builds the class of a language and runs its cases against it.
#[track_caller]
fn passes(language: &'static str, thrown_in: &'static str) {
    let component = class_of(language);
    let host = Host::start();
    let component = std::fs::read(component).expect("it was just built");
    host.deploy("conformance", &component);
    let mut failures = BTreeMap::new();
    let mut surprises = Vec::new();
    let is_skipped =
        |what: &str| SKIPPED.iter().any(|(skipping, skipped, _)| (*skipping, *skipped) == (language, what));
    let has_part = |case: &str| !case.split_once('/').is_some_and(|(part, _)| is_skipped(&format!("{part}/*")));
    let is_for_it = |case: &str| has_part(case) && (!CORE_ONLY.contains(&language) || cases::is_core(case));
    for (case, run) in cases::all().filter(|(case, _)| is_for_it(case)) {
        let subject = Subject { host: &host, case, thrown_in, component: &component };
        let error = catch_unwind(AssertUnwindSafe(|| run(&subject))).err().map(|payload| message(&*payload));
        match (&error, is_skipped(case)) {
            (Some(error), false) => surprises.push(format!("{case}: {error}")),
            (None, true) => surprises.push(format!("{case} passes, and is listed as skipped")),
            _ => {}
        }
        failures.insert(case, error.is_some());
    }
    report(language, failures);
    assert!(surprises.is_empty(), "{language} does not pass the suite:\n{}", surprises.join("\n"));
}

/// Returns the component of a language's class, built once.
fn class_of(language: &'static str) -> PathBuf {
    static CLASSES: Mutex<BTreeMap<&str, Arc<OnceLock<PathBuf>>>> = Mutex::new(BTreeMap::new());
    let class = Arc::clone(CLASSES.lock().expect("nobody panics here").entry(language).or_default());
    let build = || build_project(&root().join("tests/conformance").join(language));
    class.get_or_init(|| build().unwrap_or_else(|output| panic!("{language} is not built:\n{output}"))).clone()
}

fn message(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().cloned();
    text.or_else(|| payload.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default()
}

/// Prints one table of all languages, once the last one has finished.
fn report(language: &'static str, failures: BTreeMap<&'static str, bool>) {
    static REPORTS: Mutex<BTreeMap<&str, BTreeMap<&str, bool>>> = Mutex::new(BTreeMap::new());
    let mut reports = REPORTS.lock().expect("nobody panics here");
    reports.insert(language, failures);
    if reports.len() < LANGUAGES.len() {
        return;
    }
    let cell = |name: &str, text: &str| format!("{text:<0$}", name.len().max(6) + 2);
    let mut table = format!("\n{:<28}{}\n", "case", LANGUAGES.iter().map(|name| cell(name, name)).collect::<String>());
    for (case, _) in cases::all() {
        let passes = |name: &str| reports[name].get(case) == Some(&false);
        let results = LANGUAGES.iter().map(|name| cell(name, if passes(name) { "passes" } else { "–" }));
        table += &format!("{case:<28}{}\n", results.collect::<String>());
    }
    // Not through the print macros: the test runner shows their output for failing tests only.
    let _ = std::io::stderr().write_all(table.as_bytes());
}

/// Returns the rows of the tables in a document whose first cell is code.
fn rows(document: &str) -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(root().join(document)).unwrap_or_else(|error| panic!("{document}: {error}"));
    let cells = |line: &str| line.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect();
    text.lines().filter(|line| line.starts_with("| `")).map(cells).collect()
}

#[test]
fn the_documentation_has_every_case() {
    let documented: Vec<String> = rows("docs/CONFORMANCE.md")
        .into_iter()
        .skip_while(|row| row[0] != "`fetch/echo`")
        .flat_map(|row| row[0].split(", ").map(|case| case.trim_matches('`').to_owned()).collect::<Vec<_>>())
        .collect();
    let cases: Vec<&str> = cases::all().map(|(case, _)| case).collect();
    assert_eq!(documented, cases);
}

#[test]
fn the_documentation_has_every_case_that_is_skipped_and_its_reason() {
    let documented: Vec<_> = rows("docs/languages/README.md").into_iter().filter(|row| row[1].contains('/')).collect();
    let skipped: Vec<_> = SKIPPED
        .iter()
        .map(|(language, case, reason)| vec![format!("`{language}`"), format!("`{case}`"), (*reason).to_owned()])
        .collect();
    assert_eq!(documented, skipped);
}

#[test]
fn every_class_of_the_suite_is_tried() {
    let directories = std::fs::read_dir(root().join("tests/conformance")).expect("it is there").flatten();
    let classes = directories.filter(|entry| entry.path().join("holdfast.toml").is_file());
    let mut classes: Vec<_> = classes.map(|entry| entry.file_name().into_string().expect("names are text")).collect();
    let mut languages = LANGUAGES.to_vec();
    classes.sort();
    languages.sort_unstable();
    assert_eq!(classes, languages);
}
