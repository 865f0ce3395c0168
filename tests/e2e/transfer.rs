//! Operations on an object's database: query, export, import. Through the admin API and the command line; exports are
//! checked with SQLite's public tool.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value as Json, json};
use ureq::http::Method;

use crate::harness::{Host, eventually};
use crate::storage::{Object, get, put};

const ALICE: &str = "/v1/classes/storage/objects/alice";

/// Returns the answer of the public tool to a query of a file: the `sqlite3` shell where there is one, else the module
/// of that name in Python's standard library.
fn sqlite(file: &Path, sql: &str) -> String {
    const PYTHON: &str = "import sqlite3, sys\n\
        rows = list(sqlite3.connect(sys.argv[1], isolation_level=None).execute(sys.argv[2]))\n\
        print('\\n'.join('|'.join(map(str, row)) for row in rows))";
    let shell = Command::new("sqlite3").args(["-batch", "-bail"]).arg(file).arg(sql).output();
    let output = match shell {
        Ok(output) => output,
        Err(_) => {
            let python = Command::new("python3").args(["-c", PYTHON]).arg(file).arg(sql).output();
            python.expect("the tests need `sqlite3` or `python3`")
        }
    };
    assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("it prints text").trim_end().into()
}

fn sql(text: &str) -> Json {
    json!({ "op": "sql", "text": text })
}

fn query(host: &Host, body: Json) -> Json {
    host.admin().post(&format!("{ALICE}/sql"), body.to_string()).json()
}

/// Exports an object to a file.
fn export(host: &Host, directory: &Path) -> std::path::PathBuf {
    let answer = host.admin().get(&format!("{ALICE}/export"));
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("content-type"), "application/vnd.sqlite3");
    assert_eq!(answer.header("content-length").parse(), Ok(answer.body.len()));
    let file = directory.join("export.sqlite");
    fs::write(&file, &answer.body).expect("there is room");
    file
}

fn import(host: &Host, bytes: impl AsRef<[u8]>) -> crate::harness::Answer {
    host.admin().put(&format!("{ALICE}/import"), bytes)
}

/// Makes a database with the public tool, and returns its bytes.
fn made(sql: &str) -> Vec<u8> {
    let directory = tempfile::tempdir().expect("there is room");
    let file = directory.path().join("made.sqlite");
    // Python runs one statement a call.
    let connection = rusqlite::Connection::open(&file).expect("it is new");
    connection.execute_batch(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    drop(connection);
    fs::read(file).expect("it was just made")
}

#[test]
fn a_query_is_a_turn_that_wakes_nobody() {
    let object = Object::start();
    let host = &object.host;
    host.admin().post(&format!("{ALICE}/sql"), r#"{"sql":"SELECT 1"}"#).problem(404, "unknown-object");
    object.turn(json!([sql(
        "CREATE TABLE t (x, y); INSERT INTO t VALUES (9223372036854775807, x'00ff'), (0.5, 'text')"
    )]));
    host.admin().post(&format!("{ALICE}/evict"), b"").json();
    let started = host.metric("holdfast_instances_started_total");
    let answer = query(host, json!({ "sql": "SELECT x, y, x AS x, ? FROM t", "parameters": [{ "base64": "AP8=" }] }));
    assert_eq!(answer["columns"], json!(["x", "y", "x", "?"]));
    let large = json!({ "integer": "9223372036854775807" });
    let blob = json!({ "base64": "AP8=" });
    assert_eq!(answer["rows"], json!([[large, blob, large, blob], [0.5, "text", 0.5, blob]]));
    assert_eq!((&answer["truncated"], &answer["changes"]), (&json!(false), &json!(0)));
    assert_eq!(host.metric("holdfast_instances_started_total"), started);
    assert_eq!(host.state("storage", "alice"), "dormant");
}

#[test]
fn a_query_writes_only_when_asked_and_drops_the_instance() {
    let object = Object::start();
    let host = &object.host;
    object.turn(json!([sql("CREATE TABLE t (x UNIQUE); INSERT INTO t VALUES (1)"), put("k", "1")]));
    for text in [
        "INSERT INTO t VALUES (2)",
        "SELECT 1; DROP TABLE t",
        "PRAGMA foreign_keys = OFF",
        "SELECT * FROM _hf_kv",
        "BEGIN",
        "VACUUM INTO 'x'",
        "ATTACH 'x' AS x",
        "SELEC",
        "",
        "SELECT ?",
    ] {
        let refused = host.admin().post(&format!("{ALICE}/sql"), json!({ "sql": text }).to_string());
        refused.problem(422, "query-failed");
    }
    assert_eq!(host.state("storage", "alice"), "live", "reading leaves the instance alone");
    let write = |text: &str| json!({ "sql": text, "write": true });
    let answer = query(host, write("INSERT INTO t VALUES (2), (3) RETURNING x"));
    assert_eq!((&answer["rows"], &answer["changes"]), (&json!([[2], [3]]), &json!(2)));
    assert_eq!(host.state("storage", "alice"), "dormant", "its memory held the former data");
    // A failed write leaves nothing.
    let failing = write("INSERT INTO t VALUES (4); INSERT INTO t VALUES (1)");
    host.admin().post(&format!("{ALICE}/sql"), failing.to_string()).problem(422, "query-failed");
    let reserved = write("DELETE FROM _hf_kv");
    host.admin().post(&format!("{ALICE}/sql"), reserved.to_string()).problem(422, "query-failed");
    assert_eq!(object.one(sql("SELECT group_concat(x) FROM t"))["rows"], json!([["1,2,3"]]));
    assert_eq!(object.one(get("k"))["value"], "1");
}

#[test]
fn the_bounds_of_a_query() {
    let object = Object::with("fuel-per-turn = 5_000_000_000");
    let host = &object.host;
    let many = |count: u32| {
        format!("WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < {count}) SELECT n FROM c")
    };
    object.turn(json!([put("k", "1")]));
    for (count, truncated) in [(10_000, false), (10_001, true)] {
        let answer = query(host, json!({ "sql": many(count) }));
        assert_eq!((answer["rows"].as_array().unwrap().len(), &answer["truncated"]), (10_000, &json!(truncated)));
    }
    let endless = json!({ "sql": many(u32::MAX).replace("SELECT n FROM", "SELECT max(n) FROM") });
    host.admin().post(&format!("{ALICE}/sql"), endless.to_string()).problem(500, "fuel-exhausted");
    for body in ["", "{}", r#"{"sql":"SELECT 1","parameters":[true]}"#, r#"{"sql":"SELECT 1","colour":"red"}"#] {
        host.admin().post(&format!("{ALICE}/sql"), body).problem(400, "bad-body");
    }
    let padded = |length: usize| {
        let body = json!({ "sql": "SELECT 1" }).to_string();
        format!("{body}{}", " ".repeat(length - body.len()))
    };
    assert_eq!(host.admin().post(&format!("{ALICE}/sql"), padded(8 << 20)).status, 200);
    host.admin().post(&format!("{ALICE}/sql"), padded((8 << 20) + 1)).problem(413, "body-too-large");
    host.admin().get(&format!("{ALICE}/sql")).problem(405, "method-not-allowed");
    host.admin().post("/v1/classes/none/objects/alice/sql", padded(20)).problem(404, "unknown-class");
}

#[test]
fn an_export_is_a_plain_file() {
    let object = Object::start();
    let host = &object.host;
    let directory = tempfile::tempdir().unwrap();
    host.admin().get(&format!("{ALICE}/export")).problem(404, "unknown-object");
    object.turn(json!([
        sql("CREATE TABLE t (x); INSERT INTO t VALUES (1), (2); CREATE VIRTUAL TABLE r USING rtree (id, a, b)"),
        put("k", "value"),
    ]));
    host.admin().post(&format!("{ALICE}/evict"), b"").json();
    let file = export(host, directory.path());
    assert_eq!(host.state("storage", "alice"), "dormant", "nobody was woken");
    assert_eq!(sqlite(&file, "PRAGMA integrity_check"), "ok");
    assert_eq!(sqlite(&file, "PRAGMA journal_mode"), "delete");
    assert_eq!(sqlite(&file, "SELECT sum(x) FROM t"), "3");
    assert_eq!(sqlite(&file, "SELECT key, hex(value) FROM _hf_kv"), "k|76616C7565");
    assert_eq!(sqlite(&file, "SELECT value FROM _hf_meta WHERE key = 'name'"), "alice");
}

/// Every turn sets all rows to its own number: a copy with two numbers would not be consistent.
#[test]
fn exports_during_heavy_writes_are_of_one_moment() {
    let object = Object::start();
    let host = &object.host;
    let directory = tempfile::tempdir().unwrap();
    object.turn(json!([sql("CREATE TABLE t (id INTEGER PRIMARY KEY, x, y);
         WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 2000)
         INSERT INTO t SELECT n, 0, zeroblob(500) FROM c; CREATE INDEX i ON t (x)")]));
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (object, done) = (&object, &done);
        let writing = scope.spawn(move || {
            let mut turns = 0_u64;
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                turns += 1;
                object.turn(
                    json!([{ "op": "sql", "text": "UPDATE t SET x = ?, y = randomblob(500)", "params": [turns] }]),
                );
            }
            turns
        });
        let mut moments = std::collections::BTreeSet::new();
        for _ in 0..8 {
            let file = export(host, directory.path());
            assert_eq!(sqlite(&file, "PRAGMA integrity_check"), "ok");
            assert_eq!(sqlite(&file, "SELECT count(*), count(DISTINCT x) FROM t"), "2000|1");
            moments.insert(sqlite(&file, "SELECT min(x) FROM t"));
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(writing.join().unwrap() > 8 && moments.len() > 1, "the object went on: {moments:?}");
    });
}

#[test]
fn what_was_exported_goes_into_any_object() {
    let mut object = Object::start();
    let directory = tempfile::tempdir().unwrap();
    object.turn(json!([sql("CREATE TABLE t (x); INSERT INTO t VALUES (1)"), put("k", "exported")]));
    let file = export(&object.host, directory.path());
    let bytes = fs::read(&file).unwrap();
    object.turn(json!([put("k", "later"), put("l", "later"), sql("DROP TABLE t")]));
    // Into the object itself, while its instance lives; into a new object; and into one of another class, by id.
    assert_eq!(import(&object.host, &bytes).status, 204);
    assert_eq!(object.host.state("storage", "alice"), "dormant", "its memory described the old data");
    object.host.deploy("other", crate::harness::guest("storage"));
    let bob = "/v1/classes/other/objects/bob";
    assert_eq!(object.host.admin().put(&format!("{bob}/import"), &bytes).status, 204);
    for _ in 0..2 {
        for path in ["/storage/alice", "/other/bob"] {
            let asked = json!([{ "op": "list" }, sql("SELECT x FROM t")]).to_string();
            let results = object.host.post(path, asked).json();
            assert_eq!(results[0]["entries"], json!([["k", "exported"]]), "{path}");
            assert_eq!(results[1]["rows"], json!([[1]]));
        }
        let shown = object.host.admin().get(bob).json();
        assert_eq!((&shown["name"], &shown["class"]), (&json!("bob"), &json!("other")), "it is nobody else's");
        object.host.kill();
        object.host.restart();
    }
    let listed = || object.host.admin().get("/v1/classes/other/objects").json()["objects"].as_array().unwrap().len();
    eventually("bob in the list", || (listed() == 1).then_some(()));
}

#[test]
fn a_database_of_another_program_goes_in() {
    let object = Object::start();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("theirs.sqlite");
    sqlite(&file, "CREATE TABLE t AS SELECT 1 AS x UNION ALL SELECT 2");
    assert_eq!(import(&object.host, fs::read(&file).unwrap()).status, 204);
    let results = object.turn(json!([sql("SELECT sum(x) FROM t"), put("k", "1"), sql("INSERT INTO t VALUES (3)")]));
    assert_eq!(results[0]["rows"], json!([[3]]));
    let back = export(&object.host, directory.path());
    assert_eq!(
        (sqlite(&back, "PRAGMA integrity_check"), sqlite(&back, "SELECT sum(x) FROM t")),
        ("ok".into(), "6".into())
    );
}

#[test]
fn what_no_object_can_have_is_refused_and_changes_nothing() {
    let object = Object::with("database = 1_048_576");
    let host = &object.host;
    object.turn(json!([put("k", "kept"), sql("CREATE TABLE t (x)")]));
    let whole = made("CREATE TABLE t (x); INSERT INTO t VALUES (zeroblob(20000)); CREATE INDEX i ON t (x)");
    let changed = |at: usize, byte: u8| {
        let mut bytes = whole.clone();
        bytes[at] = byte;
        bytes
    };
    let kv = "CREATE TABLE _hf_kv (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID";
    for (what, bytes, why) in [
        ("nothing", vec![], "not an SQLite database"),
        ("text", b"CREATE TABLE t (x)".repeat(400), "not an SQLite database"),
        ("a damaged header", changed(0, b'X'), "not an SQLite database"),
        ("a database that was cut", whole[..whole.len() - 4_096].to_vec(), ""),
        ("a page that was cut", whole[..whole.len() - 1].to_vec(), "cut"),
        ("a damaged page", changed(2 * 4_096, 99), ""),
        ("other pages", made("PRAGMA page_size = 8192; CREATE TABLE t (x)"), "4096"),
        ("other text", made("PRAGMA encoding = 'UTF-16'; CREATE TABLE t (x)"), "UTF-8"),
        ("no content", made("CREATE TABLE t (x); DROP TABLE t"), "holds nothing"),
        ("a reserved name", made("CREATE TABLE _HF_mine (x)"), "_HF_mine"),
        (
            "a trigger on the host's table",
            made(&format!("{kv}; CREATE TRIGGER g AFTER INSERT ON _hf_kv BEGIN SELECT 1; END")),
            "trigger g",
        ),
        ("keys that cannot be", made(&format!("{kv}; INSERT INTO _hf_kv VALUES ('', x'')")), "entries"),
        ("a module", made("CREATE VIRTUAL TABLE f USING fts4 (a)"), "fts4"),
        (
            "a schema that lies",
            made("CREATE TABLE t (x); PRAGMA writable_schema = ON; UPDATE sqlite_schema SET rootpage = 99"),
            "",
        ),
        (
            "wide tables",
            made(&format!("CREATE TABLE t ({})", (0..101).map(|n| format!("c{n}")).collect::<Vec<_>>().join(","))),
            "columns",
        ),
    ] {
        let refused = import(host, bytes);
        let problem = refused.problem(422, "import-refused");
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains(why)), "{what}: {problem}");
        assert_eq!(problem["object"], "storage/alice", "{what}");
    }
    import(host, made("CREATE TABLE t (x); INSERT INTO t VALUES (zeroblob(1100000))")).problem(413, "body-too-large");
    // As much as an object may store is accepted.
    let fits = made("CREATE TABLE big (x); INSERT INTO big VALUES (zeroblob(1030000))");
    assert!((1_000_000..=1_048_576).contains(&fits.len()));
    // A body that breaks off.
    let token = fs::read_to_string(host.data_directory().join("admin.token")).unwrap();
    let head = format!(
        "PUT {ALICE}/import HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\ncontent-length: {}\r\n\r\n",
        token.trim(),
        whole.len()
    );
    drop(host.admin().write([head.as_bytes(), &whole[..5_000]].concat()));
    host.admin().get(&format!("{ALICE}/import")).problem(405, "method-not-allowed");
    assert_eq!(object.one(get("k"))["value"], "kept");
    assert_eq!(object.one(sql("SELECT count(*) FROM t"))["rows"], json!([[0]]));
    let transfers = || fs::read_dir(host.data_directory().join("transfers")).map_or(0, Iterator::count);
    eventually("uploads to be gone", || (transfers() == 0).then_some(()));
    assert_eq!(import(host, fits).status, 204);
    assert_eq!(object.one(get("k"))["value"], json!(null));
}

/// SIGKILL around an import: the object has its previous data or the imported data, never both and never neither.
#[test]
fn an_import_is_atomic() {
    let mut object = Object::start();
    let imported = made("CREATE TABLE imported (x); INSERT INTO imported VALUES (randomblob(900000))");
    for round in 0..10_u32 {
        object.turn(
            json!([{ "op": "delete_all" }, put("old", "1"), sql("CREATE TABLE old (x); INSERT INTO old VALUES (1)")]),
        );
        let answered = std::thread::scope(|scope| {
            let (host, imported) = (&object.host, &imported);
            let before = host.metric("holdfast_turns_total");
            let importing =
                scope.spawn(move || host.admin().try_send(Method::PUT, &format!("{ALICE}/import"), &[], imported));
            match round % 3 {
                0 => {}
                1 => eventually("the turn", || {
                    (host.metric("holdfast_turns_total") > before || importing.is_finished()).then_some(())
                }),
                _ => eventually("the answer", || importing.is_finished().then_some(())),
            }
            host.begin_to_die();
            importing.join().unwrap().is_ok_and(|answer| answer.status == 204)
        });
        object.host.end();
        object.host.restart();
        let results =
            object.turn(json!([get("old"), sql("SELECT count(*) FROM old"), sql("SELECT count(*) FROM imported")]));
        let is_old = results[0]["value"] == "1";
        assert!(!(answered && is_old), "round {round}: what was answered is gone");
        assert_eq!(results[1].get("error").is_none(), is_old, "round {round}: {results:?}");
        assert_eq!(results[2].get("error").is_some(), is_old, "round {round}: {results:?}");
    }
}

#[test]
fn the_command_line_does_all_of_it() {
    let object = Object::start();
    let host = &object.host;
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    object.turn(json!([
        sql("CREATE TABLE t (id, name); INSERT INTO t VALUES (1, 'one'), (9007199254740993, NULL)"),
        put("k", "1")
    ]));
    let run = |arguments: &[&str]| {
        let output = host.run(&[&["objects"], arguments].concat());
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("it prints text");
        (output.status.success(), text(&output.stdout), text(&output.stderr))
    };
    let (ok, out, _) = run(&["sql", "storage", "alice", "SELECT id, name FROM t ORDER BY id"]);
    assert!(ok && out == "id\tname\n1\tone\n9007199254740993\tNULL\n", "{out}");
    let (ok, out, _) = run(&["sql", "storage", "alice", "SELECT name FROM t WHERE id = ?", "-p", "1", "--json"]);
    assert!(ok && out.contains(r#""rows":[["one"]]"#), "{out}");
    let (ok, _, error) = run(&["sql", "storage", "alice", "DELETE FROM t"]);
    assert!(!ok && error.contains("query-failed") && error.contains("writing"), "{error}");
    let (ok, _, error) = run(&["sql", "storage", "alice", "DELETE FROM t WHERE name IS NULL", "--write"]);
    assert!(ok && error.contains("1 rows changed"), "{error}");

    let file = path("out.sqlite");
    let (ok, out, error) = run(&["export", "storage", "alice", &file]);
    assert!(ok && out.is_empty() && error.contains("exported storage/alice"), "{error}");
    assert_eq!(sqlite(file.as_ref(), "PRAGMA integrity_check"), "ok");
    assert_eq!(sqlite(file.as_ref(), "SELECT id FROM t"), "1");
    let (ok, _, error) = run(&["import", "storage", "bob", &file]);
    assert!(ok && error.contains("imported"), "{error}");
    assert_eq!(host.post("/storage/bob", json!([get("k")]).to_string()).json()[0]["value"], "1");

    fs::write(path("bad.sqlite"), "not a database").unwrap();
    let (ok, _, error) = run(&["import", "storage", "bob", &path("bad.sqlite")]);
    assert!(!ok && error.contains("import-refused") && error.contains("not an SQLite database"), "{error}");
    let (ok, _, error) = run(&["import", "storage", "bob", &path("none.sqlite")]);
    assert!(!ok && error.contains("cannot read"), "{error}");
    let (ok, _, error) = run(&["export", "storage", "nobody", &path("none.sqlite")]);
    assert!(!ok && error.contains("unknown-object") && !Path::new(&path("none.sqlite")).exists(), "{error}");
    let (ok, _, error) = run(&["sql", "storage", "nobody", "SELECT 1"]);
    assert!(!ok && error.contains("unknown-object"), "{error}");
}
