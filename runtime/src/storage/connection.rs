//! One SQLite connection, set up as all of them are.
//!
//! Owns the settings, the callbacks that SQLite calls back into (authorizer, commit hook, WAL hook, progress handler) and
//! the cache of the guest's statements. Knows nothing of turns: it is told what is allowed at the moment. A connection
//! costs about 70 KiB and at most 2 MiB of pages more.

use std::collections::VecDeque;
use std::ffi::{c_int, c_void};
use std::ops::Range;
use std::path::Path;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Once};
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::config::DbConfig;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;
use rusqlite::{OpenFlags, ffi};

use super::authorizer::{Verdict, is_hosts, judge};
use super::functions;
use super::heap::{self, Heap};
use super::limited;
use super::page_cache;
use super::sql::SqliteError;
use super::stacks;
use super::statement::Statement;
use super::sums::PageSums;
use super::template::PAGE;
use super::vfs;
use crate::base::limits::{
    FUEL_PER_SQL_STEP, SQL_COLUMNS_MAX, SQL_EXPRESSION_DEPTH_MAX, SQL_PARAMETERS_MAX, SQL_PATTERN_MAX, SQL_TEXT_MAX,
    SQL_VALUE_MAX,
};
use crate::base::{Exhausted, WorkBudget};

/// Steps between two looks at the budget: about 10 µs.
const PROGRESS_STEPS: u32 = 1_000;
/// The fewest: a step may be a function that works on 2 MB for milliseconds.
const PROGRESS_STEPS_MIN: u32 = 4;
/// Steps of statements that end before the progress handler is called, after which the clock is looked at: some 60 statements. The look
/// is a system call, which costs as much as a short statement.
const UNSEEN_MAX: u64 = 10_000;
/// What a step takes, about.
const STEP: Duration = Duration::from_nanos(10);
/// What ending a statement counts as at least, so that short ones with dear functions are seen soon.
const STEPS_OF_A_CALL: u64 = 50;
/// CPU time between two looks above which, and below which, the next one comes sooner, or later.
const LOOKS: Range<Duration> = Duration::from_micros(50)..Duration::from_micros(250);
/// The guest's statements that stay compiled: what a handler repeats. Each takes a few KiB.
const STATEMENTS: usize = 16;

/// Questions to the authorizer while one statement is compiled: about one for each column, table and view that it names. Views
/// that name views multiply, and SQLite's own limits let one statement compile for 20 s.
const QUESTIONS: u32 = 5_000;

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
    /// What SQLite allocates for it.
    pub heap: Heap,
}

/// What a connection and SQLite's callbacks share. Atomics because callbacks must be `Send`; one thread at a time uses it.
#[derive(Default)]
pub(super) struct Session {
    /// One of the host's statements is being compiled or run.
    host: AtomicBool,
    /// One of the guest's statements is being compiled.
    compiling: AtomicBool,
    /// The turn has a transaction.
    pub writing: AtomicBool,
    /// The host is ending the transaction; nobody else may.
    pub applying: AtomicBool,
    /// The last COMMIT wrote frames.
    pub wrote: AtomicBool,
    /// Frames in the WAL after the last COMMIT.
    pub frames: AtomicU32,
    /// The turn only reads.
    reads_only: AtomicBool,
    /// FTS5's functions that want bounding: 0, none was named; 1, one was; 2, they are bounded.
    auxiliary: AtomicU8,
    /// The guest set a pragma that lasts.
    pub altered: AtomicBool,
    /// The authorizer was asked since `seen` was last taken.
    asked: AtomicBool,
    seen: Mutex<Seen>,
    budget: Mutex<Option<WorkBudget>>,
    /// Steps that the progress handler has charged since the last `take_charged`.
    charged: AtomicU64,
    /// Steps that were charged after statements since the last look at the clock.
    unseen: AtomicU64,
    /// Steps between two calls of the progress handler.
    steps: AtomicU32,
    /// What the slice had computed at the last look, in nanoseconds.
    looked: AtomicU64,
    /// The connection that this is the session of; used in its own callbacks only.
    handle: AtomicPtr<ffi::sqlite3>,
}

/// What the authorizer saw while one statement was compiled.
#[derive(Default)]
pub(super) struct Seen {
    questions: u32,
    /// It changes the schema.
    pub schema: bool,
    /// It acts when compiled.
    pub pragma: bool,
    /// What was refused.
    pub refused: Option<String>,
}

impl Connection {
    /// Opens an existing database file, whose pages nobody checks.
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
        // With extended codes from the first read on, which tell damage from a disk that fails.
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

    /// The connection, for the guest's statements.
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

    /// The same for statements that begin or end transactions: memory is not refused to them.
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

    /// Copies the WAL into the database file and cuts it to nothing, without a flush. Answers whether it could: not while a
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

    /// Bounds FTS5's functions if the statement that was just compiled is the first that names one; it is to be compiled again then.
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

impl Session {
    fn hook(session: &Arc<Self>, sqlite: &mut rusqlite::Connection) -> rusqlite::Result<()> {
        let of = |session: &Arc<Self>| session.clone();
        let (authorizer, commit, wal) = (of(session), of(session), of(session));
        sqlite.authorizer(Some(move |context: AuthContext<'_>| authorizer.authorize(&context)))?;
        sqlite.commit_hook(Some(move || !commit.applying.load(Relaxed)))?;
        sqlite.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, frames: c_int| {
            wal.wrote.store(true, Relaxed);
            wal.frames.store(frames as u32, Relaxed);
            Ok(())
        }))?;
        // SAFETY: the handle is that of the open connection.
        session.handle.store(unsafe { sqlite.handle() }, Relaxed);
        session.call_after(PROGRESS_STEPS);
        Ok(())
    }

    /// Has the progress handler called each time that so many steps were done.
    fn call_after(&self, steps: u32) {
        self.steps.store(steps, Relaxed);
        let session = ptr::from_ref(self).cast_mut().cast::<c_void>();
        // SAFETY: the handle is that of the connection whose session this is; a connection keeps its session until it is closed
        // (`Connection` drops it last), and is called from where the connection is used, or from within its own handler, which SQLite
        // reads the number anew after.
        unsafe {
            ffi::sqlite3_progress_handler(self.handle.load(Relaxed), steps as c_int, Some(progress), session);
        }
    }

    fn authorize(&self, context: &AuthContext<'_>) -> Authorization {
        let host = self.host.load(Relaxed);
        self.asked.store(true, Relaxed);
        let mut seen = self.seen.lock();
        // While a statement runs, full-text tables compile small statements of their own: as many as the work needs, which is metered.
        seen.questions += u32::from(!host && self.compiling.load(Relaxed));
        if seen.questions > QUESTIONS {
            seen.refused = Some(format!("a statement that names more than {QUESTIONS} things, views included"));
            return Authorization::Deny;
        }
        if let AuthAction::Pragma { pragma_value: Some(name), .. } = context.action
            && !host
            && !self.compiling.load(Relaxed)
            && is_hosts(name)
        {
            // `pragma_table_info(name)` asks when it runs. To who goes over all names of the schema the host's have no columns.
            return Authorization::Ignore;
        }
        if let AuthAction::Function { function_name: "snippet" | "highlight" } = context.action
            && self.auxiliary.load(Relaxed) == 0
        {
            self.auxiliary.store(1, Relaxed);
        }
        match judge(context, host, self.writing.load(Relaxed)) {
            Verdict::Allow => {}
            Verdict::Schema => seen.schema = true,
            Verdict::Pragma => seen.pragma = true,
            Verdict::Setting if self.reads_only.load(Relaxed) => {
                seen.refused = Some("setting a pragma in a query that only reads".into());
                return Authorization::Deny;
            }
            Verdict::Setting => {
                seen.pragma = true;
                self.altered.store(true, Relaxed);
            }
            Verdict::Ignore => return Authorization::Ignore,
            Verdict::Refuse(what) => {
                seen.refused = Some(what);
                return Authorization::Deny;
            }
        }
        Authorization::Allow
    }

    /// What was seen since this was last asked.
    pub fn take_seen(&self) -> Seen {
        if !self.asked.load(Relaxed) {
            return Seen::default();
        }
        self.asked.store(false, Relaxed);
        std::mem::take(&mut *self.seen.lock())
    }

    /// Work is charged to this budget from now on.
    pub fn begin_turn(&self, budget: &WorkBudget, reads_only: bool) {
        self.charged.store(0, Relaxed);
        self.unseen.store(0, Relaxed);
        self.looked.store(0, Relaxed);
        self.reads_only.store(reads_only, Relaxed);
        *self.budget.lock() = Some(budget.clone());
    }

    /// Work is charged to nobody from now on.
    pub fn end_turn(&self) {
        *self.budget.lock() = None;
    }

    fn progress(&self) -> bool {
        let steps = self.steps.load(Relaxed);
        self.charged.fetch_add(steps.into(), Relaxed);
        let ticked = self.tick(steps.into());
        let running = self.budget().map_or(Duration::ZERO, |budget| budget.running());
        let before = Duration::from_nanos(self.looked.swap(running.as_nanos() as u64, Relaxed));
        let since = running.checked_sub(before).unwrap_or(running);
        if since >= LOOKS.end && steps > PROGRESS_STEPS_MIN {
            self.call_after((steps / 4).max(PROGRESS_STEPS_MIN));
        } else if since < LOOKS.start && steps < PROGRESS_STEPS {
            self.call_after((steps * 2).min(PROGRESS_STEPS));
        }
        ticked.is_err()
    }

    /// Charges work of the running call in steps of SQLite's virtual machine (10 ns each), looks at the clock, and lets others compute if the
    /// turn's slice is over. For functions that work for long between two steps: called each 1,000 to 5,000 steps' worth, with no lock
    /// held. After an error the function ends with `SQLITE_INTERRUPT`.
    pub fn tick(&self, steps: u64) -> Result<(), Exhausted> {
        let Some(budget) = self.budget() else { return Ok(()) };
        budget.charge(steps * FUEL_PER_SQL_STEP)?;
        budget.check_time()?;
        if budget.must_give_way() {
            stacks::give_way();
        }
        budget.check()
    }

    /// [`tick`](Self::tick) before a function that SQLite does at once: it is not begun if the turn's CPU time would be long over at its end.
    pub fn tick_ahead(&self, steps: u64) -> Result<(), Exhausted> {
        if let Some(budget) = self.budget() {
            budget.check_time_for(STEP.saturating_mul(u32::try_from(steps).unwrap_or(u32::MAX)))?;
        }
        self.tick(steps)
    }

    /// After steps that the progress handler has not seen, because a statement ended before: looks at the clock when they are many.
    pub fn note_steps(&self, steps: u64) -> Result<(), Exhausted> {
        let unseen = self.unseen.load(Relaxed) + steps.max(STEPS_OF_A_CALL);
        if unseen < UNSEEN_MAX {
            self.unseen.store(unseen, Relaxed);
            return Ok(());
        }
        self.unseen.store(0, Relaxed);
        self.tick(0)
    }

    fn budget(&self) -> Option<WorkBudget> {
        self.budget.lock().clone()
    }

    /// Steps that the progress handler has charged since this was last asked.
    pub fn take_charged(&self) -> u64 {
        let charged = self.charged.load(Relaxed);
        self.charged.store(0, Relaxed);
        charged
    }
}

/// Sets SQLite's limits for what guests do.
pub(super) fn set_limits(sqlite: &mut rusqlite::Connection) -> rusqlite::Result<()> {
    LIMITS.into_iter().try_for_each(|(limit, value)| sqlite.set_limit(limit, value as i32).map(drop))
}

/// What SQLite calls after so many steps; not zero has it interrupt the statement.
unsafe extern "C" fn progress(session: *mut c_void) -> c_int {
    // SAFETY: `call_after` gave the connection's session, which lives as long as the connection.
    let session = unsafe { &*session.cast::<Session>() };
    c_int::from(session.progress())
}

/// Settings of SQLite itself, before its first use: the VFS of objects, the allocator of `heap`, the page cache that asks, no memory set aside for each connection, and no global count of
/// memory, which every allocation of every object would take a lock for.
pub(super) fn configure_process() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: called once; SQLite refuses (and changes nothing) if it is already in use. The argument types are those
        // that each option documents.
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
