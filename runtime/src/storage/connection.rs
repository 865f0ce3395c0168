//! One SQLite connection, with the settings that all of them have.
//!
//! Owns the settings, SQLite's limits, and the cache of the guest's statements; the callbacks are in `session`. It does
//! not know turns. A connection costs about 70 KiB and at most 2 MiB of pages more.

use std::collections::VecDeque;
use std::ffi::c_int;
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Once};

use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::{OpenFlags, ffi};

use super::functions;
use super::heap::{self, Heap};
use super::limited;
use super::page_cache;
use super::session::Session;
use super::statement::{SqliteError, Statement};
use super::sums::PageSums;
use super::template::PAGE;
use super::vfs;
use crate::base::limits::{
    SQL_COLUMNS_MAX, SQL_EXPRESSION_DEPTH_MAX, SQL_PARAMETERS_MAX, SQL_PATTERN_MAX, SQL_TEXT_MAX, SQL_VALUE_MAX,
};

/// The guest's statements that stay compiled: what a handler repeats. Each takes a few KiB.
const STATEMENTS: usize = 16;

/// SQLite flushes nothing: what counts is in the commit log. The cache is [`CACHE_PAGES`] large.
const SETTINGS: &str = "PRAGMA locking_mode = EXCLUSIVE; PRAGMA synchronous = OFF; PRAGMA temp_store = FILE;
     PRAGMA cache_size = 512;";

/// Pages that a connection keeps in memory. A transaction that changes more writes the rest before it is applied.
pub(super) const CACHE_PAGES: u64 = 512;

/// SQLite's limits. Those without a name in `base::limits` bound what compiling one statement may cost: instructions of
/// the program (nested views can double them again and again), terms of a compound SELECT, arguments of a function,
/// triggers that set off triggers.
const LIMITS: [(Limit, usize); 11] = [
    (Limit::SQLITE_LIMIT_LENGTH, SQL_VALUE_MAX),
    (Limit::SQLITE_LIMIT_SQL_LENGTH, SQL_TEXT_MAX),
    (Limit::SQLITE_LIMIT_COLUMN, SQL_COLUMNS_MAX),
    (Limit::SQLITE_LIMIT_EXPR_DEPTH, SQL_EXPRESSION_DEPTH_MAX),
    (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, SQL_PATTERN_MAX),
    (Limit::SQLITE_LIMIT_VARIABLE_NUMBER, SQL_PARAMETERS_MAX),
    (Limit::SQLITE_LIMIT_ATTACHED, 0),
    (Limit::SQLITE_LIMIT_VDBE_OP, 250_000),
    (Limit::SQLITE_LIMIT_COMPOUND_SELECT, 100),
    (Limit::SQLITE_LIMIT_FUNCTION_ARG, 127),
    (Limit::SQLITE_LIMIT_TRIGGER_DEPTH, 100),
];

/// An open connection with the guest's compiled statements.
pub(super) struct Connection {
    /// Before `sqlite`, so that they are dropped first.
    statements: VecDeque<(Box<str>, Statement)>,
    sqlite: rusqlite::Connection,
    pub session: Arc<Session>,
    /// The heap of its allocations.
    pub heap: Heap,
}

impl Connection {
    /// Opens an existing database file without checking its pages.
    pub fn open(path: &Path, max_pages: u32, heap: Heap) -> rusqlite::Result<Self> {
        Self::open_with(path, None, max_pages, heap)
    }

    /// Opens an existing database file, whose pages have these sums.
    pub fn open_checked(path: &Path, sums: Arc<PageSums>, max_pages: u32, heap: Heap) -> rusqlite::Result<Self> {
        Self::open_with(path, Some(sums), max_pages, heap)
    }

    fn open_with(path: &Path, sums: Option<Arc<PageSums>>, max_pages: u32, heap: Heap) -> rusqlite::Result<Self> {
        configure_process();
        let entered = heap::enter(&heap);
        // With extended codes from the first read on, which distinguish damage from a failing disk.
        let flags =
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_EXRESCODE;
        let open = || rusqlite::Connection::open_with_flags_and_vfs(path, flags, vfs::OBJECTS);
        let mut sqlite = vfs::with_sums(sums, open)?;
        set_limits(&mut sqlite)?;
        sqlite.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        sqlite.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
        sqlite.execute_batch(&format!("{SETTINGS} PRAGMA max_page_count = {max_pages};"))?;
        // After the settings: a defensive connection refuses some of them.
        sqlite.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
        let session = Arc::new(Session::default());
        Session::hook(&session, &mut sqlite)?;
        functions::register(&sqlite, &session)?;
        drop(entered);
        Ok(Self { statements: VecDeque::new(), sqlite, session, heap })
    }

    /// Returns the connection, for the guest's statements.
    pub fn guest(&self) -> &rusqlite::Connection {
        &self.sqlite
    }

    /// Compiles the first statement of the guest's text; see [`Statement::prepare`].
    pub fn compile(&self, text: &str) -> Result<(Option<Statement>, usize), SqliteError> {
        self.session.compiling.store(true, Relaxed);
        let compiled = Statement::prepare(self.guest(), text);
        self.session.compiling.store(false, Relaxed);
        compiled
    }

    /// Runs the host's own statements: the authorizer lets them through.
    pub fn host<T>(&self, run: impl FnOnce(&rusqlite::Connection) -> T) -> T {
        let _for = heap::enter(&self.heap);
        self.run_host(run)
    }

    /// Runs the host's statements that begin or end transactions: memory is not refused to them.
    pub fn control<T>(&self, run: impl FnOnce(&rusqlite::Connection) -> T) -> T {
        let _for = heap::enter_exempt(&self.heap);
        self.run_host(run)
    }

    fn run_host<T>(&self, run: impl FnOnce(&rusqlite::Connection) -> T) -> T {
        self.session.host.store(true, Relaxed);
        let answer = run(&self.sqlite);
        self.session.host.store(false, Relaxed);
        answer
    }

    /// Bytes of pages in use.
    pub fn bytes(&self) -> rusqlite::Result<u64> {
        self.host(|sqlite| {
            let ask = |pragma| sqlite.prepare_cached(pragma)?.query_row([], |row| row.get::<_, u32>(0));
            let pages = ask("PRAGMA page_count")? - ask("PRAGMA freelist_count")?;
            Ok(u64::from(pages) * PAGE as u64)
        })
    }

    /// Frames in the WAL, as far as this connection has applied something.
    pub fn frames(&self) -> u32 {
        self.session.frames.load(Relaxed)
    }

    /// Copies the WAL into the database file and empties it, without a flush. Returns whether it could: not while a
    /// statement is open.
    pub fn reset_wal(&self) -> rusqlite::Result<bool> {
        let busy = self.host(|sqlite| {
            sqlite.prepare_cached("PRAGMA wal_checkpoint(TRUNCATE)")?.query_row([], |row| row.get::<_, bool>(0))
        })?;
        if !busy {
            self.session.frames.store(0, Relaxed);
        }
        Ok(!busy)
    }

    /// Bounds FTS5's functions if the statement that was just compiled is the first that names one; it is to be
    /// compiled again then.
    pub fn bound_auxiliary(&self) -> bool {
        if self.session.auxiliary.load(Relaxed) != 1 {
            return false;
        }
        let bounded = self.host(|sqlite| functions::auxiliary::bound(sqlite, &self.session));
        // Without memory it is tried again; this statement fails for the same reason.
        self.session.auxiliary.store(if bounded.is_ok() { 2 } else { 0 }, Relaxed);
        true
    }

    /// Compiles a statement that SQLite refused for its LIMIT, if it can be written without.
    pub fn prepare_limited(&self, error: &SqliteError, text: &str) -> Option<(Option<Statement>, usize)> {
        if !["near \"LIMIT\": syntax error", "near \"ORDER\": syntax error"].contains(&error.message.as_str()) {
            return None;
        }
        let rewritten = self.host(|sqlite| limited::rewrite(sqlite, text))?;
        let (statement, _) = self.compile(&rewritten.text).ok()?;
        Some((statement, rewritten.length))
    }

    /// Takes the compiled statement of this text out of the cache.
    pub fn take_statement(&mut self, text: &str) -> Option<(Box<str>, Statement)> {
        let at = self.statements.iter().position(|(cached, _)| **cached == *text)?;
        self.statements.remove(at)
    }

    /// Puts a statement that ended into the cache; the one unused longest leaves.
    pub fn keep_statement(&mut self, text: Box<str>, mut statement: Statement) {
        let _for = heap::enter(&self.heap);
        statement.reset();
        self.statements.truncate(STATEMENTS - 1);
        self.statements.push_front((text, statement));
    }
}

/// Sets SQLite's limits for what guests do.
pub(super) fn set_limits(sqlite: &mut rusqlite::Connection) -> rusqlite::Result<()> {
    LIMITS.into_iter().try_for_each(|(limit, value)| sqlite.set_limit(limit, value as i32).map(drop))
}

/// Settings of SQLite itself, before its first use: the VFS of objects, the allocator of `heap`, the page cache that
/// asks, no memory set aside for each connection, and no global count of memory, which every allocation of every object
/// would take a lock for.
pub(super) fn configure_process() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: called once; SQLite refuses (and changes nothing) if it is already in use. The argument types are
        // those that each option documents.
        unsafe {
            assert_eq!(heap::install(), ffi::SQLITE_OK, "SQLite is not used before it is configured");
            ffi::sqlite3_config(ffi::SQLITE_CONFIG_LOOKASIDE, 0 as c_int, 0 as c_int);
            ffi::sqlite3_config(ffi::SQLITE_CONFIG_PAGECACHE, std::ptr::null_mut::<u8>(), 0 as c_int, 0 as c_int);
            ffi::sqlite3_config(ffi::SQLITE_CONFIG_MEMSTATUS, 0 as c_int);
        }
        page_cache::install();
        vfs::register();
    });
}
