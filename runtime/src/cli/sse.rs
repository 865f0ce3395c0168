//! A parser of server-sent events, as far as the admin API uses them: `event` and `data`. Comments and other fields are
//! skipped.

use std::io::{self, BufRead};

/// One event.
#[derive(Debug, PartialEq, Eq)]
pub struct Event {
    /// Its kind; `message` unless the server names one.
    pub kind: String,
    /// Its data; several lines are joined by newlines.
    pub data: String,
}

/// The events of a stream, until it ends. An event that the end of the stream cuts off is discarded.
pub struct Events<R>(R);

impl<R: BufRead> Events<R> {
    /// Creates a parser of a response body.
    pub fn new(reader: R) -> Self {
        Self(reader)
    }

    fn next_event(&mut self) -> io::Result<Option<Event>> {
        let (mut kind, mut data) = (None, None::<String>);
        let mut line = String::new();
        loop {
            line.clear();
            if self.0.read_line(&mut line)? == 0 {
                return Ok(None);
            }
            let line = line.trim_end_matches(['\r', '\n']);
            if line.is_empty() {
                match data.take() {
                    Some(data) => return Ok(Some(Event { kind: kind.unwrap_or_else(|| "message".into()), data })),
                    None => kind = None,
                }
                continue;
            }
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => kind = Some(value.to_owned()),
                "data" => match &mut data {
                    Some(data) => {
                        data.push('\n');
                        data.push_str(value);
                    }
                    None => data = Some(value.into()),
                },
                _ => {}
            }
        }
    }
}

impl<R: BufRead> Iterator for Events<R> {
    type Item = io::Result<Event>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_event().transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(text: &str) -> Vec<(String, String)> {
        Events::new(text.as_bytes()).map(|event| event.unwrap()).map(|event| (event.kind, event.data)).collect()
    }

    fn pair(kind: &str, data: &str) -> (String, String) {
        (kind.into(), data.into())
    }

    #[test]
    fn events_are_read_one_by_one() {
        let text = "data: {\"a\":1}\n\n: keep-alive\n\nevent: missed\ndata: {\"missed\":3}\n\ndata:x\r\n\r\n";
        assert_eq!(
            events(text),
            [pair("message", "{\"a\":1}"), pair("missed", "{\"missed\":3}"), pair("message", "x")]
        );
    }

    #[test]
    fn lines_of_data_are_joined_and_other_fields_passed_over() {
        assert_eq!(events("id: 1\nretry: 5\ndata: a\ndata\ndata: b\n\n"), [pair("message", "a\n\nb")]);
    }

    #[test]
    fn a_kind_without_data_is_forgotten() {
        assert_eq!(events("event: missed\n\ndata: a\n\n"), [pair("message", "a")]);
    }

    #[test]
    fn an_event_cut_off_is_not_one() {
        assert_eq!(events("data: a\n\ndata: b\n"), [pair("message", "a")]);
    }
}
