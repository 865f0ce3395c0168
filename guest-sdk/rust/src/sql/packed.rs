//! Reading results in the encoding of `wit/packed-sql.wit`.
//!
//! The bytes are the host's, so what does not fit the encoding is a panic.

use super::Value;

const MALFORMED: &str = "the host gives results in the encoding of its contract";

/// Values, one after the other.
pub(super) struct Values<'a>(pub &'a [u8]);

impl<'a> Values<'a> {
    fn bytes(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at_checked(length).expect(MALFORMED);
        self.0 = rest;
        taken
    }

    fn number<const N: usize>(&mut self) -> [u8; N] {
        let (number, rest) = self.0.split_first_chunk().expect(MALFORMED);
        self.0 = rest;
        *number
    }

    fn sized(&mut self) -> &'a [u8] {
        let length = self.length();
        self.bytes(length)
    }

    fn text(&mut self) -> &'a str {
        // SAFETY: the host gives texts as UTF-8, which the contract promises for these as for every `string`. Checking
        // each name and text of each row again would be a tenth of what a scan costs.
        unsafe { str::from_utf8_unchecked(self.sized()) }
    }

    /// Not a value, but how many values or bytes come.
    pub fn length(&mut self) -> usize {
        u32::from_le_bytes(self.number()) as usize
    }

    /// Skips this many values.
    pub fn pass(&mut self, values: usize) {
        for _ in 0..values {
            match self.number() {
                [0] => {}
                [1 | 2] => _ = self.bytes(8),
                _ => _ = self.sized(),
            }
        }
    }

    /// The values as texts, which they must be.
    pub fn texts(mut self) -> impl Iterator<Item = &'a str> {
        std::iter::from_fn(move || {
            (!self.0.is_empty()).then(|| {
                let [_] = self.number();
                self.text()
            })
        })
    }
}

impl Iterator for Values<'_> {
    type Item = Value;

    fn next(&mut self) -> Option<Value> {
        let (tag, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(match tag {
            0 => Value::Null,
            1 => Value::Integer(i64::from_le_bytes(self.number())),
            2 => Value::Real(f64::from_le_bytes(self.number())),
            3 => Value::Text(self.text().into()),
            4 => Value::Blob(self.sized().into()),
            _ => panic!("{MALFORMED}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each type once, as the contract's table says.
    const ROW: &[u8] = b"\0\
        \x01\xfe\xff\xff\xff\xff\xff\xff\xff\
        \x02\0\0\0\0\0\0\xf8\x3f\
        \x03\x03\0\0\0a\xc3\xa4\
        \x04\x02\0\0\0\0\xff";

    #[test]
    fn values_are_read_as_the_contract_has_them() {
        let values =
            [Value::Null, Value::Integer(-2), Value::Real(1.5), Value::Text("aä".into()), Value::Blob(vec![0, 0xff])];
        assert!(Values(ROW).eq(values));
        for skipped in 0..=5 {
            let mut rest = Values(ROW);
            rest.pass(skipped);
            assert_eq!(rest.by_ref().collect::<Vec<_>>().len(), 5 - skipped);
        }
    }

    #[test]
    fn names_are_texts() {
        let mut head = Values(b"\x02\0\0\0\x03\x01\0\0\0a\x03\0\0\0\0");
        assert_eq!(head.length(), 2);
        assert!(head.texts().eq(["a", ""]));
    }
}
