//! `holdfast update-sdk`: replaces the copy of the SDK in a project with that of this program.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::new::{VENDORED, vendor_sdk};
use super::project::Project;

/// Replace a project's copy of the SDK (.sdk) with the one in this program. Nothing else in the project changes.
///
/// For classes that a newer host refuses as outdated: update the SDK, then build and deploy the project again.
#[derive(clap::Args)]
pub struct Args {
    /// The project's directory.
    #[arg(default_value = ".", value_name = "PROJECT")]
    project: PathBuf,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let project = Project::open(&args.project)?;
    update(&project)?;
    note!("{} has the SDK of holdfast {} in {VENDORED}", project.class, env!("CARGO_PKG_VERSION"));
    Ok(())
}

fn update(project: &Project) -> anyhow::Result<()> {
    let (copy, fresh) = (project.root.join(VENDORED), project.root.join(format!("{VENDORED}.new")));
    if !copy.is_dir() {
        bail!("{} has no copy of the SDK in {VENDORED}; update the SDK that it names", project.root.display());
    }
    // Written beside the old copy, then renamed: files that are no longer in the SDK must not remain in the copy.
    remove(&fresh)?;
    vendor_sdk(project.language, &fresh)?;
    remove(&copy)?;
    std::fs::rename(&fresh, &copy).with_context(|| format!("cannot rename {} to {VENDORED}", fresh.display()))
}

fn remove(directory: &Path) -> anyhow::Result<()> {
    match std::fs::remove_dir_all(directory) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", directory.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ClassName;
    use crate::cli::new::create;
    use crate::config::Language;

    #[test]
    fn the_copy_is_replaced_whole_and_nothing_else() {
        let parent = tempfile::tempdir().unwrap();
        let root = parent.path().join("counter");
        create(&root, &ClassName::parse("counter").unwrap(), Language::Rust, None).unwrap();
        let (stale, source) = (root.join(".sdk/wit/lifecycle.wit"), root.join("src/lib.rs"));
        std::fs::write(&stale, "package holdfast:object@0.1.0;").unwrap();
        std::fs::write(root.join(".sdk/wit/types.wit"), "package holdfast:object@0.1.0;").unwrap();
        std::fs::write(&source, "// mine").unwrap();
        let project = Project::open(&root).unwrap();
        for _ in 0..2 {
            update(&project).unwrap();
            let types = std::fs::read_to_string(root.join(".sdk/wit/types.wit")).unwrap();
            assert!(types.contains("interface types") && !stale.exists() && !root.join(".sdk.new").exists());
            assert!(root.join(".sdk/guest-sdk/rust/Cargo.toml").is_file());
            assert_eq!(std::fs::read_to_string(&source).unwrap(), "// mine");
        }
        std::fs::remove_dir_all(root.join(".sdk")).unwrap();
        assert!(update(&project).unwrap_err().to_string().contains("no copy of the SDK"));
    }
}
