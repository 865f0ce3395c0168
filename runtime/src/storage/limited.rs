//! `DELETE … ORDER BY … LIMIT` and `UPDATE … ORDER BY … LIMIT`, which SQLite knows only if its parser is generated for
//! them; the bundled one is not.
//!
//! Such a statement is written anew as SQLite itself would take it apart: the rows are chosen by a subquery on the
//! table's key. `DELETE FROM t WHERE a LIMIT 2` becomes `DELETE FROM t WHERE rowid IN (SELECT rowid FROM t WHERE a
//! LIMIT 2)`. Asked only about statements that SQLite refused at `ORDER` or `LIMIT`, so that nothing else pays for it.
//!
//! This reads tokens, not expressions: clauses are found by their keywords outside of parentheses. What comes out is
//! compiled under the guest's rules like any statement.

use std::collections::HashMap;
use std::fmt::Write;
use std::ops::Range;

use rusqlite::Connection;

/// A statement that means the same, and how many bytes of the text it stands for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rewritten {
    pub text: String,
    pub length: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// An identifier or keyword without quotes, or a number.
    Word,
    /// An identifier in quotes, or a text.
    Quoted,
    Parameter,
    Other(u8),
}

#[derive(Debug, Clone)]
struct Token {
    kind: Kind,
    at: Range<usize>,
    /// How many parentheses it is in.
    depth: usize,
}

/// The first statement of a text, in tokens.
struct Tokens<'a> {
    text: &'a str,
    tokens: Vec<Token>,
    /// Where the statement ends; its semicolon follows.
    end: usize,
}

/// Writes the first statement of the text anew, if it is one of these and its table can be written to by key. None:
/// SQLite's error stands.
pub(super) fn rewrite(sqlite: &Connection, text: &str) -> Option<Rewritten> {
    let tokens = Tokens::of(text);
    let clauses = Clauses::of(&tokens)?;
    let key = key(sqlite, &clauses.table)?;
    Some(Rewritten { text: clauses.rewritten(&tokens, &key), length: tokens.end })
}

impl<'a> Tokens<'a> {
    fn of(text: &'a str) -> Self {
        let (mut tokens, mut depth, mut at) = (Vec::new(), 0_usize, 0);
        while let Some((kind, length)) = token(&text[at..]) {
            let range = at..at + length;
            match kind {
                Some(Kind::Other(b';')) if depth == 0 => break,
                Some(Kind::Other(b')')) => depth = depth.saturating_sub(1),
                _ => {}
            }
            tokens.extend(kind.map(|kind| Token { kind, at: range, depth }));
            if kind == Some(Kind::Other(b'(')) {
                depth += 1;
            }
            at += length;
        }
        Self { text, tokens, end: at }
    }

    fn word(&self, n: usize) -> Option<&'a str> {
        let token = self.tokens.get(n).filter(|token| token.kind == Kind::Word)?;
        Some(&self.text[token.at.clone()])
    }

    fn is(&self, n: usize, word: &str) -> bool {
        self.word(n).is_some_and(|found| found.eq_ignore_ascii_case(word))
    }

    /// The first of these words outside of parentheses, from a token on.
    fn find(&self, from: usize, words: &[&str]) -> Option<usize> {
        (from..self.tokens.len()).find(|n| self.tokens[*n].depth == 0 && words.iter().any(|word| self.is(*n, word)))
    }

    /// A name, without its quotes.
    fn name(&self, n: usize) -> Option<String> {
        let token = self.tokens.get(n)?;
        let text = &self.text[token.at.clone()];
        match token.kind {
            Kind::Word => Some(text.into()),
            Kind::Quoted => {
                let quote = text.chars().next()?;
                let inner = text.get(1..text.len().checked_sub(1)?)?;
                Some(if quote == '[' {
                    inner.into()
                } else {
                    inner.replace(&format!("{quote}{quote}"), &quote.to_string())
                })
            }
            _ => None,
        }
    }

    fn start(&self, n: usize) -> usize {
        self.tokens.get(n).map_or(self.end, |token| token.at.start)
    }
}

/// Where the parts of a statement are, in tokens.
struct Clauses {
    /// The table with its alias.
    target: Range<usize>,
    /// The same with what is said of its index.
    indexed: Range<usize>,
    table: String,
    /// From `WHERE` on.
    condition: Range<usize>,
    returning: Range<usize>,
    /// `ORDER BY … LIMIT …`
    limit: Range<usize>,
}

impl Clauses {
    fn of(tokens: &Tokens<'_>) -> Option<Self> {
        let verb =
            tokens.find(0, &["SELECT", "VALUES", "INSERT", "REPLACE", "CREATE", "EXPLAIN", "DELETE", "UPDATE"])?;
        let (begin, head_end) = if tokens.is(verb, "DELETE") {
            (verb + 2, None)
        } else if tokens.is(verb, "UPDATE") {
            let begin = if tokens.is(verb + 1, "OR") { verb + 3 } else { verb + 1 };
            (begin, Some(tokens.find(begin, &["SET"])?))
        } else {
            return None;
        };
        let total = tokens.tokens.len();
        let after = head_end.unwrap_or(begin);
        let limit = tokens.find(after, &["ORDER", "LIMIT"])?;
        let returning = tokens.find(after, &["RETURNING"]).filter(|n| *n < limit).unwrap_or(limit);
        let condition = tokens.find(after, &["WHERE"]).filter(|n| *n < returning).unwrap_or(returning);
        if let Some(set) = head_end {
            // Rows of another table would decide how often a row counts.
            let from = (set..condition).find(|n| tokens.tokens[*n].depth == 0 && tokens.is(*n, "FROM"));
            if from.is_some_and(|from| !tokens.is(from - 1, "DISTINCT")) {
                return None;
            }
        }
        let indexed = begin..head_end.unwrap_or(condition);
        let target_end = tokens.find(begin, &["INDEXED", "NOT"]).filter(|n| *n < indexed.end).unwrap_or(indexed.end);
        let qualified = matches!(tokens.tokens.get(begin + 1), Some(token) if token.kind == Kind::Other(b'.'));
        let table = tokens.name(if qualified { begin + 2 } else { begin })?;
        Some(Self {
            target: begin..target_end,
            indexed,
            table,
            condition: condition..returning,
            returning: returning..limit,
            limit: limit..total,
        })
    }

    fn rewritten(&self, tokens: &Tokens<'_>, key: &[String]) -> String {
        let names = Parameters::of(tokens);
        let part = |range: &Range<usize>| names.written(tokens, range);
        let keys = key.join(", ");
        let outer = if key.len() == 1 { keys.clone() } else { format!("({keys})") };
        let head = part(&(0..self.target.end));
        let set = part(&(self.indexed.end..self.condition.start));
        format!(
            "{head} {set} WHERE {outer} IN (SELECT {keys} FROM {} {} {}) {}",
            part(&self.indexed),
            part(&self.condition),
            part(&self.limit),
            part(&self.returning),
        )
    }
}

/// The numbers that parameters have, by the order in which the statement names them.
struct Parameters(HashMap<usize, u32>);

impl Parameters {
    fn of(tokens: &Tokens<'_>) -> Self {
        let (mut numbers, mut named, mut most) = (HashMap::new(), HashMap::new(), 0_u32);
        for token in tokens.tokens.iter().filter(|token| token.kind == Kind::Parameter) {
            let text = &tokens.text[token.at.clone()];
            let number = match text.strip_prefix('?') {
                Some("") => most.saturating_add(1),
                Some(number) => number.parse().unwrap_or(u32::MAX),
                None => *named.entry(text).or_insert(most.saturating_add(1)),
            };
            most = most.max(number);
            numbers.insert(token.at.start, number);
        }
        Self(numbers)
    }

    /// The text of these tokens, with numbered parameters.
    fn written(&self, tokens: &Tokens<'_>, range: &Range<usize>) -> String {
        let mut text = String::new();
        let mut at = tokens.start(range.start);
        for token in tokens.tokens.get(range.clone()).unwrap_or_default() {
            text.push_str(&tokens.text[at..token.at.start]);
            match self.0.get(&token.at.start) {
                Some(number) => _ = write!(text, "?{number}"),
                None => text.push_str(&tokens.text[token.at.clone()]),
            }
            at = token.at.end;
        }
        text
    }
}

/// What a token is, and how long; no kind for blanks and comments.
fn token(text: &str) -> Option<(Option<Kind>, usize)> {
    let bytes = text.as_bytes();
    let first = *bytes.first()?;
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$') || *byte >= 0x80;
    let word = |from: usize| from + bytes[from..].iter().take_while(|byte| is_word(byte)).count();
    let until = |end: &str, from: usize| text[from..].find(end).map_or(text.len(), |at| from + at + end.len());
    Some(match first {
        b' ' | b'\t' | b'\n' | b'\r' | b'\x0c' => (None, 1),
        b'-' if bytes.get(1) == Some(&b'-') => (None, until("\n", 2)),
        b'/' if bytes.get(1) == Some(&b'*') => (None, until("*/", 2)),
        b'\'' | b'"' | b'`' => (Some(Kind::Quoted), quoted(bytes, first)),
        b'[' => (Some(Kind::Quoted), until("]", 1)),
        b'?' => (Some(Kind::Parameter), 1 + bytes[1..].iter().take_while(|byte| byte.is_ascii_digit()).count()),
        b':' | b'@' | b'$' | b'#' => (Some(Kind::Parameter), word(1)),
        _ if is_word(&first) => (Some(Kind::Word), word(0)),
        _ => (Some(Kind::Other(first)), 1),
    })
}

/// The length of what is in these quotes, a doubled one standing for itself.
fn quoted(bytes: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < bytes.len() {
        at += 1;
        if bytes[at - 1] == quote {
            if bytes.get(at) != Some(&quote) {
                break;
            }
            at += 1;
        }
    }
    at
}

/// What names a row of the table: a name of the rowid that no column has, or the columns of the primary key.
fn key(sqlite: &Connection, table: &str) -> Option<Vec<String>> {
    let kind = "SELECT type, wr FROM pragma_table_list WHERE schema = 'main' AND name = ?1 COLLATE NOCASE";
    let (kind, without_rowid): (String, bool) =
        sqlite.prepare_cached(kind).ok()?.query_row([table], |row| Ok((row.get(0)?, row.get(1)?))).ok()?;
    if kind == "view" {
        return None;
    }
    let mut statement = sqlite.prepare_cached("SELECT name, pk FROM pragma_table_xinfo(?1) ORDER BY pk").ok()?;
    let columns = statement.query_map([table], |row| Ok((row.get(0)?, row.get(1)?))).ok()?;
    let columns: Vec<(String, u32)> = columns.collect::<Result<_, _>>().ok()?;
    if without_rowid {
        let quoted = |name: &String| format!("\"{}\"", name.replace('"', "\"\""));
        return Some(columns.iter().filter(|(_, pk)| *pk > 0).map(|(name, _)| quoted(name)).collect());
    }
    let free = |name: &&str| columns.iter().all(|(column, _)| !column.eq_ignore_ascii_case(name));
    ["rowid", "_rowid_", "oid"].into_iter().find(free).map(|name| vec![name.into()])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(text: &str) -> Option<String> {
        let sqlite = Connection::open_in_memory().unwrap();
        sqlite
            .execute_batch(
                "CREATE TABLE t (a, b); CREATE TABLE w (k, l, v, PRIMARY KEY (l, k)) WITHOUT ROWID;
                 CREATE TABLE \"a b\" (rowid, x); CREATE VIEW view AS SELECT 1 AS a",
            )
            .unwrap();
        let rewritten = rewrite(&sqlite, text)?;
        let mut spaces = rewritten.text.split_whitespace().collect::<Vec<_>>().join(" ");
        spaces.push_str(&text[rewritten.length..]);
        Some(spaces)
    }

    #[test]
    fn a_statement_means_the_same_without_limit() {
        crate::storage::connection::configure_process();
        for (text, right) in [
            ("DELETE FROM t LIMIT 2; SELECT 1", "DELETE FROM t WHERE rowid IN (SELECT rowid FROM t LIMIT 2); SELECT 1"),
            (
                "delete from main.t as x not indexed where a = ? and b in (select 1 limit 1) returning ?, :c order by :c limit ?2 offset ?",
                "delete from main.t as x WHERE rowid IN (SELECT rowid FROM main.t as x not indexed where a = ?1 and b in \
                 (select 1 limit 1) order by ?3 limit ?2 offset ?4) returning ?2, ?3",
            ),
            (
                "WITH c AS (DELETE) UPDATE OR IGNORE w SET v = 'ORDER BY' WHERE k IS NOT DISTINCT FROM 1 -- LIMIT\n LIMIT 1",
                "WITH c AS (DELETE) UPDATE OR IGNORE w SET v = 'ORDER BY' WHERE (\"l\", \"k\") IN (SELECT \"l\", \"k\" FROM w \
                 WHERE k IS NOT DISTINCT FROM 1 LIMIT 1)",
            ),
            (
                "UPDATE \"a b\" SET x = x IS DISTINCT FROM 1 ORDER BY x",
                "UPDATE \"a b\" SET x = x IS DISTINCT FROM 1 WHERE _rowid_ IN (SELECT _rowid_ FROM \"a b\" ORDER BY x)",
            ),
        ] {
            assert_eq!(rewritten(text).as_deref(), Some(right));
        }
    }

    #[test]
    fn what_cannot_be_written_anew_is_left() {
        crate::storage::connection::configure_process();
        for text in [
            "DELETE FROM t",
            "DELETE FROM none LIMIT 1",
            "DELETE FROM view LIMIT 1",
            "UPDATE t SET a = 1 FROM w LIMIT 1",
            "INSERT INTO t SELECT 1 ON CONFLICT DO UPDATE SET a = 1 LIMIT 1",
            "SELECT 1 ORDER",
            "DELETE FROM",
            "UPDATE",
            "DELETE FROM '",
            "LIMIT",
        ] {
            assert_eq!(rewritten(text), None, "{text}");
        }
    }
}
