//! Why a component cannot be a class.

use super::contract::Version;

/// Why a component cannot be a class.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The bytes are not WebAssembly, or damaged.
    #[error("not a valid WebAssembly component: {0}")]
    NotAComponent(String),
    /// The bytes are a core module.
    #[error(
        "this is a core WebAssembly module, not a component; build for wasm32-wasip2, or wrap it with `wasm-tools component new`"
    )]
    CoreModule,
    /// The component was built for a version of the contract that this host does not run any more.
    #[error(
        "the class was built for holdfast:object@{0}, this host runs {newest}: rebuild it with the present SDK and deploy \
         it again; its objects keep their data",
        newest = Version::newest()
    )]
    ClassOutdated(Version),
    /// The component was built for a version of the contract that this host does not run yet.
    #[error(
        "the class was built for holdfast:object@{0}, this host runs {newest}: use a newer host, or build the class with \
         the SDK of this one",
        newest = Version::newest()
    )]
    HostOutdated(Version),
    /// The component imports interfaces that are neither standard WASI 0.2 nor granted; carries them.
    #[error("the component imports what this host does not grant: {}", .0.join(", "))]
    ImportsRefused(Vec<String>),
    /// None of the exports is a handler; carries the exports.
    #[error(
        "the component exports no handler (it exports: {}); export holdfast:object/fetch-handler or wasi:http/incoming-handler@0.2",
        if .0.is_empty() { "nothing".to_owned() } else { .0.join(", ") }
    )]
    NoHandler(Vec<String>),
    /// The component exports both kinds of request handler.
    #[error(
        "the component exports both holdfast:object/fetch-handler and wasi:http/incoming-handler; export one of them"
    )]
    TwoHandlers,
    /// Too many components of the class already wait to be compiled.
    #[error("too many components of the class wait to be compiled; try again later")]
    Busy,
    /// One instance takes more than this host has; carries what.
    #[error("one instance of this class needs more than this host allows: {0}")]
    TooCostly(String),
}

/// Returns an error with its causes, in one line.
pub(super) fn chain(error: &wasmtime::Error) -> String {
    error.chain().map(|cause| cause.to_string()).collect::<Vec<_>>().join(": ")
}
