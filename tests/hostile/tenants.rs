//! Hostile classes.

use std::time::Duration;

use crate::arena::{Arena, HOSTILE, RESTLESS};
use crate::attack::Attack;
use crate::clock::Stop;
use crate::statements;
use crate::wire::{frame, get, post};

/// All attacks of classes.
pub const TENANTS: &[Attack] = &[
    Attack { name: "loops", does: "endless loops in hundreds of objects", run: loops },
    Attack { name: "sql-endless", does: "endless SQL in hundreds of objects", run: sql_endless },
    Attack { name: "sql-long-calls", does: "SQL functions that take long in one call", run: sql_long_calls },
    Attack { name: "sql-growing", does: "endless sorters, sets and materialisations", run: sql_growing },
    Attack { name: "sql-cursors", does: "25 open cursors over rows of 180 MB", run: sql_cursors },
    Attack {
        name: "sql-deep",
        does: "statements of the greatest depth, by guests and by the admin API",
        run: sql_deep,
    },
    Attack { name: "memory", does: "instances that grow to their limits and stay", run: memory },
    Attack { name: "recursion", does: "stacks used up, panics, one after the other", run: recursion },
    Attack { name: "random", does: "random bytes without an end", run: random },
    Attack { name: "logs", does: "log entries without an end", run: logs },
    Attack { name: "broadcasts", does: "megabytes to sockets that nobody reads", run: broadcasts },
    Attack { name: "staged-messages", does: "turns that have sent 60 MB and do not end", run: staged_messages },
    Attack { name: "sleepers", does: "turns that wait, whose clients have gone", run: sleepers },
    Attack { name: "alarm-loops", does: "alarm handlers that loop in hundreds of objects", run: alarm_loops },
    Attack { name: "alarm-again", does: "alarms that are armed again at once", run: alarm_again },
    Attack { name: "alarm-panics", does: "alarm handlers that panic in hundreds of objects", run: alarm_panics },
    Attack { name: "mailboxes", does: "32 MiB bodies to objects that wait", run: mailboxes },
    Attack { name: "entries", does: "hundreds of megabytes written and read by keys", run: entries },
    Attack { name: "missing", does: "objects that make tables and answer 404", run: missing },
];

const MOMENT: Duration = Duration::from_millis(500);
const SECONDS: Duration = Duration::from_secs(2);
const REQUEST_BODY: usize = 32 << 20;

fn at(object: u64, rest: &str) -> String {
    format!("/{HOSTILE}/o-{object}/{rest}")
}

fn loops(arena: &Arena, stop: &Stop) {
    arena.volleys(stop, arena.crowd(100, 700), SECONDS, |object| get(&at(object, "loop")));
}

fn sql_endless(arena: &Arena, stop: &Stop) {
    let request = |object| post(&at(object, "sql"), statements::ENDLESS.as_bytes());
    arena.volleys(stop, arena.crowd(100, 700), SECONDS, request);
}

fn sql_long_calls(arena: &Arena, stop: &Stop) {
    let statements = statements::long_calls();
    let one_of = |object: u64| &statements[object as usize % statements.len()];
    arena.volleys(stop, arena.crowd(20, 80), SECONDS, |object| post(&at(object, "sql"), one_of(object).as_bytes()));
}

fn sql_growing(arena: &Arena, stop: &Stop) {
    let statements = statements::GROWING;
    let one_of = |object: u64| statements[object as usize % statements.len()];
    arena.volleys(stop, arena.crowd(10, 40), SECONDS, |object| post(&at(object, "sql"), one_of(object).as_bytes()));
}

fn sql_cursors(arena: &Arena, stop: &Stop) {
    let query = statements::huge_rows();
    arena.clients(stop, arena.crowd(4, 16), |object| post(&at(object % 64, "cursors?n=25"), query.as_bytes()));
}

fn sql_deep(arena: &Arena, stop: &Stop) {
    let statements = statements::deep();
    // The admin API queries only objects that have stored something.
    let stored = get(&format!("/{HOSTILE}/deep/put?n=1"));
    arena.each(stop, arena.crowd(4, 8), |thread| {
        if thread == 0 {
            let _ = arena.exchange(stop, &stored);
        }
        for statement in &statements {
            let object = arena.fresh();
            if thread == 0 {
                arena.admin_sql("deep", statement);
            } else {
                let status = arena.exchange(stop, &post(&at(object, "sql"), statement.as_bytes()));
                arena.heard(status.map_or("nothing".into(), |status| status.to_string()));
            }
        }
    });
}

fn memory(arena: &Arena, stop: &Stop) {
    arena.volleys(stop, arena.crowd(16, 64), MOMENT, |object| get(&at(object % 64, "grow?n=40")));
}

fn recursion(arena: &Arena, stop: &Stop) {
    arena.clients(stop, 8, |object| get(&at(object % 64, ["recurse", "panic"][object as usize % 2])));
}

fn random(arena: &Arena, stop: &Stop) {
    arena.volleys(stop, arena.crowd(32, 128), SECONDS, |object| get(&at(object, "random")));
}

fn logs(arena: &Arena, stop: &Stop) {
    arena.volleys(stop, arena.crowd(64, 256), SECONDS, |object| get(&at(object % 256, "log")));
}

/// Runs peers that do not read, and one that makes the object send.
fn broadcasts(arena: &Arena, stop: &Stop) {
    speak_to_the_deaf(arena, stop, "broadcast 20");
}

/// Connects sockets that never read, and has the object send to them as `order` says.
pub fn speak_to_the_deaf(arena: &Arena, stop: &Stop, order: &str) {
    let path = at(arena.fresh(), "");
    let open = || arena.connect().and_then(|mut wire| wire.upgrade(&path).map(|()| wire));
    while !stop.told() {
        let deaf: Vec<_> = (0..arena.crowd(20, 100)).map_while(|_| open().ok()).collect();
        arena.heard(format!("{} sockets", deaf.len()));
        let Ok(mut speaker) = open() else {
            stop.pause(MOMENT);
            continue;
        };
        while !stop.told() && speaker.send(&frame(1, order.as_bytes())).is_ok() && speaker.swallow().is_some() {
            arena.heard("orders");
        }
    }
}

/// Opens one socket of each object, which makes it send and then compute.
fn staged_messages(arena: &Arena, stop: &Stop) {
    let order = frame(1, b"hold 60");
    while !stop.told() {
        let mut held = Vec::new();
        for _ in 0..arena.crowd(20, 100) {
            let open = arena.connect().and_then(|mut wire| {
                wire.upgrade(&at(arena.fresh(), ""))?;
                wire.send(&order).map(|()| wire)
            });
            match open {
                Ok(wire) => held.push(wire),
                Err(_) => _ = stop.pause(Duration::from_millis(5)),
            }
            if stop.told() {
                break;
            }
        }
        arena.heard(format!("{} sockets", held.len()));
        stop.pause(SECONDS);
    }
}

/// Closes each group of connections as soon as its requests are sent.
fn sleepers(arena: &Arena, stop: &Stop) {
    arena.volleys(stop, arena.crowd(600, 3000), Duration::ZERO, |object| get(&at(object, "sleep?ms=900000")));
}

fn alarm_loops(arena: &Arena, stop: &Stop) {
    alarms(arena, stop, "loop");
}

fn alarm_panics(arena: &Arena, stop: &Stop) {
    alarms(arena, stop, "panic");
}

fn alarm_again(arena: &Arena, stop: &Stop) {
    alarms(arena, stop, "again");
}

/// Arms the alarms of many objects, waits, and removes the objects, whose alarms would otherwise never end.
fn alarms(arena: &Arena, stop: &Stop, mode: &str) {
    let path = |object| format!("/{RESTLESS}/o-{object}/alarm?mode={mode}");
    for object in 0..arena.crowd(100, 400) {
        let status = arena.exchange(stop, &post(&path(object), b""));
        arena.heard(status.map_or("nothing".into(), |status| status.to_string()));
    }
    while !stop.pause(SECONDS) {}
    arena.heard(if arena.calm() { "removed" } else { "not removed" });
}

fn mailboxes(arena: &Arena, stop: &Stop) {
    let request = post(&at(0, "sleep?ms=2000"), &vec![b'x'; REQUEST_BODY - 1024]);
    arena.volleys(stop, arena.crowd(24, 96), MOMENT, |object| {
        let mut request = request.clone();
        let path = at(object % 8, "sleep?ms=2000");
        request[5..5 + path.len()].copy_from_slice(path.as_bytes());
        request
    });
}

fn entries(arena: &Arena, stop: &Stop) {
    let paths = ["put?n=100", "list", "put?n=300", "list"];
    arena.volleys(stop, arena.crowd(8, 32), SECONDS, |object| get(&at(object % 32, paths[object as usize % 4])));
}

fn missing(arena: &Arena, stop: &Stop) {
    arena.clients(stop, 8, |object| get(&format!("/{HOSTILE}/missing-{object}/missing")));
    if let Some(objects @ 1..) = arena.objects_named("missing-") {
        arena.fault(format!("{objects} objects or more that stored nothing of their own are left"));
    }
}
