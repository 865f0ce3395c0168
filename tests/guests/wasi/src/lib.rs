//! Reports, as JSON, what plain `std` can do inside the host: files, sockets, environment, clocks and randomness.

use std::fs::{self, File};
use std::hint::black_box;
use std::io;
use std::net::TcpStream;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use holdfast::prelude::*;

#[object]
struct Wasi;

impl Object for Wasi {
    fn new(_ctx: Context) -> Result<Self> {
        Ok(Self)
    }

    fn fetch(&mut self, _request: Request) -> Result<Response> {
        let (wall, monotonic) = (wall_ms()?, Instant::now());
        for i in 0..5_000_000u32 {
            black_box(i);
        }
        let (wall_after, elapsed) = (wall_ms()?, monotonic.elapsed());
        let mut random = [0u8; 16];
        getrandom::fill(&mut random)?;
        Ok(Response::json(&json!({
            "read_dir": outcome(fs::read_dir("/").map(|_| ())),
            "create_file": outcome(File::create("file").map(|_| ())),
            "tcp_connect": outcome(TcpStream::connect("127.0.0.1:1").map(|_| ())),
            "vars": std::env::vars().count(),
            "args": std::env::args().collect::<Vec<_>>(),
            "wall_ms_before": wall,
            "wall_ms_after": wall_after,
            "monotonic_ns": u64::try_from(elapsed.as_nanos())?,
            "random_hex": random.map(|byte| format!("{byte:02x}")).concat(),
        })))
    }
}

fn wall_ms() -> Result<u64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis().try_into()?)
}

fn outcome(result: io::Result<()>) -> String {
    match result {
        Ok(()) => "ok".to_owned(),
        Err(error) => format!("error: {error}"),
    }
}
