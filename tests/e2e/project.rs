//! From an empty directory to a class that is served and changed: `new`, `build` and `dev`, with the real toolchains.
//! Rust builds without network; the build installs what other languages need, and it is kept from run to run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use ureq::http::Method;

use crate::harness::{BUILD, Client, Host, Program, holdfast, nice, root, target, within};

/// Makes a fresh directory for projects, at the same path in each run, so that Cargo need not compile everything again.
fn workplace(name: &str) -> PathBuf {
    let place = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&place);
    fs::create_dir_all(&place).expect("Cargo's directory for tests can be written");
    place
}

/// Makes a command that compiles a project into the target directory of the workspace. Its dependencies are fetched
/// already.
fn compiling(command: Command) -> Command {
    let mut command = nice(&command);
    command.env("CARGO_TARGET_DIR", target().join("projects")).env("CARGO_NET_OFFLINE", "true");
    command.env("HOLDFAST_TOOLS", target().join("tools"));
    command
}

/// The parts of a language's template that this test changes.
struct Template {
    language: &'static str,
    /// The file with the class.
    source: &'static str,
    /// The code that answers the number, and a replacement for it.
    answers: [&'static str; 2],
    /// The answer for 4 after the replacement.
    four: &'static str,
    /// The message of the build for a file that is not in its language.
    complaint: &'static str,
}

const RUST: Template = Template {
    language: "rust",
    source: "src/lib.rs",
    answers: ["n.to_string()", "format!(\"n is {n}\")"],
    four: "n is 4",
    complaint: "error: cargo could not build",
};

fn make(template: &Template) -> PathBuf {
    let place = workplace(&format!("new-{}", template.language));
    let make = || holdfast(&["new", "chat-room", "--lang", template.language]).current_dir(&place).output().unwrap();
    let made = make();
    assert!(made.status.success(), "{made:?}");
    let again = make();
    assert!(!again.status.success() && String::from_utf8_lossy(&again.stderr).contains("exists"), "{again:?}");
    place.join("chat-room")
}

#[test]
fn a_new_project_is_built_served_and_changed() {
    let project = make(&RUST);
    let built = compiling(holdfast(&["build", project.to_str().unwrap()])).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let component = PathBuf::from(String::from_utf8(built.stdout).unwrap().trim());
    let host = Host::start();
    host.deploy("chat-room", fs::read(component).expect("it prints the component's path"));
    assert_eq!(host.get("/chat-room/alice").text(), "1");

    develop(&project, &RUST);
}

#[test]
fn a_new_project_in_javascript() {
    let template = Template {
        language: "javascript",
        source: "src/index.js",
        answers: ["String(n)", "`n is ${n}`"],
        four: "n is 4",
        complaint: "error: holdfast-build could not build",
    };
    develop(&make(&template), &template);
}

#[test]
fn a_new_project_in_typescript() {
    let template = Template {
        language: "typescript",
        source: "src/index.ts",
        answers: ["String(n)", "`n is ${n}`"],
        four: "n is 4",
        complaint: "error: holdfast-build could not build",
    };
    let project = make(&template);
    develop(&project, &template);
    let checked = Command::new("npm").args(["run", "check"]).current_dir(&project).output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
}

#[test]
fn a_new_project_in_assemblyscript() {
    let template = Template {
        language: "assemblyscript",
        source: "assembly/index.ts",
        answers: ["n.toString()", "`n is ${n}`"],
        four: "n is 4",
        complaint: "error: asc could not build",
    };
    develop(&make(&template), &template);
}

#[test]
fn a_new_project_in_python() {
    let template = Template {
        language: "python",
        source: "main.py",
        answers: ["str(n)", "f\"n is {n}\""],
        four: "n is 4",
        complaint: "error: python could not build",
    };
    develop(&make(&template), &template);
}

#[test]
fn a_new_project_in_go() {
    let template = Template {
        language: "go",
        source: "main.go",
        answers: ["fmt.Fprint(w, n)", "fmt.Fprintf(w, \"n is %d\", n)"],
        four: "n is 4",
        complaint: "error: go could not build",
    };
    develop(&make(&template), &template);
}

#[test]
fn a_new_project_in_c() {
    let template = Template {
        language: "c",
        source: "src/main.c",
        answers: ["\"%lld\"", "\"n is %lld\""],
        four: "n is 4",
        complaint: "error: the C compiler could not build",
    };
    develop(&make(&template), &template);
}

#[test]
fn a_new_project_in_cpp() {
    let template = Template {
        language: "cpp",
        source: "src/main.cpp",
        answers: ["std::to_string(n)", "(\"n is \" + std::to_string(n))"],
        four: "n is 4",
        complaint: "error: the C compiler could not build",
    };
    develop(&make(&template), &template);
}

#[test]
fn a_new_project_in_zig() {
    let template = Template {
        language: "zig",
        source: "src/main.zig",
        answers: ["\"%lld\"", "\"n is %lld\""],
        four: "n is 4",
        complaint: "error: zig could not build",
    };
    develop(&make(&template), &template);
}

#[test]
fn a_new_project_by_hand() {
    let template = Template {
        language: "wat",
        source: "class.wat",
        answers: ["(i64.const 48)", "(i64.const 65)"],
        four: "E",
        complaint: "error: expected",
    };
    develop(&make(&template), &template);
}

/// `dev` serves the project, deploys it again when it changes, keeps its state, and survives sources that do not
/// compile.
fn develop(project: &Path, template: &Template) {
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

    let source = project.join(template.source);
    let original = fs::read_to_string(&source).unwrap();
    fs::write(&source, "this is no program").unwrap();
    within(BUILD, "the compiler's complaint", || dev.stderr.text().contains(template.complaint).then_some(()));
    assert_eq!(ask(), "3", "the last version that compiled is served");

    let changed = original.replace(template.answers[0], template.answers[1]);
    assert_ne!(changed, original);
    fs::write(&source, changed).unwrap();
    within(BUILD, "the second version", || dev.stdout.text().contains("chat-room version 2").then_some(()));
    assert_eq!(ask(), template.four);
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
