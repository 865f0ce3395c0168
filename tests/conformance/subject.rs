//! The subject of a case: the class of one language on a host, its objects, and their scripts.

use serde_json::Value as Json;
use ureq::http::Method;

use crate::harness::{Answer, Host};

/// A language's class, in one case.
pub struct Subject<'a> {
    pub host: &'a Host,
    pub case: &'static str,
    /// The source file in which `throw` throws.
    pub thrown_in: &'static str,
    /// The class itself.
    pub component: &'a [u8],
}

impl<'a> Subject<'a> {
    /// Returns an object that only this case uses.
    pub fn object(&self, name: &str) -> Object<'a> {
        self.named(&format!("{}-{name}", self.case.replace('/', "-")))
    }

    /// Returns an object by its full name.
    pub fn named(&self, name: &str) -> Object<'a> {
        Object { host: self.host, class: "conformance", name: name.into() }
    }
}

/// One object.
pub struct Object<'a> {
    pub host: &'a Host,
    pub class: &'static str,
    /// As in paths.
    pub name: String,
}

impl Object<'_> {
    pub fn path(&self, below: &str) -> String {
        format!("/{}/{}{below}", self.class, self.name)
    }

    pub fn send(&self, method: &str, below: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let method = Method::from_bytes(method.as_bytes()).expect("a method is one word");
        self.host.data().send(method, &self.path(below), headers, body)
    }

    /// Runs a script and returns the response, whatever its status.
    pub fn run(&self, script: &str) -> Answer {
        self.send("POST", "/run", &[], script.as_bytes())
    }

    /// Runs a script, which must succeed, and returns its answers.
    #[track_caller]
    pub fn ask(&self, script: &str) -> Vec<String> {
        let answer = self.run(script);
        let text = answer.text();
        assert!(text.is_empty() || text.ends_with('\n'), "each answer is a line: {text:?}");
        text.split_terminator('\n').map(str::to_owned).collect()
    }

    /// Runs one line and returns its answer.
    #[track_caller]
    pub fn ask_one(&self, line: &str) -> String {
        match self.ask(line).as_slice() {
            [answer] => answer.clone(),
            answers => panic!("{line} has {} answers: {answers:?}", answers.len()),
        }
    }

    /// Runs several lines in one turn, each with its expected answer. Lines without one answer nothing.
    #[track_caller]
    pub fn says(&self, conversation: &[(&str, &str)]) {
        let script: String = conversation.iter().map(|(line, _)| format!("{line}\n")).collect();
        let answers = self.ask(&script);
        let expected: Vec<_> = conversation.iter().filter(|(line, _)| !line.starts_with("transaction")).collect();
        for ((line, expected), answer) in expected.iter().zip(&answers) {
            assert_eq!(answer, expected, "the answer to {line:.100}");
        }
        assert_eq!(answers.len(), expected.len(), "{answers:?}");
    }

    /// Fails a turn that has written, so that the instance is dropped.
    pub fn drop_instance(&self) {
        self.run("put dropped 1\nfail dropped as%20asked false").problem(500, "guest-error");
    }

    /// Returns `level message` of the object's log entries.
    pub fn log(&self) -> Vec<String> {
        let said =
            |entry: &Json| format!("{} {}", entry["level"].as_str().unwrap(), entry["message"].as_str().unwrap());
        self.log_entries().iter().map(said).collect()
    }

    pub fn log_entries(&self) -> Vec<Json> {
        let entries = self.host.admin().get(&format!("/v1/logs?class=conformance&object={}", self.name)).json();
        entries["entries"].as_array().expect("a list").clone()
    }
}

/// Encodes a word of a script.
pub fn word(bytes: impl AsRef<[u8]>) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~".contains(byte);
    let encoded = bytes
        .as_ref()
        .iter()
        .map(|byte| if plain(byte) { (*byte as char).to_string() } else { format!("%{byte:02X}") });
    encoded.collect()
}

/// Decodes a word.
pub fn decode(word: &str) -> Vec<u8> {
    percent_encoding::percent_decode_str(word).collect()
}
