//! The files embedded in this binary because they are on no registry: the contract, the SDKs, and the templates of
//! projects.

use include_dir::{Dir, include_dir};

use crate::config::Language;

/// The contract.
pub static WIT: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../wit");

static TEMPLATES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/templates");

static RUST: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../guest-sdk/rust");
static RUST_MACROS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../guest-sdk/macros");
static JAVASCRIPT: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../guest-sdk/javascript");
static ASSEMBLYSCRIPT: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../guest-sdk/assemblyscript");
static PYTHON: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../guest-sdk/python");
static GO: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../guest-sdk/go");
static C: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../guest-sdk/c");

/// Returns the template of a project in a language.
pub fn template(language: Language) -> &'static Dir<'static> {
    TEMPLATES.get_dir(language.word()).expect("every language has a template")
}

/// Returns the SDK of a language: directories with their places, which its own files rely on. A project depends on the
/// first.
pub fn sdk(language: Language) -> Vec<(&'static str, &'static Dir<'static>)> {
    match language {
        Language::Rust => vec![("guest-sdk/rust", &RUST), ("guest-sdk/macros", &RUST_MACROS), ("wit", &WIT)],
        Language::C | Language::Cpp | Language::Zig => vec![("guest-sdk/c", &C)],
        Language::Module => vec![("wit", &WIT)],
        Language::JavaScript | Language::TypeScript => vec![("guest-sdk/javascript", &JAVASCRIPT), ("wit", &WIT)],
        Language::AssemblyScript => vec![("guest-sdk/assemblyscript", &ASSEMBLYSCRIPT)],
        Language::Python => vec![("guest-sdk/python", &PYTHON), ("wit", &WIT)],
        Language::Go => vec![("guest-sdk/go", &GO)],
    }
}

/// Returns the name of the manifest file in an SDK's directory.
pub fn manifest(language: Language) -> &'static str {
    match language {
        Language::Rust => "Cargo.toml",
        Language::JavaScript | Language::TypeScript | Language::AssemblyScript => "package.json",
        Language::Python => "pyproject.toml",
        Language::Go => "go.mod",
        Language::C | Language::Cpp | Language::Zig => "holdfast.h",
        Language::Module => "worlds.wit",
    }
}
