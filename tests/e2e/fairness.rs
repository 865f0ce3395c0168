//! Classes share the host: no class can take the share of another.

use std::net::TcpStream;

use ureq::http::Method;

use crate::harness::{Host, at_once, eventually, guest};

/// Sends a request and does not wait for its answer.
fn ask(host: &Host, path: &str) -> TcpStream {
    host.data().write(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n"))
}

#[test]
fn sleepers_of_one_class_leave_instances_to_another() {
    let host = Host::with("live-instances = 20");
    host.deploy("faults", guest("faults"));
    host.deploy("counter", guest("counter"));
    let _sleepers: Vec<_> =
        (0..30).map(|object| ask(&host, &format!("/faults/sleeper-{object}/sleep?ms=3600000"))).collect();
    // Four times what is left.
    host.wait_for_live_instances(16);
    for round in 1..=2 {
        for object in 0..20 {
            assert_eq!(host.get(&format!("/counter/object-{object}")).number(), round);
        }
    }
    host.get("/faults/one-more/get").problem(503, "no-capacity");
}

#[test]
fn a_class_that_takes_much_memory_leaves_some_to_another() {
    const MIB: u64 = 1 << 20;
    let host = Host::with(&format!("live-instance-bytes = {}\nmemory-per-instance = {}", 64 * MIB, 60 * MIB));
    host.deploy("faults", guest("faults"));
    host.deploy("counter", guest("counter"));
    // It requests more than a class may have, which is less than an instance may have.
    host.get("/faults/alice/alloc").problem(503, "no-capacity");
    // As many bytes as a class may have wait in its mailboxes.
    assert_eq!(host.get("/counter/alice").number(), 1);
    assert!(host.metric("holdfast_memory_bytes{purpose=\"instances\"}") > 0);
}

/// Idle instances keep the memory that they have grown to, and leave when another one needs it to grow.
#[test]
fn idle_instances_leave_for_one_that_grows() {
    const MIB: u64 = 1 << 20;
    let host = Host::with(&format!("live-instance-bytes = {}\nmemory-per-instance = {}", 64 * MIB, 60 * MIB));
    host.deploy("faults", guest("faults"));
    for object in 0..5 {
        assert_eq!(host.get(&format!("/faults/object-{object}/grow?n=20")).text(), "grown", "{object}");
    }
    assert!(host.metric("holdfast_live_instances") < 3, "two have all that the class may have");
}

#[test]
fn bytes_that_wait_are_charged_to_their_class() {
    let host = Host::with("host-memory = 1_000_000");
    host.deploy("faults", guest("faults"));
    host.deploy("echo", guest("echo"));
    std::thread::scope(|scope| {
        let objects = ["a", "b", "c"];
        for object in objects {
            let host = &host;
            scope.spawn(move || host.get(&format!("/faults/{object}/sleep?ms=3000")));
        }
        host.wait_for_live_instances(3);
        let body = vec![b'x'; 300_000];
        let answers = at_once(3, |object| host.post(&format!("/faults/{}/get", objects[object]), &body));
        let refused = answers.iter().filter(|answer| answer.status == 503).count();
        assert_eq!(refused, 1, "two are all that the class may have: {answers:?}");
    });
    // They are given back with the turns, and were never taken from other classes.
    assert_eq!(host.metric("holdfast_memory_bytes{purpose=\"requests\"}"), 0);
    assert_eq!(host.post("/faults/a/get", vec![b'x'; 300_000]).text(), "0");
}

/// Makes a component whose code takes long to compile, and that exports nothing.
fn slow_to_compile() -> Vec<u8> {
    const FUNCTIONS: u32 = 3_000;
    let section = |id: u8, content: Vec<u8>| [vec![id], number(content.len() as u32), content].concat();
    // One i32 local, which is added to itself repeatedly.
    let mut body = vec![1, 1, 0x7f];
    (0..700).for_each(|_| body.extend([0x20, 0, 0x20, 0, 0x6c, 0x41, 7, 0x6a, 0x21, 0]));
    body.push(0x0b);
    let function = [number(body.len() as u32), body].concat();
    let mut functions = number(FUNCTIONS);
    functions.extend(std::iter::repeat_n(0, FUNCTIONS as usize));
    let module = [
        b"\0asm\x01\0\0\0".to_vec(),
        section(1, vec![1, 0x60, 0, 0]),
        section(3, functions),
        section(10, [number(FUNCTIONS), function.repeat(FUNCTIONS as usize)].concat()),
    ];
    [b"\0asm\x0d\0\x01\0".to_vec(), section(1, module.concat())].concat()
}

/// Encodes a number as LEB128.
fn number(mut value: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

#[test]
fn a_slow_compile_does_not_delay_another_class() {
    let host = Host::start();
    let slow = slow_to_compile();
    std::thread::scope(|scope| {
        let (host, slow) = (&host, &slow);
        let deploys: Vec<_> = (0..2).map(|_| scope.spawn(move || host.admin().put("/v1/classes/slow", slow))).collect();
        eventually("the compiler to work", || (threads_named(host, "compiler") > 0).then_some(()));
        host.deploy("counter", guest("counter"));
        assert_eq!(host.get("/counter/alice").number(), 1);
        assert!(!deploys.iter().any(|deploy| deploy.is_finished()), "it compiles too fast to say anything");
        for deploy in deploys {
            deploy.join().unwrap().problem(422, "no-handler-exported");
        }
    });
}

fn threads_named(host: &Host, name: &str) -> usize {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", host.process_id())).expect("it runs");
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|found| found.trim_end() == name).count()
}

/// Even on a small host, one class cannot use all instances.
#[test]
fn a_small_host_keeps_a_place_for_a_class_that_has_none() {
    let host = Host::with("live-instances = 4");
    host.deploy("faults", guest("faults"));
    host.deploy("counter", guest("counter"));
    std::thread::scope(|scope| {
        let sleeper = |n| host.data().try_send(Method::GET, &format!("/faults/{n}/sleep?ms=3600000"), &[], b"");
        let sleepers: Vec<_> = (0..3).map(|n| scope.spawn(move || sleeper(n))).collect();
        host.wait_for_live_instances(3);
        // It would be refused after five seconds, because no instance becomes idle.
        assert_eq!(host.get("/counter/alice").number(), 1);
        host.get("/faults/more/get").problem(503, "no-capacity");
        host.begin_to_die();
        sleepers.into_iter().for_each(|sleeper| assert!(sleeper.join().unwrap().is_err()));
    });
}
