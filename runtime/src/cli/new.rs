//! `holdfast new`: creates a project that builds at once.
//!
//! The SDK is on no registry, so its sources are embedded in this binary and copied into the project, in the places
//! relative to each other that its manifests and its bindings expect.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use include_dir::Dir;

use super::sdk;
use crate::base::ClassName;
use crate::config::Language;

/// The directory of the SDK in a project.
pub(super) const VENDORED: &str = ".sdk";
/// The suffix of template files, so that tools do not take them for the files that they become.
const TEMPLATE: &str = ".template";
/// Cargo cannot distinguish a project with one of these names from the crate itself.
const SDK_CRATES: [&str; 2] = ["holdfast", "holdfast-macros"];

/// Create a project.
///
/// The directory is named like the class. It contains all that is needed: source, settings, and a copy of the SDK in
/// .sdk.
#[derive(clap::Args)]
pub struct Args {
    /// The class, and the directory that is created for it.
    name: ClassName,
    /// The language of the project.
    #[arg(long)]
    lang: Language,
    /// Use the SDK in this directory instead of a copy of the one in this binary.
    #[arg(long, value_name = "DIR")]
    sdk: Option<PathBuf>,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    create(Path::new(args.name.as_str()), &args.name, args.lang, args.sdk.as_deref())?;
    note!("created {0}/\n\n  cd {0}\n  holdfast dev\n", args.name);
    Ok(())
}

pub(super) fn create(root: &Path, name: &ClassName, language: Language, sdk: Option<&Path>) -> anyhow::Result<()> {
    if language == Language::Rust && SDK_CRATES.contains(&name.as_str()) {
        bail!("`{name}` is the name of a crate of the SDK; choose another name");
    }
    let vendored = sdk::sdk(language);
    let sdk_path = match sdk {
        Some(sdk) => absolute_sdk(sdk, language)?,
        // Go takes a path for a module's name unless it begins so.
        None if language == Language::Go => format!("./{VENDORED}/{}", vendored[0].0),
        None => format!("{VENDORED}/{}", vendored[0].0),
    };
    std::fs::create_dir(root).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => {
            anyhow::anyhow!("{} exists; choose another name, or remove it", root.display())
        }
        _ => anyhow::Error::new(error).context(format!("cannot create the directory {}", root.display())),
    })?;
    fill(sdk::template(language), root, name, &sdk_path)?;
    match sdk {
        None => vendor_sdk(language, &root.join(VENDORED)),
        Some(_) => Ok(()),
    }
}

/// Writes the SDK of a language into a directory.
pub(super) fn vendor_sdk(language: Language, to: &Path) -> anyhow::Result<()> {
    sdk::sdk(language).iter().try_for_each(|(place, directory)| vendor(directory, &to.join(place)))
}

/// Writes a template and replaces its placeholders: `{{name}}`, `{{sdk}}` as a quoted string of the file's format, and
/// `{{sdk-path}}` as the text between its quotes.
fn fill(template: &Dir, to: &Path, name: &ClassName, sdk: &str) -> anyhow::Result<()> {
    for file in template.files() {
        let file_name = file.path().file_name().unwrap_or_default().to_string_lossy();
        let file_name = match file_name.strip_suffix(TEMPLATE).unwrap_or(&file_name) {
            hidden @ ("gitignore" | "npmrc") => &format!(".{hidden}"),
            name => name,
        };
        let is_json = file_name.ends_with(".json");
        let quoted = if is_json { serde_json::json!(sdk).to_string() } else { toml_string(sdk) };
        let path = if is_json { quoted.trim_matches('"') } else { sdk };
        let text = file.contents_utf8().expect("templates are text");
        let text = text.replace("{{name}}", name.as_str()).replace("{{sdk}}", &quoted).replace("{{sdk-path}}", path);
        write(&to.join(file_name), text.as_bytes())?;
    }
    for inner in template.dirs() {
        fill(inner, &to.join(inner.path().file_name().unwrap_or_default()), name, sdk)?;
    }
    Ok(())
}

fn absolute_sdk(sdk: &Path, language: Language) -> anyhow::Result<String> {
    let manifest = sdk::manifest(language);
    if !sdk.join(manifest).is_file() {
        bail!("{} has no {manifest}; --sdk names the directory of the SDK for {language}", sdk.display());
    }
    let absolute = sdk.canonicalize().with_context(|| format!("cannot find {}", sdk.display()))?;
    Ok(absolute.to_string_lossy().into_owned())
}

/// Formats a text as a TOML value, quotes included.
fn toml_string(text: &str) -> String {
    toml::Value::String(text.into()).to_string()
}

/// Directories of an SDK's own development, which are not copied.
const OF_THE_SDK_ITSELF: [&str; 5] = ["tests", "test", "target", "node_modules", "__pycache__"];

/// Writes the files of an embedded directory.
fn vendor(directory: &Dir, to: &Path) -> anyhow::Result<()> {
    for file in directory.files() {
        write(&to.join(file.path().file_name().unwrap_or_default()), file.contents())?;
    }
    for inner in directory.dirs() {
        let name = inner.path().file_name().unwrap_or_default();
        if !OF_THE_SDK_ITSELF.iter().any(|own| name == *own) {
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
    use clap::ValueEnum;

    use super::*;

    fn read(root: &Path, file: &str) -> String {
        std::fs::read_to_string(root.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
    }

    #[test]
    fn a_project_has_all_its_files() {
        let parent = tempfile::tempdir().unwrap();
        let root = parent.path().join("chat-room");
        create(&root, &ClassName::parse("chat-room").unwrap(), Language::Rust, None).unwrap();
        let manifest: toml::Table = read(&root, "Cargo.toml").parse().unwrap();
        assert_eq!(manifest["package"]["name"].as_str(), Some("chat-room"));
        assert_eq!(manifest["workspace"]["exclude"][0].as_str(), Some(VENDORED));
        assert_eq!(manifest["lib"]["crate-type"][0].as_str(), Some("cdylib"));
        let sdk = manifest["dependencies"]["holdfast"]["path"].as_str().unwrap();
        assert!(root.join(sdk).join("Cargo.toml").is_file());
        assert!(root.join(VENDORED).join("guest-sdk/macros/src/lib.rs").is_file());
        assert!(root.join(VENDORED).join("wit/worlds.wit").is_file());
    }

    #[test]
    fn a_project_of_each_language_is_one_and_has_its_sdk() {
        for language in Language::value_variants() {
            let parent = tempfile::tempdir().unwrap();
            let root = parent.path().join("chat-room");
            create(&root, &ClassName::parse("chat-room").unwrap(), *language, None).unwrap();
            let files = walk(&root);
            for file in &files {
                if !file.starts_with(root.join(VENDORED)) {
                    assert!(
                        !read(&root, file.to_str().unwrap()).contains("{{"),
                        "{} has a placeholder",
                        file.display()
                    );
                }
            }
            for file in [".gitignore", "README.md", "holdfast.toml"] {
                assert!(root.join(file).is_file(), "{language} has no {file}");
            }
            let project = crate::cli::project::Project::open(&root).unwrap();
            assert_eq!((project.class.as_str(), project.language), ("chat-room", *language));
            let sdk = root.join(VENDORED).join(sdk::sdk(*language)[0].0);
            assert!(sdk.join(sdk::manifest(*language)).is_file(), "{language}");
        }
    }

    fn walk(directory: &Path) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
        entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
    }

    #[test]
    fn a_project_may_use_an_sdk_elsewhere() {
        let parent = tempfile::tempdir().unwrap();
        let sdk = parent.path().join("a \"quoted\" place");
        std::fs::create_dir(&sdk).unwrap();
        let (root, name) = (parent.path().join("counter"), ClassName::parse("counter").unwrap());
        assert!(create(&root, &name, Language::Rust, Some(&sdk)).unwrap_err().to_string().contains("--sdk"));

        std::fs::write(sdk.join("Cargo.toml"), "").unwrap();
        create(&root, &name, Language::Rust, Some(&sdk)).unwrap();
        let manifest: toml::Table = read(&root, "Cargo.toml").parse().unwrap();
        let path = manifest["dependencies"]["holdfast"]["path"].as_str().unwrap();
        assert_eq!(Path::new(path), sdk.canonicalize().unwrap());
        assert!(!root.join(VENDORED).exists());
    }

    #[test]
    fn what_exists_is_left_alone() {
        let parent = tempfile::tempdir().unwrap();
        let error = create(parent.path(), &ClassName::parse("counter").unwrap(), Language::Rust, None).unwrap_err();
        assert!(error.to_string().contains("exists; choose another name"), "{error}");
        let root = parent.path().join("holdfast");
        assert!(create(&root, &ClassName::parse("holdfast").unwrap(), Language::Rust, None).is_err());
        assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0);
    }
}
