//! A parameter is something that SQLite can store exactly.

use holdfast::prelude::*;

fn save(ctx: &Context, size: u64) -> Result<()> {
    ctx.sql().exec("INSERT INTO file (size) VALUES (?)", params![size])?;
    Ok(())
}

fn main() {}
