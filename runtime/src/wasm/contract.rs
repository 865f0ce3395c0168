//! The versions of the contract (`wit/`) that this host runs, and the interfaces of each.
//!
//! What must stay true: a version in [`CONTRACTS`] is published and never changes.

/// The prefix of every interface of the contract.
const PACKAGE: &str = "holdfast:object/";

/// The interfaces of one version of the contract.
pub(super) struct Contract {
    pub(super) version: Version,
    pub(super) imports: &'static [&'static str],
    pub(super) exports: &'static [&'static str],
}

/// Every version that this host runs, oldest first. 0.1.0 is not among them: its errors and its handlers had other
/// names.
pub(super) const CONTRACTS: &[Contract] = &[Contract {
    version: Version(0, 2, 0),
    imports: &[
        "alarms",
        "http-types",
        "identity",
        "key-value",
        "later",
        "logging",
        "objects",
        "packed-sql",
        "sql",
        "storage",
        "turn",
        "types",
        "websockets",
    ],
    exports: &["alarm-handler", "call-handler", "fetch-handler", "init-handler", "later-handler", "websocket-handler"],
}];

/// A version of the contract: major, minor, patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(u64, u64, u64);

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

impl Version {
    /// Parses a version that is written as this host writes it.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split('.').map(|number| number.parse().ok());
        let version = Self(numbers.next()??, numbers.next()??, numbers.next()??);
        // Refuses texts that only read as the same numbers, such as +0 and 00.
        (version.to_string() == text).then_some(version)
    }

    /// Returns the newest version that this host runs.
    pub fn newest() -> Self {
        CONTRACTS.last().expect("there is one").version
    }
}

/// Splits the name of an interface of the contract into its name and its version; none if it is of another package.
pub(super) fn interface(name: &str) -> Option<(&str, &str)> {
    name.strip_prefix(PACKAGE)?.split_once('@')
}

/// Returns whether a version that this host runs has the name among these.
pub(super) fn is_of(version: &str, names: impl Fn(&Contract) -> &'static [&'static str], name: &str) -> bool {
    let contract = CONTRACTS.iter().find(|contract| Some(contract.version) == Version::parse(version));
    contract.is_some_and(|contract| names(contract).contains(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

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
