//! Collects the rows of a statement, as lists of values or as the bytes of `wit/packed-sql.wit`.
//!
//! A sink copies the values that SQLite keeps until the statement's next step. It enforces no limits; `sql` does.

use std::borrow::Cow;

use super::statement::{Statement, ValueRef};
use crate::base::Value;

/// Takes the rows of one statement.
pub(super) trait Sink {
    /// The names of its columns, at least one. Before all rows; not for the rows of a cursor.
    fn columns(&mut self, statement: &Statement);
    /// Another row begins, of so many columns.
    fn row(&mut self, columns: usize);
    /// The row's next value.
    fn value(&mut self, value: ValueRef<'_>);
}

/// Rows as lists.
#[derive(Default)]
pub(super) struct Lists {
    pub columns: Vec<String>,
    pub rows: Vec<Vec<Value>>,
}

impl Sink for Lists {
    fn columns(&mut self, statement: &Statement) {
        self.columns = (0..statement.columns()).map(|column| statement.column_name(column).into_owned()).collect();
    }

    fn row(&mut self, columns: usize) {
        self.rows.push(Vec::with_capacity(columns));
    }

    fn value(&mut self, value: ValueRef<'_>) {
        self.rows.last_mut().expect("a row has begun").push(value.into());
    }
}

/// Rows in one piece.
#[derive(Default)]
pub(super) struct Packed(pub Vec<u8>);

impl Packed {
    fn fixed(&mut self, tag: u8, number: [u8; 8]) {
        let mut bytes = [tag; 9];
        bytes[1..].copy_from_slice(&number);
        self.0.extend_from_slice(&bytes);
    }

    fn sized(&mut self, tag: u8, value: &[u8]) {
        let mut head = [tag; 5];
        head[1..].copy_from_slice(&(value.len() as u32).to_le_bytes());
        self.0.extend_from_slice(&head);
        self.0.extend_from_slice(value);
    }
}

impl Sink for Packed {
    fn columns(&mut self, statement: &Statement) {
        let columns = statement.columns();
        // Enough for most single rows.
        self.0.reserve(256);
        self.0.extend_from_slice(&(columns as u32).to_le_bytes());
        for column in 0..columns {
            self.value(ValueRef::Text(statement.column_name(column)));
        }
    }

    fn row(&mut self, _: usize) {}

    fn value(&mut self, value: ValueRef<'_>) {
        match value {
            ValueRef::Null => self.0.push(0),
            ValueRef::Integer(number) => self.fixed(1, number.to_le_bytes()),
            ValueRef::Real(number) => self.fixed(2, number.to_le_bytes()),
            ValueRef::Text(text) => self.sized(3, text.as_bytes()),
            ValueRef::Blob(bytes) => self.sized(4, bytes),
        }
    }
}

impl From<ValueRef<'_>> for Value {
    fn from(value: ValueRef<'_>) -> Self {
        match value {
            ValueRef::Null => Self::Null,
            ValueRef::Integer(number) => Self::Integer(number),
            ValueRef::Real(number) => Self::Real(number),
            ValueRef::Text(text) => Self::Text(Cow::into_owned(text)),
            ValueRef::Blob(bytes) => Self::Blob(bytes.into()),
        }
    }
}
