//! Makes tables in its constructor, by migrations and with a row in one of them. Then the path names what the handler
//! stores before it answers with the status of `?status=` (default 404): `/nothing`, `/table`, `/migration`, `/undone`
//! and `/refused` nothing of its own, `/row`, `/key` and `/alarm` something. `/instance` counts the turns of this
//! instance.

use std::time::Duration;

use holdfast::prelude::*;
use serde::Deserialize;

const MIGRATIONS: &[&str] = &["CREATE TABLE book (title TEXT UNIQUE)", "INSERT INTO book VALUES ('the first')"];
const LATER: &[&str] = &[MIGRATIONS[0], MIGRATIONS[1], "CREATE TABLE reader (name TEXT)"];

#[object(alarm)]
struct Beginnings {
    ctx: Context,
    turns: u64,
}

#[derive(Deserialize)]
struct Query {
    status: Option<u16>,
}

impl Object for Beginnings {
    fn new(ctx: Context) -> Result<Self> {
        ctx.sql().migrate(MIGRATIONS)?;
        Ok(Self { ctx, turns: 0 })
    }

    fn fetch(&mut self, request: Request) -> Result<Response> {
        self.turns += 1;
        let (sql, storage) = (self.ctx.sql(), self.ctx.storage());
        match request.path() {
            "/nothing" | "/instance" => {}
            "/table" => drop(sql.exec("CREATE TABLE IF NOT EXISTS other (a)", [])?),
            "/migration" => sql.migrate(LATER)?,
            "/row" => drop(sql.exec("INSERT INTO book VALUES ('another')", [])?),
            "/key" => storage.put("key", &1)?,
            "/alarm" => self.ctx.alarm().set(Duration::from_secs(1 << 20))?,
            "/undone" => {
                let undone: Result<()> = storage.transaction(|| {
                    storage.put("key", &1)?;
                    bail!("undone", "nothing of it stays")
                });
                ensure!(undone.is_err(), "kept", "it was to be undone");
            }
            "/refused" => {
                // The second statement fails, and the first one is rolled back with it.
                let twice = sql.exec("INSERT INTO book VALUES ('x'); INSERT INTO book VALUES ('x')", []);
                ensure!(twice.is_err(), "accepted", "the title is not unique");
            }
            path => bail!("unknown-path", "there is no {path}"),
        }
        let status = request.query::<Query>()?.status.unwrap_or(404);
        Ok(Response::text(self.turns.to_string()).with_status(StatusCode::from_u16(status)?))
    }
}

impl AlarmHandler for Beginnings {
    fn alarm(&mut self, _alarm: Alarm) -> Result<()> {
        Ok(())
    }
}
