//! A stored value derives Serialize.

use holdfast::prelude::*;

struct Score(u32);

fn save(ctx: &Context) -> Result<()> {
    ctx.storage().put("score", &Score(1))?;
    Ok(())
}

fn main() {}
