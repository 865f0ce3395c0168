//! The memory of an instance, and its constructor.

use super::{Case, Subject};

pub const CASES: &[Case] = &[("memory/lives", lives), ("memory/constructor", constructor)];

fn lives(subject: &Subject) {
    let (a, b) = (subject.object("a"), subject.object("b"));
    a.says(&[("count", "1"), ("count", "2")]);
    b.says(&[("count", "1")]);
    a.says(&[("count", "3")]);
    a.drop_instance();
    a.says(&[("count", "1")]);
}

fn constructor(subject: &Subject) {
    let object = subject.named("init-a");
    object.says(&[("get inits", "some 1"), ("count", "1")]);
    object.says(&[("get inits", "some 1"), ("count", "2")]);
    object.drop_instance();
    object.says(&[("get inits", "some 2"), ("count", "1")]);

    let failed = subject.named("init-fails");
    for _ in 0..2 {
        let problem = failed.run("get inits").problem(500, "guest-error");
        assert_eq!(problem["guest_code"], "bad-name");
        assert!(problem["detail"].as_str().unwrap().contains("not to be made"), "{problem}");
    }
    subject.host.admin().get("/v1/classes/conformance/objects/init-fails").problem(404, "unknown-object");

    // The first turn of an instance fails: the writes of its constructor are rolled back too.
    let undone = subject.named("init-b");
    undone.drop_instance();
    undone.says(&[("get inits", "some 1")]);
}
