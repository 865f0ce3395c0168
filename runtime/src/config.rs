//! `holdfast.toml`: one file for a project and for a server; every key is optional.
//!
//! ```toml
//! class = "counter"            # the class this project deploys as; default: the directory's name
//! create = "stored"            # who creates its objects: "any", "stored", "internal"; default: the class's setting, or "stored"
//!
//! [calls]                      # the classes that it may call, by their names in its code; without it: none
//! stock = "stock"
//!
//! [methods]
//! public = ["order"]           # methods that anyone may call; without it: none
//!
//! [build]
//! language = "rust"            # default: what the project's own manifest shows
//! profile = "release"          # Rust: the Cargo profile
//! sdk = ".sdk/guest-sdk/c"     # Python and C: where the SDK is, relative to this file
//! module = "class.wat"         # "module": a core module as text or binary, or a component, relative to this file
//! command = ["make"]           # "module": what makes it
//!
//! [server]
//! data = "data"                # relative to this file; default: .holdfast
//! listen = "127.0.0.1:8787"
//! admin-listen = "127.0.0.1:8788"
//! error-details = false        # whether callers on the data listener are told why a guest failed
//! hosts = ["api.example.com"]  # names that requests may be for; "*.example.com": all below; "*": any
//! origins = ["https://example.com"]  # web pages that may call; "*": any
//! trusted-proxies = ["10.0.0.0/8"]   # not held to `connections-per-address`
//!
//! [limits]                     # every number of `base::limits::Limits`
//! ```
//!
//! An unknown key is an error: a misspelt limit must not silently have no effect. Flags override the file; that happens
//! in `cli`, which defines the flags.

mod language;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::base::{Calls, ClassName, Create, Limits, Methods};
use crate::gateway::{HostSettings, Network};

pub use language::Language;

/// The file's name, in a project and in the directory in which a server starts.
pub const FILE_NAME: &str = "holdfast.toml";
/// The default data directory of a server, relative to the project or the working directory.
pub const DEFAULT_DATA: &str = ".holdfast";
/// The default address of the data listener.
pub const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8787);
/// The default address of the admin listener.
pub const DEFAULT_ADMIN_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8788);

/// The settings of a server.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerConfig {
    /// The data directory; created if missing.
    pub data: PathBuf,
    /// The address of the data listener. Port 0 selects a free port.
    pub listen: SocketAddr,
    /// The address of the admin listener. Port 0 selects a free port.
    pub admin_listen: SocketAddr,
    /// The limits that the server enforces.
    pub limits: Limits,
    /// Whether the data listener's responses contain the details of a guest's failure. The log always does.
    pub error_details: bool,
    /// The hosts that requests may name, and the origins that may send them.
    pub hosts: HostSettings,
    /// Clients that `Limits::connections_per_address` does not apply to.
    pub trusted_proxies: Vec<Network>,
}

/// A parsed `holdfast.toml`.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConfigFile {
    /// The class that the project deploys as.
    pub class: Option<ClassName>,
    /// Who may create its objects.
    pub create: Option<Create>,
    /// Whether its handlers may defer their answers.
    pub interleave: Option<bool>,
    /// Seconds for which resumes may hold an instance.
    #[serde(rename = "late-seconds")]
    pub late_seconds: Option<u32>,
    /// `[calls]`: the classes that it may call, by the names that its code has for them.
    pub calls: Option<Calls>,
    /// `[methods]`
    pub methods: Option<Methods>,
    /// `[build]`
    pub build: BuildSection,
    /// `[server]`
    pub server: ServerSection,
    /// `[limits]`
    pub limits: Limits,
}

/// `[build]`
#[derive(Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BuildSection {
    /// The language of the project; none if the project's manifest shows it.
    pub language: Option<Language>,
    /// The Cargo profile for a guest in Rust.
    pub profile: String,
    /// The SDK's directory, for languages whose manifest does not name it. Relative to the file as written, resolved
    /// once read.
    pub sdk: Option<PathBuf>,
    /// The program, with its arguments, that creates `module`, run in the project's directory; none if it is empty.
    pub command: Vec<String>,
    /// The module's file, for `language = "module"`. Relative to the file as written, resolved once read.
    pub module: Option<PathBuf>,
}

impl Default for BuildSection {
    fn default() -> Self {
        Self { language: None, profile: "release".into(), sdk: None, command: Vec::new(), module: None }
    }
}

/// `[server]`
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ServerSection {
    /// The data directory. Relative to the file as written, resolved once read.
    pub data: Option<PathBuf>,
    /// The address of the data listener.
    pub listen: Option<SocketAddr>,
    /// The address of the admin listener.
    pub admin_listen: Option<SocketAddr>,
    /// Whether the data listener's responses contain the details of a guest's failure.
    pub error_details: Option<bool>,
    /// The hosts that requests may name. By default those of this machine if the listener is on loopback, else any.
    pub hosts: Option<Vec<String>>,
    /// The origins that requests may come from. By default those of the hosts.
    pub origins: Option<Vec<String>>,
    /// Addresses and networks of proxies.
    pub trusted_proxies: Vec<String>,
}

/// The reason why a `holdfast.toml` could not be used.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum ConfigError {
    #[error("cannot read {}: {cause}", path.display())]
    Read { path: PathBuf, cause: io::Error },
    /// Not TOML, an unknown key (the message lists the known ones), or a value of the wrong type.
    #[error("{}: {message}", path.display())]
    Parse { path: PathBuf, message: String },
}

impl ConfigFile {
    /// Reads and validates a file.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|cause| ConfigError::Read { path: path.into(), cause })?;
        let mut file = Self::parse(&text).map_err(|message| ConfigError::Parse { path: path.into(), message })?;
        for relative in [&mut file.server.data, &mut file.build.sdk, &mut file.build.module].into_iter().flatten() {
            *relative = path.parent().unwrap_or(Path::new("")).join(&*relative);
        }
        Ok(file)
    }

    /// Reads the `holdfast.toml` of a directory; without a file, returns the defaults.
    pub fn of_directory(directory: &Path) -> Result<Self, ConfigError> {
        match Self::read(&directory.join(FILE_NAME)) {
            Err(ConfigError::Read { cause, .. }) if cause.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            result => result,
        }
    }

    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let file: Self = toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())?;
        let limits = &file.limits;
        let seconds = [
            ("cpu", limits.cpu_seconds_per_turn),
            ("wall", limits.wall_seconds_per_turn),
            ("idle", limits.idle_seconds),
            ("late", limits.late_seconds),
            ("drain", limits.drain_seconds),
            ("shutdown", limits.shutdown_seconds),
            ("header", limits.header_seconds),
            ("idle connection", limits.idle_connection_seconds),
            ("body", limits.body_seconds),
            ("response", limits.response_seconds),
        ];
        for (what, value) in seconds {
            // Later conversions to `Duration` have no way to report an error.
            Duration::try_from_secs_f64(value)
                .map_err(|error| format!("[limits] the {what} time of {value} seconds is out of range: {error}"))?;
        }
        file.server.hosts()?;
        file.server.trusted_proxies()?;
        Ok(file)
    }

    /// Returns the server's settings, with defaults for omitted ones.
    pub fn server(self, default_data: &Path) -> ServerConfig {
        let Self { server, limits, .. } = self;
        let hosts = server.hosts().expect("checked when the file was read");
        let trusted_proxies = server.trusted_proxies().expect("checked when the file was read");
        ServerConfig {
            data: server.data.unwrap_or_else(|| default_data.into()),
            listen: server.listen.unwrap_or(DEFAULT_LISTEN),
            admin_listen: server.admin_listen.unwrap_or(DEFAULT_ADMIN_LISTEN),
            limits,
            error_details: server.error_details.unwrap_or(false),
            hosts,
            trusted_proxies,
        }
    }
}

impl ServerSection {
    fn hosts(&self) -> Result<HostSettings, String> {
        HostSettings::parse(self.hosts.clone(), self.origins.clone()).map_err(|why| format!("[server] {why}"))
    }

    fn trusted_proxies(&self) -> Result<Vec<Network>, String> {
        let networks = self.trusted_proxies.iter().map(|text| {
            text.parse().map_err(|_| {
                format!("[server] trusted-proxies: `{text}` is neither an address nor a network like 10.0.0.0/8")
            })
        });
        networks.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_gives_the_defaults() {
        let config = ConfigFile::parse("").unwrap().server(Path::new("here"));
        let expected = ServerConfig {
            data: "here".into(),
            listen: DEFAULT_LISTEN,
            admin_listen: DEFAULT_ADMIN_LISTEN,
            limits: Limits::default(),
            error_details: false,
            hosts: HostSettings::default(),
            trusted_proxies: Vec::new(),
        };
        assert_eq!(config, expected);
    }

    #[test]
    fn every_section_is_read() {
        let file = ConfigFile::parse(
            "class = 'notes'\ncreate = 'internal'\n[build]\nlanguage = 'go'\nprofile = 'guest'\n[limits]\ncomponent = 7\n\
             [server]\ndata = 'd'\nlisten = '0.0.0.0:1'\nadmin-listen = '[::1]:2'\nerror-details = true",
        )
        .unwrap();
        assert_eq!((file.class.as_ref().unwrap().as_str(), file.create), ("notes", Some(Create::Internal)));
        assert_eq!((file.build.language, &*file.build.profile), (Some(Language::Go), "guest"));
        let config = file.server(Path::new("unused"));
        assert_eq!(config.data, Path::new("d"));
        assert_eq!(config.listen, "0.0.0.0:1".parse().unwrap());
        assert_eq!(config.admin_listen, "[::1]:2".parse().unwrap());
        assert_eq!(config.limits, Limits { component: 7, ..Limits::default() });
        assert!(config.error_details);
    }

    #[test]
    fn an_unknown_key_is_an_error_that_names_the_file_the_key_and_the_known_keys() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE_NAME);
        for (text, key, known) in [
            ("clas = 'a'", "`clas`", "`class`"),
            ("[server]\nlissten = '127.0.0.1:1'", "`lissten`", "`admin-listen`"),
            ("[limits]\ncomponents = 1", "`components`", "`component`"),
            ("[build]\nprofil = 'x'", "`profil`", "`profile`"),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = ConfigFile::read(&path).unwrap_err().to_string();
            for part in [path.to_str().unwrap(), key, known] {
                assert!(error.contains(part), "{part} is not in: {error}");
            }
        }
    }

    #[test]
    fn a_bad_value_is_an_error() {
        for text in [
            "class = 'Counter'",
            "create = 'nobody'",
            "[server]\nlisten = 'localhost'",
            "[build]\nlanguage = 'cobol'",
            "[limits]\ncomponent = -1",
            "[server]\nhosts = ['http://example.com']",
            "[server]\norigins = ['example.com']",
            "[server]\ntrusted-proxies = ['10.0.0.0/33']",
        ] {
            assert!(ConfigFile::parse(text).is_err(), "{text}");
        }
        // One of the keys in seconds, whatever its name in the file.
        let negative = toml::to_string(&Limits { idle_seconds: -1.0, ..Limits::default() }).unwrap();
        assert!(ConfigFile::parse(&format!("[limits]\n{negative}")).unwrap_err().contains("idle"));
    }

    #[test]
    fn directories_are_relative_to_the_file() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(FILE_NAME), "[build]\nsdk = 'sdk'\n[server]\ndata = 'state'").unwrap();
        let file = ConfigFile::of_directory(directory.path()).unwrap();
        assert_eq!(file.build.sdk, Some(directory.path().join("sdk")));
        assert_eq!(file.server(Path::new("unused")).data, directory.path().join("state"));
    }

    #[test]
    fn only_the_file_of_a_directory_may_be_missing() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(ConfigFile::of_directory(directory.path()).unwrap(), ConfigFile::default());
        let error = anyhow::Error::from(ConfigFile::read(&directory.path().join(FILE_NAME)).unwrap_err());
        assert_eq!(format!("{error:#}").matches("os error").count(), 1, "{error:#}");
    }
}
