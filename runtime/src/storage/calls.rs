//! The calls of SQL from outside of storage: each runs on a stack of its own, in slices.
//!
//! The futures are pending while their statement is suspended, and wake themselves; [`crate::base::Computing`], which
//! polls them, decides how long a slice is and which turn continues when. A call that is dropped before its end ends as
//! an interrupted statement does and breaks its turn, which then cannot be applied.

use super::commit_log::DurableWatch;
use super::stacks::{OnStack, Stack};
use super::{Applied, ApplyError, Cursor, Database, ExecResult, Lsn, PackedResult, SqlError, Turn, Value, WholeError};
use crate::base::{Computing, Exhausted, Failpoint, Table, WorkBudget};

impl Turn {
    /// Runs one or more statements. All but the last run to their end and take no parameters.
    pub fn exec_sliced<'a>(
        &'a mut self,
        text: &'a str,
        parameters: &'a [Value],
    ) -> impl Future<Output = Result<ExecResult, SqlError>> + Send + 'a {
        self.on_stack(|turn| turn.exec(text, parameters))
    }

    /// The same with the rows in one piece.
    pub fn exec_packed_sliced<'a>(
        &'a mut self,
        text: &'a str,
        parameters: &'a [Value],
    ) -> impl Future<Output = Result<PackedResult, SqlError>> + Send + 'a {
        self.on_stack(|turn| turn.exec_packed(text, parameters))
    }

    /// The next rows, at most `max_rows` (0 is taken as 1) and about 1 MiB. An empty list is the end.
    pub fn next_sliced(
        &mut self,
        cursor: Cursor,
        max_rows: u32,
    ) -> impl Future<Output = Result<Vec<Vec<Value>>, SqlError>> + Send + '_ {
        self.on_stack(move |turn| turn.next(cursor, max_rows))
    }

    /// The same in one piece.
    pub fn next_packed_sliced(
        &mut self,
        cursor: Cursor,
        max_rows: u32,
    ) -> impl Future<Output = Result<Vec<u8>, SqlError>> + Send + '_ {
        self.on_stack(move |turn| turn.next_packed(cursor, max_rows))
    }

    /// Runs a call to its end and returns its rows in one table, cut off at 10,000 rows or about 16 MiB. A statement
    /// that only reads is not run further than that.
    pub fn query_sliced<'a>(
        &'a mut self,
        text: &'a str,
        parameters: &'a [Value],
    ) -> impl Future<Output = Result<Table, SqlError>> + Send + 'a {
        self.on_stack(|turn| turn.query(text, parameters))
    }

    /// As [`apply`](Self::apply). What SQL left for the end of the transaction (a full-text index writes itself then)
    /// runs on a stack, too.
    pub async fn apply_sliced(mut self) -> (Box<Database>, Result<Applied, ApplyError>) {
        let Some((stack, work)) = self.stack.take() else { return self.apply() };
        let mut applied = None;
        let applying = OnStack::new(stack, &work, || applied = Some(self.apply()));
        match work.timer() {
            None => drop(applying.await),
            // What is being applied cannot be refused.
            Some(timer) => drop(Computing::exempt(applying, timer.clone()).await.expect("it wants no slot")),
        }
        applied.expect("it ran to its end")
    }

    /// As [`apply_so_far`](Self::apply_so_far), in the same way.
    pub async fn apply_so_far_sliced(&mut self) -> Result<(Lsn, DurableWatch), WholeError> {
        if self.stack.is_none() {
            return self.apply_so_far();
        }
        self.on_stack(Self::apply_so_far).await
    }

    /// As [`apply_so_far_sliced`](Self::apply_so_far_sliced), with room for what was written; does nothing if that is
    /// nothing. The position covers what earlier turns have applied, too.
    pub async fn settle_sliced(&mut self) -> Result<(Lsn, DurableWatch), WholeError> {
        if self.savepoints.is_empty() && !self.has_staged() {
            self.check()?;
            return Ok((self.database().last_applied(), self.database().durable()));
        }
        self.make_room().await;
        self.apply_so_far_sliced().await
    }

    /// Notes that the turn has reached a failpoint.
    pub fn reach(&mut self, failpoint: Failpoint) -> std::io::Result<()> {
        self.database().reach(failpoint)
    }

    /// Runs a call on the turn's stack.
    async fn on_stack<T: Send, E: From<SqlError> + Send>(
        &mut self,
        call: impl FnOnce(&mut Self) -> Result<T, E> + Send,
    ) -> Result<T, E> {
        let (stack, work) = match self.stack.take() {
            Some(kept) => kept,
            None => self.first_stack()?,
        };
        let mut answer = None;
        let stack = OnStack::new(stack, &work, || answer = Some(call(self))).await;
        self.stack = Some((stack, work));
        answer.expect("it ran to its end")
    }

    #[cold]
    fn first_stack(&mut self) -> Result<(Stack, WorkBudget), SqlError> {
        let stack = self.database().shared.stacks.take();
        let stack = stack.ok_or_else(|| {
            self.work().end(Exhausted::Overloaded);
            self.exhausted(Exhausted::Overloaded)
        })?;
        Ok((stack, self.work().clone()))
    }
}
