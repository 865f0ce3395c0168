//! Finds every object below `objects/`, in order to rebuild lost lanes.
//!
//! This is the only operation that reads every object. It reads the identities in the databases and changes no byte.
//! The caller has recovered the objects from the log, and none is open.

use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

use super::notes::Change;
use crate::base::{ClassKey, ObjectId};
use crate::storage::StorageError;
use crate::storage::on_disk;

/// Visits every object that `wanted` accepts: the newest incarnation of each that has an identity.
pub(super) fn find(
    objects: &Path,
    wanted: impl Fn(&ObjectId) -> bool,
    mut visit: impl FnMut(&ObjectId, Change) -> Result<(), StorageError>,
) -> Result<(), StorageError> {
    on_disk::find(objects, |class, id, files| {
        if wanted(&id)
            && let Some(object) = newest(class, id, files.into_values().rev())?
        {
            visit(&id, object)?;
        }
        Ok(())
    })
}

/// Returns the object in the first file with an identity. A file without one was left by a crash and does not count.
fn newest(
    class: &ClassKey,
    id: ObjectId,
    files: impl Iterator<Item = PathBuf>,
) -> Result<Option<Change>, StorageError> {
    for path in files {
        match on_disk::read(&path) {
            Ok(Some((identity, bytes))) if identity.class == class.as_str() && identity.id == id.to_string() => {
                let (class, alarm) = (class.clone(), Some(identity.alarms.change()));
                return Ok(Some(Change::Object { class, id, name: identity.name, bytes, alarm }));
            }
            Ok(Some(_)) => tracing::warn!("{} is the database of another object and is not listed", path.display()),
            Ok(None) => {}
            // A file that a crash cut short looks the same. Damage to an object is reported when the object is used.
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
