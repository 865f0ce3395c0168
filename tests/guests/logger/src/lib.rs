//! Logs once at each level with fields, prints a line to standard output and one to standard error, and answers
//! `logged`. `/many?n=` logs n entries instead; `/panic` and `/fail` log one and then fail the turn.

use holdfast::prelude::*;
use serde::Deserialize;

#[object]
struct Logger;

#[derive(Deserialize)]
struct Many {
    n: u32,
}

impl Object for Logger {
    fn new(_ctx: Context) -> Result<Self> {
        Ok(Self)
    }

    fn fetch(&mut self, request: Request) -> Result<Response> {
        match request.path() {
            "/many" => {
                for i in 0..request.query::<Many>()?.n {
                    info!("entry {i}");
                }
            }
            "/panic" => {
                warn!("about to panic");
                panic!("told to panic");
            }
            "/fail" => {
                warn!("about to fail");
                bail!("told-to-fail", "as asked");
            }
            _ => every_way(),
        }
        Ok(Response::text("logged"))
    }
}

fn every_way() {
    trace!(step = 1; "a trace");
    debug!(step = 2; "a detail");
    info!(step = 3, who = "ann"; "news");
    warn!(step = 4; "a warning");
    error!(step = 5; "an error");
    println!("to standard output");
    eprintln!("to standard error");
}
