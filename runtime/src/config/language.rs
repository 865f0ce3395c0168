//! The languages of projects. `cli::build` builds each.

use std::fmt;
use std::path::Path;

use serde::Deserialize;

/// A language with an SDK, a template and a build procedure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names say it")]
pub enum Language {
    Rust,
    #[value(name = "javascript", alias = "js")]
    JavaScript,
    #[value(name = "typescript", alias = "ts")]
    TypeScript,
    #[value(name = "assemblyscript", alias = "as")]
    AssemblyScript,
    #[value(alias = "py")]
    Python,
    Go,
    C,
    #[value(alias = "c++")]
    Cpp,
    Zig,
    /// Any other language: a module that the project's own tools create, or a hand-written text module.
    #[value(alias = "wat")]
    Module,
}

impl Language {
    /// Detects the language of a directory without a setting, by the manifest that the language's own tools require.
    pub fn detect(root: &Path) -> Option<Self> {
        let has = |name: &str| root.join(name).is_file();
        match () {
            () if has("Cargo.toml") => Some(Self::Rust),
            () if has("asconfig.json") => Some(Self::AssemblyScript),
            () if has("tsconfig.json") => Some(Self::TypeScript),
            () if has("package.json") => Some(Self::JavaScript),
            () if has("pyproject.toml") || has("requirements.txt") => Some(Self::Python),
            () if has("go.mod") => Some(Self::Go),
            () if has("src/main.c") => Some(Self::C),
            () if has("src/main.cpp") => Some(Self::Cpp),
            () if has("src/main.zig") => Some(Self::Zig),
            () => None,
        }
    }

    /// Returns its name on the command line, in `holdfast.toml`, and in names of directories.
    pub fn word(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::JavaScript => "javascript",
            Self::TypeScript => "typescript",
            Self::AssemblyScript => "assemblyscript",
            Self::Python => "python",
            Self::Go => "go",
            Self::C => "c",
            Self::Cpp => "cpp",
            Self::Zig => "zig",
            Self::Module => "module",
        }
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn the_word_is_the_same_everywhere() {
        for language in Language::value_variants() {
            let value = language.to_possible_value().expect("none is hidden");
            assert_eq!(value.get_name(), language.word());
            let table: toml::Table = format!("language = '{language}'").parse().unwrap();
            assert_eq!(table["language"].clone().try_into::<Language>().unwrap(), *language);
        }
    }

    #[test]
    fn a_project_shows_its_language() {
        for (files, language) in [
            (&["Cargo.toml", "package.json"][..], Some(Language::Rust)),
            (&["package.json"], Some(Language::JavaScript)),
            (&["package.json", "tsconfig.json"], Some(Language::TypeScript)),
            (&["package.json", "asconfig.json"], Some(Language::AssemblyScript)),
            (&["pyproject.toml"], Some(Language::Python)),
            (&["requirements.txt"], Some(Language::Python)),
            (&["go.mod"], Some(Language::Go)),
            (&["src/main.c"], Some(Language::C)),
            (&["README.md"], None),
        ] {
            let root = tempfile::tempdir().unwrap();
            std::fs::create_dir(root.path().join("src")).unwrap();
            files.iter().for_each(|file| std::fs::write(root.path().join(file), "").unwrap());
            assert_eq!(Language::detect(root.path()), language, "{files:?}");
        }
    }
}
