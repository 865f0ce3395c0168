//! Objects that call objects: one test at the edge of each rule.

use serde_json::{Value as Json, json};

use crate::harness::{Host, eventually, guest};

/// A host with a class `room` that may call itself and `table`, and a class `table` that may call `room`.
fn start(limits: &str) -> Host {
    let host = Host::with(limits);
    deploy(&host, "room", "room=room,table=table,gone=gone");
    deploy(&host, "table", "room=room");
    host
}

fn deploy(host: &Host, class: &str, calls: &str) {
    let query = calls.replace('=', "%3D").replace(',', "%2C");
    host.admin().put(&format!("/v1/classes/{class}?calls={query}"), guest("peers"));
}

fn post(host: &Host, object: &str, path: &str, ask: Json) -> Json {
    host.post(&format!("/{object}/{path}"), ask.to_string()).json()
}

/// Has one object call a method of `table/bob`.
fn ask(host: &Host, method: &str, arguments: Json) -> Json {
    post(
        host,
        "room/alice",
        "call",
        json!({ "class": "table", "name": "bob", "method": method, "arguments": arguments }),
    )
}

fn stored(host: &Host, object: &str, key: &str) -> Json {
    host.get(&format!("/{object}/get?key={key}")).json()
}

/// Waits until an object says that it has begun to sleep.
fn wait_for(host: &Host, marker: &str) {
    eventually("it to sleep", || (stored(host, &format!("room/{marker}"), "began") == true).then_some(()));
}

/// Calls a method through the admin API.
fn admin(host: &Host, object: &str, method: &str, arguments: Json) -> Json {
    let (class, name) = object.split_once('/').unwrap();
    let answer = host.admin().post(&format!("/v1/classes/{class}/objects/{name}/call/{method}"), arguments.to_string());
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

fn error(told: &Json) -> (&str, &str) {
    let error = &told["error"];
    (error["code"].as_str().unwrap_or_else(|| panic!("{told}")), error["fate"].as_str().unwrap())
}

#[test]
fn a_call_is_a_turn_of_its_object() {
    let host = start("");
    for value in [json!(null), json!(1.5), json!("é"), json!([1, [2]]), json!({ "a": { "b": [true] } }), json!(-9)] {
        assert_eq!(ask(&host, "echo", json!([value]))["value"], value);
    }
    assert_eq!(ask(&host, "put", json!(["seat", 7]))["value"], 7);
    assert_eq!(stored(&host, "table/bob", "seat"), 7);
    assert_eq!(ask(&host, "put-by-name", json!({ "key": "seat", "value": 8 }))["value"], 8);
    assert_eq!(stored(&host, "table/bob", "seat"), 8);
    let large = ask(&host, "large", json!([3_000_000]));
    assert_eq!(large["value"].as_str().unwrap().len(), 3_000_000);
    assert_eq!(ask(&host, "size", json!(["y".repeat(3_000_000)]))["value"], 3_000_006);
    let caller = ask(&host, "caller", json!([]));
    assert_eq!((&caller["value"]["class"], &caller["value"]["name"]), (&json!("room"), &json!("alice")));
    let left = ask(&host, "left", json!([]))["value"].as_u64().unwrap();
    assert!((20_000..=30_000).contains(&left), "{left}");
    assert!(host.metric("holdfast_calls_total") >= 10);
}

#[test]
fn objects_are_named_or_known_by_id_and_fetch_is_a_call() {
    let host = start("");
    let ids = post(&host, "room/alice", "ids", json!({ "class": "table" }));
    assert_eq!((&ids["right"], &ids["wrong"]), (&json!(true), &json!("id-of-other-class")));
    assert_ne!(ids["of"], ids["new"]);
    let by_id = json!({ "class": "table", "id": ids["of"], "method": "put", "arguments": ["k", "by id"] });
    assert_eq!(post(&host, "room/alice", "call", by_id)["value"], "by id");
    assert_eq!(stored(&host, "table/alice", "k"), "by id");
    let fetched = post(&host, "room/alice", "fetch", json!({ "class": "table", "name": "bob", "path": "/echo?a=b" }));
    assert_eq!(fetched, json!({ "status": 418, "told": "PUT /echo?a=b yes", "body": "body" }));
}

#[test]
fn a_class_calls_only_whom_its_settings_name() {
    let host = start("");
    let call = |class: &str| json!({ "class": class, "name": "bob", "method": "echo", "arguments": [1] });
    let refused = |object: &str, class: &str| {
        let told = post(&host, object, "call", call(class));
        let (code, fate) = error(&told);
        (code.to_owned(), fate.to_owned())
    };
    let not_run = |code: &str| (code.to_owned(), "not-run".to_owned());
    assert_eq!(refused("table/bob", "table"), not_run("not-granted"));
    assert_eq!(refused("room/alice", "gone"), not_run("unknown-class"));
    deploy(&host, "room", "");
    assert_eq!(refused("room/alice", "table"), not_run("not-granted"));
    let shown = host.admin().get("/v1/classes/table").json();
    assert_eq!(shown["calls"], json!({ "room": "room" }), "{shown}");
    // A deploy that says nothing keeps the setting, and an earlier version has its own.
    host.admin().put("/v1/classes/table?create=any", guest("peers"));
    assert_eq!(host.admin().get("/v1/classes/table").json()["calls"], json!({ "room": "room" }));
    host.admin().put("/v1/classes/room?version=1", "");
    assert_eq!(post(&host, "room/alice", "call", call("table"))["value"], 1);
    let bad = host.admin().put("/v1/classes/room?calls=room", guest("peers"));
    assert!(bad.problem(400, "bad-query")["detail"].as_str().unwrap().contains("NAME=CLASS"));
}

#[test]
fn what_a_turn_wrote_before_a_call_stays() {
    let host = start("");
    let write = json!({ "class": "table", "name": "bob", "method": "put", "arguments": ["k", 1], "put": "before" });
    host.post("/room/alice/fail-after-call", write.to_string()).problem(500, "guest-error");
    assert_eq!((stored(&host, "room/alice", "put"), stored(&host, "table/bob", "k")), (json!("before"), json!(1)));
    let in_savepoint = post(&host, "room/carol", "savepoint", write);
    assert_eq!(error(&in_savepoint), ("savepoint-open", "not-run"));
}

#[test]
fn the_caller_learns_what_became_of_the_call() {
    let host = start("");
    let told = ask(&host, "fail", json!([]));
    assert_eq!(error(&told), ("sold-out", "failed"));
    assert_eq!((&told["error"]["object"], &told["error"]["retryable"]), (&json!(true), &json!(true)));
    assert_eq!(error(&ask(&host, "fail-having-put", json!([]))), ("sold-out", "failed"));
    assert_eq!(stored(&host, "table/bob", "failed"), Json::Null);
    assert_eq!(error(&ask(&host, "trap", json!([]))), ("guest-trap", "failed"));
    assert_eq!(error(&ask(&host, "unheard-of", json!([]))), ("no-method", "not-run"));
    assert_eq!(error(&ask(&host, "put", json!(["only one"]))), ("bad-arguments", "failed"));
    // An error that the guest lets escape fails its turn with the same code.
    let escapes = json!({ "class": "table", "name": "bob", "method": "fail", "arguments": [] });
    let problem = host.post("/room/alice/escape", escapes.to_string()).problem(503, "guest-error");
    assert_eq!(problem["guest_code"], "sold-out");
    let logs = host.run(&["logs", "--json"]);
    let logs = String::from_utf8_lossy(&logs.stdout).into_owned();
    assert!(logs.contains("a call of trap failed"), "{logs}");
}

#[test]
fn a_refusal_undoes_what_its_turn_wrote() {
    let host = start("");
    let turns = || ask(&host, "turns", json!([]))["value"].as_u64().unwrap();
    let before = turns();
    let told = ask(&host, "refuse", json!([{ "why": "full" }]));
    assert_eq!(error(&told), ("refused", "failed"));
    assert_eq!(told["error"]["refusal"], json!({ "why": "full" }));
    assert_eq!(turns(), before + 2, "the instance stays if nothing was written");
    assert_eq!(error(&ask(&host, "refuse-having-put", json!([1]))), ("refused", "failed"));
    assert_eq!(stored(&host, "table/bob", "refused"), Json::Null);
    assert_eq!(turns(), 2, "memory follows storage");
    assert_eq!(host.metric("holdfast_failed_turns_total"), 0);
}

#[test]
fn a_wait_that_cannot_end_is_refused_at_once() {
    let host = start("");
    let own = json!({ "class": "room", "name": "alice", "method": "echo", "arguments": [1] });
    let told = post(&host, "room/alice", "call", own);
    assert_eq!(error(&told), ("call-cycle", "not-run"));
    assert_eq!(told["error"]["cycle"], "room/alice → room/alice");
    let told = admin(&host, "room/a", "chain", json!(["room", ["b", "c", "a"]]));
    assert_eq!(told["error"]["cycle"], "room/c → room/a → room/b → room/c", "{told}");
    // Crossed: two objects call each other at once. One of them is refused, the other one answered.
    let crossed = |from: &str, to: &str| {
        let inner = json!({ "class": "room", "name": from, "method": "echo", "arguments": [1] });
        json!([{ "class": "room", "name": to, "method": "ask", "arguments": [inner] }])
    };
    std::thread::scope(|scope| {
        for _ in 0..20 {
            let both = [("x", "y"), ("y", "x")].map(|(from, to)| {
                let (host, arguments) = (&host, crossed(from, to));
                scope.spawn(move || admin(host, &format!("room/{from}"), "ask", arguments))
            });
            for told in both {
                told.join().unwrap();
            }
        }
    });
}

#[test]
fn chains_have_a_depth_and_turns_a_number_of_calls() {
    let host = start("");
    let names = |count: usize| (0..count).map(|n| format!("n{n}")).collect::<Vec<_>>();
    assert_eq!(admin(&host, "room/first", "chain", json!(["room", names(16)]))["depth"], 16);
    let told = admin(&host, "room/first", "chain", json!(["room", names(17)]));
    assert_eq!(error(&told), ("call-depth", "not-run"));
    let many = json!({ "class": "table", "name": "bob", "method": "echo", "arguments": [1], "times": 1_001 });
    let told = post(&host, "room/alice", "many", many);
    assert_eq!((&told["made"], error(&told["end"])), (&json!(1_000), ("too-many-calls", "not-run")));
}

#[test]
fn nobody_waits_longer_than_the_time_of_the_call() {
    let host = start("");
    let within = |method: &str, arguments: Json, timeout: u64| {
        let ask =
            json!({ "class": "table", "name": "bob", "method": method, "arguments": arguments, "timeout": timeout });
        post(&host, "room/alice", "call", ask)
    };
    assert!(within("left", json!([]), 5_000)["value"].as_u64().unwrap() <= 5_000);
    // Running at the deadline: rolled back, and the caller learns it.
    let told = within("sleep", json!([60_000, null]), 300);
    assert_eq!(error(&told), ("deadline", "failed"));
    assert_eq!(stored(&host, "table/bob", "slept"), Json::Null);
    // Queued at the deadline: taken out.
    std::thread::scope(|scope| {
        let busy = scope.spawn(|| admin(&host, "table/bob", "sleep", json!([2_000, "marker"])));
        wait_for(&host, "marker");
        assert_eq!(error(&within("put", json!(["late", 1]), 50)), ("deadline", "not-run"));
        busy.join().unwrap();
    });
    assert_eq!(stored(&host, "table/bob", "late"), Json::Null);
    // A deferred answer that does not come in time may still come.
    let told = within("defer", json!([]), 200);
    assert_eq!(error(&told), ("deadline", "unknown"));
}

#[test]
fn the_answer_of_a_call_can_be_given_later() {
    let host = start("");
    let answered = |value: &str| {
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| ask(&host, "defer", json!([])));
            eventually("it to wait", || (admin(&host, "table/bob", "waiting", json!([])) == 1).then_some(()));
            admin(&host, "table/bob", "answer-all", json!([value]));
            waiting.join().unwrap()
        })
    };
    assert_eq!(answered("tea")["value"], "tea");
    let refused = answered("refuse");
    assert_eq!((error(&refused), &refused["error"]["refusal"]), (("refused", "failed"), &json!("refuse")));
    assert_eq!(error(&answered("fail")), ("late", "failed"));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| ask(&host, "defer", json!([])));
        eventually("it to wait", || (admin(&host, "table/bob", "waiting", json!([])) == 1).then_some(()));
        host.admin().post("/v1/classes/table/objects/bob/evict", "");
        assert_eq!(error(&waiting.join().unwrap()), ("instance-dropped", "unknown"));
    });
}

#[test]
fn calls_that_are_begun_run_at_once() {
    let host = start("");
    let at_once = |method: &str, arguments: Json, times: u32| {
        let ask = json!({ "class": "table", "method": method, "arguments": arguments, "times": times });
        post(&host, "room/alice", "at-once", ask)
    };
    let told = at_once("echo", json!(["tea"]), 64);
    assert_eq!(told["ended"].as_array().unwrap().len(), 64);
    assert!(told["ended"].as_array().unwrap().iter().all(|ended| ended["value"] == "tea"), "{told}");
    assert_eq!((&told["more"], told["first"].as_array().unwrap().is_empty()), (&json!("too-many-calls"), false));
    // Eight sleep for four seconds each: one after the other they would need more than the time of a call.
    let told = at_once("sleep", json!([4_000, null]), 8);
    assert_eq!(told["none"], 0);
    assert!(told["ended"].as_array().unwrap().iter().all(|ended| ended["value"].is_null()), "{told}");
    let failed = at_once("fail", json!([]), 2);
    assert_eq!(error(&failed["ended"][1]), ("sold-out", "failed"));
}

#[test]
fn a_call_that_nobody_waits_for_is_cancelled_if_it_has_not_begun() {
    let host = start("");
    let leave = |key: &str, times: u32| {
        let arguments = json!([key, 1]);
        json!({ "class": "table", "name": "bob", "method": "put", "arguments": arguments, "times": times })
    };
    std::thread::scope(|scope| {
        let busy = scope.spawn(|| admin(&host, "table/bob", "sleep", json!([2_000, "marker"])));
        wait_for(&host, "marker");
        post(&host, "room/alice", "leave", leave("dropped", 1));
        post(&host, "room/alice", "leave", leave("left", 0));
        busy.join().unwrap();
    });
    assert_eq!((stored(&host, "table/bob", "dropped"), stored(&host, "table/bob", "left")), (Json::Null, Json::Null));
}

#[test]
fn a_full_mailbox_is_an_answer() {
    let host = start("mailbox-turns = 1");
    std::thread::scope(|scope| {
        let busy = scope.spawn(|| admin(&host, "table/bob", "sleep", json!([3_000, "marker"])));
        wait_for(&host, "marker");
        let queued = json!({ "class": "table", "name": "bob", "method": "put", "arguments": ["k", 1], "timeout": 50 });
        assert_eq!(error(&post(&host, "room/alice", "call", queued)), ("deadline", "not-run"));
        let told = ask(&host, "put", json!(["k", 1]));
        assert_eq!((error(&told), &told["error"]["retryable"]), (("overloaded", "not-run"), &json!(true)));
        busy.join().unwrap();
    });
    assert!(host.metric("holdfast_calls_not_run_total{code=\"overloaded\"}") >= 4, "it was tried again");
}

/// Half of the room is kept for calls here, so a chain of ten finds room while all that may call at depth 0 wait.
#[test]
fn instances_that_wait_leave_room_for_those_that_they_wait_for() {
    let host = start("live-instances = 20");
    let names = |of: usize| (0..8).map(|n| format!("{of}-{n}")).collect::<Vec<_>>();
    std::thread::scope(|scope| {
        let chains: Vec<_> = (0..16)
            .map(|of| {
                let host = &host;
                scope.spawn(move || {
                    let path = format!("/v1/classes/room/objects/root-{of}/call/chain");
                    host.admin().post(&path, json!(["room", names(of)]).to_string())
                })
            })
            .collect();
        let told: Vec<_> = chains.into_iter().map(|chain| chain.join().unwrap()).collect();
        // Those that had to wait too long to begin were refused before they had begun.
        assert!(told.iter().all(|answer| answer.status == 503 || answer.json()["depth"] == 8), "{told:?}");
        assert!(told.iter().any(|answer| answer.status == 200), "somebody always goes on: {told:?}");
    });
    assert_eq!(admin(&host, "room/after", "chain", json!(["room", names(99)]))["depth"], 8);
}

#[test]
fn chains_that_run_when_the_host_stops_end() {
    let host = start("");
    let told = std::thread::scope(|scope| {
        let inner = json!({ "class": "table", "name": "bob", "method": "put", "arguments": ["k", "late"] });
        // It sleeps first, so that it calls while the host stops.
        let first = json!({ "class": "room", "name": "mid", "method": "ask", "arguments": [inner] });
        let waiting = scope.spawn(|| admin(&host, "room/mid", "sleep", json!([2_000, "marker"])));
        wait_for(&host, "marker");
        let calls = host.metric("holdfast_calls_total");
        let chain = scope.spawn(|| post(&host, "room/alice", "call", first));
        host.wait_for_metric("holdfast_calls_total", calls + 1);
        host.begin_to_stop();
        waiting.join().unwrap();
        chain.join().unwrap()
    });
    assert_eq!(told["value"]["value"], "late", "{told}");
}

#[test]
fn an_operator_calls_methods_too() {
    let host = start("");
    let call = |arguments: &[&str]| {
        let output = host.run(&[&["call"], arguments].concat());
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        (output.status.success(), text(&output.stdout), text(&output.stderr))
    };
    assert_eq!(call(&["table/bob", "put", r#"["k", {"a": 1}]"#]), (true, r#"{"a":1}"#.into(), String::new()));
    assert_eq!(call(&["table", "bob", "put-by-name", r#"{"key": "k", "value": 2}"#]).1, "2");
    assert_eq!(call(&["table/bob", "caller"]).1, "null");
    let (success, _, told) = call(&["table/bob", "refuse", r#"["full"]"#]);
    assert!(!success && told.contains("The method refused: \"full\" (refused)"), "{told}");
    let (_, _, told) = call(&["table/bob", "echo", "1"]);
    assert!(told.contains("as an array"), "{told}");
    let at = |method: &str| format!("/v1/classes/table/objects/bob/call/{method}");
    host.admin().post(&at("nothing"), "[]").problem(404, "no-method");
    host.admin().post(&at("echo"), "[1, 2]").problem(400, "bad-arguments");
    host.admin().post(&at("echo"), "1").problem(400, "bad-arguments");
    let refused = host.admin().post(&at("refuse"), r#"[["a", 1.5]]"#).problem(422, "refused");
    assert_eq!(refused["error"], json!(["a", 1.5]));
    host.admin().post(&at("fail"), "").problem(503, "guest-error");
}

#[test]
fn an_operator_sees_who_waits_for_whom() {
    let host = start("");
    admin(&host, "table/bob", "put", json!(["k", 1]));
    let shown = std::thread::scope(|scope| {
        let busy = scope.spawn(|| ask(&host, "sleep", json!([1_500, "marker"])));
        wait_for(&host, "marker");
        let shown = String::from_utf8(host.run(&["objects", "show", "table/bob"]).stdout).unwrap();
        busy.join().unwrap();
        shown
    });
    assert!(shown.contains("waited for by  room/alice"), "{shown}");
    let shown = host.admin().get("/v1/classes/table/objects/bob").json();
    assert!(shown.get("waits_for").is_none() && shown.get("waited_for_by").is_none(), "{shown}");
}

#[test]
fn internal_objects_are_created_by_calls() {
    let host = start("");
    host.admin().put("/v1/classes/table?create=internal", guest("peers"));
    host.get("/table/bob/get?key=k").problem(404, "unknown-object");
    assert_eq!(ask(&host, "put", json!(["k", 1]))["value"], 1);
    assert_eq!(stored(&host, "table/bob", "k"), 1);
}
