//! The command line as users and scripts use it, against a running host.

use std::process::Output;

use serde_json::Value as Json;

use crate::harness::{Host, Program, eventually, guest, guest_file, holdfast};

#[track_caller]
fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).expect("it prints text")
}

/// Returns the message of a failed command, whose standard output must be empty.
#[track_caller]
fn error(output: &Output) -> String {
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{output:?}");
    let message = String::from_utf8(output.stderr.clone()).expect("it prints text");
    assert!(message.starts_with("error: "), "{message}");
    message
}

fn counter_host() -> Host {
    let host = Host::start();
    host.deploy("counter", guest("counter"));
    host
}

#[test]
fn a_component_is_deployed_and_shown() {
    let host = Host::start();
    let file = guest_file("counter");
    let deploy = ["deploy", file.to_str().unwrap(), "--class", "tally"];
    assert!(stdout(&host.run(&deploy)).starts_with("deployed  tally version 1, "));
    assert!(stdout(&host.run(&deploy)).starts_with("unchanged  tally version 1, "));
    assert_eq!(host.get("/tally/alice").text(), "1");

    let table = stdout(&host.run(&["classes"]));
    let rows: Vec<&str> = table.lines().collect();
    assert!(rows.len() == 2 && rows[0].starts_with("CLASS") && rows[1].starts_with("tally"), "{table}");
    let listed: Json = serde_json::from_str(&stdout(&host.run(&["classes", "--json"]))).unwrap();
    let mut shown = host.admin().get("/v1/classes/tally").json();
    assert!(shown.as_object_mut().unwrap().remove("versions").is_some(), "only one class has its versions told");
    assert_eq!(listed, shown);
    assert!(stdout(&host.run(&["classes", "show", "tally"])).contains("holdfast:object/fetch-handler@0.2.0"));

    let refused = host.run(&["classes", "delete", "tally"]);
    assert!(error(&refused).contains("class-has-objects"), "{refused:?}");
    stdout(&host.run(&["classes", "delete", "tally", "--objects"]));
    assert_eq!(host.get("/tally/alice").status, 404);
}

#[test]
fn an_upload_is_refused_with_the_reason() {
    let host = Host::start();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("module.wasm");
    std::fs::write(&file, b"\0asm\x01\0\0\0").unwrap();
    let message = error(&host.run(&["deploy", file.to_str().unwrap()]));
    assert!(message.contains("core-module") && message.contains("wasm32-wasip2"), "{message}");
}

#[test]
fn objects_are_listed_shown_evicted_and_deleted() {
    let host = counter_host();
    for name in ["alice", "bob", "%40home"] {
        assert_eq!(host.get(&format!("/counter/{name}")).text(), "1");
    }
    let list = |options: &[&str]| stdout(&host.run(&[&["objects", "list", "counter"], options].concat()));
    eventually("three objects in the list", || (list(&["--json"]).lines().count() == 3).then_some(()));
    let table = list(&[]);
    assert!(table.starts_with("      SIZE  STATE    OBJECT\n") && table.ends_with("  live     bob\n"), "{table}");
    assert!(list(&["--prefix", "al"]).ends_with("alice\n"));
    assert_eq!(list(&["--json", "--limit", "2"]).lines().count(), 2);

    let shown: Json =
        serde_json::from_str(&stdout(&host.run(&["objects", "show", "counter", "@home", "--json"]))).unwrap();
    assert_eq!((&shown["name"], &shown["state"]), (&"@home".into(), &"live".into()));
    let by_id = format!("@{}", shown["id"].as_str().unwrap());
    assert!(stdout(&host.run(&["objects", "show", "counter", &by_id])).contains("@home"));

    let evicted = stdout(&host.run(&["objects", "evict", "counter/alice", "--json"]));
    assert_eq!(evicted, "{\"evicted\":true}\n");
    stdout(&host.run(&["objects", "delete", "counter", "alice"]));
    let message = error(&host.run(&["objects", "show", "counter", "alice"]));
    assert!(message.contains("unknown-object") && message.contains("help: "), "{message}");
    assert_eq!(host.get("/counter/alice").text(), "1");
}

#[test]
fn an_object_is_invoked() {
    let host = counter_host();
    host.deploy("echo", guest("echo"));
    host.deploy("faults", guest("faults"));
    assert_eq!(stdout(&host.run(&["invoke", "counter/alice"])), "1");
    let invoke = ["invoke", "echo/a%2Fb/x?q=1", "-X", "PUT", "-d", "{}", "-H", "x-mine: yes", "-i"];
    let printed = stdout(&host.run(&invoke));
    let (head, body) = printed.split_once("\n\n").expect("a head and a body");
    assert!(head.starts_with("HTTP/1.1 200 OK\n") && head.contains("\ncontent-type: application/json"), "{head}");
    let echo: Json = serde_json::from_str(body).unwrap();
    assert_eq!((&echo["method"], &echo["name"], &echo["uri"]), (&"PUT".into(), &"a/b".into(), &"/x?q=1".into()));
    assert_eq!(echo["body"], "{}");

    let message = error(&host.run(&["invoke", "faults/alice/fail"]));
    assert!(message.contains("guest-error") && message.contains("told to fail"), "{message}");
    let message = error(&host.run(&["invoke", "none/alice"]));
    assert!(message.contains("unknown-class") && message.contains("holdfast deploy"), "{message}");
}

#[test]
fn logs_are_printed_and_followed() {
    let host = Host::start();
    host.deploy("logger", guest("logger"));
    assert_eq!(host.get("/logger/ann").text(), "logged");
    let printed = stdout(&host.run(&["logs", "logger/ann"]));
    assert!(printed.contains("INFO  logger/ann  news  step=3  who=ann\n"), "{printed}");
    assert_eq!(printed.lines().count(), 7);
    let first =
        stdout(&host.run(&["logs", "--json"])).lines().next().map(serde_json::from_str::<Json>).unwrap().unwrap();
    assert_eq!(first["message"], "a trace");

    let mut follower = Program::start(host.command(&["logs", "--follow"]));
    follower.expect("the history", |printed| printed.contains("news").then_some(()));
    host.get("/logger/bob/panic").problem(500, "guest-trap");
    follower.expect("the panic", |printed| printed.contains("told to panic").then_some(()));
}

#[test]
fn clients_say_what_is_wrong_with_their_server() {
    let mut host = counter_host();
    let mut stranger = host.command(&["classes", "--token", "wrong"]);
    let message = error(&stranger.output().unwrap());
    assert!(message.contains("unauthorized") && message.contains("--token"), "{message}");
    host.kill();
    let message = error(&host.run(&["classes"]));
    assert!(message.contains("no server at") && message.contains("holdfast serve"), "{message}");
}

#[test]
fn a_data_directory_serves_one_process() {
    let mut host = counter_host();
    let mut second = holdfast(&["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--data"]);
    let message = error(&second.arg(host.data_directory()).output().unwrap());
    assert!(message.contains("in use by another process") && message.contains("--data"), "{message}");
    assert!(message.contains(&*host.data_directory().to_string_lossy()), "{message}");
    host.assert_alive();
    assert_eq!(host.get("/counter/alice").text(), "1");
}

#[test]
fn a_port_in_use_is_named() {
    let host = Host::start();
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().to_str().unwrap();
    for (flag, other) in [("--listen", "--admin-listen"), ("--admin-listen", "--listen")] {
        let taken = host.data().address();
        let mut serve = holdfast(&["serve", "--data", data, flag, &taken.to_string(), other, "127.0.0.1:0"]);
        let message = error(&serve.output().unwrap());
        assert_eq!(message, format!("error: port {} is in use; pass {flag}\n", taken.port()));
    }
}

#[test]
fn machines_read_the_ready_line_as_json() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().to_str().unwrap();
    let serve = ["serve", "--json", "--data", data, "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
    let mut program = Program::start(holdfast(&serve));
    let ready: Json =
        program.expect("the ready line", |printed| serde_json::from_str(printed.strip_suffix('\n')?).ok());
    assert_eq!(ready["ready"], true);
    for listener in ["data", "admin"] {
        let address: std::net::SocketAddr = ready[listener].as_str().unwrap().parse().unwrap();
        assert!(std::net::TcpStream::connect(address).is_ok(), "{ready}");
    }
}

#[test]
fn a_misspelt_setting_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("holdfast.toml");
    std::fs::write(&config, "[limits]\nfuel-per-tern = 1\n").unwrap();
    let message = error(&holdfast(&["serve", "--config", config.to_str().unwrap()]).output().unwrap());
    assert!(message.contains("fuel-per-tern") && message.contains("fuel-per-turn"), "{message}");
}
