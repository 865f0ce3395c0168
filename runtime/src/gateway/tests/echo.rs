//! What the two listeners make of a class that answers: requests as sent, objects shown. Against the stand-in router.

use http::header::UPGRADE;

use super::*;
use crate::base::{ClassKey, ObjectId};

async fn with_echo() -> Host {
    let host = Host::new();
    assert_eq!(host.put("echo", b"\0asm").await.status, StatusCode::CREATED);
    host
}

#[tokio::test]
async fn a_request_reaches_its_object_as_sent() {
    let host = with_echo().await;
    let sent =
        request("PATCH /echo/al%2Fice/x%2Fy?a=%20").header("x-mine", "1").header("x-forwarded-prefix", "/forged");
    let answer = call(&host.data, sent.body("body".into()).unwrap()).await;
    assert_eq!((answer.status.as_u16(), answer.text()), (418, "PATCH /x%2Fy?a=%20 body"));
    assert_eq!(
        (&answer.headers["x-mine"], &answer.headers["x-forwarded-prefix"]),
        (&"1".parse().unwrap(), &"/echo/al%2Fice".parse().unwrap())
    );
    let id = ObjectId::unique(&ClassKey::new("key"), [7; 16]);
    assert_eq!(host.data(&format!("GET /echo/@{id}")).await.text(), "GET / ");
}

#[tokio::test]
async fn classes_are_deployed_shown_and_deleted() {
    let host = with_echo().await;
    let again = host.put("echo", b"\0asm").await;
    assert_eq!((again.status, &again.json()["changed"]), (StatusCode::OK, &json!(false)));
    assert_eq!(host.put("echo", b"nonsense").await.problem(), (422, "not-a-component".into()));
    assert_eq!(host.put("Echo", b"\0asm").await.problem(), (400, "bad-class".into()));
    let shown = host.admin("GET /v1/classes/echo").await.json();
    let keys: Vec<&str> = shown.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["created", "deployed", "digest", "exports", "imports", "name", "size", "version"]);
    assert_eq!(host.admin("GET /v1/classes").await.json(), json!({ "classes": [shown] }));
    assert_eq!(host.admin("DELETE /v1/classes/none").await.problem(), (404, "unknown-class".into()));
    assert_eq!(host.admin("DELETE /v1/classes/echo").await.problem(), (409, "class-has-objects".into()));
    assert_eq!(host.admin("DELETE /v1/classes/echo?objects=keep").await.problem(), (400, "bad-query".into()));
    assert_eq!(host.admin("DELETE /v1/classes/echo?objects=delete").await.status, StatusCode::NO_CONTENT);
    assert_eq!(host.admin("GET /v1/classes/echo").await.problem(), (404, "unknown-class".into()));
}

#[tokio::test]
async fn objects_are_listed_shown_evicted_and_deleted() {
    let host = with_echo().await;
    let objects = "/v1/classes/echo/objects";
    let listed = host.admin(&format!("GET {objects}?prefix=a%2Fb+c&limit=1000")).await.json();
    let id = ObjectId::unique(&ClassKey::new("key"), [1; 16]).to_string();
    let first = json!({ "id": id, "name": "a/b c", "bytes": 4096, "state": "live" });
    assert_eq!(listed, json!({ "objects": [first], "cursor": null }));
    let shown = host.admin(&format!("GET {objects}/@{id}")).await.json();
    assert_eq!(shown, json!({ "id": id, "name": null, "class": "echo", "bytes": 8192, "state": "dormant" }));
    assert_eq!(host.admin(&format!("GET {objects}/%40a%2Fb")).await.json()["name"], "@a/b");
    assert_eq!(host.admin(&format!("POST {objects}/alice/evict")).await.json(), json!({ "evicted": true }));
    assert_eq!(host.admin(&format!("POST {objects}/absent/evict")).await.json(), json!({ "evicted": false }));
    assert_eq!(host.admin(&format!("DELETE {objects}/alice")).await.status, StatusCode::NO_CONTENT);
    for (line, expected) in [
        ("GET /absent", (404, "unknown-object")),
        ("DELETE /absent", (404, "unknown-object")),
        ("GET /", (400, "bad-name")),
        ("GET /%zz", (400, "bad-name")),
        ("GET /@12", (400, "bad-id")),
        ("GET /alice/x", (404, "unknown-route")),
        ("GET /alice?x=1", (400, "bad-query")),
        ("GET ?limit=0", (400, "bad-query")),
        ("GET ?limit=1001", (400, "bad-query")),
        ("GET ?limit=many", (400, "bad-query")),
        ("GET ?limit=1&limit=1", (400, "bad-query")),
        ("GET ?size=1", (400, "bad-query")),
        ("GET ?cursor=bad", (400, "bad-query")),
        ("GET ?cursor=broken", (500, "internal")),
    ] {
        let (status, code) = host.admin(&line.replacen(' ', &format!(" {objects}"), 1)).await.problem();
        assert_eq!((status, code.as_str()), expected, "{line}");
    }
}

#[tokio::test]
async fn a_failed_turn_is_told_without_details() {
    let host = with_echo().await;
    let trapped = host.data("GET /echo/alice/trap").await;
    assert_eq!(trapped.problem(), (500, "guest-trap".into()));
    assert_eq!((trapped.json().get("detail"), &trapped.json()["object"]), (None, &json!("echo/alice")));
    let upgrade = request("GET /echo/alice").header(UPGRADE, "websocket").body(Body::empty()).unwrap();
    assert_eq!(call(&host.data, upgrade).await.problem(), (501, "websockets-not-supported".into()));
    let long = request("POST /echo/alice").body(vec![0; LIMIT as usize + 1].into()).unwrap();
    assert_eq!(call(&host.data, long).await.problem(), (413, "body-too-large".into()));
    assert_eq!(host.data("GET /echo/%zz").await.problem(), (400, "bad-name".into()));
}
