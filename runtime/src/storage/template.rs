//! The bytes of a new database. They are made once, because creating a database with SQL takes ten times as long as
//! writing them.
//!
//! Three pages: the schema, the root of `_hf_kv`, the root of `_hf_meta`. The header says WAL, so a database is never
//! in another mode.

use std::path::Path;
use std::sync::Arc;
use std::{fs, io, slice};

use rusqlite::{Connection, ffi};

pub(super) use super::commit_log::PAGE;
use super::sums::{PageSums, sum};
use crate::base::{Disk, Failpoint};

/// What a disk writes whole, in bytes.
const SECTOR: usize = 512;

/// The host's own tables, as every database has them.
pub(super) const HOST_TABLES: [(&str, &str); 2] = [
    ("_hf_kv", "CREATE TABLE _hf_kv (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID"),
    ("_hf_meta", "CREATE TABLE _hf_meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID"),
];

/// A new database as bytes, and the sums of its pages.
pub(super) struct Template(Vec<u8>, Vec<u64>);

impl Template {
    pub fn build() -> rusqlite::Result<Self> {
        let connection = Connection::open_in_memory()?;
        connection.execute_batch(&format!("PRAGMA page_size = {PAGE}"))?;
        HOST_TABLES.iter().try_for_each(|(_, table)| connection.execute_batch(table))?;
        let mut bytes = serialize(&connection);
        // Bytes 18 and 19 are the file format's write and read version; 2 is WAL.
        bytes[18..20].fill(2);
        assert_eq!(bytes.len(), 3 * PAGE, "the schema has two tables");
        let sums = (1..).zip(bytes.chunks_exact(PAGE)).map(|(page, image)| sum(page, image)).collect();
        Ok(Self(bytes, sums))
    }

    /// Writes a new database, replacing what is there.
    pub fn write(&self, disk: &dyn Disk, path: &Path) -> io::Result<()> {
        let file = disk.create_empty(Failpoint::ObjectCreate, path)?;
        disk.write_all_at(Failpoint::ObjectCreate, &file, &self.0, 0)
    }

    /// Its pages, with their numbers.
    pub fn pages(&self) -> impl Iterator<Item = (u32, &[u8])> {
        (1..).zip(self.0.chunks_exact(PAGE))
    }

    /// The pages of a file that was just made have these sums.
    pub fn sums(&self, disk: Arc<dyn Disk>, path: &Path) -> io::Result<Arc<PageSums>> {
        let sums = PageSums::fresh(disk, path);
        (1..).zip(&self.1).try_for_each(|(page, sum)| sums.set(page, *sum))?;
        Ok(sums)
    }

    /// Whether the file is a template, or what a crash makes of one that was written but not flushed: cut short, or
    /// with sectors of zeros. Such a file was never part of anything durable.
    pub fn is_unused(&self, path: &Path) -> io::Result<bool> {
        if fs::metadata(path)?.len() > self.0.len() as u64 {
            return Ok(false);
        }
        let found = fs::read(path)?;
        let fits = |(found, whole): (&[u8], &[u8])| whole.starts_with(found) || found.iter().all(|byte| *byte == 0);
        Ok(found.chunks(SECTOR).zip(self.0.chunks(SECTOR)).all(fits))
    }
}

fn serialize(connection: &Connection) -> Vec<u8> {
    let mut length = 0;
    // SAFETY: the handle is that of an open connection; SQLite writes the length of the copy it returns, which is ours
    // until `sqlite3_free`.
    unsafe {
        let bytes = ffi::sqlite3_serialize(connection.handle(), c"main".as_ptr(), &mut length, 0);
        assert!(!bytes.is_null(), "an in-memory database can be copied");
        let copy = slice::from_raw_parts(bytes, length as usize).to_vec();
        ffi::sqlite3_free(bytes.cast());
        copy
    }
}
