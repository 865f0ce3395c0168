//! Storage-wide operations of a guest: savepoints, settling points, the size, and `delete-all`.

use serde_json::{Value as Json, json};

use crate::harness::{Host, eventually, files_below, guest};
use crate::storage::{Object, get, put};

fn op(name: &str) -> Json {
    json!({ "op": name })
}

fn end(how: &str, savepoint: usize) -> Json {
    json!({ "op": how, "savepoint": savepoint })
}

fn sql(text: &str) -> Json {
    json!({ "op": "sql", "text": text })
}

/// Returns the codes of refused operations, null where one succeeded.
fn errors(results: &[Json]) -> Vec<Json> {
    results.iter().map(|result| result["error"].clone()).collect()
}

#[test]
fn transactions_nest_and_undo_keys_and_rows() {
    let object = Object::start();
    object.turn(json!([sql("CREATE TABLE t (x)"), put("k", "0")]));
    let transaction = |ops: Json, undo: bool| json!({ "op": "transaction", "ops": ops, "undo": undo });
    let write = |n: &str| vec![put("k", n), sql(&format!("INSERT INTO t VALUES ({n})"))];
    let nested = |inner_undone: bool, outer_undone: bool| {
        let mut ops = write("1");
        ops.push(transaction(json!(write("2")), inner_undone));
        ops.push(get("k"));
        transaction(json!(ops), outer_undone)
    };
    for (inner_undone, outer_undone, inside, key, rows) in [
        (false, false, "2", "2", json!([["1,2"]])),
        (true, false, "1", "1", json!([["1"]])),
        (false, true, "2", "0", json!([[null]])),
        (true, true, "1", "0", json!([[null]])),
    ] {
        let results = object.turn(json!([nested(inner_undone, outer_undone), put("after", "1")]));
        assert_eq!(
            (&results[0]["kept"], &results[0]["results"][2]["kept"]),
            (&json!(!outer_undone), &json!(!inner_undone))
        );
        assert_eq!(results[0]["results"][3]["value"], inside);
        // The turn continued after the error.
        assert_eq!(object.one(get("after"))["value"], "1");
        assert_eq!(object.one(get("k"))["value"], key);
        assert_eq!(object.one(sql("SELECT group_concat(x) FROM (SELECT x FROM t ORDER BY x)"))["rows"], rows);
        object.turn(json!([sql("DELETE FROM t"), put("k", "0"), { "op": "delete", "key": "after" }]));
    }
}

#[test]
fn savepoints_end_in_any_order_and_once() {
    let object = Object::start();
    let results = object.turn(json!([
        op("open_savepoint"), // 0
        put("a", "1"),
        op("open_savepoint"), // 1
        put("b", "1"),
        op("open_savepoint"), // 2
        put("c", "1"),
        end("undo", 1), // and 2 with it
        end("keep", 2),
        end("undo", 1),
        op("open_savepoint"), // 3, dropped without a word: undone
        put("d", "1"),
        end("drop", 3),
        end("keep", 0),
        end("keep", 0),
    ]));
    let refused: Vec<usize> = (0..results.len()).filter(|at| results[*at].get("error").is_some()).collect();
    assert_eq!(refused, [7, 8, 13], "{results:?}");
    assert!(refused.iter().all(|at| results[*at]["error"] == "closed"));
    assert_eq!(object.keys(json!({})), ["a"]);
    // Savepoints belong to their turn.
    assert_eq!(errors(&object.turn(json!([end("keep", 0), end("undo", 1)]))), ["closed", "closed"]);
}

#[test]
fn a_savepoint_left_open_fails_the_turn() {
    let object = Object::start();
    object.turn(json!([put("k", "0")]));
    for operations in [
        json!([op("open_savepoint")]),
        json!([put("k", "1"), op("open_savepoint")]),
        json!([op("open_savepoint"), put("k", "1"), op("open_savepoint"), end("undo", 1)]),
    ] {
        object.host.post("/storage/alice", operations.to_string()).problem(500, "savepoint-open");
        assert_eq!(object.one(get("k"))["value"], "0", "{operations}");
    }
    // The instance was dropped too: numbers begin again.
    assert_eq!(object.turn(json!([op("open_savepoint"), end("undo", 0)]))[0]["savepoint"], 0);
}

#[test]
fn savepoints_at_their_limit() {
    let object = Object::start();
    let mut operations = vec![op("open_savepoint"); 33];
    operations.extend([put("k", "1"), end("keep", 31), op("open_savepoint"), end("keep", 0)]);
    let results = object.turn(json!(operations));
    let mut expected = vec![Json::Null; 37];
    expected[32] = "too-deep".into();
    assert_eq!(errors(&results), expected);
    assert_eq!(object.one(get("k"))["value"], "1");
}

#[test]
fn what_concerns_the_whole_turn_is_refused_inside_a_savepoint() {
    let object = Object::start();
    object.turn(json!([put("k", "0")]));
    let results =
        object.turn(json!([op("open_savepoint"), op("delete_all"), op("sync"), put("l", "1"), end("keep", 0)]));
    let open = Json::from("savepoint-open");
    assert_eq!(errors(&results), [Json::Null, open.clone(), open, Json::Null, Json::Null]);
    assert_eq!(object.keys(json!({})), ["k", "l"], "the turn went on");
}

#[test]
fn a_settled_turn_keeps_what_was_settled() {
    let mut object = Object::start();
    object.failing_turn(json!([
        put("settled", "1"),
        sql("CREATE TABLE t (x); INSERT INTO t VALUES (1)"),
        op("sync"),
        put("settled", "2"),
        put("later", "1"),
        sql("INSERT INTO t VALUES (2)"),
    ]));
    let settled = |object: &Object| {
        assert_eq!(object.one(get("settled"))["value"], "1");
        assert_eq!(object.one(get("later"))["value"], json!(null));
        assert_eq!(object.one(sql("SELECT group_concat(x) FROM t"))["rows"], json!([["1"]]));
    };
    settled(&object);
    object.host.kill();
    object.host.restart();
    settled(&object);
    // It is not an error when there is nothing to apply, nor to call it twice.
    let results = object.turn(json!([op("sync"), put("k", "1"), op("sync"), op("sync"), get("k")]));
    assert_eq!(results[4]["value"], "1");
    // A panic rolls back exactly what a failure does.
    let operations = json!([put("before", "1"), op("sync"), put("after", "1"), op("panic")]);
    object.host.post("/storage/alice", operations.to_string()).problem(500, "guest-trap");
    assert_eq!(
        object.one(json!({ "op": "get_many", "keys": ["before", "after"] }))["entries"],
        json!([["before", "1"]])
    );
}

#[test]
fn a_deferred_constraint_is_checked_at_a_settling_point() {
    let object = Object::start();
    object.turn(json!([sql("CREATE TABLE parent (id INTEGER PRIMARY KEY);
         CREATE TABLE child (parent REFERENCES parent DEFERRABLE INITIALLY DEFERRED)")]));
    let results = object.turn(json!([
        sql("INSERT INTO child VALUES (1)"),
        op("sync"),
        sql("INSERT INTO parent VALUES (1)"),
        op("sync"),
    ]));
    assert_eq!(errors(&results), [json!(null), "other".into(), json!(null), json!(null)], "it can be corrected");
    assert_eq!(object.one(sql("SELECT count(*) FROM child"))["rows"], json!([[1]]));
}

#[test]
fn the_size_is_that_of_the_pages_in_use() {
    let object = Object::start();
    let size = |object: &Object| object.one(op("size"))["size"].as_u64().unwrap();
    assert_eq!(size(&object), 0);
    object.host.admin().get("/v1/classes/storage/objects/alice").problem(404, "unknown-object");
    let staged = object.turn(json!([
        { "op": "put_bytes_len", "key": "k", "len": 1_000_000 },
        op("size"),
        { "op": "delete", "key": "k" },
        op("size"),
        put("k", "1"),
    ]));
    let (large, small) = (staged[1]["size"].as_u64().unwrap(), staged[3]["size"].as_u64().unwrap());
    assert!((1_000_000..1_100_000).contains(&large) && large % 4_096 == 0, "with what is staged: {large}");
    assert!((4_096..50_000).contains(&small) && small % 4_096 == 0, "without pages that are free: {small}");
    let shown = object.host.admin().get("/v1/classes/storage/objects/alice").json();
    assert_eq!(shown["bytes"], size(&object), "as the operator sees it");
}

#[test]
fn everything_is_removed_at_once() {
    let mut object = Object::start();
    object.turn(json!([
        { "op": "put_bytes_len", "key": "large", "len": 1_900_000 },
        put("k", "1"),
        sql("CREATE TABLE t (x); INSERT INTO t VALUES (1)"),
    ]));
    // As part of the turn.
    object.failing_turn(json!([op("delete_all"), put("new", "1")]));
    assert_eq!(object.keys(json!({})), ["k", "large"]);
    let results = object.turn(json!([
        { "op": "open_entries" },
        { "op": "open_rows", "text": "SELECT x FROM t UNION ALL SELECT value FROM json_each('[1]'), json_each('[1]')" },
        op("delete_all"),
        { "op": "next_entries", "max": 1 },
        get("k"),
        op("size"),
        sql("SELECT * FROM t"),
        put("new", "1"),
        op("delete_all"),
        sql("CREATE TABLE u (y); INSERT INTO u VALUES (2)"),
        put("newest", "1"),
    ]));
    assert_eq!(results[3]["error"], "closed");
    assert_eq!((&results[4]["value"], &results[5]["size"]), (&json!(null), &json!(0)));
    assert_eq!(results[6]["error"], "sqlite", "the table is gone");
    for _ in 0..2 {
        assert_eq!(object.keys(json!({})), ["newest"]);
        assert_eq!(object.one(sql("SELECT y FROM u"))["rows"], json!([[2]]));
        assert_eq!(object.one(sql("SELECT * FROM t"))["error"], "sqlite");
        assert!(object.one(op("size"))["size"].as_u64().unwrap() < 100_000);
        object.host.kill();
        object.host.restart();
    }
    let shown = object.host.admin().get("/v1/classes/storage/objects/alice").json();
    assert_eq!(shown["name"], "alice", "its successor knows its name");
}

/// After each kill the object has its previous data or the new data, never both and never neither.
#[test]
fn a_crash_during_a_removal_leaves_old_or_new() {
    let mut object = Object::start();
    let (mut old, mut new) = (0, 0);
    for round in 0..12_u32 {
        object.turn(json!([
            op("delete_all"),
            put("old", "1"),
            sql("CREATE TABLE old (x); INSERT INTO old VALUES (zeroblob(500000))"),
        ]));
        std::thread::scope(|scope| {
            let operations = json!([op("delete_all"), put("new", "1"), sql("CREATE TABLE new (x)")]).to_string();
            let host = &object.host;
            let turns = || host.metric("holdfast_turns_total");
            let before = turns();
            let asked =
                scope.spawn(move || host.data().try_send(ureq::http::Method::POST, "/storage/alice", &[], operations));
            if round % 2 == 0 {
                // After it was applied, durable or not.
                eventually("the turn", || (turns() > before || asked.is_finished()).then_some(()));
            }
            host.begin_to_die();
            let _ = asked.join().unwrap();
        });
        object.host.end();
        object.host.restart();
        let keys = object.keys(json!({}));
        let (table, other) = match &keys[..] {
            [key] if key == "old" => ("old", "new"),
            [key] if key == "new" => ("new", "old"),
            keys => panic!("round {round}: {keys:?}"),
        };
        *(if table == "old" { &mut old } else { &mut new }) += 1;
        let results =
            object.turn(json!([sql(&format!("SELECT * FROM {table}")), sql(&format!("SELECT * FROM {other}"))]));
        assert_eq!(errors(&results), [json!(null), "sqlite".into()], "round {round}");
    }
    assert!(new > 0, "of {} rounds none saw the new", old + new);
    // Acknowledged writes stay.
    object.turn(json!([op("delete_all")]));
    object.host.kill();
    object.host.restart();
    object.host.admin().get("/v1/classes/storage/objects/alice").problem(404, "unknown-object");
}

/// For each way to remove everything: no file, no entry in the list, no directory entry, now and after a restart.
#[test]
fn nothing_is_left_behind() {
    let mut host = Host::start();
    host.deploy("storage", guest("storage"));
    let objects = host.data_directory().join("objects");
    let turn = |host: &Host, name: &str, operations: Json| {
        host.post(&format!("/storage/{name}"), operations.to_string()).json()
    };
    turn(&host, "stays", json!([put("k", "1")]));
    let listed = |host: &Host| -> Vec<String> {
        let page = host.admin().get("/v1/classes/storage/objects").json();
        page["objects"].as_array().unwrap().iter().map(|object| object["name"].as_str().unwrap().into()).collect()
    };
    eventually("the first object in the list", || (listed(&host) == ["stays"]).then_some(()));
    let before = files_below(&objects);
    let large = json!({ "op": "put_bytes_len", "key": "large", "len": 1_000_000 });
    let names = ["keys", "tables", "all", "admin", "undone", "failed", "read"];
    let make = [
        json!([put("k", "1"), large.clone()]),
        json!([sql(
            "CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT, x UNIQUE); CREATE VIEW v AS SELECT x FROM t;
                    CREATE VIRTUAL TABLE f USING fts5 (a); INSERT INTO t (x) VALUES (1); ANALYZE"
        )]),
        json!([put("k", "1"), large.clone(), sql("CREATE TABLE t (x)")]),
        json!([put("k", "1"), large.clone(), sql("CREATE TABLE t (x)")]),
        json!([{ "op": "transaction", "ops": [put("k", "1"), sql("CREATE TABLE t (x)")], "undo": true }]),
        json!([get("k")]),
        json!([get("k"), { "op": "list" }, sql("SELECT 1"), op("size"), op("delete_all"), op("sync")]),
    ];
    for (name, operations) in names.iter().zip(make) {
        turn(&host, name, operations);
    }
    turn(&host, "keys", json!([{ "op": "delete_many", "keys": ["k", "large", "none"] }]));
    turn(&host, "tables", json!([sql("DROP VIEW v; DROP TABLE t; DROP TABLE f")]));
    turn(&host, "all", json!([op("delete_all")]));
    assert_eq!(host.admin().delete("/v1/classes/storage/objects/admin").status, 204);
    host.post("/storage/failed", json!([put("k", "1"), op("fail")]).to_string()).problem(500, "guest-error");
    let gone = |host: &Host| {
        for name in names {
            host.admin().get(&format!("/v1/classes/storage/objects/{name}")).problem(404, "unknown-object");
        }
        eventually("the list", || (listed(host) == ["stays"]).then_some(()));
        let stays = |path: &std::path::PathBuf| before.iter().any(|kept| path.file_stem() == kept.file_stem());
        eventually("the files", || files_below(&objects).iter().all(stays).then_some(()));
    };
    gone(&host);
    host.kill();
    host.restart();
    gone(&host);
    assert_eq!(turn(&host, "stays", json!([get("k")]))[0]["value"], "1");
}
