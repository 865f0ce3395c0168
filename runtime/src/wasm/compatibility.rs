//! Which components this host runs: the versions of the contract (`wit/`), and what a class of each may import and export.
//!
//! The only place that judges names of interfaces. It reads names and nothing else, so a class can be judged by its record,
//! without its component. What must stay true: a version in [`CONTRACTS`] is published and never changes; a class of a version
//! that is not there is told which side is behind, and its objects keep what they store.

use super::class::LoadError;

/// What every interface of the contract begins with.
const PACKAGE: &str = "holdfast:object/";

/// The interfaces of one version of the contract.
struct Contract {
    version: Version,
    imports: &'static [&'static str],
    exports: &'static [&'static str],
}

/// Every version that this host runs, oldest first. 0.1.0 is not among them: its errors and its handlers had other names.
const CONTRACTS: &[Contract] = &[Contract {
    version: Version(0, 2, 0),
    imports: &[
        "alarms",
        "http-types",
        "identity",
        "key-value",
        "logging",
        "packed-sql",
        "sql",
        "storage",
        "types",
        "websockets",
    ],
    exports: &["alarm-handler", "fetch-handler", "init-handler", "websocket-handler"],
}];

/// Packages of standard WASI 0.2 that are always linked, without power (`wasm/host/wasi.rs`).
const STANDARD: &[&str] =
    &["wasi:cli/", "wasi:clocks/", "wasi:filesystem/", "wasi:http/", "wasi:io/", "wasi:random/", "wasi:sockets/"];

/// A version of the contract: major, minor, patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(u64, u64, u64);

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

impl Version {
    fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split('.').map(|number| number.parse().ok());
        let version = Self(numbers.next()??, numbers.next()??, numbers.next()??);
        // Not what only reads as the same numbers, such as +0 and 00.
        (version.to_string() == text).then_some(version)
    }

    /// The newest version that this host runs.
    pub fn newest() -> Self {
        CONTRACTS.last().expect("there is one").version
    }
}

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

/// The oldest and the newest version of the contract that a component names; none if it uses none, as a class that only
/// imports and exports standard interfaces.
pub fn built_for(imports: &[String], exports: &[String]) -> Option<(Version, Version)> {
    let versions = imports.iter().chain(exports).filter_map(|name| Version::parse(interface(name)?.1));
    versions.fold(None, |range, version| match range {
        None => Some((version, version)),
        Some((first, last)) => Some((first.min(version), last.max(version))),
    })
}

/// Whether a component exports an interface of any version that this host runs.
pub fn exports(exports: &[String], wanted: &str) -> bool {
    exports.iter().filter_map(|name| interface(name)).any(|(name, _)| name == wanted)
}

/// An interface of the contract as its name and its version.
fn interface(name: &str) -> Option<(&str, &str)> {
    name.strip_prefix(PACKAGE)?.split_once('@')
}

/// Standard WASI 0.2 of any patch version, or an interface of a contract.
fn is_granted(import: &str) -> bool {
    let standard = STANDARD.iter().any(|package| import.starts_with(package))
        && import.split_once('@').is_some_and(|(_, version)| version.starts_with("0.2."));
    standard || interface(import).is_some_and(|(name, version)| is_of(version, |contract| contract.imports, name))
}

fn exported(name: &str, version: &str) -> bool {
    is_of(version, |contract| contract.exports, name)
}

fn is_of(version: &str, names: impl Fn(&Contract) -> &'static [&'static str], name: &str) -> bool {
    let contract = CONTRACTS.iter().find(|contract| Some(contract.version) == Version::parse(version));
    contract.is_some_and(|contract| names(contract).contains(&name))
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
            (&["holdfast:object/later@0.2.0"], &[FETCH], "refused holdfast:object/later@0.2.0"),
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

    /// The table is what `wit/` publishes.
    #[test]
    fn the_newest_version_is_the_contract() {
        let mut resolve = wit_parser::Resolve::default();
        let (package, _) = resolve.push_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../wit")).unwrap();
        let package = &resolve.packages[package];
        let newest = CONTRACTS.last().unwrap();
        assert_eq!(package.name.version.as_ref().unwrap().to_string(), newest.version.to_string());
        let mut known: Vec<_> = newest.imports.iter().chain(newest.exports).copied().collect();
        let mut published: Vec<_> = package.interfaces.keys().map(String::as_str).collect();
        known.sort_unstable();
        published.sort_unstable();
        assert_eq!(known, published);
        assert!(newest.exports.iter().all(|name| name.ends_with("-handler")));
    }
}
