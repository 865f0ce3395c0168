//! Arguments and results of calls: JSON outside, CBOR (RFC 8949) inside.
//!
//! Both ways are read and written piece by piece: a tree of values would take a multiple of their bytes. Arrays and
//! maps are written with their lengths, which decoders may ask for; so JSON is read twice. JSON has no form for some
//! values: integers beyond ±(2^53 − 1) are written as decimal texts, bytes as base64, numbers that are not finite as
//! their names, `undefined` as null, tagged values without their tag.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use minicbor::data::{Int, Type};
use minicbor::{Decoder, Encoder};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Levels of arrays and maps inside one another.
const DEPTH_MAX: u32 = 64;
/// Bytes of a result in JSON.
const JSON_MAX: usize = 64 << 20;
/// The largest integer that every JSON parser keeps exact.
const EXACT: i128 = (1 << 53) - 1;
/// Tags of integers that are written as bytes (RFC 8949 §3.4.3).
const BIGNUM: u64 = 2;
const NEGATIVE_BIGNUM: u64 = 3;

/// Returns arguments, an array or an object in JSON, in CBOR. Nothing is no arguments.
pub(super) fn arguments(json: &[u8]) -> Result<Vec<u8>, String> {
    match json.trim_ascii_start().first() {
        None => Ok(vec![0x80]),
        Some(b'[' | b'{') => from_json(json),
        Some(_) => Err("the arguments are an array, or an object of arguments by name".into()),
    }
}

fn from_json(json: &[u8]) -> Result<Vec<u8>, String> {
    let mut lengths = Vec::new();
    let mut reader = serde_json::Deserializer::from_slice(json);
    let counted = Counted { lengths: &mut lengths, depth: DEPTH_MAX }.deserialize(&mut reader);
    counted.and_then(|()| reader.end()).map_err(|error| error.to_string())?;
    let mut out = Encoder::new(Vec::with_capacity(json.len()));
    let mut lengths = lengths.into_iter();
    let mut reader = serde_json::Deserializer::from_slice(json);
    let written = Written { out: &mut out, lengths: &mut lengths }.deserialize(&mut reader);
    written.map_err(|error| error.to_string())?;
    Ok(out.into_writer())
}

/// Notes the lengths of arrays and maps, in the order in which they begin.
struct Counted<'a> {
    lengths: &'a mut Vec<u32>,
    depth: u32,
}

impl Counted<'_> {
    fn deeper<E: serde::de::Error>(&mut self) -> Result<Counted<'_>, E> {
        let depth = self.depth.checked_sub(1);
        let depth = depth.ok_or_else(|| E::custom(format!("values are nested more than {DEPTH_MAX} deep")))?;
        Ok(Counted { lengths: self.lengths, depth })
    }
}

impl<'de> DeserializeSeed<'de> for Counted<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Counted<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        let at = self.lengths.len();
        self.lengths.push(0);
        while items.next_element_seed(self.deeper()?)?.is_some() {
            self.lengths[at] += 1;
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut entries: A) -> Result<(), A::Error> {
        let at = self.lengths.len();
        self.lengths.push(0);
        while entries.next_key::<IgnoredAny>()?.is_some() {
            entries.next_value_seed(self.deeper()?)?;
            self.lengths[at] += 1;
        }
        Ok(())
    }
}

/// Writes the value that is read.
struct Written<'a> {
    out: &'a mut Encoder<Vec<u8>>,
    /// The lengths of the arrays and maps to come.
    lengths: &'a mut std::vec::IntoIter<u32>,
}

impl Written<'_> {
    fn inner(&mut self) -> Written<'_> {
        Written { out: self.out, lengths: self.lengths }
    }

    fn length(&mut self) -> u64 {
        self.lengths.next().unwrap_or_default().into()
    }
}

/// Writing to a vector does not fail.
fn ok<T>(written: Result<T, minicbor::encode::Error<std::convert::Infallible>>) {
    drop(written);
}

impl<'de> DeserializeSeed<'de> for Written<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Written<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        ok(self.out.null());
        Ok(())
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        ok(self.out.bool(value));
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        ok(self.out.u64(value));
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        ok(self.out.i64(value));
        Ok(())
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        ok(self.out.f64(value));
        Ok(())
    }

    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        ok(self.out.str(value));
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        let length = self.length();
        ok(self.out.array(length));
        while items.next_element_seed(self.inner())?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut entries: A) -> Result<(), A::Error> {
        let length = self.length();
        ok(self.out.map(length));
        while let Some(key) = entries.next_key::<String>()? {
            ok(self.out.str(&key));
            entries.next_value_seed(self.inner())?;
        }
        Ok(())
    }
}

/// Returns a value in JSON. Fails if it is not valid CBOR, or has no form in JSON.
pub(super) fn to_json(cbor: &[u8]) -> Result<Vec<u8>, String> {
    let mut reader = Reader { cbor: Decoder::new(cbor), json: Vec::with_capacity(cbor.len() + 16) };
    reader.value(DEPTH_MAX)?;
    match reader.cbor.position() == cbor.len() {
        true => Ok(reader.json),
        false => Err("there is more after the value".into()),
    }
}

struct Reader<'a> {
    cbor: Decoder<'a>,
    json: Vec<u8>,
}

fn bad(error: minicbor::decode::Error) -> String {
    format!("it is not valid CBOR: {error}")
}

impl Reader<'_> {
    fn value(&mut self, depth: u32) -> Result<(), String> {
        if self.json.len() > JSON_MAX {
            return Err(format!("it has more than {JSON_MAX} bytes in JSON"));
        }
        let deeper = || depth.checked_sub(1).ok_or_else(|| format!("values are nested more than {DEPTH_MAX} deep"));
        match self.cbor.datatype().map_err(bad)? {
            Type::Null => self.cbor.null().map_err(bad).map(|()| self.put("null")),
            Type::Undefined => self.cbor.undefined().map_err(bad).map(|()| self.put("null")),
            Type::Bool => {
                let value = self.cbor.bool().map_err(bad)?;
                self.put(if value { "true" } else { "false" });
                Ok(())
            }
            Type::U8 | Type::U16 | Type::U32 | Type::U64 | Type::I8 | Type::I16 | Type::I32 | Type::I64 | Type::Int => {
                let number = self.cbor.int().map_err(bad)?;
                self.integer(number);
                Ok(())
            }
            Type::F16 | Type::F32 => {
                let number = match self.cbor.datatype() {
                    Ok(Type::F16) => self.cbor.f16(),
                    _ => self.cbor.f32(),
                };
                let number = number.map_err(bad)?;
                self.float(number.into(), &number)
            }
            Type::F64 => {
                let number = self.cbor.f64().map_err(bad)?;
                self.float(number, &number)
            }
            Type::Bytes | Type::BytesIndef => {
                let bytes = self.bytes()?;
                self.text(&STANDARD.encode(bytes))
            }
            Type::String | Type::StringIndef => {
                let text = self.string()?;
                self.text(&text)
            }
            Type::Array | Type::ArrayIndef => {
                let length = self.cbor.array().map_err(bad)?;
                self.put("[");
                self.items(length, deeper()?, Self::value)?;
                self.put("]");
                Ok(())
            }
            Type::Map | Type::MapIndef => {
                let length = self.cbor.map().map_err(bad)?;
                self.put("{");
                self.items(length, deeper()?, Self::entry)?;
                self.put("}");
                Ok(())
            }
            Type::Tag => {
                let tag = self.cbor.tag().map_err(bad)?.as_u64();
                match tag {
                    BIGNUM | NEGATIVE_BIGNUM => self.bignum(tag == NEGATIVE_BIGNUM),
                    _ => self.value(deeper()?),
                }
            }
            other => Err(format!("it has a value of the type {other}, which JSON has no form for")),
        }
    }

    fn items(
        &mut self,
        length: Option<u64>,
        depth: u32,
        item: impl Fn(&mut Self, u32) -> Result<(), String>,
    ) -> Result<(), String> {
        let mut at = 0;
        loop {
            match length {
                Some(length) if at == length => return Ok(()),
                None if self.cbor.datatype().map_err(bad)? == Type::Break => {
                    self.cbor.set_position(self.cbor.position() + 1);
                    return Ok(());
                }
                _ => {}
            }
            if at > 0 {
                self.put(",");
            }
            item(self, depth)?;
            at += 1;
        }
    }

    fn entry(&mut self, depth: u32) -> Result<(), String> {
        match self.cbor.datatype().map_err(bad)? {
            Type::String | Type::StringIndef => {
                let key = self.string()?;
                self.text(&key)?;
            }
            Type::U8 | Type::U16 | Type::U32 | Type::U64 | Type::I8 | Type::I16 | Type::I32 | Type::I64 | Type::Int => {
                let key = self.cbor.int().map_err(bad)?;
                self.text(&i128::from(key).to_string())?;
            }
            other => return Err(format!("it has a map with a key of the type {other}, which JSON has no form for")),
        }
        self.put(":");
        self.value(depth)
    }

    fn integer(&mut self, number: Int) {
        let number = i128::from(number);
        let quote = if (-EXACT..=EXACT).contains(&number) { "" } else { "\"" };
        self.put(&format!("{quote}{number}{quote}"));
    }

    /// Writes a number; `shown` is the same with the precision that it was sent with.
    fn float(&mut self, number: f64, shown: &impl serde::Serialize) -> Result<(), String> {
        if number.is_finite() {
            return serde_json::to_writer(&mut self.json, shown).map_err(|error| error.to_string());
        }
        self.put(if number.is_nan() {
            "\"NaN\""
        } else if number > 0.0 {
            "\"Infinity\""
        } else {
            "\"-Infinity\""
        });
        Ok(())
    }

    /// Writes an integer of at most 16 bytes as a decimal text, a longer one as a hexadecimal one.
    fn bignum(&mut self, is_negative: bool) -> Result<(), String> {
        let bytes = self.bytes()?;
        if bytes.len() > 16 {
            // A negative one is −1 less the number.
            let sign = if is_negative { "-1-" } else { "" };
            return self.text(&format!("{sign}0x{}", hex::encode(bytes)));
        }
        let sign = if is_negative { "-" } else { "" };
        let number = bytes.iter().fold(0_u128, |number, byte| number << 8 | u128::from(*byte));
        match number.checked_add(u128::from(is_negative)) {
            Some(number) => self.text(&format!("{sign}{number}")),
            None => self.text("-340282366920938463463374607431768211456"),
        }
    }

    fn bytes(&mut self) -> Result<Vec<u8>, String> {
        let mut all = Vec::new();
        for piece in self.cbor.bytes_iter().map_err(bad)? {
            all.extend_from_slice(piece.map_err(bad)?);
        }
        Ok(all)
    }

    fn string(&mut self) -> Result<String, String> {
        let mut all = String::new();
        for piece in self.cbor.str_iter().map_err(bad)? {
            all.push_str(piece.map_err(bad)?);
        }
        Ok(all)
    }

    fn text(&mut self, text: &str) -> Result<(), String> {
        serde_json::to_writer(&mut self.json, text).map_err(|error| error.to_string())
    }

    fn put(&mut self, text: &str) {
        self.json.extend_from_slice(text.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(cbor: &str) -> Result<String, String> {
        to_json(&hex::decode(cbor).unwrap()).map(|json| String::from_utf8(json).unwrap())
    }

    /// What JSON says comes back letter for letter.
    #[test]
    fn json_comes_back() {
        for text in [
            r#"[]"#,
            r#"[1,-1,0,255,65536,9007199254740991,-9007199254740991]"#,
            r#"[1.5,-0.0,1e+300,0.1]"#,
            r#"[null,true,false,"","é\n\u0000\"",[[]],{}]"#,
            r#"{"a":[1,{"b":null}],"":"x"}"#,
        ] {
            let cbor = arguments(text.as_bytes()).unwrap();
            assert_eq!(String::from_utf8(to_json(&cbor).unwrap()).unwrap(), text);
        }
        assert_eq!(arguments(b" ").unwrap(), [0x80]);
        assert_eq!(arguments(br#"[[],{"a":1}]"#).unwrap(), [0x82, 0x80, 0xa1, 0x61, b'a', 1], "with their lengths");
        let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(arguments(deep(64).as_bytes()).is_ok());
        for bad in ["1", "\"a\"", "null", "[1", "[1]]", "[1] x", &deep(66)] {
            assert!(arguments(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    /// The examples of RFC 8949, appendix A, that JSON has no letter for.
    #[test]
    fn what_json_has_no_form_for_is_written_as_text() {
        for (cbor, text) in [
            ("1bffffffffffffffff", r#""18446744073709551615""#),
            ("3bffffffffffffffff", r#""-18446744073709551616""#),
            ("c249010000000000000000", r#""18446744073709551616""#),
            ("c349010000000000000000", r#""-18446744073709551617""#),
            ("c350ffffffffffffffffffffffffffffffff", r#""-340282366920938463463374607431768211456""#),
            ("c2510100000000000000000000000000000000", r#""0x0100000000000000000000000000000000""#),
            ("f93e00", "1.5"),
            ("fa3dcccccd", "0.1"),
            ("f97e00", r#""NaN""#),
            ("f97c00", r#""Infinity""#),
            ("f9fc00", r#""-Infinity""#),
            ("f7", "null"),
            ("4401020304", r#""AQIDBA==""#),
            ("5f42010243030405ff", r#""AQIDBAU=""#),
            ("7f657374726561646d696e67ff", r#""streaming""#),
            ("c11a514b67b0", "1363896240"),
            ("9f018202039f0405ffff", "[1,[2,3],[4,5]]"),
            ("bf61610161629f0203ffff", r#"{"a":1,"b":[2,3]}"#),
            ("a201020304", r#"{"1":2,"3":4}"#),
            ("d9010283010203", "[1,2,3]"),
        ] {
            assert_eq!(json(cbor).as_deref(), Ok(text), "{cbor}");
        }
    }

    #[test]
    fn what_is_not_cbor_is_refused() {
        for cbor in ["", "ff", "18", "61", "61ff", "9f01", "0101", "f0", "a1f600", "1c", "9bffffffffffffffff", "c2f6"] {
            assert!(json(cbor).is_err(), "{cbor}: {:?}", json(cbor));
        }
        assert!(json(&"81".repeat(100)).is_err());
        assert!(json(&"c1".repeat(1_000_000)).is_err(), "tags are levels, too");
    }
}
