//! workerd: installed with npm as `workerd/package-lock.json` pins it, started with SQLite storage on local disk.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;
use tokio::process::Command;

use super::{Kind, Launcher, Running, directory, output};

/// workerd evicts an object 10 seconds after its last request and has no request for an earlier eviction.
pub const EVICTS_AFTER: Duration = Duration::from_secs(12);

/// Installs the pinned version unless it is there, and returns the path of the binary.
pub async fn install() -> anyhow::Result<PathBuf> {
    let directory = directory("workerd");
    let wanted = version(&directory.join("package-lock.json"), "/packages/node_modules~1workerd/version")?;
    let there = version(&directory.join("node_modules/workerd/package.json"), "/version").ok();
    if there.as_ref() != Some(&wanted) {
        eprintln!("installing workerd {wanted}");
        // Without scripts: the package's own only moves the binary, which is used at its place.
        let arguments = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"];
        output(Command::new("npm").args(arguments).current_dir(&directory)).await?;
    }
    let mut platforms = std::fs::read_dir(directory.join("node_modules/@cloudflare"))?;
    let platform = platforms.next().context("npm installed no workerd for this platform")??;
    Ok(platform.path().join("bin/workerd"))
}

fn version(file: &Path, pointer: &str) -> anyhow::Result<String> {
    let json: Value = serde_json::from_slice(&std::fs::read(file)?)?;
    let version = json.pointer(pointer).and_then(Value::as_str);
    Ok(version.with_context(|| format!("no version in {}", file.display()))?.to_owned())
}

pub async fn start(launcher: &Launcher) -> anyhow::Result<Running> {
    let binary = launcher.workerd.as_ref().context("workerd is not installed")?;
    let data = launcher.data_directory()?;
    let config = directory("workerd").join("config.capnp");
    let mut command: Vec<OsString> = vec![binary.into(), "serve".into(), config.into()];
    let disk = format!("disk={}", data.path().display());
    command
        .extend(["--socket-addr", "http=127.0.0.1:0", "--control-fd=1", "--directory-path", &disk].map(OsString::from));
    let mut process = launcher.spawn(Kind::Workerd, command, data)?;
    let ready = process.ready_line().await?;
    let port =
        ready["port"].as_u64().and_then(|port| port.try_into().ok()).with_context(|| format!("no port in {ready}"))?;
    Ok(Running { kind: Kind::Workerd, address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)), admin: None, process })
}
