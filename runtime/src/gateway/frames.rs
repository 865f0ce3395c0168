//! Checks the frames that the peer of a WebSocket sends, below the WebSocket library.
//!
//! The library accepts a length that is encoded longer than necessary, reads a control frame of any size before it
//! refuses it, and does not show how much of an incomplete message has arrived. So this module parses frame headers: a
//! bad one ends the stream with a [`Fault`], and the received bytes of messages are charged to the class until
//! [`Incoming::hand_on`].

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::base::socket::code;
use crate::base::{MemoryAccount, MemoryCharge, MemoryUse};

/// Bytes of messages that are not charged: those of small messages, for which charging would cost more than it
/// protects.
const FREE_BYTES: u64 = 16 << 10;
/// The maximum length of a header: two bytes, the longest length, a mask.
const HEADER_MAX: usize = 14;

/// The reason why a connection is closed: close code and text.
pub type Fault = (u16, &'static str);

/// A stream whose frames are checked.
pub struct Frames<S> {
    stream: S,
    header: [u8; HEADER_MAX],
    filled: usize,
    /// Bytes of the current frame's payload that remain.
    left: u64,
    is_of_message: bool,
    /// A fault was found.
    ended: bool,
    incoming: Arc<Incoming>,
}

/// The received bytes that are not passed on yet.
///
/// Small messages, which are the most, take no lock.
pub struct Incoming {
    account: MemoryAccount,
    fault: OnceLock<Fault>,
    bytes: AtomicU64,
    /// The bytes that are charged.
    charged: AtomicU64,
    charge: Mutex<Option<MemoryCharge>>,
}

impl Incoming {
    /// Returns the fault for which the stream ended, if any.
    pub fn fault(&self) -> Option<Fault> {
        self.fault.get().copied()
    }

    /// Passes on a message of this many bytes, together with its charge.
    pub fn hand_on(&self, bytes: u64) -> Option<MemoryCharge> {
        // Only the task of the connection changes it.
        self.bytes.store(self.bytes.load(Relaxed).saturating_sub(bytes), Relaxed);
        if self.charged.load(Relaxed) == 0 {
            return None;
        }
        let mut charge = self.charge.lock();
        let handed_on = charge.as_mut()?.split(bytes);
        self.charged.fetch_sub(handed_on.bytes(), Relaxed);
        Some(handed_on)
    }

    fn came(&self, bytes: u64) -> Result<(), Fault> {
        let bytes = self.bytes.fetch_add(bytes, Relaxed) + bytes;
        let charged = self.charged.load(Relaxed);
        if bytes <= charged + FREE_BYTES {
            return Ok(());
        }
        let more = bytes - charged;
        let taken = match &mut *self.charge.lock() {
            Some(charge) => charge.grow(more),
            none => self.account.take(MemoryUse::Sockets, more).map(|charge| *none = Some(charge)),
        };
        taken.map_err(|_| (code::TRY_AGAIN_LATER, "the host is short of memory"))?;
        self.charged.fetch_add(more, Relaxed);
        Ok(())
    }
}

impl<S> Frames<S> {
    /// Creates a checked stream; the next byte must begin a frame.
    pub fn new(stream: S, account: MemoryAccount) -> (Self, Arc<Incoming>) {
        let incoming = Arc::new(Incoming {
            account,
            fault: OnceLock::new(),
            bytes: AtomicU64::new(0),
            charged: AtomicU64::new(0),
            charge: Mutex::default(),
        });
        let frames = Self {
            stream,
            header: [0; HEADER_MAX],
            filled: 0,
            left: 0,
            is_of_message: false,
            ended: false,
            incoming: incoming.clone(),
        };
        (frames, incoming)
    }

    /// Checks further bytes. Returns how many of them come before a fault.
    pub(super) fn look_at(&mut self, bytes: &[u8]) -> (usize, Result<(), Fault>) {
        let (mut read, mut of_messages) = (0, 0);
        while read < bytes.len() {
            if self.left > 0 {
                let skipped = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len() - read);
                self.left -= skipped as u64;
                read += skipped;
                of_messages += if self.is_of_message { skipped as u64 } else { 0 };
                continue;
            }
            self.header[self.filled] = bytes[read];
            self.filled += 1;
            if self.filled == header_length(&self.header[..self.filled]) {
                if let Err(fault) = self.frame() {
                    return (read, Err(fault));
                }
                self.filled = 0;
            }
            read += 1;
        }
        (read, self.incoming.came(of_messages))
    }

    /// Begins a frame.
    fn frame(&mut self) -> Result<(), Fault> {
        let of_frame = |from: usize, bytes: usize| {
            self.header[from..from + bytes].iter().fold(0_u64, |length, byte| length << 8 | u64::from(*byte))
        };
        let (length, least) = match self.header[1] & 0x7f {
            126 => (of_frame(2, 2), 126),
            127 => (of_frame(2, 8), 1 << 16),
            short => (u64::from(short), 0),
        };
        self.is_of_message = self.header[0] & 0x08 == 0;
        self.left = length;
        match () {
            () if length < least => Err((code::PROTOCOL, "the length of a frame is longer than it needs to be")),
            () if length >> 63 == 1 => Err((code::PROTOCOL, "the length of a frame has its highest bit set")),
            () if !self.is_of_message && length > 125 => Err((code::PROTOCOL, "a control frame is too long")),
            () => Ok(()),
        }
    }
}

/// Returns the length of the header that begins so, as far as known: if not, at least one more than given.
fn header_length(header: &[u8]) -> usize {
    let Some(second) = header.get(1) else { return 2 };
    let length = match second & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    2 + length + if second & 0x80 == 0 { 0 } else { 4 }
}

impl<S: AsyncRead + Unpin> AsyncRead for Frames<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let ended = || Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        if self.ended {
            return ended();
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        let (read, outcome) = self.look_at(&buffer.filled()[before..]);
        if let Err(fault) = outcome {
            self.ended = true;
            let _ = self.incoming.fault.set(fault);
            // Complete data before the fault is passed on first.
            buffer.set_filled(before + read);
            if read == 0 {
                return ended();
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Frames<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::HostMemory;

    /// Returns the code of the fault, and the number of bytes before it; the same for every way of splitting the bytes.
    fn read(bytes: &[u8]) -> (usize, Option<u16>) {
        let cut = |size: usize| {
            let (mut frames, _) = Frames::new((), HostMemory::new(1 << 30).unowned());
            let mut before = 0;
            for bytes in bytes.chunks(size) {
                let (read, outcome) = frames.look_at(bytes);
                before += read;
                if let Err((code, _)) = outcome {
                    return (before, Some(code));
                }
            }
            (before, None)
        };
        let at_once = cut(bytes.len());
        for size in [1, 2, 3, 7] {
            let (before, fault) = cut(size);
            assert_eq!((fault, before >= at_once.0), (at_once.1, true), "{bytes:?} cut to {size}");
        }
        at_once
    }

    #[test]
    fn lengths_are_as_short_as_they_can_be() {
        let frame = |head: &[u8], payload: usize| [head, &[0; 4], &vec![7; payload]].concat();
        let good = frame(&[0x82, 0x80 | 5], 5);
        for (next, fault) in [
            (frame(&[0x82, 0x80], 0), None),
            (frame(&[0x82, 0x80 | 126, 0, 126], 126), None),
            (frame(&[0x82, 0x80 | 127, 0, 0, 0, 0, 0, 1, 0, 0], 1 << 16), None),
            (frame(&[0x89, 0x80 | 125], 125), None),
            (frame(&[0x82, 0x80 | 126, 0, 5], 5), Some(1002)),
            (frame(&[0x82, 0x80 | 126, 0, 125], 125), Some(1002)),
            (frame(&[0x82, 0x80 | 127, 0, 0, 0, 0, 0, 0, 0, 5], 5), Some(1002)),
            (frame(&[0x82, 0x80 | 127, 0, 0, 0, 0, 0, 0, 255, 255], 5), Some(1002)),
            (frame(&[0x82, 0x80 | 127, 0x80, 0, 0, 0, 0, 0, 0, 0], 5), Some(1002)),
            (frame(&[0x89, 0x80 | 126, 0, 126], 126), Some(1002)),
            (frame(&[0x88, 0x80 | 127, 0, 0, 0, 0, 0, 1, 0, 0], 5), Some(1002)),
        ] {
            let (before, found) = read(&[&good[..], &next].concat());
            assert_eq!(found, fault, "{:?}", &next[..10.min(next.len())]);
            assert!(before >= good.len(), "what came before is given out");
        }
    }

    #[test]
    fn what_has_come_of_a_message_is_charged() {
        let memory = HostMemory::new(1_000_000);
        let (mut frames, incoming) = Frames::new((), memory.unowned());
        let head = [0x82, 0xff, 0, 0, 0, 0, 0, 0x0f, 0x42, 0x40, 0, 0, 0, 0];
        frames.look_at(&head).1.unwrap();
        frames.look_at(&[0; 16 << 10]).1.unwrap();
        assert_eq!(memory.used(), 0);
        frames.look_at(&[0; 100_000]).1.unwrap();
        assert_eq!(memory.used(), 116_384);
        let charge = incoming.hand_on(116_384).unwrap();
        assert_eq!((charge.bytes(), memory.used()), (116_384, 116_384));
        drop(charge);
        assert_eq!(memory.used(), 0);
        assert_eq!(frames.look_at(&[0; 850_000]).1.unwrap_err().0, 1013);
    }
}
