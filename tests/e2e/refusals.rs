//! Refused requests on both listeners: they get the documented status and code, the process lives, and nothing changes.

use ureq::http::Method;

use crate::harness::{Client, Host, guest};

const MIB: usize = 1 << 20;

/// Makes a component from its text form.
fn component(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap_or_else(|error| panic!("{error}"))
}

/// Makes a component that imports one function of each interface.
fn importing(imports: &[&str]) -> Vec<u8> {
    let interface = "(instance (export \"read\" (func)))";
    let imports: String = imports.iter().map(|import| format!("(import \"{import}\" {interface})")).collect();
    component(&format!("(component {imports})"))
}

fn exporting(exports: &[&str]) -> Vec<u8> {
    let exports: String = exports.iter().map(|export| format!("(export \"{export}\" (instance $empty))")).collect();
    component(&format!("(component (instance $empty) {exports})"))
}

/// Returns bytes without any structure, the same in every run.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

#[test]
fn uploads_that_cannot_be_classes() {
    let mut host = Host::start();
    host.deploy("counter", guest("counter"));
    assert_eq!(host.get("/counter/alice").text(), "1");
    let classes = host.admin().get("/v1/classes").json();

    let whole = guest("counter");
    const FETCH: &str = "holdfast:object/fetch-handler@0.2.0";
    let refused: &[(&str, Vec<u8>, u16, &str)] = &[
        ("65 MiB", vec![0; 65 * MIB], 413, "component-too-large"),
        ("nothing", Vec::new(), 422, "not-a-component"),
        ("half a component", whole[..whole.len() / 2].into(), 422, "not-a-component"),
        ("a component without its last byte", whole[..whole.len() - 1].into(), 422, "not-a-component"),
        ("the head of a component", whole[..8].into(), 422, "no-handler-exported"),
        ("random bytes", noise(100_000), 422, "not-a-component"),
        ("random bytes after the head of a component", [&whole[..8], &noise(1_000)].concat(), 422, "not-a-component"),
        ("text", b"(component)".into(), 422, "not-a-component"),
        ("a core module", component("(module (memory 1) (func (export \"run\")))"), 422, "core-module"),
        ("no handler", component("(component)"), 422, "no-handler-exported"),
        ("a handler's export of the wrong kind", exporting(&[FETCH]), 422, "not-a-component"),
        ("both handlers", exporting(&[FETCH, "wasi:http/incoming-handler@0.2.0"]), 422, "two-handlers"),
        ("an interface to come", importing(&["holdfast:object/alarms@0.2.0"]), 422, "imports-refused"),
        ("WASI of another version", importing(&["wasi:http/types@0.3.0"]), 422, "imports-refused"),
        ("no interface of WASI", importing(&["wasi:cli/telepathy@0.2.0"]), 422, "imports-refused"),
    ];
    for (what, upload, status, code) in refused {
        for class in ["counter", "another"] {
            let answer = host.admin().put(&format!("/v1/classes/{class}"), upload);
            assert_eq!(answer.status, *status, "{what}: {answer:?}");
            let problem = answer.problem(*status, code);
            assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{what}: {problem}");
        }
        host.assert_alive();
    }
    assert_eq!(host.admin().get("/v1/classes").json(), classes);
    assert_eq!(host.get("/counter/alice").text(), "2");
}

#[test]
fn refused_imports_are_listed_all_of_them() {
    let host = Host::start();
    let unknown = [
        "acme:gadgets/lever@1.0.0",
        "acme:gadgets/wheel@1.2.3",
        "holdfast:object/sockets@0.2.0",
        "wasi:nn/graph@0.2.0",
    ];
    let upload = importing(&[&unknown[..], &["wasi:cli/environment@0.2.0"]].concat());
    let problem = host.admin().put("/v1/classes/gadget", upload).problem(422, "imports-refused");
    let detail = problem["detail"].as_str().unwrap();
    assert!(unknown.iter().all(|import| detail.contains(import)), "{detail}");
    assert!(!detail.contains("environment"), "only what is refused: {detail}");
    assert_eq!(host.admin().get("/v1/classes").json()["classes"], serde_json::json!([]));
}

#[test]
fn a_function_that_a_granted_interface_does_not_have() {
    let host = Host::start();
    let upload = component(
        r#"(component (import "holdfast:object/identity@0.2.0" (instance (export "colour" (func (result string))))))"#,
    );
    let problem = host.admin().put("/v1/classes/painter", upload).problem(422, "imports-refused");
    assert!(problem["detail"].as_str().unwrap().contains("colour"), "{problem}");
}

#[test]
fn nobody_gets_past_the_admin_listener_without_its_token() {
    let mut host = Host::start();
    host.deploy("counter", guest("counter"));
    let address = host.admin().address();
    for token in [None, Some(String::new()), Some("0".repeat(64))] {
        let stranger = Client::new(address, token);
        for (method, path) in [
            ("PUT", "/v1/classes/intruder"),
            ("DELETE", "/v1/classes/counter"),
            ("GET", "/v1/classes"),
            ("GET", "/v1/logs"),
            ("GET", "/metrics"),
            ("GET", "/none"),
        ] {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let body = if method == Method::PUT { guest("counter") } else { Vec::new() };
            let answer = stranger.send(method, path, &[], body);
            answer.problem(401, "unauthorized");
            assert_eq!(answer.header("www-authenticate"), "Bearer");
        }
    }
    assert_eq!(host.admin().get("/v1/classes").json()["classes"].as_array().unwrap().len(), 1);
    host.assert_alive();
}

#[test]
fn the_token_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let host = Host::start();
    let metadata = std::fs::metadata(host.data_directory().join("admin.token")).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
}

#[test]
fn requests_that_reach_no_object() {
    let mut host = Host::start();
    host.deploy("counter", guest("counter"));
    host.deploy("other", guest("echo"));
    let foreign = host.get("/other/alice").json()["id"].as_str().unwrap().to_owned();
    for (path, status, code) in [
        ("/", 404, "unknown-route"),
        ("/none/alice", 404, "unknown-class"),
        ("/Counter/alice", 400, "bad-class"),
        ("/counter", 400, "bad-name"),
        ("/counter/%", 400, "bad-name"),
        ("/counter/%4", 400, "bad-name"),
        ("/counter/%zz", 400, "bad-name"),
        ("/counter/a%C3", 400, "bad-name"),
        ("/counter/%FF%FE", 400, "bad-name"),
        ("/counter/@", 400, "bad-id"),
        ("/counter/@alice", 400, "bad-id"),
        (&format!("/counter/@{}", &foreign[1..]), 400, "bad-id"),
        (&format!("/counter/@{}", foreign.to_uppercase()), 400, "bad-id"),
        (&format!("/counter/@{foreign}"), 400, "id-of-other-class"),
        ("/_secret", 404, "reserved"),
    ] {
        host.data().raw(&[&format!("GET {path} HTTP/1.1")], b"").problem(status, code);
    }
    host.data().send(Method::POST, "/_health", &[], b"").problem(405, "method-not-allowed");
    host.assert_alive();
    let objects = host.admin().get("/v1/classes/counter/objects").json();
    assert_eq!(objects["objects"], serde_json::json!([]), "making an id creates nothing");
}

#[test]
fn bytes_that_are_no_http() {
    let mut host = Host::start();
    host.deploy("counter", guest("counter"));
    for bytes in [&b"\0\0\0\0"[..], b"GET\r\n\r\n", b"GET /counter/alice HTTP/9.9\r\n\r\n", &noise(10_000)] {
        drop(host.data().write(bytes));
        drop(host.admin().write(bytes));
    }
    host.assert_alive();
    assert_eq!(host.get("/counter/alice").text(), "1");
}
