//! `holdfast deploy`: makes a project or a component the current version of a class.

use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::Value;

use super::api::{Api, Connection};
use super::project::Project;
use super::{build, class_info, path};
use crate::base::{Calls, ClassName, Create, PublicMethods};

/// Build a project and deploy it, or deploy a component.
///
/// Objects use the new version from their next turn on; they keep their data.
#[derive(clap::Args)]
pub struct Args {
    /// A project's directory, or a component's file.
    #[arg(default_value = ".", value_name = "PROJECT|COMPONENT.WASM")]
    source: PathBuf,
    /// The class to deploy as [default: the project's class, or the file's name].
    #[arg(long)]
    class: Option<ClassName>,
    /// Who creates objects: `any` turn that leaves something stored; `stored`, the same but not a request that is
    /// answered with an error and whose handler stored nothing; `internal`, only other objects and the admin API
    /// [default: `create` of the project's holdfast.toml, else the class's current setting, else stored].
    #[arg(long, value_name = "any|stored|internal")]
    create: Option<Create>,
    /// Whether handlers may defer their answers, so that other events come before they have ended [default:
    /// `interleave` of the project's holdfast.toml, else the class's current setting, else true].
    #[arg(long, value_name = "true|false")]
    interleave: Option<bool>,
    /// Seconds after its last event for which resumes may hold an instance, at most the host's [default: `late-seconds`
    /// of the project's holdfast.toml, else the class's current setting, else the host's].
    #[arg(long, value_name = "SECONDS")]
    late_seconds: Option<u32>,
    /// The classes that it may call, by the names that its code has for them; an empty text: none [default: `[calls]`
    /// of the project's holdfast.toml, else the class's current setting, else none].
    #[arg(long, value_name = "NAME=CLASS,…")]
    calls: Option<Calls>,
    /// The methods that anyone may call; an empty text: none [default: `public` under `[methods]` of the project's
    /// holdfast.toml, else the class's current setting, else none].
    #[arg(long, value_name = "METHOD,…")]
    public: Option<PublicMethods>,
    /// A description of this version, for `holdfast classes versions`; at most 1,024 bytes.
    #[arg(long)]
    message: Option<String>,
    #[command(flatten)]
    connection: Connection,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let is_project = args.source.is_dir();
    // Before the build: a missing token should be reported at once.
    let api = Api::new(&args.connection, is_project.then_some(&args.source))?;
    let mut settings = (args.create, args.interleave, args.late_seconds);
    let mut of_calls = (args.calls, args.public);
    let (class, file) = if is_project {
        let Project { create, interleave, late_seconds, calls, public, .. } = Project::open(&args.source)?;
        settings = (settings.0.or(create), settings.1.or(interleave), settings.2.or(late_seconds));
        of_calls = (of_calls.0.or(calls), of_calls.1.or(public));
        let built = build::build(&args.source)?;
        (args.class.unwrap_or(built.class), built.component)
    } else {
        (args.class.map_or_else(|| class_of_file(&args.source), Ok)?, args.source)
    };
    let component = std::fs::read(&file)
        .with_context(|| format!("cannot read {}; name a project's directory or a component's file", file.display()))?;

    let (create, interleave, late_seconds) = settings;
    let (interleave, late_seconds) =
        (interleave.map(|on| on.to_string()), late_seconds.map(|seconds| seconds.to_string()));
    let calls = of_calls.0.map(|calls| calls.to_string());
    let public = of_calls.1.map(|public| public.to_string());
    let query = path::query(&[
        ("create", create.map(Create::word)),
        ("interleave", interleave.as_deref()),
        ("late-seconds", late_seconds.as_deref()),
        ("calls", calls.as_deref()),
        ("public", public.as_deref()),
        ("message", args.message.as_deref()),
    ]);
    let value: Value = api.put(&format!("/v1/classes/{class}{query}"), &component)?;
    class_info::print(value, args.json)
}

fn class_of_file(file: &Path) -> anyhow::Result<ClassName> {
    let name = file.file_stem().unwrap_or_default().to_string_lossy();
    ClassName::parse(&name).context("the file's name cannot be the class's; pass --class")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_deploys_under_its_file_name() {
        assert_eq!(class_of_file(Path::new("t/rate-limiter.wasm")).unwrap().as_str(), "rate-limiter");
        assert!(format!("{:#}", class_of_file(Path::new("rate_limiter.wasm")).unwrap_err()).contains("--class"));
    }
}
