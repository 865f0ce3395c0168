//! An HTTP response, with checks for tests.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::Value as Json;
use ureq::http::HeaderMap;

use super::root;

/// A complete response.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    /// Returns the body of an answer whose status must be 200.
    pub fn text(&self) -> &str {
        assert_eq!(self.status, 200, "{}", self.shown());
        str::from_utf8(&self.body).expect("the body is text")
    }

    /// Returns the body of an answer that must be 200 and JSON.
    pub fn json(&self) -> Json {
        serde_json::from_str(self.text()).unwrap_or_else(|error| panic!("{error}: {}", self.shown()))
    }

    /// Returns the body of an answer that must be 200 and a number.
    pub fn number(&self) -> u64 {
        self.text().parse().unwrap_or_else(|error| panic!("{error}: {}", self.shown()))
    }

    /// Returns a header that must be there once and be text.
    pub fn header(&self, name: &str) -> &str {
        let mut values = self.headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (Some(value), None) => value.to_str().expect("the header is text"),
            (first, _) => panic!("the header {name} is there {} times", if first.is_some() { "several" } else { "no" }),
        }
    }

    /// Expects an error of the host in the form that `docs/ERRORS.md` documents, and returns its members.
    #[track_caller]
    pub fn problem(&self, status: u16, code: &str) -> Json {
        let problem: Json =
            serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no problem: {}", self.shown()));
        assert_eq!((self.status, problem["code"].as_str()), (status, Some(code)), "{}", self.shown());
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(problem["type"], format!("urn:holdfast:error:{code}"));
        assert_eq!(problem["status"], status);
        assert!(problem["title"].as_str().is_some_and(|title| !title.is_empty()), "{problem}");
        // Part of such a request was done.
        let retryable = status == 503 && code != "instance-dropped";
        assert_eq!(problem["retryable"], retryable, "{problem}");
        assert_eq!(self.headers.contains_key("retry-after"), retryable, "{:?}", self.headers);
        let documented = DOCUMENTED.get(code).unwrap_or_else(|| panic!("docs/ERRORS.md has no row for {code}"));
        assert!(documented.contains(&status.to_string()), "docs/ERRORS.md says {documented} of {code}, not {status}");
        problem
    }

    pub fn shown(&self) -> String {
        format!("status {}, body {:.2000}", self.status, String::from_utf8_lossy(&self.body))
    }
}

/// Returns the table of `docs/ERRORS.md`: the statuses of each code.
static DOCUMENTED: LazyLock<BTreeMap<String, String>> = LazyLock::new(|| {
    let document = std::fs::read_to_string(root().join("docs/ERRORS.md")).expect("docs/ERRORS.md is there");
    let rows = document.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    rows.map(|(code, rest)| (code.into(), rest.split(" | ").next().unwrap_or_default().into())).collect()
});
