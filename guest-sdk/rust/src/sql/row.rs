//! Rows, and reading them as types: a serde deserializer over one row's columns.

use std::fmt::Display;
use std::iter;
use std::rc::Rc;

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{self, DeserializeOwned, Deserializer, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;

use super::{SqlError, Value};

/// One row of a result, as SQLite has it.
///
/// ```no_run
/// # use holdfast::prelude::*;
/// # use holdfast::sql::Value;
/// # fn f(ctx: &Context) -> Result<()> {
/// for row in ctx.sql().exec("SELECT * FROM book", [])? {
///     let row = row?;
///     if row.get("price") == Some(&Value::Null) {
///         info!("no price: {:?}", row.values());
///     }
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    columns: Rc<[String]>,
    values: Vec<Value>,
}

impl Row {
    pub(crate) fn new(columns: Rc<[String]>, values: Vec<Value>) -> Self {
        Self { columns, values }
    }

    /// The names of the columns.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The values in the order of the columns.
    pub fn values(&self) -> &[Value] {
        &self.values
    }

    /// The values in the order of the columns, without a copy.
    pub fn into_values(self) -> Vec<Value> {
        self.values
    }

    /// The value of a column; `None` if there is no column of this name, and the first if there are several.
    pub fn get(&self, column: &str) -> Option<&Value> {
        self.values.get(self.columns.iter().position(|name| name == column)?)
    }

    /// The row as a value of a [type](super::Sql#rows-as-types).
    ///
    /// # Errors
    /// [`SqlError::Decode`] if it is not what the type wants.
    pub fn to<T: DeserializeOwned>(self) -> Result<T, SqlError> {
        let names = self.columns.iter().map(String::as_str);
        T::deserialize(Fields { width: self.columns.len(), names, values: self.values.into_iter() })
    }
}

/// The names and the values of one row's columns, as they come.
pub(super) struct Fields<N, I> {
    /// How many there are.
    pub width: usize,
    pub names: N,
    pub values: I,
}

impl<'c, N: Iterator<Item = &'c str>, I: Iterator<Item = Value>> Fields<N, I> {
    fn cells(self) -> impl Iterator<Item = Cell<'c>> {
        self.names.zip(self.values).map(|(column, value)| Cell { column, value })
    }

    /// The only value, for types that are neither structs nor sequences.
    fn only(self) -> Result<Cell<'c>, SqlError> {
        let width = self.width;
        let only = self.cells().next().filter(|_| width == 1);
        only.ok_or_else(|| {
            de::Error::custom(format_args!("{width} columns for a type that takes one; use a struct or a tuple"))
        })
    }
}

/// Reads the only column.
macro_rules! only {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SqlError> {
            self.only()?.$method(visitor)
        })*
    };
}

/// Reads columns by position.
macro_rules! sequence {
    ($($method:ident($($argument:ty),*))*) => {
        $(fn $method<V: Visitor<'de>>(self, $(_: $argument,)* visitor: V) -> Result<V::Value, SqlError> {
            SeqDeserializer::new(self.cells()).deserialize_any(visitor)
        })*
    };
}

impl<'de, 'c, N: Iterator<Item = &'c str>, I: Iterator<Item = Value>> Deserializer<'de> for Fields<N, I> {
    type Error = SqlError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SqlError> {
        MapDeserializer::new(self.cells().map(|cell| (cell.column, cell))).deserialize_any(visitor)
    }

    only! {
        deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128 deserialize_f32 deserialize_f64
        deserialize_char deserialize_str deserialize_string deserialize_bytes deserialize_byte_buf
    }

    /// `Vec<u8>` and `Vec<T>` ask for the same; of a single BLOB the bytes are meant.
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SqlError> {
        if self.width != 1 {
            let width = self.width;
            return self.deserialize_tuple(width, visitor);
        }
        match self.only()? {
            blob @ Cell { value: Value::Blob(_), .. } => blob.deserialize_seq(visitor),
            cell => SeqDeserializer::new(iter::once(cell)).deserialize_any(visitor),
        }
    }

    sequence! {
        deserialize_tuple(usize)
        deserialize_tuple_struct(&'static str, usize)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SqlError> {
        match self.width {
            1 => self.only()?.deserialize_option(visitor),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, SqlError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, SqlError> {
        self.only()?.deserialize_enum(name, variants, visitor)
    }

    forward_to_deserialize_any! { unit unit_struct map struct identifier ignored_any }
}

/// One value of a row with its column's name, which its errors tell.
struct Cell<'c> {
    column: &'c str,
    value: Value,
}

impl Cell<'_> {
    fn named<T>(column: &str, result: Result<T, SqlError>) -> Result<T, SqlError> {
        result.map_err(|error| match error {
            SqlError::Decode(reason) => SqlError::Decode(format!("column `{column}`: {reason}")),
            other => other,
        })
    }
}

impl<'de, 'c> IntoDeserializer<'de, SqlError> for Cell<'c> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Cell<'_> {
    type Error = SqlError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SqlError> {
        let result = match self.value {
            Value::Null => visitor.visit_unit(),
            Value::Integer(value) => visitor.visit_i64(value),
            Value::Real(value) => visitor.visit_f64(value),
            Value::Text(value) => visitor.visit_string(value),
            Value::Blob(value) => visitor.visit_byte_buf(value),
        };
        Self::named(self.column, result)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SqlError> {
        match self.value {
            Value::Integer(value @ (0 | 1)) => visitor.visit_bool(value == 1),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SqlError> {
        match self.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, SqlError> {
        visitor.visit_newtype_struct(self)
    }

    /// `Vec<u8>` asks for a sequence.
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SqlError> {
        match self.value {
            Value::Blob(bytes) => {
                let result = SeqDeserializer::new(bytes.into_iter()).deserialize_any(visitor);
                Self::named(self.column, result)
            }
            _ => self.deserialize_any(visitor),
        }
    }

    /// `[u8; N]` asks for a tuple.
    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, SqlError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, SqlError> {
        match self.value {
            Value::Text(variant) => {
                let result =
                    IntoDeserializer::<SqlError>::into_deserializer(variant).deserialize_enum(name, variants, visitor);
                Self::named(self.column, result)
            }
            _ => self.deserialize_any(visitor),
        }
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        tuple_struct map struct identifier ignored_any
    }
}

impl de::Error for SqlError {
    fn custom<T: Display>(reason: T) -> Self {
        Self::Decode(reason.to_string())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;
    use crate::params;

    fn row<const N: usize>(columns: [&str; N], values: [Value; N]) -> Row {
        Row::new(columns.map(str::to_owned).into(), values.into())
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Note {
        id: i64,
        title: String,
        done: bool,
        rating: Option<f64>,
        kind: Kind,
        raw: Vec<u8>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Kind {
        Plain,
    }

    #[test]
    fn a_struct_takes_columns_by_name() {
        let row = row(
            ["raw", "kind", "extra", "rating", "done", "title", "id"],
            params![[1u8, 2], "plain", "skipped", None::<f64>, true, "a", i64::MAX],
        );
        let note =
            Note { id: i64::MAX, title: "a".into(), done: true, rating: None, kind: Kind::Plain, raw: vec![1, 2] };
        assert_eq!(row.to::<Note>().unwrap(), note);
    }

    #[test]
    fn tuples_and_lists_take_columns_by_position() {
        let pair = || row(["same", "same"], params![1, "b"]);
        assert_eq!(pair().to::<(u8, String)>().unwrap(), (1, "b".into()));
        assert_eq!(row(["a", "b"], params![1, 2]).to::<Vec<i64>>().unwrap(), [1, 2]);
        assert!(pair().to::<(u8, String, u8)>().is_err());
        assert!(pair().to::<(u8,)>().is_err());
    }

    #[test]
    fn anything_else_is_the_only_column() {
        let only = |value: Value| row(["x"], [value]);
        assert_eq!(only(7.into()).to::<u64>().unwrap(), 7);
        assert_eq!(only(7.into()).to::<f64>().unwrap(), 7.0);
        assert_eq!(only(Value::Null).to::<Option<String>>().unwrap(), None);
        assert_eq!(only("a".into()).to::<Option<String>>().unwrap(), Some("a".into()));
        assert_eq!(only("plain".into()).to::<Kind>().unwrap(), Kind::Plain);
        assert_eq!(
            row(["a", "b"], params![1, 2]).to::<i64>().unwrap_err(),
            SqlError::Decode("2 columns for a type that takes one; use a struct or a tuple".into())
        );
    }

    #[test]
    fn a_map_has_the_names_of_the_columns() {
        let map: BTreeMap<String, i64> = row(["a", "b"], params![1, 2]).to().unwrap();
        assert_eq!(map, BTreeMap::from([("a".into(), 1), ("b".into(), 2)]));
    }

    #[test]
    fn errors_name_the_column() {
        let fails = |value: Value| row(["id", "n"], [1.into(), value]).to::<(i64, u8)>().unwrap_err().to_string();
        assert_eq!(
            fails("x".into()),
            "a row does not fit its type: column `n`: invalid type: string \"x\", expected u8"
        );
        assert_eq!(
            fails(256.into()),
            "a row does not fit its type: column `n`: invalid value: integer `256`, expected u8"
        );
        assert!(fails(Value::Null).contains("column `n`: invalid type: unit value"));
    }

    #[test]
    fn blobs_are_bytes() {
        #[derive(Deserialize)]
        struct File {
            data: [u8; 2],
        }
        let data = || row(["data"], params![b"hi"]);
        assert_eq!(data().to::<Vec<u8>>().unwrap(), b"hi");
        assert_eq!(data().to::<Option<Vec<u8>>>().unwrap().unwrap(), b"hi");
        assert_eq!(data().to::<(Vec<u8>,)>().unwrap().0, b"hi");
        assert_eq!(data().to::<File>().unwrap().data, *b"hi");
        assert_eq!(row(["data"], params![[0u8; 0]]).to::<Vec<u8>>().unwrap(), b"");
        assert_eq!(row(["a", "b"], params![b"hi", b"ho"]).to::<Vec<Vec<u8>>>().unwrap(), [b"hi", b"ho"]);
    }

    #[test]
    fn a_struct_refuses_columns_of_the_same_name() {
        #[derive(Debug, Deserialize)]
        struct Pair {
            #[expect(dead_code, reason = "never made")]
            id: i64,
        }
        let error = row(["id", "id"], params![1, 2]).to::<Pair>().unwrap_err();
        assert_eq!(error, SqlError::Decode("duplicate field `id`".into()));
    }

    #[test]
    fn integers_are_exact() {
        for exact in [i64::MIN, -1, (1 << 53) + 1, i64::MAX] {
            assert_eq!(row(["n"], params![exact]).to::<i64>().unwrap(), exact);
        }
    }
}
