//! The guest log for operators: as a list, or followed live as server-sent events.
//!
//! A follower receives the history, then new entries. One that reads too slowly receives the number of entries that it
//! missed: of its class, or of all classes if it follows all (they were dropped before they could be filtered by
//! object). A stream ends when the server stops.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, stream};
use serde::Deserialize;
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio::sync::watch;

use crate::base::logs::{GuestLogs, LogEntry};

/// The interval of keep-alive comments in a silent stream, so that no proxy closes it.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The query of `GET /v1/logs`: which entries to return, and whether to follow new ones.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogsQuery {
    class: Option<String>,
    object: Option<String>,
    #[serde(default)]
    pub follow: bool,
}

impl LogsQuery {
    fn admits(&self, entry: &LogEntry) -> bool {
        self.class.as_ref().is_none_or(|class| *class == entry.class)
            && self.object.as_ref().is_none_or(|object| *object == entry.object)
    }
}

/// Returns the matching entries of the history, oldest first.
pub fn remembered(logs: &GuestLogs, query: &LogsQuery) -> Vec<Arc<LogEntry>> {
    let mut entries = logs.remembered(query.class.as_deref());
    entries.retain(|entry| query.admits(entry));
    entries
}

/// Returns a stream of the matching entries of the history and new ones, until the server stops.
pub fn follow(logs: &GuestLogs, query: LogsQuery, stopping: watch::Receiver<bool>) -> Response {
    let (mut history, live) = logs.follow(query.class.as_deref());
    history.retain(|entry| query.admits(entry));
    let history = stream::iter(history).map(|entry| event_of(&entry));
    let live = stream::unfold((live, query, stopping), |(mut live, query, mut stopping)| async move {
        let event = next(&mut live, &query, &mut stopping).await?;
        Some((event, (live, query, stopping)))
    });
    let events = history.chain(live).map(Ok::<_, Infallible>);
    Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response()
}

/// Returns the next event; none when the server stops.
async fn next(
    live: &mut Receiver<Arc<LogEntry>>,
    query: &LogsQuery,
    stopping: &mut watch::Receiver<bool>,
) -> Option<Event> {
    loop {
        let received = tokio::select! {
            biased;
            _ = stopping.wait_for(|stopping| *stopping) => return None,
            received = live.recv() => received,
        };
        match received {
            Ok(entry) if query.admits(&entry) => return Some(event_of(&entry)),
            Ok(_) => {}
            Err(RecvError::Lagged(missed)) => {
                return Some(Event::default().event("missed").data(format!(r#"{{"missed":{missed}}}"#)));
            }
            Err(RecvError::Closed) => return None,
        }
    }
}

fn event_of(entry: &LogEntry) -> Event {
    Event::default().data(serde_json::to_string(entry).expect("an entry has a JSON form"))
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;
    use crate::base::limits::LOG_HISTORY_ENTRIES;
    use crate::base::logs::Level;
    use crate::base::{ClassKey, HostMemory};

    fn entry(class: &str, object: &str, message: &str) -> LogEntry {
        let (key, class, object, message) = (ClassKey::new(class), class.into(), object.into(), message.into());
        LogEntry { time: 5, class, key, object, call: None, level: Level::Info, message, fields: Vec::new() }
    }

    fn logs() -> GuestLogs {
        GuestLogs::new(HostMemory::new(1 << 30))
    }

    fn asked(class: Option<&str>, object: Option<&str>) -> LogsQuery {
        LogsQuery { class: class.map(Into::into), object: object.map(Into::into), follow: true }
    }

    #[test]
    fn a_list_is_filtered() {
        let logs = logs();
        for (class, object) in [("a", "x"), ("a", "y"), ("b", "x")] {
            logs.add(entry(class, object, "m"));
        }
        let count = |class, object| remembered(&logs, &asked(class, object)).len();
        assert_eq!((count(None, None), count(Some("a"), None), count(None, Some("x"))), (3, 2, 2));
        assert_eq!((count(Some("a"), Some("x")), count(Some("c"), None)), (1, 0));
    }

    /// Returns the complete text of a stream; `meanwhile` runs after the stream has begun, then the server stops.
    async fn streamed(logs: &GuestLogs, query: LogsQuery, meanwhile: impl FnOnce()) -> String {
        let (stop, stopping) = watch::channel(false);
        let mut body = follow(logs, query, stopping).into_body();
        meanwhile();
        let mut text = Vec::new();
        // Reads what is available; the first wait means that the server may stop.
        loop {
            let frame = tokio::select! { biased; frame = body.frame() => frame, () = std::future::ready(()) => break };
            text.extend_from_slice(frame.unwrap().unwrap().data_ref().unwrap());
        }
        stop.send(true).unwrap();
        assert!(body.frame().await.is_none(), "the stream ends with the server");
        String::from_utf8(text).unwrap()
    }

    #[tokio::test]
    async fn a_stream_is_history_then_live() {
        let logs = logs();
        logs.add(entry("a", "x", "before"));
        logs.add(entry("b", "x", "other"));
        let text = streamed(&logs, asked(Some("a"), None), || {
            logs.add(entry("b", "x", "other"));
            logs.add(entry("a", "x", "two\nlines"));
        });
        let event = |message| {
            format!(r#"data: {{"time":5,"class":"a","object":"x","level":"info","message":"{message}"}}"#) + "\n\n"
        };
        assert_eq!(text.await, event("before") + &event(r"two\nlines"));
    }

    #[tokio::test]
    async fn a_slow_follower_is_told_what_it_missed() {
        let logs = logs();
        let text = streamed(&logs, asked(Some("a"), Some("none")), || {
            for _ in 0..LOG_HISTORY_ENTRIES + 3 {
                logs.add(entry("a", "x", "m"));
                logs.add(entry("b", "x", "m"));
            }
        });
        assert_eq!(text.await, "event: missed\ndata: {\"missed\":3}\n\n");
    }

    #[tokio::test]
    async fn a_stream_that_begins_when_the_server_stops_ends_at_once() {
        let (_stop, stopping) = watch::channel(true);
        let body = follow(&logs(), LogsQuery::default(), stopping).into_body();
        assert!(body.collect().await.unwrap().to_bytes().is_empty());
    }
}
