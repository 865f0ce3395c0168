//! Judges whether this host runs a component, by the names of what it imports and exports.
//!
//! Only names are read, so a class is judged by its record, without its component. A class of a version that is not in
//! [`CONTRACTS`] is refused with which side is too old, and its objects keep what they store.

use super::contract::{CONTRACTS, Version, interface, is_of};
use super::load_error::LoadError;

/// Packages of standard WASI 0.2 that are always linked, without power (`wasm/host/wasi.rs`).
const STANDARD: &[&str] =
    &["wasi:cli/", "wasi:clocks/", "wasi:filesystem/", "wasi:http/", "wasi:io/", "wasi:random/", "wasi:sockets/"];

/// Checks the names of what a component imports and exports. The linker checks the functions behind them.
pub fn check(imports: &[String], exports: &[String]) -> Result<(), LoadError> {
    let (oldest, newest) = (CONTRACTS[0].version, Version::newest());
    if let Some((first, last)) = built_for(imports, exports) {
        if first < oldest {
            return Err(LoadError::ClassOutdated(first));
        }
        if last > newest {
            return Err(LoadError::HostOutdated(last));
        }
    }
    let refused: Vec<String> = imports.iter().filter(|name| !is_granted(name)).cloned().collect();
    if !refused.is_empty() {
        return Err(LoadError::ImportsRefused(refused));
    }
    let is_unknown = |name: &&String| interface(name).is_some_and(|(name, version)| !exported(name, version));
    match exports.iter().find(is_unknown) {
        Some(unknown) => Err(LoadError::NoHandler(vec![unknown.clone()])),
        None => Ok(()),
    }
}

/// Returns the oldest and the newest version of the contract that a component names, or none if it names none because
/// it only imports and exports standard interfaces.
pub fn built_for(imports: &[String], exports: &[String]) -> Option<(Version, Version)> {
    let versions = imports.iter().chain(exports).filter_map(|name| Version::parse(interface(name)?.1));
    versions.fold(None, |range, version| match range {
        None => Some((version, version)),
        Some((first, last)) => Some((first.min(version), last.max(version))),
    })
}

/// Returns whether a component exports an interface of any version that this host runs.
pub fn exports(exports: &[String], wanted: &str) -> bool {
    exports.iter().filter_map(|name| interface(name)).any(|(name, _)| name == wanted)
}

/// Returns whether an import is standard WASI 0.2 of any patch version, or an interface of a version that this host
/// runs.
fn is_granted(import: &str) -> bool {
    let standard = STANDARD.iter().any(|package| import.starts_with(package))
        && import.split_once('@').is_some_and(|(_, version)| version.starts_with("0.2."));
    standard || interface(import).is_some_and(|(name, version)| is_of(version, |contract| contract.imports, name))
}

fn exported(name: &str, version: &str) -> bool {
    is_of(version, |contract| contract.exports, name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How a component with these imports and exports is judged, as the error's code and what it carries.
    fn judged(imports: &[&str], exports: &[&str]) -> String {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        match check(&owned(imports), &owned(exports)) {
            Ok(()) => "fine".into(),
            Err(LoadError::ClassOutdated(version)) => format!("outdated {version}"),
            Err(LoadError::HostOutdated(version)) => format!("newer {version}"),
            Err(LoadError::ImportsRefused(names)) => format!("refused {}", names.join(" ")),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn names_decide() {
        const FETCH: &str = "holdfast:object/fetch-handler@0.2.0";
        let at = |version: &str| format!("holdfast:object/sql@{version}");
        for (imports, exports, expected) in [
            (&[][..], &[FETCH][..], "fine"),
            (&["wasi:http/types@0.2.9", "wasi:cli/stdout@0.2.0"], &["wasi:http/incoming-handler@0.2.0"], "fine"),
            (&["holdfast:object/sql@0.2.0", "holdfast:object/http-types@0.2.0"], &[FETCH], "fine"),
            (&["holdfast:object/sql@0.1.0"], &[FETCH], "outdated 0.1.0"),
            (&["holdfast:object/sql@0.1.0", "acme:gadgets/wheel@1.0.0"], &[], "outdated 0.1.0"),
            (&[], &["holdfast:object/fetch-handler@0.1.0"], "outdated 0.1.0"),
            (&[], &["holdfast:object/lifecycle@0.0.9"], "outdated 0.0.9"),
            (&["holdfast:object/later@0.3.0"], &[FETCH], "newer 0.3.0"),
            (&[&at("0.2.1")], &[FETCH], "newer 0.2.1"),
            (&[&at("10.0.0")], &[FETCH], "newer 10.0.0"),
            (&["holdfast:object/outgoing@0.2.0"], &[FETCH], "refused holdfast:object/outgoing@0.2.0"),
            (&["holdfast:object/fetch-handler@0.2.0"], &[FETCH], "refused holdfast:object/fetch-handler@0.2.0"),
            (&["holdfast:object/sql"], &[FETCH], "refused holdfast:object/sql"),
            (&[&at("0.2"), &at("0.2.0-rc"), &at("0.2.0.0"), &at("+0.2.0")], &[FETCH], {
                "refused holdfast:object/sql@0.2 holdfast:object/sql@0.2.0-rc holdfast:object/sql@0.2.0.0 \
                 holdfast:object/sql@+0.2.0"
            }),
            (
                &["wasi:http/types@0.3.0", "wasi:nn/graph@0.2.0"],
                &[FETCH],
                "refused wasi:http/types@0.3.0 wasi:nn/graph@0.2.0",
            ),
        ] {
            assert_eq!(judged(imports, exports), expected, "{imports:?} {exports:?}");
        }
        assert!(judged(&[], &["holdfast:object/sql@0.2.0"]).contains("sql@0.2.0"), "it is no handler");
    }
}
