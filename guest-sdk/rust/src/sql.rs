//! The object's SQLite database: statements, parameters and typed rows. What may be run, and the limits, are the
//! host's.

mod migrate;
mod packed;
mod row;
mod value;

use std::cell::OnceCell;
use std::marker::PhantomData;
use std::mem;
use std::ops::Range;
use std::rc::Rc;

use serde::de::DeserializeOwned;

use crate::bindings::holdfast::object::packed_sql;
use crate::bindings::holdfast::object::sql as wit;
pub use crate::bindings::holdfast::object::sql::Value;
pub use migrate::Migration;
use packed::Values;
use row::Fields;
pub use row::Row;

/// The object's own SQLite database.
///
/// The turn is the transaction: its writes are applied if it succeeds and undone if it fails. So there is no BEGIN and
/// no COMMIT, and the host refuses them; [`Storage::transaction`](crate::Storage::transaction) undoes a part of a turn.
///
/// Each function takes one or more statements separated by `;`. All but the last run to their end and take no
/// parameters; parameters and rows belong to the last.
///
/// ```no_run
/// use holdfast::prelude::*;
///
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Book {
///     id: i64,
///     title: String,
///     price: Option<f64>,
/// }
///
/// fn books(ctx: &Context, title: &str) -> Result<Vec<Book>> {
///     let sql = ctx.sql();
///     sql.exec("CREATE TABLE IF NOT EXISTS book (id INTEGER PRIMARY KEY, title TEXT, price REAL)", [])?;
///     sql.exec("INSERT INTO book (title, price) VALUES (?, ?)", params![title, 9.5])?;
///     Ok(sql.query_all("SELECT id, title, price FROM book ORDER BY title", [])?)
/// }
/// ```
///
/// # Rows as types
/// A struct or a map takes columns by name, a tuple or a `Vec` by position, and anything else (`i64`, `String`,
/// `Option<f64>`) is the value of the only column. NULL is `None`; a `bool` is stored as 0 or 1; integers are exact,
/// and one that does not fit its type is an error. BLOBs are `Vec<u8>`. Where columns have the same name, a tuple keeps
/// them all and a struct refuses them.
#[derive(Clone, Copy, Debug)]
pub struct Sql(());

impl Sql {
    pub(crate) fn new() -> Self {
        Self(())
    }

    /// Runs statements; the result has their changes and iterates over the rows as they are.
    ///
    /// ```no_run
    /// # use holdfast::prelude::*;
    /// # fn f(ctx: &Context) -> Result<()> {
    /// let done = ctx.sql().exec("UPDATE book SET price = price * 2 WHERE price < ?", params![10])?;
    /// info!("{} books are dearer now", done.changes());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`SqlError`]; the effects of the statement that failed are undone, and the turn can continue.
    pub fn exec(&self, text: &str, params: impl IntoIterator<Item = Value>) -> Result<Rows, SqlError> {
        let params: Vec<Value> = params.into_iter().collect();
        Ok(Rows::new(packed_sql::exec(text, &params)?))
    }

    /// The rows as values of a [type](Sql#rows-as-types), read in batches: a long result is never in memory as a whole.
    ///
    /// ```no_run
    /// # use holdfast::prelude::*;
    /// # fn f(ctx: &Context) -> Result<()> {
    /// for row in ctx.sql().query_as::<(i64, String)>("SELECT id, title FROM book", [])? {
    ///     let (id, title) = row?;
    ///     info!("{id}: {title}");
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`SqlError`]. Each row can be a [`SqlError::Decode`].
    pub fn query_as<T: DeserializeOwned>(
        &self,
        text: &str,
        params: impl IntoIterator<Item = Value>,
    ) -> Result<RowsAs<T>, SqlError> {
        Ok(RowsAs { rows: self.exec(text, params)?, row: PhantomData })
    }

    /// All rows as values of a [type](Sql#rows-as-types).
    ///
    /// # Errors
    /// [`SqlError`], [`SqlError::Decode`] among them.
    pub fn query_all<T: DeserializeOwned>(
        &self,
        text: &str,
        params: impl IntoIterator<Item = Value>,
    ) -> Result<Vec<T>, SqlError> {
        self.query_as(text, params)?.collect()
    }

    /// The first row as a value of a [type](Sql#rows-as-types), if there is a row.
    ///
    /// # Errors
    /// [`SqlError`], [`SqlError::Decode`] among them.
    pub fn query_optional<T: DeserializeOwned>(
        &self,
        text: &str,
        params: impl IntoIterator<Item = Value>,
    ) -> Result<Option<T>, SqlError> {
        self.query_as(text, params)?.next().transpose()
    }

    /// The first row as a value of a [type](Sql#rows-as-types), where there must be one.
    ///
    /// ```no_run
    /// # use holdfast::prelude::*;
    /// # fn f(ctx: &Context) -> Result<()> {
    /// let books: u64 = ctx.sql().query_one("SELECT count(*) FROM book", [])?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`SqlError::NoRows`] if there is none; any other [`SqlError`].
    pub fn query_one<T: DeserializeOwned>(
        &self,
        text: &str,
        params: impl IntoIterator<Item = Value>,
    ) -> Result<T, SqlError> {
        self.query_optional(text, params)?.ok_or(SqlError::NoRows)
    }

    /// Runs those steps that this object has not run yet, in their order, all or none of them; meant for
    /// [`Object::new`](crate::Object::new).
    ///
    /// ```no_run
    /// use holdfast::prelude::*;
    ///
    /// const MIGRATIONS: &[&str] = &[
    ///     "CREATE TABLE book (id INTEGER PRIMARY KEY, title TEXT NOT NULL)",
    ///     "ALTER TABLE book ADD COLUMN price REAL",
    /// ];
    ///
    /// # struct Books { ctx: Context }
    /// # impl Books {
    /// fn new(ctx: Context) -> Result<Self> {
    ///     ctx.sql().migrate(MIGRATIONS)?;
    ///     Ok(Self { ctx })
    /// }
    /// # }
    /// ```
    ///
    /// A new step goes to the end. What was deployed stays as it is, its white space excepted: objects have run it, and
    /// a text that differs from what they ran is refused, as is a class that has fewer steps than they. The object
    /// remembers its steps in the table `holdfast_migration` (`version` from 1, `fingerprint`); with nothing to do, one
    /// row of it is read. A step is SQL, or [`Migration::Code`]. It runs in a
    /// [`transaction`](crate::Storage::transaction).
    ///
    /// # Errors
    /// `migration-changed`, `migration-missing` as [codes](crate::Error::code), and the error of a failed step. Nothing
    /// of any step is kept.
    pub fn migrate<'a, M: Into<Migration<'a>>>(&self, steps: impl IntoIterator<Item = M>) -> crate::Result<()> {
        let steps: Vec<Migration> = steps.into_iter().map(Into::into).collect();
        migrate::run(self, &steps)
    }
}

/// What [`Sql::exec`] did, and an iterator over its rows, which ends at the first error.
#[derive(Debug)]
pub struct Rows {
    changes: u64,
    last_insert_rowid: i64,
    /// How many columns there are.
    width: usize,
    /// Their names, encoded; none as long as they are in front of the first batch, which has these bytes before its
    /// rows.
    head: Option<Vec<u8>>,
    head_bytes: usize,
    /// Their names, after the first use.
    columns: OnceCell<Rc<[String]>>,
    /// Rows, encoded. Those up to `read` have been answered.
    batch: Vec<u8>,
    read: usize,
    more: Option<wit::Cursor>,
}

impl Rows {
    /// How many rows are asked for at once after the first ones; the host also ends a batch at about 1 MiB.
    const BATCH: u32 = 256;
    /// The number of columns, before their names.
    const WIDTH_BYTES: usize = 4;

    fn new(result: packed_sql::ExecResult) -> Self {
        let packed_sql::ExecResult { changes, last_insert_rowid, packed, more } = result;
        let batch = packed.unwrap_or_default();
        let (mut width, mut read) = (0, 0);
        if !batch.is_empty() {
            let mut values = Values(&batch);
            width = values.length();
            values.pass(width);
            read = batch.len() - values.0.len();
        }
        let columns = OnceCell::new();
        Self { changes, last_insert_rowid, width, head: None, head_bytes: read, columns, batch, read, more }
    }

    /// The names of the columns; empty for statements that return no rows.
    pub fn columns(&self) -> &[String] {
        self.shared_columns()
    }

    /// Rows that the statements inserted, updated or deleted, without those of triggers.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// The rowid of the object's last successful INSERT, 0 if there was none since its database was opened.
    pub fn last_insert_rowid(&self) -> i64 {
        self.last_insert_rowid
    }

    fn shared_columns(&self) -> &Rc<[String]> {
        self.columns.get_or_init(|| self.names().map(str::to_owned).collect())
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        // Not before it is known that they are there: a later batch may be shorter.
        let head = self.head.as_deref().unwrap_or_else(|| &self.batch[..self.head_bytes]);
        Values(head.get(Self::WIDTH_BYTES..).unwrap_or_default()).texts()
    }

    /// Moves to the next row, which is in these bytes of the batch.
    fn advance(&mut self) -> Option<Result<Range<usize>, SqlError>> {
        if self.read == self.batch.len() {
            match packed_sql::next(self.more.as_ref()?, Self::BATCH) {
                Ok(batch) => {
                    let mut last = mem::replace(&mut self.batch, batch);
                    self.read = 0;
                    self.head.get_or_insert_with(|| {
                        last.truncate(self.head_bytes);
                        last.shrink_to_fit();
                        last
                    });
                }
                Err(error) => {
                    self.more = None;
                    return Some(Err(error.into()));
                }
            }
            if self.batch.is_empty() {
                self.more = None;
                return None;
            }
        }
        let mut values = Values(&self.batch[self.read..]);
        values.pass(self.width);
        let row = self.read..self.batch.len() - values.0.len();
        self.read = row.end;
        Some(Ok(row))
    }
}

impl Iterator for Rows {
    type Item = Result<Row, SqlError>;

    fn next(&mut self) -> Option<Self::Item> {
        let row = self.advance()?;
        Some(row.map(|row| Row::new(self.shared_columns().clone(), Values(&self.batch[row]).collect())))
    }
}

/// An iterator over the rows of [`Sql::query_as`]. It ends at the first error of the host.
#[derive(Debug)]
pub struct RowsAs<T> {
    rows: Rows,
    row: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Iterator for RowsAs<T> {
    type Item = Result<T, SqlError>;

    fn next(&mut self) -> Option<Self::Item> {
        let row = self.rows.advance()?;
        let rows = &self.rows;
        Some(row.and_then(|row| {
            T::deserialize(Fields { width: rows.width, names: rows.names(), values: Values(&rows.batch[row]) })
        }))
    }
}

/// Why a statement was refused or failed. Its own effects are undone, and the turn can continue unless the case says
/// otherwise.
///
/// ```no_run
/// # use holdfast::prelude::*;
/// fn register(ctx: &Context, name: &str) -> Result<Response> {
///     match ctx.sql().exec("INSERT INTO user (name) VALUES (?)", params![name]) {
///         Ok(_) => Ok(Response::new(StatusCode::CREATED)),
///         Err(SqlError::Constraint { .. }) => Ok(Response::error(StatusCode::CONFLICT, "that name is taken")),
///         Err(error) => Err(error.into()),
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SqlError {
    /// The text holds no statement.
    #[error("the text holds no SQL statement")]
    NoStatement,
    /// The statement is not allowed to objects. Says what was refused.
    #[error("not authorized: {0}")]
    NotAuthorized(String),
    /// The number of parameters does not fit.
    #[error("the last statement takes {expected} parameters and was given {given}")]
    ParameterCount {
        /// How many the last statement takes.
        expected: u32,
        /// How many were given.
        given: u32,
    },
    /// The text, a parameter, a row or a value is over its limit. Says which limit.
    #[error("too large: {0}")]
    TooLarge(String),
    /// A constraint was violated.
    #[error("{message}")]
    Constraint {
        /// SQLite's extended result code, for example 2067 for a UNIQUE constraint.
        code: i32,
        /// SQLite's message.
        message: String,
    },
    /// The object's database is at its limit, or the disk is full. The turn fails, whatever the handler returns.
    #[error("the object's database is full")]
    Full,
    /// The rows outlived their turn, or a later statement, an undone transaction or
    /// [`delete_all`](crate::Storage::delete_all) invalidated them.
    #[error("the rows belong to a turn that has ended, or what came later invalidated them")]
    Closed,
    /// Any other error of SQLite, for example a syntax error.
    #[error("{message} (SQLite code {code})")]
    Sqlite {
        /// SQLite's extended result code.
        code: i32,
        /// SQLite's message.
        message: String,
    },
    /// [`Sql::query_one`] found no row.
    #[error("the query returned no rows")]
    NoRows,
    /// A row is not what its type wants. Says which column and why.
    #[error("a row does not fit its type: {0}")]
    Decode(String),
    /// Anything else, in the words of the host.
    #[error("{0}")]
    Other(String),
}

impl SqlError {
    /// Returns the case as a stable word to match on: the contract's (`wit/sql.wit`), for example `constraint`, or
    /// `no-rows` or `decode` for those of this crate.
    ///
    /// ```
    /// use holdfast::prelude::*;
    ///
    /// let taken = SqlError::Constraint { code: 2067, message: "UNIQUE constraint failed: user.name".into() };
    /// assert_eq!(taken.case(), "constraint");
    /// ```
    pub fn case(&self) -> &'static str {
        match self {
            Self::NoStatement => "no-statement",
            Self::NotAuthorized(_) => "not-authorized",
            Self::ParameterCount { .. } => "parameter-count",
            Self::TooLarge(_) => "too-large",
            Self::Constraint { .. } => "constraint",
            Self::Full => "full",
            Self::Closed => "closed",
            Self::Sqlite { .. } => "sqlite",
            Self::NoRows => "no-rows",
            Self::Decode(_) => "decode",
            Self::Other(_) => "other",
        }
    }
}

impl From<wit::Error> for SqlError {
    fn from(error: wit::Error) -> Self {
        match error {
            wit::Error::NoStatement => Self::NoStatement,
            wit::Error::NotAuthorized(what) => Self::NotAuthorized(what),
            wit::Error::ParameterCount(wit::ParameterCounts { expected, given }) => {
                Self::ParameterCount { expected, given }
            }
            wit::Error::TooLarge(limit) => Self::TooLarge(limit),
            wit::Error::Constraint(wit::SqliteError { code, message }) => Self::Constraint { code, message },
            wit::Error::Full => Self::Full,
            wit::Error::Closed => Self::Closed,
            wit::Error::Sqlite(wit::SqliteError { code, message }) => Self::Sqlite { code, message },
            wit::Error::Other(reason) => Self::Other(reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The last batch of a long result may have fewer bytes than the names in front of the first one.
    #[test]
    fn names_outlive_the_batch_they_came_with() {
        let head = b"\x01\0\0\0\x03\x04\0\0\0long".to_vec();
        let (head_bytes, columns) = (head.len(), OnceCell::new());
        let (head, batch) = (Some(head), vec![0]);
        let rows =
            Rows { changes: 0, last_insert_rowid: 0, width: 1, head, head_bytes, columns, batch, read: 0, more: None };
        assert!(rows.names().eq(["long"]));
    }
}
