//! Holdfast: its guests are built with Cargo and deployed over the admin API, as a user would do it.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, ensure};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use super::{Kind, Launcher, Running, address, output};
use crate::http::{Connection, request};
use crate::load::Objects;

/// The classes, each a package in `bench/guests`.
const CLASSES: [&str; 6] = ["hello", "number", "table", "value", "alarm", "socket"];

/// The components of the classes.
pub struct Guests(HashMap<&'static str, Vec<u8>>);

impl Guests {
    /// Builds them.
    pub async fn build() -> anyhow::Result<Self> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let arguments =
            ["build", "--profile", "guest", "--target", "wasm32-wasip2", "--message-format=json-render-diagnostics"];
        let packages = CLASSES.iter().flat_map(|class| ["-p".to_owned(), format!("bench-{class}")]);
        let mut command = Command::new(cargo);
        command.args(arguments).args(packages).current_dir(env!("CARGO_MANIFEST_DIR"));
        let messages = output(&mut command).await?;
        let files: Vec<PathBuf> = messages
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter_map(|message| message["filenames"].as_array().cloned())
            .flatten()
            .filter_map(|file| file.as_str().map(PathBuf::from))
            .collect();
        let mut guests = HashMap::new();
        for class in CLASSES {
            let name = file_name(class);
            let file = files.iter().find(|file| file.file_name() == Some(OsStr::new(&name)));
            let file = file.with_context(|| format!("cargo built no {name}"))?;
            guests.insert(class, std::fs::read(file)?);
        }
        Ok(Self(guests))
    }

    /// Reads components that were built elsewhere: `bench_{class}.wasm` of each class.
    pub fn read(directory: &Path) -> anyhow::Result<Self> {
        let read = |class: &'static str| -> anyhow::Result<_> {
            let file = directory.join(file_name(class));
            let component = std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
            Ok((class, component))
        };
        Ok(Self(CLASSES.into_iter().map(read).collect::<anyhow::Result<_>>()?))
    }
}

/// Returns Cargo's name of the component of a class.
fn file_name(class: &str) -> String {
    format!("bench_{class}.wasm")
}

/// The admin listener.
pub struct Admin {
    address: SocketAddr,
    authorization: String,
}

impl Admin {
    pub async fn deploy(&self, guests: &Guests) -> anyhow::Result<()> {
        for (class, component) in &guests.0 {
            self.deploy_one(class, component).await?;
        }
        Ok(())
    }

    pub async fn deploy_one(&self, class: &str, component: &[u8]) -> anyhow::Result<()> {
        let headers = [("authorization", self.authorization.as_str()), ("content-type", "application/wasm")];
        let deploy = request("PUT", &format!("/v1/classes/{class}"), &headers, component);
        let mut connection = Connection::open(self.address).await?;
        connection.exchange(&deploy).await?.ok().with_context(|| format!("cannot deploy {class}"))?;
        Ok(())
    }

    /// Returns one number of `/metrics`.
    pub async fn metric(&self, name: &str) -> anyhow::Result<u64> {
        let mut connection = Connection::open(self.address).await?;
        let asked = request("GET", "/metrics", &[("authorization", &self.authorization)], b"");
        let text = String::from_utf8(connection.exchange(&asked).await?.ok()?.to_vec())?;
        let found = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
        found.with_context(|| format!("no metric {name}"))
    }

    /// Drops the instances of these objects of `number`, all of which must be live.
    pub async fn evict(&self, objects: &Objects) -> anyhow::Result<()> {
        let mut connection = Connection::open(self.address).await?;
        for index in 0..objects.len() {
            let name = objects.name(index);
            let path = format!("/v1/classes/number/objects/{name}/evict");
            let evict = request("POST", &path, &[("authorization", &self.authorization)], b"");
            let answer: Value = serde_json::from_slice(connection.exchange(&evict).await?.ok()?)?;
            ensure!(answer["evicted"] == true, "{name} was not live: {answer}");
        }
        Ok(())
    }
}

/// Starts Holdfast on new or existing data.
pub async fn start(
    launcher: &Launcher,
    kind: Kind,
    binary: &Path,
    parent: Arc<TempDir>,
    settings: &str,
) -> anyhow::Result<Running> {
    let (data, config) = (parent.path().join("data"), parent.path().join("settings.toml"));
    std::fs::write(&config, settings)?;
    let mut command: Vec<OsString> = vec![binary.into(), "serve".into(), "--json".into()];
    command.extend(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"].map(OsString::from));
    command.extend(["--data".into(), data.clone().into(), "--config".into(), config.into()]);
    let mut process = launcher.spawn(kind, command, parent)?;
    let ready = process.ready_line().await?;
    let token = std::fs::read_to_string(data.join("admin.token"))?;
    let admin = Admin { address: address(&ready, "admin")?, authorization: format!("Bearer {}", token.trim()) };
    Ok(Running { kind, address: address(&ready, "data")?, admin: Some(admin), process })
}
