//! Transcripts in Markdown: the `console` blocks of a README, read and replayed against a host.
//!
//! A line that begins with `$ ` is a `curl` command; the lines up to the next command are its output. With `-i` that is
//! a status line, headers (the response may have more), an empty line and the body. `...` matches anything: on a line
//! of its own any number of lines. Commands other than `curl`, and options of it that are not read here, are errors: a
//! transcript that is not replayed would be unchecked.

use ureq::http::{Method, StatusCode};

use crate::harness::{Answer, Client};

/// The address of the data listener in README files.
const DOCUMENTED_ADDRESS: &str = "127.0.0.1:8787";

/// One command with what it prints.
#[derive(Debug, PartialEq)]
pub struct Step {
    /// The line of the document.
    line: usize,
    command: Curl,
    expected: Vec<String>,
}

#[derive(Debug, Default, PartialEq)]
struct Curl {
    method: Option<String>,
    /// The path below the listener, with the query.
    path: String,
    headers: Vec<(String, String)>,
    body: Option<String>,
    include_head: bool,
}

/// Replays all transcripts of a document and returns how many commands there were.
pub fn replay(document: &str, client: &Client) -> Result<usize, String> {
    let steps = parse(document)?;
    for step in &steps {
        let answer = step.command.run(client);
        step.compare(&answer).map_err(|difference| format!("line {}: {difference}", step.line))?;
    }
    Ok(steps.len())
}

fn parse(document: &str) -> Result<Vec<Step>, String> {
    let mut steps: Vec<Step> = Vec::new();
    let mut in_block = false;
    let mut lines = (1..).zip(document.lines());
    while let Some((number, line)) = lines.next() {
        if !in_block {
            in_block = line.trim_end() == "```console";
        } else if line.starts_with("```") {
            in_block = false;
        } else if let Some(command) = line.strip_prefix("$ ") {
            let mut command = command.to_owned();
            while let Some(unfinished) = command.strip_suffix('\\') {
                command = format!("{unfinished}{}", lines.next().map_or("", |(_, line)| line.trim_start()));
            }
            let curl = Curl::parse(&command).map_err(|error| format!("line {number}: {error}: {command}"))?;
            steps.push(Step { line: number, command: curl, expected: Vec::new() });
        } else {
            let step = steps.last_mut().ok_or_else(|| format!("line {number}: output before any command"))?;
            step.expected.push(line.trim_end().into());
        }
    }
    Ok(steps)
}

impl Curl {
    fn parse(command: &str) -> Result<Self, String> {
        let mut words = words(command)?.into_iter();
        if words.next().as_deref() != Some("curl") {
            return Err("only curl commands can be replayed".into());
        }
        let mut curl = Self::default();
        while let Some(word) = words.next() {
            let mut argument = || words.next().ok_or_else(|| format!("{word} wants an argument"));
            match word.as_str() {
                "-i" => curl.include_head = true,
                "-X" => curl.method = Some(argument()?),
                "-d" => curl.body = Some(argument()?),
                "-H" => {
                    let header = argument()?;
                    let (name, value) = header.split_once(':').ok_or("a header has a colon")?;
                    curl.headers.push((name.trim().into(), value.trim().into()));
                }
                url => {
                    let path = url.strip_prefix("http://").unwrap_or(url).strip_prefix(DOCUMENTED_ADDRESS);
                    curl.path = path.ok_or_else(|| format!("not a URL of {DOCUMENTED_ADDRESS}: {url}"))?.into();
                }
            }
        }
        if curl.path.is_empty() { Err("there is no path".into()) } else { Ok(curl) }
    }

    fn run(&self, client: &Client) -> Answer {
        let method = self.method.as_deref().unwrap_or(if self.body.is_some() { "POST" } else { "GET" });
        let mut headers: Vec<_> = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let named = |(name, _): &(&str, &str)| name.eq_ignore_ascii_case("content-type");
        if self.body.is_some() && !headers.iter().any(named) {
            headers.push(("content-type", "application/x-www-form-urlencoded"));
        }
        let method = Method::from_bytes(method.as_bytes()).expect("a method is one word");
        client.send(method, &self.path, &headers, self.body.as_deref().unwrap_or_default())
    }
}

impl Step {
    fn compare(&self, answer: &Answer) -> Result<(), String> {
        let mut expected = self.expected.as_slice();
        if self.command.include_head {
            let end = expected.iter().position(String::is_empty).ok_or("an empty line ends the head")?;
            compare_head(&expected[..end], answer)?;
            expected = &expected[end + 1..];
        }
        while let [rest @ .., last] = expected
            && last.is_empty()
        {
            expected = rest;
        }
        let body = String::from_utf8_lossy(&answer.body);
        let printed: Vec<&str> = body.trim_end().lines().collect();
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        match matches(&expected, &printed, &|pattern| *pattern == "...", &|pattern, line| line_matches(pattern, line)) {
            true => Ok(()),
            false => Err(format!("expected\n{}\nbut the answer is\n{body}", expected.join("\n"))),
        }
    }
}

fn compare_head(expected: &[String], answer: &Answer) -> Result<(), String> {
    let reason = StatusCode::from_u16(answer.status).ok().and_then(|status| status.canonical_reason());
    let status = format!("HTTP/1.1 {} {}", answer.status, reason.unwrap_or_default());
    let (first, headers) = expected.split_first().ok_or("a head has a status line")?;
    if !line_matches(first, &status) {
        return Err(format!("expected {first} but the answer begins with {status}"));
    }
    for header in headers {
        let (name, pattern) = header.split_once(": ").ok_or_else(|| format!("no header: {header}"))?;
        let mut values = answer.headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
        if !values.any(|value| line_matches(pattern, &value)) {
            return Err(format!("expected the header {header} but the answer has {:?}", answer.headers));
        }
    }
    Ok(())
}

fn line_matches(pattern: &str, line: &str) -> bool {
    let mut parts = pattern.split("...");
    let Some(mut rest) = parts.next().and_then(|first| line.strip_prefix(first)) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    true
}

/// Returns whether items match patterns one by one, where some patterns stand for any number of items.
fn matches<P, T>(patterns: &[P], items: &[T], is_any: &dyn Fn(&P) -> bool, is_one: &dyn Fn(&P, &T) -> bool) -> bool {
    match patterns.split_first() {
        None => items.is_empty(),
        Some((first, rest)) if is_any(first) => {
            (0..=items.len()).any(|skipped| matches(rest, &items[skipped..], is_any, is_one))
        }
        Some((first, rest)) => {
            items.split_first().is_some_and(|(item, items)| is_one(first, item) && matches(rest, items, is_any, is_one))
        }
    }
}

/// Splits words as a shell would, with both kinds of quotes; no escapes, variables or globs.
fn words(line: &str) -> Result<Vec<String>, String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for character in line.chars() {
        match (quote, character) {
            (Some(open), _) if character == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (None, ' ') => words.extend(word.take()),
            (None, '\\' | '$' | '`' | '*' | ';' | '|' | '&' | '>' | '<') => return Err(format!("quote `{character}`")),
            (_, _) => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    if quote.is_some() { Err("a quote is not closed".into()) } else { Ok(words) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        let headers = [("content-type", "text/plain"), ("location", "/notes/1")];
        let headers = headers.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        Answer { status, headers: headers.into_iter().collect(), body: body.into() }
    }

    fn step(document: &str) -> Step {
        parse(&format!("```console\n{document}\n```")).unwrap().remove(0)
    }

    #[test]
    fn only_console_blocks_are_transcripts() {
        let document = "$ not this\n```sh\ncurl x\n```\n```console\n$ curl 127.0.0.1:8787/a/b\n1\n$ curl -d '{\"a\": \"b c\"}' \\\n  \
                        -H 'x: y' http://127.0.0.1:8787/a?b\n```\n1\n```console\n$ curl -i -X PUT 127.0.0.1:8787/\n```";
        let steps = parse(document).unwrap();
        let curl = Curl { path: "/a/b".into(), ..Curl::default() };
        assert_eq!(steps[0], Step { line: 6, command: curl, expected: vec!["1".into()] });
        let headers = vec![("x".into(), "y".into())];
        let body = Some("{\"a\": \"b c\"}".into());
        assert_eq!(steps[1].command, Curl { path: "/a?b".into(), headers, body, ..Curl::default() });
        let method = Some("PUT".into());
        assert_eq!(steps[2].command, Curl { path: "/".into(), method, include_head: true, ..Curl::default() });
        assert_eq!(steps.len(), 3);
    }

    #[test]
    fn what_cannot_be_replayed_is_an_error() {
        for (command, why) in [
            ("wget 127.0.0.1:8787/a", "only curl"),
            ("curl", "no path"),
            ("curl -X", "wants an argument"),
            ("curl --frobnicate 127.0.0.1:8787/a", "not a URL"),
            ("curl 127.0.0.1:1234/a", "not a URL"),
            ("curl 127.0.0.1:8787/a?b&c", "quote `&`"),
            ("curl '127.0.0.1:8787/a", "not closed"),
        ] {
            let error = parse(&format!("```console\n$ {command}\n```")).unwrap_err();
            assert!(error.contains(why) && error.starts_with("line 2"), "{error}");
        }
        assert!(parse("```console\n1\n```").unwrap_err().contains("before any command"));
    }

    #[test]
    fn bodies_are_compared_line_by_line() {
        for (expected, body, same) in [
            ("1", "1", true),
            ("1", "1\n", true),
            ("1", "2", false),
            ("1", "1\n2", false),
            ("a...c", "abc", true),
            ("a...b...d", "a1b2d", true),
            ("a...b...d", "a1c2d", false),
            ("...b", "abc", false),
            ("...", "", true),
            ("a\n...\nd", "a\nb\nc\nd", true),
            ("a\n...\nd", "a\nb\nc", false),
            ("", "", true),
            ("", "x", false),
        ] {
            let step = step(&format!("$ curl 127.0.0.1:8787/a\n{expected}"));
            assert_eq!(step.compare(&answer(200, body)).is_ok(), same, "{expected:?} {body:?}");
        }
    }

    #[test]
    fn heads_are_compared_as_far_as_they_are_shown() {
        for (head, same) in [
            ("HTTP/1.1 201 Created\n", true),
            ("HTTP/1.1 201 Created\nlocation: /notes/1\n", true),
            ("HTTP/1.1 201 Created\nLocation: /notes/...\n", true),
            ("HTTP/1.1 200 OK\n", false),
            ("HTTP/1.1 201 Created\nlocation: /notes/2\n", false),
            ("HTTP/1.1 201 Created\nallow: ...\n", false),
            ("HTTP/1.1 201 Created", false),
        ] {
            let step = step(&format!("$ curl -i 127.0.0.1:8787/a\n{head}\nbody"));
            assert_eq!(step.compare(&answer(201, "body")).is_ok(), same, "{head}");
        }
    }
}
