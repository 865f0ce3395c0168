//! From nothing to a class that is served and changed: `new`, `build` and `dev`, with the real toolchain and without network.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use ureq::http::Method;

use crate::harness::{Client, Host, Program, holdfast, root, target, within};

/// A first build compiles the SDK and all it needs.
const BUILD: Duration = Duration::from_secs(240);

/// A fresh place for projects. It stays where it is from run to run, so that Cargo need not compile everything again.
fn workplace(name: &str) -> PathBuf {
    let place = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&place);
    fs::create_dir_all(&place).expect("Cargo's directory for tests can be written");
    place
}

/// A command that compiles a project where the rest of the workspace is compiled. What it depends on was fetched already.
fn compiling(mut command: Command) -> Command {
    command.env("CARGO_TARGET_DIR", target().join("projects")).env("CARGO_NET_OFFLINE", "true");
    command
}

#[test]
fn a_new_project_is_built_served_and_changed() {
    let place = workplace("new-project");
    let made = holdfast(&["new", "chat-room", "--lang", "rust"]).current_dir(&place).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    let again = holdfast(&["new", "chat-room", "--lang", "rust"]).current_dir(&place).output().unwrap();
    assert!(!again.status.success() && String::from_utf8_lossy(&again.stderr).contains("exists"), "{again:?}");
    let project = place.join("chat-room");

    let built = compiling(holdfast(&["build", project.to_str().unwrap()])).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let component = PathBuf::from(String::from_utf8(built.stdout).unwrap().trim());
    let host = Host::start();
    host.deploy("chat-room", fs::read(component).expect("it prints the component's path"));
    assert_eq!(host.get("/chat-room/alice").text(), "1");

    develop(&project);
}

/// `dev` serves the project, deploys it again when it changes, keeps its state, and survives sources that do not compile.
fn develop(project: &std::path::Path) {
    let listen = ["dev", project.to_str().unwrap(), "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
    let mut dev = Program::start(compiling(holdfast(&listen)));
    let mut url = None;
    within(BUILD, "a URL to try", || {
        url = dev
            .stdout
            .text()
            .split_once("curl http://")
            .and_then(|(_, rest)| Some(rest.split_once('\n')?.0.to_owned()));
        (url.is_some() || !dev.is_running()).then_some(())
    });
    let url = url.unwrap_or_else(|| panic!("it ended: {}{}", dev.stdout.text(), dev.stderr.text()));
    let (address, path) = url.split_once('/').expect("a URL has a path");
    assert_eq!(path, "chat-room/alice");
    let client = Client::new(address.parse().expect("an address"), None);
    let ask = || client.send(Method::GET, &format!("/{path}"), &[], b"").text().to_owned();
    assert_eq!(ask(), "1");
    assert_eq!(ask(), "2");

    let source = project.join("src/lib.rs");
    let original = fs::read_to_string(&source).unwrap();
    fs::write(&source, "this is no Rust").unwrap();
    within(BUILD, "the compiler's complaint", || {
        dev.stderr.text().contains("error: cargo could not build").then_some(())
    });
    assert_eq!(ask(), "3", "the last version that compiled is served");

    let changed = original.replace("n.to_string()", "format!(\"n is {n}\")");
    assert_ne!(changed, original);
    fs::write(&source, changed).unwrap();
    within(BUILD, "the second version", || dev.stdout.text().contains("chat-room version 2").then_some(()));
    assert_eq!(ask(), "n is 4");
    dev.signal(rustix::process::Signal::TERM);
    assert_eq!(dev.end().code(), Some(0));
}

#[test]
fn an_example_is_deployed_from_its_directory() {
    let host = Host::start();
    let example = root().join("examples/counter");
    let mut command = host.command(&["deploy", example.to_str().unwrap()]);
    // Where the guests of all tests are compiled, and with the same profile.
    let deployed = command.env("CARGO_TARGET_DIR", target()).output().unwrap();
    assert!(deployed.status.success(), "{}", String::from_utf8_lossy(&deployed.stderr));
    assert!(String::from_utf8_lossy(&deployed.stdout).starts_with("deployed  counter version 1, "));
    assert_eq!(host.get("/counter/alice").text(), "1");
}
