//! Alarms: first in a host whose clock the test moves, then in processes with the machine's clock.

use std::sync::Arc;
use std::time::Duration;

use holdfast_runtime::base::env::Manual;
use holdfast_runtime::base::{Env, Limits};
use holdfast_runtime::config::ServerConfig;
use holdfast_runtime::server::Server;
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use crate::harness::{Client, Host, eventually, guest};

/// A host in this process, whose clock only the test moves.
struct Virtual {
    directory: TempDir,
    env: Env,
    clock: Arc<Manual>,
    server: Option<Server>,
    data: Client,
    admin: Client,
}

impl Virtual {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (env, clock) = Env::manual(1);
        let (server, data, admin) = serve(&directory, &env);
        let host = Self { directory, env, clock, server: Some(server), data, admin };
        let deployed = host.admin.put("/v1/classes/alarms", guest("alarms"));
        assert_eq!(deployed.status, 201, "{deployed:?}");
        host
    }

    fn stop(&mut self) {
        self.server.take().unwrap().stop();
    }

    fn start_again(&mut self) {
        let (server, data, admin) = serve(&self.directory, &self.env);
        (self.server, self.data, self.admin) = (Some(server), data, admin);
    }

    fn now(&self) -> u64 {
        self.env.wall_ms()
    }

    fn advance(&self, ms: u64) {
        self.clock.advance(Duration::from_millis(ms));
    }

    fn metric(&self, name: &str) -> f64 {
        let text = self.admin.get("/metrics").text().to_owned();
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        value.unwrap_or_else(|| panic!("{name} is not in {text}"))
    }

    fn object(&self, name: &'static str) -> Object<'_> {
        Object { name, data: &self.data, admin: &self.admin }
    }

    /// Waits until the scheduler has handled every alarm that is due.
    fn rest(&self) {
        eventually("nothing to be due", || self.server.as_ref().unwrap().alarms_are_done().then_some(()));
    }
}

impl Drop for Virtual {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            server.stop();
        }
    }
}

fn serve(directory: &TempDir, env: &Env) -> (Server, Client, Client) {
    let nowhere = "127.0.0.1:0".parse().unwrap();
    let config = ServerConfig {
        data: directory.path().join("data"),
        listen: nowhere,
        admin_listen: nowhere,
        limits: Limits { live_instances: 32, ..Limits::default() },
        error_details: true,
        hosts: Default::default(),
        trusted_proxies: Vec::new(),
    };
    let server = Server::start(config, env.clone()).unwrap();
    let data = Client::new(server.data_addr(), None);
    let admin = Client::new(server.admin_addr(), Some(server.admin_token().into()));
    (server, data, admin)
}

/// An object of the guest `alarms`.
struct Object<'a> {
    name: &'static str,
    data: &'a Client,
    admin: &'a Client,
}

impl<'a> Object<'a> {
    fn of(host: &'a Host, name: &'static str) -> Self {
        Self { name, data: host.data(), admin: host.admin() }
    }

    fn post(&self, what: &str) -> u16 {
        self.data.post(&format!("/alarms/{}/{what}", self.name), "").status
    }

    fn set_in(&self, ms: u64) {
        assert_eq!(self.post(&format!("set?in={ms}")), 204);
    }

    fn mode(&self, mode: &Json) {
        assert_eq!(self.data.put(&format!("/alarms/{}/mode", self.name), mode.to_string()).status, 204);
    }

    fn show(&self) -> Json {
        self.data.get(&format!("/alarms/{}/", self.name)).json()
    }

    /// Returns the alarm as the object reads it.
    fn alarm(&self) -> Option<u64> {
        self.show()["alarm"].as_u64()
    }

    /// Returns the alarm as the admin API shows it, without waking the object.
    fn shown(&self) -> Json {
        self.admin.get(&format!("/v1/classes/alarms/objects/{}", self.name)).json()["alarm"].clone()
    }

    /// Returns the runs of turns that succeeded.
    fn runs(&self) -> Vec<Json> {
        self.show()["runs"].as_array().unwrap().clone()
    }

    /// Returns every run that began, from the log.
    fn begun(&self) -> Vec<Json> {
        let entries = self.admin.get("/v1/logs").json()["entries"].as_array().unwrap().clone();
        let of_this = entries.iter().filter(|entry| entry["object"] == self.name);
        let run = |entry: &Json| entry["message"].as_str()?.strip_prefix("alarm handled: ").map(str::to_owned);
        of_this.filter_map(run).map(|run| serde_json::from_str(&run).unwrap()).collect()
    }

    fn wait_for_runs(&self, count: usize) -> Vec<Json> {
        eventually("the alarm to be handled", || Some(self.begun()).filter(|runs| runs.len() >= count))
    }
}

#[test]
fn an_alarm_comes_at_its_time_once_and_never_early() {
    let host = Virtual::start();
    let a = host.object("a");
    let due = host.now() + 10_000;
    a.set_in(10_000);
    assert_eq!(a.alarm(), Some(due));
    assert_eq!(a.shown(), json!({ "scheduled": due, "failed": 0, "next": due }));
    host.advance(9_999);
    host.rest();
    assert_eq!(a.begun(), Vec::<Json>::new());
    host.advance(1);
    a.wait_for_runs(1);
    host.advance(1_000_000);
    host.rest();
    // While an alarm is handled none is set, and the object knows its name although no request reached it.
    let run = json!({ "scheduled": due, "retry_count": 0, "at": due, "alarm": null, "name": "a" });
    assert_eq!((a.runs(), a.alarm(), a.shown()), (vec![run], None, Json::Null));
}

#[test]
fn a_later_alarm_replaces_the_one_there_is_and_a_past_one_comes_at_once() {
    let host = Virtual::start();
    let a = host.object("a");
    a.set_in(1_000);
    a.set_in(5_000);
    host.advance(4_999);
    host.rest();
    assert_eq!(a.begun(), Vec::<Json>::new());
    assert_eq!(a.post("delete"), 204);
    host.advance(1_000);
    host.rest();
    assert_eq!((a.begun(), a.alarm()), (Vec::new(), None));
    assert_eq!(a.post("set?at=1"), 204);
    assert_eq!(a.wait_for_runs(1)[0]["scheduled"], 1);
}

#[test]
fn a_turn_that_fails_leaves_the_alarm_as_it_was() {
    let host = Virtual::start();
    let a = host.object("a");
    for how in ["fail", "trap", "settle-fail"] {
        assert_eq!(a.post(&format!("set?in=1000&then={how}")), 500, "{how}");
        assert_eq!(a.alarm(), None, "{how}");
    }
    assert_eq!(a.post("set?in=1000&then=undo"), 204);
    assert_eq!(a.alarm(), None);
    assert_eq!(a.post("set?in=1000&then=delete-all"), 204);
    assert_eq!(a.alarm(), None);
    let due = host.now() + 1_000;
    assert_eq!(a.post("set?in=1000&then=keep"), 204);
    for how in ["fail", "trap", "settle-fail", "undo"] {
        a.post(&format!("delete?then={how}"));
        a.post(&format!("set?in=50&then={how}"));
        assert_eq!(a.alarm(), Some(due), "{how}");
    }
    host.advance(1_000);
    assert_eq!(a.wait_for_runs(1)[0]["scheduled"], due);
    assert_eq!(a.data.delete("/alarms/a/").status, 204);
    assert_eq!(a.admin.get("/v1/classes/alarms/objects/a").status, 404, "nothing is left");
}

#[test]
fn what_cannot_be_set_is_refused() {
    let host = Virtual::start();
    for at in ["0", "9007199254740992", "18446744073709551615"] {
        let answer = host.data.post(&format!("/alarms/a/set?at={at}"), "");
        assert_eq!((answer.status, &answer.body[..]), (422, &b"bad-time"[..]), "{at}");
    }
    assert_eq!(host.object("a").post("set?at=9007199254740991"), 204);
}

/// SEMANTICS: attempts 0 to 6, after 2, 4, 8, 16, 32, 64 s and up to a quarter more; then no alarm.
#[test]
fn a_failing_handler_runs_seven_times_and_is_given_up() {
    for mode in [json!({ "fail": 99 }), json!("trap"), json!({ "set-fail": 1 })] {
        let mut host = Virtual::start();
        host.object("a").mode(&mode);
        let fails_always = mode["set-fail"].is_null();
        let due = host.now() + 500;
        host.object("a").set_in(500);
        host.advance(500);
        let failures: u64 = if fails_always { 7 } else { 2 };
        for failed in 1..=failures {
            let a = host.object("a");
            let next = eventually("the failure to be noted", || {
                let alarm = a.shown();
                (alarm.is_null() || alarm["failed"] == failed).then_some(alarm)
            });
            // The log is that of the process, and the third failure ends one.
            assert_eq!(a.begun().len() as u64, if failed > 3 { failed - 3 } else { failed });
            assert_eq!(a.runs(), Vec::<Json>::new(), "a run that fails leaves nothing");
            if failed == 7 {
                assert_eq!(next, Json::Null);
                break;
            }
            assert_eq!(next["scheduled"], due, "whatever the turn that failed has set");
            let (now, delay) = (host.now(), 1_000 << failed);
            let wait = next["next"].as_u64().unwrap() - now;
            assert!((delay..=delay + delay / 4).contains(&wait), "{failed}: {wait} ms");
            if failed == 3 {
                host.stop();
                host.start_again();
            }
            host.advance(wait - 1);
            host.rest();
            assert_eq!(host.object("a").shown()["failed"], failed, "not early");
            host.advance(1);
        }
        let a = host.object("a");
        if fails_always {
            host.advance(1_000_000);
            host.rest();
            assert_eq!(
                (a.shown(), a.begun().len()),
                (Json::Null, 4),
                "three more were in the log of the first process"
            );
            assert_eq!(host.metric("holdfast_alarms_given_up_total"), 1.0);
            let log = a.admin.get("/v1/logs").text().to_owned();
            assert!(log.contains("attempt 7 of 7") && log.contains("is given up"), "{log}");
        } else {
            // The third attempt succeeds, and the alarm that it set counts.
            let runs = eventually("the attempt to succeed", || Some(a.runs()).filter(|runs| !runs.is_empty()));
            assert_eq!((&runs[0]["scheduled"], &runs[0]["retry_count"]), (&json!(due), &json!(2)));
            assert_eq!(a.alarm(), Some(host.now() + 1));
        }
    }
}

#[test]
fn an_alarm_may_set_the_next_one() {
    let host = Virtual::start();
    let a = host.object("a");
    a.mode(&json!({ "set": 1_000 }));
    let first = host.now() + 1_000;
    a.set_in(1_000);
    for count in 1..=5 {
        host.advance(1_000);
        eventually("it to be set again", || (a.alarm() == Some(first + count * 1_000)).then_some(()));
        assert_eq!(a.runs().len() as u64, count);
    }
}

/// The delivered alarm is consumed, not its time: any time that the handler sets counts.
#[test]
fn an_alarm_that_sets_the_same_time_again_comes_again() {
    let mut host = Virtual::start();
    for (name, mode) in [("a", "set-same"), ("b", "set-now"), ("c", "delete-all-set-same")] {
        host.object(name).mode(&json!({ mode: 5 }));
        let due = host.now() + 1_000;
        host.object(name).set_in(1_000);
        host.advance(1_000);
        let object = host.object(name);
        let runs = eventually("all runs", || Some(object.runs()).filter(|runs| runs.len() >= 5));
        host.rest();
        assert!(runs.iter().all(|run| run["scheduled"] == due && run["retry_count"] == 0), "{mode}: {runs:?}");
        assert_eq!((object.runs().len(), object.alarm(), object.shown()), (5, None, Json::Null), "{mode}");
    }
    // A manual run behaves in the same way.
    host.object("d").mode(&json!({ "set-same": 2 }));
    host.object("d").set_in(1_000_000);
    assert_eq!(host.admin.post("/v1/classes/alarms/objects/d/alarm", "").json(), json!({ "ran": true }));
    host.advance(1_000_000);
    let d = host.object("d");
    eventually("the second run", || (d.runs().len() == 2).then_some(()));
    // No alarm was lost, and the check armed none again.
    for _ in 0..4 {
        host.advance(10_000);
    }
    host.rest();
    assert_eq!(host.metric("holdfast_alarms_rearmed_total"), 0.0);
    host.stop();
    host.start_again();
    host.advance(1_000_000);
    host.rest();
    assert_eq!(host.object("a").runs().len(), 5);
}

/// A class that takes as many alarm slots as it may have leaves some to other classes.
#[test]
fn alarms_that_do_not_end_do_not_stop_those_of_other_classes() {
    let host = Host::with("live-instances = 2_000");
    for class in ["alarms", "ticks"] {
        host.deploy(class, guest("alarms"));
    }
    let put = |path: String, body: Json| assert_eq!(host.data().put(&path, body.to_string()).status, 204);
    let set = |path: String| assert_eq!(host.post(&path, "").status, 204);
    for n in 0..400 {
        put(format!("/alarms/{n}/mode"), json!("loop"));
    }
    for n in 0..400 {
        set(format!("/alarms/{n}/set?at=1"));
    }
    eventually("as many to run as may", || (host.metric("holdfast_alarms_total") >= 256).then_some(()));
    put("/ticks/a/mode".into(), json!({ "set": 10 }));
    set("/ticks/a/set?at=1".into());
    eventually("the other class's alarms", || {
        let runs = host.get("/ticks/a/").json()["runs"].as_array().unwrap().len();
        (runs >= 5).then_some(())
    });
}

#[test]
fn the_wall_clock_may_jump() {
    let host = Virtual::start();
    let a = host.object("a");
    let start = host.env.wall();
    a.set_in(60_000);
    // Set back by a day, and time goes on: not early.
    host.clock.set_wall(start - Duration::from_secs(86_400));
    host.advance(120_000);
    host.rest();
    assert_eq!(a.begun(), Vec::<Json>::new());
    // A waiting alarm survives the clock being set back and forth.
    host.clock.set_wall(start + Duration::from_millis(60_000));
    host.clock.set_wall(start);
    host.rest();
    // Set far ahead: overdue.
    host.clock.set_wall(start + Duration::from_secs(10 * 86_400));
    host.advance(1_000);
    a.wait_for_runs(1);
}

#[test]
fn alarms_of_many_objects_come_by_themselves_after_a_restart() {
    let mut host = Virtual::start();
    let names: Vec<&'static str> = (0..200).map(|n| &*format!("object-{n}").leak()).collect();
    for (n, name) in names.iter().enumerate() {
        host.object(name).set_in(1 + 700 * (n as u64 % 97) * 60);
    }
    host.stop();
    host.advance(700 * 97 * 60);
    host.start_again();
    let handled = || host.metric("holdfast_alarms_total");
    eventually("all to be handled", || (handled() >= 200.0).then_some(()));
    host.rest();
    for name in names {
        let runs = host.object(name).runs();
        assert_eq!(runs.len(), 1, "{name}: {runs:?}");
    }
}

#[test]
fn an_alarm_can_be_run_now() {
    let host = Virtual::start();
    let a = host.object("a");
    let run = || a.admin.post("/v1/classes/alarms/objects/a/alarm", "");
    run().problem(404, "unknown-object");
    let due = host.now() + 1_000_000;
    a.set_in(1_000_000);
    assert_eq!(run().json(), json!({ "ran": true }));
    assert_eq!((a.runs()[0]["scheduled"].as_u64(), a.alarm()), (Some(due), None));
    run().problem(404, "no-alarm");
    a.mode(&json!({ "fail": 1 }));
    a.set_in(1_000_000);
    run().problem(500, "guest-error");
    assert_eq!(a.shown()["failed"], 1);
    assert_eq!(run().json(), json!({ "ran": true }));
}

/// From here on tests use the machine's clock.
#[test]
fn an_overdue_alarm_comes_after_a_crash_without_a_request() {
    let mut host = Host::start();
    host.deploy("alarms", guest("alarms"));
    Object::of(&host, "a").set_in(600);
    Object::of(&host, "b").set_in(86_400_000);
    host.kill();
    host.restart();
    let runs = Object::of(&host, "a").wait_for_runs(1);
    assert!(runs[0]["at"].as_u64() >= runs[0]["scheduled"].as_u64(), "{runs:?}");
    assert_eq!(Object::of(&host, "b").begun(), Vec::<Json>::new());
}

/// An alarm that ran when the process was killed runs again, and the interrupted run is not an attempt.
#[test]
fn an_alarm_that_a_crash_interrupts_runs_again() {
    let mut host = Host::start();
    host.deploy("alarms", guest("alarms"));
    Object::of(&host, "a").mode(&json!({ "sleep": 60_000 }));
    Object::of(&host, "a").set_in(1);
    for _ in 0..3 {
        assert_eq!(Object::of(&host, "a").wait_for_runs(1)[0]["retry_count"], 0);
        host.kill();
        host.restart();
    }
    // Three crashes in a row while it ran are one failure.
    let shown = || Object::of(&host, "a").shown();
    eventually("the crashes to count", || (shown()["failed"] == 1).then_some(()));
    assert_eq!(Object::of(&host, "a").begun(), Vec::<Json>::new());
}

/// Alarms without a handler are neither run nor consumed, until a version that handles them is deployed.
#[test]
fn alarms_wait_for_a_version_that_handles_them() {
    let host = Virtual::start();
    let object = host.object("a");
    object.set_in(1_000);
    let deployed = host.admin.put("/v1/classes/alarms", guest("storage"));
    assert_eq!(deployed.status, 200, "{deployed:?}");
    host.advance(1_000);
    let of_the_class = || {
        let logged = host.admin.get("/v1/logs?class=alarms").json();
        logged["entries"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|entry| entry.to_string().contains("exports no alarm-handler"))
            .count()
    };
    eventually("it to be said that alarms wait", || (of_the_class() == 1).then_some(()));
    // Longer than seven attempts last.
    for _ in 0..10 {
        host.advance(60_000);
    }
    let run = host.admin.post("/v1/classes/alarms/objects/a/alarm", b"");
    run.problem(501, "no-handler");
    assert_eq!(of_the_class(), 1);
    assert_eq!(object.shown()["failed"], 0, "{}", object.shown());
    assert_eq!(host.metric("holdfast_alarms_given_up_total"), 0.0);
    let deployed = host.admin.put("/v1/classes/alarms", guest("alarms"));
    assert_eq!(deployed.status, 200, "{deployed:?}");
    eventually("the scheduler to look at the class again", || {
        host.advance(1_000);
        (!object.runs().is_empty()).then_some(())
    });
    let runs = object.wait_for_runs(1);
    assert_eq!((runs.len(), &runs[0]["retry_count"]), (1, &json!(0)), "{runs:?}");
    host.rest();
}

/// One alarm for many jobs: a job that traps does not affect the others.
#[test]
fn schedules_share_one_alarm() {
    let host = Virtual::start();
    assert_eq!(host.admin.put("/v1/classes/schedules", guest("schedules")).status, 201);
    let add = |wait: &str, job: &Json| {
        assert_eq!(host.data.post(&format!("/schedules/a/?{wait}"), job.to_string()).status, 200)
    };
    add("in=10", &json!("succeed"));
    add("in=20", &json!({ "panic": 99 }));
    add("in=30", &json!("succeed"));
    add("every=60000&name=minutely", &json!({ "fail": 1 }));
    let show = || host.data.get("/schedules/a/").json();
    let runs = || show()["runs"].as_array().unwrap().len();
    for _ in 0..240 {
        host.advance(1_000);
        host.rest();
    }
    let end = eventually("the culprit to be found", || {
        host.advance(1_000);
        host.rest();
        Some(show()).filter(|shown| shown["failed"].as_array().is_some_and(|failed| !failed.is_empty()))
    });
    assert_eq!((&end["failed"][0]["failures"], end["failed"].as_array().unwrap().len()), (&json!(7), 1), "{end}");
    assert_eq!(end["pending"][0]["name"], "minutely", "{end}");
    assert!(runs() >= 5, "two that succeed, and one a minute: {end}");
}

/// If more jobs are due at one time than one turn runs, the alarm is delivered again for the rest, with the same time.
#[test]
fn all_jobs_of_one_time_run() {
    let host = Virtual::start();
    assert_eq!(host.admin.put("/v1/classes/schedules", guest("schedules")).status, 201);
    for _ in 0..230 {
        assert_eq!(host.data.post("/schedules/a/?in=1000", json!("succeed").to_string()).status, 200);
    }
    host.advance(1_000);
    let show = || host.data.get("/schedules/a/").json();
    let end = eventually("all jobs", || Some(show()).filter(|shown| shown["pending"] == json!([])));
    assert_eq!((end["runs"].as_array().unwrap().len(), &end["alarm"]), (230, &Json::Null));
}

#[test]
fn reminders_are_delivered() {
    let host = Virtual::start();
    assert_eq!(host.admin.put("/v1/classes/reminder", guest("reminder")).status, 201);
    let remind = |body: Json| host.data.post("/reminder/ann/", body.to_string());
    assert_eq!(remind(json!({ "text": "tea", "in": 180 })).status, 201);
    assert_eq!(remind(json!({ "text": "stand up", "cron": "0 * * * *" })).status, 201);
    let cancelled = remind(json!({ "text": "never", "in": 60 }));
    let place = cancelled.header("location").to_owned();
    assert_eq!(host.data.delete(&place).status, 204);
    assert_eq!(remind(json!({ "text": "x", "cron": "every day" })).status, 400);
    let texts = |of: &str| -> Vec<String> {
        let shown = host.data.get("/reminder/ann/").json();
        shown[of].as_array().unwrap().iter().map(|one| one["text"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(texts("pending").len(), 2);
    host.advance(180_000);
    eventually("the tea", || (texts("delivered") == ["tea"]).then_some(()));
    host.advance(3_600_000);
    eventually("the full hour", || (texts("delivered") == ["stand up", "tea"]).then_some(()));
    assert_eq!(texts("pending"), ["stand up"]);
}

#[test]
fn a_queue_handles_batches_and_keeps_what_is_dead() {
    let host = Virtual::start();
    assert_eq!(host.admin.put("/v1/classes/queue", guest("queue")).status, 201);
    let stats = || host.data.get("/queue/bank/stats").json();
    let messages = |list: &Json| assert_eq!(host.data.post("/queue/bank/messages", list.to_string()).status, 202);
    messages(&json!([{ "account": "ann", "amount": 70 }, { "account": "bob", "amount": -5 }]));
    assert_eq!(stats()["waiting"], 2);
    host.advance(5_000);
    eventually("the batch", || (stats()["handled"] == 1).then_some(()));
    assert_eq!(host.data.get("/queue/bank/accounts").json(), json!({ "ann": 70 }));
    for wait in [2, 4, 8, 16] {
        host.advance(wait * 1_000);
        host.rest();
    }
    eventually("the retries to end", || {
        host.advance(1_000);
        (stats()["dead"] == 1).then_some(())
    });
    messages(&json!([{ "account": "bob", "amount": 6 }]));
    assert_eq!(host.data.post("/queue/bank/dead/redrive", "").json(), json!({ "redriven": 1 }));
    host.advance(5_000);
    eventually("bob", || {
        host.advance(1_000);
        (host.data.get("/queue/bank/accounts").json()["bob"] == 1).then_some(())
    });
    assert_eq!(stats()["dead"], 0);
}

#[test]
fn the_command_line_shows_and_runs_alarms() {
    let host = Host::start();
    host.deploy("alarms", guest("alarms"));
    let a = Object::of(&host, "a");
    let run = |arguments: &[&str]| {
        let output = host.run(&[&["objects"], arguments].concat());
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("it prints text");
        (output.status.success(), text(&output.stdout) + &text(&output.stderr))
    };
    assert_eq!(a.post("set?at=4102444800000"), 204);
    let (ok, shown) = run(&["show", "alarms", "a"]);
    assert!(ok && shown.contains("2100-01-01"), "{shown}");
    let (ok, listed) = run(&["list", "alarms", "--json"]);
    assert!(ok && listed.contains(r#""scheduled":4102444800000"#), "{listed}");
    a.mode(&json!({ "fail": 1 }));
    let (ok, failed) = run(&["alarm", "alarms", "a"]);
    assert!(!ok && failed.contains("guest-error"), "{failed}");
    let (ok, shown) = run(&["show", "alarms", "a"]);
    assert!(ok && shown.contains("failed 1 times"), "{shown}");
    let (ok, ran) = run(&["alarm", "alarms", "a"]);
    assert!(ok && ran.contains("ran the alarm of alarms/a"), "{ran}");
    let (ok, none) = run(&["alarm", "alarms", "a"]);
    assert!(!ok && none.contains("no-alarm"), "{none}");
}
