//! The stored state of a room: its newest lines, its people, and the last id of each client. Does not use sockets.

use holdfast::Sql;
use holdfast::prelude::*;
use serde::{Deserialize, Serialize};

pub struct Room(Sql);

/// A line to be stored; to all people, unless it has a recipient.
#[derive(Deserialize)]
pub struct Draft {
    text: String,
    to: Option<String>,
}

/// A stored line.
#[derive(Serialize, Deserialize)]
pub struct Line {
    pub seq: i64,
    pub from: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    pub text: String,
    /// Milliseconds since the Unix epoch.
    pub at: u64,
}

#[derive(Serialize, Deserialize)]
pub struct Person {
    pub name: String,
    pub online: bool,
    /// When the person last connected or disconnected, in milliseconds since the Unix epoch.
    pub seen: u64,
}

/// The first and the last number of the stored lines; 0 and 0 if there are none.
#[derive(Deserialize)]
pub struct Span {
    pub oldest: i64,
    pub newest: i64,
}

/// The number of lines that are kept.
const LINES: i64 = 1000;
/// The number of lines that a new client gets.
const SHOWN: i64 = 200;
const TEXT_MAX: usize = 4000;
const NAME_MAX: usize = 32;
pub const NO_NAME: &str = "a name has 1 to 32 characters";
/// Milliseconds after which the room deletes absent people and clients: 30 days.
const FORGOTTEN: u64 = 30 * 24 * 3600 * 1000;

const MIGRATIONS: &[&str] = &["
    CREATE TABLE line (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        \"from\" TEXT NOT NULL,
        \"to\" TEXT,             -- NULL: everybody
        text TEXT NOT NULL,
        at INTEGER NOT NULL
    );
    CREATE TABLE person (name TEXT PRIMARY KEY, online INTEGER NOT NULL, seen INTEGER NOT NULL) WITHOUT ROWID;
    -- `last` is the id of the last message that the room has from this client.
    CREATE TABLE client (id TEXT PRIMARY KEY, last INTEGER NOT NULL, seen INTEGER NOT NULL) WITHOUT ROWID;"];

impl Room {
    pub fn open(ctx: &Context) -> Result<Self> {
        ctx.sql().migrate(MIGRATIONS)?;
        Ok(Self(ctx.sql()))
    }

    /// Stores a line, or returns what is wrong with it. Deletes the oldest ones beyond the limit.
    pub fn add(&self, from: &str, draft: &Draft, now: u64) -> Result<Result<Line, &'static str>> {
        let text = draft.text.trim();
        if text.is_empty() || text.chars().count() > TEXT_MAX {
            return Ok(Err("a message has 1 to 4000 characters"));
        }
        if let Some(to) = &draft.to {
            let is_known = "SELECT EXISTS (SELECT * FROM person WHERE name = ?)";
            if !self.0.query_one::<bool>(is_known, params![to])? {
                return Ok(Err("nobody of this name has been here"));
            }
        }
        let sql = "INSERT INTO line (\"from\", \"to\", text, at) VALUES (?, ?, ?, ?) RETURNING *";
        let line: Line = self.0.query_one(sql, params![from, draft.to.as_deref(), text, now as i64])?;
        self.0.exec("DELETE FROM line WHERE seq <= ?", params![line.seq - LINES])?;
        Ok(Ok(line))
    }

    /// Returns the lines after a number that this person may read, or the public ones: in order, only the newest if
    /// there are many.
    pub fn since(&self, after: i64, reader: Option<&str>) -> Result<Vec<Line>> {
        let sql = "SELECT * FROM (SELECT * FROM line WHERE seq > ?1 AND (\"to\" IS NULL OR ?2 IN (\"from\", \"to\"))
                   ORDER BY seq DESC LIMIT ?3) ORDER BY seq";
        let limit = if after == 0 { SHOWN } else { LINES };
        Ok(self.0.query_all(sql, params![after, reader, limit])?)
    }

    pub fn span(&self) -> Result<Span> {
        let sql = "SELECT coalesce(min(seq), 0) AS oldest, coalesce(max(seq), 0) AS newest FROM line";
        Ok(self.0.query_one(sql, [])?)
    }

    /// Notes that a person has connected. Deletes people who were absent for long.
    pub fn join(&self, name: &str, now: u64) -> Result<Person> {
        let forgotten = now.saturating_sub(FORGOTTEN) as i64;
        self.0.exec("DELETE FROM person WHERE seen < ? AND NOT online", params![forgotten])?;
        self.0.exec("DELETE FROM client WHERE seen < ?", params![forgotten])?;
        self.set_online(name, true, now)
    }

    /// Notes that a person has disconnected.
    pub fn leave(&self, name: &str, now: u64) -> Result<Person> {
        self.set_online(name, false, now)
    }

    fn set_online(&self, name: &str, online: bool, now: u64) -> Result<Person> {
        let sql = "INSERT INTO person (name, online, seen) VALUES (?1, ?2, ?3)
                   ON CONFLICT DO UPDATE SET online = ?2, seen = ?3 RETURNING name, online, seen";
        Ok(self.0.query_one(sql, params![name, online, now as i64])?)
    }

    /// Returns the people who are here, according to the table.
    pub fn online(&self) -> Result<Vec<String>> {
        Ok(self.0.query_all("SELECT name FROM person WHERE online", [])?)
    }

    /// Returns the people who are here and then those who were, the most recent first; at most 100.
    pub fn people(&self) -> Result<Vec<Person>> {
        let sql = "SELECT name, online, seen FROM person ORDER BY online DESC, seen DESC, name LIMIT 100";
        Ok(self.0.query_all(sql, [])?)
    }

    /// Returns the last id of a client, if the client is known.
    pub fn last_from(&self, client: &str) -> Result<Option<i64>> {
        Ok(self.0.query_optional("SELECT last FROM client WHERE id = ?", params![client])?)
    }

    pub fn heard(&self, client: &str, id: i64, now: u64) -> Result<()> {
        let sql = "INSERT INTO client (id, last, seen) VALUES (?1, ?2, ?3)
                   ON CONFLICT DO UPDATE SET last = ?2, seen = ?3";
        self.0.exec(sql, params![client, id, now as i64])?;
        Ok(())
    }
}

impl Span {
    /// Returns whether all lines after this number are still stored.
    pub fn continues(&self, after: i64) -> bool {
        after > 0 && after <= self.newest && after + 1 >= self.oldest
    }
}

/// Returns whether a name is valid.
pub fn is_name(name: &str) -> bool {
    let length = name.chars().count();
    (1..=NAME_MAX).contains(&length) && name.trim() == name && !name.chars().any(char::is_control)
}
