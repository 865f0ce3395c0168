//! The speed of the log. Run with `--ignored --nocapture`; `TMPDIR` chooses the disk.

use std::thread;

use super::*;

fn fast() -> Dir {
    let mut dir = Dir::new(16);
    dir.options = LogOptions { in_flight: 8 << 20, ..LogOptions::new(Env::system()) };
    dir
}

#[test]
#[ignore = "measures"]
fn small_records_a_second() {
    const THREADS: u16 = 4;
    const EACH: u64 = 500_000;
    let (dir, env) = (fast(), Env::system());
    let log = dir.open();
    let writers: Vec<_> = (0..16).map(|lane| log.open(Lane::new(lane), NODE).unwrap()).collect();
    let from = env.elapsed();
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (log, writers) = (&log, &writers);
            scope.spawn(move || {
                for number in 0..EACH {
                    let lane = (u64::from(thread) * 4 + number % 4) as u16;
                    let record = TurnEncoder::new(&head(0, 1)).finish();
                    let mut reservation = lane::block_on(reserve(log, record.len() as u64)).unwrap();
                    writers[usize::from(lane)].submit(record, &mut reservation, |_| {});
                    if log.usage().live > 800 << 20 {
                        let upto: Vec<_> = writers.iter().map(|writer| writer.durable().upto()).collect();
                        log.trim(&upto).unwrap();
                    }
                }
            });
        }
    });
    writers.iter().for_each(|writer| writer.durable().wait(writer.appended()).unwrap());
    let seconds = (env.elapsed() - from).as_secs_f64();
    let usage = log.usage();
    println!(
        "{:.0} records/s, {:.1} MB/s, {} groups",
        usage.records as f64 / seconds,
        usage.bytes as f64 / seconds / 1e6,
        usage.groups
    );
}

#[test]
#[ignore = "measures"]
fn one_client_alone() {
    let (dir, env) = (fast(), Env::system());
    let log = dir.open();
    let writer = log.open(Lane::new(0), NODE).unwrap();
    let mut times = Vec::new();
    for number in 0..2000 {
        let record = turn(&head(0, 1), number, 300);
        let mut reservation = log.try_reserve(record.len() as u64).unwrap();
        let from = env.elapsed();
        let lsn = writer.submit(record, &mut reservation, |_| {});
        writer.durable().wait(lsn).unwrap();
        times.push(env.elapsed() - from);
    }
    let file = std::fs::File::create(dir.temp.path().join("baseline")).unwrap();
    file.set_len(4 << 20).unwrap();
    let mut baseline = Vec::new();
    for number in 0..2000 {
        let from = env.elapsed();
        SystemDisk.write_all_at(crate::base::failpoints::Failpoint::LogWrite, &file, &[1; 500], number * 500).unwrap();
        file.sync_data().unwrap();
        baseline.push(env.elapsed() - from);
    }
    times.sort();
    baseline.sort();
    println!(
        "submit to durable: p50 {:?} p99 {:?}; write and fdatasync: p50 {:?} p99 {:?}",
        times[1000], times[1980], baseline[1000], baseline[1980]
    );
}

/// 64 threads that wait for each turn, like the turns of 1,000 objects.
#[test]
#[ignore = "measures"]
fn sixty_four_clients() {
    let (dir, env) = (fast(), Env::system());
    let log = dir.open();
    let writers: Vec<_> = (0..16).map(|lane| log.open(Lane::new(lane), NODE).unwrap()).collect();
    let from = env.elapsed();
    thread::scope(|scope| {
        for thread in 0..64 {
            let (log, writer) = (&log, &writers[thread % 16]);
            scope.spawn(move || {
                for number in 0..2000 {
                    let record = turn(&head(0, 1), number, 300);
                    let mut reservation = lane::block_on(reserve(log, record.len() as u64)).unwrap();
                    let lsn = writer.submit(record, &mut reservation, |_| {});
                    writer.durable().wait(lsn).unwrap();
                }
            });
        }
    });
    let usage = log.usage();
    let seconds = (env.elapsed() - from).as_secs_f64();
    println!("{:.0} durable turns/s, {} groups", 128_000.0 / seconds, usage.groups);
}
