//! Late work: scripts that wait and go on in a later turn, and what is done after a response.

use super::{Case, Subject};
use crate::harness::{Answer, Socket, at_once, eventually};
use crate::subject::{Object, word};

pub const CASES: &[Case] = &[
    ("late/timer", timer),
    ("late/cancelled", cancelled),
    ("late/waits", waits),
    ("late/told", told),
    ("late/failed", failed),
    ("late/gone", gone),
    ("late/dropped", dropped),
    ("late/alarm", alarm),
    ("late/alarm-retried", alarm_retried),
    ("late/message", message),
    ("late/message-failed", message_failed),
    ("late/upgrade", upgrade),
    ("late/held", held),
    ("late/exclusive", exclusive),
    ("late/one-turn", one_turn),
];

/// Waits until this line has this answer.
#[track_caller]
fn becomes(object: &Object, line: &str, answer: &str) {
    eventually(line, || (object.ask_one(line) == answer).then_some(()));
}

/// Runs `act` while these scripts run, and returns their answers. `act` has to see to it that they end.
fn while_they_run(object: &Object, scripts: &[&str], act: impl FnOnce()) -> Vec<Answer> {
    std::thread::scope(|scope| {
        let run = |script| scope.spawn(move || object.run(script));
        let running: Vec<_> = scripts.iter().copied().map(run).collect();
        act();
        running.into_iter().map(|running| running.join().expect("a request has an answer")).collect()
    })
}

/// Tells a topic until so many scripts have heard of it.
fn tell(object: &Object, topic: &str, count: u64) {
    let mut heard = 0;
    eventually("the scripts to wait", || {
        heard += object.ask_one(&format!("tell {topic} caf%C3%A9%20{topic}")).parse::<u64>().expect("a number");
        (heard >= count).then_some(())
    });
    assert_eq!(heard, count);
}

fn timer(subject: &Subject) {
    let object = subject.object("a");
    let done = |name| format!("sql {} t:{name}", word("INSERT INTO done VALUES (?)"));
    object.says(&[
        (&format!("sql {}", word("CREATE TABLE done (name TEXT)")), "0"),
        (&format!("later 60 b {}", done("b")), "ok"),
        (&format!("later 1 a {}", done("a")), "ok"),
        ("later 80 c put c %00%FF", "ok"),
    ]);
    becomes(&object, "get c", "some %00%FF");
    let names = format!("sql {}", word("SELECT name FROM done ORDER BY rowid"));
    object.says(&[(&names, "1 name t:a t:b"), ("cancel c", "false")]);
}

fn cancelled(subject: &Subject) {
    let object = subject.object("a");
    object.says(&[
        ("later 100 a put a 1", "ok"),
        ("cancel a", "true"),
        ("cancel a", "false"),
        ("cancel nothing", "false"),
        ("later 100 b put b 1", "ok"),
        ("later 3600000 b put b 2", "ok"),
        ("later 200 c count", "ok"),
        ("later 300 c put c 1", "ok"),
    ]);
    becomes(&object, "get c", "some 1");
    object.says(&[("get a", "none"), ("get b", "none"), ("count", "1"), ("cancel b", "true")]);
}

fn waits(subject: &Subject) {
    let object = subject.object("a");
    object.says(&[("count", "1"), ("wait 0", "ok"), ("count", "2"), ("wait 20", "ok"), ("get a", "none")]);
    let script = "count\nput a 1\nwait-for go\ncount\nget a\nget b\nwait 1\ncount";
    let answers = while_they_run(&object, &[script], || {
        becomes(&object, "get a", "some 1");
        object.says(&[("count", "4"), ("put a 2", "ok"), ("put b 1", "ok")]);
        tell(&object, "go", 1);
    });
    assert_eq!(answers[0].text(), "3\nok\ncaf%C3%A9%20go\n5\nsome 2\nsome 1\nok\n6\n");
}

fn told(subject: &Subject) {
    let object = subject.object("a");
    let answers = while_they_run(&object, &["wait-for tea\nname"; 20], || {
        object.says(&[("tell coffee x", "0")]);
        tell(&object, "tea", 20);
    });
    let expected = format!("caf%C3%A9%20tea\nsome {}\n", object.name);
    assert!(answers.iter().all(|answer| answer.text() == expected), "{answers:?}");
}

fn failed(subject: &Subject) {
    let object = subject.object("a");
    let bad = "count\nput before 1\nwait-for bad\nput after 1\nfail spilt no%20tea false";
    let answers = while_they_run(&object, &[bad, "wait-for good", "wait-for good"], || {
        tell(&object, "bad", 1);
        object.says(&[("get before", "some 1"), ("get after", "some 1"), ("count", "2")]);
        // Nothing that it staged has to be undone.
        object.run("fail spilt again false").problem(500, "guest-error");
        tell(&object, "good", 2);
    });
    let problem = answers[0].problem(500, "guest-error");
    assert_eq!((&problem["guest_code"], &problem["detail"]), (&"spilt".into(), &"no tea".into()));
    assert!(answers[1..].iter().all(|answer| answer.text() == "caf%C3%A9%20good\n"), "{answers:?}");
    object.says(&[("count", "3")]);
}

fn gone(subject: &Subject) {
    let object = subject.object("a");
    let script = "on-gone left\nput began 1\nwait-for nothing";
    let head = format!("POST {} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}", object.path("/run"), script.len());
    let client = object.host.data().write(format!("{head}\r\n\r\n{script}"));
    becomes(&object, "get began", "some 1");
    object.says(&[("get left", "none")]);
    drop(client);
    becomes(&object, "get left", "some gone");
    object.says(&[("on-gone left-later", "ok"), ("wait 1", "ok")]);
    object.says(&[("get left-later", "none")]);
}

fn dropped(subject: &Subject) {
    let object = subject.object("a");
    let answers = while_they_run(&object, &["put began 1\nwait-for nothing"], || {
        becomes(&object, "get began", "some 1");
        object.drop_instance();
    });
    answers[0].problem(503, "instance-dropped");
    object.says(&[("tell nothing x", "0")]);
}

/// Sets the alarm to now, with this script.
fn set_alarm(object: &Object, script: &str) -> String {
    let due = object.ask_one("now");
    object.says(&[(&format!("put on-alarm {}", word(script)), "ok"), (&format!("alarm-set {due}"), "ok")]);
    due
}

fn alarm(subject: &Subject) {
    let object = subject.object("a");
    let due = set_alarm(&object, "put before 1\nwait-for go\nput after 1");
    becomes(&object, "get before", "some 1");
    object.says(&[("alarm-get", "none"), ("get after", "none")]);
    tell(&object, "go", 1);
    let events = format!("some alarm%20{due}%200%0A");
    object.says(&[("get after", "some 1"), ("alarm-get", "none"), ("get events", &events)]);
}

fn alarm_retried(subject: &Subject) {
    let object = subject.object("a");
    let due = set_alarm(&object, "wait 1\nput tried 1\nfail-before 1\nput done 1");
    becomes(&object, "get done", "some 1");
    let events = format!("some alarm%20{due}%200%0Aalarm%20{due}%201%0A");
    object.says(&[("get tried", "some 1"), ("get events", &events), ("alarm-get", "none")]);
}

fn message(subject: &Subject) {
    let object = subject.object("a");
    let mut client = Socket::open(object.host.data(), &object.path("/accept/-"));
    client.say("count\nwait-for go\ncount");
    client.say("count");
    assert_eq!(client.hear(), "2\n", "the first one waits");
    client.say("tell go on");
    let mut heard = [client.hear(), client.hear()];
    heard.sort_unstable_by_key(String::len);
    assert_eq!(heard, ["1\n", "1\non\n3\n"]);
    client.say("send @ t:first\nwait 1\nsend @ t:second");
    assert_eq!([client.hear(), client.hear(), client.hear()], ["first", "second", "ok\nok\nok\n"]);
}

fn message_failed(subject: &Subject) {
    let object = subject.object("a");
    object.says(&[("count", "1")]);
    let mut client = Socket::open(object.host.data(), &object.path("/accept/-"));
    client.say("wait 1\nput after 1\nfail told as%20asked false");
    assert_eq!(client.closed().map(|(code, _)| code), Some(1011));
    object.says(&[("get after", "some 1"), ("count", "2")]);
}

fn upgrade(subject: &Subject) {
    let object = subject.object("a");
    let path = object.path("/accept-later/20/v2/ann/r%C3%B6%20m");
    let mut client = Socket::offer(object.host.data(), &path, "v1, v2").expect("it is accepted");
    assert_eq!(client.protocol.as_deref(), Some("v2"));
    client.say("tags @");
    assert_eq!(client.hear(), "ann r%C3%B6%20m\n");
    object.says(&[("sockets ann", "1"), ("send ann t:hello", "ok")]);
    assert_eq!(client.hear(), "hello");
}

fn held(subject: &Subject) {
    let object = subject.object("a");
    let mut client = Socket::open(object.host.data(), &object.path("/accept-held/-"));
    object.host.admin().post(&format!("/v1/classes/{}/objects/{}/evict", object.class, object.name), "");
    assert_eq!(client.closed(), Some((1012, "instance-dropped".into())));
}

fn exclusive(subject: &Subject) {
    let object = subject.object("a");
    let mut client = Socket::open(object.host.data(), &object.path("/accept/-/x"));
    let answers = while_they_run(&object, &["send x t:began\nwait-exclusive 500\ncount"], || {
        assert_eq!(client.hear(), "began");
        object.says(&[("count", "2")]);
    });
    assert_eq!(answers[0].text(), "ok\nok\n1\n");
}

fn one_turn(subject: &Subject) {
    let deployed = subject.host.admin().put("/v1/classes/one-turn?create=any&interleave=false", subject.component);
    let shown = String::from_utf8_lossy(&deployed.body);
    assert!(deployed.status == 201 && shown.contains(r#""interleave":false"#), "{deployed:?}");
    let object = Object { host: subject.host, class: "one-turn", name: "a".into() };
    for answers in at_once(4, |_| object.ask("count\nwait 50\ncount")) {
        let [before, waited, after] = answers.as_slice() else { panic!("three answers: {answers:?}") };
        assert!(["ok", "error not-deferrable"].contains(&waited.as_str()), "{waited}");
        let [before, after] = [before, after].map(|count| count.parse::<u64>().expect("a number"));
        assert_eq!(after, before + 1, "another one came between");
    }
}
