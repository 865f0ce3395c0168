//! A class as the admin API describes it, and the result of a deploy: what `holdfast deploy` and `holdfast classes`
//! read and print.

use std::io::{self, Write};

use serde::Deserialize;
use serde_json::Value;

use super::show;

/// A class as the admin API describes it.
#[derive(Deserialize)]
pub struct ClassInfo {
    pub name: String,
    pub version: u64,
    pub digest: String,
    pub size: u64,
    pub exports: Vec<String>,
    pub imports: Vec<String>,
    pub created: u64,
    pub deployed: u64,
    pub create: String,
    #[serde(default)]
    pub message: Option<String>,
    pub built_for: Option<String>,
    pub outdated: bool,
}

impl ClassInfo {
    /// Returns the version of the contract that the class was built for, marked if this host does not run it any more.
    pub fn contract(&self) -> String {
        let version = self.built_for.as_deref().and_then(|built_for| Some(built_for.split_once('@')?.1));
        let outdated = if self.outdated { " (outdated)" } else { "" };
        format!("{}{outdated}", version.unwrap_or("-"))
    }
}

/// Prints the result of a deploy or a rollback.
pub fn print(value: Value, json: bool) -> anyhow::Result<()> {
    let out = &mut io::stdout().lock();
    if json {
        return Ok(writeln!(out, "{value}")?);
    }
    let changed = value["changed"] == true;
    let info = ClassInfo::deserialize(value)?;
    let (what, size) = (if changed { "deployed" } else { "unchanged" }, show::bytes(info.size));
    Ok(writeln!(out, "{what}  {} version {}, {size}, {:.12}", info.name, info.version, info.digest)?)
}
