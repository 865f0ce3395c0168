//! Migrations: the steps that bring an object's tables to where its class wants them, each run once per object.
//!
//! What must stay true: a step and the row that records it are kept together or not at all; [`fingerprints`] never
//! change, because objects store them permanently; an object with nothing to run is read once and not written.

use super::{Sql, SqlError};
use crate::{Context, Error, Result, Storage};

/// One step of [`Sql::migrate`].
///
/// ```
/// use holdfast::prelude::*;
/// use holdfast::sql::Migration;
///
/// const MIGRATIONS: &[Migration] = &[
///     Migration::Sql("CREATE TABLE visit (who TEXT NOT NULL, at INTEGER NOT NULL)"),
///     Migration::Code("visits move from keys to the table", move_visits),
/// ];
///
/// fn move_visits(ctx: &Context) -> Result<()> {
///     for entry in ctx.storage().list::<i64>(ListOptions::new().prefix("visit:"))? {
///         let (key, at) = entry?;
///         ctx.sql().exec("INSERT INTO visit (who, at) VALUES (?, ?)", params![&key["visit:".len()..], at])?;
///         ctx.storage().delete(key)?;
///     }
///     Ok(())
/// }
/// ```
#[derive(Clone, Copy, Debug)]
pub enum Migration<'a> {
    /// One or more SQL statements.
    Sql(&'a str),
    /// A step that SQL alone cannot do. The text names it and must not change.
    Code(&'a str, fn(&Context) -> Result<()>),
}

impl<'a> From<&'a str> for Migration<'a> {
    fn from(sql: &'a str) -> Self {
        Self::Sql(sql)
    }
}

impl<'a> From<&&'a str> for Migration<'a> {
    fn from(sql: &&'a str) -> Self {
        Self::Sql(sql)
    }
}

impl<'a> From<&Migration<'a>> for Migration<'a> {
    fn from(migration: &Migration<'a>) -> Self {
        *migration
    }
}

const CREATE: &str = "CREATE TABLE IF NOT EXISTS holdfast_migration (version INTEGER PRIMARY KEY, fingerprint INTEGER)";
const LAST: &str = "SELECT version, fingerprint FROM holdfast_migration ORDER BY version DESC LIMIT 1";
const ALL: &str = "SELECT version, fingerprint FROM holdfast_migration ORDER BY version";
const RECORD: &str = "INSERT INTO holdfast_migration (version, fingerprint) VALUES (?, ?)";

/// A step that an object has run: its number, from 1, and its fingerprint.
type Recorded = (i64, i64);

/// Runs the steps that are not recorded yet.
pub(super) fn run(sql: &Sql, steps: &[Migration]) -> Result<()> {
    let known: Vec<Recorded> = (1..).zip(fingerprints(steps)).collect();
    let last: Option<Recorded> = match sql.query_optional(LAST, []) {
        // SQLITE_ERROR: there is no such table yet. Were it anything else, creating or filling the table fails too.
        Err(SqlError::Sqlite { code: 1, .. }) => None,
        result => result?,
    };
    let done = match last {
        None => 0,
        // A fingerprint covers the steps before its own, so the last one stands for all.
        Some(last) if known.contains(&last) => last.0 as usize,
        Some(_) => return Err(mismatch(&sql.query_all::<Recorded>(ALL, [])?, &known)),
    };
    if done == steps.len() {
        return Ok(());
    }
    Storage::new().transaction(|| {
        sql.exec(CREATE, [])?;
        for (step, (version, fingerprint)) in steps.iter().zip(known).skip(done) {
            match *step {
                Migration::Sql(text) => sql.exec(text, []).map(drop).map_err(Error::from),
                Migration::Code(_, code) => code(&Context::new()),
            }
            .map_err(|error| error.context(format_args!("migration {version}")))?;
            sql.exec(RECORD, [version.into(), fingerprint.into()])?;
        }
        Ok(())
    })
}

/// Says why what an object has run is not the beginning of what the class knows.
fn mismatch(recorded: &[Recorded], known: &[Recorded]) -> Error {
    match recorded.iter().zip(known).find(|(recorded, known)| recorded != known) {
        Some((_, (version, _))) => Error::new(
            "migration-changed",
            format_args!(
                "migration {version} is not the one that this object has run: leave deployed migrations as they are and add \
                 new ones at the end"
            ),
        ),
        None => Error::new(
            "migration-missing",
            format_args!(
                "this object has run {} migrations and the class has only {}: deploy a version with all of them",
                recorded.len(),
                known.len()
            ),
        ),
    }
}

/// What each step and all before it look like: FNV-1a over their words, so that their layout may change. It finds
/// mistakes, not forgeries.
fn fingerprints(steps: &[Migration]) -> impl Iterator<Item = i64> {
    let add = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    steps.iter().scan(0xcbf2_9ce4_8422_2325, move |hash, step| {
        let (Migration::Sql(text) | Migration::Code(text, _)) = step;
        for word in text.split_ascii_whitespace() {
            *hash = add(word.bytes().fold(*hash, add), b' ');
        }
        *hash = add(*hash, 0); // the end of the step
        Some(hash.cast_signed())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "CREATE TABLE t (x)";
    const COLUMN: &str = "ALTER TABLE t ADD y";

    fn known(steps: &[&str]) -> Vec<Recorded> {
        let steps: Vec<Migration> = steps.iter().map(Migration::from).collect();
        (1..).zip(fingerprints(&steps)).collect()
    }

    #[test]
    fn fingerprints_are_pinned() {
        // Objects store these permanently.
        assert_eq!(known(&[TABLE, COLUMN]), [(1, 7_893_664_367_252_151_186), (2, -3_826_583_018_014_006_330)]);
    }

    #[test]
    fn a_fingerprint_covers_the_steps_before_and_not_their_layout() {
        assert_eq!(known(&[TABLE, COLUMN])[..1], known(&[TABLE])[..]);
        assert_eq!(known(&["\n  CREATE TABLE\r\n\tt (x)\n"]), known(&[TABLE]));
        assert_ne!(known(&["CREATE TABLE t (x) "]), known(&["CREATE TABLE t(x)"]));
        assert_ne!(known(&["a", COLUMN])[1], known(&["b", COLUMN])[1]);
        assert_ne!(known(&["a b"])[0], known(&["a", "b"])[1]);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let ran = known(&[TABLE, COLUMN, "c"]);
        let changed = mismatch(&ran, &known(&[TABLE, "other", "c", "d"]));
        assert_eq!(changed.code(), "migration-changed");
        assert!(changed.to_string().starts_with("migration 2 is not"), "{changed}");
        let missing = mismatch(&ran, &known(&[TABLE, COLUMN]));
        assert_eq!(missing.code(), "migration-missing");
        assert!(missing.to_string().contains("has run 3 migrations and the class has only 2"), "{missing}");
        // Someone deleted the record of a step.
        let gap = mismatch(&[ran[0], ran[2]], &ran);
        assert!(gap.to_string().starts_with("migration 2 is not"), "{gap}");
    }
}
