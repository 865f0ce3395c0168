//! The fuzz targets of the command line; see [`crate::fuzz`].

use super::sse::Events;

/// Tests server-sent events: the reader ends, whatever the stream holds.
pub fn events(input: &[u8]) {
    for event in Events::new(input) {
        if event.is_err() {
            break;
        }
    }
}
