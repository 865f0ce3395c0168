//! Reads what a turn has written back from SQLite's WAL, and makes records of the commit log of it.
//!
//! SQLite appends a frame (page number, image) to the `-wal` file for each page that a transaction changed; a COMMIT's
//! frames are the last ones, up to the count that the WAL hook reports. **Only those are read**: a transaction that was
//! rolled back can leave older frames behind them, and frames from before the WAL was begun anew carry another salt.
//!
//! The file format is SQLite's own (<https://www.sqlite.org/fileformat2.html#the_write_ahead_log>): a header of 32
//! bytes, whose bytes 16..24 are the salt, then frames of 24 + 4,096 bytes; big-endian.

use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::commit_log::{Encoded, IMAGE_MAX, PART_BYTES, PART_OVERHEAD, TurnEncoder, TurnHead};
use super::template::{PAGE, Template};
#[cfg(test)]
use crate::base::seeded_bugs::{self, SeededBug};
use crate::base::{Disk, Failpoint};

const HEADER: u64 = 32;
const FRAME_HEADER: usize = 24;
const FRAME: usize = FRAME_HEADER + PAGE;
/// Frames that are read at once.
const BATCH: u32 = 64;
/// Pages in one record; a turn with more of them has several. Few in tests, so that many turns do.
const PAGES_PER_RECORD: u32 = if cfg!(test) { 8 } else { ((PART_BYTES - PART_OVERHEAD) / IMAGE_MAX) as u32 };

/// The `-wal` beside a database file.
pub(super) fn wal_path(database: &Path) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push("-wal");
    path.into()
}

/// Bytes of a `-wal` file with this many frames.
pub(super) fn wal_length(frames: u32) -> u64 {
    if frames == 0 { 0 } else { HEADER + u64::from(frames) * FRAME as u64 }
}

/// Leaves at most so many bytes in the `-wal` beside a database file, if there is one.
pub(super) fn cut_wal(disk: &dyn Disk, database: &Path, bytes: u64) -> io::Result<()> {
    #[cfg(test)]
    if bytes == 0 && seeded_bugs::is_planted(SeededBug::LeftoverWal) {
        return Ok(());
    }
    let path = wal_path(database);
    match fs::metadata(&path) {
        Ok(wal) if wal.len() > bytes => {
            let wal = disk.open(Failpoint::WalCut, &path)?;
            disk.set_len(Failpoint::WalCut, &wal, bytes)
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// An open `-wal` file. It stays the same file while SQLite uses it: a reset cuts it, and begins anew with another
/// salt.
pub(super) struct Wal(File);

impl Wal {
    /// The WAL of an open database.
    pub fn open(database: &Path) -> io::Result<Self> {
        File::open(wal_path(database)).map(Self)
    }

    /// Reads frames, counted from 0, in order: each one's page number, the size of the database in pages if the frame
    /// ends a transaction (else 0), and the image.
    pub fn read(&self, frames: Range<u32>, mut each: impl FnMut(u32, u32, &[u8]) -> io::Result<()>) -> io::Result<()> {
        let mut salt = [0; 8];
        self.0.read_exact_at(&mut salt, 16)?;
        let mut batch = vec![0; FRAME * frames.len().min(BATCH as usize)];
        let mut next = frames.start;
        while next < frames.end {
            let count = (frames.end - next).min(BATCH) as usize;
            let batch = &mut batch[..count * FRAME];
            self.0.read_exact_at(batch, HEADER + u64::from(next) * FRAME as u64)?;
            for frame in batch.chunks_exact(FRAME) {
                let (header, image) = frame.split_at(FRAME_HEADER);
                let (page, size) = (number(&header[..4]), number(&header[4..8]));
                if header[8..16] != salt || page == 0 {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "a frame of the WAL is not of this WAL"));
                }
                each(page, size, image)?;
            }
            next += count as u32;
        }
        Ok(())
    }
}

fn number(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes.try_into().expect("four bytes"))
}

/// The records of a turn: its frames' pages, after those of `template` if the file was made from it. `head` says
/// everything but the number of pages and the part.
pub(super) fn capture(
    wal: &Wal,
    frames: Range<u32>,
    head: TurnHead<'_>,
    template: Option<&Template>,
) -> io::Result<Vec<Encoded>> {
    let mut records = Vec::with_capacity(frames.len() / PAGES_PER_RECORD as usize + 1);
    let (mut part, mut page_count) = (frames.start, 0);
    while part < frames.end {
        let end = part.saturating_add(PAGES_PER_RECORD).min(frames.end);
        let number = records.len() as u32;
        let mut record = TurnEncoder::new(&TurnHead { part: number, last: end == frames.end, ..head });
        if let Some(template) = template.filter(|_| number == 0) {
            template.pages().for_each(|(page, image)| record.page(page, image));
        }
        wal.read(part..end, |page, size, image| {
            record.page(page, image);
            page_count = size;
            Ok(())
        })?;
        records.push(record);
        part = end;
    }
    if page_count == 0 {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the last frame of a COMMIT does not end it"));
    }
    // Only the last frame of the COMMIT contains the page count, and every part needs it.
    records.iter_mut().for_each(|record| record.set_page_count(page_count));
    Ok(records.into_iter().map(TurnEncoder::finish).collect())
}
