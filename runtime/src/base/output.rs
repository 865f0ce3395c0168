//! Standard output and error of a process that must go on whatever happens to them: a pipe without a reader, a closed
//! one, a full disk.
//!
//! Lines are passed to a thread per stream, and only that thread waits for the stream. Lines that come faster than they
//! can be written are dropped and counted, and the count is written when there is room again. Lines that cannot be
//! written at all are lost. A caller that writes a line never waits, fails or panics.

use std::io::{self, Write};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// The maximum bytes that wait to be written: what a terminal scrolls by in seconds.
const WAITING_MAX: usize = 1 << 20;
/// The time for which the end of the process waits for unwritten lines.
const PATIENCE: Duration = Duration::from_secs(1);

/// One output stream. Cheap to clone.
#[derive(Clone)]
pub struct Output(Arc<Shared>);

struct Shared {
    queue: Mutex<Queue>,
    /// Signals that something was put into the queue, or that all of it was written.
    changed: Condvar,
}

#[derive(Default)]
struct Queue {
    waiting: Vec<u8>,
    /// The number of dropped lines.
    left_out: u64,
    /// Whether the thread is writing.
    writing: bool,
}

/// Returns the process's standard error, for its log.
pub fn stderr() -> &'static Output {
    static STDERR: OnceLock<Output> = OnceLock::new();
    STDERR.get_or_init(|| Output::to(io::stderr(), "stderr"))
}

/// Returns the process's standard output, for programs that run on without a reader.
pub fn stdout() -> &'static Output {
    static STDOUT: OnceLock<Output> = OnceLock::new();
    STDOUT.get_or_init(|| Output::to(io::stdout(), "stdout"))
}

impl Output {
    fn to(stream: impl Write + Send + 'static, name: &str) -> Self {
        let shared = Arc::new(Shared { queue: Mutex::default(), changed: Condvar::new() });
        let output = Self(shared.clone());
        // Without a thread nothing is written, which harms nothing else.
        let _ = thread::Builder::new().name(name.into()).spawn(move || shared.write_to(stream));
        output
    }

    /// Writes one or more complete lines, or drops them.
    pub fn line(&self, text: &[u8]) {
        let mut queue = self.0.queue.lock();
        if queue.waiting.len() + text.len() > WAITING_MAX {
            queue.left_out += 1;
            return;
        }
        queue.waiting.extend_from_slice(text);
        drop(queue);
        self.0.changed.notify_all();
    }

    /// Waits until all is written, for a second at most. Must be called before the process ends.
    pub fn flush(&self) {
        let mut queue = self.0.queue.lock();
        let is_busy = |queue: &mut Queue| queue.writing || !queue.waiting.is_empty();
        self.0.changed.wait_while_for(&mut queue, is_busy, PATIENCE);
    }
}

impl Shared {
    fn write_to(&self, mut stream: impl Write) {
        let mut queue = self.queue.lock();
        loop {
            self.changed.wait_while(&mut queue, |queue| queue.waiting.is_empty());
            let (mut text, left_out) = (std::mem::take(&mut queue.waiting), std::mem::take(&mut queue.left_out));
            queue.writing = true;
            drop(queue);
            if left_out > 0 {
                text.extend_from_slice(format!("({left_out} lines came too fast and were left out)\n").as_bytes());
            }
            // An error could only be reported on this very stream.
            let _ = stream.write_all(&text).and_then(|()| stream.flush());
            queue = self.queue.lock();
            queue.writing = false;
            self.changed.notify_all();
        }
    }
}

/// A writer that passes on each piece as it comes: `tracing` writes an event in one piece.
impl Write for &Output {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.line(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// A stream that reports what it was given, and continues on command.
    struct Slow {
        given: mpsc::Sender<Vec<u8>>,
        go_on: mpsc::Receiver<()>,
    }

    impl Write for Slow {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            self.given.send(text.to_vec()).unwrap();
            self.go_on.recv().map_err(io::Error::other)?;
            Ok(text.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_blocked_stream_delays_no_writer_and_lost_lines_are_counted() {
        let ((given, taken), (go, go_on)) = (mpsc::channel(), mpsc::channel());
        let output = Output::to(Slow { given, go_on }, "test");
        output.line(b"first\n");
        assert_eq!(taken.recv().unwrap(), b"first\n");
        let line = vec![b'x'; 1 << 10];
        (0..WAITING_MAX / line.len() + 7).for_each(|_| output.line(&line));
        go.send(()).unwrap();
        let text = taken.recv().unwrap();
        assert!(text.len() < WAITING_MAX + 100 && text.ends_with(b"(7 lines came too fast and were left out)\n"));
        go.send(()).unwrap();
        output.flush();
        assert!(output.0.queue.lock().waiting.is_empty());
    }

    #[test]
    fn a_failed_stream_is_ignored() {
        let ((given, taken), (go, go_on)) = (mpsc::channel(), mpsc::channel());
        let output = Output::to(Slow { given, go_on }, "test");
        drop(go);
        for line in [b"a\n", b"b\n"] {
            output.line(line);
            assert_eq!(taken.recv().unwrap(), line);
            output.flush();
        }
    }
}
