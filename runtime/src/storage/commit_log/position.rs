//! The lanes of a log, and the positions of records in a lane.
//!
//! Owns the assignment of objects to lanes. Does not own what is queued in a lane ([`super::lane`]).

use std::fmt;

/// The most lanes that a log can have.
pub const LANES_MAX: u16 = 64;
const SLOTS: u32 = 4096;

/// A part of the log with a total order. An object belongs to the same lane all its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lane(u16);

impl Lane {
    /// Returns the lane with this number, from 0.
    pub fn new(number: u16) -> Self {
        Self(number)
    }

    /// Returns the lane of an object. The first 12 bits of its id are its slot; slots are divided evenly among the
    /// lanes.
    pub fn of(id: &[u8; 32], lanes: u16) -> Self {
        let slot = u32::from(u16::from_be_bytes([id[0], id[1]]) >> 4);
        Self((slot * u32::from(lanes) / SLOTS) as u16)
    }

    /// Returns the number, from 0.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lane {}", self.0)
    }
}

/// A position in a lane; 0 is before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "@{}", self.0)
    }
}
