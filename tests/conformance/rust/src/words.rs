//! The words of scripts and answers.

use holdfast::prelude::*;
use holdfast::sql::Value;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};

const ENCODED: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

pub fn bad_script(line: &str) -> Error {
    Error::new("bad-script", line)
}

/// The words of a line that have not been read.
pub struct Words<'a> {
    line: &'a str,
    words: std::str::Split<'a, char>,
}

impl<'a> Words<'a> {
    pub fn of(line: &'a str) -> Self {
        Self { line, words: line.split(' ') }
    }

    pub fn next(&mut self) -> Option<&'a str> {
        self.words.next()
    }

    pub fn word(&mut self) -> Result<&'a str> {
        self.next().ok_or_else(|| self.bad())
    }

    /// Returns all words that are left, as a line.
    pub fn rest(&mut self) -> String {
        self.words.by_ref().collect::<Vec<_>>().join(" ")
    }

    pub fn bytes(&mut self) -> Result<Vec<u8>> {
        Ok(decode(self.word()?))
    }

    pub fn text(&mut self) -> Result<String> {
        text(self.word()?)
    }

    pub fn number<T: std::str::FromStr>(&mut self) -> Result<T> {
        self.word()?.parse().map_err(|_| self.bad())
    }

    pub fn texts(&mut self) -> Result<Vec<String>> {
        self.words.by_ref().map(text).collect()
    }

    pub fn values(&mut self) -> Result<Vec<Value>> {
        let line = self.line;
        self.words.by_ref().map(|word| value(word).ok_or_else(|| bad_script(line))).collect()
    }

    pub fn message(&mut self) -> Result<Message> {
        match self.word()?.split_once(':') {
            Some(("t", word)) => Ok(Message::Text(text(word)?)),
            Some(("b", word)) => Ok(Message::Binary(decode(word))),
            _ => Err(self.bad()),
        }
    }

    pub fn bad(&self) -> Error {
        bad_script(self.line)
    }
}

pub fn decode(word: &str) -> Vec<u8> {
    percent_decode_str(word).collect()
}

fn text(word: &str) -> Result<String> {
    Ok(String::from_utf8(decode(word))?)
}

pub fn encode(bytes: impl AsRef<[u8]>) -> String {
    percent_encode(bytes.as_ref(), &ENCODED).to_string()
}

fn value(word: &str) -> Option<Value> {
    let Some((kind, word)) = word.split_once(':') else { return (word == "n").then_some(Value::Null) };
    Some(match kind {
        "i" => Value::Integer(word.parse().ok()?),
        "r" => Value::Real(f64::from_bits(u64::from_str_radix(word, 16).ok()?)),
        "t" => Value::Text(text(word).ok()?),
        "b" => Value::Blob(decode(word)),
        _ => return None,
    })
}

pub fn show(value: &Value) -> String {
    match value {
        Value::Null => "n".into(),
        Value::Integer(number) => format!("i:{number}"),
        Value::Real(number) => format!("r:{:016x}", number.to_bits()),
        Value::Text(text) => format!("t:{}", encode(text)),
        Value::Blob(bytes) => format!("b:{}", encode(bytes)),
    }
}

/// Returns `some <value>` or `none`.
pub fn option(value: Option<impl AsRef<[u8]>>) -> String {
    value.map_or("none".into(), |value| format!("some {}", encode(value)))
}

/// Turns a refusal of the contract into an answer; any other error ends the turn.
pub fn refusal(error: Error) -> Result<String> {
    let Some(case) = error.case() else { return Err(error) };
    Ok(match error.downcast_ref() {
        Some(SqlError::Constraint { code, message } | SqlError::Sqlite { code, message }) => {
            format!("error {case} {code} {}", encode(message))
        }
        _ => format!("error {case}"),
    })
}
