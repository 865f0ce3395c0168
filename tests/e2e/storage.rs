//! Key-value storage as a guest uses it, through the real host.

use serde_json::{Value as Json, json};

use crate::harness::{Host, guest};

/// An object that runs the storage operations of a request.
pub struct Object {
    pub host: Host,
}

impl Object {
    pub fn start() -> Self {
        Self::with("")
    }

    pub fn with(limits: &str) -> Self {
        let host = Host::with(limits);
        host.deploy("storage", guest("storage"));
        Self { host }
    }

    /// Applies operations in one turn, which must succeed, and returns their results.
    pub fn turn(&self, operations: Json) -> Vec<Json> {
        serde_json::from_value(self.host.post("/storage/alice", operations.to_string()).json()).expect("a list")
    }

    /// Returns the only result of the only operation of a turn.
    pub fn one(&self, operation: Json) -> Json {
        self.turn(json!([operation])).remove(0)
    }

    /// Runs a turn that stages these operations and then fails.
    pub fn failing_turn(&self, operations: Json) {
        let mut operations = operations.as_array().expect("a list").clone();
        operations.push(json!({ "op": "fail" }));
        let failure = self.host.post("/storage/alice", json!(operations).to_string()).problem(500, "guest-error");
        assert_eq!(failure["guest_code"], "told-to-fail", "{failure}");
    }

    /// Returns the keys of a list with these options.
    pub fn keys(&self, mut options: Json) -> Vec<String> {
        options["op"] = "list".into();
        let listed = self.one(options);
        let entries: Vec<(String, String)> =
            serde_json::from_value(listed["entries"].clone()).unwrap_or_else(|_| panic!("no entries: {listed}"));
        entries.into_iter().map(|(key, _)| key).collect()
    }
}

pub fn put(key: &str, value: &str) -> Json {
    json!({ "op": "put", "key": key, "value": value })
}

pub fn get(key: &str) -> Json {
    json!({ "op": "get", "key": key })
}

#[test]
fn what_a_turn_wrote_is_read_by_it_and_by_the_next() {
    let mut object = Object::start();
    let results =
        object.turn(json!([get("k"), put("k", "1"), get("k"), put("k", "2"), { "op": "delete", "key": "none" }]));
    assert_eq!(results[0]["value"], json!(null));
    assert_eq!(results[2]["value"], "1");
    assert_eq!(results[4]["deleted"], false);
    assert_eq!(object.one(get("k"))["value"], "2");
    object.host.kill();
    object.host.restart();
    assert_eq!(object.one(get("k"))["value"], "2");
    assert_eq!(object.one(json!({ "op": "delete", "key": "k" }))["deleted"], true);
    assert_eq!(object.one(get("k"))["value"], json!(null));
}

#[test]
fn a_failed_turn_leaves_no_trace() {
    let object = Object::start();
    object.failing_turn(json!([put("first", "1")]));
    object.host.admin().get("/v1/classes/storage/objects/alice").problem(404, "unknown-object");
    object.turn(json!([put("a", "1"), put("b", "1"), { "op": "sql", "text": "CREATE TABLE t (x)" }]));
    object.failing_turn(json!([
        put("a", "2"),
        put("c", "2"),
        { "op": "delete", "key": "b" },
        { "op": "sql", "text": "INSERT INTO t VALUES (1); CREATE TABLE u (x); DROP TABLE t" },
    ]));
    assert_eq!(object.keys(json!({})), ["a", "b"]);
    assert_eq!(object.one(get("a"))["value"], "1");
    assert_eq!(object.one(json!({ "op": "sql", "text": "SELECT count(*) FROM t" }))["rows"], json!([[0]]));
}

#[test]
fn lists_are_in_the_order_of_bytes_and_keep_to_their_bounds() {
    let object = Object::start();
    let entries: Vec<_> = ["a", "a1", "a2", "b", "B", "z", "ä", "€", "😀"].map(|key| (key, key)).into();
    object.turn(json!([{ "op": "put_many", "entries": entries }]));
    for (options, expected) in [
        (json!({}), &["B", "a", "a1", "a2", "b", "z", "ä", "€", "😀"][..]),
        (json!({ "reverse": true, "limit": 2 }), &["😀", "€"]),
        (json!({ "prefix": "a" }), &["a", "a1", "a2"]),
        (json!({ "prefix": "a", "start": "a1" }), &["a1", "a2"]),
        (json!({ "start": "a1", "end": "z" }), &["a1", "a2", "b"]),
        (json!({ "start": "a1", "end": "z", "reverse": true }), &["b", "a2", "a1"]),
        (json!({ "start_after": "a1", "limit": 1 }), &["a2"]),
        (json!({ "start_after": "a1", "end": "b" }), &["a2"]),
        (json!({ "start": "z", "end": "a" }), &[]),
        (json!({ "start": "a", "end": "a" }), &[]),
        (json!({ "prefix": "a", "start": "b" }), &[]),
        (json!({ "prefix": "😀" }), &["😀"]),
    ] {
        assert_eq!(object.keys(options.clone()), expected, "{options}");
    }
    for options in [json!({ "op": "list", "limit": 0 }), json!({ "op": "list", "start": "a", "start_after": "a" })] {
        assert_eq!(object.one(options.clone())["error"], "bad-range", "{options}");
    }
}

#[test]
fn a_long_list_comes_whole() {
    let object = Object::start();
    let keys: Vec<String> = (0..1_000).map(|number| format!("key-{number:04}")).collect();
    let batches = keys.chunks(128).map(|keys| {
        let entries: Vec<_> = keys.iter().map(|key| (key, "x".repeat(100))).collect();
        json!({ "op": "put_many", "entries": entries })
    });
    object.turn(batches.collect());
    assert_eq!(object.keys(json!({})), keys);
}

#[test]
fn many_at_once() {
    let object = Object::start();
    let results = object.turn(json!([
        { "op": "put_many", "entries": [["b", "1"], ["a", "1"], ["b", "2"]] },
        { "op": "get_many", "keys": ["b", "none", "a", "b"] },
        { "op": "delete_many", "keys": ["a", "none", "a"] },
        { "op": "get_many", "keys": ["a", "b"] },
    ]));
    assert_eq!(results[1]["entries"], json!([["a", "1"], ["b", "2"]]));
    assert_eq!(results[2]["deleted"], 1);
    assert_eq!(results[3]["entries"], json!([["b", "2"]]));
}

#[test]
fn limits_at_their_edges() {
    let object = Object::start();
    let (longest, too_long) = ("k".repeat(2_048), "k".repeat(2_049));
    let entries = |count: usize| (0..count).map(|n| (n.to_string(), "")).collect::<Vec<_>>();
    let keys = |count: usize| (0..count).map(|n| n.to_string()).collect::<Vec<_>>();
    for (operation, error) in [
        (put(&longest, ""), None),
        (put(&too_long, ""), Some("key-size")),
        (put("", ""), Some("key-size")),
        (get(&too_long), Some("key-size")),
        (json!({ "op": "delete", "key": too_long }), Some("key-size")),
        (json!({ "op": "put_bytes_len", "key": "k", "len": 1_999_999 }), None),
        (json!({ "op": "put_bytes_len", "key": "k", "len": 2_000_000 }), Some("value-size")),
        (json!({ "op": "put_many", "entries": entries(128) }), None),
        (json!({ "op": "put_many", "entries": entries(129) }), Some("too-many")),
        (json!({ "op": "get_many", "keys": keys(128) }), None),
        (json!({ "op": "get_many", "keys": keys(129) }), Some("too-many")),
        (json!({ "op": "delete_many", "keys": keys(128) }), None),
        (json!({ "op": "delete_many", "keys": keys(129) }), Some("too-many")),
    ] {
        let result = object.one(operation.clone());
        assert_eq!(result["error"].as_str(), error, "{:.200} {result}", operation.to_string());
    }
    assert_eq!(object.one(get("k"))["len"], 1_999_999, "a refused operation changed nothing");
    // No entry of a refused call is stored.
    object.turn(json!([{ "op": "put_many", "entries": [["first", "1"], ["", "2"]] }]));
    assert_eq!(object.one(get("first"))["value"], json!(null));
}

#[test]
fn a_refused_operation_does_not_end_the_turn() {
    let object = Object::start();
    let results = object.turn(json!([put("a", "1"), put("", "2"), put("b", "3")]));
    assert_eq!(results[1]["error"], "key-size");
    assert_eq!(object.keys(json!({})), ["a", "b"]);
}

#[test]
fn a_database_stays_within_its_size() {
    let mut object = Object::with("database = 1_048_576");
    let fill = |key: usize| json!([{ "op": "put_bytes_len", "key": key.to_string(), "len": 100_000 }]).to_string();
    let put = |object: &Object, key: usize| object.host.post("/storage/alice", fill(key));
    let stored = (0..20).find(|key| put(&object, *key).status != 200).expect("it gets full");
    assert!((8..=10).contains(&stored), "{stored} entries of 100,000 bytes in 1 MiB");
    put(&object, stored).problem(507, "storage-full");
    // A handler that returns the error of an operation does not hide its case.
    let passed_on = json!([{ "op": "put_bytes_len", "key": "more", "len": 100_000 }, { "op": "fail" }]).to_string();
    object.host.post("/storage/alice", passed_on).problem(507, "storage-full");
    // Stored entries can be read, and deleted to make room.
    assert_eq!(object.one(get("0"))["len"], 100_000);
    assert_eq!(object.one(json!({ "op": "delete", "key": "0" }))["deleted"], true);
    assert_eq!(put(&object, stored).status, 200);
    object.host.kill();
    object.host.restart();
    assert_eq!(object.keys(json!({})).len(), stored);
}

/// All combinations of options, compared with a filter over all entries.
#[test]
fn every_combination_of_list_options_is_a_filter() {
    let object = Object::start();
    let all = ["a", "a1", "a2", "b", "b1", "ä", "€", "😀"];
    let entries: Vec<_> = all.iter().map(|key| (key, "")).collect();
    object.turn(json!([{ "op": "put_many", "entries": entries }]));
    let bounds = [None, Some("a"), Some("a1x"), Some("b1"), Some("😀")];
    let (mut asked, mut expected) = (Vec::new(), Vec::new());
    for number in 0..bounds.len().pow(3) {
        let [start, after, end] = [number, number / 5, number / 25].map(|at| bounds[at % 5]);
        if start.is_some() && after.is_some() {
            continue;
        }
        for prefix in [None, Some("a"), Some("b"), Some("c")] {
            let (reverse, limit) = (asked.len() % 2 == 1, [None, Some(1), Some(3)][asked.len() % 3]);
            let options = json!({ "op": "list", "start": start, "start_after": after, "end": end, "prefix": prefix,
                "reverse": reverse, "limit": limit });
            let fits = |key: &&str| {
                start.is_none_or(|start| *key >= start)
                    && after.is_none_or(|after| *key > after)
                    && end.is_none_or(|end| *key < end)
                    && prefix.is_none_or(|prefix| key.starts_with(prefix))
            };
            let mut keys: Vec<&str> = all.into_iter().filter(fits).collect();
            if reverse {
                keys.reverse();
            }
            keys.truncate(limit.unwrap_or(usize::MAX));
            expected.push(json!(keys.iter().map(|key| (key, "")).collect::<Vec<_>>()));
            asked.push(options);
        }
    }
    let results = object.turn(json!(asked));
    assert_eq!(results.len(), 180);
    for ((options, result), expected) in asked.iter().zip(results).zip(expected) {
        assert_eq!(result["entries"], expected, "{options}");
    }
}

#[test]
fn a_listing_ends_with_its_turn() {
    let object = Object::start();
    object.turn(json!([{ "op": "put_many", "entries": [["a", "1"], ["b", "2"], ["c", "3"]] }]));
    let next = |max: u32| json!({ "op": "next_entries", "max": max });
    let results = object.turn(json!([
        { "op": "open_entries" },
        next(1),
        { "op": "delete", "key": "b" },
        next(0),
        next(9),
        next(9),
    ]));
    assert_eq!(results[1]["entries"], json!([["a", "1"]]));
    assert_eq!(results[3]["entries"], json!([["c", "3"]]), "it reads what the turn has written, and 0 is taken as 1");
    assert_eq!((&results[4]["entries"], &results[5]["entries"]), (&json!([]), &json!([])), "it stays at its end");
    assert_eq!(object.one(next(1))["error"], "closed");
}

/// Reading more than the instance may have in memory, entry by entry.
#[test]
fn a_list_needs_no_memory() {
    let object = Object::with("memory-per-instance = 16_777_216");
    let put = |key: usize| json!({ "op": "put_bytes_len", "key": format!("{key:04}"), "len": 50_000 });
    for batch in 0..4 {
        object.turn((batch * 200..(batch + 1) * 200).map(put).collect());
    }
    let scanned = object.one(json!({ "op": "scan_list" }));
    assert_eq!(scanned["entries"], 800, "40 MB of values in 16 MiB of memory: {scanned}");
    assert!(scanned["grown"].as_u64().unwrap() < 8 << 20, "{scanned}");
}

#[test]
fn a_class_without_a_handler_cannot_set_an_alarm() {
    let host = Host::start();
    host.deploy("storage", guest("storage"));
    let answer = host.post("/storage/a", json!([{ "op": "set_alarm", "in": 1_000 }]).to_string());
    assert!(answer.text().contains("no-handler"), "{answer:?}");
}
