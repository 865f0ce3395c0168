//! Images of pages in a record: packs and unpacks them.
//!
//! Owns the table of `docs/LOG_FORMAT.md`, Images: size and bytes of one image, after its page number. An image is
//! empty (a page of zeros), the page itself, an LZ4 block, or a page with a *hole*: most pages of small databases are
//! mostly unallocated, and what is left out is neither compressed nor decompressed. Unpacking takes arbitrary bytes: it
//! never panics and never allocates.

use lz4_flex::block::{compress_into, decompress_into, get_maximum_output_size};

use super::reader::{Damage, Reader};
#[cfg(test)]
use crate::base::seeded_bugs::{self, SeededBug};

/// Bytes of a database page.
pub const PAGE: usize = 4096;
/// The most bytes that one image takes: page number, size, and a page that cannot be compressed.
pub const IMAGE_MAX: usize = 4 + 2 + PAGE;

/// A flag in the size of an image: a hole is left out.
const HOLE: u16 = 1 << 15;
/// The shortest hole that is left out.
const HOLE_MIN: usize = 64;
/// The offset of the b-tree header in page 1; in all other pages it is 0.
const FIRST_PAGE_HEADER: usize = 100;

/// Appends size and bytes of the image of page `number`.
pub(super) fn pack(number: u32, image: &[u8; PAGE], record: &mut Vec<u8>) {
    let size_at = record.len();
    record.extend([0; 2]);
    let flag = match hole(number, image) {
        Some((at, length)) => {
            record.extend((at as u16).to_le_bytes());
            record.extend((length as u16).to_le_bytes());
            let mut rest = *image;
            rest.copy_within(at + length.., at);
            compress(&rest[..PAGE - length], record);
            HOLE
        }
        // For nearly every page the first byte decides.
        None if image.iter().all(|byte| *byte == 0) => 0,
        None => {
            compress(image, record);
            0
        }
    };
    let size = (record.len() - size_at - 2) as u16;
    record[size_at..size_at + 2].copy_from_slice(&(size | flag).to_le_bytes());
}

/// Appends one LZ4 block, or the bytes themselves if the block would not be shorter.
fn compress(bytes: &[u8], record: &mut Vec<u8>) {
    let at = record.len();
    record.resize(at + get_maximum_output_size(bytes.len()), 0);
    let length = match compress_into(bytes, &mut record[at..]) {
        Ok(length) if length < bytes.len() => length,
        _ => {
            record[at..at + bytes.len()].copy_from_slice(bytes);
            bytes.len()
        }
    };
    record.truncate(at + length);
}

/// Finds zeros that need not be stored: returns their offset and number. A b-tree page of SQLite has pointers to
/// its cells in front and its cells at the end; the space between is not allocated. SQLite leaves stale bytes at both
/// ends of that space, so the hole is the run of zeros around its middle. Pages of other kinds are safe: only bytes
/// that are zero are left out.
fn hole(number: u32, image: &[u8; PAGE]) -> Option<(usize, usize)> {
    let header = if number == 1 { FIRST_PAGE_HEADER } else { 0 };
    // The header ends with the first pointer to another page, which only pages inside the tree have.
    let pointers = match image[header] {
        2 | 5 => header + 12,
        10 | 13 => header + 8,
        _ => return None,
    };
    let number = |at: usize| usize::from(u16::from_be_bytes([image[header + at], image[header + at + 1]]));
    let (cells, content) = (number(3), number(5));
    let unallocated = image.get(pointers + 2 * cells..content)?;
    let middle = unallocated.len() / 2;
    let (before, after) = unallocated.split_at(middle);
    let (before, after) = (zeros_at_the_end(before), zeros_in_front(after));
    #[cfg(test)]
    let (before, after) = match seeded_bugs::is_planted(SeededBug::HoleNotZero) {
        true => (middle, unallocated.len() - middle),
        false => (before, after),
    };
    let length = before + after;
    (length >= HOLE_MIN).then_some((pointers + 2 * cells + middle - before, length))
}

/// Bytes that are compared at once.
const STEP: usize = 32;

fn zeros_in_front(bytes: &[u8]) -> usize {
    let whole = bytes.chunks_exact(STEP).take_while(|chunk| is_zero(chunk)).count() * STEP;
    whole + bytes[whole..].iter().take_while(|byte| **byte == 0).count()
}

fn zeros_at_the_end(bytes: &[u8]) -> usize {
    let whole = bytes.rchunks_exact(STEP).take_while(|chunk| is_zero(chunk)).count() * STEP;
    whole + bytes[..bytes.len() - whole].iter().rev().take_while(|byte| **byte == 0).count()
}

/// Compares without an early end, so that the compiler compares many bytes at once.
fn is_zero(chunk: &[u8]) -> bool {
    chunk.iter().fold(0, |all, byte| all | byte) == 0
}

/// A packed image.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packed<'a> {
    hole: bool,
    bytes: &'a [u8],
}

impl<'a> Packed<'a> {
    /// Reads size and bytes of an image.
    pub fn take(reader: &mut Reader<'a>) -> Result<Self, Damage> {
        let size = reader.u16()?;
        let length = usize::from(size & !HOLE);
        if length > PAGE {
            return Err(Damage("a page is too long"));
        }
        Ok(Self { hole: size & HOLE != 0, bytes: reader.bytes(length)? })
    }

    /// Unpacks the image. The contents of `image` are undefined after an error.
    pub fn unpack(self, image: &mut [u8; PAGE]) -> Result<(), Damage> {
        match (self.hole, self.bytes) {
            (false, []) => {
                image.fill(0);
                Ok(())
            }
            (false, bytes) => decompress(bytes, image),
            (true, bytes) => with_hole(bytes, image),
        }
    }
}

fn with_hole(bytes: &[u8], image: &mut [u8; PAGE]) -> Result<(), Damage> {
    let mut reader = Reader::new(bytes);
    let (at, length) = (usize::from(reader.u16()?), usize::from(reader.u16()?));
    if length < HOLE_MIN || at + length > PAGE {
        return Err(Damage("a page has a hole where none can be"));
    }
    decompress(reader.rest(), &mut image[..PAGE - length])?;
    image.copy_within(at..PAGE - length, at + length);
    image[at..at + length].fill(0);
    Ok(())
}

/// Copies the bytes if there are as many as the result has; decompresses anything shorter as one LZ4 block.
fn decompress(stored: &[u8], bytes: &mut [u8]) -> Result<(), Damage> {
    if stored.len() == bytes.len() {
        bytes.copy_from_slice(stored);
        return Ok(());
    }
    match decompress_into(stored, bytes) {
        Ok(length) if length == bytes.len() => Ok(()),
        _ => Err(Damage("a page cannot be decompressed")),
    }
}
