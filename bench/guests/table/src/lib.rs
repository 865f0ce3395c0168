//! A table that is filled, read row by row and read through, each in one turn: what `bench/src/sql.rs` does without a
//! host.

use holdfast::prelude::*;

#[object]
struct Table {
    ctx: Context,
}

#[derive(serde::Deserialize)]
struct Rows {
    n: i64,
}

impl Object for Table {
    fn new(ctx: Context) -> Result<Self> {
        ctx.sql()
            .migrate(["CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT NOT NULL, amount INTEGER NOT NULL)"])?;
        Ok(Self { ctx })
    }

    fn fetch(&mut self, request: Request) -> Result<Response> {
        let Rows { n } = request.query().unwrap_or(Rows { n: 0 });
        let sum = match request.path() {
            "/insert" => self.insert(n)?,
            "/read" => self.read(n)?,
            "/scan" => self.scan()?,
            _ => 0,
        };
        Ok(Response::text(sum.to_string()))
    }
}

impl Table {
    fn insert(&self, n: i64) -> Result<i64> {
        for id in 0..n {
            let insert = "INSERT INTO item (id, name, amount) VALUES (?, ?, ?)";
            self.ctx.sql().exec(insert, params![id, format!("the item with number {id}"), id * 3])?;
        }
        Ok(n)
    }

    /// Reads the rows in an order that jumps about in the table.
    fn read(&self, n: i64) -> Result<i64> {
        let mut sum = 0;
        for at in 0..n {
            let read = "SELECT name, amount FROM item WHERE id = ?";
            let (name, amount): (String, i64) = self.ctx.sql().query_one(read, params![at * 7_919 % n])?;
            sum += amount + name.len() as i64;
        }
        Ok(sum)
    }

    fn scan(&self) -> Result<i64> {
        let mut sum = 0;
        for row in self.ctx.sql().query_as::<(i64, String, i64)>("SELECT id, name, amount FROM item", [])? {
            let (id, name, amount) = row?;
            sum += id + amount + name.len() as i64;
        }
        Ok(sum)
    }
}
