//! Reports to `dev` when a project's sources change. Files that builds and servers write there are ignored.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender};
use std::time::Duration;

use anyhow::Context;
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};

use crate::config::DEFAULT_DATA;

/// Editors and version control write many files at once; a change is complete when nothing was written for this time.
const QUIET: Duration = Duration::from_millis(150);

/// Directories that tools write, also during a build.
const NO_SOURCES: [&str; 5] = ["target", ".git", DEFAULT_DATA, "node_modules", "__pycache__"];

/// The events that `dev` waits for.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// This file was written or removed, perhaps after others. Relative to the project.
    Changed(PathBuf),
    /// The user has requested the stop.
    Stop,
}

/// Returns the next event; all changes until [`QUIET`] has passed are one. None when no event can come any more.
pub fn next(events: &Receiver<Event>) -> Option<Event> {
    let mut last = events.recv().ok()?;
    while last != Event::Stop {
        match events.recv_timeout(QUIET) {
            Ok(event) => last = event,
            Err(_) => break,
        }
    }
    Some(last)
}

/// Watches a project until dropped.
pub struct Watch {
    root: PathBuf,
    watcher: RecommendedWatcher,
    watched: HashSet<PathBuf>,
}

impl Watch {
    /// Sends an [`Event::Changed`] for changes below `root` (absolute, without symbolic links) and not below `data`,
    /// which exists.
    pub fn start(root: &Path, data: &Path, events: Sender<Event>) -> anyhow::Result<Self> {
        let (below, data) =
            (root.to_owned(), data.canonicalize().with_context(|| format!("cannot find {}", data.display()))?);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let Ok(event) = event else { return };
            if matches!(event.kind, EventKind::Access(_)) {
                return;
            }
            let is_source = |path: &PathBuf| !path.starts_with(&data);
            let changed = event.paths.iter().rev().filter(|path| is_source(path)).find_map(|path| source(&below, path));
            if let Some(path) = changed {
                let _ = events.send(Event::Changed(path.into()));
            }
        });
        let watcher =
            watcher.context("cannot watch files on this system; use `holdfast serve` and `holdfast deploy`")?;
        let mut watch = Self { root: root.into(), watcher, watched: HashSet::new() };
        watch.watcher.watch(root, RecursiveMode::NonRecursive).with_context(|| cannot_watch(root))?;
        watch.refresh()?;
        Ok(watch)
    }

    /// Watches directories that were created since. The root's own directories are watched one by one because a watch
    /// on all of `target` would cost thousands of watches.
    pub fn refresh(&mut self) -> anyhow::Result<()> {
        let entries = std::fs::read_dir(&self.root).with_context(|| cannot_watch(&self.root))?;
        for directory in entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()) {
            if source(&self.root, &directory).is_some() && self.watched.insert(directory.clone()) {
                self.watcher.watch(&directory, RecursiveMode::Recursive).with_context(|| cannot_watch(&directory))?;
            }
        }
        // A directory that is created again under the same name needs a new watch.
        self.watched.retain(|directory| directory.is_dir());
        Ok(())
    }
}

fn cannot_watch(path: &Path) -> String {
    format!("cannot watch {} for changes; on Linux, fs.inotify.max_user_watches may be too low", path.display())
}

/// Returns the path relative to the project, if a change there can change the component.
fn source<'a>(root: &Path, path: &'a Path) -> Option<&'a Path> {
    let path = path.strip_prefix(root).ok()?;
    (!path.iter().any(|part| NO_SOURCES.iter().any(|name| part == *name))).then_some(path)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn only_sources_count() {
        let root = Path::new("/p");
        for path in ["/p/src/lib.rs", "/p/Cargo.toml", "/p/assets/target.txt", "/p/.sdk/wit/sql.wit"] {
            assert!(source(root, Path::new(path)).is_some(), "{path}");
        }
        for path in ["/p/target/x", "/p/inner/target/x", "/p/.git/index", "/p/.holdfast/objects/a", "/q/src/lib.rs"] {
            assert!(source(root, Path::new(path)).is_none(), "{path}");
        }
    }

    #[test]
    fn changes_are_one_until_it_is_quiet_and_a_stop_goes_first() {
        let (events, inbox) = mpsc::channel();
        let changed = |name: &str| Event::Changed(name.into());
        events.send(changed("a")).unwrap();
        events.send(changed("b")).unwrap();
        events.send(Event::Stop).unwrap();
        assert_eq!(next(&inbox), Some(Event::Stop));

        events.send(changed("a")).unwrap();
        events.send(changed("b")).unwrap();
        drop(events);
        assert_eq!(next(&inbox), Some(changed("b")));
        assert_eq!(next(&inbox), None);
    }

    #[test]
    fn a_written_file_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("src/deep")).unwrap();
        std::fs::create_dir(root.join("target")).unwrap();
        std::fs::create_dir(root.join("state")).unwrap();
        let (events, inbox) = mpsc::channel();
        let mut watch = Watch::start(&root, &root.join("src/../state"), events).unwrap();

        std::fs::write(root.join("target/noise"), "x").unwrap();
        std::fs::write(root.join("state/noise"), "x").unwrap();
        std::fs::write(root.join("src/deep/lib.rs"), "x").unwrap();
        assert_eq!(next(&inbox), Some(Event::Changed("src/deep/lib.rs".into())));

        std::fs::create_dir(root.join("more")).unwrap();
        assert_eq!(next(&inbox), Some(Event::Changed("more".into())));
        watch.refresh().unwrap();
        std::fs::write(root.join("more/file"), "x").unwrap();
        assert_eq!(next(&inbox), Some(Event::Changed("more/file".into())));
    }
}
