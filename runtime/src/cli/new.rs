//! `holdfast new`: a project that builds at once.
//!
//! The SDK is on no registry, so its sources travel in this binary and into the project, in the places relative to each
//! other that its manifests and its bindings expect.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::ValueEnum;
use include_dir::{Dir, include_dir};

use crate::base::ClassName;

const RUST_TEMPLATE: [(&str, &str); 5] = [
    ("Cargo.toml", include_str!("../../templates/rust/Cargo.toml.template")),
    ("holdfast.toml", include_str!("../../templates/rust/holdfast.toml.template")),
    ("README.md", include_str!("../../templates/rust/README.md.template")),
    (".gitignore", include_str!("../../templates/rust/gitignore.template")),
    ("src/lib.rs", include_str!("../../templates/rust/src/lib.rs.template")),
];

/// Where the SDK goes in a project.
const VENDORED: &str = ".sdk";
/// The crate that a project depends on, below `VENDORED`.
const RUST_SDK: &str = "guest-sdk/rust";

/// Cargo does not tell a project of one of these names from the crate itself.
const SDK_CRATES: [&str; 2] = ["holdfast", "holdfast-macros"];

static SDK: [(&str, Dir<'_>); 3] = [
    (RUST_SDK, include_dir!("$CARGO_MANIFEST_DIR/../guest-sdk/rust")),
    ("guest-sdk/macros", include_dir!("$CARGO_MANIFEST_DIR/../guest-sdk/macros")),
    ("wit", include_dir!("$CARGO_MANIFEST_DIR/../wit")),
];

/// Make a project.
///
/// The directory is named like the class. It holds all it needs: source, settings, and a copy of the SDK in .sdk.
#[derive(clap::Args)]
pub struct Args {
    /// The class, and the directory that is made for it.
    name: ClassName,
    /// The language it is written in.
    #[arg(long)]
    lang: Language,
    /// Use the SDK in this directory instead of a copy of the one in this binary.
    #[arg(long, value_name = "DIR")]
    sdk: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Language {
    Rust,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let Language::Rust = args.lang;
    create(Path::new(args.name.as_str()), &args.name, args.sdk.as_deref())?;
    eprintln!("made {0}/\n\n  cd {0}\n  holdfast dev\n", args.name);
    Ok(())
}

fn create(root: &Path, name: &ClassName, sdk: Option<&Path>) -> anyhow::Result<()> {
    if SDK_CRATES.contains(&name.as_str()) {
        bail!("`{name}` is the name of a crate of the SDK; choose another name");
    }
    let sdk_path = match sdk {
        Some(sdk) => absolute_sdk(sdk)?,
        None => format!("{VENDORED}/{RUST_SDK}"),
    };
    std::fs::create_dir(root).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => {
            anyhow::anyhow!("{} exists; choose another name, or remove it", root.display())
        }
        _ => anyhow::Error::new(error).context(format!("cannot make the directory {}", root.display())),
    })?;
    for (file, template) in RUST_TEMPLATE {
        let text = template.replace("{{name}}", name.as_str()).replace("{{sdk}}", &toml_string(&sdk_path));
        write(&root.join(file), text.as_bytes())?;
    }
    if sdk.is_none() {
        for (place, directory) in &SDK {
            vendor(directory, &root.join(VENDORED).join(place))?;
        }
    }
    Ok(())
}

fn absolute_sdk(sdk: &Path) -> anyhow::Result<String> {
    if !sdk.join("Cargo.toml").is_file() {
        bail!(
            "{} has no Cargo.toml; --sdk names the directory of the crate `holdfast` (guest-sdk/rust)",
            sdk.display()
        );
    }
    let absolute = sdk.canonicalize().with_context(|| format!("cannot find {}", sdk.display()))?;
    Ok(absolute.to_string_lossy().into_owned())
}

/// As a TOML value, quotes included.
fn toml_string(text: &str) -> String {
    toml::Value::String(text.into()).to_string()
}

/// Writes the files of an embedded directory. Its tests stay behind: they are about the SDK, not about the project.
fn vendor(directory: &Dir, to: &Path) -> anyhow::Result<()> {
    for file in directory.files() {
        write(&to.join(file.path().file_name().unwrap_or_default()), file.contents())?;
    }
    for inner in directory.dirs() {
        let name = inner.path().file_name().unwrap_or_default();
        if name != "tests" && name != "target" {
            vendor(inner, &to.join(name))?;
        }
    }
    Ok(())
}

fn write(file: &Path, contents: &[u8]) -> anyhow::Result<()> {
    let write = || {
        std::fs::create_dir_all(file.parent().unwrap_or(Path::new("")))?;
        std::fs::write(file, contents)
    };
    write().with_context(|| format!("cannot write {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(root: &Path, file: &str) -> String {
        std::fs::read_to_string(root.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
    }

    #[test]
    fn a_project_has_all_its_files() {
        let parent = tempfile::tempdir().unwrap();
        let root = parent.path().join("chat-room");
        create(&root, &ClassName::parse("chat-room").unwrap(), None).unwrap();

        for (file, _) in RUST_TEMPLATE {
            assert!(!read(&root, file).contains("{{"), "{file} has a placeholder left");
        }
        let manifest: toml::Table = read(&root, "Cargo.toml").parse().unwrap();
        assert_eq!(manifest["package"]["name"].as_str(), Some("chat-room"));
        assert_eq!(manifest["workspace"]["exclude"][0].as_str(), Some(VENDORED));
        assert_eq!(manifest["lib"]["crate-type"][0].as_str(), Some("cdylib"));
        let sdk = manifest["dependencies"]["holdfast"]["path"].as_str().unwrap();
        assert!(root.join(sdk).join("Cargo.toml").is_file());
        assert!(root.join(VENDORED).join("guest-sdk/macros/src/lib.rs").is_file());
        assert!(root.join(VENDORED).join("wit/worlds.wit").is_file());

        let project = super::super::project::Project::open(&root).unwrap();
        assert_eq!(project.class.as_str(), "chat-room");
    }

    #[test]
    fn a_project_may_use_an_sdk_elsewhere() {
        let parent = tempfile::tempdir().unwrap();
        let sdk = parent.path().join("a \"quoted\" place");
        std::fs::create_dir(&sdk).unwrap();
        let (root, name) = (parent.path().join("counter"), ClassName::parse("counter").unwrap());
        assert!(create(&root, &name, Some(&sdk)).unwrap_err().to_string().contains("--sdk"));

        std::fs::write(sdk.join("Cargo.toml"), "").unwrap();
        create(&root, &name, Some(&sdk)).unwrap();
        let manifest: toml::Table = read(&root, "Cargo.toml").parse().unwrap();
        let path = manifest["dependencies"]["holdfast"]["path"].as_str().unwrap();
        assert_eq!(Path::new(path), sdk.canonicalize().unwrap());
        assert!(!root.join(VENDORED).exists());
    }

    #[test]
    fn what_exists_is_left_alone() {
        let parent = tempfile::tempdir().unwrap();
        let error = create(parent.path(), &ClassName::parse("counter").unwrap(), None).unwrap_err();
        assert!(error.to_string().contains("exists; choose another name"), "{error}");
        let root = parent.path().join("holdfast");
        assert!(create(&root, &ClassName::parse("holdfast").unwrap(), None).is_err());
        assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0);
    }
}
