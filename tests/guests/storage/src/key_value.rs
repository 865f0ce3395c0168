//! Lists of keys as JSON.

use holdfast::prelude::*;
use holdfast::serde_json::Value as Json;
use serde::Deserialize;

use crate::growth;

/// What to list, and in which order.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct List {
    pub start: Option<String>,
    pub start_after: Option<String>,
    pub end: Option<String>,
    pub prefix: Option<String>,
    #[serde(default)]
    pub reverse: bool,
    pub limit: Option<u32>,
}

/// Returns the entries.
pub fn list(ctx: &Context, list: List) -> Result<Json> {
    let entries = ctx.storage().list_bytes(list.into())?.collect::<Result<Vec<_>, _>>()?;
    Ok(json!({ "entries": texts(entries) }))
}

/// Counts the entries, and measures the memory that this takes.
pub fn scan(ctx: &Context, list: List) -> Result<Json> {
    let (entries, grown) = growth(|| {
        ctx.storage().list_bytes(list.into())?.try_fold(0_u64, |count, entry| {
            entry?;
            Ok(count + 1)
        })
    })?;
    Ok(json!({ "entries": entries, "grown": grown }))
}

/// Keys with their values as text.
pub fn texts(entries: impl IntoIterator<Item = (String, Vec<u8>)>) -> Vec<(String, String)> {
    entries.into_iter().map(|(key, value)| (key, String::from_utf8_lossy(&value).into_owned())).collect()
}

impl From<List> for ListOptions {
    fn from(list: List) -> Self {
        let mut options = ListOptions::new();
        if let Some(start) = list.start {
            options = options.start(start);
        }
        if let Some(start_after) = list.start_after {
            options = options.start_after(start_after);
        }
        if let Some(end) = list.end {
            options = options.end(end);
        }
        if let Some(prefix) = list.prefix {
            options = options.prefix(prefix);
        }
        if let Some(limit) = list.limit {
            options = options.limit(limit);
        }
        if list.reverse { options.reverse() } else { options }
    }
}
