//! Counts the constructions in storage and the turns of this instance, and answers both. `new` fails for objects
//! whose name begins with `bad-`; `/fail` fails the turn.

use holdfast::prelude::*;

#[object]
struct Construct {
    constructions: u64,
    turns: u64,
}

impl Object for Construct {
    fn new(ctx: Context) -> Result<Self> {
        let constructions = ctx.storage().get("constructions")?.unwrap_or(0) + 1;
        ctx.storage().put("constructions", &constructions)?;
        let name = ctx.name().unwrap_or_default();
        info!(constructions; "constructing");
        ensure!(!name.starts_with("bad-"), "bad-name", "{name} is not to be constructed");
        Ok(Self { constructions, turns: 0 })
    }

    fn fetch(&mut self, request: Request) -> Result<Response> {
        self.turns += 1;
        ensure!(request.path() != "/fail", "told-to-fail", "as asked");
        let Self { constructions, turns } = self;
        Ok(Response::json(&json!({ "constructions": constructions, "turns_of_this_instance": turns })))
    }
}
