//! One meter for all work: a turn's CPU time exceeds its limit by at most a tenth and 100 ms, whatever the turn does.
//!
//! The tests measure the CPU time of the process while it does nothing else, so a busy machine has little influence.
//! The bound includes what the host does beside the turn: the request, the entry in the log, the rollback.

use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::harness::{Host, Socket, eventually, guest};

const LIMIT: Duration = Duration::from_millis(300);
/// A tenth of the limit and 100 ms, and 60 ms for the host's own work beside the turn, which is counted in ticks of 10
/// ms.
const BOUND: Duration = Duration::from_millis(300 + 30 + 100 + 60);

/// Calls of `tests/guests/calls`, each repeated.
const CALLS: [&str; 21] = [
    "random?bytes=1048576",
    "random-number",
    "clock",
    "poll?bytes=5000",
    "print?bytes=4000",
    "log?bytes=16",
    "log?bytes=100000",
    "fields?bytes=1000",
    "get?bytes=1000000",
    "get?bytes=16",
    "put?bytes=1000000",
    "put?bytes=16",
    "get-many?bytes=500000",
    "put-many?bytes=100000",
    "delete-many?bytes=16",
    "undo?bytes=500000",
    "list?bytes=1000000",
    "size",
    "sockets",
    "identity",
    "alarm",
];

/// SQL that takes longer than the limit: between steps of SQLite's virtual machine, within one step, within one
/// function, and in the end of a statement.
const ENDLESS: [(&str, &str); 22] = [
    ("steps", "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c) SELECT count(*) FROM c"),
    (
        "rows",
        "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c) SELECT count(printf('%.*c', 10000, 'x')) FROM c",
    ),
    ("sort", "SELECT x FROM t ORDER BY x || 'a' LIMIT 1 OFFSET 29999"),
    ("distinct", "SELECT count(DISTINCT x || 'a') FROM t a, (VALUES (1), (2), (3))"),
    ("join", "SELECT count(*) FROM t a, t b WHERE a.x > b.x"),
    ("like", "SELECT count(*) FROM t a, t b WHERE a.x LIKE '%' || substr(b.x, 1, 40) || '%'"),
    ("glob", "SELECT count(*) FROM t a, t b WHERE a.x GLOB '*' || substr(b.x, 1, 40) || '*'"),
    (
        "instr",
        "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c) SELECT sum(instr(printf('%.*c',1900000,'a'), printf('%.*c',900000,'a')||'b')) FROM c",
    ),
    (
        "replace",
        "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c) SELECT sum(length(replace(hex(zeroblob(400000)), '0', 'ab'))) FROM c",
    ),
    (
        "hex",
        "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c) SELECT sum(length(hex(randomblob(900000)))) FROM c",
    ),
    (
        "random",
        "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c) SELECT sum(length(randomblob(1900000))) FROM c",
    ),
    (
        "json-set",
        "WITH RECURSIVE c(n, j) AS (SELECT 1, (SELECT json_group_array(i) FROM n) UNION ALL SELECT n+1, json_set(j, '$[#]', 1) FROM c) SELECT count(*) FROM c",
    ),
    ("json-tree", "SELECT count(*) FROM n, json_tree((SELECT json_group_array(i) FROM n))"),
    (
        "json-patch",
        "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n+1 FROM c) SELECT sum(length(json_patch((SELECT json_group_object(i, 1) FROM n), (SELECT json_group_object('k' || i, 2) FROM n WHERE i < 200)))) FROM c",
    ),
    (
        "window",
        "SELECT max(s) FROM (SELECT sum(i) OVER (ORDER BY i DESC ROWS BETWEEN 2000 PRECEDING AND 2000 FOLLOWING EXCLUDE TIES) s FROM n)",
    ),
    (
        "window-text",
        "SELECT max(length(s)) FROM (SELECT group_concat(x) OVER (ORDER BY x ROWS BETWEEN 500 PRECEDING AND CURRENT ROW) s FROM t)",
    ),
    ("full-text", "SELECT count(*) FROM f a, f b WHERE a.f MATCH 'w1* OR w2*' AND b.f MATCH 'w3* OR w4*'"),
    (
        "full-text-rebuild",
        "INSERT INTO f (f) VALUES ('rebuild'); INSERT INTO f (f) VALUES ('optimize'); INSERT INTO f (f) VALUES ('rebuild'); INSERT INTO f (f) VALUES ('optimize'); INSERT INTO f (f) VALUES ('rebuild'); SELECT count(*) FROM t a, t b",
    ),
    (
        "full-text-check",
        "INSERT INTO f (f) VALUES ('integrity-check'); INSERT INTO f (f) VALUES ('integrity-check'); INSERT INTO f (f) VALUES ('integrity-check'); INSERT INTO f (f) VALUES ('integrity-check'); SELECT count(*) FROM t a, t b",
    ),
    (
        "update",
        "UPDATE t SET x = x || 'a'; UPDATE t SET x = x || 'a'; UPDATE t SET x = x || 'a'; UPDATE t SET x = x || 'a'; SELECT count(*) FROM t a, t b",
    ),
    (
        "index",
        "CREATE INDEX i1 ON t (x); CREATE INDEX i2 ON t (x, id); CREATE INDEX i3 ON t (substr(x, 2)); CREATE INDEX i4 ON t (substr(x, 3)); CREATE INDEX i5 ON t (substr(x, 4))",
    ),
    (
        "check",
        "PRAGMA quick_check; PRAGMA quick_check; PRAGMA quick_check; PRAGMA quick_check; PRAGMA quick_check; PRAGMA quick_check; SELECT count(*) FROM t a, t b",
    ),
];

/// Calls and statements that may end within the limit: they are bounded as well.
const LONG: [(&str, &str); 8] = [
    ("delete", "DELETE FROM t"),
    ("delete-each", "DELETE FROM t WHERE id > 0"),
    ("drop", "DROP TABLE t; DROP TABLE f; DROP TABLE r"),
    ("tree-check", "SELECT rtreecheck('r')"),
    ("deep-views", "SELECT x FROM v60"),
    (
        "patch-at-once",
        "SELECT length(json_patch((SELECT json_group_object(i, 1) FROM n), (SELECT json_group_object('k' || i, 2) FROM n WHERE i < 1500)))",
    ),
    ("highlight", "SELECT length(highlight(h, 0, '[', ']')) FROM h WHERE h MATCH 'w'"),
    ("snippet", "SELECT length(snippet(h, 0, '[', ']', '', 64)) FROM h WHERE h MATCH 'w'"),
];

/// Uninterruptible work of SQLite: how much of it a turn may do beyond its limit.
/// `docs/decisions/0010-sql-memory-and-functions.md` has the table.
const AT_ONCE: [(&str, &str, Duration); 3] = [
    (
        "like-worst",
        "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c) SELECT sum(printf('%.*c', 1900000, 'a') LIKE '%aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab%') FROM c",
        Duration::from_millis(200),
    ),
    (
        "glob-worst",
        "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c) SELECT sum(printf('%.*c', 1900000, 'a') GLOB '*aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab*') FROM c",
        Duration::from_millis(200),
    ),
    (
        "trigrams",
        "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c) SELECT count(*) FROM c, (SELECT count(*) FROM g WHERE g MATCH '\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab\"')",
        Duration::from_millis(400),
    ),
];

fn database() -> Vec<u8> {
    let file = tempfile::NamedTempFile::new().expect("there is room");
    let sqlite = rusqlite::Connection::open(file.path()).expect("it is empty");
    let numbers = |to: u32| format!("WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < {to})");
    let schema = [
        format!(
            "CREATE TABLE t (id INTEGER PRIMARY KEY, x TEXT); {} INSERT INTO t SELECT i, hex(randomblob(400)) FROM c",
            numbers(30_000)
        ),
        format!("CREATE TABLE n (i INTEGER PRIMARY KEY); {} INSERT INTO n SELECT i FROM c", numbers(100_000)),
        format!(
            "CREATE VIRTUAL TABLE f USING fts5 (a); {} INSERT INTO f SELECT 'w' || i || ' w' || (i * 7 % 1000) || ' ' || hex(randomblob(60)) FROM c",
            numbers(20_000)
        ),
        format!(
            "CREATE VIRTUAL TABLE r USING rtree (id, x0, x1); {} INSERT INTO r SELECT i, i, i + 1 FROM c",
            numbers(20_000)
        ),
        "CREATE VIRTUAL TABLE g USING fts5 (a, tokenize = 'trigram'); INSERT INTO g VALUES (printf('%.*c', 1900000, 'a'))".to_owned(),
        "CREATE VIRTUAL TABLE h USING fts5 (a); INSERT INTO h VALUES (replace(hex(zeroblob(3000)), '00', 'w '))".to_owned(),
        "CREATE VIEW v0 AS SELECT x FROM t".to_owned(),
    ];
    let deep = |n: u32| {
        let nested = format!("{}x{}", "(".repeat(60), " BETWEEN 1 AND 2)".repeat(60));
        format!("CREATE VIEW v{n} AS SELECT {nested} AS x FROM v{}", n - 1)
    };
    for statement in schema.into_iter().chain((1..=60).map(deep)) {
        sqlite.execute_batch(&statement).unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
    drop(sqlite);
    std::fs::read(file.path()).expect("it was just made")
}

struct Story {
    host: Host,
    faults: Vec<String>,
}

impl Story {
    fn start() -> Self {
        // Fuel must not end a turn first.
        let limits = format!("cpu-seconds-per-turn = {}\nfuel-per-turn = 1_000_000_000_000_000", LIMIT.as_secs_f64());
        let host = Host::with(&limits);
        for class in ["calls", "storage", "hostile"] {
            host.deploy(class, guest(class));
        }
        assert_eq!(host.get("/calls/alice/clock?n=1").text(), "called");
        Self { host, faults: Vec::new() }
    }

    /// Runs something as one turn, and returns the process's CPU time for it.
    fn bounded(&mut self, what: &str, bound: Duration, turn: impl FnOnce(&Host) -> bool) {
        let before = self.host.cpu_time();
        let ended = turn(&self.host);
        let took = self.host.cpu_time() - before;
        let end = if ended { "ended at its limit" } else { "ended by itself" };
        println!("{what:>24}  {took:?}  {end}");
        if took > bound {
            self.faults.push(format!("{what} took {took:?}, {bound:?} are allowed"));
        }
    }

    /// Runs SQL in a turn of an object, and returns whether the turn ended at its limit.
    fn sql(&mut self, what: &str, bound: Duration, text: &str, is_endless: bool) {
        let body = json!([{ "op": "scan", "text": text }]).to_string();
        let mut answer = None;
        self.bounded(what, bound, |host| {
            let given = host.post("/storage/alice", body);
            let ended = is_cpu_limit(&given.body);
            answer = Some(given);
            ended
        });
        let answer = answer.expect("it was answered");
        if is_endless && !is_cpu_limit(&answer.body) {
            self.faults.push(format!("{what} did not end at its limit: {answer:?}"));
        }
    }
}

fn is_cpu_limit(body: &[u8]) -> bool {
    serde_json::from_slice::<Json>(body).is_ok_and(|problem| problem["code"] == "cpu-time-exceeded")
}

#[test]
fn a_turn_ends_at_its_cpu_limit_whatever_it_does() {
    let mut story = Story::start();
    for path in ["/hostile/a/loop", "/hostile/a/list"] {
        story.host.get("/hostile/a/put?n=3");
        story.bounded(path, BOUND, |host| is_cpu_limit(&host.get(path).body));
    }
    for call in CALLS {
        let path = format!("/calls/{}/{call}{}n=0", call.len(), if call.contains('?') { '&' } else { '?' });
        let answer = story.host.get(&path.replace("n=0", "n=1"));
        assert_eq!(answer.text(), "called", "{call}");
        story.bounded(call, BOUND, |host| is_cpu_limit(&host.get(&path).body));
    }
    // Arguments that are lifted before any code of the guest runs, and messages that are sent to sockets.
    story.bounded("large-body", BOUND, |host| is_cpu_limit(&host.post("/hostile/a/", vec![b'x'; 30_000_000]).body));
    for (object, message) in ["broadcast 50", "empty 100000000", "hold 10"].into_iter().enumerate() {
        let mut socket = Socket::open(story.host.data(), &format!("/hostile/socket-{object}/"));
        let turns = |host: &Host| host.metric("holdfast_turns_total");
        let limited = |host: &Host| host.metric("holdfast_failed_turns_total{code=\"cpu-time-exceeded\"}");
        let before = (turns(&story.host), limited(&story.host));
        story.bounded(message, BOUND, |host| {
            socket.say(message);
            eventually("the turn to end", || (turns(host) > before.0).then_some(()));
            limited(host) > before.1
        });
    }
    assert_eq!(story.faults, Vec::<String>::new());
}

#[test]
fn so_does_sql_whatever_it_says() {
    let mut story = Story::start();
    let imported = story.host.admin().put("/v1/classes/storage/objects/alice/import", database());
    assert_eq!(imported.status, 204, "{imported:?}");
    for (what, text) in ENDLESS {
        story.sql(what, BOUND, text, true);
    }
    for (what, text) in LONG {
        story.sql(what, BOUND, text, false);
        story.host.admin().post("/v1/classes/storage/objects/alice/evict", b"");
        if what.starts_with("d") {
            // What it removed is restored.
            assert_eq!(story.host.admin().put("/v1/classes/storage/objects/alice/import", database()).status, 204);
        }
    }
    for (what, text, beyond) in AT_ONCE {
        story.sql(what, BOUND + beyond, text, false);
    }
    assert_eq!(story.faults, Vec::<String>::new());
}
