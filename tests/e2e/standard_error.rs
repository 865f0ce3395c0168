//! A server whose standard error cannot be written serves as usual: on a full disk, closed, and a pipe without a
//! reader.

use std::fs::File;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Client, eventually, guest, holdfast};

/// Starts a server that logs as much as it can, with this as its standard error.
fn serve(directory: &std::path::Path, stderr: impl Into<Stdio>) -> (Running, Client, Client) {
    let config = directory.join("holdfast.toml");
    std::fs::write(&config, "[limits]\nlive-instances = 8\n").unwrap();
    let mut command = holdfast(&["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--json"]);
    command.arg("--config").arg(config).arg("--data").arg(directory.join("data")).arg("--log=trace");
    let ready = directory.join("ready");
    let server = Running(start(command.stdout(File::create(&ready).unwrap()).stderr(stderr)));
    let line =
        eventually("the ready line", || std::fs::read_to_string(&ready).ok().filter(|line| line.ends_with('\n')));
    let ready: serde_json::Value = serde_json::from_str(&line).unwrap();
    let token = std::fs::read_to_string(directory.join("data/admin.token")).unwrap();
    let client = |key: &str, token| Client::new(ready[key].as_str().unwrap().parse().unwrap(), token);
    (server, client("data", None), client("admin", Some(token.trim().into())))
}

fn start(command: &mut Command) -> Child {
    command.spawn().expect("the program starts")
}

/// A process that does not outlive its test.
struct Running(Child);

impl Running {
    fn end(&mut self) {
        kill_process(Pid::from_child(&self.0), Signal::TERM).unwrap();
        let status = eventually("the server's end", || self.0.try_wait().unwrap());
        assert!(status.success(), "{status}");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn serves_all_the_same(stderr: impl Into<Stdio>) {
    let directory = tempfile::tempdir().unwrap();
    let (mut server, data, admin) = serve(directory.path(), stderr);
    assert_eq!(admin.put("/v1/classes/faults", guest("faults")).status, 201);
    // Each request writes several lines, and some are more than a pipe holds.
    for n in 0..200 {
        assert_eq!(data.get("/faults/alice/put?n=7").text(), "7");
        let fault = ["fail", "panic"][n % 2];
        assert_eq!(data.get(&format!("/faults/{n}/{fault}")).status, 500);
    }
    assert_eq!(data.get("/faults/alice/get").text(), "7");
    server.end();
}

#[test]
fn on_a_full_disk() {
    serves_all_the_same(File::options().write(true).open("/dev/full").unwrap());
}

#[test]
fn in_a_pipe_that_is_closed() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    serves_all_the_same(writer);
}

#[test]
fn in_a_pipe_that_nobody_reads() {
    let (reader, writer) = std::io::pipe().unwrap();
    serves_all_the_same(writer);
    drop(reader);
}

/// `dev` writes to standard output, and failures there do no harm either.
#[test]
fn a_command_that_cannot_tell_of_its_error_fails_as_always() {
    let full = || File::options().write(true).open("/dev/full").unwrap();
    let mut command = holdfast(&["classes", "--server", "http://127.0.0.1:1"]);
    command.env("HOLDFAST_TOKEN", "token").stdout(full()).stderr(full());
    assert_eq!(Running(start(&mut command)).0.wait().unwrap().code(), Some(1));
}
