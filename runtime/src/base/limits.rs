//! All limits of the host, each with the reason for its value. Each field of [`Limits`] is a key of `[limits]` in
//! `holdfast.toml`.
//!
//! The defaults mirror the limits of Cloudflare Workers and Durable Objects, so that a class that fits there fits here.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The limits that one host enforces.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Limits {
    /// Fuel units per turn: about 30 s of compiled code at 10 G a second. Deterministic.
    pub fuel_per_turn: u64,
    /// CPU seconds per turn, counted at fuel yields; ends turns that use fuel slowly.
    pub cpu_seconds_per_turn: f64,
    /// Wall seconds per turn, waits included.
    pub wall_seconds_per_turn: f64,
    /// Bytes of linear memory of one instance, all of its memories together.
    pub memory_per_instance: u64,
    /// Live instances; 0 derives the number from the machine (`wasm/capacity.rs`).
    pub live_instances: u32,
    /// Bytes of linear memory of all live instances; 0 takes half of the machine's memory.
    pub live_instance_bytes: u64,
    /// Bytes that guests and clients may make the host use besides linear memories (SQLite, bodies, responses, sockets,
    /// records that wait for the log); 0 takes a quarter of the machine's memory.
    pub host_memory: u64,
    /// Connections to the data listener, open WebSockets included; 0 derives the number from the descriptors that
    /// objects and the host do not need and from the machine's memory. The admin listener has a small number of its
    /// own.
    pub connections: u32,
    /// Connections from one client address (of IPv6, one /64 network): more than any browser opens or NAT needs, a
    /// small part of all. Loopback and `trusted-proxies` are not counted.
    pub connections_per_address: u32,
    /// Seconds in which the head of a request must arrive, counted from its first byte or from the start of the
    /// connection.
    pub header_seconds: f64,
    /// Seconds after which a connection without a request is closed: longer than the 60 s for which proxies commonly
    /// keep theirs.
    pub idle_connection_seconds: f64,
    /// Seconds for which a request's body may make no progress.
    pub body_seconds: f64,
    /// Seconds for which a client may read none of its response.
    pub response_seconds: f64,
    /// Bytes per second that bodies and responses must reach on average, beyond the seconds above: the slowest mobile
    /// network.
    pub slowest_transfer: u64,
    /// Requests that one HTTP/2 connection may have at once (RFC 9113 recommends no fewer than 100).
    pub http2_streams: u32,
    /// Bytes that SQLite may use for one object: pages, compiled statements, rows in transit, values in functions.
    /// Thirty values of the largest size.
    pub sql_memory: u64,
    /// Bytes of the temporary files of one object: what a statement sorts or materialises outside memory. Freed with
    /// the statement.
    pub temporary_files: u64,
    /// Bytes of the temporary files of all objects; no class gets more than its share of them.
    pub temporary_files_in_all: u64,
    /// Turns waiting in one mailbox.
    pub mailbox_turns: u32,
    /// Bytes waiting in one mailbox: enough for one request of the largest size.
    pub mailbox_bytes: u64,
    /// Bytes of one request body.
    pub request_body: u64,
    /// Bytes of one response body.
    pub response_body: u64,
    /// Bytes of one uploaded component.
    pub component: u64,
    /// Bytes of one object's database.
    pub database: u64,
    /// Bytes of the commit log that may be needed at once: what was written and is not yet in flushed database files.
    pub log_capacity: u64,
    /// Bytes of one file of the commit log.
    pub log_segment: u64,
    /// WebSockets of one object.
    pub sockets_per_object: u32,
    /// Bytes of one WebSocket message, either way.
    pub socket_message: u64,
    /// Bytes of messages that may wait for one peer, each with 128 more: seconds of a busy feed on a slow line.
    pub socket_buffer: u64,
    /// Bytes of messages that may wait for all peers; each message counts once. Beyond this, a peer gets a message only
    /// if no other waits for it.
    pub socket_buffers: u64,
    /// Seconds of silence after which the peer of a WebSocket is pinged; after as many again the connection counts as
    /// lost.
    pub socket_silence_seconds: f64,
    /// Seconds after which an idle instance is dropped.
    pub idle_seconds: f64,
    /// Seconds after its last event from outside for which resumes may hold an instance: minutes of saving, no job of
    /// its own.
    pub late_seconds: f64,
    /// Seconds after a deploy for which an instance may go on that owes answers: as long as people wait for one.
    pub drain_seconds: f64,
    /// Seconds for which a shutdown waits for running turns.
    pub shutdown_seconds: f64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            fuel_per_turn: 300_000_000_000,
            cpu_seconds_per_turn: 30.0,
            wall_seconds_per_turn: 900.0,
            memory_per_instance: 128 << 20,
            live_instances: 0,
            live_instance_bytes: 0,
            host_memory: 0,
            connections: 0,
            connections_per_address: 256,
            header_seconds: 20.0,
            idle_connection_seconds: 75.0,
            body_seconds: 30.0,
            response_seconds: 30.0,
            slowest_transfer: 4 << 10,
            http2_streams: 100,
            sql_memory: 64 << 20,
            temporary_files: 1 << 30,
            temporary_files_in_all: 4 << 30,
            mailbox_turns: 1_000,
            mailbox_bytes: 32 << 20,
            request_body: 32 << 20,
            response_body: 32 << 20,
            component: 64 << 20,
            database: 10 << 30,
            log_capacity: 1 << 30,
            log_segment: 64 << 20,
            sockets_per_object: 32_768,
            socket_message: 32 << 20,
            socket_buffer: 8 << 20,
            socket_buffers: 1 << 30,
            socket_silence_seconds: 30.0,
            idle_seconds: 10.0,
            late_seconds: 120.0,
            drain_seconds: 30.0,
            shutdown_seconds: 20.0,
        }
    }
}

impl Limits {
    /// Returns the CPU time per turn.
    pub fn cpu_time(&self) -> Duration {
        Duration::from_secs_f64(self.cpu_seconds_per_turn)
    }

    /// Returns the wall time per turn.
    pub fn wall_time(&self) -> Duration {
        Duration::from_secs_f64(self.wall_seconds_per_turn)
    }

    /// Returns the time for which the peer of a WebSocket may be silent before it is pinged.
    pub fn socket_silence(&self) -> Duration {
        Duration::from_secs_f64(self.socket_silence_seconds)
    }

    /// Returns the time for which an instance may be idle.
    pub fn idle(&self) -> Duration {
        Duration::from_secs_f64(self.idle_seconds)
    }

    /// Returns the time after its last event for which resumes may hold an instance.
    pub fn late(&self) -> Duration {
        Duration::from_secs_f64(self.late_seconds)
    }

    /// Returns the time after a deploy for which an instance may go on that owes answers.
    pub fn drain(&self) -> Duration {
        Duration::from_secs_f64(self.drain_seconds)
    }

    /// Returns the time for which a shutdown waits for running turns.
    pub fn shutdown(&self) -> Duration {
        Duration::from_secs_f64(self.shutdown_seconds)
    }
}

/// Bytes up to which a body over HTTP/1 is not charged: HTTP/1 has one request at a time, so the number of connections
/// is the bound.
pub const UNCHARGED_BODY_MAX: usize = 16 << 10;
/// Bytes of the headers of a response, each with 64 more: the most that common clients accept of a complete head.
pub const RESPONSE_HEAD_MAX: usize = 256 << 10;
/// Bytes up to which a response head is not charged: one HTTP/2 connection may have 100 of them.
pub const UNCHARGED_HEAD_MAX: usize = 2 << 10;
/// Longest key of the key-value interface, in bytes of UTF-8 (Durable Objects: 2,048).
pub const KEY_MAX: usize = 2_048;
/// Key and value of one entry together, in bytes (Durable Objects: 2 MB).
pub const ENTRY_MAX: usize = 2_000_000;
/// Keys or entries in one call (Durable Objects: 128).
pub const KEYS_PER_CALL: usize = 128;
/// SQL text of one call, in bytes (Durable Objects: 100 KB).
pub const SQL_TEXT_MAX: usize = 100_000;
/// Bound parameters of one statement (Durable Objects: 100).
pub const SQL_PARAMETERS_MAX: usize = 100;
/// Columns of one table or result (Durable Objects: 100).
pub const SQL_COLUMNS_MAX: usize = 100;
/// Depth of one SQL expression (Durable Objects: 100).
pub const SQL_EXPRESSION_DEPTH_MAX: usize = 100;
/// Length of a LIKE or GLOB pattern, in bytes (Durable Objects: 50).
pub const SQL_PATTERN_MAX: usize = 50;
/// One text, blob or row, in bytes (Durable Objects: 2 MB).
pub const SQL_VALUE_MAX: usize = 2_000_000;
/// A batch of rows or entries is cut when it holds this many bytes, so that no read needs much memory.
pub const BATCH_BYTES: usize = 1 << 20;
/// Rows that one `exec` answers itself before a cursor is needed.
pub const FIRST_ROWS: usize = 256;
/// Cursors and listings that one turn may have open at once; each holds a statement. What they hold in memory is
/// bounded by
/// `sql-memory`.
pub const CURSORS_MAX: usize = 1_000;
/// Savepoints that one turn may have open at once.
pub const SAVEPOINTS_MAX: u32 = 32;
/// Rows in one answer of the admin API to a query.
pub const TABLE_ROWS_MAX: usize = 10_000;
/// Bytes in such an answer, approximately: it may be exceeded by one row.
pub const TABLE_BYTES_MAX: usize = 16 << 20;
/// Bytes of the body of such a query: its text and 100 parameters of the largest size would be more than anyone types.
pub const QUERY_BODY_MAX: u64 = 8 << 20;
/// Bytes that one turn may write; they are held until the turn is durable.
pub const TURN_WRITE_MAX: u64 = 256 << 20;
/// Fuel per step of SQLite's virtual machine: a step takes about 10 ns, compiled guest code uses about 10 units per
/// nanosecond, so a turn in SQL ends after about as long as a turn in code.
pub const FUEL_PER_SQL_STEP: u64 = 100;
/// Minimum fuel per host call: about 0.1 µs, most of it the call and the return. These prices were measured (the
/// ignored e2e test `prices_of_host_calls`): 10 units are a nanosecond of this work, as they are of compiled code, so a
/// turn that calls the host ends after about as long as one that computes.
pub const FUEL_PER_HOST_CALL: u64 = 1_000;
/// Fuel per byte that is copied between a guest and the host, and for the host's work on each byte during the copy
/// (UTF-8 is checked).
pub const FUEL_PER_COPIED_BYTE: u64 = 2;
/// Fuel per item of a list that is copied: a text or bytes of its own, a resource, an id.
pub const FUEL_PER_ITEM: u64 = 500;
/// Fuel per random byte, which the kernel generates.
pub const FUEL_PER_RANDOM_BYTE: u64 = 25;
/// Fuel per log entry or printed line, whether written or left out.
pub const FUEL_PER_LOG_ENTRY: u64 = 2_000;
/// Fuel per key or entry that is read or written, besides the steps of SQLite.
pub const FUEL_PER_ENTRY: u64 = 10_000;
/// Fuel per stored byte that is read or written: SQLite keeps long values in chains of pages.
pub const FUEL_PER_STORED_BYTE: u64 = 5;
/// Fuel per socket that a message is sent to or that is read.
pub const FUEL_PER_SOCKET: u64 = 1_000;
/// Different tags of one WebSocket (Durable Objects: 10).
pub const TAGS_MAX: usize = 10;
/// Bytes of one tag (Durable Objects: 256 characters).
pub const TAG_MAX: usize = 256;
/// Bytes that an object may attach to a WebSocket (Durable Objects: 16,384).
pub const ATTACHMENT_MAX: usize = 16_384;
/// Bytes of each half of an auto-response (Durable Objects: 2,048 characters).
pub const AUTO_RESPONSE_MAX: usize = 2_048;
/// Bytes of the reason in a close frame (RFC 6455 §5.5: 125, less the code).
pub const REASON_MAX: usize = 123;
/// Bytes of messages that one turn may send, each counted once however many peers receive it, with the host's
/// bookkeeping: they are held until the turn is durable.
pub const SENDS_PER_TURN_BYTES: u64 = 64 << 20;
/// Resumes that one instance may have: more than a program has timers.
pub const RESUMES_MAX: usize = 1_000;
/// Resumes that one turn delivers.
pub const RESUMES_PER_TURN: usize = 256;
/// Milliseconds after which a resume may be due: the largest integer that the numbers of every guest language hold
/// exactly.
pub const DELAY_MAX_MS: u64 = (1 << 53) - 1;
/// Answers that one instance may owe: as many as a mailbox has turns.
pub const DEFERRED_MAX: usize = 1_000;
/// Turns that may wait for one another: deeper than programs are layered.
pub const CALL_DEPTH_MAX: usize = 16;
/// Calls that one turn may make (Workers: 1,000 subrequests).
pub const CALLS_PER_TURN: u32 = 1_000;
/// Calls of one turn that were begun and have not ended: as many as a turn waits for with any sense.
pub const CALLS_AT_ONCE: usize = 64;
/// Calls that a request may cause in all: it bounds what a tree of calls multiplies to.
pub const CALLS_PER_CHAIN: u32 = 10_000;
/// Milliseconds after which a call fails that sets no time of its own: as long as people wait for an answer.
pub const CALL_TIMEOUT_MS: u32 = 30_000;
/// Bytes of the arguments of one call, and of its result.
pub const CALL_BYTES_MAX: usize = 32 << 20;
/// Fuel per call: about 10 µs of the host's work, most of it for another thread to wake.
pub const FUEL_PER_CALL: u64 = 100_000;
/// Bytes of one log entry, message and fields together.
pub const LOG_ENTRY_MAX: usize = 16 * 1024;
/// Log entries of one turn.
pub const LOG_ENTRIES_PER_TURN: u32 = 1_000;
/// Log entries in the history of one class, and how far a follower may fall behind: those of one busy turn, and some.
pub const LOG_HISTORY_ENTRIES: usize = 1_024;
/// Bytes of the log history of one class: a quarter of what 1,024 of the longest entries take; only stacks are that
/// long.
pub const LOG_HISTORY_BYTES: usize = 4 << 20;
/// Bytes of the log history of a class that may use no more of the host's memory: four of the longest entries, because
/// its last entries explain why.
pub const LOG_HISTORY_KEPT: usize = 4 * LOG_ENTRY_MAX + 4096;
/// Bytes of the log histories of all classes: sixteen that log as much as they can, hundreds that log as usual.
pub const LOG_HISTORIES_BYTES: usize = 64 << 20;
/// The time window in which failed turns are counted together, in seconds.
pub const FAILURES_WINDOW_SECONDS: u64 = 10;
/// Failed turns of one object with one code that are reported in full in that time; the others are counted.
pub const FAILURES_OF_OBJECT: u32 = 10;
/// The same of one class, whatever its objects.
pub const FAILURES_OF_CLASS: u32 = 100;
/// Objects and codes of one class whose failures are counted separately; those of all others are counted together.
pub const FAILURES_COUNTED_APART: usize = 64;

const _: () = assert!(LOG_ENTRIES_PER_TURN as usize <= LOG_HISTORY_ENTRIES && LOG_ENTRY_MAX * 8 < LOG_HISTORY_BYTES);
const _: () = assert!(ENTRY_MAX > KEY_MAX && BATCH_BYTES < TURN_WRITE_MAX as usize && SQL_VALUE_MAX <= ENTRY_MAX);
