//! `examples/chat` and `examples/counter-live` in real browsers; browsers and host are killed and restarted. Scripts in
//! `tests/clients/browser` drive the pages; their screenshots stay in `target/browser`.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use crate::harness::{Host, chromium, guest, node, root, target};

#[test]
fn two_people_chat_and_miss_nothing() {
    tell("chat");
}

#[test]
fn everybody_sees_the_counter_move() {
    tell("counter-live");
}

#[test]
fn the_client_for_browsers_passes_its_own_tests() {
    let mut tests = Command::new("node");
    tests.args(["--test", "holdfast-socket.test.js"]).current_dir(root().join("guest-sdk/browser"));
    let output = tests.output().expect("this test needs Node.js 20 or newer");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// Runs the script of an example, and does to the host what the script requests.
fn tell(example: &str) {
    chromium();
    let mut host = Host::start();
    host.deploy(example, guest(example));
    let mut story = node("browser");
    story.arg(root().join("tests/clients/browser").join(example).with_extension("mjs"));
    story.arg(format!("http://{}", host.data().address())).arg(target().join("browser").join(example));
    let mut story = story.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("Node starts");
    let mut answers = story.stdin.take().expect("it is piped");
    let mut said = String::new();
    for line in BufReader::new(story.stdout.take().expect("it is piped")).lines() {
        let line = line.expect("it is text");
        said += &format!("{line}\n");
        match line.strip_prefix("host: ") {
            Some("kill") => host.kill(),
            Some("restart") => host.restart_in_place(),
            _ => continue,
        }
        // If the script has ended meanwhile, its status is the result.
        let _ = writeln!(answers, "done");
    }
    let status = story.wait().expect("a child can be waited for");
    assert!(status.success(), "{status}, and it said:\n{said}");
}
