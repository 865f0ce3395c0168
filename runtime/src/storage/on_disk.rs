//! Finds every database file below `objects/`, and reads its identity.
//!
//! Changes no byte: files are opened as immutable, so no WAL is read. The caller has recovered the objects from the
//! commit log, or takes the log into account itself; no object is open.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use rusqlite::{Connection, OpenFlags};

use super::identity::Identity;
use super::template::PAGE;
use super::{StorageError, vfs};
use crate::base::{ClassKey, ObjectId};

/// Visits every object that has a file, with its files by incarnation, class by class.
pub(super) fn find(
    objects: &Path,
    mut visit: impl FnMut(&ClassKey, ObjectId, BTreeMap<u32, PathBuf>) -> Result<(), StorageError>,
) -> Result<(), StorageError> {
    let walk = StorageError::io;
    for class in directories(objects).map_err(walk("cannot walk", objects))? {
        let Some(key) = class.file_name().and_then(|name| name.to_str()).map(ClassKey::new) else { continue };
        for part in directories(&class).map_err(walk("cannot walk", &class))? {
            for (id, files) in files(&part).map_err(walk("cannot walk", &part))? {
                visit(&key, id, files)?;
            }
        }
    }
    Ok(())
}

fn directories(of: &Path) -> io::Result<Vec<PathBuf>> {
    let paths = fs::read_dir(of)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    // One with an extension is on its way out.
    Ok(paths.into_iter().filter(|path| path.is_dir() && path.extension().is_none()).collect())
}

/// The database files in a directory: of each object by incarnation.
fn files(dir: &Path) -> io::Result<BTreeMap<ObjectId, BTreeMap<u32, PathBuf>>> {
    let mut found = BTreeMap::<_, BTreeMap<_, _>>::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let parse = || {
            let (id, rest) = path.file_name()?.to_str()?.split_once('-')?;
            Some((ObjectId::from_hex(id).ok()?, rest.strip_suffix(".sqlite")?.parse().ok()?))
        };
        if let Some((id, incarnation)) = parse() {
            found.entry(id).or_default().insert(incarnation, path);
        }
    }
    Ok(found)
}

/// Opens a database file to read it.
pub(super) fn open(path: &Path) -> rusqlite::Result<Connection> {
    let path = percent_encode(path.as_os_str().as_bytes(), NON_ALPHANUMERIC);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags_and_vfs(format!("file:{path}?immutable=1"), flags, vfs::PLAIN)
}

/// Returns the identity of a database, if a turn was ever applied to it, and the bytes of pages in use.
pub(super) fn read(path: &Path) -> rusqlite::Result<Option<(Identity, u64)>> {
    let database = open(path)?;
    let Some(identity) = Identity::read(&database)? else { return Ok(None) };
    let ask = |pragma| database.query_row(pragma, [], |row| row.get::<_, u32>(0));
    let pages = ask("PRAGMA page_count")? - ask("PRAGMA freelist_count")?;
    Ok(Some((identity, u64::from(pages) * PAGE as u64)))
}
