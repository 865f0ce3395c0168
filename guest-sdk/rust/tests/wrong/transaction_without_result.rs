//! A transaction ends with `Ok` or `Err`, which say what becomes of it.

use holdfast::prelude::*;

fn save(ctx: &Context) -> Result<()> {
    ctx.storage().transaction(|| {
        ctx.storage().put("a", &1)?;
    })
}

fn main() {}
