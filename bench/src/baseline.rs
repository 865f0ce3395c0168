//! The baselines, with the HTTP surface of the systems: a bare axum handler, and a number whose increments are one
//! record in one file, written by one thread with one flush per batch.
//!
//! No isolation, no objects, no database and no recovery: the cost of HTTP and the disk remains.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, mpsc};

use axum::extract::{Path as Segment, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Router, serve as serve_axum};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// One increment that waits for the disk, and the channel of its caller.
struct Increment {
    record: String,
    durable: oneshot::Sender<()>,
}

struct Baseline {
    numbers: Mutex<HashMap<String, u64>>,
    writes: mpsc::Sender<Increment>,
}

/// Serves until killed; prints one line when it is ready.
pub async fn serve(data: &Path) -> anyhow::Result<()> {
    let file = File::options().append(true).create(true).open(data.join("log"))?;
    let (writes, queue) = mpsc::channel();
    std::thread::spawn(move || {
        if let Err(error) = write_batches(file, &queue) {
            eprintln!("the log cannot be written: {error}");
            std::process::exit(1);
        }
    });
    let baseline = Arc::new(Baseline { numbers: Mutex::default(), writes });
    let app = Router::new()
        .route("/hello/{name}", get(async || "hello"))
        .route("/number/{name}", get(read).post(increment))
        .with_state(baseline);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!(r#"{{"ready":true,"data":"{}"}}"#, listener.local_addr()?);
    Ok(serve_axum(listener, app).await?)
}

async fn read(State(baseline): State<Arc<Baseline>>, Segment(name): Segment<String>) -> String {
    baseline.numbers.lock().expect("no holder panics").get(&name).unwrap_or(&0).to_string()
}

async fn increment(
    State(baseline): State<Arc<Baseline>>,
    Segment(name): Segment<String>,
) -> Result<String, StatusCode> {
    let (durable, written) = oneshot::channel();
    let n = {
        let mut numbers = baseline.numbers.lock().expect("no holder panics");
        let n = numbers.entry(name.clone()).or_insert(0);
        *n += 1;
        let n = *n;
        // Sent under the lock: the log has each object's numbers in order.
        let write = Increment { record: format!("{name} {n}\n"), durable };
        baseline.writes.send(write).map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
        n
    };
    written.await.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok(n.to_string())
}

/// Takes all waiting increments, writes them, flushes once, and only then answers the callers.
fn write_batches(mut file: File, queue: &mpsc::Receiver<Increment>) -> io::Result<()> {
    while let Ok(first) = queue.recv() {
        let batch: Vec<Increment> = std::iter::once(first).chain(queue.try_iter()).collect();
        let bytes: String = batch.iter().map(|write| write.record.as_str()).collect();
        file.write_all(bytes.as_bytes())?;
        file.sync_data()?;
        for write in batch {
            _ = write.durable.send(()); // a caller that has disconnected needs no answer
        }
    }
    Ok(())
}
