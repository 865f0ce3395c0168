//! A project on disk: a directory whose sources build one component, with its language's manifest and optionally a
//! `holdfast.toml`.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::sdk;
use crate::base::{Calls, ClassName, Create, PublicMethods};
use crate::config::{BuildSection, ConfigFile, DEFAULT_DATA, FILE_NAME, Language};

/// The properties of a project that a build and a deploy need.
#[derive(Debug)]
pub struct Project {
    /// Absolute, without symbolic links.
    pub root: PathBuf,
    /// The class of the project.
    pub class: ClassName,
    /// Who may create its objects; none keeps the class's setting.
    pub create: Option<Create>,
    /// Whether its handlers may defer their answers; none keeps the class's setting.
    pub interleave: Option<bool>,
    /// Seconds for which resumes may hold an instance; none keeps the class's setting.
    pub late_seconds: Option<u32>,
    /// The classes that it may call; none keeps the class's setting.
    pub calls: Option<Calls>,
    /// The methods that are public; none keeps the class's setting.
    pub public: Option<PublicMethods>,
    /// The language of the sources.
    pub language: Language,
    /// The settings of the build.
    pub build: BuildSection,
}

impl Project {
    /// Reads the project of a directory.
    pub fn open(directory: &Path) -> anyhow::Result<Self> {
        let shown = directory.display();
        let root = directory.canonicalize().with_context(|| {
            format!("no project at {shown}; create one with `holdfast new NAME --lang LANGUAGE` or name its directory")
        })?;
        let file = ConfigFile::of_directory(&root)?;
        let Some(language) = file.build.language.or_else(|| Language::detect(&root)) else {
            bail!(
                "{shown} shows no language: it has no Cargo.toml, package.json, asconfig.json, pyproject.toml, \
                 requirements.txt, go.mod, or src/main.c, .cpp or .zig; \
                 name a project's directory, write `language` under [build] in its {FILE_NAME}, or make one with \
                 `holdfast new NAME --lang LANGUAGE`"
            );
        };
        let class = match file.class {
            Some(class) => class,
            None => class_of_directory(&root)?,
        };
        let ConfigFile { create, interleave, late_seconds, calls, methods, build, .. } = file;
        let public = methods.map(|methods| methods.public);
        Ok(Self { root, class, create, interleave, late_seconds, calls, public, language, build })
    }

    /// Returns the SDK's directory, for languages whose manifest does not name it.
    pub fn sdk(&self) -> anyhow::Result<&Path> {
        let (language, manifest) = (self.language, sdk::manifest(self.language));
        let advice = format!(
            "name the directory of the SDK for {language} as `sdk` under [build] in {FILE_NAME}; \
             `holdfast new NAME --lang {language}` creates one"
        );
        let sdk = self.build.sdk.as_deref().with_context(|| advice.clone())?;
        if !sdk.join(manifest).is_file() {
            bail!("there is no {manifest} in {}; {advice}", sdk.display());
        }
        Ok(sdk)
    }

    /// Writes the component that a build has created, and returns its file.
    pub fn write_component(&self, component: &[u8]) -> anyhow::Result<PathBuf> {
        let file = self.component()?;
        std::fs::write(&file, component).with_context(|| format!("cannot write {}", file.display()))?;
        Ok(file)
    }

    /// Returns the path of the component's file.
    pub fn component(&self) -> anyhow::Result<PathBuf> {
        Ok(self.work()?.join(format!("{}.wasm", self.class)))
    }

    /// Locks the project for a build: other builds of it wait.
    pub fn lock(&self) -> anyhow::Result<File> {
        let file = self.work()?.join("lock");
        let lock = || File::create(&file).and_then(|lock| lock.lock().map(|()| lock));
        lock().with_context(|| format!("cannot lock {}", file.display()))
    }

    /// Returns the directory for intermediate files of builds; created if missing. Its content can be deleted at any
    /// time.
    pub fn work(&self) -> anyhow::Result<PathBuf> {
        let directory = self.root.join(DEFAULT_DATA).join("build");
        std::fs::create_dir_all(&directory).with_context(|| format!("cannot create {}", directory.display()))?;
        Ok(directory)
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
        assert_eq!((project.class.as_str(), project.build.profile.as_str()), ("rate-limiter", "release"));
        assert_eq!(project.language, Language::Rust);

        let (_keep, root) =
            directory("Some_Thing", Some("class = 'thing'\n[build]\nlanguage = 'c'\nprofile = 'guest'"));
        let project = Project::open(&root).unwrap();
        assert_eq!((project.class.as_str(), project.build.profile.as_str()), ("thing", "guest"));
        assert_eq!(project.language, Language::C, "what the file says goes before what the directory shows");
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
