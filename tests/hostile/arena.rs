//! The surroundings of an attack: the addresses of a host, the hostile class on it, and the answers that the attackers
//! got.
//!
//! Few threads make the load: most attackers are connections that were opened and left alone.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::json;

use crate::clock::Stop;
use crate::harness::{Client, Host, guest};
use crate::wire::Wire;

/// The class of the attackers.
pub const HOSTILE: &str = "hostile";
/// Another class of the same code, for attacks that are over only when the class is gone.
pub const RESTLESS: &str = "restless";

/// A host under attack.
pub struct Arena {
    pub data: Client,
    pub admin: Client,
    /// Whether attacks run in their long form, or in the short form that ends within seconds.
    long: bool,
    names: AtomicU64,
    answers: Mutex<BTreeMap<String, u64>>,
    faults: Mutex<Vec<String>>,
}

impl Arena {
    /// Deploys the hostile classes.
    pub fn of(host: &Host, long: bool) -> Self {
        for class in [HOSTILE, RESTLESS] {
            host.deploy(class, guest("hostile"));
        }
        let (data, admin) = (host.data().clone(), host.admin().clone());
        Self { data, admin, long, names: AtomicU64::new(0), answers: Mutex::default(), faults: Mutex::default() }
    }

    /// Returns the number of attackers: `short` or `long`, by the form.
    pub fn crowd(&self, short: usize, long: usize) -> usize {
        if self.long { long } else { short }
    }

    /// Returns a number that no object has in its name yet.
    pub fn fresh(&self) -> u64 {
        self.names.fetch_add(1, Ordering::Relaxed)
    }

    /// Opens a connection to the data listener.
    pub fn connect(&self) -> io::Result<Wire> {
        Wire::connect(self.data.address()).inspect_err(|_| self.heard("refused"))
    }

    /// Counts an answer that attackers got.
    pub fn heard(&self, answer: impl ToString) {
        *self.answers.lock().entry(answer.to_string()).or_default() += 1;
    }

    /// Returns the answers since the last call.
    pub fn take_heard(&self) -> String {
        let heard = std::mem::take(&mut *self.answers.lock());
        let told: Vec<_> = heard.iter().map(|(answer, times)| format!("{answer} × {times}")).collect();
        told.join(", ")
    }

    /// Notes a fault of the host that an attacker has caused.
    pub fn fault(&self, fault: String) {
        self.faults.lock().push(fault);
    }

    /// Returns the faults since the last call.
    pub fn take_faults(&self) -> Vec<String> {
        std::mem::take(&mut *self.faults.lock())
    }

    /// Opens connections, sends a request on each and leaves them alone for a while; then repeats that.
    pub fn volleys(&self, stop: &Stop, count: usize, hold: Duration, request: impl Fn(u64) -> Vec<u8>) {
        while !stop.told() {
            let mut wires = Vec::with_capacity(count);
            for _ in 0..count {
                if stop.told() {
                    break;
                }
                let sent = self.connect().and_then(|mut wire| {
                    let sent = wire.send(&request(self.fresh()));
                    sent.inspect_err(|_| self.heard("cut off")).map(|()| wire)
                });
                match sent {
                    Ok(wire) => wires.push(wire),
                    Err(_) => _ = stop.pause(Duration::from_millis(5)),
                }
            }
            stop.pause(hold);
            for wire in &mut wires {
                self.heard(wire.status().map_or("nothing".into(), |status| status.to_string()));
            }
        }
    }

    /// Has this many clients send requests, each the next one when the previous one is answered.
    pub fn clients(&self, stop: &Stop, count: usize, request: impl Fn(u64) -> Vec<u8> + Sync) {
        self.each(stop, count, |_| {
            let status = self.exchange(stop, &request(self.fresh()));
            self.heard(status.map_or("nothing".into(), |status| status.to_string()));
            stop.pause(Duration::from_millis(2));
        });
    }

    /// Repeats a function in this many threads, until it is stopped.
    pub fn each(&self, stop: &Stop, count: usize, work: impl Fn(usize) + Sync) {
        let work = &work;
        std::thread::scope(|scope| {
            for number in 0..count {
                scope.spawn(move || {
                    while !stop.told() {
                        work(number);
                    }
                });
            }
        });
    }

    /// Sends a request on a connection of its own and waits for the first bytes of an answer.
    pub fn exchange(&self, stop: &Stop, request: &[u8]) -> Option<u16> {
        let mut wire = self.connect().ok()?;
        wire.send(request).ok()?;
        while !stop.told() {
            match wire.status() {
                Some(status) => return Some(status),
                None => _ = stop.pause(Duration::from_millis(1)),
            }
        }
        None
    }

    /// Deletes the restless class with its objects and deploys it again. Returns whether that succeeded: the host may
    /// have ended.
    pub fn calm(&self) -> bool {
        let path = format!("/v1/classes/{RESTLESS}");
        let send = |method, path: &str, body: &[u8]| self.admin.try_send(method, path, &[], body);
        let deleted = send(ureq::http::Method::DELETE, &format!("{path}?objects=delete"), b"");
        let deployed = send(ureq::http::Method::PUT, &path, &guest("hostile"));
        deleted.is_ok_and(|answer| answer.status < 300) && deployed.is_ok_and(|answer| answer.status < 300)
    }

    /// Returns the number of objects of the hostile class whose names begin with this, at most 1,000; none without an
    /// answer.
    pub fn objects_named(&self, beginning: &str) -> Option<usize> {
        let path = format!("/v1/classes/{HOSTILE}/objects?limit=1000");
        let answer = self.admin.try_send(ureq::http::Method::GET, &path, &[], b"").ok()?;
        let listed: serde_json::Value = serde_json::from_slice(&answer.body).ok()?;
        let names = listed["objects"].as_array()?.iter().filter_map(|object| object["name"].as_str());
        Some(names.filter(|name| name.starts_with(beginning)).count())
    }

    /// Runs SQL through the admin API, as an operator might with statements of a tenant.
    pub fn admin_sql(&self, object: &str, statement: &str) {
        let query = json!({ "sql": statement, "write": true }).to_string();
        let path = format!("/v1/classes/{HOSTILE}/objects/{object}/sql");
        let answer = self.admin.try_send(ureq::http::Method::POST, &path, &[], query);
        self.heard(answer.map_or("nothing".into(), |answer| format!("admin {}", answer.status)));
    }
}
