//! Checksums of the pages of one database file, in a file beside it: `<id>-<incarnation>.sums`.
//!
//! The VFS (`vfs`) checks each page when it is read for the first time after the file was opened, and updates the sum
//! of each page that SQLite copies from the WAL into the file. Recovery and checkpoints write pages themselves and
//! update their sums, too. Invariants:
//! * a sum in memory is that of the page in the file, or unknown; a page and its sum change under the lock of the
//!   object;
//! * a page's sum is written to the file of sums before the WAL is reset or the log is trimmed that has the page. So if
//!   a crash leaves a page and a sum that do not match, the log has the page, and recovery writes both again;
//! * entries are independent: each is written whole or not at all, and writing it twice changes nothing.
//!
//! The file is an array of 8-byte little-endian entries: entry 0 is [`MAGIC`], entry N is the sum of page N (from 1),
//! or 0 if it is unknown. An unknown sum is computed when its page is first read: files of earlier versions have no
//! sums. The sum of a page is the XXH3-64 of its 4,096 bytes, exclusive-or its number times [`SPREAD`], so that a page
//! in the place of another page is detected; a sum of 0 is written as 1.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use xxhash_rust::xxh3::xxh3_64;

use super::StorageError;
use super::template::PAGE;
#[cfg(test)]
use crate::base::seeded_bugs::{self, SeededBug};
use crate::base::{Disk, Failpoint};

/// The first entry of a file of sums.
const MAGIC: u64 = u64::from_le_bytes(*b"HFsums1\n");
/// Makes the sums of equal pages with different numbers differ.
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;
/// Bytes of an entry.
const ENTRY: usize = 8;
/// Entries of one read or write: one block of the file.
const CHUNK: usize = 512;
/// Chunks that one open file keeps in memory (4 KiB each, 64 MiB of pages in all). When there are more, all are written
/// and dropped.
const CHUNKS_MAX: usize = 32;

/// Returns the path of the file of sums of a database file.
pub(super) fn sums_path(database: &Path) -> PathBuf {
    database.with_extension("sums")
}

/// Returns the sum of a page; never 0.
pub(super) fn sum(page: u32, image: &[u8]) -> u64 {
    (xxh3_64(image) ^ u64::from(page).wrapping_mul(SPREAD)).max(1)
}

/// The sums of one database file. Shared by its connection and the checkpoints.
pub(super) struct PageSums {
    disk: Arc<dyn Disk>,
    database: PathBuf,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    chunks: Vec<Option<Box<Chunk>>>,
    loaded: usize,
    /// A file of this name on disk belongs to another database file.
    fresh: bool,
    /// The first page that did not match its sum; 0 stands for the file of sums.
    damaged: Option<u32>,
}

/// The sums of [`CHUNK`] pages.
#[derive(Default)]
struct Chunk {
    sums: Vec<u64>,
    /// One bit per page: checked since the file was opened.
    checked: [u64; CHUNK / 64],
    dirty: bool,
}

impl PageSums {
    /// Creates the sums of an existing database file.
    pub fn of(disk: Arc<dyn Disk>, database: &Path) -> Arc<Self> {
        Arc::new(Self { disk, database: database.into(), state: Mutex::default() })
    }

    /// Creates the sums of a database file that is being made: a file of sums that exists belongs to another one.
    pub fn fresh(disk: Arc<dyn Disk>, database: &Path) -> Arc<Self> {
        let state = State { fresh: true, ..State::default() };
        Arc::new(Self { disk, database: database.into(), state: Mutex::new(state) })
    }

    /// Checks whether this is the page as it was written. A page without a sum passes and gets one; `whole` is false if
    /// the file ends within the page.
    pub fn check(&self, page: u32, image: &[u8], whole: bool) -> io::Result<bool> {
        #[cfg(test)]
        if seeded_bugs::is_planted(SeededBug::UncheckedPages) {
            return Ok(true);
        }
        let mut state = self.state.lock();
        let (chunk, at) = self.chunk(&mut state, page)?;
        if chunk.is_checked(at) {
            return Ok(true);
        }
        let damaged = match chunk.sums.get(at).copied().unwrap_or(0) {
            _ if page as usize == at && !chunk.begins_right() => 0,
            0 if whole => {
                chunk.put(at, sum(page, image));
                chunk.set_checked(at, true);
                return Ok(true);
            }
            0 => return Ok(true),
            known if whole && known == sum(page, image) => {
                chunk.set_checked(at, true);
                return Ok(true);
            }
            _ => page,
        };
        state.damaged.get_or_insert(damaged);
        Ok(false)
    }

    /// Whether the page was checked since the file was opened.
    pub fn is_checked(&self, page: u32) -> bool {
        let (number, at) = place(page);
        let state = self.state.lock();
        let chunk = state.chunks.get(number).and_then(Option::as_ref);
        chunk.is_some_and(|chunk| chunk.is_checked(at))
    }

    /// Sets the sum of a page that was written.
    pub fn set(&self, page: u32, sum: u64) -> io::Result<()> {
        let mut state = self.state.lock();
        let (chunk, at) = self.chunk(&mut state, page)?;
        chunk.set_checked(at, false);
        chunk.put(at, sum);
        Ok(())
    }

    /// Removes the sums of the pages beyond this number of pages.
    pub fn truncate(&self, pages: u32) {
        let mut state = self.state.lock();
        for (number, chunk) in (0..).zip(&mut state.chunks) {
            let Some(chunk) = chunk else { continue };
            let keep = (pages as usize + 1).saturating_sub(number * CHUNK);
            (keep..chunk.sums.len()).for_each(|at| chunk.put(at, 0));
        }
    }

    /// Writes the changed sums, without a flush. Called before the WAL is reset or the log is trimmed that has the
    /// pages.
    pub fn write(&self) -> io::Result<()> {
        #[cfg(test)]
        if seeded_bugs::is_planted(SeededBug::LateSums) {
            return Ok(());
        }
        self.write_changed(&mut self.state.lock())
    }

    /// Frees the memory of the sums that are all written.
    pub fn shrink(&self) {
        let mut state = self.state.lock();
        if state.chunks.iter().flatten().all(|chunk| !chunk.dirty) && !state.fresh {
            (state.chunks, state.loaded) = (Vec::new(), 0);
        }
    }

    /// Returns the path of the database file.
    pub fn database(&self) -> &Path {
        &self.database
    }

    /// Returns the damage that [`check`](Self::check) has found, if any.
    pub fn damage(&self) -> Option<StorageError> {
        let page = self.state.lock().damaged?;
        let why = match page {
            0 => format!("its checksums, {}, are not what was written", sums_path(&self.database).display()),
            page => format!("page {page} is not what was written, by its checksum"),
        };
        Some(StorageError::Damaged { path: self.database.clone(), why })
    }

    /// Returns the sum of a page, if it is known. For readers that change nothing.
    pub fn known(&self, page: u32) -> io::Result<Option<u64>> {
        let mut state = self.state.lock();
        let (chunk, at) = self.chunk(&mut state, page)?;
        Ok(chunk.sums.get(at).copied().filter(|sum| *sum != 0))
    }

    /// Whether the file on disk begins with [`MAGIC`] or does not exist.
    pub fn is_of_this_version(&self) -> io::Result<bool> {
        Ok(matches!(self.known(0)?, None | Some(MAGIC)))
    }

    /// Returns the chunk of a page, and the page's index in it.
    fn chunk<'s>(&self, state: &'s mut State, page: u32) -> io::Result<(&'s mut Chunk, usize)> {
        let (number, at) = place(page);
        if state.chunks.get(number).is_none_or(Option::is_none) {
            if state.loaded >= CHUNKS_MAX {
                self.write_changed(state)?;
                (state.chunks, state.loaded) = (Vec::new(), 0);
            }
            let chunk = if state.fresh { Chunk::default() } else { self.read(number)? };
            if state.chunks.len() <= number {
                state.chunks.resize_with(number + 1, || None);
            }
            state.chunks[number] = Some(Box::new(chunk));
            state.loaded += 1;
        }
        Ok((state.chunks[number].as_mut().expect("read above"), at))
    }

    fn read(&self, number: usize) -> io::Result<Chunk> {
        let file = match File::open(sums_path(&self.database)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Chunk::default()),
            file => file?,
        };
        let mut bytes = [0; CHUNK * ENTRY];
        // A block of a file is read at once, or as far as the file goes.
        let filled = loop {
            match file.read_at(&mut bytes, (number * CHUNK * ENTRY) as u64) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        let entries = bytes[..filled].chunks_exact(ENTRY);
        let sums = entries.map(|entry| u64::from_le_bytes(entry.try_into().expect("eight bytes"))).collect();
        Ok(Chunk { sums, ..Chunk::default() })
    }

    fn write_changed(&self, state: &mut State) -> io::Result<()> {
        if !state.fresh && state.chunks.iter().flatten().all(|chunk| !chunk.dirty) {
            return Ok(());
        }
        let path = sums_path(&self.database);
        let file = match state.fresh {
            true => self.disk.create_empty(Failpoint::SumsWrite, &path)?,
            false => self.disk.open_or_create(Failpoint::SumsWrite, &path)?,
        };
        state.fresh = false;
        for (number, chunk) in (0..).zip(&mut state.chunks) {
            let Some(chunk) = chunk.as_mut().filter(|chunk| chunk.dirty) else { continue };
            if number == 0 {
                chunk.put(0, MAGIC);
            }
            let bytes: Vec<u8> = chunk.sums.iter().flat_map(|sum| sum.to_le_bytes()).collect();
            self.disk.write_all_at(Failpoint::SumsWrite, &file, &bytes, (number * CHUNK * ENTRY) as u64)?;
            chunk.dirty = false;
        }
        Ok(())
    }
}

impl Chunk {
    /// Whether the first chunk begins with [`MAGIC`] or is empty.
    fn begins_right(&self) -> bool {
        matches!(self.sums.first(), None | Some(&(0 | MAGIC)))
    }

    fn is_checked(&self, at: usize) -> bool {
        self.checked[at / 64] & (1 << (at % 64)) != 0
    }

    fn set_checked(&mut self, at: usize, checked: bool) {
        let bit = 1 << (at % 64);
        if checked { self.checked[at / 64] |= bit } else { self.checked[at / 64] &= !bit }
    }

    fn put(&mut self, at: usize, sum: u64) {
        if self.sums.len() <= at {
            self.sums.resize(at + 1, 0);
        }
        self.dirty |= self.sums[at] != sum;
        self.sums[at] = sum;
    }
}

/// Returns the number of a page's chunk, and the page's index in it.
fn place(page: u32) -> (usize, usize) {
    (page as usize / CHUNK, page as usize % CHUNK)
}

/// Computes and writes the sum of every page of a file. For files that were not written page by page.
pub(super) fn sum_all(sums: &PageSums) -> io::Result<()> {
    let file = File::open(&sums.database)?;
    let pages = file.metadata()?.len() / PAGE as u64;
    let mut image = [0; PAGE];
    for page in 1..=pages as u32 {
        file.read_exact_at(&mut image, (u64::from(page) - 1) * PAGE as u64)?;
        sums.set(page, sum(page, &image))?;
    }
    sums.write()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::SystemDisk;

    fn disk() -> Arc<dyn Disk> {
        Arc::new(SystemDisk)
    }

    fn image(byte: u8) -> [u8; PAGE] {
        [byte; PAGE]
    }

    /// The bytes by the description above.
    #[test]
    fn the_file_is_as_documented() {
        let dir = tempfile::tempdir().unwrap();
        let database = dir.path().join("a-1.sqlite");
        let sums = PageSums::fresh(disk(), &database);
        sums.set(1, sum(1, &image(1))).unwrap();
        sums.set(3, sum(3, &image(3))).unwrap();
        sums.write().unwrap();
        let bytes = std::fs::read(dir.path().join("a-1.sums")).unwrap();
        let entries: Vec<_> = bytes.chunks(8).map(|entry| u64::from_le_bytes(entry.try_into().unwrap())).collect();
        assert_eq!(bytes[..8], *b"HFsums1\n");
        let known = 0x93d7_6fe1_48c6_89ba_u64;
        assert_eq!(entries[1..], [sum(1, &image(1)), 0, sum(3, &image(3))]);
        assert_eq!(sum(0, &image(0)), known, "{:x}", sum(0, &image(0)));
    }

    #[test]
    fn a_page_is_checked_once_in_an_opening_and_learnt_if_it_is_new() {
        let dir = tempfile::tempdir().unwrap();
        let database = dir.path().join("a-1.sqlite");
        let sums = PageSums::of(disk(), &database);
        assert!(!sums.is_checked(1) && sums.check(1, &image(1), false).unwrap() && !sums.is_checked(1));
        assert!(sums.check(1, &image(1), true).unwrap() && sums.is_checked(1));
        assert!(sums.check(1, &image(2), true).unwrap(), "it was checked");
        sums.write().unwrap();
        sums.shrink();
        assert!(sums.damage().is_none() && !sums.check(1, &image(2), true).unwrap());
        assert!(sums.damage().unwrap().to_string().contains("page 1"));
        assert!(!PageSums::of(disk(), &database).check(1, &image(1), false).unwrap(), "the file ends within it");
        assert!(PageSums::of(disk(), &database).check(1, &image(1), true).unwrap());
        sums.set(1, sum(1, &image(7))).unwrap();
        assert!(sums.check(1, &image(7), true).unwrap());
    }

    /// More chunks than are kept: what was changed is written, and what is read again is right.
    #[test]
    fn large_files_take_little_memory() {
        let dir = tempfile::tempdir().unwrap();
        let sums = PageSums::fresh(disk(), &dir.path().join("a-1.sqlite"));
        let pages = || (1..100_u32).map(|n| n * CHUNK as u32);
        for page in pages() {
            sums.set(page, sum(page, &image(page as u8))).unwrap();
            assert!(sums.state.lock().loaded <= CHUNKS_MAX);
        }
        sums.write().unwrap();
        for page in pages() {
            assert!(sums.check(page, &image(page as u8), true).unwrap());
        }
        sums.truncate(0);
        sums.write().unwrap();
        assert!(sums.state.lock().loaded <= CHUNKS_MAX);
    }
}
