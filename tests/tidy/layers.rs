//! The layers of the runtime: imports point one way, so that a layer can be read without knowledge of those above it.
//!
//! A layer is `runtime/src/<layer>.rs` and everything in `runtime/src/<layer>/`, except for files named `tests.rs`,
//! which may reach up for something to test against. `cli`, `server`, `config`, `main`, `lib`, `fuzz` and `reference`
//! sit on top and may import anything. Some crates belong to one layer only.

use crate::sources::{Source, assert_none, rust};

/// From the top to the bottom: each may import itself and those after it.
const LAYERS: [&str; 7] = ["gateway", "router", "object", "wasm", "sockets", "storage", "base"];
/// What sits on top of all layers.
const TOP: [&str; 7] = ["cli", "server", "config", "main", "lib", "fuzz", "reference"];
/// Crates with their only home among the layers.
const HOMES: [(&str, &str); 8] = [
    ("axum", "gateway"),
    ("tokio_tungstenite", "gateway"),
    ("wasmtime", "wasm"),
    ("wasmtime_wasi", "wasm"),
    ("wasmtime_wasi_http", "wasm"),
    ("rusqlite", "storage"),
    ("clap", "cli"),
    ("prometheus_client", "base"),
];

/// Returns the module path of a runtime source: `gateway/admin.rs` is `gateway::admin`.
fn module(path: &str) -> Option<Vec<&str>> {
    Some(path.strip_prefix("runtime/src/")?.strip_suffix(".rs")?.split('/').collect())
}

fn violations(source: &Source) -> Vec<String> {
    let Some(module) = module(&source.path) else { return Vec::new() };
    let layer = module[0];
    if module.last() == Some(&"tests") {
        return Vec::new();
    }
    let Some(height) = LAYERS.iter().position(|name| *name == layer) else {
        return if TOP.contains(&layer) { Vec::new() } else { vec![format!("{} is in no layer", source.path)] };
    };
    let code = without_comments_and_text(&source.text);
    let mut violations = Vec::new();
    for imported in imports(&code, module.len()) {
        if !LAYERS[height..].contains(&imported.as_str()) {
            violations.push(format!("{} imports crate::{imported}; {layer} is below it", source.path));
        }
    }
    for (name, home) in HOMES {
        if layer != home && code.contains(&format!("{name}::")) && is_path_root(&code, name) {
            violations.push(format!("{} uses {name}, which belongs to {home}", source.path));
        }
    }
    violations
}

/// Returns whether the name begins a path somewhere: `axum::` but neither `self::axum::` nor `my_axum::`.
fn is_path_root(code: &str, name: &str) -> bool {
    code.match_indices(&format!("{name}::")).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':')
    })
}

/// Returns the top-level modules that this code names, through `crate::` or through enough `super::` to reach the root.
fn imports(code: &str, depth: usize) -> Vec<String> {
    let compact: String = code.split_whitespace().collect::<Vec<_>>().join(" ");
    let to_root = "super::".repeat(depth);
    let after = |start: &str| -> Vec<String> {
        let inside_a_word = |at: usize| compact[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
        let starts = compact.match_indices(start).filter(|(at, _)| !inside_a_word(*at));
        starts.flat_map(|(at, _)| heads(&compact[at + start.len()..])).collect()
    };
    // In a module inside a file as many `super::` do not reach the root; siblings have other names than layers.
    let by_super = after(&to_root).into_iter().filter(|name| LAYERS.contains(&&**name) || TOP.contains(&&**name));
    after("crate::").into_iter().chain(by_super).collect()
}

/// Returns the first names of a path, or of each path of a group: of `{a::{b, c}, d as e}` they are `a` and `d`.
fn heads(path: &str) -> Vec<String> {
    let name =
        |text: &str| -> String { text.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect() };
    let Some(group) = path.strip_prefix('{') else { return vec![name(path)] };
    let (mut heads, mut level, mut start) = (Vec::new(), 0, 0);
    for (at, character) in group.char_indices() {
        match character {
            '{' => level += 1,
            ',' | '}' if level == 0 => {
                heads.push(name(&group[start..at]));
                start = at + 1;
                if character == '}' {
                    break;
                }
            }
            '}' => level -= 1,
            _ => {}
        }
    }
    heads.retain(|head| !head.is_empty());
    heads
}

/// Returns the code only: comments and string literals are not imports. Raw strings are taken for plain ones, which is
/// good enough for formatted sources.
fn without_comments_and_text(source: &str) -> String {
    let mut code = String::new();
    for line in source.lines() {
        let mut rest = line;
        let mut in_text = false;
        while let Some(at) = rest.find(['"', '/', '\\', '\'']) {
            let (before, special) = rest.split_at(at);
            if !in_text {
                code.push_str(before);
            }
            let mut taken = 1;
            match &special[..1] {
                "\\" => taken = special.chars().take(2).map(char::len_utf8).sum(),
                // A quote in a character literal opens no string.
                "'" if special.starts_with("'\"'") => taken = 3,
                "\"" => in_text = !in_text,
                "/" if !in_text && special.starts_with("//") => {
                    rest = "";
                    break;
                }
                _ => {}
            }
            rest = &special[taken..];
        }
        if !in_text {
            code.push_str(rest);
        }
        code.push('\n');
    }
    code
}

#[test]
fn imports_point_one_way() {
    assert_none(rust().iter().flat_map(violations));
}

#[test]
fn every_layer_is_there() {
    let sources = rust();
    for layer in LAYERS {
        let path = format!("runtime/src/{layer}.rs");
        assert!(sources.iter().any(|source| source.path == path), "{path} says what the layer is");
    }
}

#[test]
fn imports_that_point_up_are_found() {
    let check = |path: &str, text: &str| violations(&Source { path: format!("runtime/src/{path}"), text: text.into() });
    for (path, text) in [
        ("storage/database.rs", "use crate::wasm::Engine;"),
        ("storage.rs", "use crate::{base::Env, object::{self, Class}};"),
        ("storage.rs", "use crate::{\n    base::Env,\n    gateway,\n};"),
        ("storage/database.rs", "use super::super::wasm::Engine;"),
        ("base/id.rs", "fn f() -> crate::storage::Lsn { todo }"),
        ("base/id.rs", "let quote = '\"'; crate::storage::f(); let other = '\"';"),
        ("object/actor.rs", "use crate::server::Server;"),
        ("storage/sql.rs", "use wasmtime::Engine;"),
        ("router.rs", "fn f(_: axum::Router) {}"),
        ("gateway.rs", "use rusqlite::Connection;"),
        ("newcomer/thing.rs", ""),
    ] {
        assert_eq!(check(path, text).len(), 1, "{path}: {text}: {:?}", check(path, text));
    }
    for (path, text) in [
        ("gateway/data.rs", "use crate::base::{Env, Limits};\nuse crate::router::Router;"),
        ("storage/tests.rs", "use crate::server::Server;"),
        ("gateway/body.rs", "mod tests { use super::super::problem::Problem; }"),
        ("gateway/admin/classes.rs", "use super::super::path;\npub(in crate::gateway) fn f() {}"),
        ("wasm/class.rs", "// not crate::object::Class\nuse crate::{base::Digest, storage::Turn}; /* ok */"),
        ("wasm/class.rs", "const TEXT: &str = \"crate::object::Class\";"),
        ("storage/sql.rs", "use self::wasmtime::x; my_axum::f(); $crate::base::f!();"),
        ("server.rs", "use crate::gateway::data_router; use axum::serve;"),
        ("cli/dev.rs", "use crate::server::Server;"),
    ] {
        assert_eq!(check(path, text), Vec::<String>::new(), "{path}: {text}");
    }
}
