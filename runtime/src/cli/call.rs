//! `holdfast call`: one method of one object, through the admin API.

use std::io::Write;

use serde_json::Value;

use super::api::{Api, Connection};
use super::target::ObjectAndMethod;

/// Call a method of an object and print its result as JSON.
///
/// All methods can be called, also those that are for other objects only. Exits 1 if the method refuses.
#[derive(clap::Args)]
#[command(
    override_usage = "holdfast call [OPTIONS] <OBJECT> <METHOD> [ARGUMENTS]",
    after_help = "Examples:\n  \
    holdfast call stock/tea left\n  \
    holdfast call stock/tea take '[3]'\n  \
    holdfast call stock tea take '{\"count\": 3}'      (arguments by name)"
)]
pub struct Args {
    #[command(flatten)]
    target: ObjectAndMethod,
    #[command(flatten)]
    connection: Connection,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let ObjectAndMethod { object, method, arguments } = args.target;
    let api = Api::new(&args.connection, None)?;
    let path = format!("{}/call/{}", object.admin_path(), super::path::segment(&method));
    let result: Value = api.post_json(&path, &arguments)?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{result}")?;
    Ok(())
}
