//! Rust values as SQL parameters: `params!` and the conversions into [`Value`]. The way back is `row`'s.

use std::borrow::Cow;

use super::Value;

/// Parameters of a statement: a list of anything that converts into a [`Value`](crate::sql::Value), of different types
/// if need be. No parameters are `[]`.
///
/// Integers up to 32 bits, `i64`, floats, `bool` (0 or 1), text, bytes and `Option`s of them convert. A `u64` does not
/// always fit SQLite's signed integers, so say what you mean: `n as i64` or `i64::try_from(n)?`.
///
/// ```
/// use holdfast::prelude::*;
/// use holdfast::sql::Value;
///
/// let (name, age) = (String::from("Ann"), Some(41));
/// assert_eq!(
///     params![7, &name, age, None::<f64>],
///     [Value::Integer(7), Value::Text("Ann".into()), Value::Integer(41), Value::Null],
/// );
/// ```
#[macro_export]
macro_rules! params {
    ($($value:expr),* $(,)?) => {
        [$($crate::sql::Value::from($value)),*]
    };
}

macro_rules! from {
    ($($type:ty => $value:ident -> $result:expr;)*) => {
        $(impl From<$type> for Value {
            fn from($value: $type) -> Self {
                $result
            }
        })*
    };
}

from! {
    bool => value -> Self::Integer(value.into());
    i8 => value -> Self::Integer(value.into());
    i16 => value -> Self::Integer(value.into());
    i32 => value -> Self::Integer(value.into());
    i64 => value -> Self::Integer(value);
    u8 => value -> Self::Integer(value.into());
    u16 => value -> Self::Integer(value.into());
    u32 => value -> Self::Integer(value.into());
    f32 => value -> Self::Real(value.into());
    f64 => value -> Self::Real(value);
    &str => value -> Self::Text(value.to_owned());
    &String => value -> Self::Text(value.clone());
    String => value -> Self::Text(value);
    Cow<'_, str> => value -> Self::Text(value.into_owned());
    &[u8] => value -> Self::Blob(value.to_vec());
    &Vec<u8> => value -> Self::Blob(value.clone());
    Vec<u8> => value -> Self::Blob(value);
}

impl<const N: usize> From<[u8; N]> for Value {
    fn from(value: [u8; N]) -> Self {
        Self::Blob(value.into())
    }
}

impl<const N: usize> From<&[u8; N]> for Value {
    fn from(value: &[u8; N]) -> Self {
        Self::Blob(value.into())
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, T::into)
    }
}
