//! The state that a connection shares with SQLite's callbacks: authorizer, commit hook, WAL hook, progress handler.
//!
//! Owns what statements may do at the moment, and charges SQLite's work to the running turn's budget. It does not know
//! turns; the turn sets what is allowed.

use std::ffi::{c_int, c_void};
use std::ops::Range;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::ffi;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};

use super::authorizer::{Verdict, is_hosts, judge};
use super::stacks;
use crate::base::limits::FUEL_PER_SQL_STEP;
use crate::base::{Exhausted, WorkBudget};

/// Steps between two looks at the budget: about 10 µs.
const PROGRESS_STEPS: u32 = 1_000;
/// The fewest: a step may be a function that works on 2 MB for milliseconds.
const PROGRESS_STEPS_MIN: u32 = 4;
/// Steps of statements that end before the progress handler is called, after which the clock is looked at: some 60
/// statements. The look is a system call, which costs as much as a short statement.
const UNSEEN_MAX: u64 = 10_000;
/// The approximate time of a step.
const STEP: Duration = Duration::from_nanos(10);
/// The least number of steps that a statement counts, so that short ones with expensive functions are noticed soon.
const STEPS_OF_A_CALL: u64 = 50;
/// CPU time between two looks above which, and below which, the next one comes sooner, or later.
const LOOKS: Range<Duration> = Duration::from_micros(50)..Duration::from_micros(250);
/// Questions to the authorizer while one statement is compiled: about one for each column, table and view that it
/// names. Views that name views multiply, and SQLite's own limits let one statement compile for 20 s.
const QUESTIONS: u32 = 5_000;

/// The state of one connection. Atomics, because callbacks must be `Send`; one thread at a time uses it.
#[derive(Default)]
pub(super) struct Session {
    /// One of the host's statements is being compiled or run.
    pub host: AtomicBool,
    /// One of the guest's statements is being compiled.
    pub compiling: AtomicBool,
    /// The turn has a transaction.
    pub writing: AtomicBool,
    /// The host is ending the transaction; no other COMMIT succeeds.
    pub applying: AtomicBool,
    /// The last COMMIT wrote frames.
    pub wrote: AtomicBool,
    /// Frames in the WAL after the last COMMIT.
    pub frames: AtomicU32,
    /// The turn only reads.
    reads_only: AtomicBool,
    /// FTS5's functions that want bounding: 0, none was named; 1, one was; 2, they are bounded.
    pub auxiliary: AtomicU8,
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
    /// The CPU time of the slice at the last look, in nanoseconds.
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

impl Session {
    /// Has SQLite call the session back: authorizer, commit hook, WAL hook, progress handler.
    pub fn hook(session: &Arc<Self>, sqlite: &mut rusqlite::Connection) -> rusqlite::Result<()> {
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
        // SAFETY: the handle is that of the connection whose session this is; a connection keeps its session until it
        // is closed (`Connection` drops it last), and is called from where the connection is used, or from within its
        // own handler, which SQLite reads the number anew after.
        unsafe {
            ffi::sqlite3_progress_handler(self.handle.load(Relaxed), steps as c_int, Some(progress), session);
        }
    }

    fn authorize(&self, context: &AuthContext<'_>) -> Authorization {
        let host = self.host.load(Relaxed);
        self.asked.store(true, Relaxed);
        let mut seen = self.seen.lock();
        // While a statement runs, full-text tables compile small statements of their own: as many as the work needs,
        // which is metered.
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
            // `pragma_table_info(name)` asks when it runs. For a query over all names of the schema the host's have no
            // columns.
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

    /// Takes what was seen since the last call.
    pub fn take_seen(&self) -> Seen {
        if !self.asked.load(Relaxed) {
            return Seen::default();
        }
        self.asked.store(false, Relaxed);
        std::mem::take(&mut *self.seen.lock())
    }

    /// Begins to charge work to this budget.
    pub fn begin_turn(&self, budget: &WorkBudget, reads_only: bool) {
        self.charged.store(0, Relaxed);
        self.unseen.store(0, Relaxed);
        self.looked.store(0, Relaxed);
        self.reads_only.store(reads_only, Relaxed);
        *self.budget.lock() = Some(budget.clone());
    }

    /// Ends the charging of work.
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

    /// Charges work of the running call in steps of SQLite's virtual machine (10 ns each), looks at the clock, and lets
    /// others compute if the turn's slice is over. For functions that work for long between two steps: called each
    /// 1,000 to 5,000 steps' worth, with no lock held. After an error the function ends with `SQLITE_INTERRUPT`.
    pub fn tick(&self, steps: u64) -> Result<(), Exhausted> {
        let Some(budget) = self.budget() else { return Ok(()) };
        budget.charge(steps * FUEL_PER_SQL_STEP)?;
        budget.check_time()?;
        if budget.must_give_way() {
            stacks::give_way();
        }
        budget.check()
    }

    /// [`tick`](Self::tick) before a function that SQLite does at once: it is not begun if the turn's CPU time would be
    /// long over at its end.
    pub fn tick_ahead(&self, steps: u64) -> Result<(), Exhausted> {
        if let Some(budget) = self.budget() {
            budget.check_time_for(STEP.saturating_mul(u32::try_from(steps).unwrap_or(u32::MAX)))?;
        }
        self.tick(steps)
    }

    /// After steps that the progress handler has not seen, because a statement ended before: looks at the clock when
    /// they are many.
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

/// The progress handler. SQLite interrupts the statement if it returns non-zero.
unsafe extern "C" fn progress(session: *mut c_void) -> c_int {
    // SAFETY: `call_after` gave the connection's session, which lives as long as the connection.
    let session = unsafe { &*session.cast::<Session>() };
    c_int::from(session.progress())
}
