//! An append-only list that can be checked from outside: each entry has its writer's number and sequence, and a filler.
//!
//! | request | does |
//! |---|---|
//! | `POST /{client}/{sequence}`, body: the filler | appends an entry, answers its position, from 1 |
//! | … `?end=fail`, `?end=trap` | the same and then fails; the failure's message is the number of entries before |
//! | … `?end=settle` | appends the entry, calls `storage.sync`, appends one of client 0 and fails; the message is the first one's position |
//! | `GET /count` | answers how many entries there are |
//! | `GET /` | the list, as JSON: `[[client, sequence, length of the filler, its checksum], ..]` |
//! | `DELETE /` | delete-all |
//!
//! The number of entries is kept three times: rows of a table, a key, a number in memory. A turn fails if they differ.

use holdfast::prelude::*;
use serde::Deserialize;

#[object]
struct Ledger {
    ctx: Context,
    count: u64,
}

#[derive(Deserialize)]
struct Query {
    #[serde(default)]
    end: End,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
enum End {
    #[default]
    Success,
    Fail,
    Trap,
    Settle,
}

const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS entry (
    position INTEGER PRIMARY KEY, client INTEGER NOT NULL, sequence INTEGER NOT NULL, filler BLOB NOT NULL)";

impl Object for Ledger {
    /// Writes nothing, so that an object that was only read has nothing stored.
    fn new(ctx: Context) -> Result<Self> {
        let count = ctx.storage().get("count")?.unwrap_or(0);
        Ok(Self { ctx, count })
    }

    fn fetch(&mut self, request: Request) -> Result<Response> {
        self.check()?;
        match (request.method(), request.segments().as_slice()) {
            (&Method::GET, []) => self.list(),
            (&Method::GET, ["count"]) => Ok(Response::text(self.count.to_string())),
            (&Method::POST, [client, sequence]) => {
                let entry = (number(client)?, number(sequence)?, request.body());
                let query: Query = request.query()?;
                self.write(entry, &query.end)
            }
            (&Method::DELETE, []) => {
                self.ctx.storage().delete_all()?;
                self.count = 0;
                Ok(Response::new(StatusCode::NO_CONTENT))
            }
            _ => Ok(Response::new(StatusCode::NOT_FOUND)),
        }
    }
}

impl Ledger {
    fn check(&self) -> Result<()> {
        let key = self.ctx.storage().get("count")?.unwrap_or(0);
        let rows = match key {
            0 => 0,
            _ => self.ctx.sql().query_one::<u64>("SELECT count(*) FROM entry", params![])?,
        };
        if (key, rows) != (self.count, self.count) {
            let told = format!("{} in memory, {key} by the key, {rows} rows", self.count);
            return Err(Error::new("inconsistent", told));
        }
        Ok(())
    }

    fn write(&mut self, entry: (u64, u64, &[u8]), end: &End) -> Result<Response> {
        let before = self.count;
        let position = self.append(entry)?;
        match end {
            End::Success => Ok(Response::text(position.to_string())),
            End::Fail => Err(Error::new("told-to-fail", before)),
            End::Trap => panic!("{before}"),
            End::Settle => {
                self.ctx.storage().sync()?;
                self.append((0, 0, b""))?;
                Err(Error::new("settled", position))
            }
        }
    }

    fn append(&mut self, (client, sequence, filler): (u64, u64, &[u8])) -> Result<u64> {
        let position = self.count + 1;
        if position == 1 {
            self.ctx.sql().exec(SCHEMA, params![])?;
        }
        let insert = "INSERT INTO entry (position, client, sequence, filler) VALUES (?, ?, ?, ?)";
        self.ctx.sql().exec(insert, params![position as i64, client as i64, sequence as i64, filler.to_vec()])?;
        self.ctx.storage().put("count", &position)?;
        self.count = position;
        Ok(position)
    }

    fn list(&self) -> Result<Response> {
        let mut entries = Vec::new();
        if self.count > 0 {
            let sql = "SELECT client, sequence, filler FROM entry ORDER BY position";
            for row in self.ctx.sql().query_as::<(u64, u64, Vec<u8>)>(sql, params![])? {
                let (client, sequence, filler) = row?;
                entries.push((client, sequence, filler.len(), checksum(&filler)));
            }
        }
        Ok(Response::json(&entries))
    }
}

fn number(segment: &str) -> Result<u64> {
    segment.parse().map_err(|_| Error::new("no-number", segment))
}

/// Computes FNV-1a, reduced to the bits that every JSON parser keeps.
fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}
