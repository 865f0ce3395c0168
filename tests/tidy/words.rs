//! Retired words stay out of the sources and the documentation. Each of them had a private meaning where the field has
//! a term, or described a program part like a person. `docs/ARCHITECTURE.md` has the terms that are in use.
//!
//! Owns the table of retired words and of their replacements. Does not judge style beyond it.

use std::fs;

use crate::sources::{Source, assert_none, files, root};

/// Files and directories that are held to the table.
const PLACES: [&str; 6] = ["runtime/src/", "tests/", "bench/src/", "docs/", "README.md", "CONTRIBUTING.md"];
/// Exceptions: decisions are history and keep the words of their time; this file names the words that it forbids.
const EXEMPT: [&str; 2] = ["docs/decisions/", "tests/tidy/words.rs"];
/// What the names of text files end in.
const ENDINGS: [&str; 12] = [".rs", ".md", ".toml", ".wit", ".mjs", ".js", ".ts", ".py", ".go", ".zig", ".c", ".h"];

/// Phrases that no text and no identifier contains: in any case, in the singular or the plural, and also as
/// `snake_case` or `CamelCase`. After each, what to write instead.
const PHRASES: [(&str, &str); 9] = [
    ("release round", "checkpoint"),
    ("class kit", "conformance suite"),
    ("named point", "failpoint"),
    ("goodbye", "close frame"),
    ("for ever", "forever, without end, or until it is restarted"),
    ("looks after", "manages"),
    ("goes away", "disconnects, is dropped or is deleted"),
    ("told of", "reported, or the receiver receives it"),
    ("tells of", "reports"),
];

/// Phrases that are kept out of the runtime's sources alone: tests and manuals may use these words for people.
const RUNTIME_PHRASES: [(&str, &str); 2] =
    [("whoever", "the caller, the client, the task: the noun that is meant"), ("learns", "reads, receives or detects")];

/// Names of types that the runtime's sources no longer have, exactly as written.
const TYPES: [(&str, &str); 8] = [
    ("Said", "`Recorded` or `ReplayEvent`"),
    ("Repairs", "`Recovery`"),
    ("Mistake", "`SeededBug`"),
    ("Point", "`Failpoint`"),
    ("PointError", "`FailpointError`"),
    ("PackedOutcome", "`PackedResult`"),
    ("struct Node", "`HostContext` or `StorageShared`"),
    ("Unreleased", "`DirtyObject`"),
];

/// Uses that stay, as a file and a word. Each with its reason.
const ALLOWED: [(&str, &str); 0] = [];

/// A word of a text: a part of an identifier counts as one.
struct Word<'a> {
    text: &'a str,
    line: usize,
    /// Whether only what joins the parts of a phrase stands before it: space, a line's end with its comment marker,
    /// `-`, `_`, or nothing.
    joined: bool,
}

fn words(text: &str) -> Vec<Word<'_>> {
    let mut words = Vec::new();
    let (mut start, mut line, mut joined) = (None, 1, false);
    let mut before = ' ';
    for (at, c) in text.char_indices() {
        let hump = c.is_uppercase() && before.is_lowercase();
        if let Some(from) = start
            && (hump || !c.is_alphanumeric())
        {
            words.push(Word { text: &text[from..at], line, joined });
            (start, joined) = (None, true);
        }
        if c.is_alphanumeric() {
            start = start.or(Some(at));
        } else {
            joined &= c.is_whitespace() || "_-/!".contains(c);
        }
        line += usize::from(c == '\n');
        before = c;
    }
    if let Some(from) = start {
        words.push(Word { text: &text[from..], line, joined });
    }
    words
}

/// The lines on which a phrase begins.
fn lines_with(phrase: &str, words: &[Word<'_>]) -> Vec<usize> {
    let parts: Vec<&str> = phrase.split(' ').collect();
    let last = parts.len() - 1;
    let is_part = |(at, word): (usize, &Word<'_>)| {
        let singular = word.text.strip_suffix(['s', 'S']).filter(|_| at == last);
        word.text.eq_ignore_ascii_case(parts[at]) || singular.is_some_and(|text| text.eq_ignore_ascii_case(parts[at]))
    };
    let is_phrase =
        |window: &&[Word<'_>]| window.iter().enumerate().all(is_part) && window[1..].iter().all(|word| word.joined);
    words.windows(parts.len()).filter(is_phrase).map(|window| window[0].line).collect()
}

/// The lines with a name, between characters that no identifier has.
fn lines_naming(name: &str, text: &str) -> Vec<usize> {
    let is_of_name = |c: char| c.is_alphanumeric() || c == '_';
    let names = |line: &str| {
        line.match_indices(name)
            .any(|(at, _)| !line[..at].ends_with(is_of_name) && !line[at + name.len()..].starts_with(is_of_name))
    };
    (1..).zip(text.lines()).filter(|(_, line)| names(line)).map(|(number, _)| number).collect()
}

fn violations(source: &Source) -> Vec<String> {
    let Source { path, text } = source;
    let is_of_runtime = path.starts_with("runtime/src/");
    let words = words(text);
    let phrases = PHRASES.iter().chain(RUNTIME_PHRASES.iter().filter(|_| is_of_runtime));
    let phrases = phrases.map(|(old, new)| (lines_with(old, &words), old, new));
    let types = TYPES.iter().filter(|_| is_of_runtime).map(|(old, new)| (lines_naming(old, text), old, new));
    let found = phrases.chain(types).filter(|(_, old, _)| !ALLOWED.contains(&(&**path, old)));
    found
        .flat_map(|(lines, old, new)| {
            lines.into_iter().map(move |line| format!("{path}:{line} has the retired `{old}`; write {new}"))
        })
        .collect()
}

/// The text files that are held to the table.
fn texts() -> Vec<Source> {
    let is_in = |path: &str, places: &[&str]| places.iter().any(|place| path.starts_with(place));
    let is_held = |path: &String| {
        is_in(path, &PLACES) && !is_in(path, &EXEMPT) && ENDINGS.iter().any(|ending| path.ends_with(ending))
    };
    let read = |path: String| Source { text: fs::read_to_string(root().join(&path)).expect("a source is text"), path };
    files().into_iter().filter(is_held).map(read).collect()
}

#[test]
fn retired_words_stay_out() {
    let texts = texts();
    for place in PLACES {
        assert!(texts.iter().any(|text| text.path.starts_with(place)), "no texts in {place}");
    }
    assert_none(texts.iter().flat_map(violations));
}

#[test]
fn retired_words_are_found() {
    let found = |path: &str, text: &str| violations(&Source { path: path.into(), text: text.into() });
    let of_runtime = |text: &str| found("runtime/src/a.rs", text).len();
    for bad in [
        "a release round",
        "Release rounds end",
        "fn release_round()",
        "struct ReleaseRound;",
        "const RELEASE_ROUND: u32",
        "/// One release\n/// round.",
        "send_goodbye()",
        "what it was told of",
        "/// Whoever reads it.",
        "enum Said {",
        "Repairs::new()",
        "pub struct Node {",
    ] {
        assert_eq!(of_runtime(bad), 1, "{bad}");
    }
    for fine in [
        "a release. Round numbers",
        "fn said()",
        "a deploy repairs it",
        "pub struct NodeId",
        "SaidNothing",
        "goodbyte",
        "it was told. Of these",
        "a release, rounds",
    ] {
        assert_eq!(of_runtime(fine), 0, "{fine}");
    }
    assert_eq!(found("docs/A.md", "Whoever calls `Said`").len(), 0, "people may be called so");
    let message = found("docs/A.md", "one\n\na class kit").remove(0);
    assert_eq!(message, "docs/A.md:3 has the retired `class kit`; write conformance suite");
}
