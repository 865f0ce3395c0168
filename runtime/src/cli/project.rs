//! A project on disk: a directory with a `Cargo.toml` that makes one component, and perhaps a `holdfast.toml`.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::base::ClassName;
use crate::config::{ConfigFile, FILE_NAME};

/// What a build and a deployment need to know of a project.
#[derive(Debug)]
pub struct Project {
    /// Absolute, without symbolic links.
    pub root: PathBuf,
    /// The class it deploys as.
    pub class: ClassName,
    /// The Cargo profile it is built with.
    pub profile: String,
}

impl Project {
    /// Reads the project of a directory.
    pub fn open(directory: &Path) -> anyhow::Result<Self> {
        let shown = directory.display();
        let root = directory.canonicalize().with_context(|| {
            format!("no project at {shown}; make one with `holdfast new NAME --lang rust` or name its directory")
        })?;
        if !root.join("Cargo.toml").is_file() {
            bail!(
                "{shown} has no Cargo.toml; name a project's directory, or make one with `holdfast new NAME --lang rust`"
            );
        }
        let file = ConfigFile::of_directory(&root)?;
        let class = match file.class {
            Some(class) => class,
            None => class_of_directory(&root)?,
        };
        Ok(Self { root, class, profile: file.build.profile })
    }
}

fn class_of_directory(root: &Path) -> anyhow::Result<ClassName> {
    let name = root.file_name().unwrap_or_default().to_string_lossy();
    ClassName::parse(&name).with_context(|| {
        format!(
            "the directory's name cannot be the class's; write `class = \"…\"` into {}",
            root.join(FILE_NAME).display()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(name: &str, holdfast_toml: Option<&str>) -> (tempfile::TempDir, PathBuf) {
        let parent = tempfile::tempdir().unwrap();
        let root = parent.path().join(name);
        std::fs::create_dir(&root).unwrap();
        std::fs::write(root.join("Cargo.toml"), "").unwrap();
        if let Some(text) = holdfast_toml {
            std::fs::write(root.join(FILE_NAME), text).unwrap();
        }
        (parent, root)
    }

    #[test]
    fn the_class_is_the_directory_unless_the_file_names_one() {
        let (_keep, root) = directory("rate-limiter", None);
        let project = Project::open(&root).unwrap();
        assert_eq!((project.class.as_str(), project.profile.as_str()), ("rate-limiter", "release"));

        let (_keep, root) = directory("Some_Thing", Some("class = 'thing'\n[build]\nprofile = 'guest'"));
        let project = Project::open(&root).unwrap();
        assert_eq!((project.class.as_str(), project.profile.as_str()), ("thing", "guest"));
    }

    #[test]
    fn errors_name_the_way_out() {
        let (_keep, root) = directory("Some_Thing", None);
        assert!(format!("{:#}", Project::open(&root).unwrap_err()).contains("class ="));
        std::fs::remove_file(root.join("Cargo.toml")).unwrap();
        assert!(format!("{:#}", Project::open(&root).unwrap_err()).contains("holdfast new"));
        assert!(format!("{:#}", Project::open(&root.join("none")).unwrap_err()).contains("holdfast new"));
    }
}
