//! The reference pages name everything that the sources define, and nothing that was removed.
//! `runtime/src/reference.rs` compares what can be read from the program itself. This file compares what can only be
//! read from the source text: the routes of the admin API and environment variables.

use std::collections::BTreeSet;

use crate::sources::{Source, assert_none, ending_in};

/// Variables that other programs define and that are documented as well.
const OF_OTHERS: [&str; 2] = ["NO_COLOR", "WASI_SDK_PATH"];

/// Returns the paths of the arms of a match on segments: `["v1", "classes", class]` is `/v1/classes/{class}`.
fn routes(source: &str) -> BTreeSet<String> {
    let arms = source.lines().filter_map(|line| line.trim_start().strip_prefix('[')?.split_once("] =>"));
    let segment = |segment: &str| match segment.trim().strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
        Some(literal) => format!("/{literal}"),
        None => format!("/{{{}}}", segment.trim()),
    };
    arms.map(|(pattern, _)| pattern.split(',').map(segment).collect()).collect()
}

/// Returns the paths of headings like ``### `GET /v1/classes` ``.
fn documented_routes(page: &str) -> BTreeSet<String> {
    let headings = page.lines().filter_map(|line| line.strip_prefix("### `")?.strip_suffix('`'));
    headings.filter_map(|heading| Some(heading.split_once(' ')?.1.to_owned())).collect()
}

/// Returns the literals that are names of Holdfast's environment variables.
fn variables(source: &str) -> BTreeSet<String> {
    let literals = source.split('"').skip(1).step_by(2);
    let is_name = |text: &&str| text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
    literals
        .filter(|text| text.strip_prefix("HOLDFAST_").is_some_and(|rest| !rest.is_empty()))
        .filter(is_name)
        .map(Into::into)
        .collect()
}

/// Returns the first cells of the table below a heading, without their backquotes.
fn first_cells(page: &str, heading: &str) -> BTreeSet<String> {
    let lines = page.lines().skip_while(|line| *line != heading).skip(1).take_while(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.strip_prefix("| `")?.split_once('`')).map(|(cell, _)| cell.to_owned()).collect()
}

fn differences(page: &str, documented: &BTreeSet<String>, defined: &BTreeSet<String>) -> Vec<String> {
    let missing = defined.difference(documented).map(|name| format!("{page} does not document {name}"));
    let gone = documented.difference(defined).map(|name| format!("{page} documents {name}, which is gone"));
    missing.chain(gone).collect()
}

fn text_of(path: &str) -> String {
    let Source { text, .. } = ending_in(path).into_iter().find(|source| source.path == path).expect("it is there");
    text
}

#[test]
fn every_admin_route_is_documented() {
    let defined = routes(&text_of("runtime/src/gateway/admin.rs"));
    assert!(defined.contains("/v1/classes/{class}/objects/{object}"), "the routes are found: {defined:?}");
    let page = "docs/reference/admin-api.md";
    assert_none(differences(page, &documented_routes(&text_of(page)), &defined));
}

#[test]
fn every_environment_variable_is_documented() {
    let is_ours = |source: &Source| {
        source.path.starts_with("runtime/src/")
            && !source.path.contains("/tests/")
            && source.path != "runtime/src/reference.rs"
    };
    let sources = ending_in(".rs");
    let mut defined: BTreeSet<String> =
        sources.iter().filter(|source| is_ours(source)).flat_map(|source| variables(&source.text)).collect();
    assert!(defined.contains("HOLDFAST_DATA"), "the variables are found: {defined:?}");
    defined.extend(OF_OTHERS.map(str::to_owned));
    let page = "docs/reference/configuration.md";
    assert_none(differences(page, &first_cells(&text_of(page), "## Environment variables"), &defined));
}

#[test]
fn what_is_missing_or_gone_is_found() {
    let source = "match segments[..] {\n    [\"v1\", \"a\"] => one(),\n    [\"v1\", \"a\", b] => {\n        two()\n    }\n    _ => no(),";
    let page =
        "### `GET /v1/a`\n### `PUT /v1/a`\n### `GET /v1/c`\n## `x`\n| `HOLDFAST_A` | `y` |\n## z\n| `HOLDFAST_B` |";
    let found = differences("page", &documented_routes(page), &routes(source));
    assert_eq!(found, ["page does not document /v1/a/{b}", "page documents /v1/c, which is gone"]);
    assert_eq!(first_cells(page, "## `x`"), BTreeSet::from(["HOLDFAST_A".to_owned()]));
    let source = "env = \"HOLDFAST_A\", \"HOLDFAST_\", \"HOLDFAST_A or HOLDFAST_B\"";
    assert_eq!(variables(source), BTreeSet::from(["HOLDFAST_A".to_owned()]));
}
