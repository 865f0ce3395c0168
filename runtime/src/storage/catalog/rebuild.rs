//! Finds every object below `objects/`: how lanes that were lost are made again.
//!
//! The one path that touches every object. It reads what databases say of themselves and changes no byte: files are opened
//! as immutable, so no WAL is looked at. Whoever calls it has written back what the log still holds, and no object is open.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::notes::Change;
use crate::base::{ClassKey, ObjectId};
use crate::storage::StorageError;
use crate::storage::commit_log::AlarmChange;
use crate::storage::identity::Identity;
use crate::storage::template::PAGE;
use crate::storage::vfs;

/// Visits every object that `wanted` names: the newest incarnation of each that has an identity.
pub(super) fn find(
    objects: &Path,
    wanted: impl Fn(&ObjectId) -> bool,
    mut visit: impl FnMut(&ObjectId, Change) -> Result<(), StorageError>,
) -> Result<(), StorageError> {
    let walk = StorageError::io;
    for class in directories(objects).map_err(walk("cannot walk", objects))? {
        let Some(key) = class.file_name().and_then(|name| name.to_str()).map(ClassKey::new) else { continue };
        for part in directories(&class).map_err(walk("cannot walk", &class))? {
            for (id, files) in files(&part).map_err(walk("cannot walk", &part))? {
                if wanted(&id)
                    && let Some(object) = newest(&key, id, files.into_values().rev())?
                {
                    visit(&id, object)?;
                }
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

/// What the first of the files says that says anything: one without an identity was left by a crash and is nobody's.
fn newest(
    class: &ClassKey,
    id: ObjectId,
    files: impl Iterator<Item = PathBuf>,
) -> Result<Option<Change>, StorageError> {
    for path in files {
        match read(&path) {
            Ok(Some((identity, bytes))) if identity.class == class.as_str() && identity.id == id.to_string() => {
                let (class, alarm) = (class.clone(), Some(AlarmChange::to(identity.alarm)));
                return Ok(Some(Change::Object { class, id, name: identity.name, bytes, alarm }));
            }
            Ok(Some(_)) => tracing::warn!("{} is the database of another object and is not listed", path.display()),
            Ok(None) => {}
            // What a crash cut short looks the same. Damage to an object is told of when it is used.
            Err(error) if is_unreadable(&error) => tracing::warn!("{} is not listed: {error}", path.display()),
            Err(error) => return Err(StorageError::sqlite(&path)(error)),
        }
    }
    Ok(None)
}

fn is_unreadable(error: &rusqlite::Error) -> bool {
    use ErrorCode::{DatabaseCorrupt, NotADatabase, SystemIoFailure};
    matches!(error.sqlite_error_code(), Some(NotADatabase | DatabaseCorrupt | SystemIoFailure))
}

fn read(path: &Path) -> rusqlite::Result<Option<(Identity, u64)>> {
    let path = percent_encode(path.as_os_str().as_bytes(), NON_ALPHANUMERIC);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let database = Connection::open_with_flags_and_vfs(format!("file:{path}?immutable=1"), flags, vfs::PLAIN)?;
    let Some(identity) = Identity::read(&database)? else { return Ok(None) };
    let ask = |pragma| database.query_row(pragma, [], |row| row.get::<_, u32>(0));
    let pages = ask("PRAGMA page_count")? - ask("PRAGMA freelist_count")?;
    Ok(Some((identity, u64::from(pages) * PAGE as u64)))
}
