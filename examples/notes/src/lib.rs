//! Notes, one object per tenant: a JSON API over tables in the object's own SQLite database, with full-text search.
//!
//! Tenants cannot see each other's notes because each has a database of its own; there is no tenant column to forget.

use holdfast::prelude::*;
use serde::{Deserialize, Serialize};

#[object]
struct Notes {
    ctx: Context,
}

/// The body of a request.
#[derive(Deserialize)]
struct Draft {
    title: String,
    #[serde(default)]
    body: String,
}

/// A stored note, as answers have it.
#[derive(Serialize, Deserialize)]
struct Note {
    id: i64,
    title: String,
    body: String,
}

#[derive(Deserialize)]
struct Page {
    /// The last id of the previous page.
    #[serde(default)]
    after: i64,
}

#[derive(Deserialize)]
struct Search {
    q: String,
}

/// Each object runs each of these once; a new one is added at the end.
const MIGRATIONS: &[&str] = &[
    "CREATE TABLE note (id INTEGER PRIMARY KEY AUTOINCREMENT, title TEXT NOT NULL, body TEXT NOT NULL)",
    // Search. The triggers update the index with the table; both are written by the same turn or not at all.
    "CREATE VIRTUAL TABLE note_index USING fts5 (title, body, content = 'note', content_rowid = 'id');
     CREATE TRIGGER note_inserted AFTER INSERT ON note BEGIN
         INSERT INTO note_index (rowid, title, body) VALUES (new.id, new.title, new.body);
     END;
     CREATE TRIGGER note_deleted AFTER DELETE ON note BEGIN
         INSERT INTO note_index (note_index, rowid, title, body) VALUES ('delete', old.id, old.title, old.body);
     END;
     CREATE TRIGGER note_updated AFTER UPDATE ON note BEGIN
         INSERT INTO note_index (note_index, rowid, title, body) VALUES ('delete', old.id, old.title, old.body);
         INSERT INTO note_index (rowid, title, body) VALUES (new.id, new.title, new.body);
     END;
     INSERT INTO note_index (note_index) VALUES ('rebuild'); -- notes from before the search",
];

impl Object for Notes {
    fn new(ctx: Context) -> Result<Self> {
        ctx.sql().migrate(MIGRATIONS)?;
        Ok(Self { ctx })
    }

    fn fetch(&mut self, request: Request) -> Result<Response> {
        match (request.method(), request.segments().as_slice()) {
            (&Method::GET, ["notes"]) => self.list(&request),
            (&Method::POST, ["notes"]) => self.create(&request),
            (_, ["notes"]) => Ok(not_allowed("GET, POST")),
            (method, ["notes", id]) => match (method, id.parse()) {
                (_, Err(_)) => Ok(no_note(id)),
                (&Method::GET, Ok(id)) => self.show(id),
                (&Method::PUT, Ok(id)) => self.replace(id, &request),
                (&Method::DELETE, Ok(id)) => self.delete(id),
                _ => Ok(not_allowed("GET, PUT, DELETE")),
            },
            (&Method::GET, ["search"]) => self.search(&request),
            (_, ["search"]) => Ok(not_allowed("GET")),
            _ => Ok(Response::error(StatusCode::NOT_FOUND, format!("there is no {}", request.path()))),
        }
    }
}

impl Notes {
    fn list(&self, request: &Request) -> Result<Response> {
        let page: Page = match request.query() {
            Ok(page) => page,
            Err(bad) => return Ok(bad.into()),
        };
        let sql = "SELECT id, title, body FROM note WHERE id > ? ORDER BY id LIMIT 100";
        Ok(Response::json(&self.ctx.sql().query_all::<Note>(sql, params![page.after])?))
    }

    fn create(&self, request: &Request) -> Result<Response> {
        let draft = match read_draft(request) {
            Ok(draft) => draft,
            Err(answer) => return Ok(answer),
        };
        let sql = "INSERT INTO note (title, body) VALUES (?, ?) RETURNING id, title, body";
        let note: Note = self.ctx.sql().query_one(sql, params![draft.title, draft.body])?;
        Ok(Response::json(&note)
            .with_status(StatusCode::CREATED)
            .with_header("location", format!("{}/notes/{}", request.prefix(), note.id)))
    }

    fn show(&self, id: i64) -> Result<Response> {
        let sql = "SELECT id, title, body FROM note WHERE id = ?";
        let note: Option<Note> = self.ctx.sql().query_optional(sql, params![id])?;
        Ok(note.map_or_else(|| no_note(id), |note| Response::json(&note)))
    }

    fn replace(&self, id: i64, request: &Request) -> Result<Response> {
        let draft = match read_draft(request) {
            Ok(draft) => draft,
            Err(answer) => return Ok(answer),
        };
        let sql = "UPDATE note SET title = ?, body = ? WHERE id = ? RETURNING id, title, body";
        let note: Option<Note> = self.ctx.sql().query_optional(sql, params![draft.title, draft.body, id])?;
        Ok(note.map_or_else(|| no_note(id), |note| Response::json(&note)))
    }

    fn delete(&self, id: i64) -> Result<Response> {
        match self.ctx.sql().exec("DELETE FROM note WHERE id = ?", params![id])?.changes() {
            0 => Ok(no_note(id)),
            _ => Ok(Response::new(StatusCode::NO_CONTENT)),
        }
    }

    /// Returns notes with words that begin with each word of the query, the best matches first.
    fn search(&self, request: &Request) -> Result<Response> {
        let search: Search = match request.query() {
            Ok(search) => search,
            Err(bad) => return Ok(bad.into()),
        };
        // Quoted, because a query here is a list of words and not an FTS5 expression, which could be invalid.
        let words = search.q.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
        let pattern = words.map(|word| format!("\"{word}\"*")).collect::<Vec<_>>().join(" ");
        if pattern.is_empty() {
            return Ok(Response::error(StatusCode::BAD_REQUEST, "the query `q` has no words"));
        }
        let sql = "SELECT note.id, note.title, note.body FROM note_index JOIN note ON note.id = note_index.rowid
                   WHERE note_index MATCH ? ORDER BY note_index.rank, note.id LIMIT 100";
        Ok(Response::json(&self.ctx.sql().query_all::<Note>(sql, params![pattern])?))
    }
}

/// Returns the draft in the body, or the answer to a body without one.
fn read_draft(request: &Request) -> Result<Draft, Response> {
    let draft: Draft = request.json()?;
    if draft.title.trim().is_empty() {
        return Err(Response::error(StatusCode::BAD_REQUEST, "a note needs a title"));
    }
    Ok(draft)
}

fn no_note(id: impl std::fmt::Display) -> Response {
    Response::error(StatusCode::NOT_FOUND, format!("there is no note {id}"))
}

fn not_allowed(allowed: &'static str) -> Response {
    Response::error(StatusCode::METHOD_NOT_ALLOWED, format!("only {allowed}")).with_header("allow", allowed)
}
