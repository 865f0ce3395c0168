//! The log; time and randomness.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;

use super::{Case, Subject};
use crate::subject::word;

pub const CASES: &[Case] = &[
    ("logs/levels", levels),
    ("logs/fields", fields),
    ("logs/output", output),
    ("environment/time", time),
    ("environment/random", random),
];

fn levels(subject: &Subject) {
    let object = subject.object("a");
    let script: String = LEVELS.iter().map(|level| format!("log {level} {}\n", word(format!("a € {level}")))).collect();
    object.ask(&script);
    assert_eq!(object.log(), LEVELS.map(|level| format!("{level} a € {level}")));
}

const LEVELS: [&str; 5] = ["trace", "debug", "info", "warn", "error"];

fn fields(subject: &Subject) {
    let object = subject.object("a");
    object.ask("log info moved who ann step 3 empty ");
    let entries = object.log_entries();
    assert_eq!(entries[0]["message"], "moved");
    assert_eq!(entries[0]["fields"], json!([["who", "ann"], ["step", "3"], ["empty", ""]]));
}

fn output(subject: &Subject) {
    let object = subject.object("a");
    object.ask("print one\nprint-error two\nprint three%20%E2%82%AC");
    // Two streams: each keeps its own order.
    let (errors, lines): (Vec<_>, Vec<_>) = object.log().into_iter().partition(|entry| entry.ends_with(" two"));
    assert_eq!(lines, ["info one", "info three €"]);
    assert!(matches!(&*errors.concat(), "warn two" | "error two"), "{errors:?}");
}

#[expect(clippy::disallowed_methods, reason = "the host under test has the system's clock")]
fn time(subject: &Subject) {
    let object = subject.object("a");
    let clock = || SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis();
    let before = clock();
    let answers = object.ask("now\nsql WITH%20RECURSIVE%20n%28i%29%20AS%20%28SELECT%201%20UNION%20ALL%20SELECT%20i%20%2B%201%20FROM%20n%20WHERE%20i%20%3C%20100000%29%20SELECT%20count%28%2A%29%20FROM%20n\nnow");
    let now: u128 = answers[0].parse().expect("a number");
    assert!((before..=clock()).contains(&now), "{now} is not between {before} and {}", clock());
    assert_eq!(answers[0], answers[2], "it stands still");
}

fn random(subject: &Subject) {
    let (a, b) = (subject.object("a"), subject.object("b"));
    let mut seen = Vec::new();
    for object in [&a, &b, &a] {
        let numbers = object.ask_one("random");
        seen.extend(numbers.split(' ').map(str::to_owned));
        // The next instance begins in the same state, except for its random numbers.
        object.drop_instance();
    }
    seen.sort();
    let all = seen.len();
    seen.dedup();
    assert_eq!((seen.len(), all), (6, 6), "{seen:?}");
}
