//! `GET /metrics`, read strictly: text that a scraper could not parse fails the test.

use std::collections::BTreeMap;

/// Parses every sample by its name and labels, for example `holdfast_failed_turns_total{code="guest-trap"}`.
pub fn parse(text: &str) -> BTreeMap<String, f64> {
    assert!(text.ends_with("# EOF\n"), "an OpenMetrics text ends with # EOF");
    let mut samples = BTreeMap::new();
    for line in text.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let keyword = comment.split(' ').next();
            assert!(matches!(keyword, Some("HELP" | "TYPE" | "UNIT" | "EOF")), "{line}");
            continue;
        }
        let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no sample: {line}"));
        let bare = name.split('{').next().unwrap_or_default();
        assert!(bare.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{line}");
        let value = value.parse().unwrap_or_else(|_| panic!("no number: {line}"));
        assert!(samples.insert(name.to_owned(), value).is_none(), "twice: {line}");
    }
    samples
}
